"""Which cells a benchmark consists of: the quick one and the full one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from hansa.lab.benchmark import trees
from hansa.lab.benchmark.cell import Cell
from hansa.lab.benchmark.datasets import DATASETS, FUTURES
from hansa.lab.benchmark.epsilons import ALL, FOUR_A_DAY, FOUR_A_YEAR, NO_NOISE, SHIPPED
from hansa.lab.benchmark.rivals import GROUPS, RANDOM

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SHARED: Final = ("simulated", "stablecoins", "stablecoin_venues", "bitcoin")
NEWCOMER_SET: Final = "china_futures"
SEEDS: Final = 5
SWEEP: Final = (0.25, 0.5, 0.75, 1.5, 2.0, 4.0)
QUICK_SWEEP: Final = (0.5, 2.0)


@dataclass(frozen=True, slots=True)
class Plan:
    """What is run.

    Attributes:
        seeds: Of noise, random starts and simulated markets.
        sweep: Multiples of the calibrated view noise.
        sweep_seeds: Simulated markets at each.
        is_quick: Fewer folds, seeds, budgets and rivals.
        datasets: Names, in the order of the tables.
        missing: Data sets whose files are not there.
    """

    seeds: int
    sweep: tuple[float, ...]
    sweep_seeds: int
    is_quick: bool
    datasets: tuple[str, ...]
    missing: tuple[str, ...]


def plan(data: Path | None, *, is_quick: bool, only: Sequence[str] = ()) -> Plan:
    """Return the plan for the data sets that are there.

    Args:
        data: Folder of the real data.
        is_quick: Whether a minute must do.
        only: Data sets wanted; all without.
    """
    wanted = [name for name in DATASETS if not only or name in only]
    if is_quick and not only:
        wanted = [name for name in wanted if name in {"simulated", "stablecoins", "china_futures", "djia_daily"}]
    there = tuple(name for name in wanted if DATASETS[name].is_there(data))
    missing = tuple(name for name in wanted if name not in there)
    if is_quick:
        return Plan(2, QUICK_SWEEP, 1, is_quick, there, missing)
    return Plan(SEEDS, SWEEP, 2, is_quick, there, missing)


def folds(chosen: Plan, dataset: str) -> tuple[range, int]:
    """Return the folds that are run, and of how many: the quick plan takes the last one."""
    count = DATASETS[dataset].folds
    return (range(count - 1, count) if chosen.is_quick else range(count)), count


def cells(chosen: Plan) -> list[Cell]:
    """Return every cell, the slow ones first."""
    found: list[Cell] = []
    for dataset in chosen.datasets:
        found += _cells_of(chosen, dataset)
    if "simulated" in chosen.datasets:
        for factor in chosen.sweep:
            for seed in range(1, chosen.sweep_seeds + 1):
                found.append(Cell("alone", "simulated", 0, 1, seed, noise_factor=factor))
                found += [
                    Cell("federated", "simulated", 0, 1, seed, budget.name, noise_factor=factor)
                    for budget in ((SHIPPED,) if chosen.is_quick else (NO_NOISE, SHIPPED))
                ]
    if NEWCOMER_SET in chosen.datasets:
        which, count = folds(chosen, NEWCOMER_SET)
        for fold in which:
            for member in FUTURES:
                for budget in (SHIPPED,) if chosen.is_quick else (NO_NOISE, SHIPPED):
                    found.append(Cell("newcomer", NEWCOMER_SET, fold, count, 1, budget.name, newcomer=member))
    return sorted(
        found, key=lambda cell: (cell.kind != "rivals" or cell.name not in RANDOM, cell.dataset != "simulated")
    )


def _cells_of(chosen: Plan, dataset: str) -> list[Cell]:
    which, count = folds(chosen, dataset)
    is_shared = dataset in SHARED
    is_simulated = dataset == "simulated"
    seeds = range(1, chosen.seeds + 1)
    budgets = (*ALL, *((FOUR_A_YEAR, FOUR_A_DAY) if is_shared else ()))
    if chosen.is_quick:
        budgets = (NO_NOISE, SHIPPED, *((FOUR_A_YEAR if is_simulated else FOUR_A_DAY,) if is_shared else ()))
    groups = [name for name in GROUPS if not name.startswith("trees") or trees.is_there()]
    if chosen.is_quick:
        groups = ["simple"] if is_simulated or not trees.is_there() else ["simple", "trees_pooled"]
    found = []
    for fold in which:
        for seed in seeds:
            if not chosen.is_quick if is_simulated else seed == 1:
                found.append(Cell("coverage", dataset, fold, count, seed, SHIPPED.name))
            if is_simulated or seed == 1:
                found.append(Cell("alone", dataset, fold, count, seed))
            found += [
                Cell("federated", dataset, fold, count, seed, budget.name)
                for budget in budgets
                if is_simulated or seed == 1 or not budget.is_none
            ]
            found += [
                Cell("rivals", dataset, fold, count, seed, group)
                for group in groups
                if is_simulated or seed == 1 or group in RANDOM
            ]
    return found
