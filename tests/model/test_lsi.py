from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hansa.errors import ModelError
from hansa.model.lsi import IndexRule, stress_index, system_index, trailing_rank

RULE = IndexRule(
    signs=(1, -1), weights=(0.5, 0.5), score_window_bars=480, score_minimum=3, rank_window_bars=480, rank_minimum=24
)
SLOT = np.arange(600) % 24


def calm(seed: int = 0, measures: int = 2) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((600, measures))


def test_rank_equals_its_definition() -> None:
    values = np.random.default_rng(1).integers(0, 9, 200).astype(float)
    values[::7] = np.nan
    ranks = trailing_rank(values, window_bars=30, minimum=5)
    for bar in range(200):
        past = values[max(0, bar - 30) : bar]
        past = past[np.isfinite(past)]
        if past.size < 5 or np.isnan(values[bar]):
            assert np.isnan(ranks[bar])
        else:
            expected = ((past < values[bar]).sum() + 0.5 * (past == values[bar]).sum() + 0.5) / (past.size + 1)
            assert ranks[bar] == pytest.approx(expected)


@given(st.integers(120, 598), st.integers(0, 100))
@settings(max_examples=15, deadline=None)
def test_the_future_never_changes_the_index(now: int, seed: int) -> None:
    state = calm(seed)
    changed = state.copy()
    changed[now + 1 :] += 7.0
    before, after = stress_index(state, SLOT, RULE), stress_index(changed, SLOT, RULE)
    np.testing.assert_array_equal(before[: now + 1], after[: now + 1])


def test_stress_in_all_measures_reads_near_100_and_calm_does_not() -> None:
    state = calm()
    state[500:520] += np.array([6.0, -6.0])
    index = stress_index(state, SLOT, RULE)
    assert np.nanmean(index[300:480]) < 60
    assert index[510:520].min() > 80
    assert np.nanmax(index) <= 100


def test_a_fall_of_a_measure_of_sign_minus_is_stress_and_a_rise_is_not() -> None:
    state = calm()
    state[500:, 1] -= 6.0
    fall = stress_index(state, SLOT, RULE)[510]
    state[500:, 1] += 12.0
    rise = stress_index(state, SLOT, RULE)[510]
    assert fall > rise + 20


def test_too_little_history_and_missing_bars_are_unknown_not_calm() -> None:
    state = calm()
    state[400] = np.nan
    index = stress_index(state, SLOT, RULE)
    assert np.isnan(index[:72]).all()
    assert np.isnan(index[400])
    assert np.isfinite(index[401:]).all()


def test_a_missing_component_leaves_its_weight_to_the_others() -> None:
    state = calm()
    state[:, 1] = np.nan
    alone = stress_index(state[:, :1], SLOT, IndexRule(**{**_fields(RULE), "signs": (1,), "weights": (1.0,)}))
    np.testing.assert_allclose(stress_index(state, SLOT, RULE), alone)


def _fields(rule: IndexRule) -> dict[str, object]:
    return {name: getattr(rule, name) for name in IndexRule.__slots__}


def test_baskets_stressed_together_count_more_than_apart() -> None:
    generator = np.random.default_rng(2)
    common = 100 * generator.random(500)
    together = system_index(np.column_stack([common, common]), np.array([1.0, 1.0]))
    np.testing.assert_allclose(together, common, rtol=1e-9)
    apart = system_index(np.column_stack([common, 100 - common]), np.array([1.0, 1.0]))
    assert apart[200:].mean() < together[200:].mean()


def test_system_index_of_missing_baskets_is_unknown() -> None:
    assert np.isnan(system_index(np.full((3, 2), np.nan), np.ones(2))).all()


def test_rules_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ModelError, match="expected state"):
        stress_index(calm(measures=3), SLOT, RULE)
    with pytest.raises(ModelError, match="signs"):
        stress_index(calm(), SLOT, IndexRule(signs=(1, 0), weights=(0.5, 0.5)))
    with pytest.raises(ModelError, match="turnover"):
        system_index(np.zeros((3, 2)), np.array([1.0, -1.0]))
