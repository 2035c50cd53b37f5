"""What trades paid and moved: effective and realised spreads, Kyle's lambda, VPIN.

```
effective spread   1e4 * 2 q (p - m) / m                     q +1 where the buyer initiated, m the mid just before
realised spread    1e4 * 2 q (p - m_later) / m               what the maker keeps after the price has moved
price impact       effective - realised
Kyle's lambda      slope of dm (bps a bar) on signed net flow (million of quote currency a bar), trailing bars
VPIN               mean |buys - sells| / V over the last n buckets of V of volume
```
Where the source names no side, the trade is a buy above the mid and a sell below it, and at the mid follows the last
change of price. VPIN is offered for what it is: contested, and never part of the index on its own.

Guarantees: an effective spread uses what was known at the trade, lambda at t the bars before t. A realised spread needs
the mid `later`, so it is known only then. Does NOT guarantee: the sign of a trade that the rule guesses.

Source: Lee and Ready, J. Finance 46(2), 1991; Huang and Stoll, J. Financial Economics 41(3), 1996; Kyle, Econometrica
53(6), 1985, as the FRBNY estimates it; Easley, Lopez de Prado and O'Hara, RFS 25(5), 2012 (VPIN), and against it
Andersen and Bondarenko, J. Financial Markets 17, 2014.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from hansa.errors import DataError

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from hansa.market.readers.ticks import Quotes, Trades

LATER_NS: Final = 300_000_000_000
MILLION: Final = 1e6


def trade_signs(trades: Trades, quotes: Quotes) -> Int[np.ndarray, " trade"]:
    """Return who initiated each trade: the source's word, else Lee and Ready's rule; 0 where nothing tells."""
    mid = _mid_at(quotes, trades.ts_ns, side="left")
    against = np.sign(trades.price - mid)
    change = np.sign(np.diff(trades.price, prepend=trades.price[:1]))
    last = np.maximum.accumulate(np.where(change != 0, np.arange(change.size), 0)) if change.size else change
    tick = change[last.astype(np.int64)] if change.size else change
    guessed = np.where(np.nan_to_num(against) != 0, np.nan_to_num(against), tick)
    return np.where(trades.side != 0, trades.side, guessed).astype(np.int64)


def effective_spread_bps(trades: Trades, quotes: Quotes) -> Float[np.ndarray, " trade"]:
    """Return what each trade paid for both ways, bps of the mid just before; NaN without a mid or a side."""
    mid = _mid_at(quotes, trades.ts_ns, side="left")
    return _paid(trades, quotes, mid, against=mid)


def realised_spread_bps(trades: Trades, quotes: Quotes, *, later_ns: int = LATER_NS) -> Float[np.ndarray, " trade"]:
    """Return what of it the maker kept `later_ns` after, bps; NaN where the quotes end before.

    Raises:
        DataError: `later_ns` is not positive.
    """
    if later_ns <= 0:
        raise DataError(f"expected a time after the trade; got {later_ns} ns")
    at = trades.ts_ns + later_ns
    later = _mid_at(quotes, at, side="right")
    end = quotes.ts_ns[-1] if quotes.ts_ns.size else -1
    return _paid(trades, quotes, _mid_at(quotes, trades.ts_ns, side="left"), against=np.where(at <= end, later, np.nan))


def kyle_lambda(
    mid: Float[np.ndarray, " bar"],
    signed_quote: Float[np.ndarray, " bar"],
    *,
    window_bars: int,
    minimum: int,
) -> Float[np.ndarray, " bar"]:
    """Return the price impact of net flow by a trailing regression, bps per million of quote currency.

    Args:
        mid: Mid (or close) at the end of each bar, NaN where unknown.
        signed_quote: Buyer- less seller-initiated volume, quote currency.
        window_bars: Bars before t that are used; t is not.
        minimum: Fewest known ones among them.

    Returns:
        Lambda at each bar; NaN while too few are known or flow does not vary.

    Raises:
        DataError: Shapes differ or a window is too small.
    """
    if mid.shape != signed_quote.shape or window_bars < 2 or minimum < 2:
        raise DataError(
            f"expected one mid and flow a bar and windows of 2 or more; got {mid.shape}, {signed_quote.shape}, "
            f"{window_bars}, {minimum}"
        )
    moved = 1e4 * np.diff(np.log(mid), prepend=np.nan)
    flow = signed_quote / MILLION
    known = np.isfinite(moved) & np.isfinite(flow)
    x, y = np.where(known, flow, 0.0), np.where(known, moved, 0.0)
    sums = np.cumsum(np.column_stack([known, x, y, x * x, x * y]), axis=0)
    sums = np.concatenate([np.zeros((1, 5)), sums])
    bars = np.arange(mid.size)
    count, sx, sy, sxx, sxy = (sums[bars] - sums[np.maximum(bars - window_bars, 0)]).T
    share = np.maximum(count, 1)
    variance = sxx / share - (sx / share) ** 2
    cross = sxy / share - sx * sy / share**2
    usable = (count >= minimum) & (variance > 1e-12 * np.maximum(sxx / share, 1e-300))
    return np.asarray(np.divide(cross, variance, out=np.full(mid.size, np.nan), where=usable))


def vpin(
    trades: Trades, signs: Int[np.ndarray, " trade"], *, bucket_volume: float, buckets: int
) -> tuple[Int[np.ndarray, " bucket"], Float[np.ndarray, " bucket"]]:
    """Return VPIN at the end of each full bucket of volume.

    Args:
        trades: Trades in time order.
        signs: From `trade_signs`.
        bucket_volume: Base units of a bucket; a trade that overflows goes on in the next.
        buckets: Buckets that are averaged.

    Returns:
        Time at which each bucket filled, ns, and VPIN there, in [0, 1]; NaN for the first `buckets - 1`.

    Raises:
        DataError: A size is not positive, or signs are not one a trade.
    """
    if bucket_volume <= 0 or buckets < 1 or signs.shape != trades.size.shape:
        raise DataError(f"expected a bucket and a number above 0 and a sign a trade; got {bucket_volume}, {buckets}")
    total = np.cumsum(trades.size)
    net = np.concatenate([[0.0], np.cumsum(signs * trades.size)])
    full = int(total[-1] // bucket_volume) if total.size else 0
    ends = bucket_volume * np.arange(1, full + 1)
    filled = np.searchsorted(total, ends * (1 - 1e-12), side="left")
    # Net volume at a bucket's edge: the trade that fills it counts up to the edge.
    over = total[filled] - ends
    at = net[filled + 1] - signs[filled] * over
    imbalance = np.abs(np.diff(at, prepend=0.0)) / bucket_volume
    running = np.cumsum(np.insert(imbalance, 0, 0.0))
    mean = np.full(full, np.nan)
    if full >= buckets:
        mean[buckets - 1 :] = (running[buckets:] - running[:-buckets]) / buckets
    return trades.ts_ns[filled], np.minimum(mean, 1.0)


def _paid(
    trades: Trades, quotes: Quotes, mid: Float[np.ndarray, " trade"], *, against: Float[np.ndarray, " trade"]
) -> Float[np.ndarray, " trade"]:
    signs = trade_signs(trades, quotes)
    return np.where(signs != 0, 1e4 * 2.0 * signs * (trades.price - against) / mid, np.nan)


def _mid_at(quotes: Quotes, at_ns: Int[np.ndarray, " trade"], *, side: str) -> Float[np.ndarray, " trade"]:
    """Return the mid that stood at a time (`right`) or just before it (`left`); NaN where none did."""
    if not quotes.ts_ns.size:
        return np.full(at_ns.size, np.nan)
    place = np.searchsorted(quotes.ts_ns, at_ns, side="left" if side == "left" else "right") - 1
    mid = 0.5 * (quotes.bid + quotes.ask)
    return np.where(place >= 0, mid[np.maximum(place, 0)], np.nan)
