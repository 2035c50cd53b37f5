"""A member's own head of the residual network: its last layers, trained at home, pulled towards the shared ones.

    v = argmin  mean pinball loss of head v on own rows  +  strength / 2 |v - shared|^2,   body: the shared one

The strength is the strongest of `STRENGTHS` whose loss on a later validation tail of the member's own training rows is
not worse than the smallest by more than two standard errors; infinity, the shared head itself, is one of them. For a
tail, heads are fitted to the rows before it, from the strongest pull to the weakest, each from where the one before
ended; the chosen one then goes on over all training rows. The descent is Adam, `STEPS` steps over all rows at once, its
rate falling to nothing.

Formal guarantee: none is needed. The head is a function of what was published and of the member's rows, and never
leaves the member: nothing here returns something that is sent, and the privacy of sums is what it was.

Guarantees: deterministic; one compiled program for each of the three steps, whatever the strength, the start and the
round. A member that starts from an earlier head lands where the pull draws it, not back at that head.

Does NOT guarantee: that it helps; see ADR 0019. The shared body and head have seen the rows of the tail (through a sum
over all members, with noise): the choice leans towards the shared head for that.

Source: Li, Hu, Beirami and Smith, Ditto, ICML 2021 and Liu, Hu, Wu and Smith, MR-MTL, NeurIPS 2022 (pull towards the
shared weights, also under silo-level privacy); Collins et al., FedRep, ICML 2021 (shared body, own head); Kingma and
Ba, ICLR 2015 (Adam).
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
from hansa.model.network import WARM_UP_BARS, head_length, head_offsets, hidden_states, parameter_count
from hansa.model.training import pinball

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float

    from hansa.model.network import NetworkShape
    from hansa.model.training import Batch

STRENGTHS: Final = (float("inf"), 1.0, 0.1, 0.01, 0.001)
"""Pulls that are tried, per unit of mean pinball loss; infinity: the shared head."""
STEPS: Final = 60
RATE: Final = 0.01
_FIRST, _SECOND = 0.9, 0.99


@dataclass(frozen=True, slots=True)
class HeadRows:
    """A member's rows as a head sees them; they stay at home.

    Attributes:
        hidden: Hidden states of the shared body, shape (block, bar, basket, width).
        error: Label minus linear forecast, shape (block, bar, basket).
        weight: 1 where a label counts, shape (block, bar, basket).
    """

    hidden: Float[jax.Array, "block bar basket width"]
    error: Float[np.ndarray, "block bar basket"]
    weight: Float[np.ndarray, "block bar basket"]


@dataclass(frozen=True, slots=True)
class Head:
    """A member's own head.

    Attributes:
        values: The end of the flat vector, `network.head_length` values.
        strength: The chosen pull; infinite: these are the shared values.
        fitted: Head of the same pull that has not seen the validation rows: what later choices are made with.
    """

    values: Float[np.ndarray, " value"]
    strength: float
    fitted: Float[np.ndarray, " value"]


def head_rows(shape: NetworkShape, shared: Float[np.ndarray, " param"], batch: Batch) -> HeadRows:
    """Run the shared body over a member's day-blocks, once for all heads.

    Args:
        shape: Sizes.
        shared: The shared parameters.
        batch: The member's day-blocks.

    Raises:
        ModelError: Shapes disagree with `shape`, or a hidden state is not finite.
    """
    expected = (shape.baskets, shape.features)
    if shared.shape != (parameter_count(shape),) or batch.inputs.shape[2:] != expected:
        raise ModelError(
            f"expected {parameter_count(shape)} parameters and inputs {expected}, "
            f"got {shared.shape} and {batch.inputs.shape[2:]}"
        )
    hidden = _hidden(shared.astype(np.float32), (batch.inputs, batch.clock), batch.spillover, shape)
    if not np.isfinite(np.asarray(hidden)).all():
        raise ModelError("a hidden state is not finite; check the scaled inputs and the shared parameters")
    return HeadRows(hidden, batch.target - batch.linear, batch.weight)


def train_head(
    shape: NetworkShape,
    shared: Float[np.ndarray, " param"],
    *,
    fit: HeadRows,
    validation: HeadRows,
    train: HeadRows,
    start: Float[np.ndarray, " value"] | None = None,
    strengths: Sequence[float] = STRENGTHS,
) -> Head:
    """Choose the pull on a member's later rows and train its head with it on all of them.

    Args:
        shape: Sizes.
        shared: The shared parameters.
        fit: Earlier training rows.
        validation: Later training rows, purged from `fit`.
        train: All training rows.
        start: A head of an earlier round that has not seen the validation rows; the shared head by default.
        strengths: Pulls to try; infinity is always among them.

    Raises:
        ModelError: No label counts in one of the parts, a pull is not positive, or shapes disagree.
    """
    common = shared[shared.size - head_length(shape) :]
    if not all(part.weight.any() for part in (fit, validation, train)):
        raise ModelError("expected labels in the earlier, the later and all training rows; give more history")
    if any(not one > 0 for one in strengths) or (start is not None and start.shape != common.shape):
        raise ModelError(
            f"expected positive pulls and a start of {common.size} values, "
            f"got {tuple(strengths)} and {None if start is None else start.shape}"
        )
    tried = {float("inf"): common}
    at = common if start is None else start
    for strength in sorted(set(strengths) - {float("inf")}, reverse=True):
        at = tried[strength] = _descended(shape, common, fit, at, strength)
    losses = {strength: bar_losses(shape, head, validation) for strength, head in tried.items()}
    best = min(losses.values(), key=lambda loss: float(loss.mean()))
    chosen = next(strength for strength, loss in losses.items() if is_as_good(loss, best, standard_errors=2.0))
    values = common if np.isinf(chosen) else _descended(shape, common, train, tried[chosen], chosen)
    return Head(values, chosen, tried[chosen])


def with_head(
    shape: NetworkShape, shared: Float[np.ndarray, " param"], head: Float[np.ndarray, " value"]
) -> Float[np.ndarray, " param"]:
    """Return the shared parameters with a member's own head; they stay at home.

    Raises:
        ModelError: A length is wrong.
    """
    if shared.shape != (parameter_count(shape),) or head.shape != (head_length(shape),):
        raise ModelError(
            f"expected {parameter_count(shape)} parameters and a head of {head_length(shape)}, "
            f"got {shared.shape} and {head.shape}"
        )
    return np.concatenate([shared[: shared.size - head.size], head])


def bar_losses(shape: NetworkShape, head: Float[np.ndarray, " value"], rows: HeadRows) -> Float[np.ndarray, " bar"]:
    """Return the mean pinball loss at each bar that has a label, in order of time, scaled units.

    Raises:
        ModelError: A loss is not finite.
    """
    losses = np.asarray(_losses(head.astype(np.float32), rows.hidden, rows.error, shape), dtype=np.float64)
    labels = rows.weight.sum(axis=2)
    whole = (losses * rows.weight).sum(axis=2)
    counts = labels > 0
    if not np.isfinite(whole).all():
        raise ModelError("a loss of a member's own head is not finite; check its labels and the shared parameters")
    return np.asarray(whole[counts] / labels[counts])


def _descended(
    shape: NetworkShape,
    common: Float[np.ndarray, " value"],
    rows: HeadRows,
    start: Float[np.ndarray, " value"],
    strength: float,
) -> Float[np.ndarray, " value"]:
    data = rows.hidden, rows.error, rows.weight
    found = _descend(start.astype(np.float32), common.astype(np.float32), data, np.float32(strength), shape)
    return np.asarray(found, dtype=np.float64)


@partial(jax.jit, static_argnums=3)
def _hidden(
    vector: Float[jax.Array, " param"],
    days: tuple[jax.Array, jax.Array],
    spillover: Float[jax.Array, "basket basket"],
    shape: NetworkShape,
) -> Float[jax.Array, "block bar basket width"]:
    def one(day: tuple[jax.Array, jax.Array]) -> Float[jax.Array, "bar basket width"]:
        return hidden_states(vector, day[0], day[1], spillover, shape)[WARM_UP_BARS:]

    return jnp.asarray(jax.lax.map(one, days))


@partial(jax.jit, static_argnums=4)
def _descend(
    start: Float[jax.Array, " value"],
    common: Float[jax.Array, " value"],
    data: tuple[jax.Array, jax.Array, jax.Array],
    strength: Float[jax.Array, ""],
    shape: NetworkShape,
) -> Float[jax.Array, " value"]:
    hidden, error, weight = data

    def objective(head: Float[jax.Array, " value"]) -> Float[jax.Array, ""]:
        loss = (pinball(error, head_offsets(head, hidden, shape)) * weight).sum() / jnp.maximum(weight.sum(), 1.0)
        return jnp.asarray(loss + strength / 2 * ((head - common) ** 2).sum())

    def step(
        state: tuple[jax.Array, jax.Array, jax.Array], place: Float[jax.Array, ""]
    ) -> tuple[tuple[jax.Array, jax.Array, jax.Array], None]:
        head, first, second = state
        gradient = jax.grad(objective)(head)
        first = _FIRST * first + (1 - _FIRST) * gradient
        second = _SECOND * second + (1 - _SECOND) * gradient**2
        rate = RATE / 2 * (1 + jnp.cos(jnp.pi * place / STEPS))
        scale = jnp.sqrt(second / (1 - _SECOND ** (place + 1))) + 1e-6
        return (head - rate * first / (1 - _FIRST ** (place + 1)) / scale, first, second), None

    zero = jnp.zeros_like(start)
    state, _ = jax.lax.scan(step, (start, zero, zero), jnp.arange(STEPS, dtype=jnp.float32))
    return jnp.asarray(state[0])


@partial(jax.jit, static_argnums=3)
def _losses(
    head: Float[jax.Array, " value"],
    hidden: Float[jax.Array, "block bar basket width"],
    error: Float[jax.Array, "block bar basket"],
    shape: NetworkShape,
) -> Float[jax.Array, "block bar basket"]:
    return pinball(error, head_offsets(head, hidden, shape))
