"""Signed notes: text with signature lines of named keys, and the keys that verify them.

```
note            text NEWLINE signature-line...            the text ends in a newline; the blank line is not signed
signature-line  "— " name SP base64(key id || signature) NEWLINE
vkey            name "+" hex(key id) "+" base64(type || public key)
```

| type | public key | key id, first 4 bytes of SHA-256 over | signature |
|---|---|---|---|
| `01` | Ed25519 | name, newline, type, key | 64 bytes over the text |
| `02` | P-256, SubjectPublicKeyInfo | key | ECDSA in DER over the text |
| `04` | Ed25519 of a witness | name, newline, type, key | time, 64 bytes over `cosigned_message` |
| `ff`, `hansa/cosignature-p256/v1` NL | P-256 of a witness, as above | name, newline, type, key | time, `r`, `s` |

The last row is ours, for witnesses whose keys are in hardware that has no Ed25519: no published type has such keys.
Of the two values of `s` it takes the small one, so that nobody makes a second signature of a first.
A message that a note's key signs begins with an origin or with `cosignature/v1`, one of a DSSE envelope with `DSSEv1`:
one key may serve both, as long as no origin begins with `DSSEv1 `, which is refused.

Guarantees: what `Note.parse` returns is written by `Note.to_bytes` to the same bytes. A signature of a known name and
key id that does not verify is an error, never skipped. Does NOT guarantee: anything about the text before a signature
of a trusted key was found on it.

Source: C2SP signed-note v1.0.0, tlog-cosignature v1.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import TYPE_CHECKING, Final, Protocol

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from hansa.errors import MessageError, SignatureError

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_NOTE_BYTES: Final = 1 << 20
MAX_SIGNATURES: Final = 256
_DASH: Final = "— "
_KEY_ID_BYTES: Final = 4
_TIME_BYTES: Final = 8
_RAW_BYTES: Final = 64
_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_ECDSA: Final = ec.ECDSA(hashes.SHA256())


class KeyType(Enum):
    """What a key of a note is and what it signs: the bytes that stand before the key in a vkey."""

    ED25519 = b"\x01"
    P256 = b"\x02"
    COSIGNATURE_ED25519 = b"\x04"
    COSIGNATURE_P256 = b"\xffhansa/cosignature-p256/v1\n"

    @property
    def is_cosignature(self) -> bool:
        """Whether its signatures carry a time."""
        return self in {KeyType.COSIGNATURE_ED25519, KeyType.COSIGNATURE_P256}

    @property
    def is_edwards(self) -> bool:
        """Whether its keys are Ed25519."""
        return self in {KeyType.ED25519, KeyType.COSIGNATURE_ED25519}


class BytesSigner(Protocol):
    """A key in memory or in hardware that signs bare bytes."""

    @property
    def public(self) -> str:
        """Public key in text form, `ed25519:...` or `p256:...`."""
        ...

    def sign_bytes(self, message: bytes) -> bytes:
        """Return 64 bytes: an Ed25519 signature, or `r || s` of ECDSA with SHA-256."""
        ...


@dataclass(frozen=True)
class NoteKey:
    """A key that verifies signatures of notes.

    Args:
        name: The signer's name in signature lines: no spaces, no plus.
        type: Of the key and its signatures.
        public: 32 bytes of Ed25519, or a P-256 key's SubjectPublicKeyInfo in DER.

    Raises:
        MessageError: The name or the key is none.
    """

    name: str
    type: KeyType
    public: bytes

    def __post_init__(self) -> None:
        require_name(self.name)
        self._verifier  # noqa: B018 - a key that is none is refused here

    @classmethod
    def parse(cls, vkey: str) -> NoteKey:
        """Return the key that a vkey stands for.

        Raises:
            MessageError: It is malformed, of an unknown type, or its key id is another.
        """
        parts = vkey.split("+", 2)
        raw = _decode(parts[-1]) if len(parts) == 3 else None
        if raw is None:
            raise MessageError(f"vkey: expected name+keyid+base64, got {vkey[:80]!r}")
        for kind in KeyType:
            if raw.startswith(kind.value):
                key = cls(parts[0], kind, raw[len(kind.value) :])
                if key.key_id.hex() != parts[1]:
                    raise MessageError(f"vkey of {parts[0]}: expected key id {key.key_id.hex()}, got {parts[1][:16]!r}")
                return key
        raise MessageError(f"vkey of {parts[0][:80]!r}: keys of type {raw[:1].hex()!r} are not known here")

    @classmethod
    def of(cls, name: str, public: str, *, is_cosignature: bool) -> NoteKey:
        """Return the note key of a public key in text form.

        Args:
            name: Its name in signature lines.
            public: `ed25519:` or `p256:` and unpadded base64url; of P-256 the compressed point.
            is_cosignature: A witness's key instead of a log's.

        Raises:
            MessageError: It is not a public key.
        """
        algorithm, _, text = public.partition(":")
        raw = _decode(text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4))
        if algorithm == "ed25519" and raw is not None:
            return cls(name, KeyType.COSIGNATURE_ED25519 if is_cosignature else KeyType.ED25519, raw)
        if algorithm != "p256" or raw is None:
            raise MessageError(f"expected a public key ed25519:... or p256:..., got {public[:60]!r}")
        try:
            point = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), raw)
        except ValueError as error:
            raise MessageError(f"expected a compressed point of P-256, got {public[:60]!r}") from error
        encoded = point.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        return cls(name, KeyType.COSIGNATURE_P256 if is_cosignature else KeyType.P256, encoded)

    @cached_property
    def key_id(self) -> bytes:
        """4 bytes that stand before a signature of this key."""
        named = b"" if self.type is KeyType.P256 else self.name.encode() + b"\n" + self.type.value
        return hashlib.sha256(named + self.public).digest()[:_KEY_ID_BYTES]

    @property
    def vkey(self) -> str:
        """The key in text form."""
        return f"{self.name}+{self.key_id.hex()}+{base64.b64encode(self.type.value + self.public).decode()}"

    def verify(self, text: bytes, signature: bytes) -> int | None:
        """Return if this key made the signature over a note's text; for a cosignature its time, seconds UTC.

        Raises:
            SignatureError: It did not.
        """
        seconds, message = None, text
        if self.type.is_cosignature:
            seconds = int.from_bytes(signature[:_TIME_BYTES], "big")
            signature, message = signature[_TIME_BYTES:], cosigned_message(text, seconds)
        try:
            self._check(signature, message)
        except (InvalidSignature, ValueError) as error:
            raise SignatureError(
                f"the signature of {self.name} (key {self.key_id.hex()}) is not over this text; refuse the note"
            ) from error
        return seconds

    def _check(self, signature: bytes, message: bytes) -> None:
        if isinstance(self._verifier, Ed25519PublicKey):
            self._verifier.verify(signature, message)
            return
        if self.type is KeyType.COSIGNATURE_P256:
            r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
            if len(signature) != _RAW_BYTES or s > _ORDER // 2:
                raise InvalidSignature
            signature = encode_dss_signature(r, s)
        self._verifier.verify(signature, message, _ECDSA)

    def __getstate__(self) -> dict[str, object]:
        """Leave out what is derived: the verifier is no bytes."""
        return {name: value for name, value in self.__dict__.items() if name != "_verifier"}

    @cached_property
    def _verifier(self) -> Ed25519PublicKey | ec.EllipticCurvePublicKey:
        if self.type.is_edwards:
            if len(self.public) != 32:
                raise MessageError(f"key of {self.name}: expected 32 bytes of Ed25519, got {len(self.public)}")
            return Ed25519PublicKey.from_public_bytes(self.public)
        try:
            key = serialization.load_der_public_key(self.public)
        except (ValueError, UnsupportedAlgorithm) as error:
            raise MessageError(f"key of {self.name}: expected a SubjectPublicKeyInfo of P-256") from error
        if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
            raise MessageError(f"key of {self.name}: expected a SubjectPublicKeyInfo of P-256, got another key")
        return key


@dataclass(frozen=True, slots=True)
class SignatureLine:
    """One signature of a note, not yet verified."""

    name: str
    key_id: bytes
    signature: bytes

    def __str__(self) -> str:
        """Return the line, newline included."""
        return f"{_DASH}{self.name} {base64.b64encode(self.key_id + self.signature).decode()}\n"

    @classmethod
    def parse(cls, line: str) -> SignatureLine:
        """Read a signature line, newline included.

        Raises:
            MessageError: It is none.
        """
        name, space, text = line.removeprefix(_DASH).removesuffix("\n").partition(" ")
        raw = _decode(text)
        if not (line.startswith(_DASH) and line.endswith("\n") and space) or raw is None or len(raw) <= _KEY_ID_BYTES:
            raise MessageError(f"note: expected a signature line '— name base64', got {line[:80]!r}")
        require_name(name)
        return cls(name, raw[:_KEY_ID_BYTES], raw[_KEY_ID_BYTES:])

    def is_of(self, key: NoteKey) -> bool:
        """Whether this signature says that it is by `key`."""
        return (self.name, self.key_id) == (key.name, key.key_id)


@dataclass(frozen=True, slots=True)
class Note:
    """A text and the signatures on it."""

    text: str
    signatures: tuple[SignatureLine, ...]

    @classmethod
    def parse(cls, data: bytes) -> Note:
        """Read a note; nothing is verified.

        Raises:
            MessageError: It is too large, not UTF-8 text, or has no signature lines after the last blank line.
        """
        if len(data) > MAX_NOTE_BYTES:
            raise MessageError(f"note: {len(data)} bytes; at most {MAX_NOTE_BYTES} are read")
        try:
            whole = data.decode()
        except UnicodeDecodeError as error:
            raise MessageError("note: expected UTF-8 text") from error
        if any(character < " " and character != "\n" for character in whole):
            raise MessageError("note: expected no control characters but newlines")
        text, blank, rest = whole.rpartition("\n\n")
        lines = rest.removesuffix("\n").split("\n")
        if not blank or not rest.endswith("\n") or len(lines) > MAX_SIGNATURES:
            raise MessageError(f"note: expected text, a blank line and 1 to {MAX_SIGNATURES} signature lines")
        return cls(text + "\n", tuple(SignatureLine.parse(line + "\n") for line in lines))

    def to_bytes(self) -> bytes:
        """Return the note's bytes."""
        return (self.text + "\n" + "".join(map(str, self.signatures))).encode()

    def with_signatures(self, lines: Sequence[SignatureLine]) -> Note:
        """Return the note with further signatures; one of a name and key that is there already replaces it."""
        replaced = {(line.name, line.key_id) for line in lines}
        kept = [line for line in self.signatures if (line.name, line.key_id) not in replaced]
        return Note(self.text, (*kept, *lines))

    def verified(self, keys: Sequence[NoteKey]) -> dict[NoteKey, int | None]:
        """Return which of the keys have signed the text, each with its cosignature's time (None for others).

        Signatures of unknown keys are ignored, as the source says.

        Raises:
            SignatureError: A signature that says it is of one of the keys is not.
        """
        text = self.text.encode()
        return {key: key.verify(text, line.signature) for line in self.signatures for key in keys if line.is_of(key)}


