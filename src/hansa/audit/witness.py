"""A member as witness: it follows the log entry by entry, cosigns what continues it, and names what does not.

| fault | shown by |
|---|---|
| split view | two checkpoints of one size with two roots, or a checkpoint whose tree is none of the tree followed |
| rewind | a checkpoint of fewer entries than one that was cosigned |
| reordering | the entries cosigned are all there, in another order |
| omitted entry | entries that were cosigned, or that the member knows of, are not there; the others follow in order |
| rewritten entry | an entry stands where another was cosigned |

The witness keeps the hash of every entry (32 bytes each), so it needs no proof from the log and can say which entry is
concerned. What it cosigned is durable in its memory before the cosignature leaves.

Guarantees: of two checkpoints that this witness cosigned, the smaller tree is the beginning of the larger, whatever
the log says and however often either is restarted. Does NOT guarantee: that entries are true, nor that other members
were shown the same log: a quorum's cosignatures on one checkpoint do, and `compare` with what others saw.

Source: C2SP tlog-witness (what is checked and kept), tlog-cosignature.
"""

from __future__ import annotations

from collections import Counter
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Protocol

from hansa.audit.checkpoint import open_checkpoint
from hansa.audit.disk import Disk
from hansa.audit.merkle import HASH_BYTES, TILE_WIDTH, Frontier, TileTree, leaf_hash, tile_width
from hansa.audit.note import cosign
from hansa.errors import LogError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from hansa.audit.checkpoint import Opened
    from hansa.audit.merkle import Tile, TileReader
    from hansa.audit.note import BytesSigner, NoteKey, SignatureLine

_COSIGNED: Final = "cosigned"
_DISPUTED: Final = "disputed"


class Fault(StrEnum):
    """What a log's operator did wrong."""

    SPLIT_VIEW = "split view"
    REWIND = "rewind"
    REORDERING = "reordering"
    OMISSION = "omitted entry"
    REWRITING = "rewritten entry"


class WitnessMemory(Protocol):
    """What a witness keeps of one log. `remember` is durable when it returns; what it replaces may be forgotten."""

    def cosigned(self) -> bytes | None:
        """Return the last checkpoint remembered, or None."""
        ...

    def tile(self, level: int, number: int, width: int) -> bytes:
        """Return the first hashes of a tile of the tree remembered."""
        ...

    def remember(self, note: bytes, tiles: Sequence[Tile]) -> None:
        """Keep new or longer tiles, and then the checkpoint that they belong to."""
        ...

    def dispute(self, note: bytes) -> None:
        """Keep a checkpoint that contradicts what was cosigned: with the log's signature it is the evidence."""
        ...


