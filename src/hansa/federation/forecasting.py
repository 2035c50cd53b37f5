"""What a member makes of the published state and its own view: forecasts of each basket's next bar, kept at home.

| arm | sees | learned from |
|---|---|---|
| persistence | the last published cost | |
| local | own measures | own rows |
| federated_weights | own measures | the summed Gram (own columns only), personal weights |
| federated_state | own measures and the published state | the summed Gram, personal weights, gated residual network |
| personal_head | likewise | likewise; the network's last layers trained on own rows (`hansa.model.personal`) |

All arms learn the published cost of the next bar. A broker outside the federation would not have that label; giving it
to `local` favours `local`. What a member acts on is `personal_head`; it has quantiles too (`bands`), calibrated bar by
bar on published costs. Where the shared head, or no network at all, did as well on the member's own later rows,
`personal_head` is `federated_state`, or the core.

Choices (gates, the head's pull, whose quantiles) are made on the last quarter of the member's own training rows, with
weights and heads that were fitted to its rows before them. The summed Gram and the shared network have seen that
quarter, one member's share of a noisy sum: so choices lean towards what is shared, never towards what is the member's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from hansa.errors import ModelError
from hansa.federation.own_network import MEDIAN, OwnNetwork, gates_of, is_trained, offsets, own_network, residuals
from hansa.federation.published import design_of
from hansa.market.features import harmonics
from hansa.model.artefact import gated_steps, residual_spread
from hansa.model.baselines import RIDGE
from hansa.model.conformal import calibrate
from hansa.model.core import (
    MemberRows,
    Rows,
    block_gram,
    choose_pull,
    day_numbers,
    member_rows,
    pack,
    public_weights,
    solve,
    solve_personal,
    unpack,
)
from hansa.model.design import QUANTILES, Inputs, current_columns, feature_names, neighbour_mix
from hansa.model.network import stack_inputs
from hansa.model.training import Series

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jaxtyping import Bool, Float

    from hansa.federation.published import Published
    from hansa.federation.views import Views

ARMS: Final = ("persistence", "local", "federated_weights", "federated_state", "personal_head")


@dataclass(frozen=True, slots=True)
class Fitted:
    """A member's own part of the model of one round; it stays at home.

    Attributes:
        personal: Weights of each basket's regressors, pulled towards the federation's.
        pulls: How strongly, by basket.
        gates: Share of the shared residual network that `federated_state` uses, by basket.
        own: The network with the member's own head; None before the shared one's first step.
    """

    personal: Mapping[str, Float[np.ndarray, " feature"]] = field(repr=False)
    pulls: Mapping[str, float]
    gates: Mapping[str, float]
    own: OwnNetwork | None = None

    @property
    def is_networked(self) -> bool:
        """Whether the member's forecasts use anything of the network."""
        return self.own is not None and (any(self.own.gates.values()) or any(self.own.heads.values()))


def basket_rows(published: Published, views: Views) -> dict[str, MemberRows]:
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
        built[basket] = member_rows(design, inputs, cost[:, place], published.train_rows())
    return built


def published_columns(published: Published) -> Bool[np.ndarray, " feature"]:
    """Return which columns come from the published state, own measures left out."""
    names = feature_names(design_of(published.market), published.market.measures)
    return np.array([name.startswith(("state.", "neighbour.")) for name in names])


def own_measures(published: Published) -> Bool[np.ndarray, " feature"]:
    """Return which columns are the member's own measures."""
    names = feature_names(design_of(published.market), published.market.measures)
    return np.array([name.startswith("own.") for name in names])


def shared_weights(published: Published, rows: Rows, place: int) -> Float[np.ndarray, " feature"]:
    """Solve the federation's core for one basket; where noise hides it, lean on what published series alone say.

    Raises:
        ModelError: No Gram matrix has been published yet.
    """
    if published.grams is None:
        raise ModelError("no Gram matrix has been published in this round yet")
    prior = public_weights(rows.take(published.train_rows()), ~own_measures(published), ridge=RIDGE)
    return solve(published.grams[place], ridge=RIDGE, noise_deviation=published.gram_deviation, towards=prior)


