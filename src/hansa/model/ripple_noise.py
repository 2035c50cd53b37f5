"""Dynamics of costs that are seen with noise: the terms of `model.ripple`, fitted as if the noise were not there.

    y_t = x_t + u_t,   u_t white, independent of x, of variance r_k in market k;   x has the dynamics of `model.ripple`

Least squares on y makes responses too small (errors in variables). Here every regressor f(x) is replaced by what the
past of y says of it, which keeps the regression consistent (regression calibration):

    E[x_{t-l} | y_{t-1}, ...] = Pi' z_t,   Pi = (Z'Z)^-1 (Z'T - N):   Gram minus noise covariance
    E[max(x - b, 0) | ...] = s phi(m) + (mu - b) Phi(m),   m = (mu - b) / s,   mu, s^2: projection and what it leaves
    covariance of e = covariance of the residuals - R - A P A',   P: what the projections leave

z: intercept, `CONDITION_LAGS` lags, the trailing means; N: covariance of the same linear functions of u, exact.

The noise of the door is public and known. What members' own noise leaves in the mean of their views is not: it is
chosen with the order by the Bayesian criterion, as one share of every market's variance more. What is returned is the
dynamics of x, with a history of x simulated from it and shocks of its own covariance, so that whatever works on
`Dynamics` works on it; `noise` says what the simulated history has to be given for it to look like y.

A bend enters the equations of other markets alone: where x is skewed, E[x | y] is bent itself, and an own bend cannot
be told from that.

Does NOT guarantee: anything where the noise is persistent: of private noise with a half-life of bars the white part
alone is taken off. Where the dynamics so found would move more than what is seen, plain least squares is returned.

Source: Carroll, Ruppert, Stefanski and Crainiceanu, Measurement Error in Nonlinear Models, 2006, ch. 3 (moments) and 4
(regression calibration).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.special import ndtr

from hansa.model.ripple import (
    BENDS,
    MAX_LAGS,
    Dynamics,
    Order,
    choose_dynamics,
    continue_paths,
    design_rows,
    is_long_enough,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float

CONDITION_LAGS: Final = 6
"""Lags of what is seen from which the unseen regressors are guessed."""
NOISE_SHARES: Final = tuple(share / 50 for share in range(26))
"""Shares of a market's variance that may be noise beside the known one: 0 to a half."""
_LEAST_COVARIANCE: Final = 0.02  # of the residuals' mean variance, for each eigenvalue of the shocks' covariance
_MOST_VARIANCE: Final = 1.25  # of what is seen: unseen costs that would move more are no solution
_WARM_UP: Final = 200
_JITTER: Final = 1e-10


def choose_latent(
    values: Float[np.ndarray, "time market"],
    *,
    windows: Sequence[int] = (),
    known_noise: Float[np.ndarray, " market"] | None = None,
) -> Dynamics:
    """Choose noise and terms by the Bayesian information criterion and fit the dynamics below the noise.

    Args:
        values: From `surprises`, shape (time, market).
        windows: As for `choose_dynamics`.
        known_noise: Variance of white noise that is surely in each market, in squared deviations; none by default.

    Returns:
        The dynamics; those of `choose_dynamics` where no noise pays for itself.

    Raises:
        ModelError: The history is too short for the smallest candidate.
    """
    plain = choose_dynamics(values, windows=windows)
    markets = values.shape[1]
    known = np.zeros(markets) if known_noise is None else np.asarray(known_noise, dtype=float)
    widest = Order(CONDITION_LAGS, tuple(sorted(windows)))
    while widest.windows and not is_long_enough(widest, *values.shape):
        widest = Order(CONDITION_LAGS, widest.windows[:-1])
    if not is_long_enough(widest, *values.shape):
        return plain
    order, noise = _choose_straight(values, widest, known)
    if not noise.any():
        return plain
    found = _choose_bends(values, order, noise)
    return _with_history(found, values, noise) or plain


