"""A member's own view of each basket: log measures on the federation's bar grid, made from the bar files at home.

A basket's view is the mean of the member's series of its markets, weighted by quote volume:
`x_t = sum_v w_v x_v,t`. A bar that is missing carries the last measured value on; before the first bar of a series
its first value stands in, so that a basket always has a value and nobody can see from a sum who was absent. A bar that
is locked at its limit is there and is stress: its range, impact and spread are the worst of the 20 bars before.

Series whose bars carry a rule of influence (`hansa.market.influence`) keep it: a gap is then a bar without trades, the
quote volume is the capped one, and several such series of a basket weigh the same, so that no client moves a weight.

Does NOT guarantee freshness: `reach` says up to which bar the files go; a statistic beyond it is refused.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from hansa.errors import DataError, RefusedError
from hansa.market.calendar import resample, slot_of_day
from hansa.market.features import carry_forward
from hansa.market.influence import rule_of
from hansa.market.limit_lock import limit_locked, stressed_where_locked
from hansa.market.measures import MEASURES, compute, empty_values, influences
from hansa.market.sources import discover, load

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import polars as pl
    from jaxtyping import Bool, Float, Int

    from hansa.governance.constitution import Market
    from hansa.market.influence import Unit

NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Influence:
    """How one unit is bounded: a `client` or a `trade`, and the log units by which it moves each measure at most."""

    unit: Unit
    caps: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class SeriesView:
    """One series of a basket on the grid: measures with gaps filled, quote volume, and how influence is bounded.

    `is_measured` says which measures are of the bar itself, stress of a locked one included; None: all are.
    """

    measures: Float[np.ndarray, "time measure"] = field(repr=False)
    quote_volume: Float[np.ndarray, " time"] = field(repr=False)
    influence: Influence | None = None
    is_measured: Bool[np.ndarray, "time measure"] | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Views:
    """What one member knows of every basket, on one grid of end-of-bar stamps.

    Args:
        start_ns: Stamp of the first bar.
        bar_ns: Length of a bar.
        bars: Number of bars.
        series: Series by basket; a basket of which the member sees nothing is absent.
    """

    start_ns: int
    bar_ns: int
    bars: int
    series: Mapping[str, tuple[SeriesView, ...]]

    @property
    def reach_ns(self) -> int:
        """Stamp of the last bar."""
        return self.start_ns + (self.bars - 1) * self.bar_ns

    def stamps(self) -> Int[np.ndarray, " time"]:
        """Return the stamp of each bar, ns UTC."""
        return self.start_ns + np.arange(self.bars, dtype=np.int64) * self.bar_ns

    def slots(self) -> Int[np.ndarray, " time"]:
        """Return the slot of the day of each bar."""
        return slot_of_day(self.stamps(), self.bar_ns)

    def rows(self, span_start_ns: int, span_end_ns: int) -> slice:
        """Return the rows of a span of stamps, both ends included.

        Raises:
            RefusedError: The member's data do not reach over the span.
        """
        first = (span_start_ns - self.start_ns) // self.bar_ns
        last = (span_end_ns - self.start_ns) // self.bar_ns
        if first < 0 or last >= self.bars or first > last:
            raise RefusedError(
                f"the span {span_start_ns}..{span_end_ns} is outside this member's data "
                f"({self.start_ns}..{self.reach_ns}); import the missing bars"
            )
        return slice(first, last + 1)

    def is_measured(self, basket: str) -> Bool[np.ndarray, "time measure"]:
        """Return where some series of a basket has a measure of the bar itself, not one filled in.

        Raises:
            DataError: The member sees nothing of the basket.
        """
        if basket not in self.series:
            raise DataError(f"expected bars of {basket}, got none")
        found = [
            np.ones(view.measures.shape, dtype=np.bool_) if view.is_measured is None else view.is_measured
            for view in self.series[basket]
        ]
        return np.asarray(np.any(found, axis=0))

    def influence(self, basket: str) -> Influence | None:
        """Return how one unit is bounded in a basket; None where it is not, or the basket is not there."""
        return _weakest([view.influence for view in self.series.get(basket, ())])

    def combined(self, basket: str, rows: slice) -> SeriesView | None:
        """Return the basket's one view: series weighted by quote volume over `rows`, or alike where all are capped."""
        series = self.series.get(basket)
        if series is None:
            return None
        influence = self.influence(basket)
        volume = np.array([view.quote_volume[rows].mean() if influence is None else 1.0 for view in series])
        share = volume / volume.sum() if volume.sum() > 0 else np.full(len(series), 1 / len(series))
        measures = np.tensordot(share, np.stack([view.measures for view in series]), axes=1)
        return SeriesView(measures, np.sum([view.quote_volume for view in series], axis=0), influence)


