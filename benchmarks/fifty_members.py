"""Fifty member processes on one machine complete a round: real server, mutual TLS, durable streams, every word checked.

The same as `hansa bench secure-sum --members 50 --length 10000 --repeats 1`, with the memory of every process and what
is left on disk. All processes share this machine's cores: set-up is mostly fifty interpreters starting on them.

Needs about 220 MiB a member. Not shown: networks, drop-outs, members on machines of their own.

Run: python benchmarks/fifty_members.py [--members 50] [--length 10000] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path

from hansa.lab import bench
from hansa.lab.alliance import COORDINATOR, Alliance
from hansa.lab.bench_evidence import peak_mib


def measured(members: int, length: int) -> dict[str, object]:
    """Run two sums to warm up and one more; return the bench's figures and each process's memory."""
    with tempfile.TemporaryDirectory(prefix="hansa-fifty-") as directory:
        folder = Path(directory) / "alliance"
        figures = bench.secure_sum(folder, bench.BenchOptions(members, length, repeats=1))
        alliance = Alliance(folder, tuple(f"m{place:02d}" for place in range(members)))
        peaks = {name: round(peak_mib(alliance, name), 1) for name in (COORDINATOR, *alliance.members)}
    return {**figures, "rss_mib": peaks, "cores": os.cpu_count()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--members", type=int, default=50)
    parser.add_argument("--length", type=int, default=10_000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    figures = measured(options.members, options.length)
    if options.json:
        print(json.dumps(figures, indent=1))
        return
    peaks = figures.pop("rss_mib")
    for name in (
        "members", "length", "cores", "setup_seconds", "seconds", "steps", "member_seconds", "bytes_per_member",
        "server_rss_mib", "server_disk_mib", "member_disk_mib", "exact", "transport",
    ):  # fmt: skip
        print(f"{name}: {figures[name]}")
    if isinstance(peaks, dict):
        print(f"rss_mib: {sum(peaks.values()):.0f} in all; " + " ".join(f"{name} {mib}" for name, mib in peaks.items()))
    for line in bench.NOT_SHOWN["nats"]:
        print(f"not shown: {line}")


if __name__ == "__main__":
    main()
