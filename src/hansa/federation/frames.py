"""Bodies as messages on the wire: whole, or in chunks that a last message commits.

```
whole      0x00 || body                                                        on <subject>
chunk      the bytes                                                           on <subject>.<digest>.<index>
commit     0x01 || length u64 || chunk_bytes u32 || SHA-256(body)   big-endian  on <subject>
```

`digest` is the first 32 hexadecimal digits of SHA-256(body). The commit is sent when every chunk is durable, so the
subject's one slot is taken by a body that is complete: a writer that stops between chunks left nothing but chunks,
and sending the same bytes again completes them. Other bytes have other chunk subjects.

Guarantees: what `assemble` returns has the committed hash and at most `max_body_bytes`; memory is bounded.
Does NOT guarantee: that a liar's commit has chunks behind it.
"""

from __future__ import annotations

import hashlib
import struct
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Self

from hansa.errors import MessageError

if TYPE_CHECKING:
    from collections.abc import Sequence

WHOLE: Final = b"\x00"
COMMIT: Final = b"\x01"
MIN_CHUNK_BYTES: Final = 1024
_FIELDS: Final = struct.Struct("!QI32s")


@dataclass(frozen=True, slots=True)
class Commit:
    """What the last message of a chunked body says; lengths in bytes."""

    length: int
    chunk_bytes: int
    sha256: bytes

    @classmethod
    def of(cls, body: bytes, *, chunk_bytes: int) -> Self:
        """Return the commit of `body` cut into pieces of `chunk_bytes`."""
        return cls(len(body), chunk_bytes, hashlib.sha256(body).digest())

    def to_bytes(self) -> bytes:
        """Return the wire form with its leading byte."""
        return COMMIT + _FIELDS.pack(self.length, self.chunk_bytes, self.sha256)

    @classmethod
    def from_bytes(cls, frame: bytes, *, max_body_bytes: int) -> Self:
        """Parse and bound the wire form.

        Raises:
            MessageError: The size is wrong, the body exceeds `max_body_bytes` or the chunks are too small.
        """
        if len(frame) != 1 + _FIELDS.size or frame[:1] != COMMIT:
            raise MessageError(f"commit: expected {1 + _FIELDS.size} bytes, got {len(frame)}")
        commit = cls(*_FIELDS.unpack_from(frame, 1))
        if commit.length > max_body_bytes:
            raise MessageError(
                f"body: expected at most {max_body_bytes} bytes, got {commit.length}; "
                "raise max_body_bytes on every node if the plan needs it"
            )
        if commit.chunk_bytes < MIN_CHUNK_BYTES:
            raise MessageError(f"commit: chunks of {commit.chunk_bytes} bytes; at least {MIN_CHUNK_BYTES}")
        return commit

    def chunk_subjects(self, subject: str) -> list[str]:
        """Return the subjects of the chunks, in order."""
        count = -(-self.length // self.chunk_bytes)
        return [f"{subject}.{self.sha256.hex()[:32]}.{index}" for index in range(count)]

    def check_chunk(self, index: int, chunk: bytes) -> bytes:
        """Return chunk number `index` if it has its length: a liar's long chunks never add up in memory.

        Raises:
            MessageError: It is shorter or longer.
        """
        expected = min(self.chunk_bytes, self.length - index * self.chunk_bytes)
        if len(chunk) != expected:
            raise MessageError(f"body: expected {expected} bytes in chunk {index}, got {len(chunk)}")
        return chunk

    def assemble(self, chunks: Sequence[bytes]) -> bytes:
        """Join the chunks.

        Raises:
            MessageError: Their length or hash is not the committed one.
        """
        if sum(map(len, chunks)) != self.length:
            raise MessageError(f"body: expected {self.length} bytes, got {sum(map(len, chunks))} in chunks")
        body = b"".join(chunks)
        if hashlib.sha256(body).digest() != self.sha256:
            raise MessageError("body: the chunks do not have the committed hash; its sender changed its mind")
        return body


@dataclass(slots=True)
class ChunkStore:
    """Chunks seen before their commit, the oldest forgotten beyond `max_bytes` (they can be fetched again)."""

    max_bytes: int
    _chunks: OrderedDict[str, bytes] = field(default_factory=OrderedDict)
    _bytes: int = 0

    def keep(self, subject: str, chunk: bytes) -> None:
        """Remember a chunk."""
        self.take(subject)
        self._chunks[subject] = chunk
        self._bytes += len(chunk)
        while self._bytes > self.max_bytes:
            self._bytes -= len(self._chunks.popitem(last=False)[1])

    def take(self, subject: str) -> bytes | None:
        """Return and forget a chunk, or None."""
        chunk = self._chunks.pop(subject, None)
        self._bytes -= len(chunk) if chunk is not None else 0
        return chunk
