"""Claims about the loaders: each trap of the real files, and a small folder in their form."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest

from hansa.errors import ConfigurationError, DataError
from hansa.lab.benchmark.datasets import (
    FUTURES,
    NEWCOMER_DAYS,
    PAIRS,
    STOCKS,
    futures_table,
    fx_table,
    panel,
    stocks_table,
)
from hansa.lab.benchmark.panel import LEAST_TRAINING_ROWS
from hansa.market.measures import limit_locked
from small_stocks import FOLDER, stocks, write_stocks

if TYPE_CHECKING:
    from collections.abc import Iterator

DATA = Path(__file__).parents[4] / "shared" / "data"
needs_data = pytest.mark.skipif(
    not (DATA / FOLDER).is_dir(),
    reason="needs real market data, no part of the project, in ../shared/data/",
)


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    """Tables are remembered by their folder's name."""
    yield
    for remembered in (panel, futures_table, fx_table, stocks_table):
        remembered.cache_clear()


def test_rows_without_prices_or_volume_are_absent_and_counted(tmp_path: Path) -> None:
    frame = stocks()
    frame[0, "High"] = None
    frame[1, "Volume"] = 0
    frame[2, "Close"] = frame[2, "High"] * 1.5
    frame = pl.concat([frame, frame[5:6].with_columns(pl.lit("XYZ").alias("Name"))])
    table, left_out = stocks_table(write_stocks(tmp_path, frame) / FOLDER)
    assert left_out == {
        "of no group": 1,
        "without a price": 1,
        "stale, without volume": 1,
        "a price outside its range": 1,
    }
    assert table.height == frame.height - 4


def test_a_row_is_neither_learned_from_nor_scored_where_its_next_bar_is_absent(tmp_path: Path) -> None:
    frame = stocks().with_row_index("row").filter(pl.col("row") != 400).drop("row")
    found = panel("djia_daily", write_stocks(tmp_path, frame), 0, 1)
    series = found.markets.index("AXP")
    assert np.isnan(found.label[series][400])
    assert np.isfinite(found.own[series][400]).all(), "what is known is carried forward"
    assert not found.known(series)[399]
    assert found.known(series)[398]
    assert 399 not in found.rows(series, found.split.train)


def test_training_and_test_rows_of_a_panel_share_no_bar(tmp_path: Path) -> None:
    data = write_stocks(tmp_path)
    for fold in range(2):
        found = panel("djia_daily", data, fold, 2)
        assert found.split.train[-1] + 1 < found.split.test[0] - found.lags[-1] + 1
        fit, validation, train = found.parts(0)
        assert fit[-1] < validation[0]
        assert train[-1] == validation[-1]


def test_a_newcomer_has_its_last_days_alone_and_the_others_all(tmp_path: Path) -> None:
    data = write_stocks(tmp_path)
    found = panel("djia_daily", data, 0, 1, newcomer="health")
    for series in found.series:
        rows = found.rows(series, found.split.train).size
        if found.members[series] == "health":
            assert LEAST_TRAINING_ROWS <= rows <= NEWCOMER_DAYS
            assert found.learns(series)
        else:
            assert rows > 300
    with pytest.raises(ConfigurationError, match="as newcomer"):
        panel("djia_daily", data, 0, 1, newcomer="nobody")


def test_errors_are_absent_where_nothing_can_be_scored(tmp_path: Path) -> None:
    late = stocks().filter(
        (pl.col("Name") != "GS") | (pl.col("Date") > pl.col("Date").max().over("Name") - pl.duration(days=60))
    )
    found = panel("djia_daily", write_stocks(tmp_path, late), 0, 1)
    error = found.errors(found.outcome[:, found.split.test + 1].copy())
    series = found.markets.index("GS")
    assert not found.learns(series)
    assert np.isnan(error[series]).all()
    assert np.nanmax(np.abs(np.delete(error, series, axis=0))) == 0


