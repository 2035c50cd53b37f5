"""What a counterparty or a reader of alerts may send a member: FIX bytes, a whole FIX session, an HTTP request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hansa.federation.delivery import fix
from hansa.federation.delivery.event_stream import read_request
from hansa.federation.delivery.fix_session import FixSession
from hansa.federation.delivery.outbox import Outbox

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from targets import Target

TIME_NS = 1_700_000_000_000_000_000
MOST_READ = 400


def stream(data: bytes) -> None:
    """Cut a stream of bytes into messages and read each one."""
    for message in fix.split(data)[0]:
        fix.decode(message)


def session(data: bytes) -> None:
    """Let a counterparty send anything, in two pieces, behind its Logon."""
    outbox = Outbox(":memory:")
    try:
        found = FixSession("m00", "desk", outbox)
        found.receive(_said(fix.LOGON, 1, [(98, "0"), (108, "30")]), now_ns=TIME_NS)
        half = len(data) // 2
        found.receive(data[:half], now_ns=TIME_NS)
        found.receive(data[half:], now_ns=TIME_NS)
    finally:
        outbox.close()


def fields(data: bytes) -> None:
    """Read the input as the fields of a message whose length and check sum are right."""
    body = b"35=" + data[:MOST_READ]
    start = b"8=FIX.4.4\x019=%d\x01" % len(body) + body
    whole = start + b"10=%03d\x01" % (sum(start) % 256)
    outbox = Outbox(":memory:")
    try:
        found = FixSession("m00", "desk", outbox)
        found.receive(_said(fix.LOGON, 1, [(98, "0"), (108, "30")]) + whole, now_ns=TIME_NS)
    finally:
        outbox.close()


def _said(kind: str, number: int, more: list[tuple[int, str]]) -> bytes:
    return fix.encode(kind, "desk", "m00", number, time_ns=TIME_NS, fields=more)


def delivery_targets(make: Callable[..., Target]) -> Iterable[Target]:
    """Return the targets of this module, made by the `Target` of the caller."""
    test = _said(fix.TEST, 2, [(112, "a")])
    again = _said(fix.RESEND, 2, [(7, "1"), (16, "0")])
    body = b"B\x0149=desk\x0156=m00\x0134=2\x0152=20231114-22:13:20.000\x01"
    asked = b"GET /alerts?after=3 HTTP/1.1\r\nHost: localhost\r\nLast-Event-ID: 4\r\n\r\n"
    yield make("fix", stream, (test + again,))
    yield make("fix-session", session, (test, again), floor=1 << 20, weight=1)
    yield make("fix-fields", fields, (body, b"2" + body[1:] + b"7=1\x0116=0\x01"), floor=1 << 20, weight=1)
    yield make("event-request", read_request, (asked,), "text")
