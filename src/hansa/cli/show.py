"""`hansa status` and `hansa watch`: what a node has published, at once or as it comes."""

from __future__ import annotations

import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hansa.errors import StoreError
from hansa.federation.alerts import statistic_words
from hansa.federation.records import Records

if TYPE_CHECKING:
    from rich.console import RenderableType

    from hansa.federation.alerts import Alert

SHOWN_SESSIONS = 12


def status(
    directory: Annotated[Path, typer.Argument(help="A node's kit folder, or a folder of several.")],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show sums, drop-outs, budgets, refusals and the newest index of each node."""
    from rich.console import Console

    nodes = [summary(path) for path in record_files(directory)]
    if as_json:
        sys.stdout.write(json.dumps(nodes, indent=2) + "\n")
        return
    for node in nodes:
        Console().print(*_tables(node), sep="\n")


def watch(
    directory: Annotated[Path, typer.Argument(help="A node's kit folder, or a folder of several.")],
    *,
    seconds: Annotated[float, typer.Option(help="Stop after so long; 0 for never.")] = 0.0,
    only_alerts: Annotated[bool, typer.Option("--alerts", help="One line an alert, and nothing else.")] = False,
) -> None:
    """Follow the index, alerts and sums of a node as they are published."""
    from rich.console import Group
    from rich.live import Live

    started = time.monotonic()
    if only_alerts:
        shown: dict[Path, int] = {}
        while True:
            for path in record_files(directory):
                for alert in written_alerts(path, after=shown.get(path, 0)):
                    sys.stdout.write(alert_line(path, alert) + "\n")
                    shown[path] = alert.number
            sys.stdout.flush()
            if seconds and time.monotonic() - started > seconds:
                return
            time.sleep(0.5)
    with Live(refresh_per_second=4, screen=False) as live:
        while True:
            live.update(Group(*(table for path in record_files(directory) for table in _tables(summary(path)))))
            if seconds and time.monotonic() - started > seconds:
                return
            time.sleep(0.5)


def alerts(
    directory: Annotated[Path, typer.Argument(help="A node's kit folder, or a folder of several.")],
    *,
    check: Annotated[bool, typer.Option("--check", help="Check that none was changed after it was written.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, evidence included.")] = False,
) -> None:
    """List the alerts that a node has written down, with model version and whether they came before the outcome."""
    from hansa.federation.alerts import verify

    found = {path: written_alerts(path) for path in record_files(directory)}
    if as_json:
        nodes = {path.parent.parent.name: [alert.body() for alert in own] for path, own in found.items()}
        sys.stdout.write(json.dumps(nodes, indent=2) + "\n")
    else:
        lines = [alert_line(path, alert) for path, own in found.items() for alert in own]
        sys.stdout.write("\n".join(lines or ["no alerts"]) + "\n")
    if check:
        for own in found.values():
            verify(own)
        sys.stderr.write(f"checked {sum(len(own) for own in found.values())} alerts: none was changed\n")


def written_alerts(path: Path, *, after: int = 0) -> list[Alert]:
    """Return the alerts of one node's records with a number above `after`."""
    records = Records(path, read_only=True)
    try:
        return records.alerts(after=after)
    finally:
        records.close()


def alert_line(path: Path, alert: Alert) -> str:
    """Return one alert as a line of text for a terminal: names cannot carry control characters."""
    words = (
        f"{path.parent.parent.name}  {_when(alert.ts_ns)}  {alert.basket}  {statistic_words(alert)}  "
        f"{alert.model_version or 'no version'}  "
        f"{'before any later bar' if alert.is_ahead else 'after later bars were known'}  {alert.digest[:12]}"
    )
    return "".join(letter if letter.isprintable() else "?" for letter in words)


def record_files(directory: Path) -> list[Path]:
    """Return the records of a node, or of every node below a folder.

    Raises:
        StoreError: There are none.
    """
    found = sorted(directory.glob("node/records.sqlite")) or sorted(directory.glob("*/node/records.sqlite"))
    if not found:
        raise StoreError(f"{directory}: no node has written records here yet; start it with `hansa member run`")
    return found


def summary(path: Path) -> dict[str, object]:
    """Return what one node has published, ready for JSON."""
    records = Records(path, read_only=True)
    try:
        states = records.rows("SELECT state, count(*) AS count FROM session GROUP BY state")
        return {
            "node": path.parent.parent.name,
            "sums": {str(row["state"]): row["count"] for row in states},
            "sessions": records.rows("SELECT * FROM session ORDER BY announce_ns DESC LIMIT ?", SHOWN_SESSIONS),
            "budgets": records.rows("SELECT * FROM budget ORDER BY purpose, period DESC"),
            "units": {
                str(row["name"]).removeprefix("unit/"): json.loads(str(row["value"]))
                for row in records.rows("SELECT name, value FROM fact WHERE name LIKE 'unit/%' ORDER BY name")
            },
            "index": records.rows(
                "SELECT basket, ts_ns, value FROM series AS s WHERE name = 'lsi' AND ts_ns = "
                "(SELECT max(ts_ns) FROM series WHERE name = 'lsi' AND basket = s.basket) ORDER BY basket"
            ),
            "alerts": records.rows("SELECT * FROM alert ORDER BY ts_ns DESC LIMIT ?", 5 * SHOWN_SESSIONS),
            "notes": records.rows("SELECT * FROM note ORDER BY time_ns DESC LIMIT ?", SHOWN_SESSIONS),
        }
    finally:
        records.close()


def _tables(node: dict[str, object]) -> list[RenderableType]:
    from rich.markup import escape
    from rich.table import Table
    from rich.text import Text

    tables: list[RenderableType] = []
    sums = node["sums"]
    counts = ", ".join(f"{count} {state}" for state, count in sums.items()) if isinstance(sums, dict) else ""
    counts += f"; the newest {SHOWN_SESSIONS}" if len(_rows(node, "sessions")) == SHOWN_SESSIONS else ""
    sessions = Table(title=f"{escape(str(node['node']))}: sums ({counts or 'none yet'})", title_justify="left")
    for name in ("session", "values", "state", "cohort", "seconds", "why"):
        sessions.add_column(
            name, justify="left" if name in {"session", "state", "why"} else "right", no_wrap=name == "session"
        )
    for row in _rows(node, "sessions"):
        sessions.add_row(
            str(row["session"]),
            f"{row['length']:,}",
            str(row["state"]),
            str(len(str(row["members"]).split())) if row["members"] else "",
            _seconds(row["announce_ns"], row["closed_ns"]),
            escape(str(row["reason"] or "")),
        )
    tables.append(sessions)
    if _rows(node, "index"):
        index = Table(title="liquidity stress index, 0 to 100", title_justify="left")
        for name in ("basket", "LSI", "bar ends (UTC)", "alerts"):
            index.add_column(name)
        for row in _rows(node, "index"):
            alerts = [_when(one["ts_ns"]) for one in _rows(node, "alerts") if one["basket"] == row["basket"]]
            index.add_row(
                escape(str(row["basket"])),
                f"{row['value']:.1f}",
                _when(row["ts_ns"]),
                ", ".join(alerts[:3]) or "none",
            )
        tables.append(index)
    if _rows(node, "budgets"):
        tables.append(_budget_table(_rows(node, "budgets"), node["units"]))
    notes = (Text(f"{row['session']} {row['step']}: {row['reason']}", "yellow") for row in _rows(node, "notes"))
    return [*tables, *notes]


def _budget_table(rows: list[dict[str, object]], units: object) -> RenderableType:
    from rich.markup import escape
    from rich.table import Table

    table = Table(title="privacy budget", title_justify="left")
    for name in ("purpose", "period", "epsilon spent", "allowed", "delta", "unit protected"):
        table.add_column(name)
    known = units if isinstance(units, dict) else {}
    for row in rows[:SHOWN_SESSIONS]:
        table.add_row(
            escape(str(row["purpose"])),
            str(row["period"]),
            f"{row['epsilon']:.3f}",
            f"{row['allowed']:g}",
            f"{row['delta']:g}",
            escape(str(known.get(row["purpose"], "not known yet"))),
        )
    return table


def _rows(node: dict[str, object], name: str) -> list[dict[str, object]]:
    rows = node[name]
    return rows if isinstance(rows, list) else []


def _when(ts_ns: object) -> str:
    return datetime.fromtimestamp(int(str(ts_ns)) // 1_000_000_000, tz=UTC).strftime("%Y-%m-%d %H:%M")


def _seconds(start_ns: object, end_ns: object) -> str:
    if isinstance(start_ns, int) and isinstance(end_ns, int):
        return f"{(end_ns - start_ns) / 1e9:.3f}"
    return ""
