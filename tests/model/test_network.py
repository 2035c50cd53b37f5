from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import numpy as np
import pytest

from hansa.errors import ModelError
from hansa.model.network import (
    START_DEVIATION,
    NetworkShape,
    enable_compilation_cache,
    initial_parameters,
    layout,
    parameter_count,
    predict_offsets,
    ravel,
    schema_hash,
    stack_inputs,
    unravel,
)

if TYPE_CHECKING:
    from pathlib import Path

SHAPE = NetworkShape(baskets=3, features=3, width=8, embedding=4)
SPILLOVER = np.array([[0.0, 0.5, 0.5], [1.0, 0.0, 0.0], [0.2, 0.8, 0.0]])
GENERATOR = np.random.default_rng(0)
INPUTS, CLOCK = GENERATOR.standard_normal((100, 3, 3)), GENERATOR.standard_normal((100, 4))
TRAINED = initial_parameters(SHAPE, 1) + 0.2 * GENERATOR.standard_normal(parameter_count(SHAPE))


def offsets(vector: np.ndarray, inputs: np.ndarray = INPUTS, clock: np.ndarray = CLOCK) -> np.ndarray:
    return predict_offsets(SHAPE, vector, inputs, clock, SPILLOVER, window_bars=24)


def test_at_round_0_the_median_is_the_linear_core_and_the_spread_is_normal() -> None:
    start = offsets(initial_parameters(SHAPE, 1))
    normal = START_DEVIATION * np.array([-1.6449, -0.6745, 0.0, 0.6745, 1.6449])
    np.testing.assert_array_equal(start[..., 2], 0.0)
    np.testing.assert_allclose(start[40, 1], normal, atol=1e-3)


def test_quantiles_never_cross() -> None:
    assert (np.diff(offsets(TRAINED * 3), axis=2) >= 0).all()


def test_the_output_is_causal() -> None:
    changed = INPUTS.copy()
    changed[60:] += 1.0
    before, after = offsets(TRAINED), offsets(TRAINED, changed)
    np.testing.assert_allclose(before[:60], after[:60], atol=1e-6)
    assert np.abs(before[60:] - after[60:]).max() > 1e-3


def test_windows_leave_no_seam() -> None:
    # Begun 12 bars later, windows are cut elsewhere; 43 bars on, every bar still sees the same past.
    shifted = offsets(TRAINED, INPUTS[12:], CLOCK[12:])
    np.testing.assert_allclose(shifted[43:], offsets(TRAINED)[12 + 43 :], atol=1e-5)


def test_another_basket_speaks_through_the_graph() -> None:
    changed = INPUTS.copy()
    changed[50, 1] += 2.0
    assert np.abs(offsets(TRAINED, changed)[50, 0] - offsets(TRAINED)[50, 0]).max() > 1e-4


def test_ravel_inverts_unravel_and_the_layout_has_the_documented_order() -> None:
    vector = np.arange(float(parameter_count(SHAPE)))
    arrays = unravel(vector, SHAPE)
    np.testing.assert_array_equal(ravel(arrays, SHAPE), vector)
    assert list(arrays)[:3] == ["node", "enter", "enter_bias"]
    assert arrays["node"][0, 0] == 0.0
    assert [name for name, _ in layout(SHAPE)][-1] == "out_bias"


def test_schema_hash_is_known_and_changes_with_any_size() -> None:
    assert schema_hash(SHAPE) == schema_hash(NetworkShape(3, 3, 8, 4))
    others = {schema_hash(NetworkShape(*sizes)) for sizes in ((4, 3, 8, 4), (3, 4, 8, 4), (3, 3, 9, 4), (3, 3, 8, 5))}
    assert len(others | {schema_hash(SHAPE)}) == 5


def test_default_size_stays_near_13_thousand() -> None:
    assert parameter_count(NetworkShape(baskets=3, features=7)) == 12_910


def test_same_seed_same_bytes() -> None:
    assert initial_parameters(SHAPE, 4).tobytes() == initial_parameters(SHAPE, 4).tobytes()
    assert initial_parameters(SHAPE, 4).tobytes() != initial_parameters(SHAPE, 5).tobytes()


def test_inputs_are_clipped() -> None:
    stacked = stack_inputs(np.full((2, 3, 2), 99.0), np.zeros((2, 3)))
    assert stacked.shape == (2, 3, 3)
    assert stacked.max() == 8.0


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ModelError, match="parameters"):
        unravel(np.zeros(3), SHAPE)
    with pytest.raises(ModelError, match="parameter node"):
        ravel({}, SHAPE)
    with pytest.raises(ModelError, match="parameters and inputs"):
        offsets(TRAINED, INPUTS[:, :2])


def test_the_compilation_cache_is_where_it_was_put(tmp_path: Path) -> None:
    names = (
        "jax_compilation_cache_dir",
        "jax_persistent_cache_min_compile_time_secs",
        "jax_persistent_cache_min_entry_size_bytes",
    )
    before = {name: getattr(jax.config, name) for name in names}
    try:
        enable_compilation_cache(tmp_path)
        assert jax.config.jax_compilation_cache_dir == str(tmp_path)
    finally:
        for name, value in before.items():
            jax.config.update(name, value)
