"""What one member knows of the transparency log, and its work as a witness.

The coordinator publishes each new checkpoint with every entry since the one before, so a member reads the whole log:
it hashes the entries itself, compares the root, cosigns, and knows in which checkpoint each manifest is.

| what the coordinator does | what this finds |
|---|---|
| shows another tree of the same size | split view: the roots differ |
| goes back behind what was cosigned | rewind: the start is below the size known |
| leaves out, adds or moves an entry | the entries do not make the root |
| signs a note of another log, or none | the note's signature |

The newest checkpoint cosigned is durable before its cosignature leaves; after a restart the board is read again, and
what it says up to that checkpoint must lead to it.

Guarantees: this member cosigns checkpoints of one growing tree only, ever; it helps to open a sum only if its manifest
is in a checkpoint that enough members cosigned and that this member has seen.
Does NOT guarantee: that everything that happened is an entry; entries that concern this member it can compare.
Source: RFC 9162; C2SP tlog-checkpoint, tlog-cosignature and tlog-witness.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hansa.audit.checkpoint import Checkpoint, open_checkpoint
from hansa.audit.merkle import Frontier, leaf_hashes
from hansa.audit.note import Note, NoteKey, cosign
from hansa.errors import LogError, MessageError, RefusedError
from hansa.federation.entries import manifest_of
from hansa.federation.store import Cosigned
from hansa.protocol.messages import Logged, open_envelope

if TYPE_CHECKING:
    from collections.abc import Callable

    from hansa.crypto.signature import Signer
    from hansa.federation.store import MemberStore
    from hansa.protocol.limits import Limits

NS: Final = 1_000_000_000
LOGGED_BYTES: Final = 32 << 20
MAX_LINE_BYTES: Final = 1024


def log_origin(limits: Limits, epoch: str) -> str:
    """Return the name of an epoch's log."""
    return f"hansa/{limits.federation}/{epoch}"


def log_key(limits: Limits, epoch: str) -> NoteKey:
    """Return the key of an epoch's log: the coordinator's, under the log's own name."""
    return NoteKey.of(log_origin(limits, epoch), limits.keys[limits.coordinator], is_cosignature=False)


def witness_keys(limits: Limits) -> dict[str, NoteKey]:
    """Return the members' keys for cosignatures, by member."""
    return {name: NoteKey.of(name, limits.keys[name], is_cosignature=True) for name in limits.members}


class LogView:
    """The log as one member has read it.

    Args:
        name: The member.
        epoch: Label of the epoch; every epoch has a log.
        limits: The constitution's limits.
        signer: The member's identity key.
        store: The member's durable facts.
        clock: Returns ns UTC.
    """

    def __init__(
        self, name: str, *, epoch: str, limits: Limits, signer: Signer, store: MemberStore, clock: Callable[[], int]
    ) -> None:
        self._name = name
        self._limits = limits
        self._signer = signer
        self._store = store
        self._clock = clock
        self._log = log_key(limits, epoch)
        self._witnesses = witness_keys(limits)
        self._frontier = Frontier()
        self._roots: dict[int, bytes] = {}
        self._manifests: dict[bytes, int] = {}  # digest of a manifest: index of its entry

    @property
    def size(self) -> int:
        """Entries read so far."""
        return self._frontier.size

    def on_logged(self, body: bytes) -> bytes | None:
        """Take in the newest entries and their checkpoint; return this member's signature line to send.

        Raises:
            LogError: What is wrong, by name: rewind, split view, omitted or reordered entries.
            SignatureError: The coordinator or the log has not signed.
        """
        coordinator = self._limits.coordinator
        logged = open_envelope(body, Logged, sender=coordinator, key=self._limits.keys[coordinator], limit=LOGGED_BYTES)
        checkpoint = open_checkpoint(logged.note, log=self._log).checkpoint
        frontier = self._extended(logged, checkpoint)
        line = self._cosigned(checkpoint)
        start, self._frontier = self._frontier.size, frontier
        self._roots[checkpoint.size] = checkpoint.root
        for index, entry in enumerate(logged.entries, start):
            manifest = manifest_of(entry)
            if manifest is not None:
                self._manifests.setdefault(manifest, index)
        return line

    def require_witnessed(self, manifest: bytes, checkpoint: bytes) -> None:
        """Return if a checkpoint is cosigned by enough members and holds the manifest with this digest.

        Raises:
            LogError: It is not in the log as this member read it, or the checkpoint is not of that log.
            SignatureError: Too few members have cosigned.
        """
        index = self._manifests.get(manifest)
        opened = open_checkpoint(
            checkpoint, log=self._log, witnesses=[*self._witnesses.values()], quorum=self._limits.cosignatures
        )
        found = opened.checkpoint
        if index is None or index >= found.size:
            raise LogError(f"the manifest is in no entry before the checkpoint of size {found.size}: nothing is opened")
        if self._roots.get(found.size) != found.root:
            raise LogError(
                f"split view: the cosigned checkpoint of size {found.size} is not of the log that was shown to "
                f"{self._name}; keep both and show them to the other members"
            )

    def _extended(self, logged: Logged, checkpoint: Checkpoint) -> Frontier:
        known = self._frontier.size
        if checkpoint.size in self._roots and self._roots[checkpoint.size] != checkpoint.root:
            raise LogError(f"split view: two trees of size {checkpoint.size}")
        if logged.start < known:
            raise LogError(f"rewind: the log goes on from size {logged.start}, {self._name} has read {known}")
        if logged.start > known:
            raise LogError(f"omitted entries: {known} to {logged.start - 1} were not shown to {self._name}")
        frontier, _ = self._frontier.extended(leaf_hashes(logged.entries))
        if frontier.size != checkpoint.size or frontier.root() != checkpoint.root:
            raise LogError(
                f"the entries {known} to {frontier.size - 1} do not make the checkpoint of size {checkpoint.size}: "
                "one is omitted, added, altered or moved"
            )
        return frontier

    def _cosigned(self, checkpoint: Checkpoint) -> bytes | None:
        """Remember a checkpoint and return the cosignature; none for what lies before the newest cosigned."""
        newest = self._store.cosigned(self._log.name)
        if newest is not None and checkpoint.size <= newest.size:
            if checkpoint.size < newest.size:
                return None
            if checkpoint.root != newest.root:
                raise LogError(f"split view: {self._name} has cosigned another tree of size {checkpoint.size}")
            return newest.line
        if newest is not None and newest.size not in self._roots:
            raise LogError(
                f"rewind: {self._name} has cosigned a checkpoint of size {newest.size}, and the log that it reads "
                "now never had it; the log was replaced: stop, and show both to the other members"
            )
        seconds = self._clock() // NS
        line = str(cosign(checkpoint.text(), self._signer, name=self._name, seconds=seconds)).encode()
        self._store.cosign(self._log.name, Cosigned(checkpoint.size, checkpoint.root, line))
        return line


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
