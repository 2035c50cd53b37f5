"""Trials of ripple estimates on markets with known responses, and how they are scored.

Scored are the edges out of the shocked markets to the others. An edge is a placebo where the truth is zero at every
lag; all others have a response.

| score | over |
|---|---|
| error | edges with a response: root mean square of curve - truth over the lags, over that of the truth |
| sign | edges with a response: share with the right sign at the lag of the true peak |
| correlation | edges with a response: with the true curve over the lags |
| peak | edges with a response: share whose peak is within one bar of the true one |
| cover | edges with a response: share of (edge, lag) whose truth lies in the 90 % band |
| placebo | placebo edges: share that is called a response |
"""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from hansa.lab.calibration import VIEW_NOISE
from hansa.lab.ripple_markets import NAMES
from hansa.model.ripple import choose_dynamics, peak_lag, responses
from hansa.model.ripple_bands import banded_response, put_on
from hansa.model.ripple_baselines import autoregression, local_projections
from hansa.model.ripple_curve import answer_sensitivity, believed, curves_of, part_differences
from hansa.model.ripple_noise import choose_latent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jaxtyping import Float

    from hansa.lab.ripple_markets import KnownMarket

SIZE: Final = 3.0
HORIZON: Final = 24
SLOTS: Final = 24
WINDOWS: Final = (6, 24)
NOISE_MULTIPLIER: Final = 4.63
"""Of 20 queries a year at epsilon 4.8 and delta 1e-6."""
_PLACEBO: Final = 0.05  # of a deviation: the Monte Carlo error of a simulated truth is below it


@dataclass(frozen=True, slots=True)
class Estimate:
    """Curves of one history, shape (source, lag, market), with ends of a 90 % band and verdicts where there are any."""

    curves: Float[np.ndarray, "source lag market"]
    low: Float[np.ndarray, "source lag market"] | None = None
    high: Float[np.ndarray, "source lag market"] | None = None
    is_moved: tuple[tuple[bool, ...], ...] | None = None


@dataclass(frozen=True, slots=True)
class Score:
    """Scores as in the module's docstring; None where an estimator has no band or no verdict."""

    error: float
    sign: float
    correlation: float
    peak: float
    cover: float | None
    placebo: float | None

    def row(self) -> tuple[float | None, ...]:
        """Return the scores in order."""
        return astuple(self)


def trial(market: KnownMarket, seed: int, *, bars: int, replicates: int = 200) -> Mapping[str, Estimate]:
    """Estimate the responses of one exact history by every estimator."""
    values = market.draw(_generator(market, seed), bars)
    values = values - values.mean(axis=0)
    dynamics = choose_latent(values, windows=WINDOWS)
    bands = [
        banded_response(dynamics, source, SIZE, HORIZON, seed=seed, replicates=replicates) for source in market.sources
    ]
    return {
        "ripple": Estimate(
            np.stack([one.curve for one in bands]),
            np.stack([one.low for one in bands]),
            np.stack([one.high for one in bands]),
            tuple(one.is_moved for one in bands),
        ),
        "VAR by OLS": Estimate(np.stack([autoregression(values, one, SIZE, HORIZON) for one in market.sources])),
        "local projections": Estimate(
            np.stack([local_projections(values, one, SIZE, HORIZON) for one in market.sources])
        ),
    }