def origin_of(federation: str) -> str:
    """Return the name of a federation's log: the origin of its checkpoints."""
    return f"hansa/{federation}"


def witness_name(federation: str, member: str) -> str:
    """Return the name in signature lines of a member that witnesses its federation's log."""
    return f"hansa/{federation}/{member}"


def sign(text: str, signer: BytesSigner, *, name: str) -> SignatureLine:
    """Return a log's signature line on a text.

    Raises:
        MessageError: The text is none that a note may have.
    """
    require_text(text)
    key = NoteKey.of(name, signer.public, is_cosignature=False)
    signature = signer.sign_bytes(text.encode())
    if key.type is KeyType.P256:
        signature = encode_dss_signature(int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big"))
    return SignatureLine(name, key.key_id, signature)


def cosign(text: str, signer: BytesSigner, *, name: str, seconds: int) -> SignatureLine:
    """Return a witness's signature line on a text.

    Args:
        text: Of the checkpoint.
        signer: The witness's key.
        name: Its name in signature lines.
        seconds: The time, seconds UTC.

    Raises:
        MessageError: The text is none that a note may have, or the time none that a cosignature may have.
    """
    require_text(text)
    key = NoteKey.of(name, signer.public, is_cosignature=True)
    signature = signer.sign_bytes(cosigned_message(text.encode(), seconds))
    if key.type is KeyType.COSIGNATURE_P256:
        s = int.from_bytes(signature[32:], "big")
        signature = signature[:32] + min(s, _ORDER - s).to_bytes(32, "big")
    return SignatureLine(name, key.key_id, seconds.to_bytes(_TIME_BYTES, "big") + signature)


def cosigned_message(text: bytes, seconds: int) -> bytes:
    """Return what a witness signs.

    Raises:
        MessageError: The time is beyond 2^63 - 1.
    """
    if not 0 <= seconds < 1 << 63:
        raise MessageError(f"cosignature: expected a time of 0 to 2^63 - 1 seconds, got {seconds}")
    return b"cosignature/v1\ntime %d\n%b" % (seconds, text)


def require_name(name: str) -> None:
    """Refuse what is no key name.

    Raises:
        MessageError: It is empty, or has a space, a plus or a control character in it.
    """
    if not name or "+" in name or any(character.isspace() or character < " " for character in name):
        raise MessageError(f"note: a key's name is not empty and has no spaces and no plus, got {name[:80]!r}")


def require_text(text: str) -> None:
    """Refuse what no note may say, and what could be taken for another signed message.

    Raises:
        MessageError: It does not end in a newline, has control characters, or begins as a DSSE message or a
            cosignature.
    """
    if not text.endswith("\n") or any(character < " " and character != "\n" for character in text):
        raise MessageError("note: expected text that ends in a newline and has no control characters but newlines")
    if text.startswith(("DSSEv1 ", "cosignature/v1\n")):
        raise MessageError(f"note: a text must not begin with {text[:14]!r}; name the log otherwise")


def _decode(text: str) -> bytes | None:
    """Return what standard base64 says if that is its one form, else None."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw if base64.b64encode(raw).decode() == text else None
