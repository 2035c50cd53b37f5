"""AMD SEV-SNP attestation reports: the report's signature, its key's chain to AMD, and that the key is this chip's.

A report has 1184 bytes, little-endian; the first 672 are signed with ECDSA P-384 and SHA-384 by the chip's key (VCEK),
whose certificate names chip and firmware versions and is issued by AMD: VCEK <- ASK <- ARK.

| offset | field | offset | field |
|---|---|---|---|
| 0x000 | version, 2 to 5 | 0x0C0 | host data, 32 bytes |
| 0x008 | guest policy; bit 19: debug | 0x0E0 | digest of the identity key, 48 bytes |
| 0x030 | privilege level (VMPL) | 0x180 | reported TCB: boot loader 0, TEE 1, SNP 6, microcode 7 |
| 0x034 | signature algorithm, 1 | 0x1A0 | chip id, 64 bytes |
| 0x048 | bits 2-4: which key signed, 0 for VCEK | 0x2A0 | r, 72 bytes |
| 0x050 | report data, 64 bytes | 0x2E8 | s, 72 bytes |
| 0x090 | launch measurement, 48 bytes | | |

Guarantees: what `verify` returns was signed by a genuine Milan or Genoa chip, or by one under a root of the clause,
with the firmware that the certificate names, in the certificates' time; AMD's revocation list is obeyed where it is
given.
Does NOT do: keys of a cloud provider (VLEK), Turin (another layout of the TCB, and no recorded report to test with),
or the fetching of certificates.

Source: AMD 56860 (SEV-SNP ABI) table 23 and 57230 (VCEK certificate and KDS interface).
"""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.utils import CryptographyDeprecationWarning

from hansa.errors import AttestationError
from hansa.identity.attestation.evidence import Claims

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping

    from hansa.identity.attestation.evidence import Evidence

REPORT_BYTES: Final = 0x4A0
SIGNED_BYTES: Final = 0x2A0
VERSIONS: Final = range(2, 6)
DEBUG: Final = 1 << 19
AMD_ROOTS: Final[Mapping[str, str]] = {
    "69d063b45344d26a2e94e1f4210de49ef555308287d4c174445c95639a540bcd": "Milan",
    "4c6598d19c18719c5dfd4a7d335f674e5bfe1d8f800cea2cf270c10d103db2f1": "Genoa",
}
"""SHA-256 of the DER of AMD's root certificates."""
_OID: Final = "1.3.6.1.4.1.3704.1"
_CHIP: Final = f"{_OID}.4"
_TCB: Final = {f"{_OID}.3.1": 0, f"{_OID}.3.2": 1, f"{_OID}.3.3": 6, f"{_OID}.3.8": 7}  # extension: byte of the TCB
_DAMAGED: Final = (ValueError, TypeError, UnsupportedAlgorithm, InvalidSignature)


@dataclass(frozen=True, slots=True)
class Report:
    """The fields of a report that are looked at, as they came; nothing is verified yet."""

    signed: bytes
    debug: bool
    vmpl: int
    signer: int
    report_data: bytes
    measurement: bytes
    host_data: bytes
    identity_key_digest: bytes
    tcb: bytes
    chip: bytes
    r: int
    s: int


def parse_report(raw: bytes) -> Report:
    """Cut a report into its fields.

    Raises:
        AttestationError: It has another length, version or signature algorithm.
    """
    if len(raw) != REPORT_BYTES:
        raise AttestationError(f"attestation: SEV-SNP report: expected {REPORT_BYTES} bytes, got {len(raw)}")
    version, algorithm = _number(raw, 0, 4), _number(raw, 0x34, 4)
    if version not in VERSIONS or algorithm != 1:
        raise AttestationError(
            f"attestation: SEV-SNP report: expected version {VERSIONS.start} to {VERSIONS.stop - 1} and algorithm 1 "
            f"(ECDSA P-384), got {version} and {algorithm}"
        )
    return Report(
        signed=raw[:SIGNED_BYTES],
        debug=bool(_number(raw, 8, 8) & DEBUG),
        vmpl=_number(raw, 0x30, 4),
        signer=_number(raw, 0x48, 4) >> 2 & 0b111,
        report_data=raw[0x50:0x90],
        measurement=raw[0x90:0xC0],
        host_data=raw[0xC0:0xE0],
        identity_key_digest=raw[0xE0:0x110],
        tcb=raw[0x180:0x188],
        chip=raw[0x1A0:0x1E0],
        r=_number(raw, 0x2A0, 72),
        s=_number(raw, 0x2E8, 72),
    )


def verify(evidence: Evidence, *, at: dt.datetime) -> Claims:
    """Return what the chip vouches for.

    Args:
        evidence: Report and certificates.
        at: The time now, with a time zone.

    Raises:
        AttestationError: The report, its signature, a certificate, the chip or the firmware does not fit.
    """
    report = parse_report(evidence.raw_quote())
    if report.signer != 0:
        raise AttestationError(
            "attestation: SEV-SNP report: signed by a cloud provider's key (VLEK) or none; expected the chip's own "
            "(VCEK): ask for it with `snpguest report` and `snpguest fetch vcek`"
        )
    chain = [load_der(evidence.raw_part(name), what=name) for name in ("vcek", "ask", "ark")]
    vcek, ask, ark = chain
    _check_chain(chain, at=at)
    until = min(one.not_valid_after_utc for one in chain)
    if "crl" in evidence.collateral:
        until = min(until, _check_revocation(evidence.raw_part("crl"), ark=ark, ask=ask, at=at))
    _check_key(report, vcek)
    return Claims(
        technology="sev-snp",
        registers={
            "measurement": report.measurement.hex(),
            "hostdata": report.host_data.hex(),
            "idkeydigest": report.identity_key_digest.hex(),
            "vmpl": str(report.vmpl),
        },
        report_data=report.report_data,
        is_debug=report.debug,
        valid_until=until,
        trusted_by=hashlib.sha256(ark.public_bytes(serialization.Encoding.DER)).hexdigest(),
    )


