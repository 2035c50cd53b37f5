"""Files of a kit: read whole or refused, written whole or not at all, secrets 0600 from their first byte.

Guarantees: a secret is never readable by others, not even while it is written; one that is there already is replaced
only by `replace_secret`. Does NOT guarantee: anything against whoever runs as the same user, or as root.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Final

from hansa.errors import IdentityError

if TYPE_CHECKING:
    from pathlib import Path

MAX_FILE_BYTES: Final = 1_000_000


def read_file(path: Path) -> bytes:
    """Return the content of a kit's file.

    Raises:
        IdentityError: It is missing, unreadable or too large.
    """
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise IdentityError(f"{path}: larger than {MAX_FILE_BYTES} bytes; this is not a kit's file")
        return path.read_bytes()
    except OSError as error:
        raise IdentityError(f"{path}: {error.strerror}; a kit is made by `hansa kit new` or `request`") from error


def read_secret(path: Path) -> bytes:
    """Return the content of a file that its owner alone may read.

    Raises:
        IdentityError: As `read_file`, or others may read it.
    """
    content = read_file(path)
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise IdentityError(f"{path}: expected mode 0600, got {mode:04o}; run `chmod 600 {path}` and ask who read it")
    return content


def write_file(path: Path, content: bytes) -> None:
    """Write a public file, over an older one if there is one."""
    _partial(path, content, 0o644).replace(path)


def write_secret(path: Path, content: bytes) -> None:
    """Write a new secret, 0600.

    Raises:
        IdentityError: There is one already.
    """
    partial = _partial(path, content, 0o600)
    try:
        os.link(partial, path)
    except FileExistsError as error:
        raise IdentityError(f"{path}: exists; a key is never overwritten: choose another folder") from error
    finally:
        partial.unlink()


def replace_secret(path: Path, content: bytes) -> None:
    """Write a secret over an older one, 0600: at every instant one of the two is there whole."""
    _partial(path, content, 0o600).replace(path)
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _partial(path: Path, content: bytes, mode: int) -> Path:
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return partial
