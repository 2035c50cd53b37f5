"""A node's `Signer` as the private key that `cryptography` asks for when it signs a certificate or a request.

Guarantees: only signing works; nothing private can be read out of it. What is signed is DER and begins with 0x30, never
with `DSSEv1`: a certificate is no message, and no message is a certificate.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from hansa.crypto.signature import public_key
from hansa.errors import IdentityError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives import serialization

    from hansa.crypto.signature import Signer


def issuer_key(signer: Signer) -> tuple[Ed25519PrivateKey | ec.EllipticCurvePrivateKey, hashes.SHA256 | None]:
    """Return a signer as a private key, and the hash that a certificate signed by it names.

    Args:
        signer: A node's identity key.
    """
    key = public_key(signer.public)
    return (_Edwards(signer, key), None) if isinstance(key, Ed25519PublicKey) else (_P256(signer, key), hashes.SHA256())


class _Edwards(Ed25519PrivateKey):
    def __init__(self, signer: Signer, public: Ed25519PublicKey) -> None:
        self._signer = signer
        self._public = public

    def public_key(self) -> Ed25519PublicKey:
        return self._public

    def sign(self, data: bytes | bytearray | memoryview) -> bytes:
        return self._signer.sign_bytes(bytes(data))

    def private_bytes(
        self,
        encoding: serialization.Encoding,
        format: serialization.PrivateFormat,  # noqa: A002  the name that `cryptography` gives it
        encryption_algorithm: serialization.KeySerializationEncryption,
    ) -> NoReturn:
        del encoding, format, encryption_algorithm
        _refuse()

    def private_bytes_raw(self) -> NoReturn:
        _refuse()

    def __copy__(self) -> _Edwards:
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> _Edwards:
        return self


class _P256(ec.EllipticCurvePrivateKey):
    def __init__(self, signer: Signer, public: ec.EllipticCurvePublicKey) -> None:
        self._signer = signer
        self._public = public

    @property
    def curve(self) -> ec.EllipticCurve:
        return self._public.curve

    @property
    def key_size(self) -> int:
        return self._public.key_size

    def public_key(self) -> ec.EllipticCurvePublicKey:
        return self._public

    def sign(
        self, data: bytes | bytearray | memoryview, signature_algorithm: ec.EllipticCurveSignatureAlgorithm
    ) -> bytes:
        if not isinstance(signature_algorithm, ec.ECDSA) or not isinstance(
            signature_algorithm.algorithm, hashes.SHA256
        ):
            raise IdentityError("an identity key signs with ECDSA over SHA-256 alone")
        signature = self._signer.sign_bytes(bytes(data))
        return encode_dss_signature(int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big"))

    def exchange(self, algorithm: ec.ECDH, peer_public_key: ec.EllipticCurvePublicKey) -> NoReturn:
        del algorithm, peer_public_key
        _refuse()

    def private_numbers(self) -> NoReturn:
        _refuse()

    def private_bytes(
        self,
        encoding: serialization.Encoding,
        format: serialization.PrivateFormat,  # noqa: A002  as above
        encryption_algorithm: serialization.KeySerializationEncryption,
    ) -> NoReturn:
        del encoding, format, encryption_algorithm
        _refuse()

    def __copy__(self) -> _P256:
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> _P256:
        return self


def _refuse() -> NoReturn:
    raise IdentityError("an identity key signs; nothing else can be done with it")
