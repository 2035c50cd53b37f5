"""What a warning is worth: Sarlin's usefulness, precision against recall, and what luck alone would give.

```
L(mu) = mu P1 T1 + (1 - mu) P2 T2          T1 missed share of the bars to warn at, T2 false share of the calm bars
U_r   = (min(mu P1, (1 - mu) P2) - L) / min(mu P1, (1 - mu) P2)        1 perfect, 0 as good as always or never warning
chance of a lead = 1 - exp(-rate * lead)   that alarms thrown at random at `rate` leave one in the lead before an onset
```
Does NOT guarantee: that one event says much. Bars of one event hang together: U_r and PR-AUC of a replay have an
interval that is as wide as it gets, and only the rate of false alarms rests on many bars.

Source: Sarlin, ECB WP 1509, 2013; Alessi and Detken, European J. Political Economy 27(3), 2011; Davis and Goadrich,
ICML 2006 (average precision); Garwood, Biometrika 28, 1936 (bound of a rate).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import chi2

from hansa.errors import ModelError

if TYPE_CHECKING:
    from jaxtyping import Bool, Float


def usefulness(is_alarm: Bool[np.ndarray, " bar"], is_event: Bool[np.ndarray, " bar"], *, mu: float = 0.8) -> float:
    """Return Sarlin's relative usefulness of alarms.

    Args:
        is_alarm: Bars with an alarm.
        is_event: Bars at which one should warn; the others are calm. Leave bars that are neither out.
        mu: Weight of a missed bar against a false one, in (0, 1).

    Returns:
        At most 1; negative where never (or always) warning is better. NaN where one kind of bar is missing.

    Raises:
        ModelError: Shapes differ or `mu` is out of range.

    >>> usefulness(np.array([True, False, False]), np.array([True, False, False]))
    1.0
    """
    if is_alarm.shape != is_event.shape or not 0 < mu < 1:
        raise ModelError(
            f"expected one alarm flag a bar and mu in (0, 1); got {is_alarm.shape}, {is_event.shape}, {mu}"
        )
    bars, events = is_event.size, int(is_event.sum())
    if not 0 < events < bars:
        return float("nan")
    missed = float((is_event & ~is_alarm).sum()) / bars  # P1 T1
    false = float((~is_event & is_alarm).sum()) / bars  # P2 T2
    available = min(mu * events / bars, (1 - mu) * (bars - events) / bars)
    return float((available - mu * missed - (1 - mu) * false) / available)


def average_precision(score: Float[np.ndarray, " bar"], is_event: Bool[np.ndarray, " bar"]) -> float:
    """Return the area under precision against recall of a score; a missing score ranks last.

    Args:
        score: Higher warns more.
        is_event: Bars at which one should warn.

    Returns:
        In (0, 1]; a score without skill gives about the share of events. NaN without an event.

    Raises:
        ModelError: Shapes differ.
    """
    if score.shape != is_event.shape:
        raise ModelError(f"expected one score a bar; got {score.shape} and {is_event.shape}")
    if not is_event.any():
        return float("nan")
    filled = np.nan_to_num(score, nan=-np.inf)
    order = np.argsort(-filled, kind="stable")
    hits, ranked = np.cumsum(is_event[order]), filled[order]
    last = np.append(ranked[1:] != ranked[:-1], np.True_)  # ties are one step: no order among them is earned
    precision = hits[last] / (np.flatnonzero(last) + 1)
    recall = hits[last] / hits[-1]
    return float((np.diff(recall, prepend=0.0) * precision).sum())


def chance_of_lead(alarms_per_day: float, lead_hours: float) -> float:
    """Return how often random alarms at a rate leave at least one in the `lead_hours` before an onset.

    >>> round(chance_of_lead(1.0, 48.0), 3), round(chance_of_lead(1 / 7, 9.0), 3)
    (0.865, 0.052)
    """
    return float(-np.expm1(-max(alarms_per_day, 0.0) * max(lead_hours, 0.0) / 24.0))


def rate_bound(count: int, days: float, *, confidence: float = 0.95) -> float:
    """Return the upper bound of a rate a day of which `count` alarms were seen: no alarm seen is no rate of zero.

    Raises:
        ModelError: There is no time watched.
    """
    if days <= 0 or count < 0:
        raise ModelError(f"expected a count of 0 or more over days above 0; got {count} over {days}")
    return float(chi2.ppf(confidence, 2 * (count + 1)) / 2 / days)


def rate_interval(count: int, days: float, *, confidence: float = 0.9) -> tuple[float, float]:
    """Return the interval of a rate a day of which `count` alarms were seen.

    Raises:
        ModelError: There is no time watched.

    >>> tuple(round(end, 2) for end in rate_interval(2, 2.0))
    (0.18, 3.15)
    """
    tail = (1.0 - confidence) / 2
    low = float(chi2.ppf(tail, 2 * count)) / 2 / max(days, 1e-9) if count > 0 else 0.0
    return low, rate_bound(count, days, confidence=1.0 - tail)
