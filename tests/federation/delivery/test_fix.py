"""Claims about FIX 4.4: lengths and sums, News of an alert, and a session that loses nothing."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hansa.errors import MessageError
from hansa.federation.alerts import Alert
from hansa.federation.delivery.courier import FIX_FILE, FIX_SESSION, Courier
from hansa.federation.delivery.fix import Field, decode, encode, news_fields, split, value_of
from hansa.federation.delivery.fix_session import FixSession
from hansa.federation.delivery.outbox import Outbox
from hansa.federation.records import Records
from hansa.identity.configuration import AlertsConfiguration

if TYPE_CHECKING:
    from pathlib import Path

NS = 1_000_000_000
NOW = 1_700_000_000 * NS
ALERTS = [
    Alert("lsi", "eur", NOW + number, 91.0, "lsi-1/ab", NOW + number, NOW + number, {}, number, f"{number:064d}")
    for number in (1, 2, 3)
]


def test_a_known_message_has_the_length_and_sum_of_the_standard() -> None:
    made = encode("0", "A", "B", 2, time_ns=0).replace(b"\x01", b"|")
    # 35=0|49=A|56=B|34=2|52=19700101-00:00:00.000| is 45 bytes; the sum of all before 10= modulo 256 follows.
    assert made.startswith(b"8=FIX.4.4|9=45|35=0|49=A|56=B|34=2|52=19700101-00:00:00.000|10=")
    body = made.replace(b"|", b"\x01")
    assert made.endswith(f"10={sum(body[: body.rindex(b'10=')]) % 256:03d}|".encode())


def test_an_alert_becomes_news_with_as_many_lines_as_it_says() -> None:
    fields = decode(encode("B", "HANSA", "OMS", 7, time_ns=NOW, fields=news_fields(ALERTS[0])))
    assert value_of(fields, 35) == "B"
    assert value_of(fields, 148) == "liquidity stress: eur (lsi)"
    lines = [value for tag, value in fields if tag == 58]
    assert value_of(fields, 33) == str(len(lines))
    assert any(ALERTS[0].digest in line for line in lines)
    assert any("before any later bar" in line for line in lines)
    assert fields.index((33, str(len(lines)))) < fields.index((58, lines[0]))


def test_names_with_separators_cannot_add_fields() -> None:
    fields = decode(encode("B", "A", "B", 1, time_ns=0, fields=news_fields(Alert("lsi", "eur\x0158=x", 1, 1.0))))
    assert value_of(fields, 148) == "liquidity stress: eur?58=x (lsi)"
    with pytest.raises(MessageError, match="separator"):
        encode("B", "A\x01", "B", 1, time_ns=0)


@given(st.lists(st.integers(0, 2), min_size=1, max_size=6), st.integers(1, 40))
def test_a_stream_cut_anywhere_gives_the_same_messages(kinds: list[int], step: int) -> None:
    whole = [encode("0B5"[kind], "A", "B", place + 1, time_ns=NOW) for place, kind in enumerate(kinds)]
    stream, found, rest = b"".join(whole), [], b""
    for start in range(0, len(stream), step):
        messages, rest = split(rest + stream[start : start + step])
        found += messages
    assert found == whole
    assert rest == b""


@pytest.mark.parametrize(
    "data",
    [
        b"8=FIX.4.4\x019=5\x0135=0\x0110=000\x01",
        b"8=FIX.4.4\x019=6\x0135=0\x0110=000\x01",
        b"8=FIX.4.2\x019=5\x0135=0\x0110=163\x01",
        b"35=0\x01",
        b"8=FIX.4.4\x019=5\x0135=0\x0110=163",
        b"8=FIX.4.4\x019=5\x01x=0\x0110=163\x01",
        b"8=FIX.4.4\x019=5008\x0135=0\x01" + b"9" * 5000 + b"=1\x0110=000\x01",
    ],
)
def test_malformed_messages_are_refused(data: bytes) -> None:
    def read() -> None:
        messages, rest = split(data)
        for message in [*messages, rest]:
            decode(message)

    with pytest.raises(MessageError, match="FIX"):
        read()


@given(st.binary(max_size=80))
def test_no_bytes_raise_anything_but_a_message_error(data: bytes) -> None:
    for call in (split, decode):
        try:
            call(data)
        except MessageError:
            continue


class Counterparty:
    """The operator's system: keeps its own numbers, answers test requests unless told not to."""

    def __init__(self, session: FixSession) -> None:
        self.session = session
        self.number = 0
        self.got: list[list[Field]] = []
        self.proven: list[Alert] = []

    def say(self, kind: str, fields: list[Field] | None = None, *, number: int | None = None, now: int = NOW) -> None:
        self.number = self.number + 1 if number is None else number
        data = encode(kind, "OMS", "HANSA", self.number, time_ns=now, fields=fields or [])
        answer, proven = self.session.receive(data, now_ns=now)
        self.proven += proven
        self.take(answer)

    def take(self, data: bytes) -> None:
        messages, rest = split(data)
        assert rest == b""
        self.got += [decode(message) for message in messages]

    def log_on(self, *, number: int | None = None) -> None:
        self.say("A", [(98, "0"), (108, "30")], number=number)

    def kinds(self) -> list[str | None]:
        return [value_of(fields, 35) for fields in self.got]


