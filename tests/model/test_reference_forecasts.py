"""Claims about the simple forecasts: known values, and that none looks ahead."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from hansa.errors import ModelError
from hansa.model.core import Rows
from hansa.model.reference_forecasts import dlinear, levelled, rolling_ridge, season_before, slot_median, tuned_ridge

if TYPE_CHECKING:
    from collections.abc import Callable

SLOT = np.arange(240) % 6
PARTS = (np.arange(40, 100), np.arange(110, 150), np.arange(40, 150))


def series(seed: int = 1, bars: int = 240) -> np.ndarray:
    rng = np.random.default_rng(seed)
    path = np.zeros(bars)
    for bar in range(1, bars):
        path[bar] = 0.9 * path[bar - 1] + rng.standard_normal()
    return path


def rolled(cost: np.ndarray) -> np.ndarray:
    columns = np.column_stack([cost, np.ones(cost.size)])
    rows = Rows(columns, np.append(cost[1:], np.nan), np.arange(cost.size))
    return rolling_ridge(rows, np.arange(10, 239), np.arange(110, 150), windows=(30, 80), refit_rows=10)[0]


FORECASTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "season": lambda cost: season_before(cost, 6),
    "median": lambda cost: slot_median(cost, SLOT),
    "rolling": rolled,
    "dlinear": lambda cost: dlinear(cost, cost, PARTS, window_bars=12, mean_bars=3),
}


@pytest.mark.parametrize("name", FORECASTS)
@pytest.mark.parametrize("bar", [160, 200, 239])
def test_a_forecast_does_not_see_later_bars(name: str, bar: int) -> None:
    """Bars from `bar` on are changed beyond recognition: forecasts made before stay what they were."""
    cost = series()
    changed = cost.copy()
    changed[bar:] += 100.0
    np.testing.assert_allclose(FORECASTS[name](changed)[:bar], FORECASTS[name](cost)[:bar])


def test_slot_median_is_that_of_the_next_bars_slot() -> None:
    cost = np.array([1.0, 10.0, 3.0, 30.0, 5.0, 50.0])
    found = slot_median(cost, np.array([0, 1, 0, 1, 0, 1]), seasons=2)
    np.testing.assert_allclose(found[1:5], [1.0, 10.0, 2.0, 20.0])


def test_slot_median_leaves_absent_values_out() -> None:
    found = slot_median(np.array([2.0, np.nan, 4.0, 0.0]), np.zeros(4, dtype=int))
    assert found[2] == 3.0


def test_a_level_is_taken_from_training_rows_alone() -> None:
    label = np.array([0.0, 1.0, 1.0, 9.0])
    np.testing.assert_allclose(levelled(np.zeros(4), label, np.array([0, 1])), np.ones(4))


def test_tuned_ridge_shrinks_noise_and_keeps_signal() -> None:
    rng = np.random.default_rng(4)
    columns = rng.standard_normal((240, 30))
    noise = Rows(columns, rng.standard_normal(240), np.arange(240))
    signal = Rows(columns, columns[:, 0] + 0.01 * rng.standard_normal(240), np.arange(240))
    shrunk, _ = tuned_ridge(noise, *PARTS, block_bars=20)
    kept, loss = tuned_ridge(signal, *PARTS, block_bars=20)
    assert np.linalg.norm(shrunk) < 0.5
    assert kept[0] > 0.95
    assert loss < 0.01


def test_a_rolling_window_follows_a_break() -> None:
    """The law changes at bar 120: a short window is chosen on rows after it and errs less than all rows would."""
    rng = np.random.default_rng(6)
    columns = np.column_stack([rng.standard_normal(240), np.ones(240)])
    slope = np.where(np.arange(240) < 105, 1.0, -1.0)
    rows = Rows(columns, slope * columns[:, 0], np.arange(240))
    made, chosen = rolling_ridge(rows, np.arange(239), np.arange(140, 180), windows=(25, 100), refit_rows=5)
    assert chosen == 25
    assert np.abs(made[200:239] - rows.target[200:239]).mean() < 0.1
    with pytest.raises(ModelError, match="fits before"):
        rolling_ridge(rows, np.arange(237, 239), np.arange(140, 180), windows=(25,), refit_rows=5)


def test_dlinear_learns_a_linear_law_of_its_window() -> None:
    cost = series(7, 1200)
    parts = (np.arange(40, 600), np.arange(620, 800), np.arange(40, 800))
    label = np.append(0.0, 0.5 * cost[:-1])
    found = dlinear(cost, label, parts, window_bars=12, mean_bars=3)
    assert np.abs(found[900:1199] - label[901:1200]).mean() < 0.05
    with pytest.raises(ModelError, match="season of at least 1"):
        season_before(cost, 0)
