"""What a member's own head of the residual network brings, and what the network's quantiles bring beside past errors.

    python benchmarks/personal_head.py [--data ../shared/data] [--seeds 5] [--only simulated stablecoins china_futures]

Out of sample, on the benchmark's test rows. Each federation trains the network twice: at epsilon 8 with 12 steps (what
ships), and without noise or clipping with 48 steps (what no federation may do: how good the network could be). Members
see the same baskets in `simulated` (another market for each seed) and `stablecoins` (two stretches, other noise for
each seed): the product's rehearsal. In `china_futures` each member has markets of its own: one network for single
markets, day-blocks of a trading year, sums and noise in memory, the first of six stretches (18 series).

Errors are RMSE ratios to the closed-form core with personal weights, which the network starts from, mean over series;
below 1 the network helps. `whole`: all of its median is used; `gated`: the share chosen on the member's own later rows.
Intervals are 90 % block bootstraps; blocks are days, or 20 trading days. Quantiles stand about the core, all calibrated
bar by bar (`hansa.model.conformal`): `past errors` alone do not move before that; `scale` is a linear model of the
logarithm of the absolute error on the core's regressors; the figure is the pinball loss over that of `past errors`,
mean over series and seeds, with the least and the greatest seed.

`--rounds N` trains over N rounds, two days apart, the last of which is the one judged: the network goes on where the
round before left it. On the two shared data sets only.

`--pulls` measures something else, on the two shared data sets: what it costs that the core's pull is chosen against
shared weights that have seen the rows it is chosen on. `blind` pulls are chosen against weights of everybody's earlier
rows, clipped and noised likewise, which no member has: the RMSE with blind pulls over that with the shipped ones.
"""

from __future__ import annotations

import argparse
import math
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np

from hansa.crypto.signature import SigningKey
from hansa.federation.draft_file import Budgets, Draft, Training
from hansa.federation.drafting import constitution_of
from hansa.federation.forecasting import basket_rows, fit, linear_series, own_measures, shared_weights
from hansa.federation.own_network import MEDIAN, offsets
from hansa.federation.published import SERVER
from hansa.federation.rules import limits_of
from hansa.federation.schedule import replay_programme
from hansa.governance.constitution import Party
from hansa.lab.benchmark.datasets import panel
from hansa.lab.benchmark.epsilons import DELTA, NO_NOISE, SHIPPED
from hansa.lab.benchmark.own_arms import common_rows, published_state
from hansa.lab.benchmark.shared import market_of
from hansa.lab.rehearsal import open_sums, rehearse
from hansa.market.features import harmonics
from hansa.model.artefact import residual_spread
from hansa.model.baselines import RIDGE
from hansa.model.clipping import bound_of, norm_counts
from hansa.model.comparison import mean_ratio
from hansa.model.conformal import calibrate, coverage
from hansa.model.core import block_gram, choose_pull, public_weights, solve, solve_personal
from hansa.model.design import QUANTILES, Design, Inputs, current_columns
from hansa.model.evaluation import bar_losses, next_bar
from hansa.model.network import NetworkShape, initial_parameters, predict_offsets, stack_inputs
from hansa.model.personal import head_rows, train_head, with_head
from hansa.model.training import Series, block_norms, block_updates, choose_gate, day_batch
from hansa.protocol.limits import DAY_NS
from hansa.protocol.privacy import noise_multiplier_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hansa.lab.benchmark.epsilons import Epsilons
    from hansa.lab.benchmark.panel import Panel, Venues
    from hansa.lab.rehearsal import Rehearsal
    from hansa.model.core import MemberRows
    from hansa.model.personal import Head
    from hansa.protocol.limits import Limits

ARMS: Final = ("core", "shared, whole", "shared, gated", "own head, whole", "own head, gated")
SPREADS: Final = ("past errors", "shared heads", "own heads", "scale")
BUDGETS: Final = ((SHIPPED, 12), (NO_NOISE, 48))
STRETCHES: Final = {"simulated": (0,), "stablecoins": (0, 1), "china_futures": (0,)}
FOLDS: Final = {"simulated": 1, "stablecoins": 2, "china_futures": 6}
LEAST_NOISE: Final = {"census": 5e-5, "state": 2e-3, "gram": 1e-9, "weights": 1e-3}
YEAR_BARS: Final = 240
WIDEST: Final = 0.5


