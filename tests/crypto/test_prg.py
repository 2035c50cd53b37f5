"""Claims about the generator and the key derivation."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hansa.crypto.prg import add_mask, derive, expand
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


@pytest.mark.parametrize(("secret", "length"), [(bytes(15), 32), (bytes(32), 0), (bytes(32), 8161)])
def test_a_short_secret_or_an_impossible_length_is_refused(secret: bytes, length: int) -> None:
    with pytest.raises(IdentityError):
        derive(secret, b"", length)
