"""What a member has drawn and said, kept before it leaves: the same bytes after every restart.

Guarantees: a value is drawn once and an envelope sealed once; both are durable before they are used for the first
time. Does NOT guarantee: anything once the facts are rolled back to an older copy.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hansa.protocol.messages import seal_envelope

if TYPE_CHECKING:
    from collections.abc import Callable

    from hansa.crypto.signature import Signer
    from hansa.protocol.epoch import Facts
    from hansa.protocol.messages import Payload


@dataclass(frozen=True, slots=True)
class OwnWords:
    """One member's facts under a prefix.

    Args:
        name: The member.
        prefix: Begins the key of every fact: the epoch, or the epoch and a list's digest.
        signer: The member's identity key.
        facts: Durable facts of the member.
        entropy: Returns so many fresh random bytes.
    """

    name: str
    prefix: str
    signer: Signer = field(repr=False)
    facts: Facts = field(repr=False)
    entropy: Callable[[int], bytes] = field(repr=False)

    def below(self, part: str) -> OwnWords:
        """Return the same member's facts under a longer prefix."""
        return OwnWords(self.name, f"{self.prefix}/{part}", self.signer, self.facts, self.entropy)

    def fact(self, what: str) -> bytes | None:
        """Return what was kept under `what`, or None."""
        return self.facts.fact(f"{self.prefix}/{what}")

    def keep(self, what: str, value: bytes) -> None:
        """Keep a value for ever.

        Raises:
            EquivocationError: Another one stands there.
        """
        self.facts.remember(f"{self.prefix}/{what}", value)

    def drawn(self, what: str) -> bytes:
        """Return 32 random bytes, drawn and kept at the first call."""
        stored = self.fact(what)
        if stored is None:
            stored = self.entropy(32)
            self.keep(what, stored)
        return stored

    def sealed(self, what: str, build: Callable[[], Payload]) -> bytes:
        """Return an envelope, built, signed and kept at the first call."""
        stored = self.fact(what)
        if stored is None:
            stored = seal_envelope(build(), sender=self.name, signer=self.signer)
            self.keep(what, stored)
        return stored
