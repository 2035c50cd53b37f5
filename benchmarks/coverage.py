"""How often outcomes lie in the 5 to 95 % band of the shipped forecast, as the model has it and calibrated bar by bar.

    python benchmarks/coverage.py [--data ../shared/data] [--seeds 1 2 3]

Federations are rehearsed at the shipped budgets (epsilon 8). The simulated market has ten members and three markets;
the real venues are trained on 1 to 8 March 2023 and forecast 9 to 21 March, with the USDC depeg in it: stressed are
the 72 hours from the onset in `events.csv`, the first six of them apart, and calm is the rest. Rows are those after
training and an embargo. A row counts an outcome as covered if it lies in the band that was issued a bar before. The
label is the published cost, which is what members forecast and calibrate on; the truth is the cost without the
channel's noise (on real files: the members' exact mean). Widths are in log units; the last column is the error (RMSE,
against the truth) of the calibrated median over that of the point forecast. Members share the state: their rows are no
independent draws.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from hansa.federation.published import EMBARGO_BARS
from hansa.federation.views import views_of
from hansa.lab.assessment import Bench
from hansa.lab.benchmark.coverage import ASKED as TARGET
from hansa.lab.benchmark.coverage import TOLERANCE
from hansa.lab.benchmark.datasets import BITCOIN, STABLECOINS
from hansa.lab.benchmark.panel import Venues
from hansa.lab.benchmark.shared import constitution_of_panel, market_of, simulated
from hansa.lab.benchmark.shared_arms import both_bands
from hansa.lab.rehearsal import rehearse
from hansa.lab.replay.events import event_named
from hansa.lab.venues import BAR_NS, COST, DAY_NS, MEASURES, WEIGHT_CAP, member_series
from hansa.market.calendar import NS_PER_HOUR
from hansa.model.conformal import coverage
from hansa.model.design import QUANTILES
from hansa.model.evaluation import next_bar, rmse

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hansa.governance.constitution import Constitution

FOLDER: Final = "usdc_depeg_2023-03"
TRAIN_DAYS: Final = 8
STRESS_HOURS: Final = 72
FIRST_HOURS: Final = 6


@dataclass(frozen=True)
class Scene:
    """A federation to rehearse and what is known about it afterwards; `hours` are those since the onset, if any."""

    name: str
    constitution: Constitution
    spans: Venues
    truth: np.ndarray
    hours: np.ndarray


def simulated_scene(seed: int) -> Scene:
    panel = simulated(seed)
    spans = panel.venues
    if spans is None:
        raise SystemExit("the simulated market is no shared panel any more; this script needs one")
    market = market_of(panel.measures, panel.measures[panel.cost], spans)
    baskets = list(market.baskets)
    truth = np.stack([panel.outcome[panel.markets.index(basket)] for basket in baskets], axis=1)
    hours = np.full(truth.shape[0], -1.0)
    return Scene(f"simulated, seed {seed}", constitution_of_panel(market, panel.names), spans, truth, hours)


def venue_scene(name: str, data: Path, markets: Sequence[str]) -> Scene:
    series = member_series(data / FOLDER, markets, member_by="venue")
    frames = [frame for own in series.values() for frame in own]
    start = max(-(-int(frame["ts_ns"][0]) // BAR_NS) for frame in frames) * BAR_NS
    until = min(int(frame["ts_ns"][-1]) // BAR_NS for frame in frames) * BAR_NS
    volume = sum(float((bars["volume"] * bars["close"]).fill_null(0.0).to_numpy().mean()) for bars in frames)
    as_of = start + TRAIN_DAYS * DAY_NS - BAR_NS
    empty = Venues({}, {"basket": tuple(markets)}, volume * BAR_NS / 60e9, WEIGHT_CAP, start, TRAIN_DAYS, as_of, until)
    market = market_of(MEASURES, COST, empty)
    views = {member: views_of(own, market) for member, own in series.items()}
    constitution = constitution_of_panel(market, tuple(views))
    bench = Bench(constitution, views, start, (until - start) // BAR_NS + 1, (as_of - start) // BAR_NS + 1)
    onset = event_named(data, "usdc_depeg").onset_ns
    hours = (bench.stamps() - onset) / NS_PER_HOUR
    spans = Venues(views, empty.baskets, empty.volume_unit, WEIGHT_CAP, start, TRAIN_DAYS, as_of, until)
    truth = bench.exact_state()[:, :, market.measures.index(COST)]
    return Scene(name, constitution, spans, truth, hours)


def lines(scene: Scene, seed: int) -> Iterator[str]:
    spans = scene.spans
    works = rehearse(
        scene.constitution, spans.views, as_of_ns=spans.as_of_ns, until_ns=spans.until_ns, seed=seed, is_settled=False
    ).works
    found: dict[str, list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]] = {}
    for name, work in works.items():
        published = work.published
        plain, given = both_bands(published, spans.views[name])
        rows = np.arange(published.train_bars + EMBARGO_BARS, published.state.shape[0] - 1)
        shift = (spans.start_ns - published.start_ns) // published.bar_ns
        for place in range(len(published.baskets)):
            if not np.isfinite(given[:, place]).any():
                continue  # a basket that the member does not see
            label = next_bar(published.state[:, place, published.cost])
            truth = next_bar(scene.truth[:, place])
            hours = scene.hours[rows - shift]
            stressed = (hours >= 0) & (hours < STRESS_HOURS)
            first = stressed & (hours < FIRST_HOURS)
            parts = {"all": np.isfinite(hours), "calm": ~stressed, "stressed": stressed, "first hours of it": first}
            for part, chosen in parts.items():
                if chosen.any() and (part == "all" or stressed.any()):
                    kept = rows[chosen]
                    found.setdefault(part, []).append(
                        (plain[kept, place], given[kept, place], label[kept], truth[kept - shift])
                    )
    for part, series in found.items():
        plain, given, label, truth = (np.concatenate(columns) for columns in zip(*series, strict=True))
        before, _ = coverage(plain, label)
        after, below = coverage(given, label)
        of_truth, _ = coverage(given, truth)
        width = [float((one[:, -1] - one[:, 0]).mean()) for one in (plain, given)]
        middle = QUANTILES.index(0.5)
        known = np.isfinite(truth)
        late = rmse(given[known, middle], truth[known]) / rmse(plain[known, middle], truth[known])
        verdict = "yes" if abs(after - TARGET) <= TOLERANCE else "NO"
        levels = " ".join(f"{100 * share:.1f}" for share in below)
        each = [coverage(one[1], one[2])[0] for one in series]
        yield (
            f"| {scene.name} | {part} | {label.size:,} | {before:.1%} | **{after:.1%}** | "
            f"{min(each):.1%} to {max(each):.1%} | {verdict} | {levels} | {of_truth:.1%} | {width[0]:.2f} | "
            f"{width[1]:.2f} | {late:.3f} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    asked = parser.parse_args()
    print(
        "| data | part | forecasts | model's own band | calibrated | by series | 90 +- 2 % | "
        "below q05 q25 q50 q75 q95, % | truth in it | width before | after | median / point |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|---|")
    for seed in asked.seeds:
        for line in lines(simulated_scene(seed), seed):
            print(line, flush=True)
    if not (asked.data / FOLDER).is_dir():
        print(f"\n{asked.data / FOLDER} is not there: no real venues; give --data DIR")
        return
    for name, markets in {"stablecoins": STABLECOINS, "bitcoin": BITCOIN}.items():
        scene = venue_scene(name, asked.data, markets)
        for line in lines(scene, 1):
            print(line, flush=True)


if __name__ == "__main__":
    main()
