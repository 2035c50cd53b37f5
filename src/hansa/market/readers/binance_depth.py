"""Reads a recorded Binance stream: book changes, best quotes and trades, one JSON message a line.

```
local_ns {"stream": ..., "data": {...}}       depthUpdate | bookTicker | trade
local_ns {"lastUpdateId": ..., "bids": [[price, size], ...], "asks": ...}       snapshot
```
The book is the snapshot and the changes after it; changes whose line came before the snapshot's and whose number comes
after it are replayed on it. Futures changes are in sequence where `pu` is the `u` before, spot changes where `U` is one
more. After a gap the book is dropped. Without a snapshot (the stream may begin after it) the book is built from changes
alone. Depth is null until both sides have five levels; the spread comes from bookTicker messages, and from the book
only where the file has none.

Guarantees: every break of the sequence is in `DepthReading.gaps` and in the log. Does not guarantee: that a book built
without a snapshot has every level; times are the recorder's clock, not the venue's.

Source: Binance, "How to manage a local order book correctly" (spot, USD-M and COIN-M futures).
"""

from __future__ import annotations

import bisect
import gzip
import logging
import zlib
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np

from hansa.errors import DataError
from hansa.market.readers.ticks import Depth, Quotes, Trades, bars_from_ticks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import polars as pl

    from hansa.market.readers.ticks import Caps

_LOG: Final = logging.getLogger(__name__)
_LEVELS: Final = 5
_WAITING_CHANGES: Final = 20_000  # a snapshot older than that many changes cannot be joined
_GZIP_MAGIC: Final = b"\x1f\x8b"


class _Message(msgspec.Struct, frozen=True):
    """The fields of all messages that this reader uses; a message has some of them."""

    e: str | None = None
    U: int | None = None
    u: int | None = None
    pu: int | None = None
    b: str | list[tuple[str, str]] | None = None
    a: str | list[tuple[str, str]] | None = None
    p: str | None = None
    q: str | None = None
    m: bool | None = None
    lastUpdateId: int | None = None  # noqa: N815 - the venue's name
    bids: list[tuple[str, str]] | None = None
    asks: list[tuple[str, str]] | None = None


class _Line(_Message, frozen=True):
    """A line: a message, or one inside the envelope of a combined stream."""

    data: _Message | None = None


@dataclass(frozen=True, slots=True)
class SequenceGap:
    """A break in the numbering of book changes.

    Attributes:
        row: Line of the file, 0-based.
        ts_ns: Time of the change after the break, ns UTC.
        expected: Number that should have come.
        got: Number that came.
    """

    row: int
    ts_ns: int
    expected: int
    got: int


@dataclass(frozen=True, slots=True)
class DepthReading:
    """What a stream file gave.

    Attributes:
        bars: Frame of the bars contract.
        gaps: Breaks in the sequence.
        has_snapshot: Whether the file holds a snapshot of the book.
        messages: Number of lines.
    """

    bars: pl.DataFrame
    gaps: tuple[SequenceGap, ...]
    has_snapshot: bool
    messages: int


def read_depth_stream(
    path: Path,
    *,
    market: str,
    venue: str,
    bar_ns: int,
    contract_quote: float | None = None,
    caps: Caps | None = None,
) -> pl.DataFrame:
    """Read the bars of a stream file; each sequence gap is logged as a warning.

    Args:
        path: Text file, plain or gzip.
        market: Market of the rows.
        venue: Venue of the rows.
        bar_ns: Length of a bar, ns.
        contract_quote: Quote currency of one contract, for coin-margined futures whose sizes are contracts.
        caps: How influence is capped, each trade being a client: the stream names none.

    Returns:
        Frame of the bars contract.

    Raises:
        DataError: A line is malformed, times decrease, or the file is absent, truncated or empty.
    """
    reading = scan_depth_stream(
        path, market=market, venue=venue, bar_ns=bar_ns, contract_quote=contract_quote, caps=caps
    )
    for gap in reading.gaps:
        _LOG.warning("%s: row %d: sequence gap: expected %d, got %d", path, gap.row, gap.expected, gap.got)
    return reading.bars


