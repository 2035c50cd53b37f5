"""The transparency log as the coordinator keeps it: entries in, checkpoints out, members' cosignatures on them.

Everything that is decided on the board becomes an entry, in the board's order; a manifest becomes one before it is
announced. After a restart the board is read again: what a kill interrupted is done again, and what is in the log
already stays where it is.

Guarantees: a checkpoint is durable before it is published; a cosigned one that is handed out holds the manifest asked
for and has the signatures of enough members.
Does NOT guarantee: that members see it (they answer with cosignatures, or nothing is opened).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hansa.audit.checkpoint import Checkpoint, signed_checkpoint
from hansa.audit.note import Note
from hansa.errors import RefusedError
from hansa.federation.entries import Said, identity_of, manifest_of, message_entries, peek, read_entry
from hansa.federation.log_view import LOGGED_BYTES, check_line, witness_keys
from hansa.protocol.messages import Epoch, Logged

if TYPE_CHECKING:
    from hansa.audit.note import SignatureLine
    from hansa.audit.statement import Statement
    from hansa.audit.store import LogStore
    from hansa.crypto.signature import Signer
    from hansa.federation.own_envelopes import OwnEnvelopes
    from hansa.federation.running_sum import RunningSum
    from hansa.federation.transport import Message
    from hansa.protocol.limits import Limits
    from hansa.protocol.messages import Payload
    from hansa.protocol.secure_sum import SecureSum

KEPT: Final = 64  # checkpoints whose cosignatures are still taken
LINGER_NS: Final = 1_000_000_000
ENTRIES: Final = 4096  # at most, in one message


def log_session(logged: Logged) -> str:
    """Return the session part of the subjects about a checkpoint: its size."""
    return f"log-{logged.start + len(logged.entries)}"


class Logbook:
    """The log that one coordinator appends to.

    Args:
        store: The log on disk.
        limits: The constitution's limits.
        signer: The coordinator's identity key.
    """

    def __init__(self, store: LogStore, *, limits: Limits, signer: Signer) -> None:
        self.store = store
        self._signer = signer
        self._limits = limits
        self._witnesses = witness_keys(limits)
        self.listing: Message | None = None  # the newest list of who set up, not yet an entry
        self._known: set[bytes] = set()
        self._manifests: dict[bytes, int] = {}  # index of each manifest's entry
        self._waiting: list[tuple[bytes, Statement]] = []
        self._said = 0  # size that the board has read
        self._oldest_ns = 0  # since when something is not said
        self._fresh: list[int] = []  # indices of manifests that are not said
        self._since_ns = 0  # since when the coordinator has nothing else to do
        self._awaited = 0  # size that was published and not read back
        self._notes: dict[int, Note] = {}
        self._lines: dict[int, dict[str, SignatureLine]] = {}
        self._witnessed: tuple[int, bytes] = (0, b"")  # size and note of the newest with enough cosignatures
        self._unkept: dict[int, Note] = {}  # with enough cosignatures, not yet on disk
        for index, entry in enumerate(store.entries()):
            self._index(index, peek(entry))

    def enter(self, *entries: bytes) -> None:
        """Append entries with the next checkpoint, unless the log has them.

        Raises:
            MessageError: One is malformed.
            SignatureError: One is not signed by its party.
        """
        for entry in entries:
            statement = read_entry(entry, keys=self._limits.keys)
            identity = identity_of(statement)
            if identity not in self._known:
                self._known.add(identity)
                self._waiting.append((entry, statement))

    def enter_message(
        self, said: Said, payload: Payload, *, epoch_id: bytes | None, running: RunningSum | None = None
    ) -> None:
        """Append the entries of a message of the coordinator's, if it decides anything; `running` is its session."""
        limits = self._limits
        entries = message_entries(
            said,
            payload,
            manifest=None if running is None else running.sum.manifest,
            answers=None if running is None else running.answers,
            constitution=limits.constitution,
            epoch_id=epoch_id,
            party=limits.coordinator,
            signer=self._signer,
        )
        self.enter(*entries)

    def enter_listing(self, own: OwnEnvelopes, *, epoch_id: bytes) -> None:
        """Append the entry of the list under which the epoch came up, once."""
        listing, self.listing = self.listing, None
        if listing is not None:
            subject = listing.subject
            said = Said(subject.session, subject.step, listing.body, listing.time_ns)
            self.enter_message(said, own.read(listing, Epoch), epoch_id=epoch_id)

    def handle(self, message: Message, own: OwnEnvelopes) -> None:
        """Take in a message about the log: a checkpoint read back, or a cosignature.

        Raises:
            HansaError: What is wrong with it.
        """
        subject = message.subject
        if subject.step == "logged":
            self._note_said(own.read(message, Logged, limit=LOGGED_BYTES))
        else:
            self._add_cosignature(subject.sender, subject.session, message.body)

    def say(self, now_ns: int) -> Logged | None:
        """Append what waits and return what the board is to read now, None if there is nothing or it can wait.

        Where the constitution asks for cosignatures, entries are durable when this returns, and a manifest's checkpoint
        is said at once. All else is said within a second: one checkpoint for many entries.

        Raises:
            StoreError: The disk refuses; nothing was appended and nothing may be announced.
        """
        if self._is_said and not self._waiting:
            return None
        self._oldest_ns = self._oldest_ns or now_ns
        is_late, is_asked = now_ns - self._oldest_ns >= LINGER_NS, self._limits.cosignatures > 0
        if self._waiting and (is_late or is_asked):
            first = self.store.append([entry for entry, _ in self._waiting])
            for index, (_, statement) in enumerate(self._waiting, first):
                self._index(index, statement)
            self._waiting = []
        is_announced = is_asked and any(index >= self._said for index in self._fresh)
        if self._awaited or self._is_said or not (is_late or is_announced):
            return None
        size = self._awaited = min(self.store.size, self._said + ENTRIES)
        self._oldest_ns, self._fresh = 0, [index for index in self._fresh if index >= size]
        return Logged(self._said, tuple(self.store.entries(self._said, size)), self._note(size).to_bytes())

    @property
    def _is_said(self) -> bool:
        return self._said == self.store.size

    def _note_said(self, logged: Logged) -> None:
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

    def _add_cosignature(self, sender: str, session: str, body: bytes) -> None:
        """Note a member's cosignature; those on checkpoints long past, or of members twice, are ignored.

        Raises:
            MessageError: It is malformed.
            RefusedError: It is not by a member.
            SignatureError: It does not hold.
        """
        key = self._witnesses.get(sender)
        if key is None:
            raise RefusedError(f"cosignature: {sender} is not a member")
        size = next((size for size in self._notes if session == f"log-{size}"), 0)
        if size not in self._notes or sender in self._lines[size]:
            return
        note = self._notes[size]
        line = check_line(body, sender=sender, text=note.text, key=key).signatures[0]
        self._lines[size][sender] = line
        lines = [self._lines[size][name] for name in sorted(self._lines[size])]
        if len(lines) < max(self._limits.cosignatures, 1):
            return
        self._unkept[size] = note.with_signatures(lines)
        if size > self._witnessed[0]:
            self._witnessed = (size, self._unkept[size].to_bytes())

    def close(self) -> None:
        """Write what is worth keeping and let another process append.

        Raises:
            StoreError: The disk refuses.
        """
        try:
            self.keep()
        finally:
            self.store.close()

    def keep(self) -> bool:
        """Write the cosigned checkpoints to disk, for moments of idleness; return whether there were any.

        Whoever reads the log there, and whoever exports evidence, sees what was kept.

        Raises:
            StoreError: The disk refuses.
        """
        sizes = sorted(self._unkept)
        for size in sizes:
            self.store.publish(self._unkept[size])
            del self._unkept[size]
        return bool(sizes)

    def may_rest(self, now_ns: int) -> bool:
        """Return whether the coordinator may end: the log is settled, or was waited for as long as for agreements."""
        if self.is_settled:
            return True
        self._since_ns = self._since_ns or now_ns
        return now_ns > self._since_ns + self._limits.agree_ns

    @property
    def is_settled(self) -> bool:
        """Whether the board has read every entry, and enough members have cosigned the last."""
        is_read = not self._waiting and self._is_said
        return is_read and (not self._limits.cosignatures or self._witnessed[0] == self._said)

    def certify(self, running: SecureSum) -> None:
        """Give a sum the newest cosigned checkpoint if that holds its manifest, and the constitution asks for one."""
        size, note = self._witnessed
        index = self._manifests.get(running.digest)
        if self._limits.cosignatures and not running.checkpoint and index is not None and index < size:
            running.checkpoint = note

    def _index(self, index: int, statement: Statement) -> None:
        self._known.add(identity_of(statement))
        manifest = manifest_of(statement)
        if manifest is not None:
            self._manifests.setdefault(manifest, index)
            self._fresh.append(index)

    def _note(self, size: int) -> Note:
        if size == self.store.size:
            return self.store.head
        checkpoint = Checkpoint(self.store.key.name, size, self.store.tree.root(size))
        return signed_checkpoint(checkpoint, self._signer)
