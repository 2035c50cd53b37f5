"""The roster: who is in a federation and by which keys they are known.

Canonical JSON, one object: `{"coordinator": member, "federation": name, "members": [member, ...]}` with
`member = {"identity_key": "ed25519:...", "legal_name": text, "name": name}`, with `lei` and `recovery_key` where they
are given; keys sorted, no white space, UTF-8.

Guarantees: names and identity keys are distinct and well formed; one roster has one byte form, so one digest.
Does NOT guarantee: that its members agreed to it (they sign the constitution, which names the same keys).

Source: RFC 8785 (canonical JSON; here strings only).
"""

from __future__ import annotations

import hashlib
import re
from typing import Final, Self

import msgspec

from hansa.crypto.signature import parse_public
from hansa.errors import IdentityError
from hansa.identity.codes import check_lei

MAX_MEMBERS: Final = 1000
_NAME: Final = re.compile(r"[a-z0-9-]{1,40}")


def check_name(name: str, *, what: str) -> str:
    """Return `name` if it can name a node or a federation everywhere: in subjects, certificates and folders.

    Raises:
        IdentityError: It is not 1 to 40 characters of a-z, 0-9 and hyphen.
    """
    if not _NAME.fullmatch(name):
        raise IdentityError(f"{what}: expected 1 to 40 characters of a-z, 0-9 and '-', got {name[:60]!r}; rename it")
    return name


class Member(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One institution's node: its name, its public identity key and, if given, its name in law.

    Where they are given: its LEI, and the public key that may revoke or replace a lost identity key.
    """

    name: str
    identity_key: str
    legal_name: str = ""
    lei: str | msgspec.UnsetType = msgspec.UNSET
    recovery_key: str | msgspec.UnsetType = msgspec.UNSET


class Roster(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A federation's members, sorted by name, and its coordinator.

    Raises:
        IdentityError: A name or a key is malformed or repeats, or there is no member.
    """

    federation: str
    members: tuple[Member, ...]
    coordinator: Member

    def __post_init__(self) -> None:
        check_name(self.federation, what="roster: federation")
        if not 1 <= len(self.members) <= MAX_MEMBERS:
            raise IdentityError(f"roster: expected 1 to {MAX_MEMBERS} members, got {len(self.members)}")
        everyone = (*self.members, self.coordinator)
        for node in everyone:
            check_name(node.name, what="roster: node")
            parse_public(node.identity_key)
            if node.lei:
                check_lei(node.lei, what=f"roster: {node.name}")
            if node.recovery_key:
                parse_public(node.recovery_key)
        if [m.name for m in self.members] != sorted({m.name for m in self.members}):
            raise IdentityError("roster: expected members sorted by name, each name once")
        if len({n.name for n in everyone}) < len(everyone) or len({n.identity_key for n in everyone}) < len(everyone):
            raise IdentityError("roster: two nodes share a name or an identity key; each makes its own")

    def node(self, name: str) -> Member:
        """Return the member, or the coordinator, called `name`.

        Raises:
            IdentityError: Nobody is.
        """
        for node in (*self.members, self.coordinator):
            if node.name == name:
                return node
        raise IdentityError(f"roster of {self.federation}: nobody is called {name!r}")

    def to_bytes(self) -> bytes:
        """Return the canonical JSON."""
        return msgspec.json.encode(self, order="sorted")

    def digest(self) -> bytes:
        """Return SHA-256 of the canonical JSON."""
        return hashlib.sha256(self.to_bytes()).digest()

    @classmethod
    def from_bytes(cls, text: bytes) -> Self:
        """Parse JSON, canonical or indented.

        Raises:
            IdentityError: A field is unknown, missing or of another type, or a value is refused.
        """
        try:
            return msgspec.json.decode(text, type=cls)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            cause = error.__cause__
            if isinstance(cause, IdentityError):
                raise cause from None
            raise IdentityError(f"roster: {error}; ask the coordinator for roster.json again") from error
