"""Early warning: alerts from an index, and an honest score of them against known onsets.

    alert at t  <=>  index_t >= threshold and index < threshold in all of the refractory bars before t

One excursion of the index is one alert, however long it lasts.

The threshold is set on the training part alone, at a fixed rate of false alarms a day; the same rule on a
volatility-only series is the rival. An onset is hit when an alert lies in [onset - horizon, onset + grace]; its lead
is onset minus the first such alert, negative for a late one. An alert later in
a known episode is neither; every other one is false. The chance level says how
often alerts thrown at random at the same rate would hit an onset: a lead without its false-alarm rate says nothing.

Does NOT guarantee: that the rate of the training part holds later; with a few onsets a hit rate has a wide interval.

Source: Alessi and Detken, European J. Political Economy 27(3), 2011; Sarlin, ECB WP 1509, 2013.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from hansa.errors import ModelError

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

DAY_NS: Final = 86_400_000_000_000
MINUTE_NS: Final = 60_000_000_000


@dataclass(frozen=True, slots=True)
class AlertScore:
    """How alerts met onsets.

    Attributes:
        hits: Onsets with an alert in their window.
        misses: Onsets without.
        lead_minutes: Lead of each hit, in order of onset; negative is late.
        false_alarms: Alerts in no window.
        false_alarms_per_day: Over the part of the span outside all windows.
        chance_hit_rate: Share of onsets that random alerts at the observed rate of all alerts would hit.
    """

    hits: int
    misses: int
    lead_minutes: tuple[float, ...]
    false_alarms: int
    false_alarms_per_day: float
    chance_hit_rate: float

    @property
    def hit_rate(self) -> float:
        """Share of onsets hit; NaN without onsets."""
        onsets = self.hits + self.misses
        return self.hits / onsets if onsets else float("nan")

    @property
    def median_lead_minutes(self) -> float:
        """Median lead of the hits, minutes; NaN without a hit."""
        return float(np.median(self.lead_minutes)) if self.lead_minutes else float("nan")


def alerts(index: Float[np.ndarray, " time"], threshold: float, *, refractory_bars: int) -> Int[np.ndarray, " alert"]:
    """Return the bars at which the rule alerts.

    Args:
        index: Index at each bar; NaN never alerts.
        threshold: Alert at this value or above.
        refractory_bars: Bars below the threshold (or unknown) that must come before an alert, >= 0.

    Returns:
        Bar numbers, ascending.
    """
    above = np.flatnonzero(np.nan_to_num(index, nan=-np.inf) >= threshold)
    return above[np.diff(above, prepend=-refractory_bars - 1) > refractory_bars]


def threshold_at_rate(
    index: Float[np.ndarray, " time"],
    *,
    alarms_per_day: float,
    bars_per_day: int,
    refractory_bars: int,
    calm: Bool[np.ndarray, " time"] | None = None,
) -> float:
    """Find the lowest threshold whose false alarms on the training part stay within a rate.

    Args:
        index: Index over the training part.
        alarms_per_day: False alarms a day that are accepted.
        bars_per_day: Bars in a day.
        refractory_bars: As in `alerts`.
        calm: Bars at which an alert is false: outside the windows of known onsets. All bars by default.

    Returns:
        The threshold, a value of the index or just above the greatest.

    Raises:
        ModelError: The index has no finite value, or the rate is negative.
    """
    finite = np.isfinite(index)
    if not finite.any() or alarms_per_day < 0:
        raise ModelError(
            f"expected a training part with an index and a rate of 0 or more, got {int(finite.sum())} values and "
            f"{alarms_per_day}"
        )
    quiet = finite if calm is None else finite & calm
    allowed = alarms_per_day * quiet.sum() / bars_per_day
    candidates = np.unique(index[finite])

    def is_within(threshold: float) -> bool:
        return bool(quiet[alerts(index, threshold, refractory_bars=refractory_bars)].sum() <= allowed)

    # Not monotone bar by bar, because of the refractory period: walk down from the top and stop at the first excess.
    lowest = float(np.nextafter(candidates[-1], np.inf))
    for candidate in np.quantile(candidates, np.linspace(1.0, 0.5, 501), method="higher"):
        if not is_within(float(candidate)):
            break
        lowest = float(candidate)
    return lowest


def score(
    alerts_ns: Int[np.ndarray, " alert"],
    onsets_ns: Int[np.ndarray, " onset"],
    *,
    horizon_ns: int,
    span_ns: tuple[int, int],
    grace_ns: int = 0,
    ends_ns: Int[np.ndarray, " onset"] | None = None,
) -> AlertScore:
    """Score alerts against known onsets.

    Args:
        alerts_ns: Times of alerts, ascending, ns.
        onsets_ns: Times of onsets, ascending, ns.
        horizon_ns: How early an alert may be, ns.
        span_ns: First and last time that was watched; alerts and onsets outside are left out.
        grace_ns: How late an alert may be and still count as a (late) hit, ns.
        ends_ns: End of each episode, in the order of `onsets_ns`; by default an episode ends with its grace.

    Returns:
        The score. An alert in the windows of two onsets counts for both.

    Raises:
        ModelError: The span is empty or a length is negative.
    """
    start, end = span_ns
    if end <= start or horizon_ns < 0 or grace_ns < 0:
        raise ModelError(f"expected a span and lengths of 0 or more, got {span_ns}, {horizon_ns} and {grace_ns} ns")
    fired = alerts_ns[(alerts_ns >= start) & (alerts_ns <= end)]
    watched = (onsets_ns >= start) & (onsets_ns <= end)
    onsets = onsets_ns[watched]
    ends = onsets + grace_ns if ends_ns is None else np.maximum(ends_ns[watched], onsets + grace_ns)
    since = fired[None] >= onsets[:, None] - horizon_ns
    inside = since & (fired[None] <= onsets[:, None] + grace_ns)
    hit = inside.any(axis=1)
    first = fired[inside.argmax(axis=1)[hit]] if fired.size else fired
    false_alarms = int((~(since & (fired[None] <= ends[:, None])).any(axis=0)).sum())
    calm_ns = max(end - start - covered_ns(onsets - horizon_ns, ends, span_ns), 1)
    rate = fired.size / (end - start)
    return AlertScore(
        hits=int(hit.sum()),
        misses=int((~hit).sum()),
        lead_minutes=tuple(((onsets[hit] - first) / MINUTE_NS).tolist()),
        false_alarms=false_alarms,
        false_alarms_per_day=false_alarms * DAY_NS / calm_ns,
        chance_hit_rate=float(-np.expm1(-rate * (horizon_ns + grace_ns))),
    )


def covered_ns(
    starts_ns: Int[np.ndarray, " window"], ends_ns: Int[np.ndarray, " window"], span_ns: tuple[int, int]
) -> int:
    """Return how much of a span lies in some window [start, end], overlaps counted once, ns."""
    covered, reached = 0, span_ns[0]
    for start, end in sorted(zip(starts_ns.tolist(), ends_ns.tolist(), strict=True)):
        low, high = max(start, reached), min(end, span_ns[1])
        covered += max(high - low, 0)
        reached = max(reached, high)
    return covered
