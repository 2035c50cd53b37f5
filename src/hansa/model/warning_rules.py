"""Rules that warn, tuned on a training part and then run bar by bar: members run them live, a replay over history.

| rule | looks at | alarm bar |
|---|---|---|
| threshold | warning score (`detection.warning_score`) of the published measures | score >= limit |
| cusum, shiryaev_roberts | the same, in training deviations, tuned to a lift of one | the level reaches its limit |
| quantile | forecast 95 % quantile of the next bar's cost, against its own training part | score >= limit |
| lsi | the stress index | index >= limit |

An **alarm bar** is a bar on which a rule is on; an **alert** is the first of an excursion, none in the three hours
before. Limits: at most `false_alerts_per_day` in the training part, for each rule and series; for the two detectors a
mean run of a day over that rate between false alarms of resampled training.

The rate stands here and nowhere else. One false alert in twenty days is SCIENCE.md's fixed rate for intraday series;
a training part of fewer than twenty days holds no such alert and cannot set that limit, so there it is one a day.

Guarantees: after training nothing moves a limit; what a watch says of a bar depends on bars up to it, and a watch that
is begun again over the same bars says the same. Does NOT guarantee: that calm later looks like the training part.

Source: SCIENCE.md 1.5; Page, Biometrika 41, 1954; Shiryaev, Theory of Probability 8, 1963; Roberts, Technometrics 8,
1966; Alessi and Detken, European J. Political Economy 27(3), 2011 (limits at a fixed rate).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from hansa.errors import ModelError
from hansa.model.detection import (
    Cusum,
    ShiryaevRoberts,
    fit_reference,
    limit_at_run_length,
    training_scale,
    warning_score,
)
from hansa.model.early_warning import DAY_NS, alerts, threshold_at_rate
from hansa.model.usefulness import chance_of_lead, rate_interval

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jaxtyping import Bool, Float, Int

    from hansa.model.detection import Detector, Reference

RuleName = Literal["threshold", "cusum", "shiryaev_roberts", "quantile", "lsi"]
STATE_RULES: Final[tuple[RuleName, ...]] = ("threshold", "cusum", "shiryaev_roberts")
"""Rules that look at the warning score of published measures."""
RARE_ALERTS_PER_DAY: Final = 0.05
USUAL_ALERTS_PER_DAY: Final = 1.0
SEASON_DAYS: Final = 20
REFRACTORY_NS: Final = DAY_NS // 8
DRIFT: Final = 1.0
QUANTILE: Final = 0.95
DETECTORS: Final[Mapping[str, Detector]] = {"cusum": Cusum(DRIFT), "shiryaev_roberts": ShiryaevRoberts(DRIFT)}
UNITS: Final[Mapping[str, str]] = {
    "threshold": "robust deviations of training",
    "cusum": "training deviations, accumulated above half the drift",
    "shiryaev_roberts": "log of the Shiryaev-Roberts statistic",
    "quantile": "robust deviations of the quantile's own training part",
    "lsi": "points of 100",
}


def false_alerts_per_day(train_days: float) -> float:
    """Return the rate of false alerts at which a training part of so many days sets a limit.

    >>> false_alerts_per_day(60), false_alerts_per_day(2)
    (0.05, 1.0)
    """
    return RARE_ALERTS_PER_DAY if train_days >= SEASON_DAYS else USUAL_ALERTS_PER_DAY


@dataclass(frozen=True, slots=True)
class Pace:
    """How a series runs: `bar_ns` a bar, the first `train_bars` of it train, `rate` false alerts a day are accepted."""

    bar_ns: int
    train_bars: int
    rate: float

    @classmethod
    def usual(cls, bar_ns: int, train_bars: int) -> Pace:
        """Return the pace at the usual rate of false alerts."""
        return cls(bar_ns, train_bars, false_alerts_per_day(train_bars * bar_ns / DAY_NS))

    @property
    def bars_per_day(self) -> int:
        """Bars of one day."""
        return DAY_NS // self.bar_ns

    @property
    def refractory_bars(self) -> int:
        """Bars without an alarm that must come before an alert."""
        return max(REFRACTORY_NS // self.bar_ns, 1)


@dataclass(frozen=True, slots=True)
class Stress:
    """The warning score of measures, its calm measured on a training part.

    Attributes:
        reference: What calm looks like.
        signs: +1 where high is stress, -1 where low is.
        weights: Published weight of each measure, 0 or more.
    """

    reference: Reference
    signs: tuple[int, ...]
    weights: tuple[float, ...]

    @classmethod
    def of(
        cls,
        train: Float[np.ndarray, "time measure"],
        slot: Int[np.ndarray, " time"],
        *,
        signs: Sequence[int],
        weights: Sequence[float],
        bars_per_day: int,
    ) -> Stress:
        """Measure calm on a training part.

        Raises:
            ModelError: A measure has no value in the training part.
        """
        return cls(fit_reference(train, slot, slots_per_day=bars_per_day), tuple(signs), tuple(weights))

    def score(
        self, values: Float[np.ndarray, "time measure"], slot: Int[np.ndarray, " time"]
    ) -> Float[np.ndarray, " time"]:
        """Return the warning score of measures; NaN where every weighted measure is missing."""
        return warning_score(self.reference.scores(values, slot), self.signs, self.weights)

    def parts(
        self, values: Float[np.ndarray, "time measure"], slot: Int[np.ndarray, " time"]
    ) -> Float[np.ndarray, "time measure"]:
        """Return what each measure adds to the score; the parts of a bar sum to it."""
        scores = self.reference.scores(values, slot)
        present = np.isfinite(scores)
        share = present * np.asarray(self.weights)
        total = share.sum(axis=1, keepdims=True)
        share = np.divide(share, total, out=np.zeros_like(share), where=total > 0)
        return np.asarray(np.where(present, scores, 0.0) * np.asarray(self.signs) * share)


@dataclass(frozen=True, slots=True)
class Tuned:
    """A rule with its limit.

    Attributes:
        name: Which rule.
        limit: Where it alarms.
        pace: The bars that it was tuned on.
        centre: Taken off each value before it is looked at.
        scale: What each value is divided by then.
        calm_alerts: Alerts of the rule over its own training part.
        calm_days: Days of it with a value.
    """

    name: RuleName
    limit: float
    pace: Pace
    centre: float = 0.0
    scale: float = 1.0
    calm_alerts: int = 0
    calm_days: float = 0.0

    def standardised(self, values: Float[np.ndarray, " time"]) -> Float[np.ndarray, " time"]:
        """Return values as the rule looks at them."""
        return np.asarray((values - self.centre) / self.scale)

    def chance(self, hours: float) -> tuple[float, float, float]:
        """Return how often calm like training alerts within some hours, with the ends of its 90 % interval.

        The estimate is at the rate that the limit was set for; the interval is of the rate seen in training.
        """
        low, high = rate_interval(self.calm_alerts, self.calm_days)
        at_limit = chance_of_lead(self.pace.rate, hours)
        return at_limit, min(chance_of_lead(low, hours), at_limit), max(chance_of_lead(high, hours), at_limit)


def tune(name: RuleName, values: Float[np.ndarray, " time"], pace: Pace, *, seed: int = 0) -> Tuned:
    """Set a rule's limit on the training part of a series.

    Args:
        name: Which rule.
        values: What it looks at (the index, or a score), from the first bar of training on; NaN where unknown.
        pace: Bars and rate.
        seed: Of the resampled calm.

    Raises:
        ModelError: The training part says nothing: too short, without a value, or it never varies.
    """
    calm = values[: pace.train_bars]
    if name in DETECTORS:
        centre, scale = training_scale(calm)
        limit = limit_at_run_length(
            DETECTORS[name],
            (calm - centre) / scale,
            run_length_bars=pace.bars_per_day / pace.rate,
            rng=np.random.default_rng(seed),
        )
        tuned = Tuned(name, limit, pace, centre, scale)
    else:
        limit = threshold_at_rate(
            calm,
            alarms_per_day=pace.rate,
            bars_per_day=pace.bars_per_day,
            refractory_bars=pace.refractory_bars,
        )
        tuned = Tuned(name, limit, pace)
    return Tuned(
        name,
        limit,
        pace,
        tuned.centre,
        tuned.scale,
        calm_alerts=len(Watch(tuned).see(calm)),
        calm_days=float(np.isfinite(calm).sum()) / pace.bars_per_day,
    )


class Watch:
    """A tuned rule at work on one series: what it said of every bar so far, and where it stands.

    Args:
        tuned: The rule.
    """

    def __init__(self, tuned: Tuned) -> None:
        self.tuned = tuned
        self._detector = DETECTORS.get(tuned.name)
        self._statistic: list[float] = []
        self._level: list[float] = []  # after each bar, the start again after an alarm
        self._last_alarm: list[int] = []  # newest alarm bar up to each bar, or far before the first

    def see(self, values: Float[np.ndarray, " time"], first: int = 0) -> list[int]:
        """Take in a series from a bar on; what was seen from there on before is forgotten.

        Args:
            values: The series as `tune` got it, all of it so far.
            first: First bar that is new or has changed.

        Returns:
            New alerts, ascending bars.

        Raises:
            ModelError: Bars between what was seen and `first` are missing.
        """
        if not 0 <= first <= len(self._level):
            raise ModelError(f"expected a first bar up to {len(self._level)}, where this watch stands; got {first}")
        for kept in (self._statistic, self._level, self._last_alarm):
            del kept[first:]
        refractory, limit = self.tuned.pace.refractory_bars, self.tuned.limit
        last = self._last_alarm[-1] if self._last_alarm else -refractory - 1
        found = []
        for bar, value in enumerate(self.tuned.standardised(values[first:]).tolist(), start=first):
            statistic, level = self._advanced(value)
            if statistic >= limit:
                if bar - last > refractory:
                    found.append(bar)
                last = bar
            self._statistic.append(statistic)
            self._level.append(level)
            self._last_alarm.append(last)
        return found

    @property
    def bars(self) -> int:
        """Bars seen."""
        return len(self._level)

    def statistic(self) -> Float[np.ndarray, " time"]:
        """Return what was compared with the limit at each bar; NaN where nothing was known."""
        return np.array(self._statistic)

    def alarms(self) -> Bool[np.ndarray, " time"]:
        """Return the alarm bars."""
        return np.asarray(np.array(self._last_alarm) == np.arange(self.bars))

    def alerts(self) -> Int[np.ndarray, " alert"]:
        """Return the bars of all alerts so far."""
        return alerts(self.alarms().astype(np.float64), 1.0, refractory_bars=self.tuned.pace.refractory_bars)

    def since(self, bar: int) -> int:
        """Return the bar at which the excursion that ends in `bar` began: for a detector, where its level left zero."""
        if self._detector is None:
            return bar
        begun = bar
        while begun > 0 and self._level[begun - 1] > max(self._detector.start, 0.0):
            begun -= 1
        return begun

    def _advanced(self, value: float) -> tuple[float, float]:
        """Return the statistic at the next bar, and the level that is carried on."""
        detector = self._detector
        if detector is None:
            return value, 0.0
        before = self._level[-1] if self._level else detector.start
        if not math.isfinite(value):
            return float("nan"), before
        reached = float(detector.advance(np.array([before]), np.array([value]))[0])
        return reached, detector.start if reached >= self.tuned.limit else reached


def exceedance(
    quantiles: Float[np.ndarray, " level"], levels: Sequence[float], value: float
) -> tuple[float, float, float]:
    """Return the probability, by forecast quantiles, that an outcome exceeds a value, and the bounds that they give.

    Between two quantiles it is interpolated; beyond the outermost ones only the bound is known and is the estimate.

    Args:
        quantiles: Ascending.
        levels: Their levels, ascending in (0, 1).
        value: What may be exceeded.

    Returns:
        Estimate, low and high.

    >>> exceedance(np.array([0.0, 1.0]), (0.5, 0.9), 0.5)
    (0.3, 0.1, 0.5)
    """
    place = int(np.searchsorted(quantiles, value))
    if place == 0:
        low = 1.0 - levels[0]
        return round(low, 6), round(low, 6), 1.0
    if place == len(levels):
        high = 1.0 - levels[-1]
        return round(high, 6), 0.0, round(high, 6)
    below, above = float(quantiles[place - 1]), float(quantiles[place])
    part = (value - below) / (above - below) if above > below else 1.0
    level = levels[place - 1] + part * (levels[place] - levels[place - 1])
    return round(1.0 - level, 6), round(1.0 - levels[place], 6), round(1.0 - levels[place - 1], 6)
