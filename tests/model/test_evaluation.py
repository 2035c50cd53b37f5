from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hansa.errors import ModelError
from hansa.model.evaluation import (
    bar_losses,
    diebold_mariano,
    mape,
    next_bar,
    purged_split,
    qlike,
    rmse,
    walk_forward,
)


def forecasts(seed: int = 0, days: int = 20) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    actual = generator.standard_normal(days * 48)
    good = actual + 0.3 * generator.standard_normal(actual.size)
    poor = actual + 0.6 * generator.standard_normal(actual.size)
    return good, poor, actual


def test_errors_have_their_known_values() -> None:
    assert mape(np.log([1.2, 0.9]), np.log([1.0, 1.0])) == pytest.approx(0.15)
    assert rmse(np.array([3.0, 0.0]), np.array([0.0, 4.0])) == pytest.approx(np.sqrt(12.5))


@given(st.integers(600, 5000), st.floats(0.3, 0.8), st.integers(0, 30))
@settings(max_examples=40)
def test_no_label_of_one_part_lies_in_the_next(bars: int, share: float, embargo: int) -> None:
    split = purged_split(bars, warm_up_bars=24, train_share=share, embargo_bars=embargo)
    assert split.train[0] >= 24
    assert split.train[-1] + 1 <= split.test[0] - embargo
    assert split.fit[-1] + 1 <= split.validation[0] - embargo
    assert split.validation[-1] == split.train[-1]
    assert split.test[-1] == bars - 2


def test_too_short_a_series_is_refused() -> None:
    with pytest.raises(ModelError, match="expected bars"):
        purged_split(300)


def test_next_bar_ends_with_nothing() -> None:
    np.testing.assert_array_equal(next_bar(np.array([1.0, 2.0])), [2.0, np.nan])


def test_diebold_mariano_finds_the_better_and_not_a_better_of_equals() -> None:
    good, poor, actual = forecasts()
    result = diebold_mariano((good - actual) ** 2, (poor - actual) ** 2)
    assert result.statistic < -5
    assert result.p_value < 1e-6
    assert diebold_mariano(good, good).p_value == 1.0
    generator = np.random.default_rng(1)
    assert diebold_mariano(generator.standard_normal(2000), generator.standard_normal(2000)).p_value > 0.05


def test_faulty_series_are_refused() -> None:
    good, poor, actual = forecasts()
    with pytest.raises(ModelError, match="one length"):
        mape(good[1:], actual)
    with pytest.raises(ModelError, match="finite"):
        rmse(np.append(good[1:], np.nan), actual)
    with pytest.raises(ModelError, match="lags"):
        diebold_mariano(good[:5], poor[:5])


def test_diebold_mariano_has_its_known_value() -> None:
    """Differences 1, 2, 3, 4 without lags: mean 2.5, variance 1.25, statistic 2.5 / sqrt(1.25 / 4) * sqrt(3 / 4)."""
    loss = np.array([1.0, 2.0, 3.0, 4.0])
    found = diebold_mariano(loss, np.zeros(4), lags=0)
    assert found.statistic == pytest.approx(2.5 / np.sqrt(1.25 / 4) * np.sqrt(3 / 4))
    further = diebold_mariano(loss, np.zeros(4), lags=0, horizon_bars=2)
    assert further.statistic == pytest.approx(2.5 / np.sqrt(1.25 / 4) * np.sqrt((4 + 1 - 4 + 2 / 4) / 4))


def test_autocorrelated_differences_need_their_lags() -> None:
    """An AR(1) of no mean: without lags the test rejects far too often, with them nearly as often as it says."""
    rejected = {0: 0, 20: 0}
    for seed in range(150):
        shocks = np.random.default_rng(seed).standard_normal(600)
        path = np.zeros(600)
        for bar in range(1, 600):
            path[bar] = 0.8 * path[bar - 1] + shocks[bar]
        for lags in rejected:
            rejected[lags] += diebold_mariano(path, np.zeros(600), lags=lags).p_value < 0.05
    assert rejected[0] > 50
    assert rejected[20] < 25


def test_qlike_punishes_a_cost_forecast_too_low_more() -> None:
    actual = np.zeros(1)
    assert qlike(actual, actual) == 0.0
    assert qlike(np.log([0.5]), actual) == pytest.approx(2 - np.log(2) - 1)
    assert qlike(np.array([-1.0]), actual) > qlike(np.array([1.0]), actual) > 0
    assert np.isnan(bar_losses(np.array([np.nan]), "qlike")).all()


@given(st.integers(600, 3000), st.integers(1, 5), st.integers(1, 40), st.integers(1, 5))
@settings(max_examples=60)
def test_no_bar_is_in_a_training_row_and_in_a_test_row(bars: int, folds: int, lookback: int, horizon: int) -> None:
    """Fails where the embargo is shorter by one bar: the last training label ends one bar before the first lag."""
    for split in walk_forward(bars, folds=folds, lookback_bars=lookback, horizon_bars=horizon):
        trained = split.train[-1] + horizon  # the newest bar that training sees: a label
        tested = split.test[0] - lookback + 1  # the oldest that testing sees: a regressor
        assert trained < tested
        assert split.train[0] == lookback - 1
        assert split.test[-1] + horizon <= bars - 1
        assert split.fit[-1] < split.validation[0]


def test_folds_follow_each_other_and_training_grows() -> None:
    splits = walk_forward(1000, folds=3, lookback_bars=20)
    assert [one.train.size for one in splits] == sorted(one.train.size for one in splits)
    for before, after in pairwise(splits):
        assert before.test[-1] < after.test[0]


def test_a_memory_of_neighbours_profits_without_an_embargo_and_not_with_one() -> None:
    """Labels are sums over 20 bars of pure noise. A forecast that copies the nearest training label looks skilled."""
    noise = np.random.default_rng(5).standard_normal(20_000)
    label = np.convolve(noise, np.ones(20), mode="valid")

    split = walk_forward(label.size, folds=1, lookback_bars=20, horizon_bars=20)[0]
    assert split.test[0] - split.train[-1] >= 40
    leaky, sound = [], []
    for shift in range(0, 4000, 40):
        last = int(split.train[-1]) - shift
        leaky.append(abs(label[last + 1] - label[last]) / label.std())
        sound.append(abs(label[last + (split.test[0] - split.train[-1])] - label[last]) / label.std())
    assert np.mean(leaky) < 0.4, "the next row's label is nearly the same sum"
    assert np.mean(sound) > 0.9, "beyond the embargo it is another sum"


def test_an_embargo_shorter_than_lookback_and_horizon_is_refused() -> None:
    walk_forward(1000, folds=2, lookback_bars=20, horizon_bars=2, embargo_bars=22)
    with pytest.raises(ModelError, match=r"at least lookback \+ horizon = 22"):
        walk_forward(1000, folds=2, lookback_bars=20, horizon_bars=2, embargo_bars=21)
    with pytest.raises(ModelError, match="fewer folds"):
        walk_forward(200, folds=10, lookback_bars=20)
