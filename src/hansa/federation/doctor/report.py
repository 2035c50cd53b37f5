"""A node's report on itself, signed by its identity key, and another member's check of it.

```
report   {"report": {...}, "signature": hex}    type application/vnd.hansa.node-report+json
check    {"check": {...}, "signature": hex}     type application/vnd.hansa.node-check+json
```

Both are canonical JSON: keys sorted, no white space, so that the SHA-256 of the bytes names the report in the log.

Guarantees: what `open_report` and `open_check` return was signed by the key that the constitution names.
Does NOT guarantee: that a node tells the truth about itself (`governance.node_audit`).
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, Literal, TypeVar

import msgspec

from hansa.crypto.signature import parse_public, verify
from hansa.errors import ConfigurationError, MessageError
from hansa.governance.node_audit import PROBES, Checked, Reported, quarter_of

if TYPE_CHECKING:
    from hansa.crypto.signature import Signer
    from hansa.governance.constitution import Constitution

Status = Literal["pass", "warn", "fail", "skip"]
REPORT_TYPE: Final = "application/vnd.hansa.node-report+json"
CHECK_TYPE: Final = "application/vnd.hansa.node-check+json"
MAX_BYTES: Final = 256 * 1024
OLDEST: Final = timedelta(days=92)
AHEAD: Final = timedelta(minutes=5)


class Probe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One look: what was seen, and what to do where it is not well."""

    name: str
    status: Status
    seen: str
    todo: str = ""


