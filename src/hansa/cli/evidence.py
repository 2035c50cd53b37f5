"""`hansa evidence export`: one file that an auditor verifies offline."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from hansa.errors import ConfigurationError

app = typer.Typer(no_args_is_help=True, help="Bundles that prove offline what happened.")


@app.callback()
def _evidence() -> None:
    """Keep `export` a sub-command."""


@app.command("export")
def export_bundle(
    directory: Annotated[Path, typer.Argument(help="The coordinator's kit folder.", metavar="NODE")],
    out: Annotated[Path, typer.Option(help="The bundle's file.", metavar="FILE")],
    round_: Annotated[int | None, typer.Option("--round", help="One round, or one day of the state channel.")] = None,
    member: Annotated[str, typer.Option(help="Sums that a member is in, and what it said; a name or its LEI.")] = "",
    quarter: Annotated[str, typer.Option(help="A calendar quarter, such as 2026Q4.")] = "",
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Write the log's entries and messages about a round, a member or a quarter; without a choice, about everything."""
    from hansa.federation.evidence import Choice, export, quarter_seconds
    from hansa.federation.node import load_node

    node = load_node(directory)
    if node.kit.configuration.role != "coordinator":
        raise ConfigurationError(f"{directory}: a member's kit; the log is in the coordinator's folder: name that one")
    if member:
        names = {party.name: party.name for party in node.constitution.members}
        names |= {lei: party.name for party in node.constitution.members if (lei := getattr(party, "lei", None))}
        if member not in names:
            raise ConfigurationError(f"--member: expected one of {', '.join(sorted(names))}; got {member[:40]!r}")
        member = names[member]
    start, end = quarter_seconds(quarter) if quarter else (0, 1 << 60)
    choice = Choice(round=round_, member=member, start=start, end=end)
    bundle = asyncio.run(export(node, choice, constitution=(directory / "constitution.json").read_bytes()))
    out.write_bytes(bundle)
    if as_json:
        sys.stdout.write(json.dumps({"bundle": str(out), "bytes": len(bundle)}) + "\n")
    else:
        sys.stdout.write(f"{out}: {len(bundle):,} bytes; now say: hansa verify {out}\n")
