"""Tiles and entry bundles as files: their paths, their bytes, and reading them.

Source: C2SP tlog-tiles.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hansa.audit.merkle import HASH_BYTES, TILE_WIDTH
from hansa.errors import LogError, StoreError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

MAX_ENTRY_BYTES: Final = 0xFFFF


def tile_path(level: int | str, number: int, width: int = TILE_WIDTH) -> str:
    """Return a tile's path; of a bundle for level `entries`.

    >>> tile_path(0, 1234067, 8)
    'tile/0/x001/x234/067.p/8'
    """
    groups = [f"{number % 1000:03}"]
    while number := number // 1000:
        groups.insert(0, f"x{number % 1000:03}")
    suffix = "" if width == TILE_WIDTH else f".p/{width}"
    return f"tile/{level}/{'/'.join(groups)}{suffix}"


def encode_bundle(entries: Sequence[bytes]) -> bytes:
    """Return entries each after its length.

    Raises:
        LogError: An entry is too long.
    """
    for entry in entries:
        if len(entry) > MAX_ENTRY_BYTES:
            raise LogError(
                f"an entry of {len(entry)} bytes; a log takes at most {MAX_ENTRY_BYTES}: log its hash, or divide it"
            )
    return b"".join([piece for entry in entries for piece in (len(entry).to_bytes(2, "big"), entry)])


def decode_bundle(data: bytes) -> list[bytes]:
    """Return the entries of a bundle.

    Raises:
        LogError: The bytes end within an entry.
    """
    entries: list[bytes] = []
    place = 0
    while place < len(data):
        start = place + 2
        place = start + int.from_bytes(data[place:start], "big")
        if start > len(data) or place > len(data):
            raise LogError(f"a bundle of {len(data)} bytes ends within entry {len(entries)}; restore it")
        entries.append(data[start:place])
    return entries


class TileFiles:
    """The tiles and bundles of a log in a directory, for whoever reads: each in the form that the head asks for."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def tile(self, level: int, number: int, width: int) -> bytes:
        """Return a tile.

        Raises:
            StoreError: The file is missing or of another length.
        """
        path = tile_path(level, number, width)
        data = read_file(self.directory / path)
        if len(data) != HASH_BYTES * width:
            raise StoreError(f"log: {path}: expected {width} hashes, got {len(data)} bytes; restore it from a copy")
        return data

    def bundle(self, number: int, width: int) -> list[bytes]:
        """Return the entries of a bundle.

        Raises:
            StoreError: The file is missing or holds fewer or more.
            LogError: It is damaged.
        """
        path = tile_path("entries", number, width)
        entries = decode_bundle(read_file(self.directory / path))
        if len(entries) != width:
            raise StoreError(f"log: {path}: expected {width} entries, got {len(entries)}; restore it from a copy")
        return entries


def read_file(path: Path) -> bytes:
    """Return a file's bytes.

    Raises:
        StoreError: It is missing or cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise StoreError(f"log: cannot read {path}: {error.strerror}; restore it from a copy") from error
