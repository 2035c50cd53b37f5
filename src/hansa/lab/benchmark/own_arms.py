"""The federated arms of an own panel: members trade markets of their own and share weights, and a state of all markets.

The statistics are the product's (`model.core`): packed Gram matrices of clipped blocks, summed, noised, solved, moved
towards own rows; columns are scaled per measure (`common_rows`). Blocks are as long as the longest lag (20 trading
days, 120 hours), so that one day of raw data reaches its own block and the next: the sensitivity is 2 clip, the unit
one day of a member's raw data. The state of a bar is the mean over members (weights capped) of the mean over their
markets of each log measure less its training mean; one client moves a measure by at most the influence cap.

Weights without the state come from a federation of their own: its Gram matrices hold own columns only, so that the
same noise hides fewer values. Here sums are added in memory with Gaussian noise: the product's constitution has no
federation in which each basket has one member, because such a sum would show that member. Pooling over markets shows
nobody.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from hansa.federation.draft_file import Training
from hansa.lab.benchmark import coverage
from hansa.lab.benchmark.shared import INFLUENCE_CAP
from hansa.model.artefact import residual_spread
from hansa.model.baselines import RIDGE
from hansa.model.conformal import calibrate
from hansa.model.core import (
    MemberRows,
    Rows,
    block_gram,
    choose_pull,
    member_rows,
    solve,
    solve_personal,
)
from hansa.model.design import HARMONICS, Design, Inputs, Scaler, fit_scaler, regressors
from hansa.model.evaluation import next_bar
from hansa.model.reference_forecasts import tuned_ridge

if TYPE_CHECKING:
    from jaxtyping import Float

    from hansa.lab.benchmark.epsilons import Epsilons
    from hansa.lab.benchmark.panel import Panel

    Forecasts = dict[str, Float[np.ndarray, "series test"]]

WEIGHT_CAP: Final = 0.25
BARS_A_DAY: Final = {"fx_hourly": 24}
CLIP: Final = Training().gram_clip
NEWCOMER_SCORED_BARS: Final = 120
"""Test bars on which a newcomer is scored: as many as it has history; later it would have learned again."""


def federated(panel: Panel, epsilons: Epsilons, *, seed: int, member: str = "") -> Forecasts:
    """Return the federated arms' forecasts at the test rows.

    Args:
        panel: An own panel.
        epsilons: Budgets; infinite ones neither clip nor noise.
        seed: Of the noise.
        member: Whose forecasts are wanted; everybody's without.
    """
    rng = np.random.default_rng(seed)
    built = _build(panel, published_state(panel, epsilons, rng))
    keep = _own_columns(panel)
    alone = {
        series: replace(one, rows=Rows(one.rows.regressors[:, keep], one.rows.target, one.rows.blocks))
        for series, one in built.items()
    }
    whole, part = _shared(panel, built, epsilons, rng), _shared(panel, alone, epsilons, rng)
    found = {arm: _empty(panel) for arm in ("federated_weights", "federated_personal", "federated_state")}
    test = panel.split.test
    for series, one in built.items():
        if member and panel.members[series] != member:
            continue
        small = alone[series]
        found["federated_weights"][series] = small.forecast(part)[test]
        found["federated_personal"][series] = small.forecast(_personal(panel, series, small, part))[test]
        found["federated_state"][series] = one.forecast(_personal(panel, series, one, whole))[test]
    return found


def quantiles(panel: Panel, epsilons: Epsilons, *, seed: int) -> Forecasts:
    """Return the quantiles of `federated_state` at the test rows: the model's own and those calibrated bar by bar.

    Args:
        panel: An own panel.
        epsilons: Budgets.
        seed: Of the noise.

    Returns:
        By name (`coverage.OWN`, `coverage.CALIBRATED` and a level), log units.
    """
    rng = np.random.default_rng(seed)
    built = _build(panel, published_state(panel, epsilons, rng))
    whole = _shared(panel, built, epsilons, rng)
    found = {name: _empty(panel) for name in coverage.names()}
    for series, one in built.items():
        _, validation, _ = panel.parts(series)
        first = int(validation[0])
        linear = one.rows.regressors @ _personal(panel, series, one, whole)
        spread = residual_spread(one.rows.target[validation], linear[validation])
        own = one.label.invert(linear[first:, None] + spread)
        both = own, calibrate(own, panel.label[series][first:])
        coverage.put(found, series, *(one[panel.split.test - first] for one in both))
    return found


def alone(panel: Panel) -> Forecasts:
    """Return local, local with public data (all costs side by side; the exact state) and centralised forecasts."""
    found = {arm: _empty(panel) for arm in ("local", "local_public", "local_public_state", "centralised")}
    state = exact_state(panel)
    exact = _build(panel, state)
    costs = panel.own[:, :, panel.cost].T
    total = np.sum([_gram(panel, series, one.rows, np.inf) for series, one in exact.items()], axis=0)
    pooled = solve(total, ridge=RIDGE)
    for series, one in exact.items():
        train = panel.rows(series, panel.split.train)
        seen = [other for other in exact if other != series and np.isfinite(costs[train, other]).any()]
        others = np.concatenate([panel.own[series], costs[:, seen]], axis=1)
        own = Inputs(panel.slot, own=panel.own[series])
        seen_by = {
            "local": own,
            "local_public": Inputs(panel.slot, own=others),
            "local_public_state": replace(own, state=state),
        }
        for arm, inputs in seen_by.items():
            found[arm][series] = tuned(panel, series, inputs)[panel.split.test]
        found["centralised"][series] = one.forecast(_personal(panel, series, one, pooled))[panel.split.test]
    return found


def newcomer(panel: Panel, member: str, epsilons: Epsilons, *, seed: int) -> Forecasts:
    """Return the federated arms and the local forecast of a member that has just joined with a short history."""
    found = federated(panel, epsilons, seed=seed, member=member)
    found["local"] = _empty(panel)
    for series in panel.of(member):
        if panel.learns(series):
            own = Inputs(panel.slot, own=panel.own[series])
            found["local"][series] = tuned(panel, series, own)[panel.split.test]
    return found


def tuned(panel: Panel, series: int, inputs: Inputs) -> Float[np.ndarray, " time"]:
    """Forecast with a ridge on a series' own rows; its strength and its scaling are chosen on their later part."""
    fit, validation, train = panel.parts(series)
    best: tuple[float, Float[np.ndarray, " time"]] | None = None
    for build in (own_rows, common_rows):
        one = build(panel, series, inputs)
        weights, loss = tuned_ridge(one.rows, fit, validation, train, block_bars=panel.lags[-1])
        if best is None or loss < best[0]:
            best = loss, one.forecast(weights)
    assert best is not None  # noqa: S101 - two were tried
    return best[1]


