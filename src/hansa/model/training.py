"""Federated training of the residual network: clipped day gradients, one linear server, a gate at home.

    update of a member = sum over its day-blocks d of clip( gradient of the mean pinball loss on d, bound )
    v <- momentum v + (published sum) / blocks,      theta <- theta - rate v

Every member applies the same published sum, so all hold the same parameters without anybody sending them. The server is
linear in the members' updates, which exact attribution of contributions needs.

Formal guarantee: one day-block more or less moves a member's update by at most `clip` in L2 norm. The block is one day
over all baskets. Windows begin `WARM_UP_BARS` before the day and regressors look back one day, so the raw data of one
day reaches its own block and the next: for the day of raw data as unit, both blocks taken out, the sensitivity is
2 clip. The bound is fixed, or follows the norms of the round (`hansa.model.clipping`).

Does NOT guarantee: that the network helps under noise. A member therefore takes a share alpha of the residual, chosen
on its own later rows, and 0 unless it clearly helps there.

Source: Abadi et al., CCS 2016 (clipped per-example gradients); Hsu, Qi, Brown, arXiv:1909.06335 (server momentum);
Koenker and Bassett, Econometrica 46(1), 1978 (pinball loss).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import jax
import jax.numpy as jnp
import numpy as np

from hansa.errors import ModelError
from hansa.model.core import is_as_good
from hansa.model.design import QUANTILES
from hansa.model.network import WARM_UP_BARS, NetworkShape, parameter_count, quantile_offsets

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

GATES: Final = tuple(step / 10 for step in range(11))


@dataclass(frozen=True, slots=True)
class Series:
    """A member's scaled series of all baskets.

    Attributes:
        inputs: From `network.stack_inputs`, shape (time, basket, feature).
        clock: Harmonics of the time of day, shape (time, 4).
        linear: Forecast of the linear core, scaled units, shape (time, basket).
        target: Label, scaled units, NaN where there is none, shape (time, basket).
        days: Number of the day of each bar, ascending.
    """

    inputs: Float[np.ndarray, "time basket feature"]
    clock: Float[np.ndarray, "time clock"]
    linear: Float[np.ndarray, "time basket"]
    target: Float[np.ndarray, "time basket"]
    days: Int[np.ndarray, " time"]


@dataclass(frozen=True, slots=True)
class Batch:
    """Day-blocks of one member in fixed shapes, single precision.

    Attributes:
        inputs: Shape (block, warm-up + bar, basket, feature).
        clock: Shape (block, warm-up + bar, 4).
        linear: Shape (block, bar, basket).
        target: 0 where there is no label, shape (block, bar, basket).
        weight: 1 where a label counts, 0 elsewhere; an empty block is all 0.
        spillover: W, shape (basket, basket).
    """

    inputs: Float[np.ndarray, "block window basket feature"]
    clock: Float[np.ndarray, "block window clock"]
    linear: Float[np.ndarray, "block bar basket"]
    target: Float[np.ndarray, "block bar basket"]
    weight: Float[np.ndarray, "block bar basket"]
    spillover: Float[np.ndarray, "basket basket"]


@dataclass(frozen=True, slots=True)
class ServerState:
    """What every member holds between rounds: parameters and velocity."""

    parameters: Float[np.ndarray, " param"]
    velocity: Float[np.ndarray, " param"]


@dataclass(frozen=True, slots=True)
class ServerMomentum:
    """The linear server, applied by every member alike.

    Attributes:
        learning_rate: Step along the velocity.
        momentum: Share of the velocity that a round keeps.
    """

    learning_rate: float = 0.1
    momentum: float = 0.9

    def start(self, parameters: Float[np.ndarray, " param"]) -> ServerState:
        """Return the state before the first round."""
        return ServerState(parameters, np.zeros_like(parameters))

    def apply(self, state: ServerState, total: Float[np.ndarray, " param"], *, blocks: int) -> ServerState:
        """Return the state after a round.

        Args:
            state: The state before.
            total: The published sum of the members' updates.
            blocks: Day-blocks of the cohort as the manifest says.

        Raises:
            ModelError: The sum has another length, a value is not finite, or there is no block.
        """
        if total.shape != state.parameters.shape or blocks < 1 or not np.isfinite(total).all():
            raise ModelError(
                f"expected a finite sum of {state.parameters.size} values over at least 1 block, "
                f"got shape {total.shape} over {blocks}"
            )
        velocity = self.momentum * state.velocity + total / blocks
        return ServerState(state.parameters - self.learning_rate * velocity, velocity)


def day_batch(
    series: Series,
    chosen: Bool[np.ndarray, " time"],
    spillover: Float[np.ndarray, "basket basket"],
    *,
    blocks: int,
    block_bars: int = 288,
) -> Batch:
    """Cut a member's series into day-blocks of fixed shapes.

    Args:
        series: The scaled series.
        chosen: Rows whose labels count (the training part).
        spillover: W.
        blocks: Blocks of the batch; with fewer days the rest is empty, so that all members compile one program.
        block_bars: Bars of a full day.

    Raises:
        ModelError: There are more days than blocks or a day has more bars than a block.
    """
    days = np.unique(series.days[chosen])
    if days.size > blocks:
        raise ModelError(f"expected at most {blocks} days of training rows, got {days.size}; raise the blocks")
    baskets = series.target.shape[1]
    window = WARM_UP_BARS + block_bars
    inputs = np.zeros((blocks, window, *series.inputs.shape[1:]), np.float32)
    clock = np.zeros((blocks, window, series.clock.shape[1]), np.float32)
    linear, target, weight = (np.zeros((blocks, block_bars, baskets), np.float32) for _ in range(3))
    counts = chosen[:, None] & np.isfinite(series.target) & np.isfinite(series.linear)
    for block, day in enumerate(days.tolist()):
        bars = np.flatnonzero(series.days == day)
        begin, length = int(bars[0]), bars.size
        if length > block_bars:
            raise ModelError(f"expected at most {block_bars} bars a day, got {length}")
        past = min(begin, WARM_UP_BARS)
        whole = slice(begin - past, begin + length)
        into = slice(WARM_UP_BARS - past, WARM_UP_BARS + length)
        today = slice(begin, begin + length)
        inputs[block, into] = np.nan_to_num(series.inputs[whole])
        clock[block, into] = series.clock[whole]
        weight[block, :length] = counts[today]
        linear[block, :length] = np.where(counts[today], series.linear[today], 0.0)
        target[block, :length] = np.where(counts[today], series.target[today], 0.0)
    return Batch(inputs, clock, linear, target, weight, spillover.astype(np.float32))


def block_updates(
    shape: NetworkShape, parameters: Float[np.ndarray, " param"], batch: Batch, *, clip: float
) -> Float[np.ndarray, " param"]:
    """Sum the clipped gradients of a member's day-blocks: what it sends through the door.

    Args:
        shape: Sizes of the network.
        parameters: Shared parameters of this round.
        batch: The member's day-blocks.
        clip: L2 norm to which each block's gradient is scaled down.

    Returns:
        The sum, shape (param); an empty block adds 0.

    Raises:
        ModelError: Shapes disagree with `shape`, `clip` is not positive, or a gradient is not finite.

    Guarantees:
        One block moves the result by at most `clip` in L2 norm.
    """
    expected = (shape.baskets, shape.features)
    if parameters.shape != (parameter_count(shape),) or batch.inputs.shape[2:] != expected or not clip > 0:
        raise ModelError(
            f"expected {parameter_count(shape)} parameters, inputs {expected} and a positive clip, "
            f"got {parameters.shape}, {batch.inputs.shape[2:]} and {clip}"
        )
    # A little below the bound: single precision must not lift a norm above it.
    total, _ = _clipped_sum(
        parameters.astype(np.float32),
        (batch.inputs, batch.clock, batch.linear, batch.target, batch.weight),
        batch.spillover,
        np.float32(clip * (1 - 1e-5)),
        shape,
    )
    update = np.asarray(total, dtype=np.float64)
    if not np.isfinite(update).all():
        raise ModelError("a day's gradient is not finite; check the scaled inputs for values that are not finite")
    return update


def block_norms(
    shape: NetworkShape, parameters: Float[np.ndarray, " param"], batch: Batch
) -> Float[np.ndarray, " block"]:
    """Return the L2 norm of the gradient of each of a member's day-blocks that has labels; they stay at home.

    Raises:
        ModelError: A norm is not finite.
    """
    days = (batch.inputs, batch.clock, batch.linear, batch.target, batch.weight)
    _, found = _clipped_sum(parameters.astype(np.float32), days, batch.spillover, np.float32(1.0), shape)
    norms: Float[np.ndarray, " block"] = np.asarray(found, dtype=np.float64)[batch.weight.sum(axis=(1, 2)) > 0]
    if not np.isfinite(norms).all():
        raise ModelError("a day's gradient is not finite; check the scaled inputs for values that are not finite")
    return norms


def mean_loss(shape: NetworkShape, parameters: Float[np.ndarray, " param"], batch: Batch) -> float:
    """Return the mean pinball loss over the labels of a batch, scaled units; it stays at home."""
    days = (batch.inputs, batch.clock, batch.linear, batch.target, batch.weight)
    losses = np.asarray(_losses(parameters.astype(np.float32), days, batch.spillover, shape))
    counts = batch.weight.sum(axis=(1, 2))
    return float(losses @ counts / max(float(counts.sum()), 1.0))


def choose_gate(
    target: Float[np.ndarray, " bar"], linear: Float[np.ndarray, " bar"], residual: Float[np.ndarray, " bar"]
) -> float:
    """Choose which share of the residual a member uses, on its own validation rows.

    Args:
        target: Label, scaled units.
        linear: Forecast of the core.
        residual: Median of the network minus the core.

    Returns:
        The share in 0, 0.1 .. 1 of the smallest squared error; 0 unless that beats the core by more than two
        standard errors.

    Raises:
        ModelError: Shapes disagree or a value is not finite.
    """
    if not target.shape == linear.shape == residual.shape or not np.isfinite(target + linear + residual).all():
        raise ModelError(
            f"expected finite validation rows of one length, got {target.shape}, {linear.shape}, {residual.shape}"
        )
    losses = {gate: (linear + gate * residual - target) ** 2 for gate in GATES}
    best = min(losses, key=lambda gate: float(losses[gate].mean()))
    return 0.0 if is_as_good(losses[0.0], losses[best], standard_errors=2.0) else best


def choose_spread(error: Float[np.ndarray, " bar"], offsets: Float[np.ndarray, "bar quantile"]) -> float:
    """Choose what spreads a forecast about its median, on a member's own validation rows.

    Args:
        error: Label minus linear forecast, scaled units.
        offsets: The network's quantiles minus the linear forecast.

    Returns:
        1.0 where the network's quantiles beat the quantiles of these very errors, which do not move, by more than two
        standard errors of the pinball loss; otherwise 0.0. Both stand about the median of the errors.

    Raises:
        ModelError: Shapes disagree or a value is not finite.
    """
    if offsets.shape != (*error.shape, len(QUANTILES)) or not (np.isfinite(error).all() and np.isfinite(offsets).all()):
        raise ModelError(f"expected finite errors and quantiles of one length, got {error.shape} and {offsets.shape}")
    middle = QUANTILES.index(0.5)
    centre = np.quantile(error, 0.5)
    still = np.broadcast_to(np.quantile(error, QUANTILES), offsets.shape)
    moving = offsets - offsets[:, middle : middle + 1] + centre
    level = np.asarray(QUANTILES)
    losses = [
        np.maximum(level * above, (level - 1) * above).mean(axis=1)
        for above in (error[:, None] - still, error[:, None] - moving)
    ]
    return 0.0 if is_as_good(losses[0], losses[1], standard_errors=2.0) else 1.0


def pinball(error: Float[jax.Array, "*axes"], offsets: Float[jax.Array, "*axes quantile"]) -> Float[jax.Array, "*axes"]:
    """Return the pinball loss, mean over `QUANTILES`; traceable by JAX.

    Args:
        error: Label minus linear forecast.
        offsets: Quantiles minus linear forecast.
    """
    above = error[..., None] - offsets
    level = jnp.asarray(QUANTILES)
    return jnp.maximum(level * above, (level - 1) * above).mean(axis=-1)


def _day_loss(
    vector: Float[jax.Array, " param"],
    day: tuple[jax.Array, jax.Array, jax.Array, jax.Array, jax.Array],
    spillover: Float[jax.Array, "basket basket"],
    shape: NetworkShape,
) -> Float[jax.Array, ""]:
    inputs, clock, linear, target, weight = day
    offsets = quantile_offsets(vector, inputs, clock, spillover, shape)[WARM_UP_BARS:]
    return (pinball(target - linear, offsets) * weight).sum() / jnp.maximum(weight.sum(), 1.0)


@partial(jax.jit, static_argnums=4)
def _clipped_sum(
    vector: Float[jax.Array, " param"],
    days: tuple[jax.Array, jax.Array, jax.Array, jax.Array, jax.Array],
    spillover: Float[jax.Array, "basket basket"],
    clip: Float[jax.Array, ""],
    shape: NetworkShape,
) -> tuple[Float[jax.Array, " param"], Float[jax.Array, " block"]]:
    """Return the sum of the clipped gradients and the norm of each before it was clipped: one program for both.

    Day after day: on a processor that is twice as fast as all days at once (ADR 0018), and holds one gradient only.
    """

    def add(
        total: Float[jax.Array, " param"], day: tuple[jax.Array, jax.Array, jax.Array, jax.Array, jax.Array]
    ) -> tuple[Float[jax.Array, " param"], Float[jax.Array, ""]]:
        gradient = jax.grad(_day_loss)(vector, day, spillover, shape)
        norm = jnp.linalg.norm(gradient)
        return total + jnp.minimum(1.0, clip / jnp.maximum(norm, 1e-30)) * gradient, norm

    total, norms = jax.lax.scan(add, jnp.zeros_like(vector), days)
    return total, norms


@partial(jax.jit, static_argnums=3)
def _losses(
    vector: Float[jax.Array, " param"],
    days: tuple[jax.Array, jax.Array, jax.Array, jax.Array, jax.Array],
    spillover: Float[jax.Array, "basket basket"],
    shape: NetworkShape,
) -> Float[jax.Array, " block"]:
    return jax.vmap(lambda day: _day_loss(vector, day, spillover, shape))(days)