class NodeReport(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All probes of one node at one time (ISO 8601, UTC); `constitution` is a digest, `code` a measurement."""

    federation: str
    node: str
    role: Literal["member", "coordinator"]
    epoch: int
    constitution: str
    quarter: str
    at: str
    software: str
    code: str
    probes: tuple[Probe, ...]

    @property
    def failed(self) -> tuple[str, ...]:
        """Names of the probes that failed."""
        return tuple(probe.name for probe in self.probes if probe.status == "fail")


class NodeCheck(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One member's check of another's report, by the report's SHA-256."""

    federation: str
    auditor: str
    node: str
    quarter: str
    report: str
    at: str
    faults: tuple[str, ...]


class _SignedReport(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    report: NodeReport
    signature: str


class _SignedCheck(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    check: NodeCheck
    signature: str


_SignedT = TypeVar("_SignedT", _SignedReport, _SignedCheck)


def sign_report(report: NodeReport, signer: Signer) -> bytes:
    """Return a report with its signature: the bytes that enter the log."""
    return _canonical(_SignedReport(report, signer.sign(REPORT_TYPE, _canonical(report)).hex()))


def sign_check(check: NodeCheck, signer: Signer) -> bytes:
    """Return a check with its signature: the bytes that enter the log."""
    return _canonical(_SignedCheck(check, signer.sign(CHECK_TYPE, _canonical(check)).hex()))


def open_report(data: bytes, constitution: Constitution) -> NodeReport:
    """Return a report if the node that it names has signed it.

    Raises:
        MessageError: It is too large, malformed or not canonical.
        SignatureError: The node's key did not sign it.
        ConfigurationError: The constitution knows no such node.
    """
    signed = _decoded(data, _SignedReport, what="node report")
    key = _key_of(signed.report.node, constitution)
    verify(parse_public(key), REPORT_TYPE, _canonical(signed.report), bytes.fromhex(signed.signature))
    return signed.report


def open_check(data: bytes, constitution: Constitution) -> NodeCheck:
    """Return a check if the member that it names as auditor has signed it.

    Raises:
        MessageError: It is too large, malformed or not canonical.
        SignatureError: The auditor's key did not sign it.
        ConfigurationError: The constitution knows no such member.
    """
    signed = _decoded(data, _SignedCheck, what="node check")
    key = _key_of(signed.check.auditor, constitution)
    verify(parse_public(key), CHECK_TYPE, _canonical(signed.check), bytes.fromhex(signed.signature))
    return signed.check


def report_digest(data: bytes) -> str:
    """Return the name of a report in checks and in the log: the SHA-256 of its bytes, hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def faults_of(report: NodeReport, constitution: Constitution, *, at: datetime, software: str, code: str) -> list[str]:
    """Return what another member can see for itself to be wrong with a report.

    Args:
        report: The report, opened.
        constitution: The one in force.
        at: The time now, with a time zone.
        software: The auditor's own version.
        code: The auditor's own measurement.
    """
    made = _time(report.at)
    coordinator = constitution.coordinator.name
    clause = constitution.node_audit
    expected = {
        f"federation {report.federation}, not {constitution.federation}": report.federation == constitution.federation,
        f"constitution {report.constitution[:12]}, not {constitution.digest()[:12]}": report.constitution
        == constitution.digest(),
        f"epoch {report.epoch}, not {constitution.epoch}": report.epoch == constitution.epoch,
        f"role {report.role}": (report.role == "coordinator") == (report.node == coordinator),
        f"time {report.at[:40]!r} is no time with a zone": made is not None,
        f"quarter {report.quarter[:20]}, made at {report.at[:40]}": made is None or report.quarter == quarter_of(made),
        f"made at {report.at[:40]}, after {at:%Y-%m-%dT%H:%MZ}": made is None or made <= at + AHEAD,
        f"made at {report.at[:40]}, more than {OLDEST.days} days ago": made is None or made >= at - OLDEST,
        f"probes: expected {', '.join(PROBES)}": tuple(probe.name for probe in report.probes) == PROBES,
        "a probe that is not well says not what to do": all(
            probe.seen and (probe.todo or probe.status in {"pass", "skip"}) for probe in report.probes
        ),
        f"code {report.code[:12]}, not ours ({code[:12]}) of the same version {software}": report.software != software
        or report.code == code,
        f"code {report.code[:12]} is not in the constitution": clause is None
        or not clause.code
        or report.code in clause.code,
    }
    return [fault for fault, holds in expected.items() if not holds]


def reported(data: bytes, constitution: Constitution) -> Reported:
    """Return a log entry as the clause counts it.

    Raises:
        MessageError: As `open_report`, or its time is none.
        SignatureError: As `open_report`.
        ConfigurationError: As `open_report`.
    """
    report = open_report(data, constitution)
    made = _time(report.at)
    if made is None:
        raise MessageError(f"node report of {report.node}: {report.at[:40]!r} is no time with a zone")
    return Reported(report.node, report.quarter, report_digest(data), made, report.failed)


def checked(data: bytes, constitution: Constitution) -> Checked:
    """Return a log entry as the clause counts it.

    Raises:
        MessageError: As `open_check`.
        SignatureError: As `open_check`.
        ConfigurationError: As `open_check`.
    """
    check = open_check(data, constitution)
    return Checked(check.report, check.auditor, check.faults)


def _time(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return None if found.tzinfo is None else found


def _key_of(name: str, constitution: Constitution) -> str:
    for party in (*constitution.members, constitution.coordinator):
        if party.name == name:
            return party.identity_key
    raise ConfigurationError(f"node audit: {name[:60]!r} is not a party to the constitution")


def _decoded(data: bytes, kind: type[_SignedT], *, what: str) -> _SignedT:
    if len(data) > MAX_BYTES:
        raise MessageError(f"{what}: {len(data)} bytes; at most {MAX_BYTES} are allowed")
    try:
        signed = msgspec.json.decode(data, type=kind)
        bytes.fromhex(signed.signature)
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError) as error:
        raise MessageError(f"{what}: {error}; `hansa doctor --sign` writes one") from error
    if _canonical(signed) != data:
        raise MessageError(f"{what}: the bytes are not canonical; take the file as `hansa doctor` wrote it")
    return signed


def _canonical(value: msgspec.Struct) -> bytes:
    return msgspec.json.encode(value, order="sorted")
