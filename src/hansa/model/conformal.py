"""Rolling conformal calibration: quantiles moved until they cover what they say, bar by bar, without look-ahead.

One calibrator belongs to one series and one horizon. For a forecast made at bar i of bar i + h, and each level k:

    s_i = running mean of |y - median| over outcomes known at i          e_ik = (y_{i+h} - q_ik) / s_i
    issued at t:   q_tk + s_t * (quantile a_tk of the last `window` known e_k),   sorted over k
    a_k <- a_k + step (k - [y <= issued_k]), held in [0, 1]              once the outcome of an issued forecast is known

The first line lets the band breathe with the variance, the second is conformalised quantile regression, one side at a
time, the third adaptive conformal inference: a level that is missed too often asks for a more extreme quantile of the
past errors. All levels, the median too, are calibrated.

Guarantees: what is issued at bar t depends on forecasts up to t and outcomes up to t only. Quantiles ascend.
Does NOT guarantee: coverage within a stretch, such as the first bars of a shock: coverage is a mean over time. No
quantile goes further out, in units of s, than the last `window` errors did; the long-run guarantee of the source, which
lets a band become infinite, is given up for that.

Source: Gibbs and Candes, NeurIPS 2021 (adaptive level); Romano, Patterson and Candes, NeurIPS 2019 (conformalised
quantile regression); Chernozhukov, Fernandez-Val and Galichon, Econometrica 78(3), 2010 (sorting).
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from hansa.errors import ModelError
from hansa.model.design import QUANTILES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float


@dataclass(frozen=True, slots=True)
class CalibrationRule:
    """How fast a calibrator learns.

    Attributes:
        step: Move of a level for each outcome.
        window: Known errors that the quantiles are taken of.
        half_life_bars: Outcomes after which an error weighs half in the running scale.
        minimum: Known errors below which a forecast is issued as it came.
    """

    step: float = 0.01
    window: int = 576
    half_life_bars: float = 24.0
    minimum: int = 40

    def __post_init__(self) -> None:
        """Refuse a rule that cannot learn."""
        if not (0 < self.step < 1 and self.half_life_bars > 0 and 2 <= self.minimum <= self.window):
            raise ModelError(f"expected a step in (0, 1), a positive half-life and 2 <= minimum <= window, got {self}")


DEFAULT_RULE = CalibrationRule()


@dataclass(frozen=True, slots=True)
class _Issued:
    """A forecast that waits for its outcome."""

    raw: list[float]
    scale: float
    given: list[float]
    is_calibrated: bool


@dataclass(slots=True)
class _Level:
    """One level's known errors, in time order and sorted, and where it stands."""

    level: float
    at: float
    times: deque[float] = field(default_factory=deque)
    ordered: list[float] = field(default_factory=list)

    def learn(self, error: float, window: int) -> None:
        self.times.append(error)
        insort(self.ordered, error)
        if len(self.times) > window:
            del self.ordered[bisect_left(self.ordered, self.times.popleft())]

    def shift(self) -> float:
        """Return the quantile `at` of the known errors (plotting position k / (n + 1))."""
        last = len(self.ordered) - 1
        place = min(max(self.at * (last + 2) - 1, 0.0), float(last))
        low = int(place)
        high = min(low + 1, last)
        return self.ordered[low] + (place - low) * (self.ordered[high] - self.ordered[low])


