"""Claims about a member's statistics: influence, lengths, refusals, points in time."""

from __future__ import annotations

import json
import logging
import math
from dataclasses import replace
from typing import TYPE_CHECKING

import jax
import msgspec
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hansa.errors import RefusedError, StoreError
from hansa.federation.forecasting import (
    ARMS,
    basket_rows,
)
from hansa.federation.liquidity import LiquidityWork
from hansa.federation.records import Records
from hansa.federation.rules import limits_of
from hansa.federation.schedule import replay_programme, round_programme
from hansa.federation.views import Influence, SeriesView, Views
from hansa.federation.watchtower import basket_indices
from hansa.lab.rehearsal import open_sums, rehearse
from hansa.model.design import QUANTILES
from hansa.protocol.session import Aggregate
from simulator import BAR_NS
from small_market import (
    AS_OF_NS,
    BASKETS,
    MEASURES,
    START_NS,
    TRAIN_BARS,
    UNTIL_NS,
    all_views,
    constitution,
    manifest_of,
    views_of_member,
    without,
    work,
)

if TYPE_CHECKING:
    from pathlib import Path

    from hansa.governance.constitution import Constitution
    from hansa.lab.rehearsal import Rehearsal

LIMITS = limits_of(constitution())
CENSUS, STATE, GRAM = (manifest_of(one) for one in replay_programme(constitution(), AS_OF_NS, AS_OF_NS))


def random_views(seed: int, scale: float) -> Views:
    rng = np.random.default_rng(seed)
    series = {}
    for basket in BASKETS:
        measures = scale * rng.standard_t(3, (TRAIN_BARS, len(MEASURES)))
        volume = rng.exponential(10.0 ** rng.uniform(0, 12), TRAIN_BARS)
        series[basket] = (SeriesView(measures, volume),)
    return Views(START_NS, BAR_NS, TRAIN_BARS, series)


def learned(own: Views, others: np.ndarray, rules: Constitution | None = None) -> LiquidityWork:
    """Return a member that has seen a census and a state which others made."""
    one = work(own, rules)
    one.receive(Aggregate(CENSUS, LIMITS.members, np.array([2 << 20, 3 << 20])))
    weights = np.full(2, 1000.0)
    vector = np.concatenate([weights, others.ravel()]) * LIMITS.purposes["state"].scale
    one.receive(Aggregate(STATE, LIMITS.members, np.rint(vector).astype(np.int64)))
    return one


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), scale=st.sampled_from([1e-9, 1.0, 30.0]))
@example(seed=1321, scale=30.0)
def test_whatever_the_data_a_contribution_has_its_length_and_no_more_influence_than_the_purpose(
    seed: int, scale: float
) -> None:
    others = np.random.default_rng(seed).standard_normal((TRAIN_BARS, len(BASKETS), len(MEASURES)))
    one = learned(random_views(seed, scale), others)
    for manifest in (CENSUS, STATE, GRAM):
        purpose = LIMITS.purposes[manifest.purpose]
        found = one.contribution(manifest)
        assert found.purpose == manifest.purpose
        assert found.vector.shape == (manifest.length,)
        assert np.isfinite(found.vector).all()
        assert np.abs(found.vector).max() <= purpose.value_bound
        assert 0 < found.sensitivity <= purpose.sensitivity * (1 + 1e-9)


def bounded_as(views: Views, **influence: Influence | None) -> Views:
    series = {basket: (replace(one, influence=influence[basket]),) for basket, (one,) in views.series.items()}
    return replace(views, series=series)


CLIENT, TRADE = Influence("client", (0.0, 0.01)), Influence("trade", (0.01, 0.02))


