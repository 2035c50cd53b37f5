"""What one member knows of the transparency log, and its work as a witness.

The coordinator publishes each new checkpoint with every entry since the one before, so a member reads the whole log:
its witness hashes the entries, compares the root, cosigns, and names what does not continue the log; and the member
knows in which entry each manifest is. One log goes through all epochs; another key of the coordinator begins another.

After a restart the board is read again from its beginning; what it says up to the newest checkpoint that this member
cosigned must lead to that checkpoint.

Guarantees: this member helps to open a sum only if its manifest is an entry before a checkpoint that enough members
cosigned and that is of the log that this member follows.
Does NOT guarantee: that everything that happened is an entry; what concerns this member it can compare.
Source: RFC 9162; C2SP tlog-checkpoint, tlog-cosignature and tlog-witness.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from hansa.audit.checkpoint import Checkpoint, open_checkpoint
from hansa.audit.entry import open_entry
from hansa.audit.merkle import HASH_BYTES, TILE_WIDTH, leaf_hashes
from hansa.audit.note import Note, NoteKey, origin_of, witness_name
from hansa.audit.witness import Fault, Witness
from hansa.errors import HansaError, LogError, MessageError, RefusedError
from hansa.federation.entries import manifest_of
from hansa.federation.witness_memory import StoreMemory
from hansa.protocol.messages import Logged, open_envelope

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hansa.crypto.signature import Signer
    from hansa.federation.store import MemberStore
    from hansa.protocol.limits import Limits

NS: Final = 1_000_000_000
LOGGED_BYTES: Final = 32 << 20
MAX_LINE_BYTES: Final = 1024


def log_key(limits: Limits) -> NoteKey:
    """Return the key of a federation's log: the coordinator's, under the log's name."""
    return NoteKey.of(origin_of(limits.federation), limits.keys[limits.coordinator], is_cosignature=False)


def witness_keys(limits: Limits) -> dict[str, NoteKey]:
    """Return the members' keys for cosignatures, by member."""
    return {
        name: NoteKey.of(witness_name(limits.federation, name), limits.keys[name], is_cosignature=True)
        for name in limits.members
    }


class LogView:
    """The log as one member has read it.

    Args:
        name: The member.
        limits: The constitution's limits.
        signer: The member's identity key.
        store: The member's durable facts.
        clock: Returns ns UTC.

    Raises:
        StoreError: What the witness remembers is damaged.
    """

    def __init__(
        self, name: str, *, limits: Limits, signer: Signer, store: MemberStore, clock: Callable[[], int]
    ) -> None:
        self._name = name
        self._limits = limits
        self._log = log_key(limits)
        self._witnesses = [*witness_keys(limits).values()]
        self._memory = StoreMemory(self._log.name, store)
        self._witness = Witness(
            witness_name(limits.federation, name),
            signer=signer,
            log=self._log,
            memory=self._memory,
            clock=_Seconds(clock),
        )
        self.size = 0  # entries read since the start
        self._manifests: dict[bytes, int] = {}  # digest of a manifest: index of its entry

    def on_logged(self, body: bytes) -> bytes | None:
        """Take in the newest entries and their checkpoint; return this member's signature line to send.

        None for a checkpoint before the newest cosigned: the board is being read again.

        Raises:
            LogError: The log does not go on from where it was; `fault` names what was done.
            SignatureError: The coordinator or the log has not signed.
        """
        name = self._limits.coordinator
        logged = open_envelope(body, Logged, sender=name, key=self._limits.keys[name], limit=LOGGED_BYTES)
        checkpoint = open_checkpoint(logged.note, log=self._log).checkpoint
        if logged.start != self.size:
            fault = Fault.REWIND if logged.start < self.size else Fault.OMISSION
            raise LogError(
                f"{self._name} has read {self.size} entries of {self._log.name}, the next are from {logged.start}: "
                f"{fault}; not cosigned",
                fault=fault,
            )
        line = self._witnessed(logged, checkpoint)
        self._index(logged.entries)
        return line

    def require_witnessed(self, manifest: bytes, checkpoint: bytes) -> None:
        """Return if a checkpoint is cosigned by enough members and holds the manifest with this digest.

        Raises:
            LogError: The manifest is not in it, or it is not of the log that this member follows.
            SignatureError: Too few members have cosigned.
        """
        opened = open_checkpoint(checkpoint, log=self._log, witnesses=self._witnesses, quorum=self._limits.cosignatures)
        index, size = self._manifests.get(manifest), opened.checkpoint.size
        if index is None or index >= size or size > self._witness.size:
            raise LogError(
                f"{self._name}: the manifest is in no entry before the checkpoint of size {size}: nothing is opened",
                fault=Fault.OMISSION,
            )
        self._witness.compare(checkpoint)

    def _witnessed(self, logged: Logged, checkpoint: Checkpoint) -> bytes | None:
        reader = _Reader(self._memory, logged.start, leaf_hashes(logged.entries))
        if checkpoint.size != logged.start + len(logged.entries):
            raise MessageError(
                f"log: entries {logged.start} to {logged.start + len(logged.entries) - 1} with a checkpoint of size "
                f"{checkpoint.size}"
            )
        if checkpoint.size > self._witness.size:
            return str(self._witness.observe(logged.note, reader)).encode()
        self._witness.compare(logged.note)
        kept = self._memory.cosigned()
        if checkpoint.size < self._witness.size or kept is None:
            return None
        return str(Note.parse(kept).signatures[-1]).encode()

    def _index(self, entries: Sequence[bytes]) -> None:
        """Note where manifests are; what is no statement is the coordinator's fault alone and stays without effect."""
        for index, entry in enumerate(entries, self.size):
            try:
                opened = open_entry(entry, keys=self._limits.keys)
            except HansaError:
                continue
            manifest = manifest_of(opened.statement) if opened.party == self._limits.coordinator else None
            if manifest is not None:
                self._manifests.setdefault(manifest, index)
        self.size += len(entries)


@dataclass(frozen=True, slots=True)
class _Seconds:
    """A clock in whole seconds."""

    clock: Callable[[], int]

    def __call__(self) -> int:
        return self.clock() // NS


class _Reader:
    """The log's lowest tiles: what the witness remembers, then the entries that were just shown."""

    def __init__(self, memory: StoreMemory, start: int, leaves: Sequence[bytes]) -> None:
        self._memory = memory
        self._start = start
        self._leaves = leaves

    def tile(self, level: int, number: int, width: int) -> bytes:
        """Return the first hashes of a tile of level 0."""
        low = number * TILE_WIDTH
        known = min(max(self._start - low, 0), width)
        before = self._memory.tile(level, number, known) if known else b""
        first = max(low - self._start, 0)
        return before + b"".join(self._leaves[first : first + width - len(before) // HASH_BYTES])


def check_line(body: bytes, *, sender: str, text: str, key: NoteKey) -> Note:
    """Return a one-line note of a member's cosignature on a checkpoint's text.

    Raises:
        MessageError: It is malformed or too long.
        RefusedError: It is another's.
        SignatureError: It does not hold.
    """
    if len(body) > MAX_LINE_BYTES:
        raise MessageError(f"cosignature of {sender}: expected at most {MAX_LINE_BYTES} bytes, got {len(body)}")
    note = Note.parse(f"{text}\n".encode() + body)
    if len(note.signatures) != 1 or key not in note.verified([key]):
        raise RefusedError(f"cosignature of {sender}: expected one line by its key")
    return note
