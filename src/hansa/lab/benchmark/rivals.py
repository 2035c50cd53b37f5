"""The baselines on a panel: every one that usually wins, by who could run it.

| group | rivals | sees |
|---|---|---|
| `simple` | last value, a season before, slot median, HAR, HAR with a tuned rolling window, GHAR, DLinear | own |
| `trees` | LightGBM on own regressors | own |
| `trees_pooled` | LightGBM on the pooled rows of all series | everybody's rows |
| `networks` | STID-MLP and a graph network over a member's own series | own |
| `networks_pooled` | a graph network over all series | everybody's series |

`ridge on all features` is the arm `local` of the arms' modules. Models of random start take a seed. On a shared panel
all learn the exact label, which a broker outside a federation has not: this favours them. HAR with a rolling window is
refitted through the test part, which no other forecast here is: this favours it too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from hansa.lab.benchmark import trees
from hansa.lab.benchmark.own_arms import common_rows
from hansa.market.features import carry_forward
from hansa.model.design import Inputs, neighbour_mix, spillover_weights
from hansa.model.reference_forecasts import dlinear, levelled, rolling_ridge, season_before, slot_median, tuned_ridge
from hansa.model.rival_networks import NodeSeries, train_and_forecast

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jaxtyping import Float

    from hansa.lab.benchmark.panel import Panel
    from hansa.model.core import MemberRows

    Forecasts = dict[str, Float[np.ndarray, "series test"]]

WINDOW_BARS: Final = 24
MOST_WINDOW_BARS: Final = 72


def simple(panel: Panel, _seed: int) -> Forecasts:
    """Return the forecasts of the simple rivals at the test rows."""
    names = ("last_value", "season_before", "slot_median", "har", "har_rolling", "ghar", "dlinear")
    found = {name: _empty(panel) for name in names}
    test = panel.split.test
    for series in panel.series:
        if not panel.learns(series):
            continue
        train = panel.rows(series, panel.split.train)
        own = panel.own[series, :, panel.cost]
        label = panel.label[series]
        naive = {
            "last_value": own,
            "season_before": season_before(own, panel.season_bars),
            "slot_median": carry_forward(slot_median(own, panel.slot)),
        }
        for name, forecast in naive.items():
            found[name][series] = levelled(forecast, label, train)[test]
        har = common_rows(panel, series, Inputs(panel.slot, own=own[:, None]))
        found["har"][series] = _tuned(panel, series, har)[test]
        found["har_rolling"][series] = _rolling(panel, series, har)[test]
        found["ghar"][series] = _tuned(panel, series, _with_neighbours(panel, series))[test]
        window = min(panel.lags[-1], MOST_WINDOW_BARS)
        found["dlinear"][series] = dlinear(
            own, label, panel.parts(series), window_bars=window, mean_bars=max(window // 6, 2)
        )[test]
    return found


def boosted(panel: Panel, seed: int) -> Forecasts:
    """Return LightGBM's forecasts, one model a series."""
    found = _empty(panel)
    for series, one in _built(panel).items():
        made = trees.boosted({series: one.rows}, {series: panel.parts(series)}, seed=seed)
        found[series] = _unscaled(one, made[series])[panel.split.test]
    return {"lightgbm": found}


def boosted_pooled(panel: Panel, seed: int) -> Forecasts:
    """Return LightGBM's forecasts, one model for all."""
    found = _empty(panel)
    built = _built(panel)
    made = trees.boosted(
        {series: one.rows for series, one in built.items()},
        {series: panel.parts(series) for series in built},
        seed=seed,
    )
    for series, one in built.items():
        found[series] = _unscaled(one, made[series])[panel.split.test]
    return {"lightgbm_pooled": found}


def networks(panel: Panel, seed: int) -> Forecasts:
    """Return the forecasts of a STID-MLP and of a graph network, each over a member's own series."""
    found = {"stid_mlp": _empty(panel), "graph_network": _empty(panel)}
    built = _built(panel)
    for name in panel.names:
        mine = [series for series in panel.of(name) if series in built]
        for arm, is_graph in (("stid_mlp", False), ("graph_network", True)):
            if mine and not (is_graph and len(mine) == 1):
                _network(panel, built, mine, found[arm], is_graph=is_graph, seed=seed)
    if not np.isfinite(found["graph_network"]).any():
        del found["graph_network"]  # every member has one series: there is no graph
    return found


