"""Makes bars out of quotes and trades: the last step of every order-book reader.

Open, high, low, close and the volumes come from trades; spread and depth are means over time of the quotes; a bar that
has quotes and no trade stands at the last mid price with volume 0; a span with neither is an absent row.
`impact_bps_per_mio = 1e4 |log(close / open)| / (traded quote currency / 1e6)`, null without a trade.

With a rule of influence every bar also has a capped volume and range, by `hansa.market.influence`: with the house's
quotes the range is that of the mid quotes, those that still stand from before included.

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
from hansa.market.influence import InfluenceRule, Quoter, Unit, capped_ranges, capped_volumes
from hansa.market.schema import conform

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float, Int


@dataclass(frozen=True, slots=True)
class Caps:
    """What an importer decides about influence; the unit follows from the source.

    Attributes:
        cap: Largest move of a log measure by one client, log units.
        volume: Reference volume, quote currency a bar; public, not made of the clients' data.
        range: Reference range, log price; likewise.
        quotes: Whose the quotes are.
    """

    cap: float
    volume: float
    range: float
    quotes: Quoter


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
        client: Number of the client, or None where the source names none: then each trade is a client.
    """

    ts_ns: Int[np.ndarray, " trade"]
    price: Float[np.ndarray, " trade"]
    size: Float[np.ndarray, " trade"]
    side: Int[np.ndarray, " trade"]
    client: Int[np.ndarray, " trade"] | None = None


