"""Features of one series from its own past: robust z-scores by time of day, trailing means, carried values.

```
z_t = clip( (x_t - median) / (1.4826 * MAD), -clip, clip )     over the same slot in the window_bars bars before t
har_t(lag) = mean of the present values among x_{t-lag+1} .. x_t
```
Where more than half of the past values are equal the MAD is zero; the scale is then 1.2533 times the mean absolute
deviation, and where that is zero too, an equal value scores 0 and any other +-clip.

Guarantees: point in time. No output at `t` depends on a value after `t`, and a z-score's median and scale exclude `t`.
Does not guarantee: that slots follow local daylight saving; they are what the caller numbers.

Source: SCIENCE.md 1.4; Corsi, "A Simple Approximate Long-Memory Model of Realized Volatility", JFEc 7(2), 2009;
Iglewicz and Hoaglin, "How to Detect and Handle Outliers", 1993, for the scale.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from hansa.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float, Int

_MAD_TO_SD: Final = 1.4826
_MEAN_DEVIATION_TO_SD: Final = 1.2533
_CELLS_AT_ONCE: Final = 4_000_000


def trailing_zscores(
    values: Float[np.ndarray, " time"],
    slot: Int[np.ndarray, " time"],
    *,
    window_bars: int,
    minimum: int,
    clip: float = 4.0,
) -> Float[np.ndarray, " time"]:
    """Score each value against the past values of the same slot.

    Args:
        values: One value a bar in time order, on a grid without holes; NaN where absent.
        slot: Slot of the day of each bar (`calendar.slot_of_day`).
        window_bars: How far back the past reaches, in bars of the grid (all slots counted).
        minimum: Least number of present past values of the slot; with fewer the score is NaN.
        clip: Greatest absolute score.

    Returns:
        Scores in `[-clip, clip]`; NaN where the value is NaN or the past too short.

    Raises:
        DataError: Shapes differ, a value is infinite, or a setting is not positive.
    """
    series = _finite_or_nan(values)
    slots = np.asarray(slot)
    if series.ndim != 1 or slots.shape != series.shape:
        raise DataError(f"expected one slot a value; got values {series.shape} and slots {slots.shape}")
    if window_bars < 1 or minimum < 1 or clip <= 0:
        raise DataError(f"expected window_bars, minimum >= 1 and clip > 0; got {window_bars}, {minimum}, {clip}")
    order = np.argsort(slots, kind="stable")
    grouped = series[order]
    position = np.arange(len(series))
    # One increasing key for (slot, time): a slot's past window is then one slice of the grouped order.
    stride = len(series) + window_bars + 1
    _, rank = np.unique(slots[order], return_inverse=True)
    key = rank.astype(np.int64) * stride + order
    first = np.searchsorted(key, key - window_bars)
    scores = np.full(len(series), np.nan)
    rows = max(1, _CELLS_AT_ONCE // max(1, int((position - first).max(initial=0))))
    for begin in range(0, len(series), rows):
        part = slice(begin, begin + rows)
        scores[order[part]] = _score(grouped, first[part], position[part], minimum)
    clipped: Float[np.ndarray, " time"] = np.clip(scores, -clip, clip)
    return clipped


def last_zscore(values: Float[np.ndarray, " time"], *, minimum: int, clip: float = 4.0) -> float:
    """Score the last value against all before it, as `trailing_zscores` does within one slot.

    Args:
        values: One value a bar in time order; NaN where absent.
        minimum: Least number of present past values; with fewer the score is NaN.
        clip: Greatest absolute score.

    Raises:
        DataError: There is no value, or one is infinite.
    """
    series = _finite_or_nan(values)
    if series.ndim != 1 or series.size == 0:
        raise DataError(f"expected one value or more; got {series.shape}")
    last = np.array([series.size - 1])
    return float(np.clip(_score(series, np.array([0]), last, minimum), -clip, clip)[0])


def har_lags(values: Float[np.ndarray, "time measure"], lags: Sequence[int]) -> Float[np.ndarray, "time measure*lag"]:
    """Average each measure over several trailing windows, over the present values only.

    Args:
        values: One row a bar in time order; NaN where absent.
        lags: Window lengths in bars, each at least 1; a window that reaches before the first row is shorter.

    Returns:
        Columns measure by measure, within a measure lag by lag; NaN where a window holds no present value.

    Raises:
        DataError: `values` is not two-dimensional or infinite, or a lag is below 1.
    """
    series = _finite_or_nan(values)
    if series.ndim != 2 or not lags or min(lags) < 1:
        raise DataError(f"expected values (time, measure) and lags >= 1; got {series.shape} and {list(lags)}")
    present = np.isfinite(series)
    total = np.cumsum(np.where(present, series, 0.0), axis=0)
    count = np.cumsum(present, axis=0)
    means = [_window(total, lag) / np.where(_window(count, lag) > 0, _window(count, lag), np.nan) for lag in lags]
    return np.stack(means, axis=2).reshape(len(series), -1)


def carry_forward(values: Float[np.ndarray, " time *rest"]) -> Float[np.ndarray, " time *rest"]:
    """Replace each NaN by the last value before it in the same column.

    Args:
        values: Time along the first axis.

    Returns:
        A copy; NaN stays before the first present value of a column.
    """
    series = np.asarray(values, dtype=np.float64)
    flat = series.reshape(len(series), -1)
    time = np.arange(len(series))[:, None]
    last = np.maximum.accumulate(np.where(np.isnan(flat), 0, time), axis=0)
    return np.take_along_axis(flat, last, axis=0).reshape(series.shape)


def harmonics(
    slot: Int[np.ndarray, " time"], slots_per_day: int, orders: int = 2
) -> Float[np.ndarray, "time 2*orders"]:
    """Describe the time of day by sines and cosines.

    Args:
        slot: Slot of the day of each bar.
        slots_per_day: Number of slots, positive.
        orders: Number of harmonics; the first has a period of one day.

    Returns:
        Columns sin 1, cos 1, sin 2, cos 2 and so on.

    Raises:
        DataError: A number is below 1, or a slot lies outside the day.
    """
    slots = np.asarray(slot)
    if slots_per_day < 1 or orders < 1 or (slots.size and not 0 <= slots.min() <= slots.max() < slots_per_day):
        raise DataError(f"expected slots in [0, slots_per_day) and orders >= 1; got {slots_per_day}, {orders}")
    angle = 2.0 * np.pi * slots[:, None] / slots_per_day * np.arange(1, orders + 1)
    return np.stack([np.sin(angle), np.cos(angle)], axis=2).reshape(len(slots), -1)


def _finite_or_nan(values: Float[np.ndarray, " ..."]) -> Float[np.ndarray, " ..."]:
    series = np.asarray(values, dtype=np.float64)
    if np.isinf(series).any():
        raise DataError("expected finite values or NaN; got an infinity; compute the measure with its floor")
    return series


def _score(
    grouped: Float[np.ndarray, " time"],
    first: Int[np.ndarray, " row"],
    position: Int[np.ndarray, " row"],
    minimum: int,
) -> Float[np.ndarray, " row"]:
    width = int((position - first).max(initial=0))
    value = grouped[position]
    if width == 0:
        return np.full(len(position), np.nan)
    index = first[:, None] + np.arange(width)
    past = np.where(index < position[:, None], grouped[np.minimum(index, len(grouped) - 1)], np.nan)
    count = np.isfinite(past).sum(axis=1)
    enough = count >= minimum
    middle = _row_median(past, count)
    distance = np.abs(past - middle[:, None])
    spread = _MAD_TO_SD * _row_median(distance, count)
    mean_distance = np.nansum(distance, axis=1) / np.maximum(count, 1)
    # Rounding must not make a scale out of a constant past.
    floor = np.maximum(1e-12 * np.abs(middle), 1e-300)
    scale = np.where(spread > floor, spread, _MEAN_DEVIATION_TO_SD * mean_distance)
    gap = value - middle
    flat = np.where(np.abs(gap) > floor, np.copysign(np.inf, gap), 0.0)
    with np.errstate(over="ignore"):  # an infinite score is clipped
        score = np.divide(gap, scale, out=flat, where=scale > floor)
    return np.where(enough & np.isfinite(value), score, np.nan)


def _row_median(rows: Float[np.ndarray, "row past"], count: Int[np.ndarray, " row"]) -> Float[np.ndarray, " row"]:
    ordered = np.sort(rows, axis=1)  # NaN sorts last, so the first `count` are the present ones
    low = np.maximum((count - 1) // 2, 0)[:, None]
    high = np.minimum(count // 2, rows.shape[1] - 1)[:, None]
    middle: Float[np.ndarray, " row"] = (
        0.5 * (np.take_along_axis(ordered, low, axis=1) + np.take_along_axis(ordered, high, axis=1))[:, 0]
    )
    return middle


def _window(total: Float[np.ndarray, "time measure"], lag: int) -> Float[np.ndarray, "time measure"]:
    head = np.zeros_like(total)
    head[lag:] = total[:-lag]
    difference: Float[np.ndarray, "time measure"] = total - head
    return difference