class Calibrator:
    """The online form: one series, one horizon, fed bar by bar.

    Args:
        levels: Levels of the quantiles, ascending, one of them 0.5.
        horizon_bars: Bars from a forecast to its outcome.
        rule: How fast it learns.

    Raises:
        ModelError: Levels are not ascending in (0, 1), none is 0.5, or the horizon is below 1.
    """

    def __init__(
        self, levels: Sequence[float] = QUANTILES, *, horizon_bars: int = 1, rule: CalibrationRule = DEFAULT_RULE
    ) -> None:
        ascending = all(low < high for low, high in zip((0.0, *levels), (*levels, 1.0), strict=True))
        if not ascending or 0.5 not in levels or horizon_bars < 1:
            raise ModelError(
                f"expected ascending levels in (0, 1) with 0.5 among them and a horizon of 1 bar or more, "
                f"got {tuple(levels)} and {horizon_bars}"
            )
        self._rule = rule
        self._levels = [_Level(level, level) for level in levels]
        self._median = list(levels).index(0.5)
        self._pending: deque[_Issued | None] = deque([None] * horizon_bars)
        self._decay = 0.5 ** (1 / rule.half_life_bars)
        self._sum = self._weight = 0.0

    def advance(self, actual: float, quantiles: Sequence[float]) -> list[float]:
        """Take in a bar's outcome, then issue the forecast made at that bar.

        Args:
            actual: Outcome of this bar; NaN where it is absent, and nothing is learned.
            quantiles: Forecast made at this bar of the bar `horizon_bars` later; NaN where there is none.

        Returns:
            Calibrated quantiles, ascending; NaN where there is no forecast.
        """
        earlier = self._pending.popleft()
        if earlier is not None and np.isfinite(actual):
            self._learn(earlier, actual)
        raw = [float(value) for value in quantiles]
        if not np.isfinite(raw).all():
            self._pending.append(None)
            return [float("nan")] * len(raw)
        scale = max(self._sum / self._weight, 1e-12) if self._weight else 1.0
        is_calibrated = len(self._levels[0].ordered) >= self._rule.minimum
        shifts = [one.shift() if is_calibrated else 0.0 for one in self._levels]
        given = sorted(value + scale * shift for value, shift in zip(raw, shifts, strict=True))
        self._pending.append(_Issued(raw, scale, given, is_calibrated))
        return given

    def _learn(self, issued: _Issued, actual: float) -> None:
        if self._weight:  # before any error is known there is no scale to measure one by
            for one, raw, given in zip(self._levels, issued.raw, issued.given, strict=True):
                one.learn((actual - raw) / issued.scale, self._rule.window)
                if issued.is_calibrated:
                    one.at = min(max(one.at + self._rule.step * (one.level - (actual <= given)), 0.0), 1.0)
        self._sum = self._decay * self._sum + abs(actual - issued.raw[self._median])
        self._weight = self._decay * self._weight + 1.0


def calibrate(
    quantiles: Float[np.ndarray, "time level"],
    actual: Float[np.ndarray, " time"],
    *,
    levels: Sequence[float] = QUANTILES,
    horizon_bars: int = 1,
    rule: CalibrationRule = DEFAULT_RULE,
) -> Float[np.ndarray, "time level"]:
    """Calibrate the forecasts of one series as if they were issued bar by bar.

    Args:
        quantiles: Row t is the forecast made at bar t of bar t + `horizon_bars`; NaN where there is none.
        actual: Outcome of each bar itself; NaN where it is absent.
        levels: Levels of the columns, ascending, one of them 0.5.
        horizon_bars: Bars from a forecast to its outcome.
        rule: How fast it learns.

    Returns:
        Ascending quantiles; row t uses forecasts and outcomes up to bar t. The first `rule.minimum` known outcomes
        and those before them change nothing.

    Raises:
        ModelError: Shapes disagree, or levels or horizon are not as said.
    """
    if quantiles.ndim != 2 or quantiles.shape != (actual.size, len(levels)) or actual.ndim != 1:
        raise ModelError(
            f"expected quantiles of shape ({actual.size}, {len(levels)}) and one outcome a bar, "
            f"got {quantiles.shape} and {actual.shape}"
        )
    calibrator = Calibrator(levels, horizon_bars=horizon_bars, rule=rule)
    rows = [calibrator.advance(*row) for row in zip(actual.tolist(), quantiles.tolist(), strict=True)]
    return np.array(rows, dtype=np.float64).reshape(quantiles.shape)


def calibrate_baskets(
    quantiles: Float[np.ndarray, "time basket level"], actual: Float[np.ndarray, "time basket"]
) -> Float[np.ndarray, "time basket level"]:
    """Calibrate next-bar forecasts of several baskets at `QUANTILES`, each by itself."""
    return np.stack([calibrate(quantiles[:, place], actual[:, place]) for place in range(actual.shape[1])], axis=1)


def coverage(
    quantiles: Float[np.ndarray, "time level"], outcome: Float[np.ndarray, " time"]
) -> tuple[float, Float[np.ndarray, " level"]]:
    """Return how often the outcome lay in the outermost band, and below each quantile; absent rows are left out.

    Args:
        quantiles: Ascending forecasts.
        outcome: What each row forecasts (not the bar's own value).

    Raises:
        ModelError: Shapes disagree or no row has both.

    >>> coverage(np.array([[0.0, 1.0], [0.0, 1.0]]), np.array([0.5, 2.0]))
    (0.5, array([0. , 0.5]))
    """
    if quantiles.ndim != 2 or outcome.shape != quantiles.shape[:1]:
        raise ModelError(f"expected one outcome for each row of quantiles, got {outcome.shape} and {quantiles.shape}")
    known = np.isfinite(outcome) & np.isfinite(quantiles).all(axis=1)
    if not known.any():
        raise ModelError("expected a row with a forecast and an outcome, got none")
    below = outcome[known, None] <= quantiles[known]
    inside = (outcome[known] >= quantiles[known, 0]) & below[:, -1]
    return float(inside.mean()), below.mean(axis=0)
