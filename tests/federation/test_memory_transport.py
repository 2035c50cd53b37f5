from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hansa.errors import MessageError, TransportError
from hansa.federation.memory_transport import (
    MemoryHub,
    MemoryTransport,
    delay_when,
    drop_when,
    duplicate_when,
)
from hansa.federation.transport import (
    FETCHED_STEPS,
    MEMBER_STEPS,
    STEPS,
    Channel,
    Message,
    Subject,
    Transport,
    check_identifier,
)

identifiers = st.from_regex(r"[a-z0-9-]{1,40}", fullmatch=True)


async def take(transport: Transport, count: int, *, after: int = 0, inbox: bool = False) -> list[Message]:
    read = transport.inbox if inbox else transport.board
    out: list[Message] = []
    async with aclosing(read(after=after)) as messages, asyncio.timeout(5):
        async for message in messages:
            out.append(message)
            if len(out) == count:
                break
    return out


async def announce(transport: Transport, count: int) -> None:
    for number in range(count):
        await transport.publish(Subject("e1", f"s{number}", "announce", transport.node), b"%d" % number)


@given(identifiers, identifiers, st.sampled_from(sorted(STEPS)), identifiers, identifiers)
def test_a_subject_survives_its_text_form(epoch: str, session: str, step: str, sender: str, federation: str) -> None:
    subject = Subject(epoch, session, step, sender)
    assert Subject.from_text(subject.to_text(federation), federation=federation) == subject


def test_the_text_form_is_the_documented_one() -> None:
    assert Subject("e1", "s-2", "upload", "north").to_text("baltic") == "hansa.baltic.e1.s-2.upload.north"


@pytest.mark.parametrize("text", ["", "A", "a.b", "a*", ">", "a b", "x" * 41, "ä", "a\n"])
def test_an_identifier_that_could_change_a_subject_is_refused(text: str) -> None:
    with pytest.raises(MessageError, match="epoch"):
        Subject(text, "s", "upload", "a")
    with pytest.raises(MessageError, match="node"):
        check_identifier(text, what="node")


@pytest.mark.parametrize("text", ["hansa.x.e.s.upload.a", "hansa.f.e.s.upload", "f.f.e.s.upload.a", "hansa.f.e.s.no.a"])
def test_a_foreign_subject_is_refused(text: str) -> None:
    with pytest.raises(MessageError):
        Subject.from_text(text, federation="f")


def test_members_write_setup_halves_the_inbox_and_the_post_only() -> None:
    of_set_up = {"setup", "halves", "probe", "complaint", "answer", "reveal", "closed"}
    assert {step for step in MEMBER_STEPS if STEPS[step] is Channel.BOARD} == of_set_up
    assert {step for step, channel in STEPS.items() if channel is not Channel.BOARD} <= MEMBER_STEPS


async def test_the_first_body_of_a_subject_stays() -> None:
    hub = MemoryHub()
    member = MemoryTransport(hub, "north")
    subject = Subject("e1", "s1", "upload", "north")
    assert await member.publish(subject, b"first")
    assert not await member.publish(subject, b"second")
    assert [m.body for m in await take(MemoryTransport(hub, "coordinator"), 1, inbox=True)] == [b"first"]


async def test_a_reader_replays_and_then_follows_live() -> None:
    hub = MemoryHub(clock=iter(range(100, 200)).__next__)
    coordinator = MemoryTransport(hub, "coordinator")
    await announce(coordinator, 2)
    reading = asyncio.create_task(take(MemoryTransport(hub, "north"), 3, after=1))
    await asyncio.sleep(0)
    await coordinator.publish(Subject("e1", "s7", "result", "coordinator"), b"live")
    await coordinator.publish(Subject("e1", "s8", "died", "coordinator"), b"last")
    got = await reading
    assert [(m.sequence, m.time_ns, m.body) for m in got] == [(2, 101, b"1"), (3, 102, b"live"), (4, 103, b"last")]


async def test_a_node_cannot_publish_under_another_name_or_another_role() -> None:
    member = MemoryTransport(MemoryHub(), "north")
    with pytest.raises(MessageError, match="sender"):
        await member.publish(Subject("e1", "s1", "upload", "south"), b"")
    with pytest.raises(MessageError, match="coordinator's"):
        await member.publish(Subject("e1", "s1", "announce", "north"), b"")


