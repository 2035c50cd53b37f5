"""A response as a bounded statistic: what a member says about its own history when a ripple query asks.

Anybody who has the published state can work out how the *published* cost of a market responds. What only a member knows
is how its own cost responds. So a member's answer is the difference, and the opened mean of the differences is put on
the response of the published cost. A member cuts its history into `parts` stretches of equal length. In each of them

    difference = response of the member's own cost of the target - response of the published cost,

both to a shock of the published cost of the source, both in deviations of the published cost, per unit of the shock,
both fitted on the rows of that stretch alone (the own cost as one more market beside the published ones, with the terms
that the published costs choose). The differences of all targets become a few coefficients each, are scaled down
together to the L2 norm `clip`, and the answer is the mean over the stretches:

    answer = 1/parts sum_b clip( Q' difference_b ),    Q: orthonormal cosines over log(1 + lag), (lag, coefficient)

Formal guarantee. Published costs are public already: what a member adds is bounded. Whatever changes in the own rows of
one stretch moves the answer by at most `2 clip / parts` in L2 norm. The rows of the last day of every stretch are left
out, so that no day of raw data, nor a value carried on from it for a day, lies in two stretches: the bound is that of
one day of a member's raw data. For the whole history as unit (a member's answer to one query) it is `2 clip`, `parts`
times as much: the epsilon of a query is then worth little, and the minimum cohort is what protects.

What the noise means. With multiplier z the sum has noise of deviation z 2 clip / parts sqrt(n / (u - c)) on each
coefficient (u the minimum cohort, c its colluders: each member adds the share of an honest minimum), the mean over n
members that by n; a lag of L + 1 has about sqrt(coefficients / (L + 1)) of it, times the size of the shock. With
z = 4.6 (20 queries a year at epsilon 4.8, delta 1e-6), the constants below, L = 24 and a shock of 3 deviations the
deviation at a lag is about

| members | u - c | noise of the mean, deviations of the market |
|---|---|---|
| 3 | 3 | 0.044 |
| 5 | 3 | 0.034 |
| 10 | 4 | 0.021 |

which `lag_deviation` gives exactly and every answer prints.

Does NOT guarantee: that a member whose own clients feel a shock more than about twice as much is heard in full (its
difference is clipped); that the difference is large at all: where the published state is the mean of the members' own
costs, the mean of straight responses is the published one, and the query adds noise and little else. Every answer shows
the published response beside it.

Source: Nissim, Raskhodnikova and Smith, STOC 2007 (sample and aggregate); James and Stein, Proceedings of the 4th
Berkeley Symposium, 1961 (`believed`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from hansa.errors import ModelError
from hansa.model.ripple import Order, choose_dynamics, fit_dynamics, responses, surprises

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Bool, Float, Int

COEFFICIENTS: Final = 8
"""Numbers that a curve is sent as."""
PARTS: Final = 12
"""Stretches of a history."""
CLIP: Final = 0.1
"""L2 bound of one stretch's difference, deviations per unit of the shock."""
_LEAST_SHRUNK: Final = 3
LEAST_DAYS: Final = 3
"""Days that a stretch must have; its last one is left out."""


def basis(horizon: int, coefficients: int = COEFFICIENTS) -> Float[np.ndarray, "lag coefficient"]:
    """Return orthonormal columns over the lags 0 .. horizon: cosines that are fine at short lags and wide at long ones.

    Args:
        horizon: Bars after the shock, 1 or more.
        coefficients: Columns; with fewer lags than that, the rest are zero.
    """
    place = np.log1p(np.arange(horizon + 1)) / np.log1p(horizon)
    kept = min(coefficients, horizon + 1)
    columns = np.linalg.qr(np.cos(np.pi * place[:, None] * np.arange(kept)))[0]
    return np.pad(columns, ((0, 0), (0, coefficients - kept)))


def answer_sensitivity(clip: float = CLIP, parts: int = PARTS) -> float:
    """Return by how much, in L2 norm, one day of a member's raw data moves its answer."""
    return 2.0 * clip / parts


