"""`hansa market`: import files into bars, describe the faults of bars."""

from __future__ import annotations

import os
import re
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import msgspec
import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from hansa.errors import ConfigurationError, DataError, HansaError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import polars as pl

    from hansa.market.quality import Quality
    from hansa.market.readers.ticks import Caps

app = typer.Typer(help="Import market data into bars, and describe the gaps and faults of bars.", no_args_is_help=True)

_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_QUOTE_CURRENCIES: Final = ("USDT", "USDC", "USD", "EUR", "GBP", "JPY", "CHF", "CAD", "AUD", "BTC", "ETH")
_SUFFIXES: Final = (".parquet", ".csv", ".csv.gz", ".gz")
_FAULT_EXIT: Final = 2


class FileFormat(StrEnum):
    """Formats that `import` reads."""

    BARS = "bars"
    BINANCE_DEPTH = "binance-depth"
    TRADES = "trades"


@dataclass(frozen=True, slots=True)
class _Options:
    market: str | None
    venue: str | None
    bar_ns: int
    clock: str
    price_scale: float
    tick_volume_as: Literal["volume", "trades"] | None
    asset: str | None
    file_format: FileFormat
    caps: Caps | None = None
    house_quotes: Path | None = None


MarketOption = Annotated[str | None, typer.Option("--market", help="Market, such as USDC-USD; else from the name.")]
VenueOption = Annotated[str | None, typer.Option("--venue", help="Venue, such as kraken; else from the name.")]
ClockOption = Annotated[str, typer.Option(help="Zone of times without one: IANA zone, +02:00, or both.")]
ScaleOption = Annotated[float, typer.Option(help="Divisor of prices; 100000 where 94371 is 0.94371.")]
AssetOption = Annotated[str | None, typer.Option(help="Keep the rows of this asset of a file with many.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
TickOption = Annotated[Literal["volume", "trades"] | None, typer.Option(help="What a count of quotes stands in for.")]


@app.command("import")
def import_(
    *,
    sources: Annotated[list[Path], typer.Argument(metavar="SRC...", help="Files or directories.")],
    out: Annotated[Path, typer.Option(help="Directory of the bars; made if absent.")],
    market: MarketOption = None,
    venue: VenueOption = None,
    bar: Annotated[str, typer.Option(help="Length of the bars: 30s, 1m, 1h, 1d.")] = "1m",
    clock: ClockOption = "UTC",
    price_scale: ScaleOption = 1.0,
    tick_volume_as: TickOption = None,
    asset: AssetOption = None,
    file_format: Annotated[FileFormat, typer.Option("--format", help="Format of the files.")] = FileFormat.BARS,
    influence_cap: Annotated[float, typer.Option(help="Cap one client's move of a log measure; 0: not capped.")] = 0.0,
    reference_volume: Annotated[float, typer.Option(help="With a cap: public quote volume a bar.")] = 0.0,
    reference_range_bps: Annotated[float, typer.Option(help="With a cap: public high-low range of a bar.")] = 1.0,
    house_quotes: Annotated[Path | None, typer.Option(help="With trades: file of the house's own quotes.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Read files, check them, and write <venue>_<market>.parquet."""
    with _one_line_errors():
        options = _Options(
            market, venue, parse_bar(bar), clock, price_scale, tick_volume_as, asset, file_format,
            _caps(file_format, influence_cap, reference_volume, reference_range_bps, house_quotes), house_quotes,
        )  # fmt: skip
        plain, signed = _plan(sources, options)
        if house_quotes is not None and (len(plain) > 1 or file_format is not FileFormat.TRADES):
            raise ConfigurationError("--house-quotes belongs to one file of trades: give one, with --format trades")
        reports = _import_all(plain, signed, out, options)
        unused = [str(path) for key, path in signed.items() if key not in plain]
        if as_json:
            written = [msgspec.json.decode(report.to_json()) for report in reports]
            typer.echo(msgspec.json.encode({"written": written, "signed_without_series": unused}).decode())
            return
        _print_table(reports)
        for path in unused:
            Console(stderr=True).print(
                f"left out: {path}: signed volume without a plain series of its market", soft_wrap=True
            )


@app.command("describe")
def describe_(
    *,
    path: Annotated[Path, typer.Argument(help="File of bars, or directory of them.")],
    market: MarketOption = None,
    venue: VenueOption = None,
    bar: Annotated[str | None, typer.Option(help="Length of the bars; else the usual distance.")] = None,
    clock: ClockOption = "UTC",
    price_scale: ScaleOption = 1.0,
    asset: AssetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the gaps and faults of bars."""
    from hansa.market.quality import describe, usual_spacing_ns

    with _one_line_errors():
        bar_ns = None if bar is None else parse_bar(bar)
        options = _Options(market, venue, bar_ns or parse_bar("1m"), clock, price_scale, None, asset, FileFormat.BARS)
        plain, _ = _plan([path], options)
        reports = []
        for key, file in plain.items():
            bars = _read(file, key, options)
            reports.append(describe(bars, bar_ns or usual_spacing_ns(bars)))
        if as_json:
            typer.echo(msgspec.json.encode([msgspec.json.decode(report.to_json()) for report in reports]).decode())
        else:
            _print_table(reports)


def parse_bar(text: str) -> int:
    """Read a length of time such as `30s`, `5m`, `1h`, `1d`.

    Args:
        text: Positive whole number and unit.

    Returns:
        Length, ns.

    Raises:
        ConfigurationError: The text has another form.
    """
    match = re.fullmatch(r"([1-9]\d*)([smhd])", text.strip())
    if match is None:
        raise ConfigurationError(f"expected a bar length such as 30s, 5m, 1h or 1d; got {text!r}")
    return int(match[1]) * _SECONDS[match[2]] * 1_000_000_000


def market_name(text: str) -> str:
    """Spell a market of a file's name as BASE-QUOTE.

    Args:
        text: `usdcusd`, `btc_eur` or `BTC-USD`.

    Returns:
        Name such as `USDC-USD`.

    Raises:
        ConfigurationError: The quote currency cannot be told.
    """
    upper = re.sub(r"[_/]", "-", text.upper())
    if "-" in upper:
        return upper
    for quote in _QUOTE_CURRENCIES:
        if upper.endswith(quote) and len(upper) > len(quote) + 1:
            return f"{upper.removesuffix(quote)}-{quote}"
    raise ConfigurationError(f"cannot tell base and quote currency of {text!r}; give --market BASE-QUOTE")


def _caps(
    file_format: FileFormat, cap: float, volume: float, range_bps: float, house_quotes: Path | None
) -> Caps | None:
    """Return the caps asked for; ready-made bars cannot have any, for nobody knows whose trades are in them."""
    from hansa.market.readers.ticks import Caps

    if cap == 0:
        return None
    if file_format is FileFormat.BARS:
        raise ConfigurationError("bars hold no trades: no client can be capped; import --format trades")
    if volume <= 0:
        raise ConfigurationError("--influence-cap needs --reference-volume: a public quote volume a bar, above 0")
    return Caps(cap, volume, range_bps * 1e-4, "clients" if house_quotes is None else "house")


@contextmanager
def _one_line_errors() -> Iterator[None]:
    try:
        yield
    except HansaError as error:
        typer.echo(f"hansa market: {error}", err=True)
        raise typer.Exit(_FAULT_EXIT) from error


def _plan(paths: Sequence[Path], options: _Options) -> tuple[dict[tuple[str, str], Path], dict[tuple[str, str], Path]]:
    plain: dict[tuple[str, str], Path] = {}
    signed: dict[tuple[str, str], Path] = {}
    for path in paths:
        if not path.exists():
            raise DataError(f"{path}: no such file or directory")
        files = sorted(p for p in path.iterdir() if p.name.endswith(_SUFFIXES)) if path.is_dir() else [path]
        for file in files:
            group = signed if file.name.startswith("signed_") else plain
            key = _key(file, options)
            if key in group:
                raise DataError(f"{file}: {group[key].name} is {key[0]} at {key[1]} too; import one of them")
            group[key] = file
    if not plain:
        raise DataError(f"{', '.join(map(str, paths))}: expected files {', '.join(_SUFFIXES)}; found none")
    return plain, signed


def _key(file: Path, options: _Options) -> tuple[str, str]:
    from hansa.market.sources import split_name

    named = split_name(file)
    venue = options.venue or (named and named[0])
    try:
        market = options.market or (named and market_name(named[1]))
    except ConfigurationError as error:
        raise ConfigurationError(f"{file}: {error}") from error
    if not venue or not market:
        raise ConfigurationError(f"{file}: the name is not <venue>_<market>; give --venue and --market")
    return market, venue


def _read(
    file: Path,
    key: tuple[str, str],
    options: _Options,
    *,
    folder: Path | None = None,
    progress: Callable[[float], None] = lambda _: None,
) -> pl.DataFrame:
    """Read one file; trades out of order are sorted in `folder`, and `progress` is told the share of them read."""
    from hansa.market.readers.bars import read_bars
    from hansa.market.readers.binance_depth import read_depth_stream
    from hansa.market.readers.trades import read_trades

    market, venue = key
    if options.file_format is FileFormat.BINANCE_DEPTH:
        return read_depth_stream(file, market=market, venue=venue, bar_ns=options.bar_ns, caps=options.caps)
    if options.file_format is FileFormat.TRADES:
        return read_trades(
            file,
            market=market,
            venue=venue,
            bar_ns=options.bar_ns,
            caps=options.caps,
            clock=options.clock,
            house_quotes=options.house_quotes,
            folder=folder,
            progress=progress,
        )
    return read_bars(
        file,
        market=market,
        venue=venue,
        bar_ns=options.bar_ns,
        clock=options.clock,
        price_scale=options.price_scale,
        tick_volume_as=options.tick_volume_as,
        asset=options.asset,
    )


def _import_all(
    plain: dict[tuple[str, str], Path], signed: dict[tuple[str, str], Path], out: Path, options: _Options
) -> list[Quality]:
    from hansa.market.quality import describe
    from hansa.market.readers.bars import attach_signed

    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"{out}: cannot be made a directory; give another --out") from error
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeElapsedColumn())
    reports = []
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        sizes = {key: file.stat().st_size for key, file in plain.items()}
        task = progress.add_task("import", total=sum(sizes.values()))
        done = 0
        for key, file in plain.items():
            progress.update(task, description=file.name, completed=done)
            advance = partial(_advance, progress, task, done, sizes[key])
            bars = _read(file, key, options, folder=out, progress=advance)
            if key in signed:
                bars = attach_signed(bars, _read(signed[key], key, options))
            _write(bars, out / f"{key[1]}_{key[0]}.parquet")
            reports.append(describe(bars, options.bar_ns))
            done += sizes[key]
            progress.update(task, completed=done)
    return reports


def _advance(progress: Progress, task: TaskID, done: int, size: int, share: float) -> None:
    progress.update(task, completed=done + round(share * size))


def _write(bars: pl.DataFrame, target: Path) -> None:
    """Write bars whole or not at all; what an import that was killed left of them goes."""
    unfinished = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        for left in target.parent.glob(f".{escape(target.name)}.*.partial"):
            if not _is_running(left.name.split(".")[-2]):
                left.unlink(missing_ok=True)
        with unfinished.open("wb") as file:
            bars.write_parquet(file, compression="zstd")
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(target)
    except OSError as error:
        raise DataError(f"{target}: cannot be written ({type(error).__name__}); check space and permissions") from error
    finally:
        unfinished.unlink(missing_ok=True)


def _is_running(process: str) -> bool:
    if os.name != "posix":  # elsewhere asking may end the process
        return True
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    except (ValueError, OSError):  # somebody else's process, or no name of ours
        return True
    return True


def _print_table(reports: list[Quality]) -> None:
    from hansa.market.calendar import NS_PER_DAY

    table = Table(title="Bars: gaps and faults", box=SIMPLE_HEAD, padding=0, pad_edge=False)
    for name in ("market", "venue"):
        table.add_column(name, no_wrap=True)
    for name in ("rows", "days", "missing", "gaps", "longest", "idle", "signed", "odd", "locked"):
        table.add_column(name, justify="right", no_wrap=True)
    for report in reports:
        table.add_row(
            report.market,
            report.venue,
            str(report.rows),
            f"{(report.last_ns - report.first_ns) / NS_PER_DAY:.0f}",
            f"{report.gaps.missing_share:.1%}",
            str(report.gaps.count),
            str(report.gaps.longest_bars),
            "?" if report.zero_volume_share is None else f"{report.zero_volume_share:.0%}",
            f"{report.signed_volume_share:.0%}",
            str(len(report.suspicious_prints)),
            str(report.locked_bars),
        )
    table.caption = "longest: gap in bars; idle: volume 0; odd: suspicious prints; all in --json"
    Console().print(table)
