"""Post-quantum key agreement: sealed halves, pair secrets, and small messages under a pair secret.

Sealing is HPKE in base mode with one suite: KEM ML-KEM-768 + X25519 (X-Wing), KDF HKDF-SHA256, AEAD AES-256-GCM.
A pair secret is made of two halves, each drawn by one member and sealed to the other:
`HKDF(half_from_low || half_from_high, info = label, low, high, context)`, every part of info preceded by its
length in 4 bytes, so bad randomness on one side alone does not open it.

| bytes | layout |
|---|---|
| private key, 96 | ML-KEM-768 seed (64), X25519 scalar (32) |
| public key, 1216 | ML-KEM-768 key (1184), X25519 key (32) |
| sealed | encapsulation (1120), ciphertext, tag (16) |
| encrypted | AES-256-GCM-SIV ciphertext with its tag, zero nonce |

Guarantees: confidentiality of sealed bytes while X25519 or ML-KEM-768 stands, recorded traffic included; a sealed
or encrypted message that was altered, or that is opened with another info, is refused.
Does NOT guarantee: who sealed it (sign it), forward secrecy within an epoch, or that a sealed message opens under
one key only (neither AEAD commits to its key). Key generation and sealing draw from the generator of OpenSSL;
`EncryptionKey.from_bytes` takes all entropy as an argument.

Source: RFC 9180 (HPKE), draft-connolly-cfrg-xwing-kem, FIPS 203 (ML-KEM), RFC 8452 (AES-GCM-SIV).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV
from cryptography.hazmat.primitives.hpke import (
    AEAD,
    KDF,
    KEM,
    MLKEM768X25519PrivateKey,
    MLKEM768X25519PublicKey,
    Suite,
)

from hansa.crypto.prg import derive
from hansa.errors import IdentityError

PRIVATE_BYTES: Final = 96
PUBLIC_BYTES: Final = 1216
HALF_BYTES: Final = 32
MESSAGE_KEY_BYTES: Final = 32
_MLKEM_SEED_BYTES: Final = 64
_MLKEM_PUBLIC_BYTES: Final = 1184
_PAIR_LABEL: Final = b"hansa/pair-secret/v1"
_NONCE: Final = bytes(12)
_SUITE: Final = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


@dataclass(frozen=True, slots=True, eq=False)
class EncryptionKey:
    """A member's private HPKE key for one epoch; its `repr` shows nothing of it.

    Args:
        seeds: 96 secret bytes, ML-KEM-768 seed then X25519 scalar.

    Raises:
        IdentityError: `seeds` is not 96 bytes long.
    """

    seeds: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.seeds) != PRIVATE_BYTES:
            raise IdentityError(f"expected an encryption key of {PRIVATE_BYTES} bytes, got {len(self.seeds)}")

    @classmethod
    def generate(cls) -> EncryptionKey:
        """Draw a new key from the generator of OpenSSL."""
        lattice = MLKEM768PrivateKey.generate().private_bytes_raw()
        return cls(lattice + X25519PrivateKey.generate().private_bytes_raw())

    @classmethod
    def from_bytes(cls, seeds: bytes) -> EncryptionKey:
        """Restore a key from its 96 private bytes (or make one from 96 uniform bytes).

        Raises:
            IdentityError: `seeds` is not 96 bytes long.
        """
        return cls(bytes(seeds))

    def to_bytes(self) -> bytes:
        """Return the 96 private bytes: whoever holds them opens everything sealed to this key."""
        return self.seeds

    def public_bytes(self) -> bytes:
        """Return the 1216 public bytes that others seal to."""
        lattice, curve = self._pair()
        return lattice.public_key().public_bytes_raw() + curve.public_key().public_bytes_raw()

    def _pair(self) -> tuple[MLKEM768PrivateKey, X25519PrivateKey]:
        lattice = MLKEM768PrivateKey.from_seed_bytes(self.seeds[:_MLKEM_SEED_BYTES])
        return lattice, X25519PrivateKey.from_private_bytes(self.seeds[_MLKEM_SEED_BYTES:])


def seal(public: bytes, plaintext: bytes, info: bytes) -> bytes:
    """Encrypt `plaintext` to the holder of the key behind `public`.

    Args:
        public: 1216 bytes from `EncryptionKey.public_bytes`.
        plaintext: Bytes to hide; their length shows.
        info: Public context (epoch, from, to, purpose) that the opener must repeat exactly.

    Returns:
        1136 bytes more than `plaintext`; two calls never give the same bytes.

    Raises:
        IdentityError: `public` is not a valid public key.
    """
    if len(public) != PUBLIC_BYTES:
        raise IdentityError(f"expected a public encryption key of {PUBLIC_BYTES} bytes, got {len(public)}")
    try:
        lattice = MLKEM768PublicKey.from_public_bytes(public[:_MLKEM_PUBLIC_BYTES])
        curve = X25519PublicKey.from_public_bytes(public[_MLKEM_PUBLIC_BYTES:])
        return _SUITE.encrypt(plaintext, MLKEM768X25519PublicKey(lattice, curve), info)
    except ValueError as error:
        raise IdentityError("expected a valid public encryption key, got damaged bytes or a weak point") from error


def open_sealed(key: EncryptionKey, sealed: bytes, info: bytes) -> bytes:
    """Decrypt what `seal` made for `key` with the same `info`.

    Raises:
        IdentityError: `sealed` was altered, is too short, was made for another key or with another info.
    """
    try:
        return _SUITE.decrypt(sealed, MLKEM768X25519PrivateKey(*key._pair()), info)  # noqa: SLF001 - same concept
    except (InvalidTag, ValueError) as error:
        raise IdentityError(
            f"a sealed message of {len(sealed)} bytes does not open: expected one for this key and this context; "
            "ask its sender to seal it again"
        ) from error


def pair_secret(half_from_low: bytes, half_from_high: bytes, *, low: str, high: str, context: bytes) -> bytes:
    """Combine the halves of two members into the secret that both hold.

    Args:
        half_from_low: 32 uniform bytes drawn by member `low` and sealed to `high`.
        half_from_high: 32 uniform bytes drawn by member `high` and sealed to `low`.
        low: Name of the member that sorts first.
        high: Name of the other member.
        context: Public context, e.g. the hash of all set-up messages.

    Returns:
        32 bytes, equal on both sides.

    Raises:
        IdentityError: A half is not 32 bytes long, or `low < high` does not hold.

    Guarantees:
        Uniform to everybody else if one of the two halves is; bound to both names and the context.
    """
    if len(half_from_low) != HALF_BYTES or len(half_from_high) != HALF_BYTES:
        raise IdentityError(
            f"expected two halves of {HALF_BYTES} bytes, got {len(half_from_low)} and {len(half_from_high)}"
        )
    if not low < high:
        raise IdentityError(f"expected member names in ascending order, got {low!r} and {high!r}")
    parts = (_PAIR_LABEL, low.encode(), high.encode(), context)
    info = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    return derive(half_from_low + half_from_high, info)


def encrypt(key: bytes, plaintext: bytes, *, associated: bytes) -> bytes:
    """Encrypt one small message with a key that serves this message only.

    The nonce is zero: derive the key with `prg.derive(pair_secret, info)` where info names direction, session and
    purpose. Deterministic, so that a restarted process sends the same bytes again.

    Args:
        key: 32 secret bytes for this message.
        plaintext: Bytes to hide; their length shows.
        associated: Public context, not hidden, that the reader must repeat exactly.

    Returns:
        16 bytes more than `plaintext`.

    Raises:
        IdentityError: The key is not 32 bytes long.

    Guarantees:
        Confidential and unforgeable; should a key be used twice by mistake, only the equality of the two
        messages shows (AES-GCM-SIV resists misuse of the nonce).
    """
    return _message_cipher(key).encrypt(_NONCE, plaintext, associated)


def decrypt(key: bytes, encrypted: bytes, *, associated: bytes) -> bytes:
    """Decrypt what `encrypt` made with the same key and context.

    Raises:
        IdentityError: The key is not 32 bytes long, or the message was altered or belongs elsewhere.
    """
    try:
        return _message_cipher(key).decrypt(_NONCE, encrypted, associated)
    except (InvalidTag, ValueError) as error:
        raise IdentityError(
            f"an encrypted message of {len(encrypted)} bytes does not open: expected one for this key and context"
        ) from error


def _message_cipher(key: bytes) -> AESGCMSIV:
    if len(key) != MESSAGE_KEY_BYTES:
        raise IdentityError(f"expected a message key of {MESSAGE_KEY_BYTES} bytes, got {len(key)}")
    return AESGCMSIV(key)
