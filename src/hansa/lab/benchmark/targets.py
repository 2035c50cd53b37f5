"""The benchmark's acceptance: what was aimed at, what came out, met or missed. Misses are documented, not hidden."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from hansa.lab.benchmark.scores import SHIPPED_ARM

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CUTS: Final = (0.25, 0.30, 0.37)
STATE: Final = "federated_state"
CUT_KEYS: Final = ("cut", "cut_without_noise")

#: What each budget is called, and the least gap closure wanted. "Epsilon 4 a year" is read as the yearly budget.
GAPS: Final[Mapping[str, tuple[str, float | None]]] = {
    "none": ("no noise", 0.92),
    "4 a year": ("yearly budget at epsilon 4 (state channel at 8 a client-day)", 0.8),
    "4": ("yearly budget and state channel both at epsilon 4", None),
}


def targets(
    scores: Mapping[str, Any], newcomer: Mapping[str, Any] | None, sweep: Sequence[Any]
) -> list[dict[str, Any]]:
    """Return every target whose data sets were run: what, wanted, found, whether it is met.

    Args:
        scores: By data set, from `scores.score`.
        newcomer: Of the newcomers, or None.
        sweep: Rows of the sweep of view noise: `factor` and `cut`.
    """
    found: list[dict[str, Any]] = []
    if "simulated" in scores:
        found += _simulated(scores["simulated"], sweep)
    for name in ("stablecoins", "stablecoin_venues"):
        if name in scores:
            found += _venues(name, scores[name])
    if "china_futures" in scores:
        found += _futures(scores["china_futures"], newcomer)
    for name, one in scores.items():
        chosen = one["default"]
        arm = chosen["model"]
        said = f"{arm}, RMSE ratio {one['ratios'][arm]['rmse']['estimate']:.3f}"
        is_in = arm in chosen["in_the_set"]
        found.append(_row(name, "the default is in the 90 % confidence set", "yes", said, is_met=is_in))
    for name, one in scores.items():
        band = one.get("coverage")
        if band is not None:
            said = f"{band['calibrated']:.1%} of {band['forecasts']:,}"
            what = "outcomes in the 5 to 95 % band, out of sample"
            found.append(_row(name, what, "90 +- 2 %", said, is_met=band["is_met"]))
    return found


def noise_of_cuts(sweep: Sequence[Mapping[str, float]], key: str = CUT_KEYS[0]) -> dict[str, float | None]:
    """Return the smallest view noise, as a multiple of the calibrated one, at which the cut is 25, 30 and 37 %.

    Log-linear between the rows of the sweep; None where the cut is not reached, or lies beyond the sweep.

    Args:
        sweep: Rows with `factor` and cuts.
        key: Which cut, of `CUT_KEYS`.
    """
    rows = sorted((row for row in sweep if key in row), key=lambda row: row["factor"])
    factors, cuts = np.log([row["factor"] for row in rows]), np.array([row[key] for row in rows])
    found: dict[str, float | None] = {}
    for cut in CUTS:
        at = [
            float(np.exp(factors[place] + (cut - cuts[place]) / (cuts[place + 1] - cuts[place]) * step))
            for place, step in enumerate(np.diff(factors))
            if min(cuts[place], cuts[place + 1]) <= cut <= max(cuts[place], cuts[place + 1])
            and cuts[place] != cuts[place + 1]
        ]
        found[f"{cut:.2f}"] = at[0] if at else None
    return found


def _simulated(one: Mapping[str, Any], sweep: Sequence[Mapping[str, float]]) -> list[dict[str, Any]]:
    name = "simulated"
    ratio = one["ratios"][SHIPPED_ARM]["mape"]
    cut, low, high = 1 - ratio["estimate"], 1 - ratio["high"], 1 - ratio["low"]
    rows = [
        _row(
            name,
            "cut of MAPE against local, epsilon 8",
            ">= 30 %",
            f"{cut:.1%} ({low:.1%} to {high:.1%})",
            is_met=cut >= 0.3,
        ),
        _row(name, "lower bound of that interval", "> 25 %", f"{low:.1%}", is_met=low > 0.25),
    ]
    for budget, (meant, least) in GAPS.items():
        for metric in ("mape", "rmse"):
            closed = one["gap_closure"].get(f"{STATE}|{budget}", {}).get(metric, {}).get("estimate")
            if closed is not None:
                wanted = "printed" if least is None else f">= {least:.2f}"
                is_met = None if least is None else closed >= least
                rows.append(
                    _row(name, f"gap closure in {metric.upper()}, {meant}", wanted, f"{closed:.3f}", is_met=is_met)
                )
    for key, budget in zip(CUT_KEYS, ("epsilon 8", "no noise"), strict=True):
        if any(key in row for row in sweep):
            said = [
                f"{float(cut):.0%} {'nowhere in the sweep' if factor is None else f'at {factor:.2f} times'}"
                for cut, factor in noise_of_cuts(sweep, key).items()
            ]
            what = f"view noise (times the calibrated) at a cut of 25, 30, 37 %, {budget}"
            rows.append(_row(name, what, "printed", "; ".join(said)))
    return rows


def _venues(name: str, one: Mapping[str, Any]) -> list[dict[str, Any]]:
    ratios = one["ratios"]
    rmse, mape = (ratios[SHIPPED_ARM][metric]["estimate"] for metric in ("rmse", "mape"))
    members = {member: row["rmse"] for member, row in one["per_member"][SHIPPED_ARM].items()}
    said = ", ".join(f"{member} {ratio:.3f}" for member, ratio in members.items())
    rows = [
        _row(
            name, "mean RMSE ratio federated / local, epsilon 8", "<= 0.75", f"{rmse:.3f}{_bound(ratios, 'rmse')}",
            is_met=rmse <= 0.75,
        ),
        _row(
            name, "mean MAPE ratio federated / local, epsilon 8", "<= 0.70", f"{mape:.3f}{_bound(ratios, 'mape')}",
            is_met=mape <= 0.7,
        ),
        _row(name, "RMSE ratio of each member", "< 1", said, is_met=max(members.values()) < 1),
    ]  # fmt: skip
    for base in ("none", "8"):
        strict, loose = ratios.get(f"{STATE}|4 a client-day"), ratios.get(f"{STATE}|{base}")
        if strict is not None and loose is not None:
            more = strict["rmse"]["estimate"] - loose["rmse"]["estimate"]
            what = f"RMSE ratio more at epsilon 4 a client-day than {'without noise' if base == 'none' else 'at 8'}"
            rows.append(_row(name, what, "<= +0.03", f"{more:+.3f}", is_met=more <= 0.03))
    return rows


def _futures(one: Mapping[str, Any], newcomer: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    name = "china_futures"
    rows = []
    for budget in ("none", "8"):
        arm = f"federated_personal|{budget}"
        tests = one["diebold_mariano"].get(arm)
        if tests is None:
            continue
        better, sure = tests["better"] / tests["of"], tests["significantly_better"] / tests["of"]
        at = "no noise" if budget == "none" else f"epsilon {budget}"
        counted = f"{sure:.0%} ({tests['significantly_better']} of {tests['of']}){_by_length(tests['by_series'])}"
        what = f"markets significantly below it (5 %, Diebold-Mariano), {at}"
        rows += [
            _row(
                name, f"markets below a tuned local ridge, {at}", ">= 80 %", f"{better:.0%} ({tests['better']})",
                is_met=better >= 0.8,
            ),
            _row(name, what, ">= 80 %", counted, is_met=sure >= 0.8),
        ]  # fmt: skip
    if newcomer is not None:
        for arm in ("federated_weights|8", "federated_personal|8", "federated_weights|none"):
            if arm in newcomer["ratios"]:
                ratio = newcomer["ratios"][arm]["rmse"]
                said = f"{ratio['estimate']:.3f} ({ratio['low']:.3f} to {ratio['high']:.3f})"
                rows.append(
                    _row(
                        name,
                        f"newcomer with 120 days, {arm} / local",
                        "<= 0.87",
                        said,
                        is_met=ratio["estimate"] <= 0.87,
                    )
                )
    return rows


def _bound(ratios: Mapping[str, Any], metric: str) -> str:
    """Return what the same forecaster reaches with the exact state, pooled rows and no noise, in words."""
    bound = ratios.get("centralised")
    return "" if bound is None else f" (centralised, no noise: {bound[metric]['estimate']:.3f})"


def _by_length(tests: Mapping[str, Mapping[str, float]]) -> str:
    """Return in how many markets of few and of many scored bars the forecast is significantly better, in words."""
    middle = float(np.median([one["bars"] for one in tests.values()]))
    parts = {
        "at most": [one for one in tests.values() if one["bars"] <= middle],
        "more than": [one for one in tests.values() if one["bars"] > middle],
    }
    sure = {words: sum(one["statistic"] < 0 and one["p_value"] < 0.05 for one in some) for words, some in parts.items()}
    said = [f"{sure[words]} of {len(some)} with {words} {middle:.0f}" for words, some in parts.items()]
    return f": {', '.join(said)} bars scored"


def _row(dataset: str, what: str, wanted: str, found: str, *, is_met: bool | None = None) -> dict[str, Any]:
    verdict = "PRINTED" if is_met is None else "MET" if is_met else "MISSED"
    return {"dataset": dataset, "target": what, "wanted": wanted, "found": found, "verdict": verdict}