def test_an_unknown_name_and_a_missing_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="data set of"):
        panel("bonds", tmp_path, 0, 1)
    with pytest.raises(ConfigurationError, match="--data"):
        panel("djia_daily", None, 0, 1)
    with pytest.raises(DataError, match="djia30_daily"):
        panel("djia_daily", tmp_path, 0, 1)


@needs_data
def test_locked_days_of_futures_are_no_calm_days() -> None:
    table, left_out = futures_table(DATA / "china_futures_daily")
    assert left_out["stale, without volume"] > 300
    locked = table.filter(limit_locked(table))
    assert locked.height > 50
    found = panel("china_futures", DATA, 0, 6)
    stamps = table["ts_ns"].unique().sort().to_numpy()
    for market, stamp in locked.select("market", "ts_ns").head(50).rows():
        series = found.markets.index(market)
        assert np.isnan(found.label[series][np.searchsorted(stamps, stamp)]), f"{market} has a calm locked day"


@needs_data
def test_every_future_has_a_group_and_histories_are_unequal() -> None:
    table, left_out = futures_table(DATA / "china_futures_daily")
    assert "of no group" not in left_out
    assert set(table["venue"].unique()) == set(FUTURES)
    first, last = panel("china_futures", DATA, 0, 6), panel("china_futures", DATA, 5, 6)
    assert sum(map(first.learns, first.series)) < sum(map(last.learns, last.series))
    starts = [int(np.argmax(np.isfinite(one).all(axis=1))) for one in last.own]
    assert min(starts) == 0
    assert max(starts) > 3000


@needs_data
def test_prices_of_pairs_are_in_their_unit_and_counts_are_no_volumes() -> None:
    table, _ = fx_table(DATA / "fx_hourly")
    level = dict(table.group_by("market").agg(pl.col("close").median()).rows())
    assert set(level) == {pair for pairs in PAIRS.values() for pair in pairs}
    assert 0.8 < level["USDCHF"] < 1.1
    assert 0.7 < level["EURGBP"] < 1.0
    assert 90 < level["USDJPY"] < 130
    assert 1000 < level["XAUUSD"] < 2100
    assert table["volume"].null_count() == table.height
    assert table["trades"].null_count() == 0


@needs_data
def test_the_brokers_clock_is_not_utc() -> None:
    """The week of the files ends on Friday at 17:00 in New York: 21:00 or 22:00 UTC, never midnight."""
    table, _ = fx_table(DATA / "fx_hourly")
    ends = table.filter(pl.col("market") == "USDJPY").select(pl.from_epoch("ts_ns", time_unit="ns").alias("end"))
    last = (
        ends.filter(pl.col("end").dt.weekday() >= 5)
        .group_by(pl.col("end").dt.truncate("1w"))
        .agg(pl.col("end").filter(pl.col("end").dt.weekday() == 5).max().dt.hour().alias("hour"))
    )
    hours = last["hour"].value_counts().sort("count", descending=True)["hour"].to_list()[:2]
    assert set(hours) <= {21, 22}


@needs_data
def test_absent_minutes_and_a_false_print_do_not_make_a_panel_calm_or_wild() -> None:
    found = panel("stablecoins", DATA, 0, 2)
    assert found.names == ("binanceus-usdc-usdt", "coinbase-usdt-usd", "kraken-usdc-usd", "kraken-usdt-usd")
    assert np.isfinite(found.own).all()
    bar = np.abs(found.label[0] - np.median(found.label[0])).argmax()
    assert np.abs(found.label[0]).max() < 20
    assert 0 <= bar < found.label.shape[1]
    assert panel("stablecoin_venues", DATA, 1, 2).names == ("binanceus", "coinbase", "kraken")


@needs_data
def test_every_stock_of_a_group_is_in_the_file() -> None:
    found = panel("djia_daily", DATA, 0, 4)
    assert set(found.markets) == {name for names in STOCKS.values() for name in names}
    assert found.left_out["without a price"] == 26
