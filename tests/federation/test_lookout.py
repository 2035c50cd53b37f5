"""Claims about rules at work: a restart raises the same alerts, once; gaps and new rounds make no storms."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest

from hansa.federation.lookout import SYSTEM, Lookout
from hansa.federation.published import Published, Training
from hansa.federation.records import Records
from hansa.federation.rules import limits_of
from hansa.federation.watchtower import Watchtower
from hansa.lab.charter import charter
from hansa.model.design import QUANTILES
from hansa.model.warning_rules import Watch, tune
from simulator import BAR_NS, DAY_NS, signing_key

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hansa.federation.alerts import Alert
    from hansa.governance.constitution import Constitution

HOUR_NS = 12 * BAR_NS
TRAIN = 240


@cache
def rules(baskets: int = 2, bar_seconds: int = 3600) -> Constitution:
    return charter(
        federation="test",
        keys={f"m{place}": signing_key(f"m{place}").public for place in range(4)},
        coordinator_key=signing_key("coordinator").public,
        baskets={name: [name] for name in ("eur", "xau")[:baskets]},
        measures=("log_range", "log_impact"),
        cost="log_impact",
        volume_unit=1e6,
        history_days=10,
        bar_seconds=bar_seconds,
    )


def published(bars: int, *, seed: int = 1, baskets: int = 2, bar_seconds: int = 3600) -> Published:
    """Return public facts as if sums had been opened: noise, and stress from bar 330 on."""
    made = Published(rules(baskets, bar_seconds), limits_of(rules(baskets, bar_seconds)))
    state = np.random.default_rng(seed).standard_normal((400, baskets, 2))
    state[330:345] += 5.0
    made.start_ns = 19_000 * DAY_NS + made.bar_ns
    made.state = state[:bars].copy()
    made.trainings = [Training(0, TRAIN, np.array([3.0, 1.0])[:baskets])]
    made.train_bars, made.turnover = TRAIN, made.trainings[0].turnover
    return made


def looked(facts: Published, records: Records, looks: Iterable[int]) -> Watchtower:
    """Let a watchtower look each time some more bars are known."""
    tower, state = Watchtower(facts, records, clock=lambda: 5), facts.state
    for bars in looks:
        facts.state = state[:bars]
        tower.look()
    facts.state = state
    return tower


def keys(alerts: Iterable[Alert]) -> set[tuple[str, str, int, float]]:
    return {(one.rule, one.basket, one.ts_ns, round(one.value, 9)) for one in alerts}


def test_who_starts_again_raises_the_same_alerts_and_none_twice() -> None:
    records, lost = Records(":memory:"), Records(":memory:")
    looked(published(360), records, [*range(TRAIN - 5, 328, 7), *range(328, 361)])
    before = records.alerts()
    assert {one.rule for one in before} >= {"threshold", "cusum", "shiryaev_roberts"}
    looked(published(360), records, [360])
    assert records.alerts() == before, "the records of the node are still there"
    looked(published(360), lost, [360])
    assert keys(lost.alerts()) == keys(before), "a node that lost its records reads the stream and finds the same"
    assert all(one.is_ahead for one in before if one.ts_ns > published(360).stamps()[327])
    assert not any(one.is_ahead for one in lost.alerts() if one.ts_ns < before[-1].ts_ns), "and says that it is late"


def test_nothing_is_raised_before_training_is_whole_nor_on_its_bars() -> None:
    records = Records(":memory:")
    facts = published(TRAIN)
    facts.state[200:210] += 9.0
    looked(facts, records, [50, 210, TRAIN])
    assert records.alerts() == []
    assert records.get("alert_rules") is None
    looked(published(TRAIN + 1), records, [TRAIN + 1])
    assert isinstance(records.get("alert_rules"), dict)


def test_a_gap_that_is_filled_late_leaves_the_alerts_of_who_never_saw_it_and_doubles_none() -> None:
    late, never = Records(":memory:"), Records(":memory:")
    facts = published(360)
    whole = facts.state.copy()
    tower = Watchtower(facts, late)
    facts.state = whole[:332].copy()
    facts.state[329:331] = np.nan
    tower.look()
    facts.state = whole
    tower.look()
    looked(published(360), never, [360])
    assert {one[:2] for one in keys(late.alerts())} == {one[:2] for one in keys(never.alerts())}
    quiet = 3 * HOUR_NS
    for rule, basket in {(one.rule, one.basket) for one in late.alerts()}:
        stamps = sorted(one.ts_ns for one in late.alerts() if (one.rule, one.basket) == (rule, basket))
        assert all(after - before > quiet for before, after in pairwise(stamps))


def test_each_bar_is_judged_by_the_newest_round_before_it_whenever_it_is_looked_at() -> None:
    live, again = Records(":memory:"), Records(":memory:")
    facts = published(360)
    facts.state[300:] += 1.0  # calm has moved: the second round must learn that
    second = Training(60, 320, np.array([1.0, 1.0]))
    tower, state = Watchtower(facts, live), facts.state
    for bars in [*range(TRAIN, 316, 5), *range(316, 361, 3)]:
        if bars == 322:
            facts.trainings.append(second)
        facts.state = state[:bars]
        tower.look()
    looked(facts, again, [360])
    assert keys(live.alerts()) == keys(again.alerts())
    spans = {tuple(one.evidence["training"]) for one in live.alerts()}  # type: ignore[arg-type]
    assert len(spans) == 2
    for one in live.alerts():
        is_second = one.ts_ns > facts.stamps()[319]
        assert (tuple(one.evidence["training"])[1] * 10**9 == facts.stamps()[319]) == is_second  # type: ignore[arg-type]


@pytest.mark.parametrize(("bar_seconds", "quiet"), [(300, 36), (3600, 3), (14_400, 1)])
def test_days_and_quiet_times_follow_from_the_constitutions_bars(bar_seconds: int, quiet: int) -> None:
    facts = published(360, bar_seconds=bar_seconds)
    lookout = Lookout(facts, facts.trainings[0])
    assert lookout.pace.bars_per_day == 86_400 // bar_seconds
    assert lookout.pace.refractory_bars == quiet
    assert lookout.pace.rate == (0.05 if TRAIN * bar_seconds >= 20 * 86_400 else 1.0)


def test_the_limit_is_that_of_the_rule_on_the_score_of_training() -> None:
    facts = published(360, baskets=1)
    lookout = Lookout(facts, facts.trainings[0])
    raised = lookout.see(np.full((360, 1), np.nan), first=0, last=360)
    assert {one.basket for one in raised} == {"eur"}, "one basket is the system: it is watched once"
    assert "expected" in str(lookout.limits["lsi/eur"]), (
        "an index that training does not know has no limit, and says so"
    )
    stress = lookout._stress["eur"]
    score = stress.score(facts.state[:, 0], facts.slots())
    watch = Watch(tune("cusum", score, lookout.pace))
    assert lookout.limits["cusum/eur"] == watch.tuned.limit
    wanted = [bar for bar in watch.see(score) if bar >= TRAIN]
    assert [one.bar for one in raised if one.rule == "cusum"] == wanted


def test_a_measure_without_values_leaves_its_basket_without_rules_and_the_others_with_them() -> None:
    facts = published(360)
    facts.state[:TRAIN, 0, 1] = np.nan
    records = Records(":memory:")
    looked(facts, records, [TRAIN + 1])
    limits = records.get("alert_rules")
    assert isinstance(limits, dict)
    assert "give more history" in limits["limits"]["*/eur"]
    assert isinstance(limits["limits"]["cusum/xau"], float)


def forecasts(facts: Published, *, widened: slice) -> np.ndarray:
    rng = np.random.default_rng(9)
    middle = 0.3 * rng.standard_normal((facts.state.shape[0], 2, 1))
    middle[TRAIN:] *= 0.1  # nothing of its own above the limit after training
    found = middle + np.array([-1.6, -0.7, 0.0, 0.7, 1.6])
    found[widened] += 4.0
    found[:60] = np.nan
    return found


def test_a_forecast_quantile_that_crosses_its_training_level_alerts_with_its_probability() -> None:
    live, again = Records(":memory:"), Records(":memory:")
    facts = published(300)  # calm throughout
    quantiles = forecasts(facts, widened=slice(270, 275))
    tower, state = Watchtower(facts, live), facts.state
    for bars in (250, 271, 272, 300):
        facts.state = state[:bars]
        tower.look()
        tower.look_ahead(quantiles[:bars])
    found = [one for one in live.alerts() if one.rule == "quantile" and one.ts_ns == facts.stamps()[270]]
    assert {one.basket for one in found} == {"eur", "xau"}
    assert all(one.is_ahead and one.evidence["horizon_seconds"] == 3600 for one in found)
    chance = found[0].evidence["probability"]
    assert isinstance(chance, dict)
    assert 0.75 <= chance["low"] <= chance["value"] <= chance["high"] <= 1.0
    assert "5 % of training exceed" in chance["of"]
    other = looked(facts, again, [300])
    other.look_ahead(quantiles)
    other.look_ahead(quantiles)
    assert keys(live.alerts()) == keys(again.alerts())


def test_another_model_sets_the_limits_of_its_forecasts_anew() -> None:
    records = Records(":memory:")
    facts = published(300)
    tower = looked(facts, records, [300])
    tower.look_ahead(forecasts(facts, widened=slice(0, 0)))
    before = records.get("alert_rules")
    facts.server = object()  # type: ignore[assignment]
    tower.look_ahead(2.0 * forecasts(facts, widened=slice(0, 0)) + np.linspace(0, 1, 300)[:, None, None])
    after = records.get("alert_rules")
    assert isinstance(before, dict)
    assert isinstance(after, dict)
    assert before["limits"]["quantile/eur"] != after["limits"]["quantile/eur"]
    assert before["limits"]["cusum/eur"] == after["limits"]["cusum/eur"]


def test_without_forecasts_in_training_there_is_no_quantile_rule() -> None:
    records = Records(":memory:")
    facts = published(300)
    tower = looked(facts, records, [300])
    empty = np.full((300, 2, len(QUANTILES)), np.nan)
    tower.look_ahead(empty)
    empty[250:] = 1.0
    tower.look_ahead(empty)
    assert not any(one.rule == "quantile" for one in records.alerts())


def test_the_system_is_driven_by_its_baskets() -> None:
    records = Records(":memory:")
    facts = published(360)
    facts.state[330:345, 1] -= 5.0  # eur alone is stressed
    looked(facts, records, [360])
    found = next(one for one in records.alerts() if one.basket == SYSTEM and one.ts_ns > facts.stamps()[325])
    drivers = found.evidence["drivers"]
    assert isinstance(drivers, list)
    assert drivers[0]["name"] == "eur"
