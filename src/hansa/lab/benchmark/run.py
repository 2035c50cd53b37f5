"""`hansa benchmark liquidity`: runs the plan and returns its document."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from scipy import stats

from hansa.errors import ConfigurationError
from hansa.lab.benchmark import trees
from hansa.lab.benchmark.coverage import coverages
from hansa.lab.benchmark.datasets import DATASETS
from hansa.lab.benchmark.epsilons import BY_NAME, DELTA, NO_NOISE
from hansa.lab.benchmark.gather import gather, newcomers
from hansa.lab.benchmark.plan import NEWCOMER_SET, SHARED, cells, folds, plan
from hansa.lab.benchmark.scores import SHIPPED_ARM, score
from hansa.lab.benchmark.spread import run_cells
from hansa.lab.benchmark.targets import CUT_KEYS, STATE, noise_of_cuts, targets
from hansa.model.comparison import mean_ratio, member_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from hansa.lab.benchmark.cell import Cell, Outcome
    from hansa.lab.benchmark.gather import Losses
    from hansa.lab.benchmark.plan import Plan
    from hansa.lab.benchmark.spread import Backend

UNITS: Final[Mapping[str, str]] = {
    "shared": "yearly: one day of a member's raw data (clipped day-blocks; it reaches two of them); state: "
    "what moves a "
    "measure of a bar by the influence cap, all bars of a day - where bars come without trades no client is "
    "bounded by it",
    "own": "yearly: one day of a member's raw data (clipped blocks as long as the longest lag; it reaches two "
    "of them); "
    "state: a change of a member's measures of a day by the influence cap, whoever made it",
}


@dataclass(frozen=True, slots=True)
class Settings:
    """What the command was asked for.

    Attributes:
        data: Folder of the real data, or None.
        is_quick: Whether a minute must do.
        only: Data sets wanted; all without.
        jobs: Processes.
        backend: Where they run.
        scheduler: Address of a Dask scheduler.
        store: Folder of checkpoints, or None.
    """

    data: Path | None
    is_quick: bool
    only: tuple[str, ...]
    jobs: int
    backend: Backend
    scheduler: str | None
    store: Path | None


def benchmark(settings: Settings, *, show: Callable[[int, int, Cell, bool], None]) -> dict[str, Any]:
    """Run the benchmark and return its document.

    Args:
        settings: What is wanted.
        show: Called after each cell with how many are done, of how many, which, and whether it was read.

    Raises:
        ConfigurationError: No data set is there, or a backend is not installed.
    """
    started = time.monotonic()
    unknown = sorted(set(settings.only) - set(DATASETS))
    if unknown:
        raise ConfigurationError(f"expected data sets of {', '.join(DATASETS)}; got {', '.join(unknown)}")
    chosen = plan(settings.data, is_quick=settings.is_quick, only=settings.only)
    if not chosen.datasets:
        raise ConfigurationError(f"the files of {', '.join(chosen.missing)} are not there; give --data DIR")
    wanted = cells(chosen)
    done, read = 0, 0

    def finished(cell: Cell, is_resumed: bool) -> None:  # noqa: FBT001 - the callback's second argument
        nonlocal done, read
        done, read = done + 1, read + is_resumed
        show(done, len(wanted), cell, is_resumed)

    outcomes = run_cells(
        wanted,
        settings.data,
        store=settings.store,
        jobs=settings.jobs,
        backend=settings.backend,
        scheduler=settings.scheduler,
        finished=finished,
    )
    worked = time.monotonic()
    return _document(chosen, outcomes) | {
        "cells": len(wanted),
        "cells_read": read,
        "cell_seconds": round(sum(one.seconds for one in outcomes.values()), 1),
        "seconds": round(time.monotonic() - started, 1),
        "seconds_scoring": round(time.monotonic() - worked, 1),
        "jobs": settings.jobs,
        "backend": settings.backend,
    }


def _document(chosen: Plan, outcomes: Mapping[Cell, Outcome]) -> dict[str, Any]:
    scores: dict[str, Any] = {}
    simulated: Losses | None = None
    for name in chosen.datasets:
        losses = gather(outcomes, name)
        simulated = losses if name == "simulated" else simulated
        count = folds(chosen, name)
        scores[name] = {
            **score(losses, draws=300 if chosen.is_quick else 1000),
            "coverage": coverages(outcomes, name),
            "folds": {"run": list(count[0]), "of": count[1]},
            "privacy_unit": UNITS["shared" if name in SHARED else "own"],
        }
    joined = newcomers(outcomes, NEWCOMER_SET)
    fresh = None if joined is None else _newcomers(joined)
    sweep = _sweep(chosen, outcomes) if simulated is not None else []
    found = targets(scores, fresh, sweep)
    if simulated is not None and chosen.seeds > 1:
        found += _over_markets(simulated)
    return {
        "is_quick": chosen.is_quick,
        "seeds": chosen.seeds,
        "sweep_seeds": chosen.sweep_seeds,
        "delta": DELTA,
        "budgets": {one.name: {"yearly": _number(one.yearly), "state": _number(one.state)} for one in BY_NAME.values()},
        "shipped": SHIPPED_ARM,
        "missing": list(chosen.missing),
        "not_installed": [] if trees.is_there() else ["lightgbm"],
        "datasets": scores,
        "newcomer": fresh,
        "view_noise": {"rows": sweep, "at_cut": {key: noise_of_cuts(sweep, key) for key in CUT_KEYS if sweep}},
        "targets": found,
        "defaults": {name: one["default"]["model"] for name, one in scores.items()},
    }


def _newcomers(losses: Losses) -> dict[str, Any]:
    scored = np.min([np.isfinite(one["rmse"]).sum(axis=1) for one in losses.by_arm.values()], axis=0) > 0
    local = losses.by_arm["local"]["rmse"][scored]
    ratios = {}
    for arm, one in losses.by_arm.items():
        found = mean_ratio(one["rmse"][scored], local, losses.blocks, metric="rmse")
        ratios[arm] = {"rmse": {"estimate": found.estimate, "low": found.low, "high": found.high}}
    return {"series": int(scored.sum()), "history_bars": 120, "ratios": ratios}


def _sweep(chosen: Plan, outcomes: Mapping[Cell, Outcome]) -> list[dict[str, float]]:
    """Return the cut of MAPE by view noise, the calibrated one included, on the same simulated markets.

    Of the shipped model (`cut`) and, where it was run, of the same without privacy noise (`cut_without_noise`).
    """
    rows = []
    for factor in sorted({1.0, *chosen.sweep}):
        some = {cell: one for cell, one in outcomes.items() if cell.seed <= chosen.sweep_seeds}
        losses = gather(some, "simulated", noise_factor=factor)
        errors = {arm: float(member_errors(one["mape"], "mape").mean()) for arm, one in losses.by_arm.items()}
        found = {
            key: 1 - errors[arm] / errors["local"]
            for key, arm in zip(CUT_KEYS, (SHIPPED_ARM, f"{STATE}|{NO_NOISE.name}"), strict=True)
            if arm in errors
        }
        rows.append({"factor": factor, **found})
    return rows


def _over_markets(losses: Losses) -> list[dict[str, Any]]:
    """Return the cut's interval over such markets, by Student's t: wider than over the days of these very markets."""
    parts = np.array_split(np.arange(losses.blocks.size), _markets(losses.blocks))
    own, rival = losses.by_arm[SHIPPED_ARM]["mape"], losses.by_arm["local"]["mape"]
    cuts = np.array([1 - float(np.nanmean(own[:, one]) / np.nanmean(rival[:, one])) for one in parts])
    half = float(stats.t.ppf(0.95, cuts.size - 1) * cuts.std(ddof=1) / np.sqrt(cuts.size))
    low = float(cuts.mean()) - half
    return [
        {
            "dataset": "simulated",
            "target": f"lower bound over such markets (Student's t, {cuts.size} seeds)",
            "wanted": "> 25 %",
            "found": f"{low:.1%} (mean {cuts.mean():.1%})",
            "verdict": "MET" if low > 0.25 else "MISSED",
        }
    ]


def _markets(blocks: np.ndarray) -> int:
    """Return how many simulated markets follow each other: between two of them the block number jumps."""
    return int((np.diff(blocks) > 1).sum()) + 1


def _number(value: float) -> float | None:
    return value if np.isfinite(value) else None


def arms_of(scores: Mapping[str, Any]) -> Sequence[str]:
    """Return the arms of a data set, the smallest error first."""
    return sorted(scores["errors"], key=lambda arm: float(scores["errors"][arm]["rmse"]["estimate"]))
