"""One node's connection to a NATS server: opened again for ever, with requests that fail when it breaks.

A broken connection is replaced by a whole new client (the library's own reconnection can wait without end for a TLS
stream that was replaced in mid-handshake), at the next server of the list; nodes begin at different ones. Each request
has its own reply subject `_INBOX_<node>.answer.<token>`.

The library says that a connection ended only after it has waited, perhaps without end, for the end of the TLS stream;
and a closed client refuses at once, without letting another task run. So the keeper looks at the client's state itself,
and a request that finds its client closed says so to the keeper and waits for the next one.

Guarantees: a request ends with an answer, a refusal, `DisconnectedError` (the server may or may not have acted) or a
time-out; a broken connection is noticed within `LOOK_SECONDS` of the library's knowing; attempts are spaced by 50 ms
to 1 s; whatever a writer puts into a message's headers, its readers go on; log lines name errors, never payloads.
Does NOT guarantee: delivery; that is the business of whoever repeats a request.

Source: docs.nats.io, "NATS client protocol".
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import secrets
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import nats.errors
from nats.aio.client import Client

from hansa.errors import IdentityError, TransportError
from hansa.identity.tls import require_signed_by

if TYPE_CHECKING:
    from pathlib import Path

    from nats.aio.msg import Msg

ANSWER_SECONDS: Final = 10.0  # without an answer a request times out
ATTEMPT_SECONDS: Final = 5.0  # of one attempt to connect
LOOK_SECONDS: Final = 0.25  # between two looks at the client's state
PING_SECONDS: Final = 5  # two unanswered and the server is taken for dead
PENDING_BYTES: Final = 256 * 1024 * 1024  # written but not yet taken by the network
_DENIED: Final = re.compile(r"permissions violation for (?:publish|subscription) to \"([^\"]+)\"", re.IGNORECASE)

logger = logging.getLogger(__name__)


class _Client(Client):
    """The library's client, but for what it makes of headers that a hostile writer stored."""

    async def _process_headers(self, headers: bytes) -> dict[str, str] | None:
        # Upstream raises on a short or undecodable block, which ends the reading of this connection.
        try:
            return await super()._process_headers(headers)
        except (ValueError, IndexError):
            return None

    def server_certificate(self) -> bytes:
        """Return the DER of the certificate that the server showed, or nothing without TLS."""
        writer = getattr(self._transport, "_io_writer", None)
        tls = writer.get_extra_info("ssl_object") if writer is not None else None
        return (tls.getpeercert(binary_form=True) if tls is not None else None) or b""


class DisconnectedError(Exception):
    """The connection broke before the answer; caught by those who ask again, never shown."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who this node is to the server: three PEM files."""

    certificate: Path
    key: Path
    authority: Path

    def context(self) -> ssl.SSLContext:
        """Return a TLS 1.3 client context that trusts the federation's authority alone.

        Raises:
            TransportError: A file is missing or damaged, or key and certificate do not belong together.
        """
        try:
            context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=str(self.authority))
            context.minimum_version = ssl.TLSVersion.TLSv1_3
            context.load_cert_chain(self.certificate, self.key)
        except OSError as error:
            raise TransportError(
                f"TLS: cannot use {self.certificate}, {self.key} and {self.authority} ({error}); "
                "check the kit with `hansa kit show`"
            ) from error
        return context


