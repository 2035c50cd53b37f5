"""A federation in one process and without messages: the same statistics, limits, rounding and noise, added in memory.

For sweeps and repeated seeds, where processes and encryption change nothing in the numbers: pairwise masks cancel
exactly, so a sum here has the distribution of a sum opened by the alliance. It says nothing about the protocol.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from hansa.crypto.sampling import GaussianTable, sample
from hansa.federation.door import require_bounded
from hansa.federation.liquidity import LiquidityWork
from hansa.federation.records import Records
from hansa.federation.rules import limits_of
from hansa.federation.schedule import replay_programme
from hansa.protocol.encoding import quantise, share_sigma
from hansa.protocol.messages import Manifest
from hansa.protocol.session import Aggregate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from hansa.federation.published import Published
    from hansa.federation.running_sum import Request
    from hansa.federation.views import Views
    from hansa.governance.constitution import Constitution
    from hansa.protocol.limits import Limits


CHANNEL: Final = frozenset({"census", "state"})


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """Each member's work with all it has learned and forecast; `limits` are those in place of the constitution's."""

    constitution: Constitution
    works: Mapping[str, LiquidityWork]
    limits: Limits | None = None


def rehearse(
    constitution: Constitution,
    views: Mapping[str, Views],
    *,
    as_of_ns: int,
    until_ns: int,
    seed: int,
    forecasts: Path | None = None,
    limits: Limits | None = None,
    models: Path | None = None,
    is_settled: bool = True,
    is_published: bool = True,
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
        models: Folder for `<member>/model` and `<member>/model-shared`, likewise.
        is_settled: Whether each member then publishes the index and forecasts; without, nothing is fitted yet.
        is_published: Whether index and forecasts are then published; without, models are fitted only.
    """
    rehearsal = Rehearsal(
        constitution, _works(constitution, views, limits, seed=seed, forecasts=forecasts, models=models), limits
    )
    open_sums(rehearsal, replay_programme(constitution, as_of_ns, until_ns), np.random.default_rng(seed))
    for work in rehearsal.works.values() if is_settled else ():
        work.settle(is_published=is_published)
    return rehearsal


def rehearse_state(
    constitution: Constitution, views: Mapping[str, Views], *, as_of_ns: int, until_ns: int, seed: int
) -> Published:
    """Run the census and the state channel alone, with their noise, and return what they publish.

    Args:
        constitution: The constitution.
        views: Each member's own view.
        as_of_ns: Newest time of the span that the census covers, ns UTC.
        until_ns: Newest time of the state channel, ns UTC.
        seed: Of the noise.
    """
    rehearsal = Rehearsal(constitution, _works(constitution, views, None, seed=seed))
    programme = [one for one in replay_programme(constitution, as_of_ns, until_ns) if one.purpose in CHANNEL]
    open_sums(rehearsal, programme, np.random.default_rng(seed))
    return next(iter(rehearsal.works.values())).published


def _works(
    constitution: Constitution,
    views: Mapping[str, Views],
    limits: Limits | None,
    *,
    seed: int,
    forecasts: Path | None = None,
    models: Path | None = None,
) -> dict[str, LiquidityWork]:
    return {
        name: LiquidityWork(
            constitution,
            limits or limits_of(constitution),
            load=_given(own),
            forecasts=None if forecasts is None else forecasts / f"{name}.npz",
            models=None if models is None else models / name,
            records=Records(":memory:"),
            volume_key=volume_key(seed, name),
        )
        for name, own in views.items()
    }


def open_sums(rehearsal: Rehearsal, programme: Iterable[Request], rng: np.random.Generator) -> None:
    """Sum what a programme asks for over all members, noised and rounded as by the door, and let them take it in.

    Args:
        rehearsal: The members.
        programme: Sums, in order.
        rng: Draws the noise.

    Raises:
        RefusedError: A statistic lets one unit move it further than its purpose allows.
    """
    limits = rehearsal.limits or limits_of(rehearsal.constitution)
    for request in programme:
        manifest = _manifest(request, rehearsal.constitution, limits)
        total = np.zeros(manifest.length, dtype=np.int64)
        purpose = limits.purposes[manifest.purpose]
        table = GaussianTable.build(share_sigma(purpose, limits, length=manifest.length))
        for work in rehearsal.works.values():
            contribution = work.contribution(manifest)
            require_bounded(contribution, manifest, purpose)
            total += quantise(contribution.vector, purpose) + sample(table, manifest.length, rng.bytes(32))
        aggregate = Aggregate(manifest, tuple(rehearsal.works), total)
        for work in rehearsal.works.values():
            work.receive(aggregate)


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
