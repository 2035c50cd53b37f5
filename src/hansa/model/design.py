"""The regressors of one basket of markets: own HAR lags, state HAR lags, neighbours, time of day.

    row t = [ own x̄_s | state Z̄_s | neighbours (W Z̄)_s | sin, cos of the time of day | 1 ],  s in lags (bars)

x̄_s is the mean of the last s bars, bar t included. `own` are the K log measures that a member computes at home,
`state` the K published measures of the basket, `neighbours` the published cost measures of the other baskets, mixed
with the row-normalised spillover weights W (generalised forecast error variance decomposition of a VAR(1)).

A row uses bars <= t only. Own columns are scaled by the member's own mean and deviation, which never leave it;
public columns by those of the published state, equal for all members, so that weights mean the same everywhere.

Does NOT guarantee: W is not causal; it says who moves first, not why.

Source: Corsi, J. Financial Econometrics 7(2), 2009 (HAR); Zhang, Pu, Cucuringu, Dong, arXiv:2308.01419 (GHAR);
Pesaran and Shin, Economics Letters 58, 1998; Diebold and Yilmaz, J. Econometrics 182, 2014 (GFEVD).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from hansa.errors import ModelError
from hansa.market.features import har_lags, harmonics

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float, Int

QUANTILES: Final = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Levels that every forecast has."""
HARMONICS: Final = ("sin_1", "cos_1", "sin_2", "cos_2")


@dataclass(frozen=True, slots=True)
class Design:
    """Which groups of regressors are in; the arms of the comparison differ in nothing else.

    Attributes:
        own: The member's own measures.
        state: The published state of the basket.
        neighbours: The published cost of the other baskets, mixed by spillover.
        lags: Lengths of the trailing means, bars, ascending.
        slots_per_day: Bars in a day.
    """

    own: bool = True
    state: bool = True
    neighbours: bool = False
    lags: tuple[int, ...] = (1, 3, 12, 72, 288)
    slots_per_day: int = 288


@dataclass(frozen=True, slots=True)
class Inputs:
    """Series of one basket as one member has them; an absent group is None.

    Attributes:
        slot: Slot of the day of each bar, 0 .. slots_per_day - 1, shape (time).
        own: Log measures at home, gaps carried forward, shape (time, measure).
        state: Published log measures of the basket, shape (time, measure).
        neighbour: Published cost of the other baskets mixed by `neighbour_mix`, shape (time).
    """

    slot: Int[np.ndarray, " time"]
    own: Float[np.ndarray, "time measure"] | None = None
    state: Float[np.ndarray, "time measure"] | None = None
    neighbour: Float[np.ndarray, " time"] | None = None


@dataclass(frozen=True, slots=True)
class Scaler:
    """Mean and deviation of columns over the training rows.

    Attributes:
        mean: Shape (feature).
        deviation: Positive; 1 where a column is constant, shape (feature).
    """

    mean: Float[np.ndarray, " feature"]
    deviation: Float[np.ndarray, " feature"]

    def apply(self, columns: Float[np.ndarray, "time feature"]) -> Float[np.ndarray, "time feature"]:
        """Return the columns with the training mean taken off, in training deviations."""
        return np.asarray((columns - self.mean) / self.deviation)

    def invert(self, columns: Float[np.ndarray, "time feature"]) -> Float[np.ndarray, "time feature"]:
        """Return scaled columns in their first unit."""
        return np.asarray(columns * self.deviation + self.mean)


def fit_scaler(columns: Float[np.ndarray, "time feature"], rows: Int[np.ndarray, " row"]) -> Scaler:
    """Measure mean and deviation of each column over the training rows.

    Args:
        columns: Shape (time, feature); absent values are NaN.
        rows: Indices of training rows.

    Raises:
        ModelError: There is no row, or a column has no finite value in them.
    """
    chosen = columns[rows]
    if chosen.shape[0] == 0 or not np.isfinite(chosen).any(axis=0).all():
        raise ModelError(
            f"expected training rows with a finite value in each of {columns.shape[1]} columns, "
            f"got {chosen.shape[0]} rows; give more history"
        )
    deviation = np.nanstd(chosen, axis=0)
    return Scaler(np.nanmean(chosen, axis=0), np.where(deviation > 1e-9, deviation, 1.0))


def feature_names(design: Design, measures: Sequence[str]) -> tuple[str, ...]:
    """Name the columns of `regressors` in their order.

    >>> feature_names(Design(own=False, lags=(1,)), ["log_impact"])
    ('state.log_impact.1', 'sin_1', 'cos_1', 'sin_2', 'cos_2', 'intercept')
    """
    groups = (("own", design.own), ("state", design.state))
    names = [
        f"{group}.{measure}.{lag}"
        for group, present in groups
        if present
        for measure in measures
        for lag in design.lags
    ]
    if design.neighbours:
        names += [f"neighbour.{lag}" for lag in design.lags]
    return (*names, *HARMONICS, "intercept")


