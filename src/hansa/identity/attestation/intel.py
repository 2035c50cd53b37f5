"""Intel TDX and SGX quotes (DCAP), verified by `dcap-qvl` with Intel's root built in.

`dcap-qvl` checks the quote's signature, the quoting enclave, the chain of the platform's certificate, both revocation
lists and the freshness of Intel's TCB information. What it found is compared with the constitution's clause elsewhere.

Guarantees: a claim comes from a quote whose chain ends in Intel's root, with collateral in date at `at`.
Does NOT do: the fetching of collateral; the judgement whether an accepted status is wise.

Source: Intel SGX ECDSA quote library reference (quote layouts); Intel TDX module specification (attributes).
"""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING, Final

import msgspec

from hansa.errors import AttestationError, ConfigurationError
from hansa.identity.attestation.evidence import Claims

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hansa.identity.attestation.clause import Technology
    from hansa.identity.attestation.evidence import Evidence

# The 64-bit attributes of a trust domain and of an enclave, little-endian, in their first byte.
TD_DEBUG: Final = 1 << 0
SGX_DEBUG: Final = 1 << 1
_TD_REGISTERS: Final = {
    "mrtd": "mr_td",
    "rtmr0": "rt_mr0",
    "rtmr1": "rt_mr1",
    "rtmr2": "rt_mr2",
    "rtmr3": "rt_mr3",
    "mrseam": "mr_seam",
    "mrconfigid": "mr_config_id",
    "mrowner": "mr_owner",
    "mrownerconfig": "mr_owner_config",
}


class _Tcb(msgspec.Struct):
    status: str
    advisory_ids: tuple[str, ...]


class _Found(msgspec.Struct):
    """The part of the library's claims that is read."""

    tcb: _Tcb
    earliest_expiration_date: int  # s since 1970
    qe_iden_earliest_expiration_date: int
    report: dict[str, dict[str, object]]


def verify(evidence: Evidence, *, at: dt.datetime) -> Claims:
    """Return what the processor vouches for.

    Args:
        evidence: Quote and Intel's collateral.
        at: The time now, with a time zone.

    Raises:
        AttestationError: A signature, a certificate, a revocation list or a date does not hold, or the quote is of the
            other technology.
        ConfigurationError: `dcap-qvl` is not installed.
    """
    try:
        import dcap_qvl  # noqa: PLC0415 - an optional dependency, loaded by those who need it
    except ImportError as error:
        raise ConfigurationError(
            "attestation: TDX and SGX need the package dcap-qvl; run `pip install 'hansa[attestation]'`"
        ) from error
    seconds = int(at.timestamp())
    raw = evidence.raw_quote()
    try:
        collateral = dcap_qvl.QuoteCollateralV3.from_json(evidence.part("intel"))
        policy = dcap_qvl.QuotePolicy.claims_only(seconds)
        claims = dcap_qvl.QuoteVerifier().verify_with_policy(raw, collateral, seconds, policy)
        found = msgspec.json.decode(claims.to_json(), type=_Found)
    except (ValueError, msgspec.DecodeError) as error:
        raise AttestationError(f"attestation: {evidence.technology}: {str(error)[:300]}") from error
    kind, report = _flat(found.report)
    is_domain = kind.startswith("TD")
    if is_domain != (evidence.technology == "tdx"):
        raise AttestationError(f"attestation: expected a quote of {evidence.technology}, got one of {kind}")
    until = min(found.earliest_expiration_date, found.qe_iden_earliest_expiration_date)
    if seconds > until:  # one part may expire before those that the library looks at
        raise AttestationError(
            f"attestation: {evidence.technology}: the collateral expired on "
            f"{dt.datetime.fromtimestamp(until, tz=dt.UTC):%Y-%m-%d}; refresh it with the platform's tool"
        )
    attributes = bytes.fromhex(str(report["td_attributes" if is_domain else "attributes"]))
    return Claims(
        technology=evidence.technology,
        registers=_registers(evidence.technology, report),
        report_data=bytes.fromhex(str(report["report_data"])),
        is_debug=bool(attributes[0] & (TD_DEBUG if is_domain else SGX_DEBUG)),
        valid_until=dt.datetime.fromtimestamp(until, tz=dt.UTC),
        status=found.tcb.status,
        advisories=found.tcb.advisory_ids,
    )


def intel_collateral(text: str) -> dict[str, str]:
    """Return the collateral of an `Evidence` from the JSON that `dcap-qvl` and its tools write.

    Raises:
        AttestationError: It is not a JSON object.
    """
    try:
        parsed = json.loads(text)
    except ValueError as error:
        raise AttestationError(f"attestation: Intel's collateral: expected JSON: {error}") from error
    if not isinstance(parsed, dict):
        raise AttestationError("attestation: Intel's collateral: expected a JSON object")
    return {"intel": json.dumps(parsed, sort_keys=True, separators=(",", ":"))}


def _flat(report: Mapping[str, Mapping[str, object]]) -> tuple[str, dict[str, object]]:
    """Return a report's kind and its fields: newer kinds hold an older one under `base`."""
    (kind, fields), *_ = report.items()
    flat: dict[str, object] = {}
    level: object = fields
    while isinstance(level, dict):
        flat = {name: value for name, value in level.items() if name != "base"} | flat
        level = level.get("base")
    return kind, flat


def _registers(technology: Technology, report: Mapping[str, object]) -> dict[str, str]:
    if technology == "tdx":
        return {name: str(report[field]) for name, field in _TD_REGISTERS.items()}
    registers = {"mrenclave": str(report["mr_enclave"]), "mrsigner": str(report["mr_signer"])}
    for name, field in (("isvprodid", "isv_prod_id"), ("isvsvn", "isv_svn")):
        registers[name] = f"{int(str(report[field])):04x}"
    return registers
