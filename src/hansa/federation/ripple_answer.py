"""A member's part in a ripple query: its bounded answer before the door, and what the opened sum means afterwards.

| purpose | vector of a member, before noise | what becomes of the sum |
|---|---|---|
| ripple | for every basket `COEFFICIENTS` numbers of `model.ripple_curve`, zero where not asked | mean difference |

The unit is one day of a member's raw data, the L2 influence the purpose's sensitivity: a span of `parts` stretches has
each stretch's part clipped to `sensitivity * parts / 2`. Stretches follow from the manifest's span alone. A member that
does not see a target adds zeros (and noise) for it: the mean leans towards the published response then.

Bars at which the published state moved by no more than its own noise count as closed (week-ends, carried values) and
are left out, for the state says so to everybody; if that were most of the bars, none is left out.

Does NOT guarantee: anything about a member that lies about its own costs within the bound.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

from hansa.errors import RefusedError
from hansa.federation.door import Contribution
from hansa.federation.ripple_query import PURPOSE, RippleQuery
from hansa.market.calendar import slot_of_day
from hansa.market.features import carry_forward
from hansa.model.ripple import connectedness, half_life, peak_lag, surprises
from hansa.model.ripple_bands import banded_response, put_on
from hansa.model.ripple_curve import COEFFICIENTS, believed, curves_of, lag_deviation, part_differences, parts_of
from hansa.model.ripple_noise import choose_latent
from hansa.protocol.encoding import in_units, share_sigma

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

    from hansa.federation.published import Published
    from hansa.federation.views import Views
    from hansa.governance.constitution import Market
    from hansa.protocol.limits import Limits
    from hansa.protocol.messages import Manifest
    from hansa.protocol.session import Aggregate

DAY_SECONDS: Final = 86_400
STILL: Final = 4.0
"""A bar is closed where all measures together moved by no more than noise does, plus so many of its deviations."""
MOST_CLOSED: Final = 0.6


def ripple_length(market: Market) -> int:
    """Return the values of the `ripple` purpose."""
    return COEFFICIENTS * len(market.baskets)


def windows_of(slots_per_day: int) -> tuple[int, ...]:
    """Return the trailing means of the dynamics: a quarter of a day, a day, five days of open bars."""
    return tuple(sorted({max(2, slots_per_day // 4), slots_per_day, 5 * slots_per_day}))


def ripple_contribution(published: Published, views: Views, limits: Limits, manifest: Manifest) -> Contribution:
    """Compute a member's answer to the query of a manifest.

    Raises:
        RefusedError: The index is no query, or state or own data do not reach over the span.
        ModelError: The span is too short.
    """
    query = RippleQuery.of_index(manifest.index, published.baskets)
    sensitivity = limits.purposes[PURPOSE].sensitivity
    parts = _own_parts(published, views, limits, manifest, query)
    vector = np.zeros((len(published.baskets), COEFFICIENTS))
    vector[[published.baskets.index(name) for name in query.targets]] = parts.mean(axis=0)
    return Contribution(PURPOSE, vector.ravel(), sensitivity)


def ripple_answer(published: Published, views: Views, limits: Limits, aggregate: Aggregate) -> dict[str, object]:
    """Return what an opened query says, as a member records it: numbers and names, ready for JSON.

    Raises:
        RefusedError: State or own data do not reach over the span.
        ModelError: The span is too short, or the dynamics are not stable.
    """
    manifest, members = aggregate.manifest, len(aggregate.cohort)
    query = RippleQuery.of_index(manifest.index, published.baskets)
    state, is_open = _state(published, limits, manifest)
    slots_per_day = DAY_SECONDS * 1_000_000_000 // published.bar_ns
    slot = _slots(published, manifest)
    source = published.baskets.index(query.source)
    targets = [published.baskets.index(name) for name in query.targets]
    values, unit = surprises(state[is_open], slot[is_open], slots_per_day)
    door = (_door_deviation(published, limits) / unit) ** 2
    dynamics = choose_latent(values, windows=windows_of(slots_per_day), known_noise=door)
    public = banded_response(dynamics, source, query.size, query.horizon, seed=_seed(manifest))
    deviation = published.deviation(aggregate) / members
    summed = in_units(aggregate.steps, limits.purposes[PURPOSE].scale).reshape(-1, COEFFICIENTS)
    opened = believed(summed[targets] / members, deviation, query.horizon)
    own = _own_parts(published, views, limits, manifest, query)
    band = put_on(
        public, opened, own, deviation=deviation, members=members, size=query.size, targets=targets,
    )  # fmt: skip
    noise = lag_deviation(deviation, query.horizon, query.size)
    shift = curves_of(opened, query.horizon, query.size)
    shares = connectedness(dynamics, query.horizon)
    rows = [
        {
            "target": published.baskets[place],
            "curve": band.curve[:, place].tolist(),
            "low": band.low[:, place].tolist(),
            "high": band.high[:, place].tolist(),
            "published_curve": public.curve[:, place].tolist(),
            "members_add": shift[row].tolist(),
            "peak_bars": peak_lag(band.curve[:, place]),
            "half_life_bars": _finite(half_life(band.curve[:, place])),
            "peak": float(band.curve[peak_lag(band.curve[:, place]), place]),
            "peak_percent": 100 * math.expm1(float(unit[place] * band.curve[peak_lag(band.curve[:, place]), place])),
            "share": float(shares.shares[place, source]),
            "is_moved": public.is_moved[place],
        }
        for row, place in enumerate(targets)
    ]
    return {
        "query": {
            "source": query.source,
            "targets": list(query.targets),
            "shock_sd": query.size,
            "horizon_bars": query.horizon,
            "bar_seconds": published.market.bar_seconds,
            "span_start_ns": manifest.span_start_ns,
            "span_end_ns": manifest.span_end_ns,
        },
        "session": manifest.session,
        "manifest": manifest.digest().hex(),
        "cohort": list(aggregate.cohort),
        "measure": published.market.cost,
        "open_bars": int(is_open.sum()),
        "parts": own.shape[0],
        "noise_sd": noise.tolist(),
        "noise_share_of_state": {
            "known_from_the_door": door.tolist(),
            "taken_off": (np.zeros_like(door) if dynamics.noise is None else dynamics.noise).tolist(),
        },
        "terms": {
            "lags": dynamics.order.lags,
            "windows": list(dynamics.order.windows),
            "bends": [[published.baskets[market], bend] for market, bend in dynamics.order.bends],
        },
        "responses": rows,
        "connectedness": {
            "baskets": list(published.baskets),
            "shares": shares.shares.tolist(),
            "weights": shares.weights.tolist(),
            "total": shares.total,
        },
    }


def _own_parts(
    published: Published, views: Views, limits: Limits, manifest: Manifest, query: RippleQuery
) -> Float[np.ndarray, "part target coefficient"]:
    rows = views.rows(manifest.span_start_ns, manifest.span_end_ns)
    state, is_open = _state(published, limits, manifest)
    slots_per_day = DAY_SECONDS * 1_000_000_000 // published.bar_ns
    own = np.full((state.shape[0], len(query.targets)), np.nan)
    for place, name in enumerate(query.targets):
        series = views.series.get(name)
        if series is not None:  # alike, not by volume: volumes of one stretch must not weigh in another
            own[:, place] = np.mean([view.measures[rows, published.cost] for view in series], axis=0)
    parts = parts_of(state.shape[0], slots_per_day)
    return part_differences(
        state,
        own,
        _slots(published, manifest),
        slots_per_day,
        is_open=is_open,
        source=published.baskets.index(query.source),
        targets=[published.baskets.index(name) for name in query.targets],
        size=query.size,
        horizon=query.horizon,
        windows=windows_of(slots_per_day),
        clip=limits.purposes[PURPOSE].sensitivity * parts / 2,
        parts=parts,
    )


def _state(
    published: Published, limits: Limits, manifest: Manifest
) -> tuple[Float[np.ndarray, "time basket"], Bool[np.ndarray, " time"]]:
    """Return the published costs over the span, gaps carried on, and which bars were open."""
    first = (manifest.span_start_ns - published.start_ns) // published.bar_ns
    last = (manifest.span_end_ns - published.start_ns) // published.bar_ns
    if first < 0 or last >= published.state.shape[0] or not np.isfinite(published.state[first]).all():
        raise RefusedError(
            f"{manifest.session}: a ripple query about bars whose state is not published; "
            f"the state reaches from {published.start_ns} to {published.stamps()[-1] if published.state.size else 0}"
        )
    whole = carry_forward(published.state[first : last + 1])
    steps = np.diff(whole, axis=0) / (math.sqrt(2) * _door_deviation(published, limits)[:, None])
    values = whole.shape[1] * whole.shape[2]
    moved = np.ones(whole.shape[0], dtype=np.bool_)
    moved[1:] = (steps**2).sum(axis=(1, 2)) > values + STILL * math.sqrt(2 * values)
    is_open = moved if moved.mean() >= 1 - MOST_CLOSED else np.ones_like(moved)
    return whole[:, :, published.cost], is_open


def _door_deviation(published: Published, limits: Limits) -> Float[np.ndarray, " basket"]:
    """Return the deviation of the noise that the door put on a published measure of each basket."""
    purpose = limits.purposes["state"]
    noise = share_sigma(purpose, limits, length=purpose.values) * math.sqrt(len(limits.members)) / purpose.scale
    return np.asarray(noise / published.weights)


def _slots(published: Published, manifest: Manifest) -> Int[np.ndarray, " time"]:
    bars = (manifest.span_end_ns - manifest.span_start_ns) // published.bar_ns + 1
    return slot_of_day(manifest.span_start_ns + np.arange(bars, dtype=np.int64) * published.bar_ns, published.bar_ns)


def _seed(manifest: Manifest) -> int:
    return int.from_bytes(manifest.digest()[:8], "big")


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
