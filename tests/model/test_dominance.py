"""Claims about how far one contributor moves the index."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hansa.errors import ModelError
from hansa.model.dominance import GRID, POINTS, admissible_shift, dominance, largest_move
from hansa.model.lsi import IndexRule, stress_index, system_band, system_index

RULE = IndexRule(
    signs=(1, -1), weights=(0.6, 0.4), score_window_bars=60 * 24, score_minimum=5, rank_window_bars=60 * 24,
    rank_minimum=48,
)  # fmt: skip
BARS = 900
SLOT = np.arange(BARS) % 24


def state(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((BARS, 2))
    for bar in range(1, BARS):
        noise[bar] += 0.8 * noise[bar - 1]
    return 0.5 * noise


def test_the_search_agrees_with_the_index_computed_again() -> None:
    values, shift, bar = state(1), 0.3, 700
    before = stress_index(values, SLOT, RULE)[bar]
    moves = []
    for move in product(GRID, repeat=2):
        changed = values.copy()
        changed[bar] += np.array(move) * shift
        moves.append(abs(stress_index(changed, SLOT, RULE)[bar] - before))
    assert largest_move(values, SLOT, RULE, shift=shift, bars=[bar]) == pytest.approx(max(moves), rel=1e-9)


@given(st.integers(0, 60), st.lists(st.integers(400, BARS - 1), min_size=3, max_size=3))
@settings(max_examples=12, deadline=None)
def test_no_capped_client_moves_a_basket_or_the_system_by_more_than_five_points(seed: int, bars: list[int]) -> None:
    values = state(seed)
    assert largest_move(values, SLOT, RULE, shift=0.5 * 0.02, bars=bars) <= POINTS
    other = stress_index(state(seed + 500), SLOT, RULE)
    index = stress_index(values, SLOT, RULE)
    changed = values.copy()
    changed[bars[0]] += 0.5 * 0.02
    moved = stress_index(changed, SLOT, RULE)
    weights = np.array([3.0, 1.0])
    systems = [system_index(np.column_stack([one, other]), weights)[bars[0]] for one in (index, moved)]
    assert abs(systems[0] - systems[1]) <= POINTS


@given(st.integers(0, 60))
@settings(max_examples=8, deadline=None)
def test_what_is_called_admissible_moves_the_index_by_no_more_than_was_asked(seed: int) -> None:
    values, bars = state(seed), [500, 777]
    shift = admissible_shift(values, SLOT, RULE, bars=bars)
    assert largest_move(values, SLOT, RULE, shift=shift, bars=bars) <= POINTS
    assert largest_move(values, SLOT, RULE, shift=4 * shift + 0.1, bars=bars) > POINTS


def test_a_lie_is_not_bounded_and_the_statement_says_so() -> None:
    found = dominance(
        state(2), SLOT, RULE, weight=0.25, influence_cap=0.02, plausible=0.5, value_bound=1024.0,
        bars=range(400, 900, 50),
    )  # fmt: skip
    assert found.client_points <= POINTS
    assert POINTS < found.plausible_points <= found.liar_points
    assert found.liar_points > 30
    assert 0.005 < found.member_log_units < 4


def test_the_band_of_the_system_holds_the_system_and_closes_with_one_basket() -> None:
    rng = np.random.default_rng(3)
    common = rng.random(400)
    indices = 100 * np.column_stack([0.6 * common + 0.4 * rng.random(400) for _ in range(3)])
    weights = np.array([2.0, 1.0, 1.0])
    middle, band = system_index(indices, weights), system_band(indices, weights)
    assert (band[:, 0] <= middle + 1e-9).all()
    assert (middle <= band[:, 1] + 1e-9).all()
    assert (band[100:, 1] - band[100:, 0]).mean() > 0.5
    alone = system_band(indices[:, :1], np.ones(1))
    np.testing.assert_allclose(alone[:, 0], alone[:, 1])
    with pytest.raises(ModelError, match="confidence"):
        system_band(indices, weights, confidence=1.0)


def test_a_negative_shift_is_refused() -> None:
    with pytest.raises(ModelError, match="shift"):
        largest_move(state(1), SLOT, RULE, shift=-1.0, bars=[500])
