"""Claims about the log over HTTP."""

from __future__ import annotations

import http.client
import threading
from typing import TYPE_CHECKING

import pytest

from audit_disks import KEY, entries, open_log
from hansa.audit.checkpoint import open_checkpoint
from hansa.audit.merkle import TileTree, leaf_hash, verify_inclusion
from hansa.audit.note import NoteKey
from hansa.audit.serve import answer, log_server
from hansa.audit.tiles import decode_bundle, tile_path
from hansa.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FOR_EVER = "public, max-age=31536000, immutable"


class Client:
    """Reads a log over HTTP: the tiles of a tree whose proofs it makes itself."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)

    def get(self, path: str, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
        self._connection.request(method, path)
        response = self._connection.getresponse()
        return response.status, dict(response.getheaders()), response.read()

    def tile(self, level: int, number: int, width: int) -> bytes:
        return self.get(f"/{tile_path(level, number, width)}")[2]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A log of 600 published entries, 20 that are not, and a checkpoint of 300."""
    with open_log(tmp_path) as log:
        for count in (300, 300):
            log.append(entries(count, first=log.size))
            log.publish(log.head)
        log.append(entries(20, first=600))
    return tmp_path


@pytest.fixture
def client(directory: Path) -> Iterator[Client]:
    server = log_server(directory)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    assert server.server_address[0] == "127.0.0.1"
    one = Client(int(server.server_address[1]))
    yield one
    one._connection.close()
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_client_proves_an_entry_from_what_is_served(client: Client) -> None:
    log = NoteKey.of("hansa.example/demo", KEY.public, is_cosignature=False)
    status, headers, note = client.get("/checkpoint")
    checkpoint = open_checkpoint(note, log=log).checkpoint
    assert (status, checkpoint.size) == (200, 600)
    assert headers["Content-Type"] == "text/plain; charset=utf-8"
    assert headers["Cache-Control"] == "max-age=2, must-revalidate"
    tree = TileTree(client, 600)
    entry = decode_bundle(client.get("/tile/entries/001")[2])[7]
    assert entry == entries(1, first=263)[0]
    verify_inclusion(263, 600, leaf=leaf_hash(entry), proof=tree.inclusion_proof(263), root=checkpoint.root)


def test_tiles_of_past_sizes_are_served_and_kept_for_ever(client: Client) -> None:
    past = open_checkpoint(
        client.get("/checkpoint-at/300")[2], log=NoteKey.of("hansa.example/demo", KEY.public, is_cosignature=False)
    ).checkpoint
    assert TileTree(client, 300).root() == past.root
    for path in ("/tile/0/001.p/44", "/tile/entries/001.p/44", "/tile/1/000.p/1", "/tile/0/000", "/checkpoint-at/600"):
        status, headers, body = client.get(path)
        assert (status, headers["Cache-Control"]) == (200, FOR_EVER)
        assert int(headers["Content-Length"]) == len(body) > 0
    assert client.get("/tile/0/000")[1]["Content-Type"] == "application/octet-stream"
    assert decode_bundle(client.get("/tile/entries/001.p/44")[2]) == entries(44, first=256)


@pytest.mark.parametrize(
    "path",
    [
        "/", "/head", "/lock", "/tile", "/tile/0", "/tile/0/002", "/tile/0/002.p/89", "/tile/0/003.p/1",
        "/tile/0/002.p/0", "/tile/00/000", "/tile/0/x000/000", "/tile/0/0", "/tile/0/000.p/256", "/tile/0/000.p/300",
        "/tile/2/000.p/1", "/tile/0/../../head", "/tile/entries/002.p/089", "/tile/99/000", "/checkpoint-at/301",
        "/checkpoint?x", "/checkpoint-at/../head", "/tile/entries/%30%30%30",
    ],
)  # fmt: skip
def test_nothing_else_is_served(client: Client, path: str) -> None:
    assert client.get(path)[0] == 404


def test_a_head_request_has_no_body_and_others_are_refused(client: Client) -> None:
    status, headers, body = client.get("/tile/0/000", "HEAD")
    assert (status, headers["Content-Length"], body) == (200, "8192", b"")
    assert client.get("/checkpoint", "POST")[0] == 501


def test_a_damaged_file_is_unavailable_and_not_cached(client: Client, directory: Path) -> None:
    (directory / "tile/0/000").write_bytes(b"short")
    status, headers, _ = client.get("/tile/0/000")
    assert (status, headers["Cache-Control"]) == (503, "no-store")
    with pytest.raises(StoreError):
        answer(directory, "/tile/0/000")


def test_a_log_that_published_nothing_serves_nothing(tmp_path: Path) -> None:
    with open_log(tmp_path) as log:
        log.append(entries(3))
    assert answer(tmp_path, "/checkpoint") is None
    assert answer(tmp_path, "/tile/0/000.p/3") is None
