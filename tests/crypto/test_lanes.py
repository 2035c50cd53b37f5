"""Claims about steps in lanes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ring_oracle as book
from hansa.crypto.lanes import coefficients, pack, unpack
from hansa.errors import MessageError, ProtocolError

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "lanes.json").read_text())
lengths = st.integers(1, 500)
widths = st.booleans()


def steps_for(length: int, label: str, limit: int) -> np.ndarray:
    generator = np.random.default_rng(int.from_bytes(hashlib.sha256(label.encode()).digest()[:8], "little"))
    return generator.integers(-limit, limit, length, endpoint=True)


def test_a_vector_takes_its_published_number_of_coefficients() -> None:
    for vector in VECTORS["coefficients"]:
        found = coefficients(vector["length"], is_wide=vector["is_wide"])
        assert found == vector["coefficients"]
        assert found % 32 == 0
        assert (found - 32) * (3 if vector["is_wide"] else 6) < vector["length"]


@pytest.mark.parametrize("claim", sorted(VECTORS["pack"]))
def test_packed_steps_have_their_published_limbs_and_come_back(claim: str) -> None:
    vector = VECTORS["pack"][claim]
    limbs = pack(np.array(vector["steps"]), is_wide=vector["is_wide"])
    assert limbs[:, 0].tolist() == vector["first_coefficient"]
    assert hashlib.sha256(limbs.astype("<u8").tobytes()).hexdigest() == vector["sha256"]
    assert unpack(limbs, len(vector["steps"]), is_wide=vector["is_wide"]).tolist() == vector["steps"]


@given(length=lengths, is_wide=widths, label=st.text(max_size=4))
def test_a_coefficient_is_the_weighted_sum_of_its_lanes(*, length: int, is_wide: bool, label: str) -> None:
    lanes, bits = (3, 46) if is_wide else (6, 23)
    steps = steps_for(length, label, 2 ** (44 if is_wide else 22) - 1)
    limbs = pack(steps, is_wide=is_wide)
    width = limbs.shape[1]
    padded = np.concatenate([steps, np.zeros(lanes * width - length, dtype=np.int64)]).reshape(lanes, width)
    for place in (0, width // 2, width - 1):
        expected = sum(int(step) << (bits * lane) for lane, step in enumerate(padded[:, place]))
        assert book.limbs_value(limbs, place) == expected % book.T


@given(length=lengths, is_wide=widths, members=st.integers(1, 40), extreme=st.sampled_from([-1, 0, 1]))
def test_sums_of_limbs_unpack_to_sums_of_steps(*, length: int, is_wide: bool, members: int, extreme: int) -> None:
    limit = 2 ** (44 if is_wide else 22) // members - 1
    limbs, expected = np.zeros((3, coefficients(length, is_wide=is_wide)), dtype=np.uint64), np.zeros(length, np.int64)
    for member in range(members):
        steps = np.full(length, extreme * limit) if extreme else steps_for(length, str(member), limit)
        limbs += pack(steps, is_wide=is_wide)
        expected += steps
    assert np.array_equal(unpack(limbs, length, is_wide=is_wide), expected)


@pytest.mark.parametrize(("is_wide", "half"), [(False, 2**22), (True, 2**45)])
def test_lanes_are_balanced_to_their_last_value(*, is_wide: bool, half: int) -> None:
    """Sums reach all of [-2^22, 2^22) and, wide, [-2^45, 2^45); the last lane's carry is dropped."""
    lanes, bits = (3, 46) if is_wide else (6, 23)
    for value in (-half, half - 1, -1, 0):
        whole = sum(value << (bits * lane) for lane in range(lanes)) % book.T
        limbs = np.zeros((3, 32), dtype=np.uint64)
        limbs[:] = np.array([whole >> (46 * limb) & (2**46 - 1) for limb in range(3)], dtype=np.uint64)[:, None]
        assert unpack(limbs, 32 * lanes, is_wide=is_wide).tolist() == [value] * (32 * lanes)


@pytest.mark.parametrize("is_wide", [False, True])
def test_a_step_beyond_its_lane_is_refused(*, is_wide: bool) -> None:
    limit = 2**44 if is_wide else 2**22
    pack(np.array([limit - 1, 1 - limit]), is_wide=is_wide)
    for step in (limit, -limit, np.iinfo(np.int64).min, np.iinfo(np.int64).max):
        with pytest.raises(ProtocolError, match="expected steps below"):
            pack(np.array([0, step, 0]), is_wide=is_wide)


def test_a_vector_of_another_form_is_refused() -> None:
    for steps in (np.zeros(4), np.zeros((2, 2), dtype=np.int64), np.zeros(0, dtype=np.int64)):
        with pytest.raises(ProtocolError):
            pack(steps, is_wide=False)
    for limbs in (np.zeros((3, 64), dtype=np.uint64), np.zeros((3, 32), dtype=np.int64)):
        with pytest.raises(MessageError, match="limbs of shape"):
            unpack(limbs, 5, is_wide=False)
