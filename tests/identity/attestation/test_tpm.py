"""Quotes of a TPM in software; none of a hardware TPM with SHA-256 could be had."""

from __future__ import annotations

import base64

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from hansa.errors import AttestationError
from hansa.identity.attestation import tpm
from recorded_quotes import BINDING, software_tpm, tpm_key_digest, tpm_registers, with_flipped_bit

SCHEMES = ["ecdsa", "rsassa", "rsapss"]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_recorded_quote_verifies(scheme: str) -> None:
    claims = tpm.verify(software_tpm(scheme), values=tpm_registers())

    assert claims.report_data == BINDING.qualifying_data()
    assert claims.trusted_by == tpm_key_digest(scheme)
    assert set(claims.registers) == {"pcr0", "pcr4", "pcr7"}


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("place", [8, 45, 80, 100, 140])
def test_a_quote_with_one_bit_flipped_is_refused(scheme: str, place: int) -> None:
    good = software_tpm(scheme)

    with pytest.raises(AttestationError):
        tpm.verify(msgspec.structs.replace(good, quote=with_flipped_bit(good.quote, place)), values=tpm_registers())


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_signature_with_one_bit_flipped_is_refused(scheme: str) -> None:
    good = software_tpm(scheme)
    signature = with_flipped_bit(good.collateral["signature"], 20)

    with pytest.raises(AttestationError, match="not the attestation key's"):
        tpm.verify(
            msgspec.structs.replace(good, collateral=good.collateral | {"signature": signature}),
            values=tpm_registers(),
        )


def test_other_values_of_the_registers_are_refused() -> None:
    with pytest.raises(AttestationError, match="do not have the constitution's values"):
        tpm.verify(software_tpm(), values=tpm_registers() | {"pcr4": "00" * 32})


def test_a_quote_of_fewer_registers_than_the_constitution_names_is_refused() -> None:
    with pytest.raises(AttestationError, match="expected a quote of"):
        tpm.verify(software_tpm(), values=tpm_registers() | {"pcr8": "00" * 32})


def test_the_weak_bank_is_refused() -> None:
    with pytest.raises(AttestationError, match="SHA-256 bank"):
        tpm.verify(software_tpm("sha1"), values=tpm_registers())


@pytest.mark.parametrize("size", [0, 5, 6, 7, 40, 60, 100, 144])
def test_a_quote_cut_short_is_refused(size: int) -> None:
    with pytest.raises(AttestationError):
        tpm.parse_quote(base64.b64decode(software_tpm().quote)[:size])


def test_a_quote_with_more_behind_it_is_refused() -> None:
    with pytest.raises(AttestationError, match="too many"):
        tpm.parse_quote(base64.b64decode(software_tpm().quote) + b"\0")


@pytest.mark.parametrize(
    ("signature", "reason"),
    [
        (b"\0\x18\0\x04", "weaker than SHA-256"),
        (b"\0\x1a\0\x0b", "scheme 0x001a"),
        (b"\0\x18\0\x0b\0\x20", "ends after"),
    ],
)
def test_another_form_of_signature_is_refused(signature: bytes, reason: str) -> None:
    good = software_tpm()
    parts = good.collateral | {"signature": base64.b64encode(signature).decode()}

    with pytest.raises(AttestationError, match=reason):
        tpm.verify(msgspec.structs.replace(good, collateral=parts), values=tpm_registers())


def test_a_small_rsa_key_is_refused() -> None:
    small = rsa.generate_private_key(public_exponent=65537, key_size=1024).public_key()  # noqa: S505 - to be refused
    good = software_tpm("rsassa")
    der = small.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    parts = good.collateral | {"key": base64.b64encode(der).decode()}

    with pytest.raises(AttestationError, match="1024 bits"):
        tpm.verify(msgspec.structs.replace(good, collateral=parts), values=tpm_registers())


def test_what_is_no_key_is_refused() -> None:
    good = software_tpm()

    with pytest.raises(AttestationError, match="SubjectPublicKeyInfo"):
        tpm.verify(msgspec.structs.replace(good, collateral=good.collateral | {"key": "AAAA"}), values=tpm_registers())
