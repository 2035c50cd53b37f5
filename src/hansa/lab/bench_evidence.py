"""What the processes of a bench left behind: instants, bytes, memory, and the proof that every sum is exact.

The one who started the bench holds all folders: it reads each node's published records, and the members' own stores for
what left them and for the noise keys, from which vectors and noise shares are added up again.

Guarantees: `verify` fails on a published sum that differs in one word from the recomputed one, and on noise beyond 7
standard deviations. Does NOT show anything about nodes on other machines: it needs everybody's files.
"""

from __future__ import annotations

import hashlib
import math
import os
import statistics
import time
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from hansa.crypto.sampling import GaussianTable, sample
from hansa.errors import ProtocolError, StoreError
from hansa.federation.node import load_node
from hansa.federation.rules import limits_of
from hansa.federation.store import MemberStore
from hansa.lab.alliance import COORDINATOR
from hansa.lab.bench_nodes import OVER_FACT, PEAK_FACT, PURPOSE, member_vector
from hansa.protocol.encoding import noise_seed, share_sigma
from hansa.protocol.session import facts_label

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from jaxtyping import Int64

    from hansa.federation.records import Records
    from hansa.lab.alliance import Alliance
    from hansa.protocol.limits import Limits

STEPS: Final = ("announce", "upload", "agree", "open", "publish")
MAX_SIGMAS: Final = 7.0  # of a million values one lies beyond in 400,000 runs


def has_ended(alliance: Alliance) -> bool:
    """Return whether the coordinator has published its last sum; False before it has noted anything."""
    try:
        records = alliance.records(COORDINATOR)
    except StoreError:
        return False
    try:
        return records.get(OVER_FACT) is True
    except StoreError:  # its tables are being made
        return False
    finally:
        records.close()


def have_seen(alliance: Alliance, place: int) -> bool:
    """Return whether every member has noted the result of a sum; sums before it are read before it."""
    for name in alliance.members:
        records = alliance.records(name)
        has_seen = records.get(f"opened-{place}") is not None
        records.close()
        if not has_seen:
            return False
    return True


def instants(alliance: Alliance, sums: int) -> list[Int64[np.ndarray, " instant"]]:
    """Return the six instants between which the steps of each sum lie, ns UTC.

    Raises:
        ProtocolError: A node has not noted one of them.
    """
    asked, seen = np.zeros(sums, dtype=np.int64), np.zeros(sums, dtype=np.int64)
    for name in alliance.members:
        records = alliance.records(name)
        for place in range(sums):
            asked[place] = max(asked[place], _instant(records, f"asked-{place}"))
            seen[place] = max(seen[place], _opened(records, place)["seen_ns"])
        records.close()
    records = alliance.records(COORDINATOR)
    rows = records.rows("SELECT round, cohort_ns, call_ns, closed_ns FROM session ORDER BY round")
    turned = [_instant(records, f"turned-{place}") for place in range(sums)]
    records.close()
    return [
        np.array([turned[place], asked[place], *list(row.values())[1:], seen[place]], dtype=np.int64)
        for place, row in enumerate(rows)
    ]


def egress_bytes(alliance: Alliance, *, length: int, sums: int) -> dict[str, object]:
    """Return what left the members, by their own egress records."""
    uploads, total = [], 0
    for name in alliance.members:
        store = MemberStore(alliance.directory / name / "node" / "facts.sqlite")
        rows = [row for row in store.egress() if "/r" in row.session]
        store.close()
        uploads += [row.size for row in rows if row.step == "upload"]
        total += sum(row.size for row in rows)
    return {
        "upload_bytes_per_value": round(statistics.mean(uploads) / length, 4),
        "bytes_per_member": round(total / (len(alliance.members) * sums)),
    }


def member_seconds(alliance: Alliance, *, first: int) -> float:
    """Return the median seconds of a core at the door, from statistic to signed upload, of all sums from `first` on.

    Raises:
        ProtocolError: A member has not noted it.
    """
    seconds: list[float] = []
    for name in alliance.members:
        records = alliance.records(name)
        for row in records.rows("SELECT session FROM session WHERE round >= ?", first):
            spent = records.get(f"door/{row['session']}")
            if not isinstance(spent, float):
                raise ProtocolError(f"bench: {name} has not noted its time at the door for {row['session']}")
            seconds.append(spent)
        records.close()
    return statistics.median(seconds)


