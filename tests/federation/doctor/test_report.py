"""Claims about signed reports, another member's check of them, and their form as OSCAL."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec
import pytest
from oscal_bindings.v1 import OscalParseError, parse_assessment_results

from constitutions import constitution
from hansa.errors import ConfigurationError, MessageError, SignatureError
from hansa.federation.doctor.oscal import assessment_results
from hansa.federation.doctor.report import (
    MAX_BYTES,
    NodeCheck,
    NodeReport,
    Probe,
    checked,
    faults_of,
    open_check,
    open_report,
    report_digest,
    reported,
    sign_check,
    sign_report,
)
from hansa.governance.node_audit import PROBES, NodeAuditClause
from simulator import signing_key

if TYPE_CHECKING:
    from datetime import datetime

RULES = constitution()
CODE = "ab" * 32


def at() -> datetime:
    from datetime import UTC, datetime  # noqa: PLC0415

    return datetime(2026, 11, 25, 12, 0, tzinfo=UTC)


def report(**changes: object) -> NodeReport:
    plain = NodeReport(
        federation="test", node="m01", role="member", epoch=1, constitution=RULES.digest(), quarter="2026Q4",
        at="2026-11-25T11:00:00+00:00", software="0.1.0", code=CODE,
        probes=tuple(Probe(name, "pass", "well") for name in PROBES),
    )  # fmt: skip
    return msgspec.structs.replace(plain, **changes)


def signed(one: NodeReport, signer: str | None = None) -> bytes:
    return sign_report(one, signing_key(signer or one.node))


def faults(one: NodeReport, **changes: object) -> list[str]:
    words = {"at": at(), "software": "0.1.0", "code": CODE} | changes
    return faults_of(one, RULES, **words)


def test_a_report_travels_under_its_nodes_signature() -> None:
    data = signed(report())

    assert open_report(data, RULES) == report()
    counted = reported(data, RULES)
    assert (counted.member, counted.quarter, counted.failed) == ("m01", "2026Q4", ())
    assert counted.digest == report_digest(data)


def test_failed_probes_are_counted() -> None:
    bad = (Probe("kit", "fail", "broken", "mend it"), *report().probes[1:])

    assert reported(signed(report(probes=bad)), RULES).failed == ("kit",)


def test_somebody_elses_signature_is_refused() -> None:
    with pytest.raises(SignatureError):
        open_report(signed(report(), "m02"), RULES)


def test_every_changed_byte_is_refused() -> None:
    data = signed(report())
    for place in range(0, len(data), 7):
        changed = bytearray(data)
        changed[place] ^= 1
        with pytest.raises((MessageError, SignatureError, ConfigurationError)):
            open_report(bytes(changed), RULES)


@pytest.mark.parametrize("data", [b"", b"{}", b"\xff", b" " * (MAX_BYTES + 1), b'{"report":1,"signature":""}'])
def test_what_is_no_report_is_refused(data: bytes) -> None:
    with pytest.raises(MessageError, match="node report"):
        open_report(data, RULES)
    with pytest.raises(MessageError, match="node check"):
        open_check(data, RULES)


def test_another_form_of_the_same_report_is_refused() -> None:
    with pytest.raises(MessageError, match="not canonical"):
        open_report(msgspec.json.format(signed(report())), RULES)


def test_a_stranger_is_no_party() -> None:
    with pytest.raises(ConfigurationError, match="not a party"):
        open_report(sign_report(report(node="m99"), signing_key("m99")), RULES)


def test_a_report_as_it_should_be_has_no_faults() -> None:
    assert faults(report()) == []
    assert faults(report(node="coordinator", role="coordinator")) == []


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"federation": "other"}, "federation other"),
        ({"constitution": "00" * 32}, "constitution 0000"),
        ({"epoch": 2}, "epoch 2"),
        ({"role": "coordinator"}, "role coordinator"),
        ({"at": "yesterday"}, "no time with a zone"),
        ({"at": "2026-11-25T11:00:00"}, "no time with a zone"),
        ({"quarter": "2026Q3"}, "quarter 2026Q3"),
        ({"at": "2026-12-25T11:00:00+00:00"}, "after 2026-11-25"),
        ({"at": "2026-08-01T11:00:00+00:00", "quarter": "2026Q3"}, "more than 92 days ago"),
        ({"probes": report().probes[1:]}, "probes: expected"),
        ({"probes": (*report().probes[1:], report().probes[0])}, "probes: expected"),
        ({"probes": (Probe("kit", "fail", "broken"), *report().probes[1:])}, "says not what to do"),
        ({"probes": (Probe("kit", "pass", ""), *report().probes[1:])}, "says not what to do"),
        ({"code": "cd" * 32}, "not ours (abababababab)"),
    ],
)
def test_what_another_member_can_see_for_itself_is_a_fault(change: dict[str, object], reason: str) -> None:
    found = faults(report(**change))

    assert len(found) == 1
    assert reason in found[0]


def test_other_code_of_another_version_is_no_fault_unless_the_constitution_names_the_code() -> None:
    assert faults(report(code="cd" * 32, software="0.2.0")) == []
    strict = constitution(node_audit=NodeAuditClause(("kit",), code=(CODE,)))
    other = report(code="cd" * 32, software="0.2.0", constitution=strict.digest())
    assert faults_of(other, strict, at=at(), software="0.1.0", code=CODE) == [
        "code cdcdcdcdcdcd is not in the constitution"
    ]


def test_a_clock_a_little_ahead_is_no_fault() -> None:
    assert faults(report(), at=at() - timedelta(minutes=64)) == []


def test_a_check_travels_under_its_auditors_signature() -> None:
    digest = report_digest(signed(report()))
    check = NodeCheck("test", "m03", "m01", "2026Q4", digest, "2026-11-25T12:00:00+00:00", ("a fault",))
    data = sign_check(check, signing_key("m03"))

    assert open_check(data, RULES) == check
    assert checked(data, RULES).faults == ("a fault",)
    assert (checked(data, RULES).digest, checked(data, RULES).auditor) == (digest, "m03")
    with pytest.raises(SignatureError):
        open_check(sign_check(check, signing_key("m01")), RULES)


def test_a_signature_on_a_report_is_none_on_a_check() -> None:
    digest = report_digest(signed(report()))
    check = NodeCheck("test", "m03", "m01", "2026Q4", digest, "2026-11-25T12:00:00+00:00", ())
    words = json.loads(sign_check(check, signing_key("m03")))
    words["signature"] = json.loads(signed(report(node="m03")))["signature"]
    with pytest.raises(SignatureError):
        open_check(msgspec.json.encode(words, order="sorted"), RULES)


MIXED = tuple(
    Probe(name, status, "seen", "" if status in {"pass", "skip"} else "do it")
    for name, status in zip(PROBES, ["pass", "warn", "fail", "skip"] * 4, strict=False)
)


def test_as_oscal_every_probe_is_an_observation_and_every_look_a_finding() -> None:
    document = assessment_results(report(probes=MIXED), "ab" * 32)
    # by models made from NIST's JSON schema, which forbid further fields
    found = parse_assessment_results(json.dumps(document))
    (result,) = document["assessment-results"]["results"]

    assert found is not None
    assert [one["title"] for one in result["observations"]] == list(PROBES)
    states = {one["title"]: one["target"]["status"]["state"] for one in result["findings"]}
    assert states == {
        probe.name: "not-satisfied" if probe.status == "fail" else "satisfied"
        for probe in MIXED
        if probe.status != "skip"
    }
    observed = {one["uuid"] for one in result["observations"]}
    assert {link["observation-uuid"] for one in result["findings"] for link in one["related-observations"]} <= observed


def test_the_oscal_validator_of_this_test_refuses_what_lacks_a_field_or_has_one_too_many() -> None:
    document = assessment_results(report(), "ab" * 32)
    for path in (
        ("uuid",),
        ("metadata",),
        ("import-ap",),
        ("results", 0, "reviewed-controls"),
        ("results", 0, "start"),
    ):
        broken = json.loads(json.dumps(document))
        place = broken["assessment-results"]
        for step in path[:-1]:
            place = place[step]
        del place[path[-1]]
        with pytest.raises(OscalParseError):
            parse_assessment_results(json.dumps(broken))
    document["assessment-results"]["surplus"] = 1
    with pytest.raises(OscalParseError):
        parse_assessment_results(json.dumps(document))


def test_the_same_report_gives_the_same_document() -> None:
    assert assessment_results(report(), "ab" * 32) == assessment_results(report(), "ab" * 32)
    one, other = assessment_results(report(), "ab" * 32), assessment_results(report(), "cd" * 32)
    assert one["assessment-results"]["uuid"] != other["assessment-results"]["uuid"]