@pytest.fixture
def counterparty() -> Counterparty:
    return Counterparty(FixSession("HANSA", "OMS", Outbox(":memory:")))


def test_news_is_delivered_when_the_test_after_it_is_answered(counterparty: Counterparty) -> None:
    with pytest.raises(MessageError, match="waits"):
        counterparty.session.news(ALERTS[0], now_ns=NOW)
    counterparty.log_on()
    for alert in ALERTS[:2]:
        counterparty.take(counterparty.session.news(alert, now_ns=NOW))
    assert counterparty.kinds() == ["A", "B", "1", "B", "1"]
    assert counterparty.proven == []
    counterparty.say("0", [(112, value_of(counterparty.got[-1], 112) or "")])
    assert counterparty.proven == ALERTS[:2], "who has the second has the first"
    assert [value_of(fields, 34) for fields in counterparty.got] == ["1", "2", "3", "4", "5"]


def test_what_was_missed_is_sent_again_and_the_rest_is_filled(counterparty: Counterparty) -> None:
    counterparty.log_on()
    for alert in ALERTS[:2]:
        counterparty.take(counterparty.session.news(alert, now_ns=NOW))
    counterparty.got.clear()
    counterparty.say("2", [(7, "1"), (16, "0")])
    assert counterparty.kinds() == ["4", "B", "4", "B", "4"]
    fill, news = counterparty.got[0], counterparty.got[1]
    assert (value_of(fill, 34), value_of(fill, 36), value_of(fill, 123)) == ("1", "2", "Y")
    assert (value_of(news, 34), value_of(news, 43)) == ("2", "Y")
    assert value_of(news, 122) is not None
    assert value_of(counterparty.got[-1], 36) == "6"