def federated_trial(
    market: KnownMarket, seed: int, *, members: int, bars: int, view_noise: float = VIEW_NOISE, replicates: int = 100
) -> Mapping[str, Estimate]:
    """Answer a query about the first market through the bounded answers of members with noisy views.

    Returns:
        `through the door`: the published response and the noised mean of the members' differences, with its band;
        `door without noise`; `published state`: the response of the mean of the views, no member asked; `plain fit`:
        the same by least squares, the noise of the views taken for the market; `one member`: the response of the
        first member's own view, alone, by least squares.
    """
    rng = _generator(market, seed)
    exact = market.draw(rng, bars)
    views = exact + np.sqrt(view_noise) * rng.standard_normal((members, *exact.shape))
    state = views.mean(axis=0)
    slot = np.arange(bars) % SLOTS
    targets = range(1, exact.shape[1])
    parts = [
        part_differences(
            state, view[:, 1:], slot, SLOTS, is_open=np.ones(bars, dtype=np.bool_), source=0, targets=targets,
            size=SIZE, horizon=HORIZON, windows=WINDOWS,
        )
        for view in views
    ]  # fmt: skip
    mean = np.mean(parts, axis=(0, 1))
    deviation = NOISE_MULTIPLIER * answer_sensitivity() / np.sqrt(members * honest(members))
    noisy = believed(mean + deviation * rng.standard_normal(mean.shape), deviation, HORIZON)
    values = (state - state.mean(axis=0)) / state.std(axis=0)
    public, plain = (
        banded_response(fit(values, windows=WINDOWS), 0, SIZE, HORIZON, seed=seed, replicates=replicates)
        for fit in (choose_latent, choose_dynamics)
    )
    band = put_on(public, noisy, parts[0], deviation=deviation, members=members, size=SIZE)
    unit = state.std(axis=0)  # answers are in deviations of the published cost, the truth in those of the exact one

    def shown(curves: Float[np.ndarray, "lag market"]) -> Float[np.ndarray, "source lag market"]:
        return np.asarray((curves * unit)[None])

    silent = np.pad(curves_of(mean, HORIZON, SIZE).T, ((0, 0), (1, 0)))
    first = views[0] - views[0].mean(axis=0)
    alone = choose_dynamics(first / first.std(axis=0), windows=WINDOWS)
    own = responses(alone, 0, SIZE, HORIZON, rng=np.random.default_rng(seed))[0] * first.std(axis=0)
    return {
        "through the door": Estimate(shown(band.curve), shown(band.low), shown(band.high)),
        "door without noise": Estimate(shown(public.curve + silent)),
        "published state": Estimate(shown(public.curve), shown(public.low), shown(public.high)),
        "plain fit": Estimate(shown(plain.curve), shown(plain.low), shown(plain.high)),
        "one member": Estimate(own[None]),
    }


def honest(members: int) -> int:
    """Return the honest members of the smallest cohort of so many, as a constitution is drafted by default."""
    colluders = max(0, (members - 1) // 3)
    return max(3, colluders + 2, (members + colluders) // 2 + 1) - colluders


def _generator(market: KnownMarket, seed: int) -> np.random.Generator:
    """Return a generator that no other market's trial of this seed has."""
    return np.random.default_rng([seed, NAMES.index(market.name)])


def score(market: KnownMarket, estimates: Sequence[Estimate]) -> Score:
    """Score estimates of several histories against the truth."""
    found: dict[str, list[float]] = {name: [] for name in ("error", "sign", "correlation", "peak", "cover", "placebo")}
    for one in estimates:
        for place in range(one.curves.shape[0]):
            for target in range(one.curves.shape[2]):
                if target != market.sources[place]:
                    _score_edge(market.truth[place, :, target], one, place, target, found)
    means = {name: float(np.mean(values)) if values else None for name, values in found.items()}
    return Score(**means)  # type: ignore[arg-type] # edges with a response are always there


def _score_edge(
    truth: Float[np.ndarray, " lag"], one: Estimate, place: int, target: int, found: dict[str, list[float]]
) -> None:
    curve = one.curves[place, :, target]
    if np.abs(truth).max() < _PLACEBO:
        if one.is_moved is not None:
            found["placebo"].append(one.is_moved[place][target])
        return
    at = peak_lag(truth)
    found["error"].append(float(np.linalg.norm(curve - truth) / np.linalg.norm(truth)))
    found["sign"].append(float(np.sign(curve[at]) == np.sign(truth[at])))
    found["correlation"].append(float(np.corrcoef(curve, truth)[0, 1]))
    found["peak"].append(float(abs(peak_lag(curve) - at) <= 1))
    if one.low is not None and one.high is not None:
        inside = (one.low[place, :, target] <= truth) & (truth <= one.high[place, :, target])
        found["cover"].append(float(inside.mean()))
