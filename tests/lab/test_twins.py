from __future__ import annotations

import io

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from hansa.errors import ConfigurationError
from hansa.lab.calibration import IMPACT_CORRELATION
from hansa.lab.resemblance import view_correlations
from hansa.lab.twins import START_NS, Scenario, Spillover, Twin, simulate
from hansa.market import schema

PAIR = ("EUR-USD", "XAU-USD")


def content(twin: Twin) -> bytes:
    buffer = io.BytesIO()
    for frame in (*twin.bars.values(), twin.truth, twin.onsets):
        frame.write_ipc(buffer)
    return buffer.getvalue()


def cost(twin: Twin, market: str) -> np.ndarray:
    return twin.truth.filter(pl.col("market") == market)["log_cost"].to_numpy()


def reaction(weight: float) -> float:
    """Correlate the source's change with the target's change two bars later; only the spillover links them."""
    scenario = Scenario(
        seed=4,
        members=1,
        markets=PAIR,
        episodes=0,
        market_correlation=0.0,
        spillovers=(Spillover("XAU-USD", "EUR-USD", weight),),
    )
    twin = simulate(scenario)
    source, target = np.diff(cost(twin, "XAU-USD")), np.diff(cost(twin, "EUR-USD"))
    return float(np.corrcoef(source[:-2], target[2:])[0, 1])


def test_the_same_scenario_gives_the_same_bytes() -> None:
    assert content(simulate(Scenario(seed=7, days=3, episodes=1))) == content(
        simulate(Scenario(seed=7, days=3, episodes=1))
    )


def test_another_seed_gives_another_market() -> None:
    one, two = (simulate(Scenario(seed=seed, members=1, days=3, episodes=1)) for seed in (7, 8))
    assert not np.allclose(cost(one, "XAU-USD"), cost(two, "XAU-USD"))


def test_one_more_member_changes_neither_the_others_nor_the_truth() -> None:
    few, many = (simulate(Scenario(seed=7, members=m, days=3, episodes=1)) for m in (2, 3))
    assert_frame_equal(few.truth, many.truth)
    for name, bars in few.bars.items():
        assert_frame_equal(bars, many.bars[name])


def test_every_view_conforms_to_the_bars_contract() -> None:
    twin = simulate(Scenario(seed=9, days=3, episodes=1))
    assert tuple(twin.bars) == ("lubeck", "hamburg", "bruges", "bergen", "riga")
    for name, bars in twin.bars.items():
        assert_frame_equal(schema.conform(bars, source=name), bars)
        assert len(bars) == 3 * 3 * 288


def test_a_shock_reaches_its_target_with_the_sign_of_the_matrix() -> None:
    assert reaction(2.0) > 0.05
    assert reaction(-2.0) < -0.05
    assert abs(reaction(0.0)) < 0.04


def test_each_onset_is_the_first_bar_of_stress() -> None:
    twin = simulate(Scenario(seed=10, members=1))
    assert len(twin.onsets) == 12
    for ts_ns, market, end_ns in twin.onsets.iter_rows():
        path = twin.truth.filter(pl.col("market") == market)
        at = path["ts_ns"].to_list().index(ts_ns)
        stress = path["stress"].to_numpy()
        assert stress[at - 1] == 0.0
        assert stress[at] > 0.0
        last = path["ts_ns"].to_list().index(end_ns)
        assert stress[last] > 0.1 * stress[at : last + 1].max() >= stress[last + 1]


def test_the_densest_episodes_do_not_overlap() -> None:
    onsets = simulate(Scenario(seed=18, members=1, markets=PAIR, episodes=14)).onsets
    gaps = onsets.with_columns(gap=pl.col("ts_ns").shift(-1).over("market") - pl.col("end_ns"))
    assert (gaps["gap"].drop_nulls() > 0).all()


def test_without_episodes_there_is_no_stress() -> None:
    twin = simulate(Scenario(seed=10, members=1, days=2, episodes=0))
    assert len(twin.onsets) == 0
    assert twin.truth["stress"].abs().max() == 0.0


def test_the_mean_of_many_views_converges_to_the_truth() -> None:
    twin = simulate(Scenario(seed=11, members=60, markets=("XAU-USD",), days=7))
    views = np.array([np.log(bars["spread_bps"].to_numpy()) for bars in twin.bars.values()])
    truth = cost(twin, "XAU-USD")
    gaps = [float((views[:n].mean(axis=0) - truth).std()) for n in (1, 15, 60)]
    assert gaps[1] < 0.35 * gaps[0]
    assert gaps[2] < 0.18 * gaps[0]
    assert np.corrcoef(views.mean(axis=0), truth)[0, 1] > 0.97


def test_two_views_agree_as_far_as_real_venues_do() -> None:
    twin = simulate(Scenario(seed=12))
    for column in ("spread_bps", "depth_quote", "impact_bps_per_mio"):
        assert np.median(view_correlations(twin, column)) == pytest.approx(IMPACT_CORRELATION, abs=0.04)


@settings(max_examples=5, deadline=None)
@given(st.floats(0.1, 5.0))
def test_the_noise_asked_for_is_the_noise_seen(view_noise: float) -> None:
    twin = simulate(Scenario(seed=13, members=3, markets=("EUR-USD",), view_noise=view_noise))
    assert np.median(view_correlations(twin, "spread_bps")) == pytest.approx(1.0 / (1.0 + view_noise), abs=0.06)


def test_volatility_follows_liquidity_without_being_it() -> None:
    twin = simulate(Scenario(seed=14, members=1, markets=("XAU-USD",), days=60))
    bars = twin.bars["lubeck"]
    log_range = np.log(np.log(bars["high"].to_numpy() / bars["low"].to_numpy()))
    hours = (len(log_range) // 12, 12)
    link = np.corrcoef(log_range.reshape(hours).mean(axis=1), cost(twin, "XAU-USD").reshape(hours).mean(axis=1))[0, 1]
    assert 0.2 < link < 0.9


def test_flow_leans_with_the_return() -> None:
    bars = simulate(Scenario(seed=15, members=1, markets=("XAU-USD",), days=7)).bars["lubeck"]
    lean = (bars["signed_volume"] / bars["volume"]).to_numpy()
    assert np.corrcoef(lean, np.log((bars["close"] / bars["open"]).to_numpy()))[0, 1] > 0.3


def test_the_clock_marks_the_end_of_each_bar() -> None:
    twin = simulate(Scenario(seed=16, members=1, days=1, episodes=0, bar_ns=3_600_000_000_000))
    stamps = twin.bars["lubeck"].filter(pl.col("market") == "XAU-USD")["ts_ns"]
    assert stamps[0] == START_NS + 3_600_000_000_000
    assert len(stamps) == 24


def test_more_members_than_harbours_still_have_distinct_names() -> None:
    assert len(set(Scenario(seed=1, members=14).names)) == 14


@pytest.mark.parametrize(
    "wrong",
    [
        {"members": 0},
        {"days": 0},
        {"markets": ()},
        {"markets": ("XAU-USD", "XAU-USD")},
        {"bar_ns": 7},
        {"episodes": 15},
        {"bar_ns": 86_400_000_000_000},
        {"view_noise": -0.1},
        {"market_correlation": 1.0},
        {"volatility_link": 1.1},
        {"spillovers": (Spillover("XAU-USD", "GBP-USD", 0.1),)},
    ],
)
def test_an_impossible_scenario_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError):
        Scenario(seed=1, **wrong)  # type: ignore[arg-type]