def current_columns(design: Design, measures: int) -> Int[np.ndarray, " column"]:
    """Return the columns of `regressors` with the shortest lag of each own and state measure: what the network sees."""
    groups = int(design.own) + int(design.state)
    return np.arange(groups * measures) * len(design.lags)


def regressors(design: Design, inputs: Inputs) -> Float[np.ndarray, "time feature"]:
    """Build the unscaled regressors of every bar; row t uses bars <= t only.

    Args:
        design: The groups wanted.
        inputs: The series; groups that `design` leaves out are ignored.

    Returns:
        Shape (time, feature), columns as `feature_names` says, the last one 1. A mean over bars without any
        value is NaN.

    Raises:
        ModelError: A wanted group is absent or its length differs from `inputs.slot`.
    """
    columns = []
    if design.own:
        columns.append(_lagged(inputs.own, design, inputs.slot.size, "own"))
    if design.state:
        columns.append(_lagged(inputs.state, design, inputs.slot.size, "state"))
    if design.neighbours:
        mixed = None if inputs.neighbour is None else inputs.neighbour[:, None]
        columns.append(_lagged(mixed, design, inputs.slot.size, "neighbour"))
    columns.append(harmonics(inputs.slot, design.slots_per_day))
    columns.append(np.ones((inputs.slot.size, 1)))
    return np.concatenate(columns, axis=1)


def scale_regressors(
    columns: Float[np.ndarray, "time feature"], rows: Int[np.ndarray, " row"]
) -> tuple[Float[np.ndarray, "time feature"], Scaler]:
    """Scale all columns but the harmonics and the intercept, and set absent values to the training mean.

    Args:
        columns: From `regressors`.
        rows: Training rows.

    Returns:
        The scaled columns and their scaler (identity for harmonics and intercept).
    """
    scaler = fit_scaler(columns, rows)
    fixed = len(HARMONICS) + 1
    mean, deviation = scaler.mean.copy(), scaler.deviation.copy()
    mean[-fixed:], deviation[-fixed:] = 0.0, 1.0
    scaler = Scaler(mean, deviation)
    return np.nan_to_num(scaler.apply(columns), nan=0.0), scaler


def spillover_weights(
    cost: Float[np.ndarray, "time basket"], *, horizon_bars: int = 12, ridge: float = 1e-2
) -> Float[np.ndarray, "basket basket"]:
    """Estimate who moves whom from the published costs: row-normalised GFEVD of a VAR(1), diagonal zero.

    Args:
        cost: Published cost measure of each basket over the training bars, no NaN.
        horizon_bars: Steps ahead over which variance shares are added.
        ridge: Share of the mean variance that is added to the diagonal of the VAR's normal equations.

    Returns:
        W: row i holds the weights of the other baskets on basket i and sums to 1 (to 0 with one basket).

    Raises:
        ModelError: Values are not finite, or there are fewer than three bars.
    """
    if cost.shape[0] < 3 or not np.isfinite(cost).all():
        raise ModelError(f"expected at least 3 finite bars of cost, got {cost.shape[0]}; carry gaps forward")
    centred = cost - cost.mean(axis=0)
    past, present = centred[:-1], centred[1:]
    gram = past.T @ past
    size = gram.shape[0]
    transition = np.linalg.solve(gram + ridge * np.trace(gram) / size * np.eye(size), past.T @ present).T
    residual = present - past @ transition.T
    covariance = residual.T @ residual / residual.shape[0]
    response = np.eye(size)
    shares, total = np.zeros((size, size)), np.zeros(size)
    for _ in range(horizon_bars):
        moved = response @ covariance
        shares += moved**2 / np.maximum(np.diag(covariance), 1e-300)
        total += np.einsum("ij,ij->i", moved, response)
        response = transition @ response
    shares /= np.maximum(total, 1e-300)[:, None]
    np.fill_diagonal(shares, 0.0)
    weight = shares.sum(axis=1, keepdims=True)
    return np.asarray(np.divide(shares, weight, out=np.zeros_like(shares), where=weight > 0))


def neighbour_mix(
    cost: Float[np.ndarray, "time basket"], weights: Float[np.ndarray, "basket basket"]
) -> Float[np.ndarray, "time basket"]:
    """Mix the published costs of the other baskets for each basket: column i is sum_j W_ij cost_j."""
    return np.asarray(cost @ weights.T)


def _lagged(
    values: Float[np.ndarray, "time measure"] | None, design: Design, bars: int, group: str
) -> Float[np.ndarray, "time column"]:
    if values is None or values.ndim != 2 or values.shape[0] != bars:
        got = "nothing" if values is None else f"shape {values.shape}"
        raise ModelError(f"expected {group} measures of shape ({bars}, measure), got {got}")
    return np.asarray(har_lags(values, design.lags))
