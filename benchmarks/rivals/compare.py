"""Secure sums side by side, in one run on one machine: hansa, Flower's SecAgg+, TenSEAL's BFV with a single key.

Every party sums the same vectors: 16-bit integers from a fixed seed, one file a member. hansa and deployed Flower are
whole systems of real processes on loopback; Flower in process and TenSEAL are arithmetic alone, without network,
agreement or disk. Ratios are to hansa, and belong to one run: the machine's noise is in both. hansa runs before and
after the others, and the slower of its two medians counts; everybody else's best counts, after a warm-up.

The rivals run in environments of their own (`environments.py`). One that cannot be installed is left out with a
sentence; one that fails to sum, or takes too long, is named and makes the exit code 1.

Run: python benchmarks/rivals/compare.py [--lengths 100000 1000000] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from environments import HERE, UnavailableError, python_of
from report import print_report, rows

from hansa.federation.nats_server import NatsServer, ServerOptions
from hansa.identity.kit import make_federation

sys.path.insert(0, str(HERE.parent))
import transport

SEED = 20
DEGREES = (4096, 8192)
HANSA_SECONDS = FLOWER_SECONDS = TENSEAL_SECONDS = 600.0
STOP_SECONDS = 30.0


def write_vectors(directory: Path, members: int, length: int) -> None:
    """Write `member-N.npy`, int16, and `expected.npy`, their sum."""
    generator = np.random.default_rng(SEED)
    vectors = generator.integers(-(2**15), 2**15, (members, length), dtype=np.int16)
    for number, vector in enumerate(vectors):
        np.save(directory / f"member-{number}.npy", vector)
    np.save(directory / "expected.npy", vectors.sum(axis=0, dtype=np.int64))


def run_json(command: list[str], seconds: float) -> dict[str, Any]:
    """Run a measuring program and return the JSON that it prints; it has ended when this returns.

    Raises:
        RuntimeError: It failed or took longer than `seconds`.
    """
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(f"{Path(command[1]).name} took longer than {seconds:.0f} s") from error
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.communicate(timeout=STOP_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
    if process.returncode:
        raise RuntimeError(f"{Path(command[1]).name} has failed: {err[-2000:]}")
    figures: dict[str, Any] = json.loads(out)
    return figures


def hansa(vectors: Path, members: int, length: int) -> dict[str, Any]:
    sizes = ("--members", str(members), "--length", str(length))
    command = [sys.executable, "-m", "hansa", "bench", "secure-sum", *sizes, "--vectors", str(vectors), "--json"]
    return run_json(command, HANSA_SECONDS)


def exchange_floor(members: int, size_bytes: int) -> float:
    """Return the seconds of one exchange of bare bytes over hansa's transport, the floor of any protocol on it."""
    names = [f"member-{number}" for number in range(1, members + 1)]
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # it warns at every end of a TLS stream
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder) / "federation"
        make_federation(directory, "bench", names, at=datetime.fromtimestamp(time.time(), tz=UTC))
        kit = directory / transport.COORDINATOR
        options = ServerOptions(
            "bench", transport.COORDINATOR, tuple(names), kit / "node.crt", kit / "node.key", kit / "authority.crt"
        )
        with NatsServer(directory / "server", options) as server:
            return statistics.median(asyncio.run(transport.exchange(directory, server.url, names, size_bytes, 5)))


def flower(vectors: Path, members: int, rounds: int) -> dict[str, Any]:
    python = str(python_of("flower"))
    common = ("--vectors", str(vectors), "--members", str(members), "--rounds")
    in_process = run_json([python, str(HERE / "flower_secagg.py"), *common, "6"], FLOWER_SECONDS)
    limit = ("--seconds", str(FLOWER_SECONDS))
    deployed = run_json(
        [python, str(HERE / "flower_deployed.py"), *common, str(rounds), *limit], FLOWER_SECONDS + STOP_SECONDS
    )
    for figures in (in_process, deployed):
        if max(figures["errors"]) > 1e-6:
            raise RuntimeError(f"Flower's sum is off by {max(figures['errors'])}; expected less than 1e-6")
    return {"in_process": in_process, "deployed": deployed}


def tenseal(vectors: Path, members: int) -> dict[str, Any]:
    python = str(python_of("tenseal"))
    figures = {}
    for degree in DEGREES:
        common = ("--vectors", str(vectors), "--members", str(members), "--degree", str(degree))
        figures[str(degree)] = run_json([python, str(HERE / "tenseal_bfv.py"), *common], TENSEAL_SECONDS)
        if not figures[str(degree)]["exact"]:
            raise RuntimeError(f"TenSEAL's sum at degree {degree} is not the sum")
    return figures


def compare(members: int, length: int, rounds: int) -> dict[str, Any]:
    """Return the figures of all parties for one size, who was left out and who failed, with reasons."""
    figures: dict[str, Any] = {"members": members, "length": length, "skipped": {}, "failed": {}}
    with tempfile.TemporaryDirectory(prefix="rivals-") as folder:
        vectors = Path(folder)
        write_vectors(vectors, members, length)
        ours = hansa(vectors, members, length)
        figures["floor_seconds"] = exchange_floor(members, round(ours["upload_bytes_per_value"] * length))
        for name, measure in (
            ("flower", lambda: flower(vectors, members, rounds)),
            ("tenseal", lambda: tenseal(vectors, members)),
        ):
            try:
                figures[name] = measure()
            except UnavailableError as reason:
                figures["skipped"][name] = str(reason)
            except RuntimeError as reason:
                figures["failed"][name] = str(reason)
        runs = [ours, hansa(vectors, members, length)]
    figures["hansa"] = max(runs, key=lambda run: float(run["seconds"]))
    figures["hansa_seconds"] = [run["seconds"] for run in runs]
    figures["load"] = os.getloadavg()[0]
    figures["table"] = [row.with_ratios(rows(figures)[0]) for row in rows(figures)]
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--members", type=int, default=5)
    parser.add_argument("--lengths", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--rounds", type=int, default=3, help="deployed rounds of Flower; the first one warms up")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    chosen = parser.parse_args()
    machine = {"cores": os.cpu_count(), "load": os.getloadavg()[0], "python": platform.python_version()}
    sizes = [compare(chosen.members, length, chosen.rounds) for length in chosen.lengths]
    if chosen.json:
        print(json.dumps({"machine": machine, "sizes": sizes}, indent=2))
    else:
        print_report(machine, sizes)
    if any(size["failed"] for size in sizes):
        sys.exit(1)


if __name__ == "__main__":
    main()
