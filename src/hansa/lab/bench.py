"""A secure sum under the clock: real processes, mutual TLS, durable streams, the real door, every result recomputed.

Each process of the bench is a whole node (`hansa bench coordinator`, `hansa bench member`); only the statistic is
made up: a vector that follows from the member's name and the manifest, or is given in a file, so that the one who
started the bench, and holds all their folders, can add up vectors and noise shares again and compare every word with
what was published.

| step | from | until |
|---|---|---|
| announce | the coordinator turns to the sum | the last member has accepted the manifest |
| upload | then | the cohort stands on the board: every upload was checked and added |
| agree | then | the certificate stands on the board: a quorum has signed |
| open | then | the result stands on the board |
| publish | then | the last member has checked the result; closing the session on disk follows |

All nodes run on one machine, so their clocks and the stream's are one; `seconds` is the sum of the steps.

Guarantees: a result that differs in one word from the recomputed one, or noise beyond 7 sigma, ends the bench with an
error. Does NOT show: see `NOT_SHOWN`.
"""

from __future__ import annotations

import hashlib
import math
import os
import statistics
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from hansa.crypto.prg import derive
from hansa.crypto.sampling import GaussianTable, sample
from hansa.errors import ConfigurationError, ProtocolError
from hansa.federation.node import load_node
from hansa.federation.rules import limits_of
from hansa.federation.store import MemberStore
from hansa.governance.constitution import Constitution, Deadlines, Market, Party, Purpose, Schedule, Sums, check
from hansa.lab.alliance import COORDINATOR, Alliance, found
from hansa.lab.bench_nodes import BAR_SECONDS, PURPOSE, VALUE_BOUND, VECTOR_FILE, member_vector
from hansa.protocol.encoding import share_sigma
from hansa.protocol.privacy import noise_multiplier_for
from hansa.protocol.session import facts_label

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from jaxtyping import Int64

    from hansa.federation.records import Records
    from hansa.protocol.limits import Limits

STEPS: Final = ("announce", "upload", "agree", "open", "publish")
WARM_UPS: Final = 2
TRANSPORT: Final = "NATS JetStream, loopback, mutual TLS 1.3, file streams with sync_interval always"
NOT_SHOWN: Final = (
    "networks: every node is on this machine and shares its cores",
    "drop-outs: every member answers; a missing one costs the upload deadline and a recovery",
    "set-up of the epoch and of processes: both are over before the first measured sum",
    "the ring-LWE layer: sums are masked and noised",
)
_SCALE: Final = 2**16
_EPSILON: Final = 8.0
_DELTA: Final = 1e-6
_MAX_SIGMAS: Final = 7.0  # of a million values one lies beyond in 400,000 runs


@dataclass(frozen=True, slots=True)
class BenchOptions:
    """What is measured.

    Args:
        members: Member processes, 3 or more.
        length: Values in the vector, 1 or more.
        repeats: Measured sums, 1 or more; two more warm up.

    Raises:
        ConfigurationError: A number is too small.
    """

    members: int = 5
    length: int = 100_000
    repeats: int = 5

    def __post_init__(self) -> None:
        for name, least in (("members", 3), ("length", 1), ("repeats", 1)):
            if getattr(self, name) < least:
                raise ConfigurationError(f"bench: expected {name} of at least {least}, got {getattr(self, name)}")

    @property
    def sums(self) -> int:
        """Sums in all."""
        return self.repeats + WARM_UPS


