"""Makes bars out of quotes and trades: the last step of every order-book reader.

Open, high, low, close and the volumes come from trades; spread and depth are means over time of the quotes; a bar that
has quotes and no trade stands at the last mid price with volume 0; a span with neither is an absent row.
`impact_bps_per_mio = 1e4 |log(close / open)| / (traded quote currency / 1e6)`, null without a trade.

Guarantees: each bar uses events up to its stamp only. Does not guarantee: an opening quote; before
the first quote the book is unknown.

Source: DESIGN.md section 5 (contract of the bars).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from hansa.errors import DataError
from hansa.market.calendar import time_weighted_mean
from hansa.market.schema import conform

if TYPE_CHECKING:
    from jaxtyping import Float, Int


@dataclass(frozen=True, slots=True)
class Quotes:
    """State of the best bid and ask after each event.

    Attributes:
        ts_ns: Times, ns UTC, not decreasing.
        bid: Best bid, quote currency; NaN where there is none or the market is halted.
        ask: Best ask, likewise.
    """

    ts_ns: Int[np.ndarray, " event"]
    bid: Float[np.ndarray, " event"]
    ask: Float[np.ndarray, " event"]


@dataclass(frozen=True, slots=True)
class Depth:
    """Sum of the best five levels of both sides after each event.

    Attributes:
        ts_ns: Times, ns UTC, not decreasing.
        quote: Quote currency; NaN where unknown.
    """

    ts_ns: Int[np.ndarray, " event"]
    quote: Float[np.ndarray, " event"]


@dataclass(frozen=True, slots=True)
class Trades:
    """Trades in time order.

    Attributes:
        ts_ns: Times, ns UTC, not decreasing.
        price: Quote currency.
        size: Base units.
        side: +1 where the buyer initiated, -1 where the seller did.
    """

    ts_ns: Int[np.ndarray, " trade"]
    price: Float[np.ndarray, " trade"]
    size: Float[np.ndarray, " trade"]
    side: Int[np.ndarray, " trade"]


def bars_from_ticks(  # the four kinds of input are one reading of one book
    quotes: Quotes, depth: Depth | None, trades: Trades, *, market: str, venue: str, bar_ns: int
) -> pl.DataFrame:
    """Gather quotes, depth and trades into bars on the UTC grid.

    Args:
        quotes: Best bid and ask.
        depth: Depth, or None where the source does not reach five levels.
        trades: Trades.
        market: Market of the rows.
        venue: Venue of the rows.
        bar_ns: Length of a bar, ns.

    Returns:
        Frame of the bars contract.

    Raises:
        DataError: `bar_ns` is not positive, or there is no event.
    """
    stamps = np.concatenate([quotes.ts_ns, trades.ts_ns])
    if bar_ns <= 0 or not stamps.size:
        raise DataError(
            f"{market} at {venue}: expected events and a bar length above 0; got {stamps.size} and {bar_ns}"
        )
    first, last = int(stamps.min()), int(stamps.max())
    edges = np.arange((first - 1) // bar_ns, -(-last // bar_ns) + 1, dtype=np.int64) * bar_ns
    # The last quote is known to hold until the last event only.
    edges_seen = np.minimum(edges, max(last, int(edges[-2]) + 1))
    mid = 0.5 * (quotes.bid + quotes.ask)
    known = np.isfinite(mid)
    spread = np.where(quotes.ask > quotes.bid, 1e4 * (quotes.ask - quotes.bid) / mid, np.nan)
    quoted = pl.DataFrame(
        {
            "ts_ns": edges[1:],
            "spread_bps": time_weighted_mean(quotes.ts_ns, spread, edges_seen),
            "mid": _state_before(quotes.ts_ns[known], mid[known], edges[1:]),
            "depth_quote": np.full(len(edges) - 1, np.nan)
            if depth is None
            else time_weighted_mean(depth.ts_ns, depth.quote, edges_seen),
        }
    ).with_columns(pl.col("spread_bps", "mid", "depth_quote").fill_nan(None))
    joined = quoted.join(_traded(trades, bar_ns), on="ts_ns", how="left")
    present = pl.col("close").is_not_null() | (pl.col("spread_bps").is_not_null() & pl.col("mid").is_not_null())
    filled = joined.filter(present).with_columns(
        *(pl.coalesce(name, "mid").alias(name) for name in ("open", "high", "low", "close")),
        *(pl.col(name).fill_null(0) for name in ("volume", "signed_volume", "trades")),
        pl.lit(market).alias("market"),
        pl.lit(venue).alias("venue"),
    )
    return conform(filled, source=f"{market} at {venue}")


def _traded(trades: Trades, bar_ns: int) -> pl.DataFrame:
    price, size = pl.col("price"), pl.col("size")
    frame = pl.DataFrame({"ts_ns": trades.ts_ns, "price": trades.price, "size": trades.size, "side": trades.side})
    stamp = ((pl.col("ts_ns") + (bar_ns - 1)) // bar_ns * bar_ns).alias("ts_ns")
    bars = frame.group_by(stamp, maintain_order=True).agg(
        price.first().alias("open"),
        price.max().alias("high"),
        price.min().alias("low"),
        price.last().alias("close"),
        size.sum().alias("volume"),
        (size * pl.col("side")).sum().alias("signed_volume"),
        (price * size).sum().alias("_turnover"),
        pl.len().cast(pl.Int64).alias("trades"),
    )
    move_bps = 1e4 * (pl.col("close") / pl.col("open")).log().abs()
    impact = pl.when(pl.col("_turnover") > 0).then(move_bps / (pl.col("_turnover") / 1e6))
    return bars.with_columns(impact.alias("impact_bps_per_mio"))


def _state_before(
    event_ns: Int[np.ndarray, " event"], state: Float[np.ndarray, " event"], at_ns: Int[np.ndarray, " bar"]
) -> Float[np.ndarray, " bar"]:
    if not event_ns.size:
        return np.full(len(at_ns), np.nan)
    holds = np.searchsorted(event_ns, at_ns, side="right") - 1
    return np.where(holds >= 0, state[np.maximum(holds, 0)], np.nan)
