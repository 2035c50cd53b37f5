"""Members with small random views of two baskets, and a constitution for them: no files, no processes."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from hansa.federation.liquidity import LiquidityWork
from hansa.federation.records import Records
from hansa.federation.rules import limits_of
from hansa.federation.views import SeriesView, Views
from hansa.lab.charter import charter
from hansa.protocol.messages import Manifest
from simulator import BAR_NS, DAY_NS, hash_of, signing_key

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hansa.federation.running_sum import Request
    from hansa.governance.constitution import Constitution

BASKETS = {"eur": ["EUR-USD"], "xau": ["XAU-USD"]}
MEASURES = ("log_spread", "log_depth")
HISTORY_DAYS = 6
TRAIN_BARS = HISTORY_DAYS * 288
START_NS = 19_000 * DAY_NS + BAR_NS  # stamp of the first bar of a day
AS_OF_NS = START_NS + (TRAIN_BARS - 1) * BAR_NS
UNTIL_NS = AS_OF_NS + 60 * BAR_NS


@cache
def constitution(members: int = 4, steps: int = 0) -> Constitution:
    names = [f"m{place}" for place in range(members)]
    return charter(
        federation="test",
        keys={name: signing_key(name).public for name in names},
        coordinator_key=signing_key("coordinator").public,
        baskets=BASKETS,
        measures=MEASURES,
        cost=MEASURES[0],
        volume_unit=1e6,
        history_days=HISTORY_DAYS,
        steps=steps,
        weight_cap=0.5,
    )


def persistent(rng: np.random.Generator, bars: int, columns: int) -> np.ndarray:
    noise = rng.standard_normal((bars, columns))
    series = np.zeros((bars, columns))
    for bar in range(1, bars):
        series[bar] = 0.97 * series[bar - 1] + 0.25 * noise[bar]
    return series


@cache
def views_of_member(name: str, bars: int = TRAIN_BARS + 60) -> Views:
    """Return a member's view: what all share, and noise of its own."""
    shared = persistent(np.random.default_rng(5), TRAIN_BARS + 400, len(MEASURES) * len(BASKETS))[:bars]
    rng = np.random.default_rng(hash_of(name))
    own = shared + 0.3 * rng.standard_normal(shared.shape)
    volume = 1e6 * rng.uniform(0.5, 1.5) * rng.uniform(0.5, 1.5, bars)
    series = {
        basket: (SeriesView(own[:, place * len(MEASURES) : (place + 1) * len(MEASURES)], volume),)
        for place, basket in enumerate(BASKETS)
    }
    return Views(START_NS, BAR_NS, bars, series)


def all_views(members: int = 4, **changed: Views) -> Mapping[str, Views]:
    return {name: views_of_member(name) for name in (f"m{place}" for place in range(members))} | changed


def without(views: Views, basket: str) -> Views:
    """Return the view of a member that does not trade a basket."""
    return replace(views, series={name: found for name, found in views.series.items() if name != basket})


def changed_after(views: Views, bar: int) -> Views:
    """Return a view whose measures after a bar are others."""
    series = {}
    for basket, (one,) in views.series.items():
        measures = one.measures.copy()
        measures[bar + 1 :] += 3.0 + np.arange(measures.shape[0] - bar - 1)[:, None] % 7
        series[basket] = (SeriesView(measures, one.quote_volume),)
    return replace(views, series=series)


def work(views: Views, rules: Constitution | None = None, **options: object) -> LiquidityWork:
    found = rules or constitution()
    fields = {"forecasts": None, "volume_key": bytes(32), "records": Records(":memory:"), **options}
    return LiquidityWork(found, limits_of(found), load=lambda: views, **fields)  # type: ignore[arg-type]


def manifest_of(request: Request, rules: Constitution | None = None) -> Manifest:
    """Return the manifest that a coordinator would announce for a request."""
    found = rules or constitution()
    purpose = found.purposes[request.purpose]
    bars = (request.span_end_ns - request.span_start_ns) // BAR_NS + 1
    return Manifest(
        federation=found.federation, constitution=found.digest(), epoch="e1", epoch_id=bytes(32),
        session=f"r{request.round}-{request.position}-{request.purpose}-a1", round=request.round,
        position=request.position, index=request.index, attempt=1, purpose=request.purpose,
        length=purpose.values + purpose.values_per_bar * bars, span_start_ns=request.span_start_ns,
        span_end_ns=request.span_end_ns, participants=tuple(one.name for one in found.members),
    )  # fmt: skip
