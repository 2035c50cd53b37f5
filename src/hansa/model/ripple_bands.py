"""How sure a response is: bands from resampled histories that are simulated, fitted again and shocked again.

    e* = blocks of the centred residuals, put together anew;  y* = dynamics run with e*;  curve* = response of fit(y*)
    band = curve - median(curve*) + 4 % and 96 % of curve*

All replicates of a bent response share their pasts and later shocks (common random numbers), so that the spread of
curve* is the sampling error of the fit, not of the simulation; the curve itself has ten times as many paths. The shift
by the median takes the small-sample bias of autoregressions off once instead of adding it twice. Resampled bands of
dynamics cover less than their level (between 5 % and 95 % were 83 to 87 % of the truths in 400 simulated histories), so
a 90 % band is taken between 4 % and 96 %. Dynamics below noise are simulated, given noise and fitted below it again.

    is_moved: max_h |curve_h| / s_h above the 97.5 % quantile of max_h |curve*_h - median_h| / s_h

is one test for a whole curve: a market that does not respond at any lag is called moved in less than 5 % of cases
(resampled tests of dynamics flag a little more than their level; `benchmarks/ripple.py` measures how much).

Does NOT guarantee: cover for the choice of terms, which is made once, before; or for breaks in the history.

Source: Brueggemann, Jentsch and Trenkler, J. Econometrics 191, 2016 (blocks of residuals); Kilian, Review of Economics
and Statistics 80(2), 1998 (bias of bootstrapped responses); Montiel Olea and Plagborg-Moller, J. Applied Econometrics
34, 2019 (sup-t).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from hansa.errors import ModelError
from hansa.model.ripple import continue_paths, design_rows, responses
from hansa.model.ripple_curve import curves_of, lag_deviation
from hansa.model.ripple_noise import refit_latent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float

    from hansa.model.ripple import Dynamics

REPLICATES: Final = 200
LEVELS: Final = (0.04, 0.96)
TEST_LEVEL: Final = 0.025
PATHS_EACH: Final = 200
NORMAL_90: Final = 1.645
_CELLS_AT_ONCE: Final = 8_000_000
_LARGEST_RESPONSE: Final = 100.0  # deviations: a resampled history that explodes


@dataclass(frozen=True, slots=True)
class Band:
    """A response with its uncertainty; shapes (lag, market), in deviations of each market.

    Attributes:
        curve: The response.
        low: 5 % end.
        high: 95 % end.
        deviation: Of the sampling error.
        is_moved: Whether a market responds at any lag, by market.
        replicates: Responses of the resampled histories, shape (replicate, lag, market).
    """

    curve: Float[np.ndarray, "lag market"]
    low: Float[np.ndarray, "lag market"]
    high: Float[np.ndarray, "lag market"]
    deviation: Float[np.ndarray, "lag market"]
    is_moved: tuple[bool, ...]
    replicates: Float[np.ndarray, "replicate lag market"] = field(repr=False)


def banded_response(
    dynamics: Dynamics, source: int, size: float, horizon: int, *, seed: int, replicates: int = REPLICATES
) -> Band:
    """Compute a response and its band.

    Args:
        dynamics: The fitted dynamics.
        source: Place of the shocked market.
        size: Of the shock, in deviations of that market's residual.
        horizon: Bars after the shock.
        seed: Of everything that is drawn.
        replicates: Resampled histories.

    Raises:
        ModelError: There is no such market, or more than half of the resampled histories explode.
    """
    paths_seed, blocks_seed = np.random.SeedSequence(seed).spawn(2)
    curve = responses(dynamics, source, size, horizon, rng=np.random.default_rng(paths_seed))[0]
    coefficients, covariances = refit(dynamics, np.random.default_rng(blocks_seed), replicates)
    drawn = responses(
        dynamics, source, size, horizon,
        rng=np.random.default_rng(paths_seed), coefficients=coefficients, covariances=covariances, paths=PATHS_EACH,
    )  # fmt: skip
    kept = drawn[np.isfinite(drawn).all(axis=(1, 2)) & (np.abs(drawn) < _LARGEST_RESPONSE).all(axis=(1, 2))]
    if 2 * kept.shape[0] < replicates:
        raise ModelError(
            f"{replicates - kept.shape[0]} of {replicates} resampled histories explode: the dynamics are not stable; "
            "give a longer history"
        )
    return _band(curve, kept)


def put_on(
    public: Band,
    answer: Float[np.ndarray, "target coefficient"],
    own: Float[np.ndarray, "part target coefficient"],
    *,
    deviation: float,
    members: int,
    size: float,
    targets: Sequence[int] | None = None,
) -> Band:
    """Put the opened mean of the members' differences on the response of the published costs.

    The ends of the band move with the curve, and apart: to each side's distance from the curve the noise and the
    sampling error of the mean difference are added in quadrature. The latter is guessed from the asking member's own
    stretches, as if the members' private errors were independent.

    Args:
        public: Response of the published costs.
        answer: Opened mean over the members.
        own: Differences of the asking member's stretches, or zeros for who has none.
        deviation: Of the noise on each coefficient of `answer`.
        members: In the mean.
        size: Of the shock.
        targets: Columns of `public` that the answer's rows are about; all but the first by default.
    """
    horizon = public.curve.shape[0] - 1
    places = list(range(1, public.curve.shape[1])) if targets is None else list(targets)
    noise = lag_deviation(deviation, horizon, size)[:, None]
    spread = np.stack([curves_of(part, horizon, size).T for part in own])
    sampling = spread.std(axis=0, ddof=1) / np.sqrt(own.shape[0] * members)
    extra = np.hypot(noise, sampling)
    curve, low, high, wide = (one.copy() for one in (public.curve, public.low, public.high, public.deviation))
    shift = curves_of(answer, horizon, size).T
    below, above = public.curve - public.low, public.high - public.curve
    curve[:, places] += shift
    wide[:, places] = np.hypot(public.deviation[:, places], extra)
    for end, distance, sign in ((low, below, -1.0), (high, above, 1.0)):
        reach = np.sign(distance[:, places]) * np.hypot(distance[:, places], NORMAL_90 * extra)
        end[:, places] = curve[:, places] + sign * reach
    return replace(public, curve=curve, low=low, high=high, deviation=wide)


def refit(
    dynamics: Dynamics, rng: np.random.Generator, replicates: int
) -> tuple[Float[np.ndarray, "replicate column market"], Float[np.ndarray, "replicate market market"]]:
    """Fit the same terms to resampled histories.

    Args:
        dynamics: The fitted dynamics.
        rng: Draws the blocks.
        replicates: How many.

    Returns:
        Coefficients and covariances of the residuals, by replicate.
    """
    bars, markets = dynamics.residuals.shape
    order = dynamics.order
    block = max(1, round(5.03 * bars**0.25 / 2))
    centred = dynamics.residuals - dynamics.residuals.mean(axis=0)
    past = dynamics.values[: order.reach]
    step = max(1, _CELLS_AT_ONCE // (bars * order.columns(markets)))
    found = []
    for first in range(0, replicates, step):
        count = min(step, replicates - first)
        starts = rng.integers(0, bars - block + 1, (count, -(-bars // block)))
        rows = (starts[:, :, None] + np.arange(block)).reshape(count, -1)[:, :bars]
        run = continue_paths(
            np.broadcast_to(dynamics.coefficients, (count, *dynamics.coefficients.shape)), order, past[None],
            centred[rows][:, None],
        )[:, 0]  # fmt: skip
        whole = np.concatenate([np.broadcast_to(past, (count, *past.shape)), run], axis=1)
        if dynamics.noise is None:
            found.append(_fit_each(whole, dynamics))
        else:
            whole += np.sqrt(dynamics.noise) * rng.standard_normal(whole.shape)
            found.append(refit_latent(whole, order, dynamics.noise)[:2])
    return np.concatenate([one for one, _ in found]), np.concatenate([one for _, one in found])


def _fit_each(
    values: Float[np.ndarray, "replicate time market"], dynamics: Dynamics
) -> tuple[Float[np.ndarray, "replicate column market"], Float[np.ndarray, "replicate market market"]]:
    design = design_rows(values, dynamics.order)
    target = values[:, dynamics.order.reach :]
    across = design.transpose(0, 2, 1)
    gram = across @ design
    gram += 1e-12 * np.trace(gram, axis1=1, axis2=2)[:, None, None] * np.eye(gram.shape[1])
    coefficients = np.linalg.solve(gram, across @ target)
    residuals = target - design @ coefficients
    return coefficients, residuals.transpose(0, 2, 1) @ residuals / residuals.shape[1]


def _band(curve: Float[np.ndarray, "lag market"], drawn: Float[np.ndarray, "replicate lag market"]) -> Band:
    middle = np.median(drawn, axis=0)
    low, high = (curve - middle + np.quantile(drawn, level, axis=0) for level in LEVELS)
    deviation = np.maximum(drawn.std(axis=0, ddof=1), 1e-12)
    largest = (np.abs(drawn - middle) / deviation).max(axis=1)
    is_moved = (np.abs(curve) / deviation).max(axis=0) > np.quantile(largest, 1 - TEST_LEVEL, axis=0)
    return Band(curve, low, high, deviation, tuple(bool(one) for one in is_moved), drawn)
