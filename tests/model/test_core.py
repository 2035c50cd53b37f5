from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hansa.errors import ModelError
from hansa.model.core import (
    Rows,
    block_gram,
    choose_pull,
    is_as_good,
    pack,
    packed_length,
    public_weights,
    solve,
    solve_personal,
    unpack,
)

TRUTH = np.array([0.7, -0.2, 0.1])


def rows(seed: int, *, days: int = 5, bars: int = 288, truth: np.ndarray = TRUTH, noise: float = 0.3) -> Rows:
    generator = np.random.default_rng(seed)
    regressors = generator.standard_normal((days * bars, truth.size))
    target = regressors @ truth + noise * generator.standard_normal(days * bars)
    return Rows(regressors, target, np.repeat(np.arange(days), bars))


def test_sum_of_member_grams_gives_the_pooled_ridge_exactly() -> None:
    members = [rows(seed) for seed in range(4)]
    summed = np.sum([block_gram(member, clip=np.inf) for member in members], axis=0)
    regressors = np.concatenate([member.regressors for member in members])
    target = np.concatenate([member.target for member in members])
    ridge = 0.5
    pooled = np.linalg.solve(regressors.T @ regressors + ridge * 288 * np.eye(3), regressors.T @ target)
    np.testing.assert_allclose(solve(summed, ridge=ridge), pooled, rtol=1e-12)


@given(st.integers(0, 10_000), st.floats(0.01, 100.0), st.floats(0.1, 1e4))
@settings(max_examples=30, deadline=None)
def test_one_day_block_moves_the_sum_by_at_most_the_clip(seed: int, clip: float, size: float) -> None:
    full = rows(seed, days=3, bars=20)
    full = Rows(full.regressors * size, full.target * size, full.blocks)
    without = full.take(np.flatnonzero(full.blocks != 1))
    moved = block_gram(full, clip=clip) - block_gram(without, clip=clip)
    assert np.linalg.norm(moved) <= clip * (1 + 1e-9)


def test_order_of_rows_does_not_matter() -> None:
    member = rows(1)
    shuffled = member.take(np.random.default_rng(0).permutation(member.target.size))
    np.testing.assert_allclose(block_gram(member, clip=2.0), block_gram(shuffled, clip=2.0), rtol=1e-12)


@given(st.integers(1, 12))
def test_unpack_inverts_pack(size: int) -> None:
    matrix = np.arange(float(size * size)).reshape(size, size)
    matrix = matrix + matrix.T
    packed = pack(matrix)
    np.testing.assert_array_equal(unpack(packed), matrix)
    assert packed.size == packed_length(size - 1)


def test_solve_survives_noise_that_makes_the_gram_indefinite() -> None:
    gram = block_gram(rows(2, days=2), clip=np.inf)
    noisy = gram + 5.0 * np.random.default_rng(3).standard_normal(gram.size)
    weights = solve(noisy, ridge=0.01, noise_deviation=5.0)
    assert np.isfinite(weights).all()
    assert np.linalg.norm(weights) < 2.0


def test_much_noise_leaves_the_public_weights() -> None:
    public = np.array([0.0, 0.4, 0.1])
    gram = block_gram(rows(2), clip=np.inf)
    weights = solve(gram, ridge=0.01, noise_deviation=1e6, towards=public)
    np.testing.assert_allclose(weights, public, atol=1e-3)


def test_public_weights_are_equal_for_members_with_different_private_columns() -> None:
    first = rows(4)
    second = Rows(np.column_stack([rows(5).regressors[:, :1], first.regressors[:, 1:]]), first.target, first.blocks)
    public = np.array([False, True, True])
    weights = public_weights(first, public, ridge=0.01)
    np.testing.assert_array_equal(weights, public_weights(second, public, ridge=0.01))
    assert weights[0] == 0.0


def test_infinite_pull_gives_shared_and_no_pull_gives_own_weights() -> None:
    own = block_gram(rows(6, noise=0.0), clip=np.inf)
    shared = np.array([1.0, 1.0, 1.0])
    np.testing.assert_array_equal(solve_personal(own, shared, pull=np.inf), shared)
    np.testing.assert_allclose(solve_personal(own, shared, pull=0.0), TRUTH, atol=1e-10)
    between = solve_personal(own, shared, pull=3.0)
    assert np.all((between - TRUTH) * (shared - between) >= 0)


def test_a_member_unlike_the_others_leaves_the_shared_weights_and_a_like_one_stays() -> None:
    shared = np.array([-0.7, 0.9, 0.4])
    assert choose_pull(rows(7), rows(8), shared) == 1.0
    assert choose_pull(rows(7), rows(8), TRUTH) == np.inf


def test_is_as_good_allows_one_standard_error() -> None:
    best = np.zeros(720)
    assert is_as_good(best, best)
    assert not is_as_good(best + 0.1, best)


@pytest.mark.parametrize("clip", [0.0, -1.0, float("nan")])
def test_clip_must_be_positive(clip: float) -> None:
    with pytest.raises(ModelError, match="positive clip"):
        block_gram(rows(1), clip=clip)


def test_faulty_rows_are_refused() -> None:
    good = rows(1)
    with pytest.raises(ModelError, match="expected regressors"):
        block_gram(Rows(good.regressors, good.target[:-1], good.blocks), clip=1.0)
    bad = good.regressors.copy()
    bad[3, 1] = np.nan
    with pytest.raises(ModelError, match="finite"):
        block_gram(Rows(bad, good.target, good.blocks), clip=1.0)


def test_wrong_lengths_and_singular_systems_are_refused() -> None:
    with pytest.raises(ModelError, match="triangle"):
        unpack(np.zeros(5))
    with pytest.raises(ModelError, match="singular"):
        solve(np.zeros(6), ridge=0.0)
    with pytest.raises(ModelError, match="shrink towards"):
        solve(np.zeros(6), ridge=1.0, towards=np.zeros(3))
    with pytest.raises(ModelError, match="packed Gram"):
        solve_personal(np.zeros(6), np.zeros(3), pull=1.0)
    with pytest.raises(ModelError, match="pull of 0"):
        solve_personal(np.zeros(6), np.zeros(2), pull=-1.0)