def own_rows(panel: Panel, series: int, inputs: Inputs) -> MemberRows:
    """Build a series' rows with each column scaled by its own deviation, as the product does for a basket."""
    one = member_rows(_design(panel, inputs), inputs, panel.label[series], panel.rows(series, panel.split.train))
    return replace(one, rows=replace(one.rows, blocks=panel.blocks))


def common_rows(panel: Panel, series: int, inputs: Inputs) -> MemberRows:
    """Build a series' rows with all lags of a measure scaled by the deviation of the shortest.

    Weights then say how much of a deviation of the measure is kept at each lag, which is alike in markets of short and
    of long histories; the deviation of a mean over many bars, measured on few of them, is not.
    """
    train = panel.rows(series, panel.split.train)
    columns = regressors(_design(panel, inputs), inputs)
    scaler = fit_scaler(columns, train)
    mean, deviation, lags = scaler.mean.copy(), scaler.deviation.copy(), len(panel.lags)
    fixed = len(HARMONICS) + 1
    mean[-fixed:], deviation[-fixed:] = 0.0, 1.0
    deviation[:-fixed] = np.repeat(deviation[:-fixed:lags], lags)
    scaler = Scaler(mean, deviation)
    label = fit_scaler(panel.label[series][:, None], train)
    target = next_bar(label.apply(panel.label[series][:, None])[:, 0])
    scaled = np.nan_to_num(scaler.apply(columns), nan=0.0)
    return MemberRows(Rows(scaled, target, panel.blocks), scaler, label)


