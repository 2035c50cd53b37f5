"""Errors of a forecast of log liquidity cost, on a split that does not leak; their intervals are in `comparison`.

    MAPE = mean |exp(p - y) - 1|      RMSE = sqrt(mean (p - y)^2), log units

The split leaves an embargo between training and test rows, so that no label of training lies in the test part.

Source: Lopez de Prado, Advances in Financial Machine
Learning, 2018, ch. 7 (purging, embargo); Diebold and Mariano, J. Business and Economic Statistics 13(3), 1995;
Harvey, Leybourne and Newbold, Int. J. Forecasting 13, 1997 (small-sample form).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy import stats

from hansa.errors import ModelError

if TYPE_CHECKING:
    from jaxtyping import Float, Int

Metric = Literal["mape", "rmse"]


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with the ends of its bootstrap interval, all in the metric's unit."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Split:
    """Row indices of a purged split: training = fit + embargo + validation, then embargo, then test.

    Attributes:
        train: All training rows.
        fit: The earlier part of them.
        validation: The later part of them, an embargo after `fit`.
        test: Rows that nothing was chosen on.
    """

    train: Int[np.ndarray, " row"]
    fit: Int[np.ndarray, " row"]
    validation: Int[np.ndarray, " row"]
    test: Int[np.ndarray, " row"]


@dataclass(frozen=True, slots=True)
class DieboldMariano:
    """Test that two forecasts are equally good; a negative statistic favours the first."""

    statistic: float
    p_value: float


def mape(predicted: Float[np.ndarray, " bar"], actual: Float[np.ndarray, " bar"]) -> float:
    """Return the mean absolute relative error of the cost itself, given logs (0.1 is 10 %).

    >>> round(mape(np.log([1.1, 0.9]), np.log([1.0, 1.0])), 6)
    0.1
    """
    return float(_losses(predicted, actual, "mape").mean())


def rmse(predicted: Float[np.ndarray, " bar"], actual: Float[np.ndarray, " bar"]) -> float:
    """Return the root mean squared error in log units.

    >>> rmse(np.array([1.0, 1.0]), np.array([0.0, 2.0]))
    1.0
    """
    return float(np.sqrt(_losses(predicted, actual, "rmse").mean()))


def purged_split(
    bars: int,
    *,
    warm_up_bars: int = 288,
    train_share: float = 0.6,
    validation_share: float = 0.25,
    embargo_bars: int = 12,
) -> Split:
    """Split rows 0 .. bars - 2 (the last has no next bar) in time order.

    Args:
        bars: Length of the series.
        warm_up_bars: First rows, left out: the longest lag is not full there.
        train_share: Share of `bars` before the test part.
        validation_share: Share of the training rows that choices are made on.
        embargo_bars: Rows left out between two parts.

    Raises:
        ModelError: A part would be empty.
    """
    cut = int(bars * train_share)
    train = np.arange(warm_up_bars, cut)
    test = np.arange(cut + embargo_bars, bars - 1)
    border = cut - int(max(train.size, 0) * validation_share)
    fit, validation = np.arange(warm_up_bars, border - embargo_bars), np.arange(border, cut)
    if min(fit.size, validation.size, test.size) == 0:
        raise ModelError(
            f"expected bars for warm-up {warm_up_bars}, training, embargo {embargo_bars} and test, got {bars}"
        )
    return Split(train, fit, validation, test)


def next_bar(values: Float[np.ndarray, " time"]) -> Float[np.ndarray, " time"]:
    """Return the label of each bar: the value of the next one, NaN at the end."""
    return np.append(values[1:], np.nan)


def diebold_mariano(
    loss: Float[np.ndarray, " bar"], rival_loss: Float[np.ndarray, " bar"], *, lags: int = 12
) -> DieboldMariano:
    """Test whether two series of losses have the same mean (Bartlett kernel, small-sample form).

    Args:
        loss: Loss of the first forecast at each bar.
        rival_loss: Loss of the second.
        lags: Autocovariances in the variance of the mean.

    Raises:
        ModelError: Shapes disagree or there are not more bars than lags.
    """
    difference = loss - rival_loss
    bars = difference.size
    if loss.shape != rival_loss.shape or bars <= lags + 1:
        raise ModelError(f"expected two loss series longer than {lags} lags, got {loss.shape}, {rival_loss.shape}")
    centred = difference - difference.mean()
    variance = centred @ centred / bars
    for lag in range(1, lags + 1):
        variance += 2 * (1 - lag / (lags + 1)) * (centred[lag:] @ centred[:-lag]) / bars
    if variance <= 0:
        return DieboldMariano(0.0, 1.0)
    statistic = float(difference.mean() / np.sqrt(variance / bars) * np.sqrt((bars - 1) / bars))
    return DieboldMariano(statistic, float(2 * stats.t.sf(abs(statistic), bars - 1)))


def _losses(
    predicted: Float[np.ndarray, " bar"], actual: Float[np.ndarray, " bar"], metric: Metric
) -> Float[np.ndarray, " bar"]:
    if predicted.shape != actual.shape or predicted.ndim != 1 or predicted.size == 0:
        raise ModelError(f"expected two series of one length, got {predicted.shape} and {actual.shape}")
    error = predicted - actual
    if not np.isfinite(error).all():
        raise ModelError("expected finite forecasts and outcomes; leave out bars without a next bar")
    return np.asarray(np.abs(np.expm1(error)) if metric == "mape" else error**2)
