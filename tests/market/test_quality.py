from __future__ import annotations

import json
from typing import TYPE_CHECKING

import polars as pl
import pytest

from hansa.errors import DataError
from hansa.market import sources
from hansa.market.quality import describe, usual_spacing_ns

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MINUTE = 60_000_000_000


def test_gaps_are_counted_and_the_longest_is_placed(make_bars: Callable[..., pl.DataFrame]) -> None:
    bars = make_bars([1.0] * 10, volume=[0.0] + [1.0] * 9).filter(
        ~pl.col("ts_ns").is_in([3 * MINUTE, 6 * MINUTE, 7 * MINUTE])
    )
    report = describe(bars, MINUTE)
    assert (report.gaps.count, report.gaps.longest_bars, report.gaps.longest_after_ns) == (2, 2, 5 * MINUTE)
    assert report.gaps.missing_share == pytest.approx(0.3)
    assert report.zero_volume_share == pytest.approx(1 / 7)


def test_unknown_volume_is_unknown_and_not_zero(make_bars: Callable[..., pl.DataFrame]) -> None:
    report = describe(make_bars([1.0, 1.0]), MINUTE)
    assert report.zero_volume_share is None
    assert report.measures["log_volume"] == "unavailable"


def test_a_print_far_away_on_little_volume_is_suspicious_and_a_step_is_not(
    make_bars: Callable[..., pl.DataFrame],
) -> None:
    close = [1.0] * 60
    close[30] = 0.9
    volume = [100.0] * 60
    volume[30] = 1.0
    (found,) = describe(make_bars(close, volume=volume), MINUTE).suspicious_prints
    assert (found.ts_ns, found.volume) == (31 * MINUTE, 1.0)
    assert describe(make_bars([1.0] * 30 + [0.9] * 30, volume=[100.0] * 60), MINUTE).suspicious_prints == ()


def test_the_report_is_json_with_its_fields(make_bars: Callable[..., pl.DataFrame]) -> None:
    report = json.loads(describe(make_bars([1.0, 1.0]), MINUTE).to_json())
    assert (report["rows"], report["market"], report["gaps"]["count"]) == (2, "USDC-USD", 0)


def test_several_series_or_none_are_refused(make_bars: Callable[..., pl.DataFrame]) -> None:
    with pytest.raises(DataError, match="one market on one venue"):
        describe(pl.concat([make_bars([1.0]), make_bars([1.0], venue="coinbase")]), MINUTE)
    with pytest.raises(DataError, match="one market on one venue"):
        describe(make_bars([1.0]).head(0), MINUTE)


def test_the_usual_spacing_is_the_most_frequent(make_bars: Callable[..., pl.DataFrame]) -> None:
    bars = pl.concat([make_bars([1.0] * 5), make_bars([1.0], start_ns=60 * MINUTE)])
    assert usual_spacing_ns(bars) == MINUTE
    with pytest.raises(DataError, match="two bars"):
        usual_spacing_ns(make_bars([1.0]))


def test_the_false_depeg_print_of_a_thin_venue_is_found(shared: Path) -> None:
    (source,) = sources.discover(shared / "usdc_depeg_2023-03", ["USDC-USDT"])
    report = describe(sources.load(source), MINUTE)
    assert report.zero_volume_share == pytest.approx(0.83, abs=0.01)
    assert 1_677_808_080 * 10**9 in [found.ts_ns for found in report.suspicious_prints]  # 3 March, 01:47 to 01:48


def test_half_of_a_thin_real_series_is_reported_missing(shared: Path) -> None:
    (source,) = (s for s in sources.discover(shared / "usdc_depeg_2023-03", ["BTC-USDC"]) if s.venue == "kraken")
    assert describe(sources.load(source), MINUTE).gaps.missing_share == pytest.approx(14_521 / 30_240, abs=0.001)