@dataclass
class Found:
    """One stretch and seed: errors by arm, (series, bar), and what else is told."""

    blocks: np.ndarray
    errors: dict[str, np.ndarray]
    pinball: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in SPREADS})
    covered: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in SPREADS})
    strengths: Counter[float] = field(default_factory=Counter)
    gates: list[tuple[float, float]] = field(default_factory=list)
    heads: list[float] = field(default_factory=list)


def loosened(limits: Limits) -> Limits:
    """Return limits with the sampler's least noise and without clipping of Gram matrices."""
    purposes = {
        name: replace(one, noise_multiplier=LEAST_NOISE[name], sensitivity=2e6 if name == "gram" else one.sensitivity)
        for name, one in limits.purposes.items()
    }
    return replace(limits, purposes=purposes)


def scale_steps(regressors: np.ndarray, error: np.ndarray, rows: np.ndarray, bars: int) -> np.ndarray:
    """Return quantiles about the median that a linear model of log |error| spreads."""
    size = np.log(np.abs(error[rows]) + 0.05)
    columns = regressors[rows]
    gram = columns.T @ columns / bars + np.eye(columns.shape[1])
    weights = np.linalg.solve(gram, columns.T @ (size - size.mean()) / bars)
    scale = np.exp(np.clip(regressors @ weights, -3.0, 3.0))
    steps = np.quantile(error[rows] / scale[rows], QUANTILES)
    return np.asarray(scale[:, None] * (steps - steps[MEDIAN]))


def pinball(quantiles: np.ndarray, outcome: np.ndarray) -> float:
    level, error = np.asarray(QUANTILES), outcome[:, None] - quantiles
    return float(np.nanmean(np.maximum(level * error, (level - 1) * error)))


def judge_spreads(
    found: Found, one: MemberRows, linear: np.ndarray, *, label: np.ndarray, parts: dict[str, np.ndarray],
    own: np.ndarray, shared: np.ndarray, bars: int,
) -> None:  # fmt: skip
    """Add the pinball loss and coverage of each way to spread a series' forecasts about its core."""
    validation, test = parts["validation"], parts["test"]
    first = int(validation[0])
    still = residual_spread(one.rows.target[validation], linear[validation])
    ways = {
        "past errors": np.broadcast_to(still, own.shape),
        "shared heads": shared - shared[:, MEDIAN : MEDIAN + 1],
        "own heads": own - own[:, MEDIAN : MEDIAN + 1],
        "scale": scale_steps(one.rows.regressors, one.rows.target - linear, parts["train"], bars),
    }
    outcome = next_bar(label)[test]
    is_known = np.isfinite(outcome)
    for name, steps in ways.items():
        given = calibrate(one.label.invert(linear[first:, None] + steps[first:]), label[first:])[test - first]
        found.pinball[name].append(pinball(given[is_known], outcome[is_known]))
        found.covered[name].append(coverage(given[is_known], outcome[is_known])[0])


def rehearsed(on: Panel, budget: Epsilons, steps: int, seed: int, rounds: int = 1) -> tuple[Rehearsal, Venues]:
    """Rehearse the federation of a shared panel, over rounds two days apart."""
    spans = on.venues
    if spans is None:
        raise SystemExit(f"{on.name} is no shared panel any more; this script needs one")
    market = market_of(on.measures, on.measures[on.cost], spans)
    market = msgspec.structs.replace(market, history_days=market.history_days - 2 * (rounds - 1))
    rules = constitution_of(
        Draft(market, Budgets(clip=0.0 if budget.is_none else 2.0), Training(steps=steps)),
        federation="heads",
        members=[Party(name, SigningKey.generate().public) for name in on.names],
        coordinator=Party("coordinator", SigningKey.generate().public),
    )
    limits = limits_of(rules)
    ends = [spans.as_of_ns - 2 * DAY_NS * before for before in range(rounds - 1, -1, -1)]
    played = rehearse(
        rules, spans.views, as_of_ns=ends[0], until_ns=ends[1] if ends[1:] else spans.until_ns, seed=seed,
        limits=loosened(limits) if budget.is_none else limits, is_settled=False,
    )  # fmt: skip
    for place, end in enumerate(ends[1:], start=1):
        until = ends[place + 1] if place + 1 < rounds else spans.until_ns
        open_sums(played, replay_programme(rules, end, until), np.random.default_rng([seed, place]))
    return played, spans