@pytest.mark.parametrize(
    ("eur", "xau", "caps", "unit"),
    [
        (CLIENT, CLIENT, [0.01, 0.01], "client, basket and day"),
        (CLIENT, TRADE, [0.01, math.hypot(0.01, 0.02)], "trade, basket and day (the source names no clients)"),
        (CLIENT, None, [0.01, math.hypot(0.02, 0.02)], "a change of each measure of a bar by at most 0.02 log units"),
        (None, None, [math.hypot(0.02, 0.02)] * 2, "no client is bounded"),
    ],
)
def test_a_state_claims_no_stronger_unit_than_the_bars_allow(
    eur: Influence | None, xau: Influence | None, caps: list[float], unit: str
) -> None:
    records = Records(":memory:")
    one = work(bounded_as(views_of_member("m0"), eur=eur, xau=xau), records=records)
    one.receive(Aggregate(CENSUS, LIMITS.members, np.array([2 << 20, 3 << 20])))
    found = one.contribution(STATE)
    weights = found.vector[:2] / 1000
    assert found.sensitivity == pytest.approx(max(weights * caps))
    assert unit in str(records.get("unit/state"))
    assert unit in (found.unit or "client, basket and day")
    one.contribution(CENSUS)
    assert str(records.get("unit/census")).startswith("a share" if None in {eur, xau} else unit[:5])


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), day=st.integers(0, 4))
def test_a_day_of_raw_data_moves_the_gram_by_no_more_than_declared(seed: int, day: int) -> None:
    """Its own block and the next are two blocks, each within the clip; the private scaling stays out of it."""
    others = np.random.default_rng(seed).standard_normal((TRAIN_BARS, len(BASKETS), len(MEASURES)))
    one = learned(random_views(seed, 1.0), others)
    built = basket_rows(one.published, random_views(seed, 1.0))
    full = one.contribution(GRAM)
    rows = one.published.train_rows()
    blocks = next(iter(built.values())).rows.blocks[rows]
    kept = rows[blocks != blocks[0] + day]
    one.published.train_rows = lambda: kept  # type: ignore[method-assign]
    less = one.contribution(GRAM)
    assert np.linalg.norm(full.vector - less.vector) <= full.sensitivity / 2 * (1 + 1e-9)


