"""Liquidity measures of bars, each with the estimator that the source's columns allow.

```
log_volume   log(Q + 1e3)                              Q = volume * close, quote currency
log_range    log(log(high / low) + 1e-5)
log_impact   log((log(high / low) + 1e-5) / sqrt(Q + 1e3))          else log(impact_bps_per_mio + 1e-3)
log_spread   log(spread_bps + 0.1)                                  else the same of Corwin-Schultz
log_depth    log(depth_quote)
amihud       1e10 * |log(close / previous close)| / Q               bps per million of quote currency
corwin_schultz  1e4 * 2 (e^a - 1) / (1 + e^a), negative estimates 0, highs and lows moved by an overnight gap
realised_variance  sum of squared log returns of finer bars         else Parkinson: log(high / low)^2 / (4 log 2)
order_flow_imbalance  signed_volume / volume, in [-1, 1]
```
Bars with a rule of influence (`hansa.market.influence`) give log_volume, log_range and log_impact from their capped
volume and range instead: log V, log R and log(R / sqrt(V)).
The estimator is chosen once for a whole series (market, venue), never bar by bar: `provenance` names it.
A limit-locked bar (one price, volume collapsed) has a range of zero because nobody can trade: its range-type measures
are null, never small. `limit_locked` marks it; `amihud` and `log_volume` there say what happened.

Guarantees: the measures of a bar use that bar and earlier ones only. Does not guarantee: that two sources with
different estimators are on one scale; compare their z-scores, not their levels.

Source: SCIENCE.md 1.1; Amihud, J. Financial Markets 5(1), 2002; Corwin and Schultz, J. Finance 67(2), 2012, with its
overnight adjustment; Parkinson, J. Business 53(1), 1980.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal

import polars as pl

from hansa.errors import DataError
from hansa.market.influence import rule_of
from hansa.market.limit_lock import limit_locked
from hansa.market.schema import KEY, conform

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

QUOTE_FLOOR: Final = 1e3  # quote currency
RANGE_FLOOR: Final = 1e-5  # log price
SPREAD_FLOOR_BPS: Final = 0.1
UNAVAILABLE: Final = "unavailable"

_FINER: Final = "_finer_variance"
_LOCKED: Final = "_locked"
_LOG_RANGE: Final = (pl.col("high") / pl.col("low")).log()
_TRADED: Final = pl.col("volume") * pl.col("close")


@dataclass(frozen=True, slots=True)
class Estimator:
    """One way to compute a measure.

    Attributes:
        label: What it is called in a report.
        needs: Columns that must hold at least one value.
        expression: Value of one series sorted by time.
        clients: How many influence caps one client can move it by in capped bars; None: without bound.
        house: Likewise, where the quotes are the house's own.
    """

    label: str
    needs: tuple[str, ...]
    expression: pl.Expr
    clients: float | None = None
    house: float | None = None


@dataclass(frozen=True, slots=True)
class Measure:
    """A named measure and its estimators, best first.

    Attributes:
        name: Column name.
        unit: Unit of the values.
        sign: +1 where higher is more stress, -1 where lower is, 0 where neither side alone means stress.
        estimators: In order of preference.
    """

    name: str
    unit: str
    sign: Literal[-1, 0, 1]
    estimators: tuple[Estimator, ...]


def _corwin_schultz_bps() -> pl.Expr:
    previous_close = pl.col("close").shift(1)
    gap = previous_close - previous_close.clip(pl.col("low"), pl.col("high"))
    high, low = pl.col("high") + gap, pl.col("low") + gap
    before_high, before_low = pl.col("high").shift(1), pl.col("low").shift(1)
    beta = (high / low).log().pow(2) + (before_high / before_low).log().pow(2)
    gamma = (pl.max_horizontal(high, before_high) / pl.min_horizontal(low, before_low)).log().pow(2)
    constant = 3.0 - 2.0 * 2.0**0.5
    alpha = (2.0**0.5 - 1.0) * beta.sqrt() / constant - (gamma / constant).sqrt()
    spread = 1e4 * 2.0 * (alpha.exp() - 1.0) / (1.0 + alpha.exp())
    usable = ~pl.col(_LOCKED) & ~pl.col(_LOCKED).shift(1) & previous_close.is_not_null()
    return pl.when(usable).then(spread.clip(lower_bound=0.0))


def _unlocked(expression: pl.Expr) -> pl.Expr:
    return pl.when(~pl.col(_LOCKED)).then(expression)


def _traded(expression: pl.Expr) -> pl.Expr:
    return pl.when(pl.col("volume") > 0).then(expression)


_PRICES: Final = ("high", "low", "close")
_IMPACT: Final = ((_LOG_RANGE + RANGE_FLOOR) / (_TRADED + QUOTE_FLOOR).sqrt()).log()
_AMIHUD: Final = 1e10 * (pl.col("close") / pl.col("close").shift(1)).log().abs() / _TRADED
_CAPPED_VOLUME: Final = Estimator("capped volume", ("capped_volume",), pl.col("capped_volume").log(), 1.0, 1.0)
_CAPPED_RANGE: Final = Estimator("capped range", ("capped_range",), pl.col("capped_range").log(), 0.5, 0.0)
_CAPPED_IMPACT: Final = Estimator(
    "capped range over root capped volume",
    ("capped_range", "capped_volume"),
    pl.col("capped_range").log() - 0.5 * pl.col("capped_volume").log(),
    1.0,
    0.5,
)
_PARKINSON: Final = _LOG_RANGE.pow(2) / (4.0 * pl.lit(2.0).log())

MEASURES: Final[Mapping[str, Measure]] = MappingProxyType(
    {
        measure.name: measure
        for measure in (
            Measure(
                "log_volume",
                "log quote currency",
                0,
                (
                    _CAPPED_VOLUME,
                    Estimator("traded volume", ("volume",), (_TRADED + QUOTE_FLOOR).log()),
                ),
            ),
            Measure(
                "log_range",
                "log of log price",
                1,
                (
                    _CAPPED_RANGE,
                    Estimator("high-low range", _PRICES, _unlocked((_LOG_RANGE + RANGE_FLOOR).log())),
                ),
            ),
            Measure(
                "log_impact",
                "log of log price per root quote currency",
                1,
                (
                    _CAPPED_IMPACT,
                    Estimator("range over root volume", (*_PRICES, "volume"), _unlocked(_IMPACT)),
                    Estimator(
                        "reported impact",
                        ("impact_bps_per_mio",),
                        (pl.col("impact_bps_per_mio") + 1e-3).log(),
                    ),
                ),
            ),
            Measure(
                "log_spread",
                "log bps",
                1,
                (
                    Estimator(
                        "quoted spread", ("spread_bps",), (pl.col("spread_bps") + SPREAD_FLOOR_BPS).log(), house=0.0
                    ),
                    Estimator("Corwin-Schultz", _PRICES, (_corwin_schultz_bps() + SPREAD_FLOOR_BPS).log()),
                ),
            ),
            Measure(
                "log_depth",
                "log quote currency",
                -1,
                (
                    Estimator(
                        "best five levels",
                        ("depth_quote",),
                        pl.when(pl.col("depth_quote") > 0).then(pl.col("depth_quote").log()),
                        house=0.0,
                    ),
                ),
            ),
            Measure("amihud", "bps per mio", 1, (Estimator("Amihud", ("volume",), _traded(_AMIHUD)),)),
            Measure("corwin_schultz", "bps", 1, (Estimator("Corwin-Schultz", _PRICES, _corwin_schultz_bps()),)),
            Measure(
                "realised_variance",
                "squared log price",
                1,
                (
                    Estimator("finer bars", (_FINER,), _unlocked(pl.col(_FINER))),
                    Estimator("Parkinson", _PRICES, _unlocked(_PARKINSON)),
                ),
            ),
            Measure(
                "order_flow_imbalance",
                "share of volume",
                0,
                (
                    Estimator(
                        "signed volume",
                        ("signed_volume", "volume"),
                        _traded((pl.col("signed_volume") / pl.col("volume")).clip(-1.0, 1.0)),
                    ),
                ),
            ),
        )
    }
)


def compute(bars: pl.DataFrame, names: Sequence[str], *, finer: pl.DataFrame | None = None) -> pl.DataFrame:
    """Compute measures for every bar.

    Args:
        bars: Frame of the bars contract.
        names: Names out of `MEASURES`.
        finer: Shorter bars of the same markets and venues, for `realised_variance`; stamps in `(t - 1 bar, t]`.

    Returns:
        `ts_ns`, `market`, `venue` and one Float64 column a measure, sorted by key; null where the source cannot know.

    Raises:
        DataError: A name is unknown or a frame breaks the contract.
    """
    _refuse_unknown(names)
    parts = []
    for series in _each_series(bars, finer):
        chosen = {name: _choose(series, MEASURES[name]) for name in names}
        columns = (
            (pl.lit(None, dtype=pl.Float64) if estimator is None else estimator.expression).cast(pl.Float64).alias(name)
            for name, estimator in chosen.items()
        )
        parts.append(series.select("ts_ns", "market", "venue", *columns))
    if not parts:
        return pl.DataFrame(
            schema={"ts_ns": pl.Int64, "market": pl.String, "venue": pl.String} | dict.fromkeys(names, pl.Float64)
        )
    return pl.concat(parts).sort(KEY)


def provenance(bars: pl.DataFrame, names: Sequence[str], *, finer: pl.DataFrame | None = None) -> dict[str, str]:
    """Say which estimator each measure uses.

    Args:
        bars: Frame of the bars contract.
        names: Names out of `MEASURES`.
        finer: As for `compute`.

    Returns:
        Measure to label, `unavailable` where no estimator fits; where series differ, `label (market at venue); ...`.

    Raises:
        DataError: A name is unknown or a frame breaks the contract.
    """
    _refuse_unknown(names)
    labels: dict[str, dict[str, str]] = {name: {} for name in names}
    for series in _each_series(bars, finer):
        origin = f"{series['market'][0]} at {series['venue'][0]}"
        for name in names:
            estimator = _choose(series, MEASURES[name])
            labels[name][origin] = UNAVAILABLE if estimator is None else estimator.label
    return {
        name: next(iter(found.values()), UNAVAILABLE)
        if len(set(found.values())) < 2
        else "; ".join(f"{label} ({origin})" for origin, label in found.items())
        for name, found in labels.items()
    }


def influences(series: pl.DataFrame, names: Sequence[str]) -> dict[str, float | None]:
    """Say by how much one unit of a series can move each measure, log units.

    Args:
        series: Bars of one market at one venue.
        names: Names out of `MEASURES`.

    Returns:
        Measure to bound by `hansa.market.influence`; None where it is not capped.

    Raises:
        DataError: A name is unknown, or the bars carry a rule that cannot be read.
    """
    _refuse_unknown(names)
    rule = rule_of(series)
    found: dict[str, float | None] = {}
    for name in names:
        estimator = _choose(series, MEASURES[name])
        if rule is None or estimator is None:
            found[name] = None
            continue
        caps = estimator.house if rule.quotes == "house" else estimator.clients
        found[name] = None if caps is None else caps * rule.cap
    return found


def empty_values(series: pl.DataFrame, names: Sequence[str]) -> dict[str, float]:
    """Return the value of a bar without trades, for the measures that come from capped columns.

    Args:
        series: Bars of one market at one venue.
        names: Names out of `MEASURES`.

    Raises:
        DataError: The bars carry a rule that cannot be read.
    """
    rule = rule_of(series)
    if rule is None:
        return {}
    bar = pl.DataFrame({"capped_volume": [rule.volume], "capped_range": [rule.range]})
    chosen = {name: _choose(series, MEASURES[name]) for name in names}
    return {
        name: float(bar.select(estimator.expression).item())
        for name, estimator in chosen.items()
        if estimator is not None and estimator.clients is not None
    }


def _each_series(bars: pl.DataFrame, finer: pl.DataFrame | None) -> list[pl.DataFrame]:
    frame = conform(bars, source="bars to measure")
    frame = frame.with_columns(limit_locked(frame).alias(_LOCKED))
    if finer is None:
        frame = frame.with_columns(pl.lit(None, dtype=pl.Float64).alias(_FINER))
    else:
        frame = frame.join(_finer_variance(frame, finer), on=list(KEY), how="left")
    return [part.sort("ts_ns") for part in frame.partition_by("market", "venue", maintain_order=True)]


def _finer_variance(bars: pl.DataFrame, finer: pl.DataFrame) -> pl.DataFrame:
    """Sum squared returns of `finer` into the bar whose stamp is the next at or after theirs."""
    squared = (pl.col("close") / pl.col("close").shift(1).over("market", "venue")).log().pow(2)
    shorter = conform(finer, source="finer bars").select(*KEY, squared.alias(_FINER)).sort("ts_ns")
    stamps = bars.select("market", "venue", pl.col("ts_ns"), pl.col("ts_ns").alias("_end")).sort("ts_ns")
    joined = shorter.join_asof(stamps, on="ts_ns", by=["market", "venue"], strategy="forward", check_sortedness=False)
    span = bars.sort(KEY).select(pl.col("ts_ns").diff().over("market", "venue").min()).item()
    inside = joined.filter(pl.col("_end") - pl.col("ts_ns") < span) if span is not None else joined
    return (
        inside.drop_nulls(_FINER).group_by("market", "venue", pl.col("_end").alias("ts_ns")).agg(pl.col(_FINER).sum())
    )


def _choose(series: pl.DataFrame, measure: Measure) -> Estimator | None:
    for estimator in measure.estimators:
        if all(series[column].null_count() < series.height for column in estimator.needs):
            return estimator
    return None


def _refuse_unknown(names: Sequence[str]) -> None:
    unknown = [name for name in names if name not in MEASURES]
    if unknown:
        raise DataError(f"expected measures out of {', '.join(MEASURES)}; got {', '.join(unknown)}")
