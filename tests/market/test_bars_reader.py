from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from hansa.errors import ConfigurationError, DataError
from hansa.market.readers.bars import attach_signed, read_bars
from hansa.market.schema import BARS_SCHEMA

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HEADER = "timestamp,open,high,low,close,volume"
MINUTE = 60_000_000_000
START = 1_677_628_800 * 10**9  # 2023-03-01 00:00 UTC


def _csv(tmp_path: Path, *lines: list[str], header: Any = HEADER, name: str = "kraken_usdcusd.csv") -> Any:
    path = tmp_path / name
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


def _read(path: Path, **options: Any) -> Any:
    return read_bars(path, market="USDC-USD", venue="kraken", **options)


@pytest.mark.parametrize(
    "stamp",
    [
        "2023-03-01 00:00:00+00:00",
        "2023-03-01T00:00:00Z",
        "2023-03-01T02:00:00+0200",
        "2023-03-01 00:00:00.000",
        "2023-03-01 00:00",
        "2023-03-01",
        "1677628800",
        "1677628800000",
        "1677628800000000",
        "1677628800000000000",
        "1677628800.0",
    ],
)
def test_every_spelling_of_one_start_gives_the_same_end_stamp(tmp_path: Path, stamp: Any) -> None:
    bars = _read(_csv(tmp_path, f"{stamp},1,2,0.5,1.5,10"))
    assert bars["ts_ns"].to_list() == [START + MINUTE]
    assert bars.schema == dict(BARS_SCHEMA)


@pytest.mark.parametrize("column", ["open_time", "datetime_utc", "Date", "dt", "TIME"])
def test_time_columns_have_many_names(tmp_path: Path, column: Any) -> None:
    path = _csv(tmp_path, "2023-03-01 00:00:00,1,2,0.5,1.5,10", header=HEADER.replace("timestamp", column))
    assert _read(path)["ts_ns"][0] == START + MINUTE


@pytest.mark.parametrize(
    ("zone", "hours"), [("Europe/Athens", -2), ("+02:00", -2), ("-05:30", 5.5), ("America/New_York+07:00", -2)]
)
def test_a_time_without_zone_is_read_on_the_clock(tmp_path: Path, zone: str, hours: Any) -> None:
    bars = _read(_csv(tmp_path, "2023-03-01 00:00:00,1,2,0.5,1.5,10"), clock=zone)
    assert bars["ts_ns"][0] == START + MINUTE + int(hours * 3600e9)


def test_an_hour_that_the_clock_shows_twice_is_read_in_order(tmp_path: Path) -> None:
    lines = [f"2023-10-29 {hour}:00:00,1,2,0.5,1.5,1" for hour in ("02", "03", "03", "04")]
    bars = _read(_csv(tmp_path, *lines), clock="Europe/Athens", bar_ns=60 * MINUTE)
    assert bars["ts_ns"].diff().drop_nulls().to_list() == [60 * MINUTE] * 3


def test_gzip_and_parquet_give_the_same_bars(tmp_path: Path) -> None:
    plain = _csv(tmp_path, "2023-03-01 00:00:00,1,2,0.5,1.5,10", "2023-03-01 00:01:00,1,2,0.5,1.5,10")
    zipped = tmp_path / "a_b.csv.gz"
    zipped.write_bytes(gzip.compress(plain.read_bytes()))
    table = tmp_path / "a_b.parquet"
    pl.read_csv(plain, try_parse_dates=True).write_parquet(table)
    assert _read(plain).equals(_read(zipped))
    assert _read(plain).equals(_read(table))


def test_scaled_prices_are_divided_and_counts_of_quotes_are_no_volume(tmp_path: Path) -> None:
    path = _csv(
        tmp_path, "2012-11-15 14:00:00,94371,94420,94326,94380,5255", header=HEADER.replace("volume", "tick_volume")
    )
    bars = _read(path, price_scale=1e5)
    assert bars["open"][0] == pytest.approx(0.94371)
    assert bars.select("volume", "trades").row(0) == (None, None)
    assert _read(path, price_scale=1e5, tick_volume_as="trades")["trades"][0] == 5255
    assert _read(path, price_scale=1e5, tick_volume_as="volume")["volume"][0] == 5255.0


def test_buys_and_sells_give_signed_volume(tmp_path: Path) -> None:
    both = _csv(tmp_path, "2023-03-01,1,2,0.5,1.5,10,7,3,4", header=f"{HEADER},buy_vol,sell_vol,n_trades")
    assert _read(both).select("signed_volume", "trades").row(0) == (4.0, 4)
    taker = _csv(tmp_path, "2023-03-01,1,2,0.5,1.5,10,2", header=f"{HEADER},taker_buy_base")
    assert _read(taker)["signed_volume"][0] == -6.0


GOOD = "2023-03-01 00:00:00,1,2,0.5,1.5,10"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("2023-03-01 00:01:00,NaN,2,0.5,1.5,10", "row 1: a price is not finite"),
        ("2023-03-01 00:01:00,,2,0.5,1.5,10", "row 1: a required column is null"),
        ("2023-03-01 00:01:00,1,2,0.5,abc,10", "row 1: column close is not a number"),
        ("2023-03-01 00:01:00,1,0.5,2,1.5,10", "row 1: high < low"),
        ("2023-03-01 00:01:00,1,2,0.5,1.5,-1", "row 1: a volume"),
        ("2023-03-01 00:01:00,1,2,0.5,1.5,inf", "row 1: column volume is not finite"),
        ("yesterday,1,2,0.5,1.5,10", "row 1: column timestamp is not a time"),
        ("2023-03-01 00:00:00,1,2,0.5,1.5,10", "row 0: a second row"),
    ],
)
def test_a_malformed_row_is_refused_with_file_row_and_reason(tmp_path: Path, line: Any, reason: str) -> None:
    path = _csv(tmp_path, GOOD, line)
    with pytest.raises(DataError, match=reason) as refusal:
        _read(path)
    assert str(path) in str(refusal.value)
    assert "abc" not in str(refusal.value)


