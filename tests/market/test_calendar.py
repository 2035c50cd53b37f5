from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hansa.errors import DataError
from hansa.market import calendar

if TYPE_CHECKING:
    from collections.abc import Callable

MINUTE = calendar.NS_PER_MINUTE


def test_a_coarse_bar_is_stamped_at_its_end_and_gathers_its_fine_bars(make_bars: Callable[..., pl.DataFrame]) -> None:
    bars = make_bars(
        [1.0, 2.0, 3.0], high=[1.5, 2.5, 3.5], low=[0.5, 1.0, 2.0], volume=[1.0, 2.0, 4.0], trades=[1, 1, 2]
    )
    (row,) = calendar.resample(bars, 3 * MINUTE).to_dicts()
    assert (row["ts_ns"], row["open"], row["high"], row["low"], row["close"]) == (3 * MINUTE, 1.0, 3.5, 0.5, 3.0)
    assert (row["volume"], row["trades"]) == (7.0, 4)


def test_a_stamp_on_the_edge_stays_in_the_bar_that_it_ends(make_bars: Callable[..., pl.DataFrame]) -> None:
    bars = make_bars([1.0, 2.0], start_ns=5 * MINUTE)
    assert calendar.resample(bars, 5 * MINUTE)["ts_ns"].to_list() == [5 * MINUTE, 10 * MINUTE]


def test_an_absent_span_stays_absent(make_bars: Callable[..., pl.DataFrame]) -> None:
    bars = pl.concat([make_bars([1.0]), make_bars([1.0], start_ns=21 * MINUTE)])
    assert calendar.resample(bars, 5 * MINUTE)["ts_ns"].to_list() == [5 * MINUTE, 25 * MINUTE]


def test_a_value_that_no_fine_bar_knows_is_null_and_not_zero(make_bars: Callable[..., pl.DataFrame]) -> None:
    (row,) = calendar.resample(make_bars([1.0, 1.0], spread_bps=[2.0, None]), 5 * MINUTE).to_dicts()
    assert row["volume"] is None
    assert row["trades"] is None
    assert row["spread_bps"] == 2.0


def test_markets_and_venues_are_not_mixed(make_bars: Callable[..., pl.DataFrame]) -> None:
    bars = pl.concat([make_bars([1.0]), make_bars([2.0], venue="coinbase"), make_bars([3.0], market="BTC-USD")])
    assert sorted(calendar.resample(bars, 5 * MINUTE)["close"]) == [1.0, 2.0, 3.0]


@settings(deadline=None)  # a busy machine is no fault of the function
@given(st.lists(st.integers(1, 500), min_size=1, max_size=60, unique=True), st.integers(1, 30))
def test_resampling_keeps_the_total_volume_and_the_extremes(minutes: list[int], length: int) -> None:
    stamps = sorted(minutes)
    price = [1.0 + minute / 1000 for minute in stamps]
    bars = pl.DataFrame({"ts_ns": [m * MINUTE for m in stamps], "volume": [float(m) for m in stamps]}).with_columns(
        pl.lit("A-B").alias("market"),
        pl.lit("v").alias("venue"),
        *(pl.Series(name, price) for name in ("open", "high", "low", "close")),
    )
    coarse = calendar.resample(bars, length * MINUTE)
    assert coarse["volume"].sum() == sum(stamps)
    assert (coarse["high"].max(), coarse["low"].min()) == (max(price), min(price))
    assert (coarse["ts_ns"] % (length * MINUTE) == 0).all()
    assert (coarse["ts_ns"].diff().drop_nulls() > 0).all()


def test_a_bar_length_of_zero_is_refused(make_bars: Callable[..., pl.DataFrame]) -> None:
    with pytest.raises(DataError, match="above 0 ns"):
        calendar.resample(make_bars([1.0]), 0)


def test_the_grid_holds_both_ends() -> None:
    assert calendar.grid(10, 20, 5).tolist() == [10, 15, 20]
    assert calendar.grid(11, 14, 5).tolist() == []


def test_the_bar_that_ends_at_midnight_is_the_last_slot_of_the_day() -> None:
    five = 5 * MINUTE
    stamps = np.array([five, 2 * five, calendar.NS_PER_DAY, calendar.NS_PER_DAY + five])
    assert calendar.slot_of_day(stamps, five).tolist() == [0, 1, 287, 0]


def test_slots_of_a_length_that_does_not_divide_a_day_are_refused() -> None:
    with pytest.raises(DataError, match="divides one day"):
        calendar.slot_of_day(np.array([0]), 7 * MINUTE)


def test_a_state_weighs_by_the_time_it_holds() -> None:
    mean = calendar.time_weighted_mean(np.array([0, 9]), np.array([1.0, 11.0]), np.array([0, 10, 20]))
    assert mean == pytest.approx([2.0, 11.0])


def test_an_unknown_state_weighs_nothing() -> None:
    mean = calendar.time_weighted_mean(np.array([5, 8]), np.array([1.0, np.nan]), np.array([0, 10, 20]))
    assert mean[0] == 1.0
    assert np.isnan(mean[1])
