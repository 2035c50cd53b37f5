"""`hansa demo`: a simulated market, five brokers, one coordinator, one round, the state channel; what it brought.

The market is `twins` at the view noise that was measured on real venues; the first seed runs over real processes, the
others and the sweep of view noise are rehearsed in memory with the same limits, rounding and noise.

The outcome that errors are measured against is the market's true log cost at the level at which these brokers trade:
the mean difference between their exact state and the truth over the training span is added to the truth, because a
constant that no member can see is no forecast error. The ratio against the truth at its own level is printed as well.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import joblib
import numpy as np
import polars as pl
from scipy import stats

from hansa.crypto.signature import SigningKey
from hansa.federation.forecasting import ARMS, basket_rows, forecast
from hansa.federation.views import load_views, views_of
from hansa.identity.configuration import NodeConfiguration
from hansa.lab.alliance import copy_of, found
from hansa.lab.assessment import METRICS, Assessment, Bench, assess, omniscient_forecasts
from hansa.lab.charter import charter
from hansa.lab.collection import alert_rows, final_hash, forecasts
from hansa.lab.conduct import Span, conduct, set_up
from hansa.lab.document import Arms, document, errors, nested, ratios
from hansa.lab.rehearsal import rehearse
from hansa.lab.twins import Scenario, simulate
from hansa.lab.warnings import scored as scored_alerts
from hansa.lab.warnings import volatility_index, warn
from hansa.market.measures import compute

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from jaxtyping import Float, Int
    from rich.progress import Progress

    from hansa.federation.views import Views
    from hansa.governance.constitution import Constitution
    from hansa.lab.alliance import Alliance
    from hansa.lab.twins import Twin

TRAIN_DAYS: Final = 17
LIVE_BARS: Final = 12
STEPS: Final = 8
MEASURES: Final = ("log_spread", "log_depth", "log_impact")
VOLUME_UNIT: Final = 1e7
SWEEP: Final = (0.25, 0.5, 2.0, 4.0)
SWEEP_SEEDS: Final = (1, 2)


@dataclass(frozen=True, slots=True)
class Stage:
    """A simulated market cut into members' series, with the times of its replay."""

    scenario: Scenario
    twin: Twin
    span: Span

    def series(self, member: str) -> list[pl.DataFrame]:
        """Return a member's bars, one frame a market."""
        bars = self.twin.bars[member]
        return [bars.filter(pl.col("market") == market) for market in self.scenario.markets]

    def constitution(self, keys: Mapping[str, str], coordinator_key: str, *, steps: int) -> Constitution:
        """Return the demo's constitution for these identity keys."""
        return charter(
            federation="demo",
            keys=keys,
            coordinator_key=coordinator_key,
            baskets={market: [market] for market in self.scenario.markets},
            measures=MEASURES,
            cost=MEASURES[0],
            volume_unit=VOLUME_UNIT,
            history_days=TRAIN_DAYS,
            steps=steps,
        )

    def truth(self) -> Float[np.ndarray, "time basket"]:
        """Return the true log cost of each market, in the order of their names, at each bar."""
        truth = self.twin.truth.sort("ts_ns")
        return np.column_stack(
            [
                truth.filter(pl.col("market") == market)["log_cost"].to_numpy()
                for market in sorted(self.scenario.markets)
            ]
        )


def stage(seed: int, *, members: int = 5, noise_factor: float = 1.0) -> Stage:
    """Simulate a market.

    Args:
        seed: Of everything in it.
        members: Brokers.
        noise_factor: View noise as a multiple of the calibrated one.
    """
    calibrated = Scenario(seed, members=members).noise
    scenario = Scenario(seed, members=members, view_noise=calibrated * noise_factor)
    twin = simulate(scenario)
    stamps = next(iter(twin.bars.values()))["ts_ns"].unique().sort()
    bars_per_day = 86_400_000_000_000 // scenario.bar_ns
    span = Span(int(stamps[TRAIN_DAYS * bars_per_day - 1]), int(stamps[-1]), LIVE_BARS)
    return Stage(scenario, twin, span)


