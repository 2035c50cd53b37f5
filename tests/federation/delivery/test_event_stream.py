"""Claims about server-sent events: in order, resumed, on this machine only."""

from __future__ import annotations

import asyncio
import json

import pytest

from hansa.errors import ConfigurationError, TransportError
from hansa.federation.alerts import Alert
from hansa.federation.delivery.event_stream import EventStream

ALERTS = [Alert("lsi", "eur", number, 90.0 + number, number=number, digest=str(number)) for number in (1, 2, 3)]


async def ask(port: int, head: str, *, events: int = 0) -> tuple[str, list[dict[str, object]]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head.encode())
    await writer.drain()
    async with asyncio.timeout(5):
        first = (await reader.readuntil(b"\r\n\r\n")).decode()
        found = []
        while len(found) < events:
            block = (await reader.readuntil(b"\n\n")).decode()
            if "data:" in block:
                found.append(
                    {"id": block.split("id: ")[1].split("\n")[0]} | json.loads(block.split("data: ")[1].split("\n")[0])
                )
    writer.close()
    await writer.wait_closed()
    return first, found


def request(path: str = "/alerts", *, host: str = "127.0.0.1:1", method: str = "GET", more: str = "") -> str:
    return f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n{more}\r\n"


async def test_alerts_come_in_order_then_as_they_are_written_and_go_on_after_the_last_seen() -> None:
    known = ALERTS[:2]
    stream = EventStream(lambda after: [one for one in known if one.number > after], poll_seconds=0.01)
    port = await stream.start("127.0.0.1", 0)
    try:
        task = asyncio.create_task(ask(port, request(), events=3))
        await asyncio.sleep(0.05)
        known.append(ALERTS[2])
        head, found = await task
        assert "text/event-stream" in head
        assert "Access-Control" not in head
        assert [one["id"] for one in found] == ["1", "2", "3"]
        assert found[0]["digest"] == "1"
        _, resumed = await ask(port, request(more="Last-Event-ID: 2\r\n"), events=1)
        assert [one["number"] for one in resumed] == [3]
        _, queried = await ask(port, request("/alerts?after=1"), events=2)
        assert [one["number"] for one in queried] == [2, 3]
    finally:
        await stream.stop()


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (request(host="evil.example"), "421"),
        (request("/other"), "404"),
        (request(method="POST"), "405"),
        (request(more="Last-Event-ID: x\r\n"), "400"),
        (request(host="["), "400"),
        ("nonsense\r\n\r\n", "400"),
    ],
)
async def test_other_requests_are_refused(head: str, status: str) -> None:
    stream = EventStream(lambda _after: ALERTS, poll_seconds=0.01)
    port = await stream.start("127.0.0.1", 0)
    try:
        answer, _ = await ask(port, head)
        assert status in answer.split("\r\n")[0]
    finally:
        await stream.stop()


async def test_it_listens_on_this_machine_only_and_says_when_a_port_is_taken() -> None:
    with pytest.raises(ConfigurationError, match="loopback"):
        await EventStream(lambda _after: []).start("0.0.0.0", 0)  # noqa: S104 - refused
    one = EventStream(lambda _after: [])
    port = await one.start("127.0.0.1", 0)
    try:
        with pytest.raises(TransportError, match="another port"):
            await EventStream(lambda _after: []).start("127.0.0.1", port)
    finally:
        await one.stop()
