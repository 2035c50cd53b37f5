"""Claims about a member's durable facts."""

from __future__ import annotations

import hashlib
import sqlite3
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hansa.errors import EquivocationError, StoreError
from hansa.federation.store import MemberStore
from hansa.protocol.privacy import Charge, NoiseShares

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOISE = NoiseShares(100.0, 3, 6, 2.0**-113)
CHARGE = Charge(1.0, 2, NOISE)
SESSION = "e1-ab/r1-0-gram-a1"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "m0.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[MemberStore]:
    opened = MemberStore(path)
    yield opened
    opened.close()


def charge(store: MemberStore, paid: Charge = CHARGE, session: str = SESSION) -> None:
    store.charge(session, purpose="gram", period="1970", charge=paid, time_ns=5)


def record(store: MemberStore, step: str, body: bytes) -> None:
    store.record_egress(SESSION, step, body, time_ns=7)


def by_another_hand(path: Path, statement: str) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(statement)
    connection.close()


def test_the_file_is_for_its_owner_only(path: Path) -> None:
    MemberStore(path).close()
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_file_that_others_can_read_is_refused(path: Path, mode: int) -> None:
    MemberStore(path).close()
    path.chmod(mode)
    with pytest.raises(StoreError, match="expected mode 0600"):
        MemberStore(path)


