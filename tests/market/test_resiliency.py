"""Claims about resiliency and book-free spreads: simulated truths, locked bars, no look ahead."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hansa.errors import DataError
from hansa.market.resiliency import (
    abdi_ranaldo_bps,
    exceedance_bars,
    half_life_bars,
    refill_bars,
    roll_spread_bps,
)


@given(st.sampled_from([0.5, 0.8, 0.95]))
@settings(max_examples=3, deadline=None)
def test_the_half_life_of_an_ar1_is_found(rho: float) -> None:
    noise = np.random.default_rng(1).standard_normal(6000)
    series = np.zeros(6000)
    for bar in range(1, 6000):
        series[bar] = rho * series[bar - 1] + noise[bar]
    found = half_life_bars(series, window_bars=5000, minimum=100)
    assert found[-1] == pytest.approx(-np.log(2) / np.log(rho), rel=0.12)
    assert np.isnan(found[:100]).all()


def test_deviations_that_do_not_last_have_no_half_life_and_a_trend_never_fades() -> None:
    alternating = np.where(np.arange(200) % 2, 1.0, -1.0)
    assert half_life_bars(alternating, window_bars=100, minimum=50)[-1] == 0.0
    growing = 1.01 ** np.arange(200.0)
    assert np.isinf(half_life_bars(growing, window_bars=100, minimum=50)[-1])


def test_exceedance_counts_bars_above_what_came_before_and_a_missing_bar_ends_nothing() -> None:
    values = np.concatenate([np.arange(50) % 7 / 7, [5.0, 5.0, np.nan, 5.0, 0.5, 6.0]])
    found = exceedance_bars(values, level=0.95, window_bars=40, minimum=20)
    np.testing.assert_array_equal(found[50:], [1, 2, 2, 3, 0, 1])


def test_depth_refills_after_the_median_wait() -> None:
    depth = np.array([10.0, 2.0, 5.0, 9.5, 10.0, 3.0, 9.0, 10.0])
    shock = np.zeros(8, dtype=bool)
    shock[[1, 5]] = True
    assert refill_bars(depth, shock) == 1.5
    assert np.isnan(refill_bars(depth, np.zeros(8, dtype=bool)))
    assert np.isinf(refill_bars(np.array([10.0, 1.0, 1.0]), np.array([False, True, False])))


def simulated(spread: float, bars: int = 4000, steps: int = 60) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return high, low and close of a random walk whose trades bounce between bid and ask."""
    rng = np.random.default_rng(3)
    walk = np.cumsum(1e-4 * rng.standard_normal((bars, steps))).reshape(bars, steps)
    traded = walk + np.where(rng.random((bars, steps)) < 0.5, -spread / 2, spread / 2)
    return np.exp(traded.max(axis=1)), np.exp(traded.min(axis=1)), np.exp(traded[:, -1])


@pytest.mark.parametrize("spread_bps", [20.0, 60.0])
def test_spreads_without_a_book_find_the_bounce(spread_bps: float) -> None:
    high, low, close = simulated(spread_bps * 1e-4)
    assert roll_spread_bps(close, window_bars=3900, minimum=100)[-1] == pytest.approx(spread_bps, rel=0.2)
    assert abdi_ranaldo_bps(high, low, close, window_bars=3900, minimum=100)[-1] == pytest.approx(spread_bps, rel=0.25)


def test_locked_and_missing_bars_are_left_out() -> None:
    high, low, close = simulated(4e-3, bars=600)
    plain = abdi_ranaldo_bps(high, low, close, window_bars=500, minimum=100)[-1]
    high[300:340] = low[300:340] = close[300:340]
    high[400] = low[400] = close[400] = np.nan
    holes = abdi_ranaldo_bps(high, low, close, window_bars=500, minimum=100)[-1]
    assert holes == pytest.approx(plain, rel=0.15)
    assert np.isfinite(roll_spread_bps(close, window_bars=500, minimum=100)[-1])


def test_nothing_looks_ahead() -> None:
    high, low, close = simulated(2e-3, bars=400)
    cut = 300
    for whole, part in (
        (roll_spread_bps(close, window_bars=99, minimum=50), roll_spread_bps(close[:cut], window_bars=99, minimum=50)),
        (
            abdi_ranaldo_bps(high, low, close, window_bars=99, minimum=50),
            abdi_ranaldo_bps(high[:cut], low[:cut], close[:cut], window_bars=99, minimum=50),
        ),
        (half_life_bars(close, window_bars=99, minimum=50), half_life_bars(close[:cut], window_bars=99, minimum=50)),
        (
            exceedance_bars(close, level=0.9, window_bars=99, minimum=50),
            exceedance_bars(close[:cut], level=0.9, window_bars=99, minimum=50),
        ),
    ):
        np.testing.assert_array_equal(whole[:cut], part)


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(DataError, match="windows"):
        roll_spread_bps(np.ones(3), window_bars=1, minimum=2)
    with pytest.raises(DataError, match="quantile"):
        exceedance_bars(np.ones(3), level=1.0, window_bars=5, minimum=2)
    with pytest.raises(DataError, match="share"):
        refill_bars(np.ones(3), np.zeros(3, dtype=bool), share=0.0)
    with pytest.raises(DataError, match="high"):
        abdi_ranaldo_bps(np.ones(3), np.ones(2), np.ones(3), window_bars=5, minimum=2)
