"""Simulated markets whose responses to a shock are known: what ripple estimates are judged by.

| name | dynamics | truth |
|---|---|---|
| `var1` | y_t = A y_{t-1} + e_t | closed form |
| `var2` | y_t = A y_{t-1} + B y_{t-2} + e_t, responses with a hump | closed form |
| `hawkes` | arrivals N_t ~ Poisson(mu + K x_{t-1}), x_t = decay x_{t-1} + N_t: arrivals excite arrivals | closed form |
| `threshold` | the second market feels max(y_1 - 1, 0) of the first: only stress spreads | 20,000 pairs of paths |

There are four markets: the first moves the second and, through it or directly, the third; the last one is alone, so
that all its edges are placebos: no response at any lag in either direction. `hawkes` has jumps and a variance that
moves; each market is in deviations of its own stationary distribution.

Source: Hawkes, Biometrika 58, 1971, in discrete time; Koop, Pesaran and Potter, J. Econometrics 74, 1996.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final

import numpy as np

from hansa.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Float

MARKETS: Final = 4
WARM_UP: Final = 100
TRUTH_PATHS: Final = 20_000
FIRST: Final = np.array([[0.7, 0, 0, 0], [0.2, 0.6, 0, 0], [0.1, 0.15, 0.6, 0], [0, 0, 0, 0.7]])
HUMP_FIRST: Final = np.array([[0.5, 0, 0, 0], [0.1, 0.5, 0, 0], [0.05, 0.15, 0.5, 0], [0, 0, 0, 0.6]])
HUMP_SECOND: Final = np.array([[0.3, 0, 0, 0], [0.25, 0.2, 0, 0], [0.15, 0.1, 0.2, 0], [0, 0, 0, 0.1]])
COVARIANCE: Final = np.array([[1, 0.3, 0.15, 0], [0.3, 1, 0.2, 0], [0.15, 0.2, 1, 0], [0, 0, 0, 1]])
EXCITATION: Final = np.array([[0.25, 0, 0, 0], [0.15, 0.2, 0, 0], [0.1, 0.1, 0.2, 0], [0, 0, 0, 0.25]])
BASE_RATE: Final = 0.5
DECAY: Final = 0.6
PULL: Final = 0.6
NAMES: Final = ("var1", "var2", "hawkes", "threshold")


@dataclass(frozen=True, slots=True)
class KnownMarket:
    """A simulated market and what is true of it.

    Attributes:
        name: Out of `NAMES`.
        truth: Response of every market to a shock of the first and of the last one, in deviations of each market,
            shape (source, lag, market) with sources in the order of `sources`.
        sources: Places of the shocked markets.
        draw: Makes a history of so many bars, in deviations of each market.
    """

    name: str
    truth: Float[np.ndarray, "source lag market"]
    sources: tuple[int, ...]
    draw: Callable[[np.random.Generator, int], Float[np.ndarray, "time market"]]


@cache
def known_market(name: str, *, size: float = 3.0, horizon: int = 24) -> KnownMarket:
    """Return a market with its true responses.

    Args:
        name: Out of `NAMES`.
        size: Of the shock, in deviations of the market's residual.
        horizon: Bars after the shock.

    Raises:
        ConfigurationError: There is no market of this name.
    """
    if name not in NAMES:
        raise ConfigurationError(f"expected a market out of {', '.join(NAMES)}; got {name!r}")
    sources = (0, MARKETS - 1)
    deviation = _raw(name, np.random.default_rng(1), 1000, chains=400).std(axis=(0, 1))
    if name == "threshold":
        found = [_simulated(source, size, horizon) for source in sources]
    else:
        found = [_closed(name, source, size, horizon) for source in sources]
    return KnownMarket(
        name,
        np.stack(found) / deviation,
        sources,
        lambda rng, bars: np.asarray(_raw(name, rng, bars)[0] / deviation),
    )


def _raw(name: str, rng: np.random.Generator, bars: int, chains: int = 1) -> Float[np.ndarray, "chain time market"]:
    """Run independent histories side by side, in the market's own unit."""
    root = np.linalg.cholesky(COVARIANCE)
    run = np.zeros((bars + WARM_UP, chains, MARKETS))
    for bar in range(2, bars + WARM_UP):
        if name == "hawkes":
            run[bar] = DECAY * run[bar - 1] + rng.poisson(BASE_RATE + run[bar - 1] @ EXCITATION.T)
        else:
            run[bar] = _step(name, run[bar - 1], run[bar - 2]) + rng.standard_normal((chains, MARKETS)) @ root.T
    return run[WARM_UP:].transpose(1, 0, 2)


def _step(
    name: str, last: Float[np.ndarray, "path market"], before: Float[np.ndarray, "path market"]
) -> Float[np.ndarray, "path market"]:
    if name == "var1":
        return np.asarray(last @ FIRST.T)
    if name == "var2":
        return np.asarray(last @ HUMP_FIRST.T + before @ HUMP_SECOND.T)
    moved = last * np.diag(FIRST)
    moved[:, 1] += PULL * np.maximum(last[:, 0] - 1.0, 0.0)
    moved[:, 2] += 0.2 * last[:, 1]
    return moved


def _closed(name: str, source: int, size: float, horizon: int) -> Float[np.ndarray, "lag market"]:
    if name == "hawkes":  # x_t = (decay + K) x_{t-1} + mu + e_t, and the mean rate is the variance of e
        first, second = DECAY * np.eye(MARKETS) + EXCITATION, np.zeros((MARKETS, MARKETS))
        mean = np.linalg.solve(np.eye(MARKETS) - first, np.full(MARKETS, BASE_RATE))
        covariance = np.diag(BASE_RATE + EXCITATION @ mean)
    else:
        first, second = (FIRST, np.zeros_like(FIRST)) if name == "var1" else (HUMP_FIRST, HUMP_SECOND)
        covariance = COVARIANCE
    curve = np.zeros((horizon + 1, MARKETS))
    curve[0] = size * covariance[:, source] / np.sqrt(covariance[source, source])
    for lag in range(1, horizon + 1):
        curve[lag] = first @ curve[lag - 1] + (second @ curve[lag - 2] if lag > 1 else 0.0)
    return curve


def _simulated(source: int, size: float, horizon: int) -> Float[np.ndarray, "lag market"]:
    rng = np.random.default_rng(2)
    history = _raw("threshold", rng, 1, chains=TRUTH_PATHS)[:, 0]
    root = np.linalg.cholesky(COVARIANCE)
    first = rng.standard_normal((TRUTH_PATHS, MARKETS)) @ root.T
    first = np.concatenate([first[: TRUTH_PATHS // 2], -first[: TRUTH_PATHS // 2]])
    column = COVARIANCE[:, source] / COVARIANCE[source, source]
    struck_first = first + (size * np.sqrt(COVARIANCE[source, source]) - first[:, source, None]) * column
    calm = _step("threshold", history, history) + first
    struck = _step("threshold", history, history) + struck_first
    curve = [struck.mean(axis=0) - calm.mean(axis=0)]
    for _ in range(horizon):
        shocks = rng.standard_normal((TRUTH_PATHS, MARKETS)) @ root.T
        calm, struck = _step("threshold", calm, calm) + shocks, _step("threshold", struck, struck) + shocks
        curve.append(struck.mean(axis=0) - calm.mean(axis=0))
    return np.stack(curve)
