"""The transport over NATS JetStream: mutual TLS, one file stream per channel, one stored body per subject.

Streams `HANSA_<federation>_board`, `_inbox` and `_post` are made by the coordinator with `max_msgs_per_subject = 1`,
`discard = new` and `discard_new_per_subject`, so the server itself refuses a second body; deleting and purging are
denied. A reader is an ephemeral push consumer with flow control that delivers to this node's own inbox; when the
connection, the consumer's server or its numbering breaks, another starts after the last stream sequence seen.

Guarantees: `publish` returns after the server's acknowledgement, which follows the write to disk; a broken
connection is retried for ever; readers lose and repeat nothing; a malformed message is skipped with a warning in the
log (a few a sender), the same at each replay, so that one faulty member cannot stop a reader.
Does NOT guarantee: authorship (verify signatures), or the coordinator's honesty about the stream.

A member's server-side account reaches the streams through its own subjects alone (`nats_accounts`).

Source: docs.nats.io, JetStream streams and consumers; NATS ADR-8 (per-subject limits), ADR-17 (ordered consumer).
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from typing import TYPE_CHECKING, Final, Self, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from hansa.errors import MessageError, TransportError
from hansa.federation.frames import COMMIT, MIN_CHUNK_BYTES, WHOLE, ChunkStore, Commit
from hansa.federation.nats_accounts import stream_configuration, stream_name
from hansa.federation.nats_connection import Credentials, NatsConnection
from hansa.federation.nats_consumer import Slots, consume
from hansa.federation.nats_requests import Requests
from hansa.federation.refusals import Refusals
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

MAX_BODY_BYTES: Final = 64 * 1024 * 1024
_OTHER_CONFIGURATION: Final = 10058  # the stream is there, with other settings
WINDOW: Final = 16  # chunks under way at a time

Result = TypeVar("Result")


class NatsTransport:
    """A node's connection to the federation's message server; made by `connect`."""

    def __init__(
        self, connection: NatsConnection, *, node: str, federation: str, coordinator: bool, max_body_bytes: int
    ) -> None:
        self._connection = connection
        self._requests = Requests(connection, coordinator=coordinator)
        self._slots = Slots()
        self._refusals = Refusals()
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
        server_key: str = "",
    ) -> Self:
        """Connect, and as coordinator make the streams.

        Args:
            url: `tls://host:port`, several with commas: the servers of one cluster.
            node: This node's name, the one in its certificate.
            federation: The federation's name.
            certificate: PEM file of this node.
            key: PEM file of its private key.
            authority: PEM file of the federation's authority.
            coordinator: Whether this node is the coordinator.
            max_body_bytes: Largest body to send or to assemble.
            replicas: Copies of each stream in a cluster; 1 for the embedded server.
            patience_seconds: How long the first connection may take.
            server_key: The coordinator's identity key, which must have signed the server's TLS key; empty: unchecked.

        Raises:
            TransportError: No server, wrong certificates on either side, or the streams cannot be made.
        """
        check_identifier(node, what="node")
        check_identifier(federation, what="federation")
        connection = NatsConnection(url, node, Credentials(certificate, key, authority), server_key=server_key)
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

    def coordinator_key(self) -> str | None:
        """Return the SHA-256 of the server's public key (DER), hexadecimal, if its certificate is the coordinator's.

        None while there is no connection, or where the message server has a certificate of its own.
        """
        der = self._connection.server_certificate
        return None if der is None else key_of_coordinator(der, self._federation)

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
            return await self._requests.store(text, WHOLE + body)
        # Half the limit: a chunk that is fetched again comes back in base64.
        chunk_bytes = max(self._connection.client.max_payload // 2, MIN_CHUNK_BYTES)
        commit = Commit.of(body, chunk_bytes=chunk_bytes)
        subjects = commit.chunk_subjects(text)

        async def store(index: int) -> bool:
            return await self._requests.store(subjects[index], body[index * chunk_bytes : (index + 1) * chunk_bytes])

        await _in_window(store, len(subjects))
        return await self._requests.store(text, commit.to_bytes())

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
        answer = await self._requests.ask(f"STREAM.MSG.GET.{stream_name(self._federation, channel)}", question)
        return int(answer["message"]["seq"]) if "message" in answer else 0

    async def close(self) -> None:
        """End every reading and the connection; accepted messages stay."""
        await self._connection.close()

    async def _make_stream(self, channel: Channel, replicas: int) -> None:
        configuration = stream_configuration(self._federation, channel, replicas=replicas)
        name = configuration["name"]
        answer = await self._requests.ask(f"STREAM.CREATE.{name}", configuration, accepted=_OTHER_CONFIGURATION)
        if "error" in answer:  # an earlier version of this program made it, with fewer steps
            await self._requests.ask(f"STREAM.UPDATE.{name}", configuration)

    async def _read(self, channel: Channel, after: int) -> AsyncGenerator[Message]:
        chunks = ChunkStore(self._max_body_bytes)
        stream = stream_name(self._federation, channel)
        while not self._connection.is_closed:
            try:
                await self._connection.ready()
                consumed = consume(self._connection, self._requests, self._slots, stream=stream, after=after)
                async with contextlib.aclosing(consumed):
                    async for sequence, time_ns, subject, data in consumed:
                        after = sequence
                        if subject.count(".") == 7:
                            chunks.keep(subject, data)
                            continue
                        try:
                            body = await self._body(channel, subject, data, chunks)
                            parsed = Subject.from_text(subject, federation=self._federation)
                        except MessageError as error:
                            self._refusals.note(subject.rpartition(".")[2], f"{channel} {sequence} {subject}: {error}")
                            continue
                        yield Message(parsed, body, sequence, time_ns)
            except TransportError:
                if not self._connection.is_closed:
                    raise

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
        stream = stream_name(self._federation, channel)
        if channel is Channel.INBOX and not self._coordinator:
            return await self._requests.stored_anywhere(stream, subject)
        return await self._requests.stored(stream, subject)


def key_of_coordinator(der: bytes, federation: str) -> str | None:
    """Return the SHA-256 of a certificate's public key, hexadecimal, if it is a server's and a node's of `federation`.

    Members' certificates are for clients only, so a server's certificate with a node's name is the coordinator's.
    """
    certificate = x509.load_der_x509_certificate(der)
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return None
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    if not any(uri.startswith("hansa://") and uri.endswith(f".{federation}") for uri in uris):
        return None
    key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(key).hexdigest()


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
