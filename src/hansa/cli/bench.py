"""`hansa bench`: measure this machine's federation; two hidden commands are the processes of the bench."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

app = typer.Typer(no_args_is_help=True, help="Measure what a secure sum costs on this machine.")


@app.callback()
def _bench() -> None:
    """Name the group."""


@app.command("secure-sum")
def secure_sum(
    *,
    members: Annotated[int, typer.Option(help="Member processes, 3 or more.")] = 5,
    length: Annotated[int, typer.Option(help="Values in the vector.")] = 100_000,
    repeats: Annotated[
        int | None,
        typer.Option(help="Measured sums: 5, and two more that warm up; simulated: 1.", show_default=False),
    ] = None,
    transport: Annotated[
        str,
        typer.Option(help="nats: a process a member. simulated: the coordinator's process, and one for all members."),
    ] = "nats",
    vectors: Annotated[
        Path | None, typer.Option(help="Folder of member-0.npy and so on: integer vectors to sum, steps of 2^-10.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Run secure sums over real processes, mutual TLS and durable streams; check every word; print the medians."""
    from hansa.lab import bench

    repeats = repeats if repeats is not None else 5 if transport == "nats" else 1
    options = bench.BenchOptions(members, length, repeats, transport)
    with tempfile.TemporaryDirectory(prefix="hansa-bench-") as directory:
        figures = bench.secure_sum(Path(directory) / "alliance", options, vectors)
    if as_json:
        sys.stdout.write(json.dumps(figures, indent=2) + "\n")
        return
    table = Table(title=f"secure sum of {length} values, {members} members")
    table.add_column("step")
    table.add_column("median", justify="right")
    steps = figures["steps"]
    for step, seconds in steps.items() if isinstance(steps, dict) else ():
        table.add_row(step, f"{1e3 * seconds:.1f} ms")
    table.add_row("whole", f"{1e3 * float(str(figures['seconds'])):.1f} ms", style="bold")
    table.add_row("door of a member", f"{1e3 * float(str(figures['member_seconds'])):.1f} ms")
    Console().print(table)
    for name in ("upload_bytes_per_value", "bytes_per_member", "coordinator_rss_mib", "exact", "transport"):
        sys.stdout.write(f"{name}: {figures[name]}\n")
    sys.stdout.write("".join(f"not shown: {line}\n" for line in bench.NOT_SHOWN[transport]))


@app.command("state-channel")
def state_channel(
    *,
    members: Annotated[int, typer.Option(help="Member processes, 3 or more.")] = 10,
    length: Annotated[int, typer.Option(help="Values in the vector.")] = 500,
    sums: Annotated[int, typer.Option(help="Measured sums each way; two more warm up.")] = 200,
    is_cosigned: Annotated[bool, typer.Option("--cosigned", help="Nothing opens before a quorum cosigned.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Run the state channel's sums (two exchanges), one after another and overlapping; check every word."""
    from hansa.lab import bench

    options = bench.BenchOptions(members, length, sums, is_cosigned=is_cosigned)
    with tempfile.TemporaryDirectory(prefix="hansa-bench-") as directory:
        figures = bench.state_channel(Path(directory), options)
    if as_json:
        sys.stdout.write(json.dumps(figures, indent=2) + "\n")
        return
    table = Table(title=f"state channel: {length} values, {members} members, {sums} sums each way")
    for column in ("", "p50", "p90", "p99", "worst"):
        table.add_column(column, justify="right" if column else "left")
    for way in ("one_after_another", "in_flight_together"):
        row = figures[way]
        cells = (
            [f"{1e3 * row[name]:.1f} ms" for name in ("p50", "p90", "p99", "worst")] if isinstance(row, dict) else []
        )
        table.add_row(way.replace("_", " "), *cells)
    Console().print(table)
    for name in ("steps", "member_seconds", "coordinator_rss_mib", "exact", "transport"):
        sys.stdout.write(f"{name}: {figures[name]}\n")


@app.command("coordinator", hidden=True)
def coordinator(
    directory: Annotated[Path, typer.Argument(help="The coordinator's folder.")],
    sums: Annotated[int, typer.Argument(help="Sums to ask for.")],
    in_flight: Annotated[int, typer.Option(help="Sums at a time.")] = 1,
    last_seen: Annotated[
        Path | None, typer.Option(help="Stay until this file says that members have the last result.")
    ] = None,
) -> None:
    """Be the coordinator of a bench."""
    from hansa.federation.coordinator_service import start_server
    from hansa.federation.node import load_node, run_until_signal
    from hansa.lab.bench_nodes import note_server, run_bench_coordinator

    node = load_node(directory)
    server = start_server(node)
    try:
        done = run_until_signal(
            lambda: run_bench_coordinator(node, sums=sums, in_flight=in_flight, last_seen=last_seen)
        )
        if server is not None and server.pid is not None:
            note_server(node, server.pid)
    finally:
        if server is not None:
            server.stop()
    if not done:
        raise typer.Exit(1)


@app.command("piped-coordinator", hidden=True)
def piped_coordinator(
    directory: Annotated[Path, typer.Argument(help="The coordinator's folder.")],
    sums: Annotated[int, typer.Argument(help="Sums to ask for.")],
) -> None:
    """Be the coordinator of a simulated bench, over standard input and output."""
    from hansa.federation.node import load_node, run_until_signal
    from hansa.lab.simulated_bench import run_piped_coordinator

    node = load_node(directory)
    if not run_until_signal(lambda: run_piped_coordinator(node, sums=sums)):
        raise typer.Exit(1)


@app.command("member", hidden=True)
def member(directory: Annotated[Path, typer.Argument(help="The member's folder.")]) -> None:
    """Be a member of a bench."""
    from hansa.federation.node import load_node, run_until_signal
    from hansa.lab.bench_nodes import run_bench_member

    node = load_node(directory)
    run_until_signal(lambda: run_bench_member(node))
