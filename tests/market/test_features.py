from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hansa.errors import DataError
from hansa.market import features

if TYPE_CHECKING:
    from jaxtyping import Int

SERIES = st.lists(st.one_of(st.floats(-100, 100), st.just(float("nan"))), min_size=1, max_size=60)


def _reference(
    values: list[float], slot: Int[np.ndarray, " time"], window: int, minimum: int, clip: float = 4.0
) -> Any:
    out = np.full(len(values), np.nan)
    for t, value in enumerate(values):
        past = [values[i] for i in range(max(0, t - window), t) if slot[i] == slot[t] and not np.isnan(values[i])]
        if np.isnan(value) or len(past) < minimum:
            continue
        scale = 1.4826 * np.median(np.abs(past - np.median(past)))
        scale = scale or 1.2533 * np.mean(np.abs(past - np.median(past)))
        gap = value - np.median(past)
        out[t] = np.clip(gap / scale if scale else (0.0 if gap == 0 else np.copysign(9, gap)), -clip, clip)
    return out


def test_scores_are_those_of_a_plain_loop() -> None:
    rng = np.random.default_rng(1)
    values = np.round(rng.normal(size=400), 1)
    values[rng.random(400) < 0.2] = np.nan
    slot = np.arange(400) % 7
    got = features.trailing_zscores(values, slot, window_bars=90, minimum=4)
    np.testing.assert_allclose(got, _reference(values, slot, 90, 4), atol=1e-9)


@settings(max_examples=60, deadline=None)
@given(SERIES, st.integers(1, 5), st.integers(1, 40), st.data())
def test_changing_the_future_never_changes_a_past_score(
    values: list[float], slots: Any, window: int, data: st.DataObject
) -> None:
    before = np.array(values)
    cut = data.draw(st.integers(0, len(values)))
    after = before.copy()
    after[cut:] = np.array(data.draw(st.lists(st.floats(-1e6, 1e6), min_size=len(values), max_size=len(values))))[cut:]
    slot = np.arange(len(values)) % slots
    first, second = (features.trailing_zscores(v, slot, window_bars=window, minimum=1) for v in (before, after))
    np.testing.assert_array_equal(first[:cut], second[:cut])


def test_a_score_excludes_its_own_value() -> None:
    values = np.array([1.0, 2.0, 3.0, 1e9])
    assert features.trailing_zscores(values, np.zeros(4, dtype=int), window_bars=3, minimum=3)[3] == 4.0
    assert np.isnan(features.trailing_zscores(values, np.zeros(4, dtype=int), window_bars=2, minimum=3)).all()


def test_a_constant_past_scores_an_equal_value_zero_and_another_at_the_clip() -> None:
    values = np.array([0.1, 0.1, 0.1, 0.1, 0.05])
    scores = features.trailing_zscores(values, np.zeros(5, dtype=int), window_bars=5, minimum=2)
    assert scores[3:].tolist() == [0.0, -4.0]


def test_a_score_beyond_all_numbers_is_clipped() -> None:
    values = np.array([0.0, 1e-200, 2e-200, 1e150])
    assert features.trailing_zscores(values, np.zeros(4, dtype=int), window_bars=3, minimum=3)[3] == 4.0


@pytest.mark.parametrize(("values", "slots", "window"), [([1.0, 2.0], [0], 5), ([1.0], [0], 0), ([np.inf], [0], 5)])
def test_scores_of_odd_shapes_settings_or_infinities_are_refused(values: list[float], slots: Any, window: int) -> None:
    with pytest.raises(DataError):
        features.trailing_zscores(np.array(values), np.array(slots), window_bars=window, minimum=1)


def test_trailing_means_use_the_present_values_and_the_bar_itself() -> None:
    values = np.array([[1.0, 10.0], [np.nan, 20.0], [3.0, np.nan], [5.0, np.nan]])
    got = features.har_lags(values, [1, 2])
    np.testing.assert_allclose(got[:, 0], [1.0, np.nan, 3.0, 5.0])
    np.testing.assert_allclose(got[:, 1], [1.0, 1.0, 3.0, 4.0])
    np.testing.assert_allclose(got[:, 2], [10.0, 20.0, np.nan, np.nan])
    np.testing.assert_allclose(got[:, 3], [10.0, 15.0, 20.0, np.nan])


@settings(max_examples=40, deadline=None)
@given(SERIES, st.lists(st.integers(1, 80), min_size=1, max_size=3), st.data())
def test_changing_the_future_never_changes_a_past_mean_or_a_carried_value(
    values: list[float], lags: list[int], data: st.DataObject
) -> None:
    before = np.array(values)[:, None]
    cut = data.draw(st.integers(0, len(values)))
    after = before.copy()
    after[cut:] = 7.0
    np.testing.assert_array_equal(features.har_lags(before, lags)[:cut], features.har_lags(after, lags)[:cut])
    np.testing.assert_array_equal(features.carry_forward(before)[:cut], features.carry_forward(after)[:cut])


def test_trailing_means_of_a_lag_of_zero_are_refused() -> None:
    with pytest.raises(DataError, match="lags >= 1"):
        features.har_lags(np.ones((3, 1)), [0])


def test_the_last_value_is_carried_and_nothing_comes_before_the_first() -> None:
    values = np.array([np.nan, 1.0, np.nan, 2.0, np.nan])
    np.testing.assert_array_equal(features.carry_forward(values), [np.nan, 1.0, 1.0, 2.0, 2.0])


def test_harmonics_of_the_first_and_the_quarter_slot() -> None:
    got = features.harmonics(np.array([0, 72]), 288)
    np.testing.assert_allclose(got, [[0, 1, 0, 1], [1, 0, 0, -1]], atol=1e-12)


def test_harmonics_of_a_slot_outside_the_day_are_refused() -> None:
    with pytest.raises(DataError, match="slots_per_day"):
        features.harmonics(np.array([288]), 288)


def test_the_last_score_is_the_trailing_one() -> None:
    values = np.random.default_rng(0).standard_normal(80)
    values[::7] = np.nan
    trailing = features.trailing_zscores(values, np.zeros(80, dtype=int), window_bars=80, minimum=10)
    for bar in range(1, 80):
        found = features.last_zscore(values[: bar + 1], minimum=10)
        assert found == trailing[bar] or (np.isnan(found) and np.isnan(trailing[bar]))
    with pytest.raises(DataError, match="one value"):
        features.last_zscore(np.empty(0), minimum=1)
