"""A member's slice of a simulated market: the bars that one broker would record of its own clients' flow.

In log units, for market m and bar t, with the market's cost c, volatility v and activity a,

    spread  = c + bias + e_spread               depth = base - 0.8 (c + e_depth)
    impact  = base + c + e_impact               volume = log share + base + a + e_volume
    e_k     = sqrt(g) e_common + sqrt(1 - g) e_own,k      for spread, depth and impact (g the noise loading)

Spread, depth and the range of the mid are the member's own quotes; the volume is its clients': each bar has `trades`
clients with exponential shares of it, from which the capped volume is made (`hansa.market.influence`).

Every e is white noise plus AR(1) parts of the calibrated shares and half-lives, scaled to the calibrated ratio of
private to state variance. Open and close are the market's, off by a part of the member's spread; the wicks stretch or
shrink so that the range is the market's times private noise, never below |close - open|; signed volume leans with the
return and with private demand. The capped columns have a generator of their own and change no other.

Guarantees: a view depends on the market and on its own generator only, never on another member.
Does NOT guarantee: missing bars, faulty prints or a closed week-end; every bar has a row.

Source: `hansa.lab.calibration` for each constant; the elasticity of depth, -0.8, is an assumption.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl
from scipy.signal import lfilter

from hansa.lab.calibration import (
    NOISE_HALF_LIVES_SECONDS,
    NOISE_LOADING,
    NOISE_SHARES,
    RANGE_NOISE,
    VOLUME_NOISE,
    deseasonalise,
)
from hansa.market import schema
from hansa.market.influence import DEFAULT_CAP, InfluenceRule, winsorised_volumes
from hansa.market.measures import RANGE_FLOOR

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float, Int

DEPTH_ELASTICITY: Final = 0.8
BIAS_DEVIATION: Final = 0.2
SHARE_DEVIATION: Final = 0.6
BASE_DEPTH_QUOTE: Final = 5e6
BASE_VOLUME_QUOTE: Final = 2e6
TICKET_QUOTE: Final = 5e4
#: The simulated clients are capped as the constitution of the demo says, against the public mean volume of a bar.
RULE: Final = InfluenceRule(DEFAULT_CAP, BASE_VOLUME_QUOTE, RANGE_FLOOR, "client", "house")
_SPREAD, _DEPTH, _IMPACT, _COMMON, _VOLUME, _RANGE, _FLOW = range(7)


@dataclass(frozen=True, slots=True)
class MarketPath:
    """What happened on every market, bar by bar.

    Attributes:
        names: Markets.
        ts_ns: End of each bar.
        log_cost: Log of the spread in bps that a market-wide trader pays.
        base_cost: Long-run mean of `log_cost`.
        log_activity: Log of traded volume against its mean.
        prices: Open, high, low, close in quote currency.
    """

    names: tuple[str, ...]
    ts_ns: Int[np.ndarray, " time"]
    log_cost: Float[np.ndarray, "market time"]
    base_cost: Float[np.ndarray, " market"]
    log_activity: Float[np.ndarray, "market time"]
    prices: Float[np.ndarray, "price market time"]


def persistent(
    innovations: Float[np.ndarray, "... time"], half_life_seconds: float, bar_seconds: float
) -> Float[np.ndarray, "... time"]:
    """Turn standard normal innovations into a stationary AR(1) of unit variance.

    Args:
        innovations: Independent standard normals along the last axis.
        half_life_seconds: Of the autocorrelation.
        bar_seconds: Length of a bar.
    """
    decay = 0.5 ** (bar_seconds / half_life_seconds)
    scaled = np.sqrt(1.0 - decay**2) * innovations
    scaled[..., 0] = innovations[..., 0]
    path: Float[np.ndarray, "... time"] = lfilter([1.0], [1.0, -decay], scaled)
    return path


def private_noise(rng: np.random.Generator, shape: Sequence[int], bar_seconds: float) -> Float[np.ndarray, "... time"]:
    """Draw unit-variance noise of the calibrated spectrum, time along the last axis of `shape`."""
    noise: Float[np.ndarray, "... time"] = np.sqrt(1.0 - sum(NOISE_SHARES)) * rng.standard_normal(shape)
    for share, half_life in zip(NOISE_SHARES, NOISE_HALF_LIVES_SECONDS, strict=True):
        noise = noise + np.sqrt(share) * persistent(rng.standard_normal(shape), half_life, bar_seconds)
    return noise


def view(
    path: MarketPath, member: str, rng: np.random.Generator, *, view_noise: float, bar_seconds: float
) -> pl.DataFrame:
    """Record the market as one member sees it.

    Args:
        path: The market.
        member: Written in the column `venue`.
        rng: The member's own generator.
        view_noise: Private variance of a log cost measure over the de-seasonalised variance of the market's.
        bar_seconds: Length of a bar.

    Returns:
        Bars that conform to `hansa.market.schema`.
    """
    markets, bars = path.log_cost.shape
    share = np.exp(SHARE_DEVIATION * rng.standard_normal(markets))
    bias = BIAS_DEVIATION * rng.standard_normal((markets, 1))
    noise = private_noise(rng, (7, markets, bars), bar_seconds)
    state = _deviation(path.log_cost, path.ts_ns)
    own, common = np.sqrt(1.0 - NOISE_LOADING), np.sqrt(NOISE_LOADING)
    error = np.sqrt(view_noise) * state * (own * noise[:3] + common * noise[_COMMON])
    surprise = path.log_cost - path.base_cost[:, None]
    tickets = rng.spawn(1)[0]
    prices, mid_range = _prices(path, rng, path.log_cost + bias + error[_SPREAD], noise[_RANGE])
    activity = _deviation(path.log_activity, path.ts_ns)
    quote_volume = BASE_VOLUME_QUOTE * np.exp(path.log_activity + np.sqrt(VOLUME_NOISE) * activity * noise[_VOLUME])
    quote_volume = quote_volume * share[:, None]
    volume = quote_volume / prices[3]
    trades = 1 + rng.poisson(quote_volume / TICKET_QUOTE)
    columns = {
        "open": prices[0],
        "high": prices[1],
        "low": prices[2],
        "close": prices[3],
        "volume": volume,
        "signed_volume": volume * _imbalance(path, noise[_FLOW]),
        "spread_bps": np.exp(path.log_cost + bias + error[_SPREAD]),
        "depth_quote": BASE_DEPTH_QUOTE * share[:, None] * np.exp(-DEPTH_ELASTICITY * (surprise + error[_DEPTH])),
        "impact_bps_per_mio": np.exp(path.log_cost + bias + error[_IMPACT]) / share[:, None],
        "trades": trades,
        "capped_volume": _capped_volume(tickets, quote_volume, trades),
        "capped_range": RULE.range + mid_range,
    }
    frame = pl.DataFrame(
        {"ts_ns": np.tile(path.ts_ns, markets), "market": np.repeat(np.array(path.names), bars).tolist()}
        | {name: values.ravel() for name, values in columns.items()}
    )
    return schema.conform(
        frame.with_columns(venue=pl.lit(member), influence=pl.lit(RULE.text())), source=f"simulated view of {member}"
    )


def _capped_volume(
    rng: np.random.Generator, quote_volume: Float[np.ndarray, "market time"], clients: Int[np.ndarray, "market time"]
) -> Float[np.ndarray, "market time"]:
    """Share each bar's volume among its clients and cap what each counts."""
    bar = np.repeat(np.arange(clients.size), clients.ravel())
    share = rng.standard_exponential(bar.size)
    share *= (quote_volume.ravel() / np.bincount(bar, weights=share))[bar]
    return winsorised_volumes(bar, share, RULE, bars=clients.size).reshape(clients.shape)


