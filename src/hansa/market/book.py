"""Measures of an order book: quoted spread, depth and slope of its levels, and order-flow imbalance at every level.

```
quoted spread    1e4 (a - b) / m                                             a best ask, b best bid, m their mid
depth(L)         sum over the best L levels of both sides of price x size
slope            OLS slope of log cumulative depth on log distance from the mid, both sides: how fast depth grows
e_n (level l)    bid side 1[b >= b'] q_b - 1[b <= b'] q_b'   less the ask side   1[a <= a'] q_a - 1[a >= a'] q_a'
OFI_l            sum of e_n over a bar;   MLOFI the vector over levels, over mean depth
integrated OFI   w' MLOFI / |w|_1, w the first principal component of the training bars, its sum positive
```
Primes are the book before. Sizes are in base units; a level that is empty is NaN in price and 0 in size.

Guarantees: a bar uses its own events and the book before them. Does NOT guarantee: that imbalance is signed flow;
hidden orders are in nobody's book.

Source: Fleming, FRBNY EPR 9(3), 2003 (spread and depth); Cont, Kukanov and Stoikov, JFEc 12(1), 2014 (OFI); Xu, Gould
and Howison, 2018 (MLOFI); Cont, Cucuringu and Zhang, Quantitative Finance 23(10), 2023 (integrated OFI).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hansa.errors import DataError

if TYPE_CHECKING:
    from jaxtyping import Float, Int


@dataclass(frozen=True, slots=True)
class Book:
    """The best levels after each event.

    Attributes:
        ts_ns: Times, ns UTC, not decreasing.
        bid: Prices, best first, NaN where there is no level, shape (event, level).
        ask: Likewise.
        bid_size: Base units, 0 where there is no level.
        ask_size: Likewise.

    Raises:
        DataError: Shapes differ, times decrease, or a size is negative.
    """

    ts_ns: Int[np.ndarray, " event"]
    bid: Float[np.ndarray, "event level"]
    ask: Float[np.ndarray, "event level"]
    bid_size: Float[np.ndarray, "event level"]
    ask_size: Float[np.ndarray, "event level"]

    def __post_init__(self) -> None:
        shapes = {one.shape for one in (self.bid, self.ask, self.bid_size, self.ask_size)}
        if len(shapes) != 1 or self.bid.ndim != 2 or self.bid.shape[0] != self.ts_ns.size:
            raise DataError(f"book: expected four tables (event, level) of one shape and a time each; got {shapes}")
        if (np.diff(self.ts_ns) < 0).any():
            raise DataError("book: a time is before the one above; sort the events")
        if not ((self.bid_size >= 0).all() and (self.ask_size >= 0).all()):
            raise DataError("book: a size is negative or not a number; an empty level has size 0")

    @property
    def mid(self) -> Float[np.ndarray, " event"]:
        """Mid of the best prices, NaN where a side is empty."""
        return np.asarray(0.5 * (self.bid[:, 0] + self.ask[:, 0]))


def quoted_spread_bps(book: Book) -> Float[np.ndarray, " event"]:
    """Return the quoted spread over the mid, bps; NaN where a side is empty or the book is crossed."""
    spread = 1e4 * (book.ask[:, 0] - book.bid[:, 0]) / book.mid
    return np.where(spread > 0, spread, np.nan)


def depth_quote(book: Book, levels: int) -> Float[np.ndarray, " event"]:
    """Return the depth of the best `levels` of both sides, quote currency; NaN where a side is empty.

    Raises:
        DataError: The book has fewer levels.
    """
    if not 1 <= levels <= book.bid.shape[1]:
        raise DataError(f"expected a depth of 1 to {book.bid.shape[1]} levels; got {levels}")
    sides = [
        np.where(np.isfinite(price[:, :levels]), price[:, :levels] * size[:, :levels], 0.0).sum(axis=1)
        for price, size in ((book.bid, book.bid_size), (book.ask, book.ask_size))
    ]
    return np.where(np.isfinite(book.mid), sides[0] + sides[1], np.nan)


def depth_slope(book: Book) -> Float[np.ndarray, " event"]:
    """Return how fast depth grows with distance: the elasticity of cumulative depth, mean of both sides.

    Returns:
        Slope of log depth on log distance; low where depth sits at the touch, NaN with fewer than 2 levels a side.
    """
    mid = book.mid[:, None]
    slopes = []
    for price, size in ((book.bid, book.bid_size), (book.ask, book.ask_size)):
        distance = np.abs(price - mid) / mid
        total = np.cumsum(np.where(np.isfinite(price), price * size, 0.0), axis=1)
        usable = np.isfinite(price) & (distance > 0) & (total > 0)
        x = np.log(distance, out=np.zeros_like(distance), where=usable)
        y = np.log(total, out=np.zeros_like(total), where=usable)
        count = usable.sum(axis=1)
        share = np.maximum(count, 1)
        x_mean, y_mean = x.sum(axis=1) / share, y.sum(axis=1) / share
        centred = np.where(usable, x - x_mean[:, None], 0.0)
        variance = (centred**2).sum(axis=1)
        cross = (centred * np.where(usable, y - y_mean[:, None], 0.0)).sum(axis=1)
        is_known = (count >= 2) & (variance > 0)
        slopes.append(np.divide(cross, variance, out=np.full(cross.size, np.nan), where=is_known))
    return np.asarray(0.5 * (slopes[0] + slopes[1]))


def level_flow(book: Book) -> Float[np.ndarray, "event level"]:
    """Return the flow e_n at each level of each event, base units; 0 at the first, which has none before."""
    flow = np.zeros(book.bid.shape)
    bid, ask, bid_size, ask_size = (
        (one[1:], one[:-1])
        for one in (
            np.nan_to_num(book.bid, nan=-np.inf),
            np.nan_to_num(book.ask, nan=np.inf),
            book.bid_size,
            book.ask_size,
        )
    )
    bought = (bid[0] >= bid[1]) * bid_size[0] - (bid[0] <= bid[1]) * bid_size[1]
    sold = (ask[0] <= ask[1]) * ask_size[0] - (ask[0] >= ask[1]) * ask_size[1]
    flow[1:] = bought - sold
    return flow


def order_flow(book: Book, edges_ns: Int[np.ndarray, " edge"]) -> Float[np.ndarray, "bar level"]:
    """Return MLOFI: each level's flow in each bar, over the bar's mean size of a side and level.

    Args:
        book: The book.
        edges_ns: Increasing edges; an event at an edge belongs to the bar that ends there.

    Returns:
        Without unit; column 0 is the OFI of the best level. NaN in a bar without an event.
    """
    bars = edges_ns.size - 1
    bar = np.searchsorted(edges_ns, book.ts_ns, side="left") - 1
    inside = (bar >= 0) & (bar < bars)
    count = np.bincount(bar[inside], minlength=bars)
    mean_size = 0.5 * (book.bid_size + book.ask_size).mean(axis=1)
    total = np.bincount(bar[inside], weights=mean_size[inside], minlength=bars)
    size = np.divide(total, count, out=np.full(bars, np.nan), where=count > 0)
    flow = level_flow(book)
    sums = np.stack([np.bincount(bar[inside], weights=level[inside], minlength=bars) for level in flow.T], axis=1)
    known = (count > 0) & (np.nan_to_num(size) > 0)
    return np.where(known[:, None], sums / np.where(known, size, 1.0)[:, None], np.nan)


def integration_weights(train: Float[np.ndarray, "bar level"]) -> Float[np.ndarray, " level"]:
    """Return the weights of integrated OFI: the first principal component of the training bars, in shares.

    Args:
        train: MLOFI of the training bars; bars with a NaN are left out.

    Raises:
        DataError: Fewer than two bars are left, or nothing varies.
    """
    known = train[np.isfinite(train).all(axis=1)]
    if known.shape[0] < 2 or not (known.std(axis=0) > 0).any():
        raise DataError(f"expected two bars or more that vary; got {known.shape[0]}; give more history")
    _, _, axes = np.linalg.svd(known - known.mean(axis=0), full_matrices=False)
    first = axes[0] * (1.0 if axes[0].sum() >= 0 else -1.0)
    return np.asarray(first / np.abs(first).sum())


def integrated_order_flow(
    flow: Float[np.ndarray, "bar level"], weights: Float[np.ndarray, " level"]
) -> Float[np.ndarray, " bar"]:
    """Return integrated OFI: MLOFI along the weights of `integration_weights`; NaN where a level is."""
    return np.asarray(flow @ weights)
