"""What a member makes of the published state and its own view: forecasts of each basket's next bar, kept at home.

| arm | sees | learned from |
|---|---|---|
| persistence | the last published cost | |
| local | own measures | own rows |
| federated_weights | own measures | the summed Gram (own columns only) |
| federated_state | own measures and the published state | the summed Gram, personal weights, gated residual network |

All arms learn the published cost of the next bar. A broker outside the federation would not have that label; giving it
to `local` favours `local`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from hansa.errors import ModelError
from hansa.federation.published import design_of, network_shape
from hansa.market.features import harmonics
from hansa.model.baselines import RIDGE, day_numbers, member_rows
from hansa.model.core import Rows, block_gram, choose_pull, pack, solve, solve_personal, unpack
from hansa.model.design import Inputs, feature_names, fit_scaler, neighbour_mix
from hansa.model.network import predict_offsets, stack_inputs
from hansa.model.training import Batch, Series, choose_gate, day_batch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jaxtyping import Bool, Float

    from hansa.federation.published import Published
    from hansa.federation.views import Views
    from hansa.model.design import Scaler

ARMS: Final = ("persistence", "local", "federated_weights", "federated_state")
MEDIAN: Final = 2


@dataclass(frozen=True, slots=True)
class BasketRows:
    """One basket's scaled rows at every bar, and the public scaler of its label."""

    rows: Rows = field(repr=False)
    label: Scaler
    own: Float[np.ndarray, "time measure"] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Fitted:
    """A member's own part of the model of one round; it stays at home.

    Args:
        personal: Weights of each basket's regressors, pulled towards the federation's.
        pulls: How strongly, by basket.
        gates: Share of the residual network that is used, by basket.
    """

    personal: Mapping[str, Float[np.ndarray, " feature"]] = field(repr=False)
    pulls: Mapping[str, float]
    gates: Mapping[str, float]


def basket_rows(published: Published, views: Views) -> dict[str, BasketRows]:
    """Build a member's scaled rows of every basket that it sees, over all bars of the published state.

    Raises:
        RefusedError: The member's data do not reach as far as the state.
    """
    bars = published.state.shape[0]
    span = views.rows(published.start_ns, published.start_ns + (bars - 1) * published.bar_ns)
    train = views.rows(published.start_ns, published.start_ns + (published.train_bars - 1) * published.bar_ns)
    cost = published.state[:, :, published.cost]
    design = design_of(published.market)
    mixed = neighbour_mix(cost, published.spillover()) if design.neighbours else None
    built = {}
    for place, basket in enumerate(published.baskets):
        view = views.combined(basket, train)
        if view is None:
            continue
        neighbour = None if mixed is None else mixed[:, place]
        inputs = Inputs(published.slots(), view.measures[span], published.state[:, place], neighbour)
        rows, label = member_rows(design, inputs, cost[:, place], published.train_rows())
        built[basket] = BasketRows(rows, label, view.measures[span])
    return built


def own_columns(published: Published) -> Bool[np.ndarray, " feature"]:
    """Return which columns need no published state: own measures, time of day, intercept."""
    names = feature_names(design_of(published.market), published.market.measures)
    return np.array([not name.startswith(("state.", "neighbour.")) for name in names])


def shared_weights(published: Published, place: int) -> Float[np.ndarray, " feature"]:
    """Solve the federation's core for one basket.

    Raises:
        ModelError: No Gram matrix has been published yet.
    """
    if published.grams is None:
        raise ModelError("no Gram matrix has been published in this round yet")
    return solve(published.grams[place], ridge=RIDGE, noise_deviation=published.gram_deviation)


def weights_only(published: Published, place: int) -> Float[np.ndarray, " feature"]:
    """Solve the core on own columns alone; published columns get 0."""
    if published.grams is None:
        raise ModelError("no Gram matrix has been published in this round yet")
    own = own_columns(published)
    kept = np.append(own, True)
    small = unpack(published.grams[place])[np.ix_(kept, kept)]
    weights = np.zeros(own.size)
    weights[own] = solve(pack(small), ridge=RIDGE, noise_deviation=published.gram_deviation)
    return weights


