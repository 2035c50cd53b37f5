"""Imports a file of trades larger than memory: rows a second and peak memory of the importing process.

Run: python benchmarks/ticks.py [--gigabytes 5] [--format csv|csv.gz|parquet] [--shuffled] [--in-memory] [--json]

The file holds a random walk with clustered trades, sides, quotes and 200 clients, about 68.5 bytes a row as CSV; its
size is that of the rows as CSV, whatever the format. `hansa market import` reads it in a process of its own, whose
`VmHWM` is printed; `--in-memory` reads it as one block, for comparison. Exit 1 where the peak is above --limit-mib. The
file is deleted at the end.
"""

from __future__ import annotations

import argparse
import gzip
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO

import numpy as np
import polars as pl

CHUNK_ROWS = 500_000
BYTES_A_ROW = 68.5
CLIENTS = 200
SECONDS_A_TRADE = 0.35
START_NS = 1_672_531_200_000_000_000
CHILD = """
import sys, time
from pathlib import Path
started = time.perf_counter()
if sys.argv[1] == "in-memory":
    from hansa.market.readers.trades import read_trades
    bars = read_trades(Path(sys.argv[2]), market="EUR-USD", venue="desk", bar_ns=60_000_000_000, block_bytes=1 << 60)
    bars.write_parquet(Path(sys.argv[3]) / "desk_EUR-USD.parquet")
else:
    from hansa.cli.market import app
    app(["import", sys.argv[2], "--format", "trades", "--out", sys.argv[3], "--json"], standalone_mode=False)
status = Path("/proc/self/status").read_text()
print(time.perf_counter() - started, int(status.partition("VmHWM:")[2].split()[0]) / 1024, file=sys.stderr)
"""


def trades(rng: np.random.Generator, first_row: int, rows: int, price: float) -> pl.DataFrame:
    """Return rows of a file; their times go on from the rows before."""
    steps = rng.exponential(SECONDS_A_TRADE * 1e9, rows) * rng.choice([0.1, 1.9], rows)
    begin = START_NS + int(first_row * SECONDS_A_TRADE * 1e9)
    stamps = begin + np.minimum(np.cumsum(steps), rows * SECONDS_A_TRADE * 1e9 - 1).astype(np.int64)
    prices = np.round(price * np.exp(np.cumsum(rng.normal(0.0, 2e-5, rows))), 5)
    spread = rng.integers(1, 6, rows) * 1e-5
    return pl.DataFrame(
        {
            "timestamp": pl.Series(stamps).cast(pl.Datetime("ns")),
            "price": prices,
            "size": np.round(rng.lognormal(8.0, 1.2, rows), 1),
            "side": np.where(rng.random(rows) < 0.5, "buy", "sell"),
            "client": pl.Series(rng.integers(0, CLIENTS, rows)).cast(pl.String),
            "bid": np.round(prices - spread, 5),
            "ask": np.round(prices + spread, 5),
        }
    )


def write(folder: Path, form: str, rows: int, *, is_shuffled: bool) -> Path:
    """Write the file; shuffled, its chunks and the rows in them stand in any order."""
    rng = np.random.default_rng(7)
    firsts = np.arange(0, rows, CHUNK_ROWS)
    if is_shuffled:
        firsts = rng.permutation(firsts)
    frames = (trades(rng, int(first), min(CHUNK_ROWS, rows - int(first)), 1.1) for first in firsts)
    path = folder / f"desk_eurusd.{form}"
    if form == "parquet":
        pieces = folder / "pieces"
        pieces.mkdir()
        for place, frame in enumerate(frames):
            frame.sample(fraction=1.0, shuffle=is_shuffled, seed=1).write_parquet(pieces / f"{place:05}.parquet")
        pl.scan_parquet(pieces / "*.parquet").sink_parquet(path)
        for piece in pieces.iterdir():
            piece.unlink()
        return path
    with path.open("wb") as plain:
        content: IO[bytes] = gzip.open(plain, "wb", compresslevel=1) if form == "csv.gz" else plain  # type: ignore[assignment] # noqa: SIM115 - closed below
        for place, frame in enumerate(frames):
            frame.sample(fraction=1.0, shuffle=is_shuffled, seed=1).write_csv(content, include_header=place == 0)
        content.close()
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=5.0, help="size of the rows as CSV")
    parser.add_argument("--format", choices=("csv", "csv.gz", "parquet"), default="csv")
    parser.add_argument("--shuffled", action="store_true", help="rows in no order")
    parser.add_argument("--in-memory", action="store_true", help="read the file as one block")
    parser.add_argument("--limit-mib", type=float, default=1024.0)
    parser.add_argument("--folder", type=Path, help="where the file is put; else the system's temporary folder")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    rows = int(chosen.gigabytes * 1e9 / BYTES_A_ROW)
    with tempfile.TemporaryDirectory(dir=chosen.folder) as name:
        started = time.perf_counter()
        path = write(Path(name), chosen.format, rows, is_shuffled=chosen.shuffled)
        print(f"{rows} rows written in {time.perf_counter() - started:.0f} s", file=sys.stderr)
        way = "in-memory" if chosen.in_memory else "import"
        child = subprocess.run(
            [sys.executable, "-c", CHILD, way, str(path), str(Path(name, "out"))],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            check=False,
            text=True,
        )
        if child.returncode:
            raise SystemExit(child.stderr or f"the importing process was ended by signal {-child.returncode}")
        seconds, peak_mib = map(float, child.stderr.split()[-2:])
        bars = (
            pl.scan_parquet(Path(name, "out") / "*.parquet").select(pl.len(), pl.col("trades").sum()).collect().row(0)
        )
        found = {
            "rows": rows,
            "file_mb": round(path.stat().st_size / 1e6),
            "seconds": round(seconds, 1),
            "rows_a_second": round(rows / seconds),
            "peak_rss_mib": round(peak_mib),
            "bars": bars[0],
        }
    if bars[1] != rows:
        raise SystemExit(f"expected {rows} trades in the bars; got {bars[1]}")
    print(json.dumps(found) if chosen.json else "\n".join(f"{key:14} {value}" for key, value in found.items()))
    if peak_mib > chosen.limit_mib:
        raise SystemExit(f"the peak is above {chosen.limit_mib:g} MiB")


if __name__ == "__main__":
    main()
