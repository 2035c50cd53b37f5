"""Claims about signatures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hansa.crypto.signature import Signer, SigningKey, format_public, pae, parse_public, verify
from hansa.errors import IdentityError, SignatureError

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "signature.json").read_text())
KEY = SigningKey.from_bytes(bytes(range(32)))


def test_pae_is_the_example_of_the_dsse_specification() -> None:
    vector = VECTORS["dsse_specification_example"]
    assert pae(vector["payload_type"], vector["payload"].encode()) == vector["pae"].encode()


def test_pae_counts_bytes_not_characters() -> None:
    assert pae("é", b"") == b"DSSEv1 2 \xc3\xa9 0 "


def test_a_seed_of_rfc_8032_gives_its_public_key() -> None:
    vector = VECTORS["rfc_8032_test_1_key"]
    assert SigningKey.from_bytes(bytes.fromhex(vector["seed"])).public_bytes().hex() == vector["public"]


def test_a_signature_has_its_published_value() -> None:
    vector = VECTORS["signature_over_typed_payload"]
    key = SigningKey.from_bytes(bytes.fromhex(vector["seed"]))
    assert key.public == vector["public"]
    assert key.sign(vector["payload_type"], bytes.fromhex(vector["payload"])).hex() == vector["signature"]


@given(st.text(max_size=20), st.binary(max_size=100))
def test_a_signature_verifies(payload_type: str, payload: bytes) -> None:
    verify(KEY.public_bytes(), payload_type, payload, KEY.sign(payload_type, payload))


@given(st.text(max_size=5), st.binary(max_size=5), st.text(max_size=5), st.binary(max_size=5))
def test_different_typed_payloads_never_encode_alike(a: str, b: bytes, c: str, d: bytes) -> None:
    assert (pae(a, b) == pae(c, d)) == ((a, b) == (c, d))


def test_a_signature_over_another_type_payload_or_by_another_key_is_refused() -> None:
    signature = KEY.sign("upload", b"bytes")
    stranger = SigningKey.generate().public_bytes()
    for public, payload_type, payload, candidate in (
        (KEY.public_bytes(), "opening", b"bytes", signature),
        (KEY.public_bytes(), "upload", b"byte", signature),
        (stranger, "upload", b"bytes", signature),
        (KEY.public_bytes(), "upload", b"bytes", signature[:-1] + b"\xff"),
        (KEY.public_bytes(), "upload", b"bytes", b""),
    ):
        with pytest.raises(SignatureError, match="does not verify"):
            verify(public, payload_type, payload, candidate)


def test_a_public_key_of_the_wrong_length_is_refused() -> None:
    with pytest.raises(IdentityError, match="32 bytes, got 31"):
        verify(bytes(31), "t", b"", bytes(64))
    with pytest.raises(IdentityError, match="32 bytes, got 33"):
        format_public(bytes(33))


def test_a_private_key_of_the_wrong_length_is_refused() -> None:
    with pytest.raises(IdentityError, match="32 bytes, got 64"):
        SigningKey.from_bytes(bytes(64))


@given(st.binary(min_size=32, max_size=32))
def test_a_public_key_survives_its_text_form(public: bytes) -> None:
    assert parse_public(format_public(public)) == public


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ed25519:",
        KEY.public.removeprefix("ed25519:"),
        KEY.public + "=",
        KEY.public[:-1],
        KEY.public[:-1] + "9",
        KEY.public.replace("ed25519", "ed448"),
        KEY.public[:-1] + "é",
        "ed25519:" + "+" * 43,
    ],
)
def test_a_text_that_is_not_exactly_one_key_is_refused(text: str) -> None:
    with pytest.raises(IdentityError, match="expected a public key like"):
        parse_public(text)


def test_a_signing_key_is_a_signer_and_shows_no_secret() -> None:
    signer: Signer = KEY
    assert signer.public == format_public(KEY.public_bytes())
    assert repr(KEY) == "SigningKey()"
    assert KEY.to_bytes() == bytes(range(32))
