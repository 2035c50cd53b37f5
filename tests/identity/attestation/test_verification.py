from __future__ import annotations

import datetime as dt

import msgspec
import pytest

from hansa.errors import AttestationError
from hansa.identity.attestation import intel, sev_snp
from hansa.identity.attestation.binding import Binding
from hansa.identity.attestation.clause import AttestationClause, Image
from hansa.identity.attestation.evidence import Claims, Evidence
from hansa.identity.attestation.verification import Known, attest
from recorded_quotes import (
    BINDING,
    GENOA_DATE,
    INTEL_DATES,
    MILAN_DATE,
    genoa,
    milan_in_debug_mode,
    software_tpm,
    tpm_key_digest,
    tpm_registers,
)
from recorded_quotes import intel as recorded_intel

AT = dt.datetime(2026, 11, 1, tzinfo=dt.UTC)
KNOWN = Known(
    federation=BINDING.federation, epoch=BINDING.epoch, nonce=BINDING.nonce, identity_key=BINDING.identity_key
)
TPM = AttestationClause("require", images=(Image("tpm", tpm_registers()),), roots=(tpm_key_digest(),))


class Bound(Binding, frozen=True):
    """Stands in for a binding whose report data a recorded quote carries: nobody can make the hash come out so."""

    carried: bytes = b""

    def carried_by(self, technology: str) -> bytes:
        return self.carried if technology else b""


def bound_to(evidence: Evidence, claims: Claims) -> Evidence:
    fields = msgspec.structs.asdict(BINDING)
    return msgspec.structs.replace(evidence, binding=Bound(**fields, carried=claims.report_data))


def real(name: str) -> tuple[Evidence, Claims, dt.datetime]:
    if name == "genoa":
        return genoa(), sev_snp.verify(genoa(), at=GENOA_DATE), GENOA_DATE
    evidence = recorded_intel(name)
    return evidence, intel.verify(evidence, at=INTEL_DATES[name]), INTEL_DATES[name]


REGISTERS = {
    "tdx_quote": ("mrtd", "rtmr0", "rtmr1", "rtmr2"),
    "tdx_quote_td15ex": ("mrtd", "mrconfigid"),
    "sgx_quote": ("mrenclave",),
    "genoa": ("measurement", "vmpl"),
}
STATUSES = ("UpToDate", "ConfigurationAndSWHardeningNeeded")


def clause_for(name: str, claims: Claims) -> AttestationClause:
    image = Image(claims.technology, {register: claims.registers[register] for register in REGISTERS[name]})
    return AttestationClause("require", images=(image,), statuses=STATUSES)


@pytest.mark.parametrize("name", REGISTERS)
def test_a_real_quote_of_an_allowed_image_is_accepted(name: str) -> None:
    evidence, claims, at = real(name)
    clause = clause_for(name, claims)
    clause.check()

    verdict = attest(bound_to(evidence, claims), clause=clause, known=KNOWN, at=at)

    assert verdict.image == clause.images[0]
    assert verdict.valid_until == claims.valid_until


@pytest.mark.parametrize("name", REGISTERS)
def test_a_real_quote_for_another_binding_is_a_replay(name: str) -> None:
    evidence, claims, at = real(name)

    with pytest.raises(AttestationError, match=r"report data: .* another key, code or epoch"):
        attest(evidence, clause=clause_for(name, claims), known=KNOWN, at=at)


