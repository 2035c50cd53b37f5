"""The constitution's clause on node audits: every quarter each member reports on its own node, another one checks it.

```
auditor(member, head) = others[SHA-256("hansa/auditor/1" || head || member) mod (n - 1)]
```

with `others` the roster's names without the member's, sorted, and `head` the root hash of the log's last checkpoint
before the quarter began: nobody could choose it, everybody can compute it.

Guarantees: everybody who reads the same log comes to the same standing of every member; nobody audits itself; a check
by anybody else than the member that was drawn counts for nothing.
Does NOT guarantee: that a report is true. A node that lies about itself can pass; what a peer can see for itself
(digest, code, keys, dates, completeness) is checked, the rest is a statement under the member's signature.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from hansa.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

PROBES: Final = (
    "kit", "keys", "tls", "clock", "disk", "facts", "constitution", "acknowledged", "budget", "data", "log",
    "attestation", "code",
)  # fmt: skip
"""What `hansa doctor` looks at, in its order."""
State = Literal["compliant", "due", "unaudited", "failing", "suspended"]
_CONTEXT: Final = b"hansa/auditor/1"


class NodeAuditClause(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which probes must pass, how long after a quarter's end there is time, and whether failing suspends.

    `code` are the measurements of the package that members may run; empty: any.
    """

    must_pass: tuple[str, ...]
    grace_days: int = 30
    suspend: bool = True
    code: tuple[str, ...] = ()

    def check(self) -> None:
        """Refuse a clause that nobody can follow.

        Raises:
            ConfigurationError: Names the field.
        """
        strangers = sorted(set(self.must_pass) - set(PROBES))
        if strangers or not self.must_pass:
            raise ConfigurationError(
                f"constitution: node_audit.must_pass: some of {', '.join(PROBES)}; got {', '.join(strangers) or 'none'}"
            )
        if not 1 <= self.grace_days <= 80:
            raise ConfigurationError(f"constitution: node_audit.grace_days: 1 to 80, got {self.grace_days}")
        if not all(len(one) == 64 and set(one) <= set("0123456789abcdef") for one in self.code):
            raise ConfigurationError("constitution: node_audit.code: digests of 64 of 0-9, a-f")


@dataclass(frozen=True, slots=True)
class Reported:
    """A member's report in the log: its digest, when it was made, which probes failed."""

    member: str
    quarter: str
    digest: str
    at: datetime
    failed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Checked:
    """Another member's check in the log: of which report, by whom, and what it found wrong."""

    digest: str
    auditor: str
    faults: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a member stands for a quarter, and why."""

    state: State
    reason: str


def quarter_of(at: datetime) -> str:
    """Return the calendar quarter of a time, UTC.

    >>> quarter_of(datetime(2026, 11, 25, tzinfo=UTC))
    '2026Q4'
    """
    moment = at.astimezone(UTC)
    return f"{moment.year}Q{(moment.month - 1) // 3 + 1}"


def quarter_end(quarter: str) -> datetime:
    """Return the first instant after a quarter.

    Raises:
        ConfigurationError: It is not of the form 2026Q4.

    >>> quarter_end("2026Q4")
    datetime.datetime(2027, 1, 1, 0, 0, tzinfo=datetime.timezone.utc)
    """
    year, _, number = quarter.partition("Q")
    if not (year.isdecimal() and len(year) == 4 and number in {"1", "2", "3", "4"}):
        raise ConfigurationError(f"quarter: expected a form such as 2026Q4, got {quarter[:20]!r}")
    month = 3 * int(number) + 1
    return datetime(int(year) + month // 13, month % 12 if month == 13 else month, 1, tzinfo=UTC)


def auditor_of(member: str, head: bytes, roster: Sequence[str]) -> str:
    """Return who checks a member's report.

    Args:
        member: Whose report.
        head: Root hash of the log's last checkpoint before the quarter.
        roster: Names of all members.

    Raises:
        ConfigurationError: The member is not in the roster, or is alone in it.
    """
    others = sorted(set(roster) - {member})
    if member not in roster or not others:
        raise ConfigurationError(f"node audit: expected {member!r} and another one in the roster, got {len(others)}")
    drawn = int.from_bytes(hashlib.sha256(_CONTEXT + head + member.encode()).digest(), "big")
    return others[drawn % len(others)]


def standing(
    clause: NodeAuditClause,
    *,
    member: str,
    quarter: str,
    auditor: str,
    reports: Sequence[Reported],
    checks: Sequence[Checked],
    at: datetime,
) -> Standing:
    """Decide by the clause where a member stands.

    The newest report of the quarter counts, so that a node that failed can be repaired and report again. A missing
    check is the auditor's fault and costs the member nothing.

    Args:
        clause: The constitution's.
        member: Whose standing.
        quarter: Of which quarter.
        auditor: Who was drawn (`auditor_of`).
        reports: What the log holds, of any member and quarter.
        checks: What the log holds.
        at: The time to decide for.
    """
    is_over = at > quarter_end(quarter) + timedelta(clause.grace_days)
    bad: State = "suspended" if clause.suspend and is_over else "failing"
    own = [one for one in reports if one.member == member and one.quarter == quarter]
    if not own:
        return Standing(bad, f"no report for {quarter}") if is_over else Standing("due", f"no report for {quarter} yet")
    newest = max(own, key=lambda one: (one.at, one.digest))
    failed = sorted(set(newest.failed) & set(clause.must_pass))
    if failed:
        return Standing(bad, f"failed: {', '.join(failed)}")
    drawn = [one for one in checks if one.digest == newest.digest and one.auditor == auditor]
    if not drawn:
        return Standing("unaudited", f"waits for the check of {auditor}")
    faults = sorted({fault for one in drawn for fault in one.faults})
    if faults:
        return Standing(bad, f"{auditor} found: {'; '.join(faults)}")
    return Standing("compliant", f"checked by {auditor}")
