"""What one step of the residual network costs a member: 17 days of 288 bars, three markets.

Three figures: the first step of a process that has never compiled (cold), of a process that finds the compiled program
on disk (cached), and a further step (warm, median of ten). Each in seconds of the wall clock, which other work on the
machine lengthens, and of the processor, summed over its cores, which it lengthens little. The load average is printed
beside them. Then what the member's own head costs in processor seconds, all pulls tried and none compiled. Inputs are
noise of the right shape: the work does not depend on the values.

Run: python benchmarks/network_round.py
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from hansa.model.network import WARM_UP_BARS, NetworkShape, enable_compilation_cache, initial_parameters
from hansa.model.personal import head_rows, train_head
from hansa.model.training import Batch, block_updates

BLOCKS, BARS, BASKETS, FEATURES = 17, 288, 3, 7
WARM_STEPS = 10


def batch() -> Batch:
    generator = np.random.default_rng(1)
    window = WARM_UP_BARS + BARS

    def noise(*size: int) -> np.ndarray:
        return generator.standard_normal(size).astype(np.float32)

    return Batch(
        inputs=noise(BLOCKS, window, BASKETS, FEATURES),
        clock=noise(BLOCKS, window, 4),
        linear=noise(BLOCKS, BARS, BASKETS),
        target=noise(BLOCKS, BARS, BASKETS),
        weight=np.ones((BLOCKS, BARS, BASKETS), np.float32),
        spillover=np.full((BASKETS, BASKETS), 1 / BASKETS, np.float32),
    )


def steps(cache: Path) -> None:
    enable_compilation_cache(cache)
    shape = NetworkShape(BASKETS, FEATURES)
    parameters, blocks = initial_parameters(shape, 1), batch()
    seconds = []
    for _ in range(WARM_STEPS + 1):
        begin = time.perf_counter(), time.process_time()
        block_updates(shape, parameters, blocks, clip=0.5)
        seconds.append((time.perf_counter() - begin[0], time.process_time() - begin[1]))
    for _ in range(2):
        started = time.process_time()
        rows = head_rows(shape, parameters, blocks)
        train_head(shape, parameters, fit=rows, validation=rows, train=rows)
        head = time.process_time() - started
    wall, processor = zip(*seconds, strict=True)
    print(wall[0], processor[0], statistics.median(wall[1:]), statistics.median(processor[1:]), parameters.size, head)


def main() -> None:
    if len(sys.argv) > 1:
        steps(Path(sys.argv[1]))
        return
    with tempfile.TemporaryDirectory() as cache:
        cold, cached = (
            subprocess.run([sys.executable, __file__, cache], check=True, capture_output=True, text=True).stdout.split()
            for _ in range(2)
        )
    print(f"{cold[4]} parameters, {BLOCKS} days, {BASKETS} markets; load average {os.getloadavg()[0]:.1f}")
    print("| seconds | first step, cold | first step, cached | further steps |")
    print("|---|---|---|---|")
    for place, clock in enumerate(("wall clock", "processor")):
        figures = float(cold[place]), float(cached[place]), float(cached[2 + place])
        print(f"| {clock} | {figures[0]:.2f} | {figures[1]:.2f} | {figures[2]:.3f} |")
    print(f"the member's own head, further times: {float(cold[5]):.1f} s of the processor")


if __name__ == "__main__":
    main()
