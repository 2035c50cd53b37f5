"""A member's durable facts in one SQLite file (0600): what was sent, signed and spent. Written before a message leaves.

| table | holds |
|---|---|
| fact | key, value: epoch keys, uploads until their session closes, signed roots; a value never changes |
| charge | one row a (session, purpose, period): releases, noise, whether it was released; rows are never deleted |
| egress | one row a message that leaves: time, session, step, bytes, SHA-256, purpose, budget; chained by SHA-256 |
| head | number and chain of the newest egress row |
| witness, tile | of each log, the newest checkpoint that this member cosigned, and the hashes of its tree |
| dispute | checkpoints that contradict what was cosigned: the evidence |

A session's name here is `epoch/session`: the file outlives an epoch, and session labels come again.

Order of writes at the door: charge, upload and egress row in ONE transaction, fsynced, then the message. A kill at
any instant leaves either nothing (no message left) or all three (the same bytes are sent again).

Guarantees: `remember` never replaces a value; a charge is never lost or counted twice; a changed or missing egress row
breaks the chain. Does NOT guarantee anything against somebody who can write the file and knows all its rows.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from hansa.errors import EquivocationError, StoreError
from hansa.protocol.privacy import Charge, NoiseShares

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS fact (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS charge (
  session TEXT NOT NULL, purpose TEXT NOT NULL, period TEXT NOT NULL,
  releases INTEGER NOT NULL CHECK (releases > 0), noise_multiplier REAL NOT NULL CHECK (noise_multiplier > 0),
  share_sigma REAL NOT NULL, shares INTEGER NOT NULL, dimension INTEGER NOT NULL, table_delta REAL NOT NULL,
  time_ns INTEGER NOT NULL, is_released INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (session, purpose, period)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS egress (
  number INTEGER PRIMARY KEY, time_ns INTEGER NOT NULL, session TEXT NOT NULL, step TEXT NOT NULL,
  bytes INTEGER NOT NULL, sha256 BLOB NOT NULL, chain BLOB NOT NULL, purpose TEXT, budget TEXT,
  UNIQUE (session, step));
CREATE TABLE IF NOT EXISTS head (
  only INTEGER PRIMARY KEY CHECK (only = 1), number INTEGER NOT NULL, chain BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS witness (origin TEXT PRIMARY KEY, note BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tile (
  origin TEXT NOT NULL, level INTEGER NOT NULL, number INTEGER NOT NULL, hashes BLOB NOT NULL,
  PRIMARY KEY (origin, level, number)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS dispute (
  origin TEXT NOT NULL, note BLOB NOT NULL, PRIMARY KEY (origin, note)) WITHOUT ROWID;
"""
_LOG_PAGES: Final = 8192  # 32 MiB; `tidy` empties the log long before


@dataclass(frozen=True, slots=True)
class Egress:
    """One message that leaves, written down before it does.

    Attributes:
        number: Its place in the record, from 1.
        time_ns: When it was written down, ns UTC.
        session: `epoch/session`.
        step: The step of the protocol.
        size: Bytes of the message.
        sha256: Of the message.
        chain: SHA-256 over the chain of the row before and this row.
        purpose: What the message is for; None in rows of before there was this column.
        budget: What was charged for it, `2023-03-13=3@4.63`: period, releases, noise multiplier; empty for nothing.
    """

    number: int
    time_ns: int
    session: str
    step: str
    size: int
    sha256: bytes
    chain: bytes
    purpose: str | None = None
    budget: str | None = None


@dataclass(frozen=True, slots=True)
class Spending:
    """One charge of the ledger: in which session (`epoch/session`), from which budget, when (ns UTC)."""

    session: str
    purpose: str
    period: str
    charge: Charge
    time_ns: int


def read_ledger(path: Path) -> list[Spending]:
    """Return every charge of a member's file, in order of time, without writing to it; nothing where there is no file.

    Raises:
        StoreError: The file is not a member's store, or cannot be read.
    """
    if not path.exists():
        return []
    try:
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        try:
            rows = connection.execute(
                "SELECT session, purpose, period, noise_multiplier, releases, share_sigma, shares, dimension, "
                "table_delta, time_ns FROM charge ORDER BY time_ns, session, period"
            ).fetchall()
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise StoreError(f"{path.name}: cannot read the ledger: {error}") from error
    return [
        Spending(session, purpose, period, Charge(multiplier, releases, NoiseShares(*noise)), time_ns)
        for session, purpose, period, multiplier, releases, *noise, time_ns in rows
    ]


def read_egress(path: Path) -> list[Egress]:
    """Return a member's egress record in order, its chain checked, without writing to the file.

    Raises:
        StoreError: There is no such file, it is not a member's store, or a row was changed, removed or added.
    """
    if not path.is_file():
        raise StoreError(f"{path}: no member's store; name the folder of a member that has run")
    try:
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        try:
            with connection:  # one snapshot of rows and head
                connection.execute("BEGIN")
                rows = connection.execute("SELECT * FROM egress ORDER BY number").fetchall()
                head = connection.execute("SELECT number, chain FROM head").fetchone()
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise StoreError(f"{path.name}: cannot read the egress record: {error}") from error
    return _checked([Egress(*row) for row in rows], head)


