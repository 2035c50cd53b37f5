"""The model card, in the shape of the US guidance on model risk (SR 26-2, formerly SR 11-7), filled by the benchmark.

Roles stand where owners' names belong: the institution that uses the model fills them in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from hansa.lab.benchmark.page import COMMAND, table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


MONITORING: Final = """\
* Each round: the error of the newest bars beside `local` on the member's own outcomes; alarm where the ratio stays
  above 1 for a month.
* Coverage of the quantiles against their level; the gate and the pull; the budgets left.
* After a change of members, measures, caps or bar length: this benchmark again, before use.
"""


def model_card(found: Mapping[str, Any]) -> str:
    """Return the card in Markdown.

    Args:
        found: The benchmark's document.
    """
    return "\n".join(_lines(found)) + "\n"


def _lines(found: Mapping[str, Any]) -> Iterator[str]:
    quick = " --quick" if found["is_quick"] else ""
    yield "# Model card\n"
    yield f"Written by `{COMMAND}{quick} --data DIR --card PATH`, in the order of SR 26-2 (formerly SR 11-7).\n"
    yield "## Purpose and use\n"
    yield (
        "Forecasts the log liquidity cost of a basket's next bar at one member of a federation, with "
        "quantiles, and a stress "
        "index of published values. For monitoring, sizing and timing by people. Not for automatic orders, not "
        "for capital "
        "or margin, not a probability of crisis.\n"
    )
    yield "## Data\n"
    rows = [
        [name, str(len(one["members"])), f"{one['series']} of {one['series_in_all']}", str(one["bars"]),
         ", ".join(f"{count} {reason}" for reason, count in one["left_out"].items()) or "none"]
        for name, one in found["datasets"].items()
    ]  # fmt: skip
    yield from table(["tested on", "members", "series scored", "bars", "rows left out"], rows)
    yield (
        "Members use bars of their own flow or venue. A missing bar is absent; a bar locked at its limit has "
        "no range and is "
        "stress, not calm. Bars without trades bound no client: their budgets say so.\n"
    )
    yield "## Design\n"
    yield (
        "A ridge regression on trailing means of own measures, of the published state, of neighbours' "
        "published costs and on "
        "the time of day, learned from one secure sum of clipped Gram matrices; each member's weights are "
        "moved towards its "
        "own rows as far as its later rows say. A small residual network adds quantiles and is let in only "
        "where it clearly "
        "helps. See [Models](../explanation/models.md).\n"
    )
    yield "## Assumptions\n"
    yield "\n".join(
        [
            "* Weights mean the same at every member once its columns are scaled by its own rows.",
            "* Liquidity hangs together over markets and venues; where all venues see the same, the state adds little.",
            "* Training rows resemble what comes; between rounds the core does not change.",
            f"* Privacy: delta {found['delta']:g}; unit of each budget as in [Results](../explanation/results.md).",
            "* Members tell the truth about their data; bounds limit what a liar can move, and do not prevent it.",
        ]
    )
    yield "\n## Limits\n"
    missed = [row for row in found["targets"] if row["verdict"] == "MISSED"]
    for row in missed:
        yield f"* Missed: {row['dataset']}, {row['target']}: wanted {row['wanted']}, found {row['found']}."
    for name, one in found["datasets"].items():
        share = one["state_channel"]
        if share["gain"] <= 0:
            yield f"* On {name} the state channel gains nothing over the local forecast ({share['gain']:.1%})."
        elif share["public_share"] is not None and share["public_share"] > 0.9:
            yield f"* On {name} public data alone would give {share['public_share']:.0%} of the state channel's gain."
        if not one["default"]["is_shipped_model"]:
            yield f"* On {name} the shipped model is not the default; `{one['default']['model']}` is."
    yield "* One horizon is tested here: the next bar. The residual network is left out of these tests.\n"
    yield "## Testing\n"
    yield (
        "Purged walk-forward with an embargo, block-bootstrap intervals, Diebold-Mariano tests, a model "
        "confidence set, "
        "against persistence, seasonal, HAR, ridge, boosted trees and networks. Full tables: "
        "[Results](../explanation/results.md).\n"
    )
    rows = [
        [
            name,
            f"{one['ratios'][found['shipped']]['rmse']['estimate']:.3f}",
            f"{one['ratios'][found['shipped']]['mape']['estimate']:.3f}",
            "" if one["coverage"] is None else f"{one['coverage']['calibrated']:.1%}",
            f"`{one['default']['model']}`",
        ]
        for name, one in found["datasets"].items()
    ]
    header = ["data set", "shipped / local, RMSE", "shipped / local, MAPE", "in the 90 % band", "default there"]
    yield from table(header, rows)
    verdicts = [row["verdict"] for row in found["targets"]]
    yield f"Targets: {verdicts.count('MET')} met, {verdicts.count('MISSED')} missed.\n"
    yield "## Monitoring\n"
    yield MONITORING
    yield "## Ownership\n"
    roles = [
        ["model owner", "head of the desk that uses the forecast"],
        ["developer", "federation's modelling group"],
        ["independent validation", "member's model-risk function"],
        ["approval", "member's model-risk committee"],
        ["data owner", "member's market-data function"],
        ["operation", "coordinator and each member's IT"],
    ]
    yield from table(["role", "held by"], roles)
