"""The nodes of the bench: a coordinator that pauses between sums, and members whose vectors follow from their names.

Everything but the statistic and the planner is what `hansa coordinator run` and `hansa member run` start.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from hansa.federation.coordinator_service import run_coordinator
from hansa.federation.door import Contribution
from hansa.federation.records import Records
from hansa.federation.running_sum import Request
from hansa.federation.taking_part import take_part

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float

    from hansa.federation.coordinator import CoordinatorNode
    from hansa.federation.node import Node
    from hansa.protocol.messages import Manifest
    from hansa.protocol.session import Aggregate

PURPOSE: Final = "bench"
BAR_SECONDS: Final = 300
VALUE_BOUND: Final = 32.0
VECTOR_FILE: Final = "vector.npy"
PATIENCE_SECONDS: Final = 600.0  # fifty interpreters that start on two busy cores, the server behind them
PEAK_FACT: Final = "peak_rss_bytes"
OVER_FACT: Final = "over"
SERVER_PEAK_FACT: Final = "server_peak_rss_bytes"
_SPAN_NS: Final = 1_700_000_100_000_000_000
_QUIET_NS: Final = 300_000_000  # between two sums


@dataclass(slots=True)
class KnownVectors:
    """The statistic of a member of the bench; it notes when it was asked and when it saw the result, ns UTC."""

    name: str
    records: Records
    directory: Path

    def contribution(self, manifest: Manifest) -> Contribution:
        """Return this member's vector for this manifest."""
        self.records.put(f"asked-{manifest.round}", time.time_ns())
        vector = member_vector(self.directory, self.name, manifest.digest(), manifest.length)
        return Contribution(manifest.purpose, vector, 1.0)

    def receive(self, aggregate: Aggregate) -> None:
        """Note the time, and what was opened."""
        seen_ns = time.time_ns()
        manifest = aggregate.manifest
        opened = {
            "seen_ns": seen_ns,
            "digest": manifest.digest().hex(),
            "cohort": list(aggregate.cohort),
            "sha256": hashlib.sha256(aggregate.steps.tobytes()).hexdigest(),
        }
        self.records.put(f"opened-{manifest.round}", opened)
        self.records.put(PEAK_FACT, peak_rss_bytes())

    def settle(self) -> None:
        """Nothing waits."""


@dataclass(slots=True)
class QuietPlanner:
    """Asks for one sum after another, each after a while of silence, and notes when the coordinator turns to it.

    Args:
        records: The coordinator's published records.
        sums: How many.
        in_flight: With more than one, so many are under way at a time, without silence between them.
        last_seen: A file that somebody makes when all members have the last result; the server stays until then.
    """

    records: Records
    sums: int
    in_flight: int = 1
    last_seen: Path | None = None
    _planned: int = 0
    _idle_since_ns: int | None = None

    def __call__(self, node: CoordinatorNode, now_ns: int) -> Sequence[Request] | None:
        """Return the next sum, nothing yet, or None at the end."""
        if self.in_flight > 1:
            if self._planned == self.sums:
                return self._end(node)
            return self._next() if self._planned - len(node.done) < self.in_flight else ()
        if not node.is_done:
            return ()
        if self._idle_since_ns is None:
            self._idle_since_ns = now_ns
        if now_ns - self._idle_since_ns < _QUIET_NS:
            return ()
        return self._end(node) if self._planned == self.sums else self._next()

    def _end(self, node: CoordinatorNode) -> Sequence[Request] | None:
        if self.last_seen is None or not node.is_done or node.is_failed or self.last_seen.exists():
            return None
        self.records.put(OVER_FACT, True)  # noqa: FBT003 - the published value
        return ()

    def _next(self) -> Sequence[Request]:
        request = Request(self._planned, 0, PURPOSE, self._planned, _SPAN_NS, _SPAN_NS)
        self.records.put(f"turned-{self._planned}", time.time_ns())
        self._planned, self._idle_since_ns = self._planned + 1, None
        return (request,)


def member_vector(directory: Path, name: str, digest: bytes, length: int) -> Float[np.ndarray, " value"]:
    """Return the vector of the member with this folder: its file's in every sum if it has one, else the known one."""
    path = directory / VECTOR_FILE
    if path.is_file():
        return np.asarray(np.load(path, allow_pickle=False), dtype=np.float64)
    return known_vector(name, digest, length)


def known_vector(name: str, digest: bytes, length: int) -> Float[np.ndarray, " value"]:
    """Return the vector of member `name` for the manifest with this digest: uniform in +-32."""
    seed = int.from_bytes(hashlib.sha256(name.encode() + b"|" + digest).digest(), "big")
    return np.random.default_rng(seed).uniform(-VALUE_BOUND, VALUE_BOUND, length)


def peak_rss_bytes(process: int | None = None) -> int:
    """Return the largest resident memory of a process so far, None for this one.

    Linux: `VmHWM`, which a parent's memory is not in.
    """
    status = Path(f"/proc/{process or 'self'}/status").read_text(encoding="ascii")
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


async def run_bench_coordinator(node: Node, *, sums: int, in_flight: int = 1, last_seen: Path | None = None) -> bool:
    """Ask for `sums` sums, `in_flight` at a time; return whether every one was published.

    With `last_seen` the coordinator, and its server, stay until there is such a file: members may read slowly.

    Raises:
        TransportError: The server cannot be reached or refuses for good.
    """
    records = Records(node.records_path)
    try:
        return await run_coordinator(node, programme=(), planner=QuietPlanner(records, sums, in_flight, last_seen))
    finally:
        records.put(PEAK_FACT, peak_rss_bytes())
        records.close()


def note_server(node: Node, process: int) -> None:
    """Note the largest resident memory of the embedded server, which still runs, in the coordinator's records."""
    records = Records(node.records_path)
    records.put(SERVER_PEAK_FACT, peak_rss_bytes(process))
    records.close()


async def run_bench_member(node: Node) -> None:
    """Take part with the member's vector until cancelled.

    Raises:
        StoreError: Durable facts cannot be written.
        TransportError: The server cannot be reached or refuses for good.
    """
    records = Records(node.records_path)
    await take_part(
        node, KnownVectors(node.kit.name, records, node.directory), records=records, patience_seconds=PATIENCE_SECONDS
    )
