from __future__ import annotations

import asyncio
import io
import os

import pytest

from hansa.errors import HansaError, MessageError, TransportError
from hansa.federation.transport import Channel, Message, Subject
from hansa.lab.pipe_transport import MAX_BODY_BYTES, PipeTransport, read_frame, write_frame

FEDERATION = "test"
COORDINATOR = "coordinator"


def message(step: str, sender: str, body: bytes, sequence: int = 1) -> Message:
    return Message(Subject("e1", "r1-0-gram-a1", step, sender), body, sequence, 1_700_000_000_000_000_000 + sequence)


def framed(*messages: Message) -> bytes:
    pipe = io.BytesIO()
    for one in messages:
        write_frame(pipe, one, federation=FEDERATION)
    return pipe.getvalue()


def test_a_frame_comes_back_as_it_was_written() -> None:
    sent = [message("upload", "m0", os.urandom(100_000)), message("result", COORDINATOR, b"", 7)]
    pipe = io.BytesIO(framed(*sent))
    assert [read_frame(pipe, federation=FEDERATION) for _ in range(3)] == [*sent, None]


@pytest.mark.parametrize("kept", [1, 11, 12, 20, 60, 200])
def test_a_pipe_that_ends_in_the_middle_of_a_frame_is_an_error(kept: int) -> None:
    data = framed(message("upload", "m0", bytes(200)))
    assert kept < len(data)
    with pytest.raises(MessageError, match="pipe: expected"):
        read_frame(io.BytesIO(data[:kept]), federation=FEDERATION)


def test_lengths_beyond_the_limits_are_refused_before_anything_is_read() -> None:
    too_long = (5000).to_bytes(4, "big") + bytes(8), bytes(4) + (MAX_BODY_BYTES + 1).to_bytes(8, "big")
    for lengths in too_long:
        with pytest.raises(MessageError, match="pipe: expected at most"):
            read_frame(io.BytesIO(lengths), federation=FEDERATION)


def test_what_is_no_header_is_refused() -> None:
    junk = (3).to_bytes(4, "big") + (1).to_bytes(8, "big") + b"\xc1\xc1\xc1x"
    with pytest.raises(HansaError):
        read_frame(io.BytesIO(junk), federation=FEDERATION)
    with pytest.raises(HansaError):
        read_frame(io.BytesIO(framed(message("upload", "m0", b"x"))), federation="another")


async def piped(data: bytes) -> tuple[PipeTransport, io.BytesIO]:
    reader, output = asyncio.StreamReader(), io.BytesIO()
    reader.feed_data(data)
    reader.feed_eof()
    return PipeTransport(COORDINATOR, federation=FEDERATION, reader=reader, output=output), output


async def test_each_channel_keeps_its_order_and_the_end_of_the_pipe_ends_both() -> None:
    boards = [message("setup", "m0", b"a", 1), message("setup", "m1", b"b", 2), message("halves", "m0", b"c", 3)]
    inboxes = [message("upload", "m0", b"d", 1), message("upload", "m1", b"e", 2)]
    transport, _ = await piped(framed(boards[0], inboxes[0], boards[1], inboxes[1], boards[2]))
    seen: dict[Channel, list[Message]] = {Channel.BOARD: [], Channel.INBOX: []}

    async def follow(channel: Channel) -> None:
        stream = transport.board() if channel is Channel.BOARD else transport.inbox(after=1)
        async for one in stream:
            seen[channel].append(one)

    ended = await asyncio.gather(*map(follow, seen), return_exceptions=True)
    assert [type(error) for error in ended] == [TransportError, TransportError]
    assert seen == {Channel.BOARD: boards, Channel.INBOX: inboxes[1:]}
    assert await transport.head(Channel.BOARD) == 0
    await transport.close()


async def test_what_the_coordinator_says_is_a_frame_and_the_contract_holds() -> None:
    transport, output = await piped(b"")
    assert await transport.publish(Subject("e1", "r1-0-gram-a1", "cohort", COORDINATOR), b"body")
    said = read_frame(io.BytesIO(output.getvalue()), federation=FEDERATION)
    assert said is not None
    assert (said.subject.step, said.subject.sender, said.body) == ("cohort", COORDINATOR, b"body")
    with pytest.raises(MessageError, match="expected sender"):
        await transport.publish(Subject("e1", "r1-0-gram-a1", "upload", "m0"), b"body")
    with pytest.raises(MessageError, match="expected at most"):
        await transport.publish(Subject("e1", "r1-0-gram-a1", "cohort", COORDINATOR), bytes(MAX_BODY_BYTES + 1))
    with pytest.raises(TransportError, match="keeps nothing"):
        await transport.fetch(Subject("e1", "r1-0-gram-a1", "upload", "m0"))
    output.close()
    await transport.close()


async def test_a_writer_that_sends_junk_ends_the_readings_with_its_error() -> None:
    transport, _ = await piped((5000).to_bytes(4, "big") + bytes(8))
    with pytest.raises(MessageError, match="pipe: expected at most"):
        await anext(transport.board())
    await transport.close()
