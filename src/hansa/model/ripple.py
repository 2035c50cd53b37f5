"""How a shock in one market runs through the others: dynamics of log costs, and generalised impulse responses.

    y_t = a + sum_{l=1..p} A_l y_{t-l} + sum_w M_w mean(y_{t-w} .. y_{t-1}) + sum_k c_k max(y_{k,t-1} - b_k, 0) + e_t
    GIR_{j->i}(h, d) = E[y_{i,t+h} | e_{j,t} = d s_j, past] - E[y_{i,t+h} | past]

y are costs without their time of day, in deviations of each market. The shock of market j takes the others with it as
they usually go: e_t = S_{.j} / S_jj * d s_j with S the covariance of e. Order p, windows w and the bends (c_k: a market
that moves others only when it is stressed) are chosen by the Bayesian information criterion, one bend after another, so
that each must pay for itself. Without a bend the response is the closed one of a vector autoregression; with one it is
the mean over simulated paths from pasts of the data, the shocked and the unshocked path drawing the same later shocks
(common random numbers).

    share_ij(H) = S_jj^-1 sum_{h<H} (P_h S)_ij^2 / sum_{h<H} (P_h S P_h')_ii      (P_h: linear responses)

Rows of shares, scaled to sum to 1, are the connectedness table; with the diagonal left out they are the weights W.

Guarantees: no market's place in the order matters; the same inputs give the same curves.
Does NOT guarantee: causes. A shock is a surprise in j as it usually comes, together with what comes along with it.
Shares use the linear part alone.

Source: Koop, Pesaran and Potter, J. Econometrics 74, 1996; Pesaran and Shin, Economics Letters 58, 1998; Diebold and
Yilmaz, Int. J. Forecasting 28, 2012; Corsi, J. Financial Econometrics 7(2), 2009 (windows).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from hansa.errors import ModelError
from hansa.market.features import harmonics

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float, Int

BENDS: Final = (0.5, 1.0, 1.5)
"""Where a bend may lie, in deviations of the market."""
MAX_LAGS: Final = 4
PATHS: Final = 2000
"""Simulated paths of a bent response; each starts at another past of the data."""
SEASON_ORDERS: Final = 4
_EXPLODED: Final = 1e6
_JITTER: Final = 1e-12  # of the trace, so that a column that never moves has no weight instead of no solution
_EXCESS: Final = 10  # bars that a fit must have for each column of its design


@dataclass(frozen=True, slots=True)
class Order:
    """Which terms the dynamics have.

    Attributes:
        lags: Single lags 1 .. p.
        windows: Lengths of trailing means, bars.
        bends: Places of markets, each with the deviations above which it has one more term.
    """

    lags: int
    windows: tuple[int, ...] = ()
    bends: tuple[tuple[int, float], ...] = ()

    @property
    def reach(self) -> int:
        """Bars of past that a row needs."""
        return max(self.lags, *self.windows, 1)

    def columns(self, markets: int) -> int:
        """Return the columns of a row of the design."""
        return 1 + markets * (self.lags + len(self.windows)) + len(self.bends)


@dataclass(frozen=True, slots=True)
class Dynamics:
    """Fitted dynamics of some markets.

    Attributes:
        order: The terms.
        coefficients: Shape (column, market).
        residuals: Of every bar that has its past, shape (bar, market).
        covariance: Of the residuals, shape (market, market).
        values: What was fitted, shape (time, market); below noise (`model.ripple_noise`) a history without it.
        noise: Variance of what is added to `values` before they are seen, by market; None: they are seen as they are.
    """

    order: Order
    coefficients: Float[np.ndarray, "column market"]
    residuals: Float[np.ndarray, "bar market"] = field(repr=False)
    covariance: Float[np.ndarray, "market market"] = field(repr=False)
    values: Float[np.ndarray, "time market"] = field(repr=False)
    noise: Float[np.ndarray, " market"] | None = None


@dataclass(frozen=True, slots=True)
class Connectedness:
    """Who moves whom over a horizon.

    Attributes:
        shares: Row i: share of i's forecast error variance due to each market; rows sum to 1.
        weights: The same without the diagonal, rows scaled to sum to 1.
        total: Mean share that comes from other markets.
    """

    shares: Float[np.ndarray, "market market"]
    weights: Float[np.ndarray, "market market"]
    total: float


def surprises(
    costs: Float[np.ndarray, "time market"], slot: Int[np.ndarray, " time"], slots_per_day: int
) -> tuple[Float[np.ndarray, "time market"], Float[np.ndarray, " market"]]:
    """Take the mean and the time of day off log costs and scale each market to unit deviation.

    Args:
        costs: Log costs, finite.
        slot: Slot of the day of each bar.
        slots_per_day: Slots of a day.

    Returns:
        The scaled costs, and the deviation of each market in log units.

    Raises:
        ModelError: A value is not finite, or a market never moves.
    """
    if costs.ndim != 2 or costs.shape[0] != slot.size or not np.isfinite(costs).all():
        raise ModelError(f"expected finite costs (time, market), one slot a bar; got {costs.shape} and {slot.shape}")
    orders = max(1, min(SEASON_ORDERS, slots_per_day // 3))
    design = np.column_stack([np.ones(slot.size), harmonics(slot, slots_per_day, orders)])
    left = costs - design @ np.linalg.lstsq(design, costs, rcond=None)[0]
    deviation = left.std(axis=0)
    if not (deviation > 1e-9).all():
        raise ModelError("expected costs that move in every market; one is constant: give more history")
    return left / deviation, deviation


def fit_dynamics(values: Float[np.ndarray, "time market"], order: Order) -> Dynamics:
    """Fit the dynamics by least squares.

    Args:
        values: From `surprises`, shape (time, market).
        order: The terms.

    Raises:
        ModelError: The history is too short for the terms, or not finite.
    """
    if values.ndim != 2 or not np.isfinite(values).all() or not is_long_enough(order, *values.shape):
        raise ModelError(
            f"expected finite values (time, market) and at least {_EXCESS} bars for each of "
            f"{order.columns(values.shape[-1])} columns, got shape {values.shape}; give more history or fewer markets"
        )
    design, target = design_rows(values[None], order)[0], values[order.reach :]
    gram = design.T @ design
    coefficients = np.linalg.solve(gram + _JITTER * np.trace(gram) * np.eye(gram.shape[0]), design.T @ target)
    residuals = target - design @ coefficients
    return Dynamics(order, coefficients, residuals, residuals.T @ residuals / target.shape[0], values)


def choose_dynamics(
    values: Float[np.ndarray, "time market"], *, windows: Sequence[int] = (), max_lags: int = MAX_LAGS
) -> Dynamics:
    """Choose the terms by the Bayesian information criterion over the bars that all candidates can predict.

    Args:
        values: From `surprises`, shape (time, market).
        windows: Trailing means to try: none, the longest, the two longest and so on.
        max_lags: Most single lags to try.

    Raises:
        ModelError: The history is too short for the smallest candidate.
    """
    bars, markets = values.shape
    sets = [tuple(sorted(windows))[len(windows) - count :] for count in range(len(windows) + 1)]
    straight = [Order(lags, chosen) for chosen in sets for lags in range(1, max_lags + 1)]
    fitting = [order for order in straight if is_long_enough(order, bars, markets)]
    if not fitting:
        return fit_dynamics(values, Order(1))
    start = max(order.reach for order in fitting)
    best = min(fitting, key=lambda order: _information(values, order, start))
    while len(best.bends) < markets:
        free = set(range(markets)) - {market for market, _ in best.bends}
        more = [replace(best, bends=(*best.bends, (market, bend))) for market in sorted(free) for bend in BENDS]
        found = min(
            [best, *(order for order in more if is_long_enough(order, bars, markets))],
            key=lambda order: _information(values, order, start),
        )
        if found == best:
            break
        best = found
    return fit_dynamics(values, best)


def design_rows(
    values: Float[np.ndarray, "replicate time market"], order: Order
) -> Float[np.ndarray, "replicate bar column"]:
    """Build the rows that predict the bars from `order.reach` on.

    Args:
        values: Shape (replicate, time, market).
        order: The terms.
    """
    replicates, bars, markets = values.shape
    start = order.reach
    parts = [np.ones((replicates, bars - start, 1))]
    parts += [values[:, start - lag : bars - lag] for lag in range(1, order.lags + 1)]
    if order.windows:
        total = np.concatenate([np.zeros((replicates, 1, markets)), np.cumsum(values, axis=1)], axis=1)
        parts += [(total[:, start:bars] - total[:, start - w : bars - w]) / w for w in order.windows]
    parts += [np.maximum(values[:, start - 1 : bars - 1, [k]] - bend, 0.0) for k, bend in order.bends]
    return np.concatenate(parts, axis=2)


def continue_paths(
    coefficients: Float[np.ndarray, "replicate column market"],
    order: Order,
    past: Float[np.ndarray, "path reach market"],
    shocks: Float[np.ndarray, "replicate path step market"],
) -> Float[np.ndarray, "replicate path step market"]:
    """Run the dynamics forward from given pasts with given shocks.

    Args:
        coefficients: Of each replicate.
        order: The terms.
        past: The last `order.reach` bars of each path, the newest last.
        shocks: Residual of each step.
    """
    replicates, paths, steps, markets = shocks.shape
    reach = order.reach
    run = np.empty((replicates, paths, reach + steps, markets))
    run[:, :, :reach] = past
    sums = [run[:, :, reach - w : reach].sum(axis=2) for w in order.windows]
    row = np.ones((replicates, paths, order.columns(markets)))
    for step in range(reach, reach + steps):
        place = 1
        for lag in range(1, order.lags + 1):
            row[:, :, place : place + markets] = run[:, :, step - lag]
            place += markets
        for total, width in zip(sums, order.windows, strict=True):
            row[:, :, place : place + markets] = total / width
            place += markets
        for market, bend in order.bends:
            row[:, :, place] = np.maximum(run[:, :, step - 1, market] - bend, 0.0)
            place += 1
        new = row @ coefficients + shocks[:, :, step - reach]
        np.clip(new, -_EXPLODED, _EXPLODED, out=new)  # a replicate that explodes is left out later, without a warning
        run[:, :, step] = new
        sums = [total + new - run[:, :, step - w] for total, w in zip(sums, order.windows, strict=True)]
    return run[:, :, reach:]


def responses(
    dynamics: Dynamics,
    source: int,
    size: float,
    horizon: int,
    *,
    rng: np.random.Generator,
    coefficients: Float[np.ndarray, "replicate column market"] | None = None,
    covariances: Float[np.ndarray, "replicate market market"] | None = None,
    paths: int = PATHS,
) -> Float[np.ndarray, "replicate lag market"]:
    """Compute the generalised impulse response of every market to a shock.

    Args:
        dynamics: The fitted dynamics: its terms, its pasts and its residuals.
        source: Place of the shocked market.
        size: Of the shock, in deviations of that market's residual; negative for relief.
        horizon: Bars after the shock.
        rng: Draws pasts and later shocks; unused without a bend.
        coefficients: Other coefficients for the same terms, by replicate; the fitted ones by default.
        covariances: With them: covariances of the residuals.
        paths: Simulated with a bend.

    Returns:
        Response at lags 0 .. horizon, in deviations of each market, shape (replicate, lag, market).

    Raises:
        ModelError: There is no such market, or the horizon is below 1.
    """
    markets = dynamics.values.shape[1]
    if not 0 <= source < markets or horizon < 1:
        raise ModelError(
            f"expected a market 0 to {markets - 1} and a horizon of 1 bar or more; got {source}, {horizon}"
        )
    held = dynamics.coefficients[None] if coefficients is None else coefficients
    spread = dynamics.covariance[None] if covariances is None else covariances
    column = spread[:, :, source] / spread[:, source, source][:, None]  # what comes along with one unit of the shock
    shock = size * np.sqrt(spread[:, source, source])[:, None] * column
    if not dynamics.order.bends:
        straight = held.copy()
        straight[:, 0] = 0.0
        pulse = np.zeros((held.shape[0], 1, horizon + 1, markets))
        pulse[:, 0, 0] = shock
        return continue_paths(straight, dynamics.order, np.zeros((1, dynamics.order.reach, markets)), pulse)[:, 0]
    past, later = _futures(dynamics, horizon, paths, rng)
    calm = np.broadcast_to(later, (held.shape[0], *later.shape))
    struck = calm.copy()
    struck[:, :, 0] += shock[:, None] - later[None, :, 0, source, None] * column[:, None]
    moved = continue_paths(held, dynamics.order, past, struck) - continue_paths(held, dynamics.order, past, calm)
    return np.asarray(moved.mean(axis=1))


def linear_responses(dynamics: Dynamics, horizon: int) -> Float[np.ndarray, "lag market market"]:
    """Return what one unit of each residual does to each market at lags 0 .. horizon - 1, the bend left out.

    Returns:
        Element (h, i, j): response of i to a unit of j.
    """
    markets, order = dynamics.values.shape[1], dynamics.order
    straight = Order(order.lags, order.windows)
    held = np.broadcast_to(
        dynamics.coefficients[: straight.columns(markets)], (markets, straight.columns(markets), markets)
    ).copy()
    held[:, 0] = 0.0
    pulse = np.zeros((markets, 1, horizon, markets))
    pulse[:, 0, 0] = np.eye(markets)
    found = continue_paths(held, straight, np.zeros((1, straight.reach, markets)), pulse)[:, 0]
    return np.asarray(found.transpose(1, 2, 0))


def connectedness(dynamics: Dynamics, horizon: int) -> Connectedness:
    """Decompose each market's forecast error variance over `horizon` bars by the market that the error comes from.

    Args:
        dynamics: The fitted dynamics; its linear part is used.
        horizon: Bars ahead, 1 or more.
    """
    covariance = dynamics.covariance
    response = linear_responses(dynamics, horizon)
    moved = response @ covariance
    raw = (moved**2).sum(axis=0) / np.diag(covariance)
    raw /= np.einsum("hij,hij->i", moved, response)[:, None]
    shares = raw / raw.sum(axis=1, keepdims=True)
    away = shares - np.diag(np.diag(shares))
    weight = away.sum(axis=1, keepdims=True)
    weights = np.divide(away, weight, out=np.zeros_like(away), where=weight > 0)
    return Connectedness(shares, weights, float(weight.mean()))


def peak_lag(curve: Float[np.ndarray, " lag"]) -> int:
    """Return the lag at which a response is largest in size, bars.

    >>> peak_lag(np.array([0.1, -0.4, 0.2]))
    1
    """
    return int(np.argmax(np.abs(curve)))


def half_life(curve: Float[np.ndarray, " lag"]) -> float:
    """Return how long after its peak a response is down to half, bars, between lags in proportion.

    Returns:
        Infinity where it does not fall so far within the curve.

    >>> half_life(np.array([0.0, 1.0, 0.75, 0.25]))
    1.5
    """
    size = np.abs(curve[peak_lag(curve) :])
    below = np.flatnonzero(size <= size[0] / 2)
    if size[0] == 0 or below.size == 0:
        return float("inf")
    at = int(below[0])
    return float(at - (size[0] / 2 - size[at]) / (size[at - 1] - size[at]))


def is_long_enough(order: Order, bars: int, markets: int) -> bool:
    """Return whether a history has enough bars for the terms."""
    return bars - order.reach >= _EXCESS * order.columns(markets)


def _information(values: Float[np.ndarray, "time market"], order: Order, start: int) -> float:
    """Return the criterion over the bars from `start` on: log det of the covariance and log(n) / n a coefficient."""
    found = fit_dynamics(values[start - order.reach :], order)
    rows, markets = found.residuals.shape
    sign, log_determinant = np.linalg.slogdet(found.covariance)
    if sign <= 0:
        raise ModelError("two markets move as one: their residuals are the same; leave one of them out")
    return float(log_determinant + np.log(rows) / rows * order.columns(markets) * markets)


def _futures(
    dynamics: Dynamics, horizon: int, paths: int, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "path reach market"], Float[np.ndarray, "path step market"]]:
    """Draw pasts of the data and later shocks; the first shocks have mean zero over the paths."""
    reach, values = dynamics.order.reach, dynamics.values
    ends = np.linspace(reach, values.shape[0], paths).astype(np.int64)
    past = values[ends[:, None] + np.arange(-reach, 0)]
    rows = rng.integers(0, dynamics.residuals.shape[0], (paths, horizon + 1))
    later = dynamics.residuals[rows]
    later[:, 0] -= later[:, 0].mean(axis=0)
    return past, later
