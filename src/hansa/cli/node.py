"""`hansa coordinator run` and `hansa member run`: a node in the foreground; `coordinator attest`: its evidence."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from hansa.errors import ConfigurationError

coordinator_app = typer.Typer(no_args_is_help=True, help="The neutral party that orders the work.")
member_app = typer.Typer(no_args_is_help=True, help="One institution, beside its data.")
NS = 1_000_000_000


@coordinator_app.callback()
def _coordinator() -> None:
    """Name the group."""


@member_app.callback()
def _member() -> None:
    """Keep `run` a sub-command."""


@coordinator_app.command("run")
def coordinator_run(
    directory: Annotated[Path, typer.Argument(help="The coordinator's kit folder.")],
    as_of: Annotated[str, typer.Option(help="Run one round as of this time (ISO 8601, UTC) and end.")] = "",
    until: Annotated[str, typer.Option(help="With --as-of: then the state channel up to this time.")] = "",
    live_bars: Annotated[int, typer.Option(help="With --until: the last bars, one at a time.")] = 0,
    *,
    set_up_only: Annotated[bool, typer.Option("--set-up-only", help="End once the epoch is set up.")] = False,
) -> None:
    """Serve the constitution's schedule, or run one round as of a time."""
    from hansa.federation.coordinator_service import run_coordinator, start_server
    from hansa.federation.journal import journal_to_stderr
    from hansa.federation.node import load_node, require_role, run_until_signal
    from hansa.federation.ripple_desk import with_queries
    from hansa.federation.schedule import replay_programme, wall_clock_planner

    node = load_node(directory)
    require_role(node, "coordinator")
    journal_to_stderr()
    server = start_server(node)
    try:
        if set_up_only:
            done = run_until_signal(lambda: run_coordinator(node, programme=[], server=server))
        elif as_of:
            start = parse_time(as_of)
            end = parse_time(until) if until else start
            programme = replay_programme(node.constitution, start, end, live_bars=live_bars)
            done = run_until_signal(lambda: run_coordinator(node, programme=programme, server=server))
        else:
            planner = with_queries(wall_clock_planner(node.constitution, time.time_ns()), node.work, node.constitution)
            done = run_until_signal(lambda: run_coordinator(node, programme=[], planner=planner, server=server))
    finally:
        if server is not None:
            server.stop()
    if done is False:
        raise typer.Exit(1)


@coordinator_app.command("attest")
def coordinator_attest(
    directory: Annotated[Path, typer.Argument(help="The coordinator's kit folder.")],
    *,
    technology: Annotated[str, typer.Option(help="tdx, sgx, sev-snp or tpm.")],
    quote: Annotated[Path, typer.Option(help="The quote, as the platform's tool wrote it.")],
    part: Annotated[
        list[str] | None,
        typer.Option(help="NAME=FILE of the collateral: intel; vcek, ask, ark, crl; key, signature.", metavar="PART"),
    ] = None,
) -> None:
    """Make the evidence that members ask for, of a quote over node/attestation/report-data.bin, and check it."""
    from hansa.federation.node import load_node, require_role
    from hansa.federation.quoting import assemble, read_parts
    from hansa.identity.attestation.clause import REGISTERS

    node = load_node(directory)
    require_role(node, "coordinator")
    kind = next((one for one in ("tdx", "sgx", "sev-snp", "tpm") if one == technology), None)
    if kind is None:
        raise ConfigurationError(f"--technology: expected one of {', '.join(REGISTERS)}, got {technology!r}")
    raw, collateral = read_parts(quote, part or [])
    verdict = assemble(node, kind, raw, collateral, at=datetime.fromtimestamp(time.time(), tz=UTC))
    typer.echo(f"{technology}: as the constitution wants it; code {verdict.code}")
    typer.echo(f"status {verdict.status or 'none'}, collateral good until {verdict.valid_until:%Y-%m-%d}")


@member_app.command("run")
def member_run(directory: Annotated[Path, typer.Argument(help="The member's kit folder.")]) -> None:
    """Take part in rounds and in the state channel."""
    from hansa.federation.journal import journal_to_stderr
    from hansa.federation.node import load_node, require_role, run_until_signal

    node = load_node(directory)
    require_role(node, "member")
    journal_to_stderr()
    from hansa.federation.member_service import run_member  # after the checks: it loads JAX, which takes seconds

    run_until_signal(lambda: run_member(node))


def parse_time(text: str) -> int:
    """Return ns UTC of an ISO 8601 time; without a zone it is UTC.

    Raises:
        ConfigurationError: It is not ISO 8601.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigurationError(f"expected a time such as 2023-03-13T02:00Z, got {text!r}") from error
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp()) * NS
