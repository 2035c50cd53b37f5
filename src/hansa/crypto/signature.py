"""Signatures over typed payloads: Ed25519 or ECDSA over P-256, over the DSSE pre-authentication encoding.

`pae(type, body) = "DSSEv1" SP LEN(type) SP type SP LEN(body) SP body`, LEN in ASCII decimal bytes, SP = 0x20.

| algorithm | raw public key | in text | signature |
|---|---|---|---|
| Ed25519 | 32 bytes | `ed25519:` and 43 characters | 64 bytes |
| ECDSA, P-256, SHA-256 | 33 bytes, compressed | `p256:` and 44 characters | `r || s`, 32 bytes each, `s <= n / 2` |

Characters are unpadded base64url. The key alone says which algorithm verifies: no message chooses one. ECDSA signatures
have the fixed form of IEEE P1363, as PKCS#11 makes them, not DER; of the two signatures `(r, s)` and `(r, n - s)` that
any signature gives, only the one with the small `s` is taken, so that nobody can make a second one of it.

Guarantees: nobody without the private key makes a signature that `verify` takes, and a signature over one payload
type is none over another.
Does NOT guarantee: freshness (put epoch and session into the payload), or safety against a quantum forger; nor that a
P-256 key signs the same payload with the same bytes twice (`Signer.is_deterministic`).

Source: DSSE protocol v1.0.2 (secure-systems-lab), RFC 8032 (Ed25519), FIPS 186-5 (ECDSA), IEEE 1363-2000 (`r || s`),
SEC 1 2.3.3 (compressed point), RFC 4648 section 5 (base64url).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, Literal, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from hansa.errors import IdentityError, SignatureError

Algorithm = Literal["ed25519", "p256"]
PRIVATE_BYTES: Final = 32
PUBLIC_BYTES: Final = 32  # of Ed25519
POINT_BYTES: Final = 33  # of P-256
SIGNATURE_BYTES: Final = 64  # of both
P256_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_PREFIX: Final = "ed25519:"
_PREFIX_P256: Final = "p256:"
_ECDSA: Final = ec.ECDSA(hashes.SHA256())


class Signer(Protocol):
    """Whoever signs for a node: a key in memory, or a key in hardware."""

    @property
    def public(self) -> str:
        """Public key in text form, `ed25519:<base64url>` or `p256:<base64url>`."""
        ...

    @property
    def algorithm(self) -> Algorithm:
        """What its signatures are."""
        ...

    @property
    def key_id(self) -> str:
        """SHA-256 of the public key's SubjectPublicKeyInfo, in hexadecimal."""
        ...

    @property
    def is_deterministic(self) -> bool:
        """Whether the same payload always gets the same signature."""
        ...

    def sign(self, payload_type: str, payload: bytes) -> bytes:
        """Return a signature over `pae(payload_type, payload)`, 64 bytes."""
        ...

    def sign_bytes(self, message: bytes) -> bytes:
        """Return a signature over the bare bytes of `message`, 64 bytes, where a format from outside asks for it."""
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

    @property
    def algorithm(self) -> Algorithm:
        """Always `ed25519`."""
        return "ed25519"

    @property
    def key_id(self) -> str:
        """SHA-256 of the public key's SubjectPublicKeyInfo, in hexadecimal."""
        return key_id(self.public)

    @property
    def is_deterministic(self) -> bool:
        """Always: RFC 8032 draws nothing."""
        return True

    def sign(self, payload_type: str, payload: bytes) -> bytes:
        """Sign `payload` as a `payload_type`.

        Args:
            payload_type: Name of the message type; it is part of what is signed.
            payload: The exact bytes that will be sent.

        Returns:
            64 bytes; signing again gives the same bytes.
        """
        return self._private().sign(pae(payload_type, payload))

    def sign_bytes(self, message: bytes) -> bytes:
        """Return a signature over the bare bytes of `message`, 64 bytes."""
        return self._private().sign(message)

    def _private(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(self.seed)


def verify(public: bytes, payload_type: str, payload: bytes, signature: bytes) -> None:
    """Return if `signature` is by the key `public` over this payload as this type.

    Args:
        public: Raw public bytes (`parse_public` for the text form); their length says which algorithm.
        payload_type: Type under which the payload is about to be used.
        payload: The exact bytes received.
        signature: 64 bytes.

    Raises:
        SignatureError: The signature is not one by this key over this type and payload.
        IdentityError: `public` is not a public key.
    """
    try:
        _check(public, pae(payload_type, payload), signature)
    except InvalidSignature as error:
        raise SignatureError(
            f"expected a signature by {format_public(public)} over a payload of type {payload_type!r}; "
            "the one that came does not verify: refuse the message"
        ) from error


def verify_bytes(public: bytes, message: bytes, signature: bytes) -> None:
    """Return if `signature` is by the key `public` over the bare bytes of `message` (`Signer.sign_bytes`).

    Raises:
        SignatureError: It is not.
        IdentityError: `public` is not a public key.
    """
    try:
        _check(public, message, signature)
    except InvalidSignature as error:
        raise SignatureError(
            f"expected a signature by {format_public(public)} over {len(message)} bytes; "
            "the one that came does not verify"
        ) from error


def _check(public: bytes, message: bytes, signature: bytes) -> None:
    verifier = _verifier(public)
    if isinstance(verifier, Ed25519PublicKey):
        verifier.verify(signature, message)
        return
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    if len(signature) != SIGNATURE_BYTES or s > P256_ORDER // 2:
        raise InvalidSignature
    verifier.verify(encode_dss_signature(r, s), message, _ECDSA)


def with_small_s(signature: bytes) -> bytes:
    """Return the one of the two equal ECDSA signatures over P-256 that `verify` takes.

    Args:
        signature: `r || s`, 64 bytes.

    Raises:
        SignatureError: It is not 64 bytes long, or `s` is not below the order of the curve.
    """
    s = int.from_bytes(signature[32:], "big")
    if len(signature) != SIGNATURE_BYTES or not 0 < s < P256_ORDER:
        raise SignatureError(f"expected r || s of {SIGNATURE_BYTES} bytes on P-256, got {len(signature)} bytes")
    return signature[:32] + min(s, P256_ORDER - s).to_bytes(32, "big")


@lru_cache(maxsize=512)
def _verifier(public: bytes) -> Ed25519PublicKey | ec.EllipticCurvePublicKey:
    if len(public) == PUBLIC_BYTES:
        return Ed25519PublicKey.from_public_bytes(public)
    if len(public) == POINT_BYTES:
        try:
            return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), public)
        except ValueError as error:
            raise IdentityError("expected a compressed point of P-256; these 33 bytes are none") from error
    raise IdentityError(
        f"expected a public key of {PUBLIC_BYTES} bytes (Ed25519) or {POINT_BYTES} (P-256), got {len(public)}"
    )


