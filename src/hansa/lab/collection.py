"""What an alliance left behind when its programme ended, read from its nodes' folders: for reports and tests."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import statistics
import time
from typing import TYPE_CHECKING

import numpy as np

from hansa.errors import StoreError, TransportError
from hansa.federation.forecasting import ARMS
from hansa.lab.alliance import COORDINATOR

if TYPE_CHECKING:
    from jaxtyping import Float

    from hansa.lab.alliance import Alliance

NS = 1_000_000_000
Forecasts = dict[str, dict[str, "Float[np.ndarray, 'time basket']"]]


def wait_for_members(alliance: Alliance, stamp_ns: int, *, seconds: float) -> None:
    """Wait until every member has written its forecasts up to a bar.

    Raises:
        TransportError: The time is over; the message names the member and shows its newest note.
    """
    deadline = time.monotonic() + seconds
    for name in alliance.members:
        while not _has_settled(alliance, name, stamp_ns):
            alliance.revive()
            if time.monotonic() > deadline:
                raise TransportError(f"{name} wrote no forecasts up to {stamp_ns} in time: {notes(alliance, name)[:1]}")
            time.sleep(0.1)


def forecasts(alliance: Alliance) -> tuple[Forecasts, Float[np.ndarray, "time basket measure"]]:
    """Return each arm's forecasts by member, and the published state that they were made from."""
    arms: Forecasts = {arm: {} for arm in ARMS}
    state = np.empty((0, 0, 0))
    for name in alliance.members:
        with np.load(alliance.directory / name / "node" / "forecasts.npz") as written:
            state = written["state"]
            for arm in ARMS:
                arms[arm][name] = written[arm]
    return arms, state


def sums(alliance: Alliance) -> list[dict[str, object]]:
    """Return the coordinator's sums in order, as its records have them."""
    return _rows(alliance, COORDINATOR, "SELECT * FROM session ORDER BY announce_ns")


def step_seconds(alliance: Alliance) -> dict[str, float]:
    """Return the median seconds of each step over the published sums, by the stream's clock.

    `upload` runs from the manifest to the cohort, `agree` to the call, `publish` to the result.
    """
    steps = {"upload": ("announce_ns", "cohort_ns"), "agree": ("cohort_ns", "call_ns")}
    steps["publish"] = ("call_ns", "closed_ns")
    steps["whole"] = ("announce_ns", "closed_ns")
    found = [row for row in sums(alliance) if row["state"] == "published"]
    return {
        step: statistics.median((int(str(row[end])) - int(str(row[start]))) / NS for row in found if row[end])
        for step, (start, end) in steps.items()
    }


def bytes_by_member(alliance: Alliance) -> dict[str, int]:
    """Return the bytes that left each member, from its own egress record."""
    found = {}
    for name in alliance.members:
        path = alliance.directory / name / "node" / "facts.sqlite"
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as connection:
            found[name] = int(connection.execute("SELECT coalesce(sum(bytes), 0) FROM egress").fetchone()[0])
    return found


def budgets(alliance: Alliance) -> list[dict[str, object]]:
    """Return what the first member has spent, the dearest period of each purpose; all members pay the same."""
    return _rows(
        alliance,
        alliance.members[0],
        "SELECT purpose, count(*) AS periods, max(epsilon) AS epsilon, allowed, delta FROM budget GROUP BY purpose",
    )


def protected_units(alliance: Alliance) -> dict[str, str]:
    """Return by purpose the unit that the members' data really let them protect; where they differ, each."""
    found: dict[str, list[str]] = {}
    for name in alliance.members:
        for row in _rows(alliance, name, "SELECT name, value FROM fact WHERE name LIKE 'unit/%'"):
            units = found.setdefault(str(row["name"]).removeprefix("unit/"), [])
            unit = str(json.loads(str(row["value"])))
            if unit not in units:
                units.append(unit)
    return {purpose: "; or ".join(units) for purpose, units in found.items()}


def sum_hashes(alliance: Alliance) -> dict[str, str]:
    """Return SHA-256 of each opened sum, by session without its attempt."""
    rows = _rows(alliance, alliance.members[0], "SELECT name, value FROM fact WHERE name LIKE 'sum/%' ORDER BY name")
    return {str(row["name"]).removeprefix("sum/").rpartition("-a")[0]: str(row["value"]).strip('"') for row in rows}


def final_hash(alliance: Alliance) -> str:
    """Return SHA-256 over the hashes of every opened sum, in order of name."""
    return hashlib.sha256("".join(sum_hashes(alliance).values()).encode()).hexdigest()


def index_series(alliance: Alliance) -> dict[str, dict[str, list[float]]]:
    """Return the published index of each basket and of the system: stamps and values."""
    found: dict[str, dict[str, list[float]]] = {}
    statement = "SELECT basket, ts_ns, value FROM series WHERE name = 'lsi' ORDER BY basket, ts_ns"
    for row in _rows(alliance, alliance.members[0], statement):
        series = found.setdefault(str(row["basket"]), {"ts_ns": [], "value": []})
        series["ts_ns"].append(int(str(row["ts_ns"])))
        series["value"].append(round(float(str(row["value"])), 2))
    return found


def alert_rows(alliance: Alliance) -> list[dict[str, object]]:
    """Return the alerts that the first member published: rule, basket, stamp, index."""
    return _rows(alliance, alliance.members[0], "SELECT * FROM alert ORDER BY ts_ns")


def choices(alliance: Alliance) -> dict[str, dict[str, object]]:
    """Return what each member chose at home: pulls to the shared weights, gates of the network."""
    found = {}
    for name in alliance.members:
        records = alliance.records(name)
        found[name] = {"pulls": records.get("pulls"), "gates": records.get("gates")}
        records.close()
    return found


def notes(alliance: Alliance, name: str) -> list[dict[str, object]]:
    """Return what a node refused or what went wrong there, newest first."""
    return _rows(alliance, name, "SELECT * FROM note ORDER BY time_ns DESC")


def _has_settled(alliance: Alliance, name: str, stamp_ns: int) -> bool:
    try:
        records = alliance.records(name)
    except StoreError:
        return False
    try:
        settled = records.get("settled_ns")
    finally:
        records.close()
    return isinstance(settled, int) and settled >= stamp_ns


def _rows(alliance: Alliance, name: str, statement: str) -> list[dict[str, object]]:
    records = alliance.records(name)
    try:
        return records.rows(statement)
    finally:
        records.close()
