"""Claims about the egress record: whole, written before anything leaves, and held against the streams."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from hansa.cli import app
from hansa.cli import egress as command
from hansa.errors import EquivocationError, StoreError
from hansa.federation.egress import (
    RecordedTransport,
    compare,
    continues,
    egress_head,
    purpose_of,
)
from hansa.federation.memory_transport import MemoryTransport
from hansa.federation.store import MemberStore, read_egress
from hansa.federation.transport import Channel, Subject
from simulator import Simulation, request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from hansa.federation.egress import Comparison
    from hansa.federation.store import Egress

EPOCH = "e1-abababababab"
SUM = Subject(EPOCH, "r1-0-gram-a1", "agree", "m0")


@pytest.fixture
def federation(tmp_path: Path) -> Iterator[Simulation]:
    found = Simulation(tmp_path, programme=[request(0), request(1)])
    found.run()
    yield found
    for store in found.stores.values():
        store.close()


def held(federation: Simulation, read: Callable[[], list[Egress]] | None = None) -> Comparison:
    """Hold the record of m0 against the hub."""
    transport = MemoryTransport(federation.hub, "m0")
    members = len(federation.limits.members)
    return asyncio.run(compare(transport, read or federation.stores["m0"].egress, members=members))


def test_after_a_run_record_and_streams_hold_the_same_messages(federation: Simulation) -> None:
    found = held(federation)
    rows = federation.stores["m0"].egress()
    stored = [m for channel in Channel for m in federation.hub.stored(channel) if m.subject.sender == "m0"]
    assert found.seen + found.hidden == len(rows) == len(stored)
    assert found.hidden == sum(m.subject.step == "agree" for m in stored) == 2
    assert (found.unseen, found.differing, found.unrecorded) == ((), (), ())
    assert found.is_clean
    assert found.head.bytes == sum(len(m.body) for m in stored)


def test_each_row_says_for_what_it_is_and_what_was_charged(federation: Simulation) -> None:
    rows = federation.stores["m0"].egress()
    assert {row.purpose for row in rows if "/setup-" in row.session} == {"set-up"}
    assert {row.purpose for row in rows if "/r" in row.session} == {"gram"}
    budgets = {row.step: row.budget for row in rows if "/r1-0-" in row.session}
    assert budgets["upload"] == "1970=1@1"
    assert not any(budget for step, budget in budgets.items() if step != "upload")


def test_every_message_under_the_members_name_that_is_in_no_row_is_found(federation: Simulation) -> None:
    rows = federation.stores["m0"].egress()
    by_step = {row.step: row for row in rows if row.step != "agree"}
    assert set(by_step) >= {"setup", "halves", "probe", "upload", "open"}
    for row in by_step.values():
        left = [one for one in rows if one is not row]
        found = held(federation, lambda left=left: left)  # type: ignore[misc]
        assert found.unrecorded == (f"{row.session}/{row.step}",)
        assert not found.is_clean


def test_a_correction_by_post_that_is_in_no_row_is_found(federation: Simulation) -> None:
    (epoch,) = {m.subject.session for m in federation.hub.stored(Channel.BOARD) if m.subject.step == "epoch"}
    federation.hub.accept(Subject(federation.epoch, f"{epoch}-to-2", "deal", "m0"), b"smuggled")
    known = {(row.session, row.step) for row in federation.stores["m0"].egress()}
    place = (f"{federation.epoch}/{epoch}-to-2", "deal")
    found = held(federation)
    if place in known:  # it was dealt by post in this run: then the first body stays, and is in the record
        assert found.is_clean
    else:
        assert found.unrecorded == ("/".join(place),)


def test_other_bytes_on_the_stream_than_in_the_record_are_found(federation: Simulation) -> None:
    rows = federation.stores["m0"].egress()
    place = next(number for number, row in enumerate(rows) if row.step == "upload")
    rows[place] = replace(rows[place], sha256=bytes(32))
    found = held(federation, lambda: rows)
    assert found.differing == (f"{rows[place].session}/upload",)
    assert not found.is_clean


def test_what_was_recorded_and_never_sent_is_unseen_and_no_fault(federation: Simulation) -> None:
    federation.stores["m0"].record_egress(f"{EPOCH}/r9-0-gram-a1", "upload", b"unsent", time_ns=1, purpose="gram")
    found = held(federation)
    assert found.unseen == (len(federation.stores["m0"].egress()),)
    assert found.is_clean


def test_a_message_that_is_sent_while_the_streams_are_read_is_no_fault(federation: Simulation) -> None:
    whole = federation.stores["m0"].egress()
    readings = [whole[:-1], whole]
    assert held(federation, lambda: readings.pop(0)).is_clean


def test_the_gate_writes_what_is_missing_before_it_sends(tmp_path: Path) -> None:
    store = MemberStore(tmp_path / "m0.sqlite")
    sent: list[int] = []

    class Inner:
        node = "m0"

        async def publish(self, _subject: Subject, _body: bytes) -> bool:
            sent.append(len(read_egress(tmp_path / "m0.sqlite")))  # through another connection: it is on disk
            return True

    gate = RecordedTransport(Inner(), store=store, clock=lambda: 7)  # type: ignore[arg-type]
    assert asyncio.run(gate.publish(SUM, b"body"))
    assert asyncio.run(gate.publish(SUM, b"body"))
    assert sent == [1, 1]
    with pytest.raises(EquivocationError, match="other bytes left before"):
        asyncio.run(gate.publish(SUM, b"other"))
    assert sent == [1, 1]
    store.close()
    with pytest.raises(StoreError):
        asyncio.run(gate.publish(replace(SUM, step="closed"), b"body"))
    assert sent == [1, 1], "what cannot be recorded is not sent"


@pytest.mark.parametrize(
    ("session", "purpose"),
    [("r1-0-gram-a1", "gram"), ("r20230313-7-state-a2", "state"), ("r1-0-two-words-a1", "two-words"),
     ("setup-0", "set-up"), ("setup-1-to-3", "set-up"), ("log-17", "log")],
)  # fmt: skip
def test_a_purpose_follows_from_a_sessions_name(session: str, purpose: str) -> None:
    assert purpose_of(session) == purpose


def test_a_later_record_continues_an_earlier_head_and_a_rewritten_one_does_not(tmp_path: Path) -> None:
    store = MemberStore(tmp_path / "m0.sqlite")
    assert continues([], egress_head("m0", []))
    heads = []
    for number in range(4):
        heads.append(egress_head("m0", store.egress()))
        store.record_egress(f"{EPOCH}/r{number}-0-gram-a1", "upload", bytes(number + 1), time_ns=number)
    rows = store.egress()
    store.close()
    assert all(continues(rows, one) for one in heads)
    assert egress_head("m0", rows) == replace(heads[3], last=4, bytes=10, chain=rows[-1].chain.hex())
    other = MemberStore(tmp_path / "rewritten.sqlite")
    other.record_egress(f"{EPOCH}/r0-0-gram-a1", "upload", b"\x01", time_ns=0)
    other.record_egress(f"{EPOCH}/r1-0-gram-a1", "upload", bytes(2), time_ns=1)
    assert not continues(other.egress(), heads[3])
    assert not continues(other.egress(), heads[2])
    other.close()


def test_a_file_of_before_the_columns_goes_on_and_its_chain_still_holds(tmp_path: Path) -> None:
    path = tmp_path / "m0.sqlite"
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(
        "CREATE TABLE egress (number INTEGER PRIMARY KEY, time_ns INTEGER NOT NULL, session TEXT NOT NULL, "
        "step TEXT NOT NULL, bytes INTEGER NOT NULL, sha256 BLOB NOT NULL, chain BLOB NOT NULL, UNIQUE (session, step))"
    )
    connection.execute("CREATE TABLE head (only INTEGER PRIMARY KEY, number INTEGER NOT NULL, chain BLOB NOT NULL)")
    sha256 = hashlib.sha256(b"old").digest()
    link = hashlib.sha256(f"1|5|e/s|upload|3|{sha256.hex()}".encode()).digest()
    connection.execute("INSERT INTO egress VALUES (1, 5, 'e/s', 'upload', 3, ?, ?)", (sha256, link))
    connection.execute("INSERT INTO head VALUES (1, 1, ?)", (link,))
    connection.close()
    path.chmod(0o600)
    store = MemberStore(path)
    store.record_egress("e/s", "closed", b"new", time_ns=6, purpose="gram")
    store.close()
    rows = read_egress(path)
    assert [(row.purpose, row.step) for row in rows] == [(None, "upload"), ("gram", "closed")]


KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from hansa.federation.egress import RecordedTransport
from hansa.federation.store import MemberStore
from hansa.federation.transport import Subject
folder, place, number = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
store = MemberStore(folder / "m0.sqlite")

def die(at):
    if at == place:
        os.kill(os.getpid(), signal.SIGKILL)

class Stream:
    node = "m0"
    async def publish(self, subject, body):
        die("before the send")
        with (folder / "stream").open("ab") as stream:
            stream.write(body + b"\\n")
            stream.flush()
            os.fsync(stream.fileno())
        die("after the send")
        return True

class Dying(MemberStore):
    def record_egress(self, *arguments, **options):
        with self.transaction():
            super().record_egress(*arguments, **options)
            die("before the commit")
        die("after the commit")

store.__class__ = Dying
gate = RecordedTransport(Stream(), store=store, clock=lambda: 7)
for one in range(3):
    if one < number:
        store.__class__ = MemberStore
        kept, place = place, ""
    asyncio.run(gate.publish(Subject("e1", f"r{one}-0-gram-a1", "upload", "m0"), b"body %d" % one))
    if one < number:
        store.__class__, place = Dying, kept
"""