def blind_pulls(on: Panel, budget: Epsilons, seed: int) -> tuple[Found, int, int]:
    """Return errors of the core with pulls as shipped and chosen blind, how many pulls differ, and of how many."""
    played, spans = rehearsed(on, budget, 0, seed)
    test = on.split.test
    builds = {name: basket_rows(work.published, spans.views[name]) for name, work in played.works.items()}
    forecasts = {arm: np.full((len(on.members), test.size), np.nan) for arm in ("shipped", "blind")}
    differing = 0
    for place in on.series:
        published, basket = played.works[on.members[place]].published, on.markets[place]
        early, late = published.fit_and_validation_rows()
        clip = np.inf if budget.is_none else Training().gram_clip / math.sqrt(len(published.baskets))
        parts = [block_gram(one[basket].rows.take(early), clip=clip) for one in builds.values() if basket in one]
        total = np.sum(parts, axis=0)
        total += published.gram_deviation * np.random.default_rng([seed, place]).standard_normal(total.size)
        one = builds[on.members[place]][basket]
        shared = shared_weights(published, one.rows, published.baskets.index(basket))
        own = block_gram(one.rows.take(published.train_rows()), clip=np.inf)
        prior = public_weights(one.rows.take(early), ~own_measures(published), ridge=RIDGE)
        blind = solve(total, ridge=RIDGE, noise_deviation=published.gram_deviation, towards=prior)
        pulls = [choose_pull(one.rows.take(early), one.rows.take(late), towards) for towards in (shared, blind)]
        differing += pulls[0] != pulls[1]
        shift = (spans.start_ns - published.start_ns) // published.bar_ns
        for arm, pull in zip(forecasts, pulls, strict=True):
            forecasts[arm][place] = one.forecast(solve_personal(own, shared, pull=pull))[test + shift]
    errors = {arm: on.errors(made) for arm, made in forecasts.items()}
    return Found(on.blocks[test], errors), differing, len(on.members)


def show_pulls(asked: argparse.Namespace) -> None:
    print("| data | epsilon | blind / shipped (90 % interval) | pulls that differ |\n|---|---|---|---|")
    for name in ("simulated", "stablecoins"):
        if name != "simulated" and not asked.data.is_dir():
            print(f"{asked.data} is not there: {name} is left out; give --data DIR")
            continue
        for budget, _ in BUDGETS:
            found, differing, pulls = {}, 0, 0
            for stretch in STRETCHES[name]:
                for seed in range(1, asked.seeds + 1):
                    on = panel(name, asked.data, stretch, FOLDS[name], seed=seed if name == "simulated" else 1)
                    found[stretch, seed], differ, of = blind_pulls(on, budget, seed)
                    differing, pulls = differing + differ, pulls + of
            losses, blocks = joined(name, found)
            one = mean_ratio(losses["blind"], losses["shipped"], blocks, metric="rmse")
            print(f"| {name} | {budget.name} | {one.estimate:.4f} ({one.low:.4f} to {one.high:.4f}) | ", end="")
            print(f"{differing} of {pulls} |", flush=True)


