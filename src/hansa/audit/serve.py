"""The log over HTTP, to read only: checkpoint, tiles and entry bundles, as tlog-tiles has them.

| path | what | cached |
|---|---|---|
| `/checkpoint` | the newest published checkpoint | at most 2 s |
| `/checkpoint-at/<size>` | a published checkpoint of a size, size as a tile's number | for ever |
| `/tile/<L>/<N>[.p/<W>]` | hashes | for ever |
| `/tile/entries/<N>[.p/<W>]` | entries | for ever |

Nothing beyond the published checkpoint is served, so what a killed append left is never seen and what is cached for
ever never changes. A shorter tile of any past size is served from the longer one that begins with it.

Guarantees: answers GET and HEAD of these paths alone, and reads no other file. Does NOT guarantee: secrecy; whoever
reaches the port reads the log. It listens on the loopback interface unless told otherwise; a server in front of it
can as well serve the directory itself.

Source: C2SP tlog-tiles.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Final, NamedTuple

from hansa.audit.checkpoint import Checkpoint
from hansa.audit.merkle import HASH_BYTES, TILE_WIDTH, tile_width
from hansa.audit.note import Note
from hansa.audit.tiles import TileFiles, encode_bundle, read_file, tile_path
from hansa.errors import HansaError

if TYPE_CHECKING:
    from pathlib import Path

_NUMBER: Final = r"((?:x[0-9]{3}/)*[0-9]{3})"
_TILE: Final = re.compile(rf"/tile/([0-9]{{1,2}}|entries)/{_NUMBER}(?:\.p/([1-9][0-9]{{0,2}}))?")
_PAST: Final = re.compile(rf"/checkpoint-at/{_NUMBER}")
_TEXT: Final = "text/plain; charset=utf-8"
_BYTES: Final = "application/octet-stream"
_NEWEST: Final = "max-age=2, must-revalidate"
_FOR_EVER: Final = "public, max-age=31536000, immutable"


class Answer(NamedTuple):
    """What a path answers: its bytes, their type, and how long they may be kept."""

    body: bytes
    media_type: str
    caching: str


def answer(directory: Path, path: str) -> Answer | None:
    """Return what a log's directory answers to a path, or None if there is nothing.

    Raises:
        HansaError: A file that must be there is missing or damaged.
    """
    if path == "/checkpoint":
        newest = directory / "checkpoint"
        return Answer(read_file(newest), _TEXT, _NEWEST) if newest.exists() else None
    if _PAST.fullmatch(path):
        past = directory / path[1:]
        return Answer(read_file(past), _TEXT, _FOR_EVER) if past.is_file() else None
    asked = _TILE.fullmatch(path)
    if asked is None:
        return None
    level = asked[1]
    number, width = int(asked[2].replace("x", "").replace("/", "")), int(asked[3] or TILE_WIDTH)
    if path[1:] != tile_path(level if level == "entries" else int(level), number, width):
        return None  # another spelling of a number
    body = _tile(directory, level, number, width)
    return None if body is None else Answer(body, _BYTES, _FOR_EVER)


def _tile(directory: Path, level: str, number: int, width: int) -> bytes | None:
    """Return the first `width` of a tile that the published checkpoint has in full, from the form that is on disk."""
    newest = directory / "checkpoint"
    if not newest.exists():
        return None
    size = Checkpoint.parse(Note.parse(read_file(newest)).text).size
    height = 0 if level == "entries" else int(level)
    there = tile_width(height, number, size)
    if not 0 < width <= there:
        return None
    files = TileFiles(directory)
    if level == "entries":
        return encode_bundle(files.bundle(number, there)[:width])
    return files.tile(height, number, there)[: HASH_BYTES * width]


def log_server(directory: Path, *, host: str = "127.0.0.1", port: int = 0) -> ThreadingHTTPServer:
    """Return a server of a log's directory, bound and not yet serving: call `serve_forever`, then `server_close`.

    Args:
        directory: Of the log.
        host: Address to listen on.
        port: Port, or 0 for any that is free (`server_address` says which).
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        server_version = "hansa-log"
        sys_version = ""
        timeout = 30

        def do_GET(self) -> None:
            self._answer(has_body=True)

        def do_HEAD(self) -> None:
            self._answer(has_body=False)

        def _answer(self, *, has_body: bool) -> None:
            try:
                found = answer(directory, self.path)
            except HansaError:
                self._send(
                    HTTPStatus.SERVICE_UNAVAILABLE, Answer(b"the log is damaged or being replaced\n", _TEXT, "no-store")
                )
                return
            status = HTTPStatus.OK if found else HTTPStatus.NOT_FOUND
            self._send(status, found or Answer(b"not in this log\n", _TEXT, _NEWEST), has_body=has_body)

        def _send(self, status: HTTPStatus, what: Answer, *, has_body: bool = True) -> None:
            self.send_response(status)
            self.send_header("Content-Type", what.media_type)
            self.send_header("Content-Length", str(len(what.body)))
            self.send_header("Cache-Control", what.caching)
            self.send_header("X-Content-Type-Options", "nosniff")
            self.end_headers()
            if has_body:
                self.wfile.write(what.body)

        def log_message(self, *_: object) -> None:
            """Say nothing: who reads a log is nobody's concern."""

    return ThreadingHTTPServer((host, port), Handler)
