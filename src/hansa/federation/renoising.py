"""What more noise on the state channel would do to this member's forecasts, measured on its own data.

The published state already carries today's noise. Independent Gaussian noise of variance `(f^2 - 1) s^2` on every value
of the sum makes it a state as it would have been published with `f` times the noise (`s` is today's deviation). On that
state the member's regression is fitted and scored again:

    increase = RMSE(state with f times the noise) / RMSE(state as published) - 1

RMSE is that of the next bar's published log cost on the later 40 % of the bars, mean over baskets and draws; both the
fit's regressors and its labels carry the added noise, the score's labels do not.

Guarantees: nothing but what this node holds is used, and nothing leaves; the same files give the same figures.
Does NOT guarantee: what the federation's own fit would lose. The regression here is the closed-form one on the member's
rows alone, without summed Gram, personal pull and network. Noise cannot be taken off: a factor below 1 has no figure.
Today's noise is in the yardstick too, so the increase over the error of a noiseless cost is larger than stated.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from hansa.errors import DataError, ModelError
from hansa.federation.published import design_of
from hansa.market.calendar import slot_of_day
from hansa.market.features import carry_forward
from hansa.model.baselines import RIDGE
from hansa.model.core import block_gram, member_rows, solve
from hansa.model.design import Inputs, neighbour_mix, spillover_weights
from hansa.model.evaluation import purged_split, rmse

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from jaxtyping import Float, Int

    from hansa.federation.views import Views
    from hansa.governance.constitution import Market
    from hansa.model.design import Design
    from hansa.model.evaluation import Split

DRAWS: Final = 3
SEED: Final = 20_240_101


@dataclass(frozen=True, slots=True)
class ErrorCost:
    """The error of one noise factor.

    Attributes:
        factor: Of today's noise.
        rmse: Of the next bar's published log cost.
        increase: Relative to today's noise; 0.02 is 2 % more.
        local_rmse: Of the same regression without the state, which no noise of the state touches but the labels'.
        bars: Bars scored, in each basket.
    """

    factor: float
    rmse: float
    increase: float
    local_rmse: float
    bars: int


@dataclass(frozen=True, slots=True)
class Channel:
    """The state channel as this node has seen it.

    Attributes:
        stamps: End of each bar, ns UTC.
        state: As published, log units, shape (time, basket, measure).
        weights: Sum of the members' weights in each basket, by which a sum is divided.
        deviation: Of the noise on one value of the sum, in weighted log units.
    """

    stamps: Int[np.ndarray, " time"]
    state: Float[np.ndarray, "time basket measure"]
    weights: Float[np.ndarray, " basket"]
    deviation: float


def read_channel(forecasts: Path, weights: object, deviation: float) -> Channel:
    """Read the published state that a member keeps beside its forecasts.

    Args:
        forecasts: The member's `forecasts.npz`.
        weights: The record `state_weights`.
        deviation: Of the noise on one value of a sum.

    Raises:
        DataError: There is no state yet, or its weights are not recorded.
    """
    if not forecasts.is_file() or not isinstance(weights, list):
        raise DataError(f"{forecasts.name}: this node has no published state yet; the error cannot be known from here")
    with np.load(forecasts) as written:
        return Channel(written["stamps"], written["state"], np.array(weights, dtype=np.float64), deviation)


def error_costs(channel: Channel, views: Views, market: Market, factors: Sequence[float]) -> list[ErrorCost]:
    """Measure what each factor of 1 or more would cost this member.

    Args:
        channel: The state as published.
        views: The member's own bars.
        market: The constitution's baskets and measures.
        factors: Of today's noise, each 1 or more.

    Raises:
        ModelError: A factor is below 1, or there are too few bars to fit and score.
        RefusedError: The member's bars do not reach over the published state.
    """
    if min(factors, default=1.0) < 1:
        raise ModelError(f"noise cannot be taken off a published state: expected factors of 1 or more, got {factors}")
    split = purged_split(channel.stamps.size)
    design = design_of(market)
    alone = replace(design, state=False, neighbours=False)
    local = _mean_rmse(channel, views, market, channel.state, split=split, design=alone)
    today = _mean_rmse(channel, views, market, channel.state, split=split, design=design)
    found = []
    for factor in factors:
        spread = channel.deviation * np.sqrt(factor**2 - 1) / channel.weights[None, :, None]
        draws = [
            _mean_rmse(channel, views, market, channel.state + spread * normal, split=split, design=design)
            for normal in _normals(channel.state.shape)
        ]
        error = float(np.mean(draws)) if factor > 1 else today
        found.append(ErrorCost(factor, error, error / today - 1, local, split.test.size))
    return found


def _normals(shape: tuple[int, ...]) -> list[Float[np.ndarray, "time basket measure"]]:
    """Return the same draws for every factor, so that factors differ by the noise's size alone."""
    rng = np.random.default_rng(SEED)
    return [rng.standard_normal(shape) for _ in range(DRAWS)]


def _mean_rmse(
    channel: Channel,
    views: Views,
    market: Market,
    state: Float[np.ndarray, "time basket measure"],
    *,
    split: Split,
    design: Design,
) -> float:
    place_of_cost = market.measures.index(market.cost)
    span = views.rows(int(channel.stamps[0]), int(channel.stamps[-1]))
    seen = carry_forward(state.reshape(state.shape[0], -1)).reshape(state.shape)
    cost = seen[:, :, place_of_cost]
    spillover = spillover_weights(cost[: split.train[-1] + 1])
    mixed = neighbour_mix(cost, spillover) if design.neighbours else None
    slots = slot_of_day(channel.stamps, views.bar_ns)
    errors = []
    for place, basket in enumerate(market.baskets):
        view = views.combined(basket, span)
        if view is None:
            continue
        inputs = Inputs(
            slots,
            view.measures[span],
            seen[:, place] if design.state else None,
            None if mixed is None else mixed[:, place],
        )
        built = member_rows(design, inputs, cost[:, place], split.train)
        weights = solve(block_gram(built.rows.take(split.train), clip=np.inf), ridge=RIDGE)
        actual = channel.state[:, place, place_of_cost][split.test + 1]
        known = np.isfinite(actual)
        errors.append(rmse(built.forecast(weights)[split.test][known], actual[known]))
    if not errors:
        raise ModelError("this member sees no basket of the constitution")
    return float(np.mean(errors))
