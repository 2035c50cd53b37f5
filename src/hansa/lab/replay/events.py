"""Known stress events and the part of the data that a replay of each may use.

`events.csv` names the events: `event, time, fact, dataset`; of several rows of one event the onset is the one that says
so, else the first. Every event is cut in the same way, fixed before any is looked at:

```
training (train_days)  |  calm: false alarms are counted here (calm_days)  |  warning window: eve and day  | onset
                                                                           ^ midnight UTC before the eve
```
A time without a zone is on the clock of its file. Does NOT guarantee that calm is calm: nobody has looked for smaller
stress in it, so some of its false alarms may be true.

Source: SCIENCE.md 1.5.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import polars as pl

from hansa.errors import ConfigurationError, DataError
from hansa.market.calendar import NS_PER_DAY

if TYPE_CHECKING:
    from pathlib import Path

COLUMNS: Final = ("event", "time", "fact", "dataset")
FILE: Final = "events.csv"


@dataclass(frozen=True, slots=True)
class Event:
    """One known event.

    Attributes:
        name: What the command calls it.
        dataset: Folder of its data.
        onset_ns: When it began, ns UTC (or on the file's clock).
        fact: What was read off the data at the onset.
    """

    name: str
    dataset: str
    onset_ns: int
    fact: str


@dataclass(frozen=True, slots=True)
class Windows:
    """How an event's time is cut; all ns, each part from just after its start to its end.

    Attributes:
        train_ns: Start of training; the parts follow each other.
        calm_ns: Start of the calm part.
        window_ns: Start of the warning window.
        onset_ns: The onset.
    """

    train_ns: int
    calm_ns: int
    window_ns: int
    onset_ns: int


def cut(onset_ns: int, *, train_days: int, calm_days: int) -> Windows:
    """Cut the time before an onset.

    Args:
        onset_ns: The onset, ns.
        train_days: Days of training.
        calm_days: Days in which alarms are false.
    """
    window = (onset_ns // NS_PER_DAY - 1) * NS_PER_DAY
    calm = window - calm_days * NS_PER_DAY
    return Windows(calm - train_days * NS_PER_DAY, calm, window, onset_ns)


def read_events(data: Path) -> dict[str, Event]:
    """Read the known events.

    Args:
        data: Folder that holds `events.csv`.

    Raises:
        DataError: The file is absent, or a row is malformed.
    """
    path = data / FILE
    try:
        table = pl.read_csv(path, infer_schema=False)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(
            f"{path}: expected a table of known events; it cannot be read ({type(error).__name__}); give --data DIR"
        ) from error
    if any(name not in table.columns for name in COLUMNS):
        raise DataError(f"{path}: expected the columns {', '.join(COLUMNS)}; got {', '.join(table.columns)}")
    found: dict[str, Event] = {}
    for place, (name, time, fact, dataset) in enumerate(table.select(COLUMNS).iter_rows()):
        if not (name and time and fact and dataset):
            raise DataError(f"{path}: row {place}: a cell is empty")
        if name not in found or "onset label" in fact:
            found[name] = Event(name, dataset, _time(time, path, place), fact)
    return found


def event_named(data: Path, name: str) -> Event:
    """Return one event.

    Raises:
        ConfigurationError: There is no such event; the message lists those there are.
        DataError: As for `read_events`.
    """
    events = read_events(data)
    if name not in events:
        raise ConfigurationError(f"expected an event out of {', '.join(events)} (or all); got {name!r}")
    return events[name]


def _time(text: str, path: Path, row: int) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise DataError(f"{path}: row {row}: expected a time such as 2023-03-11T03:10Z; got {text!r}") from error
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return int(aware.timestamp()) * 1_000_000_000
