"""Claims about node audits: who checks whom, and where a member stands by the clause."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from constitutions import constitution
from hansa.errors import ConfigurationError
from hansa.governance.amendment import changes
from hansa.governance.constitution import check, parse
from hansa.governance.node_audit import (
    PROBES,
    Checked,
    NodeAuditClause,
    Reported,
    auditor_of,
    quarter_end,
    quarter_of,
    standing,
)
from hansa.governance.sentences import rules_in_words

ROSTER = ("m00", "m01", "m02", "m03", "m04")
CLAUSE = NodeAuditClause(must_pass=("kit", "tls", "constitution"), grace_days=30)
WITHIN = datetime(2026, 11, 25, tzinfo=UTC)
AFTER = datetime(2027, 2, 1, tzinfo=UTC)


def report(*failed: str, at: datetime = WITHIN, digest: str = "aa", member: str = "m00") -> Reported:
    return Reported(member, "2026Q4", digest, at, failed)


def stands(*reports: Reported, checks: tuple[Checked, ...] = (), at: datetime = AFTER, clause: object = CLAUSE) -> str:
    found = standing(clause, member="m00", quarter="2026Q4", auditor="m03", reports=reports, checks=checks, at=at)
    return f"{found.state}: {found.reason}"


@given(st.binary(min_size=32, max_size=32), st.lists(st.sampled_from("abcdefgh"), min_size=2, unique=True))
def test_nobody_audits_itself_and_everybody_computes_the_same(head: bytes, names: list[str]) -> None:
    for member in names:
        drawn = auditor_of(member, head, names)
        assert drawn in names
        assert drawn != member
        assert drawn == auditor_of(member, head, list(reversed(names)))


def test_the_head_draws_the_auditor_and_all_others_are_drawn() -> None:
    heads = [number.to_bytes(32, "big") for number in range(1000)]
    drawn = Counter(auditor_of("m00", head, ROSTER) for head in heads)
    assert set(drawn) == set(ROSTER) - {"m00"}
    assert all(200 <= count <= 300 for count in drawn.values())  # 1000 draws of 4: 250 and 5 deviations


def test_the_auditor_of_a_known_head_is_pinned() -> None:
    assert [auditor_of(name, bytes(32), ROSTER) for name in ROSTER] == PINNED


PINNED = ["m04", "m02", "m04", "m01", "m03"]


@pytest.mark.parametrize(("member", "roster"), [("x", ROSTER), ("m00", ("m00",))])
def test_a_stranger_and_somebody_alone_have_no_auditor(member: str, roster: tuple[str, ...]) -> None:
    with pytest.raises(ConfigurationError, match="node audit"):
        auditor_of(member, bytes(32), roster)


@pytest.mark.parametrize(
    ("at", "quarter", "end"),
    [
        (datetime(2026, 1, 1, tzinfo=UTC), "2026Q1", datetime(2026, 4, 1, tzinfo=UTC)),
        (datetime(2026, 6, 30, 23, 59, tzinfo=UTC), "2026Q2", datetime(2026, 7, 1, tzinfo=UTC)),
        (datetime(2026, 9, 30, tzinfo=UTC), "2026Q3", datetime(2026, 10, 1, tzinfo=UTC)),
        (datetime(2026, 12, 31, tzinfo=UTC), "2026Q4", datetime(2027, 1, 1, tzinfo=UTC)),
    ],
)
def test_quarters_are_the_calendars(at: datetime, quarter: str, end: datetime) -> None:
    assert quarter_of(at) == quarter
    assert quarter_end(quarter) == end


@pytest.mark.parametrize("text", ["2026Q5", "2026", "Q1", "26Q1", "2026Q", "2026Q11"])
def test_another_form_of_quarter_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="2026Q4"):
        quarter_end(text)


def test_who_has_passed_and_was_checked_complies() -> None:
    assert stands(report(), checks=(Checked("aa", "m03", ()),)) == "compliant: checked by m03"


def test_a_failure_that_the_clause_does_not_name_is_no_fault() -> None:
    assert stands(report("disk"), checks=(Checked("aa", "m03", ()),)).startswith("compliant")


def test_without_a_report_there_is_time_until_the_grace_is_over() -> None:
    deadline = quarter_end("2026Q4") + timedelta(CLAUSE.grace_days)
    assert stands(at=deadline) == "due: no report for 2026Q4 yet"
    assert stands(at=deadline + timedelta(seconds=1)) == "suspended: no report for 2026Q4"


def test_a_failed_probe_suspends_once_the_time_is_over() -> None:
    assert stands(report("tls", "disk"), at=WITHIN) == "failing: failed: tls"
    assert stands(report("tls", "disk")) == "suspended: failed: tls"


def test_a_later_report_of_the_quarter_repairs_an_earlier_one() -> None:
    repaired = report(at=WITHIN + timedelta(days=1), digest="bb")
    assert stands(report("tls"), repaired, checks=(Checked("bb", "m03", ()),)).startswith("compliant")
    assert stands(repaired, report("tls", at=WITHIN + timedelta(days=2), digest="cc")).startswith("suspended")


def test_what_the_auditor_found_suspends() -> None:
    found = stands(report(), checks=(Checked("aa", "m03", ("code differs",)),))
    assert found == "suspended: m03 found: code differs"


@pytest.mark.parametrize("check_", [Checked("aa", "m01", ("a lie",)), Checked("bb", "m03", ("of another report",))])
def test_a_check_by_another_or_of_another_report_counts_for_nothing(check_: Checked) -> None:
    assert stands(report(), checks=(check_,)) == "unaudited: waits for the check of m03"


def test_a_missing_check_does_not_cost_the_member_its_place() -> None:
    assert stands(report(), at=AFTER + timedelta(days=300)).startswith("unaudited")


def test_reports_of_others_and_of_other_quarters_do_not_count() -> None:
    other = Reported("m00", "2026Q3", "dd", WITHIN, ())
    assert stands(report(member="m01"), other).startswith("suspended: no report")


def test_where_the_clause_does_not_suspend_a_member_is_only_named() -> None:
    mild = NodeAuditClause(must_pass=("tls",), suspend=False)
    assert stands(report("tls"), clause=mild) == "failing: failed: tls"
    assert stands(clause=mild) == "failing: no report for 2026Q4"


@pytest.mark.parametrize(
    ("clause", "reason"),
    [
        (NodeAuditClause(()), "must_pass"),
        (NodeAuditClause(("magic",)), "got magic"),
        (NodeAuditClause(("kit",), grace_days=0), "grace_days"),
        (NodeAuditClause(("kit",), grace_days=81), "grace_days"),
        (NodeAuditClause(("kit",), code=("xy",)), "code"),
    ],
)
def test_a_clause_that_nobody_can_follow_is_refused(clause: NodeAuditClause, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        check(constitution(node_audit=clause))


def test_the_clause_is_part_of_the_constitution_and_of_its_words() -> None:
    plain, audited = constitution(), constitution(node_audit=CLAUSE)
    assert parse(audited.bytes()) == audited
    assert audited.digest() != plain.digest()
    assert "30 days after the quarter is suspended" in " ".join(rules_in_words(audited))
    mild = constitution(node_audit=replace(CLAUSE, suspend=False))
    assert "is named" in " ".join(rules_in_words(mild))
    assert {change.clause for change in changes(plain, audited)} >= {"node_audit.grace_days", "node_audit.must_pass.0"}
    assert [change.effect for change in changes(audited, mild)] == ["a node that fails is only named"]


def test_probes_have_distinct_names() -> None:
    assert len(set(PROBES)) == len(PROBES)