def test_numbers_go_on_over_a_restart_and_kept_news_can_still_be_asked_for(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox.sqlite")
    first = Counterparty(FixSession("HANSA", "OMS", outbox))
    first.log_on()
    first.take(first.session.news(ALERTS[0], now_ns=NOW))
    outbox.close()
    second = Counterparty(FixSession("HANSA", "OMS", Outbox(tmp_path / "outbox.sqlite")))
    second.log_on(number=2)
    assert value_of(second.got[0], 34) == "4"
    second.say("2", [(7, "2"), (16, "2")])
    assert second.kinds() == ["A", "B"]


def test_a_gap_asks_for_what_is_missing_and_a_fill_closes_it(counterparty: Counterparty) -> None:
    counterparty.log_on()
    counterparty.say("0", number=5)
    assert counterparty.kinds() == ["A", "2"]
    assert value_of(counterparty.got[-1], 7) == "2"
    counterparty.say("4", [(43, "Y"), (123, "Y"), (36, "6")], number=2)
    counterparty.say("1", [(112, "hello")], number=6)
    assert counterparty.kinds()[-1] == "0"
    assert value_of(counterparty.got[-1], 112) == "hello"


@pytest.mark.parametrize("case", ["no logon", "wrong name", "low number", "heartbeat"])
def test_what_breaks_the_rules_ends_the_session_with_a_reason(counterparty: Counterparty, case: str) -> None:
    if case == "no logon":
        counterparty.say("0")
    elif case == "wrong name":
        answer, _ = counterparty.session.receive(encode("A", "EVE", "HANSA", 1, time_ns=NOW), now_ns=NOW)
        counterparty.take(answer)
    elif case == "heartbeat":
        counterparty.say("A", [(98, "0"), (108, "0")])
    else:
        counterparty.log_on()
        counterparty.say("0")
        counterparty.say("0", number=1)
    assert counterparty.kinds()[-1] == "5"
    assert "expected" in (value_of(counterparty.got[-1], 58) or "")
    assert counterparty.session.is_over


def test_an_order_is_rejected_because_this_side_sends_news_only(counterparty: Counterparty) -> None:
    counterparty.log_on()
    counterparty.say("D", [(11, "x")])
    assert counterparty.kinds()[-1] == "3"


def test_time_brings_heartbeats_then_a_test_then_the_end(counterparty: Counterparty) -> None:
    counterparty.log_on()
    session = counterparty.session
    assert session.tick(now_ns=NOW + 10 * NS) == b""
    counterparty.take(session.tick(now_ns=NOW + 31 * NS))
    counterparty.take(session.tick(now_ns=NOW + 40 * NS))
    assert counterparty.kinds() == ["A", "0", "1"]
    counterparty.take(session.tick(now_ns=NOW + 80 * NS))
    assert counterparty.kinds()[-1] == "5"
    assert session.is_over


def test_a_logout_is_answered(counterparty: Counterparty) -> None:
    counterparty.log_on()
    counterparty.say("5")
    assert counterparty.kinds() == ["A", "5"]
    assert counterparty.session.is_over


def made_courier(folder: Path, **settings: object) -> Courier:
    return Courier(
        AlertsConfiguration(fix_sender="HANSA", fix_target="OMS", **settings),  # type: ignore[arg-type]
        directory=folder,
        records_path=folder / "records.sqlite",
        outbox_path=folder / "outbox.sqlite",
        clock=lambda: NOW + 60 * NS,
        poll_seconds=0.01,
    )


async def test_the_file_holds_each_alert_as_a_whole_message_once(tmp_path: Path) -> None:
    records = Records(tmp_path / "records.sqlite")
    for alert in ALERTS:
        records.alert(alert)
    for _ in range(2):
        async with made_courier(tmp_path, fix_file="news.fix").running():
            for _ in range(300):
                if not Outbox(tmp_path / "outbox.sqlite").pending(FIX_FILE, records):
                    break
                await asyncio.sleep(0.01)
    messages, rest = split((tmp_path / "news.fix").read_bytes())
    assert rest == b""
    assert [value_of(decode(message), 34) for message in messages] == ["1", "2", "3"]


async def test_over_a_socket_an_alert_reaches_the_counterparty_and_is_noted(
    tmp_path: Path, unused_tcp_port: int
) -> None:
    records = Records(tmp_path / "records.sqlite")
    records.alert(ALERTS[0])
    async with made_courier(tmp_path, fix_port=unused_tcp_port).running() as courier:
        reader, writer = await asyncio.open_connection("127.0.0.1", courier.fix_port)
        writer.write(encode("A", "OMS", "HANSA", 1, time_ns=NOW, fields=[(98, "0"), (108, "30")]))
        buffer, got = b"", list[list[Field]]()
        async with asyncio.timeout(5):
            while "1" not in [value_of(one, 35) for one in got]:
                messages, buffer = split(buffer + await reader.read(4096))
                got += [decode(message) for message in messages]
            assert [value_of(one, 35) for one in got] == ["A", "B", "1"]
            probe = value_of(got[-1], 112) or ""
            writer.write(encode("0", "OMS", "HANSA", 2, time_ns=NOW, fields=[(112, probe)]))
            for _ in range(300):
                if not Outbox(tmp_path / "outbox.sqlite").pending(FIX_SESSION, records):
                    break
                await asyncio.sleep(0.01)
        assert Outbox(tmp_path / "outbox.sqlite").pending(FIX_SESSION, records) == []
        writer.close()
        await writer.wait_closed()
