"""Claims about statistics as words."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hansa.errors import MessageError, RefusedError
from hansa.protocol.encoding import quantise, sensitivity_steps, sum_from_words, to_words, words_from_bytes
from simulator import purpose

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "encoding.json").read_text())
values = st.lists(st.floats(-100, 100), min_size=1, max_size=20)


@pytest.mark.parametrize("claim", sorted(VECTORS["words"]))
def test_words_are_rounded_steps_mod_2_to_32(claim: str) -> None:
    vector = VECTORS["words"][claim]
    steps = quantise(np.array(vector["values"]), purpose(scale=vector["scale"]))
    assert steps.tolist() == vector["steps"]
    assert to_words(steps).tolist() == vector["words"]


@given(st.lists(values.map(lambda row: (row * 20)[:20]), min_size=1, max_size=7))
def test_a_sum_of_words_is_the_sum_of_the_rounded_values(rows: list[list[float]]) -> None:
    limit = purpose()
    words = np.zeros(20, dtype=np.uint32)
    for row in rows:
        words += to_words(quantise(np.array(row), limit))
    expected = sum(np.rint(np.array(row) * limit.scale) for row in rows) / limit.scale
    assert np.array_equal(sum_from_words(words, limit.scale), expected)


@given(values)
def test_rounding_moves_a_value_by_half_a_step_at_most(row: list[float]) -> None:
    limit = purpose()
    moved = quantise(np.array(row), limit) - np.array(row) * limit.scale
    assert np.abs(moved).max() <= 0.5
    assert sensitivity_steps(limit, len(row)) == pytest.approx(1024 + math.sqrt(len(row)))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 100.001, -1e300])
def test_a_value_that_is_not_finite_or_out_of_bounds_never_becomes_a_word(bad: float) -> None:
    with pytest.raises(RefusedError, match="value 2 of 4"):
        quantise(np.array([0.0, 100.0, bad, -100.0]), purpose())


def test_a_refusal_does_not_show_the_value() -> None:
    with pytest.raises(RefusedError) as refusal:
        quantise(np.array([123456.789]), purpose())
    assert "123456" not in str(refusal.value)


def test_words_come_back_from_little_endian_bytes_and_no_others() -> None:
    assert words_from_bytes(b"\x01\x00\x00\x00\xff\xff\xff\xff", 2).tolist() == [1, 2**32 - 1]
    for data in (b"", bytes(7), bytes(12)):
        with pytest.raises(MessageError, match="expected 2 words"):
            words_from_bytes(data, 2)