def load_views(directory: Path, market: Market) -> Views:
    """Read a member's bar files and put every basket on the federation's grid.

    Args:
        directory: Folder of `<venue>_<market>.parquet` files.
        market: The constitution's baskets, measures and bar length.

    Raises:
        DataError: No file fits any basket, a file is malformed, or a series lacks a measure.
    """
    wanted = [name for names in market.baskets.values() for name in names]
    return views_of([load(source) for source in discover(directory, wanted)], market)


def require_bars(directory: Path, market: Market) -> None:
    """Check, without reading them, that there are bar files of some market of the constitution.

    Raises:
        DataError: There is none; the message says where to put which.
    """
    wanted = [name for names in market.baskets.values() for name in names]
    try:
        discover(directory, wanted)
    except DataError as error:
        raise DataError(
            f"{error}; put bars of at least one of them there (`hansa market import` makes them), "
            "or name their folder in hansa.toml, [data] directory"
        ) from error


def views_of(series_bars: Sequence[pl.DataFrame], market: Market) -> Views:
    """Put frames of the bars contract, one series each, on the federation's grid.

    Raises:
        DataError: There is no frame, or a series lacks a measure.
    """
    bar_ns = market.bar_seconds * NS
    frames = [resample(bars, bar_ns) for bars in series_bars]
    if not frames:
        raise DataError("expected at least one series of bars, got none")
    start = min(int(frame["ts_ns"][0]) for frame in frames)
    bars = (max(int(frame["ts_ns"][-1]) for frame in frames) - start) // bar_ns + 1
    series: dict[str, tuple[SeriesView, ...]] = {}
    for basket, names in market.baskets.items():
        found = [frame for frame in frames if frame["market"][0] in names]
        if found:
            series[basket] = tuple(_on_grid(frame, market, start=start, bars=bars) for frame in found)
    return Views(start, bar_ns, bars, series)


def _on_grid(frame: pl.DataFrame, market: Market, *, start: int, bars: int) -> SeriesView:
    place = (frame["ts_ns"].to_numpy() - start) // (market.bar_seconds * NS)
    table = compute(frame, market.measures).select(market.measures).to_numpy().astype(np.float64)
    measures = np.full((bars, len(market.measures)), np.nan)
    signs = [MEASURES[name].sign for name in market.measures]
    measures[place] = stressed_where_locked(table, limit_locked(frame).to_numpy(), signs)
    is_measured = np.isfinite(measures)
    for name, value in empty_values(frame, market.measures).items():
        filled = measures[:, market.measures.index(name)]
        filled[np.isnan(filled)] = value
    measures = carry_forward(measures)
    origin = f"{frame['market'][0]} at {frame['venue'][0]}"
    for column, name in enumerate(market.measures):
        known = np.flatnonzero(np.isfinite(measures[:, column]))
        if known.size == 0:
            raise DataError(f"{origin}: no bar has {name}; choose measures that every member's source can give")
        measures[: known[0], column] = measures[known[0], column]
    rule = rule_of(frame)
    if rule is None:
        volume = np.zeros(bars)
        volume[place] = (frame["volume"] * frame["close"]).fill_null(0.0).to_numpy()
        return SeriesView(measures, volume, is_measured=is_measured)
    volume = np.full(bars, rule.volume)
    volume[place] = frame["capped_volume"].to_numpy()
    bounds = tuple(cap for cap in influences(frame, market.measures).values() if cap is not None)
    is_bounded = len(bounds) == len(market.measures) and rule.cap <= market.influence_cap
    return SeriesView(measures, volume, Influence(rule.unit, bounds) if is_bounded else None, is_measured)


def _weakest(found: Sequence[Influence | None]) -> Influence | None:
    """Return what holds for every series: the largest cap of each measure, and trades where any names no clients."""
    bounded = [one for one in found if one is not None]
    if not found or len(bounded) < len(found):
        return None
    unit: Unit = "client" if all(one.unit == "client" for one in bounded) else "trade"
    return Influence(unit, tuple(max(each) for each in zip(*(one.caps for one in bounded), strict=True)))
