"""The courier: carries a node's alerts to what its `hansa.toml` names, beside the member's own work.

Each way runs by itself; one that fails waits (`outbox`) and holds up nobody else. What goes wrong is in the log.
An alert whose bar is older than `alerts.oldest_hours` when it is first seen is noted as too old and not sent: it
belongs to a history that was read in, and nobody wants last month's warnings on a new screen.

Does NOT carry anything but alerts: no state, no forecast, no data of the member.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from typing import TYPE_CHECKING, Final

from hansa.errors import ConfigurationError, HansaError, MessageError, StoreError, TransportError
from hansa.federation.delivery import webhook
from hansa.federation.delivery.event_stream import EventStream
from hansa.federation.delivery.fix import NEWS, encode, news_fields
from hansa.federation.delivery.fix_session import FixSession
from hansa.federation.delivery.outbox import Outbox
from hansa.federation.records import Records

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from hansa.federation.alerts import Alert
    from hansa.identity.configuration import AlertsConfiguration

logger = logging.getLogger(__name__)
HOUR_NS: Final = 3_600_000_000_000
NS: Final = 1_000_000_000
FIX_FILE: Final = "fix-file"
FIX_SESSION: Final = "fix-session"
READ_BYTES: Final = 4096


class Courier:
    """Everything that carries a node's alerts.

    Args:
        settings: What the operator configured.
        directory: The node's folder: relative paths of the settings start there.
        records_path: The node's records.
        outbox_path: Where deliveries are noted.
        clock: Tells the time, ns UTC.
        poll_seconds: How often new alerts are looked for.

    Raises:
        ConfigurationError: An address or the secret cannot be used.
    """

    def __init__(
        self,
        settings: AlertsConfiguration,
        *,
        directory: Path,
        records_path: Path,
        outbox_path: Path,
        clock: Callable[[], int] = time.time_ns,
        poll_seconds: float = 0.5,
    ) -> None:
        self._settings = settings
        self._directory = directory
        self._clock = clock
        self._poll_seconds = poll_seconds
        self._secret = b""
        if settings.webhook:
            webhook.check_address(settings.webhook)
            self._secret = read_secret(directory / settings.webhook_secret)
        self._outbox = Outbox(outbox_path)
        self._records = Records(records_path, read_only=True)
        self._events = EventStream(lambda after: self._records.alerts(after=after), poll_seconds=poll_seconds)
        self._fix_task: asyncio.Task[None] | None = None
        self.events_port = 0
        self.fix_port = 0

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Courier]:
        """Carry alerts while the body of this context runs.

        Raises:
            TransportError: A port is taken.
        """
        settings, tasks, server = self._settings, list[asyncio.Task[None]](), None
        try:
            if settings.events_port:
                self.events_port = await self._events.start(settings.events_listen, settings.events_port)
            if settings.fix_port:
                server = await self._listen(settings.fix_listen, settings.fix_port)
            if settings.webhook:
                tasks.append(asyncio.create_task(self._carry(webhook.CHANNEL, self._post)))
            if settings.fix_file:
                tasks.append(asyncio.create_task(self._carry(FIX_FILE, self._append)))
            yield self
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._events.stop()
            if server is not None:
                server.close()
            if self._fix_task is not None:
                self._fix_task.cancel()
                await asyncio.gather(self._fix_task, return_exceptions=True)
            self._outbox.close()
            self._records.close()

    async def _carry(self, channel: str, send: Callable[[Alert], None]) -> None:
        """Send what is pending, in order, for ever; a failure waits and is tried again."""
        while True:
            try:
                if self._clock() >= self._outbox.next_attempt_ns(channel):
                    for alert in self._fresh(channel):
                        await asyncio.to_thread(send, alert)
                        self._outbox.delivered(channel, alert, at_ns=self._clock())
            except (TransportError, StoreError) as error:
                with contextlib.suppress(StoreError):
                    self._outbox.failed(channel, str(error), now_ns=self._clock())
                logger.warning("alert waits", extra={"fields": {"channel": channel, "reason": str(error)}})
            await asyncio.sleep(self._poll_seconds)

    def _fresh(self, channel: str) -> list[Alert]:
        """Return what is pending and not too old; note what is."""
        now = self._clock()
        oldest = now - int(self._settings.oldest_hours * HOUR_NS)
        found: list[Alert] = []
        for alert in self._outbox.pending(channel, self._records):
            # What has failed before was fresh when it was first seen, and is never given up.
            if alert.ts_ns < oldest and not found and self._outbox.next_attempt_ns(channel) == 0:
                self._outbox.delivered(channel, alert, at_ns=now, how=f"older than {self._settings.oldest_hours:g} h")
            else:
                found.append(alert)
        return found

    def _post(self, alert: Alert) -> None:
        webhook.post(self._settings.webhook, self._secret, alert, now_seconds=self._clock() // NS)

    def _append(self, alert: Alert) -> None:
        path = self._directory / self._settings.fix_file
        message = encode(
            NEWS,
            self._settings.fix_sender,
            self._settings.fix_target,
            max(alert.number, 1),
            time_ns=self._clock(),
            fields=news_fields(alert),
        )
        try:
            with path.open("ab") as file:
                file.write(message)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise TransportError(f"{path}: cannot be written ({error.strerror}); it is tried again") from error

    async def _listen(self, host: str, port: int) -> asyncio.Server:
        try:
            server = await asyncio.start_server(self._serve_fix, host, port)
        except OSError as error:
            raise TransportError(f"FIX: cannot listen on {host}:{port}: {error}; choose another port") from error
        self.fix_port = server.sockets[0].getsockname()[1]
        return server

    async def _serve_fix(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one counterparty; a second connection is closed while the first lasts."""
        if self._fix_task is not None and not self._fix_task.done():
            writer.close()
            return
        self._fix_task = asyncio.current_task()
        try:
            await self._converse(reader, writer)
        except (OSError, HansaError) as error:
            logger.warning("FIX session ends", extra={"fields": {"reason": str(error)}})
        finally:
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        session = FixSession(self._settings.fix_sender, self._settings.fix_target, self._outbox)
        sent: set[str] = set()
        waiting = asyncio.ensure_future(reader.read(READ_BYTES))
        try:
            while not session.is_over:
                await asyncio.wait({waiting}, timeout=self._poll_seconds)
                if waiting.done():
                    data = waiting.result()
                    if not data:
                        return
                    answer, proven = session.receive(data, now_ns=self._clock())
                    for alert in proven:
                        self._outbox.delivered(FIX_SESSION, alert, at_ns=self._clock())
                    writer.write(answer)
                    waiting = asyncio.ensure_future(reader.read(READ_BYTES))
                if session.is_on and not session.is_over:
                    for alert in self._fresh(FIX_SESSION):
                        if alert.digest not in sent:
                            writer.write(session.news(alert, now_ns=self._clock()))
                            sent.add(alert.digest)
                    writer.write(session.tick(now_ns=self._clock()))
                await writer.drain()
        except MessageError as error:
            logger.warning("FIX stream refused", extra={"fields": {"reason": str(error)}})
        finally:
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)


def read_secret(path: Path) -> bytes:
    """Read the webhook's secret.

    Raises:
        ConfigurationError: It is absent, readable by others or too short.
    """
    try:
        mode, secret = path.stat().st_mode, path.read_bytes().strip()
    except OSError as error:
        raise ConfigurationError(
            f"{path}: the webhook's secret cannot be read ({error.strerror}); make one: "
            "`(umask 077; openssl rand -hex 32 > webhook.secret)`"
        ) from error
    if mode & 0o077:
        raise ConfigurationError(f"{path}: others may read the webhook's secret; `chmod 600` it")
    if len(secret) < webhook.LEAST_SECRET_BYTES:
        raise ConfigurationError(f"{path}: expected {webhook.LEAST_SECRET_BYTES} bytes or more, got {len(secret)}")
    return secret