def refit_latent(
    values: Float[np.ndarray, "replicate time market"], order: Order, noise: Float[np.ndarray, " market"]
) -> tuple[
    Float[np.ndarray, "replicate column market"],
    Float[np.ndarray, "replicate market market"],
    Float[np.ndarray, "replicate bar market"],
    Float[np.ndarray, "replicate market market"],
]:
    """Fit the terms to histories that are seen with noise.

    Args:
        values: What is seen, shape (replicate, time, market).
        order: The terms.
        noise: Variance of the noise of each market.

    Returns:
        Coefficients, covariance of the shocks, residuals of what is seen and their covariance, by replicate.
    """
    full = Order(max(order.lags, CONDITION_LAGS), order.windows)
    rows, target = design_rows(values, full), values[:, full.reach :]
    replicates, bars, markets = target.shape
    gram = rows.transpose(0, 2, 1) @ rows / bars
    columns, own = _columns(full, order, markets), _noise_gram(full, noise)
    shared, left = _projection(gram, own, columns)
    seen = rows @ shared
    slopes = np.zeros((replicates, len(order.bends)))
    bent = np.empty((replicates, bars, len(order.bends)))
    for place, (market, bend) in enumerate(order.bends):
        spread = np.sqrt(np.maximum(left[:, 1 + market, 1 + market], _JITTER))[:, None]
        point = (seen[:, :, 1 + market] - bend) / spread
        share = ndtr(point)
        bent[:, :, place] = spread * np.exp(-0.5 * point**2) / np.sqrt(2 * np.pi) + spread * point * share
        slopes[:, place] = share.mean(axis=1)
    design = np.concatenate([seen, bent], axis=2)
    coefficients = _solve(design, target, order)
    residuals = target - design @ coefficients
    covariance = residuals.transpose(0, 2, 1) @ residuals / bars
    linear = coefficients[:, : columns.size].copy()
    for place, (market, _) in enumerate(order.bends):
        linear[:, 1 + market] += slopes[:, place, None] * coefficients[:, columns.size + place]
    shocks = covariance - np.diag(noise) - linear.transpose(0, 2, 1) @ left @ linear
    return coefficients, _positive(shocks, covariance), residuals, covariance


def _choose_straight(
    values: Float[np.ndarray, "time market"], widest: Order, known: Float[np.ndarray, " market"]
) -> tuple[Order, Float[np.ndarray, " market"]]:
    """Return the terms without a bend and the noise that the criterion chooses, by moments alone."""
    rows, target = design_rows(values[None], widest)[0], values[widest.reach :]
    bars, markets = target.shape
    gram, cross, total = rows.T @ rows / bars, rows.T @ target / bars, target.T @ target / bars
    variance = values.var(axis=0)
    best, chosen = np.inf, (Order(1), known)
    for share in NOISE_SHARES:
        noise = known + share * np.maximum(variance - known, 0.0)
        own = _noise_gram(widest, noise)
        for count in range(len(widest.windows) + 1):
            for lags in range(1, MAX_LAGS + 1):
                order = Order(lags, widest.windows[len(widest.windows) - count :])
                columns = _columns(widest, order, markets)
                shared = _projection(gram[None], own, columns)[0][0]
                inner = shared.T @ gram @ shared
                weights = np.linalg.solve(inner + _JITTER * np.eye(columns.size), shared.T @ cross)
                covariance = total - weights.T @ inner @ weights
                sign, size = np.linalg.slogdet(0.5 * (covariance + covariance.T))
                found = size + np.log(bars) / bars * (weights.size + (share > 0)) if sign > 0 else np.inf
                if found < best:
                    best, chosen = found, (order, noise)
    return chosen


def _choose_bends(
    values: Float[np.ndarray, "time market"], order: Order, noise: Float[np.ndarray, " market"]
) -> Dynamics:
    """Add bends, one after another, while each pays for itself in the equations of the other markets."""
    markets = values.shape[1]
    best, criterion = _fitted(values, order, noise)
    while len(best.order.bends) < markets:
        free = set(range(markets)) - {market for market, _ in best.order.bends}
        more = [replace(best.order, bends=(*best.order.bends, (k, bend))) for k in sorted(free) for bend in BENDS]
        fits = [_fitted(values, one, noise) for one in more if is_long_enough(one, *values.shape)]
        found = min(fits, key=lambda one: one[1], default=(best, criterion))
        if found[1] >= criterion:
            break
        best, criterion = found
    return best


def _fitted(
    values: Float[np.ndarray, "time market"], order: Order, noise: Float[np.ndarray, " market"]
) -> tuple[Dynamics, float]:
    coefficients, shocks, residuals, covariance = (one[0] for one in refit_latent(values[None], order, noise))
    bars = residuals.shape[0]
    spent = coefficients.size - len(order.bends)
    information = float(np.linalg.slogdet(covariance)[1] + np.log(bars) / bars * spent)
    straight = np.linalg.solve(np.linalg.cholesky(covariance), residuals.T).T
    coloured = straight @ np.linalg.cholesky(shocks).T  # residuals hold noise: the shocks have their shape alone
    return Dynamics(order, coefficients, coloured, shocks, values, noise), information


