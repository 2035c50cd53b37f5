"""The transparency log as the coordinator keeps it: entries in, checkpoints out, members' cosignatures on them.

Everything that is decided on the board becomes an entry, in the board's order; a manifest becomes one before it is
announced. Entries are a function of the messages, so whatever a kill interrupts is done again after a restart and
what is in the log already stays where it is.

Guarantees: a checkpoint is durable before it is published; a cosigned one that is handed out holds the manifest asked
for and has the signatures of enough members.
Does NOT guarantee: that members see it (they answer with cosignatures, or nothing is opened).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hansa.audit.checkpoint import Checkpoint, signed_checkpoint
from hansa.audit.note import Note
from hansa.errors import RefusedError
from hansa.federation.entries import identity_of, manifest_of
from hansa.federation.log_view import check_line, witness_keys
from hansa.protocol.messages import Logged

if TYPE_CHECKING:
    from hansa.audit.note import SignatureLine
    from hansa.audit.store import LogStore
    from hansa.protocol.limits import Limits

KEPT: Final = 64  # checkpoints whose cosignatures are still taken
ENTRIES: Final = 4096  # at most, in one message


def log_session(size: int) -> str:
    """Return the session part of the subjects about the checkpoint of a size."""
    return f"log-{size}"


class Logbook:
    """The log that one coordinator appends to.

    Args:
        store: The log on disk.
        limits: The constitution's limits.
    """

    def __init__(self, store: LogStore, *, limits: Limits) -> None:
        self.store = store
        self._limits = limits
        self._witnesses = witness_keys(limits)
        self._known: set[bytes] = set()
        self._manifests: dict[bytes, int] = {}  # index of each manifest's entry
        self._waiting: list[bytes] = []
        self._said = 0  # size that the board has read
        self._awaited = 0  # size that was published and not read back
        self._notes: dict[int, Note] = {}
        self._lines: dict[int, dict[str, SignatureLine]] = {}
        self._witnessed: tuple[int, bytes] = (0, b"")
        for index, entry in enumerate(store.entries()):
            self._index(index, entry)

    def enter(self, *entries: bytes) -> None:
        """Append entries with the next checkpoint, unless the log has them."""
        for entry in entries:
            identity = identity_of(entry)
            if identity not in self._known:
                self._known.add(identity)
                self._waiting.append(entry)

    def say(self) -> Logged | None:
        """Append what waits, durably, and return what the board has not read yet; None if nothing, or not read back.

        Raises:
            StoreError: The disk refuses; nothing was appended and nothing may be announced.
        """
        if self._waiting:
            first = self.store.append(self._waiting)
            for index, entry in enumerate(self._waiting, first):
                self._index(index, entry)
            self._waiting = []
        if self._awaited or self.store.size == self._said:
            return None
        size = self._awaited = min(self.store.size, self._said + ENTRIES)
        return Logged(self._said, tuple(self.store.entries(self._said, size)), self._note(size).to_bytes())

    def note_said(self, logged: Logged) -> None:
        """Take a checkpoint back from the board.

        Raises:
            RefusedError: It does not follow the one before.
        """
        note = Note.parse(logged.note)
        size = Checkpoint.parse(note.text).size
        if logged.start != self._said or size > self.store.size:
            raise RefusedError(f"log: a checkpoint from {logged.start} to {size} after {self._said}; the log was lost")
        self._said, self._awaited = size, 0
        self._notes[size] = note
        self._lines[size] = {}
        while len(self._notes) > KEPT:
            oldest = next(iter(self._notes))
            del self._notes[oldest], self._lines[oldest]

    def add_cosignature(self, sender: str, session: str, body: bytes) -> None:
        """Note a member's cosignature; those on checkpoints long past are ignored.

        Raises:
            MessageError: It is malformed.
            RefusedError: It is not by a member.
            SignatureError: It does not hold.
        """
        key = self._witnesses.get(sender)
        if key is None:
            raise RefusedError(f"cosignature: {sender} is not a member")
        size = next((size for size in self._notes if log_session(size) == session), 0)
        if not size or size <= self._witnessed[0] and sender in self._lines[size]:
            return
        note = self._notes[size]
        line = check_line(body, sender=sender, text=note.text, key=key).signatures[0]
        self._lines[size][sender] = line
        if len(self._lines[size]) >= max(self._limits.cosignatures, 1) and size >= self._witnessed[0]:
            cosigned = note.with_signatures([self._lines[size][name] for name in sorted(self._lines[size])])
            self.store.publish(cosigned)
            self._witnessed = (size, cosigned.to_bytes())

    def checkpoint_with(self, manifest: bytes) -> bytes:
        """Return the newest cosigned checkpoint if it holds the manifest with this digest, else nothing."""
        size, note = self._witnessed
        index = self._manifests.get(manifest)
        return note if index is not None and index < size else b""

    def _index(self, index: int, entry: bytes) -> None:
        self._known.add(identity_of(entry))
        manifest = manifest_of(entry)
        if manifest is not None:
            self._manifests.setdefault(manifest, index)

    def _note(self, size: int) -> Note:
        if size == self.store.size:
            return self.store.head
        checkpoint = Checkpoint(self.store.key.name, size, self.store.tree.root(size))
        return signed_checkpoint(checkpoint, self.store.signer)