def demo(
    directory: Path, *, seeds: Sequence[int], members: int, is_faulty: bool, progress: Progress, is_hsm: bool = False
) -> dict[str, object]:
    """Run the demo and return its document.

    Args:
        directory: New folder for the alliance.
        seeds: The first runs over processes, the others are rehearsed.
        members: Brokers.
        is_faulty: Run twice from one set-up, the second time with kills, and compare the sums byte for byte.
        progress: Where progress is shown.
        is_hsm: Whether each member's identity key is in a SoftHSM token.
    """
    started = time.monotonic()
    scene = stage(seeds[0], members=members)
    made: list[Constitution] = []

    def make(keys: Mapping[str, str], coordinator_key: str) -> Constitution:
        made.append(scene.constitution(keys, coordinator_key, steps=STEPS))
        return made[0]

    task = progress.add_task("market simulated, kits made", total=1)
    bars = {name: scene.series(name) for name in scene.scenario.names}
    alliance = found(directory / "alliance", "demo", bars, make, is_hsm=is_hsm)
    progress.update(task, completed=1)
    chaos = _with_kills(alliance, made[0], scene.span, directory, progress) if is_faulty else {}
    if not is_faulty:
        conduct(alliance, made[0], scene.span, progress=progress)
    result = _result(alliance, scene, made[0], seconds=time.monotonic() - started)
    result |= chaos | {"identity_keys": _identity_keys(alliance, made[0])}
    if len(seeds) > 1:
        result |= over_seeds(result, seeds, members=members, progress=progress)
        result["view_noise"] = sweep(members=members, progress=progress)
    result["seconds"] = round(time.monotonic() - started, 2)
    return result


def rehearsed(seed: int, *, members: int = 5, noise_factor: float = 1.0) -> dict[str, Arms]:
    """Rehearse one seed in memory; return `errors` and `ratios` as in the demo's document."""
    scene = stage(seed, members=members, noise_factor=noise_factor)
    keys = {name: SigningKey.generate().public for name in scene.scenario.names}
    constitution = scene.constitution(keys, SigningKey.generate().public, steps=0)
    views = {name: views_of(scene.series(name), constitution.market) for name in scene.scenario.names}
    played = rehearse(
        constitution, views, as_of_ns=scene.span.as_of_ns, until_ns=scene.span.until_ns, seed=seed, is_published=False
    )
    published = next(iter(played.works.values())).published
    bench = Bench(constitution, views, published.start_ns, published.state.shape[0], published.train_bars)
    arms: dict[str, dict[str, Float[np.ndarray, "time basket"]]] = {arm: {} for arm in ARMS}
    for name, work in played.works.items():
        if work.fitted is None:
            continue
        made = forecast(work.published, basket_rows(work.published, views[name]), work.fitted)
        for arm in ARMS:
            arms[arm][name] = made[arm]
    scored = assess(bench, arms | omniscient_forecasts(bench), levelled(bench, scene.truth()))
    return {"errors": errors(scored), "ratios": ratios(scored)}


def levelled(bench: Bench, truth: Float[np.ndarray, "time basket"]) -> Float[np.ndarray, "time basket"]:
    """Return the truth at the level at which the members trade; see the module's docstring."""
    market = bench.constitution.market
    exact = bench.exact_state()[:, :, market.measures.index(market.cost)]
    train = slice(0, bench.train_bars)
    return np.asarray(truth[: bench.bars] + (exact[train] - truth[train]).mean(axis=0))


def _identity_keys(alliance: Alliance, constitution: Constitution) -> dict[str, dict[str, str]]:
    """Return each member's public key, whether it is in a file or a token, and in which token."""
    found = {}
    for party in constitution.members:
        text = (alliance.directory / party.name / "hansa.toml").read_text()
        keys = NodeConfiguration.from_toml(text).keys
        found[party.name] = {"identity_key": party.identity_key, "store": keys.store, "token": keys.token}
    return found


