"""The forecasts that the federation must be measured against.

| baseline | sees |
|---|---|
| persistence | the last published cost |
| local | the member's own measures |
| local + public | its own and everybody's exact measures: what could be had if all books were public |
| centralised | its own measures and the exact state, with the members' rows pooled and without noise: the upper bound |

All learn the same label, the published (noised) cost of the next bar. A member without a federation would not have
that label: this favours `local`, and every table that shows it says so.

Does NOT guarantee: ridge regression on HAR lags is a strong, not the strongest, rival at short horizons.

Source: Audrino and Chassot, HARd to Beat, Int. J. Forecasting 42(2), 2026; Corsi 2009.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from hansa.errors import ModelError
from hansa.model.core import block_gram, member_rows, solve
from hansa.model.design import Design, Inputs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float, Int

OWN_AND_STATE: Final = Design()
RIDGE: Final = 0.1
"""Default ridge, in full day-blocks of unit-variance rows: of 0.001 .. 2 the smallest error (by a hair) on the
validation part of the training rows of four real stablecoin series, without clipping; test rows were not used."""


def persistence(cost: Float[np.ndarray, " time"]) -> Float[np.ndarray, " time"]:
    """Forecast that the next bar costs what this one did."""
    return cost.copy()


def local(
    inputs: Inputs,
    label: Float[np.ndarray, " time"],
    train: Int[np.ndarray, " row"],
    *,
    design: Design = OWN_AND_STATE,
    ridge: float = RIDGE,
) -> Float[np.ndarray, " time"]:
    """Forecast with a ridge regression on the member's own HAR lags, learned from its own rows.

    Args:
        inputs: The member's series; only `own` is used.
        label: Published cost, log units.
        train: Training rows.
        design: Lags and slots; its groups are ignored.
        ridge: In full day-blocks of unit-variance rows.

    Returns:
        Forecast of bar t + 1 at row t, log units, shape (time).
    """
    return _alone(replace(design, own=True, state=False, neighbours=False), inputs, label, train, ridge)


def local_with_public(
    inputs: Inputs,
    views: Sequence[Float[np.ndarray, "time measure"]],
    label: Float[np.ndarray, " time"],
    train: Int[np.ndarray, " row"],
    *,
    design: Design = OWN_AND_STATE,
    ridge: float = RIDGE,
) -> Float[np.ndarray, " time"]:
    """Forecast from everybody's exact measures side by side, learned from the member's own rows.

    Args:
        inputs: The member's series; its own measures are taken from `views`.
        views: Measures of all members, each (time, measure).
        label: Published cost, log units.
        train: Training rows.
        design: Lags and slots; its groups are ignored.
        ridge: In full day-blocks of unit-variance rows.

    Raises:
        ModelError: There is no view.
    """
    if not views:
        raise ModelError("expected the measures of at least one view, got none")
    joined = Inputs(slot=inputs.slot, own=np.concatenate(list(views), axis=1))
    return _alone(replace(design, own=True, state=False, neighbours=False), joined, label, train, ridge)


def centralised(
    members: Sequence[Inputs],
    label: Float[np.ndarray, " time"],
    train: Int[np.ndarray, " row"],
    *,
    design: Design = OWN_AND_STATE,
    ridge: float = RIDGE,
) -> list[Float[np.ndarray, " time"]]:
    """Forecast for each member with the exact state and the pooled rows of all: the upper bound.

    Args:
        members: Series of each member, `state` exact, without noise.
        label: Exact cost, log units.
        train: Training rows.
        design: Groups of regressors; own and state by default.
        ridge: In full day-blocks of unit-variance rows.

    Returns:
        One forecast a member, shape (time).
    """
    built = [member_rows(design, inputs, label, train) for inputs in members]
    pooled = np.sum([block_gram(one.rows.take(train), clip=np.inf) for one in built], axis=0)
    weights = solve(pooled, ridge=ridge)
    return [one.forecast(weights) for one in built]


def _alone(
    design: Design,
    inputs: Inputs,
    label: Float[np.ndarray, " time"],
    train: Int[np.ndarray, " row"],
    ridge: float,
) -> Float[np.ndarray, " time"]:
    own = member_rows(design, inputs, label, train)
    return own.forecast(solve(block_gram(own.rows.take(train), clip=np.inf), ridge=ridge))
