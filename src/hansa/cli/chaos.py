"""`hansa chaos`: random faults and liars against the secure sum, and how every run ended."""

from __future__ import annotations

import json
import logging
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterator


def chaos(
    *,
    runs: Annotated[int, typer.Option(min=1, help="How many runs.")] = 300,
    seed: Annotated[int, typer.Option(min=0, help="From which all runs are drawn.")] = 7,
    run: Annotated[int, typer.Option(min=0, help="Number of the first run: `--runs 1 --run K` repeats run K.")] = 0,
    keep: Annotated[Path | None, typer.Option(help="Leave stores and transcript of failing runs here.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Kill, silence, disturb and deceive nodes over a simulated transport; exit code 1 if a sum is wrong or leaks."""
    from hansa.lab.chaos import BAD, run_chaos
    from hansa.lab.chaos_verdict import VERDICTS

    numbers = range(run, run + runs)
    with _quiet(), Progress(console=Console(stderr=True), disable=as_json) as progress:
        task = progress.add_task("runs", total=runs)
        figures = run_chaos(seed, numbers, keep=keep, progress=lambda _outcome: progress.advance(task))
    if as_json:
        sys.stdout.write(json.dumps(figures, indent=2) + "\n")
    else:
        table = Table(title=f"{runs} runs of seed {seed}: {figures['over']}")
        table.add_column("verdict")
        table.add_column("runs", justify="right")
        for verdict in VERDICTS:
            table.add_row(verdict.replace("_", " "), str(figures[verdict]))
        happened = figures["faults"]
        table.add_section()
        for kind, count in happened.items() if isinstance(happened, dict) else ():
            table.add_row(kind, str(count), style="dim")
        Console().print(table)
        failures, not_shown = figures["failures"], figures["not_shown"]
        for failure in failures if isinstance(failures, list) else ():
            sys.stdout.write(f"seed {failure['seed']}, run {failure['run']}: {'; '.join(failure['findings'])}\n")
        sys.stdout.write("".join(f"not shown: {line}\n" for line in (not_shown if isinstance(not_shown, list) else ())))
    if any(figures[verdict] for verdict in BAD):
        raise typer.Exit(1)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the log from telling refusals: they are what a run is for."""
    logger = logging.getLogger("hansa")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
