"""Scales and axes of the report's pictures: linear positions, round ticks, days in UTC."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

DAY_NS: Final = 86_400_000_000_000
DAY_STEPS: Final = (1, 2, 3, 4, 7, 14, 28, 91, 182, 365)


@dataclass(frozen=True, slots=True)
class Scale:
    """A linear map from values (`low` to `high`) to user units (`left` to `right`)."""

    low: float
    high: float
    left: float
    right: float

    def __call__(self, value: float) -> float:
        """Return the place of a value, kept inside the ends."""
        width = self.high - self.low
        part = 0.0 if width <= 0 else (value - self.low) / width
        return self.left + (self.right - self.left) * min(max(part, 0.0), 1.0)


def round_ticks(high: float, most: int) -> list[float]:
    """Return at most about `most` round numbers from 0 to `high`.

    >>> round_ticks(0.38, 5)
    [0.0, 0.1, 0.2, 0.3]
    """
    if high <= 0:
        return [0.0]
    raw = high / max(most, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * (1 - 1e-9))
    return [round(place * step, 12) for place in range(int(high / step * (1 + 1e-9)) + 1)]


def ticks_between(low: float, high: float, most: int) -> list[float]:
    """Return at most about `most` round numbers from `low` to `high`, both ends included where they are round.

    >>> ticks_between(-2.58, 7.17, 4), ticks_between(0.88, 1.003, 3)
    ([0.0, 5.0], [0.9, 0.95, 1.0])
    """
    if not high > low:
        return [low]
    raw = (high - low) / max(most, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(place * step, 12) for place in range(first, last + 1)]


def day_ticks(start_ns: int, end_ns: int, most: int) -> list[int]:
    """Return midnights UTC inside a span, at most `most` of them, evenly spaced."""
    first = -(-start_ns // DAY_NS)
    days = max(end_ns // DAY_NS - first + 1, 0)
    step = next((one for one in DAY_STEPS if days / one <= most), max(days, 1))
    return [day * DAY_NS for day in range(first, first + days, step)]


def day(ts_ns: int) -> str:
    """Return a day as `18 Jan`, UTC."""
    return f"{datetime.fromtimestamp(ts_ns // 1_000_000_000, tz=UTC):%d %b}".lstrip("0")


def moment(ts_ns: int) -> str:
    """Return a moment as `2024-01-18 00:05 UTC`."""
    return f"{datetime.fromtimestamp(ts_ns // 1_000_000_000, tz=UTC):%Y-%m-%d %H:%M} UTC"
