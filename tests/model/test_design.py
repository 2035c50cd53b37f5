from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hansa.errors import ModelError
from hansa.model.design import (
    Design,
    Inputs,
    feature_names,
    fit_scaler,
    neighbour_mix,
    regressors,
    scale_regressors,
    spillover_weights,
)

SMALL = Design(neighbours=True, lags=(1, 3), slots_per_day=24)


def inputs(seed: int, bars: int = 120) -> Inputs:
    generator = np.random.default_rng(seed)
    return Inputs(
        slot=np.arange(bars) % 24,
        own=generator.standard_normal((bars, 2)),
        state=generator.standard_normal((bars, 2)),
        neighbour=generator.standard_normal(bars),
    )


def test_columns_stand_where_their_names_say() -> None:
    series = inputs(1)
    assert series.own is not None
    assert series.state is not None
    assert series.neighbour is not None
    names = feature_names(SMALL, ["spread", "depth"])
    columns = regressors(SMALL, series)
    assert columns.shape == (120, len(names))
    at = {name: columns[50, index] for index, name in enumerate(names)}
    assert at["own.depth.1"] == pytest.approx(series.own[50, 1])
    assert at["state.spread.3"] == pytest.approx(series.state[48:51, 0].mean())
    assert at["neighbour.3"] == pytest.approx(series.neighbour[48:51].mean())
    assert at["sin_1"] == pytest.approx(np.sin(2 * np.pi * 2 / 24))
    assert at["intercept"] == 1.0


@given(st.integers(0, 118), st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_the_future_never_changes_a_row(now: int, seed: int) -> None:
    series, other = inputs(seed), inputs(seed + 1)
    assert series.own is not None
    assert series.state is not None
    assert series.neighbour is not None
    assert other.own is not None
    assert other.state is not None
    assert other.neighbour is not None
    changed = Inputs(
        slot=series.slot,
        own=np.concatenate([series.own[: now + 1], other.own[now + 1 :]]),
        state=np.concatenate([series.state[: now + 1], other.state[now + 1 :]]),
        neighbour=np.concatenate([series.neighbour[: now + 1], other.neighbour[now + 1 :]]),
    )
    before, after = regressors(SMALL, series), regressors(SMALL, changed)
    np.testing.assert_array_equal(before[: now + 1], after[: now + 1])


def test_an_arm_leaves_out_its_groups() -> None:
    alone = Inputs(slot=inputs(1).slot, own=inputs(1).own)
    assert regressors(Design(state=False, lags=(1,), slots_per_day=24), alone).shape == (120, 2 + 5)


def test_an_absent_or_short_group_is_refused() -> None:
    with pytest.raises(ModelError, match="expected state measures"):
        regressors(SMALL, Inputs(slot=np.arange(24), own=np.zeros((24, 1))))
    with pytest.raises(ModelError, match="expected own measures"):
        regressors(SMALL, Inputs(slot=np.arange(24), own=np.zeros((23, 1))))


def test_scaling_leaves_harmonics_and_intercept_and_fills_gaps_with_the_mean() -> None:
    columns = regressors(SMALL, inputs(2))
    columns[70, 0] = np.nan
    scaled, scaler = scale_regressors(columns, np.arange(60))
    np.testing.assert_array_equal(scaled[:, -5:], columns[:, -5:])
    np.testing.assert_allclose(scaled[:60, :-5].mean(axis=0), 0.0, atol=1e-12)
    np.testing.assert_allclose(scaled[:60, :-5].std(axis=0), 1.0, rtol=1e-12)
    assert scaled[70, 0] == 0.0
    np.testing.assert_allclose(scaler.invert(scaled)[5], columns[5])


def test_scaler_survives_a_constant_column_and_refuses_an_empty_one() -> None:
    assert fit_scaler(np.ones((4, 1)), np.arange(4)).deviation[0] == 1.0
    with pytest.raises(ModelError, match="finite value"):
        fit_scaler(np.full((4, 1), np.nan), np.arange(4))


def test_spillover_finds_who_moves_whom() -> None:
    generator = np.random.default_rng(4)
    transition = np.array([[0.5, 0.4, 0.0], [0.0, 0.6, 0.0], [0.0, 0.0, 0.6]])
    cost = np.zeros((4000, 3))
    for bar in range(1, 4000):
        cost[bar] = transition @ cost[bar - 1] + generator.standard_normal(3)
    weights = spillover_weights(cost)
    np.testing.assert_allclose(weights.sum(axis=1), 1.0)
    np.testing.assert_array_equal(np.diag(weights), 0.0)
    assert weights[0, 1] > 0.95
    np.testing.assert_allclose(neighbour_mix(cost, weights)[7], weights @ cost[7])


def test_one_basket_has_no_neighbour_and_gaps_are_refused() -> None:
    np.testing.assert_array_equal(spillover_weights(np.random.default_rng(0).standard_normal((50, 1))), [[0.0]])
    with pytest.raises(ModelError, match="finite bars"):
        spillover_weights(np.full((50, 2), np.nan))