def _with_kills(
    alliance: Alliance, constitution: Constitution, span: Span, directory: Path, progress: Progress
) -> dict[str, object]:
    set_up(alliance)
    twin = copy_of(alliance, directory / "with-kills")
    conduct(alliance, constitution, span, progress=progress)
    restarts = conduct(twin, constitution, span, progress=progress, is_faulty=True)
    return {
        "restarts": restarts,
        "aggregate_sha256_with_kills": final_hash(twin),
        "is_same_aggregate": final_hash(twin) == final_hash(alliance),
    }


def _result(alliance: Alliance, scene: Stage, constitution: Constitution, *, seconds: float) -> dict[str, object]:
    views = {name: load_views(alliance.directory / name / "bars", constitution.market) for name in alliance.members}
    arms, state = forecasts(alliance)
    first = min(view.start_ns for view in views.values())
    train_bars = TRAIN_DAYS * 86_400 // constitution.market.bar_seconds
    bench = Bench(constitution, views, first, state.shape[0], train_bars)
    everything = {**arms, **omniscient_forecasts(bench)}
    scored = assess(bench, everything, levelled(bench, scene.truth()))
    own_level = assess(bench, everything, scene.truth()[: bench.bars])
    exact = bench.exact_state()[:, :, constitution.market.measures.index(constitution.market.cost)]
    next_state = assess(bench, everything, exact)
    result = document(alliance, constitution, scored, source="simulated market", seconds=seconds)
    return result | {
        "outcome": "true log cost of the next bar, at the level at which the members trade",
        "other_outcomes": {
            "truth_at_its_own_level": _state_ratios(own_level),
            "members_exact_state": _state_ratios(next_state),
        },
        "alerts": alert_table(result | {"on_record": alert_rows(alliance)}, views, scene, bench),
        "scenario": {
            "seed": scene.scenario.seed,
            "days": scene.scenario.days,
            "view_noise": scene.scenario.noise,
            "train_days": TRAIN_DAYS,
        },
    }


