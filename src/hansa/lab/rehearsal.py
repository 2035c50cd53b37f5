"""A federation in one process and without messages: the same statistics, limits, rounding and noise, added in memory.

For sweeps and repeated seeds, where processes and encryption change nothing in the numbers: pairwise masks cancel
exactly, so a sum here has the distribution of a sum opened by the alliance. It says nothing about the protocol.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hansa.crypto.sampling import GaussianTable, sample
from hansa.federation.liquidity import LiquidityWork
from hansa.federation.records import Records
from hansa.federation.rules import limits_of
from hansa.federation.schedule import replay_programme
from hansa.protocol.encoding import quantise, share_sigma
from hansa.protocol.messages import Manifest
from hansa.protocol.session import Aggregate

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from hansa.federation.running_sum import Request
    from hansa.federation.views import Views
    from hansa.governance.constitution import Constitution
    from hansa.protocol.limits import Limits


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What came out: each member's work with everything it has learned and forecast."""

    constitution: Constitution
    works: Mapping[str, LiquidityWork]


def rehearse(
    constitution: Constitution,
    views: Mapping[str, Views],
    *,
    as_of_ns: int,
    until_ns: int,
    seed: int,
    forecasts: Path | None = None,
    limits: Limits | None = None,
    is_settled: bool = True,
) -> Rehearsal:
    """Run one round as of a time and the state channel after it.

    Args:
        constitution: The constitution.
        views: Each member's own view.
        as_of_ns: Newest time of the training span, ns UTC.
        until_ns: Newest time of the state channel, ns UTC.
        seed: Of the noise.
        forecasts: Folder for `<member>.npz`, or None to keep nothing on disk.
        limits: Limits in place of the constitution's: what no federation may run with, such as no noise.
        is_settled: Whether each member then publishes the index and forecasts; without, nothing is fitted yet.
    """
    limits = limits_of(constitution) if limits is None else limits
    works = {
        name: LiquidityWork(
            constitution,
            limits,
            load=_given(own),
            forecasts=None if forecasts is None else forecasts / f"{name}.npz",
            records=Records(":memory:"),
            volume_key=volume_key(seed, name),
        )
        for name, own in views.items()
    }
    rng = np.random.default_rng(seed)
    for request in replay_programme(constitution, as_of_ns, until_ns):
        manifest = _manifest(request, constitution, limits)
        total = np.zeros(manifest.length, dtype=np.int64)
        purpose = limits.purposes[manifest.purpose]
        table = GaussianTable.build(share_sigma(purpose, limits, length=manifest.length))
        for work in works.values():
            contribution = work.contribution(manifest)
            total += quantise(contribution.vector, purpose) + sample(table, manifest.length, rng.bytes(32))
        aggregate = Aggregate(manifest, tuple(works), total)
        for work in works.values():
            work.receive(aggregate)
    for work in works.values() if is_settled else ():
        work.settle()
    return Rehearsal(constitution, works)


def volume_key(seed: int, name: str) -> bytes:
    """Return the key of a rehearsed member's volume noise: no secret, for a rehearsal has none."""
    return hashlib.sha256(f"{seed}|{name}".encode()).digest()


def _given(views: Views) -> Callable[[], Views]:
    return lambda: views


def _manifest(request: Request, constitution: Constitution, limits: Limits) -> Manifest:
    purpose = limits.purposes[request.purpose]
    bars = (request.span_end_ns - request.span_start_ns) // limits.bar_ns + 1
    return Manifest(
        federation=constitution.federation,
        constitution=limits.constitution,
        epoch="rehearsal",
        epoch_id=bytes(32),
        session=f"r{request.round}-{request.position}-{request.purpose}-a1",
        round=request.round,
        position=request.position,
        index=request.index,
        attempt=1,
        purpose=request.purpose,
        length=purpose.values + purpose.values_per_bar * bars,
        span_start_ns=request.span_start_ns,
        span_end_ns=request.span_end_ns,
        participants=limits.members,
    )
