"""`hansa demo` and `hansa run`: a whole alliance of real processes on this machine."""

from __future__ import annotations

import shutil
import sys
import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hansa.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

RUNS = Path("hansa-runs")


class MemberBy(StrEnum):
    """What makes a member of a run."""

    SERIES = "series"
    VENUE = "venue"


def demo(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON; progress goes to standard error.")] = False,
    chaos: Annotated[
        bool, typer.Option("--chaos", help="Run again with kills; compare the sums byte for byte.")
    ] = False,
    hsm: Annotated[
        bool, typer.Option("--hsm", help="Each member's identity key in a SoftHSM token (Debian: softhsm2).")
    ] = False,
    seed: Annotated[int, typer.Option(help="First seed of the simulated market.")] = 1,
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds; all but the first in memory.")] = 5,
    members: Annotated[int, typer.Option(min=3, max=10, help="Brokers.")] = 5,
    out: Annotated[Path | None, typer.Option(help="New folder for the alliance and the report.")] = None,
) -> None:
    """Watch five brokers forecast liquidity together on a simulated market."""
    from hansa.lab.conduct import progress_bars
    from hansa.lab.demo import demo as conduct_demo

    folder = _new_folder(out, "demo")
    with progress_bars() as progress:
        wanted = [seed + place for place in range(1 if chaos else seeds)]
        result = conduct_demo(folder, seeds=wanted, members=members, is_faulty=chaos, progress=progress, is_hsm=hsm)
    _deliver(result, folder, as_json=as_json)


def run(
    data: Annotated[Path, typer.Option(help="Folder of <venue>_<market> files.")],
    markets: Annotated[str, typer.Option(help="Markets, with commas: USDC-USD,USDT-USD.")],
    *,
    member_by: Annotated[MemberBy, typer.Option(help="What makes a member.")] = MemberBy.SERIES,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON; progress goes to standard error.")] = False,
    out: Annotated[Path | None, typer.Option(help="New folder for the alliance and the report.")] = None,
) -> None:
    """Run a federation over real files on this machine, one series or venue a member."""
    from hansa.lab.conduct import progress_bars
    from hansa.lab.venues import run as conduct_run

    folder = _new_folder(out, "run")
    wanted = [market.strip() for market in markets.split(",") if market.strip()]
    with progress_bars() as progress:
        result = conduct_run(folder, data, wanted, member_by=member_by.value, progress=progress)
    _deliver(result, folder, as_json=as_json)


def _new_folder(out: Path | None, kind: str) -> Path:
    folder = (out or RUNS / f"{kind}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}").resolve()
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise ConfigurationError(f"{folder} holds something already; name a new folder with --out")
    if shutil.disk_usage(folder.parent if folder.parent.exists() else Path.cwd()).free < 500_000_000:
        raise ConfigurationError("less than 500 MB of disk is free here; name a folder elsewhere with --out")
    return folder  # made by what is written into it first: a refusal leaves nothing behind


def _deliver(result: Mapping[str, object], folder: Path, *, as_json: bool) -> None:
    from rich.console import Console

    from hansa.lab.document import as_json as strict_json
    from hansa.lab.report import write_report
    from hansa.lab.tables import show

    (folder / "result.json").write_text(strict_json(result, indent=1) + "\n")
    write_report(folder / "report.html", result)
    if as_json:
        sys.stdout.write(strict_json(result) + "\n")
        return
    console = Console()
    show(console, result)
    console.print(
        f"\nLook further:\n  pictures    {folder / 'report.html'}\n  numbers     {folder / 'result.json'}\n"
        f"  every node  hansa status {folder / 'alliance'}",
        highlight=False,
        soft_wrap=True,
    )
