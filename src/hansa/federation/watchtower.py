"""What a member publishes from the state as it comes: the stress index of each basket, the system's, and alerts.

The index is computed from published values alone, so every member and any auditor gets the same numbers: sums of bars
may overtake each other, and when a gap is filled, the index is published again from that bar on. The alert threshold is
set on the training bars at a fixed rate of false alarms and never changed by what comes after; an alert that was raised
stays, with the version of the rule, the newest bar that was known and digests of what it was made of.

| series | of | |
|---|---|---|
| lsi | each basket, system | the index |
| lsix | each basket | in excess of the volatility that the published range tells, where range is measured |
| lsi_low, lsi_high | system | the index at both ends of the band of its correlations |
"""

from __future__ import annotations

import hashlib
import math
import time
from typing import TYPE_CHECKING, Final

import numpy as np

from hansa.federation.alerts import Alert
from hansa.market.calendar import NS_PER_DAY
from hansa.market.measures import MEASURES, RANGE_FLOOR
from hansa.model.early_warning import alerts, threshold_at_rate
from hansa.model.excess import excess_index, volatility_regressors
from hansa.model.lsi import IndexRule, component_ranks, stress_index, system_band, system_index
from hansa.model.point_in_time import inputs_digest, rule_text, value_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jaxtyping import Bool, Float

    from hansa.federation.published import Published
    from hansa.federation.records import Records

ALARMS_PER_DAY: Final = 1.0
REFRACTORY_BARS: Final = 36
RANGE: Final = "log_range"
EXCESS_DAYS: Final = 60
EXCESS_MINIMUM_DAYS: Final = 2
NS: Final = 1_000_000_000
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
        clock: Tells the time at which an alert is written, ns UTC.
    """

    def __init__(self, published: Published, records: Records, *, clock: Callable[[], int] = time.time_ns) -> None:
        self._published = published
        self._records = records
        self._clock = clock
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
        newest = int(stamps[np.flatnonzero(known)[-1]]) if known.any() else 0
        for basket, values in everything.items():
            self._publish("lsi", basket, values, fresh)
            threshold = alert_threshold(values, published.train_bars)
            for bar in alert_bars(values, published.train_bars):
                if bar >= fresh.start:
                    self._records.alert(self._alert(basket, bar, values, known_ns=newest, threshold=threshold))
        for side, values in zip(("lsi_low", "lsi_high"), system_band(indices, turnover).T, strict=True):
            self._publish(side, "system", values, fresh)
        if RANGE in published.market.measures:
            for place, basket in enumerate(published.baskets):
                self._publish("lsix", basket, excess(published, indices[:, place], place), fresh)
        self._known = known

    def _publish(self, name: str, basket: str, values: Float[np.ndarray, " time"], fresh: slice) -> None:
        stamps = self._published.stamps()
        self._records.series(name, basket, zip(stamps[fresh].tolist(), values[fresh].tolist(), strict=True))

    def _alert(
        self, basket: str, bar: int, values: Float[np.ndarray, " time"], *, known_ns: int, threshold: float
    ) -> Alert:
        published = self._published
        stamps, slots = published.stamps(), published.slots()
        rule = index_rule(published.market.measures)
        evidence: dict[str, object] = {
            "threshold": threshold,
            "alarms_per_day": ALARMS_PER_DAY,
            "training": [int(stamps[published.train_first]) // NS, int(stamps[published.train_bars - 1]) // NS],
            "value_sha256": value_digest(float(values[bar])),
            "rounds": published.rounds[-1:],
        }
        if basket in published.baskets:
            state = published.state[: bar + 1, published.baskets.index(basket)]
            ranks = component_ranks(state, slots[: bar + 1], rule)[bar]
            evidence["inputs_sha256"] = inputs_digest(state, slots[: bar + 1], rule)
            evidence["ranks"] = {
                name: None if np.isnan(rank) else round(float(rank), 6)
                for name, rank in zip(published.market.measures, ranks, strict=True)
            }
        return Alert(
            "lsi", basket, int(stamps[bar]), float(values[bar]), model_version(rule, published.market.measures),
            known_ns, self._clock(), evidence,
        )  # fmt: skip


def model_version(rule: IndexRule, measures: Sequence[str]) -> str:
    """Return the version of an index's alerts: what they are, and a digest of every number of the rule."""
    words = f"{rule_text(rule)};measures={','.join(measures)};alarms={ALARMS_PER_DAY};refractory={REFRACTORY_BARS}"
    return f"lsi-1/{hashlib.sha256(words.encode()).hexdigest()[:16]}"


def excess(published: Published, index: Float[np.ndarray, " time"], place: int) -> Float[np.ndarray, " time"]:
    """Return a basket's index in excess of what its published range says of volatility.

    The variance of a bar is Parkinson's, of the published mean log range: noisy, and the same for everybody.
    """
    column = published.market.measures.index(RANGE)
    span = np.maximum(np.exp(published.state[:, place, column]) - RANGE_FLOOR, 0.0)
    day = NS_PER_DAY // published.bar_ns
    regressors = volatility_regressors(span**2 / (4.0 * math.log(2.0)), bars_per_day=day)
    return excess_index(index, regressors, window_bars=EXCESS_DAYS * day, minimum=EXCESS_MINIMUM_DAYS * day)


def basket_indices(published: Published) -> Float[np.ndarray, "time basket"]:
    """Return the index of each basket at every bar of the published state."""
    rule = index_rule(published.market.measures)
    slots = published.slots()
    return np.column_stack(
        [stress_index(published.state[:, place], slots, rule) for place in range(len(published.baskets))]
    )


def alert_bars(index: Float[np.ndarray, " time"], train_bars: int) -> list[int]:
    """Return the bars after training at which an index alerts; none while training gives no threshold."""
    threshold = alert_threshold(index, train_bars)
    if math.isnan(threshold):
        return []
    found = alerts(index, threshold, refractory_bars=REFRACTORY_BARS)
    return [int(bar) for bar in found if bar >= train_bars]


def alert_threshold(index: Float[np.ndarray, " time"], train_bars: int) -> float:
    """Return the value at which an index alerts, set on its training bars; NaN where they give none."""
    train = index[:train_bars]
    if not np.isfinite(train).any():
        return float("nan")
    return threshold_at_rate(train, alarms_per_day=ALARMS_PER_DAY, bars_per_day=288, refractory_bars=REFRACTORY_BARS)
