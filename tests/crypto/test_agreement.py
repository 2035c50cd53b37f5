"""Claims about sealing, pair secrets and small messages."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hansa.crypto.agreement import (
    PUBLIC_BYTES,
    EncryptionKey,
    decrypt,
    encrypt,
    open_sealed,
    pair_secret,
    seal,
)
from hansa.errors import IdentityError

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "agreement.json").read_text())
KEY = EncryptionKey.from_bytes(bytes(range(96)))
LOW, HIGH = bytes(range(32)), bytes(range(32, 64))
EPOCH = b"epoch"


def pair(low: bytes = LOW, high: bytes = HIGH, *, names: tuple[str, str] = ("a", "b"), context: bytes = EPOCH) -> bytes:
    return pair_secret(low, high, low=names[0], high=names[1], context=context)


def test_fixed_seeds_give_the_published_public_key() -> None:
    vector = VECTORS["seeds_give_this_public_key"]
    key = EncryptionKey.from_bytes(bytes.fromhex(vector["seeds"]))
    assert hashlib.sha256(key.public_bytes()).hexdigest() == vector["public_sha256"]


def test_a_message_sealed_before_still_opens() -> None:
    vector = VECTORS["sealed_message_opens"]
    key = EncryptionKey.from_bytes(bytes.fromhex(vector["seeds"]))
    opened = open_sealed(key, bytes.fromhex(vector["sealed"]), bytes.fromhex(vector["info"]))
    assert opened.hex() == vector["plaintext"]


def test_pair_secret_has_its_published_value() -> None:
    vector = VECTORS["halves_give_this_pair_secret"]
    halves = bytes.fromhex(vector["half_from_low"]), bytes.fromhex(vector["half_from_high"])
    secret = pair(*halves, names=(vector["low"], vector["high"]), context=bytes.fromhex(vector["context"]))
    assert secret.hex() == vector["pair_secret"]


@given(st.binary(max_size=200), st.binary(max_size=50))
def test_what_is_sealed_opens_with_the_same_context(plaintext: bytes, info: bytes) -> None:
    sealed = seal(KEY.public_bytes(), plaintext, info)
    assert len(sealed) == len(plaintext) + 1136
    assert open_sealed(KEY, sealed, info) == plaintext


def test_a_key_survives_its_private_bytes() -> None:
    key = EncryptionKey.generate()
    assert EncryptionKey.from_bytes(key.to_bytes()).public_bytes() == key.public_bytes()
    assert len(key.public_bytes()) == PUBLIC_BYTES


def test_two_generated_keys_differ() -> None:
    assert EncryptionKey.generate().to_bytes() != EncryptionKey.generate().to_bytes()


def test_sealing_twice_shows_no_equality() -> None:
    assert seal(KEY.public_bytes(), b"half", b"") != seal(KEY.public_bytes(), b"half", b"")


def test_the_representation_of_a_key_shows_no_secret() -> None:
    assert repr(KEY) == "EncryptionKey()"


@pytest.mark.parametrize("position", [0, 1100, 1125, -1])
def test_an_altered_sealed_message_is_refused(position: int) -> None:
    sealed = bytearray(seal(KEY.public_bytes(), bytes(32), b"info"))
    sealed[position] ^= 1
    with pytest.raises(IdentityError, match="does not open"):
        open_sealed(KEY, bytes(sealed), b"info")


def test_a_sealed_message_for_another_key_or_context_or_cut_short_is_refused() -> None:
    sealed = seal(KEY.public_bytes(), bytes(32), b"info")
    for key, message, info in (
        (EncryptionKey.from_bytes(bytes(96)), sealed, b"info"),
        (KEY, sealed, b"other"),
        (KEY, sealed[:100], b"info"),
        (KEY, b"", b"info"),
    ):
        with pytest.raises(IdentityError, match="does not open"):
            open_sealed(key, message, info)


@pytest.mark.parametrize(
    "public",
    [bytes(10), b"\xff" * PUBLIC_BYTES, KEY.public_bytes()[:-32] + bytes(32)],
    ids=["short", "outside the lattice field", "curve point of small order"],
)
def test_an_invalid_public_key_is_refused(public: bytes) -> None:
    with pytest.raises(IdentityError, match="public encryption key"):
        seal(public, b"", b"")


def test_a_private_key_of_the_wrong_length_is_refused() -> None:
    with pytest.raises(IdentityError, match="96 bytes, got 95"):
        EncryptionKey.from_bytes(bytes(95))


def test_every_input_changes_the_pair_secret() -> None:
    secrets = {
        pair(),
        pair(HIGH, LOW),
        pair(low=bytes(32)),
        pair(high=bytes(32)),
        pair(names=("a", "c")),
        pair(names=("aa", "b")),
        pair(context=b"other"),
        pair(names=("a", "be"), context=b"poch"),
    }
    assert len(secrets) == 8
    assert {len(secret) for secret in secrets} == {32}


@pytest.mark.parametrize("names", [("b", "a"), ("a", "a")])
def test_pair_names_out_of_order_are_refused(names: tuple[str, str]) -> None:
    with pytest.raises(IdentityError, match="ascending order"):
        pair(names=names)


def test_a_half_of_the_wrong_length_is_refused() -> None:
    with pytest.raises(IdentityError, match="halves"):
        pair(low=bytes(31))


@given(st.binary(max_size=200), st.binary(max_size=50))
def test_what_is_encrypted_decrypts_and_repeats_exactly(plaintext: bytes, associated: bytes) -> None:
    encrypted = encrypt(LOW, plaintext, associated=associated)
    assert encrypted == encrypt(LOW, plaintext, associated=associated)
    assert decrypt(LOW, encrypted, associated=associated) == plaintext


def test_encrypt_has_its_published_value() -> None:
    vector = VECTORS["message_key_gives_this_ciphertext"]
    encrypted = encrypt(
        bytes.fromhex(vector["key"]),
        bytes.fromhex(vector["plaintext"]),
        associated=bytes.fromhex(vector["associated"]),
    )
    assert encrypted.hex() == vector["encrypted"]


def test_an_altered_or_misplaced_encrypted_message_is_refused() -> None:
    encrypted = encrypt(LOW, b"share", associated=b"to b")
    for key, message, associated in (
        (HIGH, encrypted, b"to b"),
        (LOW, encrypted[:-1] + bytes([encrypted[-1] ^ 1]), b"to b"),
        (LOW, encrypted, b"to c"),
        (LOW, b"", b"to b"),
    ):
        with pytest.raises(IdentityError, match="does not open"):
            decrypt(key, message, associated=associated)


def test_a_message_key_of_the_wrong_length_is_refused() -> None:
    with pytest.raises(IdentityError, match="32 bytes, got 16"):
        encrypt(bytes(16), b"", associated=b"")
    with pytest.raises(IdentityError, match="32 bytes, got 16"):
        decrypt(bytes(16), bytes(16), associated=b"")
