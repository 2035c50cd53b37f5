"""What a data set says: errors and ratios with intervals, tests, the confidence set, the default, the state's share.

Errors are means over series; intervals are 90 % block bootstraps that draw the same blocks for all series and arms.
The rule of the default: the shipped model (`federated_state` at epsilon 8), where it is in the 90 % model confidence
set of what a member can run; otherwise the simplest model that is in the set.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from hansa.model.comparison import gap_closure, mean_error, mean_ratio, member_errors
from hansa.model.confidence_set import confidence_set
from hansa.model.evaluation import diebold_mariano

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hansa.lab.benchmark.gather import Losses
    from hansa.model.evaluation import Interval, Metric

SHIPPED_ARM: Final = "federated_state|8"
#: What a member can run, the simplest first.
BY_SIMPLICITY: Final = (
    "last_value", "season_before", "slot_median", "har", "har_rolling", "dlinear", "ghar", "local", "lightgbm",
    "stid_mlp", "graph_network", "published_last|8", "federated_weights|8", "federated_personal|8", SHIPPED_ARM,
)  # fmt: skip
LEAST_BARS: Final = 30
SET_CONFIDENCE: Final = 0.9
PUBLIC: Final = ("local_public", "local_public_state")


def score(losses: Losses, *, draws: int = 1000) -> dict[str, Any]:
    """Return everything that is said about a data set, as JSON has it.

    Args:
        losses: Its losses, of `local` among others.
        draws: Bootstrap draws.
    """
    scored = _scored(losses)
    kept = {arm: _of(losses, arm, scored) for arm in losses.by_arm}
    days = losses.blocks
    central = kept["centralised"]
    deployable: dict[str, np.ndarray] = {arm: kept[arm]["rmse"] for arm in BY_SIMPLICITY if arm in kept}
    means = {arm: float(member_errors(one["rmse"], "rmse").mean()) for arm, one in kept.items()}
    every = {arm: one["rmse"] for arm, one in kept.items() if "|" not in arm or arm in BY_SIMPLICITY}
    chosen = _set(deployable, days, draws)
    return {
        "series": int(scored.sum()),
        "series_in_all": len(losses.members),
        "members": sorted({losses.members[place] for place in np.flatnonzero(scored)}),
        "bars": int(np.isfinite(kept["local"]["rmse"]).any(axis=0).sum()),
        "blocks": int(np.unique(days).size),
        "left_out": dict(losses.left_out),
        "errors": {
            arm: {metric: _said(mean_error(one[metric], days, metric=metric, draws=draws)) for metric in one}
            for arm, one in kept.items()
        },
        "ratios": {
            arm: {
                metric: _said(mean_ratio(one[metric], kept["local"][metric], days, metric=metric, draws=draws))
                for metric in one
            }
            for arm, one in kept.items()
        },
        "gap_closure": {
            arm: {
                metric: _said(
                    gap_closure(
                        one[metric],
                        kept["local"][metric],
                        central[metric],
                        days,
                        metric=metric,
                        draws=draws,
                    )
                )
                for metric in ("rmse", "mape")
            }
            for arm, one in kept.items()
            if arm.startswith("federated")
        },
        "per_member": {arm: _per_member(losses, scored, kept[arm], kept["local"]) for arm in kept},
        "diebold_mariano": {arm: _tests(losses, scored, kept[arm], kept["local"]) for arm in kept if arm != "local"},
        "confidence_set": chosen,
        "confidence_set_of_all": _set(every, days, draws),
        "default": default(chosen),
        "state_channel": state_share(means),
    }


def default(p_values: Mapping[str, float]) -> dict[str, Any]:
    """Return the default of a data set by the rule, and why."""
    members = [arm for arm in BY_SIMPLICITY if p_values.get(arm, 0.0) >= 1 - SET_CONFIDENCE]
    is_in = SHIPPED_ARM in members
    return {
        "model": SHIPPED_ARM if is_in else members[0],
        "is_shipped_model": is_in,
        "in_the_set": members,
        "reason": "the shipped model is in the 90 % confidence set"
        if is_in
        else "the shipped model is not in the 90 % confidence set; this is the simplest model that is",
    }


def state_share(errors: Mapping[str, float]) -> dict[str, float | None]:
    """Return what the state channel takes off the local error, and how much of it public data alone would.

    Args:
        errors: RMSE by arm.

    Returns:
        `gain`: 1 - E_state / E_local at the shipped budget; `public_gain`: likewise for the better of the two forecasts
        from public data; `public_share`: their quotient, None where the state channel gains nothing.
    """
    gain = 1 - errors[SHIPPED_ARM] / errors["local"]
    public = 1 - min(errors[arm] for arm in PUBLIC if arm in errors) / errors["local"]
    return {"gain": gain, "public_gain": public, "public_share": public / gain if gain > 0 else None}


def _scored(losses: Losses) -> np.ndarray:
    """Return which series have enough bars that every arm has forecast."""
    counts = np.min([np.isfinite(one["rmse"]).sum(axis=1) for one in losses.by_arm.values()], axis=0)
    return np.asarray(counts >= LEAST_BARS)


def _of(losses: Losses, arm: str, scored: np.ndarray) -> dict[Metric, np.ndarray]:
    """Return an arm's losses of the scored series on the bars that all arms have forecast."""
    is_there = np.all([np.isfinite(one["rmse"]) for one in losses.by_arm.values()], axis=0)
    return {metric: np.where(is_there, value, np.nan)[scored] for metric, value in losses.by_arm[arm].items()}


