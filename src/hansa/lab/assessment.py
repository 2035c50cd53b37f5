"""What joining brought: every arm's error against the truth, by somebody who sees everything (a test bench, no member).

| arm | who could do it |
|---|---|
| persistence, local, federated_weights, federated_state, personal_head | a member (read from its folder) |
| local_public | a broker that has everybody's exact measures, as where all books are public |
| centralised | one party with all data in one place: exact state, pooled rows, no noise |

Outcome: the market's log cost of the next bar, without noise. On a simulated market it is the known truth; on real
data the members' exact measures, weighted by shares of quote volume. Rows: after the training span and an embargo.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from hansa.errors import ModelError
from hansa.federation.forecasting import ARMS
from hansa.federation.published import EMBARGO_BARS, WARM_UP_BARS, design_of
from hansa.model.baselines import centralised, local_with_public
from hansa.model.comparison import mean_error, mean_ratio, member_losses
from hansa.model.design import Inputs, neighbour_mix, spillover_weights

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jaxtyping import Float, Int

    from hansa.federation.views import SeriesView, Views
    from hansa.governance.constitution import Constitution
    from hansa.model.evaluation import Interval, Metric

ALL_ARMS: Final = (*ARMS, "local_public", "centralised")
METRICS: Final[tuple[Metric, ...]] = ("mape", "rmse")
NS: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Bench:
    """Everything an omniscient observer has.

    Args:
        constitution: The constitution.
        views: Each member's view.
        start_ns: Stamp of the first bar of the state.
        bars: Bars of the state.
        train_bars: Bars of the training span.
    """

    constitution: Constitution
    views: Mapping[str, Views]
    start_ns: int
    bars: int
    train_bars: int

    @property
    def rows(self) -> Int[np.ndarray, " row"]:
        """Rows that are scored: a forecast made there is of the next bar."""
        return np.arange(self.train_bars + EMBARGO_BARS, self.bars - 1)

    def stamps(self) -> Int[np.ndarray, " time"]:
        """Return the stamp of each bar, ns UTC."""
        bar_ns = self.constitution.market.bar_seconds * NS
        return self.start_ns + np.arange(self.bars, dtype=np.int64) * bar_ns

    def combined(self) -> dict[str, dict[str, SeriesView]]:
        """Return each member's one view of each basket that it sees, on the state's bars."""
        bar_ns = self.constitution.market.bar_seconds * NS
        found: dict[str, dict[str, SeriesView]] = {}
        for name, views in self.views.items():
            train = views.rows(self.start_ns, self.start_ns + (self.train_bars - 1) * bar_ns)
            span = views.rows(self.start_ns, self.start_ns + (self.bars - 1) * bar_ns)
            for basket in self.constitution.market.baskets:
                view = views.combined(basket, train)
                if view is not None:
                    cut = type(view)(view.measures[span], view.quote_volume[span])
                    found.setdefault(name, {})[basket] = cut
        return found

    def exact_state(self) -> Float[np.ndarray, "time basket measure"]:
        """Return the state without noise: members' measures weighted by their capped shares of quote volume."""
        market = self.constitution.market
        combined = self.combined()
        state = np.zeros((self.bars, len(market.baskets), len(market.measures)))
        for place, basket in enumerate(market.baskets):
            seen = [views[basket] for views in combined.values() if basket in views]
            volume = np.array([view.quote_volume[: self.train_bars].mean() for view in seen])
            weights = np.minimum(volume / volume.sum(), market.weight_cap)
            state[:, place] = np.tensordot(weights / weights.sum(), np.stack([v.measures for v in seen]), axes=1)
        return state


def omniscient_forecasts(bench: Bench) -> dict[str, dict[str, Float[np.ndarray, "time basket"]]]:
    """Return the forecasts of `local_public` and `centralised` by member."""
    market = bench.constitution.market
    state, combined, design = bench.exact_state(), bench.combined(), design_of(market)
    cost = state[:, :, market.measures.index(market.cost)]
    train = np.arange(WARM_UP_BARS, bench.train_bars - 1)
    slots = next(iter(bench.views.values())).slots()
    first = (bench.start_ns - next(iter(bench.views.values())).start_ns) // (market.bar_seconds * NS)
    slots = slots[first : first + bench.bars]
    mixed = neighbour_mix(cost, spillover_weights(cost[: bench.train_bars])) if design.neighbours else None
    arms = {arm: {name: np.full(cost.shape, np.nan) for name in bench.views} for arm in ("local_public", "centralised")}
    for place, basket in enumerate(market.baskets):
        seen = [name for name in bench.views if basket in combined[name]]
        measures = [combined[name][basket].measures for name in seen]
        neighbour = None if mixed is None else mixed[:, place]
        inputs = [Inputs(slots, own, state[:, place], neighbour) for own in measures]
        public = local_with_public(inputs[0], measures, cost[:, place], train, design=design)
        pooled = centralised(inputs, cost[:, place], train, design=design)
        for name, forecast in zip(seen, pooled, strict=True):
            arms["local_public"][name][:, place] = public
            arms["centralised"][name][:, place] = forecast
    return arms


@dataclass(frozen=True, slots=True)
class Assessment:
    """Errors by arm and metric: means over members with intervals, each member's own, ratios to `local`."""

    errors: Mapping[str, Mapping[Metric, Interval]]
    per_member: Mapping[str, Mapping[str, Mapping[str, float]]]
    ratios: Mapping[str, Mapping[Metric, Interval]]


def assess(
    bench: Bench,
    forecasts: Mapping[str, Mapping[str, Float[np.ndarray, "time basket"]]],
    outcome: Float[np.ndarray, "time basket"],
    *,
    seed: int = 0,
) -> Assessment:
    """Score every arm of every member on the test rows.

    Args:
        bench: What the observer has.
        forecasts: By arm and member, log cost of the next bar at each row.
        outcome: True log cost of each bar.
        seed: Of the bootstrap.

    Raises:
        ModelError: An arm has no forecast for some member, or there is no test row.
    """
    rows = bench.rows
    if rows.size == 0:
        raise ModelError(f"no bar is left after {bench.train_bars} training bars and an embargo of {EMBARGO_BARS}")
    names = list(bench.views)
    bars_per_day = 86_400 // bench.constitution.market.bar_seconds
    days = np.repeat((rows - rows[0]) // bars_per_day, outcome.shape[1])
    actual = np.stack([outcome[rows + 1].ravel()] * len(names))
    losses: dict[str, dict[Metric, Float[np.ndarray, "member bar"]]] = {}
    for arm, members in forecasts.items():
        predicted = np.stack([members[name][rows].ravel() for name in names])
        losses[arm] = {metric: member_losses(predicted, actual, metric) for metric in METRICS}
    errors = {
        arm: {metric: mean_error(found[metric], days, metric=metric, seed=seed) for metric in METRICS}
        for arm, found in losses.items()
    }
    ratios = {
        arm: {
            metric: mean_ratio(found[metric], losses["local"][metric], days, metric=metric, seed=seed)
            for metric in METRICS
        }
        for arm, found in losses.items()
    }
    per_member = {
        name: {
            arm: {
                "mape": float(found["mape"][place].mean()),
                "rmse": float(np.sqrt(found["rmse"][place].mean())),
            }
            for arm, found in losses.items()
        }
        for place, name in enumerate(names)
    }
    return Assessment(errors, per_member, ratios)
