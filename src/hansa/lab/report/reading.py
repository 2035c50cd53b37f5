"""A document of `hansa demo` or `hansa run` as the report shows it: typed, with everything optional that may be absent.

Parsing happens here once. A value of another type than expected, NaN or infinity counts as absent, so that a document
of another version, or one that was cut, still gives a page; what is absent is left out of the page, never guessed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

ARM_TITLES: Final = {
    "persistence": "persistence",
    "local": "local",
    "federated_weights": "federated, weights only",
    "federated_state": "federated, with state",
    "personal_head": "federated, with state and own head",
    "local_public": "local + everybody's data",
    "centralised": "centralised",
}
OUTSIDE: Final = frozenset({"local_public", "centralised"})
SYSTEM: Final = "system"
MetricName = Literal["mape", "rmse"]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with the ends of its 90 % interval, where it has one."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Arm:
    """One way to forecast: errors and ratios to local by metric, errors by member."""

    name: str
    errors: Mapping[str, Estimate]
    ratios: Mapping[str, Estimate]
    by_member: Mapping[str, Mapping[str, float]]

    @property
    def title(self) -> str:
        """The arm's name in words."""
        return ARM_TITLES.get(self.name, self.name)

    @property
    def is_outside(self) -> bool:
        """Whether nobody in a federation could do it."""
        return self.name in OUTSIDE


@dataclass(frozen=True, slots=True)
class Index:
    """A stress index over time (stamps in ns UTC), its alerts, threshold and, if known, the onsets of stress."""

    name: str
    ts_ns: tuple[int, ...]
    values: tuple[float | None, ...]
    alerts_ns: tuple[int, ...] = ()
    onsets_ns: tuple[int, ...] = ()
    threshold: float | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """How a rule's alerts did against known onsets; `reason` where it has no threshold."""

    market: str
    name: str
    hits: int | None
    misses: int | None
    lead_minutes: tuple[float, ...]
    false_alarms_per_day: float | None
    chance: float | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class Sum:
    """One secure sum; times in seconds from the first announcement, by the stream's clock."""

    session: str
    purpose: str
    length: int | None
    state: str
    reason: str | None
    cohort: int
    announced: float
    cohort_at: float | None
    certified_at: float | None
    closed_at: float | None

    @property
    def is_published(self) -> bool:
        """Whether the sum was opened."""
        return self.state == "published"

    @property
    def is_dead(self) -> bool:
        """Whether the attempt ended with nothing opened; neither opened nor dead is one that was not over."""
        return self.state == "died"

    def phases(self) -> dict[str, tuple[float, float]]:
        """Return start and end of each step that was reached; `waiting` is what a dead attempt did at last."""
        last = "publish" if self.is_published else "waiting"
        ends = {"upload": self.cohort_at, "agree": self.certified_at, last: self.closed_at}
        found: dict[str, tuple[float, float]] = {}
        start = self.announced
        for name, end in ends.items():
            if end is not None:
                found[name] = (start, max(start, end))
                start = max(start, end)
        return found

    @property
    def end(self) -> float:
        """The newest time that is known of it."""
        return max((end for _, end in self.phases().values()), default=self.announced)


@dataclass(frozen=True, slots=True)
class Budget:
    """What a purpose's dearest period has cost each member, and what it is allowed to cost."""

    purpose: str
    unit: str
    period: str
    periods: int | None
    epsilon: float
    allowed: float | None
    delta: float | None


@dataclass(frozen=True, slots=True)
class Seeds:
    """MAPE with state over local, by seed of the simulated market, and their mean."""

    ratios: tuple[tuple[str, float], ...]
    mean: Estimate


@dataclass(frozen=True, slots=True)
class Reading:
    """Everything that the pictures are drawn from; `document` holds the rest."""

    document: Mapping[str, object]
    members: tuple[str, ...]
    arms: tuple[Arm, ...]
    indices: tuple[Index, ...]
    rules: tuple[Rule, ...]
    sums: tuple[Sum, ...]
    budgets: tuple[Budget, ...]
    sent_bytes: Mapping[str, float]
    seeds: Seeds | None
    sweep: tuple[tuple[float, float], ...]
    train_ns: tuple[int, int] | None

    @property
    def is_simulated(self) -> bool:
        """Whether the truth is known because the market was made."""
        return "scenario" in self.document

    def arm(self, name: str) -> Arm | None:
        """Return an arm, if the document has it."""
        return next((arm for arm in self.arms if arm.name == name), None)


