"""`hansa benchmark liquidity`: what joining would bring, out of sample, beside the baselines that usually win."""

from __future__ import annotations

import json
import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from hansa.lab.benchmark.cell import Cell

LEAST_WIDTH: Final = 140
app = typer.Typer(no_args_is_help=True, help="Measure forecasts on real data and on a simulated market.")


class Backend(StrEnum):
    """Where cells run."""

    LOKY = "loky"
    DASK = "dask"
    RAY = "ray"


@app.callback()
def _benchmark() -> None:
    """Name the group."""


@app.command("liquidity")
def liquidity(
    *,
    data: Annotated[Path | None, typer.Option(help="Folder of the real data; without it the simulated market.")] = None,
    is_quick: Annotated[bool, typer.Option("--quick", help="One minute: fewer data sets, folds and seeds.")] = False,
    dataset: Annotated[list[str] | None, typer.Option(help="A data set; give it again for more. All without.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes; all cores without.")] = None,
    backend: Annotated[Backend, typer.Option(help="Processes of this machine, or a cluster.")] = Backend.LOKY,
    scheduler: Annotated[str | None, typer.Option(help="Address of a Dask scheduler; a local cluster without.")] = None,
    resume: Annotated[Path | None, typer.Option(help="Folder of checkpoints; finished cells are read from it.")] = None,
    page: Annotated[Path | None, typer.Option(help="Write the results page there.")] = None,
    card: Annotated[Path | None, typer.Option(help="Write the model card there.")] = None,
) -> None:
    """Run baselines, local, federated and centralised forecasts; print errors, tests, defaults, targets."""
    from hansa.lab.benchmark.card import model_card
    from hansa.lab.benchmark.page import results_page
    from hansa.lab.benchmark.run import Settings, benchmark

    settings = Settings(
        data=data,
        is_quick=is_quick,
        only=tuple(dataset or ()),
        jobs=jobs or os.cpu_count() or 1,
        backend=backend.value,
        scheduler=scheduler,
        store=resume,
    )
    found = benchmark(settings, show=_show)
    sys.stderr.write("\n" if sys.stderr.isatty() else "")
    for path, text in ((page, results_page), (card, model_card)):
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text(found), encoding="utf-8")
    if as_json:
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
        return
    _print(found)


def _show(done: int, total: int, cell: Cell, is_resumed: bool) -> None:
    what = f"{cell.dataset} fold {cell.fold + 1}/{cell.folds} seed {cell.seed} {cell.kind} {cell.name}".rstrip()
    line = f"{done}/{total} {'read' if is_resumed else 'done'}: {what}"
    sys.stderr.write(f"\r\x1b[K{line}" if sys.stderr.isatty() else f"{line}\n")
    sys.stderr.flush()


def _print(found: dict[str, Any]) -> None:
    console = Console()
    console.width = max(console.width, LEAST_WIDTH)
    for name, one in found["datasets"].items():
        title = f"{name}: {one['series']} series, {len(one['members'])} members, {one['bars']} bars scored"
        table = Table(title=title)
        for column in ("arm", "RMSE", "ratio to local", "MAPE", "QLIKE", "DM better / of", "in 90 % set"):
            table.add_column(column, justify="left" if column == "arm" else "right")
        for arm in sorted(one["errors"], key=lambda arm: float(one["errors"][arm]["rmse"]["estimate"])):
            errors, ratio = one["errors"][arm], one["ratios"][arm]["rmse"]
            tests = one["diebold_mariano"].get(arm)
            p_value = one["confidence_set"].get(arm)
            table.add_row(
                arm,
                f"{errors['rmse']['estimate']:.4f}",
                f"{ratio['estimate']:.3f} ({ratio['low']:.3f}-{ratio['high']:.3f})",
                f"{errors['mape']['estimate']:.3f}",
                f"{errors['qlike']['estimate']:.3f}",
                "" if tests is None else f"{tests['significantly_better']} / {tests['of']}",
                "" if p_value is None else "yes" if p_value >= 0.1 else "no",
            )
        console.print(table)
        share = one["state_channel"]
        part = "-" if share["public_share"] is None else f"{share['public_share']:.0%}"
        console.print(
            f"state channel: RMSE {share['gain']:+.1%} of local; public data alone {share['public_gain']:+.1%} "
            f"({part} of it)"
        )
        band = one["coverage"]
        if band is not None:
            console.print(
                f"outcomes in the 5 to 95 % band: {band['calibrated']:.1%} of {band['forecasts']:,} "
                f"(before calibration {band['own']:.1%})"
            )
        console.print(f"default: {one['default']['model']} ({one['default']['reason']})\n")
    table = Table(title="targets")
    for column in ("data set", "target", "wanted", "found", ""):
        table.add_column(column)
    for row in found["targets"]:
        table.add_row(row["dataset"], row["target"], row["wanted"], row["found"], row["verdict"])
    console.print(table)
    for name in found["missing"]:
        console.print(f"not there: {name}; give --data DIR")
    for name in found["not_installed"]:
        console.print(f"not installed: {name}; pip install hansa\\[benchmark]")
