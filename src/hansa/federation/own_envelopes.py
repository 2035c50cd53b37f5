"""What a coordinator says, sealed, and read back from the board without verifying its own signatures again."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from hansa.protocol.messages import SMALL_BYTES, Payload, PayloadT, open_envelope, seal_envelope

if TYPE_CHECKING:
    from hansa.crypto.signature import Signer
    from hansa.federation.transport import Message

Outgoing = tuple[str, str, bytes]


class OwnEnvelopes:
    """Envelopes of one node.

    Args:
        name: The node.
        key: Its identity key in text form.
        signer: The same key.
    """

    def __init__(self, name: str, *, key: str, signer: Signer) -> None:
        self._name = name
        self._key = key
        self._signer = signer
        self._sealed: dict[bytes, Payload] = {}  # not yet read back

    def say(self, session: str, step: str, payload: Payload) -> Outgoing:
        """Seal a payload; return what is to be published."""
        body = seal_envelope(payload, sender=self._name, signer=self._signer)
        self._sealed[hashlib.sha256(body).digest()] = payload
        return session, step, body

    def read(self, message: Message, expected: type[PayloadT], *, limit: int = SMALL_BYTES) -> PayloadT:
        """Return what a message of this node says.

        Raises:
            MessageError: It is malformed, larger than `limit` or of another type.
            SignatureError: This node has not signed it.
        """
        sealed = self._sealed.pop(hashlib.sha256(message.body).digest(), None)
        if isinstance(sealed, expected):
            return sealed  # the very bytes that were sealed here: nothing left to verify
        return open_envelope(message.body, expected, sender=self._name, key=self._key, limit=limit)
