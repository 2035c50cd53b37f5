"""Server-sent events on this machine: a terminal, a script or a browser follows the alerts as they are written.

```
GET /alerts            text/event-stream; each event: id <number>, event: alert, data: the alert as JSON
Last-Event-ID: 17      goes on after alert 17; without it (and without ?after=) from the first
```
Guarantees: listens on a loopback address only; answers only requests that name it as host (a page of another site
cannot reach it by a name of its own); sends no header that lets other sites read it. A reader that falls
behind is closed and comes again with its Last-Event-ID. Does NOT authenticate: every account on this machine can read.

Source: WHATWG HTML, server-sent events; RFC 9112 (HTTP/1.1).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs, urlsplit

from hansa.errors import ConfigurationError, HansaError, TransportError

if TYPE_CHECKING:
    from collections.abc import Callable

    from hansa.federation.alerts import Alert

    Source = Callable[[int], list[Alert]]

LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})
LONGEST_REQUEST: Final = 8192
REQUEST_SECONDS: Final = 5.0
WRITE_SECONDS: Final = 10.0
BEAT_SECONDS: Final = 15.0
MOST_READERS: Final = 64


class EventStream:
    """The endpoint.

    Args:
        source: Returns the alerts after a number, in order.
        poll_seconds: How often it is asked.
    """

    def __init__(self, source: Source, *, poll_seconds: float = 0.5) -> None:
        self._source = source
        self._poll_seconds = poll_seconds
        self._server: asyncio.Server | None = None
        self._readers: set[asyncio.Task[None]] = set()

    async def start(self, host: str, port: int) -> int:
        """Listen; return the port.

        Raises:
            ConfigurationError: The address is not a loopback one.
            TransportError: The port is taken.
        """
        if host not in LOOPBACK:
            raise ConfigurationError(f"hansa.toml: alerts.events_listen: expected a loopback address, got {host!r}")
        try:
            self._server = await asyncio.start_server(self._serve, host, port, limit=LONGEST_REQUEST)
        except OSError as error:
            raise TransportError(f"events: cannot listen on {host}:{port}: {error}; choose another port") from error
        found: int = self._server.sockets[0].getsockname()[1]
        return found

    async def stop(self) -> None:
        """Close the endpoint and its readers."""
        if self._server is not None:
            self._server.close()
        for task in tuple(self._readers):
            task.cancel()
        await asyncio.gather(*self._readers, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._readers.add(task)
        try:
            await self._answer(reader, writer)
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, HansaError):
            pass  # a reader that is gone, slow or talks no HTTP comes again or does not
        finally:
            if task is not None:
                self._readers.discard(task)
            writer.close()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(REQUEST_SECONDS):
            head = await reader.readuntil(b"\r\n\r\n")
        status, after = read_request(head)
        if status == 200 and len(self._readers) > MOST_READERS:
            status = 503
        if status != 200:
            writer.write(f"HTTP/1.1 {status} refused\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
            await writer.drain()
            return
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n"
            b"X-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\nretry: 2000\n\n"
        )
        quiet = 0.0
        while not reader.at_eof():
            for alert in self._source(after):
                writer.write(event(alert))
                after, quiet = alert.number, 0.0
            if quiet >= BEAT_SECONDS:
                writer.write(b": still here\n\n")
                quiet = 0.0
            async with asyncio.timeout(WRITE_SECONDS):
                await writer.drain()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._poll_seconds):
                    await reader.read(1024)  # a reader says nothing more; an end of file ends the loop
            quiet += self._poll_seconds


def event(alert: Alert) -> bytes:
    """Return one alert as an event."""
    return f"id: {alert.number}\nevent: alert\ndata: {json.dumps(alert.body(), sort_keys=True)}\n\n".encode()


def read_request(head: bytes) -> tuple[int, int]:
    """Return the status of a request, 200 if it may be served, and the number after which it wants to go on."""
    try:
        return _status(head)
    except ValueError:  # an address that is none, such as "//["
        return 400, 0


def _status(head: bytes) -> tuple[int, int]:
    lines = head.decode("latin-1").split("\r\n")
    words = lines[0].split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        return 400, 0
    headers = {
        name.strip().lower(): value.strip()
        for name, colon, value in (line.partition(":") for line in lines[1:])
        if colon
    }
    if urlsplit(f"//{headers.get('host', '')}").hostname not in LOOPBACK:
        return 421, 0
    address = urlsplit(words[1])
    if words[0] != "GET":
        return 405, 0
    if address.path != "/alerts":
        return 404, 0
    after = headers.get("last-event-id") or (parse_qs(address.query).get("after") or ["0"])[0]
    return (200, int(after)) if after.isdecimal() and len(after) < 16 else (400, 0)
