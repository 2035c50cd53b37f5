"""Reads a pair of LOBSTER files: messages and the order book after each of them.

```
message    time (s after local midnight), type, order id, size, price x 10 000, direction (+1 buy, -1 sell order)
book       ask 1 price, ask 1 size, bid 1 price, bid 1 size, ask 2 price, ...      row i is the book after message i
```
Types: 1 new, 2 and 3 cancelled in part and in full, 4 execution of a visible order, 5 of a hidden one, 6 auction,
7 halt (price -1 halts, 0 resumes quoting, 1 resumes trading). The direction is the resting order's: an execution of a
sell order was initiated by a buyer. An empty level has price +-9999999999 and size 0.

Guarantees: spread and depth are weighted by time, without halts and without empty sides; depth is null for files with
fewer than five levels. Does not guarantee: the side of a hidden execution; it is what the file says.

Source: LOBSTER, "Output structure", and Huang and Polak, "LOBSTER: Limit Order Book Reconstruction System", 2011.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl

from hansa.errors import DataError
from hansa.market.readers.ticks import Depth, Quotes, Trades, bars_from_ticks

if TYPE_CHECKING:
    from pathlib import Path

    from jaxtyping import Float, Int

    from hansa.market.readers.ticks import Caps

_MESSAGE_COLUMNS: Final = ("time", "type", "order_id", "size", "price", "direction")
_DUMMY_PRICE: Final = 9_999_999_999
_TICKS_PER_UNIT: Final = 10_000
_VISIBLE, _HIDDEN, _HALT = 4, 5, 7
_DEPTH_LEVELS: Final = 5


def read_lobster(
    message_path: Path,
    orderbook_path: Path,
    *,
    market: str,
    venue: str,
    date: date,
    bar_ns: int,
    levels: int,
    time_zone: str = "America/New_York",
    caps: Caps | None = None,
) -> pl.DataFrame:
    """Read one day of one share.

    Args:
        message_path: Message file, `.csv` or `.csv.gz`, without header.
        orderbook_path: Order-book file of the same messages.
        market: Market of the rows.
        venue: Venue of the rows.
        date: Local day of the file.
        bar_ns: Length of a bar, ns.
        levels: Levels of the order-book file.
        time_zone: IANA zone of the exchange.
        caps: How influence is capped, each trade being a client: the files name none.

    Returns:
        Frame of the bars contract.

    Raises:
        DataError: A file is absent, empty, truncated or of another shape, the two have different numbers of rows,
            times decrease, or a cell is not a number.
    """
    message = _table(message_path, len(_MESSAGE_COLUMNS), "messages (time, type, order id, size, price, direction)")
    book = _table(orderbook_path, 4 * levels, f"books of {levels} levels (4 columns a level)")
    if len(message) != len(book):
        raise DataError(
            f"{orderbook_path}: row {min(len(message), len(book))}: expected one book a message; got {len(book)} "
            f"books and {len(message)} messages in {message_path.name}; take both files of the same day and level"
        )
    seconds, kind, _, size, price, direction = message.T
    backwards = np.flatnonzero(np.diff(seconds) < 0)
    if backwards.size:
        raise DataError(f"{message_path}: row {backwards[0] + 1}: the time is before that of the row above")
    midnight = datetime.combine(date, time(), tzinfo=ZoneInfo(time_zone)).astimezone(UTC)
    # Seconds of a day have 5 digits and files 9 decimals: together they fit a float64.
    ts_ns = int(midnight.timestamp()) * 1_000_000_000 + np.rint(seconds * 1e9).astype(np.int64)
    open_for_trading = ~_halted(kind, price)
    traded = np.isin(kind, (_VISIBLE, _HIDDEN)) & (size > 0) & (price > 0)
    trades = Trades(ts_ns[traded], price[traded] / _TICKS_PER_UNIT, size[traded], -direction[traded].astype(np.int64))
    ask, bid = _quotes(book[:, 0], open_for_trading), _quotes(book[:, 2], open_for_trading)
    depth = None if levels < _DEPTH_LEVELS else Depth(ts_ns, _depth(book, open_for_trading))
    return bars_from_ticks(Quotes(ts_ns, bid, ask), depth, trades, market=market, venue=venue, bar_ns=bar_ns, caps=caps)


def _table(path: Path, columns: int, content: str) -> Float[np.ndarray, "row column"]:
    try:
        frame = pl.read_csv(path, has_header=False, infer_schema=False, glob=False)
    except (pl.exceptions.PolarsError, OSError) as error:
        cause = type(error).__name__
        raise DataError(f"{path}: row 0: cannot be read as a table ({cause}): absent, truncated or empty?") from error
    if frame.width != columns:
        hint = "; a file without time stamps cannot be placed in bars" if "NO_TIMESTAMPS" in path.name else ""
        raise DataError(f"{path}: row 0: expected {content}, {columns} columns; got {frame.width}{hint}")
    numbers = frame.select(pl.all().cast(pl.Float64, strict=False))
    bad = numbers.select(pl.any_horizontal(pl.all().is_null() | pl.all().is_nan()).arg_true().first()).item()
    if bad is not None:
        raise DataError(f"{path}: row {bad}: a cell is empty or not a number")
    return numbers.to_numpy()


def _halted(kind: Float[np.ndarray, " event"], price: Float[np.ndarray, " event"]) -> Int[np.ndarray, " event"]:
    """Say of each event whether quoting was halted after it."""
    signal = np.where(kind == _HALT, np.where(price == -1, 1, 0), -1)
    last = np.maximum.accumulate(np.where(signal >= 0, np.arange(len(signal)), -1))
    halted: Int[np.ndarray, " event"] = (last >= 0) & (signal[np.maximum(last, 0)] == 1)
    return halted


def _quotes(ticks: Float[np.ndarray, " event"], is_open: Int[np.ndarray, " event"]) -> Float[np.ndarray, " event"]:
    usable = is_open & (np.abs(ticks) < _DUMMY_PRICE) & (ticks > 0)
    return np.where(usable, ticks / _TICKS_PER_UNIT, np.nan)


def _depth(book: Float[np.ndarray, "event column"], is_open: Int[np.ndarray, " event"]) -> Float[np.ndarray, " event"]:
    columns = np.arange(0, 4 * _DEPTH_LEVELS, 2)
    prices, sizes = book[:, columns], book[:, columns + 1]
    filled = (np.abs(prices) < _DUMMY_PRICE) & (prices > 0)
    total = np.where(filled, prices / _TICKS_PER_UNIT * sizes, 0.0).sum(axis=1)
    return np.where(is_open, total, np.nan)
