"""The transport in one process: a hub that stores the streams, for tests, simulations and single-process runs.

Same contract as over the network: one body per subject, order, replay from any sequence. A hub's `deliver` hook
stands between the stored stream and each reader, so that a test can be the hostile network:

```
deliver(reader, message) -> the messages that the reader gets instead     (); (m,); (m, m); another's held back ...
```

What is fetched by address is the stored body, past the hook.

Guarantees: the stored streams never depend on the hook; a run is deterministic for a given order of calls.
Does NOT guarantee: durability beyond the process, or the contract of `Transport` once a hook bends it.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeAlias

from hansa.errors import MessageError, TransportError
from hansa.federation.transport import Channel, Message, Subject, check_fetch, check_identifier, check_publication

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


Delivery: TypeAlias = Callable[[str, Message], Iterable[Message]]
MAX_BODY_BYTES: Final = 64 * 1024 * 1024


def pass_through(_reader: str, message: Message) -> Iterable[Message]:
    """Deliver the message as it was stored: the honest network."""
    return (message,)


def drop_when(predicate: Callable[[str, Message], bool]) -> Delivery:
    """Return a hook that withholds from a reader the messages for which `predicate(reader, message)` holds."""
    return lambda reader, message: () if predicate(reader, message) else (message,)


def duplicate_when(predicate: Callable[[str, Message], bool]) -> Delivery:
    """Return a hook that delivers twice the messages for which `predicate(reader, message)` holds."""
    return lambda reader, message: (message, message) if predicate(reader, message) else (message,)


def delay_when(predicate: Callable[[str, Message], bool], *, by: int = 1) -> Delivery:
    """Return a hook that holds back matching messages until `by` others passed to the reader: a reordering.

    Args:
        predicate: Chooses by reader and message.
        by: Other messages of that reader that go first, at least 1.
    """
    held: dict[str, list[tuple[int, Message]]] = defaultdict(list)

    def deliver(reader: str, message: Message) -> Iterable[Message]:
        if predicate(reader, message):
            held[reader].append((by, message))
            return ()
        waiting = [(left - 1, late) for left, late in held[reader]]
        held[reader] = [(left, late) for left, late in waiting if left > 0]
        return (message, *(late for left, late in waiting if left <= 0))

    return deliver


@dataclass(slots=True)
class MemoryHub:
    """The streams of one federation and the faults of its network.

    Args:
        coordinator: The node that may read the inbox and publish every step.
        clock: Nanoseconds at each acceptance; by default one millisecond per message since zero.
        deliver: The hook of the module docstring; may be exchanged at any time.
    """

    coordinator: str = "coordinator"
    clock: Callable[[], int] | None = None
    deliver: Delivery = pass_through
    _streams: dict[Channel, list[Message]] = field(default_factory=lambda: {c: [] for c in Channel})
    _bodies: dict[Subject, bytes] = field(default_factory=dict)
    _apart: set[str] = field(default_factory=set)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def stored(self, channel: Channel) -> tuple[Message, ...]:
        """Return the stream as it was accepted, whatever readers were shown."""
        return tuple(self._streams[channel])

    def partition(self, node: str) -> None:
        """Cut `node` off: its publications wait and its readings stand still until `heal`."""
        self._apart.add(node)

    def heal(self, node: str) -> None:
        """Reconnect `node`; nothing was lost."""
        self._apart.discard(node)
        self._wake()

    def accept(self, subject: Subject, body: bytes) -> bool:
        """Store `body` unless `subject` has one already; return whether it was stored."""
        if subject in self._bodies:
            return False
        self._bodies[subject] = body
        stream = self._streams[subject.channel]
        total = sum(map(len, self._streams.values()))
        time_ns = self.clock() if self.clock else (total + 1) * 1_000_000
        stream.append(Message(subject, body, len(stream) + 1, time_ns))
        self._wake()
        return True

    def body(self, subject: Subject) -> bytes | None:
        """Return the body accepted under `subject`, or None."""
        return self._bodies.get(subject)

    async def connected(self, node: str) -> None:
        """Return once `node` is not partitioned."""
        while node in self._apart:
            await self._changed.wait()

    async def following(self, channel: Channel, after: int, node: str) -> Message:
        """Return the message of `channel` with the next sequence above `after`, when there is one."""
        while node in self._apart or len(self._streams[channel]) <= after:
            await self._changed.wait()
        return self._streams[channel][after]

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


class MemoryTransport:
    """A node's connection to a `MemoryHub`; open a second one under the same name to play a restart."""

    def __init__(self, hub: MemoryHub, node: str) -> None:
        self._hub = hub
        self._node = check_identifier(node, what="node")
        self._closed = asyncio.Event()

    @property
    def node(self) -> str:
        """Name under which this node publishes."""
        return self._node

    async def publish(self, subject: Subject, body: bytes) -> bool:
        """Store `body` under `subject`; see `Transport.publish`.

        Raises:
            MessageError: The sender is another node, the step is the coordinator's, or the body is too large.
            TransportError: This connection was closed.
        """
        check_publication(subject, node=self._node, coordinator=self._is_coordinator)
        if len(body) > MAX_BODY_BYTES:
            raise MessageError(f"publish: expected at most {MAX_BODY_BYTES} bytes, got {len(body)}")
        await self._connected()
        return self._hub.accept(subject, bytes(body))

    async def fetch(self, subject: Subject) -> bytes | None:
        """Return the body of `subject`, or None; see `Transport.fetch`.

        Raises:
            TransportError: This node may not fetch that step, or this connection was closed.
        """
        check_fetch(subject, node=self._node, coordinator=self._is_coordinator)
        await self._connected()
        return self._hub.body(subject)

    def board(self, *, after: int = 0) -> AsyncGenerator[Message]:
        """Yield the board from sequence `after` + 1; ends when this connection closes."""
        return self._read(Channel.BOARD, after)

    def inbox(self, *, after: int = 0) -> AsyncGenerator[Message]:
        """Yield the inbox from sequence `after` + 1.

        Raises:
            TransportError: This node is not the coordinator.
        """
        if not self._is_coordinator:
            raise TransportError(f"{self._node}: only the coordinator reads the inbox")
        return self._read(Channel.INBOX, after)

    async def head(self, channel: Channel) -> int:
        """Return the newest sequence of `channel`; see `Transport.head`."""
        stored = self._hub.stored(channel)
        return stored[-1].sequence if stored else 0

    async def close(self) -> None:
        """End every reading of this connection."""
        self._closed.set()

    @property
    def _is_coordinator(self) -> bool:
        return self._node == self._hub.coordinator

    async def _connected(self) -> None:
        await self._hub.connected(self._node)
        if self._closed.is_set():
            raise TransportError(f"{self._node}: this connection was closed; open a new one")

    async def _read(self, channel: Channel, after: int) -> AsyncGenerator[Message]:
        closing = asyncio.ensure_future(self._closed.wait())
        try:
            while not self._closed.is_set():
                coming = asyncio.ensure_future(self._hub.following(channel, after, self._node))
                try:
                    await asyncio.wait((coming, closing), return_when=asyncio.FIRST_COMPLETED)
                    if self._closed.is_set():
                        return
                    message = coming.result()
                finally:
                    coming.cancel()
                after = message.sequence
                for shown in self._hub.deliver(self._node, message):
                    yield shown
        finally:
            closing.cancel()
