"""Bars at which a market is locked at its price limit: one price, hardly any volume, because nobody can trade.

Range measures of such a bar are zero and say "calm"; `hansa.market.measures` leaves them null, and a member's view puts
the worst of the 20 bars before in their place.

Source: DESIGN.md section 5 (a locked bar is stress).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from hansa.market.schema import KEY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Bool, Float

LOCK_WINDOW_BARS: Final = 20
LOCK_VOLUME_SHARE: Final = 0.25
LOCK_MOVE: Final = 2.0  # times the trailing median range
LOCK_RARE_SHARE: Final = 0.05
LOCK_UNUSUAL_SHARE: Final = 0.25

_LOG_RANGE: Final = (pl.col("high") / pl.col("low")).log()


def limit_locked(bars: pl.DataFrame) -> pl.Series:
    """Mark the bars at which a market was locked at one price.

    A bar is locked when high = low, its volume is at most a quarter of the median volume of the 20 bars before, and
    either its price moved by twice their median range or more while at most 1 in 4 of them had one price, or at most
    1 in 20 had. So a market that often trades once a bar, or whose tick is wide for its range, is not called locked.

    Args:
        bars: Frame of the bars contract.

    Returns:
        Boolean series in the order of `bars`; false where volume is unknown or fewer than 10 bars came before.
    """
    order = bars.with_row_index("_row").sort(KEY)
    over = ["market", "venue"]
    one_price = pl.col("high") == pl.col("low")
    least = LOCK_WINDOW_BARS // 2

    def before(expression: pl.Expr) -> pl.Expr:
        return expression.shift(1).rolling_median(LOCK_WINDOW_BARS, min_samples=least).over(over)

    usual_volume, usual_range = before(pl.col("volume")), before(_LOG_RANGE)
    one_price_share = one_price.cast(pl.Float64).shift(1).rolling_mean(LOCK_WINDOW_BARS, min_samples=least).over(over)
    move = (pl.col("close") / pl.col("close").shift(1)).log().abs().over(over)
    moved = (move >= LOCK_MOVE * usual_range) & (move > 0) & (one_price_share <= LOCK_UNUSUAL_SHARE)
    collapsed = (pl.col("volume") <= LOCK_VOLUME_SHARE * usual_volume) & (usual_volume > 0)
    locked = (one_price & collapsed & (moved | (one_price_share <= LOCK_RARE_SHARE))).fill_null(value=False)
    return order.with_columns(locked.alias("limit_locked")).sort("_row")["limit_locked"]


def stressed_where_locked(
    values: Float[np.ndarray, "bar measure"], is_locked: Bool[np.ndarray, " bar"], signs: Sequence[int]
) -> Float[np.ndarray, "bar measure"]:
    """Put the worst of the 20 bars before where a locked bar has no value.

    Args:
        values: Measures of one series in time order, NaN where null.
        is_locked: From `limit_locked`.
        signs: +1 where a high measure is stress; only such columns are filled.

    Returns:
        A copy; NaN stays where nothing came before.
    """
    filled = np.array(values, dtype=np.float64)
    for column, sign in enumerate(signs):
        if sign <= 0:
            continue
        for bar in np.flatnonzero(is_locked & np.isnan(filled[:, column])):
            before = filled[max(0, bar - LOCK_WINDOW_BARS) : bar, column]
            known = before[np.isfinite(before)]
            filled[bar, column] = known.max() if known.size else np.nan
    return filled