def read(document: Mapping[str, object]) -> Reading:
    """Return what a document holds.

    Args:
        document: As `hansa demo --json` and `hansa run --json` print it; any part may be absent.
    """
    sums = _sums(document)
    return Reading(
        document=document,
        members=tuple(str(name) for name in rows(document.get("members"))),
        arms=_arms(document),
        indices=_indices(document),
        rules=_rules(document),
        sums=sums,
        budgets=tuple(one for row in rows(document.get("privacy")) if (one := _budget(mapping(row))) is not None),
        sent_bytes=_numbers(document.get("bytes_per_member")),
        seeds=_seeds(mapping(document.get("seeds"))),
        sweep=_sweep(document),
        train_ns=_train(document),
    )


def number(value: object) -> float | None:
    """Return a finite number, or nothing."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def whole(value: object) -> int | None:
    """Return a whole number with all its digits, or nothing."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def mapping(value: object) -> Mapping[str, object]:
    """Return a mapping, empty if the value is none."""
    return value if isinstance(value, Mapping) else {}


def rows(value: object) -> Sequence[object]:
    """Return a sequence, empty if the value is none."""
    return value if isinstance(value, list | tuple) else ()


def _numbers(value: object) -> dict[str, float]:
    return {str(name): one for name, raw in mapping(value).items() if (one := number(raw)) is not None}


def _stamps(value: object) -> tuple[int, ...]:
    return tuple(one for raw in rows(value) if (one := whole(raw)) is not None)


def _estimate(value: object, ends: Sequence[object]) -> Estimate | None:
    found = number(value)
    if found is None:
        return None
    low, high = (number(ends[0]), number(ends[1])) if len(ends) == 2 else (None, None)
    return Estimate(found, low, high)


def _arms(document: Mapping[str, object]) -> tuple[Arm, ...]:
    """Return the arms of the run over processes: with several seeds, `errors` are means that no member's dot fits."""
    own_run = mapping(document.get("first_seed")) or document
    errors, ratios = mapping(own_run.get("errors")), mapping(own_run.get("ratios"))
    known = [name for name in ARM_TITLES if name in errors]
    found = []
    for name in (*known, *(name for name in errors if name not in ARM_TITLES)):
        own, ratio = mapping(errors[name]), mapping(ratios.get(name))
        by_metric: dict[str, Estimate] = {}
        ratio_by_metric: dict[str, Estimate] = {}
        for metric in ("mape", "rmse"):
            one = _estimate(own.get(metric), rows(own.get(f"{metric}_interval")))
            raw = mapping(ratio.get(metric))
            other = _estimate(raw.get("estimate"), (raw.get("low"), raw.get("high")))
            by_metric |= {metric: one} if one else {}
            ratio_by_metric |= {metric: other} if other else {}
        members = mapping(document.get("per_member"))
        by_member = {member: _numbers(mapping(arms).get(name)) for member, arms in members.items()}
        found.append(Arm(name, by_metric, ratio_by_metric, by_member))
    return tuple(found)


def _indices(document: Mapping[str, object]) -> tuple[Index, ...]:
    series, scored = mapping(document.get("lsi")), document.get("alerts")
    order = [name for name in mapping(document.get("baskets")) if name in series]
    order += [name for name in series if name not in order and name != SYSTEM]
    found = []
    for name in (*order, *([SYSTEM] if SYSTEM in series else [])):
        own = mapping(series[name])
        pairs = [
            (stamp, number(value))
            for raw, value in zip(rows(own.get("ts_ns")), rows(own.get("value")), strict=False)
            if (stamp := whole(raw)) is not None
        ]
        market = mapping(mapping(scored).get(name))
        rule = mapping(market.get("lsi"))
        listed = [mapping(row) for row in rows(scored)]
        alerts = rule.get("alerts") or [row.get("ts_ns") for row in listed if row.get("basket") == name]
        found.append(
            Index(
                name=name,
                ts_ns=tuple(stamp for stamp, _ in pairs),
                values=tuple(value for _, value in pairs),
                alerts_ns=_stamps(alerts),
                onsets_ns=_stamps(market.get("onsets_ns")),
                threshold=number(rule.get("threshold")),
            )
        )
    is_repeated = len(found) == 2 and found[0].values == found[1].values
    return tuple(found[:1] if is_repeated else found)