def _prices(
    path: MarketPath,
    rng: np.random.Generator,
    log_spread: Float[np.ndarray, "market time"],
    noise: Float[np.ndarray, "market time"],
) -> tuple[Float[np.ndarray, "price market time"], Float[np.ndarray, "market time"]]:
    """Return open, high, low, close, whose last prints bounce between bid and ask, and the log range of the mid."""
    market_open, market_high, market_low, market_close = path.prices
    half_spread = 0.5e-4 * np.exp(log_spread)
    close = market_close * np.exp(half_spread * rng.uniform(-1.0, 1.0, market_close.shape))
    opening = np.concatenate([market_open[:, :1], close[:, :-1]], axis=1)
    top, bottom = np.maximum(market_open, market_close), np.minimum(market_open, market_close)
    above, below = np.log(market_high / top), np.log(bottom / market_low)
    body, log_range = np.log(top / bottom), np.log(market_high / market_low)
    state = _deviation(np.log(log_range), path.ts_ns)
    wanted = log_range * np.exp(np.sqrt(RANGE_NOISE) * state * noise)
    stretch = np.maximum(wanted - body, 0.0) / np.maximum(above + below, 1e-12)
    high = np.maximum(opening, close) * np.exp(above * stretch)
    low = np.minimum(opening, close) * np.exp(-below * stretch)
    return np.stack([opening, high, low, close]), wanted


def _deviation(x: Float[np.ndarray, "market time"], ts_ns: Int[np.ndarray, " time"]) -> Float[np.ndarray, "market 1"]:
    """Return the de-seasonalised standard deviation of each market: what calibrated noise is measured against."""
    return np.array([[deseasonalise(row, ts_ns / 1e9).std()] for row in x])


def _imbalance(path: MarketPath, demand: Float[np.ndarray, "market time"]) -> Float[np.ndarray, "market time"]:
    """Return buyer- minus seller-initiated volume as a share of volume, in (-1, 1)."""
    change = np.log(path.prices[3] / path.prices[0])
    lean: Float[np.ndarray, "market time"] = np.tanh(0.5 * change / change.std(axis=1, keepdims=True) + 0.5 * demand)
    return lean
