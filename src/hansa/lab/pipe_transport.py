"""One node's transport over two pipes: what a process needs that is the coordinator and nothing else.

The process that started it keeps the streams, plays everybody else and is the server: it sends every message of board
and inbox in the stream's order and takes in what the coordinator says.

```
frame   header length u32 || body length u64 || header || body     big-endian
header  MessagePack: subject, sequence, time_ns
```

Guarantees: the coordinator's own code runs as over the network, a channel's order kept; a reader that does not read
holds the writer up, so that what waits is on the other side.
Does NOT guarantee: durability, a restart, or anything about a network: there is none.
"""

from __future__ import annotations

import asyncio
import struct
import sys
from typing import IO, TYPE_CHECKING, Final

import msgspec

from hansa.errors import MessageError, TransportError
from hansa.federation.transport import Channel, Message, Subject, check_publication

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

_LENGTHS: Final = struct.Struct("!IQ")
_MAX_HEADER: Final = 4096
MAX_BODY_BYTES: Final = 64 * 1024 * 1024


class _Header(msgspec.Struct, frozen=True, array_like=True):
    subject: str
    sequence: int
    time_ns: int


def write_frame(pipe: IO[bytes], message: Message, *, federation: str) -> None:
    """Write one message and flush it.

    Raises:
        OSError: The reader is gone.
    """
    header = msgspec.msgpack.encode(_Header(message.subject.to_text(federation), message.sequence, message.time_ns))
    pipe.write(_LENGTHS.pack(len(header), len(message.body)) + header)
    pipe.write(message.body)
    pipe.flush()


def read_frame(pipe: IO[bytes], *, federation: str) -> Message | None:
    """Read one message, None at the end of the pipe.

    Raises:
        MessageError: What comes is no frame, or the pipe ends in the middle of one.
    """
    lengths = pipe.read(_LENGTHS.size)
    if not lengths:
        return None
    header, body = _sizes(lengths)
    return _message(pipe.read(header), pipe.read(body), sizes=(header, body), federation=federation)


def _sizes(lengths: bytes) -> tuple[int, int]:
    if len(lengths) != _LENGTHS.size:
        raise MessageError(f"pipe: expected {_LENGTHS.size} bytes of lengths, got {len(lengths)}; the writer died")
    header, body = _LENGTHS.unpack(lengths)
    if header > _MAX_HEADER or body > MAX_BODY_BYTES:
        raise MessageError(
            f"pipe: expected at most {_MAX_HEADER} bytes of header and {MAX_BODY_BYTES} of body, "
            f"got {header} and {body}"
        )
    return header, body


def _message(header: bytes, body: bytes, *, sizes: tuple[int, int], federation: str) -> Message:
    if (len(header), len(body)) != sizes:
        raise MessageError(f"pipe: expected a body of {sizes[1]} bytes, got {len(body)}; the writer died")
    try:
        found = msgspec.msgpack.decode(header, type=_Header)
    except msgspec.MsgspecError as error:
        raise MessageError(f"pipe: expected the header of a frame, got {error}") from error
    return Message(Subject.from_text(found.subject, federation=federation), body, found.sequence, found.time_ns)


class PipeTransport:
    """The coordinator's end of the pipes: standard input and standard output of its process.

    Args:
        node: The coordinator.
        federation: Its federation.
        reader: What comes.
        output: Where what it says goes.
    """

    def __init__(self, node: str, *, federation: str, reader: asyncio.StreamReader, output: IO[bytes]) -> None:
        self._node = node
        self._federation = federation
        self._reader = reader
        self._output = output
        # One message a channel waits here, the rest in the pipe.
        self._channels = {channel: asyncio.Queue[Message](maxsize=1) for channel in (Channel.BOARD, Channel.INBOX)}
        self._sorting = asyncio.create_task(self._sort())

    @classmethod
    async def standard(cls, node: str, *, federation: str) -> PipeTransport:
        """Return the transport over this process's standard input and output."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin.buffer)
        return cls(node, federation=federation, reader=reader, output=sys.stdout.buffer)

    @property
    def node(self) -> str:
        """Name under which this node publishes."""
        return self._node

    async def publish(self, subject: Subject, body: bytes) -> bool:
        """Say `body`; nobody else writes under this node's name, so it is always the first.

        Raises:
            MessageError: The sender is another node or the body is too large.
            TransportError: The other side is gone.
        """
        check_publication(subject, node=self._node, coordinator=True)
        if len(body) > MAX_BODY_BYTES:
            raise MessageError(f"publish: expected at most {MAX_BODY_BYTES} bytes, got {len(body)}")
        try:
            # Beside the loop, which goes on reading: the other side may itself wait for a reader.
            await asyncio.to_thread(
                write_frame, self._output, Message(subject, body, 0, 0), federation=self._federation
            )
        except OSError as error:
            raise TransportError(f"{self._node}: the pipe is closed: {error}") from error
        return True

    def board(self, *, after: int = 0) -> AsyncGenerator[Message]:
        """Yield the board from sequence `after` + 1, as it comes."""
        return self._read(Channel.BOARD, after)

    def inbox(self, *, after: int = 0) -> AsyncGenerator[Message]:
        """Yield the inbox from sequence `after` + 1, as it comes."""
        return self._read(Channel.INBOX, after)

    async def fetch(self, subject: Subject) -> bytes | None:
        """Refuse: nothing is kept on this side.

        Raises:
            TransportError: Always.
        """
        raise TransportError(f"{self._node}: {subject.step}: a pipe keeps nothing that could be fetched")

    async def head(self, channel: Channel) -> int:
        """Return 0: the streams begin with this process."""
        del channel
        return 0

    async def close(self) -> None:
        """End every reading."""
        self._sorting.cancel()
        await asyncio.gather(self._sorting, return_exceptions=True)

    async def _read(self, channel: Channel, after: int) -> AsyncGenerator[Message]:
        waiting = self._channels[channel]
        while True:
            getter = asyncio.ensure_future(waiting.get())
            try:
                await asyncio.wait((getter, self._sorting), return_when=asyncio.FIRST_COMPLETED)
                if not getter.done():
                    self._sorting.result()
                    raise TransportError(f"{self._node}: the pipe ended; whoever keeps the streams is gone")
                message = getter.result()
            finally:
                getter.cancel()
            if message.sequence > after:
                yield message

    async def _sort(self) -> None:
        """Put each message into its channel until the pipe ends."""
        while True:
            try:
                header, body = _sizes(await self._reader.readexactly(_LENGTHS.size))
                data = await self._reader.readexactly(header), await self._reader.readexactly(body)
            except asyncio.IncompleteReadError:
                return
            message = _message(*data, sizes=(header, body), federation=self._federation)
            await self._channels[message.subject.channel].put(message)
