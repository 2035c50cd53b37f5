"""Detectors of stress that need no season: a warning score against a fixed training part, CUSUM, Shiryaev-Roberts.

```
score_t    = sum_k a_k sign_k clip((x_k - centre_k) / scale_k, -8, 8),   median, 1.4826 MAD of training
CUSUM      W_t = max(0, W_{t-1} + u_t - drift / 2)                       u the score in training deviations
Shiryaev   R_t = (1 + R_{t-1}) exp(drift u_t - drift^2 / 2),  log R is kept
quantiles  the forecast of a high quantile of the next bar's measure, as a score of its own
```
The clip is wider than the index's 4: a limit that training puts at the clip could never be passed.

A detector alarms where its level reaches the limit, and starts again from nothing (`warning_rules.Watch`).

The centre and scale are per slot of the day where the training part has 20 values a slot, else over all slots. A limit
is set so that calm bars alarm once in `run_length_bars` on average (ARL0): calm is the training part, resampled in
blocks, so that its dependence over twelve bars is kept. The delay (EDD) is measured on the same resampled bars, lifted.

Guarantees: nothing after the training part moves the centre, the scale or a limit. Does NOT guarantee: that calm later
looks like the training part. Two days of training hold no rare event, and a block bootstrap cannot invent one.

Source: Page, Biometrika 41, 1954; Shiryaev, Theory of Probability 8, 1963; Roberts, Technometrics 8, 1966; Politis and
Romano, JASA 89, 1994 (resampling in blocks); Woodall, J. Quality Technology 32, 2000 (a fixed first phase).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np

from hansa.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float, Int

SLOT_MINIMUM: Final = 20
SCORE_CLIP: Final = 8.0
BLOCK_BARS: Final = 12
PATHS: Final = 128
_MAD_TO_SD: Final = 1.4826
_MEAN_DEVIATION_TO_SD: Final = 1.2533


class Detector(Protocol):
    """A level that calm keeps low and stress drives up."""

    @property
    def start(self) -> float:
        """Level before the first bar and after an alarm."""

    def advance(
        self, level: Float[np.ndarray, " path"], value: Float[np.ndarray, " path"]
    ) -> Float[np.ndarray, " path"]:
        """Return the level after one bar, for many paths at once."""


@dataclass(frozen=True, slots=True)
class Cusum:
    """Page's one-sided CUSUM, tuned to a lift of `drift` training deviations."""

    drift: float

    @property
    def start(self) -> float:
        """Nothing accumulated."""
        return 0.0

    def advance(
        self, level: Float[np.ndarray, " path"], value: Float[np.ndarray, " path"]
    ) -> Float[np.ndarray, " path"]:
        """Accumulate what exceeds half the drift."""
        return np.asarray(np.maximum(0.0, level + value - self.drift / 2))


@dataclass(frozen=True, slots=True)
class ShiryaevRoberts:
    """Logarithm of the Shiryaev-Roberts statistic for a lift of `drift` training deviations."""

    drift: float

    @property
    def start(self) -> float:
        """Log of zero."""
        return -np.inf

    def advance(
        self, level: Float[np.ndarray, " path"], value: Float[np.ndarray, " path"]
    ) -> Float[np.ndarray, " path"]:
        """Add the evidence that a lift began at this bar or any before."""
        return np.asarray(np.logaddexp(0.0, level) + self.drift * value - self.drift**2 / 2)


@dataclass(frozen=True, slots=True)
class Reference:
    """What calm looks like: centre and scale of each measure, by slot of the day (one slot: the same all day).

    Attributes:
        centre: Shape (slot, measure).
        scale: Positive, shape (slot, measure); NaN where training says nothing.
    """

    centre: Float[np.ndarray, "slot measure"]
    scale: Float[np.ndarray, "slot measure"]

    def scores(
        self, values: Float[np.ndarray, "time measure"], slot: Int[np.ndarray, " time"]
    ) -> Float[np.ndarray, "time measure"]:
        """Return clipped robust z-scores; NaN where a value is missing or training says nothing."""
        place = slot if self.centre.shape[0] > 1 else np.zeros_like(slot)
        return np.asarray(np.clip((values - self.centre[place]) / self.scale[place], -SCORE_CLIP, SCORE_CLIP))


