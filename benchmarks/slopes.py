"""How the cost of a federation grows: with members, with values, with sums of the state channel.

Each point is a run of real processes on this machine (`hansa bench`): mutual TLS, durable streams, every word checked.
A line is fitted to every column by least squares; the table says how far the worst point lies from it. CPU seconds are
those of all processes of a run together, their start included. With `--quick` the largest points are left out.

Not shown: more than one machine. All processes share these cores, so that seconds grow with members as CPU does; on a
machine each they would not. Sums over networks wait for round trips, three to five a sum, that take no time here.

Run: python benchmarks/slopes.py [--axis members values sums] [--quick] [--json]
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from hansa.lab import bench

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MEMBERS: Final = (5, 10, 20, 50)
VALUES: Final = (10_000, 100_000, 1_000_000)
SUMS: Final = (20, 80, 320)
BASE_MEMBERS: Final = 5
BASE_VALUES: Final = 10_000
CHANNEL_MEMBERS: Final = 5
CHANNEL_VALUES: Final = 500
REPEATS: Final = 1
SUM_COLUMNS: Final = (
    "setup_seconds", "seconds", "cpu_seconds", "bytes_per_member", "coordinator_rss_mib", "member_rss_mib",
    "server_rss_mib", "server_disk_mib", "member_disk_mib",
)  # fmt: skip
CHANNEL_COLUMNS: Final = ("cpu_seconds", "coordinator_rss_mib", "member_rss_mib", "server_disk_mib", "member_disk_mib")

Row = dict[str, float]


def cpu_seconds() -> float:
    """Return the CPU seconds of all processes that this one has waited for, and of those that they waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def sum_point(members: int, values: int) -> Row:
    """Return the figures of one run of secure sums."""
    before = cpu_seconds()
    with tempfile.TemporaryDirectory(prefix="hansa-slopes-") as directory:
        figures = bench.secure_sum(Path(directory) / "alliance", bench.BenchOptions(members, values, REPEATS))
    row = {name: float(str(figures[name])) for name in SUM_COLUMNS if name != "cpu_seconds"}
    return shown(f"{members} members, {values} values", {**row, "cpu_seconds": round(cpu_seconds() - before, 2)})


def channel_point(sums: int) -> Row:
    """Return the figures of one run of the state channel's sums, one after another."""
    before = cpu_seconds()
    with tempfile.TemporaryDirectory(prefix="hansa-slopes-") as directory:
        options = bench.BenchOptions(CHANNEL_MEMBERS, CHANNEL_VALUES, sums)
        figures = bench.channel_costs(Path(directory) / "alliance", options)
    row = {name: float(str(value)) for name, value in figures.items()}
    return shown(f"{sums} sums of the state channel", {**row, "cpu_seconds": round(cpu_seconds() - before, 2)})


def shown(what: str, row: Row) -> Row:
    """Return a point; say that it is there, for the next may take minutes."""
    print(f"{what}: {json.dumps(row)}", file=sys.stderr, flush=True)
    return row


def fitted(along: Sequence[float], column: Sequence[float]) -> dict[str, float]:
    """Return slope and intercept of the least-squares line, and its largest distance from a point, in the same unit."""
    slope, intercept = np.polyfit(along, column, 1)
    distances = np.abs(np.asarray(column) - (slope * np.asarray(along) + intercept))
    return {"slope": float(slope), "intercept": float(intercept), "worst": float(distances.max())}


def table(axis: str, unit: str, points: Mapping[float, Row], columns: Sequence[str], per: float) -> dict[str, object]:
    """Print one axis's points and lines; return them."""
    along = list(points)
    print(f"\n{axis} ({unit})\n")
    print("| | " + " | ".join(f"{point:g}" for point in along) + f" | slope per {per:g} | at 0 | worst |")
    print("|---|" + "---:|" * (len(along) + 3))
    lines = {}
    for name in columns:
        column = [points[point][name] for point in along]
        line = lines[name] = fitted(along, column)
        cells = [f"{value:.5g}" for value in column]
        cells += [f"{value:.4g}" for value in (per * line["slope"], line["intercept"], line["worst"])]
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)
    return {"unit": unit, "points": {f"{point:g}": row for point, row in points.items()}, "lines": lines}


def main() -> None:
    """Measure, print, and with --json print everything once more on the last line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--axis", nargs="+", choices=("members", "values", "sums"), default=["members", "values", "sums"]
    )
    parser.add_argument("--quick", action="store_true", help="leave the largest point of each axis out")
    parser.add_argument("--json", action="store_true", help="print JSON too")
    options = parser.parse_args()
    end = -1 if options.quick else None
    found: dict[str, object] = {}
    for axis in options.axis:
        if axis == "members":
            points = {float(point): sum_point(point, BASE_VALUES) for point in MEMBERS[:end]}
            found[axis] = table(axis, f"{BASE_VALUES} values", points, SUM_COLUMNS, 1)
        elif axis == "values":
            points = {float(point): sum_point(BASE_MEMBERS, point) for point in VALUES[:end]}
            found[axis] = table(axis, f"{BASE_MEMBERS} members", points, SUM_COLUMNS, 1e6)
        else:
            points = {float(point): channel_point(point) for point in SUMS[:end]}
            unit = f"state channel, {CHANNEL_MEMBERS} members, {CHANNEL_VALUES} values; a bar a minute is 1440 a day"
            found[axis] = table(axis, unit, points, CHANNEL_COLUMNS, 1440)
    if options.json:
        json.dump(found, sys.stdout)
        print()


if __name__ == "__main__":
    main()
