from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from hansa.errors import ModelError
from hansa.model import training
from hansa.model.network import NetworkShape, initial_parameters, predict_offsets
from hansa.model.training import (
    Batch,
    Series,
    ServerMomentum,
    block_norms,
    block_updates,
    choose_gate,
    choose_spread,
    day_batch,
    mean_loss,
)

BARS, DAYS, BASKETS = 24, 4, 2
SHAPE = NetworkShape(baskets=BASKETS, features=3, width=8, embedding=2)
SPILLOVER = np.array([[0.0, 1.0], [1.0, 0.0]])
START = initial_parameters(SHAPE, 0)


def series(seed: int = 0) -> Series:
    generator = np.random.default_rng(seed)
    inputs = generator.standard_normal((BARS * DAYS, BASKETS, 3))
    linear = 0.3 * generator.standard_normal((BARS * DAYS, BASKETS))
    target = linear + np.tanh(2 * inputs[:, :, 0]) + 0.1 * generator.standard_normal(linear.shape)
    clock = generator.standard_normal((BARS * DAYS, 4))
    return Series(inputs, clock, linear, target, np.repeat(np.arange(DAYS), BARS))


def batch(seed: int = 0, blocks: int = 5) -> Batch:
    return day_batch(series(seed), np.ones(BARS * DAYS, dtype=bool), SPILLOVER, blocks=blocks, block_bars=BARS)


def test_one_day_moves_the_update_by_at_most_the_clip() -> None:
    full = batch()
    weight = full.weight.copy()
    weight[1] = 0.0
    without = dataclasses.replace(full, weight=weight)
    for clip in (1e-3, 0.05, 10.0):
        moved = block_updates(SHAPE, START, full, clip=clip) - block_updates(SHAPE, START, without, clip=clip)
        assert np.linalg.norm(moved) <= clip * (1 + 1e-6)
    assert np.linalg.norm(block_updates(SHAPE, START, full, clip=1e-3)) <= 4e-3


def test_the_update_is_the_sum_over_days_and_empty_blocks_add_nothing() -> None:
    full = batch()
    parts = []
    for day in range(5):
        weight = np.zeros_like(full.weight)
        weight[day] = full.weight[day]
        parts.append(block_updates(SHAPE, START, dataclasses.replace(full, weight=weight), clip=0.05))
    np.testing.assert_allclose(np.sum(parts, axis=0), block_updates(SHAPE, START, full, clip=0.05), atol=1e-6)
    np.testing.assert_array_equal(parts[4], 0.0)


def test_norms_are_those_before_clipping_and_of_blocks_with_labels_alone() -> None:
    full = batch()
    found = block_norms(SHAPE, START, full)
    assert found.shape == (DAYS,)  # the fifth block is empty
    for day in range(DAYS):
        weight = np.zeros_like(full.weight)
        weight[day] = full.weight[day]
        alone = block_updates(SHAPE, START, dataclasses.replace(full, weight=weight), clip=1e9)
        assert np.linalg.norm(alone) == pytest.approx(found[day], rel=1e-4)
    with pytest.raises(ModelError, match="not finite"):
        block_norms(SHAPE, START * np.nan, full)


def test_the_update_is_the_gradient_of_the_loss() -> None:
    one = day_batch(series(), np.arange(BARS * DAYS) < BARS, SPILLOVER, blocks=5, block_bars=BARS)
    trained = START + 0.1 * np.random.default_rng(5).standard_normal(START.size)
    gradient = block_updates(SHAPE, trained, one, clip=1e9)
    step = 1e-2 * gradient / np.linalg.norm(gradient)
    slope = (mean_loss(SHAPE, trained + step, one) - mean_loss(SHAPE, trained - step, one)) / 2e-2
    assert slope == pytest.approx(np.linalg.norm(gradient), rel=0.05)


