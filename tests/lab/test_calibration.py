from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hansa.errors import DataError
from hansa.lab import calibration
from hansa.lab.segments import persistent, private_noise

if TYPE_CHECKING:
    from collections.abc import Mapping

DATA = Path(__file__).parents[3] / "shared" / "data" / "usdc_depeg_2023-03"
needs_data = pytest.mark.skipif(
    not DATA.is_dir(),
    reason="needs real market data, no part of the project, in ../shared/data/usdc_depeg_2023-03",
)
BAR_NS = 300_000_000_000


def venue(log_range: np.ndarray) -> pl.DataFrame:
    """Bars of constant volume, so that log impact and log range have the same variation."""
    return pl.DataFrame(
        {
            "ts_ns": BAR_NS * np.arange(1, len(log_range) + 1),
            "high": np.exp(np.exp(log_range)),
            "low": np.ones(len(log_range)),
            "quote_volume": np.full(len(log_range), 1e6) * np.exp(1e-3 * log_range),
        }
    )


def two_views(seed: int, noise_ratio: float, bars: int = 6000) -> Mapping[str, Mapping[str, pl.DataFrame]]:
    rng = np.random.default_rng(seed)
    state = 0.3 * persistent(rng.standard_normal(bars), 3600.0, 300.0)
    views = [state + 0.3 * np.sqrt(noise_ratio) * private_noise(rng, (bars,), 300.0) - 5.0 for _ in range(2)]
    return {"X-Y": {"one": venue(views[0]), "two": venue(views[1])}}


def test_known_noise_between_two_views_is_recovered() -> None:
    found = calibration.cross_view_correlation(two_views(1, noise_ratio=1.5))
    assert found.view_noise == pytest.approx(1.5, rel=0.1)
    assert found.correlation["impact"] == pytest.approx(0.4, abs=0.03)
    assert found.white_share == pytest.approx(1.0 - sum(calibration.NOISE_SHARES), abs=0.08)


def test_state_of_an_hour_is_not_mistaken_for_a_month() -> None:
    found = calibration.cross_view_correlation(two_views(2, noise_ratio=1.0))
    assert found.state_shares[2] < 0.15


def test_one_view_alone_is_refused() -> None:
    market = {"X-Y": {"one": two_views(3, 1.0, bars=700)["X-Y"]["one"]}}
    with pytest.raises(DataError, match="two views"):
        calibration.cross_view_correlation(market)


def test_two_views_without_two_common_days_are_refused() -> None:
    with pytest.raises(DataError, match="found 500 bars"):
        calibration.cross_view_correlation(two_views(3, 1.0, bars=500))


def test_an_absent_series_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"binanceus_btcusd\.csv\.gz"):
        calibration.read_views(tmp_path)


def test_missing_bars_do_not_shift_lags() -> None:
    x = np.tile([1.0, -1.0], 500)
    x[100:103] = np.nan
    assert calibration.autocorrelation(x, (1, 2)) == pytest.approx((-1.0, 1.0), abs=1e-2)


@settings(max_examples=25, deadline=None)
@given(st.floats(0.0, 0.5), st.floats(0.0, 0.5))
def test_a_mixture_of_known_half_lives_is_fitted_exactly(fast: float, slow: float) -> None:
    lags, half_lives = (1, 2, 6, 12, 72), (600.0, 14_400.0)
    parts = [share * 0.5 ** (np.array(lags) * 300.0 / h) for share, h in zip((fast, slow), half_lives, strict=True)]
    found = calibration.fit_spectrum(lags, np.sum(parts, axis=0).tolist(), half_lives, bar_seconds=300.0)
    assert found == pytest.approx((fast, slow), abs=1e-9)


@settings(max_examples=25, deadline=None)
@given(st.floats(-5.0, 5.0), st.floats(-5.0, 5.0), st.integers(1, 4))
def test_a_pure_time_of_day_wave_vanishes(level: float, amplitude: float, harmonic: int) -> None:
    seconds = 300.0 * np.arange(576)
    wave = level + amplitude * np.cos(2.0 * np.pi * harmonic * seconds / 86_400.0 + 0.3)
    assert np.abs(calibration.deseasonalise(wave, seconds)).max() < 1e-9


@needs_data
def test_the_constants_are_what_the_venues_say(capsys: pytest.CaptureFixture[str]) -> None:
    calibration.main(["--data", str(DATA.parent), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["correlation"]["impact"] == pytest.approx(calibration.IMPACT_CORRELATION, abs=5e-4)
    assert found["view_noise"] == pytest.approx(calibration.VIEW_NOISE, rel=2e-3)
    assert found["range_noise"] == pytest.approx(calibration.RANGE_NOISE, rel=2e-3)
    assert found["volume_noise"] == pytest.approx(calibration.VOLUME_NOISE, rel=2e-3)
    assert found["persistent_shares"] == pytest.approx(calibration.NOISE_SHARES, abs=5e-4)
    assert found["state_shares"] == pytest.approx(calibration.STATE_SHARES, abs=5e-4)
    assert found["noise_loading"] == pytest.approx(calibration.NOISE_LOADING, abs=5e-4)
    assert found["cost_deviation"] == pytest.approx(calibration.COST_DEVIATION, abs=5e-4)


@needs_data
def test_the_printed_table_names_every_pair(capsys: pytest.CaptureFixture[str]) -> None:
    calibration.main(["--data", str(DATA.parent)])
    printed = capsys.readouterr().out
    assert printed.count("correlation 0.") == 33
    assert "view_noise: 1.688" in printed
