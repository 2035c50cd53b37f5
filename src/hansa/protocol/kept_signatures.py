"""One signature a message, for ever: what a member with an ECDSA key needs to say the same bytes after every restart.

ECDSA draws a number for each signature, so a message that is built again would leave with other bytes, and the egress
record of a member withholds other bytes than those that it noted. So the signature is kept before it is used.

Guarantees: a message is signed once; its signature is durable before `sign` returns.
Does NOT guarantee: anything once the facts are rolled back to an older copy.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hansa.crypto.signature import pae

if TYPE_CHECKING:
    from hansa.crypto.signature import Algorithm, Signer
    from hansa.protocol.epoch import Facts


@dataclass(frozen=True, slots=True)
class KeptSignatures:
    """A `Signer` that remembers what another has signed.

    Args:
        signer: The key.
        facts: Durable facts of the same node.
    """

    signer: Signer
    facts: Facts = field(repr=False)

    @property
    def public(self) -> str:
        """Public key in text form."""
        return self.signer.public

    @property
    def algorithm(self) -> Algorithm:
        """What the signatures are."""
        return self.signer.algorithm

    @property
    def key_id(self) -> str:
        """SHA-256 of the public key's SubjectPublicKeyInfo, in hexadecimal."""
        return self.signer.key_id

    @property
    def is_deterministic(self) -> bool:
        """Always."""
        return True

    def sign(self, payload_type: str, payload: bytes) -> bytes:
        """Return the signature over `pae(payload_type, payload)`."""
        return self.sign_bytes(pae(payload_type, payload))

    def sign_bytes(self, message: bytes) -> bytes:
        """Return the signature over `message`, made and kept at the first call."""
        key = f"signature/{self.signer.key_id}/{hashlib.sha256(message).hexdigest()}"
        kept = self.facts.fact(key)
        if kept is None:
            kept = self.signer.sign_bytes(message)
            self.facts.remember(key, kept)
        return kept


def with_kept_signatures(signer: Signer, facts: Facts) -> Signer:
    """Return a signer that gives equal messages equal signatures: itself where it does so anyway."""
    return signer if signer.is_deterministic else KeptSignatures(signer, facts)