def alert_table(
    result: Mapping[str, object], views: Mapping[str, Views], scene: Stage, bench: Bench
) -> dict[str, dict[str, object]]:
    """Score the published index, a volatility-only rule and the alerts on record against each market's known onsets."""
    series, rows = result["lsi"], result.get("on_record")
    rows = rows if isinstance(rows, list) else []
    rules = sorted({str(row["rule"]) for row in rows})
    stamps = bench.stamps()
    table: dict[str, dict[str, object]] = {}
    for market in bench.constitution.market.baskets:
        onsets = scene.twin.onsets.filter(pl.col("market") == market).sort("ts_ns")
        known = {"onsets_ns": onsets["ts_ns"].to_numpy(), "ends_ns": onsets["end_ns"].to_numpy()}
        index = np.full(stamps.size, np.nan)
        if isinstance(series, dict) and market in series:
            places = np.searchsorted(stamps, series[market]["ts_ns"])
            index[places] = series[market]["value"]
        ranges = np.mean([_log_range(scene, name, market) for name in views], axis=0)[: stamps.size]
        table[market] = {
            "onsets_ns": onsets["ts_ns"].to_list(),
            "lsi": warn(index, stamps, train_bars=bench.train_bars, **known),
            "volatility": warn(
                volatility_index(ranges, 86_400_000_000_000 // scene.scenario.bar_ns),
                stamps,
                train_bars=bench.train_bars,
                **known,
            ),
            "on_record": {
                rule: scored_alerts(_stamps_of(rows, rule, market), stamps[bench.train_bars :], **known)
                for rule in rules
            },
        }
    return table


def _stamps_of(rows: Sequence[Mapping[str, object]], rule: str, basket: str) -> Int[np.ndarray, " alert"]:
    found = [int(str(row["ts_ns"])) for row in rows if (row["rule"], row["basket"]) == (rule, basket)]
    return np.array(sorted(found), dtype=np.int64)


def _log_range(scene: Stage, member: str, market: str) -> Float[np.ndarray, " time"]:
    bars = scene.twin.bars[member].filter(pl.col("market") == market)
    return compute(bars, ["log_range"])["log_range"].to_numpy().astype(np.float64)


def over_seeds(
    result: Mapping[str, Any], seeds: Sequence[int], *, members: int, progress: Progress
) -> dict[str, object]:
    """Rehearse the other seeds and return `errors` and `ratios` as means over all of them, and `seeds` one by one.

    Intervals of `errors` and `ratios` are of the mean over these very markets (half-widths of independent block
    bootstraps, added in squares); `seeds.interval` is wider: of the mean over such markets, by Student's t.
    """
    task = progress.add_task("other seeds, in memory", total=len(seeds) - 1)
    first = {arm: _flat(row) for arm, row in result["ratios"].items()}
    found: list[Mapping[str, Arms]] = [{"errors": result["errors"], "ratios": first}]
    for one in _rehearsals([(seed, members, 1.0) for seed in seeds[1:]]):
        found.append(one)
        progress.advance(task)
    values = [one["ratios"]["federated_state"]["mape"] for one in found]
    combined = mean_of([one["ratios"] for one in found])
    return {
        "errors": mean_of([one["errors"] for one in found]),
        "ratios": nested(combined),
        "first_seed": {"errors": result["errors"], "ratios": result["ratios"]},
        "seeds": {
            "seeds": list(seeds),
            "mape_ratio": values,
            "mean": combined["federated_state"]["mape"],
            "interval": _over_markets(np.array(values)),
            "rehearsed": list(seeds[1:]),
        },
    }


def mean_of(found: Sequence[Arms]) -> Arms:
    """Return the mean of each arm's numbers over independent seeds, with the intervals of the mean."""
    return {
        arm: {
            **{metric: float(np.mean([one[arm][metric] for one in found])) for metric in METRICS},
            **{f"{metric}_interval": _interval_of_mean([one[arm] for one in found], metric) for metric in METRICS},
        }
        for arm in found[0]
    }


def sweep(*, members: int, progress: Progress) -> list[dict[str, object]]:
    """Rehearse other view noise; return the ratio of MAPE, with state / local, by multiple of the calibrated noise."""
    jobs = [(seed, members, factor) for factor in SWEEP for seed in SWEEP_SEEDS]
    task = progress.add_task("sweep of view noise, in memory", total=len(jobs))
    rows: dict[float, list[float]] = {}
    for (_, _, factor), one in zip(jobs, _rehearsals(jobs), strict=True):
        rows.setdefault(factor, []).append(one["ratios"]["federated_state"]["mape"])
        progress.advance(task)
    return [{"factor": factor, "mape_ratio": float(np.mean(found))} for factor, found in rows.items()]


def _over_markets(values: Float[np.ndarray, " seed"]) -> list[float]:
    half = stats.t.ppf(0.95, values.size - 1) * values.std(ddof=1) / np.sqrt(values.size)
    return [float(values.mean() - half), float(values.mean() + half)]


def _flat(row: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    flat: dict[str, Any] = {metric: one["estimate"] for metric, one in row.items()}
    return flat | {f"{metric}_interval": [one["low"], one["high"]] for metric, one in row.items()}


def _interval_of_mean(found: Sequence[Mapping[str, Any]], metric: str) -> list[float]:
    centre = np.array([one[metric] for one in found])
    ends = np.array([one[f"{metric}_interval"] for one in found])
    below, above = np.sqrt(((ends - centre[:, None]) ** 2).sum(axis=0)) / len(found)
    return [float(centre.mean() - below), float(centre.mean() + above)]


def _rehearsals(jobs: Sequence[tuple[int, int, float]]) -> Iterator[dict[str, Arms]]:
    workers = min(os.cpu_count() or 1, len(jobs))
    call = joblib.delayed(_rehearse_job)
    yield from joblib.Parallel(n_jobs=workers, return_as="generator")(call(job) for job in jobs)


def _rehearse_job(job: tuple[int, int, float]) -> dict[str, Arms]:
    seed, members, factor = job
    return rehearsed(seed, members=members, noise_factor=factor)


def _state_ratios(scored: Assessment) -> dict[str, float]:
    return {metric: one.estimate for metric, one in scored.ratios["federated_state"].items()}
