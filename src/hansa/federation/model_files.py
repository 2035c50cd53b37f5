"""A member's model of one round as an artefact: loadable without the federation.

Two folders: `model/` holds the member's own model and stays at home; `model-shared/` the same round's model with the
federation's weights only, the same for every member, without anybody's scaling: it may be given away.
The residual network, with the member's own head, is in the member's artefact only where a gate lets some of it in or
its quantiles are used; otherwise the quantiles are those of the core's errors on the validation rows. The shared
artefact has no network.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from hansa.errors import ModelError
from hansa.federation.forecasting import linear_series, own_measures, shared_weights
from hansa.federation.published import design_of, network_shape
from hansa.model.artefact import Arrays, Artefact, Schema, residual_spread
from hansa.model.network import schema_hash

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jaxtyping import Float

    from hansa.federation.forecasting import Fitted
    from hansa.federation.own_network import OwnNetwork
    from hansa.federation.published import Published
    from hansa.model.core import MemberRows


def own_artefact(published: Published, built: Mapping[str, MemberRows], fitted: Fitted) -> Artefact:
    """Return the member's model: personal weights, its scaling, its own head, its gates.

    Raises:
        ModelError: The member does not see every basket.
    """
    return _artefact(published, built, fitted.personal, fitted.own if fitted.is_networked else None)


def shared_artefact(published: Published, built: Mapping[str, MemberRows]) -> Artefact:
    """Return the federation's model: shared weights, no network, no private scaling.

    Raises:
        ModelError: The member does not see every basket, or no core has been published.
    """
    weights = {
        basket: shared_weights(published, built[basket].rows, place)
        for place, basket in enumerate(published.baskets)
        if basket in built
    }
    artefact = _artefact(published, built, weights, None).published()
    return replace(artefact, arrays=replace(artefact.arrays, spread=_public_spread(published, built, weights)))


def _public_spread(
    published: Published, built: Mapping[str, MemberRows], weights: Mapping[str, Float[np.ndarray, " feature"]]
) -> Float[np.ndarray, "basket quantile"]:
    """Return the quantiles of the errors that the published columns alone make: nothing of the member is in them."""
    public = ~own_measures(published)
    series = linear_series(published, built, {basket: found * public for basket, found in weights.items()})
    _, validation = published.fit_and_validation_rows()
    return np.stack(
        [
            residual_spread(series.target[validation, place], series.linear[validation, place])
            for place in range(len(published.baskets))
        ]
    )


def _artefact(
    published: Published,
    built: Mapping[str, MemberRows],
    weights: Mapping[str, Float[np.ndarray, " feature"]],
    own: OwnNetwork | None,
) -> Artefact:
    if set(built) != set(published.baskets):
        missing = ", ".join(sorted(set(published.baskets) - set(built)))
        raise ModelError(f"expected a view of every basket; {missing} is not seen by this member")
    series = linear_series(published, built, weights)
    _, validation = published.fit_and_validation_rows()
    rows = [built[basket] for basket in published.baskets]
    shape = network_shape(published.market)
    arrays = Arrays(
        core=np.stack([weights[basket] for basket in published.baskets]),
        column_mean=np.stack([one.columns.mean for one in rows]),
        column_deviation=np.stack([one.columns.deviation for one in rows]),
        label_mean=np.array([one.label.mean[0] for one in rows]),
        label_deviation=np.array([one.label.deviation[0] for one in rows]),
        spread=np.stack(
            [
                residual_spread(series.target[validation, place], series.linear[validation, place])
                for place in range(len(rows))
            ]
        ),
        gate=np.array([0.0 if own is None else own.gates[basket] for basket in published.baskets]),
        heads=np.array([0.0 if own is None else own.heads[basket] for basket in published.baskets]),
        spillover=published.spillover(),
        network=np.zeros(0) if own is None else own.parameters,
    )
    schema = Schema(
        baskets=published.baskets,
        measures=published.market.measures,
        cost=published.market.cost,
        design=design_of(published.market),
        rounds=tuple(published.rounds),
        network=None if own is None else (shape.width, shape.embedding),
        network_hash="" if own is None else schema_hash(shape),
    )
    return Artefact(schema, arrays)
