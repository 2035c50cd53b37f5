"""The folders of a federation that is in force: kits, a constitution that all members have signed, no server."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from msgspec.structs import replace

from hansa.federation.draft_file import EXAMPLE, Training
from hansa.federation.drafting import constitution_of
from hansa.governance.constitution import Party
from hansa.governance.signed import SignedConstitution, write
from hansa.identity.kit import Kit, make_federation

if TYPE_CHECKING:
    from pathlib import Path

MEMBERS = ("east", "north", "south")
NOW = datetime.now(tz=UTC)  # noqa: TID251 - commands compare with the true time


def found(directory: Path, **clauses: object) -> Path:
    """Make the folders; `clauses` are changes of the draft."""
    roster = make_federation(directory, "baltic", MEMBERS, at=NOW)
    draft = replace(EXAMPLE, training=Training(steps=0), **clauses)
    made = constitution_of(
        draft,
        federation="baltic",
        members=[Party(member.name, member.identity_key) for member in roster.members],
        coordinator=Party("coordinator", roster.coordinator.identity_key),
    )
    signed = SignedConstitution(made, {})
    for name in MEMBERS:
        signed = signed.signed_by(name, Kit.load(directory / name, at=NOW).signing_key)
    for name in (*MEMBERS, "coordinator"):
        write(directory / name / "constitution.json", signed)
    return directory
