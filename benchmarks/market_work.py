"""How long a member's own arithmetic takes: z-scores, the stress index, a simulated month; median of five, one core.

Run: python benchmarks/market_work.py
"""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING

import numpy as np

from hansa.lab.twins import Scenario, simulate
from hansa.market.features import trailing_zscores
from hansa.model.lsi import IndexRule, stress_index

if TYPE_CHECKING:
    from collections.abc import Callable

REPEATS = 5


def median_seconds(work: Callable[[], object]) -> float:
    seconds = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def main() -> None:
    rng = np.random.default_rng(2)
    values, state = rng.normal(size=10_000), rng.normal(size=(8000, 3))
    rule = IndexRule(signs=(1, 1, -1), weights=(1.0, 1.0, 1.0))
    works: dict[str, Callable[[], object]] = {
        "z-scores, 10,000 bars, 288 slots": lambda: trailing_zscores(
            values, np.arange(10_000) % 288, window_bars=60 * 288, minimum=5
        ),
        "stress index, 8,000 bars, 3 measures": lambda: stress_index(state, np.arange(8000) % 288, rule),
        "simulated month, 5 members, 3 markets": lambda: simulate(Scenario(seed=17)),
    }
    print("| work | s |\n|---|---|")
    for name, work in works.items():
        print(f"| {name} | {median_seconds(work):.3f} |")


if __name__ == "__main__":
    main()
