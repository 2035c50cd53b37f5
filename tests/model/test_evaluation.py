from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hansa.errors import ModelError
from hansa.model.evaluation import (
    diebold_mariano,
    mape,
    next_bar,
    purged_split,
    rmse,
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
