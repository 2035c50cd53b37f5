"""Claims about one node's connection: nothing waits without end, whatever the server or another writer does."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import pytest

from federation.nats_federation import NatsFederation
from hansa.errors import TransportError
from hansa.federation.nats_accounts import SLOTS
from hansa.federation.nats_connection import DisconnectedError, _Client
from hansa.federation.transport import Subject

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hansa.federation.nats_server import NatsServer
    from hansa.federation.nats_transport import NatsTransport


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> NatsFederation:
    return NatsFederation(tmp_path_factory.mktemp("federation")).make()


@pytest.fixture(scope="module")
def server(federation: NatsFederation) -> Iterator[NatsServer]:
    with federation.server() as running:
        yield running


async def closed_without_a_word(transport: NatsTransport) -> None:
    """Leave the library's client as a server's death can: closed, its callbacks still waiting for the TLS stream."""
    client = transport._connection.client
    client._disconnected_cb = client._closed_cb = None
    await client.close()


async def test_a_request_that_finds_its_client_closed_lets_the_others_run(
    federation: NatsFederation, server: NatsServer
) -> None:
    north = await federation.connect(server.url, "north")
    keeper = north._connection._keeper
    assert keeper is not None
    keeper.cancel()  # so that nobody but the request can notice
    await closed_without_a_word(north)
    with pytest.raises(DisconnectedError):
        await north._connection.request("hansa.baltic.e.s.agree.north", b"")
    assert not north._connection._connected.is_set()  # the next request waits, it does not spin
    await north.close()


async def test_a_client_that_closes_without_a_word_is_replaced(federation: NatsFederation, server: NatsServer) -> None:
    coordinator = await federation.connect(server.url, "coordinator")
    north = await federation.connect(server.url, "north")
    async with asyncio.timeout(10):
        for number, work in enumerate((north.publish, north.publish)):
            await closed_without_a_word(north)
            assert await work(Subject("word", f"s{number}", "agree", "north"), b"said")
    await north.close()
    await coordinator.close()


async def test_a_reader_goes_on_when_its_client_closes_without_a_word(
    federation: NatsFederation, server: NatsServer
) -> None:
    coordinator = await federation.connect(server.url, "coordinator")
    north = await federation.connect(server.url, "north")
    async with aclosing(north.board()) as messages, asyncio.timeout(10):
        for number in range(3):
            await coordinator.publish(Subject("read", f"s{number}", "announce", "coordinator"), b"%d" % number)
            assert (await anext(messages)).body == b"%d" % number
            await closed_without_a_word(north)
    await north.close()
    await coordinator.close()


async def test_the_keeper_outlives_whatever_the_library_raises(
    federation: NatsFederation, server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    coordinator = await federation.connect(server.url, "coordinator")
    north = await federation.connect(server.url, "north")
    connect, raised = _Client.connect, [KeyError("port"), RuntimeError("loop"), AttributeError("transport")]

    async def faulty(self: _Client, *arguments: Any, **options: Any) -> None:
        if raised:
            raise raised.pop()
        await connect(self, *arguments, **options)

    monkeypatch.setattr(_Client, "connect", faulty)
    await closed_without_a_word(north)
    async with asyncio.timeout(10):
        assert await north.publish(Subject("keeper", "s1", "agree", "north"), b"said")
    assert raised == []
    await north.close()
    await coordinator.close()


@pytest.mark.parametrize(
    "block",
    [
        b"NATS/1.0",
        b"NATS/1.0 \xff\xff\xff\r\n\r\n",
        b"NATS/1.0\r\n\xff: \xff\r\n\r\n",
        b"\x00",
        b"NATS/1.0 100 \xff\r\n\r\n",
    ],
)
async def test_headers_that_the_library_cannot_read_stop_nobody(
    federation: NatsFederation, server: NatsServer, block: bytes
) -> None:
    epoch = block.hex()[:40]
    coordinator = await federation.connect(server.url, "coordinator")
    north = await federation.connect(server.url, "north")
    south = await federation.connect(server.url, "south")
    raw = Subject(epoch, "s1", "setup", "north").to_text("baltic").encode()
    client = north._connection.client
    body = b"\x00lie"
    await client._send_command(b"HPUB %s %d %d\r\n%s%s\r\n" % (raw, len(block), len(block) + len(body), block, body))
    await client.flush()
    await north.publish(Subject(epoch, "s2", "setup", "north"), b"true")
    readings = [coordinator.board(), south.board()]
    async with asyncio.timeout(5):
        for reading in readings:
            async with aclosing(reading) as messages:
                async for message in messages:
                    if message.subject.session == "s2" and message.subject.epoch == epoch:
                        break
    for transport in (north, south, coordinator):
        await transport.close()


async def test_a_nodes_readings_share_a_few_consumers_and_give_them_back(
    federation: NatsFederation, server: NatsServer
) -> None:
    coordinator = await federation.connect(server.url, "coordinator")
    north = await federation.connect(server.url, "north")
    await coordinator.publish(Subject("slots", "s1", "announce", "coordinator"), b"")
    async with asyncio.timeout(20):
        for _ in range(3 * SLOTS):  # the server keeps an abandoned consumer for a while: its name is taken over
            async with aclosing(north.board()) as messages:
                await anext(messages)
        readings = [north.board() for _ in range(SLOTS)]
        for reading in readings:
            await anext(reading)
        with pytest.raises(TransportError, match=f"at most {SLOTS} readings"):
            await anext(north.board())
        for reading in readings:
            await reading.aclose()
    await north.close()
    await coordinator.close()