def networks_pooled(panel: Panel, seed: int) -> Forecasts:
    """Return the forecasts of a graph network over the series of all members."""
    found = _empty(panel)
    built = _built(panel)
    _network(panel, built, list(built), found, is_graph=True, seed=seed)
    return {"graph_network_pooled": found}


GROUPS: Final[dict[str, Callable[[Panel, int], Forecasts]]] = {
    "simple": simple,
    "trees": boosted,
    "trees_pooled": boosted_pooled,
    "networks": networks,
    "networks_pooled": networks_pooled,
}
RANDOM: Final = ("trees", "trees_pooled", "networks", "networks_pooled")
POOLED: Final = ("lightgbm_pooled", "graph_network_pooled")


def _built(panel: Panel) -> dict[int, MemberRows]:
    return {
        series: common_rows(panel, series, Inputs(panel.slot, panel.own[series]))
        for series in panel.series
        if panel.learns(series)
    }


def _tuned(panel: Panel, series: int, one: MemberRows) -> Float[np.ndarray, " time"]:
    weights, _ = tuned_ridge(one.rows, *panel.parts(series), block_bars=panel.lags[-1])
    return one.forecast(weights)


def _rolling(panel: Panel, series: int, har: MemberRows) -> Float[np.ndarray, " time"]:
    _, validation, train = panel.parts(series)
    longest = train.size
    windows = sorted({max(longest // share, 3 * panel.lags[-1]) for share in (1, 2, 4, 8)})
    known = np.flatnonzero(panel.known(series))
    made, _ = rolling_ridge(har.rows, known, validation, windows=windows, refit_rows=panel.lags[-1])
    return _unscaled(har, made)


def _with_neighbours(panel: Panel, series: int) -> MemberRows:
    """Build HAR with the costs of the member's other series, mixed by spillover; HAR where there is no other."""
    train = panel.rows(series, panel.split.train)
    costs = panel.own[:, :, panel.cost]
    mine = [one for one in panel.of(panel.members[series]) if one == series or np.isfinite(costs[one, train]).all()]
    own = costs[series][:, None]
    if len(mine) == 1:
        return common_rows(panel, series, Inputs(panel.slot, own=own))
    span = slice(int(train[0]), int(train[-1]) + 1)
    mixed = neighbour_mix(np.nan_to_num(costs[mine].T), spillover_weights(costs[mine][:, span].T))
    joined = np.concatenate([own, mixed[:, [mine.index(series)]]], axis=1)
    return common_rows(panel, series, Inputs(panel.slot, own=joined))


def _network(
    panel: Panel,
    built: dict[int, MemberRows],
    chosen: Sequence[int],
    found: Float[np.ndarray, "series test"],
    *,
    is_graph: bool,
    seed: int,
) -> None:
    """Train one network over some series and write its forecasts at the test rows."""
    inputs = np.zeros((panel.slot.size, len(chosen), len(panel.measures)))
    target = np.full((panel.slot.size, len(chosen)), np.nan)
    order = [panel.cost, *(one for one in range(len(panel.measures)) if one != panel.cost)]
    fits, validations = [], []
    for place, series in enumerate(chosen):
        fit, validation, train = panel.parts(series)
        mean, deviation = panel.own[series][train].mean(axis=0), panel.own[series][train].std(axis=0)
        scaled = (panel.own[series] - mean) / np.maximum(deviation, 1e-12)
        inputs[:, place] = np.clip(np.nan_to_num(scaled)[:, order], -8, 8)
        target[train, place] = built[series].rows.target[train]
        fits.append(fit)
        validations.append(validation)
    made = train_and_forecast(
        NodeSeries(inputs, target, panel.slot, panel.slots),
        np.unique(np.concatenate(fits)),
        np.unique(np.concatenate(validations)),
        window_bars=WINDOW_BARS,
        is_graph=is_graph,
        seed=seed,
    )
    for place, series in enumerate(chosen):
        found[series] = _unscaled(built[series], made[:, place])[panel.split.test]


def _unscaled(one: MemberRows, forecast: Float[np.ndarray, " time"]) -> Float[np.ndarray, " time"]:
    return one.label.invert(forecast[:, None])[:, 0]


def _empty(panel: Panel) -> Float[np.ndarray, "series test"]:
    return np.full((len(panel.members), panel.split.test.size), np.nan)
