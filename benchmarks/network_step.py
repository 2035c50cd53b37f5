"""A local epoch of the residual network beside the same network in PyTorch eager: same arrays, same cores, same result.

    python benchmarks/network_step.py [--cores 1 2] [--rounds 5] [--steps 12]

A local epoch is what a member does in one round: the gradient of each of 17 days of 288 bars and three markets, each
clipped, and their sum. PyTorch runs in an environment of its own (`benchmarks/rivals/requirements-torch.lock`), in the
ways that `benchmarks/rivals/torch_network.py` lists; where it cannot be installed, hansa's own time is printed alone.
All take turns, each in a fresh process bound to the same cores. A round's figure is its median after a first step
(which compiles, for hansa); a table's is the median of the rounds, and the ratio that of hansa's figure and the other's
in the same round. PyTorch's sums must be hansa's, to single precision, or the script fails.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import numpy as np

from hansa.model.network import START_DEVIATION, WARM_UP_BARS, NetworkShape, initial_parameters, layout
from hansa.model.training import block_updates
from network_round import BASKETS, BLOCKS, FEATURES, batch

sys.path.insert(0, str(Path(__file__).parent / "rivals"))
from environments import HERE, UnavailableError, python_of

SHAPE: Final = NetworkShape(BASKETS, FEATURES)
CLIP: Final = 0.05
WAYS: Final = ("shifts", "conv", "loop", "batch")
PRIVATE: Final = WAYS[:3]
STEP_SECONDS: Final = 300.0
ARRAYS: Final = ("inputs", "clock", "linear", "target", "weight", "spillover")


def leave_case(folder: Path) -> None:
    """Write sizes and arrays for both sides."""
    blocks = batch()
    noise = np.random.default_rng(2).standard_normal(initial_parameters(SHAPE, 1).size)
    arrays = {name: getattr(blocks, name) for name in ARRAYS}
    arrays["parameters"] = (initial_parameters(SHAPE, 1) + 0.05 * noise).astype(np.float32)
    for name, values in arrays.items():
        (folder / f"{name}.bin").write_bytes(np.ascontiguousarray(values, np.float32).tobytes())
    described = {
        "layout": layout(SHAPE),
        "clip": CLIP * (1 - 1e-5),
        "warm_up": WARM_UP_BARS,
        "start_steps": [float(np.log(np.expm1(START_DEVIATION * step))) for step in (0.67449, 0.97036)],
        "arrays": {name: values.shape for name, values in arrays.items()},
    }
    (folder / "case.json").write_text(json.dumps(described))


def own_steps(folder: Path, steps: int) -> None:
    """Measure hansa in this process: the step as a member calls it."""
    parameters = np.frombuffer((folder / "parameters.bin").read_bytes(), np.float32).astype(np.float64)
    blocks = batch()
    found = block_updates(SHAPE, parameters, blocks, clip=CLIP)
    seconds = []
    for _ in range(steps):
        begin = time.perf_counter()
        found = block_updates(SHAPE, parameters, blocks, clip=CLIP)
        seconds.append(time.perf_counter() - begin)
    (folder / "hansa.bin").write_bytes(found.astype(np.float32).tobytes())
    print(json.dumps({"seconds": seconds}))


def run(command: list[str], cores: list[int]) -> dict[str, Any]:
    """Run one side bound to some cores and return what it prints."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    threads = {"PYTHONWARNINGS": "ignore"} | dict.fromkeys(names, str(len(cores)))
    done = subprocess.run(
        command,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        timeout=STEP_SECONDS,
        env=os.environ | threads,
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def measure(folder: Path, torch: Path | None, cores: list[int], asked: argparse.Namespace) -> dict[str, list[float]]:
    """Return each side's median seconds in each round."""
    found: dict[str, list[float]] = {}
    for _ in range(asked.rounds):
        own = [sys.executable, __file__, "--own", str(folder), "--steps", str(asked.steps)]
        found.setdefault("hansa", []).append(statistics.median(run(own, cores)["seconds"]))
        for way in WAYS if torch else ():
            command = [str(torch), str(HERE / "torch_network.py"), str(folder), str(len(cores))]
            one = run([*command, str(asked.steps), way], cores)
            found.setdefault(way, []).append(statistics.median(one["seconds"]))
    return found


def require_equal(folder: Path) -> float:
    """Return the largest difference of the clipped sums, as a share of their norm; fail if it is no rounding."""
    own = np.frombuffer((folder / "hansa.bin").read_bytes(), np.float32)
    worst = 0.0
    for way in PRIVATE:
        other = np.frombuffer((folder / f"torch-{way}.bin").read_bytes(), np.float32)
        worst = max(worst, float(np.linalg.norm(own - other) / np.linalg.norm(own)))
    if worst > 1e-3:
        raise SystemExit(f"PyTorch's clipped sum differs from hansa's by {worst:.1e} of its norm: not the same network")
    return worst


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cores", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--own", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.own:
        own_steps(asked.own, asked.steps)
        return
    torch: Path | None = None
    try:
        torch = python_of("torch")
    except UnavailableError as error:
        print(f"PyTorch is left out: {error}. It needs the processor wheel; say where with PIP_FIND_LINKS=DIR.\n")
    usable = sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        leave_case(folder)
        print(f"{BLOCKS} days, {BASKETS} markets, {initial_parameters(SHAPE, 1).size} parameters")
        print("| cores | way | seconds an epoch | hansa / it, median (least to most) |")
        print("|---|---|---|---|")
        for count in asked.cores:
            if count > len(usable):
                print(f"| {count} | only {len(usable)} cores here | | |")
                continue
            found = measure(folder, torch, usable[:count], asked)
            for way, seconds in found.items():
                ratios = [own / other for own, other in zip(found["hansa"], seconds, strict=True)]
                words = (
                    ""
                    if way == "hansa"
                    else f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
                )
                name = "hansa" if way == "hansa" else f"PyTorch, {way}"
                print(f"| {count} | {name} | {statistics.median(seconds):.3f} | {words} |", flush=True)
        if torch:
            print(f"\nclipped sums agree to {require_equal(folder):.0e} of their norm")


if __name__ == "__main__":
    main()