def test_a_time_that_the_clock_skips_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="row 0: column timestamp is not a time, or not one of the clock"):
        _read(_csv(tmp_path, "2023-03-26 03:30:00,1,2,0.5,1.5,10"), clock="Europe/Athens")


def test_sells_beyond_the_volume_are_refused(tmp_path: Path) -> None:
    path = _csv(tmp_path, "2023-03-01,1,2,0.5,1.5,10,30,3", header=f"{HEADER},buy_vol,sell_vol")
    with pytest.raises(DataError, match="row 0: buys or sells exceed"):
        _read(path)


def test_a_truncated_empty_absent_or_foreign_file_is_refused(tmp_path: Path) -> None:
    table = tmp_path / "a_b.parquet"
    pl.DataFrame({"open": [1.0] * 500}).write_parquet(table)
    table.write_bytes(table.read_bytes()[:-40])
    empty = tmp_path / "a_b.csv"
    empty.write_bytes(b"")
    zipped = tmp_path / "c_d.csv.gz"
    zipped.write_bytes(gzip.compress(f"{HEADER}\n{GOOD}\n".encode() * 500)[:-20])
    foreign = tmp_path / "a_b.xlsx"
    header_only = _csv(tmp_path, name="header.csv")
    for path in (table, empty, zipped, foreign, header_only, tmp_path / "absent.parquet"):
        with pytest.raises(DataError, match=path.name):
            _read(path)


def test_missing_columns_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="missing high, low"):
        _read(_csv(tmp_path, "2023-03-01,1,1", header="timestamp,open,close"))
    with pytest.raises(DataError, match="missing a time column"):
        _read(_csv(tmp_path, "1,2,0.5,1", header="open,high,low,close"))


def test_a_senseless_option_is_refused(tmp_path: Path) -> None:
    path = _csv(tmp_path, GOOD)
    with pytest.raises(ConfigurationError, match="unknown clock"):
        _read(path, clock="Mars/Olympus")
    with pytest.raises(ConfigurationError, match="price_scale"):
        _read(path, price_scale=0.0)


def test_an_asset_is_picked_out_of_a_file_of_many(tmp_path: Path) -> None:
    path = _csv(tmp_path, f"{GOOD},XOM", f"{GOOD},IBM", header=f"{HEADER},Name")
    assert _read(path, asset="IBM").height == 1
    with pytest.raises(DataError, match="no row"):
        _read(path, asset="GE")


def test_bars_of_the_contract_are_read_as_they_are(tmp_path: Path) -> None:
    bars = _read(_csv(tmp_path, GOOD))
    path = tmp_path / "kraken_USDC-USD.parquet"
    bars.write_parquet(path)
    assert _read(path).equals(bars)
    with pytest.raises(DataError, match="expected bars of BTC-USD at kraken"):
        read_bars(path, market="BTC-USD", venue="kraken")


def test_signed_volume_is_attached_where_the_second_series_has_the_bar(make_bars: Callable[..., pl.DataFrame]) -> None:
    bars = make_bars([1.0, 1.0, 1.0], volume=[5.0, 5.0, 5.0])
    signed = make_bars([1.0, 1.0], volume=[5.0, 5.0], signed_volume=[-1.0, 2.0], trades=[3, 4])
    joined = attach_signed(bars, signed)
    assert joined["signed_volume"].to_list() == [-1.0, 2.0, None]
    assert joined["trades"].to_list() == [3, 4, None]


def test_a_signed_series_of_another_market_or_without_signs_is_refused(make_bars: Callable[..., pl.DataFrame]) -> None:
    bars = make_bars([1.0], volume=[5.0])
    with pytest.raises(DataError, match="no common bar"):
        attach_signed(bars, make_bars([1.0], market="BTC-USD", signed_volume=[1.0], trades=[1]))
    with pytest.raises(DataError, match="signed volume; got none"):
        attach_signed(bars, make_bars([1.0], signed_volume=[None], trades=[1]))


def test_all_eighteen_depeg_series_are_read_on_one_clock(shared: Path) -> None:
    for path in sorted((shared / "usdc_depeg_2023-03").iterdir()):
        bars = _read(path)
        assert (bars["ts_ns"] % MINUTE == 0).all(), path.name
        assert bars["ts_ns"][0] >= START + MINUTE, path.name
        assert bars["ts_ns"][-1] <= START + 21 * 1440 * MINUTE, path.name


def test_missing_minutes_of_a_real_series_are_absent_rows(shared: Path) -> None:
    bars = _read(shared / "usdc_depeg_2023-03" / "kraken_btcusdc.parquet")
    assert bars.height == 15_719


def test_the_depeg_is_where_the_record_says(shared: Path) -> None:
    bars = _read(shared / "usdc_depeg_2023-03" / "kraken_usdcusd.parquet")
    onset = bars.filter(pl.col("close") < 0.99)["ts_ns"][0] - MINUTE
    assert onset == 1_678_504_200 * 10**9  # 2023-03-11 03:10 UTC


def test_real_scaled_fx_prices_come_out_in_quote_currency(shared: Path) -> None:
    bars = _read(shared / "fx_hourly" / "USDCHF_h1.parquet", price_scale=1e5, bar_ns=60 * MINUTE, clock="+02:00")
    assert bars["open"][0] == pytest.approx(0.94371)
    assert bars["volume"].null_count() == bars.height
