"""An evidence bundle: one file with all that an offline verifier needs, and nothing that it must believe.

```
"hansa-evidence/1" NEWLINE, then four pieces, each after its length (8 bytes, big-endian):
index         canonical JSON, see below
constitution  the signed constitution's file
entries       log entries in the order of their numbers, each after its length (2 bytes)
messages      what the entries' subjects are, each after its length (4 bytes); the verifier finds them by SHA-256

{"checkpoints": [note, ...], "consistency": [[hash, ...], ...], "entries": [[number, [hash, ...]], ...],
 "log_key": "ed25519:...", "seeds": {manifest: {member: {dropped peer: seed}}}}
```

Checkpoints stand in the order of their sizes, each with the proof that it continues the one before; entries are proved
in the last. Hashes and seeds are base64. Seeds of masks towards dropped members are public once a sum is open; the
verifier compares each with what the member that used it committed to in its signed upload.

Guarantees: the same log, messages and choice give the same bytes. Does NOT guarantee: that a bundle verifies; it is
made of what is there, and the verifier says what is missing.
"""

from __future__ import annotations

import base64
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from hansa.audit.entry import open_entry
from hansa.audit.statement import ResultLogged
from hansa.crypto.canonical import canonical
from hansa.errors import LogError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hansa.audit.reader import LogFiles

MAGIC: Final = b"hansa-evidence/1\n"


def make_bundle(
    log: LogFiles,
    *,
    numbers: Sequence[int],
    constitution: bytes,
    keys: Mapping[str, str],
    log_key: str,
    message: Callable[[bytes], bytes | None],
    seeds: Mapping[str, Mapping[str, Mapping[str, bytes]]] | None = None,
) -> bytes:
    """Return a bundle of some entries of a log.

    Args:
        log: The log; every checkpoint that it published from the first of the entries on is taken in, and the first
            after the last of them.
        numbers: Which entries.
        constitution: The signed constitution's file, under which they were made.
        keys: Identity keys by party.
        log_key: The log's key in text form.
        message: Returns the message or file with a SHA-256, or None if it is not to be in the bundle.
        seeds: Mask seeds towards dropped members: manifest (hexadecimal), cohort member, dropped peer; those of sums
            whose results are not among the entries are left out.

    Raises:
        LogError: No published checkpoint has all the entries, or there are none.
    """
    chosen = sorted(set(numbers))
    if not chosen:
        raise LogError("evidence: expected one entry or more; nothing in the log is of that round, member or quarter")
    sizes = log.published_sizes(chosen[0] + 1)
    last = next((place for place, size in enumerate(sizes) if size > chosen[-1]), None)
    if last is None:
        raise LogError(f"evidence: entry {chosen[-1]} is in no published checkpoint yet; wait for the next")
    sizes = sizes[: last + 1]
    entries = [log.entry(number) for number in chosen]
    said = [open_entry(entry, keys=keys).statement for entry in entries]
    opened = {one.predicate.manifest for one in said if isinstance(one.predicate, ResultLogged)}
    subjects = {digest: None for one in said for digest in one.subjects.values()}
    bodies = [body for digest in subjects if (body := message(digest)) is not None]
    notes = [log.published(size) or b"" for size in sizes]
    index = {
        "checkpoints": [note.decode() for note in notes],
        "consistency": [_texts(log.tree.consistency_proof(old, new)) for old, new in pairwise(sizes)],
        "entries": [[number, _texts(log.tree.inclusion_proof(number, sizes[-1]))] for number in chosen],
        "log_key": log_key,
        "seeds": {
            manifest: {member: {peer: _text(seed) for peer, seed in towards.items()} for member, towards in of.items()}
            for manifest, of in (seeds or {}).items()
            if manifest in opened
        },
    }
    return join(canonical(index), constitution, entries, bodies)


def join(index: bytes, constitution: bytes, entries: Sequence[bytes], messages: Sequence[bytes]) -> bytes:
    """Return the bytes of a bundle of these pieces."""
    pieces = (index, constitution, _framed(entries, 2), _framed(messages, 4))
    return MAGIC + _framed(pieces, 8)


def _framed(pieces: Sequence[bytes], width: int) -> bytes:
    return b"".join([part for piece in pieces for part in (len(piece).to_bytes(width, "big"), piece)])


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _texts(values: Sequence[bytes]) -> list[str]:
    return [_text(value) for value in values]