def shared_panel(on: Panel, budget: Epsilons, steps: int, seed: int, rounds: int = 1) -> Found:
    """Rehearse the federation of a shared panel and judge what each member makes of the network."""
    played, spans = rehearsed(on, budget, steps, seed, rounds)
    test = on.split.test
    forecasts = {arm: np.full((len(on.members), test.size), np.nan) for arm in ARMS}
    found = Found(on.blocks[test], {})
    for name, work in played.works.items():
        published = work.published
        built = basket_rows(published, spans.views[name])
        fitted = fit(published, built)
        series = linear_series(published, built, fitted.personal)
        own = fitted.own
        if own is None:
            raise SystemExit("the network has taken no step; ask for steps")
        of_shared, of_own = offsets(published, series), offsets(published, series, own.parameters)
        found.strengths[own.head.strength] += 1
        shift = (spans.start_ns - published.start_ns) // published.bar_ns
        _, validation = published.fit_and_validation_rows()
        parts = {"train": published.train_rows(), "validation": validation, "test": test + shift}
        for place in on.of(name):
            basket = on.markets[place]
            at = published.baskets.index(basket)
            gates = fitted.gates[basket], own.gates[basket]
            found.gates.append(gates)
            found.heads.append(own.heads[basket])
            linear = series.linear[:, at]
            residuals = (0.0, of_shared, gates[0] * of_shared, of_own, gates[1] * of_own)
            for arm, residual in zip(ARMS, residuals, strict=True):
                median = linear + (residual if isinstance(residual, float) else residual[:, at, MEDIAN])
                forecasts[arm][place] = built[basket].label.invert(median[:, None])[test + shift, 0]
            label = published.state[:, at, published.cost]
            judge_spreads(
                found,
                built[basket],
                linear,
                label=label,
                parts=parts,
                own=of_own[:, at],
                shared=of_shared[:, at],
                bars=288,
            )
    found.errors = {arm: on.errors(made) for arm, made in forecasts.items()}
    return found


