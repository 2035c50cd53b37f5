"""Reads a broker's own trades, with the client of each, into bars whose clients are capped.

| what | column names understood (case does not matter) |
|---|---|
| time | `timestamp`, `time`, `datetime`, `ts_ns`, as `hansa.market.readers.bars` reads them |
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
from hansa.market.readers.bars import load_table, start_ns
from hansa.market.readers.ticks import Depth, Quotes, Trades, bars_from_ticks

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from jaxtyping import Float, Int

    from hansa.market.readers.ticks import Caps

_TIMES: Final = ("timestamp", "time", "datetime", "ts_ns")
_SIZES: Final = ("size", "quantity", "qty", "volume", "amount")
_CLIENTS: Final = ("client", "client_id", "account")
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
) -> pl.DataFrame:
    """Read a table of trades into bars.

    Args:
        path: `.parquet`, `.csv` or `.csv.gz` file; rows in any order.
        market: Market of the rows.
        venue: Venue of the rows.
        bar_ns: Length of a bar, ns.
        caps: How one client's influence is capped; None: not at all.
        clock: Zone of times that carry none.
        house_quotes: File of the house's own quotes, rows in any order; `depth` is in quote currency, both sides.

    Returns:
        Frame of the bars contract.

    Raises:
        DataError: A file is malformed, or quotes are said to be the house's without a file of them.
    """
    if caps is not None and caps.quotes == "house" and house_quotes is None:
        raise DataError(f"{path}: quotes beside trades are chosen by who trades; name a file of the house's own quotes")
    frame = load_table(path)
    time_column, size_column = _one_of(frame, _TIMES, path), _one_of(frame, _SIZES, path)
    price, size = _positive(frame, "price", path), _positive(frame, size_column, path)
    ts_ns = start_ns(frame, time_column, clock, path).to_numpy()
    order = np.argsort(ts_ns, kind="stable")
    client = _clients(frame)
    trades = Trades(
        ts_ns[order], price[order], size[order], _sides(frame, path)[order], None if client is None else client[order]
    )
    depth = None
    quotes = Quotes(np.empty(0, dtype=np.int64), np.empty(0), np.empty(0))
    if house_quotes is not None:
        quotes, depth = _house(house_quotes, clock)
    elif {"bid", "ask"} <= set(frame.columns):
        quotes = Quotes(ts_ns[order], _positive(frame, "bid", path)[order], _positive(frame, "ask", path)[order])
    return bars_from_ticks(quotes, depth, trades, market=market, venue=venue, bar_ns=bar_ns, caps=caps)


def _house(path: Path, clock: str) -> tuple[Quotes, Depth | None]:
    frame = load_table(path)
    ts_ns = start_ns(frame, _one_of(frame, _TIMES, path), clock, path).to_numpy()
    order = np.argsort(ts_ns, kind="stable")
    quotes = Quotes(ts_ns[order], _positive(frame, "bid", path)[order], _positive(frame, "ask", path)[order])
    depth = Depth(ts_ns[order], _positive(frame, "depth", path)[order]) if "depth" in frame.columns else None
    return quotes, depth


def _one_of(frame: pl.DataFrame, names: Sequence[str], path: Path) -> str:
    found = next((name for name in names if name in frame.columns), None)
    if found is None:
        raise DataError(
            f"{path}: row 0: expected one of the columns {', '.join(names)}; got {', '.join(frame.columns)}"
        )
    return found


def _positive(frame: pl.DataFrame, name: str, path: Path) -> Float[np.ndarray, " trade"]:
    if name not in frame.columns:
        raise DataError(f"{path}: row 0: expected a column {name}; got {', '.join(frame.columns)}")
    numbers = frame[name].cast(pl.Float64, strict=False).fill_null(float("nan")).to_numpy()
    bad = np.flatnonzero(~(np.isfinite(numbers) & (numbers > 0)))
    if bad.size:
        raise DataError(f"{path}: row {bad[0]}: column {name} is not a finite number above 0")
    return numbers


def _sides(frame: pl.DataFrame, path: Path) -> Int[np.ndarray, " trade"]:
    if "side" not in frame.columns:
        return np.zeros(frame.height, dtype=np.int64)
    text = frame["side"].cast(pl.String).str.strip_chars().str.to_lowercase()
    known = text.replace_strict(_SIDES, default=None, return_dtype=pl.Int64)
    bad = known.is_null().arg_true()
    if len(bad):
        raise DataError(f"{path}: row {bad[0]}: column side is not one of buy, sell, b, s, 1, -1")
    return known.to_numpy()


def _clients(frame: pl.DataFrame) -> Int[np.ndarray, " trade"] | None:
    column = next((name for name in _CLIENTS if name in frame.columns), None)
    if column is None:
        return None
    number = frame[column].cast(pl.String).rank("dense").cast(pl.Int64)
    # An unnamed client is nobody else: below zero no number of a named one lies.
    alone = pl.Series(-1 - np.arange(frame.height))
    return pl.select(pl.coalesce(number, alone)).to_series().to_numpy()
