"""The log on disk: tiles and entry bundles as files in the layout of tlog-tiles, and one head that says which count.

```
head                           signed note: the newest size and root; replacing it is the commit
checkpoint                     signed note: the newest that was published, with its cosignatures
checkpoint-at/<size>           every published checkpoint, its size in groups of three digits as in tiles
tile/<L>/<N>[.p/<W>]           hashes, 32 bytes each, 256 a tile; a tile's last, shorter form has the suffix
tile/entries/<N>[.p/<W>]       entries, each after its length (2 bytes, big-endian)
lock                           held by the one process that writes
```

An append writes all new files beside what counts, syncs them, syncs their directories, and then replaces `head`.
Whatever a killed append left is beyond the head's size: nobody reads it, and the next append writes over it. A
shorter tile is removed once neither head nor published checkpoint ends in it: a static file server may serve the
directory as it is.

Guarantees: after a kill at any instant the log has the entries of the last append that returned, and of the one that
was killed all or none; it opens again by itself. An append that fails (a full disk, say) changes nothing. A log that
was set back behind what it published does not open.
Does NOT guarantee: anything against somebody who writes the files and has the log's key: witnesses do.

Source: C2SP tlog-tiles (paths, bundles).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from typing import TYPE_CHECKING, Final, Self

from hansa.audit.checkpoint import Checkpoint, open_checkpoint, signed_checkpoint
from hansa.audit.disk import PARTIAL, Disk
from hansa.audit.merkle import (
    TILE_WIDTH,
    Frontier,
    TileTree,
    leaf_hashes,
    partial_tiles,
    tile_width,
)
from hansa.audit.note import NoteKey
from hansa.audit.reader import CHECKPOINT, LogFiles, checkpoint_path
from hansa.audit.tiles import encode_bundle, read_file, tile_path
from hansa.errors import LogError, MessageError, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from types import TracebackType

    from hansa.audit.merkle import Tile
    from hansa.audit.note import BytesSigner, Note

HEAD: Final = "head"
LOCK: Final = "lock"
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class LogStore(LogFiles):
    """The log that one process appends to.

    Args:
        directory: Where the files are; made if it is not there.
        origin: The log's name: the first line of its checkpoints.
        signer: The log's key.
        disk: The operations on files.

    Raises:
        StoreError: Another process has it open, a file is missing or damaged, it was set back, or the disk refuses.
        SignatureError: The head is not by this key.
        LogError: The tiles do not make the head's root.
    """

    def __init__(self, directory: Path, *, origin: str, signer: BytesSigner, disk: Disk | None = None) -> None:
        super().__init__(directory)
        self.key = NoteKey.of(origin, signer.public, is_cosignature=False)
        self._signer = signer
        self._disk = disk or Disk()
        self._is_unsure = False
        self._lock = _lock(directory)
        try:
            self._note, self._frontier = self._open() if (directory / HEAD).exists() else self._begin()
            self._tree = TileTree(self.files, self._frontier.size)
            self._published = self._published_size()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        """Return the log itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the log."""
        self.close()

    def close(self) -> None:
        """Let another process append. Nothing is written: every append was durable when it returned."""
        os.close(self._lock)

    @property
    def size(self) -> int:
        """Entries."""
        return self._frontier.size

    @property
    def tree(self) -> TileTree:
        """The tree, for roots and proofs."""
        return self._tree

    @property
    def head(self) -> Note:
        """The newest checkpoint, with the log's signature."""
        return self._note

    @property
    def published_size(self) -> int:
        """Size of the newest published checkpoint; 0 before the first."""
        return self._published

    def append(self, entries: Sequence[bytes]) -> int:
        """Append entries, all or none, durable when this returns.

        Args:
            entries: At most 65535 bytes each.

        Returns:
            The index of the first; of none the log's size.

        Raises:
            LogError: An entry is too long.
            StoreError: The disk is full or refuses: nothing was appended. Or the disk refused the very last step: then
                this log takes nothing more, and opening it again shows whether it was appended.
        """
        if self._is_unsure:
            raise StoreError("log: the disk refused to sync the head; open the log again, then use append_once")
        first = self.size
        if not entries:
            return first
        frontier, tiles = self._frontier.extended(leaf_hashes(entries))
        files = [(self.directory / tile_path(t.level, t.number, t.width), t.hashes) for t in tiles]
        files += self._bundles(tiles, entries)
        note = signed_checkpoint(Checkpoint(self.key.name, frontier.size, frontier.root()), self._signer)
        with _refusals(f"{len(entries)} entries were not appended"):
            self._disk.place(files, root=self.directory)
            self._disk.write(self.directory / (HEAD + PARTIAL), note.to_bytes())
            self._disk.rename(self.directory / (HEAD + PARTIAL), self.directory / HEAD)
        self._is_unsure = True
        with _refusals(f"it is not known whether {len(entries)} entries were appended; open the log again"):
            self._disk.sync(self.directory)
        self._is_unsure = False
        self._frontier, self._note = frontier, note
        self._tree.grow(frontier.size)
        self._remove_partial(first)
        return first

    def append_once(self, entries: Sequence[bytes]) -> int:
        """Append entries unless the log ends with them: what to call again after a kill.

        Returns:
            The index of the first.
        """
        start = self.size - len(entries)
        if start >= 0 and all(self._tree.leaf(start + k) == leaf for k, leaf in enumerate(leaf_hashes(entries))):
            return start
        return self.append(entries)

    def publish(self, note: Note) -> None:
        """Keep a checkpoint of this log, with the cosignatures it has, for whoever reads; an older one is kept beside.

        Raises:
            LogError: It is not one of this log's.
            StoreError: The disk refuses.
        """
        checkpoint = open_checkpoint(note.to_bytes(), log=self.key).checkpoint
        if checkpoint.size > self.size or checkpoint.root != self._tree.root(checkpoint.size):
            raise LogError(f"log: the checkpoint of size {checkpoint.size} is not of this tree; publish a head")
        files = [(self.directory / checkpoint_path(checkpoint.size), note.to_bytes())]
        before, is_newest = self._published, checkpoint.size >= self._published
        with _refusals(f"the checkpoint of size {checkpoint.size} was not published"):
            self._disk.place(files, root=self.directory)
            if is_newest:
                self._disk.place([(self.directory / CHECKPOINT, note.to_bytes())], root=self.directory)
        if is_newest:
            self._published = checkpoint.size
            self._remove_partial(before)

    def check(self) -> None:
        """Hash every entry again and compare every tile.

        Raises:
            LogError: An entry is not the one whose hash is in the tree, or a tile is not made of those below it.
        """
        frontier = Frontier()
        for number in range(-(-self.size // TILE_WIDTH)):
            bundle = self.files.bundle(number, tile_width(0, number, self.size))
            frontier, tiles = frontier.extended(leaf_hashes(bundle))
            for tile in tiles:
                is_final = tile.width == tile_width(tile.level, tile.number, self.size)
                if is_final and self.files.tile(tile.level, tile.number, tile.width) != tile.hashes:
                    path = tile_path(tile.level, tile.number, tile.width)
                    raise LogError(f"log: {path} is not made of the entries below it; restore both from a copy")

    def _bundles(self, tiles: Sequence[Tile], entries: Sequence[bytes]) -> Iterator[tuple[Path, bytes]]:
        """Give the bundles beside the new tiles of the lowest level."""
        number, width = divmod(self.size, TILE_WIDTH)
        waiting = [*(self.files.bundle(number, width) if width else ()), *entries]
        start = number * TILE_WIDTH
        for tile in tiles:
            if tile.level == 0:
                low = tile.number * TILE_WIDTH - start
                data = encode_bundle(waiting[low : low + tile.width])
                yield self.directory / tile_path("entries", tile.number, tile.width), data

    def _remove_partial(self, size: int) -> None:
        """Remove the shorter tiles in which a tree of `size` ends, but those that are still needed."""
        needed = {path for kept in (self.size, self._published) for path in _partial_paths(kept)}
        with contextlib.suppress(OSError):  # what was appended is durable; a file too many harms nobody
            for path in _partial_paths(size) - needed:
                self._disk.remove(self.directory / path)

    def _open(self) -> tuple[Note, Frontier]:
        path = self.directory / HEAD
        try:
            opened = open_checkpoint(read_file(path), log=self.key)
        except MessageError as error:
            raise StoreError(f"log: {path}: {error}; restore the log from a copy") from error
        frontier = Frontier.of(self.files, opened.checkpoint.size)
        if frontier.root() != opened.checkpoint.root:
            raise LogError(f"log: the tiles in {self.directory} do not make the root of {HEAD}; restore them")
        return opened.note, frontier

    def _begin(self) -> tuple[Note, Frontier]:
        if (self.directory / "tile").exists() or (self.directory / CHECKPOINT).exists():
            raise StoreError(f"log: {self.directory} has tiles, but no {HEAD}; restore the log from a copy")
        frontier = Frontier()
        note = signed_checkpoint(Checkpoint(self.key.name, 0, frontier.root()), self._signer)
        with _refusals("the log was not begun"):
            self._disk.place([(self.directory / HEAD, note.to_bytes())], root=self.directory)
        return note, frontier

    def _published_size(self) -> int:
        path = self.directory / CHECKPOINT
        if not path.exists():
            return 0
        size = open_checkpoint(read_file(path), log=self.key).checkpoint.size
        if size > self.size:
            raise StoreError(
                f"log: it has {self.size} entries, but has published {size}: it was set back; restore the newer copy"
            )
        return size


def _partial_paths(size: int) -> set[str]:
    found = {tile_path(level, number, width) for level, number, width in partial_tiles(size)}
    if size % TILE_WIDTH:
        found.add(tile_path("entries", size // TILE_WIDTH, size % TILE_WIDTH))
    return found


def _lock(directory: Path) -> int:
    with _refusals("it was not opened"):
        directory.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(directory / LOCK, os.O_CREAT | os.O_RDWR, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise StoreError(f"log: {directory} is open in another process; one process appends") from error
    return descriptor


@contextlib.contextmanager
def _refusals(consequence: str) -> Iterator[None]:
    """Turn what the disk refuses into an error that says what did not happen."""
    try:
        yield
    except OSError as error:
        advice = "the disk is full: free space and try again" if error.errno in _FULL else "see to the disk"
        raise StoreError(f"log: {consequence}: {error.strerror}; {advice}") from error