def exact_state(panel: Panel) -> Float[np.ndarray, "time measure"]:
    """Return the state without noise."""
    state, _ = _state(panel)
    return state


def published_state(panel: Panel, epsilons: Epsilons, rng: np.random.Generator) -> Float[np.ndarray, "time measure"]:
    """Return the state with the noise of its budget on every bar."""
    state, weights = _state(panel)
    multiplier = epsilons.multiplier(epsilons.state, BARS_A_DAY.get(panel.name, 1))
    influence = INFLUENCE_CAP * WEIGHT_CAP * np.sqrt(len(panel.measures))
    noise = rng.standard_normal(state.shape) * multiplier * influence
    return np.asarray(state + noise / np.maximum(weights, 1e-9)[:, None])


def _state(panel: Panel) -> tuple[Float[np.ndarray, "time measure"], Float[np.ndarray, " time"]]:
    """Return the weighted mean over members, and the sum of their weights at each bar."""
    weight = min(1 / len(panel.names), WEIGHT_CAP)
    total = np.zeros((panel.slot.size, len(panel.measures)))
    present = np.zeros(panel.slot.size)
    for name in panel.names:
        parts = []
        for series in panel.of(name):
            rows = panel.rows(series, panel.split.train)
            if panel.learns(series):
                parts.append(panel.own[series] - panel.own[series][rows].mean(axis=0))
        if not parts:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a bar before all of a member's series began
            mean = np.nanmean(np.stack(parts), axis=0)
        is_there = np.isfinite(mean).all(axis=1)
        total[is_there] += weight * mean[is_there]
        present += weight * is_there
    return np.asarray(total / np.maximum(present, 1e-9)[:, None]), present


def _build(panel: Panel, state: Float[np.ndarray, "time measure"]) -> dict[int, MemberRows]:
    return {
        series: common_rows(panel, series, Inputs(panel.slot, panel.own[series], state))
        for series in panel.series
        if panel.learns(series)
    }


def _design(panel: Panel, inputs: Inputs) -> Design:
    return Design(own=True, state=inputs.state is not None, lags=panel.lags, slots_per_day=panel.slots)


def _own_columns(panel: Panel) -> np.ndarray:
    """Return which regressors are not of the state."""
    stated = len(panel.measures) * len(panel.lags)
    keep = np.ones(2 * stated + 5, dtype=bool)
    keep[stated : 2 * stated] = False
    return keep


def _gram(panel: Panel, series: int, rows: Rows, clip: float) -> Float[np.ndarray, " packed"]:
    taken = rows.take(panel.rows(series, panel.split.train))
    return block_gram(taken, clip=clip, block_bars=panel.lags[-1])


def _shared(
    panel: Panel, built: dict[int, MemberRows], epsilons: Epsilons, rng: np.random.Generator
) -> Float[np.ndarray, " feature"]:
    """Return the weights that the noised sum of the members' Gram matrices gives."""
    multiplier = epsilons.multiplier(epsilons.yearly, 1)
    parts = []
    for name in panel.names:
        mine = [series for series in panel.of(name) if series in built]
        clip = CLIP / np.sqrt(max(len(mine), 1)) if multiplier else np.inf
        parts += [_gram(panel, series, built[series].rows, clip) for series in mine]
    total = np.sum(parts, axis=0)
    deviation = multiplier * 2 * CLIP
    noised = total + deviation * rng.standard_normal(total.shape)
    return solve(noised, ridge=RIDGE, noise_deviation=deviation)


def _personal(
    panel: Panel, series: int, one: MemberRows, shared: Float[np.ndarray, " feature"]
) -> Float[np.ndarray, " feature"]:
    """Return the shared weights moved towards the series' own rows as far as its later rows say."""
    fit, validation, train = panel.parts(series)
    pull = choose_pull(one.rows.take(fit), one.rows.take(validation), shared)
    own = block_gram(one.rows.take(train), clip=np.inf, block_bars=panel.lags[-1])
    return solve_personal(own, shared, pull=pull)


def _empty(panel: Panel) -> Float[np.ndarray, "series test"]:
    return np.full((len(panel.members), panel.split.test.size), np.nan)