def weights_only(published: Published, rows: Rows, place: int) -> Float[np.ndarray, " feature"]:
    """Solve the core without the published state: own measures, time of day and intercept; other weights are 0."""
    if published.grams is None:
        raise ModelError("no Gram matrix has been published in this round yet")
    used = ~published_columns(published)
    kept = np.append(used, np.True_)
    small = pack(unpack(published.grams[place])[np.ix_(kept, kept)])
    prior = public_weights(rows.take(published.train_rows()), used & ~own_measures(published), ridge=RIDGE)
    weights = np.zeros(used.size)
    weights[used] = solve(small, ridge=RIDGE, noise_deviation=published.gram_deviation, towards=prior[used])
    return weights


def linear_series(published: Published, built: Mapping[str, MemberRows], personal: Mapping[str, np.ndarray]) -> Series:
    """Return the scaled series on which the residual network works; a basket unseen by the member is zero."""
    bars, baskets, measures = published.state.shape
    chosen = current_columns(design_of(published.market), measures)
    current = np.zeros((bars, baskets, chosen.size))
    linear = np.zeros((bars, baskets))
    target = np.full((bars, baskets), np.nan)
    for place, basket in enumerate(published.baskets):
        if basket in built:
            rows = built[basket].rows
            current[:, place] = rows.regressors[:, chosen]
            linear[:, place] = rows.regressors @ personal[basket]
            target[:, place] = rows.target
    slots = published.slots()
    design = design_of(published.market)
    return Series(
        stack_inputs(current, linear),
        harmonics(slots, design.slots_per_day),
        linear,
        target,
        day_numbers(slots),
    )


def fit_personal(
    published: Published, built: Mapping[str, MemberRows]
) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Return the member's personal weights of each basket and the pull that its later training rows chose."""
    fit, validation = published.fit_and_validation_rows()
    weights, pulls = {}, {}
    for place, basket in enumerate(published.baskets):
        if basket in built:
            rows = built[basket].rows
            shared = shared_weights(published, rows, place)
            pulls[basket] = choose_pull(rows.take(fit), rows.take(validation), shared)
            own = block_gram(rows.take(published.train_rows()), clip=np.inf)
            weights[basket] = solve_personal(own, shared, pull=pulls[basket])
    return weights, pulls


def fit(published: Published, built: Mapping[str, MemberRows], before: Fitted | None = None) -> Fitted:
    """Choose the member's own part of the model on its training rows.

    Args:
        published: What the federation has published.
        built: The member's rows.
        before: The member's part of an earlier round: where its head has not seen this round's validation rows, the
            new one starts from it.

    Raises:
        ModelError: The round has not published its core yet.
    """
    personal, pulls = fit_personal(published, built)
    if not is_trained(published):
        return Fitted(personal, pulls, dict.fromkeys(built, 0.0))
    earlier = linear_series(published, built, _earlier_weights(published, built, pulls))
    gates = gates_of(published, built, earlier, residuals(published, earlier))
    series = linear_series(published, built, personal)
    known = None if before is None else before.own
    return Fitted(personal, pulls, gates, own_network(published, built, earlier, series, known))


