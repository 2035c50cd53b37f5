"""What one server-side consumer delivers: numbered messages, heartbeats and flow control.

A stored message comes with the reply address `$JS.ACK.<...>.<stream sequence>.<consumer sequence>.<time ns>.<pending>`,
which is the server's word; its headers are its writer's and count for nothing here.

Guarantees: messages come in the consumer's numbering without a hole, or the delivery ends.
Does NOT guarantee: that it ends at once when the server is gone; three missed heartbeats end it.

Source: NATS ADR-15 (flow control, idle heartbeat), ADR-17 (ordered consumer).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from nats.aio.client import Client
    from nats.aio.msg import Msg

HEARTBEAT_SECONDS: Final = 5.0  # of an idle consumer; three missed ones and it is replaced
_DELIVERY: Final = "$JS.ACK."  # begins the reply address of every stored message that a consumer delivers


async def numbered(queue: asyncio.Queue[Msg | None], client: Client) -> AsyncGenerator[Msg]:
    """Yield a consumer's messages until its numbering or the connection breaks; answer its flow control."""
    delivered = 0
    while True:
        async with asyncio.timeout(3 * HEARTBEAT_SECONDS):
            message = await queue.get()
        if message is None:
            return
        # The reply address is the server's word. The headers of a stored message are its writer's: a "Status" is a lie.
        if not message.reply.startswith(_DELIVERY):
            if message.reply:
                await client.publish(message.reply)  # flow control: all before it was consumed
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
