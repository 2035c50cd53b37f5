"""Keys of both kinds for notes and cosignatures, each made of a seed."""

from __future__ import annotations

import base64
import hashlib

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature


class EdwardsKey:
    """An Ed25519 key: of 32 bytes, or of a name, as the simulated members have theirs."""

    def __init__(self, seed: bytes | str) -> None:
        raw = hashlib.sha256(seed.encode()).digest() if isinstance(seed, str) else seed
        self._key = Ed25519PrivateKey.from_private_bytes(raw)

    @property
    def public(self) -> str:
        return "ed25519:" + base64.urlsafe_b64encode(self._key.public_key().public_bytes_raw()).rstrip(b"=").decode()

    def sign_bytes(self, message: bytes) -> bytes:
        return self._key.sign(message)


class P256Key:
    """A P-256 key of a number."""

    def __init__(self, number: int) -> None:
        self._key = ec.derive_private_key(number, ec.SECP256R1())

    @property
    def public(self) -> str:
        form = serialization.PublicFormat.CompressedPoint
        raw = self._key.public_key().public_bytes(serialization.Encoding.X962, form)
        return "p256:" + base64.urlsafe_b64encode(raw).rstrip(b"=").decode()

    def sign_bytes(self, message: bytes) -> bytes:
        r, s = decode_dss_signature(self._key.sign(message, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")