def scan_depth_stream(
    path: Path,
    *,
    market: str,
    venue: str,
    bar_ns: int,
    contract_quote: float | None = None,
    caps: Caps | None = None,
) -> DepthReading:
    """Read a stream file, with the report of its sequence.

    Args:
        path: As for `read_depth_stream`.
        market: Likewise.
        venue: Likewise.
        bar_ns: Likewise.
        contract_quote: Likewise.
        caps: Likewise.

    Returns:
        Bars, gaps, and whether there was a snapshot.

    Raises:
        DataError: As for `read_depth_stream`.
    """
    tape = _Tape(contract_quote=contract_quote)
    row = -1
    for row, ts_ns, message in _lines(path):
        if ts_ns < tape.last_ns:
            raise DataError(f"{path}: row {row}: the time is before that of the row above")
        try:
            tape.take(row, ts_ns, message)
        except (ValueError, TypeError) as error:
            raise DataError(f"{path}: row {row}: a price, size or number of the message is malformed") from error
    if row < 0:
        raise DataError(f"{path}: row 0: expected messages; the file is empty")
    bars = tape.bars(market=market, venue=venue, bar_ns=bar_ns, caps=caps)
    return DepthReading(bars, tuple(tape.gaps), tape.book.has_snapshot, row + 1)


class _Side:
    """One side of a book: sizes by signed price, best first in `keys` (bids are keyed by minus their price)."""

    def __init__(self, sign: int) -> None:
        self.sign = sign
        self.keys: list[float] = []
        self.sizes: dict[float, float] = {}

    def change(self, levels: list[tuple[str, str]]) -> None:
        for price, size in levels:
            key, amount = self.sign * float(price), float(size)
            if amount > 0:
                if key not in self.sizes:
                    bisect.insort(self.keys, key)
                self.sizes[key] = amount
            elif self.sizes.pop(key, None) is not None:
                del self.keys[bisect.bisect_left(self.keys, key)]

    def clear(self) -> None:
        self.keys.clear()
        self.sizes.clear()

    def best(self) -> list[tuple[float, float]]:
        return [(abs(key), self.sizes[key]) for key in self.keys[:_LEVELS]]


@dataclass(slots=True)
class _Book:
    """The book as the messages so far make it, and the changes that a snapshot may still need."""

    bids: _Side = field(default_factory=lambda: _Side(-1))
    asks: _Side = field(default_factory=lambda: _Side(1))
    has_snapshot: bool = False
    last: int | None = None
    waiting: deque[_Message] = field(default_factory=lambda: deque(maxlen=_WAITING_CHANGES))

    def change(self, message: _Message) -> tuple[int, int] | None:
        """Apply one change; return (expected, got) where the sequence breaks."""
        if message.u is None or message.U is None or not isinstance(message.b, list) or not isinstance(message.a, list):
            raise ValueError("a book change without its numbers or levels")
        if self.has_snapshot and self.last is not None and message.u <= self.last:
            return None
        broken = None
        if self.last is not None:
            if message.pu is not None and not self.straddles(message):
                broken = (self.last, message.pu) if message.pu != self.last else None
            elif message.pu is None and self.last + 1 < message.U:
                broken = (self.last + 1, message.U)
        if broken is not None:
            self.bids.clear()
            self.asks.clear()
            self.waiting.clear()
            self.has_snapshot = False
        if not self.has_snapshot:
            self.waiting.append(message)
        self.bids.change(message.b)
        self.asks.change(message.a)
        self.last = message.u
        return broken

    def straddles(self, message: _Message) -> bool:
        """Whether the change spans the number reached: true of the first change after a futures snapshot."""
        return self.last is not None and message.U is not None and self.last + 1 >= message.U

    def reset(self, message: _Message) -> tuple[int, int] | None:
        """Start again from a snapshot, replay the later changes that already came; return as `change` does."""
        if message.lastUpdateId is None or message.bids is None or message.asks is None:
            raise ValueError("a snapshot without its number or levels")
        waiting = list(self.waiting)
        self.waiting.clear()
        self.bids.clear()
        self.asks.clear()
        self.bids.change(message.bids)
        self.asks.change(message.asks)
        self.has_snapshot, self.last = True, message.lastUpdateId
        broken = [self.change(change) for change in waiting]
        return next((gap for gap in broken if gap is not None), None)


