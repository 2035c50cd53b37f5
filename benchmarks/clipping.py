"""What an adaptive bound of the gradients' clipping brings to the residual network, against the fixed one.

Simulated market, five members, three markets, 12 days of training and 3 of test; one round of the drafted constitution
in memory with its noise (epsilon 8 for the steps; the adaptive bound spends epsilon 2 more). `hindsight` is a fixed
bound at the middle of the norms of these simulations, which nobody knows before looking. For each seed: the bound,
the standard deviation of the noise on one value of a step's mean gradient, and the RMSE of the next bar's published log
cost on the test days, as a ratio to the closed-form core alone: with the whole residual of the network, and with the
share that each member's gate chose on its own validation rows. Below 1 the network helps.

Run: python benchmarks/clipping.py [--seeds 3] [--steps 8]
"""

from __future__ import annotations

import argparse
import hashlib
from dataclasses import dataclass

import msgspec
import numpy as np
import polars as pl

from hansa.crypto.signature import SigningKey
from hansa.federation.budgets import value_deviation
from hansa.federation.forecasting import basket_rows, fit, linear_series
from hansa.federation.own_network import residuals
from hansa.federation.rules import limits_of
from hansa.federation.views import Views, views_of
from hansa.lab.charter import CLIP_EPSILON, charter
from hansa.lab.rehearsal import Rehearsal, rehearse
from hansa.lab.twins import Scenario, Twin, simulate

TRAIN_DAYS, TEST_DAYS = 12, 3
MEASURES = ("log_spread", "log_depth", "log_impact")
HINDSIGHT = 0.03
KINDS = ("fixed", "hindsight", "adaptive")
DAY_NS = 86_400_000_000_000


@dataclass(frozen=True)
class Result:
    """One seed, one kind of bound: errors as ratios to the core alone."""

    bound: float
    deviation: float
    whole: float
    gated: float
    open_gates: float


def key(name: str) -> str:
    return SigningKey.from_bytes(hashlib.sha256(name.encode()).digest()).public


def played(twin: Twin, seed: int, *, steps: int, kind: str) -> tuple[Rehearsal, dict[str, Views]]:
    markets = twin.truth["market"].unique(maintain_order=True).to_list()
    rules = charter(
        federation="clipping",
        keys={name: key(name) for name in twin.bars},
        coordinator_key=key("coordinator"),
        baskets={market: [market] for market in markets},
        measures=MEASURES,
        cost=MEASURES[0],
        volume_unit=1e7,
        history_days=TRAIN_DAYS,
        steps=steps,
        clip_epsilon=CLIP_EPSILON if kind == "adaptive" else 0.0,
    )
    if kind == "hindsight":
        weights = msgspec.structs.replace(rules.purposes["weights"], sensitivity=2 * HINDSIGHT)
        rules = msgspec.structs.replace(rules, purposes={**rules.purposes, "weights": weights})
    views = {
        name: views_of([bars.filter(pl.col("market") == market) for market in markets], rules.market)
        for name, bars in twin.bars.items()
    }
    first = next(iter(views.values()))
    as_of = first.start_ns - first.bar_ns + TRAIN_DAYS * DAY_NS
    return rehearse(rules, views, as_of_ns=as_of, until_ns=first.reach_ns, seed=seed), views


def score(done: Rehearsal, views: dict[str, Views]) -> Result:
    """Return errors on the bars after training, mean over members and baskets."""
    errors: list[tuple[float, float, float]] = []
    gates: list[float] = []
    for name, work in done.works.items():
        published = work.published
        built = basket_rows(published, views[name])
        fitted = work.fitted or fit(published, built)
        series = linear_series(published, built, fitted.personal)
        residual = residuals(published, series)
        test = slice(published.train_bars + 12, published.state.shape[0] - 1)
        for place, basket in enumerate(published.baskets):
            target, linear = series.target[test, place], series.linear[test, place]
            shares = (0.0, 1.0, fitted.gates[basket])
            errors.append(
                tuple(float(np.sqrt(np.mean((linear + g * residual[test, place] - target) ** 2))) for g in shares)  # type: ignore[arg-type]
            )
            gates.append(fitted.gates[basket])
    core, whole, gated = np.mean(errors, axis=0)
    limits = limits_of(done.constitution)
    published = next(iter(done.works.values())).published
    blocks = published.training_days() * len(done.works)
    noise = published.clip_unit * value_deviation(limits.purposes["weights"], limits) / blocks
    return Result(published.clip_bound, noise, whole / core, gated / core, float(np.mean(np.array(gates) > 0)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=8)
    chosen = parser.parse_args()
    print("| seed | bound | clip at | noise on a mean gradient | whole network / core | gated / core | open gates |")
    print("|---|---|---|---|---|---|---|")
    found: dict[str, list[Result]] = {kind: [] for kind in KINDS}
    for seed in range(chosen.seeds):
        twin = simulate(Scenario(seed=seed, days=TRAIN_DAYS + TEST_DAYS))
        for kind in KINDS:
            row = score(*played(twin, seed, steps=chosen.steps, kind=kind))
            found[kind].append(row)
            print(
                f"| {seed} | {kind} | {row.bound:.4f} | {row.deviation:.2e} | {row.whole:.4f} | {row.gated:.4f} | "
                f"{row.open_gates:.0%} |",
                flush=True,
            )
    for kind in KINDS[1:]:
        for what in ("whole", "gated"):
            ratio = np.array([getattr(row, what) for row in found[kind]])
            ratio /= np.array([getattr(row, what) for row in found["fixed"]])
            print(f"{what} network, {kind} / fixed: {ratio.mean():.4f} ({ratio.min():.4f} to {ratio.max():.4f})")


if __name__ == "__main__":
    main()
