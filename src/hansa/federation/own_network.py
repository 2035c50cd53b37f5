"""The residual network at a member: day-blocks to train it, its forecasts, and the member's own head of it.

The shared network is the same for everybody. `own_network` gives it the member's own last layers (`model.personal`) and
chooses what of the result is used: a share of its median, and whether its quantiles or those of past errors spread the
forecast. Nothing of that is sent: `training_batch` and `federation.liquidity` never see a head.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from hansa.errors import ModelError
from hansa.federation.published import design_of, network_shape
from hansa.model.network import predict_offsets
from hansa.model.personal import Head, head_rows, train_head, with_head
from hansa.model.training import Batch, Series, choose_gate, choose_spread, day_batch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jaxtyping import Float, Int

    from hansa.federation.published import Published
    from hansa.model.core import MemberRows

MEDIAN: Final = 2


@dataclass(frozen=True, slots=True)
class OwnNetwork:
    """The residual network with a member's own head, and what of it the member uses; it stays at home.

    Attributes:
        head: The head and how it was chosen.
        parameters: The shared body and that head, as one flat vector.
        gates: Share of its median residual that is used, by basket.
        heads: By basket, 1.0 where its quantiles spread the forecast, 0.0 where past errors do.
        until_ns: Stamp of the newest training row, ns UTC.
    """

    head: Head = field(repr=False)
    parameters: Float[np.ndarray, " param"] = field(repr=False)
    gates: Mapping[str, float]
    heads: Mapping[str, float]
    until_ns: int


def training_batch(published: Published, series: Series) -> Batch:
    """Return the member's day-blocks for the residual network."""
    return batch_of(published, series, published.train_rows())


def offsets(
    published: Published, series: Series, parameters: Float[np.ndarray, " param"] | None = None
) -> Float[np.ndarray, "time basket quantile"]:
    """Return a network's quantiles minus the core, scaled units.

    Args:
        published: What the federation has published.
        series: From `linear_series`.
        parameters: The network's; the shared ones by default.

    Raises:
        ModelError: There is no network yet.
    """
    if published.server is None:
        raise ModelError("no core has been published in this round yet, so there is no network")
    vector = published.server.parameters if parameters is None else parameters
    return predict_offsets(network_shape(published.market), vector, series.inputs, series.clock, published.spillover())


def residuals(published: Published, series: Series) -> Float[np.ndarray, "time basket"]:
    """Return the median residual of the shared network, scaled units; zero before its first step."""
    return offsets(published, series)[:, :, MEDIAN] if is_trained(published) else np.zeros_like(series.linear)


def is_trained(published: Published) -> bool:
    """Return whether the shared network has taken a step in this round; before, it is the core."""
    return published.server is not None and bool(published.server.velocity.any())


def gates_of(
    published: Published,
    built: Mapping[str, MemberRows],
    series: Series,
    residual: Float[np.ndarray, "time basket"],
) -> dict[str, float]:
    """Return the share of a residual that the member uses in each basket, chosen on its validation rows."""
    rows = published.fit_and_validation_rows()[1]
    return {
        basket: choose_gate(series.target[rows, place], series.linear[rows, place], residual[rows, place])
        for place, basket in enumerate(published.baskets)
        if basket in built
    }


def batch_of(published: Published, series: Series, rows: Int[np.ndarray, " row"]) -> Batch:
    """Return day-blocks of which these rows count; all have the shapes of a round, so that one program serves."""
    chosen = np.zeros(published.state.shape[0], dtype=bool)
    chosen[rows] = True
    return day_batch(
        series,
        chosen,
        published.spillover(),
        blocks=published.training_days(),
        block_bars=design_of(published.market).slots_per_day,
    )


def own_network(
    published: Published,
    built: Mapping[str, MemberRows],
    earlier: Series,
    series: Series,
    before: OwnNetwork | None,
) -> OwnNetwork:
    """Train the member's own head and choose what of it to use.

    Args:
        published: What the federation has published.
        built: The member's rows.
        earlier: The scaled series on the core whose own rows end before the validation rows.
        series: Those on the member's core.
        before: Of an earlier round: where it has not seen this round's validation rows, the head starts from it.

    Raises:
        ModelError: There is no network yet.
    """
    if published.server is None:
        raise ModelError("no core has been published in this round yet, so there is no network")
    shape, shared = network_shape(published.market), published.server.parameters
    fit_rows, validation = published.fit_and_validation_rows()
    train = published.train_rows()
    stamps = published.stamps()
    is_older = before is not None and before.until_ns < int(stamps[validation[0]])
    fit, tail, whole = (
        head_rows(shape, shared, batch_of(published, one, rows))
        for one, rows in ((earlier, fit_rows), (earlier, validation), (series, train))
    )
    start = before.head.values if before is not None and is_older else None
    head = train_head(shape, shared, fit=fit, validation=tail, train=whole, start=start)
    chosen = offsets(published, earlier, with_head(shape, shared, head.fitted))
    return OwnNetwork(
        head,
        with_head(shape, shared, head.values),
        gates_of(published, built, earlier, chosen[:, :, MEDIAN]),
        {
            basket: choose_spread(
                earlier.target[validation, place] - earlier.linear[validation, place], chosen[validation, place]
            )
            for place, basket in enumerate(published.baskets)
            if basket in built
        },
        int(stamps[train[-1] + 1]),
    )