def fit_reference(
    values: Float[np.ndarray, "time measure"], slot: Int[np.ndarray, " time"], *, slots_per_day: int
) -> Reference:
    """Measure calm on the training part.

    Args:
        values: Measures over the training part only; NaN where missing.
        slot: Slot of the day of each bar.
        slots_per_day: Number of slots.

    Raises:
        ModelError: A measure has no value in the training part.
    """
    if values.ndim != 2 or slot.shape != values.shape[:1] or not np.isfinite(values).any(axis=0).all():
        raise ModelError(
            f"expected a training part (time, measure) with values of each measure and a slot a bar; got "
            f"{values.shape} and {slot.shape}; give more history"
        )
    known = np.isfinite(values).all(axis=1)
    counts = np.bincount(slot[known], minlength=slots_per_day)
    is_seasonal = bool(counts.min() >= SLOT_MINIMUM)
    groups = [values[slot == one] for one in range(slots_per_day)] if is_seasonal else [values]
    centre = np.stack([np.nanmedian(group, axis=0) for group in groups])
    distance = [np.abs(group - middle) for group, middle in zip(groups, centre, strict=True)]
    spread = _MAD_TO_SD * np.stack([np.nanmedian(one, axis=0) for one in distance])
    mean = _MEAN_DEVIATION_TO_SD * np.stack([np.nanmean(one, axis=0) for one in distance])
    # More than half equal values leave no MAD; a measure that never moves has no scale and scores NaN, not 0.
    scale = np.where(spread > 1e-9, spread, np.where(mean > 1e-9, mean, np.nan))
    return Reference(centre, scale)


def warning_score(
    scores: Float[np.ndarray, "time measure"], signs: Sequence[int], weights: Sequence[float]
) -> Float[np.ndarray, " time"]:
    """Return the weighted mean of signed scores; a missing measure leaves its weight to the others.

    Args:
        scores: From `Reference.scores`.
        signs: +1 where high is stress, -1 where low is.
        weights: 0 or more, not all 0.

    Returns:
        Score in [-8, 8]; NaN where every weighted measure is missing.

    Raises:
        ModelError: Signs or weights do not fit.
    """
    share = np.asarray(weights, dtype=np.float64)
    if scores.ndim != 2 or not scores.shape[1] == share.size == len(signs) or share.min() < 0 or not share.any():
        raise ModelError(f"expected {scores.shape} scores with a sign and a weight >= 0 each; got {signs}, {weights}")
    present = np.isfinite(scores)
    total = (present * share).sum(axis=1)
    weighted = (np.where(present, scores, 0.0) * np.asarray(signs) * share).sum(axis=1)
    return np.asarray(np.divide(weighted, total, out=np.full(total.size, np.nan), where=total > 0))


def quantile_score(
    quantiles: Float[np.ndarray, "time level"],
    levels: Sequence[float],
    slot: Int[np.ndarray, " time"],
    *,
    level: float,
    train_bars: int,
    slots_per_day: int,
) -> Float[np.ndarray, " time"]:
    """Return how high the forecast of a quantile of the next bar stands against its own training part.

    Args:
        quantiles: Forecast made at each bar of the next bar's measure, one column a level.
        levels: Ascending levels of the columns.
        slot: Slot of the day of each bar.
        level: The level that warns, one of `levels`.
        train_bars: Bars of the training part.
        slots_per_day: Number of slots.

    Raises:
        ModelError: The level is not there, or the training part has no forecast.
    """
    if quantiles.ndim != 2 or quantiles.shape[1] != len(levels) or level not in levels:
        raise ModelError(f"expected one column a level and {level} among them; got {quantiles.shape} and {levels}")
    column = quantiles[:, [list(levels).index(level)]]
    reference = fit_reference(column[:train_bars], slot[:train_bars], slots_per_day=slots_per_day)
    return reference.scores(column, slot)[:, 0]


def standardised(score: Float[np.ndarray, " time"], train_bars: int) -> Float[np.ndarray, " time"]:
    """Return a score in deviations of its training part, its mean there taken off.

    Raises:
        ModelError: The training part has fewer than two values or does not vary.
    """
    centre, scale = training_scale(score[:train_bars])
    return np.asarray((score - centre) / scale)


