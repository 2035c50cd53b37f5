"""The federated arms of a shared panel: the product itself, rehearsed in one process, and what it is measured against.

| arm | sees | learned from |
|---|---|---|
| `local` | own measures | own rows |
| `local_public` | everybody's exact measures side by side | own rows |
| `local_public_state` | own measures and the exact state | own rows |
| `published_last` | the last published cost | |
| `federated_weights` | own measures | the summed Gram |
| `federated_personal` | own measures | likewise, then moved towards own rows as far as own validation says |
| `federated_state` | own measures and the published state | likewise: the shipped model without its network |
| `centralised` | own measures and the exact state | everybody's rows, no noise |

Local arms and the centralised one learn the exact label; federated ones what the state channel publishes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from hansa.errors import ModelError
from hansa.federation.forecasting import bands, basket_rows, fit, forecast, published_columns, weights_only
from hansa.federation.rules import limits_of
from hansa.lab.assessment import Bench
from hansa.lab.benchmark import coverage
from hansa.lab.benchmark.shared import constitution_of_panel, market_of
from hansa.lab.rehearsal import rehearse
from hansa.model.baselines import RIDGE, centralised, local, local_with_public
from hansa.model.core import block_gram, member_rows, solve
from hansa.model.design import Design, Inputs, neighbour_mix, spillover_weights

if TYPE_CHECKING:
    from jaxtyping import Float

    from hansa.federation.published import Published
    from hansa.federation.views import Views
    from hansa.lab.benchmark.epsilons import Epsilons
    from hansa.lab.benchmark.panel import Panel, Venues
    from hansa.lab.rehearsal import Rehearsal
    from hansa.protocol.limits import Limits

    Forecasts = dict[str, Float[np.ndarray, "series test"]]

FEDERATED: Final = ("published_last", "federated_weights", "federated_personal", "federated_state")
ALONE: Final = ("local", "local_public", "local_public_state", "centralised")
#: The sampler's least noise is a quarter of a step; these multipliers keep every purpose just above it.
_LEAST_NOISE: Final = {"census": 5e-5, "state": 2e-3, "gram": 1e-9, "weights": 1e-3}
_UNCLIPPED: Final = 2e6


def federated(panel: Panel, epsilons: Epsilons, *, seed: int) -> Forecasts:
    """Rehearse the federation of a shared panel and return its arms' forecasts at the test rows.

    Args:
        panel: A shared panel.
        epsilons: Budgets; the constitution's noise follows, as in the product.
        seed: Of the noise.

    Raises:
        ModelError: The panel is not a shared one.
    """
    played, spans = _played(panel, epsilons, seed)
    found = {arm: np.full((len(panel.members), panel.split.test.size), np.nan) for arm in FEDERATED}
    for name, work in played.works.items():
        published = work.published
        built = basket_rows(published, spans.views[name])
        made = forecast(published, built, fit(published, built))
        own = ~published_columns(published)
        first = (spans.start_ns - published.start_ns) // published.bar_ns
        for series in panel.of(name):
            basket = panel.markets[series]
            place = published.baskets.index(basket)
            rows = panel.split.test + first
            shared = weights_only(published, built[basket].rows, place)
            pure = built[basket].label.invert((built[basket].rows.regressors[:, own] @ shared[own])[:, None])[:, 0]
            found["federated_weights"][series] = pure[rows]
            found["published_last"][series] = made["persistence"][rows, place]
            found["federated_personal"][series] = made["federated_weights"][rows, place]
            found["federated_state"][series] = made["federated_state"][rows, place]
    return found


def quantiles(panel: Panel, epsilons: Epsilons, *, seed: int) -> Forecasts:
    """Return the quantiles of `federated_state` at the test rows, the model's own and the calibrated, as issued.

    Args:
        panel: A shared panel.
        epsilons: Budgets.
        seed: Of the noise.

    Returns:
        By name (`coverage.OWN`, `coverage.CALIBRATED` and a level), and the published cost of the bar that is
        forecast (`coverage.PUBLISHED`), log units.
    """
    played, spans = _played(panel, epsilons, seed)
    found = {
        name: np.full((len(panel.members), panel.split.test.size), np.nan)
        for name in (*coverage.names(), coverage.PUBLISHED)
    }
    for name, work in played.works.items():
        published = work.published
        own, given = both_bands(published, spans.views[name])
        rows = panel.split.test + (spans.start_ns - published.start_ns) // published.bar_ns
        for series in panel.of(name):
            place = published.baskets.index(panel.markets[series])
            coverage.put(found, series, own[rows, place], given[rows, place])
            found[coverage.PUBLISHED][series] = published.state[rows + 1, place, published.cost]
    return found


def both_bands(
    published: Published, views: Views
) -> tuple[Float[np.ndarray, "time basket quantile"], Float[np.ndarray, "time basket quantile"]]:
    """Return a member's quantiles as its model has them and as it issues them, calibrated bar by bar."""
    built = basket_rows(published, views)
    fitted = fit(published, built)
    return bands(published, built, fitted, is_calibrated=False), bands(published, built, fitted)