def forecast(
    published: Published, built: Mapping[str, MemberRows], fitted: Fitted
) -> dict[str, Float[np.ndarray, "time basket"]]:
    """Forecast the next bar's log cost at every bar, by arm; NaN for a basket that the member does not see."""
    series = linear_series(published, built, fitted.personal)
    shared = np.array([fitted.gates.get(basket, 0.0) for basket in published.baskets])
    medians = {
        "federated_state": series.linear + (shared * residuals(published, series) if shared.any() else 0.0),
        "personal_head": series.linear + _steps(published, series, fitted)[:, :, MEDIAN],
    }
    train = published.train_rows()
    arms = {arm: np.full(series.linear.shape, np.nan) for arm in ARMS}
    own = ~published_columns(published)
    fit_rows, validation = published.fit_and_validation_rows()
    for place, basket in enumerate(published.baskets):
        if basket not in built:
            continue
        one = built[basket]
        alone = Rows(one.rows.regressors[:, own], one.rows.target, one.rows.blocks)
        own_gram = block_gram(alone.take(train), clip=np.inf)
        towards = weights_only(published, one.rows, place)[own]
        pull = choose_pull(alone.take(fit_rows), alone.take(validation), towards)
        weights = {
            "local": solve(own_gram, ridge=RIDGE),
            "federated_weights": solve_personal(own_gram, towards, pull=pull),
        }
        arms["persistence"][:, place] = published.state[:, place, published.cost]
        for arm, found in weights.items():
            arms[arm][:, place] = one.label.invert((alone.regressors @ found)[:, None])[:, 0]
        for arm, median in medians.items():
            arms[arm][:, place] = one.label.invert(median[:, place, None])[:, 0]
    return arms


def bands(
    published: Published, built: Mapping[str, MemberRows], fitted: Fitted, *, is_calibrated: bool = True
) -> Float[np.ndarray, "time basket quantile"]:
    """Forecast the quantiles of the next bar's published log cost by `personal_head`.

    Args:
        published: What the federation has published.
        built: The member's rows.
        fitted: The member's own part of the model.
        is_calibrated: Whether to calibrate them (`hansa.model.conformal`), from the validation rows on, so that errors
            are known by the first bar after training; otherwise they are the model's own.

    Returns:
        Ascending quantiles at `QUANTILES`, made at each bar with published costs up to it. NaN before the validation
        rows, and for a basket that the member does not see. A calibrated median is not the point forecast of
        `forecast`: past errors have moved it.
    """
    series = linear_series(published, built, fitted.personal)
    steps = _steps(published, series, fitted)
    first = int(published.fit_and_validation_rows()[1][0])
    found = np.full((*series.linear.shape, len(QUANTILES)), np.nan)
    for place, basket in enumerate(published.baskets):
        if basket in built:
            values = built[basket].label.invert(series.linear[first:, place, None] + steps[first:, place])
            actual = published.state[first:, place, published.cost]
            found[first:, place] = calibrate(values, actual) if is_calibrated else values
    return found


def _earlier_weights(
    published: Published, built: Mapping[str, MemberRows], pulls: Mapping[str, float]
) -> dict[str, Float[np.ndarray, " feature"]]:
    """Return personal weights of the chosen pulls whose own rows end before the validation rows."""
    rows = published.fit_and_validation_rows()[0]
    return {
        basket: solve_personal(
            block_gram(built[basket].rows.take(rows), clip=np.inf),
            shared_weights(published, built[basket].rows, place),
            pull=pulls[basket],
        )
        for place, basket in enumerate(published.baskets)
        if basket in built
    }


def _steps(published: Published, series: Series, fitted: Fitted) -> Float[np.ndarray, "time basket quantile"]:
    """Return the quantiles minus the core: of past errors, or the own network's where a gate or a head says so."""
    _, validation = published.fit_and_validation_rows()
    spread = [
        residual_spread(series.target[validation, place], series.linear[validation, place])
        if basket in fitted.gates
        else np.zeros(len(QUANTILES))
        for place, basket in enumerate(published.baskets)
    ]
    still = np.broadcast_to(np.stack(spread), (*series.linear.shape, len(QUANTILES)))
    own = fitted.own
    if own is None or not fitted.is_networked:
        return still
    gates, heads = (
        np.array([chosen.get(basket, 0.0) for basket in published.baskets])[:, None]
        for chosen in (own.gates, own.heads)
    )
    return gated_steps(offsets(published, series, own.parameters), still, gates=gates, heads=heads)
