"""Claims about the rules that warn: tuned on training alone, and the same bar by bar as all at once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hansa.errors import ModelError
from hansa.model.detection import SCORE_CLIP, Cusum, fit_reference, warning_score
from hansa.model.early_warning import DAY_NS, alerts
from hansa.model.warning_rules import (
    DETECTORS,
    STATE_RULES,
    Pace,
    RuleName,
    Stress,
    Tuned,
    Watch,
    exceedance,
    false_alerts_per_day,
    tune,
)

HOUR = Pace(DAY_NS // 24, 24 * 10, 0.5)
RULES: tuple[RuleName, ...] = ("threshold", "cusum", "shiryaev_roberts", "quantile", "lsi")


def series(seed: int, bars: int = 500) -> np.ndarray:
    rng = np.random.default_rng(seed)
    found = rng.standard_normal(bars)
    found[rng.uniform(size=bars) < 0.05] = np.nan
    found[300:330] += 3.0
    return found


@pytest.mark.parametrize("rule", RULES)
@given(st.integers(0, 50), st.lists(st.integers(1, 60), min_size=1, max_size=20))
@settings(max_examples=8, deadline=None)
def test_bar_by_bar_says_what_all_at_once_says(rule: RuleName, seed: int, steps: list[int]) -> None:
    values = series(seed)
    tuned = tune(rule, values, HOUR)
    whole = Watch(tuned)
    at_once = whole.see(values)
    live, found = Watch(tuned), []
    for step in [*steps, values.size]:
        found += live.see(values[: live.bars + step], live.bars)
    assert found == at_once == whole.alerts().tolist()
    np.testing.assert_array_equal(live.alarms(), whole.alarms())
    np.testing.assert_array_equal(live.statistic(), whole.statistic())


@pytest.mark.parametrize("rule", RULES)
def test_a_bar_that_changes_is_seen_as_if_it_had_always_been_so(rule: RuleName) -> None:
    values = series(3)
    gap = values.copy()
    gap[310:315] = np.nan
    tuned = tune(rule, values, HOUR)
    late, never = Watch(tuned), Watch(tuned)
    late.see(gap)
    late.see(values, 310)
    never.see(values)
    np.testing.assert_array_equal(late.alarms(), never.alarms())
    np.testing.assert_array_equal(late.statistic(), never.statistic())


@pytest.mark.parametrize("rule", RULES)
def test_what_comes_after_training_moves_no_limit(rule: RuleName) -> None:
    values = series(4)
    changed = values.copy()
    changed[HOUR.train_bars :] += 9.0
    assert tune(rule, values, HOUR) == tune(rule, changed, HOUR)


@pytest.mark.parametrize("rule", RULES)
def test_training_has_about_as_many_false_alerts_as_were_accepted(rule: RuleName) -> None:
    pace = Pace(DAY_NS // 288, 288 * 20, 1.0)
    rng = np.random.default_rng(5)
    values = np.convolve(rng.standard_normal(288 * 40 + 5), np.ones(6) / 6, mode="valid")[: 288 * 40]
    tuned = tune(rule, values, pace)
    assert tuned.calm_days == 20
    assert tuned.calm_alerts <= (20 if rule not in DETECTORS else 30)
    watch = Watch(tuned)
    after = sum(bar >= pace.train_bars for bar in watch.see(values))
    assert 5 <= after <= 40, "calm that is like training goes on at about one a day"


@pytest.mark.parametrize("rule", RULES)
def test_stress_that_lasts_is_one_alert_and_is_found(rule: RuleName) -> None:
    values = np.random.default_rng(6).standard_normal(500)
    values[400:460] += 6.0
    found = [bar for bar in Watch(tune(rule, values, HOUR)).see(values) if 400 <= bar < 460]
    assert len(found) == 1
    assert found[0] < 405


def test_a_detector_starts_again_after_an_alarm_and_a_missing_bar_changes_nothing() -> None:
    values = np.array([0.0, 3.0, np.nan, 0.0, 1.4, 1.4, 3.0])
    pace = Pace(DAY_NS // 24, 7, 1.0)
    watch = Watch(Tuned("cusum", 2.0, pace))
    watch.see(values)
    np.testing.assert_array_equal(np.flatnonzero(watch.alarms()), [1, 6])
    assert np.isnan(watch.statistic()[2])
    gone = Watch(Tuned("cusum", 2.0, pace))
    gone.see(values[np.isfinite(values)])
    np.testing.assert_array_equal(np.flatnonzero(gone.alarms()), [1, 5])
    assert DETECTORS["cusum"] == Cusum(1.0)


def test_an_excursion_begins_where_the_level_left_zero() -> None:
    watch = Watch(Tuned("cusum", 100.0, Pace(DAY_NS // 24, 4, 1.0)))
    watch.see(np.array([2.0, -9.0, 1.0, 1.0, 1.0]))
    assert watch.since(4) == 2
    flat = Watch(Tuned("threshold", 100.0, Pace(DAY_NS // 24, 4, 1.0)))
    flat.see(np.arange(5.0))
    assert flat.since(4) == 4


def test_alerts_of_the_threshold_rule_are_those_of_its_definition() -> None:
    values = series(8)
    tuned = tune("threshold", values, HOUR)
    watch = Watch(tuned)
    wanted = alerts(values, tuned.limit, refractory_bars=HOUR.refractory_bars)
    assert watch.see(values) == wanted.tolist()


def test_a_watch_does_not_jump_over_bars() -> None:
    watch = Watch(tune("threshold", series(1), HOUR))
    watch.see(series(1)[:20])
    with pytest.raises(ModelError, match="first bar up to 20"):
        watch.see(series(1), 21)


@pytest.mark.parametrize("rule", RULES)
def test_a_training_part_that_says_nothing_is_refused(rule: RuleName) -> None:
    values = series(2)
    values[: HOUR.train_bars] = np.nan
    with pytest.raises(ModelError):
        tune(rule, values, HOUR)


def test_a_long_training_part_sets_a_rarer_limit_than_a_short_one_can() -> None:
    assert false_alerts_per_day(60) == false_alerts_per_day(20) == 0.05
    assert false_alerts_per_day(19.9) == false_alerts_per_day(2) == 1.0
    assert Pace.usual(DAY_NS // 24, 24 * 30).rate == 0.05


@pytest.mark.parametrize(("bar_seconds", "bars_per_day", "quiet"), [(300, 288, 36), (3600, 24, 3), (86_400, 1, 1)])
def test_bars_a_day_and_the_quiet_time_follow_from_the_bars_length(
    bar_seconds: int, bars_per_day: int, quiet: int
) -> None:
    pace = Pace.usual(bar_seconds * 1_000_000_000, 40)
    assert (pace.bars_per_day, pace.refractory_bars) == (bars_per_day, quiet)


def test_the_parts_of_a_score_sum_to_it() -> None:
    rng = np.random.default_rng(1)
    values, slot = rng.standard_normal((200, 3)), np.zeros(200, dtype=int)
    values[150, 1] = np.nan
    stress = Stress.of(values[:100], slot[:100], signs=(1, -1, 1), weights=(0.25, 0.25, 0.0), bars_per_day=1)
    score = stress.score(values, slot)
    np.testing.assert_allclose(stress.parts(values, slot).sum(axis=1), score)
    reference = fit_reference(values[:100], slot[:100], slots_per_day=1)
    np.testing.assert_array_equal(score, warning_score(reference.scores(values, slot), (1, -1, 1), (0.25, 0.25, 0.0)))
    assert (stress.parts(values, slot)[:, 2] == 0).all(), "a measure without a weight adds nothing"
    assert np.abs(score).max() <= SCORE_CLIP


@pytest.mark.parametrize("rule", STATE_RULES)
def test_the_chance_of_a_false_alert_lies_in_its_interval(rule: RuleName) -> None:
    value, low, high = tune(rule, series(9), HOUR).chance(24.0)
    assert 0 <= low <= value <= high <= 1
    assert value == pytest.approx(1 - np.exp(-0.5))


def test_a_forecast_says_how_likely_a_cost_is_exceeded_and_how_well_it_knows() -> None:
    quantiles, levels = np.array([1.0, 2.0, 4.0]), (0.05, 0.5, 0.95)
    assert exceedance(quantiles, levels, 3.0) == (0.275, 0.05, 0.5)
    assert exceedance(quantiles, levels, 9.0) == (0.05, 0.0, 0.05)
    assert exceedance(quantiles, levels, 0.0) == (0.95, 0.95, 1.0)
    assert exceedance(np.array([1.0, 1.0, 1.0]), levels, 1.0)[2] == 1.0
