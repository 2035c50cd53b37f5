"""Claims about calibrated quantiles: they cover what they say, also after a shift; they know nothing of the future."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hansa.errors import ModelError
from hansa.model.conformal import CalibrationRule, Calibrator, calibrate, calibrate_baskets, coverage
from hansa.model.design import QUANTILES

BARS = 5000
LATE = slice(600, None)


def outcomes(deviation: np.ndarray, *, drift: float = 0.0, heavy: bool = False) -> np.ndarray:
    rng = np.random.default_rng(3)
    noise = rng.standard_t(3, deviation.size) if heavy else rng.standard_normal(deviation.size)
    return np.asarray(deviation * noise + drift)


def too_narrow(bars: int = BARS) -> np.ndarray:
    return np.tile([-0.5, -0.2, 0.0, 0.2, 0.5], (bars, 1))


@pytest.mark.parametrize(
    ("deviation", "drift", "heavy"),
    [
        (np.ones(BARS), 0.0, False),
        (np.where(np.arange(BARS) < 2500, 1.0, 4.0), 0.0, False),
        (np.where(np.arange(BARS) < 2500, 4.0, 1.0), 0.0, True),
        (np.exp(np.sin(np.arange(BARS) / 150)), 0.7, True),
    ],
    ids=["too narrow", "variance times 16", "variance falls, heavy tails", "variance swings, biased"],
)
@pytest.mark.parametrize("horizon", [1, 12])
def test_the_outer_band_covers_nine_of_ten(deviation: np.ndarray, drift: float, horizon: int, *, heavy: bool) -> None:
    actual = outcomes(deviation, drift=drift, heavy=heavy)
    found = calibrate(too_narrow(), actual, horizon_bars=horizon)
    inside, below = coverage(found[LATE][:-horizon], actual[LATE][horizon:])
    assert 0.88 <= inside <= 0.92
    np.testing.assert_allclose(below, QUANTILES, atol=0.02)
    plain, _ = coverage(too_narrow()[LATE][:-horizon], actual[LATE][horizon:])
    assert plain < 0.5


def test_a_shift_is_followed_within_a_day() -> None:
    deviation = np.where(np.arange(BARS) < 2500, 1.0, 4.0)
    actual = outcomes(deviation)
    found = calibrate(too_narrow(), actual)
    inside, _ = coverage(found[2500:2788], actual[2501:2789])
    assert inside > 0.85


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), cut=st.integers(60, 298), horizon=st.integers(1, 5))
def test_what_comes_later_changes_nothing(seed: int, cut: int, horizon: int) -> None:
    rng = np.random.default_rng(seed)
    actual = rng.standard_normal(300)
    raw = np.sort(rng.standard_normal((300, 5)), axis=1)
    found = calibrate(raw, actual, horizon_bars=horizon)
    assert (np.diff(found, axis=1) >= 0).all()
    later, moved = actual.copy(), raw.copy()
    later[cut + 1 :] = 100 * rng.standard_normal(299 - cut)
    moved[cut + 1 :] += 5.0
    again = calibrate(moved, later, horizon_bars=horizon)
    np.testing.assert_array_equal(again[: cut + 1], found[: cut + 1])


def test_an_outcome_is_used_when_it_is_known_and_no_earlier() -> None:
    actual = outcomes(np.ones(300))
    moved = actual.copy()
    moved[200] += 50.0
    for horizon in (1, 3):
        one, other = (calibrate(too_narrow(300), series, horizon_bars=horizon) for series in (actual, moved))
        assert np.flatnonzero((one != other).any(axis=1))[0] == 200


def test_bar_by_bar_is_the_same_as_all_at_once() -> None:
    actual, raw = outcomes(np.ones(400)), too_narrow(400)
    calibrator = Calibrator(horizon_bars=2)
    rows = [calibrator.advance(*row) for row in zip(actual.tolist(), raw.tolist(), strict=True)]
    np.testing.assert_array_equal(np.array(rows), calibrate(raw, actual, horizon_bars=2))
    both = calibrate_baskets(np.stack([raw, 2 * raw], axis=1), np.stack([actual, actual], axis=1))
    np.testing.assert_array_equal(both[:, 0], calibrate(raw, actual))
    np.testing.assert_array_equal(both[:, 1], calibrate(2 * raw, actual))


def test_until_enough_is_known_forecasts_are_issued_as_they_came() -> None:
    rule = CalibrationRule(minimum=50)
    found = calibrate(too_narrow(300), outcomes(np.ones(300)), rule=rule)
    np.testing.assert_array_equal(found[:51], too_narrow(51))
    assert (found[52:] != too_narrow(248)).any()


def test_absent_outcomes_and_forecasts_teach_nothing_and_break_nothing() -> None:
    actual, raw = outcomes(np.ones(1200)), too_narrow(1200)
    actual[100:400:2] = np.nan
    raw[700:720] = np.nan
    found = calibrate(raw, actual)
    assert np.isnan(found[700:720]).all()
    assert np.isfinite(np.delete(found, np.arange(700, 720), axis=0)).all()
    assert coverage(found[800:-1], actual[801:])[0] == pytest.approx(0.9, abs=0.04)


def test_outcomes_without_any_error_do_not_divide_by_zero() -> None:
    found = calibrate(np.zeros((200, 5)), np.zeros(200))
    np.testing.assert_array_equal(found, 0.0)


def test_what_cannot_be_calibrated_is_refused() -> None:
    with pytest.raises(ModelError, match=r"shape \(10, 5\)"):
        calibrate(np.zeros((9, 5)), np.zeros(10))
    for levels in ((0.05, 0.95), (0.5, 0.25), (0.0, 0.5), (0.5, 1.0)):
        with pytest.raises(ModelError, match="ascending levels"):
            Calibrator(levels)
    with pytest.raises(ModelError, match="horizon"):
        Calibrator(horizon_bars=0)
    for words in ({"step": 0.0}, {"window": 10}, {"half_life_bars": 0.0}, {"minimum": 1}):
        with pytest.raises(ModelError, match="expected a step"):
            CalibrationRule(**words)  # type: ignore[arg-type] # each name has its own type
    with pytest.raises(ModelError, match="one outcome for each row"):
        coverage(np.zeros((3, 5)), np.zeros(4))
    with pytest.raises(ModelError, match="a row with a forecast"):
        coverage(np.full((3, 5), np.nan), np.zeros(3))
