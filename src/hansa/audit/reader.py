"""The log in a directory, for whoever reads it while its keeper appends: no lock, nothing is written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hansa.audit.checkpoint import open_checkpoint
from hansa.audit.merkle import TILE_WIDTH, TileTree, tile_width
from hansa.audit.store import HEAD, checkpoint_path, published_sizes
from hansa.audit.tiles import TileFiles, read_file
from hansa.errors import LogError, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from hansa.audit.note import NoteKey


class LogReader:
    """A log as of one moment.

    Args:
        directory: Where its keeper has the files.
        key: The log's key.

    Raises:
        StoreError: There is no log, or a file is missing.
        SignatureError: Its head is not by this key.
    """

    def __init__(self, directory: Path, *, key: NoteKey) -> None:
        if not (directory / HEAD).exists():
            raise StoreError(f"{directory}: no log; it is where the coordinator works")
        self.directory = directory
        self.files = TileFiles(directory)
        self.size = open_checkpoint(read_file(directory / HEAD), log=key).checkpoint.size
        self.tree = TileTree(self.files, self.size)

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
        """Return the sizes of all published checkpoints of at least so many entries, in order."""
        return [size for size in published_sizes(self.directory, least) if size <= self.size]
