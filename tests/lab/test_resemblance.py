from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from hansa.errors import DataError
from hansa.lab import resemblance
from hansa.lab.twins import Scenario, simulate

DATA = Path(__file__).parents[3] / "shared" / "data" / "fx_hourly"
needs_data = pytest.mark.skipif(
    not DATA.is_dir(),
    reason="needs real market data, no part of the project, in ../shared/data/fx_hourly",
)
HOUR_NS = 3_600_000_000_000


def hours(log_range: np.ndarray) -> pl.DataFrame:
    stamps = HOUR_NS * np.arange(1, len(log_range) + 1)
    return pl.DataFrame({"ts_ns": stamps, "high": np.exp(np.exp(log_range)), "low": np.ones(len(log_range))})


def test_independent_white_ranges_have_no_correlation() -> None:
    rng = np.random.default_rng(1)
    found = resemblance.range_statistics({name: hours(0.3 * rng.standard_normal(5000) - 6.0) for name in "ab"})
    assert found["deviation"] == pytest.approx([0.3, 0.3], abs=0.02)
    for name in resemblance.STATISTICS[1:]:
        assert found[name] == pytest.approx([0.0] * len(found[name]), abs=0.05)


def test_the_same_market_twice_correlates_fully() -> None:
    bars = hours(0.3 * np.random.default_rng(2).standard_normal(1000) - 6.0)
    assert resemblance.range_statistics({"a": bars, "b": bars})["cross_correlation_0h"] == pytest.approx([1.0])


def test_locked_hours_are_left_out() -> None:
    bars = hours(0.3 * np.random.default_rng(3).standard_normal(1000) - 6.0)
    locked = bars.with_columns(high=pl.when(pl.col("ts_ns") < 50 * HOUR_NS).then(1.0).otherwise("high"))
    assert np.isfinite(resemblance.range_statistics({"a": locked})["deviation"][0])


def test_a_few_days_of_hours_are_refused() -> None:
    with pytest.raises(DataError, match="expected 240 moving hours, found 100"):
        resemblance.range_statistics({"a": hours(np.zeros(100))})


def test_a_folder_without_hourly_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="_h1"):
        resemblance.read_hourly(tmp_path)


def test_an_hour_holds_the_twelve_bars_that_end_in_it() -> None:
    twin = simulate(Scenario(seed=4, members=1, days=1, episodes=0))
    hourly = resemblance.hourly_views(twin, "lubeck")
    bars = twin.bars["lubeck"].filter(pl.col("market") == "XAU-USD")
    assert set(hourly) == {"XAU-USD", "EUR-USD", "USD-JPY"}
    assert len(hourly["XAU-USD"]) == 24
    assert hourly["XAU-USD"]["high"][0] == bars["high"][:12].max()
    assert hourly["XAU-USD"]["low"][0] == bars["low"][:12].min()
    assert hourly["XAU-USD"]["ts_ns"][0] == bars["ts_ns"][11]


@needs_data
def test_a_simulated_half_year_resembles_ten_years_of_currencies() -> None:
    real = resemblance.range_statistics(resemblance.read_hourly(DATA))
    for row in resemblance.compare(real, [1], days=182):
        assert abs(row.distance) < 0.25, row


@needs_data
@pytest.mark.slow
def test_the_printed_table_is_the_documented_one(capsys: pytest.CaptureFixture[str]) -> None:
    resemblance.main(["--data", str(DATA.parent)])
    printed = capsys.readouterr().out
    page = (Path(__file__).parents[2] / "docs" / "explanation" / "simulated-market.md").read_text()
    for line in printed.splitlines():
        assert line in page