@pytest.mark.parametrize("number", [0, 2])
@pytest.mark.parametrize("place", ["before the commit", "after the commit", "before the send", "after the send"])
def test_a_kill_at_any_write_leaves_at_most_a_row_of_something_that_did_not_leave(
    tmp_path: Path, place: str, number: int
) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path), place, str(number)], check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert ended.returncode == -signal.SIGKILL
    stream = tmp_path / "stream"
    left = [hashlib.sha256(line).digest() for line in stream.read_bytes().splitlines()] if stream.exists() else []
    recorded = [row.sha256 for row in read_egress(tmp_path / "m0.sqlite")]
    assert recorded[: len(left)] == left, "nothing left that is not recorded"
    surplus = {"before the commit": 0, "after the commit": 1, "before the send": 1, "after the send": 0}
    assert len(recorded) == len(left) + surplus[place]
    assert len(left) == number + (place == "after the send")
    again = MemberStore(tmp_path / "m0.sqlite")
    again.record_egress(f"e1/r{number}-0-gram-a1", "upload", b"body %d" % number, time_ns=8)
    assert len(again.egress()) == number + 1, "sent again after the restart: the same row"
    again.close()


def run(*arguments: str) -> tuple[int, str]:
    found = CliRunner().invoke(app, ["egress", *arguments], env={"COLUMNS": "160"})
    return found.exit_code, found.output


