"""Claims about coverage: what counts as covered, whose outcome, and what a cell of real bars finds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from hansa.lab.benchmark.cell import Cell, Outcome, work
from hansa.lab.benchmark.coverage import CALIBRATED, OWN, PUBLISHED, coverages, names
from hansa.model.design import QUANTILES
from small_stocks import write_stocks

if TYPE_CHECKING:
    from pathlib import Path

BARS = 4000
EDGES = np.array([-1.6449, -0.6745, 0.0, 0.6745, 1.6449])


def cell_of(dataset: str, own: float, calibrated: float, *, published: float = 0.0) -> dict[Cell, Outcome]:
    """Return a cell of normal outcomes of deviation 1 and bands that are right for other deviations."""
    rng = np.random.default_rng(7)
    outcome = rng.standard_normal((2, BARS))
    outcome[1, : BARS // 2] = np.nan
    noise = published * rng.standard_normal(outcome.shape)
    sizes = {OWN: own, CALIBRATED: calibrated}
    errors = {
        name: (sizes[name.split("_")[0]] * EDGES[place % len(QUANTILES)] - outcome).astype(np.float32)
        for place, name in enumerate(names())
    }
    if published:
        errors[PUBLISHED] = noise.astype(np.float32)
    one = Outcome(errors, np.arange(BARS) // 10, ("a", "b"), ("x", "y"), {})
    return {Cell("coverage", dataset, 0, 1, 1, "8"): one}


def test_a_right_band_covers_what_it_says_and_a_narrow_one_does_not() -> None:
    found = coverages(cell_of("djia_daily", 0.5, 1.0), "djia_daily")
    assert found is not None
    assert found["forecasts"] == 3 * BARS // 2, "a bar without an outcome counts for nothing"
    assert found["calibrated"] == pytest.approx(0.9, abs=0.01)
    assert found["own"] == pytest.approx(0.589, abs=0.02)
    assert found["below"] == pytest.approx(list(QUANTILES), abs=0.015)
    assert found["by_series"][0] <= found["calibrated"] <= found["by_series"][1]
    assert (found["is_met"], found["truth"]) == (True, None)
    assert found["width"] == pytest.approx(2 * found["width_own"], rel=1e-3)
    wide = coverages(cell_of("djia_daily", 1.0, 0.8), "djia_daily")
    assert wide is not None
    assert not wide["is_met"]


def test_a_noisy_published_cost_and_the_truth_are_counted_apart() -> None:
    found = coverages(cell_of("bitcoin", 1.0, 1.0, published=1.0), "bitcoin")
    assert found is not None
    assert found["truth"] == pytest.approx(0.9, abs=0.01)
    assert found["calibrated"] == pytest.approx(0.755, abs=0.015), (
        "a band for deviation 1, outcomes of the square root of 2"
    )


def test_a_data_set_without_such_a_cell_has_none() -> None:
    assert coverages(cell_of("bitcoin", 1.0, 1.0), "djia_daily") is None


def test_bands_of_bars_cover_and_ascend(tmp_path: Path) -> None:
    cell = Cell("coverage", "djia_daily", 0, 1, 1, "8")
    outcome = work(cell, write_stocks(tmp_path))
    quantiles = np.stack([outcome.errors[name] for name in names() if name.startswith(CALIBRATED)])
    scored = np.isfinite(quantiles).all(axis=0)
    assert scored.any()
    assert (np.diff(quantiles[:, scored], axis=0) >= 0).all()
    found = coverages({cell: outcome}, "djia_daily")
    assert found is not None
    assert found["calibrated"] == pytest.approx(0.9, abs=0.04)
