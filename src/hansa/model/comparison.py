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
from hansa.model.evaluation import Interval, Metric, bar_losses

if TYPE_CHECKING:
    from jaxtyping import Float, Int


def member_losses(
    predicted: Float[np.ndarray, "member bar"], actual: Float[np.ndarray, "member bar"], metric: Metric
) -> Float[np.ndarray, "member bar"]:
    """Return each bar's loss: |exp(p - y) - 1| for `mape`, (p - y)^2 for `rmse`, see `evaluation.bar_losses`.

    Raises:
        ModelError: Shapes disagree, or a value is not finite.
    """
    if predicted.shape != actual.shape or predicted.ndim != 2 or not np.isfinite(predicted + actual).all():
        raise ModelError(f"expected finite forecasts and outcomes (member, bar), got {predicted.shape}, {actual.shape}")
    return bar_losses(predicted - actual, metric)


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
        losses: From `member_losses`; NaN where a member has no bar.
        days: Day of each bar.
        metric: What the losses are of.
        seed: Seed of the draws.
        draws: Bootstrap draws.
        level: Coverage of the interval.
    """
    drawn = _member_errors(losses, days, metric=metric, seed=seed, draws=draws).mean(axis=0)
    return _interval(float(member_errors(losses, metric).mean()), drawn, level)


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
    below = member_errors(rival, metric)
    if not (below > 0).all():
        raise ModelError("expected rivals with some error; a ratio to 0 says nothing")
    above = _member_errors(losses, days, metric=metric, seed=seed, draws=draws)
    under = _member_errors(rival, days, metric=metric, seed=seed, draws=draws)
    estimate = float((member_errors(losses, metric) / below).mean())
    return _interval(estimate, (above / np.maximum(under, 1e-300)).mean(axis=0), level)


def gap_closure(
    losses: Float[np.ndarray, "member bar"],
    local: Float[np.ndarray, "member bar"],
    central: Float[np.ndarray, "member bar"],
    days: Int[np.ndarray, " bar"],
    *,
    metric: Metric,
    seed: int = 0,
    draws: int = 1000,
    level: float = 0.9,
) -> Interval:
    """Return G = (E_local - E) / (E_local - E_central) with its interval, E the mean error over members.

    G is 0 for a forecast as bad as the local one, 1 for one as good as the centralised one. Where the centralised one
    is not better than the local one there is no gap, and G says nothing: it is NaN, and so is a draw of that kind.

    Args:
        losses: Of the forecast in question, from `member_losses`; NaN where a member has no bar.
        local: Of the local forecast, of the same bars.
        central: Of the centralised forecast, of the same bars.
        days: Day of each bar.
        metric: What the losses are of.
        seed: Seed of the draws.
        draws: Bootstrap draws.
        level: Coverage of the interval.
    """
    own, alone, whole = (float(member_errors(one, metric).mean()) for one in (losses, local, central))
    drawn = [
        _member_errors(one, days, metric=metric, seed=seed, draws=draws).mean(axis=0)
        for one in (losses, local, central)
    ]
    gap = drawn[1] - drawn[2]
    closed = (drawn[1] - drawn[0])[gap > 0] / gap[gap > 0]
    if alone <= whole or closed.size == 0:
        return Interval(float("nan"), float("nan"), float("nan"))
    return _interval((alone - own) / (alone - whole), closed, level)


def member_errors(losses: Float[np.ndarray, "member bar"], metric: Metric) -> Float[np.ndarray, " member"]:
    """Return each member's error over the bars that it has.

    Raises:
        ModelError: A member has no bar at all.
    """
    if not np.isfinite(losses).any(axis=1).all():
        raise ModelError("expected at least one scored bar of every member; leave out who has none")
    return _finish(np.nanmean(losses, axis=1), metric)


def _member_errors(
    losses: Float[np.ndarray, "member bar"], days: Int[np.ndarray, " bar"], *, metric: Metric, seed: int, draws: int
) -> Float[np.ndarray, "member draw"]:
    if days.shape != losses.shape[1:] or days.size == 0:
        raise ModelError(f"expected a day for each of {losses.shape[1]} bars, got shape {days.shape}")
    names, place = np.unique(days, return_inverse=True)
    is_there = np.isfinite(losses)
    counts = np.stack([np.bincount(place, weights=row, minlength=names.size) for row in is_there])
    filled = np.where(is_there, losses, 0.0)
    sums = np.stack([np.bincount(place, weights=row, minlength=names.size) for row in filled])
    rng = np.random.default_rng(seed)
    chosen = rng.multinomial(names.size, np.full(names.size, 1 / names.size), size=draws).astype(float)
    drawn_counts = counts @ chosen.T
    # A draw without any of a member's bars says nothing about it: the member's whole error stands in.
    whole = (sums.sum(axis=1) / np.maximum(counts.sum(axis=1), 1.0))[:, None]
    return _finish(np.where(drawn_counts > 0, (sums @ chosen.T) / np.maximum(drawn_counts, 1.0), whole), metric)


def _finish(value: Float[np.ndarray, ...], metric: Metric) -> Float[np.ndarray, ...]:
    return np.sqrt(value) if metric == "rmse" else value


def _interval(estimate: float, drawn: Float[np.ndarray, " draw"], level: float) -> Interval:
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Interval(estimate, float(low), float(high))
