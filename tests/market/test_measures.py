from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest

from hansa.errors import DataError
from hansa.market import calendar, measures
from hansa.market.limit_lock import limit_locked
from hansa.market.readers.bars import read_bars

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NAMES = tuple(measures.MEASURES)


def test_known_values_of_one_bar(make_bars: Callable[..., pl.DataFrame]) -> None:
    bars = make_bars([2.0, 2.0], high=[2.0, 2.2], low=[2.0, 1.9], volume=[10.0, 500.0], signed_volume=[0.0, -250.0])
    row = measures.compute(bars, NAMES).to_dicts()[1]
    log_range = math.log(2.2 / 1.9)
    assert row["log_volume"] == pytest.approx(math.log(1000 + 1000))
    assert row["log_range"] == pytest.approx(math.log(log_range + 1e-5))
    assert row["log_impact"] == pytest.approx(math.log((log_range + 1e-5) / math.sqrt(2000)))
    assert row["order_flow_imbalance"] == -0.5
    assert row["realised_variance"] == pytest.approx(log_range**2 / (4 * math.log(2)))
    assert row["log_depth"] is None


def test_amihud_is_the_return_in_bps_per_million(make_bars: Callable[..., pl.DataFrame]) -> None:
    bars = make_bars([1.0, math.e**0.01], volume=[1.0, 1e6 / math.e**0.01])
    assert measures.compute(bars, ["amihud"])["amihud"].to_list() == [None, pytest.approx(100.0)]


def test_corwin_schultz_finds_a_spread_that_is_all_of_the_range(make_bars: Callable[..., pl.DataFrame]) -> None:
    half = 0.005
    bars = make_bars([1.0] * 3, high=[1 + half] * 3, low=[1 - half] * 3)
    got = measures.compute(bars, ["corwin_schultz"])["corwin_schultz"]
    assert got[0] is None
    assert got[2] == pytest.approx(100.0, rel=0.01)


def test_corwin_schultz_is_never_negative_and_takes_out_a_gap(make_bars: Callable[..., pl.DataFrame]) -> None:
    bars = make_bars([0.99, 1.51], high=[1.01, 1.52], low=[0.99, 1.50])
    level = make_bars([0.99, 1.0], high=[1.01, 1.01], low=[0.99, 0.99])
    gapped, flat = (measures.compute(b, ["corwin_schultz"])["corwin_schultz"][1] for b in (bars, level))
    assert gapped == pytest.approx(flat)
    drifting = make_bars([1.0, 1.1], high=[1.0, 1.1], low=[0.99, 1.0])
    assert measures.compute(drifting, ["corwin_schultz"])["corwin_schultz"][1] == 0


def test_realised_variance_of_finer_bars_is_their_sum_of_squares(make_bars: Callable[..., pl.DataFrame]) -> None:
    rng = np.random.default_rng(3)
    fine = make_bars(np.exp(np.cumsum(rng.normal(0, 0.01, 20))))
    coarse = calendar.resample(fine, 5 * calendar.NS_PER_MINUTE)
    got = measures.compute(coarse, ["realised_variance"], finer=fine)["realised_variance"]
    squares = np.diff(np.log(fine["close"].to_numpy())) ** 2
    assert got[1] == pytest.approx(squares[4:9].sum())
    assert measures.provenance(coarse, ["realised_variance"], finer=fine) == {"realised_variance": "finer bars"}


def test_provenance_names_the_fallback_and_what_is_unavailable(make_bars: Callable[..., pl.DataFrame]) -> None:
    quoted = measures.provenance(make_bars([1.0, 1.0], spread_bps=[1.0, None]), ["log_spread", "log_volume"])
    assert quoted == {"log_spread": "quoted spread", "log_volume": "unavailable"}
    assert measures.provenance(make_bars([1.0]), ["log_spread"]) == {"log_spread": "Corwin-Schultz"}