class OwnMarkets:
    """A federation of members with markets of their own: one network for single markets, sums in memory.

    Args:
        on: An own panel.
        budget: Noise.
        steps: Training steps of the network.
        seed: Of noise and of the network's start.
    """

    def __init__(self, on: Panel, budget: Epsilons, steps: int, seed: int) -> None:
        self.on, self.budget, self.steps = on, budget, steps
        self.rng = np.random.default_rng(seed)
        self.shape = NetworkShape(1, 2 * len(on.measures) + 1)
        self.start = initial_parameters(self.shape, seed)
        self.blocks = -(-on.slot.size // YEAR_BARS) + 1
        self.design = Design(lags=on.lags, slots_per_day=on.slots)
        state = published_state(on, budget, self.rng)
        self.built = {
            place: common_rows(on, place, Inputs(on.slot, on.own[place], state))
            for place in on.series
            if on.learns(place)
        }
        self.shares = {name: math.sqrt(sum(place in self.built for place in on.of(name))) for name in on.names}

    def shared_core(self) -> np.ndarray:
        """Return the weights that all series' summed Gram matrices give."""
        clip = np.inf if self.budget.is_none else Training().gram_clip
        total = np.zeros(0)
        for place, one in self.built.items():
            rows = one.rows.take(self.on.rows(place, self.on.split.train))
            packed = block_gram(rows, clip=clip / self.share(place), block_bars=self.on.lags[-1])
            total = packed if total.size == 0 else total + packed
        deviation = 0.0 if self.budget.is_none else noise_multiplier_for(self.budget.yearly, DELTA, 1) * 2 * clip
        noise = deviation * self.rng.standard_normal(total.size)
        return solve(total + noise, ridge=RIDGE, noise_deviation=deviation)

    def share(self, place: int) -> float:
        """Return what a series' clip is divided by, so that all of a member's move a sum by one clip."""
        return self.shares[self.on.members[place]]

    def series(self, place: int, weights: np.ndarray) -> Series:
        """Return the scaled series of one market on a core."""
        rows = self.built[place].rows
        linear = (rows.regressors @ weights)[:, None]
        current = rows.regressors[:, None, current_columns(self.design, len(self.on.measures))]
        days = np.arange(self.on.slot.size) // YEAR_BARS
        clock = harmonics(self.on.slot, self.on.slots)
        return Series(stack_inputs(current, linear), clock, linear, rows.target[:, None], days)

    def trained(self, batches: dict[int, object]) -> np.ndarray:
        """Return the shared parameters after all steps."""
        state, bound, noise = SERVER.start(self.start), 1e6, 0.0
        blocks = sum(int((one.weight.sum(axis=(1, 2)) > 0).sum()) for one in batches.values())  # type: ignore[attr-defined]
        if not self.budget.is_none:
            counts = (
                noise_multiplier_for(2.0, DELTA, 1) * 2 * self.rng.standard_normal(norm_counts(np.ones(1), 1.0).size)
            )
            for place, one in batches.items():
                counts += norm_counts(self.share(place) * block_norms(self.shape, self.start, one), WIDEST)  # type: ignore[arg-type]
            bound = bound_of(counts, WIDEST)
            noise = noise_multiplier_for(self.budget.yearly, DELTA, self.steps) * 2 * bound
        for _ in range(self.steps):
            total = noise * self.rng.standard_normal(self.start.size)
            for place, one in batches.items():
                total += block_updates(self.shape, state.parameters, one, clip=bound / self.share(place))  # type: ignore[arg-type]
            state = SERVER.apply(state, total, blocks=blocks)
        return state.parameters


def own_panel(on: Panel, budget: Epsilons, steps: int, seed: int) -> Found:
    """Train on an own panel and judge what each series makes of the network."""
    markets = OwnMarkets(on, budget, steps, seed)
    shared, shape, alone = markets.shared_core(), markets.shape, np.zeros((1, 1))
    test, lags = on.split.test, on.lags[-1]
    found = Found(on.blocks[test], {})
    cores, batches = {}, {}
    for place, one in markets.built.items():
        fit_rows, validation, train = on.parts(place)
        pull = choose_pull(one.rows.take(fit_rows), one.rows.take(validation), shared)
        cores[place] = [
            solve_personal(block_gram(one.rows.take(rows), clip=np.inf, block_bars=lags), shared, pull=pull)
            for rows in (fit_rows, train)
        ]

        def cut(series: Series, rows: np.ndarray) -> object:
            chosen = np.zeros(on.slot.size, dtype=bool)
            chosen[rows] = True
            return day_batch(series, chosen, alone, blocks=markets.blocks, block_bars=YEAR_BARS)

        earlier, whole = (markets.series(place, weights) for weights in cores[place])
        batches[place] = cut(whole, train), cut(earlier, fit_rows), cut(earlier, validation), earlier, whole
    parameters = markets.trained({place: one[0] for place, one in batches.items()})
    forecasts = {arm: np.full((len(on.members), test.size), np.nan) for arm in ARMS}
    for place, (train_batch, fit_batch, tail_batch, earlier, whole) in batches.items():
        fit_part, tail, train_part = (
            head_rows(shape, parameters, one)  # type: ignore[arg-type]
            for one in (fit_batch, tail_batch, train_batch)
        )
        head: Head = train_head(shape, parameters, fit=fit_part, validation=tail, train=train_part)
        found.strengths[head.strength] += 1
        _, validation, train = on.parts(place)

        def residual(series: Series, vector: np.ndarray) -> np.ndarray:
            return predict_offsets(shape, vector, series.inputs, series.clock, alone)[:, 0]

        of_shared = residual(whole, parameters)
        of_own = residual(whole, with_head(shape, parameters, head.values))
        chosen = [
            choose_gate(earlier.target[validation, 0], earlier.linear[validation, 0], made[validation, MEDIAN])
            for made in (residual(earlier, parameters), residual(earlier, with_head(shape, parameters, head.fitted)))
        ]
        found.gates.append((chosen[0], chosen[1]))
        linear = whole.linear[:, 0]
        shares = ((0.0, of_own), (1.0, of_shared), (chosen[0], of_shared), (1.0, of_own), (chosen[1], of_own))
        one = markets.built[place]
        for arm, (gate, made) in zip(ARMS, shares, strict=True):
            forecasts[arm][place] = one.label.invert((linear + gate * made[:, MEDIAN])[:, None])[test, 0]
        scored = test[on.known(place)[test]]
        if scored.size:
            parts = {"train": train, "validation": validation, "test": scored}
            judge_spreads(
                found, one, linear, label=on.label[place], parts=parts, own=of_own, shared=of_shared, bars=lags
            )
    found.errors = {arm: on.errors(made) for arm, made in forecasts.items()}
    return found


def joined(name: str, found: dict[tuple[int, int], Found]) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return squared errors by arm and their blocks: stretches and simulated markets in a row, noise seeds averaged."""
    stretches: dict[int, list[Found]] = {}
    for (stretch, seed), one in found.items():
        stretches.setdefault(seed if name == "simulated" else stretch, []).append(one)
    losses: dict[str, list[np.ndarray]] = {arm: [] for one in found.values() for arm in one.errors}
    blocks: list[np.ndarray] = []
    for ones in stretches.values():
        offset = 0 if not blocks else int(blocks[-1].max()) + 1
        blocks.append(ones[0].blocks - int(ones[0].blocks.min()) + offset)
        for arm, parts in losses.items():
            parts.append(np.mean([bar_losses(one.errors[arm], "rmse") for one in ones], axis=0))
    return {arm: np.concatenate(parts, axis=1) for arm, parts in losses.items()}, np.concatenate(blocks)


def lines(name: str, budget: Epsilons, found: dict[tuple[int, int], Found]) -> Iterator[str]:
    losses, blocks = joined(name, found)
    scored = np.isfinite(losses["core"]).any(axis=1)
    for arm in ARMS[1:]:
        one = mean_ratio(losses[arm][scored], losses["core"][scored], blocks, metric="rmse")
        each = []
        for key, part in found.items():
            alone, days = joined(name, {key: part})
            each.append(mean_ratio(alone[arm][scored], alone["core"][scored], days, metric="rmse", draws=2).estimate)
        yield (
            f"| {name} | {budget.name} | {arm} | {one.estimate:.4f} ({one.low:.4f} to {one.high:.4f}) | "
            f"{min(each):.4f} to {max(each):.4f} |"
        )
    gates = np.concatenate([np.array(one.gates) for one in found.values()])
    strengths: Counter[float] = sum((one.strengths for one in found.values()), Counter())
    pulls = ", ".join(f"{strength:g}: {count}" for strength, count in sorted(strengths.items(), reverse=True))
    open_ = (gates > 0).mean(axis=0)
    yield f"  pulls of the head {pulls}; gates open: shared {open_[0]:.0%}, own {open_[1]:.0%}"
    heads = np.concatenate([np.array(one.heads) for one in found.values()])
    if heads.size:
        yield f"  heads that spread the forecast by the member's own choice: {heads.mean():.0%}"


def spread_lines(name: str, budget: Epsilons, found: dict[tuple[int, int], Found]) -> Iterator[str]:
    for way in SPREADS:
        ratios = [np.mean(np.array(one.pinball[way]) / np.array(one.pinball["past errors"])) for one in found.values()]
        covered = np.concatenate([np.array(one.covered[way]) for one in found.values()])
        yield (
            f"| {name} | {budget.name} | {way} | {np.mean(ratios):.4f} ({min(ratios):.4f} to {max(ratios):.4f}) | "
            f"{covered.mean():.1%} | {covered.min():.1%} to {covered.max():.1%} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=list(STRETCHES), default=list(STRETCHES))
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--pulls", action="store_true")
    asked = parser.parse_args()
    if asked.pulls:
        show_pulls(asked)
        return
    began = time.process_time()
    second = ["\n| data | epsilon | spread | pinball / past errors (seeds) | covered by the 90 % band | by series |"]
    second.append("|---|---|---|---|---|---|")
    print("| data | epsilon | arm | RMSE / core (90 % interval) | seeds |\n|---|---|---|---|---|")
    for name in asked.only:
        if name != "simulated" and not asked.data.is_dir():
            print(f"{asked.data} is not there: {name} is left out; give --data DIR")
            continue
        for budget, steps in BUDGETS:
            found = {}
            for stretch in STRETCHES[name]:
                for seed in range(1, asked.seeds + 1):
                    on = panel(name, asked.data, stretch, FOLDS[name], seed=seed if name == "simulated" else 1)
                    is_shared = on.venues is not None
                    found[stretch, seed] = (
                        shared_panel(on, budget, steps, seed, asked.rounds)
                        if is_shared
                        else own_panel(on, budget, steps, seed)
                    )
            print("\n".join(lines(name, budget, found)), flush=True)
            second += spread_lines(name, budget, found)
    print("\n".join(second))
    print(f"\n{time.process_time() - began:.0f} s of processor time")


if __name__ == "__main__":
    main()
