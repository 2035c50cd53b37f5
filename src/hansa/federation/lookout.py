"""The rules that warn, at work on what is published: one running watch for each training span, basket and rule.

The rules are those of `hansa.model.warning_rules`, which a replay runs over history. Here they run live: each look
takes in the bars since the last one. A bar belongs to the newest training span that ended before it, so that what is
raised follows from the published bars alone: who starts again and reads the stream finds the same limits and alerts.
Only the quantile rule rests on the member's own model, and on that of the newest round.

`system` is watched where there are several baskets: its warning score is theirs, weighted by turnover.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from hansa.errors import ModelError
from hansa.market.measures import MEASURES
from hansa.model.design import QUANTILES
from hansa.model.detection import quantile_score, warning_score
from hansa.model.lsi import system_index
from hansa.model.warning_rules import QUANTILE, STATE_RULES, UNITS, Pace, Stress, Watch, exceedance, tune

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jaxtyping import Float, Int

    from hansa.federation.published import Published, Training
    from hansa.model.warning_rules import RuleName

SYSTEM: Final = "system"
WEIGHTS: Final = {"log_spread": 0.25, "log_depth": 0.25, "log_impact": 0.25, "log_range": 0.25}
"""Published weights of the trio spread, depth, impact; range stands in for the spread where there are no books."""
CHANCE_HOURS: Final = 24.0
DRIVERS: Final = 3


@dataclass(frozen=True, slots=True)
class Raised:
    """One alert of a watch.

    Attributes:
        rule: Which rule.
        basket: Basket, or `system`.
        bar: Number of the bar in the published state.
        statistic: What reached the limit.
        evidence: Statistic, limit and unit, rate, horizon, probability with its interval, and what drove it.
    """

    rule: RuleName
    basket: str
    bar: int
    statistic: float
    evidence: Mapping[str, object]


def signs_of(measures: tuple[str, ...]) -> tuple[int, ...]:
    """Return which way each measure is stress."""
    return tuple(MEASURES[name].sign or 1 for name in measures)


def weights_of(measures: tuple[str, ...]) -> tuple[float, ...]:
    """Return the published weight of each measure; one without a weight counts 0."""
    return tuple(WEIGHTS.get(name, 0.0) for name in measures)


class Lookout:
    """The rules, tuned on one training span.

    Args:
        published: The public facts; its state reaches beyond the span.
        training: The span.
    """

    def __init__(self, published: Published, training: Training) -> None:
        self.training = training
        self.pace = Pace.usual(published.bar_ns, training.bars - training.first)
        self.limits: dict[str, object] = {}
        self._published = published
        self._stress: dict[str, Stress] = {}
        self._watches: dict[tuple[RuleName, str], Watch] = {}
        self._ahead: dict[str, Watch] = {}
        self._costs: dict[str, float] = {}  # what the next bar's cost is compared with, log units
        span = slice(training.first, training.bars)
        for place, basket in enumerate(published.baskets):
            try:
                self._stress[basket] = Stress.of(
                    published.state[span, place],
                    published.slots()[span],
                    signs=signs_of(published.market.measures),
                    weights=weights_of(published.market.measures),
                    bars_per_day=self.pace.bars_per_day,
                )
            except ModelError as error:
                self.limits[f"*/{basket}"] = str(error)

    def see(self, indices: Float[np.ndarray, "time basket"], *, first: int, last: int) -> list[Raised]:
        """Take in published bars, and return the alerts after training among them.

        Args:
            indices: The index of each basket.
            first: First bar that is new or has changed; not one of training after the first look.
            last: First bar that belongs to a later training span, or the number of bars.
        """
        span = slice(self.training.first, last)
        slots = self._published.slots()[span]
        scores = {
            basket: stress.score(self._published.state[span, self._published.baskets.index(basket)], slots)
            for basket, stress in self._stress.items()
        }
        series: dict[tuple[RuleName, str], Float[np.ndarray, " time"]] = {
            (rule, basket): score for basket, score in scores.items() for rule in STATE_RULES
        }
        for place, basket in enumerate(self._published.baskets):
            series["lsi", basket] = indices[span, place]
        if len(self._published.baskets) > 1:
            turnover = self.training.turnover
            series["lsi", SYSTEM] = system_index(indices[:last], turnover)[span]
            if len(scores) == len(self._published.baskets):
                together = warning_score(
                    np.column_stack(list(scores.values())), (1,) * turnover.size, turnover.tolist()
                )
                series |= {(rule, SYSTEM): together for rule in STATE_RULES}
        found: list[Raised] = []
        for (rule, basket), values in series.items():
            watch = self._watch(rule, basket, values)
            if watch is None:
                continue
            start = min(max(first - self.training.first, 0), watch.bars)
            found += [
                self._raised(watch, basket, bar, self._public_chance(watch))
                for bar in watch.see(values, start)
                if bar >= self.pace.train_bars
            ]
        return sorted(found, key=lambda one: (one.bar, one.basket))

    def see_ahead(self, quantiles: Float[np.ndarray, "time basket level"], *, first: int) -> list[Raised]:
        """Take in the member's forecast quantiles of the next bar's cost, and return the alerts after training.

        Args:
            quantiles: Forecasts made at each published bar, NaN where there are none.
            first: First bar that is new or has changed.
        """
        found: list[Raised] = []
        begin = self.training.first
        slots = self._published.slots()[begin:]
        for place, basket in enumerate(self._published.baskets):
            own = quantiles[begin:, place]
            if not np.isfinite(own[: self.pace.train_bars]).any():
                continue
            values = _ahead(own, slots, self.pace)
            if basket not in self._ahead:
                tuned = self._tuned("quantile", basket, values)
                if tuned is None:
                    continue
                self._ahead[basket] = tuned
                costs = self._published.state[begin : self.training.bars, place, self._published.cost]
                self._costs[basket] = float(np.nanquantile(costs, QUANTILE))
            watch = self._ahead[basket]
            found += [
                self._raised(watch, basket, bar, self._forecast_chance(basket, own[bar]))
                for bar in watch.see(values, min(max(first - begin, 0), watch.bars))
                if bar >= self.pace.train_bars
            ]
        return found

    def forget_forecasts(self) -> None:
        """Tune the quantile rule anew at the next look: the model has changed."""
        self._ahead.clear()

    def _watch(self, rule: RuleName, basket: str, values: Float[np.ndarray, " time"]) -> Watch | None:
        key = (rule, basket)
        if key not in self._watches and f"{rule}/{basket}" not in self.limits:
            tuned = self._tuned(rule, basket, values)
            if tuned is not None:
                self._watches[key] = tuned
        return self._watches.get(key)

    def _tuned(self, rule: RuleName, basket: str, values: Float[np.ndarray, " time"]) -> Watch | None:
        try:
            tuned = tune(rule, values, self.pace)
        except ModelError as error:
            self.limits[f"{rule}/{basket}"] = str(error)
            return None
        self.limits[f"{rule}/{basket}"] = tuned.limit
        return Watch(tuned)

    def _raised(self, watch: Watch, basket: str, bar: int, probability: Mapping[str, object]) -> Raised:
        tuned = watch.tuned
        statistic = float(watch.statistic()[bar])
        evidence: dict[str, object] = {
            "statistic": round(statistic, 6),
            "limit": round(tuned.limit, 6),
            "unit": UNITS[tuned.name],
            "false_alerts_per_day": tuned.pace.rate,
            "horizon_seconds": self._published.bar_ns // 1_000_000_000 if tuned.name == "quantile" else 0,
            "probability": probability,
            "drivers": self._drivers(basket, watch.since(bar), bar),
        }
        return Raised(tuned.name, basket, bar + self.training.first, statistic, evidence)

    def _public_chance(self, watch: Watch) -> dict[str, object]:
        value, low, high = watch.tuned.chance(CHANCE_HOURS)
        return {
            "of": f"{CHANCE_HOURS:g} h as calm as training have such an alert",
            "value": round(value, 4),
            "low": round(low, 4),
            "high": round(high, 4),
        }

    def _forecast_chance(self, basket: str, quantiles: Float[np.ndarray, " level"]) -> dict[str, object]:
        value, low, high = exceedance(quantiles, QUANTILES, self._costs[basket])
        return {
            "of": f"the next bar's {self._published.market.cost} is above {self._costs[basket]:.4f}, which "
            f"{100 * (1 - QUANTILE):.0f} % of training exceed",
            "value": value,
            "low": low,
            "high": high,
        }

    def _drivers(self, basket: str, begun: int, bar: int) -> list[dict[str, object]]:
        """Return what added most to the warning score, a mean over the excursion: measures, or a system's baskets."""
        published = self._published
        span = slice(self.training.first + begun, self.training.first + bar + 1)
        slots = published.slots()[span]
        if basket == SYSTEM:
            share = self.training.turnover / self.training.turnover.sum()
            parts = {
                name: float(share[place]) * float(np.nanmean(stress.score(published.state[span, place], slots)))
                for place, name in enumerate(published.baskets)
                if (stress := self._stress.get(name)) is not None
            }
        elif basket in self._stress:
            found = self._stress[basket].parts(published.state[span, published.baskets.index(basket)], slots)
            parts = dict(zip(published.market.measures, found.mean(axis=0).tolist(), strict=True))
        else:
            parts = {}
        known = {name: value for name, value in parts.items() if np.isfinite(value) and value > 0}
        return [
            {"name": name, "adds": round(value, 4)}
            for name, value in sorted(known.items(), key=lambda one: -one[1])[:DRIVERS]
        ]


def _ahead(
    quantiles: Float[np.ndarray, "time level"], slots: Int[np.ndarray, " time"], pace: Pace
) -> Float[np.ndarray, " time"]:
    return quantile_score(
        quantiles, QUANTILES, slots, level=QUANTILE, train_bars=pace.train_bars, slots_per_day=pace.bars_per_day
    )