def test_provenance_tells_series_apart(make_bars: Callable[..., pl.DataFrame]) -> None:
    both = pl.concat(
        [make_bars([1.0], spread_bps=[1.0]), make_bars([1.0], venue="coinbase", spread_bps=[None])],
        how="vertical_relaxed",
    )
    label = measures.provenance(both, ["log_spread"])["log_spread"]
    assert "quoted spread (USDC-USD at kraken)" in label
    assert "Corwin-Schultz (USDC-USD at coinbase)" in label


def test_no_signed_volume_means_no_order_flow_imbalance(make_bars: Callable[..., pl.DataFrame]) -> None:
    bars = make_bars([1.0], volume=[5.0])
    assert measures.compute(bars, ["order_flow_imbalance"])["order_flow_imbalance"].to_list() == [None]


def test_an_unknown_measure_is_refused(make_bars: Callable[..., pl.DataFrame]) -> None:
    with pytest.raises(DataError, match="got vibes"):
        measures.compute(make_bars([1.0]), ["vibes"])


def test_measures_of_a_bar_do_not_change_with_the_future(make_bars: Callable[..., pl.DataFrame]) -> None:
    rng = np.random.default_rng(4)
    close = np.exp(np.cumsum(rng.normal(0, 0.01, 80)))
    bars = make_bars(close, high=close * 1.01, low=close * 0.99, volume=rng.uniform(1, 9, 80), signed_volume=[0.0] * 80)
    whole = measures.compute(bars, NAMES)
    assert measures.compute(bars.head(50), NAMES).equals(whole.head(50))


def _locked_series(make_bars: Callable[..., pl.DataFrame], one_price_before: int) -> Any:
    rng = np.random.default_rng(5)
    close = np.exp(np.cumsum(rng.normal(0, 0.002, 40)))
    width = np.where(np.arange(40) % one_price_before == 0, 0.0, 0.005) if one_price_before else np.full(40, 0.005)
    close[-1] = close[-2] * 0.93
    width[-1] = 0.0
    volume = np.full(40, 1000.0)
    volume[-1] = 20.0
    return make_bars(close, high=close * (1 + width), low=close * (1 - width), volume=volume)


def test_a_limit_locked_bar_reads_as_unknown_range_and_not_as_calm(make_bars: Callable[..., pl.DataFrame]) -> None:
    bars = _locked_series(make_bars, 0)
    assert limit_locked(bars).to_list() == [False] * 39 + [True]
    last = measures.compute(bars, NAMES).to_dicts()[-1]
    assert last["log_range"] is last["log_impact"] is last["realised_variance"] is last["log_spread"] is None
    assert last["amihud"] > 1e3


def test_a_market_that_often_trades_at_one_price_is_not_locked(make_bars: Callable[..., pl.DataFrame]) -> None:
    assert not limit_locked(_locked_series(make_bars, 2)).any()


def test_locked_marks_follow_the_order_of_the_rows(make_bars: Callable[..., pl.DataFrame]) -> None:
    bars = _locked_series(make_bars, 0)
    assert limit_locked(bars.reverse())[0]


def test_limit_locked_days_of_real_futures_read_as_stress(shared: Path) -> None:
    path = shared / "china_futures_daily" / "china_futures_2017_2021.parquet"
    day = 24 * calendar.NS_PER_HOUR
    silver = read_bars(path, market="AG-CNY", venue="shfe", bar_ns=day, asset="AG_silver")
    computed = measures.compute(silver, ["log_range", "amihud"]).with_columns(
        pl.from_epoch(pl.col("ts_ns") - day, time_unit="ns").dt.date().cast(pl.String).alias("day"),
        limit_locked(silver).alias("locked"),
    )
    crash = computed.filter(pl.col("day") == "2020-03-17").to_dicts()[0]
    assert crash["locked"]
    assert crash["log_range"] is None
    assert crash["amihud"] > 100 * computed["amihud"].median()
