"""What has been delivered, on disk: the alerts themselves are the queue, so none is lost and none is forgotten.

An alert is pending on a channel until the channel has noted it. It is noted after the receiver has said that it has it,
so a crash in between sends it again: at least once. Receivers tell copies by the alert's digest.

Guarantees: notes survive a crash (`synchronous = FULL`); a channel's failures and the time of its next attempt too.
Nothing is given up: later alerts wait behind the first that fails. Does NOT guarantee that a receiver ever answers.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any, Final

from hansa.errors import StoreError

if TYPE_CHECKING:
    from pathlib import Path

    from hansa.federation.alerts import Alert
    from hansa.federation.records import Records

FIRST_WAIT_NS: Final = 1_000_000_000
LONGEST_WAIT_NS: Final = 600_000_000_000
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS delivered (
  channel TEXT, rule TEXT, basket TEXT, ts_ns INTEGER, at_ns INTEGER, how TEXT,
  PRIMARY KEY (channel, rule, basket, ts_ns)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS trouble (
  channel TEXT PRIMARY KEY, attempts INTEGER, next_ns INTEGER, reason TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS fix_sent (
  session TEXT, number INTEGER, body BLOB, PRIMARY KEY (session, number)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS fix_seen (session TEXT PRIMARY KEY, number INTEGER) WITHOUT ROWID;
"""


class Outbox:
    """What one node has delivered.

    Args:
        path: The SQLite file, or ":memory:".

    Raises:
        StoreError: The file cannot be opened.
    """

    def __init__(self, path: Path | str) -> None:
        try:
            self._connection = sqlite3.connect(path, isolation_level=None)
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.execute("PRAGMA busy_timeout = 2000")
            self._connection.executescript(_SCHEMA)
        except sqlite3.Error as error:
            raise StoreError(f"outbox: cannot open {path}: {error}") from error

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def pending(self, channel: str, records: Records) -> list[Alert]:
        """Return the alerts that a channel has not delivered, oldest first.

        Raises:
            StoreError: A file is damaged.
        """
        done = {
            (str(rule), str(basket), int(ts_ns))
            for rule, basket, ts_ns in self._rows(
                "SELECT rule, basket, ts_ns FROM delivered WHERE channel = ?", channel
            )
        }
        return [one for one in records.alerts() if (one.rule, one.basket, one.ts_ns) not in done]

    def delivered(self, channel: str, alert: Alert, *, at_ns: int, how: str = "delivered") -> None:
        """Note that a channel is through with an alert, and that its trouble is over.

        Args:
            channel: The channel.
            alert: The alert.
            at_ns: When, ns UTC.
            how: `delivered`, or why it need not be.
        """
        self._write(
            "INSERT OR IGNORE INTO delivered VALUES (?, ?, ?, ?, ?, ?)",
            channel, alert.rule, alert.basket, alert.ts_ns, at_ns, how,
        )  # fmt: skip
        self._write("DELETE FROM trouble WHERE channel = ?", channel)

    def failed(self, channel: str, reason: str, *, now_ns: int) -> int:
        """Note a failure; return when to try again: after 1 s, then twice as long each time, 10 minutes at the most."""
        rows = self._rows("SELECT attempts FROM trouble WHERE channel = ?", channel)
        attempts = int(rows[0][0]) + 1 if rows else 1
        wait = min(FIRST_WAIT_NS * 2 ** min(attempts - 1, 20), LONGEST_WAIT_NS)
        self._write("INSERT OR REPLACE INTO trouble VALUES (?, ?, ?, ?)", channel, attempts, now_ns + wait, reason)
        return int(now_ns + wait)

    def next_attempt_ns(self, channel: str) -> int:
        """Return when a channel may try again; 0 where it is in no trouble."""
        rows = self._rows("SELECT next_ns FROM trouble WHERE channel = ?", channel)
        return int(rows[0][0]) if rows else 0

    def troubles(self) -> dict[str, str]:
        """Return what is wrong, by channel."""
        rows = self._rows("SELECT channel, attempts, reason FROM trouble ORDER BY channel")
        return {str(channel): f"{reason} ({attempts} attempts)" for channel, attempts, reason in rows}

    def keep_sent(self, session: str, number: int, body: bytes) -> None:
        """Keep a FIX message under its sequence number before it is sent, so that it can be sent again."""
        self._write("INSERT OR REPLACE INTO fix_sent VALUES (?, ?, ?)", session, number, body)

    def sent(self, session: str, first: int, last: int) -> dict[int, bytes]:
        """Return the kept FIX messages with numbers from `first` to `last`."""
        rows = self._rows(
            "SELECT number, body FROM fix_sent WHERE session = ? AND number BETWEEN ? AND ? ORDER BY number",
            session, first, last,
        )  # fmt: skip
        return {int(number): bytes(body) for number, body in rows}

    def last_sent(self, session: str) -> int:
        """Return the highest sequence number that was used; 0 for none."""
        return int(self._rows("SELECT coalesce(max(number), 0) FROM fix_sent WHERE session = ?", session)[0][0])

    def keep_seen(self, session: str, number: int) -> None:
        """Keep the number of the newest message that the other side sent."""
        self._write("INSERT OR REPLACE INTO fix_seen VALUES (?, ?)", session, number)

    def last_seen(self, session: str) -> int:
        """Return the number of the newest message that the other side sent; 0 for none."""
        rows = self._rows("SELECT number FROM fix_seen WHERE session = ?", session)
        return int(rows[0][0]) if rows else 0

    def _rows(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        try:
            return self._connection.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise StoreError(f"outbox: {error}; free disk space or remove the file") from error

    def _write(self, statement: str, *values: object) -> None:
        try:
            self._connection.execute(statement, values)
        except sqlite3.Error as error:
            raise StoreError(f"outbox: {error}; free disk space or remove the file") from error
