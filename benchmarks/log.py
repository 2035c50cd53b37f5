"""The transparency log and its verifier: appends a second, proofs of a large log, and a bundle of a hundred rounds.

Appends are durable: every file is synced before the head is replaced. Entries have 256 bytes, and 1,500 as a signed
statement has; those are bound by the disk. Proofs are timed on tiles that nothing has read before, and again.
A round of the bundle is one secure sum of five simulated members over the values of the demo's linear statistic.

Run: python benchmarks/log.py
"""

from __future__ import annotations

import logging
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import msgspec
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from audit_keys import EdwardsKey
from evidence import PURPOSES, Evidence, Played, rules
from hansa.audit import verify
from hansa.audit.merkle import TileTree, verify_inclusion
from hansa.audit.store import LogStore
from simulator import request

ENTRIES = 1_000_000
BATCH = 100_000
ROUNDS = 100
VALUES = 1_000


def seconds(start: float) -> float:
    """Return the time since `start`."""
    return time.perf_counter() - start


def appends(directory: Path, size: int, batches: int) -> LogStore:
    """Append batches of entries of a size; print how many a second."""
    log = LogStore(directory, origin="benchmark", signer=EdwardsKey("log"))
    rates, busy = [], 0.0
    for batch in range(batches):
        entries = [(batch * BATCH + k).to_bytes(8, "big") * (size // 8) for k in range(BATCH)]
        start, began = time.perf_counter(), time.process_time()
        log.append(entries)
        rates.append(BATCH / seconds(start))
        busy += time.process_time() - began
    print(
        f"append, batches of {BATCH} entries of {size} bytes, durable: median {statistics.median(rates):,.0f}/s, "
        f"best {max(rates):,.0f}/s of {batches}; {batches * BATCH / busy:,.0f} a second of processor time"
    )
    return log


def proofs(log: LogStore) -> None:
    """Print how long proofs take, from tiles not in memory and from those that are."""
    places = np.random.default_rng(1).integers(1, log.size, 500).tolist()
    root = log.tree.root()
    for state in ("cold", "warm"):
        tree = TileTree(log.files, log.size) if state == "cold" else tree
        for kind in ("inclusion", "consistency"):
            prove = tree.inclusion_proof if kind == "inclusion" else tree.consistency_proof
            times = []
            for place in places:
                start = time.perf_counter()
                proof = prove(place)
                times.append(1e3 * seconds(start))
                if kind == "inclusion":
                    verify_inclusion(place, log.size, leaf=tree.leaf(place), proof=proof, root=root)
            times.sort()
            print(f"{kind} proof at {log.size} entries, {state}: median {times[250]:.3f} ms, 95 % {times[475]:.3f} ms")


def bundle(directory: Path) -> None:
    """Print how long a bundle of a hundred rounds takes to verify."""
    (directory / "members").mkdir()
    (directory / "log").mkdir()
    gram = msgspec.structs.replace(PURPOSES["gram"], values=VALUES, noise_multiplier=20.0, epsilon=8.0)
    played = Played(
        directory / "members",
        document=rules(purposes={"gram": gram}),
        programme=[request(place, "gram") for place in range(ROUNDS)],
    )
    data = Evidence(directory / "log", played).bundle()
    times, busy = [], time.process_time()
    for _ in range(5):
        start = time.perf_counter()
        found = verify.verify(data)
        times.append(seconds(start))
    busy = (time.process_time() - busy) / 5
    if found[-1]["verdict"] != "verified":
        sys.exit(f"not verified: {found[-1]}")
    sums = next(one["detail"] for one in found if one["check"] == "sums")
    print(
        f"bundle of {ROUNDS} rounds, {VALUES} values, {len(data) / 1e6:.1f} MB, {sums}: median "
        f"{statistics.median(times):.2f} s, best {min(times):.2f} s of 5; {busy:.2f} s of processor time"
    )
    print("not shown: longer vectors; adding 100,000 values again takes about 100 times as long as 1,000")


def main() -> None:
    """Measure everything in a scratch directory."""
    logging.disable(logging.CRITICAL)
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as scratch:
        with appends(Path(scratch) / "short", 256, ENTRIES // BATCH) as log:
            proofs(log)
        appends(Path(scratch) / "long", 1_504, 2).close()
        bundle(Path(scratch))


if __name__ == "__main__":
    main()