@pytest.fixture
def folder(tmp_path: Path, federation: Simulation, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a member's folder whose streams are the hub of a federation in memory."""
    (tmp_path / "m0" / "node").mkdir(parents=True)
    (tmp_path / "m0" / "node" / "facts.sqlite").hardlink_to(tmp_path / "m0.sqlite")
    federation.stores["m0"]._execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    monkeypatch.setattr(command, "_compared", lambda directory: held(federation, lambda: command._rows(directory)))
    monkeypatch.setattr(command, "_head", lambda directory: egress_head("m0", command._rows(directory)))
    return tmp_path / "m0"


def test_the_commands_show_the_record_and_say_that_it_is_clean(folder: Path, tmp_path: Path) -> None:
    code, shown = run("show", str(folder))
    assert code == 0
    for words in ("set-up", "gram", "r1-1-gram-a1", "1970=1@1", "bytes in all"):
        assert words in shown
    rows = json.loads(run("show", str(folder), "--json", "--last", "0")[1])
    assert [row["number"] for row in rows] == list(range(1, len(rows) + 1))
    assert len(json.loads(run("show", str(folder), "--json", "--last", "2")[1])) == 2
    code, head = run("head", str(folder), "--json")
    assert json.loads(head) == asdict(egress_head("m0", command._rows(folder)))
    (tmp_path / "head.json").write_text(head)
    code, said = run("verify", str(folder), "--since", str(tmp_path / "head.json"))
    assert code == 0, said
    assert "the record continues it" in said
    assert "nothing stands on the streams under this member's name that the record does not have" in said
    assert json.loads(run("verify", str(folder), "--json")[1])["streams"]["clean"] is True
    assert "streams: not asked" in run("verify", str(folder), "--offline")[1]


def test_verify_fails_on_a_message_that_nobody_recorded(folder: Path, federation: Simulation) -> None:
    federation.hub.accept(Subject(federation.epoch, "r1-0-gram-a1", "closed", "m0"), b"forged")
    code, said = run("verify", str(folder))
    assert code == 1
    assert "r1-0-gram-a1/closed: on the stream, in no row of the record" in said


def test_verify_fails_on_a_changed_row_and_on_a_head_of_another_record(folder: Path, tmp_path: Path) -> None:
    head = json.loads(run("head", str(folder), "--json")[1])
    (tmp_path / "head.json").write_text(json.dumps(head | {"chain": "00" * 32}))
    code, said = run("verify", str(folder), "--offline", "--since", str(tmp_path / "head.json"))
    assert code == 1
    assert "does not continue" in said
    connection = sqlite3.connect(folder / "node" / "facts.sqlite", isolation_level=None)
    connection.execute("UPDATE egress SET purpose = 'state' WHERE number = 1")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    connection.close()
    code, said = run("verify", str(folder), "--offline")
    assert code == 1
    assert "row 1 does not fit the chain" in said
    assert "ok     the chain" not in said


def test_a_folder_without_a_record_and_a_file_that_is_no_head_are_refused(tmp_path: Path, folder: Path) -> None:
    assert isinstance(CliRunner().invoke(app, ["egress", "show", str(tmp_path / "nobody")]).exception, StoreError)
    (tmp_path / "head.json").write_text("[]")
    found = CliRunner().invoke(app, ["egress", "verify", str(folder), "--since", str(tmp_path / "head.json")])
    assert "expected what `hansa egress head --json` prints" in str(found.exception)
