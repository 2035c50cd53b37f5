"""Reads bars from Parquet and CSV files of many shapes.

| what | column names understood (case does not matter) |
|---|---|
| start | `timestamp`, `open_time`, `datetime_utc`, `datetime`, `date`, `time`, `dt`, `index`, `__index_level_0__` |
| price | `open`, `high`, `low`, `close`, divided by `price_scale` |
| size | `volume`; `buy_vol`, `sell_vol` or `taker_buy_base` (signed: 2 taker buys - volume); `trades`, `n_trades` |
| quotes | `tick_volume`: a count of quotes, no volume; dropped unless `tick_volume_as` says what it stands for |
| contract | a file with `ts_ns`, `market`, `venue` is already bars (END stamps) and is checked only |

A time is a date-time with or without a zone, a text of one, or a number whose size tells its unit (s, ms, us, ns).
Files stamp the START of a bar; the frame stamps the END: `ts_ns = start + bar_ns`. A time without a zone is on `clock`:
an IANA zone, a fixed offset `+02:00`, or a zone plus an offset (`America/New_York+07:00`, a clock whose midnight is
17:00 in New York).

Guarantees: every row is read or the file is refused with its name, the row (0-based, without the header) and the
reason; no value of the file is in the message. Does not guarantee: that the venue's own clock was right.

Source: DESIGN.md section 5; Binance and Kraken OHLC documentation for `taker_buy_base` and the start-of-bar stamp.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal
from zoneinfo import available_timezones

import polars as pl

from hansa.errors import ConfigurationError, DataError
from hansa.market.calendar import NS_PER_HOUR, NS_PER_MINUTE
from hansa.market.schema import conform

if TYPE_CHECKING:
    from pathlib import Path

TIME_COLUMNS: Final = (
    "timestamp",
    "open_time",
    "datetime_utc",
    "datetime",
    "date",
    "time",
    "dt",
    "index",
    "__index_level_0__",
)
_ASSET_COLUMNS: Final = ("asset", "symbol", "ticker", "name")
_PRICES: Final = ("open", "high", "low", "close")
_SIZES: Final = ("volume", "buy_vol", "sell_vol", "taker_buy_base", "trades", "n_trades", "tick_volume")
_UTC_NS: Final = pl.Datetime("ns", "UTC")
_CLOCK: Final = re.compile(r"^(?P<zone>[A-Za-z_/]+[A-Za-z])?(?P<offset>[+-]\d\d:\d\d)?$")
# An epoch number below the limit has the unit; the limits are the year 5138 in that unit.
_EPOCH_UNITS: Final = ((1e11, 1_000_000_000), (1e14, 1_000_000), (1e17, 1_000))


@dataclass(slots=True)
class TimesRead:
    """What the times of a file's first rows say about those of the next.

    Attributes:
        row: Number of the next row.
        largest: Greatest absolute epoch number, which tells their unit.
        is_number: Whether a column of texts holds numbers; None: not known yet.
        walls: Readings so far of hours that the clock shows twice.
    """

    row: int = 0
    largest: float = 0.0
    is_number: bool | None = None
    walls: pl.Series = field(default_factory=lambda: pl.Series(dtype=pl.Datetime("ns")))


def read_bars(
    path: Path,
    *,
    market: str,
    venue: str,
    bar_ns: int = NS_PER_MINUTE,
    clock: str = "UTC",
    price_scale: float = 1.0,
    tick_volume_as: Literal["volume", "trades"] | None = None,
    asset: str | None = None,
) -> pl.DataFrame:
    """Read one series of bars.

    Args:
        path: `.parquet`, `.csv` or `.csv.gz` file.
        market: Market of the rows, such as `USDC-USD`.
        venue: Venue of the rows, such as `kraken`.
        bar_ns: Length of the file's bars, ns.
        clock: Zone of times that carry none.
        price_scale: Divisor of the prices: 100000 where 94371 stands for 0.94371.
        tick_volume_as: Contract column that a count of quotes stands in for, if any.
        asset: Keep the rows with this value in the file's asset, symbol, ticker or name column.

    Returns:
        Frame of the bars contract.

    Raises:
        DataError: The file is absent, truncated, empty or of another shape, or a row is malformed.
        ConfigurationError: `clock`, `price_scale` or `bar_ns` makes no sense.
    """
    if price_scale <= 0 or bar_ns <= 0:
        raise ConfigurationError(f"expected price_scale and bar_ns above 0; got {price_scale} and {bar_ns}")
    frame = load_table(path)
    if {"ts_ns", "market", "venue"} <= set(frame.columns):
        return _already_bars(frame, path, market=market, venue=venue)
    if asset is not None:
        frame = _only(frame, asset, path)
    missing = [name for name in _PRICES if name not in frame.columns]
    time_column = next((name for name in TIME_COLUMNS if name in frame.columns), None)
    if missing or time_column is None:
        wanted = ", ".join(missing) or f"a time column ({', '.join(TIME_COLUMNS)})"
        raise DataError(f"{path}: row 0: missing {wanted}; the file has {', '.join(frame.columns)}")
    numbers = _numbers(frame, path)
    bars = numbers.select(
        (start_ns(frame, time_column, clock, path) + bar_ns).alias("ts_ns"),
        pl.lit(market).alias("market"),
        pl.lit(venue).alias("venue"),
        *((pl.col(name) / price_scale).alias(name) for name in _PRICES),
        *_size_columns(set(numbers.columns), tick_volume_as),
    )
    return _checked(bars, path)


def attach_signed(bars: pl.DataFrame, signed: pl.DataFrame) -> pl.DataFrame:
    """Fill signed volume and trade counts of bars from a second series of the same venue and market.

    Args:
        bars: Frame of the bars contract; its prices and volumes stand.
        signed: Frame of the bars contract with `signed_volume`.

    Returns:
        `bars` with `signed_volume` and `trades` filled where they were null and `signed` has the bar.

    Raises:
        DataError: `signed` has no signed volume, shares no bar with `bars`, or a frame
            breaks the contract.
    """
    bars, signed = conform(bars, source="bars"), conform(signed, source="signed bars")
    if signed["signed_volume"].null_count() == signed.height:
        raise DataError("expected a series with signed volume; got none; give the file with buy and sell volume")
    key = ["market", "venue", "ts_ns"]
    joined = bars.join(signed.select(*key, "signed_volume", "trades"), on=key, how="left", suffix="_other")
    if joined["signed_volume_other"].null_count() == joined.height:
        raise DataError("expected a signed series of the same market, venue and time; got no common bar")
    filled = joined.with_columns(
        pl.coalesce("signed_volume", "signed_volume_other").alias("signed_volume"),
        pl.coalesce("trades", "trades_other").alias("trades"),
    )
    return conform(filled, source="bars with signed volume")


def load_table(path: Path) -> pl.DataFrame:
    """Read a file as a table with column names in small letters.

    Args:
        path: `.parquet`, `.csv` or `.csv.gz` file.

    Raises:
        DataError: The file is absent, truncated or empty, or two names differ in case alone.
    """
    name = path.name.lower()
    try:
        if name.endswith(".parquet"):
            frame = pl.read_parquet(path, glob=False)
        elif name.endswith((".csv", ".csv.gz")):
            frame = pl.read_csv(path, infer_schema=False, glob=False)
        else:
            raise DataError(f"{path}: expected a .parquet, .csv or .csv.gz file")
    except (pl.exceptions.PolarsError, OSError) as error:
        cause = type(error).__name__
        raise DataError(f"{path}: row 0: cannot be read as a table ({cause}): absent, truncated or empty?") from error
    if frame.is_empty():
        raise DataError(f"{path}: row 0: expected rows; the file has none")
    frame.columns = lowered_names(frame.columns, path)
    return frame


def lowered_names(names: list[str], path: Path) -> list[str]:
    """Return the names of a table's columns in small letters, `index` for one without a name.

    Raises:
        DataError: Two names differ in case alone.
    """
    lowered = [column.strip().lower() for column in names]
    if len(set(lowered)) < len(lowered):
        raise DataError(f"{path}: row 0: two columns have the same name apart from case; rename one")
    return [name or "index" for name in lowered]


def _already_bars(frame: pl.DataFrame, path: Path, *, market: str, venue: str) -> pl.DataFrame:
    kinds = {"ts_ns": pl.Int64, **dict.fromkeys(_PRICES, pl.Float64)}
    try:
        bars = conform(frame.with_columns(pl.col(c).cast(k) for c, k in kinds.items() if c in frame), source=str(path))
    except pl.exceptions.PolarsError as error:
        raise DataError(f"{path}: a column is not of the type of the bars contract") from error
    found = bars.select("market", "venue").unique().rows()
    if found != [(market, venue)]:
        names = ", ".join(f"{m} at {v}" for m, v in sorted(found))
        raise DataError(f"{path}: expected bars of {market} at {venue}; the file holds {names}")
    return bars


def _only(frame: pl.DataFrame, asset: str, path: Path) -> pl.DataFrame:
    column = next((name for name in _ASSET_COLUMNS if name in frame.columns), None)
    if column is None:
        raise DataError(f"{path}: expected one of the columns {', '.join(_ASSET_COLUMNS)} to find {asset}")
    kept = frame.filter(pl.col(column).cast(pl.String) == asset)
    if kept.is_empty():
        raise DataError(f"{path}: no row with {column} = {asset}")
    return kept


def _numbers(frame: pl.DataFrame, path: Path) -> pl.DataFrame:
    names = [name for name in (*_PRICES, *_SIZES) if name in frame.columns]
    numbers = frame.select(pl.col(name).cast(pl.Float64, strict=False) for name in names)
    for name in names:
        bad = (numbers[name].is_null() & frame[name].is_not_null()).arg_true()
        if len(bad):
            raise DataError(f"{path}: row {bad[0]}: column {name} is not a number")
        if name in _SIZES and (endless := numbers[name].is_infinite().arg_true()).len():
            raise DataError(f"{path}: row {endless[0]}: column {name} is not finite")
        if name in _SIZES and (absent := numbers[name].is_nan().arg_true()).len():
            raise DataError(f"{path}: row {absent[0]}: column {name} is NaN; leave it empty where it is unknown")
    return numbers


def _size_columns(names: set[str], tick_volume_as: Literal["volume", "trades"] | None) -> list[pl.Expr]:
    columns: dict[str, pl.Expr] = {name: pl.col(name) for name in ("volume", "trades") if name in names}
    if "n_trades" in names:
        columns["trades"] = pl.col("n_trades")
    if tick_volume_as is not None and "tick_volume" in names:
        columns[tick_volume_as] = pl.col("tick_volume")
    if {"buy_vol", "sell_vol"} <= names:
        columns["signed_volume"] = pl.col("buy_vol") - pl.col("sell_vol")
        columns.setdefault("volume", pl.col("buy_vol") + pl.col("sell_vol"))
    elif {"taker_buy_base", "volume"} <= names:
        columns["signed_volume"] = 2.0 * pl.col("taker_buy_base") - pl.col("volume")
    if "trades" in columns:
        columns["trades"] = columns["trades"].cast(pl.Int64)
    return [expression.alias(name) for name, expression in columns.items()]


def _checked(bars: pl.DataFrame, path: Path) -> pl.DataFrame:
    if "signed_volume" in bars.columns:
        over = (bars["signed_volume"].abs() > bars["volume"] * (1 + 1e-6) + 1e-6).arg_true()
        if len(over):
            raise DataError(f"{path}: row {over[0]}: buys or sells exceed the volume or are negative")
    return conform(bars, source=str(path))


def start_ns(frame: pl.DataFrame, column: str, clock: str, path: Path, read: TimesRead | None = None) -> pl.Series:
    """Read a column of times in any of the forms of the module, ns UTC.

    Args:
        frame: The table, or the next rows of one.
        column: Name of the column.
        clock: Zone of times that carry none.
        path: Named in an error.
        read: What the rows before say; these rows are added to it. If its unit changes, earlier rows were misread.

    Raises:
        DataError: A value is not a time.
        ConfigurationError: `clock` makes no sense.
    """
    read = TimesRead() if read is None else read
    times = frame[column]
    if times.dtype == pl.String:
        number = times.cast(pl.Float64, strict=False)
        if read.is_number is None:
            read.is_number = number.null_count() < len(number) / 2
        times = number if read.is_number else times
    if times.dtype.is_numeric():
        start = _from_epoch(times, read)
    elif times.dtype == pl.String:
        start = _from_text(times, clock, read)
    elif isinstance(times.dtype, pl.Datetime) and times.dtype.time_zone is not None:
        start = times.cast(_UTC_NS)
    elif times.dtype.is_temporal():
        start = _on_clock(times.cast(pl.Datetime("ns")), clock, read)
    else:
        raise DataError(f"{path}: row 0: column {column} is not a time")
    stamps = start.cast(pl.Int64)
    bad = stamps.is_null().arg_true()
    if len(bad):
        row = read.row + bad[0]
        raise DataError(f"{path}: row {row}: column {column} is not a time, or not one of the clock {clock}")
    read.row += len(stamps)
    return stamps


def unit_factor(largest: float) -> int:
    """Return the ns of the unit that epoch numbers up to `largest` are in."""
    return next((unit for limit, unit in _EPOCH_UNITS if largest < limit), 1)


def _from_epoch(times: pl.Series, read: TimesRead) -> pl.Series:
    if not times.dtype.is_integer() and (times.is_nan() | times.is_infinite()).any():
        times = pl.select(pl.when(times.is_finite()).then(times)).to_series()
    size = times.abs().max()
    read.largest = max(read.largest, size if isinstance(size, (int, float)) else 0.0)
    factor = unit_factor(read.largest)
    if times.dtype.is_integer():
        return times.cast(pl.Int64) * factor
    return (times * factor).round().cast(pl.Int64, strict=False)


def _from_text(times: pl.Series, clock: str, read: TimesRead) -> pl.Series:
    text = times.str.strip_chars().str.replace("T", " ").str.replace(r"Z$", "+00:00")
    text = text.str.replace(r"^(\d{4}-\d\d-\d\d)$", "$1 00:00:00")
    text = text.str.replace(r"( \d\d:\d\d)([+-]|$)", "$1:00$2")
    has_zone = text.str.contains(r" .*[+-]\d\d:?\d\d$")
    zoned = pl.select(pl.when(has_zone).then(text)).to_series()
    plain = pl.select(pl.when(~has_zone).then(text)).to_series()
    with_zone = zoned.str.to_datetime("%Y-%m-%d %H:%M:%S%.f%z", time_unit="ns", strict=False).cast(_UTC_NS)
    without = plain.str.to_datetime("%Y-%m-%d %H:%M:%S%.f", time_unit="ns", strict=False)
    return pl.select(pl.coalesce(with_zone, _on_clock(without, clock, read))).to_series()


def _on_clock(local: pl.Series, clock: str, read: TimesRead) -> pl.Series:
    """Read naive times on a clock; of an hour that the clock shows twice, the second reading is the later one."""
    match = _CLOCK.match(clock)
    zone = (match and match["zone"]) or "UTC"
    if match is None or zone not in available_timezones():
        raise ConfigurationError(f"unknown clock {clock!r}; give an IANA zone, +HH:MM, or a zone followed by +HH:MM")
    offset = match["offset"] or "+00:00"
    shift_ns = int(offset[1:3]) * NS_PER_HOUR + int(offset[4:6]) * NS_PER_MINUTE
    wall = local - pl.Series([shift_ns if offset[0] == "+" else -shift_ns]).cast(pl.Duration("ns"))
    is_first = wall.is_first_distinct() & ~wall.is_in(read.walls.implode())
    once, again = (
        pl.select(
            pl.lit(wall)
            .dt.replace_time_zone(zone, ambiguous=pl.lit(reading), non_existent="null")
            .dt.convert_time_zone("UTC")
        ).to_series()
        for reading in ("earliest", "latest")
    )
    if (is_twice := (once != again).fill_null(value=False)).any():
        read.walls = pl.concat([read.walls, wall.filter(is_twice)]).unique()
    return pl.select(pl.when(is_first).then(once).otherwise(again)).to_series()