def _with_history(
    dynamics: Dynamics, values: Float[np.ndarray, "time market"], noise: Float[np.ndarray, " market"]
) -> Dynamics | None:
    """Return the dynamics with a history of their own; None if that moves more than what is seen less its noise may."""
    bars, markets = values.shape
    rng = np.random.default_rng(0)
    drawn = dynamics.residuals[rng.integers(0, dynamics.residuals.shape[0], bars + _WARM_UP)]
    start = np.zeros((1, dynamics.order.reach, markets))
    history = continue_paths(dynamics.coefficients[None], dynamics.order, start, drawn[None, None])[0, 0, _WARM_UP:]
    if not (history.var(axis=0) + noise <= _MOST_VARIANCE * values.var(axis=0)).all():
        return None
    return replace(dynamics, values=history)


def _projection(
    gram: Float[np.ndarray, "replicate seen seen"], own: Float[np.ndarray, "seen seen"], columns: np.ndarray
) -> tuple[Float[np.ndarray, "replicate seen column"], Float[np.ndarray, "replicate column column"]]:
    """Return the weights that guess unseen columns from all seen ones, and the covariance that the guess leaves."""
    cross = gram[:, :, columns] - own[:, columns]
    ridge = _JITTER * np.trace(gram, axis1=1, axis2=2)[:, None, None] * np.eye(gram.shape[1])
    shared = np.linalg.solve(gram + ridge, cross)
    left = (gram - own)[:, columns[:, None], columns] - cross.transpose(0, 2, 1) @ shared
    return shared, left


def _solve(
    design: Float[np.ndarray, "replicate bar column"],
    target: Float[np.ndarray, "replicate bar market"],
    order: Order,
) -> Float[np.ndarray, "replicate column market"]:
    """Return least squares of every market, each without the bend of its own."""
    across = design.transpose(0, 2, 1)
    gram, cross = across @ design, across @ target
    gram += _JITTER * np.trace(gram, axis1=1, axis2=2)[:, None, None] * np.eye(gram.shape[1])
    found = np.linalg.solve(gram, cross)
    first = gram.shape[1] - len(order.bends)
    for place, (market, _) in enumerate(order.bends):
        kept = [k for k in range(gram.shape[1]) if k != first + place]
        found[:, kept, market] = np.linalg.solve(gram[:, np.array(kept)[:, None], kept], cross[:, kept, market, None])[
            ..., 0
        ]
        found[:, first + place, market] = 0.0
    return found


def _columns(full: Order, order: Order, markets: int) -> np.ndarray:
    """Return where the columns of an order, its bends left out, stand in the rows of a wider one."""
    groups = [*range(order.lags), *(full.lags + full.windows.index(width) for width in order.windows)]
    return np.array([0, *(1 + group * markets + market for group in groups for market in range(markets))])


def _noise_gram(order: Order, noise: Float[np.ndarray, " market"]) -> Float[np.ndarray, "column column"]:
    """Return the covariance that white noise has in a row of the design, its intercept included."""
    widths = [(lag - 1, lag) for lag in range(1, order.lags + 1)] + [(0, width) for width in order.windows]
    overlap = [
        [max(0, min(a[1], b[1]) - max(a[0], b[0])) / ((a[1] - a[0]) * (b[1] - b[0])) for b in widths] for a in widths
    ]
    found = np.zeros((order.columns(noise.size) - len(order.bends),) * 2)
    found[1:, 1:] = np.kron(np.array(overlap), np.diag(noise))
    return found


def _positive(
    shocks: Float[np.ndarray, "replicate market market"], covariance: Float[np.ndarray, "replicate market market"]
) -> Float[np.ndarray, "replicate market market"]:
    """Return the nearest covariance whose eigenvalues are not below a small share of the residuals' variance."""
    least = _LEAST_COVARIANCE * np.trace(covariance, axis1=1, axis2=2)[:, None] / covariance.shape[1]
    sizes, axes = np.linalg.eigh(0.5 * (shocks + shocks.transpose(0, 2, 1)))
    return np.asarray((axes * np.maximum(sizes, least)[:, None, :]) @ axes.transpose(0, 2, 1))