def test_a_member_that_does_not_trade_a_basket_sends_zeros_for_it(played: Rehearsal) -> None:
    one = work(without(views_of_member("m0"), "xau"))
    one.published = played.works["m0"].published
    assert one.contribution(CENSUS).vector[1] == 0
    state = one.contribution(STATE).vector
    assert state[1] == 0
    assert not state[2:].reshape(-1, 2, 2)[:, 1].any()
    gram = one.contribution(GRAM).vector
    assert gram[: gram.size // 2].any()
    assert not gram[gram.size // 2 :].any()


def test_a_state_before_its_census_and_a_gram_before_its_state_are_refused() -> None:
    one = work(views_of_member("m0"))
    with pytest.raises(RefusedError, match="before the census"):
        one.contribution(STATE)
    one.receive(Aggregate(CENSUS, LIMITS.members, np.array([2 << 20, 3 << 20])))
    with pytest.raises(RefusedError, match="before the state"):
        one.contribution(GRAM)
    part = msgspec.structs.replace(STATE, span_end_ns=START_NS + 9 * BAR_NS, length=2 + 4 * 10)
    one.receive(Aggregate(part, LIMITS.members, np.full(42, 65_536_000)))
    with pytest.raises(RefusedError, match="before the state"):
        one.contribution(GRAM)


def test_a_purpose_that_is_not_of_liquidity_and_a_span_beyond_the_data_are_refused() -> None:
    one = work(views_of_member("m0"))
    with pytest.raises(RefusedError, match="no statistic for aml"):
        one.contribution(msgspec.structs.replace(CENSUS, purpose="aml"))
    with pytest.raises(RefusedError, match="outside this member's data"):
        one.contribution(msgspec.structs.replace(CENSUS, span_end_ns=AS_OF_NS + 300 * BAR_NS))


def test_bars_are_read_again_when_a_span_reaches_beyond_them() -> None:
    reads: list[int] = []

    def load() -> Views:
        reads.append(1)
        return views_of_member("m0", TRAIN_BARS + 30 * len(reads))

    one = LiquidityWork(
        constitution(), LIMITS, load=load, forecasts=None, records=Records(":memory:"), volume_key=bytes(32)
    )
    one.contribution(CENSUS)
    one.contribution(CENSUS)
    assert len(reads) == 1
    one.contribution(msgspec.structs.replace(CENSUS, span_end_ns=AS_OF_NS + 31 * BAR_NS))
    assert len(reads) == 2


def test_members_publish_the_same_facts(played: Rehearsal) -> None:
    first, *rest = (one.published for one in played.works.values())
    for other in rest:
        assert np.array_equal(first.state, other.state)
        assert first.grams is not None
        assert other.grams is not None
        assert np.array_equal(first.grams, other.grams)
        assert first.rounds == other.rounds


def test_a_smaller_cohort_divides_by_its_own_weights() -> None:
    views = {name: view for name, view in all_views().items() if name != "m3"}
    found = rehearse(constitution(), views, as_of_ns=AS_OF_NS, until_ns=AS_OF_NS, seed=1).works["m0"].published.state
    volume = np.array([view.series["eur"][0].quote_volume[:TRAIN_BARS].mean() for view in views.values()])
    own = np.stack([view.series["eur"][0].measures[:TRAIN_BARS] for view in views.values()])
    weights = np.minimum(volume / volume.sum(), 0.5)
    exact = np.tensordot(weights / weights.sum(), own, axes=1)
    deviation = limits_of(constitution()).purposes["state"].noise_multiplier
    error = found[:, 0] - exact
    assert np.abs(error.mean(axis=0)).max() < 0.05
    assert error.std() < 2 * deviation * limits_of(constitution()).purposes["state"].sensitivity / weights.sum()


def test_a_settled_member_has_written_forecasts_and_published_the_index(tmp_path: Path) -> None:
    found = rehearse(
        constitution(), all_views(), as_of_ns=AS_OF_NS, until_ns=UNTIL_NS, seed=1, forecasts=tmp_path
    ).works["m3"]
    with np.load(tmp_path / "m3.npz") as written:
        assert set(written) == {"stamps", "state", "quantiles", *ARMS}
        assert written["stamps"][-1] == UNTIL_NS
        assert written["federated_state"].shape == (TRAIN_BARS + 60, 2)
        quantiles = written["quantiles"]
    assert quantiles.shape == (TRAIN_BARS + 60, 2, len(QUANTILES))
    records = found._records
    assert records.get("settled_ns") == UNTIL_NS
    written_down = records.rows("SELECT ts_ns, value FROM series WHERE name = 'forecast_q95' AND basket = 'xau'")
    assert {row["ts_ns"]: row["value"] for row in written_down}[UNTIL_NS] == quantiles[-1, 1, -1]
    baskets = {str(row["basket"]) for row in records.rows("SELECT DISTINCT basket FROM series WHERE name = 'lsi'")}
    assert baskets == {"eur", "xau", "system"}
    assert json.dumps(records.get("pulls"))
    found._forecasts = tmp_path / "nowhere" / "m3.npz"
    with pytest.raises(StoreError, match="cannot be written"):
        found._write({})


def test_a_gap_in_the_state_leaves_the_next_round_its_core() -> None:
    one = work(views_of_member("m0"))
    one.receive(Aggregate(CENSUS, LIMITS.members, np.array([2 << 20, 3 << 20])))
    rng = np.random.default_rng(8)
    for first, last in ((0, 399), (450, TRAIN_BARS - 1)):
        bars = last - first + 1
        part = msgspec.structs.replace(
            STATE, span_start_ns=START_NS + first * BAR_NS, span_end_ns=START_NS + last * BAR_NS, length=2 + 4 * bars
        )
        vector = np.concatenate([np.full(2, 1000.0), rng.standard_normal(4 * bars)]) * 65_536
        one.receive(Aggregate(part, LIMITS.members, np.rint(vector).astype(np.int64)))
    found = one.contribution(GRAM)
    assert np.isfinite(found.vector).all()
    one.receive(Aggregate(GRAM, LIMITS.members, np.rint(found.vector * 2**13).astype(np.int64)))
    one.settle()
    assert one.fitted is not None


def test_the_index_of_a_bar_does_not_change_when_later_states_come(played: Rehearsal) -> None:
    published = played.works["m0"].published
    whole, kept = basket_indices(published), published.state
    published.state = kept[: TRAIN_BARS + 10]
    try:
        part = basket_indices(published)
    finally:
        published.state = kept
    assert np.isfinite(part).any()
    np.testing.assert_array_equal(part, whole[: TRAIN_BARS + 10])


def test_steps_are_clipped_at_the_rounds_bound_and_travel_in_its_units() -> None:
    rules = constitution(steps=1)
    limits = limits_of(rules)
    *_, clip, step = (manifest_of(one, rules) for one in replay_programme(rules, AS_OF_NS, AS_OF_NS))
    others = np.random.default_rng(4).standard_normal((TRAIN_BARS, len(BASKETS), len(MEASURES)))
    one = learned(views_of_member("m0"), others, rules)
    packed = rules.purposes["gram"].values
    gram = next(manifest_of(x, rules) for x in replay_programme(rules, AS_OF_NS, AS_OF_NS) if x.purpose == "gram")
    one.receive(Aggregate(gram, limits.members, np.zeros(packed, dtype=np.int64)))
    counts = one.contribution(clip)
    assert (counts.vector.sum(), counts.sensitivity) == (5.0, 2.0)  # six days, the first is the warm-up
    loose = one.contribution(step)
    wanted = np.zeros(8)
    wanted[0] = 5.0  # as if all norms were below the first edge: a bound below every block's
    one.receive(Aggregate(clip, limits.members, (wanted * rules.purposes["clip"].scale).astype(np.int64)))
    tight = one.contribution(step)
    widest = rules.purposes["weights"].sensitivity / 2
    assert one.published.clip_bound < widest / 2**7
    assert tight.sensitivity == loose.sensitivity == 2 * widest
    assert np.linalg.norm(tight.vector) <= 5 * widest * (1 + 1e-6)
    assert np.linalg.norm(tight.vector) > np.linalg.norm(loose.vector)
    cosine = tight.vector @ loose.vector / np.linalg.norm(tight.vector) / np.linalg.norm(loose.vector)
    assert cosine > 0.9


def test_a_second_round_with_newer_days_and_another_bound_compiles_nothing(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = constitution(steps=2)
    views = {name: views_of_member(name, TRAIN_BARS + 300) for name in ("m0", "m1", "m2", "m3")}
    later_ns = AS_OF_NS + 288 * BAR_NS
    monkeypatch.setattr("hansa.federation.own_network.choose_gate", lambda *_: 0.5)  # the network's forecasts as well
    jax.clear_caches()
    compiled = []
    with jax.log_compiles(), caplog.at_level(logging.WARNING, logger="jax"):
        first = rehearse(rules, views, as_of_ns=AS_OF_NS, until_ns=later_ns, seed=1)
        compiled.append(programs(caplog))
        bounds = [first.works["m0"].published.clip_bound]
        again = round_programme(rules, later_ns, published_ns=later_ns)
        open_sums(first, again, np.random.default_rng(2))
        for one in first.works.values():
            one.settle()
        compiled.append(programs(caplog))
        bounds.append(first.works["m0"].published.clip_bound)
    heads = {"_hidden", "_descend", "_losses"}
    assert {"_clipped_sum", "_windows", *heads} <= {name.removeprefix("jit(").removesuffix(")") for name in compiled[0]}
    assert compiled[1] == []
    assert bounds[0] != bounds[1]
    assert first.works["m0"].published.train_first > 0


def programs(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the programs that were compiled since the last call."""
    words = "Finished XLA compilation of "
    found = [one.getMessage() for one in caplog.records]
    caplog.clear()
    return [text.removeprefix(words).split()[0] for text in found if text.startswith(words)]


def test_weights_and_census_are_made_of_one_noised_volume() -> None:
    views = views_of_member("m0", TRAIN_BARS)
    spread = []
    for key in range(200):
        one = work(views, volume_key=key.to_bytes(32, "big"))
        spread.append(one.contribution(CENSUS).vector)
        assert np.array_equal(one.contribution(CENSUS).vector, spread[-1])
    deviation = np.log(np.array(spread)).std(axis=0)
    market, purpose = constitution().market, LIMITS.purposes["census"]
    wanted = -np.log1p(-market.influence_cap) * purpose.noise_multiplier
    assert deviation == pytest.approx(np.full(deviation.size, wanted), rel=0.2)
