"""An Ed25519 key in a file: PKCS #8 in PEM, encrypted under a passphrase with scrypt and AES-256-CBC (PBES2).

OpenSSL reads it (`openssl pkey -in identity.key`). The cost of guessing is stated in the file: 64 MiB and about 0.2 s a
guess under a passphrase that a person chose, 1 MiB under one of 32 random bytes, which nobody guesses.

Guarantees: a file that was changed, or the wrong passphrase, gives no key: the structure does not parse, and what
parses is compared with the public key that the roster names.
Does NOT guarantee: secrecy against whoever has file and passphrase; keep them apart. A key in memory is not encrypted.

Source: RFC 8018 (PBES2), RFC 7914 (scrypt, `id-scrypt`), RFC 5958 (EncryptedPrivateKeyInfo), RFC 8410 (Ed25519).
"""

from __future__ import annotations

import base64
import logging
import secrets
import textwrap
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives import padding, serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from hansa.crypto.signature import SigningKey
from hansa.errors import IdentityError
from hansa.identity.files import read_secret, replace_secret, write_secret
from hansa.identity.passphrase import read_passphrase

if TYPE_CHECKING:
    from pathlib import Path

COST_CHOSEN: Final = 1 << 16  # scrypt's N for a passphrase that a person chose: 64 MiB
COST_RANDOM: Final = 1 << 10  # for one of 32 random bytes
_BLOCK: Final = 8  # scrypt's r
_ENCRYPTED: Final = b"-----BEGIN ENCRYPTED PRIVATE KEY-----"
_PBES2 = bytes.fromhex("06092a864886f70d01050d")
_SCRYPT = bytes.fromhex("06092b06010401da47040b")
_AES_256_CBC = bytes.fromhex("060960864801650304012a")

logger = logging.getLogger(__name__)


def generate_passphrase() -> str:
    """Return a passphrase of 32 random bytes, for a file or a secret store."""
    return secrets.token_urlsafe(32)


def write_key(path: Path, key: SigningKey, *, passphrase: str, cost: int = COST_CHOSEN) -> None:
    """Write a new key, encrypted, 0600.

    Raises:
        IdentityError: There is one already.
    """
    write_secret(path, encrypted(key, passphrase, cost=cost))


def read_key(path: Path, *, source: str) -> SigningKey:
    """Read a key; the passphrase is read only if the file is encrypted.

    Args:
        path: The PEM file.
        source: Where the passphrase comes from (`read_passphrase`).

    Raises:
        IdentityError: It is missing, others may read it, the passphrase is wrong, or it is no Ed25519 key.
        ConfigurationError: `source` has another form.
    """
    content = read_secret(path)
    password = None
    if is_encrypted(content):
        password = read_passphrase(source, directory=path.parent, what=f"passphrase of {path.name}").encode()
    else:
        logger.warning("%s is not encrypted: run `hansa keys encrypt %s`", path, path.parent)
    try:
        key = serialization.load_pem_private_key(content, password=password)
    except (ValueError, TypeError) as error:
        cause = "damaged, or the passphrase is wrong" if password else "not a PEM key"
        raise IdentityError(f"{path}: {cause}; restore it from your backup, or correct keys.passphrase") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise IdentityError(f"{path}: expected an Ed25519 key; restore it from your backup")
    return SigningKey.from_bytes(key.private_bytes_raw())


def encrypt_key(path: Path, *, passphrase: str, cost: int = COST_CHOSEN) -> None:
    """Encrypt a key that is not, in place: at every instant the file is whole.

    Raises:
        IdentityError: It is encrypted already, or as `read_key`.
    """
    if is_encrypted(read_secret(path)):
        raise IdentityError(f"{path}: encrypted already; nothing was changed")
    replace_secret(path, encrypted(read_key(path, source="prompt"), passphrase, cost=cost))


def is_encrypted(content: bytes) -> bool:
    """Return whether a PEM file holds an encrypted key."""
    return content.lstrip().startswith(_ENCRYPTED)


def encrypted(key: SigningKey, passphrase: str, *, cost: int) -> bytes:
    """Return the PEM of a key under a passphrase.

    Args:
        key: The key.
        passphrase: The passphrase.
        cost: scrypt's N, a power of 2; a guess takes `1024 * cost` bytes of memory.
    """
    plain = Ed25519PrivateKey.from_private_bytes(key.to_bytes()).private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    salt, start = secrets.token_bytes(16), secrets.token_bytes(16)
    derived = Scrypt(salt=salt, length=32, n=cost, r=_BLOCK, p=1).derive(passphrase.encode())
    padder = padding.PKCS7(128).padder()
    encryptor = Cipher(algorithms.AES(derived), modes.CBC(start)).encryptor()
    body = encryptor.update(padder.update(plain) + padder.finalize()) + encryptor.finalize()
    derivation = _sequence(_SCRYPT, _sequence(_octets(salt), _integer(cost), _integer(_BLOCK), _integer(1)))
    scheme = _sequence(_AES_256_CBC, _octets(start))
    document = _sequence(_sequence(_PBES2, _sequence(derivation, scheme)), _octets(body))
    lines = textwrap.wrap(base64.b64encode(document).decode(), 64)
    return "\n".join([_ENCRYPTED.decode(), *lines, _ENCRYPTED.decode().replace("BEGIN", "END"), ""]).encode()


def _tagged(tag: int, body: bytes) -> bytes:
    length = len(body).to_bytes(2, "big").lstrip(b"\0") or b"\0"
    prefix = bytes([len(body)]) if len(body) < 128 else bytes([128 + len(length)]) + length
    return bytes([tag]) + prefix + body


def _sequence(*parts: bytes) -> bytes:
    return _tagged(0x30, b"".join(parts))


def _octets(content: bytes) -> bytes:
    return _tagged(0x04, content)


def _integer(number: int) -> bytes:
    return _tagged(0x02, number.to_bytes(number.bit_length() // 8 + 1, "big"))
