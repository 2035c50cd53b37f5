"""How far the simulated market resembles ten years of hourly currency and gold bars.

Both are reduced to the log of the hourly range, minus time-of-day harmonics; compared are its standard deviation, its
autocorrelation at 1, 6, 24 and 120 hours and its correlation between markets (lag 0, lag 1 hour), and the views'
pairwise correlation of the simulated log spread with the venues' of log impact.

Guarantees: `python -m hansa.lab.resemblance --data DIR` prints the table of docs/explanation/simulated-market.md, DIR
holding the folder `fx_hourly`.
Does NOT guarantee: resemblance in what an hourly range does not show. The real files run on a broker's clock and
close at week-ends (lags count traded hours); their markets are not the simulated ones, so ranges over pairs are given.

Source: Andersen and Bollerslev, Journal of Empirical Finance 4, 1997 (intraday season before any autocorrelation).
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from hansa.errors import DataError
from hansa.lab.calibration import IMPACT_CORRELATION, autocorrelation, deseasonalise
from hansa.lab.twins import Scenario, Twin, simulate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jaxtyping import Float

LAG_HOURS: Final = (1, 6, 24, 120)
HOUR_NS: Final = 3_600_000_000_000
STATISTICS: Final = (
    "deviation",
    *(f"autocorrelation_{k}h" for k in LAG_HOURS),
    "cross_correlation_0h",
    "cross_correlation_1h",
)


@dataclass(frozen=True, slots=True)
class Likeness:
    """One statistic, real beside simulated.

    Attributes:
        statistic: Name; see `STATISTICS`.
        real: Median over the real markets or pairs of markets.
        real_low: Smallest of them.
        real_high: Largest of them.
        simulated: Median over simulated markets or pairs, members and seeds.
    """

    statistic: str
    real: float
    real_low: float
    real_high: float
    simulated: float

    @property
    def distance(self) -> float:
        """Simulated minus real median."""
        return self.simulated - self.real


def range_statistics(hourly: Mapping[str, pl.DataFrame]) -> dict[str, list[float]]:
    """Measure the log hourly range of several markets.

    Args:
        hourly: Market -> hourly bars with `ts_ns`, `high`, `low`; hours with high = low are left out.

    Returns:
        Statistic -> one value per market, or per pair of markets for the cross-correlations.

    Raises:
        DataError: A market has fewer hours than twice the longest lag.
    """
    series = {market: _log_range(market, bars) for market, bars in hourly.items()}
    found: dict[str, list[float]] = {name: [] for name in STATISTICS}
    for frame in series.values():
        x = frame["log_range"].to_numpy()
        found["deviation"].append(float(x.std()))
        for lag, value in zip(LAG_HOURS, autocorrelation(x, LAG_HOURS), strict=True):
            found[f"autocorrelation_{lag}h"].append(value)
    for first, second in itertools.combinations(series.values(), 2):
        both = first.join(second, on="ts_ns", suffix="_second").sort("ts_ns")
        x, y = both["log_range"].to_numpy(), both["log_range_second"].to_numpy()
        found["cross_correlation_0h"].append(float(np.corrcoef(x, y)[0, 1]))
        ahead, behind = np.corrcoef(x[:-1], y[1:])[0, 1], np.corrcoef(y[:-1], x[1:])[0, 1]
        found["cross_correlation_1h"].append(float(0.5 * (ahead + behind)))
    return found


def read_hourly(folder: Path) -> dict[str, pl.DataFrame]:
    """Read the hourly bars of `fx_hourly`.

    Args:
        folder: Holds `*_h1.parquet`.

    Returns:
        Market -> `ts_ns, high, low`.

    Raises:
        DataError: The folder holds no such file.
    """
    files = sorted(folder.glob("*_h1.parquet"))
    if not files:
        raise DataError(f"{folder.name}: expected *_h1.parquet, found none; give the folder that holds fx_hourly")
    return {
        path.name.removesuffix("_h1.parquet"): pl.read_parquet(path)
        .unique("time")
        .sort("time")
        .select(ts_ns=pl.col("time").dt.epoch("ns"), high="high", low="low")
        for path in files
    }


def hourly_views(twin: Twin, member: str) -> dict[str, pl.DataFrame]:
    """Resample one member's simulated bars to hours: market -> `ts_ns` (end of hour), `high`, `low`."""
    hour = -(-pl.col("ts_ns") // HOUR_NS) * HOUR_NS
    bars = (
        twin.bars[member]
        .group_by("market", hour.alias("hour"), maintain_order=True)
        .agg(pl.col("high").max(), pl.col("low").min())
    )
    return {
        str(key[0]): part.select(ts_ns="hour", high="high", low="low")
        for key, part in bars.partition_by("market", as_dict=True).items()
    }


def view_correlations(twin: Twin, column: str) -> list[float]:
    """Correlate a log measure, de-seasonalised, between every two members on every market."""
    found: list[float] = []
    markets = twin.truth["market"].unique(maintain_order=True)
    for market in markets:
        views = [_log_view(bars.filter(pl.col("market") == market), column) for bars in twin.bars.values()]
        found.extend(float(np.corrcoef(x, y)[0, 1]) for x, y in itertools.combinations(views, 2))
    return found


def compare(real: Mapping[str, Sequence[float]], seeds: Sequence[int], *, days: int) -> tuple[Likeness, ...]:
    """Set the simulated market beside the real statistics.

    Args:
        real: From `range_statistics`.
        seeds: One simulation each, two members, default markets.
        days: Simulated length; long, since the slowest part has a half-life of thirty days.
    """
    simulated: dict[str, list[float]] = {name: [] for name in STATISTICS}
    for seed in seeds:
        twin = simulate(Scenario(seed=seed, members=2, days=days))
        for member in twin.bars:
            for name, values in range_statistics(hourly_views(twin, member)).items():
                simulated[name].extend(values)
    return tuple(
        Likeness(
            statistic=name,
            real=float(np.median(real[name])),
            real_low=min(real[name]),
            real_high=max(real[name]),
            simulated=float(np.median(simulated[name])),
        )
        for name in STATISTICS
    )


def _log_range(market: str, bars: pl.DataFrame) -> pl.DataFrame:
    moving = bars.filter(pl.col("high") > pl.col("low"))
    if len(moving) < 2 * LAG_HOURS[-1]:
        raise DataError(f"{market}: expected {2 * LAG_HOURS[-1]} moving hours, found {len(moving)}; read a longer span")
    seconds = moving["ts_ns"].to_numpy() / 1e9
    values = np.log(np.log(moving["high"].to_numpy() / moving["low"].to_numpy()))
    return pl.DataFrame({"ts_ns": moving["ts_ns"], "log_range": deseasonalise(values, seconds)})


def _log_view(bars: pl.DataFrame, column: str) -> Float[np.ndarray, " time"]:
    return deseasonalise(np.log(bars[column].to_numpy()), bars["ts_ns"].to_numpy() / 1e9)


def main(arguments: Sequence[str] | None = None) -> None:
    """Compare the simulated market with the real hourly bars and print the table."""
    parser = argparse.ArgumentParser(prog="python -m hansa.lab.resemblance", description=main.__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds fx_hourly")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    chosen = parser.parse_args(arguments)
    table = compare(range_statistics(read_hourly(chosen.data / "fx_hourly")), range(3), days=1092)
    month = [x for seed in range(5) for x in view_correlations(simulate(Scenario(seed=seed)), "spread_bps")]
    views = float(np.median(month))
    if chosen.json:
        rows = [asdict(row) | {"distance": row.distance} for row in table]
        sys.stdout.write(json.dumps({"hourly_range": rows, "view_correlation": views}, indent=1) + "\n")
        return
    sys.stdout.write("| log hourly range | real (lowest to highest) | simulated | distance |\n|---|---|---|---|\n")
    for row in table:
        sys.stdout.write(
            f"| {row.statistic} | {row.real:.2f} ({row.real_low:.2f} to {row.real_high:.2f}) | {row.simulated:.2f} "
            f"| {row.distance:+.2f} |\n"
        )
    sys.stdout.write(f"\nviews of log spread, pairwise correlation: {views:.3f}; venues: {IMPACT_CORRELATION}\n")


if __name__ == "__main__":
    main()
