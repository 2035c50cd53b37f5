"""A FIX 4.4 session that sends News: logon, heartbeats, resends, logout; bytes in, bytes out.

This side accepts: the operator's own system dials in. Every News is kept under its number before it leaves, so that a
ResendRequest gets it again (43=Y, 122 the first time of sending); administrative messages in a gap are filled by
SequenceReset (35=4, 123=Y). An alert counts as delivered when the counterparty has shown that it has it: by a Heartbeat
that answers a TestRequest which was sent after it.

Guarantees: numbers go on over restarts (no reset unless the other side asks with 141=Y); a number that is too low, a
wrong name or a first message that is no Logon ends the session, a gap asks for a resend. Does NOT do: encryption or
passwords; it listens on this machine, and a system elsewhere comes through the operator's own tunnel.

Source: FIX Protocol 4.4, Volume 2 (FIX session protocol).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hansa.errors import MessageError
from hansa.federation.delivery.fix import (
    HEARTBEAT,
    LOGON,
    LOGOUT,
    NEWS,
    REJECT,
    RESEND,
    RESET,
    TEST,
    Field,
    decode,
    encode,
    news_fields,
    split,
    timestamp,
    value_of,
)

if TYPE_CHECKING:
    from hansa.federation.alerts import Alert
    from hansa.federation.delivery.outbox import Outbox

NS: Final = 1_000_000_000
SHORTEST_HEARTBEAT: Final = 1
LONGEST_HEARTBEAT: Final = 300


class FixSession:
    """One connection of the counterparty, from its first byte to the end.

    Args:
        sender: SenderCompID of this side.
        target: CompID of the counterparty; another one is sent away.
        outbox: Keeps numbers and messages.
    """

    def __init__(self, sender: str, target: str, outbox: Outbox) -> None:
        self._sender, self._target, self._outbox = sender, target, outbox
        self._name = f"{sender}>{target}"
        self._buffer = b""
        self._heartbeat_seconds = 30
        self._sent_ns = 0
        self._heard_ns = 0
        self._unproven: list[tuple[str, Alert]] = []  # sent, with the TestRequest that will prove them
        self._is_probing = False
        self.is_on = False
        self.is_over = False

    def receive(self, data: bytes, *, now_ns: int) -> tuple[bytes, list[Alert]]:
        """Take in bytes.

        Args:
            data: What came.
            now_ns: The time, ns UTC.

        Returns:
            What to send, and the alerts that the counterparty has now shown to have.

        Raises:
            MessageError: The stream is no FIX; the connection must be closed.
        """
        messages, self._buffer = split(self._buffer + data)
        out = b""
        proven: list[Alert] = []
        for message in messages:
            if self.is_over:
                break
            self._heard_ns, self._is_probing = now_ns, False
            answer, found = self._one(decode(message), now_ns)
            out += answer
            proven += found
        return out, proven

    def news(self, alert: Alert, *, now_ns: int) -> bytes:
        """Return an alert's News and a TestRequest that proves its arrival.

        Raises:
            MessageError: The session is not on.
        """
        if not self.is_on:
            raise MessageError("FIX: no counterparty is logged on; the alert waits")
        probe = f"alert-{alert.number}"
        self._unproven.append((probe, alert))
        return self._send(NEWS, now_ns, news_fields(alert)) + self._send(TEST, now_ns, [(112, probe)])

    def tick(self, *, now_ns: int) -> bytes:
        """Return what the passing of time asks for: a heartbeat, a test of a silent counterparty, or the end."""
        if not self.is_on or self.is_over:
            return b""
        limit = self._heartbeat_seconds * NS
        out = b""
        if now_ns - self._heard_ns > 2.4 * limit:
            self.is_over = True
            return self._send(LOGOUT, now_ns, [(58, "no answer to a test request")])
        if now_ns - self._heard_ns > 1.2 * limit and not self._is_probing:
            self._is_probing = True
            out += self._send(TEST, now_ns, [(112, "still there")])
        if now_ns - self._sent_ns >= limit:
            out += self._send(HEARTBEAT, now_ns, [])
        return out

    def _one(self, fields: list[Field], now_ns: int) -> tuple[bytes, list[Alert]]:
        kind = value_of(fields, 35) or ""
        number = _whole(value_of(fields, 34))
        is_fresh = kind == LOGON and value_of(fields, 141) == "Y"
        expected = number if is_fresh else self._outbox.last_seen(self._name) + 1
        refusal = self._refusal(fields, kind, number, expected)
        proven: list[Alert] = []
        if refusal:
            out = self._end(now_ns, refusal)
        elif kind == RESET:
            out = self._reset(fields, number, expected, now_ns)
        elif number < expected:  # a copy of what is known
            out = b""
        elif number > expected:
            # A Logon ahead of its number is answered first; anything else waits for what is missing.
            out = self._logon(fields, now_ns) if kind == LOGON else b""
            out += self._send(RESEND, now_ns, [(7, str(expected)), (16, "0")])
        else:
            self._outbox.keep_seen(self._name, number)
            proven = self._proven(value_of(fields, 112)) if kind == HEARTBEAT else []
            out = self._act(kind, fields, now_ns)
        return out, proven

    def _refusal(self, fields: list[Field], kind: str, number: int, expected: int) -> str:
        """Return why the session must end, or nothing."""
        if (value_of(fields, 49), value_of(fields, 56)) != (self._target, self._sender):
            return "expected another SenderCompID or TargetCompID"
        if not self.is_on and kind != LOGON:
            return "expected a Logon first"
        is_copy = value_of(fields, 43) == "Y" or kind == RESET
        return f"expected MsgSeqNum {expected} or more, got {number}" if number < expected and not is_copy else ""

    def _act(self, kind: str, fields: list[Field], now_ns: int) -> bytes:
        number = value_of(fields, 34) or "0"
        if kind == LOGON:
            out = self._logon(fields, now_ns)
        elif kind == LOGOUT:
            out = self._end(now_ns, "goodbye")
        elif kind == RESEND:
            out = self._again(_whole(value_of(fields, 7)), _whole(value_of(fields, 16)), now_ns)
        elif kind == TEST:
            out = self._send(HEARTBEAT, now_ns, [(112, value_of(fields, 112) or "?")])
        elif kind in {HEARTBEAT, REJECT}:
            out = b""
        else:
            words = [(45, number), (372, kind or "?"), (373, "11"), (58, "this side sends News only")]
            out = self._send(REJECT, now_ns, words)
        return out

    def _logon(self, fields: list[Field], now_ns: int) -> bytes:
        seconds = _whole(value_of(fields, 108))
        if not SHORTEST_HEARTBEAT <= seconds <= LONGEST_HEARTBEAT:
            return self._end(now_ns, f"expected a HeartBtInt of {SHORTEST_HEARTBEAT} to {LONGEST_HEARTBEAT} s")
        self._heartbeat_seconds, self.is_on = seconds, True
        return self._send(LOGON, now_ns, [(98, "0"), (108, str(seconds))])

    def _reset(self, fields: list[Field], number: int, expected: int, now_ns: int) -> bytes:
        new = _whole(value_of(fields, 36))
        is_fill = value_of(fields, 123) == "Y"
        if new < expected or (is_fill and number > expected):
            return self._send(RESEND, now_ns, [(7, str(expected)), (16, "0")]) if number > expected else b""
        self._outbox.keep_seen(self._name, new - 1)
        return b""

    def _again(self, first: int, last: int, now_ns: int) -> bytes:
        newest = self._outbox.last_sent(self._name)
        last = newest if last == 0 else min(last, newest)
        out, filled = b"", 0
        kept = self._outbox.sent(self._name, first, last)
        for number in range(first, last + 1):
            fields = decode(kept[number]) if kept.get(number) else []
            if value_of(fields, 35) != NEWS:
                filled = filled or number
                continue
            if filled:
                out += self._fill(filled, number, now_ns)
                filled = 0
            first_time = value_of(fields, 52) or timestamp(now_ns)
            body = [field for field in fields if field[0] not in {8, 9, 35, 49, 56, 34, 52, 10}]
            repeated: list[Field] = [(43, "Y"), (122, first_time), *body]
            out += encode(NEWS, self._sender, self._target, number, time_ns=now_ns, fields=repeated)
        if filled:
            out += self._fill(filled, last + 1, now_ns)
        return out

    def _fill(self, first: int, following: int, now_ns: int) -> bytes:
        fields: list[Field] = [(43, "Y"), (122, timestamp(now_ns)), (123, "Y"), (36, str(following))]
        return encode(RESET, self._sender, self._target, first, time_ns=now_ns, fields=fields)

    def _proven(self, probe: str | None) -> list[Alert]:
        probes = [one for one, _ in self._unproven]
        if probe not in probes:
            return []
        # Messages come in order: who has answered this probe has every News before it.
        place = probes.index(probe) + 1
        found, self._unproven = self._unproven[:place], self._unproven[place:]
        return [alert for _, alert in found]

    def _end(self, now_ns: int, words: str) -> bytes:
        self.is_over = True
        return self._send(LOGOUT, now_ns, [(58, words)])

    def _send(self, kind: str, now_ns: int, fields: list[Field]) -> bytes:
        number = self._outbox.last_sent(self._name) + 1
        message = encode(kind, self._sender, self._target, number, time_ns=now_ns, fields=fields)
        self._outbox.keep_sent(self._name, number, message)
        self._sent_ns = now_ns
        return message


def _whole(text: str | None) -> int:
    if text is None or not text.isdecimal() or len(text) > 12:
        raise MessageError(f"FIX: expected a whole number, got {text!r}")
    return int(text)
