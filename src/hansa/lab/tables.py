"""A demo's or run's document as tables on a terminal."""

from __future__ import annotations

import math
import statistics
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from hansa.lab.assessment import ALL_ARMS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import Console

TITLES = {
    "persistence": "persistence",
    "local": "local",
    "federated_weights": "weights only",
    "federated_state": "with state",
    "personal_head": "with own head",
    "local_public": "local + public",
    "centralised": "centralised",
}
SHORT_TITLES = {
    "persistence": "persist.",
    "local": "local",
    "federated_weights": "weights",
    "federated_state": "state",
    "personal_head": "own head",
    "local_public": "public",
    "centralised": "central.",
}


def show(console: Console, result: Mapping[str, Any]) -> None:
    """Print a document."""
    console.print(
        f"\n[bold]{len(result['members'])} brokers, {result['rounds']} secure sums over real processes[/bold] "
        f"({escape(result['source'])}); cohort at least {result['minimum_cohort']}, "
        f"up to {result['colluders']} colluding with the coordinator, quorum {result['quorum']}"
    )
    console.print(f"Forecast: {escape(result['outcome'])}.")
    console.print(_errors(result))
    console.print()
    console.print(_members(result))
    console.print()
    _seeds(console, result)
    if result["source"] == "simulated market":
        console.print()
        console.print(_alerts(result))
    elif result["alerts"]:
        console.print(
            "Alerts (UTC): " + ", ".join(f"{escape(row['basket'])} {_when(row['ts_ns'])}" for row in result["alerts"])
        )
    console.print()
    console.print(_budgets(result))
    console.print()
    sent = statistics.mean(result["bytes_per_member"].values())
    steps = ", ".join(f"{name} {seconds * 1e3:.0f} ms" for name, seconds in result["steps"].items())
    console.print(f"Sent by a member: {sent / 1e6:.2f} MB. Median sum: {steps}. All in all {result['seconds']:.0f} s.")
    tokens = [row for row in result.get("identity_keys", {}).values() if row["store"] == "pkcs11"]
    if tokens:
        console.print(f"Identity keys of {len(tokens)} brokers: P-256, each in a SoftHSM token that it cannot leave.")
    if "restarts" in result:
        same = "the same sums, byte for byte" if result["is_same_aggregate"] else "[red]DIFFERENT sums[/red]"
        console.print(f"Killed and started again: {result['restarts']} processes; {same}.")


def _errors(result: Mapping[str, Any]) -> Table:
    seeds = f" and {len(result['seeds']['seeds'])} seeds" if "seeds" in result else ""
    table = _table(f"Error of the next bar's cost, mean over members{seeds} [90 % interval]")
    for name in ("arm", "MAPE %", "RMSE, log units", "MAPE / local"):
        table.add_column(name, justify="left" if name == "arm" else "right", no_wrap=True)
    for arm in ALL_ARMS:
        row, ratio = result["errors"][arm], result["ratios"][arm]
        style = "bold" if arm == "federated_state" else ""
        table.add_row(
            TITLES[arm],
            _percent(row["mape"], row["mape_interval"]),
            f"{row['rmse']:.3f} [{row['rmse_interval'][0]:.3f} {row['rmse_interval'][1]:.3f}]",
            _ratio(ratio["mape"]),
            style=style,
        )
    return table


def _members(result: Mapping[str, Any]) -> Table:
    seed = ", first seed" if "seeds" in result else ""
    table = _table(f"MAPE % by member{seed}; gate: share of the network it lets in")
    table.add_column("member")
    for arm in ALL_ARMS:
        table.add_column(SHORT_TITLES[arm], justify="right", no_wrap=True)
    table.add_column("gate", justify="right")
    for name, arms in result["per_member"].items():
        gates = result["choices"][name]["gates"] or {}
        gate = statistics.mean(gates.values()) if gates else math.nan
        table.add_row(escape(name), *(f"{100 * arms[arm]['mape']:.1f}" for arm in ALL_ARMS), f"{gate:.2f}")
    return table


def _seeds(console: Console, result: Mapping[str, Any]) -> None:
    if "seeds" in result:
        seeds = result["seeds"]
        found = ", ".join(f"{ratio:.3f}" for ratio in seeds["mape_ratio"])
        console.print(
            f"MAPE, federated with state / local, {len(seeds['seeds'])} seeds: [bold]{seeds['mean']:.3f}[/bold] "
            f"[{seeds['interval'][0]:.3f}, {seeds['interval'][1]:.3f}] ({found}; the first over processes, "
            "the others added in memory; interval over such markets)"
        )
    if "view_noise" in result:
        noise = result["scenario"]["view_noise"]
        rows = ", ".join(f"x{row['factor']:g}: {row['mape_ratio']:.3f}" for row in result["view_noise"])
        console.print(
            f"How noisy a broker's view is decides the gain. Measured on real venues: {noise:.2f} times the state's "
            f"variance. The same ratio at other noise (2 seeds each): {rows}."
        )
    if "other_outcomes" in result:
        other = result["other_outcomes"]
        console.print(
            f"The same ratio where the members' common level error counts too: "
            f"{other['truth_at_its_own_level']['mape']:.3f}; against their own exact next state: "
            f"{other['members_exact_state']['mape']:.3f}."
        )


def _alerts(result: Mapping[str, Any]) -> Table:
    table = _table("Alerts after training against known onsets (lead below 0: after the onset)")
    for name in ("market", "rule", "hits", "lead, min", "false alarms/day", "by chance"):
        table.add_column(name)
    for market, rules in result["alerts"].items():
        for rule in ("lsi", "volatility"):
            one = rules[rule]
            if "reason" in one:
                table.add_row(escape(market), rule, escape(one["reason"]), "", "", "")
                continue
            leads = ", ".join(f"{lead:.0f}" for lead in one["lead_minutes"]) or "none"
            table.add_row(
                escape(market),
                rule.upper() if rule == "lsi" else "volatility",
                f"{one['hits']} of {one['hits'] + one['misses']}",
                leads,
                f"{one['false_alarms_per_day']:.2f}",
                f"{100 * one['chance_hit_rate']:.0f} %",
            )
    return table


def _budgets(result: Mapping[str, Any]) -> Table:
    table = _table("Privacy budget of each member, dearest period")
    for name in ("purpose", "unit", "period", "epsilon", "allowed", "delta"):
        table.add_column(name)
    for row in result["privacy"]:
        table.add_row(
            *(escape(row[name]) for name in ("purpose", "unit", "period")),
            *(f"{row['epsilon']:.2f}", f"{row['allowed']:g}", f"{row['delta']:g}"),
        )
    return table


def _table(title: str) -> Table:
    return Table(
        title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0)
    )


def _percent(value: float, ends: list[float]) -> str:
    return f"{100 * value:.1f} [{100 * ends[0]:.1f} {100 * ends[1]:.1f}]"


def _ratio(one: Mapping[str, float]) -> str:
    return f"{one['estimate']:.3f} [{one['low']:.3f} {one['high']:.3f}]"


def _when(ts_ns: int) -> str:
    return datetime.fromtimestamp(ts_ns // 1_000_000_000, tz=UTC).strftime("%d %b %H:%M")
