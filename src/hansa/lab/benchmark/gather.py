"""Puts the cells of a data set together: every arm's losses on the same bars, folds and simulated markets in a row.

An arm of several seeds has the mean of its losses over them: the loss of one model of that kind, not of their ensemble.
A federated arm's name carries its budget: `federated_state|8`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from hansa.errors import ModelError
from hansa.model.evaluation import bar_losses

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jaxtyping import Float, Int

    from hansa.lab.benchmark.cell import Cell, Outcome
    from hansa.model.evaluation import Metric

METRICS: tuple[Metric, ...] = ("rmse", "mape", "qlike")


@dataclass(frozen=True, slots=True, eq=False)
class Losses:
    """A data set's losses.

    Attributes:
        by_arm: By arm and metric, NaN where nothing is scored, (series, bar); the same bars for all arms.
        blocks: Block of each bar; none spans two folds or two simulated markets.
        members: Member of each series.
        markets: Market of each series.
        left_out: Rows of the files that were left out, by reason.
    """

    by_arm: Mapping[str, Mapping[Metric, Float[np.ndarray, "series bar"]]] = field(repr=False)
    blocks: Int[np.ndarray, " bar"] = field(repr=False)
    members: tuple[str, ...]
    markets: tuple[str, ...]
    left_out: Mapping[str, int]


def gather(outcomes: Mapping[Cell, Outcome], dataset: str, *, noise_factor: float = 1.0) -> Losses:
    """Return the losses of a data set, newcomers left aside.

    Raises:
        ModelError: No cell is of that data set.
    """
    chosen = {
        cell: outcome
        for cell, outcome in outcomes.items()
        if cell.dataset == dataset and cell.noise_factor == noise_factor and cell.kind not in {"newcomer", "coverage"}
    }
    return _joined(chosen, dataset)


def newcomers(outcomes: Mapping[Cell, Outcome], dataset: str) -> Losses | None:
    """Return the losses of members that have just joined, each in its turn; None where there was none."""
    chosen = {cell: found for cell, found in outcomes.items() if cell.dataset == dataset and cell.kind == "newcomer"}
    return _joined(chosen, dataset) if chosen else None


def _joined(chosen: Mapping[Cell, Outcome], dataset: str) -> Losses:
    if not chosen:
        raise ModelError(f"expected cells of {dataset}, got none; run it again without --resume")
    is_simulated = dataset == "simulated"
    stretches: dict[int, dict[str, list[dict[Metric, np.ndarray]]]] = {}
    blocks: dict[int, np.ndarray] = {}
    for cell, outcome in chosen.items():
        stretch = cell.seed if is_simulated else cell.fold
        blocks[stretch] = outcome.blocks
        for arm, error in outcome.errors.items():
            name = f"{arm}|{cell.name}" if cell.kind in {"federated", "newcomer"} and arm != "local" else arm
            losses = {metric: bar_losses(error.astype(np.float64), metric) for metric in METRICS}
            stretches.setdefault(stretch, {}).setdefault(name, []).append(losses)
    order = sorted(stretches)
    arms = set.intersection(*(set(stretches[stretch]) for stretch in order))
    merge = _over_members if any(cell.newcomer for cell in chosen) else _over_seeds
    by_arm = {
        arm: {
            metric: np.concatenate([merge([one[metric] for one in stretches[at][arm]]) for at in order], axis=1)
            for metric in METRICS
        }
        for arm in sorted(arms)
    }
    largest = 1 + max(int(one.max()) for one in blocks.values())
    numbered = np.concatenate([blocks[at] + place * largest for place, at in enumerate(order)])
    first = next(iter(chosen.values()))
    return Losses(by_arm, numbered, first.members, first.markets, first.left_out)


def _over_seeds(found: list[np.ndarray]) -> np.ndarray:
    return np.asarray(np.mean(found, axis=0))


def _over_members(found: list[np.ndarray]) -> np.ndarray:
    """Return the losses of all newcomers: each cell holds those of one member."""
    stacked = np.stack(found)
    present = np.isfinite(stacked)
    total = np.where(present, stacked, 0.0).sum(axis=0)
    return np.asarray(np.where(present.any(axis=0), total / np.maximum(present.sum(axis=0), 1), np.nan))
