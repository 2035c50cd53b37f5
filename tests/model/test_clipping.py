"""Claims about the adaptive bound of clipping."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hansa.errors import ModelError
from hansa.model.clipping import BINS, bound_of, grid, norm_counts

norms = st.lists(st.floats(1e-6, 10.0), max_size=40)


def counts(**places: int) -> np.ndarray:
    found = np.zeros(BINS)
    for place, count in places.items():
        found[int(place[1:])] = count
    return found


def test_bins_are_halves_of_the_widest_bound_and_close_above() -> None:
    edges = grid(0.5)
    assert edges[-1] == 0.5
    assert all(upper == 2 * lower for lower, upper in pairwise(edges.tolist()))
    found = norm_counts(np.array([0.0, edges[0], edges[0] * 1.001, edges[-2], 0.4, 0.5, 7.0]), 0.5)
    assert found.tolist() == [2, 1, 0, 0, 0, 0, 1, 3]


@given(norms, st.floats(1e-6, 10.0))
def test_one_block_changes_one_count_by_one(others: list[float], one: float) -> None:
    moved = norm_counts(np.array([*others, one]), 0.5) - norm_counts(np.array(others), 0.5)
    assert np.abs(moved).sum() == 1
    assert np.linalg.norm(moved) == 1


@pytest.mark.parametrize(
    ("found", "share", "bound"),
    [
        (counts(b3=8), 0.5, 0.5 / 2**4 / 2**0.5),  # half of the bin, geometrically
        (counts(b3=8), 1.0, 0.5 / 2**4),
        (counts(b2=5, b5=5), 0.5, 0.5 / 2**5),  # the whole of the lower bin
        (counts(b2=5, b5=5), 0.75, 0.5 / 2**2 / 2**0.5),
        (counts(b0=4), 0.25, 0.5 / 2**7 / 2**0.75),
        (counts(b7=3), 1.0, 0.5),
        (counts(b1=-2, b3=10, b6=-4), 0.5, 0.5 / 2**4 / 2 * 2**0.4),  # noise below zero: 2 of 4 wanted, -2 before
        (counts(b2=-7), 0.5, 0.5),  # nothing left: the widest bound
        (counts(), 0.5, 0.5),
    ],
)
def test_the_bound_has_its_known_answer(found: np.ndarray, share: float, bound: float) -> None:
    assert bound_of(found, 0.5, share=share) == pytest.approx(bound, rel=5e-6)


@given(st.lists(st.floats(0.003, 0.45), min_size=1, max_size=60), st.sampled_from([0.25, 0.5, 0.9]))
def test_without_noise_the_bound_is_within_a_factor_two_of_the_quantile(found: list[float], share: float) -> None:
    bound = bound_of(norm_counts(np.array(found), 0.5), 0.5, share=share)
    exact = np.sort(found)[int(np.ceil(share * len(found) - 1e-9)) - 1]
    assert exact / 2 <= bound * (1 + 5e-6)
    assert bound <= 2 * exact * (1 + 5e-6)


@given(st.lists(st.floats(-100, 100), min_size=BINS, max_size=BINS))
def test_whatever_the_noise_the_bound_stays_between_zero_and_the_widest(found: list[float]) -> None:
    assert 0 < bound_of(np.array(found), 0.5) <= 0.5


def test_counts_of_another_length_and_a_senseless_share_are_refused() -> None:
    for faulty, share in ((np.zeros(BINS - 1), 0.5), (np.zeros(BINS), 0.0), (np.full(BINS, np.nan), 0.5)):
        with pytest.raises(ModelError, match="finite counts"):
            bound_of(faulty, 0.5, share=share)
