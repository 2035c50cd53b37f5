from __future__ import annotations

import base64
import datetime as dt
from typing import TYPE_CHECKING

import msgspec
import omne_attest
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from omne_attest import vectors as milan

from hansa.errors import AttestationError
from hansa.identity.attestation import sev_snp
from recorded_quotes import GENOA_DATE, MILAN_DATE, genoa, milan_in_debug_mode, with_flipped_bit

if TYPE_CHECKING:
    from hansa.identity.attestation.evidence import Evidence

RECORDED = [(genoa, GENOA_DATE), (milan_in_debug_mode, MILAN_DATE)]


def test_a_real_report_of_a_genoa_chip_is_genuine() -> None:
    claims = sev_snp.verify(genoa(), at=GENOA_DATE)

    assert claims.registers["measurement"].startswith("047a76ad25e9af9970512d4b8ceb5945")
    assert claims.registers["vmpl"] == "1"
    assert claims.report_data == b"\7" * 64
    assert not claims.is_debug
    assert claims.valid_until == dt.datetime(2030, 9, 19, 0, 51, 30, tzinfo=dt.UTC)
    assert sev_snp.AMD_ROOTS[claims.trusted_by] == "Genoa"


def test_a_real_report_of_a_milan_chip_is_genuine_and_says_that_it_is_in_debug_mode() -> None:
    claims = sev_snp.verify(milan_in_debug_mode(), at=MILAN_DATE)

    assert claims.is_debug
    assert sev_snp.AMD_ROOTS[claims.trusted_by] == "Milan"


@pytest.mark.filterwarnings("ignore:Parsed a serial number")
def test_another_implementation_reads_the_same_report() -> None:
    found = sev_snp.verify(milan_in_debug_mode(), at=MILAN_DATE)
    others = omne_attest.verify(
        milan.attestation(),
        milan.vcek(),
        milan.ask(),
        milan.ark(),
        milan.ARK_SHA256,
        omne_attest.Policy(reject_debug=False),
    )

    assert others.measurement.hex() == found.registers["measurement"]
    assert others.report_data == found.report_data
    assert milan.ARK_SHA256.hex() == found.trusted_by


@pytest.mark.parametrize(("recorded", "at"), RECORDED)
@pytest.mark.parametrize("place", [0x4, 0x8, 0x30, 0x50, 0x90, 0x180, 0x1A0, 0x29F, 0x2A0, 0x2E8, 0x2A0 + 50])
def test_a_report_with_one_bit_flipped_is_refused(recorded: object, at: dt.datetime, place: int) -> None:
    good = recorded()

    with pytest.raises(AttestationError, match="signature"):
        sev_snp.verify(msgspec.structs.replace(good, quote=with_flipped_bit(good.quote, place)), at=at)


@pytest.mark.parametrize(("place", "reason"), [(0, "version 2 to 5"), (0x34, "ECDSA P-384"), (0x48, "VLEK")])
def test_another_form_of_report_is_refused_before_its_signature(place: int, reason: str) -> None:
    raw = bytearray(base64.b64decode(genoa().quote))
    raw[place] = 0x0C
    changed = msgspec.structs.replace(genoa(), quote=base64.b64encode(raw).decode())

    with pytest.raises(AttestationError, match=reason):
        sev_snp.verify(changed, at=GENOA_DATE)


@pytest.mark.parametrize("size", [0, 672, 1183, 1185])
def test_another_length_is_refused(size: int) -> None:
    raw = base64.b64decode(genoa().quote).ljust(1185, b"\0")[:size]

    with pytest.raises(AttestationError, match="1184 bytes"):
        sev_snp.parse_report(raw)


@pytest.mark.parametrize("at", [dt.datetime(2023, 9, 18, tzinfo=dt.UTC), dt.datetime(2030, 9, 20, tzinfo=dt.UTC)])
def test_a_chain_out_of_date_is_refused(at: dt.datetime) -> None:
    with pytest.raises(AttestationError, match="VCEK is valid 2023-09-19 to 2030-09-19"):
        sev_snp.verify(genoa(), at=at)


def test_another_chips_certificate_is_refused() -> None:
    swapped = _with(genoa(), **{name: milan_in_debug_mode().collateral[name] for name in ("vcek", "ask", "ark")})

    with pytest.raises(AttestationError, match="signature is not the VCEK's"):
        sev_snp.verify(swapped, at=MILAN_DATE)


def test_a_chain_of_another_product_is_refused() -> None:
    swapped = _with(genoa(), ask=milan_in_debug_mode().collateral["ask"], ark=milan_in_debug_mode().collateral["ark"])

    with pytest.raises(AttestationError, match="VCEK is not issued by"):
        sev_snp.verify(swapped, at=GENOA_DATE)


@pytest.mark.parametrize("name", ["vcek", "ask", "ark"])
def test_a_certificate_with_one_bit_flipped_is_refused(name: str) -> None:
    text = genoa().collateral[name]
    broken = _with(genoa(), **{name: with_flipped_bit(text, len(base64.b64decode(text)) - 5)})

    with pytest.raises(AttestationError):
        sev_snp.verify(broken, at=GENOA_DATE)


@pytest.mark.parametrize("name", ["vcek", "ask", "ark"])
def test_a_missing_certificate_is_named(name: str) -> None:
    part = {key: value for key, value in genoa().collateral.items() if key != name}

    with pytest.raises(AttestationError, match=f"no '{name}'"):
        sev_snp.verify(msgspec.structs.replace(genoa(), collateral=part), at=GENOA_DATE)


def test_a_revocation_list_of_somebody_else_is_refused() -> None:
    """The list is synthesised: AMD's own could not be had."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ARK-Genoa")])
    builder = x509.CertificateRevocationListBuilder().issuer_name(name).last_update(GENOA_DATE)
    listed = builder.next_update(GENOA_DATE + dt.timedelta(days=30)).sign(key, hashes.SHA384())
    crl = base64.b64encode(listed.public_bytes(Encoding.DER)).decode()

    with pytest.raises(AttestationError, match="crl: not AMD's"):
        sev_snp.verify(_with(genoa(), crl=crl), at=GENOA_DATE)


def test_what_is_no_revocation_list_is_refused() -> None:
    with pytest.raises(AttestationError, match="revocation list in DER"):
        sev_snp.verify(_with(genoa(), crl="AAAA"), at=GENOA_DATE)


def _with(evidence: Evidence, **parts: str) -> Evidence:
    return msgspec.structs.replace(evidence, collateral=evidence.collateral | parts)