async def test_a_member_cannot_read_the_inbox() -> None:
    with pytest.raises(TransportError, match="only the coordinator"):
        MemoryTransport(MemoryHub(), "north").inbox()


async def test_a_partitioned_node_neither_writes_nor_reads_until_healed() -> None:
    hub = MemoryHub()
    member, coordinator = MemoryTransport(hub, "north"), MemoryTransport(hub, "coordinator")
    hub.partition("north")
    writing = asyncio.create_task(member.publish(Subject("e1", "s1", "agree", "north"), b"x"))
    reading = asyncio.create_task(take(member, 1))
    await announce(coordinator, 1)
    for _ in range(5):
        await asyncio.sleep(0)
    assert not writing.done()
    assert not reading.done()
    hub.heal("north")
    assert await writing
    assert len(await reading) == 1


async def test_hooks_drop_duplicate_and_reorder_for_one_reader_only() -> None:
    hub = MemoryHub()
    await announce(MemoryTransport(hub, "coordinator"), 3)
    second = lambda reader, message: reader == "north" and message.sequence == 2  # noqa: E731
    north, south = MemoryTransport(hub, "north"), MemoryTransport(hub, "south")
    shown = {}
    for name, hook in (
        ("drop", drop_when(second)),
        ("twice", duplicate_when(second)),
        ("late", delay_when(second)),
    ):
        hub.deliver = hook
        shown[name] = [m.sequence for m in await take(north, 2 if name == "drop" else 3)]
        assert [m.sequence for m in await take(south, 3)] == [1, 2, 3]
    assert shown == {"drop": [1, 3], "twice": [1, 2, 2], "late": [1, 3, 2]}
    assert len(hub.stored(Channel.BOARD)) == 3


async def test_closing_ends_the_readings_and_refuses_publications() -> None:
    hub = MemoryHub()
    member = MemoryTransport(hub, "north")
    reading = asyncio.create_task(take(member, 1))
    await asyncio.sleep(0)
    await member.close()
    assert await reading == []
    with pytest.raises(TransportError, match="closed"):
        await member.publish(Subject("e1", "s1", "agree", "north"), b"")


def test_agreements_alone_are_fetched_by_nobody_but_the_coordinator() -> None:
    assert {step for step in STEPS if step not in FETCHED_STEPS} == {"agree"}


async def test_a_body_is_fetched_by_its_address_and_is_none_before() -> None:
    hub = MemoryHub()
    north, south = MemoryTransport(hub, "north"), MemoryTransport(hub, "south")
    deal = Subject("e1", "setup-1-to-2", "deal", "north")
    assert await south.fetch(deal) is None
    assert await north.publish(deal, b"first")
    assert not await north.publish(deal, b"second")
    assert await south.fetch(deal) == b"first"
    assert [m.body for m in hub.stored(Channel.POST)] == [b"first"]
    for channel in (Channel.BOARD, Channel.INBOX):
        assert await south.head(channel) == 0


async def test_a_member_fetches_what_a_sum_is_added_again_from_but_no_agreement() -> None:
    hub = MemoryHub()
    north, south = MemoryTransport(hub, "north"), MemoryTransport(hub, "south")
    for step in ("upload", "open", "open-1", "shares", "agree"):
        await north.publish(Subject("e1", "s1", step, "north"), step.encode())
    for step in ("upload", "open", "open-1", "shares"):
        assert await south.fetch(Subject("e1", "s1", step, "north")) == step.encode()
    with pytest.raises(TransportError, match="coordinator alone"):
        await south.fetch(Subject("e1", "s1", "agree", "north"))
    assert await MemoryTransport(hub, "coordinator").fetch(Subject("e1", "s1", "agree", "north")) == b"agree"


async def test_a_partitioned_node_fetches_when_healed_and_a_closed_one_never() -> None:
    hub = MemoryHub()
    north = MemoryTransport(hub, "north")
    hub.partition("north")
    fetching = asyncio.create_task(north.fetch(Subject("e1", "s1", "announce", "coordinator")))
    await announce(MemoryTransport(hub, "coordinator"), 2)
    assert not fetching.done()
    hub.heal("north")
    assert await fetching == b"1"
    await north.close()
    with pytest.raises(TransportError, match="closed"):
        await north.fetch(Subject("e1", "s1", "announce", "coordinator"))
