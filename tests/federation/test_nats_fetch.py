from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from federation.nats_federation import NatsFederation
from hansa.errors import MessageError, TransportError
from hansa.federation.frames import Commit
from hansa.federation.nats_accounts import stream_name
from hansa.federation.transport import Channel, Subject

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from hansa.federation.nats_server import NatsServer
    from hansa.federation.nats_transport import NatsTransport

SMALL_PAYLOAD = 64 * 1024


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> NatsFederation:
    return NatsFederation(tmp_path_factory.mktemp("federation")).make()


@pytest.fixture(scope="module")
def server(federation: NatsFederation) -> Iterator[NatsServer]:
    with federation.server(max_payload_bytes=SMALL_PAYLOAD) as running:
        yield running


@asynccontextmanager
async def nodes(federation: NatsFederation, server: NatsServer) -> AsyncIterator[list[NatsTransport]]:
    transports = [await federation.connect(server.url, node) for node in ("coordinator", "north", "south")]
    try:
        yield transports
    finally:
        for transport in transports:
            await transport.close()


@pytest.mark.parametrize("size", [0, 1, SMALL_PAYLOAD - 1, SMALL_PAYLOAD, SMALL_PAYLOAD + 1, 3_000_001])
@pytest.mark.parametrize("step", ["deal", "upload", "setup"])
async def test_a_body_of_any_size_is_fetched_by_its_address(
    federation: NatsFederation, server: NatsServer, step: str, size: int
) -> None:
    body = bytes(number * 7 % 251 for number in range(size))
    subject = Subject(f"size-{size}", "setup-1-to-2", step, "north")
    async with nodes(federation, server) as (coordinator, north, south):
        assert await south.fetch(subject) is None
        assert await north.publish(subject, body)
        assert not await north.publish(subject, b"other")
        assert await south.fetch(subject) == body
        assert await coordinator.fetch(subject) == body


async def test_what_lies_in_the_post_is_on_no_other_channel(federation: NatsFederation, server: NatsServer) -> None:
    async with nodes(federation, server) as (coordinator, north, _):
        before = [await coordinator.head(channel) for channel in Channel]
        await north.publish(Subject("apart", "setup-1-to-2", "deal", "north"), b"sealed")
        after = [await coordinator.head(channel) for channel in Channel]
        assert after[:2] == before[:2]
        assert after[2] == before[2] + 1


async def test_a_member_fetches_openings_but_no_agreement(federation: NatsFederation, server: NatsServer) -> None:
    async with nodes(federation, server) as (coordinator, north, south):
        for step in ("open", "open-2", "shares", "agree"):
            await north.publish(Subject("closed", "s1", step, "north"), step.encode())
            assert await coordinator.fetch(Subject("closed", "s1", step, "north")) == step.encode()
        for step in ("open", "open-2", "shares"):
            assert await south.fetch(Subject("closed", "s1", step, "north")) == step.encode()
        agreement = Subject("closed", "s1", "agree", "north")
        with pytest.raises(TransportError, match="coordinator alone"):
            await south.fetch(agreement)
        with pytest.raises(TransportError, match="may not publish"):
            await south._requests.stored_anywhere(stream_name("baltic", Channel.INBOX), agreement.to_text("baltic"))


@pytest.mark.parametrize("step", ["deal", "upload"])
async def test_a_liars_body_is_refused_and_never_half_given(
    federation: NatsFederation, server: NatsServer, step: str
) -> None:
    true = bytes(5000)
    commit = Commit.of(true, chunk_bytes=2000)
    async with nodes(federation, server) as (_, north, south):
        subjects = {
            name: Subject("lies", f"{step}-{name}", step, "north")
            for name in ("empty", "large", "missing", "long", "other")
        }
        texts = {name: subject.to_text("baltic") for name, subject in subjects.items()}
        await north._requests.store(texts["empty"], b"")
        await north._requests.store(texts["large"], Commit(2**40, 2**20, bytes(32)).to_bytes())
        for name, chunks in (
            ("missing", [true[:2000], true[:2000]]),
            ("long", [true[:2000], true[:3000], b""]),
            ("other", [true[:2000], true[:2000], b"x" * 1000]),
        ):
            for subject, chunk in zip(commit.chunk_subjects(texts[name]), chunks, strict=False):
                await north._requests.store(subject, chunk)
            await north._requests.store(texts[name], commit.to_bytes())
        for name, why in (
            ("empty", "leading byte"),
            ("large", "at most"),
            ("missing", "missing"),
            ("long", "expected 2000 bytes in chunk 1, got 3000"),
            ("other", "hash"),
        ):
            with pytest.raises(MessageError, match=why):
                await south.fetch(subjects[name])


@pytest.mark.parametrize("header", ["Status", "Nats-Sequence", "Nats-Last-Consumer"])
async def test_a_writers_header_that_looks_like_the_servers_hides_no_upload(
    federation: NatsFederation, server: NatsServer, header: str
) -> None:
    subject = Subject("headers", header.lower(), "upload", "north")
    async with nodes(federation, server) as (coordinator, north, south):
        client = north._connection.client
        await client.publish(subject.to_text("baltic"), b"\x00lie", headers={"Status": "404", header: "404"})
        await client.flush()
        while await coordinator.fetch(subject) is None:
            pass
        assert await south.fetch(subject) == b"lie"


async def test_a_fetch_waits_through_a_servers_death(tmp_path_factory: pytest.TempPathFactory) -> None:
    federation = NatsFederation(tmp_path_factory.mktemp("killed")).make()
    server = federation.server(max_payload_bytes=SMALL_PAYLOAD).start()
    try:
        async with nodes(federation, server) as (_, north, south):
            subject = Subject("kill", "setup-1-to-2", "deal", "north")
            await north.publish(subject, bytes(300_000))
            server.kill()
            fetching = asyncio.create_task(south.fetch(subject))
            await asyncio.to_thread(server.start)
            async with asyncio.timeout(10):
                assert await fetching == bytes(300_000)
    finally:
        server.stop()
