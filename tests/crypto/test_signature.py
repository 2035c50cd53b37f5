"""Claims about signatures."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from hypothesis import given
from hypothesis import strategies as st

from hansa.crypto.signature import (
    P256_ORDER,
    Signer,
    SigningKey,
    format_public,
    key_id,
    pae,
    parse_public,
    raw_public,
    verify,
    verify_bytes,
    with_small_s,
)
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
    with pytest.raises(IdentityError, match=r"32 bytes .*, got 31"):
        verify(bytes(31), "t", b"", bytes(64))
    with pytest.raises(IdentityError, match=r"32 bytes .* or 33 .*, got 34"):
        format_public(bytes(34))


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


P256 = ec.derive_private_key(0xC9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721, ec.SECP256R1())
P256_PUBLIC = raw_public(P256.public_key())


def p1363(message: bytes) -> bytes:
    r, s = decode_dss_signature(P256.sign(message, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def test_a_p256_key_has_one_text_form_and_the_id_of_its_spki() -> None:
    text = format_public(P256_PUBLIC)
    # The public key of RFC 6979 A.2.5, whose y is odd.
    assert P256_PUBLIC.hex() == "0360fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6"
    assert (text[:5], len(text), parse_public(text)) == ("p256:", 49, P256_PUBLIC)
    spki = P256.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    assert key_id(text) == hashlib.sha256(spki).hexdigest()
    for wrong in (text[:-1], text + "A", text.replace("p256", "p384"), text.replace("p256", "ed25519")):
        with pytest.raises(IdentityError, match="expected a public key like"):
            parse_public(wrong)


@pytest.mark.parametrize("lead", [0, 4, 5])
def test_bytes_that_are_no_point_are_no_key(lead: int) -> None:
    with pytest.raises(IdentityError, match="compressed point"):
        parse_public(format_public(bytes([lead]) + P256_PUBLIC[1:]))
    with pytest.raises(IdentityError, match="compressed point"):
        verify(bytes([2]) + b"\xff" * 32, "t", b"", bytes(64))


def test_the_published_p256_signature_verifies_with_its_small_s_alone() -> None:
    # RFC 6979 A.2.5, SHA-256, message "sample": its s is large.
    r = "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716"
    s = "f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8"
    published = bytes.fromhex(r + s)
    assert int(s, 16) > P256_ORDER // 2
    verify_bytes(P256_PUBLIC, b"sample", with_small_s(published))
    with pytest.raises(SignatureError, match="does not verify"):
        verify_bytes(P256_PUBLIC, b"sample", published)


@given(st.text(max_size=20), st.binary(max_size=100))
def test_a_p256_signature_verifies_over_its_payload_and_no_other(payload_type: str, payload: bytes) -> None:
    signature = with_small_s(p1363(pae(payload_type, payload)))
    verify(P256_PUBLIC, payload_type, payload, signature)
    for other in (signature[:-1], signature + b"\0", bytes(64), signature[32:] + signature[:32]):
        with pytest.raises(SignatureError, match="does not verify"):
            verify(P256_PUBLIC, payload_type, payload, other)
    with pytest.raises(SignatureError):
        verify(P256_PUBLIC, payload_type, payload + b"\0", signature)
    with pytest.raises(SignatureError):
        verify(KEY.public_bytes(), payload_type, payload, signature)


def test_a_signature_over_bare_bytes_is_none_over_a_typed_payload() -> None:
    signature = KEY.sign_bytes(b"note")
    verify_bytes(KEY.public_bytes(), b"note", signature)
    with pytest.raises(SignatureError):
        verify(KEY.public_bytes(), "type", b"note", signature)


@pytest.mark.parametrize("wrong", [bytes(70), bytes(64), b"\xff" * 64])
def test_small_s_is_made_of_a_signature_alone(wrong: bytes) -> None:
    with pytest.raises(SignatureError, match="on P-256"):
        with_small_s(wrong)
