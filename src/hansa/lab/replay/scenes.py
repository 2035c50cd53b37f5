"""The members of a replay: who they are, what each sees, and what the federation measures.

| data set | members | bars | measures | training, calm |
|---|---|---|---|---|
| usdc_depeg_2023-03 | each stablecoin series (venue and market) | 5 min | volume, range, impact | 2, 7 days |
| fx_hourly | each pair, and gold | 1 h | volume (count of quotes), range, impact | 60, 28 days |
| binance_hourly_close | eight desks, the pairs dealt out by the alphabet | 1 h | range of closes | 60, 28 days |

The first file begins two days before the calm week, so training has two days there. A count of quotes stands in for
volume and counts the same in every currency. Closes alone have no range within the hour: the range runs from the close
before to this one; there is no volume, so every pair counts the same.

Does NOT guarantee: that pairs are members. Pairs of one broker or desks of one venue stand in for institutions where
the data have no others; only the stablecoin venues are different houses.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import polars as pl

from hansa.errors import DataError
from hansa.lab.replay.events import cut
from hansa.market.calendar import NS_PER_HOUR, NS_PER_MINUTE
from hansa.market.readers.bars import load_table, read_bars
from hansa.market.schema import conform
from hansa.market.sources import discover, load

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from hansa.lab.replay.events import Event, Windows

AFTER_NS: Final = 24 * NS_PER_HOUR
STABLECOINS: Final = ("USDC-USD", "USDC-USDT", "USDT-USD")
DESKS: Final = 8
BOOKLESS: Final = ("log_volume", "log_range", "log_impact")


@dataclass(frozen=True, slots=True)
class Scene:
    """What a replay plays with.

    Attributes:
        event: The event.
        windows: How its time is cut.
        bar_ns: Length of a bar, ns.
        measures: What the federation measures.
        cost: The measure whose next bar is forecast.
        members: Each member's series, from the start of training to a day after the onset.
        price: Name and bars of the series that the event is about.
    """

    event: Event
    windows: Windows
    bar_ns: int
    measures: tuple[str, ...]
    cost: str
    members: Mapping[str, Sequence[pl.DataFrame]]
    price: tuple[str, pl.DataFrame]

    @property
    def bars_per_day(self) -> int:
        """Bars of one day."""
        return 24 * NS_PER_HOUR // self.bar_ns

    @property
    def train_days(self) -> int:
        """Days of training."""
        return (self.windows.calm_ns - self.windows.train_ns) // (24 * NS_PER_HOUR)


@dataclass(frozen=True, slots=True)
class _Plan:
    bar_ns: int
    train_days: int
    calm_days: int
    measures: tuple[str, ...]
    cost: str
    read: Callable[[Path, Event], dict[str, list[pl.DataFrame]]]


def scene_of(event: Event, data: Path) -> Scene:
    """Load what an event's replay needs.

    Args:
        event: The event.
        data: Folder of the data sets.

    Raises:
        DataError: The data set is not one of those above, is absent or malformed, or does not reach.
    """
    plan = PLANS.get(event.dataset)
    if plan is None:
        raise DataError(f"{event.name}: expected a data set out of {', '.join(PLANS)}; got {event.dataset}")
    windows = cut(event.onset_ns, train_days=plan.train_days, calm_days=plan.calm_days)
    whole = plan.read(data / event.dataset, event)
    first, last = windows.train_ns, windows.onset_ns + AFTER_NS
    members = {name: [_inside(bars, first, last) for bars in series] for name, series in whole.items()}
    reaching = {
        name: kept
        for name, series in members.items()
        if (kept := [bars for bars in series if _reaches(bars, first, event.onset_ns)])
    }
    if len(reaching) < 3:
        raise DataError(
            f"{event.name}: expected 3 members with bars from training to the onset; got {len(reaching)} of "
            f"{len(members)} in {event.dataset}"
        )
    price = _price(event, [bars for series in reaching.values() for bars in series])
    return Scene(event, windows, plan.bar_ns, plan.measures, plan.cost, reaching, price)


def _stablecoins(folder: Path, _event: Event) -> dict[str, list[pl.DataFrame]]:
    return {f"{one.venue}-{one.market}".lower().replace("_", "-"): [load(one)] for one in discover(folder, STABLECOINS)}


def _pairs(folder: Path, _event: Event) -> dict[str, list[pl.DataFrame]]:
    paths = sorted(folder.glob("*_h1.parquet"))
    if not paths:
        raise DataError(f"{folder}: expected *_h1.parquet; found none")
    found = {}
    for path in paths:
        name = path.name.removesuffix("_h1.parquet")
        bars = read_bars(path, market=name, venue="fx", bar_ns=NS_PER_HOUR, tick_volume_as="volume")
        # Quotes are counted alike in every currency: volume times close is then the count.
        found[name.lower()] = [bars.with_columns(pl.col("volume") / pl.col("close"))]
    return found


def _desks(folder: Path, event: Event) -> dict[str, list[pl.DataFrame]]:
    year = datetime.fromtimestamp(event.onset_ns // 1_000_000_000, tz=UTC).year
    path = folder / f"binance_hourly_close_{year}.parquet"
    table = load_table(path)
    if "open_time" not in table.columns:
        raise DataError(f"{path}: expected a column open_time; got {', '.join(table.columns)}")
    names = sorted(name for name in table.columns if name != "open_time")
    found: dict[str, list[pl.DataFrame]] = {f"desk-{place + 1}": [] for place in range(DESKS)}
    for place, name in enumerate(names):
        bars = _closes(table, name, path)
        if bars.height:
            found[f"desk-{place % DESKS + 1}"].append(bars)
    return found


def _closes(table: pl.DataFrame, name: str, path: Path) -> pl.DataFrame:
    close = pl.col(name).cast(pl.Float64)
    before = close.shift(1)
    bars = table.select(
        (pl.col("open_time").dt.epoch("ns") + NS_PER_HOUR).alias("ts_ns"),
        pl.lit(name).alias("market"),
        pl.lit("binance").alias("venue"),
        before.alias("open"),
        pl.max_horizontal(before, close).alias("high"),
        pl.min_horizontal(before, close).alias("low"),
        close.alias("close"),
        (1.0 / close).alias("volume"),
    )
    return conform(bars.drop_nulls(["open", "close"]), source=str(path))


PLANS: Final[Mapping[str, _Plan]] = {
    "usdc_depeg_2023-03": _Plan(5 * NS_PER_MINUTE, 2, 7, BOOKLESS, "log_impact", _stablecoins),
    "fx_hourly": _Plan(NS_PER_HOUR, 60, 28, BOOKLESS, "log_impact", _pairs),
    "binance_hourly_close": _Plan(NS_PER_HOUR, 60, 28, ("log_range",), "log_range", _desks),
}


def _inside(bars: pl.DataFrame, first_ns: int, last_ns: int) -> pl.DataFrame:
    return bars.filter((pl.col("ts_ns") > first_ns) & (pl.col("ts_ns") <= last_ns))


def _reaches(bars: pl.DataFrame, first_ns: int, onset_ns: int) -> bool:
    """Say whether a series begins with training (a week-end later at most) and goes on to the onset."""
    if bars.is_empty():
        return False
    late = int(bars["ts_ns"][0]) - first_ns
    return late <= 3 * 24 * NS_PER_HOUR and int(bars["ts_ns"][-1]) >= onset_ns


def _price(event: Event, series: Sequence[pl.DataFrame]) -> tuple[str, pl.DataFrame]:
    words = event.fact.lower().split()
    for bars in series:
        market, venue = str(bars["market"][0]), str(bars["venue"][0])
        rivals = [one for one in series if str(one["market"][0]) == market]
        if market.lower().replace("-", "") in words and (len(rivals) == 1 or venue.lower() in words):
            return f"{market} at {venue}", bars
    raise DataError(f"{event.name}: the fact names none of the series: {event.fact!r}")
