"""Checkpoints: the log's size and root hash as a signed note, and the witnesses' cosignatures on it.

```
origin NEWLINE size NEWLINE base64(root hash) NEWLINE [extension NEWLINE]...
```

Guarantees: `open_checkpoint` returns a checkpoint only if the log's key has signed it and enough different witnesses
have cosigned it, one key counting once. Does NOT guarantee: that it is the newest (compare times and sizes), nor that
it continues another one (a consistency proof does).

Source: C2SP tlog-checkpoint v1.0.0, tlog-cosignature v1.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from hansa.audit.merkle import HASH_BYTES, MAX_SIZE
from hansa.audit.note import Note, sign
from hansa.errors import MessageError, SignatureError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hansa.audit.note import BytesSigner, NoteKey

_MAX_DIGITS: Final = 19


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a log says of itself: whose it is, how many entries it has and their root hash."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def text(self) -> str:
        """Return the note's text."""
        lines = (self.origin, str(self.size), base64.b64encode(self.root).decode(), *self.extensions)
        return "".join(f"{line}\n" for line in lines)

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """Read a checkpoint's text.

        Raises:
            MessageError: It has fewer than three lines or an empty one, or size or root have another form than theirs.
        """
        lines = text.split("\n")
        if len(lines) < 4 or lines.pop() or not all(lines):
            raise MessageError("checkpoint: expected origin, size and root hash on three lines, none empty")
        origin, size, root, *extensions = lines
        digits = size.isascii() and size.isdigit() and len(size) <= _MAX_DIGITS
        if not digits or str(int(size)) != size or int(size) > MAX_SIZE:
            raise MessageError(f"checkpoint of {origin[:80]!r}: expected a size in decimal digits, got {size[:40]!r}")
        found = cls(origin, int(size), _root(root), tuple(extensions))
        if found.text() != text:
            raise MessageError(f"checkpoint of {origin[:80]!r}: the root hash is not in the one form of base64")
        return found


@dataclass(frozen=True, slots=True)
class Opened:
    """A checkpoint whose signatures hold, and the witnesses that cosigned it, with their times (seconds UTC)."""

    checkpoint: Checkpoint
    note: Note
    witnesses: Mapping[str, int]


def signed_checkpoint(checkpoint: Checkpoint, signer: BytesSigner) -> Note:
    """Return a checkpoint with the log's signature; the key's name is the origin."""
    return Note(checkpoint.text(), (sign(checkpoint.text(), signer, name=checkpoint.origin),))


def open_checkpoint(data: bytes, *, log: NoteKey, witnesses: Sequence[NoteKey] = (), quorum: int = 0) -> Opened:
    """Return a checkpoint that the log has signed and at least `quorum` of the witnesses have cosigned.

    Args:
        data: The note.
        log: The log's key; its name is the origin expected.
        witnesses: Keys whose cosignatures count.
        quorum: How many of them.

    Raises:
        MessageError: It is malformed or another log's.
        SignatureError: The log has not signed it, a signature does not hold, or too few witnesses have cosigned.
    """
    note = Note.parse(data)
    checkpoint = Checkpoint.parse(note.text)
    if checkpoint.origin != log.name:
        raise MessageError(f"checkpoint: expected one of {log.name!r}, got {checkpoint.origin[:80]!r}")
    found = note.verified([log, *witnesses])
    if log not in found:
        raise SignatureError(
            f"checkpoint of {log.name}, size {checkpoint.size}: the log's key {log.vkey} has not signed"
        )
    # One key under two names is one witness.
    times = {key.public: (key.name, seconds) for key, seconds in found.items() if seconds is not None}
    if len(times) < quorum:
        raise SignatureError(
            f"checkpoint of {log.name}, size {checkpoint.size}: expected cosignatures of {quorum} witnesses, "
            f"got {len(times)}: {', '.join(sorted(name for name, _ in times.values())) or 'nobody'}"
        )
    return Opened(checkpoint, note, dict(sorted(times.values())))


def _root(text: str) -> bytes:
    try:
        root = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise MessageError("checkpoint: the root hash is not base64") from error
    if len(root) != HASH_BYTES:
        raise MessageError(f"checkpoint: expected a root hash of {HASH_BYTES} bytes, got {len(root)}")
    return root