def _rules(document: Mapping[str, object]) -> tuple[Rule, ...]:
    found = []
    for market, rules in mapping(document.get("alerts")).items():
        written = {f"on record: {name}": one for name, one in mapping(mapping(rules).get("on_record")).items()}
        shown = {name: mapping(rules).get(name) for name in ("lsi", "volatility")} | written
        for name, found_one in shown.items():
            one = mapping(found_one)
            if not one:
                continue
            found.append(
                Rule(
                    market=market,
                    name={"lsi": "stress index", "volatility": "volatility only"}.get(name, name.replace("_", "-")),
                    hits=whole(one.get("hits")),
                    misses=whole(one.get("misses")),
                    lead_minutes=tuple(
                        lead for raw in rows(one.get("lead_minutes")) if (lead := number(raw)) is not None
                    ),
                    false_alarms_per_day=number(one.get("false_alarms_per_day")),
                    chance=number(one.get("chance_hit_rate")),
                    reason=str(one["reason"]) if "reason" in one else None,
                )
            )
    return tuple(found)


def _sums(document: Mapping[str, object]) -> tuple[Sum, ...]:
    listed = [mapping(row) for row in rows(document.get("sums"))]
    first = min((stamp for row in listed if (stamp := whole(row.get("announce_ns"))) is not None), default=0)

    def since(value: object) -> float | None:
        stamp = whole(value)
        return None if stamp is None else (stamp - first) / 1e9

    return tuple(
        Sum(
            session=str(row.get("session", "")),
            purpose=str(row.get("purpose", "")),
            length=whole(row.get("length")),
            state=str(row.get("state", "")),
            reason=str(row["reason"]) if row.get("reason") else None,
            cohort=len(str(row.get("members") or "").split()),
            announced=announced,
            cohort_at=since(row.get("cohort_ns")),
            certified_at=since(row.get("call_ns")),
            closed_at=since(row.get("closed_ns")),
        )
        for row in listed
        if (announced := since(row.get("announce_ns"))) is not None
    )


def _budget(row: Mapping[str, object]) -> Budget | None:
    epsilon = number(row.get("epsilon"))
    if epsilon is None:
        return None
    return Budget(
        purpose=str(row.get("purpose", "")),
        unit=str(row.get("unit", "")),
        period=str(row.get("period", "")),
        periods=whole(row.get("periods")),
        epsilon=epsilon,
        allowed=number(row.get("allowed")),
        delta=number(row.get("delta")),
    )


def _seeds(found: Mapping[str, object]) -> Seeds | None:
    pairs = zip(rows(found.get("seeds")), rows(found.get("mape_ratio")), strict=False)
    ratios = tuple((str(seed), ratio) for seed, raw in pairs if (ratio := number(raw)) is not None)
    mean = _estimate(found.get("mean"), rows(found.get("interval")))
    return Seeds(ratios, mean) if ratios and mean else None


def _sweep(document: Mapping[str, object]) -> tuple[tuple[float, float], ...]:
    found = []
    for row in rows(document.get("view_noise")):
        factor, ratio = number(mapping(row).get("factor")), number(mapping(row).get("mape_ratio"))
        if factor is not None and ratio is not None and factor > 0:
            found.append((factor, ratio))
    return tuple(sorted(found))


def _train(document: Mapping[str, object]) -> tuple[int, int] | None:
    """Return the first and the last bar of the span that the first round was trained on."""
    for row in rows(document.get("sums")):
        one = mapping(row)
        start, end = whole(one.get("span_start_ns")), whole(one.get("span_end_ns"))
        if one.get("purpose") in {"census", "gram", "weights"} and start is not None and end is not None:
            return start, end
    return None
