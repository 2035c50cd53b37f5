"""The constitution as the protocol's limits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hansa.protocol.limits import Limits, PurposeLimit

if TYPE_CHECKING:
    from hansa.governance.constitution import Constitution, Purpose

NS: Final = 1_000_000_000


def limits_of(constitution: Constitution) -> Limits:
    """Return the limits that a checked constitution sets."""
    parties = (*constitution.members, constitution.coordinator)
    deadlines = constitution.deadlines
    return Limits(
        federation=constitution.federation,
        constitution=constitution.digest(),
        coordinator=constitution.coordinator.name,
        keys={party.name: party.identity_key for party in parties},
        members=tuple(party.name for party in constitution.members),
        colluders=constitution.colluders,
        quorum=constitution.quorum,
        minimum_cohort=constitution.minimum_cohort,
        attempts=constitution.attempts,
        reopenings=constitution.reopenings,
        bar_ns=constitution.market.bar_seconds * NS,
        purposes={name: _limit(purpose) for name, purpose in constitution.purposes.items()},
        setup_ns=int(deadlines.setup_seconds * NS),
        upload_ns=int(deadlines.upload_seconds * NS),
        agree_ns=int(deadlines.agree_seconds * NS),
        open_ns=int(deadlines.open_seconds * NS),
        cosignatures=constitution.cosignatures or 0,
    )


def _limit(purpose: Purpose) -> PurposeLimit:
    return PurposeLimit(
        values=purpose.values,
        values_per_bar=purpose.values_per_bar,
        exchanges=purpose.exchanges,
        value_bound=purpose.value_bound,
        scale=purpose.scale,
        sensitivity=purpose.sensitivity,
        noise_multiplier=purpose.noise_multiplier,
        period=purpose.period,
        epsilon=purpose.epsilon,
        delta=purpose.delta,
    )
