"""What a node publishes about itself: one SQLite file, written by that node alone, read by `hansa status` and `watch`.

| table | one row for |
|---|---|
| session | a secure sum: purpose, place in its round, attempt, state, stream time of each step (ns UTC), members |
| note | something refused or gone wrong: when, in which session and step, why |
| series | a published value of a basket at a bar: `lsi`, `cost`, `forecast`, ... |
| alert | an early warning (`hansa.federation.alerts`): bar, basket, index, rule, version, evidence, digest |
| budget | a privacy budget: spent and allowed epsilon |
| fact | anything else by name, as JSON |

Guarantees: holds published facts only: no keys, no rows of data, no unmasked contribution.
Does NOT guarantee durability to the last row, alerts apart: records are for reading; the member's store is what must
not roll back.
"""

from __future__ import annotations

import logging
import sqlite3
from typing import TYPE_CHECKING, Final

import msgspec

from hansa.errors import StoreError
from hansa.federation.alerts import NOTHING_BEFORE, alert_of, chained

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from hansa.federation.alerts import Alert
    from hansa.protocol.messages import Manifest

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS session (
  session TEXT PRIMARY KEY, round INTEGER, position INTEGER, attempt INTEGER, purpose TEXT, length INTEGER,
  span_start_ns INTEGER, span_end_ns INTEGER, state TEXT, announce_ns INTEGER, cohort_ns INTEGER,
  call_ns INTEGER, recover_ns INTEGER, closed_ns INTEGER, members TEXT, reason TEXT);
