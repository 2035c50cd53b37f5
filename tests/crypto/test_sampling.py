"""Claims about the discrete Gaussian sampler."""

from __future__ import annotations

import hashlib
import json
import math
from bisect import bisect_right
from decimal import Decimal, localcontext
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from hansa.crypto import sampling
from hansa.crypto.prg import derive, expand
from hansa.crypto.sampling import GaussianTable, add_sample, sample
from hansa.errors import ConfigurationError, IdentityError

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "sampling.json").read_text())
SEED = bytes(range(32))


def boundaries_of(table: GaussianTable) -> list[int]:
    return [(high << 64) | low for high, low in zip(table.fine.high.tolist(), table.fine.low.tolist(), strict=True)]


def exact_boundaries(sigma: float) -> list[Decimal]:
    """Cumulative probabilities times 2^128, by direct summation in 90-digit decimals."""
    with localcontext() as context:
        context.prec = 90
        reach = math.ceil(13 * sigma) + 1
        weights = [(-Decimal(k * k) / (2 * Decimal(sigma) ** 2)).exp() for k in range(-reach, reach + 1)]
        total, cumulated, result = sum(weights), Decimal(0), []
        for weight in weights[:-1]:
            cumulated += weight
            result.append(cumulated / total * 2**128)
        return result


@pytest.mark.parametrize("claim", sorted(VECTORS))
def test_samples_have_their_published_values(claim: str) -> None:
    vector = VECTORS[claim]
    values = sample(GaussianTable.build(vector["sigma"]), vector["count"], bytes.fromhex(vector["seed"]))
    assert values[:8].tolist() == vector["first"]
    assert hashlib.sha256(values.astype("<i8").tobytes()).hexdigest() == vector["sha256"]


@pytest.mark.parametrize("sigma", [0.25, 0.5, 1.0, 3.2, 40.7])
def test_every_boundary_is_the_exact_cumulative_probability_to_128_bits(sigma: float) -> None:
    found = boundaries_of(GaussianTable.build(sigma))
    exact = exact_boundaries(sigma)
    assert len(found) == len(exact)
    assert all(
        0 <= expected - boundary < 1 + Decimal(2) ** -40 for boundary, expected in zip(found, exact, strict=True)
    )


@given(sigma=st.sampled_from([0.25, 2.0, 57.3, 400.0]), seed=st.binary(min_size=32, max_size=32))
@settings(max_examples=25, deadline=None)
def test_the_guide_changes_no_sample(sigma: float, seed: bytes) -> None:
    table = GaussianTable.build(sigma)
    high = np.frombuffer(expand(derive(seed, b"hansa/gaussian/v1/fine/high"), 8 * 300), "<u8").tolist()
    low = np.frombuffer(expand(derive(seed, b"hansa/gaussian/v1/fine/low"), 8 * 300), "<u8").tolist()
    boundaries = boundaries_of(table)
    expected = [
        table.fine.lowest + bisect_right(boundaries, (upper << 64) | lower)
        for upper, lower in zip(high, low, strict=True)
    ]
    assert sample(table, 300, seed).tolist() == expected


def test_a_tie_in_the_upper_half_is_decided_by_the_lower_half() -> None:
    high = np.array([0, 5, 5, 5, 2**64 - 1], dtype=np.uint64)
    low = np.array([9, 10, 20, 30, 7], dtype=np.uint64)
    inversion = sampling._Inversion(high, low, sampling._guide(high), 0, 0.0)
    upper = np.array([5, 5, 5, 0, 2**64 - 1, 2**64 - 1], dtype=np.uint64)
    lower = np.array([9, 10, 30, 8, 6, 7], dtype=np.uint64)
    values = np.zeros(6, dtype=np.int64)
    sampling._break_ties(inversion, 3, values, dict(enumerate(upper.tolist())), lower)
    assert values.tolist() == [3, 6, 12, 0, 12, 15]


def test_a_tie_is_noticed_while_sampling() -> None:
    upper = int.from_bytes(expand(derive(SEED, b"hansa/gaussian/v1/fine/high"), 8), "little")
    lower = int.from_bytes(expand(derive(SEED, b"hansa/gaussian/v1/fine/low"), 8), "little")
    high = np.array([upper, upper], dtype=np.uint64)
    low = np.array([lower, lower + 1], dtype=np.uint64)
    inversion = sampling._Inversion(high, low, sampling._guide(high), 0, 0.0)
    assert sample(GaussianTable(1.0, 0.0, inversion, None, 0), 1, SEED).tolist() == [1]


@pytest.mark.parametrize("sigma", [0.5, 3.0, 400.0, 2048.0, 2049.0, 2.0**20])
def test_mean_variance_and_kurtosis_are_those_of_the_gaussian(sigma: float) -> None:
    values = sample(GaussianTable.build(sigma), 200_000, SEED).astype(np.float64)
    grid = np.arange(-10, 11) if sigma < 1 else None
    variance = sigma**2
    if grid is not None:
        weights = np.exp(-(grid**2) / (2 * sigma**2))
        variance = float((grid**2 * weights).sum() / weights.sum())
    assert abs(values.mean()) < 5 * math.sqrt(variance / values.size)
    assert abs(values.var() / variance - 1) < 5 * math.sqrt(3 / values.size)
    if grid is None:
        assert abs(stats.kurtosis(values)) < 5 * math.sqrt(24 / values.size)


