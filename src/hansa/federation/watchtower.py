"""What a member publishes from the state as it comes: the stress index of each basket, the system's, and alerts.

The index is computed from published values alone, so every member and any auditor gets the same numbers: sums of bars
may overtake each other, and when a gap is filled, the index is published again from that bar on. The alert threshold is
set on the training bars at a fixed rate of false alarms and never changed by what comes after; an alert that was raised
stays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from hansa.market.measures import MEASURES
from hansa.model.early_warning import alerts, threshold_at_rate
from hansa.model.lsi import IndexRule, stress_index, system_index

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

    from hansa.federation.published import Published
    from hansa.federation.records import Records

ALARMS_PER_DAY: Final = 1.0
REFRACTORY_BARS: Final = 36
WEIGHTS: Final = {"log_spread": 0.25, "log_depth": 0.25, "log_impact": 0.25, "log_range": 0.25}
"""Published weights of the trio spread, depth, impact; range stands in for the spread where there are no books."""


def index_rule(measures: tuple[str, ...]) -> IndexRule:
    """Return the published rule of the index for a federation's measures; a measure without a weight counts 0."""
    return IndexRule(
        signs=tuple(MEASURES[name].sign or 1 for name in measures),
        weights=tuple(WEIGHTS.get(name, 0.0) for name in measures),
        score_window_bars=20 * 288,
        score_minimum=4,
    )


class Watchtower:
    """The index and alerts of one node.

    Args:
        published: The public facts.
        records: Where they are written.
    """

    def __init__(self, published: Published, records: Records) -> None:
        self._published = published
        self._records = records
        self._known: Bool[np.ndarray, " time"] = np.zeros(0, dtype=bool)

    def look(self) -> None:
        """Publish the index from the first bar on that was not there before, and the alerts on it."""
        published = self._published
        indices = basket_indices(published)
        stamps = published.stamps()
        known = np.isfinite(published.state).all(axis=(1, 2))
        before = np.zeros_like(known)
        before[: self._known.size] = self._known
        filled = np.flatnonzero(known & ~before)
        fresh = slice(int(filled[0]) if filled.size else stamps.size, stamps.size)
        turnover = published.turnover if published.turnover is not None else np.ones(len(published.baskets))
        everything = dict(zip(published.baskets, indices.T, strict=True))
        everything["system"] = system_index(indices, turnover)
        for basket, values in everything.items():
            self._records.series("lsi", basket, zip(stamps[fresh].tolist(), values[fresh].tolist(), strict=True))
            for bar in alert_bars(values, published.train_bars):
                if bar >= fresh.start:
                    self._records.alert("lsi", basket, int(stamps[bar]), float(values[bar]))
        self._known = known


def basket_indices(published: Published) -> Float[np.ndarray, "time basket"]:
    """Return the index of each basket at every bar of the published state."""
    rule = index_rule(published.market.measures)
    slots = published.slots()
    return np.column_stack(
        [stress_index(published.state[:, place], slots, rule) for place in range(len(published.baskets))]
    )


def alert_bars(index: Float[np.ndarray, " time"], train_bars: int) -> list[int]:
    """Return the bars after training at which an index alerts; none while training gives no threshold."""
    train = index[:train_bars]
    if not np.isfinite(train).any():
        return []
    threshold = threshold_at_rate(
        train, alarms_per_day=ALARMS_PER_DAY, bars_per_day=288, refractory_bars=REFRACTORY_BARS
    )
    found = alerts(index, threshold, refractory_bars=REFRACTORY_BARS)
    return [int(bar) for bar in found if bar >= train_bars]
