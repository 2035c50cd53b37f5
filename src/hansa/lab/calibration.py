"""What real venues say about how differently brokers see one market, and the constants drawn from it.

Two venues i, j that trade the same instrument are two views of one market. Per five-minute bar, minus time-of-day
harmonics, a view's log measure is x_i = s + p_i + w_i: the market's state s, a persistent private part p_i, white
noise w_i, private parts independent between venues. Then, without ever knowing s,

    corr(x_i, x_j)          = Var s / (Var s + Var(p + w))       (equal noise; in general the geometric mean)
    cov(x_i(t), x_j(t+k))   = the state's autocovariance         (private noise cannot touch it)
    autocorrelation of x_i - x_j = the private noise's spectrum  (the state cancels)

The spectra are fitted as non-negative mixtures of white noise and AR(1) parts of fixed half-lives. The measures:
log impact `log((log(high/low) + 1e-5) / sqrt(quote_volume + 1e3))`, log range, log volume.

Guarantees: every constant below is printed by `python -m hansa.lab.calibration --data DIR`, DIR holding the folder
`usdc_depeg_2023-03`; no constant comes from what a model gains by it.
Does NOT guarantee: that brokers of gold or currencies differ as these crypto venues do; that the spread is as noisy
as the range-based impact; the three weeks hold one large crisis, which raises every correlation.

Source: Alizadeh, Brandt and Diebold, Journal of Finance 57(3), 2002 (a Brownian path's log range has standard
deviation 0.29: noise that all venues share, since they share the path).
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
from scipy.optimize import nnls

from hansa.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jaxtyping import Float

BAR_SECONDS: Final = 300
DAY_SECONDS: Final = 86_400
LAGS: Final = (1, 2, 3, 6, 12, 36, 72, 144, 288)
MEASURES: Final = ("impact", "range", "volume")
STATE_HALF_LIVES_SECONDS: Final = (900.0, 14_400.0, 2_592_000.0)
NOISE_HALF_LIVES_SECONDS: Final = (600.0, 14_400.0)
LOG_RANGE_NOISE_VARIANCE: Final = 0.29**2

#: What the command prints, rounded; medians over eleven pairs of venues.
IMPACT_CORRELATION: Final = 0.372
VIEW_NOISE: Final = 1.0 / IMPACT_CORRELATION - 1.0
RANGE_NOISE: Final = 1.0 / 0.673 - 1.0
VOLUME_NOISE: Final = 1.0 / 0.399 - 1.0
NOISE_SHARES: Final = (0.189, 0.148)
NOISE_LOADING: Final = 0.769
STATE_SHARES: Final = (0.188, 0.229, 0.583)
COST_DEVIATION: Final = 0.387

#: Venues of one instrument, by file; every pair inside a line is a pair of views.
VENUES: Final[Mapping[str, tuple[str, ...]]] = {
    "BTC-USD": ("binanceus_btcusd.csv.gz", "coinbase_btcusd.parquet", "kraken_btcusd.parquet"),
    "BTC-USDT": ("binanceus_btcusdt.parquet", "coinbase_btcusdt.parquet", "kraken_btcusdt.parquet"),
    "BTC-USDC": ("binanceus_btcusdc.parquet", "kraken_btcusdc.parquet", "signed_bybit_btcusdc_1min.parquet"),
    "USDT-USD": ("coinbase_usdtusd.parquet", "kraken_usdtusd.parquet"),
    "USDC-USDT": ("binanceus_usdcusdt.parquet", "signed_kraken_usdcusdt_1min.parquet"),
}


@dataclass(frozen=True, slots=True)
class PairOfViews:
    """Two venues' agreement on one measure.

    Attributes:
        market: Instrument.
        views: The two venues.
        measure: `impact`, `range` or `volume`.
        bars: Bars that both venues have.
        correlation: Of the de-seasonalised log measure.
        state_variance: Covariance at lag 0, squared log units.
        state_autocovariance: Symmetrised cross-covariance at `LAGS`.
        difference_autocorrelation: Of the two views' difference at `LAGS`.
    """

    market: str
    views: tuple[str, str]
    measure: str
    bars: int
    correlation: float
    state_variance: float
    state_autocovariance: tuple[float, ...]
    difference_autocorrelation: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class CrossView:
    """Medians over all pairs of views.

    Attributes:
        pairs: Every pair and measure.
        correlation: Median per measure.
        view_noise: (1 - c) / c of the impact's correlation c: private over state variance.
        volume_noise: The same of the volume.
        range_noise: The same of the range.
        white_share: White part of the private noise's variance.
        persistent_shares: Parts at `NOISE_HALF_LIVES_SECONDS`.
        state_shares: Parts of the state at `STATE_HALF_LIVES_SECONDS`.
        cost_deviation: Of the log cost: the impact's state variance less the shared range noise, as a root.
        noise_loading: Correlation of the private noise of log impact with that of log range.
        volatility_link: Correlation of the common part of log impact with that of log range (lags 1 to 12).
    """

    pairs: tuple[PairOfViews, ...]
    correlation: Mapping[str, float]
    view_noise: float
    volume_noise: float
    range_noise: float
    white_share: float
    persistent_shares: tuple[float, ...]
    state_shares: tuple[float, ...]
    cost_deviation: float
    noise_loading: float
    volatility_link: float


def cross_view_correlation(frames: Mapping[str, Mapping[str, pl.DataFrame]]) -> CrossView:
    """Measure how far the views of one market agree, and of what kind their disagreement is.

    Args:
        frames: Market -> view -> five-minute bars with `ts_ns` (int64), `high`, `low` and `quote_volume`.

    Returns:
        The pairs and their medians.

    Raises:
        DataError: No market has two views, or two views of one market share fewer than two days of bars.
    """
    series = {market: {view: _measures(bars) for view, bars in views.items()} for market, views in frames.items()}
    pairs: list[PairOfViews] = []
    loadings: list[float] = []
    links: list[float] = []
    for market, views in series.items():
        for first, second in itertools.combinations(views, 2):
            one, two = _overlap(views[first], views[second], f"{market}: {first}, {second}")
            pairs.extend(_pair(market, (first, second), k, one[k], two[k]) for k in MEASURES)
            loadings.append(_correlation(one["impact"] - two["impact"], one["range"] - two["range"]))
            links.append(_common_correlation(one, two))
    if not pairs:
        raise DataError("expected a market with at least two views, found none; name two venues of one instrument")
    return _medians(tuple(pairs), loadings, links)


def read_views(folder: Path) -> dict[str, dict[str, pl.DataFrame]]:
    """Read the one-minute venue series as five-minute bars.

    Args:
        folder: `usdc_depeg_2023-03`.

    Returns:
        What `cross_view_correlation` takes; minutes without volume are left out.

    Raises:
        DataError: A file of `VENUES` is absent or has no known clock column.
    """
    return {
        market: {name.split(".")[0]: _five_minutes(folder / name) for name in names} for market, names in VENUES.items()
    }


def autocorrelation(x: Float[np.ndarray, " time"], lags: Sequence[int]) -> tuple[float, ...]:
    """Return the autocorrelation of `x` at `lags` (bars); NaN marks a missing bar and is skipped."""
    centred = x - np.nanmean(x)
    variance = float(np.nanmean(centred**2))
    return tuple(float(np.nanmean(centred[:-k] * centred[k:])) / variance for k in lags)


def fit_spectrum(
    lags: Sequence[int], values: Sequence[float], half_lives_seconds: Sequence[float], *, bar_seconds: float
) -> tuple[float, ...]:
    """Fit an autocorrelation as a non-negative mixture of AR(1) parts.

    Args:
        lags: Bars, all >= 1.
        values: Autocorrelation at `lags`.
        half_lives_seconds: Of the parts.
        bar_seconds: Length of a bar.

    Returns:
        Variance shares of the parts; what they leave to 1 is white.
    """
    time = np.asarray(lags, dtype=np.float64)[:, None] * bar_seconds
    design = 0.5 ** (time / np.asarray(half_lives_seconds)[None, :])
    weights, _ = nnls(design, np.asarray(values, dtype=np.float64))
    return tuple(float(w) for w in weights)


def deseasonalise(x: Float[np.ndarray, " time"], seconds: Float[np.ndarray, " time"]) -> Float[np.ndarray, " time"]:
    """Subtract the mean and four time-of-day harmonics.

    Args:
        x: Any measure without gaps.
        seconds: Time of each value.
    """
    phase = 2.0 * np.pi * (seconds % DAY_SECONDS) / DAY_SECONDS
    waves = [wave(k * phase) for k in (1, 2, 3, 4) for wave in (np.sin, np.cos)]
    design = np.column_stack([np.ones(len(x)), *waves])
    fit: Float[np.ndarray, " time"] = design @ np.linalg.lstsq(design, x, rcond=None)[0]
    rest: Float[np.ndarray, " time"] = x - fit
    return rest


def _measures(bars: pl.DataFrame) -> pl.DataFrame:
    seconds = bars["ts_ns"].to_numpy() / 1e9
    log_range = np.log(bars["high"].to_numpy() / bars["low"].to_numpy()) + 1e-5
    volume = bars["quote_volume"].to_numpy() + 1e3
    values = {"impact": np.log(log_range / np.sqrt(volume)), "range": np.log(log_range), "volume": np.log(volume)}
    return pl.DataFrame({"ts_ns": bars["ts_ns"]} | {k: deseasonalise(x, seconds) for k, x in values.items()})


def _overlap(
    first: pl.DataFrame, second: pl.DataFrame, what: str
) -> tuple[dict[str, Float[np.ndarray, " time"]], dict[str, Float[np.ndarray, " time"]]]:
    """Put two views on one regular grid, centred; NaN where either lacks the bar."""
    both = first.join(second, on="ts_ns", suffix="_second").sort("ts_ns")
    if len(both) < 2 * DAY_SECONDS // BAR_SECONDS:
        raise DataError(f"{what}: expected two days of common five-minute bars, found {len(both)} bars; read more")
    slot = ((both["ts_ns"] - both["ts_ns"][0]) // (BAR_SECONDS * 1_000_000_000)).to_numpy()

    def place(name: str) -> Float[np.ndarray, " time"]:
        grid = np.full(int(slot[-1]) + 1, np.nan)
        grid[slot] = both[name].to_numpy() - both[name].to_numpy().mean()
        return grid

    return {k: place(k) for k in MEASURES}, {k: place(f"{k}_second") for k in MEASURES}


def _pair(
    market: str,
    views: tuple[str, str],
    measure: str,
    x: Float[np.ndarray, " time"],
    y: Float[np.ndarray, " time"],
) -> PairOfViews:
    covariance = float(np.nanmean(x * y))
    return PairOfViews(
        market=market,
        views=views,
        measure=measure,
        bars=int(np.isfinite(x).sum()),
        correlation=_correlation(x, y),
        state_variance=covariance,
        state_autocovariance=tuple(_lagged(x, y, k) for k in LAGS),
        difference_autocorrelation=autocorrelation(x - y, LAGS),
    )


def _lagged(x: Float[np.ndarray, " time"], y: Float[np.ndarray, " time"], lag: int) -> float:
    return 0.5 * float(np.nanmean(x[:-lag] * y[lag:]) + np.nanmean(y[:-lag] * x[lag:]))


def _correlation(x: Float[np.ndarray, " time"], y: Float[np.ndarray, " time"]) -> float:
    return float(np.nanmean(x * y) / np.sqrt(np.nanmean(x * x) * np.nanmean(y * y)))


def _common_correlation(
    one: Mapping[str, Float[np.ndarray, " time"]], two: Mapping[str, Float[np.ndarray, " time"]]
) -> float:
    """Correlate the common parts of impact and range by covariances across views and lags: no private noise."""
    short = [k for k in LAGS if k <= 12]

    def common(a: str, b: str) -> float:
        return float(np.mean([_lagged(one[a], two[b], k) + _lagged(one[b], two[a], k) for k in short])) / 2.0

    return common("impact", "range") / float(np.sqrt(common("impact", "impact") * common("range", "range")))


def _medians(pairs: tuple[PairOfViews, ...], loadings: Sequence[float], links: Sequence[float]) -> CrossView:
    correlation = {k: float(np.median([p.correlation for p in pairs if p.measure == k])) for k in MEASURES}
    impact = [p for p in pairs if p.measure == "impact"]
    variance = float(np.median([p.state_variance for p in impact]))
    differences = np.median([p.difference_autocorrelation for p in impact], axis=0)
    private = fit_spectrum(LAGS, differences.tolist(), NOISE_HALF_LIVES_SECONDS, bar_seconds=BAR_SECONDS)
    # Lag 0 holds the range noise that all venues share, so the state's spectrum is fitted from lag 1 on.
    state = np.median([np.divide(p.state_autocovariance, p.state_autocovariance[0]) for p in impact], axis=0)
    shares = fit_spectrum(LAGS, state.tolist(), STATE_HALF_LIVES_SECONDS, bar_seconds=BAR_SECONDS)
    return CrossView(
        pairs=pairs,
        correlation=correlation,
        view_noise=1.0 / correlation["impact"] - 1.0,
        volume_noise=1.0 / correlation["volume"] - 1.0,
        range_noise=1.0 / correlation["range"] - 1.0,
        white_share=1.0 - sum(private),
        persistent_shares=private,
        state_shares=tuple(share / sum(shares) for share in shares),
        cost_deviation=float(np.sqrt(max(variance - LOG_RANGE_NOISE_VARIANCE, 0.0))),
        noise_loading=float(np.median(loadings)),
        volatility_link=float(np.median(links)),
    )


def _five_minutes(path: Path) -> pl.DataFrame:
    if not path.is_file():
        raise DataError(f"{path.name}: expected in {path.parent}, not found; give the folder that holds it")
    frame = pl.read_parquet(path) if path.suffix == ".parquet" else pl.read_csv(path)
    clocks = [c for c in ("open_time", "datetime_utc", "dt", "timestamp") if c in frame.columns]
    if not clocks:
        raise DataError(f"{path.name}: expected a clock column, found {', '.join(frame.columns)}; add open_time")
    clock = pl.col(clocks[0])
    if frame[clocks[0]].dtype == pl.String:
        clock = clock.str.slice(0, 19).str.to_datetime("%Y-%m-%d %H:%M:%S", time_zone="UTC")
    bars = (
        frame.filter(pl.col("volume") > 0)
        .with_columns(start=clock.cast(pl.Datetime("ns", "UTC")))
        .sort("start")
        .group_by_dynamic("start", every=f"{BAR_SECONDS}s")
        .agg(pl.col("high").max(), pl.col("low").min(), quote_volume=(pl.col("close") * pl.col("volume")).sum())
    )
    return bars.select(ts_ns=pl.col("start").dt.epoch("ns"), high="high", low="low", quote_volume="quote_volume")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the constants of this module from the venue series and print them."""
    parser = argparse.ArgumentParser(prog="python -m hansa.lab.calibration", description=main.__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds usdc_depeg_2023-03")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    chosen = parser.parse_args(arguments)
    found = cross_view_correlation(read_views(chosen.data / "usdc_depeg_2023-03"))
    if chosen.json:
        sys.stdout.write(json.dumps(asdict(found), indent=1) + "\n")
        return
    for p in found.pairs:
        sys.stdout.write(
            f"{p.market:10} {p.measure:7} {p.views[0]:20} {p.views[1]:28} bars {p.bars:5} "
            f"correlation {p.correlation:.2f}  difference lag 1 {p.difference_autocorrelation[0]:.2f} "
            f"lag 12 {p.difference_autocorrelation[4]:.2f}\n"
        )
    for name, value in asdict(found).items():
        if name != "pairs":
            sys.stdout.write(f"{name}: {value}\n")


if __name__ == "__main__":
    main()
