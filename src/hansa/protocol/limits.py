"""What one node lets a manifest ask for: the constitution's limits as the protocol needs them.

`check_manifest` is the member's gate: it compares every field of a manifest with these limits and with the epoch
that the member itself computed. Nothing derived from data is touched before it has passed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from hansa.errors import RefusedError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hansa.protocol.messages import Manifest

DAY_NS: Final = 86_400_000_000_000
MAX_COUNTER: Final = 10**13  # a round is named by its minute, YYYYMMDDhhmm
MAX_TIME_NS: Final = 2**62
MAX_LENGTH: Final = 2**25
MAX_REOPENINGS: Final = 10


@dataclass(frozen=True, slots=True)
class PurposeLimit:
    """Encoding and noise of one purpose; all but `values*` in units of the statistic.

    `sensitivity` is the L2 change that one privacy unit can make; `noise_multiplier` is sigma / sensitivity.
    """

    values: int
    values_per_bar: int
    exchanges: int
    value_bound: float
    scale: int
    sensitivity: float
    noise_multiplier: float
    period: str
    epsilon: float
    delta: float


@dataclass(frozen=True, slots=True)
class Limits:
    """The numbers of the constitution that a session depends on; `keys` are identity keys by name.

    `cosignatures` is how many members must have cosigned a checkpoint of the log that holds a manifest, before a member
    helps to open its sum; 0 where nothing is asked of the log.
    """

    federation: str
    constitution: str
    coordinator: str
    keys: Mapping[str, str]
    members: tuple[str, ...]
    colluders: int
    quorum: int
    minimum_cohort: int
    attempts: int
    reopenings: int
    bar_ns: int
    purposes: Mapping[str, PurposeLimit]
    setup_ns: int
    upload_ns: int
    agree_ns: int
    open_ns: int
    cosignatures: int = 0

    @property
    def threshold(self) -> int:
        """Decryptors that open a sum: more than the colluders, and a quorum, so that two sets share an honest one."""
        return max(self.colluders + 1, self.quorum)


def periods(manifest: Manifest, purpose: PurposeLimit, bar_ns: int) -> dict[str, int]:
    """Return how many releases each budget period pays for in this session.

    A purpose about bars pays one release a bar to the UTC day in which the bar lies; any other pays one release to
    the calendar year in which the span ends.
    """
    if purpose.period == "year":
        return {_utc(manifest.span_end_ns - bar_ns).strftime("%Y"): 1}
    paid: dict[str, int] = {}
    start = manifest.span_start_ns - bar_ns
    end = manifest.span_end_ns
    while start < end:
        midnight = (start // DAY_NS + 1) * DAY_NS
        bars = (min(midnight, end) - start) // bar_ns if purpose.values_per_bar else 1
        paid[_utc(start).strftime("%Y-%m-%d")] = bars
        start = midnight
    return paid


def _utc(time_ns: int) -> datetime:
    return datetime.fromtimestamp(time_ns // 1_000_000_000, tz=UTC)


def bars_in_span(manifest: Manifest, bar_ns: int) -> int:
    """Return how many bars end in the manifest's span, both ends included."""
    return (manifest.span_end_ns - manifest.span_start_ns) // bar_ns + 1


def check_manifest(
    manifest: Manifest, limits: Limits, *, epoch_id: bytes, epoch_members: tuple[str, ...]
) -> PurposeLimit:
    """Return the purpose's limits if the manifest asks for nothing beyond them.

    Raises:
        RefusedError: Names the clause, what it allows and what the manifest says.
    """
    purpose = limits.purposes.get(manifest.purpose)
    if purpose is None:
        raise RefusedError(f"manifest {manifest.session}: purpose {manifest.purpose!r} is not in the constitution")
    length = purpose.values + purpose.values_per_bar * bars_in_span(manifest, limits.bar_ns)
    if purpose.values_per_bar == 0:
        length = purpose.values
    clauses = {
        "federation": (limits.federation, manifest.federation),
        "constitution": (limits.constitution, manifest.constitution),
        "epoch id": (epoch_id.hex(), manifest.epoch_id.hex()),
        "participants": (epoch_members, manifest.participants),
        "length": (length, manifest.length),
    }
    for clause, (expected, got) in clauses.items():
        if expected != got:
            raise RefusedError(f"manifest {manifest.session}: {clause}: expected {expected}, got {got}")
    ranges = {
        f"attempt 1 to {limits.attempts}": 1 <= manifest.attempt <= limits.attempts,
        "round, position, index from 0 to 10^13": min(manifest.round, manifest.position, manifest.index) >= 0
        and max(manifest.round, manifest.position, manifest.index) < MAX_COUNTER,
        f"a length of at most {MAX_LENGTH}": manifest.length <= MAX_LENGTH,
        "span in order, before 2116, on the bar grid": 0 < manifest.span_start_ns <= manifest.span_end_ns < MAX_TIME_NS
        and manifest.span_start_ns % limits.bar_ns == manifest.span_end_ns % limits.bar_ns == 0,
        f"participants at least {limits.minimum_cohort}": len(manifest.participants) >= limits.minimum_cohort,
    }
    for clause, holds in ranges.items():
        if not holds:
            raise RefusedError(
                f"manifest {manifest.session}: expected {clause}; got {manifest.attempt=}, "
                f"{manifest.span_start_ns=}, {manifest.span_end_ns=}"
            )
    return purpose