def alone(panel: Panel) -> Forecasts:
    """Return the arms that need no federation's noise: local, local with public data, centralised."""
    found = {arm: np.full((len(panel.members), panel.split.test.size), np.nan) for arm in ALONE}
    design = Design(neighbours=len(set(panel.markets)) > 1, slots_per_day=panel.slots)
    train, test = panel.split.train, panel.split.test
    baskets = list(dict.fromkeys(panel.markets))
    cost = np.stack([panel.label[panel.markets.index(basket)] for basket in baskets], axis=1)
    last = int(train[-1]) + 2
    mixed = neighbour_mix(cost, spillover_weights(cost[:last])) if design.neighbours else None
    exact = _exact_state(panel)
    for place, basket in enumerate(baskets):
        seen = [series for series in panel.series if panel.markets[series] == basket]
        neighbour = None if mixed is None else mixed[:, place]
        label = cost[:, place]
        inputs = [Inputs(panel.slot, panel.own[series], exact[:, place], neighbour) for series in seen]
        views = [panel.own[series] for series in seen]
        public = local_with_public(inputs[0], views, label, train, design=design)
        pooled = centralised(inputs, label, train, design=design)
        for series, own, whole in zip(seen, inputs, pooled, strict=True):
            rows = member_rows(design, own, label, train)
            weights = solve(block_gram(rows.rows.take(train), clip=np.inf), ridge=RIDGE)
            found["local"][series] = local(own, label, train, design=design)[test]
            found["local_public"][series] = public[test]
            found["local_public_state"][series] = rows.forecast(weights)[test]
            found["centralised"][series] = whole[test]
    return found


def _played(panel: Panel, epsilons: Epsilons, seed: int) -> tuple[Rehearsal, Venues]:
    """Rehearse the panel's federation: its sums only, nothing is fitted or published by its members."""
    spans = _spans(panel)
    market = market_of(panel.measures, panel.measures[panel.cost], spans)
    constitution = constitution_of_panel(market, panel.names, epsilons)
    limits = limits_of(constitution)
    played = rehearse(
        constitution,
        spans.views,
        as_of_ns=spans.as_of_ns,
        until_ns=spans.until_ns,
        seed=seed,
        limits=_loosened(limits) if epsilons.is_none else limits,
        is_settled=False,
    )
    return played, spans


def _spans(panel: Panel) -> Venues:
    if panel.venues is None:
        raise ModelError(f"expected a shared panel; {panel.name} has markets of its members' own")
    return panel.venues


def _exact_state(panel: Panel) -> Float[np.ndarray, "time basket measure"]:
    spans = _spans(panel)
    market = market_of(panel.measures, panel.measures[panel.cost], spans)
    constitution = constitution_of_panel(market, panel.names)
    train_bars = int(panel.split.train[-1]) + 2
    return Bench(constitution, spans.views, spans.start_ns, panel.slot.size, train_bars).exact_state()


def _loosened(limits: Limits) -> Limits:
    """Return limits with the sampler's least noise and without clipping: what no constitution allows."""
    purposes = {
        name: replace(
            purpose,
            noise_multiplier=_LEAST_NOISE[name],
            sensitivity=_UNCLIPPED if name == "gram" else purpose.sensitivity,
        )
        for name, purpose in limits.purposes.items()
    }
    return replace(limits, purposes=purposes)