@dataclass(slots=True)
class _Tape:
    """Columns gathered line by line."""

    contract_quote: float | None
    book: _Book = field(default_factory=_Book)
    gaps: list[SequenceGap] = field(default_factory=list)
    last_ns: int = 0
    tickers: list[tuple[int, float, float]] = field(default_factory=list)
    tops: list[tuple[int, float, float, float]] = field(default_factory=list)
    trades: list[tuple[int, float, float, int]] = field(default_factory=list)

    def take(self, row: int, ts_ns: int, message: _Message) -> None:
        self.last_ns = ts_ns
        if message.e == "depthUpdate":
            broken = self.book.change(message)
            self._record_book(row, ts_ns, broken)
        elif message.lastUpdateId is not None:
            self._record_book(row, ts_ns, self.book.reset(message))
        elif message.e == "trade":
            self._record_trade(ts_ns, message)
        elif isinstance(message.b, str) and isinstance(message.a, str):
            self.tickers.append((ts_ns, float(message.b), float(message.a)))

    def bars(self, *, market: str, venue: str, bar_ns: int, caps: Caps | None) -> pl.DataFrame:
        tops = np.array(self.tops, dtype=np.float64).reshape(-1, 4)
        top_ns = np.array([top[0] for top in self.tops], dtype=np.int64)
        if self.tickers:
            tick = np.array([ticker[1:] for ticker in self.tickers], dtype=np.float64)
            quotes = Quotes(np.array([ticker[0] for ticker in self.tickers], dtype=np.int64), tick[:, 0], tick[:, 1])
        else:
            quotes = Quotes(top_ns, tops[:, 1], tops[:, 2])
        traded = np.array([trade[1:] for trade in self.trades], dtype=np.float64).reshape(-1, 3)
        trades = Trades(
            np.array([trade[0] for trade in self.trades], dtype=np.int64),
            traded[:, 0],
            traded[:, 1],
            traded[:, 2].astype(np.int64),
        )
        depth = Depth(top_ns, tops[:, 3])
        return bars_from_ticks(quotes, depth, trades, market=market, venue=venue, bar_ns=bar_ns, caps=caps)

    def _record_book(self, row: int, ts_ns: int, broken: tuple[int, int] | None) -> None:
        if broken is not None:
            self.gaps.append(SequenceGap(row, ts_ns, *broken))
        bids, asks = self.book.bids.best(), self.book.asks.best()
        full = len(bids) == _LEVELS and len(asks) == _LEVELS
        value = sum(self.contract_quote * n if self.contract_quote else p * n for p, n in (*bids, *asks))
        bid, ask = bids[0][0] if bids else np.nan, asks[0][0] if asks else np.nan
        self.tops.append((ts_ns, bid, ask, value if full else np.nan))

    def _record_trade(self, ts_ns: int, message: _Message) -> None:
        price, size = float(message.p or "nan"), float(message.q or "nan")
        if not (np.isfinite(price) and np.isfinite(size)) or message.m is None:
            raise ValueError("a trade without price, size or side")
        if price > 0 and size > 0:  # the venue reports settlements of its insurance fund as trades of nothing
            base = size if self.contract_quote is None else size * self.contract_quote / price
            self.trades.append((ts_ns, price, base, -1 if message.m else 1))


def _lines(path: Path) -> Iterator[tuple[int, int, _Message]]:
    decoder = msgspec.json.Decoder(_Line)
    row = 0
    try:
        with path.open("rb") as raw:
            zipped = raw.read(2) == _GZIP_MAGIC
        with gzip.open(path, "rb") if zipped else path.open("rb") as lines:
            for row, line in enumerate(lines):
                stamp, _, text = line.partition(b" ")
                message = decoder.decode(text)
                yield row, int(stamp), message if message.data is None else message.data
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: row {row}: cannot be read ({type(error).__name__}): absent or truncated?") from error
    except (msgspec.MsgspecError, ValueError) as error:
        raise DataError(f"{path}: row {row}: expected a time in ns, a blank and a JSON message") from error
