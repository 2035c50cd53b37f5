"""Shared panels: members that see the same baskets through windows of their own, as the product's rehearsal wants them.

The label that models learn is the members' exact state of the cost (weights as `hansa run` has them, of the training
span); a broker without a federation has no such label: giving it one favours every forecast that needs no federation.
The outcome is that label on real files, and the true cost at the members' level on the simulated market.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from hansa.crypto.signature import SigningKey
from hansa.errors import ConfigurationError
from hansa.federation.draft_file import Budgets, Draft, Training
from hansa.federation.drafting import constitution_of
from hansa.federation.published import WARM_UP_BARS
from hansa.federation.views import views_of
from hansa.governance.constitution import Market, Party
from hansa.lab.assessment import Bench
from hansa.lab.benchmark.epsilons import DELTA, SHIPPED
from hansa.lab.benchmark.panel import Panel, Venues
from hansa.lab.demo import MEASURES as SIMULATED_MEASURES
from hansa.lab.demo import TRAIN_DAYS as SIMULATED_TRAIN_DAYS
from hansa.lab.demo import VOLUME_UNIT, levelled, stage
from hansa.lab.venues import BAR_NS, COST, DAY_NS, MEASURES, TRAIN_SHARE, WEIGHT_CAP, MemberBy, member_series
from hansa.market.calendar import slot_of_day
from hansa.model.design import Design
from hansa.model.evaluation import Split

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import polars as pl
    from jaxtyping import Float

    from hansa.governance.constitution import Constitution
    from hansa.lab.benchmark.epsilons import Epsilons

SIMULATED_MEMBERS: Final = 10
SIMULATED_WEIGHT_CAP: Final = 0.25
INFLUENCE_CAP: Final = 0.02
LAGS: Final = Design().lags
VALIDATION_SHARE: Final = 0.25


def market_of(measures: Sequence[str], cost: str, venues: Venues) -> Market:
    """Return the constitution's market clause for a panel."""
    return Market(
        bar_seconds=BAR_NS // 1_000_000_000,
        baskets=dict(venues.baskets),
        measures=tuple(measures),
        cost=cost,
        volume_unit=venues.volume_unit,
        weight_cap=venues.weight_cap,
        influence_cap=INFLUENCE_CAP,
        history_days=venues.train_days,
    )


def constitution_of_panel(market: Market, members: Sequence[str], epsilons: Epsilons = SHIPPED) -> Constitution:
    """Return the constitution of a panel's members at some budgets; their keys are drawn and thrown away.

    Args:
        market: Its market clause.
        members: Names.
        epsilons: Budgets; without noise, those of `SHIPPED`, for `arms` to loosen.
    """
    chosen = SHIPPED if epsilons.is_none else epsilons
    budgets = Budgets(
        census=chosen.yearly, state=chosen.state, gram=chosen.yearly, clip=0.0, weights=chosen.yearly, delta=DELTA
    )
    return constitution_of(
        Draft(market, budgets, Training(steps=0)),
        federation="benchmark",
        members=[Party(name, SigningKey.generate().public) for name in members],
        coordinator=Party("coordinator", SigningKey.generate().public),
    )


def simulated(seed: int, *, members: int = SIMULATED_MEMBERS, noise_factor: float = 1.0) -> Panel:
    """Simulate a market and put what its brokers see into a panel: one fold, the demo's spans.

    Args:
        seed: Of everything in it.
        members: Brokers.
        noise_factor: View noise as a multiple of the calibrated one.
    """
    scene = stage(seed, members=members, noise_factor=noise_factor)
    series = {name: scene.series(name) for name in scene.scenario.names}
    baskets = {market: (market,) for market in sorted(scene.scenario.markets)}
    stamps = np.sort(series[scene.scenario.names[0]][0]["ts_ns"].to_numpy())
    spans = Venues(
        {}, baskets, VOLUME_UNIT, SIMULATED_WEIGHT_CAP, int(stamps[0]), SIMULATED_TRAIN_DAYS,
        scene.span.as_of_ns, scene.span.until_ns,
    )  # fmt: skip
    return _panel("simulated", series, spans, SIMULATED_MEASURES, SIMULATED_MEASURES[0], truth=scene.truth())


