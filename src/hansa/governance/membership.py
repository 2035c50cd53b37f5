"""Who came, who left and whose key changed between two constitutions: entries for the federation's log.

Guarantees: every difference between the two lists of parties is one entry, and there is none without the signatures of
all members of the new constitution, a quorum of the old ones among them.
Does NOT hold: why somebody left; the members know.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from hansa.crypto.canonical import canonical
from hansa.governance.amendment import require_succession

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hansa.governance.constitution import Constitution, Party
    from hansa.governance.key_statements import SignedStatement
    from hansa.governance.signed import SignedConstitution


class MembershipEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One change of who takes part, ready to be logged.

    `signed_by` are the members whose signatures on the constitution with this digest have been checked.
    """

    event: Literal["admission", "exit", "key-change"]
    federation: str
    epoch: int
    node: str
    role: Literal["member", "coordinator"]
    constitution: str
    supersedes: str | None
    signed_by: tuple[str, ...]
    identity_key: str = ""
    previous_key: str = ""
    lei: str = ""

    def to_bytes(self) -> bytes:
        """Return the canonical JSON."""
        return canonical(msgspec.to_builtins(self))


def membership_entries(
    old: SignedConstitution | None, new: SignedConstitution, rotations: Sequence[SignedStatement] = ()
) -> list[MembershipEntry]:
    """Return what changed, by name.

    Args:
        old: The constitution before; None: `new` is the first.
        new: The one that follows.
        rotations: Statements by which members' keys changed.

    Raises:
        SignatureError: A member has not signed.
        ConfigurationError: `new` does not follow `old`.
    """
    after = new.require_all_signatures()
    before = old.require_all_signatures() if old is not None else None
    if before is not None:
        require_succession(before, after, rotations)
    was, now = _parties(before), _parties(after)
    found = []
    for name in sorted(was.keys() | now.keys()):
        if was.get(name) == now.get(name):
            continue
        (past_role, past), (role, party) = was.get(name, ("", None)), now.get(name, ("", None))
        leaves = [_entry("exit", after, name, past_role, previous=past)] if past and role != past_role else []
        joins = [_entry("admission", after, name, role, party=party)] if party and role != past_role else []
        changed = past and party and role == past_role and past.identity_key != party.identity_key
        keys = [_entry("key-change", after, name, role, party=party, previous=past)] if changed else []
        found += [*leaves, *joins, *keys]
    return found


def _parties(constitution: Constitution | None) -> dict[str, tuple[str, Party]]:
    if constitution is None:
        return {}
    members = {party.name: ("member", party) for party in constitution.members}
    return {**members, constitution.coordinator.name: ("coordinator", constitution.coordinator)}


def _entry(
    event: Literal["admission", "exit", "key-change"],
    constitution: Constitution,
    name: str,
    role: str,
    *,
    party: Party | None = None,
    previous: Party | None = None,
) -> MembershipEntry:
    known = party or previous
    return MembershipEntry(
        event=event,
        federation=constitution.federation,
        epoch=constitution.epoch,
        node=name,
        role="member" if role == "member" else "coordinator",
        constitution=constitution.digest(),
        supersedes=constitution.supersedes,
        signed_by=tuple(one.name for one in constitution.members),
        identity_key=party.identity_key if party else "",
        previous_key=previous.identity_key if previous else "",
        lei=known.lei if known else "",
    )
