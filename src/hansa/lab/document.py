"""The document that `hansa demo` and `hansa run` print with `--json`; their tables and pictures are made of it."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, TypeAlias

from hansa.lab.assessment import ALL_ARMS, METRICS
from hansa.lab.collection import (
    budgets,
    bytes_by_member,
    choices,
    final_hash,
    index_series,
    protected_units,
    step_seconds,
    sums,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hansa.governance.constitution import Constitution
    from hansa.lab.alliance import Alliance
    from hansa.lab.assessment import Assessment
    from hansa.model.evaluation import Interval, Metric

Arms: TypeAlias = "dict[str, dict[str, Any]]"
"""By arm: `mape`, `rmse`, `mape_interval`, `rmse_interval`."""


def document(
    alliance: Alliance, constitution: Constitution, assessment: Assessment, *, source: str, seconds: float
) -> dict[str, object]:
    """Return what is common to a demo and a run on real data.

    Args:
        alliance: The alliance, stopped.
        constitution: Its constitution.
        assessment: Errors by arm.
        source: What the data are, in words.
        seconds: Wall-clock time of the whole.
    """
    published = [row for row in sums(alliance) if row["state"] == "published"]
    return {
        "source": source,
        "members": list(alliance.members),
        "minimum_cohort": constitution.minimum_cohort,
        "colluders": constitution.colluders,
        "quorum": constitution.quorum,
        "baskets": {name: list(markets) for name, markets in constitution.market.baskets.items()},
        "cost": constitution.market.cost,
        "rounds": len(published),
        "seconds": round(seconds, 2),
        "errors": errors(assessment),
        "ratios": nested(ratios(assessment)),
        "per_member": {name: dict(found) for name, found in assessment.per_member.items()},
        "choices": choices(alliance),
        "lsi": index_series(alliance),
        "privacy": privacy(alliance, constitution),
        "bytes_per_member": bytes_by_member(alliance),
        "steps": step_seconds(alliance),
        "sums": sums(alliance),
        "aggregate_sha256": final_hash(alliance),
        "constitution_sha256": constitution.digest(),
        "folder": str(alliance.directory),
    }


def as_json(result: Mapping[str, object], *, indent: int | None = None) -> str:
    """Return a document as JSON that every parser reads: what is not a finite number is null.

    Args:
        result: The document.
        indent: Spaces a level; none for one line.

    >>> as_json({"lead": float("nan")})
    '{"lead": null}'
    """
    return json.dumps(_finite(result), indent=indent, allow_nan=False)


def errors(assessment: Assessment) -> Arms:
    """Return errors by arm: `mape`, `rmse` and the ends of their 90 % intervals."""
    return {arm: _with_intervals(assessment.errors[arm]) for arm in ALL_ARMS}


def ratios(assessment: Assessment) -> Arms:
    """Return ratios to `local` by arm, in the form of `errors`."""
    return {arm: _with_intervals(assessment.ratios[arm]) for arm in ALL_ARMS}


def nested(found: Arms) -> dict[str, dict[str, dict[str, float]]]:
    """Return numbers by arm in the document's form of ratios: `{metric: {estimate, low, high}}`."""
    return {
        arm: {
            metric: dict(zip(("estimate", "low", "high"), (row[metric], *row[f"{metric}_interval"]), strict=True))
            for metric in METRICS
        }
        for arm, row in found.items()
    }


def _with_intervals(found: Mapping[Metric, Interval]) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for metric in METRICS:
        row[metric] = found[metric].estimate
        row[f"{metric}_interval"] = [found[metric].low, found[metric].high]
    return row


def privacy(alliance: Alliance, constitution: Constitution) -> list[dict[str, object]]:
    """Return what each purpose has cost, and the unit that the members' data really let them protect."""
    purposes: Mapping[str, object] = constitution.purposes
    real = protected_units(alliance)
    return [
        {
            **row,
            "unit": real.get(str(row["purpose"]), constitution.purposes[str(row["purpose"])].unit),
            "constitution_unit": constitution.purposes[str(row["purpose"])].unit,
            "period": constitution.purposes[str(row["purpose"])].period,
            "noise_multiplier": constitution.purposes[str(row["purpose"])].noise_multiplier,
        }
        for row in budgets(alliance)
        if row["purpose"] in purposes
    ]


def _finite(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return value