def venues(name: str, folder: Path, markets: Sequence[str], *, by: MemberBy, fold: int, folds: int) -> Panel:
    """Put real series of several venues into a panel, as `hansa run` would.

    Args:
        name: Of the data set.
        folder: Of the files.
        markets: Of the one basket.
        by: What makes a member.
        fold: Which test stretch; training parts are whole days, the first is `TRAIN_SHARE` of the span.
        folds: Of so many.

    Raises:
        ConfigurationError: The files have too few days in common.
    """
    series = member_series(folder, markets, member_by=by)
    frames = [frame["ts_ns"].to_numpy() for own in series.values() for frame in own]
    start = max(-(-int(one[0]) // BAR_NS) for one in frames) * BAR_NS
    end = min(int(one[-1]) // BAR_NS for one in frames) * BAR_NS
    days = (end - start + BAR_NS) / DAY_NS
    first = int(days * TRAIN_SHARE)
    cuts = [first + int(part * (days - first) / folds) for part in range(folds)]
    ends = [*(start + cut * DAY_NS - BAR_NS for cut in cuts[1:]), end]
    if first < 2 or days - cuts[-1] < 1.5:
        raise ConfigurationError(f"{folder}: {days:.1f} days in common are too few for {folds} test stretches")
    volume = sum(
        float((bars["volume"] * bars["close"]).fill_null(0.0).to_numpy().mean())
        for own in series.values()
        for bars in own
    )
    spans = Venues(
        {}, {"basket": tuple(markets)}, volume * BAR_NS / 60e9, WEIGHT_CAP, start, cuts[fold],
        start + cuts[fold] * DAY_NS - BAR_NS, ends[fold],
    )  # fmt: skip
    return _panel(name, series, spans, MEASURES, COST, truth=None)


def _panel(
    name: str,
    series: Mapping[str, list[pl.DataFrame]],
    spans: Venues,
    measures: Sequence[str],
    cost: str,
    *,
    truth: Float[np.ndarray, "time basket"] | None,
) -> Panel:
    market = market_of(measures, cost, spans)
    views = {member: views_of(own, market) for member, own in series.items()}
    filled = Venues(
        views, spans.baskets, spans.volume_unit, spans.weight_cap, spans.start_ns, spans.train_days,
        spans.as_of_ns, spans.until_ns,
    )  # fmt: skip
    bars = (filled.until_ns - filled.start_ns) // BAR_NS + 1
    train_bars = (filled.as_of_ns - filled.start_ns) // BAR_NS + 1
    bench = Bench(constitution_of_panel(market, tuple(views)), views, filled.start_ns, bars, train_bars)
    exact = bench.exact_state()[:, :, market.measures.index(cost)]
    outcome = exact if truth is None else levelled(bench, truth)
    combined = bench.combined()
    keys = [(member, basket) for member in views for basket in market.baskets if basket in combined[member]]
    places = [list(market.baskets).index(basket) for _, basket in keys]
    stamps = bench.stamps()
    return Panel(
        name=name,
        members=tuple(member for member, _ in keys),
        markets=tuple(basket for _, basket in keys),
        measures=tuple(measures),
        cost=market.measures.index(cost),
        own=np.stack([combined[member][basket].measures for member, basket in keys]),
        label=exact[:, places].T.copy(),
        outcome=outcome[:, places].T.copy(),
        slot=slot_of_day(stamps, BAR_NS),
        slots=DAY_NS // BAR_NS,
        season_bars=DAY_NS // BAR_NS,
        blocks=(stamps - BAR_NS) // DAY_NS,
        lags=LAGS,
        split=_split(bars, train_bars),
        venues=filled,
    )


def _split(bars: int, train_bars: int) -> Split:
    """Return the rows of one fold: the federation's training rows, an embargo of lookback and horizon, the rest."""
    embargo = LAGS[-1] + 1
    train = np.arange(WARM_UP_BARS, train_bars - 1)
    border = train.size - int(train.size * VALIDATION_SHARE)
    gap = min(embargo, border // 2)
    return Split(train, train[: border - gap], train[border:], np.arange(train_bars - 1 + embargo, bars - 1))
