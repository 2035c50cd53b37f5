from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hansa.errors import ModelError
from hansa.model.early_warning import DAY_NS, MINUTE_NS, alerts, covered_ns, score, threshold_at_rate


def test_one_excursion_is_one_alert_and_unknown_bars_are_none() -> None:
    index = np.array([np.nan, 9.0, 9.0, 9.0, 1.0, 9.0, 9.0, 1.0, np.nan, 9.0])
    np.testing.assert_array_equal(alerts(index, 5.0, refractory_bars=1), [1, 5, 9])
    np.testing.assert_array_equal(alerts(index, 5.0, refractory_bars=2), [1, 9])
    np.testing.assert_array_equal(alerts(index, 5.0, refractory_bars=5), [1])
    assert alerts(index, 99.0, refractory_bars=2).size == 0


@given(st.integers(0, 500), st.floats(0.1, 5.0), st.integers(0, 40))
@settings(max_examples=25, deadline=None)
def test_the_threshold_keeps_its_rate_on_the_training_part(seed: int, rate: float, refractory: int) -> None:
    index = np.random.default_rng(seed).random(600)
    threshold = threshold_at_rate(index, alarms_per_day=rate, bars_per_day=48, refractory_bars=refractory)
    assert alerts(index, threshold, refractory_bars=refractory).size <= rate * 600 / 48


def test_alarms_in_known_episodes_do_not_count_against_the_threshold() -> None:
    index = np.random.default_rng(1).random(480)
    index[100:110] += 1.0
    calm = np.ones(480, dtype=bool)
    calm[95:115] = False
    with_calm = threshold_at_rate(index, alarms_per_day=0.1, bars_per_day=48, refractory_bars=12, calm=calm)
    without = threshold_at_rate(index, alarms_per_day=0.1, bars_per_day=48, refractory_bars=0)
    assert with_calm < without


def test_score_counts_hits_leads_and_false_alarms() -> None:
    fired = np.array([10, 50, 95, 300]) * MINUTE_NS
    onsets = np.array([60, 90, 500]) * MINUTE_NS
    result = score(fired, onsets, horizon_ns=30 * MINUTE_NS, grace_ns=10 * MINUTE_NS, span_ns=(0, 1440 * MINUTE_NS))
    assert (result.hits, result.misses, result.false_alarms) == (2, 1, 2)
    assert result.lead_minutes == (10.0, -5.0)
    assert result.median_lead_minutes == 2.5
    assert result.hit_rate == pytest.approx(2 / 3)
    assert result.false_alarms_per_day == pytest.approx(2 * 1440 / (1440 - 70 - 40))
    assert result.chance_hit_rate == pytest.approx(1 - np.exp(-4 * 40 / 1440))


def test_one_alert_a_day_hits_a_two_day_window_by_luck() -> None:
    fired = np.arange(100) * DAY_NS + DAY_NS // 2
    result = score(fired, np.array([50 * DAY_NS]), horizon_ns=2 * DAY_NS, span_ns=(0, 100 * DAY_NS))
    assert result.chance_hit_rate == pytest.approx(0.8647, abs=1e-3)


def test_nothing_fired_and_nothing_happened_give_empty_scores() -> None:
    none = np.array([], dtype=np.int64)
    quiet = score(none, np.array([5 * DAY_NS]), horizon_ns=DAY_NS, span_ns=(0, 9 * DAY_NS))
    assert (quiet.hits, quiet.misses, quiet.chance_hit_rate) == (0, 1, 0.0)
    assert np.isnan(quiet.median_lead_minutes)
    assert np.isnan(score(none, none, horizon_ns=DAY_NS, span_ns=(0, DAY_NS)).hit_rate)


def test_alerts_later_in_an_episode_are_neither_hit_nor_false() -> None:
    fired = np.array([95, 150, 300]) * MINUTE_NS
    settings_ns = {"horizon_ns": 30 * MINUTE_NS, "grace_ns": 10 * MINUTE_NS, "span_ns": (0, 1440 * MINUTE_NS)}
    result = score(fired, np.array([90 * MINUTE_NS]), ends_ns=np.array([200 * MINUTE_NS]), **settings_ns)  # type: ignore[arg-type]
    assert (result.hits, result.false_alarms) == (1, 1)
    assert result.false_alarms_per_day == pytest.approx(1440 / (1440 - 140))


def test_overlapping_windows_are_covered_once() -> None:
    assert covered_ns(np.array([7, 5]), np.array([17, 15]), (0, 100)) == 12
    assert covered_ns(np.array([-3]), np.array([2]), (0, 100)) == 2


def test_faulty_settings_are_refused() -> None:
    with pytest.raises(ModelError, match="training part"):
        threshold_at_rate(np.full(4, np.nan), alarms_per_day=1.0, bars_per_day=48, refractory_bars=1)
    with pytest.raises(ModelError, match="span"):
        score(np.array([1]), np.array([1]), horizon_ns=1, span_ns=(5, 5))
