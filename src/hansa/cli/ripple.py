"""`hansa ripple`: what a shock in one market does to others, asked of a federation or rehearsed over files."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hansa.errors import ConfigurationError, SessionDiedError, TransportError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hansa.federation.node import Node
    from hansa.federation.ripple_query import RippleQuery

SHOWN_LAGS = (0, 1, 2, 4, 8, 16, 24, 48, 96)


def ripple(
    source: Annotated[str, typer.Argument(help="Market, or basket, that is shocked.")],
    *,
    on: Annotated[str, typer.Option("--on", help="Markets that are asked about, with commas.")],
    shock: Annotated[str, typer.Option(help="Deviations of the market's usual surprise: 3sd, -2.5sd.")] = "3sd",
    horizon: Annotated[str, typer.Option(help="How long: 24h, 90m, 2d.")] = "24h",
    data: Annotated[Path | None, typer.Option(help="Folder with fx_hourly: members are simulated over it.")] = None,
    node: Annotated[
        Path | None, typer.Option(help="Coordinator's folder: ask. Member's folder: read the recorded answer.")
    ] = None,
    members: Annotated[int, typer.Option(help="With --data: simulated members, 3 to 10.")] = 5,
    days: Annotated[int, typer.Option(help="With --data: days of history.")] = 730,
    seed: Annotated[int, typer.Option(help="With --data: of the simulated members and of the noise.")] = 1,
    wait: Annotated[float, typer.Option(help="With a coordinator's folder: seconds to wait for the sum.")] = 600.0,
    picture: Annotated[Path | None, typer.Option(help="Write the graph and the curves to this SVG file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Ask how a shock in one market moves the cost of others: averaged over members, bands and noise beside it."""
    if (data is None) == (node is None):
        raise ConfigurationError("expected either --data or --node: a folder of bars, or a node's folder")
    answer: Mapping[str, Any]
    if data is not None:
        from hansa.lab.ripple import ripple_on_data

        answer = ripple_on_data(
            data, source=source, shock=shock, targets=on, horizon=horizon, members=members, days=days, seed=seed
        )
    else:
        answer = _asked(node or Path(), source, shock, on, horizon, wait=wait)
    if picture is not None:
        from hansa.lab.report.ripple_picture import ripple_picture

        try:
            picture.write_text(ripple_picture(answer) + "\n")
        except OSError as error:
            raise ConfigurationError(f"{picture}: cannot be written ({error.strerror}); name another file") from error
    if as_json:
        sys.stdout.write(json.dumps(answer, indent=1, allow_nan=False) + "\n")
        return
    _show(answer, picture)


def _asked(directory: Path, source: str, shock: str, on: str, horizon: str, *, wait: float) -> Mapping[str, Any]:
    """Ask at a coordinator's folder, or read the answer in a member's."""
    from hansa.federation.node import load_node
    from hansa.federation.ripple_query import RippleQuery

    found = load_node(directory)
    market = found.constitution.market
    query = RippleQuery.parse(source, shock, on, horizon, baskets=tuple(market.baskets), bar_seconds=market.bar_seconds)
    if found.kit.configuration.role == "coordinator":
        session = _ask_and_wait(found, query, wait)
        sys.stdout.write(f"{session}: opened; every member's record has the answer\n")
        raise typer.Exit
    return _recorded(found, query)


def _ask_and_wait(node: Node, query: RippleQuery, seconds: float) -> str:
    """Put a query on the coordinator's desk and wait until its sum is over."""
    from hansa.federation.records import Records
    from hansa.federation.ripple_desk import ask

    label = ask(node.work, node.constitution, query, now_ns=time.time_ns())
    sys.stderr.write(f"{query.words()}: asked as {label}; waiting for the running coordinator\n")
    deadline = time.monotonic() + seconds
    records = Records(node.records_path)
    try:
        while time.monotonic() < deadline:
            rows = records.rows(
                "SELECT state, session, reason, attempt FROM session WHERE session LIKE ? ORDER BY attempt DESC",
                label.removesuffix("1") + "%",
            )
            if rows and rows[0]["state"] == "published":
                return str(rows[0]["session"])
            if rows and rows[0]["state"] == "died" and int(str(rows[0]["attempt"])) >= node.constitution.attempts:
                raise SessionDiedError(
                    f"{rows[0]['session']}: {rows[0]['reason']}; a member's notes say why it refused "
                    "(`hansa status`): a spent budget comes back with the next year, or with an amendment"
                )
            time.sleep(0.5)
    finally:
        records.close()
    raise TransportError(
        f"{label}: not over within {seconds:g} s; is `hansa coordinator run` serving? The query stays on its desk"
    )