@pytest.mark.parametrize("name", REGISTERS)
def test_a_real_quote_of_another_image_is_refused(name: str) -> None:
    evidence, claims, at = real(name)
    clause = clause_for(name, claims)
    register = REGISTERS[name][0]
    other = Image(
        claims.technology, clause.images[0].registers | {register: "00" * (len(claims.registers[register]) // 2)}
    )

    with pytest.raises(AttestationError, match=f"no image fits: {register}: expected 00"):
        attest(bound_to(evidence, claims), clause=msgspec.structs.replace(clause, images=(other,)), known=KNOWN, at=at)


def test_an_image_that_names_no_privilege_level_wants_the_highest() -> None:
    evidence, claims, at = real("genoa")
    image = Image("sev-snp", {"measurement": claims.registers["measurement"]})

    with pytest.raises(AttestationError, match="vmpl: expected 0, got 1"):
        attest(bound_to(evidence, claims), clause=AttestationClause("require", images=(image,)), known=KNOWN, at=at)


def test_debug_mode_is_refused_whatever_the_image() -> None:
    claims = sev_snp.verify(milan_in_debug_mode(), at=MILAN_DATE)
    names = ("measurement", "vmpl")
    image = Image("sev-snp", {name: claims.registers[name] for name in names})

    with pytest.raises(AttestationError, match="debug mode"):
        attest(
            bound_to(milan_in_debug_mode(), claims),
            clause=AttestationClause("require", images=(image,)),
            known=KNOWN,
            at=MILAN_DATE,
        )


def test_a_status_that_the_constitution_does_not_accept_is_refused() -> None:
    evidence, claims, at = real("sgx_quote")
    clause = msgspec.structs.replace(clause_for("sgx_quote", claims), statuses=("UpToDate",))

    with pytest.raises(AttestationError, match=r"ConfigurationAndSWHardeningNeeded \(INTEL-SA-00289"):
        attest(bound_to(evidence, claims), clause=clause, known=KNOWN, at=at)


def test_a_root_that_is_neither_built_in_nor_named_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    evidence, claims, at = real("genoa")
    monkeypatch.setattr(sev_snp, "AMD_ROOTS", {})
    clause = clause_for("genoa", claims)

    with pytest.raises(AttestationError, match="trust ends in 4c6598d1"):
        attest(bound_to(evidence, claims), clause=clause, known=KNOWN, at=at)
    named = msgspec.structs.replace(clause, roots=(claims.trusted_by,))
    assert attest(bound_to(evidence, claims), clause=named, known=KNOWN, at=at).technology == "sev-snp"


def test_a_quote_bound_to_this_coordinator_and_epoch_is_accepted_whole() -> None:
    verdict = attest(software_tpm(), clause=TPM, known=KNOWN, at=AT)

    assert verdict.technology == "tpm"
    assert verdict.code == BINDING.code


@pytest.mark.parametrize("name", ["federation", "epoch", "nonce", "identity_key", "tls_key", "log_key"])
def test_a_binding_to_something_else_is_named(name: str) -> None:
    fields = {one: getattr(KNOWN, one) for one in ("federation", "epoch", "nonce", "identity_key")}

    with pytest.raises(AttestationError, match=f"{name}: expected something else"):
        attest(software_tpm(), clause=TPM, known=Known(**fields | {name: "something else"}), at=AT)


@pytest.mark.parametrize("name", ["nonce", "epoch", "tls_key", "log_key", "code"])
def test_a_binding_that_was_changed_to_please_does_not_fit_the_quote(name: str) -> None:
    pleasing = msgspec.structs.replace(BINDING, **{name: "ff" * 32})
    fields = {one: getattr(pleasing, one) for one in ("federation", "epoch", "nonce", "identity_key")}

    with pytest.raises(AttestationError, match="report data"):
        attest(msgspec.structs.replace(software_tpm(), binding=pleasing), clause=TPM, known=Known(**fields), at=AT)


def test_code_that_the_constitution_does_not_name_is_refused() -> None:
    clause = msgspec.structs.replace(TPM, code=("55" * 32,))

    with pytest.raises(AttestationError, match="code: 4444"):
        attest(software_tpm(), clause=clause, known=KNOWN, at=AT)


def test_a_technology_that_the_constitution_does_not_name_is_refused() -> None:
    clause = AttestationClause("require", images=(Image("tdx", {"mrtd": "00" * 48}),))

    with pytest.raises(AttestationError, match="no image of tpm"):
        attest(software_tpm(), clause=clause, known=KNOWN, at=AT)


def test_a_second_image_may_be_the_one() -> None:
    other = Image("tpm", tpm_registers() | {"pcr7": "00" * 32})
    clause = msgspec.structs.replace(TPM, images=(other, *TPM.images))

    assert attest(software_tpm(), clause=clause, known=KNOWN, at=AT).image == TPM.images[0]
    with pytest.raises(AttestationError, match="constitution's values"):
        attest(software_tpm(), clause=msgspec.structs.replace(TPM, images=(other,)), known=KNOWN, at=AT)


def test_a_key_that_the_constitution_does_not_name_is_refused() -> None:
    with pytest.raises(AttestationError, match="trust ends in"):
        attest(software_tpm("rsassa"), clause=TPM, known=KNOWN, at=AT)


def test_evidence_travels_as_json() -> None:
    evidence = software_tpm()

    assert Evidence.from_bytes(evidence.to_bytes()) == evidence


@pytest.mark.parametrize(
    ("text", "reason"),
    [(b"{}", "missing required field"), (b"\xff", "attestation"), (b"[", "attestation"), (b" " * 300_000, "262144")],
)
def test_what_is_no_evidence_is_refused(text: bytes, reason: str) -> None:
    with pytest.raises(AttestationError, match=reason):
        Evidence.from_bytes(text)
