"""Claims about a broker's own trades as bars."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

import polars as pl
import pytest
from typer.testing import CliRunner

from hansa.cli.market import app
from hansa.errors import DataError
from hansa.market.influence import rule_of
from hansa.market.readers.ticks import Caps
from hansa.market.readers.trades import read_trades

if TYPE_CHECKING:
    from pathlib import Path

MINUTE_NS = 60_000_000_000
LINES = [
    "Timestamp,Price,Qty,Side,Client",
    "2024-03-01 00:00:10,100,3,buy,acme",
    "2024-03-01 00:00:20,101,1,S,acme",
    "2024-03-01 00:01:30,102,2,sell,",
    "2024-03-01 00:01:40,104,2,B,",
]
QUOTES = ["time,bid,ask,depth", "2024-03-01 00:00:00,99,101,500", "2024-03-01 00:01:00,100,101,700"]
CAPS = Caps(0.02, 1e4, 1e-3, "clients")


def written(path: Path, lines: list[str]) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


def read(tmp_path: Path, lines: list[str] = LINES, caps: Caps | None = CAPS, **options: Path) -> pl.DataFrame:
    path = written(tmp_path / "desk_EUR-USD.csv", lines)
    return read_trades(path, market="EUR-USD", venue="desk", bar_ns=MINUTE_NS, caps=caps, **options)


def test_trades_become_bars_in_which_a_named_client_counts_once(tmp_path: Path) -> None:
    bars = read(tmp_path)
    assert bars["volume"].to_list() == [4.0, 4.0]
    assert bars["signed_volume"].to_list() == [2.0, 0.0]
    most = math.expm1(0.02) * 1e4
    assert bars["capped_volume"].to_list() == pytest.approx([1e4 + most, 1e4 + 2 * most])
    rule = rule_of(bars)
    assert rule is not None
    assert (rule.unit, rule.quotes) == ("client", "clients")
    assert "acme" not in str(bars.to_dicts())


def test_without_a_column_of_clients_each_trade_is_one_and_the_bars_say_so(tmp_path: Path) -> None:
    bars = read(tmp_path, [line.rpartition(",")[0] for line in LINES])
    rule = rule_of(bars)
    assert rule is not None
    assert rule.unit == "trade"
    assert bars["capped_volume"][0] == pytest.approx(1e4 + math.expm1(0.02) * 1e4 + 101)


def test_the_houses_quotes_are_a_file_of_their_own(tmp_path: Path) -> None:
    quotes = written(tmp_path / "quotes.csv", QUOTES)
    bars = read(tmp_path, caps=Caps(0.02, 1e4, 1e-3, "house"), house_quotes=quotes)
    assert bars["depth_quote"].to_list() == [500.0, None]
    assert bars["spread_bps"][0] == pytest.approx(200.0)
    assert bars["capped_range"][0] == pytest.approx(1e-3 + math.log(100.5 / 100))
    with pytest.raises(DataError, match="chosen by who trades"):
        read(tmp_path, caps=Caps(0.02, 1e4, 1e-3, "house"))


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (["timestamp,price", "2024-03-01 00:00:10,1"], "expected one of the columns size"),
        (["timestamp,size", "2024-03-01 00:00:10,1"], "expected a column price"),
        (["price,size", "1,1"], "expected one of the columns timestamp"),
        ([*LINES, "2024-03-01 00:02:00,0,1,buy,x"], "row 4: column price is not a finite number above 0"),
        ([*LINES, "2024-03-01 00:02:00,1,much,buy,x"], "row 4: column qty is not"),
        ([*LINES, "2024-03-01 00:02:00,1,1,neither,x"], "row 4: column side is not"),
        ([*LINES, "yesterday,1,1,buy,x"], "row 4: column timestamp is not a time"),
    ],
)
def test_a_malformed_file_is_refused_without_showing_its_values(lines: list[str], reason: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=reason) as refused:
        read(tmp_path, lines)
    assert not {"much", "neither", "yesterday", "acme"} & set(str(refused.value).split())


def test_import_caps_trades_and_keeps_the_rule_in_the_file(tmp_path: Path) -> None:
    path = written(tmp_path / "desk_EUR-USD.csv", LINES)
    quotes = written(tmp_path / "quotes.csv", QUOTES)
    capped = ["--format", "trades", "--influence-cap", "0.02", "--reference-volume", "10000"]

    def run(*more: object) -> tuple[int, str]:
        found = CliRunner().invoke(app, ["import", str(path), "--out", str(tmp_path / "bars"), *map(str, more)])
        return found.exit_code, found.output

    assert run(*capped, "--house-quotes", quotes, "--json")[0] == 0
    rule = rule_of(pl.read_parquet(tmp_path / "bars" / "desk_EUR-USD.parquet"))
    assert rule is not None
    assert (rule.unit, rule.cap, rule.volume, rule.range, rule.quotes) == ("client", 0.02, 1e4, 1e-4, "house")
    for faulty, reason in (
        (["--influence-cap", "0.02"], "bars hold no trades"),
        (capped[:4], "needs --reference-volume"),
        (["--house-quotes", str(quotes)], "belongs to one file of trades"),
    ):
        code, output = run(*faulty)
        assert code == 2
        assert reason in output
    assert json.loads(run("--format", "trades", "--json")[1])["written"][0]["rows"] == 2
    assert rule_of(pl.read_parquet(tmp_path / "bars" / "desk_EUR-USD.parquet")) is None


@pytest.mark.parametrize("name", ["trades_btc_spot", "trades_btc_fut"])
def test_real_trades_give_the_same_bars_in_blocks_and_whole(shared: Path, name: str) -> None:
    path = shared / "binance_deep_2026-02" / f"{name}.parquet"
    trades = pl.read_parquet(path)
    cut, whole = (
        read_trades(path, market="BTC-USDT", venue="binance", bar_ns=MINUTE_NS // 6, caps=CAPS, block_bytes=size)
        for size in (20_000, 1 << 40)
    )
    assert cut.equals(whole)
    assert whole["trades"].sum() == trades.height
    assert whole["volume"].sum() == pytest.approx(trades["qty"].cast(pl.Float64).sum())
    assert 0 <= whole["ts_ns"][0] - trades["ts_ms"][0] * 1_000_000 < MINUTE_NS // 6
