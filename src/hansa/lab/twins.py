"""A simulated market with known truth: what several brokers see, and what was really there.

Log liquidity cost of market m (the spread in bps, logged, that a trader with access to the whole market pays):

    c_m(t) = base_m + season_m(t) + sd * sum_k sqrt(share_k) x_mk(t) + sum_j B_jm s_j(t - lag) + stress_m(t)

x_mk are AR(1) with half-lives of 15 minutes, 4 hours and 30 days (their sum decays like long memory), correlated over
markets; s_j filters market j's innovations and B is the known spillover; stress ramps up at a known onset,
holds and decays. Log volatility shares `volatility_link` of c's random part and a part of the stress, has its own
season and its own persistent part, so that a rule which watches volatility alone is a fair rival. Prices follow
from the volatility by twelve steps a bar. `hansa.lab.segments` makes each member's view.

Guarantees: the same scenario gives the same bytes; each member has its own generator, so adding a member changes no
other member and no truth; view noise is the calibrated one unless the scenario says otherwise.
Does NOT guarantee: that a broker's real view is as noisy (see `hansa.lab.calibration`); the link of volatility
(0.7: it explains half), the stress shape and the spillover weights are assumptions. Markets never close.

Source: Corsi, Journal of Financial Econometrics 7(2), 2009 (sums of few persistent parts for long memory); Duffie,
Fleming, Keane, Nelson, Shachar and Van Tassel, FRBNY Staff Report 1070, 2023 (volatility explains most of liquidity).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl
from scipy.signal import lfilter

from hansa.errors import ConfigurationError
from hansa.lab.calibration import (
    COST_DEVIATION,
    DAY_SECONDS,
    STATE_HALF_LIVES_SECONDS,
    STATE_SHARES,
    VIEW_NOISE,
)
from hansa.lab.segments import MarketPath, persistent, view

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jaxtyping import Float, Int

MEMBER_NAMES: Final = (
    "lubeck", "hamburg", "bruges", "bergen", "riga", "london", "novgorod", "visby", "danzig", "stralsund",
)  # fmt: skip
#: Spread in bps, price in quote currency, volatility of a five-minute bar in bps.
MARKET_SCALES: Final[Mapping[str, tuple[float, float, float]]] = {
    "XAU-USD": (2.0, 1900.0, 6.0),
    "EUR-USD": (0.6, 1.08, 3.0),
    "USD-JPY": (0.8, 135.0, 3.5),
}
OTHER_SCALE: Final = (1.0, 100.0, 5.0)
START_NS: Final = 1_704_067_200_000_000_000  # 2024-01-01T00:00Z
SPILLOVER_HALF_LIFE_SECONDS: Final = 3600.0
SPILLOVER_LAG_BARS: Final = 2
STEPS_PER_BAR: Final = 12
VOLATILITY_DEVIATION: Final = 0.46  # log hourly range of ten pairs, less the range noise
STRESS_TO_VOLATILITY: Final = 0.6


@dataclass(frozen=True, slots=True)
class Spillover:
    """One known edge: a shock of `source` moves the log cost of `target` by up to `weight` of a cost deviation."""

    source: str
    target: str
    weight: float


@dataclass(frozen=True, slots=True)
class Scenario:
    """What to simulate.

    Attributes:
        seed: Of every generator.
        members: Number of brokers, 1 or more.
        markets: Names; those of `MARKET_SCALES` have their own price, spread and volatility.
        days: Calendar days.
        bar_ns: Length of a bar, an hour at most; divides a day.
        view_noise: Private over state variance of a view's log cost; `None` is the calibrated ratio.
        episodes: Stress episodes per market, at most one in two days; `None` is one a week and at least one.
        spillovers: Known edges; `None` lets the first market lead all others and the second lead the third.
        market_correlation: Of the states' innovations, 0 to below 1.
        volatility_link: Correlation of log volatility's random part with the log cost's, 0 to 1.
    """

    seed: int
    members: int = 5
    markets: tuple[str, ...] = ("XAU-USD", "EUR-USD", "USD-JPY")
    days: int = 28
    bar_ns: int = 300_000_000_000
    view_noise: float | None = None
    episodes: int | None = None
    spillovers: tuple[Spillover, ...] | None = None
    market_correlation: float = 0.55
    volatility_link: float = 0.7

    def __post_init__(self) -> None:
        """Refuse a scenario that cannot be simulated.

        Raises:
            ConfigurationError: A value is out of its range or an edge names an unknown market.
        """
        if self.members < 1 or self.days < 1 or not self.markets or len(set(self.markets)) < len(self.markets):
            raise ConfigurationError(
                f"expected members >= 1, days >= 1 and distinct markets; "
                f"got {self.members}, {self.days}, {self.markets}"
            )
        if not 0 < self.bar_ns <= 3_600_000_000_000 or DAY_SECONDS * 1_000_000_000 % self.bar_ns:
            raise ConfigurationError(
                f"expected bar_ns up to an hour that divides a day, got {self.bar_ns}; try 300000000000"
            )
        most = max(1, self.days // 2)  # so that no episode begins before the last one has ended
        if not 0 <= self.episode_count <= most:
            raise ConfigurationError(f"expected 0 to {most} episodes in {self.days} days, got {self.episode_count}")
        if self.view_noise is not None and self.view_noise < 0:
            raise ConfigurationError(f"expected view_noise >= 0, got {self.view_noise}")
        if not (0 <= self.market_correlation < 1 and 0 <= self.volatility_link <= 1):
            raise ConfigurationError("expected market_correlation in [0, 1) and volatility_link in [0, 1]")
        unknown = {name for edge in self.edges for name in (edge.source, edge.target)} - set(self.markets)
        if unknown:
            raise ConfigurationError(f"spillover of an unknown market: {', '.join(sorted(unknown))}; add the market")

    @property
    def edges(self) -> tuple[Spillover, ...]:
        """The spillovers in force."""
        if self.spillovers is not None:
            return self.spillovers
        lead = tuple(Spillover(self.markets[0], name, 0.5) for name in self.markets[1:])
        return lead + tuple(Spillover(self.markets[1], name, 0.3) for name in self.markets[2:3])

    @property
    def episode_count(self) -> int:
        """The stress episodes of each market."""
        return max(1, self.days // 7) if self.episodes is None else self.episodes

    @property
    def names(self) -> tuple[str, ...]:
        """The members' names."""
        return tuple(MEMBER_NAMES[i] if i < len(MEMBER_NAMES) else f"member-{i + 1}" for i in range(self.members))

    @property
    def noise(self) -> float:
        """The view noise in force."""
        return VIEW_NOISE if self.view_noise is None else self.view_noise


