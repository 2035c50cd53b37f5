"""Reading a log in a directory: its entries and published checkpoints, by its keeper and by whoever else may look.

Source: C2SP tlog-tiles (paths, bundles).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final

from hansa.audit.checkpoint import open_checkpoint
from hansa.audit.disk import PARTIAL
from hansa.audit.merkle import TILE_WIDTH, TileTree, tile_width
from hansa.audit.tiles import TileFiles, read_file, tile_path
from hansa.errors import LogError, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from hansa.audit.note import NoteKey

CHECKPOINT: Final = "checkpoint"


class LogFiles(ABC):
    """The files of a log."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.files = TileFiles(directory)

    @property
    @abstractmethod
    def size(self) -> int:
        """Entries."""

    @property
    @abstractmethod
    def tree(self) -> TileTree:
        """The tree, for roots and proofs."""

    def entry(self, index: int) -> bytes:
        """Return an entry.

        Raises:
            LogError: There is none.
        """
        return next(self.entries(index, index + 1))

    def entries(self, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """Give the entries from `start` to before `end`, by default all.

        Raises:
            LogError: There are fewer.
        """
        end = self.size if end is None else end
        if not 0 <= start <= end <= self.size:
            raise LogError(f"log: expected entries within 0 to {self.size}, got {start} to {end}")
        for number in range(start // TILE_WIDTH, -(-end // TILE_WIDTH)):
            low = number * TILE_WIDTH
            bundle = self.files.bundle(number, tile_width(0, number, self.size))
            yield from bundle[max(start - low, 0) : end - low]

    def published(self, size: int) -> bytes | None:
        """Return the published checkpoint of a size, or None."""
        path = self.directory / checkpoint_path(size)
        return read_file(path) if path.exists() else None

    def published_sizes(self, least: int = 0) -> list[int]:
        """Return the sizes of the published checkpoints of at least so many entries, up to the size here, in order."""
        root = self.directory / "checkpoint-at"
        found = (path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
        sizes = (int(name.replace("x", "").replace("/", "")) for name in found if not name.endswith(PARTIAL))
        return sorted(size for size in sizes if least <= size <= self.size)


class LogReader(LogFiles):
    """A log as of its newest published checkpoint: no lock, nothing is written, its keeper may append meanwhile.

    Args:
        directory: Where its keeper has the files.
        key: The log's key.

    Raises:
        StoreError: No checkpoint is published there, or a file is missing.
        SignatureError: The checkpoint is not by this key.
    """

    def __init__(self, directory: Path, *, key: NoteKey) -> None:
        super().__init__(directory)
        if not (directory / CHECKPOINT).exists():
            raise StoreError(
                f"{directory}: no checkpoint is published; a log is kept where the constitution has cosignatures, and "
                "its first checkpoint comes with the first sum"
            )
        self._size = open_checkpoint(read_file(directory / CHECKPOINT), log=key).checkpoint.size
        self._tree = TileTree(self.files, self._size)

    @property
    def size(self) -> int:
        """Entries of the checkpoint."""
        return self._size

    @property
    def tree(self) -> TileTree:
        """The checkpoint's tree."""
        return self._tree


def checkpoint_path(size: int) -> str:
    """Return the path of the published checkpoint of a size."""
    return tile_path("at", size).replace("tile/at", "checkpoint-at")
