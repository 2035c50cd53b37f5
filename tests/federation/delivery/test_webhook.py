"""Claims about webhooks: signed, tried again with growing waits, at least once, lost never."""

from __future__ import annotations

import asyncio
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING

import pytest

from hansa.errors import ConfigurationError, TransportError
from hansa.federation.alerts import Alert
from hansa.federation.delivery.courier import Courier, read_secret
from hansa.federation.delivery.outbox import LONGEST_WAIT_NS, Outbox
from hansa.federation.delivery.webhook import CHANNEL, check_address, is_signed, post, signature
from hansa.federation.records import Records
from hansa.identity.configuration import AlertsConfiguration

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECRET = b"0123456789abcdef"
NOW = 1_700_000_000_000_000_000
ALERT = Alert("lsi", "eur", NOW - 5, 91.0, "lsi-1/ab", NOW - 5, NOW, {"threshold": 80.0}, 1, "d" * 64)


class Receiver:
    """A receiver on this machine that answers what it is told."""

    def __init__(self) -> None:
        self.answers: list[int] = []
        self.got: list[tuple[dict[str, str], bytes]] = []

    @contextmanager
    def listening(self) -> Iterator[str]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.got.append((dict(self.headers), body))
                self.send_response(outer.answers.pop(0) if outer.answers else 204)
                self.send_header("Location", "http://127.0.0.1:1/elsewhere")
                self.end_headers()

            def log_message(self, *_args: object) -> None:
                pass

        server = HTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/hook?x=1"
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


def test_a_receiver_can_check_what_it_got() -> None:
    receiver = Receiver()
    with receiver.listening() as url:
        post(url, SECRET, ALERT, now_seconds=1000)
    ((headers, body),) = receiver.got
    assert json.loads(body)["value"] == 91.0
    assert headers["Hansa-Alert"] == ALERT.digest
    assert is_signed(SECRET, body, headers["Hansa-Signature"], now_seconds=1100)
    assert not is_signed(SECRET, body + b" ", headers["Hansa-Signature"], now_seconds=1100)
    assert not is_signed(b"another secret!!", body, headers["Hansa-Signature"], now_seconds=1100)
    assert not is_signed(SECRET, body, headers["Hansa-Signature"], now_seconds=2000), "a replay is old"
    assert not is_signed(SECRET, body, "v1=00", now_seconds=1000)


@pytest.mark.parametrize("status", [301, 400, 500, 503])
def test_an_answer_other_than_2xx_is_a_failure_and_no_redirect_is_followed(status: int) -> None:
    receiver = Receiver()
    receiver.answers = [status]
    with receiver.listening() as url, pytest.raises(TransportError, match=str(status)):
        post(url, SECRET, ALERT, now_seconds=1)
    assert len(receiver.got) == 1


def test_nobody_there_is_a_failure_that_names_no_secret() -> None:
    with pytest.raises(TransportError, match="tried again") as error:
        post("http://127.0.0.1:9/hook", SECRET, ALERT, now_seconds=1)
    assert SECRET.decode() not in str(error.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/x",
        "ftp://127.0.0.1/x",
        "https://user:pass@example.com/",
        "https:///x",
        "https://a:99999/",
        "",
    ],
)
def test_addresses_that_leak_or_lead_nowhere_are_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"alerts\.webhook"):
        check_address(url)


def test_a_short_secret_or_one_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "webhook.secret"
    with pytest.raises(ConfigurationError, match="openssl"):
        read_secret(path)
    path.write_bytes(b"short\n")
    path.chmod(0o600)
    with pytest.raises(ConfigurationError, match="16 bytes"):
        read_secret(path)
    path.write_bytes(SECRET + b"\n")
    path.chmod(0o644)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        read_secret(path)
    path.chmod(0o600)
    assert read_secret(path) == SECRET
    with pytest.raises(ConfigurationError, match="secret"):
        post("https://example.com/", b"x", ALERT, now_seconds=1)