def linear_series(published: Published, built: Mapping[str, BasketRows], personal: Mapping[str, np.ndarray]) -> Series:
    """Return the scaled series on which the residual network works; a basket unseen by the member is zero."""
    bars, baskets, measures = published.state.shape
    own = np.zeros((bars, baskets, measures))
    state = np.zeros((bars, baskets, measures))
    linear = np.zeros((bars, baskets))
    target = np.full((bars, baskets), np.nan)
    train = published.train_rows()
    for place, basket in enumerate(published.baskets):
        state[:, place] = fit_scaler(published.state[:, place], train).apply(published.state[:, place])
        if basket in built:
            one = built[basket]
            own[:, place] = fit_scaler(one.own, train).apply(one.own)
            linear[:, place] = one.rows.regressors @ personal[basket]
            target[:, place] = one.rows.target
    slots = published.slots()
    design = design_of(published.market)
    return Series(
        stack_inputs(own, state, linear),
        harmonics(slots, design.slots_per_day),
        linear,
        target,
        day_numbers(slots),
    )


def fit_personal(
    published: Published, built: Mapping[str, BasketRows]
) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Return the member's personal weights of each basket and the pull that its later training rows chose."""
    fit, validation = published.fit_and_validation_rows()
    weights, pulls = {}, {}
    for place, basket in enumerate(published.baskets):
        if basket in built:
            rows = built[basket].rows
            shared = shared_weights(published, place)
            pulls[basket] = choose_pull(rows.take(fit), rows.take(validation), shared)
            own = block_gram(rows.take(published.train_rows()), clip=np.inf)
            weights[basket] = solve_personal(own, shared, pull=pulls[basket])
    return weights, pulls


def training_batch(published: Published, series: Series) -> Batch:
    """Return the member's day-blocks for the residual network."""
    chosen = np.zeros(published.state.shape[0], dtype=bool)
    chosen[published.train_rows()] = True
    return day_batch(
        series,
        chosen,
        published.spillover(),
        blocks=published.training_days(),
        block_bars=design_of(published.market).slots_per_day,
    )


def residuals(published: Published, series: Series) -> Float[np.ndarray, "time basket"]:
    """Return the median residual of the shared network, scaled units; zero before its first step."""
    if published.server is None:
        return np.zeros_like(series.linear)
    shape = network_shape(published.market)
    offsets = predict_offsets(shape, published.server.parameters, series.inputs, series.clock, published.spillover())
    return offsets[:, :, MEDIAN]


def fit(published: Published, built: Mapping[str, BasketRows]) -> Fitted:
    """Choose the member's own part of the model on its training rows.

    Raises:
        ModelError: The round has not published its core yet.
    """
    personal, pulls = fit_personal(published, built)
    series = linear_series(published, built, personal)
    residual = residuals(published, series)
    _, validation = published.fit_and_validation_rows()
    gates = {
        basket: choose_gate(
            series.target[validation, place], series.linear[validation, place], residual[validation, place]
        )
        for place, basket in enumerate(published.baskets)
        if basket in built
    }
    return Fitted(personal, pulls, gates)


def forecast(
    published: Published, built: Mapping[str, BasketRows], fitted: Fitted
) -> dict[str, Float[np.ndarray, "time basket"]]:
    """Forecast the next bar's log cost at every bar, by arm; NaN for a basket that the member does not see."""
    series = linear_series(published, built, fitted.personal)
    residual = residuals(published, series) if any(fitted.gates.values()) else np.zeros_like(series.linear)
    train = published.train_rows()
    arms = {arm: np.full(series.linear.shape, np.nan) for arm in ARMS}
    own = own_columns(published)
    for place, basket in enumerate(published.baskets):
        if basket not in built:
            continue
        one = built[basket]
        alone = Rows(one.rows.regressors[:, own], one.rows.target, one.rows.blocks)
        local = solve(block_gram(alone.take(train), clip=np.inf), ridge=RIDGE)
        arms["persistence"][:, place] = published.state[:, place, published.cost]
        arms["local"][:, place] = _unscaled(one, alone.regressors @ local)
        arms["federated_weights"][:, place] = _unscaled(one, one.rows.regressors @ weights_only(published, place))
        median = series.linear[:, place] + fitted.gates[basket] * residual[:, place]
        arms["federated_state"][:, place] = _unscaled(one, median)
    return arms


def _unscaled(one: BasketRows, values: Float[np.ndarray, " time"]) -> Float[np.ndarray, " time"]:
    return one.label.invert(values[:, None])[:, 0]