@dataclass(frozen=True, slots=True)
class Twin:
    """A simulated market and its truth.

    Attributes:
        bars: Member -> bars that conform to `hansa.market.schema`; venue is the member.
        truth: `ts_ns, market, log_cost, stress`: log of the spread in bps over the whole market; the stress in it.
        onsets: `ts_ns, market, end_ns`: first bar of an episode; last bar above a tenth of its peak.
    """

    bars: Mapping[str, pl.DataFrame]
    truth: pl.DataFrame
    onsets: pl.DataFrame


def simulate(scenario: Scenario) -> Twin:
    """Simulate the market and every member's view of it.

    Args:
        scenario: What to simulate.

    Returns:
        Bars per member, truth and onsets, the same for the same scenario.
    """
    market_seed, *member_seeds = np.random.SeedSequence(scenario.seed).spawn(1 + scenario.members)
    rng = np.random.default_rng(market_seed)
    stress, onsets = _stress(rng, scenario)
    path = _market(rng, scenario, stress)
    bar_seconds = scenario.bar_ns / 1e9
    bars = {
        name: view(path, name, np.random.default_rng(seed), view_noise=scenario.noise, bar_seconds=bar_seconds)
        for name, seed in zip(scenario.names, member_seeds, strict=True)
    }
    truth = pl.DataFrame(
        {
            "ts_ns": np.tile(path.ts_ns, len(path.names)),
            "market": np.repeat(np.array(path.names), len(path.ts_ns)).tolist(),
            "log_cost": path.log_cost.ravel(),
            "stress": stress.ravel(),
        }
    )
    return Twin(bars, truth.sort("market", "ts_ns"), onsets.sort("market", "ts_ns"))


def _clock(scenario: Scenario) -> Int[np.ndarray, " time"]:
    bars = scenario.days * DAY_SECONDS * 1_000_000_000 // scenario.bar_ns
    return START_NS + scenario.bar_ns * np.arange(1, bars + 1, dtype=np.int64)


def _stress(rng: np.random.Generator, scenario: Scenario) -> tuple[Float[np.ndarray, "market time"], pl.DataFrame]:
    """Draw the episodes, one in each equal part of the span so that training and test both hold some."""
    ts_ns = _clock(scenario)
    seconds = (ts_ns - START_NS) / 1e9
    stress = np.zeros((len(scenario.markets), len(ts_ns)))
    rows: list[tuple[int, str, int]] = []
    part = scenario.days * DAY_SECONDS / max(scenario.episode_count, 1)
    for m, market in enumerate(scenario.markets):
        for episode in range(scenario.episode_count):
            begin = (episode + rng.uniform(0.1, 0.6)) * part
            ramp, peak = rng.uniform(3600.0, 7200.0), rng.uniform(0.9, 1.5)
            since = seconds - begin
            decay = 0.5 ** (np.maximum(since - ramp - 3600.0, 0.0) / 7200.0)
            bump = peak * np.clip(since / ramp, 0.0, 1.0) * decay
            bump[decay < 0.02] = 0.0
            stress[m] += bump
            lit = np.flatnonzero(bump > 0.0)
            last = np.flatnonzero(bump > 0.1 * peak)[-1]
            rows.append((int(ts_ns[lit[0]]), market, int(ts_ns[last])))
    kinds = {"ts_ns": pl.Int64, "market": pl.String, "end_ns": pl.Int64}
    return stress, pl.DataFrame(rows, schema=kinds, orient="row")


