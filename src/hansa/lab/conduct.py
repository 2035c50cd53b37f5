"""Take an alliance through one round and the state channel after it, with progress, and with faults if asked.

`Faults` are real: SIGKILL to a member's process and to the coordinator's (whose embedded server dies with it) while a
sum is open, then the same commands again.
"""

from __future__ import annotations

import sqlite3
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from hansa.errors import StoreError
from hansa.federation.schedule import replay_programme
from hansa.lab.alliance import COORDINATOR
from hansa.lab.collection import wait_for_members
from hansa.lab.compilation import keep_compiled

if TYPE_CHECKING:
    from hansa.governance.constitution import Constitution
    from hansa.lab.alliance import Alliance

LIMIT_SECONDS: Final = 600.0
SETTLE_SECONDS: Final = 120.0


@dataclass(frozen=True, slots=True)
class Span:
    """Times of a replay: training up to `as_of_ns`, the state channel up to `until_ns`, the last bars one by one."""

    as_of_ns: int
    until_ns: int
    live_bars: int

    def options(self) -> list[str]:
        """Return the options of `hansa coordinator run`."""
        return [
            "--as-of", _iso(self.as_of_ns), "--until", _iso(self.until_ns), "--live-bars", str(self.live_bars),
        ]  # fmt: skip


def progress_bars() -> Progress:
    """Return the progress display: on standard error, so that JSON on standard output stays clean."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(file=sys.stderr),
    )


def conduct(
    alliance: Alliance, constitution: Constitution, span: Span, *, progress: Progress, is_faulty: bool = False
) -> int:
    """Run the programme to its end over real processes, then wait for the members' forecasts; stop everything.

    Args:
        alliance: A founded alliance that is not running.
        constitution: Its constitution.
        span: The times.
        progress: Where progress is shown.
        is_faulty: Kill a member and the coordinator in mid-round and start them again.

    Returns:
        How often a process was killed and started again.

    Raises:
        TransportError: The coordinator failed, or something took too long.
    """
    keep_compiled(constitution, progress=progress)
    total = len(replay_programme(constitution, span.as_of_ns, span.until_ns, live_bars=span.live_bars))
    task = progress.add_task("sums published" + (" (with kills)" if is_faulty else ""), total=total)
    faults = _Faults(alliance) if is_faulty else None

    def look() -> None:
        published = _published(alliance)
        progress.update(task, completed=len(published))
        if faults is not None:
            faults.look()

    try:
        alliance.start_members()
        alliance.start_coordinator(span.options())
        alliance.wait(seconds=LIMIT_SECONDS, progress=look)
        wait_for_members(alliance, span.until_ns, seconds=SETTLE_SECONDS)
    finally:
        alliance.stop()
    return faults.restarts if faults is not None else 0


def set_up(alliance: Alliance) -> None:
    """Set the alliance's epoch up and stop: keys are agreed and on disk, nothing is summed yet."""
    try:
        alliance.start_members()
        alliance.start_coordinator(["--set-up-only"])
        alliance.wait(seconds=LIMIT_SECONDS)
    finally:
        alliance.stop()


class _Faults:
    """Kills a member while the first training step is open, and the coordinator while the second is."""

    def __init__(self, alliance: Alliance) -> None:
        self.restarts = 0
        self._alliance = alliance
        self._plan = [("weights", alliance.members[-1]), ("weights", COORDINATOR)]
        self._hit: set[str] = set()

    def look(self) -> None:
        """Kill the next victim if a sum of its purpose is open, then start it again."""
        if not self._plan:
            return
        purpose, victim = self._plan[0]
        for session in _open_sums(self._alliance, purpose):
            if session not in self._hit:
                self._hit.add(session)
                self._alliance.kill(victim)
                time.sleep(0.3)
                self._alliance.restart(victim)
                self.restarts += 1
                self._plan.pop(0)
                return


def _published(alliance: Alliance) -> list[str]:
    return _sessions(alliance, "SELECT session FROM session WHERE state = 'published'")


def _open_sums(alliance: Alliance, purpose: str) -> list[str]:
    statement = "SELECT session FROM session WHERE state IN ('announce', 'cohort') AND purpose = ?"
    return _sessions(alliance, statement, purpose)


def _sessions(alliance: Alliance, statement: str, *values: str) -> list[str]:
    try:
        records = alliance.records(COORDINATOR)
    except StoreError:
        return []
    try:
        return [str(row["session"]) for row in records.rows(statement, *values)]
    except (StoreError, sqlite3.Error):
        return []
    finally:
        records.close()


def _iso(time_ns: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time_ns // 1_000_000_000))
