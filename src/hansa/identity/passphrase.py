"""Where a passphrase or a PIN comes from: never from the command line, which every user of the machine can read.

| source | means |
|---|---|
| `file:PATH` | first line of a file, 0600; a relative path begins at the kit's folder |
| `env:NAME` | an environment variable, readable by the same user and root in /proc while the process lives |
| `fd:NUMBER` | everything up to the end of an open descriptor, such as a pipe; it can be read once |
| `prompt` | asked for on the terminal, without echo |

Guarantees: what is read appears in no message, log or `repr`.
Does NOT guarantee: that memory is wiped; Python copies strings.
"""

from __future__ import annotations

import getpass
import os
import re
import sys
from typing import TYPE_CHECKING, Final

from hansa.errors import ConfigurationError, IdentityError
from hansa.identity.files import read_secret

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SHORTEST: Final = 12  # characters of a passphrase that a person chooses
LONGEST_BYTES: Final = 1024
_SOURCE: Final = re.compile(r"file:.+|env:[A-Za-z_][A-Za-z0-9_]*|fd:[0-9]{1,6}|prompt")
_read_descriptors: dict[int, str] = {}  # a pipe gives its bytes once; a kit may be read twice


def check_source(source: str, *, what: str) -> None:
    """Check the form of a source.

    Raises:
        ConfigurationError: It is none of the four; the text is not shown, it might be the secret itself.
    """
    if not _SOURCE.fullmatch(source):
        raise ConfigurationError(
            f"{what}: expected file:PATH, env:NAME, fd:NUMBER or prompt; a passphrase or PIN itself never stands here"
        )


def read_passphrase(source: str, *, directory: Path, what: str, is_new: bool = False) -> str:
    """Return a passphrase or a PIN.

    Args:
        source: `file:PATH`, `env:NAME`, `fd:NUMBER` or `prompt`.
        directory: Where relative paths begin.
        what: Name for questions and messages, such as "PIN of token north".
        is_new: Whether it is being chosen: then it is asked for twice and must not be short.

    Raises:
        ConfigurationError: The source has another form.
        IdentityError: There is nothing there, it is too long, too short for a new one, or not text.
    """
    check_source(source, what=what)
    kind, _, place = source.partition(":")
    readers: dict[str, Callable[[], str]] = {
        "file": lambda: _first_line(read_secret(directory / place), what),
        "env": lambda: _from_environment(place, what),
        "fd": lambda: _from_descriptor(int(place), what),
        "prompt": lambda: _ask(what, is_new=is_new),
    }
    found = readers[kind]()
    if not found:
        raise IdentityError(f"{what}: {source} is empty")
    if len(found.encode()) > LONGEST_BYTES:
        raise IdentityError(f"{what}: {source} gives more than {LONGEST_BYTES} bytes; this is not one")
    if is_new and len(found) < SHORTEST:
        raise IdentityError(f"{what}: expected at least {SHORTEST} characters, got {len(found)}; choose a longer one")
    return found


def _first_line(content: bytes, what: str) -> str:
    try:
        return content.decode().split("\n", 1)[0].rstrip("\r")
    except UnicodeDecodeError:
        raise IdentityError(f"{what}: expected UTF-8 text") from None  # the error would show the bytes


def _from_environment(name: str, what: str) -> str:
    found = os.environ.get(name)
    if found is None:
        raise IdentityError(f"{what}: the environment has no variable {name}; set it for this process alone")
    return found


def _from_descriptor(number: int, what: str) -> str:
    if number not in _read_descriptors:
        try:
            with os.fdopen(number, "rb") as file:
                content = file.read(LONGEST_BYTES + 2)
        except OSError as error:
            raise IdentityError(
                f"{what}: descriptor {number}: {error.strerror}; open it, as in `{number}< <(command)`"
            ) from None
        _read_descriptors[number] = _first_line(content, what)
    return _read_descriptors[number]


def _ask(what: str, *, is_new: bool) -> str:
    if not sys.stdin.isatty():
        raise IdentityError(f"{what}: there is no terminal to ask at; name file:PATH, env:NAME or fd:NUMBER instead")
    found = getpass.getpass(f"{what}: ")
    if is_new and getpass.getpass(f"{what}, again: ") != found:
        raise IdentityError(f"{what}: the two are different; nothing was made")
    return found
