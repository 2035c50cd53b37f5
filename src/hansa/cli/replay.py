"""`hansa replay`: known stress events, and what the federation's alerts would have said before them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hansa.errors import ConfigurationError, DataError

if TYPE_CHECKING:
    from collections.abc import Mapping

ALL = "all"
COLUMNS = ("", "lead h", "chance", "first alert", "bars/d", "alerts/d", "U_r")


def replay(
    event: Annotated[str, typer.Argument(help="Name of an event in the data folder's events.csv, or all.")],
    *,
    data: Annotated[Path, typer.Option(help="Folder with events.csv and the data sets.")] = Path("../shared/data"),
    rate: Annotated[float, typer.Option(help="False alerts a day in training; 0: 1 in 20 days, or 1 a day.")] = 0.0,
    draws: Annotated[int, typer.Option(min=1, help="How often the privacy noise is drawn.")] = 21,
    chart: Annotated[Path | None, typer.Option(help="Write the picture here, as SVG.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Replay an event bar by bar: hit or miss, lead and its chance, false alarms, beside single members and luck."""
    from hansa.lab.replay.events import event_named, read_events
    from hansa.lab.replay.run import replay as run

    if event == ALL and chart is not None:
        raise ConfigurationError("--chart draws one event; name it instead of all")
    events = list(read_events(data).values()) if event == ALL else [event_named(data, event)]
    documents = []
    for one in events:
        found = run(one, data, rate=rate or None, draws=draws)
        documents.append(found.document)
        if chart is not None:
            from hansa.lab.report.replay_picture import replay_picture

            _write(chart, str(replay_picture(found)))
    if as_json:
        sys.stdout.write(json.dumps(documents if event == ALL else documents[0], indent=2) + "\n")
    elif event == ALL:
        _overview(documents)
    else:
        _one(documents[0])


def _overview(documents: list[dict[str, object]]) -> None:
    rows = {str(document["event"]): document for document in documents}
    _print("known events, one row each: hits and misses", rows)
    single = {str(document["event"]): _mapping(document["best_single_member"]) for document in documents}
    _print("the best single member of each, chosen in hindsight", single)
    _print("volatility alone", {str(one["event"]): _mapping(one["volatility_rule"]) for one in documents})
    _not_shown(documents[0])


def _one(document: dict[str, object]) -> None:
    rows = {"federation": document, "volatility alone": _mapping(document["volatility_rule"])}
    rows |= {name: _mapping(found) for name, found in _mapping(document["by_member"]).items()}
    rows |= {f"by {name}": _mapping(found) for name, found in _mapping(document["by_method"]).items()}
    rows |= {f"at {name} a day": _mapping(found) for name, found in _mapping(document["by_rate"]).items()}
    sys.stdout.write(f"{document['event']}: onset {document['onset']} ({document['fact']})\n")
    _print("", rows)
    luck, draws = _mapping(document["random_alarms"]), _mapping(document["noise_draws"])
    window = f"{luck['window_hours']} h window"
    sys.stdout.write(
        f"random alarms at {luck['rate_per_day']} a day: {luck['hit_chance']} of them would hit the {window}\n"
        "bars/d, alerts/d: false alarm bars and false alerts a day in the calm part; U_r: usefulness at mu 0.8\n"
        f"{draws['draws']} draws of the privacy noise: {draws['hits']} hits; lead h (least, middle, most) "
        f"{draws['lead_hours']}; false bars a day {draws['false_alarms_per_day']}; the headline is the middle one\n"
        f"{document['method']}; {document['model_version']}\n"
    )
    _who_moves_it(_mapping(document["dominance"]))
    _not_shown(document)


def _who_moves_it(found: Mapping[str, object]) -> None:
    goal = f"{found['goal_points']:g}"
    sys.stdout.write(
        f"who can move the index of a bar, in points ({goal} was wanted): one capped client {found['client_points']}; "
        f"a member (share {found['largest_share']} at most) that lies no further than honest ones stray, "
        f"{found['honest_member_log_units']} log units, {found['plausible_liar_points']}; one that lies without "
        f"restraint {found['liar_points']}; {goal} points take an error of {found['member_log_units_for_goal']} log "
        "units in all measures of a member\n"
    )


def _print(title: str, rows: Mapping[str, Mapping[str, object]]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=title or None, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    table.add_column("", no_wrap=True)
    for name in COLUMNS:
        table.add_column(name, justify="right", no_wrap=True)
    for name, found in rows.items():
        if "reason" in found:
            table.add_row(escape(name), "none", *[""] * (len(COLUMNS) - 2), escape(str(found["reason"])[:40]))
            continue
        table.add_row(
            escape(name),
            "hit" if found["hit"] else "miss",
            _cell(found["lead_hours"]),
            _cell(found["lead_chance"]),
            _cell(found["first_alert"]).removesuffix("Z").replace("T", " ")[-11:],
            *(_cell(found[cell]) for cell in ("false_alarms_per_day", "false_alerts_per_day", "usefulness")),
        )
    Console().print(table)


def _not_shown(document: Mapping[str, object]) -> None:
    lines = document["what_this_does_not_show"]
    sys.stdout.write("".join(f"not shown: {line}\n" for line in (lines if isinstance(lines, list) else ())))


def _cell(value: object) -> str:
    return "-" if value is None else f"{value:.2f}" if isinstance(value, float) else str(value)


def _mapping(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}


def _write(path: Path, words: str) -> None:
    try:
        path.write_text(words, encoding="utf-8")
    except OSError as error:
        raise DataError(f"{path}: the picture cannot be written ({error.strerror}); name another file") from error
