"""What a response must not lose against: the textbook vector autoregression and local projections.

`autoregression`: VAR(p) by least squares, p by the Bayesian criterion, the generalised response in closed form.
`local_projections`: for every lag h its own regression of y_{i,t+h} on y_{j,t} and p lags of all markets; the
coefficient of y_{j,t}, times the size in deviations of j's residual, is the generalised response at h.

Source: Pesaran and Shin, Economics Letters 58, 1998; Jorda, American Economic Review 95(1), 2005.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hansa.model.ripple import Order, choose_dynamics, design_rows, fit_dynamics, linear_responses

if TYPE_CHECKING:
    from jaxtyping import Float


def autoregression(
    values: Float[np.ndarray, "time market"], source: int, size: float, horizon: int
) -> Float[np.ndarray, "lag market"]:
    """Return the generalised response of a VAR whose order the Bayesian criterion chooses, straight or not.

    Args:
        values: From `surprises`, shape (time, market).
        source: Place of the shocked market.
        size: Of the shock, in deviations of its residual.
        horizon: Bars after the shock.
    """
    dynamics = fit_dynamics(values, Order(choose_dynamics(values).order.lags))
    column = dynamics.covariance[:, source]
    return np.asarray(linear_responses(dynamics, horizon + 1) @ (size * column / np.sqrt(column[source])))


def local_projections(
    values: Float[np.ndarray, "time market"], source: int, size: float, horizon: int
) -> Float[np.ndarray, "lag market"]:
    """Return the response by one regression a lag, with as many lags as the Bayesian criterion chooses.

    Args:
        values: From `surprises`, shape (time, market).
        source: Place of the shocked market.
        size: Of the shock, in deviations of its residual.
        horizon: Bars after the shock.
    """
    order = Order(choose_dynamics(values).order.lags)
    past = design_rows(values[None], order)[0]
    now = values[order.reach :]
    innovation = now[:, source] - past @ np.linalg.lstsq(past, now[:, source], rcond=None)[0]
    deviation = float(innovation.std())
    design = np.column_stack([past, now[:, source]])
    curve = np.empty((horizon + 1, values.shape[1]))
    for lag in range(horizon + 1):
        rows = now.shape[0] - lag
        curve[lag] = np.linalg.lstsq(design[:rows], now[lag:], rcond=None)[0][-1]
    return size * deviation * curve
