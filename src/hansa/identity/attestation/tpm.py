"""TPM 2.0 quotes: a signature of the TPM's attestation key over chosen platform registers and our 32 bytes.

```
TPMS_ATTEST     magic FF 54 43 47 | type 80 18 | signer TPM2B | extra data TPM2B | clock 17 | firmware 8 |
                TPML_PCR_SELECTION | PCR digest TPM2B
TPMT_SIGNATURE  scheme 2 | hash 2 | r TPM2B, s TPM2B (ECDSA 0018)  or  signature TPM2B (RSASSA 0014, RSAPSS 0016)
```

Big-endian; a TPM2B is a length of two bytes and as many bytes. The PCR digest is the hash of the chosen registers one
after another, so a member needs their values: they stand in the constitution.

Guarantees: the quote was made by the key given, over registers of the SHA-256 bank, signed with SHA-256 or better.
Does NOT guarantee that the key is a TPM's: the constitution names its digest, and whoever proposed it has to have seen
it activated against the endorsement key (`tpm2_activatecredential`). A virtual TPM is as honest as its host. The quote
holds no date: the nonce in the binding is what makes it fresh.

Source: TCG TPM 2.0 Library, part 2, 10.12.8 (TPMS_ATTEST), 11.3.4 (TPMT_SIGNATURE), 10.6.2 (PCR selection).
"""

from __future__ import annotations

import datetime as dt
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from hansa.errors import AttestationError
from hansa.identity.attestation.evidence import Claims

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hansa.identity.attestation.evidence import Evidence

MAGIC: Final = b"\xff\x54\x43\x47"
QUOTE: Final = b"\x80\x18"
SHA256: Final = 0x000B
RSASSA, RSAPSS, ECDSA = 0x0014, 0x0016, 0x0018
SMALLEST_RSA_BITS: Final = 2048
_HASHES: Final[Mapping[int, hashes.HashAlgorithm]] = {
    0x000B: hashes.SHA256(),
    0x000C: hashes.SHA384(),
    0x000D: hashes.SHA512(),
}
_FOR_EVER: Final = dt.datetime(9999, 12, 31, tzinfo=dt.UTC)


@dataclass(frozen=True, slots=True)
class Quote:
    """What a TPM signed: our bytes, which registers, and the hash over them."""

    extra_data: bytes
    selected: tuple[int, ...]
    digest: bytes


class _Reader:
    """Reads big-endian fields off the front of a structure."""

    def __init__(self, raw: bytes, *, what: str) -> None:
        self._raw, self._at, self._what = raw, 0, what

    def take(self, size: int) -> bytes:
        """Return the next `size` bytes."""
        taken = self._raw[self._at : self._at + size]
        if len(taken) != size:
            raise AttestationError(f"attestation: tpm: {self._what}: it ends after {len(self._raw)} bytes, in a field")
        self._at += size
        return taken

    def number(self, size: int) -> int:
        """Return the next number of `size` bytes."""
        return int.from_bytes(self.take(size), "big")

    def sized(self) -> bytes:
        """Return the next TPM2B."""
        return self.take(self.number(2))

    def end(self) -> None:
        """Refuse whatever is left."""
        if self._at != len(self._raw):
            raise AttestationError(f"attestation: tpm: {self._what}: {len(self._raw) - self._at} bytes too many")


def parse_quote(raw: bytes) -> Quote:
    """Read a TPMS_ATTEST.

    Raises:
        AttestationError: It is no quote, is damaged, or is over another bank than SHA-256.
    """
    reader = _Reader(raw, what="TPMS_ATTEST")
    if reader.take(4) != MAGIC or reader.take(2) != QUOTE:
        raise AttestationError("attestation: tpm: expected a quote that the TPM itself made (FF544347 8018)")
    reader.sized()
    extra = reader.sized()
    reader.take(17 + 8)
    banks = reader.number(4)
    if banks != 1 or reader.number(2) != SHA256:
        raise AttestationError("attestation: tpm: expected registers of the SHA-256 bank alone; quote with -l sha256:")
    mask = int.from_bytes(reader.take(reader.number(1)), "little")
    digest = reader.sized()
    reader.end()
    return Quote(extra, tuple(number for number in range(24) if mask >> number & 1), digest)


def verify(evidence: Evidence, *, values: Mapping[str, str]) -> Claims:
    """Return what the TPM vouches for.

    Args:
        evidence: Quote, signature and attestation key.
        values: Values that the registers should have, hexadecimal, by name: an image's.

    Raises:
        AttestationError: The signature does not hold, or the registers are others or have other values.
    """
    raw = evidence.raw_quote()
    quote = parse_quote(raw)
    key = evidence.raw_part("key")
    _check_signature(raw, evidence.raw_part("signature"), key)
    names = tuple(f"pcr{number}" for number in quote.selected)
    if set(names) != set(values):
        raise AttestationError(f"attestation: tpm: expected a quote of {', '.join(values)}, got {', '.join(names)}")
    expected = hashlib.sha256(b"".join(bytes.fromhex(values[name]) for name in names)).digest()
    if expected != quote.digest:
        raise AttestationError(
            f"attestation: tpm: the registers {', '.join(names)} do not have the constitution's values; compare them "
            "with `tpm2_pcrread`"
        )
    return Claims(
        technology="tpm",
        registers=dict(values),
        report_data=quote.extra_data,
        is_debug=False,
        valid_until=_FOR_EVER,
        trusted_by=hashlib.sha256(key).hexdigest(),
    )


def _check_signature(raw: bytes, signature: bytes, key: bytes) -> None:
    try:
        public = serialization.load_der_public_key(key)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise AttestationError(f"attestation: tpm: key: expected a SubjectPublicKeyInfo in DER: {error}") from error
    reader = _Reader(signature, what="TPMT_SIGNATURE")
    scheme, hashed = reader.number(2), _HASHES.get(reader.number(2))
    if hashed is None:
        raise AttestationError("attestation: tpm: signed with a hash weaker than SHA-256; make the key with -g sha256")
    try:
        if scheme == ECDSA and isinstance(public, ec.EllipticCurvePublicKey):
            r, s = (int.from_bytes(reader.sized(), "big") for _ in "rs")
            reader.end()
            public.verify(encode_dss_signature(r, s), raw, ec.ECDSA(hashed))
        elif scheme in {RSASSA, RSAPSS} and isinstance(public, rsa.RSAPublicKey):
            signed = reader.sized()
            reader.end()
            _check_size(public)
            pss = padding.PSS(mgf=padding.MGF1(hashed), salt_length=padding.PSS.AUTO)
            public.verify(signed, raw, padding.PKCS1v15() if scheme == RSASSA else pss, hashed)
        else:
            raise AttestationError(
                f"attestation: tpm: expected ECDSA or RSA with a key to match, got scheme {scheme:#06x}"
            )
    except InvalidSignature as error:
        raise AttestationError("attestation: tpm: the signature is not the attestation key's") from error


def _check_size(public: rsa.RSAPublicKey) -> None:
    if public.key_size < SMALLEST_RSA_BITS:
        raise AttestationError(
            f"attestation: tpm: an RSA key of {public.key_size} bits; expected at least {SMALLEST_RSA_BITS}"
        )
