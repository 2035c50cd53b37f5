"""LSI in excess of volatility: what is left of the index once volatility has said what it can.

    LSIx_t = LSI_t - E[LSI | 1, log RV, log RV_w (, implied volatility)]_t

The expectation is a ridge regression over the `window_bars` bars before t, t left out: point in time. RV_w is the mean
realised variance of a week. An index that only says again that volatility is high adds nothing; LSIx is what it adds.

Guarantees: the value at t uses bars <= t. NaN, never 0, while the past is too short or volatility is unknown: a locked
or missing bar has no excess. Does NOT guarantee: that the excess is causal; volatility and liquidity move together.

Source: Duffie, Fleming, Keane, Nelson, Shachar and Van Tassel, FRBNY SR 1070 / BIS WP 1138, 2023.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from hansa.errors import ModelError

if TYPE_CHECKING:
    from jaxtyping import Float

RIDGE: Final = 1e-6
WEEK_DAYS: Final = 7


def volatility_regressors(
    realised_variance: Float[np.ndarray, " time"],
    *,
    bars_per_day: int,
    implied: Float[np.ndarray, " time"] | None = None,
) -> Float[np.ndarray, "time regressor"]:
    """Return what volatility knows at each bar: 1, log RV, log of a week's mean RV, and log implied volatility.

    Args:
        realised_variance: Squared log price, NaN where missing; zero is an unknown log, not a calm one.
        bars_per_day: Bars of a day.
        implied: Implied volatility in any unit, where a source has it.

    Raises:
        ModelError: A variance is negative, or lengths differ.
    """
    known = realised_variance[np.isfinite(realised_variance)]
    if (known < 0).any() or (implied is not None and implied.shape != realised_variance.shape):
        raise ModelError("expected variances of 0 or more and one implied volatility a bar; correct the series")
    present = np.isfinite(realised_variance)
    total = np.cumsum(np.insert(np.where(present, realised_variance, 0.0), 0, 0.0))
    count = np.cumsum(np.insert(present.astype(np.int64), 0, 0))
    end = np.arange(1, realised_variance.size + 1)
    start = np.maximum(end - WEEK_DAYS * bars_per_day, 0)
    seen = count[end] - count[start]
    week = np.divide(total[end] - total[start], seen, out=np.full(end.size, np.nan), where=seen > 0)
    columns = [np.ones(end.size), _log(realised_variance), _log(week)]
    if implied is not None:
        columns.append(_log(implied))
    return np.column_stack(columns)


def excess_index(
    index: Float[np.ndarray, " time"],
    regressors: Float[np.ndarray, "time regressor"],
    *,
    window_bars: int,
    minimum: int,
) -> Float[np.ndarray, " time"]:
    """Return the index less what a trailing regression on volatility expects.

    Args:
        index: LSI, NaN where unknown.
        regressors: From `volatility_regressors`.
        window_bars: Bars before t that the regression may use.
        minimum: Fewest bars among them with everything known.

    Returns:
        LSIx in index points, positive where there is more stress than volatility explains; NaN where unknown.

    Raises:
        ModelError: Shapes differ or a window is not positive.
    """
    if regressors.ndim != 2 or regressors.shape[0] != index.size or window_bars < 1 or minimum < 1:
        raise ModelError(
            f"expected one row of regressors a bar and windows above 0; got {index.shape}, {regressors.shape}, "
            f"{window_bars}, {minimum}"
        )
    known = np.isfinite(index) & np.isfinite(regressors).all(axis=1)
    bars = np.arange(index.size)
    start = np.maximum(bars - window_bars, 0)
    counts = np.concatenate([[0], np.cumsum(known)])
    count = counts[bars] - counts[start]  # of bars start .. t - 1
    usable = known & (count >= minimum)
    # About the first known row first, so that sums of large logs lose nothing, then about the window's mean.
    origin = np.flatnonzero(known)[:1]
    rows = np.where(known[:, None], np.column_stack([regressors[:, 1:], index]), 0.0)
    shift = rows[origin[0]] if origin.size else np.zeros(rows.shape[1])
    rows = np.where(known[:, None], rows - shift, 0.0)
    size = rows.shape[1]
    running = np.concatenate([np.zeros((1, size)), np.cumsum(rows, axis=0)])
    square = np.einsum("ti,tj->tij", rows, rows)
    squares = np.concatenate([np.zeros((1, size, size)), np.cumsum(square, axis=0)])
    share = np.maximum(count[usable], 1)[:, None]
    mean = (running[bars] - running[start])[usable] / share
    covariance = (squares[bars] - squares[start])[usable] / share[..., None] - np.einsum("ti,tj->tij", mean, mean)
    gram, cross = covariance[:, :-1, :-1], covariance[:, :-1, -1:]
    ridge = RIDGE * np.trace(gram, axis1=1, axis2=2)[:, None, None] + 1e-12
    slopes = np.linalg.solve(gram + ridge * np.eye(size - 1), cross)[..., 0]
    excess = np.full(index.size, np.nan)
    moved = rows[usable] - mean
    excess[usable] = moved[:, -1] - (moved[:, :-1] * slopes).sum(axis=1)
    return excess


def _log(values: Float[np.ndarray, " time"]) -> Float[np.ndarray, " time"]:
    return np.asarray(np.log(values, out=np.full(values.size, np.nan), where=np.nan_to_num(values) > 0))
