"""Reads a broker's own trades, with the client of each, into bars whose clients are capped.

| what | column names understood (case does not matter) |
|---|---|
| time | `timestamp`, `time`, `datetime`, `ts_ns`, `ts_ms`, as `hansa.market.readers.bars` reads them |
| price, size | `price`; `size`, `quantity`, `qty`, `volume` or `amount`, base units |
| side | `side`: buy or sell, b or s, +1 or -1: who initiated; absent: unknown, counted as 0 |
| client | `client`, `client_id`, `account`: any text or number; an empty one is a client of its own |
| quotes | `bid` and `ask`: the quotes that stood at the trade; better, a second file: a time, `bid`, `ask`, `depth` |

Guarantees: every row is read or the file is refused with its name, the row and the reason; no value of the file is in
the message; client names stay in this process, numbered afresh. Quotes of the second file are the house's own: nothing
that a client does is in them. Does NOT guarantee that: who names the file says so. Quotes beside the trades are known
only when somebody trades, so even a house's own are chosen by clients there and count as theirs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from hansa.errors import DataError
from hansa.market.readers.bars import start_ns
from hansa.market.readers.batches import BLOCK_BYTES
from hansa.market.readers.feed import Feed, ReadAgainError
from hansa.market.readers.spans import Spans
from hansa.market.readers.ticks import Depth, Quotes, Trades

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from jaxtyping import Int

    from hansa.market.readers.bars import TimesRead
    from hansa.market.readers.batches import Batch
    from hansa.market.readers.ticks import Caps

_TIMES: Final = ("timestamp", "time", "datetime", "ts_ns", "ts_ms")
_SIZES: Final = ("size", "quantity", "qty", "volume", "amount")
_CLIENTS: Final = ("client", "client_id", "account")
_MOST_BARS: Final = 1 << 24  # one wrong time would fill memory with the bars up to it: 31 years of minutes
_OF_TRADES: Final = frozenset({*_TIMES, *_SIZES, *_CLIENTS, "price", "side", "bid", "ask"})
_OF_QUOTES: Final = frozenset({*_TIMES, "bid", "ask", "depth"})
_SIDES: Final = {"buy": 1, "b": 1, "1": 1, "+1": 1, "sell": -1, "s": -1, "-1": -1}


def read_trades(
    path: Path,
    *,
    market: str,
    venue: str,
    bar_ns: int,
    caps: Caps | None = None,
    clock: str = "UTC",
    house_quotes: Path | None = None,
    block_bytes: int = BLOCK_BYTES,
    folder: Path | None = None,
    progress: Callable[[float], None] = lambda _: None,
) -> pl.DataFrame:
    """Read a table of trades into bars; the file may be larger than memory.

    Args:
        path: `.parquet`, `.csv` or `.csv.gz` file; rows in any order.
        market: Market of the rows.
        venue: Venue of the rows.
        bar_ns: Length of a bar, ns.
        caps: How one client's influence is capped; None: not at all.
        clock: Zone of times that carry none.
        house_quotes: File of the house's own quotes, rows in any order; `depth` is in quote currency, both sides.
        block_bytes: About how much of a file is read at once; the bars do not depend on it.
        folder: Where rows far out of order are sorted; None: the system's folder for temporary files.
        progress: Told the share of the trades that is read, 0 to 1.

    Returns:
        Frame of the bars contract.

    Raises:
        DataError: A file is malformed, or quotes are said to be the house's without a file of them.
    """
    if caps is not None and caps.quotes == "house" and house_quotes is None:
        raise DataError(f"{path}: quotes beside trades are chosen by who trades; name a file of the house's own quotes")
    if bar_ns <= 0:
        raise DataError(f"{path}: expected a bar length above 0; got {bar_ns}")
    columns = _trade_columns(path, clock, house_quotes is None)
    tape = Feed(path, _OF_TRADES, columns, block_bytes, folder, progress)
    house = None
    if house_quotes is not None:
        house = Feed(house_quotes, _OF_QUOTES, _quote_columns(house_quotes, clock), block_bytes, folder)
    while True:
        try:
            return _spans(tape, house, bar_ns, caps).bars(market=market, venue=venue)
        except ReadAgainError:
            continue


def _spans(tape: Feed, house: Feed | None, bar_ns: int, caps: Caps | None) -> Spans:
    """Cut both feeds at edges that neither can fall behind any more."""
    feeds = [tape] if house is None else [tape, house]
    for feed in feeds:
        feed.restart()
    spans = Spans(bar_ns, caps)
    is_house = house is not None and caps is not None and caps.quotes == "house"
    quoting = house if is_house and house is not None else tape
    first_ns: int | None = None
    edge_ns = 0
    while waiting := [feed for feed in feeds if not feed.is_over]:
        slowest = min(waiting, key=lambda feed: feed.frontier_ns)
        slowest.pull()
        running = [feed for feed in feeds if not feed.is_over]
        if not running:
            break
        due_ns = (min(feed.frontier_ns for feed in running) - 1) // bar_ns * bar_ns
        if first_ns is None:
            if due_ns < (begin_ns := min(feed.first_ns for feed in feeds)):
                continue
            first_ns = begin_ns
        elif due_ns <= edge_ns:
            continue
        _refuse_gap(tape.path, edge_ns or first_ns, due_ns, bar_ns)
        known_until_ns = quoting.frontier_ns if is_house and quoting.is_over else due_ns
        _add(spans, tape, house, first_ns=first_ns, last_ns=due_ns, known_until_ns=known_until_ns)
        edge_ns = due_ns
    first_ns = min(feed.first_ns for feed in feeds) if first_ns is None else first_ns
    last_ns = max(feed.frontier_ns for feed in feeds)
    _refuse_gap(tape.path, edge_ns or first_ns, last_ns, bar_ns)
    known_until_ns = quoting.frontier_ns if is_house else last_ns
    _add(spans, tape, house, first_ns=first_ns, last_ns=last_ns, known_until_ns=known_until_ns)
    return spans


def _refuse_gap(path: Path, from_ns: int, to_ns: int, bar_ns: int) -> None:
    bars = (to_ns - from_ns) // bar_ns
    if bars > _MOST_BARS:
        raise DataError(
            f"{path}: expected at most {_MOST_BARS} bars between times that come one after another; got {bars}; is one "
            "of the times wrong, or are the bars too short?"
        )


def _add(spans: Spans, tape: Feed, house: Feed | None, *, first_ns: int, last_ns: int, known_until_ns: int) -> None:
    traded = tape.take(last_ns)
    quoted = traded if house is None else house.take(last_ns)
    ts_ns = quoted["ts_ns"].to_numpy()
    quotes, depth = Quotes(ts_ns[:0], np.empty(0), np.empty(0)), None
    if "bid" in quoted.columns:
        quotes = Quotes(ts_ns, quoted["bid"].to_numpy(), quoted["ask"].to_numpy())
    if "depth" in quoted.columns:
        depth = Depth(ts_ns, quoted["depth"].to_numpy())
    trades = Trades(
        traded["ts_ns"].to_numpy(),
        traded["price"].to_numpy(),
        traded["size"].to_numpy(),
        traded["side"].to_numpy(),
        _clients(traded) if "client" in traded.columns else None,
    )
    spans.add(quotes, depth, trades, first_ns=first_ns, last_ns=last_ns, known_until_ns=known_until_ns)


def _trade_columns(path: Path, clock: str, is_quoted: bool) -> Callable[[Batch, TimesRead], pl.DataFrame]:  # noqa: FBT001
    def columns(batch: Batch, times: TimesRead) -> pl.DataFrame:
        frame = batch.frame
        time_column, size_column = _one_of(batch, _TIMES, path), _one_of(batch, _SIZES, path)
        found = {"price": _positive(batch, "price", path), "size": _positive(batch, size_column, path)}
        stamps = start_ns(frame, time_column, clock, path, times)
        made = pl.DataFrame({"ts_ns": stamps, **found, "side": _sides(batch, path)}).with_columns(_row(batch))
        if is_quoted and {"bid", "ask"} <= set(frame.columns):
            made = made.with_columns(bid=_positive(batch, "bid", path), ask=_positive(batch, "ask", path))
        client = next((name for name in _CLIENTS if name in frame.columns), None)
        return made if client is None else made.with_columns(frame[client].cast(pl.String).alias("client"))

    return columns


def _quote_columns(path: Path, clock: str) -> Callable[[Batch, TimesRead], pl.DataFrame]:
    def columns(batch: Batch, times: TimesRead) -> pl.DataFrame:
        stamps = start_ns(batch.frame, _one_of(batch, _TIMES, path), clock, path, times)
        names = ("bid", "ask", "depth") if "depth" in batch.frame.columns else ("bid", "ask")
        made = pl.DataFrame({"ts_ns": stamps, **{name: _positive(batch, name, path) for name in names}})
        return made.with_columns(_row(batch))

    return columns


def _row(batch: Batch) -> pl.Series:
    return pl.Series("row", np.arange(batch.first_row, batch.first_row + batch.frame.height))


def _one_of(batch: Batch, names: Sequence[str], path: Path) -> str:
    found = next((name for name in names if name in batch.names), None)
    if found is None:
        raise DataError(f"{path}: row 0: expected one of the columns {', '.join(names)}; got {', '.join(batch.names)}")
    return found


def _positive(batch: Batch, name: str, path: Path) -> pl.Series:
    frame = batch.frame
    if name not in batch.names:
        raise DataError(f"{path}: row 0: expected a column {name}; got {', '.join(batch.names)}")
    numbers = frame[name].cast(pl.Float64, strict=False).fill_null(float("nan"))
    bad = (~(numbers.is_finite() & (numbers > 0))).arg_true()
    if len(bad):
        raise DataError(f"{path}: row {batch.first_row + bad[0]}: column {name} is not a finite number above 0")
    return numbers


def _sides(batch: Batch, path: Path) -> pl.Series:
    frame = batch.frame
    if "side" not in frame.columns:
        return pl.zeros(frame.height, dtype=pl.Int64, eager=True)
    text = frame["side"].cast(pl.String).str.strip_chars().str.to_lowercase()
    known = text.replace_strict(_SIDES, default=None, return_dtype=pl.Int64)
    bad = known.is_null().arg_true()
    if len(bad):
        raise DataError(f"{path}: row {batch.first_row + bad[0]}: column side is not one of buy, sell, b, s, 1, -1")
    return known


def _clients(traded: pl.DataFrame) -> Int[np.ndarray, " trade"]:
    """Number the clients by the order of their names, so that the same ones have the same order in every span."""
    number = traded["client"].rank("dense").cast(pl.Int64)
    # An unnamed client is nobody else: below zero no number of a named one lies.
    return pl.select(pl.coalesce(number, -1 - traded["row"])).to_series().to_numpy()
