"""`hansa ripple --data`: a ripple query over a folder of real hourly bars, its federation rehearsed in this process.

The folder has one series a market, from one source: there are no brokers in it. So the members are simulated: each sees
the real log cost of every market with private noise of its own, of the variance and the persistence that were measured
between real venues (`hansa.lab.calibration`). Markets are real; that members differ in this way is an assumption.

Cost of an hour: the log of its range over the root of its activity, activity being the count of quotes (each taken as a
million of base currency, a constant that no response depends on). A market without a file is made of the two markets
that lead to it: what it costs to cross both, open to close exact, the range an upper bound. The files' clock is the
source's own, not UTC; only the time of day depends on it, and it is taken off.

Sums, limits, rounding and noise are the federation's (`hansa.lab.rehearsal`); keys and messages are not there.

Guarantees: what was simulated is in the answer's `assumptions`. Does NOT guarantee: that brokers would answer so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from hansa.errors import ConfigurationError, DataError, StoreError
from hansa.federation.budgets import charge_of, releases_left
from hansa.federation.liquidity import LiquidityWork
from hansa.federation.records import Records
from hansa.federation.ripple_query import PURPOSE, RippleQuery
from hansa.federation.rules import limits_of
from hansa.federation.running_sum import Request
from hansa.federation.schedule import round_programme
from hansa.federation.views import SeriesView, Views
from hansa.lab.calibration import VIEW_NOISE, deseasonalise
from hansa.lab.charter import charter
from hansa.lab.rehearsal import Rehearsal, open_sums, volume_key
from hansa.lab.segments import private_noise
from hansa.lab.simulation import signing_key
from hansa.lab.twins import MEMBER_NAMES
from hansa.market.features import carry_forward
from hansa.market.measures import compute
from hansa.market.readers.bars import read_bars
from hansa.protocol.privacy import epsilon

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from jaxtyping import Float

    from hansa.governance.constitution import Constitution

NS: Final = 1_000_000_000
HOUR_SECONDS: Final = 3600
HOUR_NS: Final = HOUR_SECONDS * NS
DAY_NS: Final = 24 * HOUR_NS
MEASURES: Final = ("log_range", "log_impact")
COST: Final = "log_impact"
FOLDER: Final = "fx_hourly"
TICK_UNITS: Final = 1e6
TICKS_AN_HOUR: Final = 1e4
RIPPLE_EPSILON: Final = 4.8
QUERIES: Final = 20


def ripple_on_data(
    data: Path,
    *,
    source: str,
    shock: str,
    targets: str,
    horizon: str,
    members: int = 5,
    days: int = 730,
    seed: int = 1,
) -> dict[str, object]:
    """Ask a query over a folder of hourly bars and return the answer as a member records it, with its assumptions.

    Args:
        data: Folder `fx_hourly` of `<PAIR>_h1.parquet` files, or the one that holds it.
        source: Market that is shocked.
        shock: As for `RippleQuery.parse`.
        targets: Likewise.
        horizon: Likewise.
        members: Simulated brokers, 3 to 10.
        days: Calendar days of history, the newest of what all markets have.
        seed: Of the members' private noise and of the sums' noise.

    Raises:
        DataError: A market is not in the folder and cannot be made of two that are, or a file is malformed.
        ConfigurationError: The query makes no sense, or the history is too short.
    """
    if not 3 <= members <= len(MEMBER_NAMES):
        raise ConfigurationError(f"expected 3 to {len(MEMBER_NAMES)} members, got {members}")
    names = tuple(sorted({source, *(name.strip() for name in targets.split(",") if name.strip())}))
    query = RippleQuery.parse(source, shock, targets, horizon, baskets=names, bar_seconds=HOUR_SECONDS)
    frames, made = market_bars(data, names)
    exact = _on_grid(frames, days)
    rules = _rules(names, members, days)
    records = {name: Records(":memory:") for name in sorted(MEMBER_NAMES[:members])}
    works = {
        name: LiquidityWork(
            rules,
            limits_of(rules),
            load=_given(_view(exact, np.random.default_rng([seed, place]))),
            forecasts=None,
            records=records[name],
            volume_key=volume_key(seed, name),
        )
        for place, name in enumerate(records)
    }
    programme = [one for one in round_programme(rules, exact.reach_ns) if one.purpose in {"census", "state"}]
    asked = Request(exact.reach_ns // NS, 0, PURPOSE, query.index(names), exact.start_ns, exact.reach_ns)
    open_sums(Rehearsal(rules, works), [*programme, asked], np.random.default_rng(seed))
    first = next(iter(works))
    works[first].answer_queries()
    (row,) = records[first].rows("SELECT name FROM fact WHERE name LIKE 'ripple/%'")
    answer = records[first].get(str(row["name"]))
    if not isinstance(answer, dict):
        raise StoreError(f"{row['name']}: expected an answer in the records, got none")
    return answer | {"assumptions": _assumptions(members, made), "budget": _budget(rules)}


def market_bars(data: Path, names: Sequence[str]) -> tuple[dict[str, pl.DataFrame], dict[str, tuple[str, str]]]:
    """Read hourly bars of markets; one without a file is made of two that lead to it.

    Args:
        data: Folder `fx_hourly`, or the one that holds it.
        names: Markets, such as `XAU-USD`.

    Returns:
        Bars by market, and of those that were made, of which two.

    Raises:
        DataError: There is no such folder, or a market can neither be read nor made.
    """
    folder = data / FOLDER if (data / FOLDER).is_dir() else data
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; give the one that holds {FOLDER}")
    files = {_market(path.name): path for path in sorted(folder.glob("*_h1.parquet"))}
    found: dict[str, pl.DataFrame] = {}
    made: dict[str, tuple[str, str]] = {}
    for name in names:
        if name in files:
            found[name] = _read(files[name], name)
            continue
        legs = _legs(name, sorted(files), set(names))
        if legs is None:
            raise DataError(f"{folder}: no file for {name}, nor two that lead to it; it has {', '.join(sorted(files))}")
        made[name] = legs
        found[name] = _crossed(_read(files[legs[0]], legs[0]), _read(files[legs[1]], legs[1]), name)
    return found, made


def _market(file: str) -> str:
    pair = file.removesuffix("_h1.parquet")
    return f"{pair[:3]}-{pair[3:]}"


def _legs(name: str, known: Sequence[str], avoided: set[str]) -> tuple[str, str] | None:
    """Return A-C and C-B for A-B, of markets that are not asked about themselves where there is a choice."""
    base, _, quote = name.partition("-")
    routes = [
        (first, second)
        for first in known
        for second in known
        if first.startswith(f"{base}-") and second.endswith(f"-{quote}")
        if first.partition("-")[2] == second.partition("-")[0]
    ]
    return min(routes, key=lambda route: len(avoided.intersection(route)), default=None)


def _read(path: Path, name: str) -> pl.DataFrame:
    bars = read_bars(path, market=name, venue="source", bar_ns=HOUR_NS, tick_volume_as="volume")
    return bars.with_columns(pl.col("volume") * TICK_UNITS)


def _crossed(first: pl.DataFrame, second: pl.DataFrame, name: str) -> pl.DataFrame:
    """Return bars of the market that two others lead to: prices multiplied, as much activity as the thinner has."""
    both = first.join(second, on="ts_ns", suffix="_second")
    return both.select(
        "ts_ns",
        pl.lit(name).alias("market"),
        "venue",
        *((pl.col(column) * pl.col(f"{column}_second")).alias(column) for column in ("open", "high", "low", "close")),
        pl.min_horizontal("volume", "volume_second").alias("volume"),
    )


def _on_grid(frames: Mapping[str, pl.DataFrame], days: int) -> Views:
    """Put the exact measures on one grid over the newest `days` that all markets have; NaN where there is no bar."""
    start = max(int(frame["ts_ns"].min()) for frame in frames.values())  # type: ignore[arg-type] # not empty
    end = min(int(frame["ts_ns"].max()) for frame in frames.values())  # type: ignore[arg-type] # likewise
    first, bars = end - days * DAY_NS + HOUR_NS, days * DAY_NS // HOUR_NS
    if first < start:
        raise ConfigurationError(f"expected at most {(end - start) // DAY_NS} days, which all markets have; got {days}")
    series = {}
    for name, frame in frames.items():
        table = compute(frame, MEASURES).filter(pl.col("ts_ns").is_between(first, end))
        place = (table["ts_ns"].to_numpy() - first) // HOUR_NS
        measures, volume = np.full((bars, len(MEASURES)), np.nan), np.zeros(bars)
        measures[place] = table.select(MEASURES).to_numpy()
        volume[place] = frame.filter(pl.col("ts_ns").is_between(first, end))["volume"].to_numpy() / TICK_UNITS
        if np.isnan(measures).all(axis=0).any():
            raise DataError(f"{name}: no hour of the last {days} days has a range; ask for more days")
        series[name] = (SeriesView(measures, volume),)
    return Views(first, HOUR_NS, bars, series)


def _view(exact: Views, rng: np.random.Generator) -> Views:
    """Return what one simulated broker sees: every hour's measures with private noise, closed hours carried on."""
    series = {}
    for name, (one,) in exact.series.items():
        noise = private_noise(rng, (len(MEASURES), exact.bars), float(HOUR_SECONDS)).T
        measures = carry_forward(one.measures + np.sqrt(VIEW_NOISE) * _deviations(exact, one.measures) * noise)
        for column in measures.T:
            column[: np.flatnonzero(np.isfinite(column))[0]] = column[np.isfinite(column)][0]
        series[name] = (SeriesView(measures, one.quote_volume),)
    return Views(exact.start_ns, exact.bar_ns, exact.bars, series)