def bench_constitution(keys: Mapping[str, str], coordinator_key: str, *, length: int, sums: int) -> Constitution:
    """Return a constitution with the one purpose `bench`, whose yearly budget pays for `sums` sums.

    Args:
        keys: Identity key by member.
        coordinator_key: Identity key of the coordinator.
        length: Values in a vector.
        sums: Sums that the budget must pay for.

    Raises:
        ConfigurationError: The numbers contradict each other.
    """
    members = len(keys)
    colluders = (members - 1) // 3
    purpose = Purpose(
        values=length,
        values_per_bar=0,
        exchanges=3,
        value_bound=VALUE_BOUND,
        scale=_SCALE,
        sensitivity=1.0,
        noise_multiplier=float(f"{1.02 * noise_multiplier_for(_EPSILON, _DELTA, sums):.6g}"),
        unit="a made-up one",
        period="year",
        epsilon=_EPSILON,
        delta=_DELTA,
    )
    constitution = Constitution(
        version=1,
        epoch=1,
        federation="bench",
        members=tuple(Party(name, keys[name]) for name in sorted(keys)),
        coordinator=Party(COORDINATOR, coordinator_key),
        colluders=colluders,
        minimum_cohort=max(3, colluders + 2, (members + colluders) // 2 + 1),
        attempts=1,
        reopenings=2,
        market=Market(BAR_SECONDS, {"none": ("none",)}, ("none",), "none", 1.0, 1.0, 1.0, 1),
        purposes={PURPOSE: purpose},
        round=(Sums(PURPOSE, 1),),
        schedule=Schedule("0 0 1 1 *", "UTC"),
        deadlines=Deadlines(60.0, 60.0, 60.0, 60.0),
    )
    check(constitution)
    return constitution


def secure_sum(directory: Path, options: BenchOptions, vectors: Path | None = None) -> dict[str, object]:
    """Run the bench in a new folder and return its figures.

    Args:
        directory: Folder for the alliance; it stays.
        options: What is measured.
        vectors: Folder with `member-0.npy` and so on: integers, in steps of 2^-16, that the members sum each time;
            None for vectors that follow from name and manifest.

    Returns:
        `seconds` (median), `seconds_all`, `steps` (medians, seconds), `upload_bytes_per_value`, `bytes_per_member` (a
        sum's messages of one member), `disk_sync_seconds` (4 KiB to this disk, median), `noise_sigmas` (largest
        seen), `exact`, and what was asked for.

    Raises:
        ConfigurationError: A file has no such vector.
        ProtocolError: A published sum is not the sum of what went in.
        TransportError: A process failed or the time is over.
    """
    names = [f"m{place:02d}" for place in range(options.members)]
    constitution = partial(bench_constitution, length=options.length, sums=options.sums)
    alliance = found(directory, PURPOSE, dict.fromkeys(names, ()), constitution)
    if vectors is not None:
        _place_vectors(alliance, vectors, options.length)
    try:
        alliance.start(COORDINATOR, ["bench", "coordinator", str(directory / COORDINATOR), str(options.sums)])
        for name in names:
            alliance.start(name, ["bench", "member", str(directory / name)])
        alliance.wait(seconds=120.0 + 5.0 * options.sums)
    finally:
        alliance.stop()
    rounds = range(WARM_UPS, options.sums)
    instants = _instants(alliance, options.sums)
    spans = [dict(zip(STEPS, np.diff(instants[place]) / 1e9, strict=True)) for place in rounds]
    seconds = [float(instants[place][-1] - instants[place][0]) / 1e9 for place in rounds]
    return {
        "seconds": round(statistics.median(seconds), 4),
        "seconds_all": [round(one, 4) for one in seconds],
        "steps": {step: round(float(statistics.median(span[step] for span in spans)), 4) for step in STEPS},
        **_bytes(alliance, options),
        "disk_sync_seconds": round(_disk_sync_seconds(directory), 6),
        "noise_sigmas": round(max(_verify(alliance, place) for place in range(options.sums)), 2),
        "exact": True,
        "members": options.members,
        "length": options.length,
        "repeats": options.repeats,
        "transport": TRANSPORT,
        "not_shown": list(NOT_SHOWN),
    }


def _place_vectors(alliance: Alliance, vectors: Path, length: int) -> None:
    """Write each member's vector into its folder.

    Raises:
        ConfigurationError: A file has no vector of `length` integers within the value bound.
    """
    for number, name in enumerate(alliance.members):
        path = vectors / f"member-{number}.npy"
        try:
            steps = np.load(path, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"bench: expected a vector of {length} integers in {path}, got {error}") from error
        if steps.shape != (length,) or steps.dtype.kind not in "iu" or np.abs(steps / _SCALE).max() > VALUE_BOUND:
            raise ConfigurationError(
                f"bench: expected {length} integers of at most {VALUE_BOUND * _SCALE:.0f} in {path}, "
                f"got {steps.dtype} of shape {steps.shape}"
            )
        np.save(alliance.directory / name / VECTOR_FILE, steps / _SCALE)


def _instants(alliance: Alliance, sums: int) -> list[Int64[np.ndarray, " instant"]]:
    """Return the six instants between which the steps of each sum lie, ns UTC."""
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


def _bytes(alliance: Alliance, options: BenchOptions) -> dict[str, object]:
    """Return what left the members, by their own egress records."""
    uploads, total = [], 0
    for name in alliance.members:
        store = MemberStore(alliance.directory / name / "node" / "facts.sqlite")
        rows = [row for row in store.egress() if "/r" in row.session]
        store.close()
        uploads += [row.size for row in rows if row.step == "upload"]
        total += sum(row.size for row in rows)
    return {
        "upload_bytes_per_value": round(statistics.mean(uploads) / options.length, 4),
        "bytes_per_member": round(total / (options.members * options.sums)),
    }


def _disk_sync_seconds(directory: Path) -> float:
    """Return how long a write of 4 KiB takes to reach the disk under `directory`: a sum waits for about ten of them."""
    seconds = []
    with (directory / "sync").open("wb", buffering=0) as file:
        for _ in range(15):
            begin = time.perf_counter()
            file.write(bytes(4096))
            os.fsync(file.fileno())
            seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds)


def _verify(alliance: Alliance, place: int) -> float:
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
    if not largest < _MAX_SIGMAS:
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
        values += np.rint(member_vector(alliance.directory / name, name, digest, length) * purpose.scale).astype(
            np.int64
        )
        noise += sample(table, length, derive(key, b"hansa/noise/1" + digest))
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