def bars_from_ticks(  # the four kinds of input are one reading of one book
    quotes: Quotes,
    depth: Depth | None,
    trades: Trades,
    *,
    market: str,
    venue: str,
    bar_ns: int,
    caps: Caps | None = None,
) -> pl.DataFrame:
    """Gather quotes, depth and trades into bars on the UTC grid.

    Args:
        quotes: Best bid and ask.
        depth: Depth, or None where the source does not reach five levels.
        trades: Trades.
        market: Market of the rows.
        venue: Venue of the rows.
        bar_ns: Length of a bar, ns.
        caps: How one client's influence is capped; None: not at all.

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
    edges = grid_edges(first, last, bar_ns)
    span = bars_between(edges, quotes, depth, trades, known_until_ns=known_until(quotes, last, caps), caps=caps)
    return labelled([span], market=market, venue=venue)


def grid_edges(first_ns: int, last_ns: int, bar_ns: int) -> Int[np.ndarray, " edge"]:
    """Return the edges of the bars that the events from `first_ns` to `last_ns` lie in."""
    return np.arange((first_ns - 1) // bar_ns, -(-last_ns // bar_ns) + 1, dtype=np.int64) * bar_ns


def known_until(quotes: Quotes, last_ns: int, caps: Caps | None) -> int:
    """Return until when the last quote is known to hold.

    That is the last event; a house's quote holds until its next one, whatever is traded.
    """
    is_house = caps is not None and caps.quotes == "house" and quotes.ts_ns.size > 0
    return int(quotes.ts_ns[-1]) if is_house else last_ns


def bars_between(
    edges: Int[np.ndarray, " edge"],
    quotes: Quotes,
    depth: Depth | None,
    trades: Trades,
    *,
    known_until_ns: int,
    caps: Caps | None = None,
) -> pl.DataFrame:
    """Gather the events between the first and the last edge into bars; quotes from before may stand.

    Args:
        edges: Edges of the bars, ns.
        quotes: Best bid and ask; what held at the first edge may be among them.
        depth: Depth, likewise.
        trades: Trades between the edges.
        known_until_ns: Until when the last quote is known to hold.
        caps: How one client's influence is capped; None: not at all.

    Returns:
        The bars with a quote or a trade, for `labelled`.
    """
    bar_ns = int(edges[1] - edges[0])
    edges_seen = np.minimum(edges, known_until_ns)
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
    if caps is not None:
        quoted = quoted.with_columns(**_capped(quotes.ts_ns[known], mid[known], trades, edges=edges, caps=caps))
    joined = quoted.join(_traded(trades, bar_ns), on="ts_ns", how="left", maintain_order="left")
    present = pl.col("close").is_not_null() | (pl.col("spread_bps").is_not_null() & pl.col("mid").is_not_null())
    return joined.filter(present)


def labelled(spans: Sequence[pl.DataFrame], *, market: str, venue: str) -> pl.DataFrame:
    """Put the bars of consecutive spans together under the contract of the bars.

    Raises:
        DataError: A bar breaks the contract.
    """
    # Over all bars at once: Polars divides by a column of one row in another way, which shows in the last bit.
    move_bps = 1e4 * (pl.col("close") / pl.col("open")).log().abs()
    impact = pl.when(pl.col("_turnover") > 0).then(move_bps / (pl.col("_turnover") / 1e6))
    filled = (
        pl.concat(spans, rechunk=True)
        .with_columns(impact.alias("impact_bps_per_mio"))
        .with_columns(
            *(pl.coalesce(name, "mid").alias(name) for name in ("open", "high", "low", "close")),
            *(pl.col(name).fill_null(0) for name in ("volume", "signed_volume", "trades")),
            pl.lit(market).alias("market"),
            pl.lit(venue).alias("venue"),
        )
    )
    return conform(filled, source=f"{market} at {venue}")


def _capped(
    quote_ns: Int[np.ndarray, " event"],
    mid: Float[np.ndarray, " event"],
    trades: Trades,
    *,
    edges: Int[np.ndarray, " edge"],
    caps: Caps,
) -> dict[str, pl.Series]:
    """Return the capped columns of every bar between `edges`."""
    unit: Unit = "trade" if trades.client is None else "client"
    rule = InfluenceRule(caps.cap, caps.volume, caps.range, unit, caps.quotes)
    client = np.arange(trades.ts_ns.size) if trades.client is None else trades.client
    bars = edges.size - 1
    bar = np.searchsorted(edges, trades.ts_ns, side="left") - 1
    if rule.quotes == "house":
        ranges = rule.range + _mid_ranges(quote_ns, mid, edges)
    else:
        ranges = capped_ranges(bar, client, np.log(trades.price), rule, bars=bars)
    volumes = capped_volumes(bar, client, trades.price * trades.size, rule, bars=bars)
    return {
        "capped_volume": pl.Series(volumes),
        "capped_range": pl.Series(ranges),
        "influence": pl.Series([rule.text()] * bars, dtype=pl.String),
    }


def _mid_ranges(
    quote_ns: Int[np.ndarray, " event"], mid: Float[np.ndarray, " event"], edges: Int[np.ndarray, " edge"]
) -> Float[np.ndarray, " bar"]:
    """Return the log range of the mid quotes that stood in each bar; 0 before the first quote."""
    stood = _state_before(quote_ns, mid, edges[:-1])
    low, high = stood.copy(), stood.copy()
    bar = np.searchsorted(edges, quote_ns, side="left") - 1
    bar, mid = bar[bar >= 0], mid[bar >= 0]  # a quote of before stands, in `stood`
    np.fmin.at(low, bar, mid)
    np.fmax.at(high, bar, mid)
    ranges: Float[np.ndarray, " bar"] = np.nan_to_num(np.log(high / low))
    return ranges


def _traded(trades: Trades, bar_ns: int) -> pl.DataFrame:
    # Added one after another in the order of the trades: a parallel sum depends, in its last bit, on the rows beside.
    stamp = -(-trades.ts_ns // bar_ns) * bar_ns
    is_first = np.ones(stamp.size, dtype=np.bool_)
    is_first[1:] = stamp[1:] != stamp[:-1]
    place, first = np.cumsum(is_first) - 1, np.flatnonzero(is_first)
    last = np.append(first[1:], stamp.size)[: first.size] - 1
    price = np.asarray(trades.price, dtype=np.float64)
    size = np.asarray(trades.size, dtype=np.float64)
    return pl.DataFrame(
        {
            "ts_ns": stamp[first].astype(np.int64),
            "open": price[first],
            "high": np.fmax.reduceat(price, first) if first.size else price,
            "low": np.fmin.reduceat(price, first) if first.size else price,
            "close": price[last],
            "volume": np.bincount(place, weights=size),
            "signed_volume": np.bincount(place, weights=size * trades.side),
            "_turnover": np.bincount(place, weights=price * size),
            "trades": np.bincount(place),
        },
        schema_overrides={"trades": pl.Int64} | dict.fromkeys(("volume", "signed_volume", "_turnover"), pl.Float64),
    )


def _state_before(
    event_ns: Int[np.ndarray, " event"], state: Float[np.ndarray, " event"], at_ns: Int[np.ndarray, " bar"]
) -> Float[np.ndarray, " bar"]:
    if not event_ns.size:
        return np.full(len(at_ns), np.nan)
    holds = np.searchsorted(event_ns, at_ns, side="right") - 1
    return np.where(holds >= 0, state[np.maximum(holds, 0)], np.nan)
