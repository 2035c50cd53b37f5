"""Claims about three servers as one cluster: any one of them may die, and nobody but a server joins."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from contextlib import aclosing
from typing import TYPE_CHECKING

import pytest

from federation.nats_federation import NatsFederation, free_ports
from hansa.errors import MessageError, TransportError
from hansa.federation.nats_accounts import stream_name
from hansa.federation.nats_server import ClusterPlace, NatsServer, ServerOptions, render_configuration
from hansa.federation.transport import Channel, Subject

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from hansa.federation.nats_transport import NatsTransport

PATIENCE_SECONDS = 30.0  # a cluster of three on a busy machine elects its first leader


@contextlib.contextmanager
def running(federation: NatsFederation) -> Iterator[list[NatsServer]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(server) for server in federation.cluster()]


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30.0
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.02)


def url_of(servers: list[NatsServer]) -> str:
    return ",".join(server.url for server in servers)


async def leader(coordinator: NatsTransport, channel: Channel) -> str:
    answer = await coordinator._requests.ask(f"STREAM.INFO.{stream_name('baltic', channel)}", {})
    return str(answer["cluster"].get("leader", ""))


async def until_all_have_all(coordinator: NatsTransport) -> None:
    """Return when every stream has a leader and two copies that are current and online."""
    async with asyncio.timeout(60):
        for channel in Channel:
            while True:
                answer = await coordinator._requests.ask(f"STREAM.INFO.{stream_name('baltic', channel)}", {})
                copies = answer["cluster"].get("replicas", [])
                if sum(bool(one["current"]) and not one.get("offline") for one in copies) == 2:
                    break
                await asyncio.sleep(0.05)  # between two questions; the loop ends by the server's answer


def test_a_place_in_a_cluster_names_three_servers_and_itself_decently() -> None:
    routes = ("a:6222", "b:6222", "[::1]:6222")
    assert ClusterPlace("a", 6222, routes).routes == routes
    for faulty in (routes[:2], ("a:1", "a:1", "a:1"), ("a", "b", "c"), (*routes, "tls://x:1"), (*routes, "u:p@x:1")):
        with pytest.raises(TransportError, match="host:port of at least 3 servers"):
            ClusterPlace("a", 6222, faulty)
    with pytest.raises(MessageError):
        ClusterPlace("A b", 6222, routes)


def test_every_server_of_a_cluster_has_the_same_accounts_and_its_own_name(tmp_path: Path) -> None:
    files = dict.fromkeys(("certificate", "key", "authority"), tmp_path / "f")
    routes = ("a:6222", "b:6222", "c:6222")
    alone = ServerOptions("baltic", "hub", ("north",), **files)
    placed = [
        ServerOptions("baltic", "hub", ("north",), **files, cluster=ClusterPlace(name, 6222, routes)) for name in "abc"
    ]
    rendered = [json.loads(render_configuration(tmp_path, one, port=4222)) for one in (alone, *placed)]
    assert all(one["accounts"] == rendered[0]["accounts"] for one in rendered)
    assert "cluster" not in rendered[0]
    assert [one["server_name"] for one in rendered] == ["hansa-baltic", *(f"hansa-baltic-{name}" for name in "abc")]
    for one in rendered[1:]:
        assert one["cluster"]["tls"]["verify_and_map"] is True
        assert one["cluster"]["authorization"] == {"user": "hansa://hub.baltic"}


@pytest.mark.slow
async def test_any_server_may_be_killed_and_nothing_is_lost_or_repeated(tmp_path: Path) -> None:
    federation = NatsFederation(tmp_path).make()
    with running(federation) as servers:
        url = url_of(servers)
        coordinator = await federation.connect(url, "coordinator", replicas=3, patience_seconds=PATIENCE_SECONDS)
        north = await federation.connect(url, "north")
        for turn, victim in enumerate(servers):

            async def announce(turn: int = turn) -> None:
                for number in range(200):
                    body = b"%d " % number + bytes(2_000_000 if number % 50 == 0 else 100)
                    assert await coordinator.publish(Subject(f"t{turn}", f"s{number}", "announce", "coordinator"), body)

            writing = asyncio.create_task(announce())
            got: list[int] = []
            async with aclosing(north.board()) as messages, asyncio.timeout(60):
                async for message in messages:
                    if message.subject.epoch != f"t{turn}":
                        continue
                    got.append(int(message.body.split(b" ")[0]))
                    if len(got) == 20:
                        victim.kill()
                    if len(got) == 200:
                        break
            await writing
            assert got == list(range(200))
            await asyncio.to_thread(victim.start)
            await until_all_have_all(coordinator)
        assert {await leader(coordinator, channel) for channel in Channel} <= {f"hansa-baltic-{one}" for one in "abc"}
        await north.close()
        await coordinator.close()


@pytest.mark.slow
async def test_a_cluster_refuses_the_same_as_a_server_alone(tmp_path: Path) -> None:
    federation = NatsFederation(tmp_path).make()
    with running(federation) as servers:
        nodes = [
            await federation.connect(servers[place].url, node, replicas=3, patience_seconds=PATIENCE_SECONDS)
            for place, node in enumerate(("coordinator", "north", "south"))
        ]
        coordinator, north, south = nodes
        subject = Subject("once", "setup-1-to-2", "deal", "north")
        assert await north.publish(subject, bytes(2_000_000))
        assert not await north.publish(subject, b"other")
        assert await south.fetch(subject) == bytes(2_000_000)
        upload = Subject("once", "s1", "upload", "north")
        assert await north.publish(upload, b"sealed")
        async with asyncio.timeout(10):  # an upload comes from any server of the stream, perhaps a moment late
            while await south.fetch(upload) != b"sealed":
                pass
        with pytest.raises(TransportError, match="may not publish"):
            await south._requests.store(upload.to_text("baltic"), b"\x00lie")
        for interface in ("CONSUMER.CREATE.{}.x", "STREAM.MSG.GET.{}", "STREAM.PURGE.{}"):
            with pytest.raises(TransportError, match="may not publish"):
                await south._requests.ask(interface.format(stream_name("baltic", Channel.INBOX)), {})
        assert await coordinator.head(Channel.POST) > 0
        for node in nodes:
            await node.close()


@pytest.mark.slow
async def test_a_member_cannot_join_as_a_server(tmp_path: Path) -> None:
    federation = NatsFederation(tmp_path).make()
    with running(federation) as servers:
        coordinator = await federation.connect(
            url_of(servers), "coordinator", replicas=3, patience_seconds=PATIENCE_SECONDS
        )
        routes = tuple(json.loads((tmp_path / "nats-a" / "nats.conf").read_text())["cluster"]["routes"])
        place = ClusterPlace("rogue", free_ports(1)[0], tuple(one.removeprefix("tls://") for one in routes))
        options = ServerOptions("baltic", "coordinator", ("north",), **federation.credentials("north"), cluster=place)
        rogue = NatsServer(tmp_path / "rogue", options)
        log = tmp_path / "nats-a" / "server.log"
        with rogue:
            await asyncio.to_thread(
                until, lambda: "uthorization" in (said := log.read_text()) or "uthentication" in said
            )
            answer = await coordinator._requests.ask("INFO", {})
            assert "error" not in answer
            peers = await coordinator._requests.ask(f"STREAM.INFO.{stream_name('baltic', Channel.BOARD)}", {})
            assert "rogue" not in json.dumps(peers)
            assert "JetStream cluster new metadata leader" not in (tmp_path / "rogue" / "server.log").read_text()
        await coordinator.close()