@pytest.mark.parametrize("sigma", [0.5, 3.2, 25.0])
def test_frequencies_pass_chi_square_against_the_exact_probabilities(sigma: float) -> None:
    values = sample(GaussianTable.build(sigma), 200_000, SEED)
    edge = math.ceil(3 * sigma)
    support = np.arange(-edge, edge + 1)
    wide = np.arange(-math.ceil(13 * sigma), math.ceil(13 * sigma) + 1)
    weights = np.exp(-(wide**2) / (2 * sigma**2)) / np.exp(-(wide**2) / (2 * sigma**2)).sum()
    inside = np.isin(wide, support)
    expected = np.append(weights[inside], weights[~inside].sum()) * values.size
    observed = np.array([*((values == k).sum() for k in support), (abs(values) > edge).sum()])
    assert stats.chisquare(observed, expected).pvalue > 1e-3


def test_large_sigma_passes_chi_square_in_equal_classes() -> None:
    sigma = 123456.75
    values = sample(GaussianTable.build(sigma), 200_000, SEED)
    classes = np.clip((stats.norm.cdf((values + 0.5) / sigma) * 64).astype(int), 0, 63)
    assert stats.chisquare(np.bincount(classes, minlength=64)).pvalue > 1e-3
    # The stride of the second term must leave no trace in the residues.
    residues = np.bincount(values % 203, minlength=203)
    assert stats.chisquare(residues).pvalue > 1e-3


@pytest.mark.parametrize("sigma", [2.5, 40.0])
def test_the_law_agrees_with_the_exact_sampler_of_opendp(sigma: float) -> None:
    dp = pytest.importorskip("opendp.prelude")
    dp.enable_features("contrib")
    count = 20_000
    domain = dp.vector_domain(dp.atom_domain(T=int))
    exact = np.array(dp.m.make_gaussian(domain, dp.l2_distance(T=float), scale=sigma)([0] * count))
    ours = sample(GaussianTable.build(sigma), count, SEED)
    edges = np.concatenate([[-np.inf], np.arange(-2, 2.01, 0.25) * sigma + 0.1, [np.inf]])
    table = np.array([np.histogram(ours, edges)[0], np.histogram(exact, edges)[0]])
    table = table[:, table.sum(axis=0) > 0]
    # The oracle draws from the system: a false alarm once in 10^9 runs.
    assert stats.chi2_contingency(table).pvalue > 1e-9


@given(st.integers(0, 200), st.integers(0, 200))
def test_a_shorter_draw_is_a_prefix(first: int, second: int) -> None:
    table = GaussianTable.build(5000.0)
    short, long = sorted((first, second))
    assert np.array_equal(sample(table, long, SEED)[:short], sample(table, short, SEED))


def test_blocks_join_without_a_seam() -> None:
    table = GaussianTable.build(9.0)
    assert np.array_equal(sample(table, 70_000, SEED)[:65_537], sample(table, 65_537, SEED))


@pytest.mark.parametrize("sigma", [0.25, 400.0, 2048.0, 2048.5, 2.0**20])
def test_the_stated_distance_stays_below_two_to_the_minus_110(sigma: float) -> None:
    assert 0 < GaussianTable.build(sigma).delta < 2.0**-110


def test_the_two_terms_add_to_the_exact_variance() -> None:
    table = GaussianTable.build(30000.0)
    assert table.coarse is not None
    assert table.stride == 100
    # Reach 13 sigma: 13 * 300 for the first term, 13 * sqrt(3e4^2 / 1e4 - 9) for the second.
    assert table.fine.lowest == -3901
    assert table.coarse.lowest == -(math.ceil(13 * math.sqrt(90000 - 9)) + 1)


def test_a_table_is_built_once() -> None:
    assert GaussianTable.build(7.5) is GaussianTable.build(7.5)


@pytest.mark.parametrize("sigma", [0.0, -1.0, 0.2, 2.0**20 + 1, math.inf, math.nan])
def test_a_scale_out_of_range_is_refused(sigma: float) -> None:
    with pytest.raises(ConfigurationError, match="noise scale"):
        GaussianTable.build(sigma)


def test_noise_in_place_is_the_sample_on_top() -> None:
    table = GaussianTable.build(30000.0)
    values = np.arange(40_000) * 7 - 100_000
    expected = values + sample(table, values.size, SEED)
    add_sample(values, table, SEED)
    assert np.array_equal(values, expected)
    for other in (np.zeros(3), np.zeros((2, 2), dtype=np.int64), np.zeros(6, dtype=np.int64)[::2]):
        with pytest.raises(IdentityError, match="int64 vector for noise"):
            add_sample(other, table, SEED)


def test_a_bad_seed_or_count_is_refused() -> None:
    table = GaussianTable.build(1.0)
    with pytest.raises(IdentityError):
        sample(table, 1, bytes(3))
    with pytest.raises(IdentityError):
        sample(table, -1, SEED)
