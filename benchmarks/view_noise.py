"""What the cross-member state adds to a broker's own view, over a sweep of how noisy that view is.

Simulated market, five members, three markets, 28 days; the target is the next bar's log liquidity cost of the whole
market. Ridge on HAR lags (1, 3, 12, 72, 288 bars) of the member's own log measures and four time-of-day harmonics,
trained on the first 60 %, against the same with the HAR lags of the cross-member mean (no privacy noise) added.
Ratios below 1 are the gain: MAPE of the cost, RMSE of its log, mean over members, markets and seeds. `floor` is the
ratio for the same ridge on the true state's own lags: no summary of views can do better with these lags.

Run: python benchmarks/view_noise.py [--with-range] [--seeds 5]
"""

from __future__ import annotations

import argparse

import numpy as np
import polars as pl

from hansa.lab.calibration import VIEW_NOISE
from hansa.lab.twins import Scenario, Twin, simulate

HAR_BARS = (1, 3, 12, 72, 288)
SWEEP = (0.25, 0.5, 1.0, 2.0, 4.0)
EMBARGO_BARS = 288
MEASURES = ("spread_bps", "depth_quote", "impact_bps_per_mio", "volume")


def har_means(x: np.ndarray) -> np.ndarray:
    total = np.concatenate([[0.0], np.cumsum(x)])
    end = np.arange(1, len(x) + 1)
    means = []
    for bars in HAR_BARS:
        begin = np.maximum(end - bars, 0)
        means.append((total[end] - total[begin]) / (end - begin))
    return np.column_stack(means)


def time_of_day(ts_ns: np.ndarray) -> np.ndarray:
    phase = 2.0 * np.pi * (ts_ns / 1e9 % 86_400) / 86_400
    return np.column_stack([wave(k * phase) for k in (1, 2, 3, 4) for wave in (np.sin, np.cos)])


def errors(features: np.ndarray, target: np.ndarray) -> tuple[float, float]:
    """Return MAPE of exp and RMSE of the log for the next bar on the last 40 %."""
    cut, first = int(0.6 * len(target)), HAR_BARS[-1]
    train, test = np.arange(first, cut - 1), np.arange(cut + EMBARGO_BARS, len(target) - 1)
    mean, deviation = features[train].mean(axis=0), features[train].std(axis=0) + 1e-12
    design = np.column_stack([np.ones(len(features)), (features - mean) / deviation])
    gram = design[train].T @ design[train] + np.eye(design.shape[1])
    weights = np.linalg.solve(gram, design[train].T @ target[train + 1])
    surprise = design[test] @ weights - target[test + 1]
    return float(np.mean(np.abs(np.exp(surprise) - 1.0))), float(np.sqrt(np.mean(surprise**2)))


def log_measures(bars: pl.DataFrame, *, with_range: bool) -> list[np.ndarray]:
    logs = [np.log(bars[name].to_numpy()) for name in MEASURES]
    if with_range:
        logs.append(np.log(np.log(bars["high"].to_numpy() / bars["low"].to_numpy())))
    return logs


def score(twin: Twin, *, with_range: bool) -> list[tuple[float, ...]]:
    rows = []
    for market in twin.truth["market"].unique(maintain_order=True):
        here = pl.col("market") == market
        target = twin.truth.filter(here)["log_cost"].to_numpy()
        season = time_of_day(twin.truth.filter(here)["ts_ns"].to_numpy())
        views = [log_measures(bars.filter(here), with_range=with_range) for bars in twin.bars.values()]
        shared = np.column_stack([har_means(np.mean(x, axis=0)) for x in zip(*views, strict=True)])
        floor = errors(np.column_stack([har_means(target), season]), target)
        for own in views:
            local = np.column_stack([*(har_means(x) for x in own), season])
            rows.append((*errors(local, target), *errors(np.column_stack([local, shared]), target), *floor))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--with-range", action="store_true", help="give every model the log range too")
    parser.add_argument("--seeds", type=int, default=5)
    chosen = parser.parse_args()
    print("| noise x calibrated | view correlation | local MAPE | MAPE ratio (seeds) | RMSE ratio | floor MAPE ratio |")
    print("|---|---|---|---|---|---|")
    for factor in SWEEP:
        noise = factor * VIEW_NOISE
        table = np.array(
            [
                np.mean(score(simulate(Scenario(seed=seed, view_noise=noise)), with_range=chosen.with_range), axis=0)
                for seed in range(chosen.seeds)
            ]
        )
        ratio = table[:, 2] / table[:, 0]
        mean = table.mean(axis=0)
        print(
            f"| {factor:g} | {1.0 / (1.0 + noise):.2f} | {mean[0]:.4f} | {mean[2] / mean[0]:.3f} "
            f"({ratio.min():.3f} to {ratio.max():.3f}) | {mean[3] / mean[1]:.3f} | {mean[4] / mean[0]:.3f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
