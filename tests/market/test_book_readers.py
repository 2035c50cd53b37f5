from __future__ import annotations

import datetime as dt
import gzip
import json
import logging
from typing import TYPE_CHECKING, Any

import pytest

from hansa.errors import DataError
from hansa.market.readers.binance_depth import read_depth_stream, scan_depth_stream
from hansa.market.readers.lobster import read_lobster

if TYPE_CHECKING:
    from pathlib import Path

DAY = dt.date(2012, 6, 21)
SECOND = 1_000_000_000
OPEN_NS = 1_340_285_400 * SECOND  # 09:30 in New York on that day
BASE = 1_700_000_000 * SECOND


def _lobster(tmp_path: Path, messages: str, books: Any, levels: Any = 1, **options: Any) -> Any:
    paths = tmp_path / "message.csv", tmp_path / "book.csv"
    for path, rows in zip(paths, (messages, books), strict=True):
        path.write_text("".join(",".join(map(str, row)) + "\n" for row in rows))
    return read_lobster(
        *paths, market="AMZN-USD", venue="nasdaq", date=DAY, bar_ns=10 * SECOND, levels=levels, **options
    )


BOOK = (1_010_000, 100, 990_000, 100)


def test_executions_become_volume_signed_against_the_resting_order(tmp_path: Path) -> None:
    messages = [(34200.0, 1, 1, 5, 990_000, 1), (34201.5, 4, 1, 5, 990_000, 1), (34202.0, 5, 0, 3, 1_000_000, -1)]
    (bar,) = _lobster(tmp_path, messages, [BOOK] * 3)[-1:].to_dicts()
    assert bar["ts_ns"] == OPEN_NS + 10 * SECOND
    assert (bar["open"], bar["close"], bar["volume"], bar["signed_volume"], bar["trades"]) == (
        99.0,
        100.0,
        8.0,
        -2.0,
        2,
    )
    assert bar["spread_bps"] == pytest.approx(200.0)
    assert bar["depth_quote"] is None


def test_the_spread_is_weighted_by_time(tmp_path: Path) -> None:
    wide = (1_030_000, 1, 970_000, 1)
    messages = [(34200.0, 1, 1, 1, 1, 1), (34208.0, 1, 1, 1, 1, 1), (34210.0, 1, 1, 1, 1, 1)]
    bars = _lobster(tmp_path, messages, [BOOK, wide, wide])
    assert bars["spread_bps"].to_list() == [pytest.approx(0.8 * 200 + 0.2 * 600)]
    assert bars.select("close", "volume").row(0) == (100.0, 0.0)


def test_a_halt_is_unknown_and_not_tight(tmp_path: Path) -> None:
    messages = [
        (34200.0, 1, 1, 1, 1, 1),
        (34205.0, 7, 0, 0, -1, -1),
        (34208.0, 1, 1, 1, 1, 1),
        (34225.0, 7, 0, 0, 1, -1),
    ]
    halted = _lobster(tmp_path, messages, [BOOK, (1, 1, 1, 1), (1, 1, 1, 1), BOOK])
    assert halted["spread_bps"][0] == pytest.approx(200.0)
    assert OPEN_NS + 20 * SECOND not in halted["ts_ns"]


def test_an_empty_side_has_no_spread(tmp_path: Path) -> None:
    empty = (9_999_999_999, 0, 990_000, 100)
    messages = [(34200.0, 1, 1, 1, 1, 1), (34205.0, 1, 1, 1, 1, 1), (34210.0, 4, 1, 1, 990_000, 1)]
    bars = _lobster(tmp_path, messages, [BOOK, empty, empty])
    assert bars["spread_bps"].to_list() == [pytest.approx(200.0)]


def test_depth_is_the_sum_of_five_levels_of_both_sides(tmp_path: Path) -> None:
    book = [value for level in range(5) for value in (1_010_000 + level * 100, 2, 990_000 - level * 100, 3)]
    (bar,) = _lobster(tmp_path, [(34200.0, 1, 1, 1, 1, 1), (34205.0, 1, 1, 1, 1, 1)], [book] * 2, levels=5).to_dicts()[
        -1:
    ]
    assert bar["depth_quote"] == pytest.approx(sum(2 * (101 + i / 100) + 3 * (99 - i / 100) for i in range(5)))


