"""Claims about recomputing the past: equal inputs give equal numbers, and a look ahead is found out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hansa.errors import ModelError
from hansa.model.detection import fit_reference
from hansa.model.lsi import IndexRule, stress_index, system_band, system_index
from hansa.model.point_in_time import first_look_ahead, index_evidence, inputs_digest, value_digest

RULE = IndexRule(
    signs=(1, -1), weights=(0.5, 0.5), score_window_bars=480, score_minimum=3, rank_window_bars=480, rank_minimum=24
)
SLOT = np.arange(500) % 24


def state(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((500, 2))


def index_of(values: np.ndarray) -> np.ndarray:
    return stress_index(values, SLOT[: values.shape[0]], RULE)


@given(st.integers(0, 99), st.integers(130, 480))
@settings(max_examples=12, deadline=None)
def test_a_past_bar_computed_again_later_has_the_same_digests(seed: int, bar: int) -> None:
    values = state(seed)
    published = float(index_of(values)[bar])
    then = index_evidence(values[: bar + 1], SLOT, RULE, bar, value=published)
    later = index_evidence(values, SLOT, RULE, bar)
    assert (then.inputs, then.output) == (later.inputs, later.output)


def test_any_input_any_rule_and_any_value_changes_a_digest() -> None:
    values = state(1)
    evidence = index_evidence(values, SLOT, RULE, 300)
    changed = values.copy()
    changed[17, 1] = np.nextafter(changed[17, 1], 9)
    assert index_evidence(changed, SLOT, RULE, 300).inputs != evidence.inputs
    other = IndexRule(**{**{name: getattr(RULE, name) for name in IndexRule.__slots__}, "decay": 0.97})
    assert inputs_digest(values, SLOT, other) != inputs_digest(values, SLOT, RULE)
    assert value_digest(1.0) != value_digest(np.nextafter(1.0, 2))
    assert value_digest(float("nan")) == value_digest(-float("nan"))


@pytest.mark.parametrize("planted", ["whole mean", "centred window", "later rank"])
def test_every_planted_look_ahead_is_found(planted: str) -> None:
    values = state(2)

    def peeking(series: np.ndarray) -> np.ndarray:
        if planted == "whole mean":
            return index_of(series - series.mean(axis=0)) - series.mean()
        if planted == "centred window":
            return index_of(np.column_stack([np.convolve(one, np.ones(3) / 3, "same") for one in series.T]))
        return series[:, 0].argsort().argsort().astype(float)

    assert first_look_ahead(index_of, values, range(100, 500, 23)) is None
    assert first_look_ahead(peeking, values, range(100, 500, 23)) is not None


def test_the_system_index_and_its_band_do_not_look_ahead() -> None:
    values = 100 * np.random.default_rng(3).random((300, 2))
    weights = np.array([2.0, 1.0])
    assert first_look_ahead(lambda one: system_index(one, weights), values, range(50, 300, 31)) is None
    assert first_look_ahead(lambda one: system_band(one, weights)[:, 1], values, range(50, 300, 31)) is None


def test_a_reference_fixed_in_training_does_not_look_ahead() -> None:
    values = state(4)

    def scored(series: np.ndarray) -> np.ndarray:
        reference = fit_reference(series[:120], SLOT[:120], slots_per_day=24)
        return reference.scores(series, SLOT[: series.shape[0]])[:, 0]

    assert first_look_ahead(scored, values, range(120, 500, 23)) is None


def test_a_bar_that_is_not_there_is_refused() -> None:
    with pytest.raises(ModelError, match="500"):
        index_evidence(state(1), SLOT, RULE, 500)
