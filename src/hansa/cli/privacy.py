"""`hansa privacy`: what of each budget is spent and when it runs out; what another noise would cost."""

from __future__ import annotations

import json
import math
import sys
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from hansa.errors import ConfigurationError, HansaError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hansa.federation.budgets import PurposeBudget
    from hansa.federation.noise_plan import Plan
    from hansa.federation.renoising import ErrorCost
    from hansa.governance.constitution import Constitution

app = typer.Typer(no_args_is_help=True, help="Privacy budgets: what is spent, and what another noise would cost.")
FACTORS: Final = (0.5, 1.0, 2.0)
SHOWN_PERIODS: Final = 3
NS: Final = 1_000_000_000
BOTH_SENTENCES: Final = (
    "A member's own bars are protected by the secure sum: nothing below {minimum_cohort} of {members} members is "
    "opened. People are protected by the noise: epsilon says how much one unit can change what is opened."
)


@app.command("show")
def show_(
    directory: Annotated[Path, typer.Argument(help="A node's kit folder.")],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what is spent of each privacy budget, for which unit, what is left and when it runs out."""
    found = shown(directory, now_ns=time.time_ns())
    if as_json:
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
        return
    _print_shown(found)


@app.command("plan")
def plan_(
    source: Annotated[Path, typer.Argument(help="A constitution.json, or a node's kit folder.")],
    purpose: Annotated[str, typer.Option(help="One purpose of the constitution; else all.")] = "",
    sigma_factor: Annotated[str, typer.Option(help="Multiples of today's noise, such as 0.5,1,2.")] = "",
    epsilon: Annotated[str, typer.Option(help="Instead: epsilons of a period, such as 1,4,8.")] = "",
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what a change of the noise would cost: noise on a value, epsilon, and the error of this node's forecasts."""
    if sigma_factor and epsilon:
        raise ConfigurationError("give --sigma-factor or --epsilon, not both")
    found = planned(
        source,
        purpose=purpose,
        factors=_numbers(sigma_factor, "--sigma-factor") or (() if epsilon else FACTORS),
        epsilons=_numbers(epsilon, "--epsilon"),
    )
    if as_json:
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
        return
    _print_planned(found)


def shown(directory: Path, *, now_ns: int) -> dict[str, object]:
    """Return a node's budgets, ready for JSON.

    Args:
        directory: The node's kit folder.
        now_ns: The time, ns UTC.

    Raises:
        ConfigurationError: There is no constitution in the folder, or it is wrong.
        StoreError: The node's ledger or records cannot be read.
    """
    from hansa.federation.budgets import purpose_budgets
    from hansa.federation.store import read_ledger

    constitution = _constitution(directory / "constitution.json")
    ledger = read_ledger(directory / "node" / "facts.sqlite")
    protected = protected_units(directory)
    return {
        "node": directory.resolve().name,
        "federation": constitution.federation,
        "minimum_cohort": constitution.minimum_cohort,
        "members": len(constitution.members),
        "influence_cap": constitution.market.influence_cap,
        "baskets": len(constitution.market.baskets),
        "purposes": [_purpose_document(row, protected) for row in purpose_budgets(constitution, ledger, now_ns=now_ns)],
        "sentences": _sentences(constitution),
    }


def planned(source: Path, *, purpose: str, factors: Sequence[float], epsilons: Sequence[float]) -> dict[str, object]:
    """Return plans of a constitution's purposes, ready for JSON.

    Args:
        source: A constitution, or a node's folder.
        purpose: One purpose, or an empty text for all.
        factors: Multiples of today's noise.
        epsilons: Budgets of a period.

    Raises:
        ConfigurationError: The constitution or the purpose is not there, or a noise cannot be sampled.
    """
    from hansa.federation.noise_plan import plan_epsilon, plan_factor

    path = source / "constitution.json" if source.is_dir() else source
    constitution = _constitution(path)
    names = [purpose] if purpose else list(constitution.purposes)
    plans = [
        plan
        for name in names
        for plan in (
            *(plan_factor(constitution, name, factor) for factor in factors),
            *(plan_epsilon(constitution, name, wanted) for wanted in epsilons),
        )
    ]
    costs, unknown = _error_costs(source, constitution, [plan for plan in plans if plan.purpose == "state"])
    return {
        "federation": constitution.federation,
        "purposes": {name: constitution.purposes[name].unit for name in names},
        "plans": [_plan_document(plan, costs, unknown) for plan in plans],
        "sentences": _sentences(constitution),
    }


def protected_units(directory: Path) -> dict[str, str]:
    """Return by purpose the unit that this node's data really let it protect, as its records say."""
    from hansa.federation.records import Records

    path = directory / "node" / "records.sqlite"
    if not path.is_file():
        return {}
    records = Records(path, read_only=True)
    try:
        rows = records.rows("SELECT name, value FROM fact WHERE name LIKE 'unit/%'")
        return {str(row["name"]).removeprefix("unit/"): str(json.loads(str(row["value"]))) for row in rows}
    finally:
        records.close()


def _constitution(path: Path) -> Constitution:
    from hansa.governance.signed import read

    return read(path).constitution


def _sentences(constitution: Constitution) -> str:
    return BOTH_SENTENCES.format(minimum_cohort=constitution.minimum_cohort, members=len(constitution.members))


def _purpose_document(row: PurposeBudget, protected: dict[str, str]) -> dict[str, object]:
    document = asdict(row)
    document["protected_unit"] = protected.get(row.purpose, "not known: this node has not given this statistic yet")
    document["periods"] = [
        {**asdict(period), "runs_out": None if period.runs_out_ns is None else _when(period.runs_out_ns)}
        for period in row.periods
    ]
    return document


def _plan_document(plan: Plan, costs: dict[float, ErrorCost], unknown: str) -> dict[str, object]:
    document: dict[str, object] = {name: None if value == math.inf else value for name, value in asdict(plan).items()}
    cost = costs.get(plan.factor) if plan.purpose == "state" else None
    document["error"] = None if cost is None else asdict(cost)
    if cost is None:
        document["error_unknown"] = (
            "only the state channel's error can be measured from a node's published state"
            if plan.purpose != "state"
            else unknown or "noise cannot be taken off a published state, so less noise has no figure"
        )
    return document


def _error_costs(source: Path, constitution: Constitution, plans: Sequence[Plan]) -> tuple[dict[float, ErrorCost], str]:
    """Return the measured error by factor, or why it is not known."""
    factors = sorted({plan.factor for plan in plans if plan.factor >= 1})
    if not source.is_dir():
        return {}, "a constitution has no data; give a member's kit folder"
    if not factors:
        return {}, ""
    from hansa.federation.budgets import value_deviation
    from hansa.federation.records import Records
    from hansa.federation.renoising import error_costs, read_channel
    from hansa.federation.rules import limits_of
    from hansa.federation.views import load_views

    limits = limits_of(constitution)
    try:
        records = Records(source / "node" / "records.sqlite", read_only=True)
        try:
            weights = records.get("state_weights")
        finally:
            records.close()
        deviation = value_deviation(limits.purposes["state"], limits)
        channel = read_channel(source / "node" / "forecasts.npz", weights, deviation)
        views = load_views(_bars(source), constitution.market)
        found = error_costs(channel, views, constitution.market, factors)
    except HansaError as error:
        return {}, f"the error is not known from this node: {error}"
    return {cost.factor: cost for cost in found}, ""


def _bars(directory: Path) -> Path:
    from hansa.identity.configuration import NodeConfiguration

    settings = directory / "hansa.toml"
    named = NodeConfiguration.from_toml(settings.read_text()).data.directory if settings.is_file() else ""
    return directory / (named or "bars")


def _numbers(text: str, option: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise ConfigurationError(f"{option}: expected numbers such as 0.5,1,2; got {text!r}") from error


def _when(time_ns: int) -> str:
    return datetime.fromtimestamp(time_ns // NS, tz=UTC).strftime("%Y-%m-%dT%H:%MZ")


def _print_shown(found: dict[str, object]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=f"privacy budgets of {escape(str(found['node']))}", title_justify="left")
    for name in ("purpose", "period", "epsilon spent", "allowed", "delta", "rho (zCDP)", "left", "runs out"):
        table.add_column(name, justify="left" if name in {"purpose", "period", "runs out"} else "right")
    rows = _documents(found["purposes"])
    for row in rows:
        for period in _documents(row["periods"])[-SHOWN_PERIODS:]:
            table.add_row(
                escape(str(row["purpose"])),
                str(period["period"]),
                f"{period['epsilon']:.3f}",
                f"{row['allowed']:g}",
                f"{row['delta']:g}",
                f"{period['rho']:.4g}",
                f"{period['left']:,}",
                str(period["runs_out"] or "not within the period"),
            )
    table.caption = f"the newest {SHOWN_PERIODS} periods; left: further releases that fit; all in --json"
    console = Console()
    console.print(table)
    for row in rows:
        console.print(_unit_sentence(row), soft_wrap=True, markup=False)
    console.print(_rho_sentence(found), str(found["sentences"]), sep="\n", soft_wrap=True, markup=False)


def _unit_sentence(row: dict[str, object]) -> str:
    unit, protected = str(row["unit"]), str(row["protected_unit"])
    sentence = f"{row['purpose']}: epsilon {row['allowed']:g} a {row['kind']}; unit: {unit}"
    rounds = row["block_rounds"]
    if isinstance(rounds, dict):
        most = min(rounds["by_schedule"], rounds["paid"])
        sentence += (
            f"; a day takes part in at most {most} rounds ({rounds['by_schedule']} by the schedule, "
            f"{rounds['paid']} paid for over the {rounds['years']} years that can look back to it)"
        )
    return sentence if protected == unit else f"{sentence}; what is protected here: {protected}"


def _rho_sentence(found: dict[str, object]) -> str:
    """Say what a whole day of the state channel costs a client, in zCDP."""
    dearest = [
        max(_documents(row["periods"]), key=lambda period: float(str(period["rho"])))
        for row in _documents(found["purposes"])
        if row["kind"] == "day"
    ]
    baskets = int(str(found["baskets"]))
    return "\n".join(
        f"dearest day {day['period']}: rho {day['rho']:.4g} a (client, basket, day) is epsilon "
        f"{day['rho_epsilon']:.3f} by zCDP, {day['epsilon']:.3f} exactly; "
        f"of a client in all {baskets} baskets rho is {baskets * day['rho']:.4g}"
        for day in dearest
    )


def _print_planned(found: dict[str, object]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=f"noise of {escape(str(found['federation']))}: what a change would cost", title_justify="left")
    names = ("purpose", "factor", "multiplier", "sd of a value", "releases", "epsilon", "whole schedule", "error")
    for name in names:
        table.add_column(name, justify="left" if name == "purpose" else "right")
    plans = _documents(found["plans"])
    for plan in plans:
        cost = plan["error"]
        table.add_row(
            escape(str(plan["purpose"])),
            f"{plan['factor']:.3g}",
            f"{plan['noise_multiplier']:.4g}",
            f"{plan['deviation']:.3g}",
            f"{plan['releases']:,}",
            _epsilon(plan["epsilon"]),
            _epsilon(plan["schedule_epsilon"]),
            f"{cost['increase']:+.1%}" if isinstance(cost, dict) else "not known",
        )
    table.caption = (
        "sd: noise on one value of a sum of all members, in the statistic's unit; releases: of a period, as paid for "
        "today; error: RMSE of this node's own fit, against today's noise"
    )
    console = Console()
    console.print(table)
    said = [f"{plan['purpose']} x {plan['factor']:.3g}: {plan['refusal']}" for plan in plans if plan["refusal"]]
    said += sorted({f"{plan['purpose']}: {plan['error_unknown']}" for plan in plans if "error_unknown" in plan})
    for line in (*said, str(found["sentences"])):
        console.print(line, soft_wrap=True, markup=False)


def _epsilon(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else "no bound"


def _documents(rows: object) -> list[dict[str, Any]]:
    return rows if isinstance(rows, list) else []