def _market(rng: np.random.Generator, scenario: Scenario, stress: Float[np.ndarray, "market time"]) -> MarketPath:
    ts_ns, bar_seconds = _clock(scenario), scenario.bar_ns / 1e9
    scales = np.array([MARKET_SCALES.get(name, OTHER_SCALE) for name in scenario.markets])
    cost_state, innovations = _persistent_state(rng, scenario, len(ts_ns))
    own_state, _ = _persistent_state(rng, scenario, len(ts_ns))
    link = scenario.volatility_link
    cost_state = cost_state + _spillovers(scenario, innovations, bar_seconds)
    volatility_state = link * cost_state + np.sqrt(1.0 - link**2) * own_state
    phase = 2.0 * np.pi * (ts_ns / 1e9 % DAY_SECONDS) / DAY_SECONDS
    offset = rng.uniform(-0.5, 0.5, (len(scales), 1))
    season = np.cos(phase - np.pi - offset) + 0.4 * np.cos(2.0 * (phase - offset))
    base_cost = np.log(scales[:, 0])
    log_cost = base_cost[:, None] - 0.2 * season + COST_DEVIATION * cost_state + stress
    log_volatility = 0.4 * season + VOLATILITY_DEVIATION * volatility_state + STRESS_TO_VOLATILITY * stress
    bar_volatility = 1e-4 * scales[:, 2:] * np.sqrt(bar_seconds / 300.0) * np.exp(log_volatility)
    return MarketPath(
        names=scenario.markets,
        ts_ns=ts_ns,
        log_cost=log_cost,
        base_cost=base_cost,
        log_activity=0.5 * season + 0.7 * log_volatility,
        prices=_price_path(rng, scales[:, 1], bar_volatility),
    )


def _persistent_state(
    rng: np.random.Generator, scenario: Scenario, bars: int
) -> tuple[Float[np.ndarray, "market time"], Float[np.ndarray, "market time"]]:
    """Draw a long-memory state of unit variance, and the innovations of its fastest part."""
    markets, common = len(scenario.markets), scenario.market_correlation
    shape = (len(STATE_SHARES), markets, bars)
    shared = rng.standard_normal((len(STATE_SHARES), 1, bars))
    innovations = np.sqrt(common) * shared + np.sqrt(1.0 - common) * rng.standard_normal(shape)
    parts = [
        np.sqrt(share) * persistent(draws, half_life, scenario.bar_ns / 1e9)
        for share, half_life, draws in zip(STATE_SHARES, STATE_HALF_LIVES_SECONDS, innovations, strict=True)
    ]
    return np.sum(parts, axis=0), innovations[0]


def _spillovers(
    scenario: Scenario, innovations: Float[np.ndarray, "market time"], bar_seconds: float
) -> Float[np.ndarray, "market time"]:
    """Carry each source's innovations to its targets, some bars later and fading with the known half-life."""
    decay = 0.5 ** (bar_seconds / SPILLOVER_HALF_LIFE_SECONDS)
    delay = np.zeros(SPILLOVER_LAG_BARS + 1)
    delay[-1] = np.sqrt(1.0 - decay**2)
    echo = lfilter(delay, [1.0, -decay], innovations)
    arrived = np.zeros_like(innovations)
    for edge in scenario.edges:
        arrived[scenario.markets.index(edge.target)] += edge.weight * echo[scenario.markets.index(edge.source)]
    return arrived


def _price_path(
    rng: np.random.Generator, start: Float[np.ndarray, " market"], volatility: Float[np.ndarray, "market time"]
) -> Float[np.ndarray, "price market time"]:
    """Walk the log price in equal steps inside each bar; return open, high, low, close."""
    steps = rng.standard_normal((*volatility.shape, STEPS_PER_BAR)) * volatility[..., None] / np.sqrt(STEPS_PER_BAR)
    inside = np.cumsum(steps, axis=-1)
    close = np.cumsum(inside[..., -1], axis=-1)
    opening = close - inside[..., -1]
    high = opening + np.maximum(inside.max(axis=-1), 0.0)
    low = opening + np.minimum(inside.min(axis=-1), 0.0)
    prices: Float[np.ndarray, "price market time"] = np.exp(np.stack([opening, high, low, close]))
    prices *= start[:, None]
    return prices
