"""The transport over NATS JetStream: mutual TLS, one file stream per channel, one stored body per subject.

Streams `HANSA_<federation>_board`, `_inbox` and `_post` are made by the coordinator with `max_msgs_per_subject = 1`,
`discard = new` and `discard_new_per_subject`, so the server itself refuses a second body; deleting and purging are
denied. A reader is an ephemeral push consumer with flow control that delivers to this node's own inbox; when the
connection, the server or the consumer's numbering breaks, another starts after the last stream sequence seen.

Guarantees: `publish` returns after the server's acknowledgement, which follows the write to disk; a broken
connection is retried for ever; readers lose and repeat nothing; a malformed message is skipped with a warning in the
log, the same at each replay, so that one faulty member cannot stop a reader.
Does NOT guarantee: authorship (verify signatures), or the coordinator's honesty about the stream.

A member's server-side account reaches the streams through its own subjects alone (`nats_server`).

Source: docs.nats.io, JetStream streams and consumers; NATS ADR-8 (per-subject limits), ADR-17 (ordered consumer).
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import logging
import secrets
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

import nats.errors

from hansa.errors import MessageError, TransportError
from hansa.federation.frames import COMMIT, MIN_CHUNK_BYTES, WHOLE, ChunkStore, Commit
from hansa.federation.nats_connection import Credentials, DisconnectedError, NatsConnection
from hansa.federation.nats_consumer import HEARTBEAT_SECONDS, metadata, numbered
from hansa.federation.nats_server import (
    COORDINATOR_INTERFACE,
    MEMBER_INTERFACE,
    stream_configuration,
    stream_name,
)
from hansa.federation.transport import (
    PREFIX,
    Channel,
    Message,
    Subject,
    check_fetch,
    check_identifier,
    check_publication,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable
    from pathlib import Path

    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription

MAX_BODY_BYTES: Final = 64 * 1024 * 1024
WINDOW: Final = 16  # chunks under way at a time
_SUBJECT_TAKEN: Final = 10077  # stream store failed; the description says why
_NOT_YET: Final = frozenset({10008, 10009, 10023})  # JetStream starts, elects a leader, catches up
_NO_MESSAGE: Final = 10037  # nothing under this subject yet
_TAKEN_TEXT: Final = "maximum messages per subject exceeded"

logger = logging.getLogger(__name__)
Result = TypeVar("Result")


class NatsTransport:
    """A node's connection to the federation's message server; made by `connect`."""

    def __init__(
        self, connection: NatsConnection, *, node: str, federation: str, coordinator: bool, max_body_bytes: int
    ) -> None:
        self._connection = connection
        self._node = node
        self._federation = federation
        self._coordinator = coordinator
        self._max_body_bytes = max_body_bytes

    @classmethod
    async def connect(
        cls,
        url: str,
        *,
        node: str,
        federation: str,
        certificate: Path,
        key: Path,
        authority: Path,
        coordinator: bool,
        max_body_bytes: int = MAX_BODY_BYTES,
        replicas: int = 1,
        patience_seconds: float = 10.0,
    ) -> Self:
        """Connect, and as coordinator make the streams.

        Args:
            url: `tls://host:port`, several with commas.
            node: This node's name, the one in its certificate.
            federation: The federation's name.
            certificate: PEM file of this node.
            key: PEM file of its private key.
            authority: PEM file of the federation's authority.
            coordinator: Whether this node is the coordinator.
            max_body_bytes: Largest body to send or to assemble.
            replicas: Copies of each stream in a cluster; 1 for the embedded server.
            patience_seconds: How long the first connection may take.

        Raises:
            TransportError: No server, wrong certificates on either side, or the streams cannot be made.
        """
        check_identifier(node, what="node")
        check_identifier(federation, what="federation")
        connection = NatsConnection(url, node, Credentials(certificate, key, authority).context())
        transport = cls(
            connection, node=node, federation=federation, coordinator=coordinator, max_body_bytes=max_body_bytes
        )
        try:
            await connection.open(patience_seconds=patience_seconds)
            if coordinator:
                for channel in Channel:
                    await transport._make_stream(channel, replicas)
        except BaseException:
            await connection.close()
            raise
        return transport

    @property
    def node(self) -> str:
        """Name under which this node publishes."""
        return self._node

    async def publish(self, subject: Subject, body: bytes) -> bool:
        """Store `body` under `subject`; see `Transport.publish`. Waits through disconnections.

        Raises:
            MessageError: The sender is another node, the step is the coordinator's, or the body is too large.
            TransportError: The server refuses (permission, disk full), or this connection was closed.
        """
        check_publication(subject, node=self._node, coordinator=self._coordinator)
        if len(body) > self._max_body_bytes:
            raise MessageError(f"publish: expected at most {self._max_body_bytes} bytes, got {len(body)}")
        text = subject.to_text(self._federation)
        if len(body) < self._connection.client.max_payload:
            return await self._store(text, WHOLE + body)
        # Half the limit: a chunk that is fetched again comes back in base64.
        chunk_bytes = max(self._connection.client.max_payload // 2, MIN_CHUNK_BYTES)
        commit = Commit.of(body, chunk_bytes=chunk_bytes)
        subjects = commit.chunk_subjects(text)

        async def store(index: int) -> bool:
            return await self._store(subjects[index], body[index * chunk_bytes : (index + 1) * chunk_bytes])

        await _in_window(store, len(subjects))
        return await self._store(text, commit.to_bytes())

    async def fetch(self, subject: Subject) -> bytes | None:
        """Return the body stored under `subject`, or None; see `Transport.fetch`. Waits through disconnections.

        Raises:
            MessageError: What is stored there is no body: malformed, too large, or a chunk is missing or wrong.
            TransportError: This node may not fetch that step, or this connection was closed.
        """
        check_fetch(subject, node=self._node, coordinator=self._coordinator)
        text = subject.to_text(self._federation)
        frame = await self._stored(subject.channel, text)
        if frame is None:
            return None
        return await self._body(subject.channel, text, frame, ChunkStore(0))

    def board(self, *, after: int = 0) -> AsyncGenerator[Message]:
        """Yield the board from sequence `after` + 1; ends when this connection closes."""
        return self._read(Channel.BOARD, after)

    def inbox(self, *, after: int = 0) -> AsyncGenerator[Message]:
        """Yield the inbox from sequence `after` + 1.

        Raises:
            TransportError: This node is not the coordinator.
        """
        if not self._coordinator:
            raise TransportError(f"{self._node}: only the coordinator reads the inbox")
        return self._read(Channel.INBOX, after)

    async def head(self, channel: Channel) -> int:
        """Return the sequence of the channel's newest body, 0 if it has none; see `Transport.head`.

        Raises:
            TransportError: The server refuses, for good.
        """
        question = {"last_by_subj": f"{PREFIX}.{self._federation}.*.*.*.*"}  # a chunk's subject is longer
        answer = await self._ask(f"STREAM.MSG.GET.{stream_name(self._federation, channel)}", question)
        return int(answer["message"]["seq"]) if "message" in answer else 0

    async def close(self) -> None:
        """End every reading and the connection; accepted messages stay."""
        await self._connection.close()

    async def _make_stream(self, channel: Channel, replicas: int) -> None:
        configuration = stream_configuration(self._federation, channel, replicas=replicas)
        await self._ask(f"STREAM.CREATE.{configuration['name']}", configuration)

    async def _store(self, subject: str, payload: bytes) -> bool:
        """Publish until the server has answered; only this node writes here, so "taken" after doubt is success."""
        in_doubt = False
        while True:
            try:
                answer = json.loads((await self._connection.request(subject, payload)).data or b"{}")
            except (DisconnectedError, TimeoutError):
                in_doubt = True
                continue
            error = answer.get("error")
            if error is None and "seq" in answer:
                return True
            code, text = (error or {}).get("err_code"), (error or {}).get("description", "no stream listens")
            if code == _SUBJECT_TAKEN and _TAKEN_TEXT in text:
                return in_doubt
            if error is not None and code not in _NOT_YET:
                raise TransportError(
                    f"publish {subject}: the server cannot store it ({text}); check the disk and "
                    "max_store_bytes of the message server"
                )
            await asyncio.sleep(0.05)  # the coordinator has not made the streams yet, or they are recovering

    async def _ask(self, interface: str, question: dict[str, Any]) -> dict[str, Any]:
        """Call the JetStream interface, through disconnections and recoveries."""
        prefix = COORDINATOR_INTERFACE if self._coordinator else MEMBER_INTERFACE
        while True:
            try:
                message = await self._connection.request(f"{prefix}.{interface}", json.dumps(question).encode())
            except (DisconnectedError, TimeoutError):
                continue
            answer: dict[str, Any] = json.loads(message.data or b"{}")
            error = answer.get("error")
            if answer and (error is None or error.get("err_code") == _NO_MESSAGE):
                return answer
            missing = interface.startswith("CONSUMER") and error and error.get("code") == 404
            if answer and error and not missing and error.get("err_code") not in _NOT_YET:
                raise TransportError(
                    f"{interface}: the server refuses ({error.get('description', error)}); if the streams belong to an "
                    "older plan, name a new federation or an empty store"
                )
            await asyncio.sleep(0.05)

    async def _read(self, channel: Channel, after: int) -> AsyncGenerator[Message]:
        chunks = ChunkStore(self._max_body_bytes)
        while not self._connection.is_closed:
            try:
                await self._connection.ready()
            except TransportError:
                return
            async with contextlib.aclosing(self._consume(channel, after)) as consumed:
                async for sequence, time_ns, subject, data in consumed:
                    after = sequence
                    if subject.count(".") == 7:
                        chunks.keep(subject, data)
                        continue
                    try:
                        body = await self._body(channel, subject, data, chunks)
                        parsed = Subject.from_text(subject, federation=self._federation)
                    except MessageError as error:
                        logger.warning("%s %d %s: skipped: %s", channel, sequence, subject, error)
                        continue
                    yield Message(parsed, body, sequence, time_ns)

    async def _consume(self, channel: Channel, after: int) -> AsyncGenerator[tuple[int, int, str, bytes]]:
        """Yield (sequence, time, subject, data) from one server-side consumer until its numbering breaks."""
        name = secrets.token_hex(16)
        queue: asyncio.Queue[Msg | None] = asyncio.Queue()  # bounded by the server's flow control

        async def receive(message: Msg) -> None:
            queue.put_nowait(message)

        deliver = f"_INBOX_{self._node}.read.{name}"
        client = self._connection.client
        subscription: Subscription | None = None
        self._connection.watchers.add(queue)
        try:
            subscription = await client.subscribe(deliver, cb=receive, pending_msgs_limit=0, pending_bytes_limit=0)
            await self._create_consumer(channel, name, deliver, after)
            async for message in numbered(queue, client):
                sequence, _, time_ns = metadata(message.reply)
                yield sequence, time_ns, message.subject, message.data
        except (TimeoutError, nats.errors.Error) as error:
            logger.info("%s: reading starts again after %s", channel, type(error).__name__)
            await asyncio.sleep(0.05)
        except TransportError:
            if not self._connection.is_closed:
                raise
        finally:
            self._connection.watchers.discard(queue)
            if subscription is not None:
                with contextlib.suppress(nats.errors.Error):
                    await subscription.unsubscribe()

    async def _create_consumer(self, channel: Channel, name: str, deliver: str, after: int) -> None:
        stream = stream_name(self._federation, channel)
        configuration = {
            "name": name,
            "deliver_subject": deliver,
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": after + 1,
            "ack_policy": "none",
            "max_deliver": 1,
            "flow_control": True,
            "idle_heartbeat": int(HEARTBEAT_SECONDS * 1e9),
            "inactive_threshold": int(30e9),
            "mem_storage": True,
            "num_replicas": 1,
        }
        question = {"stream_name": stream, "config": configuration, "action": "create"}
        await self._ask(f"CONSUMER.CREATE.{stream}.{name}", question)

    async def _body(self, channel: Channel, subject: str, frame: bytes, chunks: ChunkStore) -> bytes:
        if frame[:1] == WHOLE:
            if len(frame) - 1 > self._max_body_bytes:
                raise MessageError(f"body: expected at most {self._max_body_bytes} bytes, got {len(frame) - 1}")
            return frame[1:]
        if frame[:1] != COMMIT:
            raise MessageError("frame: expected a leading byte 0 or 1")
        commit = Commit.from_bytes(frame, max_body_bytes=self._max_body_bytes)
        subjects = commit.chunk_subjects(subject)

        async def piece(index: int) -> bytes:
            chunk = chunks.take(subjects[index])
            if chunk is None:  # it came before this reading began, or was forgotten
                chunk = await self._stored(channel, subjects[index])
            if chunk is None:
                raise MessageError(f"body: the chunk {subjects[index]} is missing")
            return commit.check_chunk(index, chunk)

        return commit.assemble(await _in_window(piece, len(subjects)))

    async def _stored(self, channel: Channel, subject: str) -> bytes | None:
        """Return what is stored under one subject of the wire, or None; from the stream's leader, the newest truth."""
        if channel is Channel.INBOX and not self._coordinator:
            return await self._direct(subject)
        question = {"last_by_subj": subject}
        answer = await self._ask(f"STREAM.MSG.GET.{stream_name(self._federation, channel)}", question)
        return base64.b64decode(answer["message"].get("data", "")) if "message" in answer else None

    async def _direct(self, subject: str) -> bytes | None:
        """Return an upload, or None; from any server that has the stream, so perhaps a moment late in a cluster."""
        stream = stream_name(self._federation, Channel.INBOX)
        while True:
            try:
                answer = await self._connection.request(f"{MEMBER_INTERFACE}.DIRECT.GET.{stream}.{subject}", b"")
            except (DisconnectedError, TimeoutError):
                continue
            headers = answer.headers or {}
            if "Nats-Sequence" in headers:  # the server's, beside whatever headers the writer stored
                return answer.data
            if headers.get("Status") == "404":
                return None
            await asyncio.sleep(0.05)  # the coordinator has not made the stream yet, or it is recovering


async def _in_window(work: Callable[[int], Awaitable[Result]], count: int) -> list[Result]:
    """Return `work(0) ... work(count - 1)`, some under way at a time; raise what the first to fail raised."""
    window = asyncio.Semaphore(WINDOW)

    async def one(index: int) -> Result:
        async with window:
            return await work(index)

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(index)) for index in range(count)]
    except* (MessageError, TransportError) as errors:
        failed = errors.exceptions[0]
    else:
        return [task.result() for task in tasks]
    raise failed
