"""How fast liquidity comes back, and spreads of sources that have no book.

```
half-life      -log 2 / log rho bars, rho the AR(1) coefficient of log depth (or spread) about its mean
exceedance     bars in a row so far for which a measure has been above a limit that its past set
Roll           1e4 * 2 sqrt(max(0, -cov(r_t, r_{t-1})))                                                        bps
Abdi-Ranaldo   1e4 * sqrt(max(0, 4 mean((c_t - eta_t)(c_t - eta_{t+1}))))      c log close, eta log mid-range    bps
```
All over trailing bars, the bar itself included (its own close is known at its end); Abdi-Ranaldo's pairs end at t.
Corwin-Schultz is in `hansa.market.measures`. The noise measure (RMSE of yields about a fitted curve; Hu, Pan and Wang)
is not computed: it needs a cross-section of bond yields, which no reader of this project has.

Guarantees: point in time. Does NOT guarantee: that a trending or barely traded series has a usable Roll or Abdi-Ranaldo
spread; a negative estimate is 0, as in the sources, and locked bars (high = low) are left out, never read as calm.

Source: Roll, J. Finance 39(4), 1984; Abdi and Ranaldo, RFS 30(12), 2017; Meldrum and Sokolinskiy, FEDS 2025-014
(replenishment and fragility); Hu, Pan and Wang, J. Finance 68(6), 2013.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hansa.errors import DataError

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int


def half_life_bars(values: Float[np.ndarray, " bar"], *, window_bars: int, minimum: int) -> Float[np.ndarray, " bar"]:
    """Return the half-life of deviations of a log measure over trailing bars.

    Args:
        values: Log depth or log spread, NaN where missing; a pair with a missing bar is left out.
        window_bars: Bars up to t that are used.
        minimum: Fewest pairs of bars among them.

    Returns:
        Bars, 0 where deviations do not last, infinite where they do not fade; NaN while too little is known.

    Raises:
        DataError: A window is too small.
    """
    _check(window_bars, minimum)
    past, now = values[:-1], values[1:]
    known = np.isfinite(past) & np.isfinite(now)
    rho = _rolling_slope(past, now, known, window_bars, minimum)
    rho = np.concatenate([[np.nan], rho])
    with np.errstate(divide="ignore", invalid="ignore"):
        found = -np.log(2.0) / np.log(np.clip(rho, 0.0, None))
    return np.where(rho >= 1.0, np.inf, np.where(np.isnan(rho), np.nan, np.where(rho <= 0, 0.0, found)))


def exceedance_bars(
    values: Float[np.ndarray, " bar"], *, level: float, window_bars: int, minimum: int
) -> Int[np.ndarray, " bar"]:
    """Return for how many bars in a row, t included, a measure has been above a quantile of the bars before the run.

    Args:
        values: The measure, high being stress; NaN keeps a run as it is: a missing bar ends nothing.
        level: Quantile in (0, 1).
        window_bars: Bars before that set it.
        minimum: Fewest known ones among them; before that a run cannot begin.

    Raises:
        DataError: The level or a window is out of range.
    """
    _check(window_bars, minimum)
    if not 0 < level < 1:
        raise DataError(f"expected a quantile in (0, 1); got {level}")
    runs = np.zeros(values.size, dtype=np.int64)
    run, limit = 0, np.nan
    for bar, value in enumerate(values.tolist()):
        if run == 0:
            before = values[max(0, bar - window_bars) : bar]
            before = before[np.isfinite(before)]
            limit = float(np.quantile(before, level)) if before.size >= minimum else np.nan
        if np.isfinite(value):
            run = run + 1 if value > limit else 0
        runs[bar] = run
    return runs


def refill_bars(depth: Float[np.ndarray, " bar"], is_shock: Bool[np.ndarray, " bar"], *, share: float = 0.9) -> float:
    """Return the median number of bars until depth is back at a share of what it was before a shock.

    Args:
        depth: Depth, quote currency.
        is_shock: Bars at which depth was taken.
        share: Of the depth of the bar before the shock, in (0, 1].

    Returns:
        Bars; NaN without a shock, infinite where the median shock is not refilled to the end of the series.

    Raises:
        DataError: Shapes differ or the share is out of range.
    """
    if depth.shape != is_shock.shape or not 0 < share <= 1:
        raise DataError(f"expected a flag a bar and a share in (0, 1]; got {depth.shape}, {is_shock.shape}, {share}")
    waits = []
    for bar in np.flatnonzero(is_shock[1:]) + 1:
        back = np.flatnonzero(depth[bar:] >= share * depth[bar - 1])
        waits.append(float(back[0]) if back.size else np.inf)
    return float(np.median(waits)) if waits else float("nan")


def roll_spread_bps(close: Float[np.ndarray, " bar"], *, window_bars: int, minimum: int) -> Float[np.ndarray, " bar"]:
    """Return Roll's spread over trailing bars, bps.

    Args:
        close: Closes, quote currency; NaN where there is no bar.
        window_bars: Bars up to t that are used.
        minimum: Fewest pairs of returns among them.

    Raises:
        DataError: A window is too small.
    """
    _check(window_bars, minimum)
    returns = np.diff(np.log(close), prepend=np.nan)
    before = np.concatenate([[np.nan], returns[:-1]])
    known = np.isfinite(returns) & np.isfinite(before)
    count, products, first, second = _rolling(
        known, window_bars, returns * before, np.where(known, returns, 0.0), np.where(known, before, 0.0)
    )
    share = np.maximum(count, 1)
    covariance = products / share - first * second / share**2
    return np.where(count >= minimum, 1e4 * 2.0 * np.sqrt(np.maximum(-covariance, 0.0)), np.nan)


def abdi_ranaldo_bps(
    high: Float[np.ndarray, " bar"],
    low: Float[np.ndarray, " bar"],
    close: Float[np.ndarray, " bar"],
    *,
    window_bars: int,
    minimum: int,
) -> Float[np.ndarray, " bar"]:
    """Return Abdi and Ranaldo's spread over trailing bars, bps; bars with one price are left out.

    Args:
        high: Highs, quote currency; NaN where there is no bar.
        low: Lows.
        close: Closes.
        window_bars: Pairs of bars up to t that are used.
        minimum: Fewest known pairs among them.

    Raises:
        DataError: A window is too small, or shapes differ.
    """
    _check(window_bars, minimum)
    if not high.shape == low.shape == close.shape:
        raise DataError(f"expected one high, low and close a bar; got {high.shape}, {low.shape}, {close.shape}")
    middle = np.where(high > low, 0.5 * (np.log(high) + np.log(low)), np.nan)
    last = np.where(high > low, np.log(close), np.nan)
    before_last, before_middle = (np.concatenate([[np.nan], one[:-1]]) for one in (last, middle))
    product = (before_last - before_middle) * (before_last - middle)
    known = np.isfinite(product)
    count, total = _rolling(known, window_bars, product)
    mean = total / np.maximum(count, 1)
    return np.where(count >= minimum, 1e4 * np.sqrt(np.maximum(4.0 * mean, 0.0)), np.nan)


def _rolling(
    known: Bool[np.ndarray, " bar"], window_bars: int, *columns: Float[np.ndarray, " bar"]
) -> Float[np.ndarray, "column bar"]:
    """Return trailing counts and sums of the known values, t included."""
    table = np.column_stack([known, *(np.where(known, column, 0.0) for column in columns)])
    sums = np.concatenate([np.zeros((1, table.shape[1])), np.cumsum(table, axis=0)])
    end = np.arange(1, known.size + 1)
    return np.asarray((sums[end] - sums[np.maximum(end - window_bars, 0)]).T)


def _rolling_slope(
    x: Float[np.ndarray, " bar"],
    y: Float[np.ndarray, " bar"],
    known: Bool[np.ndarray, " bar"],
    window_bars: int,
    minimum: int,
) -> Float[np.ndarray, " bar"]:
    count, sx, sy, sxx, sxy = _rolling(known, window_bars, x, y, x * x, x * y)
    share = np.maximum(count, 1)
    variance = sxx / share - (sx / share) ** 2
    cross = sxy / share - sx * sy / share**2
    usable = (count >= minimum) & (variance > 1e-12)
    return np.asarray(np.divide(cross, variance, out=np.full(x.size, np.nan), where=usable))


def _check(window_bars: int, minimum: int) -> None:
    if window_bars < 2 or minimum < 2:
        raise DataError(f"expected windows of 2 bars or more; got {window_bars} and {minimum}")
