"""One server-side consumer after another: numbered messages, heartbeats and flow control.

A stored message comes with the reply address `$JS.ACK.<...>.<stream sequence>.<consumer sequence>.<time ns>.<pending>`,
which is the server's word; its headers are its writer's and count for nothing here. A consumer lives in the memory of
one server of the stream, which the server chooses; when it dies the heartbeats stop, and the reader makes another.

A node has `SLOTS` consumer names on a stream. A reader takes the next free one, deletes what an earlier reader left
there, and goes on to the next when the consumer breaks, so that it never waits for the ruins of its last one.

Guarantees: messages come in the consumer's numbering without a hole, or the delivery ends within `SILENCE_SECONDS`.
Does NOT guarantee: fairness between two processes of one node, which take each other's names (both go on reading).

Source: NATS ADR-15 (flow control, idle heartbeat), ADR-17 (ordered consumer).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

import nats.errors

from hansa.errors import TransportError
from hansa.federation.nats_accounts import SLOTS, consumer_name
from hansa.federation.nats_requests import PAUSE_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from nats.aio.client import Client
    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription

    from hansa.federation.nats_connection import NatsConnection
    from hansa.federation.nats_requests import Requests

HEARTBEAT_SECONDS: Final = 1.0  # of an idle consumer
SILENCE_SECONDS: Final = 3.0  # without a message or heartbeat the consumer is dead
KEPT_SECONDS: Final = 30.0  # an abandoned consumer is dropped by the server
CREATE_SECONDS: Final = 3.0  # for the server to make a consumer; then the next name is tried
WRITE_SECONDS: Final = 5.0  # for the library to take a command
_OCCUPIED: Final = frozenset({10012, 10013, 10105, 10148})  # the name is in use, or is being made or deleted
_DELIVERY: Final = "$JS.ACK."  # begins the reply address of every stored message that a consumer delivers

logger = logging.getLogger(__name__)


class Delivered(NamedTuple):
    """One stored message of the wire."""

    sequence: int
    time_ns: int
    subject: str
    data: bytes


@dataclass(slots=True)
class Slots:
    """Which of a node's consumer names this process uses, by stream."""

    _used: set[tuple[str, int]] = field(default_factory=set)
    _next: int = field(default_factory=lambda: secrets.randbelow(SLOTS))

    @contextlib.contextmanager
    def take(self, stream: str) -> Iterator[int]:
        """Lend the next name that no other reader of this process uses on `stream`.

        Raises:
            TransportError: All are in use.
        """
        for _ in range(SLOTS):
            self._next = (self._next + 1) % SLOTS
            mine = (stream, self._next)
            if mine not in self._used:
                break
        else:
            raise TransportError(f"{stream}: expected at most {SLOTS} readings at a time; end one before the next")
        self._used.add(mine)
        try:
            yield mine[1]
        finally:
            self._used.discard(mine)


async def consume(
    connection: NatsConnection, requests: Requests, slots: Slots, *, stream: str, after: int
) -> AsyncGenerator[Delivered]:
    """Yield the messages of `stream` above sequence `after` from one consumer until it breaks.

    Raises:
        TransportError: The server refuses, for good, or every slot is in use.
    """
    queue: asyncio.Queue[Msg | None] = asyncio.Queue()  # bounded by the server's flow control

    async def receive(message: Msg) -> None:
        queue.put_nowait(message)

    with slots.take(stream) as slot:
        client = connection.client
        deliver = f"_INBOX_{connection.node}.read.{secrets.token_hex(16)}"
        subscription: Subscription | None = None
        connection.watchers.add(queue)
        try:
            async with asyncio.timeout(WRITE_SECONDS):
                subscription = await client.subscribe(deliver, cb=receive, pending_msgs_limit=0, pending_bytes_limit=0)
            async with asyncio.timeout(CREATE_SECONDS):  # the server may have chosen one that has just died
                is_made = await _create(requests, stream, consumer_name(connection.node, slot), deliver, after)
            if is_made:
                async for message in numbered(queue, client):
                    sequence, _, time_ns = metadata(message.reply)
                    yield Delivered(sequence, time_ns, message.subject, message.data)
        except (TimeoutError, nats.errors.Error) as error:
            logger.info("%s: reading starts again after %s", stream, type(error).__name__)
            await asyncio.sleep(PAUSE_SECONDS)
        finally:
            connection.watchers.discard(queue)
            if subscription is not None:
                with contextlib.suppress(TimeoutError, nats.errors.Error):
                    async with asyncio.timeout(WRITE_SECONDS):
                        await subscription.unsubscribe()


async def _create(requests: Requests, stream: str, name: str, deliver: str, after: int) -> bool:
    """Make the consumer; return False if there is none of this name to be had now."""
    configuration = {
        "name": name,
        "deliver_subject": deliver,
        "deliver_policy": "by_start_sequence",
        "opt_start_seq": after + 1,
        "ack_policy": "none",
        "max_deliver": 1,
        "flow_control": True,
        "idle_heartbeat": int(HEARTBEAT_SECONDS * 1e9),
        "inactive_threshold": int(KEPT_SECONDS * 1e9),
        "mem_storage": True,
        "num_replicas": 1,
    }
    question = {"stream_name": stream, "config": configuration, "action": "create"}
    answer = await requests.ask_once(f"CONSUMER.CREATE.{stream}.{name}", question)
    if answer is not None and "error" not in answer:
        return True
    code = 0 if answer is None else answer["error"].get("err_code")
    if answer is not None and code not in _OCCUPIED and answer["error"].get("code") != 404:
        raise TransportError(f"{stream}: the server makes no consumer ({answer['error'].get('description')})")
    if code in _OCCUPIED:  # by an earlier reader; a dead server's consumer is not deleted before it is back
        await requests.ask_once(f"CONSUMER.DELETE.{stream}.{name}", {})
    await asyncio.sleep(PAUSE_SECONDS)
    return False


async def numbered(queue: asyncio.Queue[Msg | None], client: Client) -> AsyncGenerator[Msg]:
    """Yield a consumer's messages until its numbering or the connection breaks; answer its flow control.

    Raises:
        TimeoutError: It has been silent too long.
    """
    delivered = 0
    while True:
        async with asyncio.timeout(SILENCE_SECONDS):
            message = await queue.get()
        if message is None:
            return
        # The reply address is the server's word. The headers of a stored message are its writer's: a "Status" is a lie.
        if not message.reply.startswith(_DELIVERY):
            if message.reply:  # flow control: all before it was consumed
                async with asyncio.timeout(WRITE_SECONDS):
                    await client.publish(message.reply)
            elif int((message.headers or {}).get("Nats-Last-Consumer", delivered)) != delivered:
                return
            continue
        if metadata(message.reply)[1] != delivered + 1:
            return
        delivered += 1
        yield message


def metadata(reply: str) -> tuple[int, int, int]:
    """Return (stream sequence, consumer sequence, time in ns) of `$JS.ACK...`, in its short or its long form."""
    tokens = reply.split(".")
    first = 5 if len(tokens) == 9 else 7
    return int(tokens[first]), int(tokens[first + 1]), int(tokens[first + 2])
