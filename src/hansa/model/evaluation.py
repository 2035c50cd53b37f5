"""Errors of a forecast of log liquidity cost, on a split that does not leak; their intervals are in `comparison`.

    MAPE = mean |exp(p - y) - 1|      RMSE = sqrt(mean (p - y)^2), log units
    QLIKE = mean exp(y - p) - (y - p) - 1, the loss that punishes a cost forecast too low

The split leaves an embargo between training and test rows, so that no label of training lies in the test part.

Source: Lopez de Prado, Advances in Financial Machine
Learning, 2018, ch. 7 (purging, embargo); Diebold and Mariano, J. Business and Economic Statistics 13(3), 1995;
Harvey, Leybourne and Newbold, Int. J. Forecasting 13, 1997 (small-sample form); Patton, J. Econometrics 160, 2011
(QLIKE).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy import stats

from hansa.errors import ModelError

if TYPE_CHECKING:
    from jaxtyping import Float, Int

Metric = Literal["mape", "rmse", "qlike"]


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


def qlike(predicted: Float[np.ndarray, " bar"], actual: Float[np.ndarray, " bar"]) -> float:
    """Return the mean QLIKE loss of the cost itself, given logs; 0 for a perfect forecast.

    >>> qlike(np.array([0.0]), np.array([0.0]))
    0.0
    """
    return float(_losses(predicted, actual, "qlike").mean())


def bar_losses(error: Float[np.ndarray, " ..."], metric: Metric) -> Float[np.ndarray, " ..."]:
    """Return the loss of each error `forecast - outcome`, log units; absent stays absent.

    Args:
        error: Any shape; NaN where there is no forecast or no outcome.
        metric: `rmse` gives squares, `mape` relative errors, `qlike` QLIKE.
    """
    if metric == "mape":
        return np.asarray(np.abs(np.expm1(error)))
    if metric == "qlike":
        return np.asarray(np.expm1(-error) + error)
    return np.asarray(error**2)


def walk_forward(
    bars: int,
    *,
    folds: int,
    lookback_bars: int,
    horizon_bars: int = 1,
    embargo_bars: int | None = None,
    first_share: float = 0.6,
    validation_share: float = 0.25,
) -> tuple[Split, ...]:
    """Split rows into expanding training parts and the stretches after them, purged and with an embargo.

    Training rows begin once the longest lag is full. A test row looks back `lookback_bars` bars, itself included, and
    its label ends `horizon_bars` later: an embargo of the sum of both lets no bar be in a training row and a test row
    of one fold. Between the fit and the validation part lies the same embargo where the training part has room for it.

    Args:
        bars: Length of the series.
        folds: Test stretches, of equal length before their embargo.
        lookback_bars: Longest lag, the row's own bar included.
        horizon_bars: Bars from a row to the end of its label.
        embargo_bars: Rows left out between training and test; the least allowed by default.
        first_share: Share of `bars` before the first test stretch.
        validation_share: Share of the training rows that choices are made on.

    Returns:
        One split a fold, in time order.

    Raises:
        ModelError: The embargo is shorter than `lookback_bars + horizon_bars`, or a part would be empty.
    """
    least = lookback_bars + horizon_bars
    embargo = least if embargo_bars is None else embargo_bars
    if folds < 1 or lookback_bars < 1 or horizon_bars < 1 or embargo < least:
        raise ModelError(
            f"expected folds, lookback and horizon of at least 1 and an embargo of at least lookback + horizon = "
            f"{least} bars, got {folds}, {lookback_bars}, {horizon_bars} and {embargo}"
        )
    cuts = np.linspace(int(bars * first_share), bars - horizon_bars, folds + 1).astype(int)
    splits = []
    for cut, end in zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True):
        train = np.arange(lookback_bars - 1, cut - horizon_bars)
        test = np.arange(cut - horizon_bars + embargo, end)
        border = train.size - int(train.size * validation_share)
        gap = min(embargo, border // 2)
        fit, validation = train[: border - gap], train[border:]
        if min(fit.size, validation.size, test.size) == 0:
            raise ModelError(
                f"expected bars for a training part of {cut}, an embargo of {embargo} and a test part up to bar {end}, "
                f"got {bars} bars; ask for fewer folds"
            )
        splits.append(Split(train, fit, validation, test))
    return tuple(splits)


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
    loss: Float[np.ndarray, " bar"], rival_loss: Float[np.ndarray, " bar"], *, lags: int = 12, horizon_bars: int = 1
) -> DieboldMariano:
    """Test whether two series of losses have the same mean (Bartlett kernel, small-sample form).

    Args:
        loss: Loss of the first forecast at each bar.
        rival_loss: Loss of the second.
        lags: Autocovariances in the variance of the mean (Newey-West).
        horizon_bars: Bars ahead that both forecast, for the small-sample factor.

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
    shrink = (bars + 1 - 2 * horizon_bars + horizon_bars * (horizon_bars - 1) / bars) / bars
    statistic = float(difference.mean() / np.sqrt(variance / bars) * np.sqrt(shrink))
    return DieboldMariano(statistic, float(2 * stats.t.sf(abs(statistic), bars - 1)))


def _losses(
    predicted: Float[np.ndarray, " bar"], actual: Float[np.ndarray, " bar"], metric: Metric
) -> Float[np.ndarray, " bar"]:
    if predicted.shape != actual.shape or predicted.ndim != 1 or predicted.size == 0:
        raise ModelError(f"expected two series of one length, got {predicted.shape} and {actual.shape}")
    error = predicted - actual
    if not np.isfinite(error).all():
        raise ModelError("expected finite forecasts and outcomes; leave out bars without a next bar")
    return bar_losses(error, metric)
