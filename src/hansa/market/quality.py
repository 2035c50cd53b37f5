"""What is wrong with a series of bars: gaps, zero volume, suspicious prints, locked bars.

```
missing share     absent bars / bars from the first to the last stamp
suspicious print  among bars with volume, c the median close of 11 around it: e = max(|log(high / c)|, |log(low / c)|)
                  is at least 50 bps and 10 times its median over 101 bars, on no more than the median volume
```
Guarantees: counts are over the whole series, nothing is repaired or dropped. Does not guarantee: that a print is an
error; it is one that a reader should look at. It looks ahead, so it is a report and never a feature.

Source: DESIGN.md section 5 (missing and locked bars).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec
import polars as pl

from hansa.errors import DataError
from hansa.market.limit_lock import limit_locked
from hansa.market.measures import MEASURES, provenance
from hansa.market.schema import conform

if TYPE_CHECKING:
    from collections.abc import Mapping

_PRINT_FLOOR: Final = 0.005  # log price
_PRINT_TIMES_USUAL: Final = 10.0
_PRINT_WINDOW_BARS: Final = 101
_PRINT_AROUND_BARS: Final = 11


@dataclass(frozen=True, slots=True)
class Gaps:
    """Runs of absent bars.

    Attributes:
        count: Number of runs.
        longest_bars: Bars in the longest.
        longest_after_ns: Stamp of the last bar before the longest, ns UTC; None where there is no gap.
        missing_share: Absent bars over all bars of the span, in [0, 1).
    """

    count: int
    longest_bars: int
    longest_after_ns: int | None
    missing_share: float


@dataclass(frozen=True, slots=True)
class SuspiciousPrint:
    """A price far from those around it, on little volume.

    Attributes:
        ts_ns: End of the bar, ns UTC.
        excursion: Greatest log distance from the median close around it.
        volume: Base units.
    """

    ts_ns: int
    excursion: float
    volume: float


@dataclass(frozen=True, slots=True)
class Quality:
    """Report on one series.

    Attributes:
        market: Market.
        venue: Venue.
        every_ns: Length of a bar, ns.
        rows: Bars present.
        first_ns: First stamp, ns UTC.
        last_ns: Last stamp, ns UTC.
        gaps: Absent bars.
        zero_volume_share: Share of the bars with volume 0; None where volume is unknown.
        signed_volume_share: Share of the bars with signed volume.
        suspicious_prints: In time order.
        locked_bars: Number of limit-locked bars.
        measures: Measure to estimator, `unavailable` where the source cannot know.
    """

    market: str
    venue: str
    every_ns: int
    rows: int
    first_ns: int
    last_ns: int
    gaps: Gaps
    zero_volume_share: float | None
    signed_volume_share: float
    suspicious_prints: tuple[SuspiciousPrint, ...]
    locked_bars: int
    measures: Mapping[str, str]

    def to_json(self) -> str:
        """Return the report as one JSON object.

        Returns:
            Text with the attributes as keys.
        """
        return msgspec.json.encode(self).decode()


def describe(bars: pl.DataFrame, every_ns: int) -> Quality:
    """Look for faults in one series.

    Args:
        bars: Frame of the bars contract with one market on one venue.
        every_ns: Length of its bars, ns.

    Returns:
        The report.

    Raises:
        DataError: The frame is empty, holds several series, breaks the contract, or `every_ns` is not positive.
    """
    frame = conform(bars, source="bars to describe")
    if frame.select("market", "venue").n_unique() != 1 or every_ns <= 0:
        raise DataError(
            f"expected one market on one venue and a bar length above 0; got {frame.height} rows of "
            f"{frame.select('market', 'venue').n_unique()} series and {every_ns} ns; filter the bars first"
        )
    volume = frame["volume"].drop_nulls()
    return Quality(
        market=frame["market"][0],
        venue=frame["venue"][0],
        every_ns=every_ns,
        rows=frame.height,
        first_ns=frame["ts_ns"][0],
        last_ns=frame["ts_ns"][-1],
        gaps=_gaps(frame["ts_ns"], every_ns),
        zero_volume_share=int((volume == 0).sum()) / len(volume) if len(volume) else None,
        signed_volume_share=1.0 - frame["signed_volume"].null_count() / frame.height,
        suspicious_prints=_prints(frame),
        locked_bars=int(limit_locked(frame).sum()),
        measures=provenance(frame, tuple(MEASURES)),
    )


def usual_spacing_ns(bars: pl.DataFrame) -> int:
    """Infer the length of a bar: the most frequent distance between stamps of one series.

    Args:
        bars: Frame of the bars contract.

    Returns:
        Distance, ns; the shortest where several are equally frequent.

    Raises:
        DataError: There are fewer than two bars.
    """
    distances = bars.sort("ts_ns")["ts_ns"].diff().drop_nulls()
    if distances.is_empty():
        raise DataError(f"expected two bars to infer their length; got {bars.height}; give the length")
    return int(distances.mode().sort()[0])


def _gaps(stamps: pl.Series, every_ns: int) -> Gaps:
    absent = (stamps.diff().fill_null(every_ns) // every_ns - 1).clip(lower_bound=0)
    longest = absent.max()
    bars = longest if isinstance(longest, int) else 0
    place = absent.arg_max() or 0
    missing = int(absent.sum())
    return Gaps(
        count=int((absent > 0).sum()),
        longest_bars=bars,
        longest_after_ns=int(stamps[place - 1]) if bars else None,
        missing_share=missing / (missing + len(stamps)),
    )


def _prints(frame: pl.DataFrame) -> tuple[SuspiciousPrint, ...]:
    around = pl.col("close").rolling_median(_PRINT_AROUND_BARS, min_samples=1, center=True)
    excursion = pl.max_horizontal((pl.col(name) / around).log().abs() for name in ("high", "low"))
    usual = pl.col("excursion").rolling_median(_PRINT_WINDOW_BARS, min_samples=1, center=True)
    found = (
        frame.filter(pl.col("volume") > 0)
        .with_columns(excursion.alias("excursion"))
        .filter(
            (pl.col("excursion") >= pl.max_horizontal(pl.lit(_PRINT_FLOOR), _PRINT_TIMES_USUAL * usual))
            & (pl.col("volume") <= pl.col("volume").median())
        )
    )
    return tuple(SuspiciousPrint(*row) for row in found.select("ts_ns", "excursion", "volume").iter_rows())