CREATE TABLE IF NOT EXISTS note (time_ns INTEGER, session TEXT, step TEXT, reason TEXT, UNIQUE (session, step, reason));
CREATE TABLE IF NOT EXISTS series (
  name TEXT, basket TEXT, ts_ns INTEGER, value REAL, PRIMARY KEY (name, basket, ts_ns)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS alert (
  rule TEXT, basket TEXT, ts_ns INTEGER, value REAL, model_version TEXT, known_ns INTEGER, written_ns INTEGER,
  evidence TEXT, number INTEGER, digest TEXT, PRIMARY KEY (rule, basket, ts_ns));
CREATE TABLE IF NOT EXISTS budget (
  purpose TEXT, period TEXT, epsilon REAL, allowed REAL, delta REAL, PRIMARY KEY (purpose, period)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS fact (name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
"""
logger = logging.getLogger(__name__)
ALERT_COLUMNS: Final = {
    "model_version": "TEXT", "known_ns": "INTEGER", "written_ns": "INTEGER", "evidence": "TEXT",
    "number": "INTEGER", "digest": "TEXT",
}  # fmt: skip
STEP_COLUMNS: Final = frozenset({"announce", "cohort", "call", "recover", "closed"})


class Records:
    """The published records of one node.

    Args:
        path: The SQLite file, or ":memory:".
        read_only: Open somebody else's records for reading.

    Raises:
        StoreError: The file cannot be opened.
    """

    def __init__(self, path: Path | str, *, read_only: bool = False) -> None:
        try:
            if read_only:
                self._connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None)
            else:
                self._connection = sqlite3.connect(path, isolation_level=None)
                self._connection.execute("PRAGMA journal_mode = WAL")
                self._connection.execute("PRAGMA synchronous = OFF")
                self._connection.executescript(_SCHEMA)
                self._add_alert_columns()
            self._connection.execute("PRAGMA busy_timeout = 2000")
        except sqlite3.Error as error:
            raise StoreError(f"records: cannot open {path}: {error}") from error

    def _add_alert_columns(self) -> None:
        """Widen the alerts of a file that an earlier version wrote; they stay, without number and digest."""
        known = {row[1] for row in self._connection.execute("PRAGMA table_info(alert)")}
        for name, kind in ALERT_COLUMNS.items():
            if name not in known:
                self._connection.execute(f"ALTER TABLE alert ADD COLUMN {name} {kind}")

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def session(self, manifest: Manifest, step: str, time_ns: int) -> None:
        """Begin a session's row, or leave it as it is after a restart."""
        self._write(
            "INSERT OR IGNORE INTO session (session, round, position, attempt, purpose, length, span_start_ns, "
            "span_end_ns, state, announce_ns) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            manifest.session, manifest.round, manifest.position, manifest.attempt, manifest.purpose, manifest.length,
            manifest.span_start_ns, manifest.span_end_ns, step, time_ns,
        )  # fmt: skip

    def step(self, session: str, step: str, time_ns: int) -> None:
        """Note that a session reached `step` at the stream's `time_ns`."""
        if step not in STEP_COLUMNS:
            raise StoreError(f"records: expected a step of {', '.join(sorted(STEP_COLUMNS))}; got {step!r}")
        self._write(f"UPDATE session SET state = ?, {step}_ns = ? WHERE session = ?", step, time_ns, session)  # noqa: S608 - step is one of STEP_COLUMNS

    def published(self, session: str, *, members: Sequence[str], time_ns: int) -> None:
        """Note a session's opened sum."""
        is_new = self._write(
            "UPDATE session SET state = 'published', members = ?, closed_ns = ? WHERE session = ? "
            "AND state != 'published'",
            " ".join(members), time_ns, session,
        )  # fmt: skip
        if is_new:
            logger.info("sum published", extra={"fields": {"session": session, "cohort": list(members)}})

    def died(self, session: str, *, reason: str, time_ns: int) -> None:
        """Note a session's death."""
        is_new = self._write(
            "UPDATE session SET state = 'died', reason = ?, closed_ns = ? WHERE session = ? AND state != 'died'",
            reason, time_ns, session,
        )  # fmt: skip
        if is_new:
            logger.warning("sum died", extra={"fields": {"session": session, "reason": reason}})

    def note(self, time_ns: int, session: str, step: str, reason: str) -> None:
        """Note something refused or gone wrong, once."""
        if self._write("INSERT OR IGNORE INTO note VALUES (?, ?, ?, ?)", time_ns, session, step, reason):
            logger.warning("refused", extra={"fields": {"session": session, "step": step, "reason": reason}})

    def series(self, name: str, basket: str, rows: Iterable[tuple[int, float]]) -> None:
        """Publish values of a basket by bar; values that are not numbers are left out."""
        found = [(name, basket, ts_ns, value) for ts_ns, value in rows if value == value]  # noqa: PLR0124 - drops NaN
        try:
            with self._connection:
                self._connection.execute("BEGIN")
                self._connection.executemany("INSERT OR REPLACE INTO series VALUES (?, ?, ?, ?)", found)
        except sqlite3.Error as error:
            raise StoreError(f"records: {error}; free disk space or remove the file") from error

    def alert(self, alert: Alert) -> bool:
        """Write an early warning down, once: one that is there already stays as it was written.

        It is on disk when this returns: unlike a series, an alert that was lost could be written again later, when the
        outcome is known.

        Args:
            alert: Without number and digest, which follow from those before.

        Returns:
            Whether it is new.
        """
        try:
            self._connection.execute("PRAGMA synchronous = FULL")
            with self._connection:
                self._connection.execute("BEGIN IMMEDIATE")
                last = self._connection.execute(
                    "SELECT number, digest FROM alert WHERE number IS NOT NULL ORDER BY number DESC LIMIT 1"
                ).fetchone()
                number, previous = (int(last[0]) + 1, str(last[1])) if last else (1, NOTHING_BEFORE)
                cursor = self._connection.execute(
                    "INSERT OR IGNORE INTO alert VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (
                        alert.rule, alert.basket, alert.ts_ns, alert.value, alert.model_version, alert.known_ns,
                        alert.written_ns, msgspec.json.encode(alert.evidence).decode(), number,
                        chained(alert, previous),
                    ),
                )  # fmt: skip
                is_new = cursor.rowcount > 0
            self._connection.execute("PRAGMA synchronous = OFF")
        except sqlite3.Error as error:
            raise StoreError(f"records: {error}; free disk space or remove the file") from error
        if is_new:
            fields = {"rule": alert.rule, "basket": alert.basket, "ts_ns": alert.ts_ns, "value": alert.value}
            logger.info("alert", extra={"fields": fields})
        return is_new

    def has_alert(self, rule: str, basket: str, first_ns: int, last_ns: int) -> bool:
        """Return whether a rule has an alert on record in a span of stamps, both ends included."""
        statement = "SELECT 1 FROM alert WHERE rule = ? AND basket = ? AND ts_ns BETWEEN ? AND ? LIMIT 1"
        return bool(self.rows(statement, rule, basket, first_ns, last_ns))

    def alerts(self, *, after: int = 0) -> list[Alert]:
        """Return the alerts with a number above `after`, in order.

        Raises:
            StoreError: The file is damaged.
        """
        return [alert_of(row) for row in self.rows("SELECT * FROM alert WHERE number > ? ORDER BY number", after)]

    def budget(self, purpose: str, period: str, *, epsilon: float, allowed: float, delta: float) -> None:
        """Publish what is spent of a budget."""
        self._write("INSERT OR REPLACE INTO budget VALUES (?, ?, ?, ?, ?)", purpose, period, epsilon, allowed, delta)

    def put(self, name: str, value: object) -> None:
        """Publish a fact by name."""
        self._write("INSERT OR REPLACE INTO fact VALUES (?, ?)", name, msgspec.json.encode(value).decode())

    def get(self, name: str) -> object:
        """Return a fact, or None.

        Raises:
            StoreError: The file is damaged.
        """
        rows = self.rows("SELECT value FROM fact WHERE name = ?", name)
        try:
            return msgspec.json.decode(str(rows[0]["value"])) if rows else None
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise StoreError(f"records: fact {name}: {error}; the file is damaged, remove it") from error

    def rows(self, statement: str, *values: object) -> list[dict[str, object]]:
        """Return the rows of a query as dictionaries.

        Raises:
            StoreError: The query or the file is wrong.
        """
        try:
            cursor = self._connection.execute(statement, values)
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor]
        except (sqlite3.Error, UnicodeError) as error:  # the latter where names in a damaged schema are no text
            raise StoreError(f"records: {error}") from error

    def _write(self, statement: str, *values: object) -> bool:
        """Run a statement; return whether it changed a row."""
        try:
            return self._connection.execute(statement, values).rowcount > 0
        except sqlite3.Error as error:
            raise StoreError(f"records: {error}; free disk space or remove the file") from error