def peak_mib(alliance: Alliance, name: str, fact: str = PEAK_FACT) -> float:
    """Return the largest resident memory that a node's process has noted, MiB: its own, or by `fact` its server's.

    Raises:
        ProtocolError: It has noted none.
    """
    records = alliance.records(name)
    peak = records.get(fact)
    records.close()
    if not isinstance(peak, int):
        raise ProtocolError(f"bench: {name} has not noted its memory")
    return peak / 2**20


def disk_mib(alliance: Alliance) -> dict[str, object]:
    """Return what the run left on disk, MiB allocated: the server's streams, and the largest member's folder."""
    members = [_allocated_mib(alliance.directory / name / "node") for name in alliance.members]
    server = _allocated_mib(alliance.directory / COORDINATOR / "node" / "server")
    return {"server_disk_mib": round(server, 2), "member_disk_mib": round(max(members), 2)}


def _allocated_mib(directory: Path) -> float:
    return sum(path.stat().st_blocks * 512 for path in directory.rglob("*") if path.is_file()) / 2**20


def disk_sync_seconds(directory: Path) -> float:
    """Return how long a write of 4 KiB takes to reach the disk under `directory`: a sum waits for about ten of them."""
    seconds = []
    with (directory / "sync").open("wb", buffering=0) as file:
        for _ in range(15):
            begin = time.perf_counter()
            file.write(bytes(4096))
            os.fsync(file.fileno())
            seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds)


def verify(alliance: Alliance, place: int) -> float:
    """Recompute a sum from the members' vectors and noise; return its largest noise, in standard deviations.

    Raises:
        ProtocolError: What a member saw is another sum, or the noise is not of the size that was agreed.
    """
    node = load_node(alliance.directory / COORDINATOR)
    limits = limits_of(node.constitution)
    seen = {}
    for name in alliance.members:
        records = alliance.records(name)
        opened = _opened(records, place)
        records.close()
        seen[(opened["digest"], tuple(opened["cohort"]), opened["sha256"])] = name
    if len(seen) != 1:
        raise ProtocolError(f"bench: sum {place}: members saw different results: {sorted(seen.values())}")
    (digest, cohort, sha256), *_ = seen
    values, noise = _ingredients(alliance, limits, digest=bytes.fromhex(digest), cohort=cohort, epoch=node.epoch)
    if hashlib.sha256((values + noise).tobytes()).hexdigest() != sha256:
        raise ProtocolError(f"bench: sum {place}: the published words are not the sum of vectors and noise")
    sigma = share_sigma(limits.purposes[PURPOSE], limits, length=values.size) * math.sqrt(len(cohort))
    largest = float(np.abs(noise).max()) / sigma
    if not largest < MAX_SIGMAS:
        raise ProtocolError(f"bench: sum {place}: noise of {largest:.1f} standard deviations")
    return largest


def _ingredients(
    alliance: Alliance, limits: Limits, *, digest: bytes, cohort: Sequence[str], epoch: str
) -> tuple[Int64[np.ndarray, " value"], Int64[np.ndarray, " value"]]:
    """Return the sums of the cohort's rounded vectors and of its noise shares, in steps."""
    purpose = limits.purposes[PURPOSE]
    length = purpose.values
    table = GaussianTable.build(share_sigma(purpose, limits, length=length))
    values, noise = np.zeros(length, dtype=np.int64), np.zeros(length, dtype=np.int64)
    for name in cohort:
        store = MemberStore(alliance.directory / name / "node" / "facts.sqlite")
        key = store.fact(facts_label(epoch, "noise"))
        store.close()
        if key is None:
            raise ProtocolError(f"bench: {name} has no noise key")
        vector = member_vector(alliance.directory / name, name, digest, length)
        steps = np.rint(vector * purpose.scale).astype(np.int64)
        values += steps
        noise += sample(table, length, noise_seed(key, digest, steps))
    return values, noise


def _opened(records: Records, place: int) -> dict[str, Any]:
    """Return what a member noted of a sum that it saw opened.

    Raises:
        ProtocolError: It saw none.
    """
    opened = records.get(f"opened-{place}")
    if not isinstance(opened, dict):
        raise ProtocolError(f"bench: sum {place}: a member has not seen its result")
    return opened


def _instant(records: Records, name: str) -> int:
    found_ns = records.get(name)
    if not isinstance(found_ns, int):
        raise ProtocolError(f"bench: a node has not noted the instant {name}")
    return found_ns