def test_federated_rounds_learn_what_the_core_cannot_and_compile_once() -> None:
    members = [batch(seed) for seed in range(3)]
    server = ServerMomentum(learning_rate=1.0)
    state = server.start(START)
    block_updates(SHAPE, START, members[0], clip=1.0)
    compiled = training._clipped_sum._cache_size()  # type: ignore[attr-defined]
    for _ in range(100):
        total = np.sum([block_updates(SHAPE, state.parameters, one, clip=1.0) for one in members], axis=0)
        state = server.apply(state, total, blocks=3 * DAYS)
    assert training._clipped_sum._cache_size() == compiled  # type: ignore[attr-defined]
    fresh = batch(9)
    assert mean_loss(SHAPE, state.parameters, fresh) < 0.6 * mean_loss(SHAPE, START, fresh)
    other = series(9)
    offsets = predict_offsets(SHAPE, state.parameters, other.inputs, other.clock, SPILLOVER, window_bars=BARS)
    assert choose_gate(other.target[:, 0], other.linear[:, 0], offsets[:, 0, 2]) >= 0.8


def test_server_momentum_has_its_known_answer_and_is_linear() -> None:
    server = ServerMomentum(learning_rate=0.5, momentum=0.5)
    state = server.start(np.array([1.0, 2.0]))
    state = server.apply(state, np.array([4.0, 0.0]), blocks=2)
    np.testing.assert_allclose(state.parameters, [0.0, 2.0])
    state = server.apply(state, np.array([0.0, 2.0]), blocks=2)
    np.testing.assert_allclose(state.velocity, [1.0, 1.0])
    np.testing.assert_allclose(state.parameters, [-0.5, 1.5])


def test_the_gate_takes_what_helps_and_shuts_out_noise() -> None:
    generator = np.random.default_rng(2)
    truth, linear = generator.standard_normal(2000), np.zeros(2000)
    assert choose_gate(truth, linear, 2.0 * truth) == 0.5
    assert choose_gate(truth, linear, generator.standard_normal(2000)) == 0.0
    assert choose_gate(truth, linear, -truth) == 0.0


def test_quantiles_that_breathe_with_the_errors_are_taken_and_still_or_wrong_ones_are_not() -> None:
    generator = np.random.default_rng(4)
    normal = np.array([-1.645, -0.674, 0.0, 0.674, 1.645])
    scale = np.exp(0.8 * generator.standard_normal(2000))
    error = 0.3 + scale * generator.standard_normal(2000)
    assert choose_spread(error, scale[:, None] * normal) == 1.0
    assert choose_spread(error, 7.0 + scale[:, None] * normal) == 1.0  # how wide, not where: the gate is for that
    assert choose_spread(error, np.full((2000, 1), scale.mean()) * normal) == 0.0
    assert choose_spread(error, generator.permutation(scale)[:, None] * normal) == 0.0


def test_warm_up_reaches_back_and_labels_that_do_not_count_are_left_out() -> None:
    data = series()
    data.target[BARS + 3, 1] = np.nan
    chosen = np.arange(BARS * DAYS) >= BARS
    cut = day_batch(data, chosen, SPILLOVER, blocks=4, block_bars=BARS)
    np.testing.assert_allclose(cut.inputs[0, 72 - BARS : 72 + BARS], data.inputs[: 2 * BARS], rtol=1e-6)
    assert (cut.inputs[0, : 72 - BARS] == 0).all()
    assert cut.weight[0, 3].tolist() == [1.0, 0.0]
    assert cut.weight.sum() == 3 * BARS * BASKETS - 1
    assert cut.weight[3].sum() == 0


def test_faulty_input_is_refused() -> None:
    everything = np.ones(BARS * DAYS, dtype=bool)
    with pytest.raises(ModelError, match="at most 2 days"):
        day_batch(series(), everything, SPILLOVER, blocks=2, block_bars=BARS)
    with pytest.raises(ModelError, match="bars a day"):
        day_batch(series(), everything, SPILLOVER, blocks=5, block_bars=BARS - 1)
    with pytest.raises(ModelError, match="positive clip"):
        block_updates(SHAPE, START, batch(), clip=0.0)
    with pytest.raises(ModelError, match="not finite"):
        block_updates(SHAPE, START * np.nan, batch(), clip=1.0)
    with pytest.raises(ModelError, match="finite sum"):
        ServerMomentum().apply(ServerMomentum().start(START), START[1:], blocks=3)
    with pytest.raises(ModelError, match="finite errors and quantiles"):
        choose_spread(np.zeros(3), np.zeros((2, 5)))
    with pytest.raises(ModelError, match="validation rows"):
        choose_gate(np.zeros(3), np.zeros(2), np.zeros(3))