def _set(arms: Mapping[str, np.ndarray], blocks: np.ndarray, draws: int) -> dict[str, float]:
    """Return the p-values of the confidence set, on the mean over series of each bar's squared error."""
    first = next(iter(arms.values()))
    bars = np.isfinite(first).any(axis=0)
    means = {arm: np.nanmean(value[:, bars], axis=0) for arm, value in arms.items()}
    return confidence_set(means, blocks[bars], draws=draws)


def _per_member(
    losses: Losses, scored: np.ndarray, one: Mapping[Metric, np.ndarray], local: Mapping[Metric, np.ndarray]
) -> dict[str, dict[str, float]]:
    names = np.array(losses.members)[scored]
    found: dict[str, dict[str, float]] = {}
    for metric in ("rmse", "mape"):
        ratio = member_errors(one[metric], metric) / member_errors(local[metric], metric)
        for name in sorted(set(names.tolist())):
            found.setdefault(name, {})[metric] = float(ratio[names == name].mean())
    return found


def _tests(
    losses: Losses, scored: np.ndarray, one: Mapping[Metric, np.ndarray], local: Mapping[Metric, np.ndarray]
) -> dict[str, Any]:
    """Return Diebold-Mariano tests against the local forecast, series by series, on squared errors."""
    rows = []
    for place, series in enumerate(np.flatnonzero(scored)):
        bars = np.isfinite(one["rmse"][place])
        lags = max(1, int(4 * (bars.sum() / 100) ** (2 / 9)))
        test = diebold_mariano(one["rmse"][place][bars], local["rmse"][place][bars], lags=lags)
        name = f"{losses.members[series]}/{losses.markets[series]}"
        rows.append((name, test.statistic, test.p_value, int(bars.sum())))
    return {
        "of": len(rows),
        "better": sum(statistic < 0 for _, statistic, _, _ in rows),
        "significantly_better": sum(statistic < 0 and p < 0.05 for _, statistic, p, _ in rows),
        "significantly_worse": sum(statistic > 0 and p < 0.05 for _, statistic, p, _ in rows),
        "by_series": {name: {"statistic": statistic, "p_value": p, "bars": bars} for name, statistic, p, bars in rows},
    }


def _said(interval: Interval) -> dict[str, float | None]:
    values = {"estimate": interval.estimate, "low": interval.low, "high": interval.high}
    return {name: value if np.isfinite(value) else None for name, value in values.items()}
