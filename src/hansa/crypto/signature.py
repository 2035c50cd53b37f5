"""Signatures over typed payloads: Ed25519 over the DSSE pre-authentication encoding.

`pae(type, body) = "DSSEv1" SP LEN(type) SP type SP LEN(body) SP body`, LEN in ASCII decimal bytes, SP = 0x20.
A public key in text is `ed25519:` and 43 characters of unpadded base64url.

Guarantees: nobody without the private key makes a signature that `verify` takes, and a signature over one payload
type is none over another.
Does NOT guarantee: freshness (put epoch and session into the payload), or safety against a quantum forger.

Source: DSSE protocol v1.0.2 (secure-systems-lab), RFC 8032 (Ed25519), RFC 4648 section 5 (base64url).
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from hansa.errors import IdentityError, SignatureError

PRIVATE_BYTES: Final = 32
PUBLIC_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
_PREFIX: Final = "ed25519:"


class Signer(Protocol):
    """Whoever signs for a node: a key in memory, or later a key in hardware."""

    @property
    def public(self) -> str:
        """Public key in text form, `ed25519:<base64url>`."""
        ...

    def sign(self, payload_type: str, payload: bytes) -> bytes:
        """Return a signature over `pae(payload_type, payload)`."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class SigningKey:
    """A private Ed25519 key in memory; its `repr` shows nothing of it.

    Args:
        seed: 32 secret bytes.

    Raises:
        IdentityError: `seed` is not 32 bytes long.
    """

    seed: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.seed) != PRIVATE_BYTES:
            raise IdentityError(f"expected a signing key of {PRIVATE_BYTES} bytes, got {len(self.seed)}")

    @classmethod
    def generate(cls) -> SigningKey:
        """Draw a new key from the generator of OpenSSL."""
        return cls(Ed25519PrivateKey.generate().private_bytes_raw())

    @classmethod
    def from_bytes(cls, seed: bytes) -> SigningKey:
        """Restore a key from its 32 private bytes.

        Raises:
            IdentityError: `seed` is not 32 bytes long.
        """
        return cls(bytes(seed))

    def to_bytes(self) -> bytes:
        """Return the 32 private bytes: whoever holds them signs in this node's name."""
        return self.seed

    def public_bytes(self) -> bytes:
        """Return the 32 raw public bytes."""
        return self._private().public_key().public_bytes_raw()

    @property
    def public(self) -> str:
        """Public key in text form, `ed25519:<base64url>`."""
        return format_public(self.public_bytes())

    def sign(self, payload_type: str, payload: bytes) -> bytes:
        """Sign `payload` as a `payload_type`.

        Args:
            payload_type: Name of the message type; it is part of what is signed.
            payload: The exact bytes that will be sent.

        Returns:
            64 bytes; signing again gives the same bytes.
        """
        return self._private().sign(pae(payload_type, payload))

    def _private(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(self.seed)


def verify(public: bytes, payload_type: str, payload: bytes, signature: bytes) -> None:
    """Return if `signature` is by the key `public` over this payload as this type.

    Args:
        public: 32 raw public bytes (`parse_public` for the text form).
        payload_type: Type under which the payload is about to be used.
        payload: The exact bytes received.
        signature: 64 bytes.

    Raises:
        SignatureError: The signature is not one by this key over this type and payload.
        IdentityError: `public` is not an Ed25519 public key.
    """
    try:
        _verifier(public).verify(signature, pae(payload_type, payload))
    except InvalidSignature as error:
        raise SignatureError(
            f"expected a signature by {format_public(public)} over a payload of type {payload_type!r}; "
            "the one that came does not verify: refuse the message"
        ) from error


@lru_cache(maxsize=512)
def _verifier(public: bytes) -> Ed25519PublicKey:
    if len(public) != PUBLIC_BYTES:
        raise IdentityError(f"expected a public key of {PUBLIC_BYTES} bytes, got {len(public)}")
    return Ed25519PublicKey.from_public_bytes(public)


def pae(payload_type: str, payload: bytes) -> bytes:
    """Return the pre-authentication encoding: the bytes that are signed.

    >>> pae("t", b"xy")
    b'DSSEv1 1 t 2 xy'
    """
    name = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(name), name, len(payload), payload)


def format_public(public: bytes) -> str:
    """Return raw public bytes as `ed25519:<base64url>`.

    Raises:
        IdentityError: `public` is not 32 bytes long.
    """
    if len(public) != PUBLIC_BYTES:
        raise IdentityError(f"expected a public key of {PUBLIC_BYTES} bytes, got {len(public)}")
    return _PREFIX + base64.urlsafe_b64encode(public).rstrip(b"=").decode()


@lru_cache(maxsize=512)
def parse_public(text: str) -> bytes:
    """Return the raw bytes of a public key in text form.

    Args:
        text: `ed25519:` and 43 characters of unpadded base64url.

    Returns:
        32 bytes.

    Raises:
        IdentityError: The prefix, the alphabet or the length is another; one key has one text form only.
    """
    try:
        public = base64.b64decode(text.removeprefix(_PREFIX) + "=", altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        public = b""
    if len(public) != PUBLIC_BYTES or format_public(public) != text:
        raise IdentityError(f"expected a public key like {_PREFIX}<43 characters of base64url>, got {text[:60]!r}")
    return public