class MemberStore:
    """The facts, the ledger and the egress record of one member.

    Raises:
        StoreError: The file cannot be opened, is damaged, or is readable by others.
    """

    def __init__(self, path: Path) -> None:
        try:
            descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
            mode = os.fstat(descriptor).st_mode & 0o777
            os.close(descriptor)
            if mode & 0o077:
                raise StoreError(f"{path.name}: expected mode 0600, got {mode:04o}; it holds keys: chmod 600 it")
            self._connection = sqlite3.connect(path, isolation_level=None)
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.execute(f"PRAGMA wal_autocheckpoint = {_LOG_PAGES}")
            self._connection.executescript(_SCHEMA)
            columns = {row[1] for row in self._connection.execute("PRAGMA table_info(egress)")}
            for name in ("purpose", "budget"):  # a file of before: its rows stay as they are, null here
                if name not in columns:
                    self._connection.execute(f"ALTER TABLE egress ADD COLUMN {name} TEXT")
        except (OSError, sqlite3.Error) as error:
            raise StoreError(f"{path.name}: cannot open the member's store: {error}") from error

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make everything inside one durable write, or none of it; an inner one is durable when the outermost ends.

        Raises:
            StoreError: The disk is full or the file damaged; nothing was written.
        """
        begin, commit, undo = (
            ("SAVEPOINT inner", "RELEASE inner", "ROLLBACK TO inner")
            if self._connection.in_transaction
            else ("BEGIN IMMEDIATE", "COMMIT", "ROLLBACK")
        )
        self._execute(begin)
        try:
            yield
            self._execute(commit)
        except BaseException:
            # A full disk ends some transactions by itself; a commit that failed may have left this one open.
            if self._connection.in_transaction:
                self._execute(undo)
            raise

    def tidy(self) -> None:
        """Move what the write-ahead log holds into the file; for moments when nobody waits."""
        self._execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def fact(self, key: str) -> bytes | None:
        """Return what was remembered under `key`, or None."""
        row = self._execute("SELECT value FROM fact WHERE key = ?", key).fetchone()
        return None if row is None else bytes(row[0])

    def remember(self, key: str, value: bytes) -> None:
        """Keep `value` under `key`, on disk when this returns.

        Raises:
            EquivocationError: Another value stands there.
        """
        present = self.fact(key)
        if present is None:
            self._execute("INSERT INTO fact VALUES (?, ?)", key, value)
        elif present != value:
            raise EquivocationError(f"{key}: another value was fixed before; refuse the message that asks for this one")

    def release_upload(self, session: str) -> None:
        """Free the space of a closed session's upload; its hash stays in the egress record.

        Raises:
            StoreError: The session is not closed.
        """
        if self.fact(f"{session}/closed") is None:
            raise StoreError(f"{session}: its upload is still needed; the session is not closed")
        self._execute("DELETE FROM fact WHERE key = ?", f"{session}/upload")

    def charge(self, session: str, *, purpose: str, period: str, charge: Charge, time_ns: int) -> None:
        """Write a charge; the same one again changes nothing.

        Raises:
            EquivocationError: Another charge was written for this session, purpose and period.
            StoreError: The charge does not say how its noise is made.
        """
        noise = charge.noise
        if noise is None:
            raise StoreError(f"{session}: a charge must say how its noise is made")
        row = (
            charge.count, charge.noise_multiplier, noise.share_sigma, noise.shares, noise.dimension, noise.table_delta
        )  # fmt: skip
        present = self._execute(
            "SELECT releases, noise_multiplier, share_sigma, shares, dimension, table_delta "
            "FROM charge WHERE session = ? AND purpose = ? AND period = ?",
            session, purpose, period,
        ).fetchone()  # fmt: skip
        if present is None:
            self._execute(
                "INSERT INTO charge VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0)", session, purpose, period, *row, time_ns
            )
        elif present != row:
            raise EquivocationError(f"{session}: {purpose}, {period}: another charge was written before; it stays")

    def release_charges(self, session: str) -> None:
        """Take back what was charged for a session of which it is proved that nobody can open it.

        Raises:
            StoreError: The session is not closed here.
        """
        if self.fact(f"{session}/closed") is None:
            raise StoreError(f"{session}: its charge stays; the session is not closed")
        self._execute("UPDATE charge SET is_released = 1 WHERE session = ?", session)

    def charges(self, purpose: str, period: str) -> list[Charge]:
        """Return what a purpose was charged in a budget period and not released, alike charges as one."""
        rows = self._execute(
            "SELECT noise_multiplier, SUM(releases), share_sigma, shares, dimension, table_delta "
            "FROM charge WHERE purpose = ? AND period = ? AND NOT is_released "
            "GROUP BY noise_multiplier, share_sigma, shares, dimension, table_delta",
            purpose, period,
        )  # fmt: skip
        return [Charge(row[0], row[1], NoiseShares(*row[2:])) for row in rows]

    def charged_periods(self) -> list[tuple[str, str]]:
        """Return each (purpose, period) that has a charge, in order."""
        return list(self._execute("SELECT DISTINCT purpose, period FROM charge ORDER BY purpose, period"))

    def record_egress(
        self,
        session: str,
        step: str,
        body: bytes,
        *,
        time_ns: int,
        sha256: bytes | None = None,
        purpose: str = "",
        budget: str = "",
    ) -> None:
        """Note that `body` leaves in `step` of `session`; the same bytes again change nothing.

        Args:
            session: `epoch/session`.
            step: The step of the protocol.
            body: The bytes.
            time_ns: When, ns UTC.
            sha256: The hash of `body`, where the caller has it.
            purpose: What it is for.
            budget: What was charged for it, as in `Egress`.

        Raises:
            EquivocationError: Other bytes were noted for this step of this session.
        """
        digest = sha256 or hashlib.sha256(body).digest()
        row = self._execute("SELECT sha256 FROM egress WHERE session = ? AND step = ?", session, step).fetchone()
        if row is not None:
            if row[0] != digest:
                raise EquivocationError(f"{session}/{step}: other bytes left before; these stay here")
            return
        last = self._execute("SELECT number, chain FROM head").fetchone()
        number, chain = (last[0] + 1, last[1]) if last else (1, b"")
        link = _link(chain, Egress(number, time_ns, session, step, len(body), digest, b"", purpose, budget))
        row = (number, time_ns, session, step, len(body), digest, link, purpose, budget)
        with self.transaction():
            self._execute("INSERT INTO egress VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", *row)
            self._execute("INSERT OR REPLACE INTO head VALUES (1, ?, ?)", number, link)

    def egress(self) -> list[Egress]:
        """Return the egress record in order.

        Raises:
            StoreError: A row was changed, removed or added by another hand.
        """
        rows = [Egress(*row) for row in self._execute("SELECT * FROM egress ORDER BY number")]
        return _checked(rows, self._execute("SELECT number, chain FROM head").fetchone())

    def cosigned(self, origin: str) -> bytes | None:
        """Return the newest checkpoint of a log that this member cosigned, or None."""
        row = self._execute("SELECT note FROM witness WHERE origin = ?", origin).fetchone()
        return None if row is None else bytes(row[0])

    def witness_tile(self, origin: str, level: int, number: int) -> bytes:
        """Return the hashes that are kept of a tile of a log, none if there are none."""
        statement = "SELECT hashes FROM tile WHERE origin = ? AND level = ? AND number = ?"
        row = self._execute(statement, origin, level, number).fetchone()
        return b"" if row is None else bytes(row[0])

    def keep_cosigned(self, origin: str, note: bytes, tiles: Iterable[tuple[int, int, bytes]]) -> None:
        """Keep a cosigned checkpoint and the tiles (level, number, hashes) of its tree that are new or longer."""
        with self.transaction():
            for tile in tiles:
                self._execute("INSERT OR REPLACE INTO tile VALUES (?, ?, ?, ?)", origin, *tile)
            self._execute("INSERT OR REPLACE INTO witness VALUES (?, ?)", origin, note)

    def keep_dispute(self, origin: str, note: bytes) -> None:
        """Keep a checkpoint that contradicts what was cosigned; the same one again changes nothing."""
        self._execute("INSERT OR IGNORE INTO dispute VALUES (?, ?)", origin, note)

    def disputes(self) -> list[tuple[str, bytes]]:
        """Return every log and checkpoint in dispute."""
        return [(row[0], bytes(row[1])) for row in self._execute("SELECT origin, note FROM dispute ORDER BY 1, 2")]

    def _execute(self, statement: str, *values: object) -> sqlite3.Cursor:
        try:
            return self._connection.execute(statement, values)
        except sqlite3.Error as error:
            raise StoreError(f"the member's store: {error}; free disk space or restore the file") from error


def _checked(rows: list[Egress], head: tuple[int, bytes] | None) -> list[Egress]:
    """Return the rows of an egress record whose chain and newest row are as they were written."""
    chain = b""
    for place, row in enumerate(rows, start=1):
        chain = _link(chain, row)
        if row.number != place or row.chain != chain:
            raise StoreError(f"egress record: row {place} does not fit the chain; the file was changed")
    if (head or (0, b"")) != (len(rows), chain):
        raise StoreError(f"egress record: it ends after row {len(rows)}, not with its newest; the file was changed")
    return rows


def _link(chain: bytes, row: Egress) -> bytes:
    fields = [str(row.number), str(row.time_ns), row.session, row.step, str(row.size), row.sha256.hex()]
    if row.purpose is not None:
        fields += [row.purpose, row.budget or ""]
    return hashlib.sha256(chain + "|".join(fields).encode()).digest()