def training_scale(train: Float[np.ndarray, " time"]) -> tuple[float, float]:
    """Return mean and standard deviation of a training part.

    Raises:
        ModelError: It has fewer than two values or does not vary.
    """
    known = train[np.isfinite(train)]
    if known.size < 2 or known.std() <= 0:
        raise ModelError(f"expected a training part with a score that varies; got {known.size} values of {train.size}")
    return float(known.mean()), float(known.std(ddof=1))


def limit_at_run_length(
    detector: Detector, calm: Float[np.ndarray, " time"], *, run_length_bars: float, rng: np.random.Generator
) -> float:
    """Find the lowest limit at which resampled calm alarms once in `run_length_bars` or less often.

    Args:
        detector: The detector.
        calm: Standardised score over the training part; missing bars are left out.
        run_length_bars: Wanted mean number of bars from start to false alarm (ARL0).
        rng: Draws the blocks.

    Raises:
        ModelError: The training part is shorter than two blocks, or the run length below 1.
    """
    highest = _running_maximum(detector, resampled(calm, bars=int(3 * run_length_bars) + 1, rng=rng))
    if run_length_bars < 1:
        raise ModelError(f"expected a run length of 1 bar or more; got {run_length_bars}")
    ends = highest[-1][np.isfinite(highest[-1])]
    low, high = float(np.nanmin(np.where(np.isfinite(highest), highest, np.nan))), float(ends.max()) + 1e-9
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if _mean_run_length(highest, middle) >= run_length_bars else (middle, high)
    return high


def average_run_length(
    detector: Detector, calm: Float[np.ndarray, " time"], limit: float, *, bars: int, rng: np.random.Generator
) -> float:
    """Return the mean number of resampled calm bars to an alarm (ARL0); infinite where none came in `bars`.

    Raises:
        ModelError: The training part is shorter than two blocks.
    """
    return _mean_run_length(_running_maximum(detector, resampled(calm, bars=bars, rng=rng)), limit)


def expected_delay(
    detector: Detector,
    calm: Float[np.ndarray, " time"],
    limit: float,
    *,
    lift: float,
    bars: int,
    rng: np.random.Generator,
) -> float:
    """Return the mean number of bars from a lift of the score to the alarm (EDD), the detector starting from nothing.

    Args:
        detector: The detector.
        calm: Standardised score over the training part.
        limit: Level that alarms.
        lift: Training deviations by which every bar is raised.
        bars: Longest delay that is looked at.
        rng: Draws the blocks.

    Raises:
        ModelError: The training part is shorter than two blocks.
    """
    return _mean_run_length(_running_maximum(detector, resampled(calm, bars=bars, rng=rng) + lift), limit)


def resampled(
    calm: Float[np.ndarray, " time"], *, bars: int, rng: np.random.Generator, paths: int = PATHS
) -> Float[np.ndarray, "time path"]:
    """Draw paths of calm bars: blocks of twelve bars (an hour of five minutes each), joined end to end, wrapping round.

    Raises:
        ModelError: The training part is shorter than two blocks.
    """
    present = calm[np.isfinite(calm)]
    if present.size < 2 * BLOCK_BARS:
        raise ModelError(f"expected {2 * BLOCK_BARS} bars of calm or more; got {present.size}; give more history")
    starts = rng.integers(0, present.size, (-(-bars // BLOCK_BARS), 1, paths))
    place = (starts + np.arange(BLOCK_BARS)[None, :, None]).reshape(-1, paths)[:bars]
    return np.asarray(present[place % present.size])


def _running_maximum(detector: Detector, values: Float[np.ndarray, "time path"]) -> Float[np.ndarray, "time path"]:
    level = np.full(values.shape[1], detector.start)
    highest = np.empty_like(values)
    top = level.copy()
    for bar, value in enumerate(values):
        level = detector.advance(level, value)
        top = np.maximum(top, level)
        highest[bar] = top
    return highest


def _mean_run_length(highest: Float[np.ndarray, "time path"], limit: float) -> float:
    """Return bars at risk over first alarms: the mean run length where runs without an alarm are cut short."""
    reached = highest >= limit
    has_alarm = reached[-1]
    at_risk = np.where(has_alarm, reached.argmax(axis=0) + 1, highest.shape[0]).sum()
    return float(at_risk / has_alarm.sum()) if has_alarm.any() else float("inf")