def test_a_file_that_is_no_store_or_cannot_be_made_is_refused(tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.sqlite"
    damaged.write_bytes(b"no database" * 1000)
    damaged.chmod(0o600)
    for place in (damaged, tmp_path / "absent" / "m0.sqlite", tmp_path):
        with pytest.raises(StoreError, match="cannot open"):
            MemberStore(place)


def test_a_fact_is_there_after_a_restart_and_never_changes(path: Path, store: MemberStore) -> None:
    store.remember("key", b"value")
    store.remember("key", b"value")
    with pytest.raises(EquivocationError, match="key"):
        store.remember("key", b"other")
    again = MemberStore(path)
    assert again.fact("key") == b"value"
    assert again.fact("absent") is None
    again.close()


def test_an_upload_is_freed_only_when_its_session_is_closed(store: MemberStore) -> None:
    store.remember(f"{SESSION}/upload", b"bytes")
    with pytest.raises(StoreError, match="not closed"):
        store.release_upload(SESSION)
    store.remember(f"{SESSION}/closed", b"closed")
    store.release_upload(SESSION)
    store.release_upload(SESSION)
    assert store.fact(f"{SESSION}/upload") is None
    assert store.fact(f"{SESSION}/closed") == b"closed"


def test_a_charge_counts_once_and_comes_back_as_it_was(path: Path, store: MemberStore) -> None:
    charge(store)
    charge(store)
    charge(store, session="e2-ab/r1-0-gram-a1")
    again = MemberStore(path)
    assert again.charges("gram", "1970") == [replace(CHARGE, count=2 * CHARGE.count)]
    assert again.charges("gram", "1971") == []
    assert again.charged_periods() == [("gram", "1970")]
    again.close()


@pytest.mark.parametrize("other", [Charge(2.0, 2, NOISE), Charge(1.0, 3, NOISE)])
def test_another_charge_for_the_same_session_is_not_lost_in_silence(store: MemberStore, other: Charge) -> None:
    charge(store)
    with pytest.raises(EquivocationError, match="another charge"):
        charge(store, other)
    assert store.charges("gram", "1970") == [CHARGE]


def test_a_charge_must_say_how_its_noise_is_made(store: MemberStore) -> None:
    with pytest.raises(StoreError, match="noise"):
        charge(store, Charge(1.0, 1))


def test_a_crash_inside_a_transaction_leaves_nothing(path: Path, store: MemberStore) -> None:
    def crash() -> None:
        with store.transaction(), store.transaction():
            charge(store)
            store.remember("upload", b"bytes")
            record(store, "upload", b"bytes")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        crash()
    again = MemberStore(path)
    assert again.fact("upload") is None
    assert again.charges("gram", "1970") == []
    assert again.egress() == []
    again.close()
    record(store, "upload", b"others")
    assert [row.size for row in store.egress()] == [6]


def test_a_kill_before_the_commit_leaves_nothing(path: Path, store: MemberStore) -> None:
    transaction = store.transaction()
    transaction.__enter__()
    store.remember("upload", b"bytes")
    seen = MemberStore(path)
    assert seen.fact("upload") is None
    seen.close()
    transaction.__exit__(None, None, None)


def test_a_full_disk_is_a_store_error_and_nothing_is_kept(store: MemberStore) -> None:
    pages = store._execute("PRAGMA page_count").fetchone()[0]
    store._execute(f"PRAGMA max_page_count = {pages}")

    def fill() -> None:
        with store.transaction():
            charge(store)
            store.remember("upload", bytes(1_000_000))

    for _ in range(2):
        with pytest.raises(StoreError, match="full"):
            fill()
    assert store.charges("gram", "1970") == []
    store._execute("PRAGMA max_page_count = 100000")
    fill()
    assert store.charges("gram", "1970") == [CHARGE]


def test_a_commit_that_fails_is_rolled_back(store: MemberStore) -> None:
    def fail() -> None:
        with store.transaction():
            store.remember("upload", b"bytes")
            store._execute("PRAGMA defer_foreign_keys = ON")
            store._execute("CREATE TABLE parent (x PRIMARY KEY)")
            store._execute("CREATE TABLE child (x REFERENCES parent (x))")
            store._execute("INSERT INTO child VALUES (1)")

    store._execute("PRAGMA foreign_keys = ON")
    with pytest.raises(StoreError, match="constraint"):
        fail()
    assert store.fact("upload") is None
    with store.transaction():
        store.remember("upload", b"later")
    assert store.fact("upload") == b"later"


def test_a_closed_store_is_a_store_error(path: Path) -> None:
    closed = MemberStore(path)
    closed.close()
    with pytest.raises(StoreError):
        closed.fact("key")


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["upload", "agree", "open"]), st.binary(max_size=5)), max_size=8))
def test_the_egress_record_holds_what_left_once_and_in_order(
    tmp_path_factory: pytest.TempPathFactory, sent: list[tuple[str, bytes]]
) -> None:
    store = MemberStore(tmp_path_factory.mktemp("store") / "m0.sqlite")
    expected: dict[str, bytes] = {}
    for step, body in sent:
        if expected.setdefault(step, body) == body:
            record(store, step, body)
        else:
            with pytest.raises(EquivocationError):
                record(store, step, body)
    rows = store.egress()
    store.close()
    assert [(row.step, row.sha256) for row in rows] == [
        (step, hashlib.sha256(body).digest()) for step, body in expected.items()
    ]
    assert [row.number for row in rows] == list(range(1, len(rows) + 1))


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE egress SET bytes = 1 WHERE number = 2",
        "UPDATE egress SET step = 'shares' WHERE number = 1",
        "UPDATE egress SET time_ns = 8 WHERE number = 3",
        "UPDATE egress SET sha256 = x'00' WHERE number = 1",
        "DELETE FROM egress WHERE number = 1",
        "DELETE FROM egress WHERE number = 2",
        "DELETE FROM egress WHERE number = 3",
        "DELETE FROM egress",
        "UPDATE egress SET number = 9 WHERE number = 3",
        "INSERT INTO egress VALUES (4, 7, 's', 'shares', 1, x'00', x'00', '', '')",
        "DELETE FROM head",
    ],
)
def test_a_changed_missing_or_added_egress_row_is_found(path: Path, store: MemberStore, statement: str) -> None:
    for step in ("upload", "agree", "open"):
        record(store, step, step.encode())
    assert len(store.egress()) == 3
    by_another_hand(path, statement)
    with pytest.raises(StoreError, match="egress record"):
        store.egress()
