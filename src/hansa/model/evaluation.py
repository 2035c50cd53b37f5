"""Errors of a forecast of log liquidity cost, with intervals, on a split that does not leak.

    MAPE = mean |exp(p - y) - 1|      RMSE = sqrt(mean (p - y)^2), log units

Intervals are day-block bootstraps: whole days are drawn with replacement, so dependence within a day is kept and a
ratio of two errors is drawn on the same days. The split leaves an embargo between training and test rows, so that no
label of training lies in the test part.

Does NOT guarantee: days that hang together over weeks make intervals too narrow; with fewer than about ten test days
they say little.

Source: Künsch, Annals of Statistics 17(3), 1989 (block bootstrap); Lopez de Prado, Advances in Financial Machine
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


def error_interval(
    predicted: Float[np.ndarray, " bar"],
    actual: Float[np.ndarray, " bar"],
    blocks: Int[np.ndarray, " bar"],
    *,
    metric: Metric,
    seed: int = 0,
    draws: int = 1000,
    level: float = 0.9,
) -> Interval:
    """Return an error with its day-block bootstrap interval.

    Args:
        predicted: Forecast, log units.
        actual: Outcome, log units.
        blocks: Day of each bar.
        metric: `mape` or `rmse`.
        seed: Seed of the draws; the same seed gives the same interval.
        draws: Bootstrap draws.
        level: Coverage of the interval.

    Raises:
        ModelError: Shapes disagree, no bar is given, or a value is not finite.
    """
    sums, counts = _by_block(_losses(predicted, actual, metric), blocks)
    weights = _draw_blocks(counts.size, seed, draws)
    drawn = _finish(weights @ sums / (weights @ counts), metric)
    low, high = _ends(drawn, level)
    return Interval(float(_finish(sums.sum() / counts.sum(), metric)), low, high)


def ratio_interval(
    predicted: Float[np.ndarray, " bar"],
    rival: Float[np.ndarray, " bar"],
    actual: Float[np.ndarray, " bar"],
    blocks: Int[np.ndarray, " bar"],
    *,
    metric: Metric,
    seed: int = 0,
    draws: int = 1000,
    level: float = 0.9,
) -> Interval:
    """Return error(predicted) / error(rival) with its interval; both are drawn on the same days.

    Args:
        predicted: Forecast, log units.
        rival: Forecast to compare with.
        actual: Outcome, log units.
        blocks: Day of each bar.
        metric: `mape` or `rmse`.
        seed: Seed of the draws.
        draws: Bootstrap draws.
        level: Coverage of the interval.

    Raises:
        ModelError: As `error_interval`, or the rival makes no error at all.
    """
    above, counts = _by_block(_losses(predicted, actual, metric), blocks)
    below, _ = _by_block(_losses(rival, actual, metric), blocks)
    if below.sum() == 0:
        raise ModelError("expected a rival with some error, got none: a ratio to 0 says nothing")
    weights = _draw_blocks(counts.size, seed, draws)
    bottom = weights @ below
    kept = bottom > 0
    drawn = _finish((weights @ above)[kept] / bottom[kept], metric)
    low, high = _ends(drawn, level)
    return Interval(float(_finish(above.sum() / below.sum(), metric)), low, high)


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


def _by_block(
    losses: Float[np.ndarray, " bar"], blocks: Int[np.ndarray, " bar"]
) -> tuple[Float[np.ndarray, " block"], Float[np.ndarray, " block"]]:
    if blocks.shape != losses.shape:
        raise ModelError(f"expected a day for each of {losses.size} bars, got shape {blocks.shape}")
    _, index = np.unique(blocks, return_inverse=True)
    return np.bincount(index, losses), np.bincount(index).astype(float)


def _draw_blocks(count: int, seed: int, draws: int) -> Float[np.ndarray, "draw block"]:
    generator = np.random.default_rng(seed)
    return generator.multinomial(count, np.full(count, 1 / count), size=draws).astype(float)


def _finish(value: Float[np.ndarray, " draw"], metric: Metric) -> Float[np.ndarray, " draw"]:
    return np.sqrt(value) if metric == "rmse" else value


def _ends(drawn: Float[np.ndarray, " draw"], level: float) -> tuple[float, float]:
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
