"""`hansa run`: a federation of real files on this machine, one series or one venue a member.

All markets form one basket, because a sum that only one or two members see anything in would show them. The outcome is
the members' exact state at the next bar: log liquidity cost, weighted by shares of quote volume. The first
`TRAIN_SHARE` of the common span trains; the rest is the state channel's and is scored.

These files are public books: beside what the state channel brings stands what reading everybody's files would bring.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, Literal

from hansa.errors import ConfigurationError, DataError
from hansa.federation.views import load_views
from hansa.lab.alliance import found
from hansa.lab.assessment import Bench, assess, omniscient_forecasts
from hansa.lab.charter import charter
from hansa.lab.collection import alert_rows, forecasts
from hansa.lab.conduct import Span, conduct
from hansa.lab.document import document
from hansa.market.sources import discover, load, unmatched_signed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import polars as pl
    from rich.progress import Progress

    from hansa.governance.constitution import Constitution

MEASURES: Final = ("log_volume", "log_range", "log_impact")
COST: Final = "log_impact"
BASKET: Final = "basket"
TRAIN_SHARE: Final = 0.6
BAR_NS: Final = 300_000_000_000
DAY_NS: Final = 86_400_000_000_000
WEIGHT_CAP: Final = 0.5
STEPS: Final = 4
LIVE_BARS: Final = 12
MemberBy = Literal["series", "venue"]


def run(
    directory: Path, data: Path, markets: Sequence[str], *, member_by: MemberBy, progress: Progress
) -> dict[str, object]:
    """Run a federation over files and return its document.

    Args:
        directory: New folder for the alliance.
        data: Folder of `<venue>_<market>` files.
        markets: Markets of the basket.
        member_by: What makes a member: each series, or all series of a venue.
        progress: Where progress is shown.

    Raises:
        DataError: A file is malformed or none fits.
        ConfigurationError: Fewer than three members, or too short a common span.
    """
    started = time.monotonic()
    series = member_series(data, markets, member_by=member_by)
    if len(series) < 3:
        raise ConfigurationError(
            f"expected at least 3 members, got {', '.join(series)}; name more markets or use --member-by series"
        )
    train_days, span = _times(series)
    volume = sum(_mean_quote_volume(bars) for own in series.values() for bars in own)
    made: list[Constitution] = []

    def make(keys: Mapping[str, str], coordinator_key: str) -> Constitution:
        made.append(
            charter(
                federation="run",
                keys=keys,
                coordinator_key=coordinator_key,
                baskets={BASKET: list(markets)},
                measures=MEASURES,
                cost=COST,
                volume_unit=volume * BAR_NS / 60e9,
                history_days=train_days,
                steps=STEPS,
                weight_cap=WEIGHT_CAP,
            )
        )
        return made[0]

    alliance = found(directory / "alliance", "run", series, make)
    conduct(alliance, made[0], span, progress=progress)
    constitution = made[0]
    views = {name: load_views(alliance.directory / name / "bars", constitution.market) for name in alliance.members}
    arms, state = forecasts(alliance)
    train_bars = train_days * DAY_NS // BAR_NS
    bench = Bench(constitution, views, span.as_of_ns - (train_bars - 1) * BAR_NS, state.shape[0], train_bars)
    exact = bench.exact_state()[:, :, MEASURES.index(COST)]
    scored = assess(bench, {**arms, **omniscient_forecasts(bench)}, exact)
    result = document(alliance, constitution, scored, source=f"{data.name}: {', '.join(markets)}", seconds=0.0)
    return result | {
        "seconds": round(time.monotonic() - started, 2),
        "outcome": "the members' exact log impact of the next bar, weighted by shares of quote volume (cap 0.5)",
        "alerts": alert_rows(alliance),
        "series_not_used": [path.name for path in unmatched_signed(data, markets)],
        "member_by": member_by,
    }


def member_series(data: Path, markets: Sequence[str], *, member_by: MemberBy) -> dict[str, list[pl.DataFrame]]:
    """Return the bars of each member: one series, or all series of a venue.

    Raises:
        DataError: A file is malformed, or none fits some market.
    """
    series: dict[str, list[pl.DataFrame]] = {}
    sources = discover(data, markets)
    absent = [market for market in markets if market not in {source.market for source in sources}]
    if absent:
        raise DataError(f"{data}: no file <venue>_<market>.parquet or .csv for {', '.join(absent)}; leave it out")
    for source in sources:
        name = source.venue if member_by == "venue" else f"{source.venue}-{source.market}"
        series.setdefault(name.lower().replace("_", "-").replace(".", "-"), []).append(load(source))
    return dict(sorted(series.items()))


def _mean_quote_volume(bars: pl.DataFrame) -> float:
    return float((bars["volume"] * bars["close"]).fill_null(0.0).to_numpy().mean())


def _times(series: Mapping[str, Sequence[pl.DataFrame]]) -> tuple[int, Span]:
    """Return the training days and the times of the replay: the span that every series covers, whole bars only."""
    stamps = [bars["ts_ns"].to_numpy() for own in series.values() for bars in own]
    start = max(-(-int(one[0]) // BAR_NS) for one in stamps) * BAR_NS
    end = min(int(one[-1]) // BAR_NS for one in stamps) * BAR_NS
    days = (end - start + BAR_NS) / DAY_NS
    train_days = int(days * TRAIN_SHARE)
    if train_days < 2:
        raise ConfigurationError(
            f"the files have {max(days, 0):.1f} days in common; a round needs 2 days of training, so at least 3.4"
        )
    return train_days, Span(start + train_days * DAY_NS - BAR_NS, end, LIVE_BARS)
