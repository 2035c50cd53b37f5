"""Claims about statistics as steps, the width of their lanes and opened sums as bytes."""

from __future__ import annotations

import json
import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hansa.errors import IdentityError, MessageError, RefusedError
from hansa.protocol.encoding import (
    NARROW_LIMIT,
    TAIL_SIGMAS,
    in_units,
    is_wide,
    noise_seed,
    quantise,
    sensitivity_steps,
    share_sigma,
    sum_from_bytes,
    sum_to_bytes,
    values_touched,
)
from simulator import limits, purpose

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "encoding.json").read_text())
values = st.lists(st.floats(-100, 100), min_size=1, max_size=20)


def nearest_even(value: float, scale: int) -> int:
    """Round half to even by exact fractions: Python's own rounding of a Fraction."""
    return round(Fraction(value) * scale)


@pytest.mark.parametrize("claim", sorted(VECTORS["steps"]))
def test_steps_are_values_times_the_scale_rounded_half_to_even(claim: str) -> None:
    vector = VECTORS["steps"][claim]
    steps = quantise(np.array(vector["values"]), purpose(scale=vector["scale"]))
    assert steps.tolist() == vector["steps"]
    assert steps.tolist() == [nearest_even(value, vector["scale"]) for value in vector["values"]]


@pytest.mark.parametrize("claim", sorted(VECTORS["published"]))
def test_an_opened_sum_is_published_as_little_endian_integers(claim: str) -> None:
    vector = VECTORS["published"][claim]
    wide, steps = vector["is_wide"], vector["steps"]
    data = sum_to_bytes(np.array(steps, dtype=np.int64), is_wide=wide)
    assert data.hex() == vector["bytes"]
    size = 8 if wide else 4
    assert data == b"".join(step.to_bytes(size, "little", signed=True) for step in steps)
    assert sum_from_bytes(data, len(steps), is_wide=wide).tolist() == steps


@given(st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1, max_size=20), st.booleans())
def test_a_sum_comes_back_from_its_bytes(steps: list[int], wide: bool) -> None:  # noqa: FBT001 - drawn by hypothesis
    data = sum_to_bytes(np.array(steps, dtype=np.int64), is_wide=wide)
    found = sum_from_bytes(data, len(steps), is_wide=wide)
    assert found.dtype == np.int64
    assert found.tolist() == steps


@pytest.mark.parametrize("wide", [False, True])
def test_bytes_of_another_number_of_values_are_no_sum(wide: bool) -> None:  # noqa: FBT001 - both cases of the claim
    size = 8 if wide else 4
    for length in (0, size, 2 * size - 1, 2 * size + 1, 3 * size):
        with pytest.raises(MessageError, match="expected 2 values"):
            sum_from_bytes(bytes(length), 2, is_wide=wide)


@given(st.lists(values.map(lambda row: (row * 20)[:20]), min_size=1, max_size=7))
def test_a_sum_of_steps_in_units_is_the_sum_of_the_rounded_values(rows: list[list[float]]) -> None:
    limit = purpose()
    total = sum((quantise(np.array(row), limit) for row in rows), start=np.zeros(20, dtype=np.int64))
    expected = sum(np.rint(np.array(row) * limit.scale) for row in rows) / limit.scale
    assert np.array_equal(in_units(total, limit.scale), expected)


@given(values)
def test_rounding_moves_a_value_by_half_a_step_at_most(row: list[float]) -> None:
    limit = purpose()
    moved = quantise(np.array(row), limit) - np.array(row) * limit.scale
    assert np.abs(moved).max() <= 0.5
    assert sensitivity_steps(limit, len(row)) == pytest.approx(1024 + math.sqrt(len(row)))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 100.001, -1e300])
def test_a_value_that_is_not_finite_or_out_of_bounds_never_becomes_a_step(bad: float) -> None:
    with pytest.raises(RefusedError, match="value 2 of 4"):
        quantise(np.array([0.0, 100.0, bad, -100.0]), purpose())


def test_a_refusal_does_not_show_the_value() -> None:
    with pytest.raises(RefusedError) as refusal:
        quantise(np.array([123456.789]), purpose())
    assert "123456" not in str(refusal.value)


def test_a_unit_touches_one_bar_or_the_whole_vector() -> None:
    assert values_touched(purpose(), 6) == 6
    assert values_touched(purpose(values=0, values_per_bar=4), 400) == 4


def test_members_noise_adds_up_to_sigma_over_the_honest_of_the_smallest_cohort() -> None:
    rules = limits(7, 2)
    limit = purpose(noise_multiplier=2.5)
    honest = rules.minimum_cohort - rules.colluders
    sigma = 2.5 * sensitivity_steps(limit, 6)
    assert share_sigma(limit, rules, length=6) * math.sqrt(honest) == pytest.approx(sigma)


@given(st.floats(1.0, 1e6), st.floats(0.01, 100.0), st.integers(3, 100), st.integers(1, 1000))
def test_lanes_are_narrow_exactly_while_every_sum_within_twelve_deviations_fits(
    bound: float, noise: float, members: int, length: int
) -> None:
    rules = limits(members, 0)
    limit = purpose(value_bound=bound, noise_multiplier=noise)
    deviation = share_sigma(limit, rules, length=length) * math.sqrt(members)
    reach = members * bound * limit.scale + TAIL_SIGMAS * deviation
    assert is_wide(limit, rules, length=length) == (reach >= NARROW_LIMIT)


def test_noise_follows_from_key_manifest_and_steps_and_from_nothing_else() -> None:
    steps = np.array([1, -2, 2**40], dtype=np.int64)
    seed = noise_seed(bytes(32), bytes(32), steps)
    assert noise_seed(bytes(32), bytes(32), steps.copy()) == seed
    assert noise_seed(bytes(32), bytes(32), np.array([1, 0, -2, 0, 2**40, 0])[::2]) == seed
    others = {
        noise_seed(bytes(31) + b"1", bytes(32), steps), noise_seed(bytes(32), bytes(31) + b"1", steps),
        noise_seed(bytes(32), bytes(32), steps + 1), noise_seed(bytes(32), bytes(32), steps[:2]),
    }  # fmt: skip
    assert len(others | {seed}) == 5


def test_a_short_noise_key_is_refused() -> None:
    with pytest.raises(IdentityError, match="at least 16 bytes"):
        noise_seed(bytes(15), bytes(32), np.zeros(3, dtype=np.int64))
