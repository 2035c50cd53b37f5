"""Claims about the generator and the key derivation."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.poly1305 import Poly1305
from hypothesis import given
from hypothesis import strategies as st

from hansa.crypto.prg import Keystream, add_limb_mask, add_limb_masks, add_mask, derive, derive_for, expand
from hansa.errors import IdentityError

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "prg.json").read_text())
SEED = bytes(range(32))


@pytest.mark.parametrize("claim", sorted(VECTORS["expand"]))
def test_expand_is_the_aes_256_ctr_keystream_of_a_zero_nonce(claim: str) -> None:
    vector = VECTORS["expand"][claim]
    stream = expand(bytes.fromhex(vector["seed"]), vector["length"])
    assert stream[-len(vector["last_bytes"]) // 2 :].hex() == vector["last_bytes"]


@pytest.mark.parametrize("claim", sorted(VECTORS["derive"]))
def test_derive_is_hkdf_sha256_without_salt(claim: str) -> None:
    vector = VECTORS["derive"][claim]
    derived = derive(bytes.fromhex(vector["secret"]), bytes.fromhex(vector["info"]), vector["length"])
    assert derived.hex() == vector["derived"]


@given(st.integers(0, 300), st.integers(0, 300))
def test_a_shorter_stream_is_a_prefix_of_a_longer_one(first: int, second: int) -> None:
    short, long = sorted((first, second))
    assert expand(SEED, long)[:short] == expand(SEED, short)


# 65536 words fill one block of the cipher.
@pytest.mark.parametrize("length", [0, 1, 65535, 65536, 65537, 150_001])
def test_a_mask_is_the_little_endian_keystream_across_block_borders(length: int) -> None:
    words = np.arange(length, dtype=np.uint32) * np.uint32(0x9E3779B1)
    before = words.copy()
    add_mask(words, SEED, negative=False)
    expected = before.astype(np.uint64) + np.frombuffer(expand(SEED, 4 * length), dtype="<u4")
    assert np.array_equal(words, (expected % 2**32).astype(np.uint32))


@pytest.mark.parametrize("claim", sorted(VECTORS["limb_mask"]))
def test_a_limb_mask_has_its_published_words(claim: str) -> None:
    vector = VECTORS["limb_mask"][claim]
    limbs = np.zeros((3, vector["coefficients"]), dtype=np.uint64)
    add_limb_mask(limbs, bytes.fromhex(vector["seed"]), negative=vector["negative"])
    assert limbs[0, :3].tolist() == vector["first"]
    assert hashlib.sha256(limbs.astype("<u8").tobytes()).hexdigest() == vector["sha256"]


# 32768 words fill one block of the cipher; rows go on where the row before ended.
@pytest.mark.parametrize("width", [32, 10_912, 10_944, 32_800])
def test_a_limb_mask_is_46_bits_of_the_keystream_across_rows_and_blocks(width: int) -> None:
    limbs = np.arange(3 * width, dtype=np.uint64).reshape(3, width) * np.uint64(0x9E3779B97F4A7C15)
    before = limbs.copy()
    words = np.frombuffer(expand(SEED, 24 * width), dtype="<u8").reshape(3, width)
    add_limb_mask(limbs, SEED, negative=False)
    assert np.array_equal(limbs, before + (words & np.uint64(2**46 - 1)))
    add_limb_mask(limbs, SEED, negative=True)
    assert np.array_equal(limbs, before)


def test_many_limb_masks_are_each_alone() -> None:
    masks = [(bytes([k] * 32), k % 3 == 0) for k in range(5)]
    together, alone = np.zeros((3, 16_000), dtype=np.uint64), np.zeros((3, 16_000), dtype=np.uint64)
    add_limb_masks(together, masks)
    for seed, negative in masks:
        add_limb_mask(alone, seed, negative=negative)
    assert np.array_equal(together, alone)


@pytest.mark.parametrize("start", [0, 16, 160, 65536])
def test_a_keystream_may_begin_at_any_whole_block(start: int) -> None:
    stream = Keystream(SEED, start)
    expected = expand(SEED, start + 400)[start:]
    assert stream.words32(3).tobytes() == expected[:12]
    assert stream.words64(40).tobytes() == expected[12:332]
    assert stream.words64(8).tobytes() == expected[332:396]


@pytest.mark.parametrize("start", [-16, 1, 17])
def test_a_keystream_does_not_begin_inside_a_block(start: int) -> None:
    with pytest.raises(ValueError, match="16-byte blocks"):
        Keystream(SEED, start)


@given(st.binary(min_size=32, max_size=32), st.lists(st.integers(0, 2**32 - 1), max_size=40))
def test_adding_and_subtracting_a_mask_cancels(seed: bytes, values: list[int]) -> None:
    words = np.array(values, dtype=np.uint32)
    add_mask(words, seed, negative=False)
    add_mask(words, seed, negative=True)
    assert words.tolist() == values


def test_another_purpose_gives_another_key() -> None:
    assert derive(SEED, b"mask") != derive(SEED, b"share")


def test_a_seed_of_the_wrong_length_is_refused() -> None:
    with pytest.raises(IdentityError, match="32 bytes, got 16"):
        expand(bytes(16), 8)
    with pytest.raises(IdentityError, match="32 bytes, got 31"):
        add_mask(np.zeros(4, dtype=np.uint32), bytes(31), negative=False)


def test_a_negative_length_is_refused() -> None:
    with pytest.raises(IdentityError, match="got -1"):
        expand(SEED, -1)


@pytest.mark.parametrize(
    "words",
    [
        np.zeros(4, dtype=np.int64),
        np.zeros((2, 2), dtype=np.uint32),
        np.zeros(8, dtype=np.uint32)[::2],
        np.frombuffer(bytes(16), dtype=np.uint32),
    ],
    ids=["other type", "matrix", "strided", "read-only"],
)
def test_a_vector_that_cannot_be_masked_in_place_is_refused(words: np.ndarray) -> None:
    with pytest.raises(IdentityError, match="contiguous writable uint32"):
        add_mask(words, SEED, negative=False)


@pytest.mark.parametrize(
    "limbs",
    [
        np.zeros((3, 4), dtype=np.int64),
        np.zeros(8, dtype=np.uint64),
        np.zeros((3, 8), dtype=np.uint64)[:, ::2],
        np.frombuffer(bytes(48), dtype=np.uint64).reshape(3, 2),
    ],
    ids=["other type", "vector", "strided", "read-only"],
)
def test_limbs_that_cannot_be_masked_in_place_are_refused(limbs: np.ndarray) -> None:
    with pytest.raises(IdentityError, match="contiguous writable uint64"):
        add_limb_mask(limbs, SEED, negative=False)
    with pytest.raises(IdentityError, match="32 bytes, got 31"):
        add_limb_masks(np.zeros((3, 4), dtype=np.uint64), [(SEED, True), (bytes(31), True)])


@pytest.mark.parametrize(("secret", "length"), [(bytes(15), 32), (bytes(32), 0), (bytes(32), 8161)])
def test_a_short_secret_or_an_impossible_length_is_refused(secret: bytes, length: int) -> None:
    with pytest.raises(IdentityError):
        derive(secret, b"", length)


def test_a_key_for_data_is_that_of_the_tag_of_the_data() -> None:
    tag = Poly1305.generate_tag(derive(SEED, b"purpose/data"), b"data")
    assert derive_for(SEED, b"purpose", b"data") == derive(SEED, b"purpose" + tag)


@given(st.binary(max_size=100), st.integers(0, 800))
def test_another_bit_another_purpose_or_another_secret_gives_another_key(data: bytes, bit: int) -> None:
    changed = bytearray(data + b"\0")
    changed[bit // 8 % len(changed)] ^= 1 << bit % 8
    keys = {
        derive_for(SEED, b"purpose", data + b"\0"), derive_for(SEED, b"purpose", bytes(changed)),
        derive_for(SEED, b"purposes", data + b"\0"), derive_for(SEED[::-1], b"purpose", data + b"\0"),
    }  # fmt: skip
    assert len(keys) == 4


def test_a_short_secret_has_no_key_for_data() -> None:
    with pytest.raises(IdentityError):
        derive_for(bytes(15), b"", b"data")