def _recorded(node: Node, query: RippleQuery) -> Mapping[str, Any]:
    """Return the newest recorded answer to a query."""
    from hansa.federation.records import Records

    records = Records(node.records_path, read_only=True)
    try:
        rows = records.rows("SELECT value FROM fact WHERE name LIKE 'ripple/%' ORDER BY name DESC")
    finally:
        records.close()
    for row in rows:
        answer = json.loads(str(row["value"]))
        asked = answer["query"]
        if (asked["source"], asked["shock_sd"], asked["horizon_bars"]) == (
            query.source, query.size, query.horizon
        ) and set(asked["targets"]) == set(query.targets):  # fmt: skip
            return dict(answer)
    raise ConfigurationError(
        f"{node.directory}: no answer to {query.words()} is recorded here; ask it first with --node and the "
        "coordinator's folder, or let its operator ask"
    )


def _show(answer: Mapping[str, Any], picture: Path | None) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    query, noise = answer["query"], answer["noise_sd"]
    hour = query["bar_seconds"] / 3600
    lags = [lag for lag in SHOWN_LAGS if lag <= query["horizon_bars"]]
    for one in answer["responses"]:
        table = Table(
            title=f"{one['target']} after {query['source']} {query['shock_sd']:+g} sd, in deviations of its cost",
            title_justify="left",
        )
        for name in ("after", "response", "5 %", "95 %", "noise sd", "published alone", "members add"):
            table.add_column(name, justify="right")
        for lag in lags:
            values = (one["curve"], one["low"], one["high"], noise, one["published_curve"], one["members_add"])
            table.add_row(f"{lag * hour:g} h", *(f"{column[lag]:.3f}" for column in values))
        console.print(table)
        half = one["half_life_bars"]
        fades = "does not halve within the horizon" if half is None else f"halves in {half * hour:.1f} h"
        console.print(
            f"  peak {one['peak']:+.2f} ({one['peak_percent']:+.1f} % of the cost) after {one['peak_bars'] * hour:g} h"
            f", {fades}; {100 * one['share']:.1f} % of its moves over the horizon come from {query['source']}; "
            f"{'a response' if one['is_moved'] else 'no response that stands out'} in the published state\n",
            highlight=False,
        )
    _show_graph(console, answer)
    console.print(
        f"{len(answer['cohort'])} members answered; 'published alone' costs no budget: anybody with the state has it. "
        f"'members add' is the mean of what their own costs do beyond it, under noise of the deviation shown.",
        highlight=False,
    )
    budget = answer.get("budget")
    if budget:
        console.print(
            f"one query: epsilon {budget['epsilon_of_one_query']:.2f} of {budget['epsilon_a_year']:g} a year for "
            f"{budget['unit']}; {budget['queries_a_year']} queries a year, then members refuse",
            highlight=False,
        )
    for line in answer.get("assumptions", ()):
        console.print(f"assumed: {line}", highlight=False)
    if picture is not None:
        console.print(f"picture: {picture}", highlight=False, soft_wrap=True)


def _show_graph(console: Any, answer: Mapping[str, Any]) -> None:  # noqa: ANN401 - rich is loaded when it is needed
    from rich.table import Table

    graph = answer["connectedness"]
    table = Table(title="share of a market's moves (row) that comes from a market (column), %", title_justify="left")
    for name in ("", *graph["baskets"]):
        table.add_column(name, justify="right" if name else "left")
    for name, row in zip(graph["baskets"], graph["shares"], strict=True):
        table.add_row(name, *(f"{100 * share:.1f}" for share in row))
    console.print(table)
