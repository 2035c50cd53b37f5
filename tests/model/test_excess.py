from __future__ import annotations

import numpy as np
import pytest

from hansa.errors import ModelError
from hansa.model.excess import excess_index, volatility_regressors
from hansa.model.point_in_time import first_look_ahead

BARS, DAY = 900, 24
RNG = np.random.default_rng(0)
VARIANCE = np.exp(np.cumsum(0.1 * RNG.standard_normal(BARS)) * 0.3 - 10)
X = volatility_regressors(VARIANCE, bars_per_day=DAY)


def test_an_index_that_only_says_volatility_again_has_no_excess() -> None:
    index = 40 + 5 * X[:, 1] + 2 * X[:, 2]
    excess = excess_index(index, X, window_bars=480, minimum=100)
    assert np.isnan(excess[:100]).all()
    assert np.nanmax(np.abs(excess)) < 1e-2


def test_stress_beyond_volatility_is_what_remains() -> None:
    index = 40 + 5 * X[:, 1] + RNG.standard_normal(BARS)
    index[700:706] += 25
    excess = excess_index(index, X, window_bars=480, minimum=100)
    assert excess[700] == pytest.approx(25, abs=4)
    assert abs(np.nanmean(excess[200:700])) < 0.5


def test_the_week_is_the_mean_of_what_is_there() -> None:
    holes = VARIANCE.copy()
    holes[3::5] = np.nan
    found = volatility_regressors(holes, bars_per_day=DAY)
    assert np.isnan(found[3, 1])
    assert found[500, 2] == pytest.approx(np.log(np.nanmean(holes[500 - 7 * DAY + 1 : 501])))


def test_locked_and_missing_bars_have_no_excess_and_teach_nothing() -> None:
    index = 40 + 5 * X[:, 1] + RNG.standard_normal(BARS)
    locked = VARIANCE.copy()
    locked[600:610] = 0.0
    excess = excess_index(index, volatility_regressors(locked, bars_per_day=DAY), window_bars=480, minimum=100)
    assert np.isnan(excess[600:610]).all()
    assert np.isfinite(excess[610:]).all()


def test_it_never_looks_ahead_and_a_planted_look_is_found() -> None:
    index = 40 + 5 * X[:, 1] + RNG.standard_normal(BARS)
    both = np.column_stack([index, VARIANCE])

    def honest(state: np.ndarray) -> np.ndarray:
        return excess_index(
            state[:, 0], volatility_regressors(state[:, 1], bars_per_day=DAY), window_bars=480, minimum=100
        )

    def peeking(state: np.ndarray) -> np.ndarray:
        return honest(state) - np.nanmean(state[:, 0])

    assert first_look_ahead(honest, both, range(150, BARS, 37)) is None
    assert first_look_ahead(peeking, both, range(150, BARS, 37)) == 150


def test_implied_volatility_joins_where_a_source_has_it() -> None:
    implied = np.exp(RNG.standard_normal(BARS))
    assert volatility_regressors(VARIANCE, bars_per_day=DAY, implied=implied).shape == (BARS, 4)
    with pytest.raises(ModelError, match="implied"):
        volatility_regressors(VARIANCE, bars_per_day=DAY, implied=implied[:3])
    with pytest.raises(ModelError, match="regressors"):
        excess_index(np.zeros(3), X, window_bars=5, minimum=1)
