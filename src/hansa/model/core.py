"""The closed-form core: one ridge regression learned from one secure sum of Gram matrices.

    G = sum over members and day-blocks d of clip( [X_d y_d]ᵀ[X_d y_d] / B ),    w = (G_XX + λI)⁻¹ G_Xy

B is the number of bars of a full block, so without clipping and noise G is the pooled Gram over B and w is the ridge
regression on the pooled rows, exactly. What a member sends is the packed upper triangle of its own sum.

Formal guarantee: one day-block more or less moves the packed sum by at most `clip` in L2 norm (each block's packed Gram
is scaled down to that norm), whatever the block holds; Gaussian noise of deviation sigma on the sum is therefore
clip**2 / (2 sigma**2) zCDP for each day-block. Regressors look
back one day, so the raw data of one day reaches the rows of its own block and of the next: for the day of raw data as
unit the sensitivity is 2 clip (more where a value is carried over a longer gap). Members scale their columns before
(see `design`); the scaling uses the member's own rows, stays at home, and is NOT covered by the guarantee.

Does NOT guarantee: a clipped stressed day weighs less than a calm one; weights after noise are biased towards 0 by the
ridge that the noise asks for, or towards `public_weights` if these are given.

Source: Dwork and Smith, J. Privacy and Confidentiality 1(2), 2010 and Wang, UAI 2018 (sufficient statistics
perturbation, AdaSSP); Evgeniou and Pontil, KDD 2004 (mean-regularised personal weights).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from hansa.errors import ModelError
from hansa.model.design import fit_scaler, regressors, scale_regressors
from hansa.model.evaluation import next_bar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Bool, Float, Int

    from hansa.model.design import Design, Inputs, Scaler

PULL_GRID: Final = (1.0, 3.0, 10.0, 30.0, 100.0, float("inf"))
"""Pulls that `choose_pull` tries: the shared weights count as that many full days of own rows; infinity: only they."""


NOISE_EDGE: Final = 3.0
"""Eigenvalues below so many `noise * sqrt(columns)` are taken for noise (2 is its edge in a large matrix)."""

PRIOR_DEVIATION: Final = 0.1
"""How far a scaled weight lies from its prior, as a rule of thumb: what a noisy Gram is weighed against."""

STRETCH_BARS: Final = 72
"""Bars of one stretch when the error of a mean loss is measured: losses hang together within it."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Scaled rows of one basket at one member.

    Attributes:
        regressors: Shape (bar, feature), finite.
        target: Scaled label: the published cost of the next bar, shape (bar), finite.
        blocks: Number of the day-block of each row, shape (bar).
    """

    regressors: Float[np.ndarray, "bar feature"]
    target: Float[np.ndarray, " bar"]
    blocks: Int[np.ndarray, " bar"]

    def take(self, chosen: Int[np.ndarray, " row"]) -> Rows:
        """Return the rows with these indices."""
        return Rows(self.regressors[chosen], self.target[chosen], self.blocks[chosen])


@dataclass(frozen=True, slots=True)
class MemberRows:
    """A member's rows of every bar of one basket, and how they were scaled.

    Attributes:
        rows: All bars; the target of the last one is NaN, the block is the number of the day.
        columns: Scaler of the regressors; its own columns are private.
        label: Scaler of the label; the same for all members.
    """

    rows: Rows
    columns: Scaler
    label: Scaler

    def forecast(self, weights: Float[np.ndarray, " feature"]) -> Float[np.ndarray, " time"]:
        """Return the forecast of bar t + 1 at every row t, log units."""
        return self.label.invert((self.rows.regressors @ weights)[:, None])[:, 0]


def member_rows(
    design: Design, inputs: Inputs, label: Float[np.ndarray, " time"], train: Int[np.ndarray, " row"]
) -> MemberRows:
    """Build a member's scaled rows of every bar.

    Args:
        design: Groups of regressors.
        inputs: The member's series of one basket.
        label: Published cost, log units, shape (time); the label of row t is bar t + 1.
        train: Training rows, on which the scalers are measured.

    Raises:
        ModelError: A wanted group is absent, or a column has no value in the training rows.
    """
    scaled, columns = scale_regressors(regressors(design, inputs), train)
    public = fit_scaler(label[:, None], train)
    target = next_bar(public.apply(label[:, None])[:, 0])
    return MemberRows(Rows(scaled, target, day_numbers(inputs.slot)), columns, public)


def day_numbers(slot: Int[np.ndarray, " time"]) -> Int[np.ndarray, " time"]:
    """Number the days: a new one starts where the slot of the day falls.

    >>> day_numbers(np.array([2, 3, 0, 1]))
    array([0, 0, 1, 1])
    """
    return np.concatenate([[0], np.cumsum(np.diff(slot) < 0)])


def packed_length(features: int) -> int:
    """Return the number of values that a member sends for `features` regressors and one label.

    >>> packed_length(2)
    6
    """
    return (features + 1) * (features + 2) // 2


def pack(gram: Float[np.ndarray, "column column"]) -> Float[np.ndarray, " packed"]:
    """Return the upper triangle of a symmetric matrix, row by row."""
    return gram[np.triu_indices(gram.shape[0])]


def unpack(packed: Float[np.ndarray, " packed"]) -> Float[np.ndarray, "column column"]:
    """Return the symmetric matrix whose upper triangle is `packed`.

    Raises:
        ModelError: The length is not that of a triangle.
    """
    size = (int(np.sqrt(8 * packed.size + 1)) - 1) // 2
    if packed.ndim != 1 or size * (size + 1) // 2 != packed.size:
        raise ModelError(f"expected a packed triangle of n (n + 1) / 2 values, got shape {packed.shape}")
    gram = np.zeros((size, size))
    gram[np.triu_indices(size)] = packed
    return gram + np.triu(gram, 1).T


def block_gram(rows: Rows, *, clip: float, block_bars: int = 288) -> Float[np.ndarray, " packed"]:
    """Sum the clipped Gram matrices of a member's day-blocks: its contribution to the core.

    Args:
        rows: Scaled rows.
        clip: L2 norm to which each block's packed Gram is scaled down; infinity for no clipping.
        block_bars: Bars of a full block; a block of fewer bars weighs less in proportion.

    Returns:
        Packed upper triangle of the sum, shape ((feature + 1)(feature + 2) / 2), label last.

    Raises:
        ModelError: Shapes disagree, a value is not finite, or `clip` is not positive.

    Guarantees:
        Rows of one block move the result by at most `clip` in L2 norm.
    """
    if not clip > 0:
        raise ModelError(f"expected a positive clip norm, got {clip}")
    joined = _joined(rows)
    order = np.argsort(rows.blocks, kind="stable")
    joined, edges = joined[order], np.flatnonzero(np.diff(rows.blocks[order])) + 1
    total = np.zeros(packed_length(rows.regressors.shape[1]))
    for block in np.split(joined, edges):
        packed = pack(block.T @ block / block_bars)
        norm = float(np.linalg.norm(packed))
        total += packed * min(1.0, clip / norm) if norm > 0 else 0.0
    return total


def solve(
    packed: Float[np.ndarray, " packed"],
    *,
    ridge: float,
    noise_deviation: float = 0.0,
    towards: Float[np.ndarray, " feature"] | None = None,
) -> Float[np.ndarray, " feature"]:
    """Solve the ridge regression of a summed, possibly noised, Gram.

    With eigenvalues l_k of G_XX and b = G_Xy in its eigenbasis, a prior w0 of deviation t per weight, and b known up to
    a covariance `noise**2 + s**2 l_k` (noise of the sum, sampling error of the regression; s**2 = ridge t**2):

        w_k = w0_k + g (b_k - l_k w0_k) / (l_k g + 1 / t**2),   g = l_k / (noise**2 + s**2 l_k)

    which is ridge regression towards w0 without noise. Directions whose eigenvalue is not above the edge of the noise's
    own spectrum, `NOISE_EDGE noise sqrt(columns)`, are not learned at all: w_k = w0_k.

    Args:
        packed: Sum over members from `block_gram`, with noise.
        ridge: Added to the diagonal, in full day-blocks of unit-variance rows, >= 0.
        noise_deviation: Standard deviation of the noise on each packed value of the sum.
        towards: Weights that the ridge shrinks to: those learned from published series alone, which cost no
            budget; zeros by default.

    Returns:
        Weights of the scaled regressors on the scaled label, shape (feature).

    Raises:
        ModelError: The packed length is wrong or the matrix is singular and has no ridge.
    """
    gram = unpack(packed)
    size = gram.shape[0] - 1
    prior = np.zeros(size) if towards is None else towards
    if prior.shape != (size,):
        raise ModelError(f"expected {size} weights to shrink towards, got shape {prior.shape}")
    if noise_deviation == 0:
        return _ridge(gram, prior, ridge)
    values, vectors = np.linalg.eigh(gram[:size, :size])
    is_seen = values > NOISE_EDGE * noise_deviation * np.sqrt(size + 1)
    kept, basis = values[is_seen], vectors[:, is_seen]
    gain = kept / (noise_deviation**2 + ridge * PRIOR_DEVIATION**2 * kept)
    surprise = basis.T @ (gram[:size, size] - gram[:size, :size] @ prior)
    return np.asarray(prior + basis @ (gain * surprise / (kept * gain + PRIOR_DEVIATION**-2)))


def public_weights(rows: Rows, public: Bool[np.ndarray, " feature"], *, ridge: float) -> Float[np.ndarray, " feature"]:
    """Learn the weights of the published columns alone: everybody gets the same, without a secure sum.

    Args:
        rows: Training rows of any member (its published columns and label are those of all).
        public: Which columns come from published series.
        ridge: In full day-blocks of unit-variance rows.

    Returns:
        Weights with zeros at the private columns: the point that `solve` shrinks `towards`.
    """
    weights = np.zeros(public.size)
    alone = Rows(rows.regressors[:, public], rows.target, rows.blocks)
    weights[public] = solve(block_gram(alone, clip=np.inf), ridge=ridge)
    return weights


def solve_personal(
    packed_own: Float[np.ndarray, " packed"], shared: Float[np.ndarray, " feature"], *, pull: float
) -> Float[np.ndarray, " feature"]:
    """Return a member's personal weights: argmin over w of |Xw - y|^2 / B + pull |w - shared|^2.

    Args:
        packed_own: The member's own Gram, unclipped and without noise: it stays at home.
        shared: Weights that the federation learned.
        pull: Strength towards `shared`; infinity returns `shared`.

    Raises:
        ModelError: Shapes disagree, or `pull` is negative.
    """
    if packed_own.size != packed_length(shared.size):
        raise ModelError(
            f"expected a packed Gram of {packed_length(shared.size)} values for {shared.size} weights, "
            f"got {packed_own.size}"
        )
    if not pull >= 0:
        raise ModelError(f"expected a pull of 0 or more, got {pull}")
    if np.isinf(pull):
        return shared.copy()
    return _ridge(unpack(packed_own), shared, pull)


def choose_pull(
    fit: Rows, validation: Rows, shared: Float[np.ndarray, " feature"], *, grid: Sequence[float] = PULL_GRID
) -> float:
    """Choose how far a member's weights may leave the shared ones, on its own later rows.

    Args:
        fit: Earlier training rows.
        validation: Later training rows, purged from `fit`.
        shared: Weights that the federation learned from earlier rows.
        grid: Pulls to try.

    Returns:
        The strongest pull whose mean squared error on `validation` is not worse than the smallest one by more
        than one standard error of the difference (over stretches of `STRETCH_BARS` bars).
    """
    own = block_gram(fit, clip=np.inf)
    pulls = sorted(grid, reverse=True)
    losses = [
        (validation.regressors @ solve_personal(own, shared, pull=pull) - validation.target) ** 2 for pull in pulls
    ]
    best = min(losses, key=lambda loss: float(loss.mean()))
    return next(pull for pull, loss in zip(pulls, losses, strict=True) if is_as_good(loss, best))


def is_as_good(
    loss: Float[np.ndarray, " bar"], best: Float[np.ndarray, " bar"], *, standard_errors: float = 1.0
) -> bool:
    """Return whether the mean of `loss` exceeds that of `best` by no more than some standard errors.

    Args:
        loss: Loss at each bar.
        best: Loss of the best candidate at the same bars.
        standard_errors: Of the mean difference, over stretches of `STRETCH_BARS` bars.
    """
    difference = loss - best
    stretches = [part.mean() for part in np.array_split(difference, max(2, difference.size // STRETCH_BARS))]
    error = float(np.std(stretches, ddof=1)) / np.sqrt(len(stretches))
    return bool(difference.mean() <= standard_errors * error)


def _joined(rows: Rows) -> Float[np.ndarray, "bar column"]:
    bars = rows.regressors.shape[0]
    if rows.regressors.ndim != 2 or rows.target.shape != (bars,) or rows.blocks.shape != (bars,):
        raise ModelError(
            f"expected regressors (bar, feature), target (bar) and blocks (bar), got {rows.regressors.shape}, "
            f"{rows.target.shape} and {rows.blocks.shape}"
        )
    joined = np.column_stack([rows.regressors, rows.target])
    if not np.isfinite(joined).all():
        raise ModelError("expected finite regressors and target; drop rows of warm-up and without label")
    return joined


def _ridge(
    gram: Float[np.ndarray, "column column"], towards: Float[np.ndarray, " feature"], strength: float
) -> Float[np.ndarray, " feature"]:
    size = gram.shape[0] - 1
    try:
        return np.linalg.solve(gram[:size, :size] + strength * np.eye(size), gram[:size, size] + strength * towards)
    except np.linalg.LinAlgError as error:
        raise ModelError("the Gram matrix is singular; give a positive ridge or pull") from error
