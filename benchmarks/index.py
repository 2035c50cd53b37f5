"""What the stress index is worth on real states, and how far one contributor can move it.

    python benchmarks/index.py [--data ../shared/data]

For the time of each event: the index of the published (noised) state against the members' exact cost over the next hour
(rank correlation; the R^2 that it adds to realised volatility, with its HAC t), the same when a measure is dropped or
when a principal component sets the weights, the mean LSIx in the warning window, and `hansa.model.dominance` at the
caps of the replayed constitution. Correlations are of bars after training; those of one event hang together.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.stats import spearmanr

from hansa.lab.replay.channel import channel_of
from hansa.lab.replay.events import event_named
from hansa.lab.replay.rules import Bench
from hansa.lab.replay.run import index_rule_of, who_moves_it
from hansa.lab.replay.scenes import scene_of
from hansa.market.calendar import NS_PER_HOUR
from hansa.market.features import carry_forward
from hansa.market.measures import RANGE_FLOOR
from hansa.model.excess import excess_index, volatility_regressors
from hansa.model.lsi import IndexRule, component_ranks, stress_index

if TYPE_CHECKING:
    from hansa.lab.replay.channel import Channel
    from hansa.lab.replay.scenes import Scene

EVENTS: Final = ("usdc_depeg", "snb", "yen_flash_crash", "covid")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    data = parser.parse_args().data
    print(f"{'event':17} {'variant':18} {'rank corr':>9} {'R2 of RV':>9} {'+ LSI':>7} {'HAC t':>7}")
    for name in EVENTS:
        scene = scene_of(event_named(data, name), data)
        channel = channel_of(scene)
        state = channel.published(1)
        bench = replace(Bench.of(scene, channel), slot=channel.slot[: state.shape[0]])
        rule, slot = index_rule_of(bench)
        for variant, weights in variants(state, slot, rule, channel.train_bars, scene.measures).items():
            index = stress_index(state, slot, replace(rule, weights=weights))
            print(f"{name:17} {variant:18} " + " ".join(score(index, state, scene, channel)))
        print(f"{name:17} {excess_words(stress_index(state, slot, rule), state, scene, channel)}")
        found = who_moves_it(state, bench, channel, float(channel.facts(1).weights[0]))
        print(
            f"{name:17} one client moves it by {found['client_points']} points at most; 5 points take a member whose "
            f"log measures are off by {found['member_log_units_for_goal']}; honest ones differ by "
            f"{found['honest_member_log_units']}, and a lie within that moves it by up to "
            f"{found['plausible_liar_points']}, any lie by {found['liar_points']}"
        )


def variants(
    state: np.ndarray, slot: np.ndarray, rule: IndexRule, train_bars: int, measures: tuple[str, ...]
) -> dict[str, tuple[float, ...]]:
    found = {"published weights": rule.weights}
    for name, weight in zip(measures, rule.weights, strict=True):
        if weight:
            found[f"without {name}"] = tuple(
                0.0 if own == name else kept for own, kept in zip(measures, rule.weights, strict=True)
            )
    ranks = component_ranks(state, slot, rule)[:train_bars]
    known = ranks[np.isfinite(ranks).all(axis=1)]
    _, _, axes = np.linalg.svd(known - known.mean(axis=0), full_matrices=False)
    found["first component"] = tuple(np.abs(axes[0]).tolist())
    return found


def score(index: np.ndarray, state: np.ndarray, scene: Scene, channel: Channel) -> list[str]:
    """Return rank correlation, R^2 of volatility, what the index adds and its t, for the mean cost of the next hour."""
    hour = max(NS_PER_HOUR // scene.bar_ns, 1)
    cost = scene.measures.index(scene.cost)
    exact = np.mean([carry_forward(own[: state.shape[0], [cost]])[:, 0] for own in channel.own.values()], axis=0)
    ahead = np.array([exact[bar + 1 : bar + 1 + hour].mean() for bar in range(exact.size - hour)])
    rows = np.arange(channel.train_bars, ahead.size)
    volatility = state[: ahead.size, scene.measures.index("log_range")]
    week = np.array([np.nanmean(volatility[max(0, bar - 7 * scene.bars_per_day) : bar + 1]) for bar in rows])
    design = np.column_stack([np.ones(rows.size), volatility[rows], week, index[rows]])
    known = np.isfinite(design).all(axis=1) & np.isfinite(ahead[rows])
    design, target = design[known], ahead[rows][known]
    base = residual(design[:, :-1], target)
    full = residual(design, target)
    total = ((target - target.mean()) ** 2).sum()
    first, second = 1 - (base**2).sum() / total, 1 - (full**2).sum() / total
    return [
        f"{spearmanr(design[:, -1], target).statistic:9.2f}",
        f"{first:9.3f}",
        f"{second - first:7.3f}",
        f"{hac_t(design, target, 2 * hour):7.1f}",
    ]


def residual(design: np.ndarray, target: np.ndarray) -> np.ndarray:
    return target - design @ np.linalg.lstsq(design, target, rcond=None)[0]


def hac_t(design: np.ndarray, target: np.ndarray, lags: int) -> float:
    """Return the Newey-West t of the last column's coefficient."""
    inverse = np.linalg.inv(design.T @ design)
    weights = inverse @ design.T @ target
    moments = design * (target - design @ weights)[:, None]
    meat = moments.T @ moments
    for lag in range(1, lags + 1):
        part = moments[lag:].T @ moments[:-lag]
        meat += (1 - lag / (lags + 1)) * (part + part.T)
    return float(weights[-1] / np.sqrt((inverse @ meat @ inverse)[-1, -1]))


def excess_words(index: np.ndarray, state: np.ndarray, scene: Scene, channel: Channel) -> str:
    span = np.maximum(np.exp(state[:, scene.measures.index("log_range")]) - RANGE_FLOOR, 0.0)
    regressors = volatility_regressors(span**2 / (4 * np.log(2)), bars_per_day=scene.bars_per_day)
    excess = excess_index(index, regressors, window_bars=60 * scene.bars_per_day, minimum=scene.bars_per_day // 2)
    stamps = channel.stamps[: index.size]
    inside = (stamps > scene.windows.window_ns) & (stamps <= scene.windows.onset_ns)
    calm = (stamps > scene.windows.calm_ns) & (stamps <= scene.windows.window_ns)
    return (
        f"mean in the calm part and in the window: LSI {np.nanmean(index[calm]):.0f}, {np.nanmean(index[inside]):.0f}; "
        f"LSIx {np.nanmean(excess[calm]):+.1f}, {np.nanmean(excess[inside]):+.1f}"
    )


if __name__ == "__main__":
    main()