def test_waits_double_up_to_ten_minutes_and_end_with_success() -> None:
    outbox = Outbox(":memory:")
    waits = [outbox.failed(CHANNEL, "gone", now_ns=0) for _ in range(12)]
    assert waits[:4] == [10**9, 2 * 10**9, 4 * 10**9, 8 * 10**9]
    assert waits[-1] == LONGEST_WAIT_NS
    assert outbox.next_attempt_ns(CHANNEL) == LONGEST_WAIT_NS
    assert outbox.troubles() == {CHANNEL: "gone (12 attempts)"}
    outbox.delivered(CHANNEL, ALERT, at_ns=1)
    assert outbox.next_attempt_ns(CHANNEL) == 0


class Clock:
    """A clock that goes on by a minute whenever it is asked."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> int:
        self.now += 60_000_000_000
        return self.now


async def until(condition: object) -> None:
    for _ in range(500):
        if condition():  # type: ignore[operator]
            return
        await asyncio.sleep(0.01)
    raise AssertionError


def courier(folder: Path, url: str, clock: object) -> Courier:
    (folder / "webhook.secret").write_bytes(SECRET)
    (folder / "webhook.secret").chmod(0o600)
    return Courier(
        AlertsConfiguration(webhook=url),
        directory=folder,
        records_path=folder / "records.sqlite",
        outbox_path=folder / "outbox.sqlite",
        clock=clock,  # type: ignore[arg-type]
        poll_seconds=0.01,
    )


async def test_every_alert_arrives_in_order_in_spite_of_failures_and_a_restart(tmp_path: Path) -> None:
    records = Records(tmp_path / "records.sqlite")
    receiver, clock = Receiver(), Clock()
    receiver.answers = [500, 503, 204, 500]
    for number in range(3):
        records.alert(Alert("lsi", "eur", NOW + number, 90.0))
    with receiver.listening() as url:
        async with courier(tmp_path, url, clock).running():
            await until(lambda: len(receiver.got) >= 4)
        async with courier(tmp_path, url, clock).running():
            await until(lambda: not Outbox(tmp_path / "outbox.sqlite").pending(CHANNEL, records))
    digests = [headers["Hansa-Alert"] for headers, _ in receiver.got]
    first_times = list(dict.fromkeys(digests))
    assert first_times == [alert.digest for alert in records.alerts()]
    assert digests.count(first_times[0]) == 3, "two failures, then once more"
    assert Outbox(tmp_path / "outbox.sqlite").troubles() == {}


async def test_alerts_of_a_history_that_is_read_in_are_noted_and_not_sent(tmp_path: Path) -> None:
    records = Records(tmp_path / "records.sqlite")
    receiver, clock = Receiver(), Clock()
    records.alert(Alert("lsi", "eur", NOW - 48 * 3_600_000_000_000, 90.0))
    records.alert(Alert("lsi", "eur", NOW, 91.0))
    with receiver.listening() as url:
        async with courier(tmp_path, url, clock).running():
            await until(lambda: not Outbox(tmp_path / "outbox.sqlite").pending(CHANNEL, records))
    assert [json.loads(body)["value"] for _, body in receiver.got] == [91.0]


async def test_nothing_configured_sends_nothing(tmp_path: Path) -> None:
    Records(tmp_path / "records.sqlite").alert(Alert("lsi", "eur", NOW, 91.0))
    quiet = Courier(
        AlertsConfiguration(),
        directory=tmp_path,
        records_path=tmp_path / "records.sqlite",
        outbox_path=tmp_path / "outbox.sqlite",
    )
    before = asyncio.all_tasks()
    async with quiet.running():
        assert asyncio.all_tasks() == before
        assert (quiet.events_port, quiet.fix_port) == (0, 0)


def test_the_signature_is_hmac_of_time_and_body() -> None:
    assert signature(b"key", b"body", 7).startswith("t=7,v1=")
    assert len(signature(b"key", b"body", 7)) == len("t=7,v1=") + 64
