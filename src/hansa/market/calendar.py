"""Time on one grid: bars are stamped at their END, in nanoseconds UTC, on multiples of the bar's length.

A stamp `t` belongs to the bar `(end - every_ns, end]` with `end = ceil(t / every_ns) * every_ns`; a bar's slot of
the day is counted from its START, so that the bar from 00:00 to 00:05 UTC is slot 0 of 288.

Guarantees: no row is invented (an absent span stays absent) and no value moves to an earlier bar.
Does not guarantee: that a coarse bar saw all its fine bars. A sum over a span with absent or null parts is the sum of
what is there, and a series that stops in mid-span ends with a partial bar.

Source: DESIGN.md section 5 (contract of the bars).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from hansa.errors import DataError
from hansa.market.schema import KEY, conform

if TYPE_CHECKING:
    from jaxtyping import Float, Int

NS_PER_SECOND: Final = 1_000_000_000
NS_PER_MINUTE: Final = 60 * NS_PER_SECOND
NS_PER_HOUR: Final = 60 * NS_PER_MINUTE
NS_PER_DAY: Final = 24 * NS_PER_HOUR

_SUMMED: Final = ("volume", "signed_volume", "trades")
_AVERAGED: Final = ("spread_bps", "depth_quote", "impact_bps_per_mio")
_CAPPED: Final = ("capped_volume", "capped_range", "influence")


def resample(bars: pl.DataFrame, every_ns: int) -> pl.DataFrame:
    """Gather fine bars into coarser bars on the UTC grid, per market and venue.

    Open is the first, high the greatest, low the least, close the last; volumes and counts are summed; spread, depth
    and impact are the mean of the values present. A value is null where every fine value is null. Capped values are of
    one length of bar: they pass where a coarse bar is one fine bar, and are null elsewhere, with their rule.

    Args:
        bars: Frame of the bars contract.
        every_ns: Length of the coarser bar, ns, positive; shorter than the fine bars it only restamps them.

    Returns:
        Frame of the bars contract, stamped at the end of the coarser bars.

    Raises:
        DataError: `every_ns` is not positive, or `bars` break the contract.
    """
    _refuse_span(every_ns)
    market, venue, stamp = (pl.col(name) for name in ("market", "venue", "ts_ns"))
    end = ((stamp + (every_ns - 1)) // every_ns * every_ns).alias("ts_ns")
    summed = [pl.when(pl.col(c).count() > 0).then(pl.col(c).sum()).alias(c) for c in _SUMMED]
    coarse = (
        conform(bars, source="bars to resample")
        .group_by(market, venue, end, maintain_order=True)
        .agg(
            pl.col("open").first(),
            pl.col("high").max(),
            pl.col("low").min(),
            pl.col("close").last(),
            *summed,
            *(pl.col(name).mean() for name in _AVERAGED),
            *(pl.when(pl.len() == 1).then(pl.col(name).first()).alias(name) for name in _CAPPED),
        )
    )
    return conform(coarse, source="resampled bars").sort(KEY)


def grid(start_ns: int, end_ns: int, every_ns: int) -> Int[np.ndarray, " time"]:
    """List the end-of-bar stamps `t` with `start_ns <= t <= end_ns`.

    Args:
        start_ns: First instant, ns UTC, inclusive.
        end_ns: Last instant, ns UTC, inclusive.
        every_ns: Length of a bar, ns, positive.

    Returns:
        Multiples of `every_ns`, increasing; empty where none fits.

    Raises:
        DataError: `every_ns` is not positive.

    >>> grid(1, 10, 5).tolist()
    [5, 10]
    """
    _refuse_span(every_ns)
    first = -(-start_ns // every_ns)
    last = end_ns // every_ns
    return np.arange(first, last + 1, dtype=np.int64) * every_ns


def slot_of_day(ts_ns: Int[np.ndarray, " time"], every_ns: int) -> Int[np.ndarray, " time"]:
    """Number the bars of a UTC day, by the start of each bar.

    Args:
        ts_ns: End-of-bar stamps, ns UTC.
        every_ns: Length of a bar, ns; it must divide one day.

    Returns:
        Slots in `[0, day / every_ns)`.

    Raises:
        DataError: `every_ns` is not positive or does not divide one day.
    """
    _refuse_span(every_ns)
    if NS_PER_DAY % every_ns:
        raise DataError(f"expected a bar length that divides one day; got {every_ns} ns; choose for example 300 s")
    start = np.asarray(ts_ns, dtype=np.int64) - every_ns
    return start % NS_PER_DAY // every_ns


def time_weighted_mean(
    event_ns: Int[np.ndarray, " event"],
    state: Float[np.ndarray, " event"],
    edges_ns: Int[np.ndarray, " edge"],
) -> Float[np.ndarray, " bar"]:
    """Average a piecewise constant state over each span between two edges.

    The state holds from its event until the next. Before the first event, and while it is NaN, it is unknown and
    weighs nothing.

    Args:
        event_ns: Times of the events, ns, not decreasing.
        state: Value that holds from each event on, NaN where unknown.
        edges_ns: Increasing edges, ns; `bar = edge - 1`.

    Returns:
        One mean a span; NaN where the state was unknown throughout.
    """
    if not len(event_ns):
        return np.full(len(edges_ns) - 1, np.nan)
    points = np.union1d(event_ns, edges_ns)
    holds = np.searchsorted(event_ns, points, side="right") - 1
    value = np.where(holds >= 0, np.asarray(state, dtype=np.float64)[np.maximum(holds, 0)], np.nan)[:-1]
    weight = np.diff(points).astype(np.float64)
    span = np.searchsorted(edges_ns, points[:-1], side="right") - 1
    inside = (span >= 0) & (span < len(edges_ns) - 1) & np.isfinite(value)
    bars = len(edges_ns) - 1
    total = np.bincount(span[inside], weights=(value * weight)[inside], minlength=bars)
    known = np.bincount(span[inside], weights=weight[inside], minlength=bars)
    mean: Float[np.ndarray, " bar"] = np.divide(total, known, out=np.full(bars, np.nan), where=known > 0)
    return mean


def _refuse_span(every_ns: int) -> None:
    if every_ns <= 0:
        raise DataError(f"expected a bar length above 0 ns; got {every_ns}; give a positive number of nanoseconds")