def public_key(text: str) -> Ed25519PublicKey | ec.EllipticCurvePublicKey:
    """Return a public key in text form as `cryptography` has it.

    Raises:
        IdentityError: As `parse_public`.
    """
    return _verifier(parse_public(text))


def raw_public(key: Ed25519PublicKey | ec.EllipticCurvePublicKey) -> bytes:
    """Return the raw bytes of a public key: 32 of Ed25519, 33 of P-256.

    Raises:
        IdentityError: It is on another curve.
    """
    if isinstance(key, Ed25519PublicKey):
        return key.public_bytes_raw()
    if not isinstance(key.curve, ec.SECP256R1):
        raise IdentityError(f"expected a key on P-256, got one on {key.curve.name}")
    return key.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.CompressedPoint)


@lru_cache(maxsize=512)
def key_id(text: str) -> str:
    """Return SHA-256 of the SubjectPublicKeyInfo of a public key in text form, in hexadecimal.

    Raises:
        IdentityError: As `parse_public`.
    """
    encoded = public_key(text).public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(encoded).hexdigest()


def pae(payload_type: str, payload: bytes) -> bytes:
    """Return the pre-authentication encoding: the bytes that are signed.

    >>> pae("t", b"xy")
    b'DSSEv1 1 t 2 xy'
    """
    name = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(name), name, len(payload), payload)


def format_public(public: bytes) -> str:
    """Return raw public bytes as `ed25519:<base64url>` or `p256:<base64url>`.

    Raises:
        IdentityError: `public` is neither 32 bytes long nor 33.
    """
    prefix = {PUBLIC_BYTES: _PREFIX, POINT_BYTES: _PREFIX_P256}.get(len(public))
    if prefix is None:
        raise IdentityError(
            f"expected a public key of {PUBLIC_BYTES} bytes (Ed25519) or {POINT_BYTES} (P-256), got {len(public)}"
        )
    return prefix + base64.urlsafe_b64encode(public).rstrip(b"=").decode()


@lru_cache(maxsize=512)
def parse_public(text: str) -> bytes:
    """Return the raw bytes of a public key in text form.

    Args:
        text: `ed25519:` and 43 characters of unpadded base64url, or `p256:` and 44.

    Returns:
        32 bytes, or 33.

    Raises:
        IdentityError: The prefix, the alphabet or the length is another, or it is no point of the curve; one key has
            one text form only.
    """
    prefix = _PREFIX_P256 if text.startswith(_PREFIX_P256) else _PREFIX
    length = POINT_BYTES if prefix == _PREFIX_P256 else PUBLIC_BYTES
    body = text.removeprefix(prefix)
    try:
        public = base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        public = b""
    if len(public) != length or format_public(public) != text:
        raise IdentityError(
            f"expected a public key like {_PREFIX}<43 characters of base64url> or {_PREFIX_P256}<44 characters>, "
            f"got {text[:60]!r}"
        )
    _verifier(public)  # a point that is none is refused where the key is read
    return public