def _deviations(exact: Views, measures: Float[np.ndarray, "time measure"]) -> Float[np.ndarray, " measure"]:
    """Return the deviation of each measure without its time of day, over the hours that have it."""
    seconds = exact.stamps() / NS
    known = np.isfinite(measures)
    return np.array(
        [
            deseasonalise(measures[known[:, place], place], seconds[known[:, place]]).std()
            for place in range(measures.shape[1])
        ]
    )


def _rules(names: Sequence[str], members: int, days: int) -> Constitution:
    return charter(
        federation="ripple",
        keys={name: signing_key(name).public for name in sorted(MEMBER_NAMES[:members])},
        coordinator_key=signing_key("coordinator").public,
        baskets={name: [name] for name in names},
        measures=MEASURES,
        cost=COST,
        volume_unit=TICKS_AN_HOUR,
        history_days=days,
        steps=0,
        bar_seconds=HOUR_SECONDS,
        ripple_epsilon=RIPPLE_EPSILON,
        ripple_queries=QUERIES,
    )


def _budget(rules: Constitution) -> dict[str, object]:
    """Return what one query costs a member and how many a year its door lets through."""
    limits = limits_of(rules)
    purpose = limits.purposes[PURPOSE]
    charge = charge_of(purpose, limits)
    return {
        "unit": rules.purposes[PURPOSE].unit,
        "epsilon_of_one_query": epsilon([charge], delta=purpose.delta),
        "epsilon_a_year": purpose.epsilon,
        "delta": purpose.delta,
        "queries_a_year": releases_left([], charge, allowed=purpose.epsilon, delta=purpose.delta),
        "noise_multiplier": purpose.noise_multiplier,
        "sensitivity": purpose.sensitivity,
    }


def _assumptions(members: int, made: Mapping[str, tuple[str, str]]) -> list[str]:
    found = [
        f"the markets are real, the {members} members simulated: each sees every market with private noise of its own",
        f"that noise has {VIEW_NOISE:.2f} times the variance of a market's cost, as measured between real venues",
        "sums, limits, rounding and noise are the federation's; keys and messages are left out",
        "cost is the log of the hour's range over the root of its count of quotes; hours on the source's clock",
    ]
    found += [
        f"{name} has no file: made of {' and '.join(legs)}, its range an upper bound" for name, legs in made.items()
    ]
    return found


def _given(views: Views) -> Callable[[], Views]:
    return lambda: views
