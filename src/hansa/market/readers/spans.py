"""Makes bars out of quotes and trades that come span by span, carrying over an edge what still stands there.

What stands at an edge is the last quote, the last one with a mid price, and the last depth. Nothing else of a bar
reaches into the next, so that each bar is made of the same numbers in the same order as in one reading.

Guarantees: `Spans` gives the bars of `bars_from_ticks` over all events at once, to the last bit, wherever it is cut.
Memory grows with the events of a span and with the bars, not with the events.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from hansa.market.readers.ticks import Depth, Quotes, bars_between, grid_edges, labelled

if TYPE_CHECKING:
    import polars as pl

    from hansa.market.readers.ticks import Caps, Trades

_NO_QUOTES = Quotes(np.empty(0, dtype=np.int64), np.empty(0), np.empty(0))


@dataclass(slots=True)
class Spans:
    """The bars so far, and what stands at the last edge.

    Attributes:
        bar_ns: Length of a bar, ns.
        caps: How one client's influence is capped; None: not at all.
    """

    bar_ns: int
    caps: Caps | None
    _bars: list[pl.DataFrame] = field(default_factory=list)
    _edge_ns: int | None = None
    _quotes: Quotes = _NO_QUOTES
    _depth: Depth | None = None

    def add(
        self, quotes: Quotes, depth: Depth | None, trades: Trades, *, first_ns: int, last_ns: int, known_until_ns: int
    ) -> None:
        """Make the bars from the last edge to that after `last_ns`.

        Args:
            quotes: All quotes of these bars.
            depth: All depths of these bars; None throughout, or never.
            trades: All trades of these bars.
            first_ns: Time of the first event; counts at the first call only, later ones go on at the last edge.
            last_ns: Any time in the last bar.
            known_until_ns: Until when the last quote is known to hold.
        """
        begin_ns = first_ns if self._edge_ns is None else self._edge_ns + 1
        edges = grid_edges(begin_ns, last_ns, self.bar_ns)
        quotes = Quotes(
            np.concatenate([self._quotes.ts_ns, quotes.ts_ns]),
            np.concatenate([self._quotes.bid, quotes.bid]),
            np.concatenate([self._quotes.ask, quotes.ask]),
        )
        if depth is not None and self._depth is not None:
            depth = Depth(
                np.concatenate([self._depth.ts_ns, depth.ts_ns]), np.concatenate([self._depth.quote, depth.quote])
            )
        self._bars.append(bars_between(edges, quotes, depth, trades, known_until_ns=known_until_ns, caps=self.caps))
        self._edge_ns = int(edges[-1])
        with_mid = np.flatnonzero(np.isfinite(quotes.bid + quotes.ask))[-1:]
        standing = np.union1d(with_mid, np.arange(quotes.ts_ns.size)[-1:])
        self._quotes = Quotes(quotes.ts_ns[standing], quotes.bid[standing], quotes.ask[standing])
        self._depth = None if depth is None else Depth(depth.ts_ns[-1:].copy(), depth.quote[-1:].copy())

    def bars(self, *, market: str, venue: str) -> pl.DataFrame:
        """Return all bars as a frame of the bars contract.

        Raises:
            DataError: A bar breaks the contract.
        """
        return labelled(self._bars, market=market, venue=venue)