class NatsConnection:
    """See the module; `open` it before use, `close` it after.

    Args:
        url: `tls://host:port`, several with commas: the servers of one cluster.
        node: Name of this node: prefix of its inboxes.
        credentials: This node's certificate, read again at each attempt: it is renewed while the node runs.
        server_key: Identity key of the coordinator, which must have signed the server's TLS key; empty: not checked.

    Raises:
        TransportError: The credentials are missing or damaged.
    """

    def __init__(self, url: str, node: str, credentials: Credentials, *, server_key: str = "") -> None:
        self._url = url
        self._servers = [one.strip() for one in url.split(",")]
        self._turn = secrets.randbelow(len(self._servers))
        self.node = node
        credentials.context()  # what is wrong with them is said at once
        self._credentials = credentials
        self._server_key = server_key
        self._connected = asyncio.Event()
        self._lost = asyncio.Event()
        self._closed = False
        self._client: Client | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._answers: dict[str, tuple[str, asyncio.Future[Msg]]] = {}  # by reply subject
        self.watchers: set[asyncio.Queue[Msg | None]] = set()  # get None when the connection broke

    @property
    def client(self) -> Client:
        """The client of the moment; another after a break.

        Raises:
            TransportError: The connection was never opened.
        """
        if self._client is None:
            raise TransportError(f"{self.node}: the connection is not open; await `open` first")
        return self._client

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    @property
    def server_certificate(self) -> bytes | None:
        """DER certificate that the server of the moment showed, None while there is no connection."""
        writer = getattr(getattr(self._client, "_transport", None), "_io_writer", None)
        tls = None if writer is None else writer.get_extra_info("ssl_object")
        return None if tls is None else tls.getpeercert(binary_form=True)

    async def open(self, *, patience_seconds: float) -> None:
        """Connect for the first time and keep the connection from then on.

        Args:
            patience_seconds: How long a server that is not there, or breaks off, is tried again.

        Raises:
            TransportError: It did not come, or a certificate is refused by either side (at once).
        """
        deadline = asyncio.get_running_loop().time() + patience_seconds
        while True:
            try:
                await self._attempt()
                break
            except (TimeoutError, OSError, EOFError, ValueError, nats.errors.Error) as error:  # a greeting cut short
                final = isinstance(error, ssl.SSLError) or "uthorization" in str(error)
                if final or asyncio.get_running_loop().time() > deadline:
                    raise self._explain(error) from error
                await asyncio.sleep(0.05)
        self._keeper = asyncio.create_task(self._keep())

    async def close(self) -> None:
        """End the connection and every request and watcher."""
        self._closed = True
        self._connected.set()
        if self._keeper is not None:
            self._keeper.cancel()
        self._interrupt()
        await self._discard()

    async def ready(self) -> None:
        """Return when the connection stands.

        Raises:
            TransportError: It was closed.
        """
        await self._connected.wait()
        if self._closed:
            raise TransportError(f"{self.node}: this connection was closed; open a new one")

    async def request(self, subject: str, payload: bytes, *, seconds: float = ANSWER_SECONDS) -> Msg:
        """Send one message and return the answer to it.

        Args:
            subject: Where to.
            payload: At most the server's limit.
            seconds: To wait for the answer.

        Raises:
            DisconnectedError: The connection broke meanwhile.
            TimeoutError: No answer in that time.
            TransportError: The certificate does not permit the subject, or the connection was closed.
        """
        await self.ready()
        reply = f"_INBOX_{self.node}.answer.{secrets.token_hex(8)}"
        future: asyncio.Future[Msg] = asyncio.get_running_loop().create_future()
        self._answers[reply] = (subject, future)
        client = self.client
        try:
            async with asyncio.timeout(seconds):
                await client.publish(subject, payload, reply=reply)
            # Not in the same block: the library may swallow its one cancellation.
            await asyncio.wait((future,), timeout=seconds)
            if not future.done():
                raise TimeoutError
            return future.result()
        except (nats.errors.OutboundBufferLimitError, nats.errors.ConnectionClosedError) as error:
            if client is self._client:
                self._connected.clear()  # the next request waits instead of asking a closed client again
                self._lost.set()
            raise DisconnectedError from error
        finally:
            del self._answers[reply]

    async def _attempt(self) -> None:
        await self._discard()
        self._lost.clear()
        client = self._client = _Client()
        server = self._servers[self._turn % len(self._servers)]
        self._turn += 1  # whatever comes of it, the next attempt is at another
        async with asyncio.timeout(ATTEMPT_SECONDS):
            await client.connect(
                [server],
                name=self.node,
                tls=self._credentials.context(),
                inbox_prefix=f"_INBOX_{self.node}",
                pending_size=PENDING_BYTES,
                allow_reconnect=False,
                ping_interval=PING_SECONDS,
                error_cb=self._on_error,
                closed_cb=self._on_lost,
                disconnected_cb=self._on_lost,
            )
            if not client.is_connected:
                raise ConnectionResetError("the server broke off the handshake")
            if self._server_key:
                self._require_coordinator(client.server_certificate())
            await client.subscribe(f"_INBOX_{self.node}.answer.*", cb=self._on_answer)
            await client.flush(timeout=int(ATTEMPT_SECONDS))
        self._connected.set()

    def _require_coordinator(self, certificate: bytes) -> None:
        try:
            require_signed_by(certificate, self._server_key, what=f"{self._url}: message server")
        except IdentityError as error:
            raise TransportError(
                f"{error}, the coordinator's in the constitution; nothing was sent: ask the coordinator, and who "
                "issued that certificate"
            ) from error

    async def _keep(self) -> None:
        pause = 0.05
        while not self._closed:
            if self._connected.is_set():
                while not self._lost.is_set() and self.client.is_connected:
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(LOOK_SECONDS):
                            await self._lost.wait()
                pause = 0.05
            self._connected.clear()
            self._interrupt()
            try:
                await self._attempt()
            except Exception as error:  # noqa: BLE001  whatever a dying server makes the library raise, this task lives on
                logger.info("%s: %s, trying again", self.node, self._explain(error))
                await asyncio.sleep(pause)
                pause = min(2 * pause, 1.0)

    async def _discard(self) -> None:
        if self._client is None or self._client.is_closed:
            return
        # A handshake that failed leaves a stream whose end the library would await for ever.
        with contextlib.suppress(TimeoutError, OSError, nats.errors.Error):
            async with asyncio.timeout(0.25):
                await self._client.close()

    def _interrupt(self) -> None:
        for _, future in self._answers.values():
            if not future.done():
                future.set_exception(DisconnectedError())
        for watcher in self.watchers:
            watcher.put_nowait(None)

    async def _on_answer(self, message: Msg) -> None:
        waiting = self._answers.get(message.subject)
        if waiting is not None and not waiting[1].done():
            waiting[1].set_result(message)

    async def _on_lost(self) -> None:
        self._lost.set()

    async def _on_error(self, error: Exception) -> None:
        denied = _DENIED.search(str(error))  # the library gives it in lower case
        if denied is None:
            if not self._connected.is_set():
                raise error  # out of `connect`, which would try again without end
            logger.info("%s: connection: %s: %s", self.node, type(error).__name__, error)
            return
        for subject, future in self._answers.values():
            if subject.lower() == denied[1].lower() and not future.done():
                future.set_exception(
                    TransportError(f"{self.node}: its certificate may not publish {subject}; check the roster")
                )

    def _explain(self, error: Exception) -> TransportError:
        text = f"{type(error).__name__}: {error}"[:300]
        if isinstance(error, ssl.SSLCertVerificationError):
            return TransportError(
                f"{self._url}: the server's certificate is not of this federation's authority, or not for this host "
                f"({text}); check nats.url and authority.crt"
            )
        if isinstance(error, ssl.SSLError | ConnectionResetError) or "uthorization" in text:
            return TransportError(
                f"{self._url}: the server refuses the certificate of {self.node} ({text}); it must be issued by the "
                "federation's authority and its node be in the roster: check with `hansa kit show`"
            )
        return TransportError(
            f"{self._url}: no message server answers ({text}); start `hansa coordinator run`, or correct nats.url"
        )
