"""The bound to which a day's gradient is clipped, from a noisy histogram of the days' gradient norms.

    bin j holds the blocks with  grid[j - 1] < norm <= grid[j],     grid[j] = widest * 2^(j - BINS + 1)
    bound = the norm below which a share SHARE of the blocks lies: the first bin whose cumulative noisy count reaches
            it, and within that bin its geometric share

A norm at or below the first edge is in the first bin, one beyond the last in the last. One sum of histograms serves a
round: the noise of the training steps is proportional to the bound, so a bound that is ten times the gradients costs
ten times the noise, and a bound below them only shortens their steps.

Formal guarantee: one block more or less changes one count by one: L2 sensitivity 1. The bound is a function of the
opened counts and public numbers, so every member finds the same; it costs no budget beyond that of the counts. It is
never above `widest`, and rounded to six digits, so that it is the same on every machine.

Does NOT guarantee: the quantile; with few blocks the counts' noise moves it by bins. A quantile rule is not the bound
of the least error.

Source: Andrew, Thakkar, McMahan and Ramaswamy, Differentially private learning with adaptive clipping (NeurIPS 2021);
here a histogram at once instead of one indicator a step, because a round has a dozen steps and not thousands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from hansa.errors import ModelError

if TYPE_CHECKING:
    from jaxtyping import Float

BINS: Final = 8
SHARE: Final = 0.5


def grid(widest: float) -> Float[np.ndarray, " bin"]:
    """Return the upper edges of the bins: `widest` and its halves, ascending.

    >>> grid(0.5).tolist()[:2], grid(0.5).tolist()[-1]
    ([0.00390625, 0.0078125], 0.5)
    """
    return np.asarray(widest * 2.0 ** np.arange(1 - BINS, 1))


def norm_counts(norms: Float[np.ndarray, " block"], widest: float) -> Float[np.ndarray, " bin"]:
    """Count a member's blocks by the norm of their gradients.

    Args:
        norms: L2 norm of each block that has labels.
        widest: Upper edge of the last bin.
    """
    place = np.minimum(np.searchsorted(grid(widest), norms, side="left"), BINS - 1)
    return np.bincount(place, minlength=BINS).astype(np.float64)


def bound_of(counts: Float[np.ndarray, " bin"], widest: float, *, share: float = SHARE) -> float:
    """Return the public bound from a noisy sum of counts.

    Args:
        counts: Opened sum, any sign.
        widest: Upper edge of the last bin; the answer where noise has left no blocks at all.
        share: Share of the blocks that the bound leaves as they are, above 0 and at most 1.

    Raises:
        ModelError: The sum has another length, or the share is out of range.
    """
    if counts.shape != (BINS,) or not 0 < share <= 1 or not np.isfinite(counts).all():
        raise ModelError(f"expected {BINS} finite counts and a share above 0, got shape {counts.shape} and {share}")
    reached = np.cumsum(counts)
    wanted = share * reached[-1]
    if wanted <= 0:
        return widest
    first = int(np.argmax(reached >= wanted))
    before = float(reached[first - 1]) if first else 0.0
    upper = float(grid(widest)[first])
    exact = upper / 2 * 2.0 ** ((wanted - before) / float(counts[first]))
    return min(float(f"{exact:.6g}"), widest)  # powers differ in the last digit between machines; six digits do not