def load_der(der: bytes, *, what: str) -> x509.Certificate:
    """Parse a certificate.

    Raises:
        AttestationError: It is not one.
    """
    try:
        with warnings.catch_warnings():
            # AMD's VCEKs have the serial number 0, against RFC 5280.
            warnings.simplefilter("ignore", CryptographyDeprecationWarning)
            return x509.load_der_x509_certificate(der)
    except ValueError as error:
        raise AttestationError(f"attestation: SEV-SNP: {what}: expected a certificate in DER: {error}") from error


def _check_chain(chain: list[x509.Certificate], *, at: dt.datetime) -> None:
    names = ("VCEK", "ASK", "ARK")
    issuers = [*chain[1:], chain[-1]]
    for name, one, issuer in zip(names, chain, issuers, strict=True):
        try:
            one.verify_directly_issued_by(issuer)
        except _DAMAGED as error:
            raise AttestationError(
                f"attestation: SEV-SNP: the {name} is not issued by the certificate above it; fetch the chain again"
            ) from error
        if not one.not_valid_before_utc <= at <= one.not_valid_after_utc:
            raise AttestationError(
                f"attestation: SEV-SNP: the {name} is valid {one.not_valid_before_utc:%Y-%m-%d} to "
                f"{one.not_valid_after_utc:%Y-%m-%d}, now {at:%Y-%m-%d}; fetch the chain again"
            )
    if not all(isinstance(one.public_key(), rsa.RSAPublicKey) for one in chain[1:]):
        raise AttestationError("attestation: SEV-SNP: expected RSA keys in ASK and ARK")


def _check_revocation(der: bytes, *, ark: x509.Certificate, ask: x509.Certificate, at: dt.datetime) -> dt.datetime:
    """Refuse a revoked ASK; return until when the list holds."""
    key = ark.public_key()
    try:
        revoked = x509.load_der_x509_crl(der)
        is_signed = isinstance(key, rsa.RSAPublicKey) and revoked.is_signature_valid(key)
    except _DAMAGED as error:
        raise AttestationError(f"attestation: SEV-SNP: crl: expected a revocation list in DER: {error}") from error
    until = revoked.next_update_utc
    if not is_signed or until is None or not revoked.last_update_utc <= at <= until:
        raise AttestationError("attestation: SEV-SNP: crl: not AMD's, or out of date; fetch it again")
    if revoked.get_revoked_certificate_by_serial_number(ask.serial_number) is not None:
        raise AttestationError("attestation: SEV-SNP: AMD has revoked the ASK; this chip is not to be believed")
    return until


def _check_key(report: Report, vcek: x509.Certificate) -> None:
    """Check that the report is signed by this key, and that the key is this chip's with this firmware."""
    key = vcek.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP384R1):
        raise AttestationError("attestation: SEV-SNP: expected a P-384 key in the VCEK")
    try:
        key.verify(encode_dss_signature(report.r, report.s), report.signed, ec.ECDSA(hashes.SHA384()))
    except (InvalidSignature, ValueError) as error:
        raise AttestationError("attestation: SEV-SNP: the report's signature is not the VCEK's") from error
    chip = _extension(vcek, _CHIP)
    if chip.removeprefix(b"\x04\x40") != report.chip:
        raise AttestationError("attestation: SEV-SNP: the VCEK is another chip's")
    named = {place: _small_integer(_extension(vcek, oid)) for oid, place in _TCB.items()}
    got = {place: report.tcb[place] for place in named}
    if named != got:
        raise AttestationError(
            f"attestation: SEV-SNP: the VCEK is for firmware {list(named.values())}, the report says "
            f"{list(got.values())}; fetch the VCEK of the reported TCB"
        )


def _extension(certificate: x509.Certificate, oid: str) -> bytes:
    try:
        found = certificate.extensions.get_extension_for_oid(x509.ObjectIdentifier(oid)).value
    except (x509.ExtensionNotFound, ValueError) as error:
        raise AttestationError(f"attestation: SEV-SNP: the VCEK lacks AMD's extension {oid}") from error
    return found.public_bytes()


def _small_integer(der: bytes) -> int:
    """Return a DER INTEGER of 0 to 255."""
    if len(der) not in {3, 4} or der[:2] != bytes([2, len(der) - 2]) or (len(der) == 4 and der[2] != 0):
        raise AttestationError(f"attestation: SEV-SNP: a firmware version of 0 to 255 expected, got {der[:8].hex()}")
    return der[-1]


def _number(raw: bytes, offset: int, size: int) -> int:
    return int.from_bytes(raw[offset : offset + size], "little")
