"""Errors averaged over members, with day-block bootstrap intervals that draw the same days for every member.

    error = mean over members of error_m        ratio = mean over members of error_m / rival_m

A member's error is over all its baskets and bars (`evaluation`); days are drawn with replacement, all members and
baskets together, so that what members have in common on a day is not counted as independent. One member is a member
too: a forecast alone is a row of one.

Does NOT guarantee: days that hang together over weeks make intervals too narrow; with fewer than about ten test days
they say little.

Source: Künsch, Annals of Statistics 17(3), 1989 (block bootstrap).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hansa.errors import ModelError
from hansa.model.evaluation import Interval, Metric

if TYPE_CHECKING:
    from jaxtyping import Float, Int


def member_losses(
    predicted: Float[np.ndarray, "member bar"], actual: Float[np.ndarray, "member bar"], metric: Metric
) -> Float[np.ndarray, "member bar"]:
    """Return each bar's loss: |exp(p - y) - 1| for `mape`, (p - y)^2 for `rmse`.

    Raises:
        ModelError: Shapes disagree, or a value is not finite.
    """
    if predicted.shape != actual.shape or predicted.ndim != 2 or not np.isfinite(predicted + actual).all():
        raise ModelError(f"expected finite forecasts and outcomes (member, bar), got {predicted.shape}, {actual.shape}")
    error = predicted - actual
    return np.asarray(np.abs(np.expm1(error)) if metric == "mape" else error**2)


def mean_error(
    losses: Float[np.ndarray, "member bar"],
    days: Int[np.ndarray, " bar"],
    *,
    metric: Metric,
    seed: int = 0,
    draws: int = 1000,
    level: float = 0.9,
) -> Interval:
    """Return the mean over members of their errors, with its interval.

    Args:
        losses: From `member_losses`.
        days: Day of each bar.
        metric: What the losses are of.
        seed: Seed of the draws.
        draws: Bootstrap draws.
        level: Coverage of the interval.
    """
    drawn = _member_errors(losses, days, metric=metric, seed=seed, draws=draws).mean(axis=0)
    return _interval(float(_finish(losses.mean(axis=1), metric).mean()), drawn, level)


def mean_ratio(
    losses: Float[np.ndarray, "member bar"],
    rival: Float[np.ndarray, "member bar"],
    days: Int[np.ndarray, " bar"],
    *,
    metric: Metric,
    seed: int = 0,
    draws: int = 1000,
    level: float = 0.9,
) -> Interval:
    """Return the mean over members of error / rival's error, with its interval; both on the same drawn days.

    Args:
        losses: From `member_losses`.
        rival: The rival's, of the same bars.
        days: Day of each bar.
        metric: What the losses are of.
        seed: Seed of the draws.
        draws: Bootstrap draws.
        level: Coverage of the interval.

    Raises:
        ModelError: A rival makes no error at all.
    """
    below = _finish(rival.mean(axis=1), metric)
    if not (below > 0).all():
        raise ModelError("expected rivals with some error; a ratio to 0 says nothing")
    above = _member_errors(losses, days, metric=metric, seed=seed, draws=draws)
    under = _member_errors(rival, days, metric=metric, seed=seed, draws=draws)
    estimate = float((_finish(losses.mean(axis=1), metric) / below).mean())
    return _interval(estimate, (above / np.maximum(under, 1e-300)).mean(axis=0), level)


def _member_errors(
    losses: Float[np.ndarray, "member bar"], days: Int[np.ndarray, " bar"], *, metric: Metric, seed: int, draws: int
) -> Float[np.ndarray, "member draw"]:
    if days.shape != losses.shape[1:] or days.size == 0:
        raise ModelError(f"expected a day for each of {losses.shape[1]} bars, got shape {days.shape}")
    names, place = np.unique(days, return_inverse=True)
    counts = np.bincount(place).astype(float)
    sums = np.stack([np.bincount(place, weights=row, minlength=names.size) for row in losses])
    rng = np.random.default_rng(seed)
    chosen = rng.multinomial(names.size, np.full(names.size, 1 / names.size), size=draws).astype(float)
    return _finish((sums @ chosen.T) / (chosen @ counts), metric)


def _finish(value: Float[np.ndarray, ...], metric: Metric) -> Float[np.ndarray, ...]:
    return np.sqrt(value) if metric == "rmse" else value


def _interval(estimate: float, drawn: Float[np.ndarray, " draw"], level: float) -> Interval:
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Interval(estimate, float(low), float(high))
