"""Simple forecasts that the federation must beat, each from one series' own past: what usually wins.

| forecast | of the bar after row t |
|---|---|
| last value | x_t |
| same time a season before | x_{t + 1 - season} |
| slot median | median of the last 20 values of the slot of t + 1 |
| tuned ridge | ridge on given columns, its strength chosen on the later training rows |
| HAR with a tuned rolling window | HAR refitted every block on the last W rows, W chosen on the later training rows |
| DLinear | linear map of a window, split into its moving mean and the rest, in closed form |

Every forecast at row t uses bars <= t only; the rolling one learns labels once they are known.

Source: Corsi, J. Financial Econometrics 7(2), 2009; Audrino and Chassot, HARd to Beat, Int. J. Forecasting 42(2), 2026
(rolling windows); Zeng, Chen, Zhang, Xu, AAAI 2023 (DLinear).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from hansa.errors import ModelError
from hansa.market.features import carry_forward
from hansa.model.core import Rows, block_gram, solve
from hansa.model.evaluation import next_bar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float, Int

RIDGES: Final = (0.01, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
"""Strengths that are tried, in full blocks of unit-variance rows."""
MEDIAN_SEASONS: Final = 20


def season_before(cost: Float[np.ndarray, " time"], season_bars: int) -> Float[np.ndarray, " time"]:
    """Forecast the value of the same slot one season before the next bar; NaN in the first season.

    >>> season_before(np.array([1.0, 2.0, 3.0, 4.0]), 2)
    array([nan,  2.,  3.,  4.])
    """
    if season_bars < 1:
        raise ModelError(f"expected a season of at least 1 bar, got {season_bars}")
    forecast = np.full(cost.size, np.nan)
    forecast[season_bars - 1 :] = cost[: cost.size - season_bars + 1]
    return forecast


def slot_median(
    cost: Float[np.ndarray, " time"], slot: Int[np.ndarray, " time"], *, seasons: int = MEDIAN_SEASONS
) -> Float[np.ndarray, " time"]:
    """Forecast the median of the last values of the next bar's slot.

    Args:
        cost: NaN where absent.
        slot: Slot of each bar; that of the bar after the last one is not needed.
        seasons: How many past values of the slot.

    Returns:
        NaN where the slot of the next bar has no past value, and at the last row.
    """
    frame = pl.DataFrame({"slot": slot, "cost": pl.Series(cost).fill_nan(None)}).with_columns(
        pl.col("cost").shift(1).rolling_median(seasons, min_samples=1).over("slot").alias("median")
    )
    return next_bar(frame["median"].to_numpy().astype(np.float64))


def levelled(
    forecast: Float[np.ndarray, " time"], label: Float[np.ndarray, " time"], train: Int[np.ndarray, " row"]
) -> Float[np.ndarray, " time"]:
    """Shift a forecast by its mean error over the training rows: a view's level is not the market's."""
    error = label[train + 1] - forecast[train]
    return np.asarray(forecast + np.nanmean(error))


def tuned_ridge(
    rows: Rows,
    fit: Int[np.ndarray, " row"],
    validation: Int[np.ndarray, " row"],
    train: Int[np.ndarray, " row"],
    *,
    block_bars: int,
    ridges: Sequence[float] = RIDGES,
) -> tuple[Float[np.ndarray, " feature"], float]:
    """Return the weights of ridge regression on all training rows, and the loss on validation rows that chose them.

    Args:
        rows: Scaled rows of every bar.
        fit: Earlier training rows.
        validation: Later training rows.
        train: All training rows.
        block_bars: Rows that count as one block, the unit of the strength.
        ridges: Strengths to try.
    """
    rows = Rows(rows.regressors, rows.target, np.zeros(rows.target.size, dtype=int))  # nothing is clipped: one block
    early = block_gram(rows.take(fit), clip=np.inf, block_bars=block_bars)
    later = rows.take(validation)

    def loss(ridge: float) -> float:
        return float(((later.regressors @ solve(early, ridge=ridge) - later.target) ** 2).mean())

    losses = {ridge: loss(ridge) for ridge in ridges}
    chosen = min(losses, key=lambda ridge: losses[ridge])
    whole = block_gram(rows.take(train), clip=np.inf, block_bars=block_bars)
    return solve(whole, ridge=chosen), losses[chosen]


def rolling_ridge(
    rows: Rows,
    known: Int[np.ndarray, " row"],
    validation: Int[np.ndarray, " row"],
    *,
    windows: Sequence[int],
    refit_rows: int,
    ridge: float = 0.1,
) -> tuple[Float[np.ndarray, " time"], int]:
    """Forecast with a ridge refitted every `refit_rows` on the last rows whose label is known.

    Args:
        rows: Scaled rows of every bar.
        known: Rows that can be learned from, ascending.
        validation: Rows on which the window is chosen.
        windows: Numbers of rows to try, ascending.
        refit_rows: Rows between two fits.
        ridge: In blocks of `refit_rows` unit-variance rows.

    Returns:
        Scaled forecasts, NaN before the first fit, and the window chosen.

    Raises:
        ModelError: No window has a forecast on validation rows.
    """
    made = {window: _rolled(rows, known, window, refit_rows, ridge, first=int(validation[0])) for window in windows}
    losses = {
        window: float(np.mean((one[validation] - rows.target[validation]) ** 2))
        for window, one in made.items()
        if np.isfinite(one[validation]).all()
    }
    if not losses:
        raise ModelError(f"expected a window of {tuple(windows)} rows that fits before the validation rows")
    chosen = min(losses, key=lambda window: losses[window])
    return made[chosen], chosen


def dlinear(
    cost: Float[np.ndarray, " time"],
    label: Float[np.ndarray, " time"],
    parts: tuple[Int[np.ndarray, " row"], Int[np.ndarray, " row"], Int[np.ndarray, " row"]],
    *,
    window_bars: int,
    mean_bars: int,
) -> Float[np.ndarray, " time"]:
    """Forecast with DLinear: one linear map of the window's moving mean and one of what is left, fitted together.

    Args:
        cost: The series that is seen, NaN where absent.
        label: The series that is forecast.
        parts: Fit, validation and all training rows.
        window_bars: Length of the window.
        mean_bars: Length of the moving mean.
    """
    fit, validation, train = parts
    seen = np.nan_to_num(carry_forward(cost), nan=float(np.nanmean(cost[train])))
    padded = np.concatenate([np.full(window_bars - 1 + mean_bars - 1, seen[0]), seen])
    means = np.convolve(padded, np.full(mean_bars, 1 / mean_bars), mode="valid")
    smooth = np.lib.stride_tricks.sliding_window_view(means, window_bars)
    rest = np.lib.stride_tricks.sliding_window_view(padded[mean_bars - 1 :], window_bars) - smooth
    centre, deviation = float(seen[train].mean()), float(max(seen[train].std(), 1e-12))
    level, spread = float(np.nanmean(label[train + 1])), float(max(np.nanstd(label[train + 1]), 1e-12))
    columns = np.column_stack([(smooth - centre) / deviation, rest / deviation, np.ones(cost.size)])
    rows = Rows(columns, next_bar((label - level) / spread), np.arange(cost.size) // window_bars)
    weights, _ = tuned_ridge(rows, fit, validation, train, block_bars=window_bars)
    return np.asarray(columns @ weights * spread + level)


def _rolled(
    rows: Rows, known: Int[np.ndarray, " row"], window: int, refit_rows: int, ridge: float, *, first: int
) -> Float[np.ndarray, " time"]:
    forecast = np.full(rows.target.size, np.nan)
    for begin in range(first, rows.target.size, refit_rows):
        past = known[: np.searchsorted(known, begin)][-window:]  # the label of row begin - 1 is bar `begin`: known
        if past.size < min(window, 2 * rows.regressors.shape[1]):
            continue
        columns, target = rows.regressors[past], rows.target[past]
        gram = columns.T @ columns / refit_rows + ridge * np.eye(columns.shape[1])
        weights = np.linalg.solve(gram, columns.T @ target / refit_rows)
        forecast[begin : begin + refit_rows] = rows.regressors[begin : begin + refit_rows] @ weights
    return forecast
