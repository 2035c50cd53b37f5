"""The few operations on files that the log makes, so that every one can be watched, failed or killed in a test.

A file appears whole or not at all: it is written under another name, synced and renamed. A rename is durable once its
directory is synced.
"""

from __future__ import annotations

import contextlib
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

PARTIAL: Final = ".writing"
_WORKERS: Final = 8
_FEW: Final = 8


class Disk:
    """Durable operations on files.

    Raises:
        OSError: Of any operation, as the system gives it.
    """

    def write(self, path: Path, data: bytes) -> None:
        """Write a file and sync it; it is there in part if this is interrupted."""
        descriptor = _open(path, os.O_TRUNC)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(descriptor, view) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def overwrite(self, path: Path, start: int, data: bytes) -> None:
        """Write a file from byte `start` on, cut it there, and sync it and its name."""
        descriptor = _open(path, 0)
        try:
            view, place = memoryview(data), start
            while view:
                written = os.pwrite(descriptor, view, place)
                view, place = view[written:], place + written
            os.ftruncate(descriptor, place)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        self.sync(path.parent)

    def rename(self, path: Path, target: Path) -> None:
        """Give a file its name, in place of what has it."""
        path.replace(target)

    def sync(self, directory: Path) -> None:
        """Make the names in a directory durable."""
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def remove(self, path: Path) -> None:
        """Remove a file, and its folder if that is empty then."""
        path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            path.parent.rmdir()

    def place(self, files: Sequence[tuple[Path, bytes]], *, root: Path) -> None:
        """Put files in place, each whole, all durable when this returns; in no order among themselves."""

        def put(file: tuple[Path, bytes]) -> None:
            path, data = file
            beside = path.with_name(path.name + PARTIAL)
            self.write(beside, data)
            self.rename(beside, path)

        if len(files) <= _FEW:
            for file in files:
                put(file)
        else:
            with ThreadPoolExecutor(_WORKERS) as pool:
                list(pool.map(put, files))
        for directory in _directories((path for path, _ in files), root):
            self.sync(directory)


def _open(path: Path, flags: int) -> int:
    """Open a file to write, and make its folder if that is not there."""
    try:
        return os.open(path, os.O_CREAT | os.O_WRONLY | flags, 0o644)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_CREAT | os.O_WRONLY | flags, 0o644)


def _directories(paths: Iterable[Path], root: Path) -> list[Path]:
    """Return the directories of files up to a root, the deepest first: any of them may be new."""
    folders = {path.parent for path in paths}
    above = {one for folder in folders for one in folder.parents}
    found = {folder for folder in folders | above if folder == root or root in folder.parents}
    return sorted(found, key=lambda path: -len(path.parts))