class Witness:
    """The witness of one log.

    Args:
        name: Its name in signature lines.
        signer: Its key.
        log: The log's key.
        memory: What it keeps.
        clock: Returns seconds UTC.
    """

    def __init__(
        self, name: str, *, signer: BytesSigner, log: NoteKey, memory: WitnessMemory, clock: Callable[[], int]
    ) -> None:
        self._name = name
        self._signer = signer
        self._log = log
        self._memory = memory
        self._clock = clock
        kept = memory.cosigned()
        last = None if kept is None else open_checkpoint(kept, log=log).checkpoint
        self._frontier = Frontier.of(memory, last.size) if last else Frontier()
        self._tree = TileTree(memory, self._frontier.size)
        if last and self._frontier.root() != last.root:
            raise StoreError(f"witness {name}: the hashes kept do not make the root that was cosigned; restore them")

    @property
    def size(self) -> int:
        """Entries of the last checkpoint cosigned; 0 before the first."""
        return self._frontier.size

    def observe(self, note: bytes, reader: TileReader) -> SignatureLine:
        """Return this witness's cosignature of a checkpoint that continues the last one.

        Args:
            note: The checkpoint, signed by the log.
            reader: The log's tiles, from which the new entries' hashes are read.

        Raises:
            MessageError: It is malformed or another log's.
            SignatureError: The log has not signed it.
            LogError: It does not continue what was cosigned; `fault` names what was done. The checkpoint is kept.
            StoreError: It could not be kept; nothing was cosigned.
        """
        opened = open_checkpoint(note, log=self._log)
        checkpoint = opened.checkpoint
        if checkpoint.size < self.size:
            raise self._fault(
                opened, Fault.REWIND, f"{self.size} entries were cosigned, now the log says {checkpoint.size}"
            )
        frontier, tiles = self._frontier.extended(_leaves(reader, self.size, checkpoint.size))
        if frontier.root() != checkpoint.root:
            raise self._fault(opened, *self._diagnosis(opened, reader))
        line = cosign(opened.note.text, self._signer, name=self._name, seconds=self._clock())
        self._memory.remember(opened.note.with_signatures([line]).to_bytes(), tiles)
        self._frontier = frontier
        self._tree.grow(frontier.size)
        return line

    def compare(self, note: bytes) -> None:
        """Return if a checkpoint that somebody else was shown is one of the tree that this witness follows.

        One that is larger than what was cosigned says nothing yet: observe the log first.

        Raises:
            MessageError: It is malformed or another log's.
            SignatureError: The log has not signed it.
            LogError: The log has shown two histories (`split view`). The checkpoint is kept.
        """
        opened = open_checkpoint(note, log=self._log)
        size = opened.checkpoint.size
        if size <= self.size and self._tree.root(size) != opened.checkpoint.root:
            raise self._fault(
                opened, Fault.SPLIT_VIEW, f"somebody was shown another tree of {size} entries than this witness"
            )

    def find(self, entry: bytes) -> int | None:
        """Return where an entry stands in what was cosigned, or None."""
        wanted = leaf_hash(entry)
        for number in range(-(-self.size // TILE_WIDTH)):
            hashes = self._memory.tile(0, number, tile_width(0, number, self.size))
            place = hashes.find(wanted)
            while place % HASH_BYTES and place >= 0:
                place = hashes.find(wanted, place + 1)
            if place >= 0:
                return number * TILE_WIDTH + place // HASH_BYTES
        return None

    def require(self, entry: bytes, *, what: str) -> int:
        """Return where an entry stands that the member knows must have been logged.

        Args:
            entry: The entry.
            what: What it is, for the message.

        Raises:
            LogError: It is not in what was cosigned (`omitted entry`).
        """
        index = self.find(entry)
        if index is None:
            raise LogError(
                f"witness {self._name}: {what} is not among the {self.size} entries of {self._log.name}; "
                "take part in nothing that rests on it",
                fault=Fault.OMISSION,
            )
        return index

    def _diagnosis(self, opened: Opened, reader: TileReader) -> tuple[Fault, str]:
        """Say what was done, from the hashes of all entries as the log shows them now."""
        size = opened.checkpoint.size
        before, now = _leaves(self._memory, 0, self.size), _leaves(reader, 0, size)
        fault, finding = _difference(before, now)
        if size == self.size:
            return Fault.SPLIT_VIEW, f"two roots of {size} entries; {finding}"
        return fault, finding

    def _fault(self, opened: Opened, fault: Fault, finding: str) -> LogError:
        self._memory.dispute(opened.note.to_bytes())
        return LogError(
            f"witness {self._name}: {self._log.name}: {fault}: {finding}; not cosigned, both checkpoints are kept",
            fault=fault,
        )


def _difference(before: Sequence[bytes], now: Sequence[bytes]) -> tuple[Fault, str]:
    """Say how entries that were cosigned differ from those that the log shows now, as many or more."""
    place = next((index for index, leaf in enumerate(before) if leaf != now[index]), None)
    if place is None:
        return Fault.SPLIT_VIEW, f"the root of {len(now)} entries is not that of the tiles that are served"
    missing = Counter(before) - Counter(now)
    if not missing:
        return Fault.REORDERING, f"entry {place} stands elsewhere than when it was cosigned"
    kept = [leaf for leaf in before if leaf not in missing]
    if kept and list(now[: len(kept)]) == kept:
        return Fault.OMISSION, f"entry {place} is gone, {missing.total()} in all; those after it moved up"
    return Fault.REWRITING, f"entry {place} is another than when it was cosigned"


def _leaves(reader: TileReader, start: int, end: int) -> list[bytes]:
    """Return the hashes of entries `start` to `end - 1` of a tree of `end` entries."""
    found: list[bytes] = []
    for number in range(start // TILE_WIDTH, -(-end // TILE_WIDTH)):
        width = tile_width(0, number, end)
        hashes = reader.tile(0, number, width)
        if len(hashes) != HASH_BYTES * width:
            raise LogError(f"log: tile 0/{number}: expected {width} hashes, got {len(hashes)} bytes; ask again")
        first = max(start - number * TILE_WIDTH, 0)
        found += [hashes[place : place + HASH_BYTES] for place in range(HASH_BYTES * first, len(hashes), HASH_BYTES)]
    return found


class FileMemory:
    """A witness's memory in a directory: `cosigned`, `disputed-<size>` and one growing file of hashes a level.

    A level's file may end in hashes beyond the checkpoint's size, left by a kill; they are written over.

    Args:
        directory: Where the files are; made if it is not there.
        disk: The operations on files.
    """

    def __init__(self, directory: Path, *, disk: Disk | None = None) -> None:
        self._directory = directory
        self._disk = disk or Disk()

    def cosigned(self) -> bytes | None:
        """Return the last checkpoint remembered, or None.

        Raises:
            StoreError: The file cannot be read.
        """
        path = self._directory / _COSIGNED
        try:
            return path.read_bytes() if path.exists() else None
        except OSError as error:
            raise StoreError(f"witness: cannot read {path}: {error.strerror}") from error

    def tile(self, level: int, number: int, width: int) -> bytes:
        """Return the first hashes of a tile.

        Raises:
            StoreError: The file cannot be read or is too short.
        """
        path = self._directory / f"level-{level}"
        try:
            with path.open("rb") as file:
                file.seek(HASH_BYTES * TILE_WIDTH * number)
                data = file.read(HASH_BYTES * width)
        except OSError as error:
            raise StoreError(f"witness: cannot read {path}: {error.strerror}; restore it from a copy") from error
        if len(data) != HASH_BYTES * width:
            raise StoreError(f"witness: {path} is too short; restore it from a copy")
        return data

    def remember(self, note: bytes, tiles: Sequence[Tile]) -> None:
        """Keep new or longer tiles, and then the checkpoint; durable when this returns.

        Raises:
            StoreError: The disk refuses; the checkpoint before is still the one remembered.
        """
        try:
            for level in sorted({tile.level for tile in tiles}):
                mine = [tile for tile in tiles if tile.level == level]
                start = HASH_BYTES * TILE_WIDTH * mine[0].number
                self._disk.overwrite(
                    self._directory / f"level-{level}", start, b"".join([tile.hashes for tile in mine])
                )
            self._disk.place([(self._directory / _COSIGNED, note)], root=self._directory)
        except OSError as error:
            raise StoreError(
                f"witness: nothing is cosigned: {error.strerror}; free space or see to the disk"
            ) from error

    def dispute(self, note: bytes) -> None:
        """Keep a checkpoint that contradicts what was cosigned.

        Raises:
            StoreError: The disk refuses.
        """
        size = note.split(b"\n")[1].decode()
        try:
            self._disk.place([(self._directory / f"{_DISPUTED}-{size}", note)], root=self._directory)
        except OSError as error:
            raise StoreError(f"witness: a checkpoint in dispute could not be kept: {error.strerror}") from error
