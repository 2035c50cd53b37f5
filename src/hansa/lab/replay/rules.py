"""Rules that warn, each tuned on the training part alone, and the score of what they said.

| rule | series | alarm bar |
|---|---|---|
| threshold (headline) | `warning_score` of range and impact, the index's published weights | score >= limit |
| cusum, shiryaev_roberts | the same, in training deviations, tuned to a lift of one | the level reaches its limit |
| quantile | forecast 95 % quantile of the next bar's cost, by the linear core on the published state | score >= limit |
| volatility | range alone | score >= limit |

Limits: at most `rate` false alerts a day in the training part; for the two detectors a mean run of a day / `rate`. An
**alarm bar** is a bar on which a rule is on; an **alert** is the first of an excursion, none in the three hours before.
A false alarm is one in the calm part. A hit is an alert in the warning window; its lead is the onset less the first.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from hansa.errors import ModelError
from hansa.federation.watchtower import WEIGHTS
from hansa.market.calendar import NS_PER_HOUR
from hansa.market.measures import MEASURES
from hansa.model.baselines import RIDGE
from hansa.model.core import block_gram, member_rows, solve
from hansa.model.design import Design, Inputs
from hansa.model.detection import (
    Cusum,
    ShiryaevRoberts,
    alarms,
    average_run_length,
    expected_delay,
    fit_reference,
    limit_at_run_length,
    quantile_score,
    standardised,
    warning_score,
)
from hansa.model.early_warning import alerts, threshold_at_rate
from hansa.model.usefulness import average_precision, chance_of_lead, rate_bound, usefulness

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

    from hansa.lab.replay.channel import Channel
    from hansa.lab.replay.scenes import Scene

REFRACTORY_NS: Final = 3 * NS_PER_HOUR
QUANTILE: Final = 0.95
SUSTAINED_BARS: Final = 3
DRIFT: Final = 1.0
LAGS: Final = (1, 3, 12, 72, 288)
Method = Literal["threshold", "cusum", "shiryaev_roberts", "quantile", "volatility"]
METHODS: Final[tuple[Method, ...]] = ("threshold", "cusum", "shiryaev_roberts", "quantile", "volatility")


@dataclass(frozen=True, slots=True)
class Warned:
    """What one rule said at every bar.

    Attributes:
        score: What it looked at; NaN where it knew nothing.
        limit: Where it alarms.
        is_alarm: Alarm bars.
        alerts: Bars of alerts.
        extra: More to say about a detector.
    """

    score: Float[np.ndarray, " time"] = field(repr=False)
    limit: float
    is_alarm: Bool[np.ndarray, " time"] = field(repr=False)
    alerts: Int[np.ndarray, " alert"] = field(repr=False)
    extra: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Bench:
    """The time of a replay: which bars train, which are calm, which are to warn."""

    scene: Scene
    stamps: Int[np.ndarray, " time"]
    slot: Int[np.ndarray, " time"]
    train_bars: int

    @classmethod
    def of(cls, scene: Scene, channel: Channel) -> Bench:
        """Return the bench of a scene."""
        return cls(scene, channel.stamps, channel.slot, channel.train_bars)

    @property
    def refractory_bars(self) -> int:
        """Bars without an alarm that must come before an alert."""
        return max(REFRACTORY_NS // self.scene.bar_ns, 1)

    def calm(self) -> Bool[np.ndarray, " time"]:
        """Return the bars in which an alarm is false."""
        return (self.stamps > self.scene.windows.calm_ns) & (self.stamps <= self.scene.windows.window_ns)

    def window(self) -> Bool[np.ndarray, " time"]:
        """Return the bars in which an alarm warns."""
        return (self.stamps > self.scene.windows.window_ns) & (self.stamps <= self.scene.windows.onset_ns)


def warn(
    state: Float[np.ndarray, "time measure"], bench: Bench, method: Method, *, rate: float, seed: int = 0
) -> Warned:
    """Tune a rule on the training part of a state and run it over all of it.

    Args:
        state: Log measures, NaN where there is no bar.
        bench: The time.
        method: Which rule.
        rate: False alerts a day that training may have.
        seed: Of the resampled calm.

    Raises:
        ModelError: The training part says nothing: too short, or a measure never moves.
    """
    measures = bench.scene.measures
    if method == "quantile":
        return _by_threshold(_quantile(state, bench), bench, rate)
    weights = [WEIGHTS.get(name, 0.0) for name in measures]
    if method == "volatility":
        weights = [float(name == "log_range") for name in measures]
    reference = fit_reference(
        state[: bench.train_bars], bench.slot[: bench.train_bars], slots_per_day=bench.scene.bars_per_day
    )
    signs = [MEASURES[name].sign or 1 for name in measures]
    score = warning_score(reference.scores(state, bench.slot), signs, weights)
    if method in {"threshold", "volatility"}:
        return _by_threshold(score, bench, rate)
    return _by_detector(score, bench, method, rate=rate, seed=seed)


def outcome(warned: Warned, bench: Bench, *, rate: float) -> dict[str, object]:
    """Score what a rule said: hit, lead and its chance, false alarms, usefulness, precision.

    Args:
        warned: What it said.
        bench: The time.
        rate: False alerts a day that it was tuned to: chance is never taken at less, for a calm part without a
            false alert is no proof that there are none.
    """
    calm, window = bench.calm(), bench.window()
    known = np.isfinite(warned.score)
    days = float((calm & known).sum()) / bench.scene.bars_per_day
    false_bars = int((calm & warned.is_alarm).sum())
    fired = np.zeros(calm.size, dtype=bool)
    fired[warned.alerts] = True
    false_alerts = int((calm & fired).sum())
    first = _first(fired & window)
    late = _first(fired & (bench.stamps > bench.scene.windows.onset_ns))
    onset = bench.scene.windows.onset_ns
    lead = None if first is None else (onset - int(bench.stamps[first])) / NS_PER_HOUR
    per_day = false_alerts / days if days else float("nan")
    bound = rate_bound(false_alerts, days) if days else float("nan")
    luck = max(per_day, rate)
    scored = (calm | window) & known
    found: dict[str, object] = {
        "hit": first is not None,
        "lead_hours": _rounded(lead),
        "lead_chance": None if lead is None else _rounded(chance_of_lead(luck, lead)),
        "lead_chance_at_bound": None if lead is None else _rounded(chance_of_lead(bound, lead)),
        "hit_chance": _rounded(chance_of_lead(luck, (onset - bench.scene.windows.window_ns) / NS_PER_HOUR)),
        "first_alert": None if first is None else moment(int(bench.stamps[first])),
        "late_hours": None if late is None else _rounded((int(bench.stamps[late]) - onset) / NS_PER_HOUR),
        "false_alarms_per_day": _rounded(false_bars / days if days else None),
        "false_alarm_bars": false_bars,
        "false_alerts_per_day": _rounded(per_day),
        "false_alerts": false_alerts,
        "calm_days": _rounded(days),
        "sustained_lead_hours": _rounded(_sustained_lead(warned, bench)),
        "alarm_bars_in_window": int((window & warned.is_alarm).sum()),
        "usefulness": _rounded(usefulness(warned.is_alarm[scored], window[scored])),
        "pr_auc": _rounded(average_precision(warned.score[scored], window[scored])),
        "event_share": _rounded(float(window[scored].mean()) if scored.any() else None),
        "limit": _rounded(warned.limit),
    }
    return found | {name: _rounded(value) for name, value in warned.extra.items()}


def random_alarms(rate_per_day: float, bench: Bench, *, lead_hours: float | None) -> dict[str, object]:
    """Return what alerts thrown at random at a rate would give: the null of every lead."""
    window = (bench.scene.windows.onset_ns - bench.scene.windows.window_ns) / NS_PER_HOUR
    share = float(bench.window().sum()) / float((bench.calm() | bench.window()).sum())
    return {
        "rate_per_day": _rounded(rate_per_day),
        "window_hours": _rounded(window),
        "hit_chance": _rounded(chance_of_lead(rate_per_day, window)),
        "lead_chance": None if lead_hours is None else _rounded(chance_of_lead(rate_per_day, lead_hours)),
        "pr_auc": _rounded(share),
        "usefulness": 0.0,
    }


def moment(ts_ns: int) -> str:
    """Return a time as ISO 8601, UTC (or the file's clock) to the minute."""
    return datetime.fromtimestamp(ts_ns // 1_000_000_000, tz=UTC).strftime("%Y-%m-%dT%H:%MZ")


def _by_threshold(score: Float[np.ndarray, " time"], bench: Bench, rate: float) -> Warned:
    limit = threshold_at_rate(
        score[: bench.train_bars],
        alarms_per_day=rate,
        bars_per_day=bench.scene.bars_per_day,
        refractory_bars=bench.refractory_bars,
    )
    is_alarm = np.nan_to_num(score, nan=-np.inf) >= limit
    return Warned(score, limit, is_alarm, alerts(score, limit, refractory_bars=bench.refractory_bars))


def _by_detector(score: Float[np.ndarray, " time"], bench: Bench, method: Method, *, rate: float, seed: int) -> Warned:
    detector = Cusum(DRIFT) if method == "cusum" else ShiryaevRoberts(DRIFT)
    values = standardised(score, bench.train_bars)
    calm = values[: bench.train_bars]
    run = bench.scene.bars_per_day / rate
    rng = np.random.default_rng(seed)
    limit = limit_at_run_length(detector, calm, run_length_bars=run, rng=rng)
    is_alarm = np.zeros(score.size, dtype=bool)
    is_alarm[alarms(detector, values, limit)] = True
    fired = alerts(is_alarm.astype(np.float64), 1.0, refractory_bars=bench.refractory_bars)
    day = bench.scene.bars_per_day
    hours = bench.scene.bar_ns / NS_PER_HOUR
    return Warned(
        values,
        limit,
        is_alarm,
        fired,
        {
            "arl0_days": average_run_length(detector, calm, limit, bars=int(4 * run), rng=rng) / day,
            "edd_hours_at_1_sd": expected_delay(detector, calm, limit, lift=1.0, bars=2 * day, rng=rng) * hours,
            "edd_hours_at_2_sd": expected_delay(detector, calm, limit, lift=2.0, bars=2 * day, rng=rng) * hours,
        },
    )


def _quantile(state: Float[np.ndarray, "time measure"], bench: Bench) -> Float[np.ndarray, " time"]:
    """Forecast the next bar's cost by the linear core on the state alone; its training residuals give the quantile."""
    place = bench.scene.measures.index(bench.scene.cost)
    warm_up = min(max(LAGS), bench.train_bars // 2)
    train = np.arange(warm_up, bench.train_bars - 1)
    known = np.isfinite(state).all(axis=1)
    train = train[known[train] & known[train + 1]]
    if train.size < 2 * len(LAGS):
        raise ModelError(f"expected {2 * len(LAGS)} training rows for a forecast; got {train.size}")
    design = Design(own=False, state=True, lags=LAGS, slots_per_day=bench.scene.bars_per_day)
    rows = member_rows(design, Inputs(bench.slot, state=state), state[:, place], train)
    forecast = rows.forecast(solve(block_gram(rows.rows.take(train), clip=np.inf), ridge=RIDGE))
    residual = state[train + 1, place] - forecast[train]
    quantiles = (forecast + np.quantile(residual, QUANTILE))[:, None]
    quantiles = np.where(known[:, None], quantiles, np.nan)
    quantiles[:warm_up] = np.nan
    return quantile_score(
        quantiles,
        (QUANTILE,),
        bench.slot,
        level=QUANTILE,
        train_bars=bench.train_bars,
        slots_per_day=bench.scene.bars_per_day,
    )


def _sustained_lead(warned: Warned, bench: Bench) -> float | None:
    """Return hours from the first of three alarm bars in a row in the window to the onset."""
    flags = warned.is_alarm & bench.window()
    runs = flags.copy()
    for back in range(1, SUSTAINED_BARS):
        runs[back:] &= flags[:-back]
        runs[:back] = False
    last = _first(runs)
    if last is None:
        return None
    return (bench.scene.windows.onset_ns - int(bench.stamps[last - SUSTAINED_BARS + 1])) / NS_PER_HOUR


def _first(flags: Bool[np.ndarray, " time"]) -> int | None:
    found = np.flatnonzero(flags)
    return int(found[0]) if found.size else None


def _rounded(value: float | None) -> float | None:
    """Return a number for JSON: three decimals, None where there is none."""
    return round(float(value), 3) + 0.0 if value is not None and np.isfinite(value) else None
