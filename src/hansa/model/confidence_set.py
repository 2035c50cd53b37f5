"""The model confidence set: which of many forecasts may be the best, at a given confidence.

    d_i = mean loss of i - mean loss of the set,   t_i = d_i / se(d_i),   T_max = max over the set of t_i

While the bootstrap says that a T_max as large would be rare among equally good models, the model of the largest t_i is
dropped. A model's p-value is the largest one met until it was dropped; the set at confidence 1 - a holds the models of
p-value a or more. Blocks of bars are drawn with replacement, all models on the same blocks.

Guarantees: the best of the sample is never dropped (p-value 1); the same seed gives the same set.
Does NOT guarantee: power; with few or noisy blocks hardly anything is dropped, and the set then says so.

Source: Hansen, Lunde and Nason, Econometrica 79(2), 2011 (the T_max statistic, section 3.1.2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hansa.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jaxtyping import Float, Int


def confidence_set(
    losses: Mapping[str, Float[np.ndarray, " bar"]],
    blocks: Int[np.ndarray, " bar"],
    *,
    seed: int = 0,
    draws: int = 1000,
) -> dict[str, float]:
    """Return the p-value of each model; the 90 % set are those of 0.1 or more.

    Args:
        losses: By model, the loss at each bar, of the same bars.
        blocks: Block (day, week or month) of each bar; longer than losses hang together.
        seed: Seed of the draws.
        draws: Bootstrap draws.

    Raises:
        ModelError: There is no model, shapes disagree, a loss is not finite, or there are fewer than two blocks.
    """
    if not losses:
        raise ModelError("expected the losses of at least one model, got none")
    names = list(losses)
    bad = next((name for name in names if losses[name].shape != blocks.shape), None)
    if bad is not None:
        raise ModelError(f"expected losses of {blocks.size} bars, got shape {losses[bad].shape} of {bad}")
    table = np.stack([losses[name] for name in names])
    if not np.isfinite(table).all():
        raise ModelError("expected finite losses; keep the bars on which every model has a forecast")
    mean, drawn = _bootstrap(table, blocks, seed=seed, draws=draws)
    return _eliminate(names, mean, drawn)


def _bootstrap(
    table: Float[np.ndarray, "model bar"], blocks: Int[np.ndarray, " bar"], *, seed: int, draws: int
) -> tuple[Float[np.ndarray, " model"], Float[np.ndarray, "draw model"]]:
    """Return the models' mean losses, and those of each draw of blocks."""
    found, place = np.unique(blocks, return_inverse=True)
    if found.size < 2:
        raise ModelError(f"expected at least 2 blocks of bars, got {found.size}; score more days")
    counts = np.bincount(place).astype(float)
    sums = np.stack([np.bincount(place, weights=row) for row in table])
    chosen = np.random.default_rng(seed).multinomial(found.size, np.full(found.size, 1 / found.size), size=draws)
    return table.mean(axis=1), (chosen @ sums.T) / (chosen @ counts)[:, None]


def _eliminate(
    names: list[str], mean: Float[np.ndarray, " model"], drawn: Float[np.ndarray, "draw model"]
) -> dict[str, float]:
    p_values: dict[str, float] = {}
    kept = list(range(len(names)))
    largest = 0.0
    while len(kept) > 1:
        gap = mean[kept] - mean[kept].mean()
        noise = (drawn[:, kept] - drawn[:, kept].mean(axis=1, keepdims=True)) - gap
        error = np.sqrt((noise**2).mean(axis=0))
        if not (error > 0).any():  # they forecast alike: none can be told from another
            break
        error = np.maximum(error, 1e-300)
        statistic = gap / error
        p_value = float((np.max(noise / error, axis=1) >= statistic.max()).mean())
        largest = max(largest, p_value)
        p_values[names[kept.pop(int(np.argmax(statistic)))]] = largest
    return {name: p_values.get(name, 1.0) for name in names}
