"""Two small networks to be measured against: STID-MLP, and the same with one hop over a learned graph of the nodes.

    h = [window of the cost | measures of the bar | node embedding | slot embedding] W + b,
    graph network:  h <- h + tanh( softmax(E1 E2ᵀ) h V ),
    h <- h + silu(h U + c)   twice,   forecast = out(h)

Trained with Adam on the squared error of scaled values, early stopping on validation rows; one compiled step a shape.

Does NOT guarantee: the strength of the published networks; sizes are chosen for seconds on a processor.

Source: Shao, Zhang, Wang, Wei, Xu, CIKM 2022 (STID); Wu et al., IJCAI 2019 (learned adjacency); Kingma and Ba, ICLR
2015 (Adam).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import jax
import jax.numpy as jnp
import numpy as np

from hansa.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Float, Int

WIDTH: Final = 32
EMBEDDING: Final = 8
BATCH: Final = 64
_DECAYS: Final = (0.9, 0.999)
_LAYERS: Final = 2

Parameters = dict[str, jax.Array]


@dataclass(frozen=True, slots=True)
class NodeSeries:
    """Series of several nodes on one grid, scaled, for one network.

    Attributes:
        inputs: What is seen at each bar, the cost first, 0 where absent, (time, node, measure).
        target: Label of each row, NaN where there is none, (time, node).
        slot: Slot of the season of each bar.
        slots: Slots of a season; embedded in at most 24 groups.
    """

    inputs: Float[np.ndarray, "time node measure"]
    target: Float[np.ndarray, "time node"]
    slot: Int[np.ndarray, " time"]
    slots: int


def train_and_forecast(
    series: NodeSeries,
    fit: Int[np.ndarray, " row"],
    validation: Int[np.ndarray, " row"],
    *,
    window_bars: int,
    is_graph: bool,
    seed: int,
    epochs: int = 12,
    most_rows: int = 8192,
    learning_rate: float = 3e-3,
) -> Float[np.ndarray, "time node"]:
    """Train one network and forecast at every row.

    Args:
        series: Scaled series.
        fit: Rows to learn from; of more than `most_rows`, so many are drawn anew each epoch.
        validation: Rows after whose smallest error training stops.
        window_bars: Bars of the cost that the network sees.
        is_graph: Whether nodes see each other.
        seed: Of parameters and batches.
        epochs: At most.
        most_rows: Rows of an epoch.
        learning_rate: Of Adam.

    Returns:
        Scaled forecasts, (time, node).

    Raises:
        ModelError: A part has no row.
    """
    if fit.size == 0 or validation.size == 0:
        raise ModelError(f"expected rows to fit and to validate, got {fit.size} and {validation.size}")
    rng = np.random.default_rng(seed)
    groups = min(series.slots, 24)
    nodes, measures = series.inputs.shape[1:]
    weights = _initial(rng, window_bars + measures, nodes, groups)
    moments = (jax.tree.map(jnp.zeros_like, weights), jax.tree.map(jnp.zeros_like, weights))
    padded = np.concatenate([np.repeat(series.inputs[:1, :, :1], window_bars - 1, axis=0), series.inputs[:, :, :1]])
    windows = np.lib.stride_tricks.sliding_window_view(padded[:, :, 0], window_bars, axis=0)
    slot = np.roll(series.slot, -1) * groups // series.slots  # of the bar that is forecast

    def batch(rows: Int[np.ndarray, " row"]) -> tuple[np.ndarray, np.ndarray]:
        return np.concatenate([windows[rows], series.inputs[rows]], axis=2).astype(np.float32), slot[rows]

    target = np.nan_to_num(series.target).astype(np.float32)
    counts = np.isfinite(series.target).astype(np.float32)
    best, kept, step = np.inf, weights, 0
    for _ in range(epochs):
        order = rng.permutation(fit)[:most_rows]
        if order.size < BATCH:  # fewer rows than a batch: some are drawn twice, so that one program serves all
            order = rng.choice(fit, BATCH)
        for rows in order[: order.size // BATCH * BATCH].reshape(-1, BATCH):
            step += 1
            seen, when = batch(rows)
            shown = (seen, when, target[rows], counts[rows])
            pace = np.array([step, learning_rate], np.float32)
            weights, moments = _adam(weights, moments, shown, pace, is_graph)
        made = _forecast_rows(weights, batch, validation, is_graph=is_graph)
        loss = float((counts[validation] * (made - target[validation]) ** 2).sum() / counts[validation].sum())
        if loss < best:
            best, kept = loss, weights
    return _forecast_rows(kept, batch, np.arange(series.slot.size), is_graph=is_graph)


def _forecast_rows(
    weights: Parameters,
    batch: Callable[[Int[np.ndarray, " row"]], tuple[np.ndarray, np.ndarray]],
    rows: Int[np.ndarray, " row"],
    *,
    is_graph: bool,
) -> Float[np.ndarray, "row node"]:
    parts, chunk = [], 1024
    for begin in range(0, rows.size, chunk):
        some = rows[begin : begin + chunk]
        seen, when = batch(np.concatenate([some, np.full(chunk - some.size, some[-1])]))
        parts.append(np.asarray(_network(weights, seen, when, is_graph), dtype=np.float64)[: some.size])
    return np.concatenate(parts)


def _initial(rng: np.random.Generator, seen: int, nodes: int, groups: int) -> Parameters:
    def normal(rows: int, columns: int) -> jax.Array:
        return jnp.asarray(rng.standard_normal((rows, columns)) / np.sqrt(rows), jnp.float32)

    entering = seen + 2 * EMBEDDING
    weights = {
        "node": normal(nodes, EMBEDDING),
        "slot": normal(groups, EMBEDDING),
        "enter": normal(entering, WIDTH),
        "source": normal(nodes, EMBEDDING),
        "sink": normal(nodes, EMBEDDING),
        "hop": normal(WIDTH, WIDTH),
        "out": jnp.zeros((WIDTH, 1), jnp.float32),
        "out_bias": jnp.zeros(1, jnp.float32),
    }
    for layer in range(_LAYERS):
        weights[f"layer_{layer}"] = normal(WIDTH, WIDTH)
        weights[f"bias_{layer}"] = jnp.zeros(WIDTH, jnp.float32)
    return weights


@partial(jax.jit, static_argnums=3)
def _network(
    weights: Parameters,
    seen: Float[jax.Array, "row node column"],
    slot: Int[jax.Array, " row"],
    is_graph: bool,  # noqa: FBT001 - a static argument
) -> Float[jax.Array, "row node"]:
    rows, nodes, _ = seen.shape
    node = jnp.broadcast_to(weights["node"], (rows, nodes, EMBEDDING))
    when = jnp.broadcast_to(weights["slot"][slot][:, None, :], (rows, nodes, EMBEDDING))
    hidden = jnp.concatenate([seen, node, when], axis=2) @ weights["enter"]
    if is_graph:
        graph = jax.nn.softmax(weights["source"] @ weights["sink"].T, axis=1)
        hidden = hidden + jnp.tanh(jnp.einsum("ij,tjw->tiw", graph, hidden) @ weights["hop"])
    for layer in range(_LAYERS):
        hidden = hidden + jax.nn.silu(hidden @ weights[f"layer_{layer}"] + weights[f"bias_{layer}"])
    return (hidden @ weights["out"] + weights["out_bias"])[..., 0]


@partial(jax.jit, static_argnums=4)
def _adam(
    weights: Parameters,
    moments: tuple[Parameters, Parameters],
    batch: tuple[jax.Array, jax.Array, jax.Array, jax.Array],
    pace: Float[jax.Array, " two"],
    is_graph: bool,  # noqa: FBT001 - a static argument of the compiler
) -> tuple[Parameters, tuple[Parameters, Parameters]]:
    seen, slot, target, counts = batch
    step, rate = pace

    def loss(candidate: Parameters) -> jax.Array:
        error = _network(candidate, seen, slot, is_graph) - target
        return jnp.asarray((counts * error**2).sum() / jnp.maximum(counts.sum(), 1.0))

    gradient = jax.grad(loss)(weights)
    first = jax.tree.map(lambda m, g: _DECAYS[0] * m + (1 - _DECAYS[0]) * g, moments[0], gradient)
    second = jax.tree.map(lambda v, g: _DECAYS[1] * v + (1 - _DECAYS[1]) * g**2, moments[1], gradient)
    shrink = jnp.sqrt(1 - _DECAYS[1] ** step) / (1 - _DECAYS[0] ** step)
    moved = jax.tree.map(lambda w, m, v: w - rate * shrink * m / (jnp.sqrt(v) + 1e-8), weights, first, second)
    return moved, (first, second)
