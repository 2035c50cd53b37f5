"""A secure sum under the clock: real processes, mutual TLS, durable streams, the real door, every result recomputed.

All three layers: the sums are noised, masked and encrypted, and opened by as many decryptors as the constitution wants.
Each process of the bench is a whole node (`hansa bench coordinator`, `hansa bench member`); only the statistic is
made up: a vector that follows from the member's name and the manifest, or is given in a file, so that the one who
started the bench, and holds all their folders, can add up vectors and noise shares again and compare every word with
what was published.

| step | from | until |
|---|---|---|
| announce | the coordinator turns to the sum | the last member has accepted the manifest |
| upload | then | the cohort stands on the board: every upload was checked and added |
| agree | then | the call stands on the board: a quorum has signed |
| open | then | the result stands on the board |
| publish | then | the last member has checked the result; closing the session on disk follows |

All nodes run on one machine, so their clocks and the stream's are one; `seconds` is the sum of the steps.
`member_seconds` is what the door takes: from the statistic to the signed upload, before the durable write.

The state channel's sums have two exchanges: no step `agree`. They are measured one after another, each after a pause,
and in flight together, as many as the coordinator lets overlap: from the instant it turns to a sum until the last
member has checked the result.

Guarantees: a result that differs in one word from the recomputed one, or noise beyond 7 sigma, ends the bench with an
error. Does NOT show: see `NOT_SHOWN`.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np

from hansa.errors import ConfigurationError
from hansa.federation.coordinator import WINDOW
from hansa.federation.warm_up import compile_kernels
from hansa.governance.constitution import Constitution, Deadlines, Market, Party, Purpose, Schedule, Sums, check
from hansa.lab import simulated_bench
from hansa.lab.alliance import COORDINATOR, Alliance, found
from hansa.lab.bench_evidence import (
    STEPS,
    disk_mib,
    disk_sync_seconds,
    egress_bytes,
    has_ended,
    have_seen,
    instants,
    member_seconds,
    peak_mib,
    verify,
)
from hansa.lab.bench_nodes import BAR_SECONDS, PURPOSE, SERVER_PEAK_FACT, VALUE_BOUND, VECTOR_FILE
from hansa.protocol.privacy import noise_multiplier_for

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

WARM_UPS: Final = 2
TRANSPORT: Final = "NATS JetStream, loopback, mutual TLS 1.3, file streams with sync_interval always"
_NOT_SHOWN: Final = (
    "networks: every node is on this machine and shares its cores",
    "drop-outs: every member answers; a missing one costs the upload deadline and a recovery",
    "set-up of the epoch and of processes: both are over before the first measured sum",
)
TRANSPORTS: Final = {"nats": TRANSPORT, "simulated": simulated_bench.TRANSPORT}
NOT_SHOWN: Final = {"nats": _NOT_SHOWN, "simulated": simulated_bench.NOT_SHOWN}
_DAY_SECONDS: Final = 86_400.0
_PATIENCE_SECONDS: Final = 60.0
_PATIENCE_PER_MEMBER_SECONDS: Final = 12.0  # processes that start together share two cores, perhaps with others
_SCALE: Final = 2**10
_EPSILON: Final = 8.0
_DELTA: Final = 1e-6


@dataclass(frozen=True, slots=True)
class BenchOptions:
    """What is measured.

    Args:
        members: Member processes, 3 or more.
        length: Values in the vector, 1 or more.
        repeats: Measured sums, 1 or more; over NATS two more warm up.
        transport: `nats`, or `simulated`: the real coordinator alone in its process, all members in another.
        is_cosigned: Whether a quorum has to cosign the log before a sum is opened.

    Raises:
        ConfigurationError: A number is too small, or there is no such transport.
    """

    members: int = 5
    length: int = 100_000
    repeats: int = 5
    transport: str = "nats"
    is_cosigned: bool = False

    def __post_init__(self) -> None:
        for name, least in (("members", 3), ("length", 1), ("repeats", 1)):
            if getattr(self, name) < least:
                raise ConfigurationError(f"bench: expected {name} of at least {least}, got {getattr(self, name)}")
        if self.transport not in TRANSPORTS:
            raise ConfigurationError(f"bench: expected transport {' or '.join(TRANSPORTS)}, got {self.transport!r}")

    @property
    def warm_ups(self) -> int:
        """Sums before the measured ones: none where seconds say little anyway."""
        return WARM_UPS if self.transport == "nats" else 0

    @property
    def sums(self) -> int:
        """Sums in all."""
        return self.repeats + self.warm_ups


def bench_constitution(
    keys: Mapping[str, str],
    coordinator_key: str,
    *,
    length: int,
    sums: int,
    exchanges: int = 3,
    is_cosigned: bool = False,
    patience_seconds: float = _PATIENCE_SECONDS,
) -> Constitution:
    """Return a constitution with the one purpose `bench`, whose yearly budget pays for `sums` sums.

    Args:
        keys: Identity key by member.
        coordinator_key: Identity key of the coordinator.
        length: Values in a vector.
        sums: Sums that the budget must pay for.
        exchanges: 3, or 2 as the state channel's sums.
        is_cosigned: Whether a quorum has to cosign the log before a sum is opened.
        patience_seconds: Every deadline.

    Raises:
        ConfigurationError: The numbers contradict each other.
    """
    members = len(keys)
    colluders = (members - 1) // 3
    purpose = Purpose(
        values=length,
        values_per_bar=0,
        exchanges=exchanges,
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
        deadlines=Deadlines(*4 * (patience_seconds,)),
        cosignatures=(members + colluders) // 2 + 1 if is_cosigned else None,
    )
    check(constitution)
    return constitution


def secure_sum(directory: Path, options: BenchOptions, vectors: Path | None = None) -> dict[str, object]:
    """Run the bench in a new folder and return its figures.

    Args:
        directory: Folder for the alliance; it stays.
        options: What is measured.
        vectors: Folder with `member-0.npy` and so on: integers, in steps of 2^-10, that the members sum each time;
            None for vectors that follow from name and manifest.

    Returns:
        `seconds` (median), `seconds_all`, `steps` (medians, seconds), `member_seconds` (at the door, median of all
        members' sums), `upload_bytes_per_value`, `bytes_per_member` (a sum's messages of one member),
        `coordinator_rss_mib`, `member_rss_mib` (peaks; the largest member's) and, over NATS, `server_rss_mib` (peak),
        `setup_seconds` (from the start of the processes until the coordinator turns to the first sum),
        `server_disk_mib` and `member_disk_mib` (all sums' streams and the set-up's; the largest member's folder),
        `disk_sync_seconds` (4 KiB, median),
        `noise_sigmas` (largest seen), `exact`, and what was asked for.

    Raises:
        ConfigurationError: A file has no such vector.
        ProtocolError: A published sum is not the sum of what went in.
        TransportError: A process failed or the time is over.
    """
    names = [f"m{place:02d}" for place in range(options.members)]
    is_simulated = options.transport == "simulated"
    constitution = partial(
        bench_constitution,
        length=options.length,
        sums=options.sums,
        patience_seconds=_DAY_SECONDS if is_simulated else _patience_seconds(options.members),
    )
    alliance = found(directory, PURPOSE, dict.fromkeys(names, ()), constitution)
    if vectors is not None:
        _place_vectors(alliance, vectors, options.length)
    compile_kernels()  # once, not in every process at the same time
    begin_ns = time.time_ns()
    if is_simulated:
        simulated_bench.SimulatedRun(alliance, sums=options.sums).run()
    else:
        _run(alliance, options.sums, in_flight=1)
    all_instants = instants(alliance, options.sums)
    found_instants = all_instants[options.warm_ups :]
    spans = [dict(zip(STEPS, np.diff(one) / 1e9, strict=True)) for one in found_instants]
    seconds = [float(one[-1] - one[0]) / 1e9 for one in found_instants]
    return {
        "seconds": round(statistics.median(seconds), 4),
        "seconds_all": [round(one, 4) for one in seconds],
        "steps": {step: round(float(statistics.median(span[step] for span in spans)), 4) for step in STEPS},
        "member_seconds": round(member_seconds(alliance, first=options.warm_ups), 5),
        **egress_bytes(alliance, length=options.length, sums=options.sums),
        **_memory(alliance),
        **({} if is_simulated else {"server_rss_mib": round(peak_mib(alliance, COORDINATOR, SERVER_PEAK_FACT), 1)}),
        "setup_seconds": round((int(all_instants[0][0]) - begin_ns) / 1e9, 2),
        **disk_mib(alliance),
        "disk_sync_seconds": round(disk_sync_seconds(directory), 6),
        "noise_sigmas": round(max(verify(alliance, place) for place in range(options.sums)), 2),
        "exact": True,
        "members": options.members,
        "length": options.length,
        "repeats": options.repeats,
        "transport": TRANSPORTS[options.transport],
        "not_shown": list(NOT_SHOWN[options.transport]),
    }


def state_channel(directory: Path, options: BenchOptions) -> dict[str, object]:
    """Run sums of two exchanges in a new folder, one after another and then in flight together; return the figures.

    Args:
        directory: Folder for the two alliances; they stay.
        options: What is measured; `repeats` sums each way.

    Returns:
        By way: `p50`, `p90`, `p99` and `worst` seconds from the coordinator's turning to a sum until the last member
        has checked the result, and `sums_a_second`; `steps` (medians one after another, seconds), `exact`, and what
        was asked for.

    Raises:
        ProtocolError: A published sum is not the sum of what went in.
        TransportError: A process failed or the time is over.
    """
    figures: dict[str, object] = {}
    for way, in_flight in (("one_after_another", 1), ("in_flight_together", WINDOW)):
        alliance = _found_channel(directory / way, options)
        _run(alliance, options.sums, in_flight=in_flight)
        measured = np.array(instants(alliance, options.sums)[WARM_UPS:])
        seconds = (measured[:, -1] - measured[:, 0]) / 1e9
        percentiles = {f"p{part}": round(float(np.percentile(seconds, part)), 4) for part in (50, 90, 99)}
        span = float(measured[:, -1].max() - measured[:, 0].min()) / 1e9
        figures[way] = {
            **percentiles,
            "worst": round(float(seconds.max()), 4),
            "sums_a_second": round(len(seconds) / span, 2),
        }
        if in_flight == 1:
            medians = np.median(np.diff(measured, axis=1), axis=0) / 1e9
            steps = {step: round(float(one), 4) for step, one in zip(STEPS, medians, strict=True)}
            figures["steps"] = {step: steps[step] for step in STEPS if step != "agree"}
            figures |= {"member_seconds": round(member_seconds(alliance, first=WARM_UPS), 5), **_memory(alliance)}
        for place in range(options.sums):
            verify(alliance, place)
    return {
        **figures,
        "disk_sync_seconds": round(disk_sync_seconds(directory), 6),
        "exact": True,
        "members": options.members,
        "length": options.length,
        "sums": options.repeats,
        "in_flight": WINDOW,
        "transport": TRANSPORT,
    }


def channel_costs(directory: Path, options: BenchOptions) -> dict[str, object]:
    """Run sums of two exchanges one after another in a new folder; return what they cost in memory and on disk.

    Args:
        directory: Folder for the alliance; it stays.
        options: What is run; `repeats` sums.

    Returns:
        `coordinator_rss_mib`, `member_rss_mib`, `server_disk_mib` and `member_disk_mib` as for `secure_sum`.

    Raises:
        ProtocolError: A published sum is not the sum of what went in.
        TransportError: A process failed or the time is over.
    """
    alliance = _found_channel(directory, options)
    _run(alliance, options.sums, in_flight=1)
    for place in range(options.sums):
        verify(alliance, place)
    return {**_memory(alliance), **disk_mib(alliance)}


def _found_channel(directory: Path, options: BenchOptions) -> Alliance:
    """Found the alliance of a run of the state channel, and see that the kernels are compiled."""
    constitution = partial(
        bench_constitution,
        length=options.length,
        sums=options.sums,
        exchanges=2,
        patience_seconds=_patience_seconds(options.members),
        is_cosigned=options.is_cosigned,
    )
    compile_kernels()
    names = [f"m{place:02d}" for place in range(options.members)]
    return found(directory, PURPOSE, dict.fromkeys(names, ()), constitution)


def _run(alliance: Alliance, sums: int, *, in_flight: int) -> None:
    """Run an alliance's processes until the coordinator has asked for every sum, then stop them.

    Raises:
        TransportError: A process failed or the time is over.
    """
    directory = alliance.directory
    last_seen = directory / "last-seen"

    def tell_when_all_have_seen() -> None:
        """A member that shares its core with many others may read the last result after the coordinator has ended."""
        if not last_seen.exists() and has_ended(alliance) and have_seen(alliance, sums - 1):
            last_seen.touch()

    try:
        arguments = ["bench", "coordinator", str(directory / COORDINATOR), str(sums), "--in-flight", str(in_flight)]
        arguments += ["--last-seen", str(last_seen)]
        alliance.start(COORDINATOR, arguments)
        for name in alliance.members:
            alliance.start(name, ["bench", "member", str(directory / name)])
        alliance.wait(
            seconds=120.0 + 3 * _patience_seconds(len(alliance.members)) + 5.0 * sums, progress=tell_when_all_have_seen
        )
    finally:
        alliance.stop()


def _patience_seconds(members: int) -> float:
    """Return how long a step waits: that many processes start at once and share this machine's cores."""
    return max(_PATIENCE_SECONDS, _PATIENCE_PER_MEMBER_SECONDS * members)


def _memory(alliance: Alliance) -> dict[str, object]:
    members = [peak_mib(alliance, name) for name in alliance.members]
    return {
        "coordinator_rss_mib": round(peak_mib(alliance, COORDINATOR), 1),
        "member_rss_mib": round(max(members), 1),
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
