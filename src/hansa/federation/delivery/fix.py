"""FIX 4.4 messages as bytes: an alert as News (35=B), and what a session needs.

```
8=FIX.4.4 | 9=<bytes from 35 on> | 35=<type> | 49 sender | 56 target | 34 number | 52 time | ... | 10=<sum mod 256>
```
News: 42 time of the bar, 61 urgency (1 flash), 148 headline, 33 number of lines, 58 each line of text.

Guarantees: `decode` refuses a wrong BodyLength or CheckSum, a tag that is no number, and a field without a value.
Does NOT guarantee: the fields that a venue's own dialect asks for beside these.

Source: FIX Protocol 4.4 (2003, errata 2003-06-18), Volume 2 (session), Volume 3 (News).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from hansa.errors import MessageError
from hansa.federation.alerts import driver_words, probability_words, statistic_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hansa.federation.alerts import Alert

BEGIN: Final = "FIX.4.4"
SOH: Final = b"\x01"
NEWS, LOGON, LOGOUT, HEARTBEAT, TEST, RESEND, REJECT, RESET = "B", "A", "5", "0", "1", "2", "3", "4"
ADMINISTRATIVE: Final = frozenset({LOGON, LOGOUT, HEARTBEAT, TEST, RESEND, REJECT, RESET})
LONGEST_MESSAGE: Final = 64 * 1024
LONGEST_TAG: Final = 5

Field = tuple[int, str]


def encode(kind: str, sender: str, target: str, number: int, *, time_ns: int, fields: Sequence[Field] = ()) -> bytes:
    """Return a message with its length and check sum.

    Args:
        kind: MsgType.
        sender: SenderCompID.
        target: TargetCompID.
        number: MsgSeqNum, from 1.
        time_ns: SendingTime, ns UTC.
        fields: The fields after the header, in order.

    Raises:
        MessageError: A value is empty or holds the separator.
    """
    header: list[Field] = [(35, kind), (49, sender), (56, target), (34, str(number)), (52, timestamp(time_ns))]
    body = b"".join(_field(tag, value) for tag, value in (*header, *fields))
    start = _field(8, BEGIN) + _field(9, str(len(body)))
    return start + body + _field(10, f"{sum(start + body) % 256:03d}")


def decode(data: bytes) -> list[Field]:
    """Return a message's fields in order, 8, 9 and 10 included.

    Raises:
        MessageError: It is not one whole well-formed message.
    """
    if not data.endswith(SOH):
        raise MessageError("FIX: expected a message that ends with the separator")
    fields = []
    for part in data[:-1].split(SOH):
        tag, equals, value = part.partition(b"=")
        if not equals or not value or not tag.isdigit() or len(tag) > LONGEST_TAG:
            raise MessageError("FIX: expected fields tag=value")
        fields.append((int(tag), value.decode("utf-8", "replace")))
    if len(fields) < 4 or [fields[0][0], fields[1][0], fields[2][0], fields[-1][0]] != [8, 9, 35, 10]:
        raise MessageError("FIX: expected 8, 9, 35 first and 10 last")
    start = data.index(SOH, data.index(SOH) + 1) + 1
    end = len(data) - len(b"10=000\x01")
    if fields[1][1] != str(end - start):
        raise MessageError(f"FIX: expected a BodyLength of {end - start}, got {fields[1][1]}")
    if fields[-1][1] != f"{sum(data[:end]) % 256:03d}":
        raise MessageError(f"FIX: expected a CheckSum of {sum(data[:end]) % 256:03d}, got {fields[-1][1]}")
    return fields


def split(buffer: bytes) -> tuple[list[bytes], bytes]:
    """Cut a stream into whole messages and what is left of the next one.

    Raises:
        MessageError: The stream is not FIX 4.4, or a message is too long.
    """
    found = []
    while buffer:
        start = b"8=" + BEGIN.encode() + SOH + b"9="
        if not start.startswith(buffer[: len(start)]):
            raise MessageError("FIX: expected a message that starts with 8=FIX.4.4 and its length")
        mark = buffer.find(SOH, len(start))
        digits = buffer[len(start) : mark if mark >= 0 else len(buffer)]
        if len(digits) > 6 or (digits and not digits.isdigit()) or (mark >= 0 and not digits):
            raise MessageError("FIX: expected a BodyLength in digits")
        if mark < 0:
            break
        length = int(digits)
        if length > LONGEST_MESSAGE:
            raise MessageError(f"FIX: expected at most {LONGEST_MESSAGE} bytes, got {length}")
        whole = mark + 1 + length + len(b"10=000\x01")
        if len(buffer) < whole:
            break
        found.append(buffer[:whole])
        buffer = buffer[whole:]
    return found, buffer


def news_fields(alert: Alert) -> list[Field]:
    """Return the fields of an alert's News."""
    lines = [
        f"{statistic_words(alert)} at the bar that ends {timestamp(alert.ts_ns)} UTC",
        *probability_words(alert),
        *driver_words(alert),
        f"model {alert.model_version or 'unknown'}",
        f"written {'before' if alert.is_ahead else 'after'} any later bar was known",
        f"alert {alert.number}, sha256 {alert.digest}",
    ]
    headline = f"liquidity stress: {alert.basket} ({alert.rule})"
    return [
        (42, timestamp(alert.ts_ns)),
        (61, "1"),
        (148, _plain(headline)),
        (33, str(len(lines))),
        *((58, _plain(line)) for line in lines),
    ]


def timestamp(ts_ns: int) -> str:
    """Return a UTCTimestamp with milliseconds.

    >>> timestamp(1_678_504_200_005_000_000)
    '20230311-03:10:00.005'
    """
    moment = datetime.fromtimestamp(ts_ns // 1_000_000_000, tz=UTC)
    return f"{moment:%Y%m%d-%H:%M:%S}.{ts_ns // 1_000_000 % 1000:03d}"


def value_of(fields: Sequence[Field], tag: int) -> str | None:
    """Return the first value of a tag, or None."""
    return next((value for own, value in fields if own == tag), None)


def _field(tag: int, value: str) -> bytes:
    data = value.encode()
    if not data or SOH in data:
        raise MessageError(f"FIX: expected a value of tag {tag} without the separator")
    return f"{tag}=".encode() + data + SOH


def _plain(words: str) -> str:
    return "".join(letter if letter.isprintable() and letter.isascii() else "?" for letter in words) or "?"