@pytest.mark.parametrize(
    ("messages", "books", "reason"),
    [
        ([(34200.0, 1, 1, 1, 1, 1)], [BOOK] * 2, "row 1: expected one book a message"),
        ([(1, 2, 3, 4)], [BOOK], "6 columns; got 4"),
        ([(34200.0, 1, 1, 1, 1, 1)], [(1, 2)], "4 columns; got 2"),
        ([(34201.0, 1, 1, 1, 1, 1), (34200.0, 1, 1, 1, 1, 1)], [BOOK] * 2, "row 1: the time is before"),
        ([(34201.0, 1, 1, "x", 1, 1)], [BOOK], "row 0: a cell is empty or not a number"),
    ],
)
def test_a_malformed_pair_is_refused(tmp_path: Path, messages: str, books: Any, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        _lobster(tmp_path, messages, books)


def test_an_absent_file_is_refused(tmp_path: Path) -> None:
    absent = tmp_path / "message.csv"
    with pytest.raises(DataError, match="cannot be read as a table"):
        read_lobster(absent, absent, market="AMZN-USD", venue="nasdaq", date=DAY, bar_ns=SECOND, levels=1)


def test_a_real_file_without_time_stamps_is_refused(shared: Path) -> None:
    path = shared / "lobster_2012-06-21" / "AAPL_orderbook_1_NO_TIMESTAMPS.csv.gz"
    with pytest.raises(DataError, match="without time stamps"):
        read_lobster(path, path, market="AAPL-USD", venue="nasdaq", date=DAY, bar_ns=60 * SECOND, levels=1)


def test_a_real_day_has_every_bar_and_a_plausible_spread(shared: Path) -> None:
    folder = shared / "lobster_2012-06-21"
    pair = (folder / "AMZN_message_1.csv.gz", folder / "AMZN_orderbook_1.csv.gz")
    bars = read_lobster(*pair, market="AMZN-USD", venue="nasdaq", date=DAY, bar_ns=300 * SECOND, levels=1)
    assert bars.height == 78
    assert bars["spread_bps"].is_between(1, 20).all()


def _line(number: Any, event: Any) -> Any:
    return f"{BASE + number * SECOND} {json.dumps(event)}\n"


def _change(first: int, last: int, bids: Any = (), asks: Any = (), **more: int) -> Any:
    return {"data": {"e": "depthUpdate", "U": first, "u": last, "b": bids, "a": asks, **more}}


def _levels(price: Any, step: Any, size: Any = "1") -> Any:
    return [[str(price + step * i), size] for i in range(5)]


def _stream(tmp_path: Path, *lines: list[str]) -> Any:
    path = tmp_path / "stream.gz"
    path.write_bytes(gzip.compress("".join(lines).encode()))
    return path


def _scan(path: Path, **options: Any) -> Any:
    return scan_depth_stream(path, market="BTC-USDT", venue="binance", bar_ns=10 * SECOND, **options)


SNAPSHOT = {"lastUpdateId": 10, "bids": _levels(99, -1), "asks": _levels(101, 1)}
TICKER = {"data": {"b": "99", "B": "1", "a": "101", "A": "1", "u": 1}}
DEPTH = sum(range(95, 100)) + sum(range(101, 106))


def test_the_book_is_the_snapshot_and_the_changes_after_it(tmp_path: Path) -> None:
    early, late = _change(9, 10, [["99", "50"]]), _change(11, 12, [["99", "2"]])
    path = _stream(tmp_path, _line(1, TICKER), _line(1, early), _line(1, late), _line(2, SNAPSHOT), _line(9, TICKER))
    reading = _scan(path)
    assert reading.has_snapshot
    assert reading.gaps == ()
    assert reading.bars["depth_quote"][0] == pytest.approx(DEPTH + 99)


def test_without_a_snapshot_depth_is_null_until_both_sides_have_five_levels(tmp_path: Path) -> None:
    lines = [_line(1, TICKER), _line(2, _change(1, 2, _levels(99, -1), _levels(101, 1)[:4])), _line(9, TICKER)]
    bars = _scan(_stream(tmp_path, *lines)).bars
    assert bars["depth_quote"].to_list() == [None]
    assert bars["spread_bps"][0] == pytest.approx(200.0)
    lines.append(_line(9, _change(3, 4, [], [["105", "1"]])))
    filled = _scan(_stream(tmp_path, *lines, _line(10, TICKER))).bars
    assert filled["depth_quote"].to_list() == [pytest.approx(DEPTH)]


def test_a_sequence_gap_is_reported_and_drops_the_book(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = _stream(
        tmp_path,
        _line(1, TICKER),
        _line(1, SNAPSHOT),
        _line(2, _change(11, 12)),
        _line(5, _change(20, 21)),
        _line(9, TICKER),
    )
    reading = _scan(path)
    assert [(gap.row, gap.expected, gap.got) for gap in reading.gaps] == [(3, 13, 20)]
    assert reading.bars["depth_quote"][0] == pytest.approx(DEPTH)
    with caplog.at_level(logging.WARNING):
        read_depth_stream(path, market="BTC-USDT", venue="binance", bar_ns=10 * SECOND)
    assert "sequence gap: expected 13, got 20" in caplog.text


def test_futures_changes_follow_by_their_previous_number(tmp_path: Path) -> None:
    good = [_line(1, SNAPSHOT), _line(2, _change(8, 15, pu=7)), _line(3, _change(30, 40, pu=15))]
    assert _scan(_stream(tmp_path, *good, _line(9, TICKER))).gaps == ()
    bad = _line(4, _change(60, 70, pu=50))
    assert [(gap.expected, gap.got) for gap in _scan(_stream(tmp_path, *good, bad, _line(9, TICKER))).gaps] == [
        (40, 50)
    ]


def test_the_spread_comes_from_the_book_where_there_is_no_ticker(tmp_path: Path) -> None:
    bars = _scan(_stream(tmp_path, _line(1, SNAPSHOT), _line(5, _change(11, 12)))).bars
    assert bars["spread_bps"][0] == pytest.approx(200.0)


def test_trades_are_signed_and_contracts_become_base_units(tmp_path: Path) -> None:
    trades = [
        {"data": {"e": "trade", "p": "100", "q": q, "m": m}} for q, m in (("2", True), ("5", False), ("0", False))
    ]
    path = _stream(tmp_path, *(_line(1, trade) for trade in trades))
    assert _scan(path).bars.select("volume", "signed_volume", "trades").row(0) == (7.0, 3.0, 2)
    assert _scan(path, contract_quote=10.0).bars["volume"][0] == pytest.approx(0.7)


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (["oops\n"], "row 0: expected a time in ns"),
        ([_line(1, TICKER), "123 {\n"], "row 1: expected a time in ns"),
        ([_line(2, TICKER), _line(1, TICKER)], "row 1: the time is before"),
        ([_line(1, {"data": {"e": "trade", "p": "x", "q": "1", "m": True}})], "row 0: a price"),
        ([_line(1, {"data": {"e": "depthUpdate", "u": 3}})], "row 0: a price, size or number"),
        ([], "row 0: expected messages"),
    ],
)
def test_a_malformed_stream_is_refused_with_its_row(tmp_path: Path, lines: list[str], reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        _scan(_stream(tmp_path, *lines))


def test_a_truncated_or_absent_stream_is_refused(tmp_path: Path) -> None:
    path = _stream(tmp_path, *(_line(i, TICKER) for i in range(200)))
    path.write_bytes(path.read_bytes()[:-30])
    for file in (path, tmp_path / "absent.gz"):
        with pytest.raises(DataError, match="cannot be read"):
            _scan(file)


def test_a_real_stream_is_read_without_gaps_and_matches_its_ticker(shared: Path) -> None:
    reading = _scan(shared / "binance_ws_2024-08" / "spot_ethusdt_20240808.gz")
    assert reading.has_snapshot
    assert reading.gaps == ()
    assert reading.bars["spread_bps"].is_between(0.01, 1).all()
    assert reading.bars["depth_quote"].drop_nulls().min() > 1000
