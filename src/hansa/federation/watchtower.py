"""What a member publishes from the state as it comes: alerts, the stress index of each basket, and the system's.

The index is computed from published values alone, so every member and any auditor gets the same numbers: sums of bars
may overtake each other, and when a gap is filled, the index is published again from that bar on. Alerts are those of
`hansa.federation.lookout`: limits are set on the training bars at a fixed rate of false alerts
(`hansa.model.warning_rules`) and never changed by what comes after.

Alerts of a bar are on disk before anything else is made of it. One that was raised stays, with the version of the rule,
the newest bar that was known and digests of what it was made of. Who starts again raises the same ones, which are there
already; and where a filled gap moves an alert by some bars, the one on record stands for it: of one rule and basket no
two are nearer than the rule's quiet time.

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
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np

from hansa.federation.alerts import Alert
from hansa.federation.lookout import SYSTEM, Lookout, signs_of, weights_of
from hansa.market.calendar import NS_PER_DAY
from hansa.market.measures import RANGE_FLOOR
from hansa.model.excess import excess_index, volatility_regressors
from hansa.model.lsi import IndexRule, component_ranks, index_of_ranks, system_band, system_index
from hansa.model.point_in_time import inputs_digest, rule_text, value_digest
from hansa.model.warning_rules import DRIFT, QUANTILE, UNITS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jaxtyping import Bool, Float

    from hansa.federation.lookout import Raised
    from hansa.federation.published import Published
    from hansa.federation.records import Records
    from hansa.model.warning_rules import Pace, RuleName

RANGE: Final = "log_range"
EXCESS_DAYS: Final = 60
EXCESS_MINIMUM_DAYS: Final = 2
NS: Final = 1_000_000_000
INDEX_DAYS: Final = 20
RANK_DAYS: Final = 250
LEAST_OF_A_SLOT: Final = 4


def index_rule(measures: tuple[str, ...], bars_per_day: int) -> IndexRule:
    """Return the published rule of the index for a federation's measures on bars of its length."""
    return IndexRule(
        signs=signs_of(measures),
        weights=weights_of(measures),
        score_window_bars=INDEX_DAYS * bars_per_day,
        score_minimum=LEAST_OF_A_SLOT,
        rank_window_bars=RANK_DAYS * bars_per_day,
        rank_minimum=bars_per_day,
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
        self._lookouts: dict[tuple[int, int], Lookout] = {}
        self._ranks: Float[np.ndarray, "basket time measure"] = np.zeros((len(published.baskets), 0, 0))
        self._indices: Float[np.ndarray, "time basket"] = np.zeros((0, len(published.baskets)))
        self._first_changed = 0  # since forecasts were looked at last
        self._model: object = None  # what they were made by
        self._told: dict[str, object] = {}

    def look(self) -> None:
        """Write the alerts on the bars that were not there before; then publish the index from the first of them on."""
        published = self._published
        ranks = basket_ranks(published)
        indices = indices_of(published, ranks)
        stamps = published.stamps()
        known = np.isfinite(published.state).all(axis=(1, 2))
        before = np.zeros_like(known)
        before[: self._known.size] = self._known
        filled = np.flatnonzero(known & ~before)
        fresh = slice(int(filled[0]) if filled.size else stamps.size, stamps.size)
        self._known, self._ranks, self._indices = known, ranks, indices
        self._first_changed = min(self._first_changed, fresh.start)
        self._warn(fresh.start)
        turnover = published.turnover if published.turnover is not None else np.ones(len(published.baskets))
        everything = dict(zip(published.baskets, indices.T, strict=True))
        everything[SYSTEM] = system_index(indices, turnover)
        for basket, values in everything.items():
            self._publish("lsi", basket, values, fresh)
        for side, values in zip(("lsi_low", "lsi_high"), system_band(indices, turnover).T, strict=True):
            self._publish(side, SYSTEM, values, fresh)
        if RANGE in published.market.measures:
            for place, basket in enumerate(published.baskets):
                self._publish("lsix", basket, excess(published, indices[:, place], place), fresh)

    def look_ahead(self, quantiles: Float[np.ndarray, "time basket level"]) -> None:
        """Write the alerts by the member's forecast quantiles of the next bar's cost.

        Args:
            quantiles: Forecasts made at each bar of the published state, NaN where there are none.
        """
        published = self._published
        newest = published.trainings[-1] if published.trainings else None
        lookout = None if newest is None else self._lookouts.get((newest.first, newest.bars))
        if lookout is None:
            return
        if self._model is not published.server:
            self._model = published.server
            lookout.forget_forecasts()
        for raised in lookout.see_ahead(quantiles, first=self._first_changed):
            self._write(raised, lookout)
        self._first_changed = published.state.shape[0]
        self._tell_limits(lookout)

    def _tell_limits(self, lookout: Lookout) -> None:
        """Publish where each rule alarms, or why it says nothing, when that has changed."""
        found = {"false_alerts_per_day": lookout.pace.rate, "limits": dict(lookout.limits)}
        if found != self._told:
            self._records.put("alert_rules", found)
            self._told = found

    def _warn(self, first: int) -> None:
        """Let each round's rules see the bars from `first` on that belong to it, and write down what they raise."""
        published = self._published
        bars = published.state.shape[0]
        for training, following in pairwise([*published.trainings, None]):
            last = bars if following is None else min(following.bars, bars)
            if training is None or last <= max(first, training.bars):
                continue  # its training is not whole yet, or nothing of it is new
            key = (training.first, training.bars)
            if first < training.bars:
                self._lookouts.pop(key, None)
            lookout = self._lookouts.get(key) or Lookout(published, training)
            self._lookouts[key] = lookout
            for raised in lookout.see(self._indices, first=first, last=last):
                self._write(raised, lookout)
            self._tell_limits(lookout)
        for key in list(self._lookouts)[:-2]:  # an older one comes back where a gap of its time is filled
            del self._lookouts[key]

    def _publish(self, name: str, basket: str, values: Float[np.ndarray, " time"], fresh: slice) -> None:
        stamps = self._published.stamps()
        self._records.series(name, basket, zip(stamps[fresh].tolist(), values[fresh].tolist(), strict=True))

    def _write(self, raised: Raised, lookout: Lookout) -> None:
        published = self._published
        stamps = published.stamps()
        ts_ns, quiet_ns = int(stamps[raised.bar]), lookout.pace.refractory_bars * published.bar_ns
        if self._records.has_alert(raised.rule, raised.basket, ts_ns - quiet_ns, ts_ns + quiet_ns):
            return
        training = lookout.training
        evidence = dict(raised.evidence) | self._index_evidence(raised.basket, raised.bar)
        evidence["value_sha256"] = value_digest(raised.statistic)
        evidence["training"] = [int(stamps[training.first]) // NS, int(stamps[training.bars - 1]) // NS]
        evidence["rounds"] = published.rounds[-1:]
        known_ns = int(stamps[np.flatnonzero(self._known)[-1]])
        self._records.alert(
            Alert(
                raised.rule, raised.basket, ts_ns, raised.statistic,
                model_version(raised.rule, published.market.measures, lookout.pace),
                known_ns, self._clock(), evidence,
            )
        )  # fmt: skip

    def _index_evidence(self, basket: str, bar: int) -> dict[str, object]:
        """Return the index at a bar with the ranks and a digest of all that it was made of."""
        published = self._published
        if basket not in published.baskets:
            return {}
        place = published.baskets.index(basket)
        slots = published.slots()[: bar + 1]
        rule = index_rule(published.market.measures, NS_PER_DAY // published.bar_ns)
        state = published.state[: bar + 1, place]
        ranks = self._ranks[place, bar]
        index = float(self._indices[bar, place])
        return {
            "index": round(index, 4) if np.isfinite(index) else None,
            "inputs_sha256": inputs_digest(state, slots, rule),
            "ranks": {
                name: None if np.isnan(rank) else round(float(rank), 6)
                for name, rank in zip(published.market.measures, ranks, strict=True)
            },
        }


def model_version(name: RuleName, measures: Sequence[str], pace: Pace) -> str:
    """Return the version of a rule's alerts: what they are, and a digest of every number of the rule."""
    rule = index_rule(tuple(measures), pace.bars_per_day)
    words = (
        f"{rule_text(rule)};measures={','.join(measures)};rate={pace.rate};quiet={pace.refractory_bars};"
        f"drift={DRIFT};quantile={QUANTILE};unit={UNITS[name]}"
    )
    return f"{name}-2/{hashlib.sha256(words.encode()).hexdigest()[:16]}"


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
    return indices_of(published, basket_ranks(published))


def basket_ranks(published: Published) -> Float[np.ndarray, "basket time measure"]:
    """Return the rank of each measure's stress among its past, by basket, at every bar of the published state."""
    rule = index_rule(published.market.measures, NS_PER_DAY // published.bar_ns)
    slots = published.slots()
    places = range(len(published.baskets))
    return np.stack([component_ranks(published.state[:, place], slots, rule) for place in places])


def indices_of(
    published: Published, ranks: Float[np.ndarray, "basket time measure"]
) -> Float[np.ndarray, "time basket"]:
    """Return the index of each basket from the ranks of its measures."""
    rule = index_rule(published.market.measures, NS_PER_DAY // published.bar_ns)
    return np.column_stack([index_of_ranks(own, rule) for own in ranks])