def parts_of(bars: int, slots_per_day: int) -> int:
    """Return how many stretches a history of so many bars is cut into: `PARTS`, or fewer of `LEAST_DAYS` days.

    Raises:
        ModelError: It is too short for two.
    """
    parts = min(PARTS, bars // (LEAST_DAYS * slots_per_day))
    if parts < 2:
        raise ModelError(
            f"expected a history of at least {2 * LEAST_DAYS} days, got {bars / slots_per_day:.1f}; ask for more"
        )
    return parts


def part_differences(
    state: Float[np.ndarray, "time market"],
    own: Float[np.ndarray, "time target"],
    slot: Int[np.ndarray, " time"],
    slots_per_day: int,
    *,
    is_open: Bool[np.ndarray, " time"],
    source: int,
    targets: Sequence[int],
    size: float,
    horizon: int,
    windows: Sequence[int] = (),
    clip: float = CLIP,
    parts: int = PARTS,
) -> Float[np.ndarray, "part target coefficient"]:
    """Compute the clipped difference of each stretch, per unit of the shock.

    Args:
        state: Published log costs of all markets, finite.
        own: The member's own log costs of the targets; a column of NaN where it does not see one: no difference.
        slot: Slot of the day of each bar.
        slots_per_day: Slots of a day.
        is_open: Bars at which the markets were open, by the published state; the others are left out.
        source: Column of `state` that is shocked.
        targets: Columns of `state` that the columns of `own` are views of.
        size: Of the shock, in deviations of the market's surprise; not 0.
        horizon: Bars after the shock.
        windows: As for `choose_dynamics`.
        clip: L2 bound of one stretch's difference over all targets.
        parts: Stretches.

    Raises:
        ModelError: The history is too short for so many stretches, or a published cost never moves in one of them.

    Guarantees:
        Each stretch's result has L2 norm `clip` or less and depends on no own row outside the stretch. Nothing that is
        drawn depends on the data.
    """
    columns = basis(horizon)
    found = np.zeros((parts, len(targets), COEFFICIENTS))
    for part, rows in enumerate(_stretches(slot.size, slots_per_day, parts)):
        kept = np.arange(rows.start, rows.stop)[is_open[rows]]
        values, deviation = surprises(state[kept], slot[kept], slots_per_day)
        dynamics = choose_dynamics(values, windows=windows)
        public = responses(dynamics, source, size, horizon, rng=np.random.default_rng(0))[0]
        curves = np.zeros((len(targets), horizon + 1))
        for place, target in enumerate(targets):
            curve = _own_response(
                values, own[kept, place], slot[kept], slots_per_day, order=dynamics.order, source=source, size=size,
                horizon=horizon, unit=float(deviation[target]),
            )  # fmt: skip
            curves[place] = 0.0 if curve is None else curve - public[:, target]
        found[part] = clipped(curves @ columns / abs(size), clip)
    return found


def clipped(values: Float[np.ndarray, "target coefficient"], clip: float) -> Float[np.ndarray, "target coefficient"]:
    """Scale values down to the L2 norm `clip`; what is not finite becomes zero."""
    if not np.isfinite(values).all():
        return np.zeros_like(values)
    norm = float(np.linalg.norm(values))
    return values if norm <= clip else np.asarray(values * (clip / norm))


def curves_of(
    answer: Float[np.ndarray, "target coefficient"], horizon: int, size: float
) -> Float[np.ndarray, "target lag"]:
    """Return the curves of an answer, or of a mean of answers, for a shock of `size`."""
    return np.asarray(abs(size) * answer @ basis(horizon).T)


def believed(
    answer: Float[np.ndarray, "target coefficient"], deviation: float, horizon: int
) -> Float[np.ndarray, "target coefficient"]:
    """Shrink an opened answer by what its noise alone explains of its size: the positive-part rule of James and Stein.

    On average over the noise this is nearer to the answer without it, whatever that is, from 3 coefficients on; an
    answer well above its noise is left as it is, one within it is taken for zero.

    Args:
        answer: Opened mean over the members, a row for each target that was asked about.
        deviation: Of the noise on each coefficient.
        horizon: Bars after the shock.
    """
    free = answer.shape[0] * min(COEFFICIENTS, horizon + 1)
    size = float((answer**2).sum())
    if free < _LEAST_SHRUNK or size == 0.0:
        return answer
    return np.asarray(max(0.0, 1.0 - (free - 2) * deviation**2 / size) * answer)


def lag_deviation(deviation: float, horizon: int, size: float) -> Float[np.ndarray, " lag"]:
    """Return the deviation that noise of `deviation` on each coefficient has at each lag, for a shock of `size`."""
    return np.asarray(abs(size) * deviation * np.linalg.norm(basis(horizon), axis=1))


def _own_response(
    values: Float[np.ndarray, "time market"],
    own: Float[np.ndarray, " time"],
    slot: Int[np.ndarray, " time"],
    slots_per_day: int,
    *,
    order: Order,
    source: int,
    size: float,
    horizon: int,
    unit: float,
) -> Float[np.ndarray, " lag"] | None:
    """Return the response of an own cost in units of the published one; None where the member cannot tell."""
    try:
        scaled, deviation = surprises(own[:, None], slot, slots_per_day)
        dynamics = fit_dynamics(np.column_stack([values, scaled]), order)
    except (ModelError, np.linalg.LinAlgError):  # own rows that are absent or never move say nothing, and raise nothing
        return None
    curve = responses(dynamics, source, size, horizon, rng=np.random.default_rng(0))[0, :, -1]
    return np.asarray(curve * float(deviation[0]) / unit)


def _stretches(bars: int, slots_per_day: int, parts: int) -> list[slice]:
    """Cut a history into parts of equal length by the clock alone; the last day of each is left out."""
    length = bars // parts
    if length < LEAST_DAYS * slots_per_day:
        raise ModelError(
            f"expected at least {LEAST_DAYS * slots_per_day * parts} bars for {parts} stretches, got {bars}; "
            "ask for a longer history"
        )
    return [slice(part * length, (part + 1) * length - slots_per_day) for part in range(parts)]
