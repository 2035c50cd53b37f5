"""The live rules over a history, and the score of what they said.

Rules, limits, alarm bars and alerts are those that members run (`hansa.model.warning_rules`); here they see a whole
state at once. `volatility` is the rival: the threshold rule on range alone. The quantile rule has no members' models
here: its forecast is the linear core's on the published state, calibrated like a member's.

A false alarm is one in the calm part. A hit is an alert in the warning window; its lead is the onset less the first.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from hansa.errors import ModelError
from hansa.federation.lookout import signs_of, weights_of
from hansa.market.calendar import NS_PER_HOUR
from hansa.model.baselines import RIDGE
from hansa.model.conformal import calibrate
from hansa.model.core import block_gram, member_rows, solve
from hansa.model.design import QUANTILES, Design, Inputs
from hansa.model.detection import average_run_length, expected_delay, quantile_score
from hansa.model.usefulness import average_precision, chance_of_lead, rate_bound, usefulness
from hansa.model.warning_rules import DETECTORS, QUANTILE, Pace, Stress, Watch, tune

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

    from hansa.lab.replay.channel import Channel
    from hansa.lab.replay.scenes import Scene
    from hansa.model.warning_rules import RuleName

SUSTAINED_BARS: Final = 3
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

    def pace(self, rate: float) -> Pace:
        """Return the pace of the live rules at a rate of false alerts a day."""
        return Pace(self.scene.bar_ns, self.train_bars, rate)

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
    pace = bench.pace(rate)
    if method == "quantile":
        return watched("quantile", _quantile(state, bench), pace, seed=seed)
    measures = bench.scene.measures
    name: RuleName = "threshold" if method == "volatility" else method
    weights = [float(one == "log_range") for one in measures] if method == "volatility" else weights_of(measures)
    train = slice(0, bench.train_bars)
    stress = Stress.of(
        state[train],
        bench.slot[train],
        signs=signs_of(measures),
        weights=weights,
        bars_per_day=bench.scene.bars_per_day,
    )
    return watched(name, stress.score(state, bench.slot), pace, seed=seed)


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


def watched(name: RuleName, score: Float[np.ndarray, " time"], pace: Pace, *, seed: int = 0) -> Warned:
    """Tune a live rule on the training part of a series and let it watch all of it.

    Args:
        name: Which rule.
        score: What it looks at.
        pace: Bars and rate.
        seed: Of the resampled calm.

    Raises:
        ModelError: The training part says nothing.
    """
    watch = Watch(tune(name, score, pace, seed=seed))
    watch.see(score)
    values = watch.tuned.standardised(score)
    extra = _delays(watch, values, seed=seed) if name in DETECTORS else {}
    return Warned(values, watch.tuned.limit, watch.alarms(), watch.alerts(), extra)


def _delays(watch: Watch, values: Float[np.ndarray, " time"], *, seed: int) -> dict[str, float]:
    """Return how rarely resampled calm alarms, and how soon a lift is found."""
    tuned, pace = watch.tuned, watch.tuned.pace
    detector, calm, day = DETECTORS[tuned.name], values[: pace.train_bars], pace.bars_per_day
    rng = np.random.default_rng(seed + 1)
    hours = pace.bar_ns / NS_PER_HOUR
    return {
        "arl0_days": average_run_length(detector, calm, tuned.limit, bars=int(4 * day / pace.rate), rng=rng) / day,
        "edd_hours_at_1_sd": expected_delay(detector, calm, tuned.limit, lift=1.0, bars=2 * day, rng=rng) * hours,
        "edd_hours_at_2_sd": expected_delay(detector, calm, tuned.limit, lift=2.0, bars=2 * day, rng=rng) * hours,
    }


def _quantile(state: Float[np.ndarray, "time measure"], bench: Bench) -> Float[np.ndarray, " time"]:
    """Forecast the next bar's cost by the linear core on the state alone; quantiles by its errors, calibrated."""
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
    quantiles = np.where(known[:, None], forecast[:, None] + np.quantile(residual, QUANTILES), np.nan)
    quantiles[:warm_up] = np.nan
    return quantile_score(
        calibrate(quantiles, state[:, place]),
        QUANTILES,
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
