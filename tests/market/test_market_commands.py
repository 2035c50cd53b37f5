from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from typer.testing import CliRunner

from hansa.cli.market import app, market_name, parse_bar
from hansa.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

LINES = ["timestamp,open,high,low,close,volume", "2023-03-01 00:00:00,1,1,1,1,5", "2023-03-01 00:01:00,1,1,1,1,5"]


def _run(*arguments: Any) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def _source(tmp_path: Path, name: str = "kraken_usdcusd.csv", lines: list[str] = LINES) -> Any:
    path = tmp_path / name
    path.write_text("\n".join(lines) + "\n")
    return path


def test_import_writes_one_file_a_series_and_describe_reads_it(tmp_path: Path) -> None:
    result = _run("import", _source(tmp_path), "--out", tmp_path / "bars", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["written"][0]["rows"] == 2
    assert [p.name for p in (tmp_path / "bars").iterdir()] == ["kraken_USDC-USD.parquet"]
    described = _run("describe", tmp_path / "bars", "--json")
    assert json.loads(described.stdout)[0]["gaps"]["count"] == 0


def test_import_joins_signed_files_and_reports_those_left_out(tmp_path: Path) -> None:
    header = [f"{LINES[0]},buy_vol,sell_vol", *(f"{line},5,0" for line in LINES[1:])]
    _source(tmp_path)
    _source(tmp_path, "signed_kraken_usdcusd_1min.csv", header)
    _source(tmp_path, "signed_bybit_btcusd_1min.csv", header)
    result = _run("import", tmp_path, "--out", tmp_path / "bars", "--json")
    assert len(json.loads(result.stdout)["signed_without_series"]) == 1
    bars = pl.read_parquet(tmp_path / "bars" / "kraken_USDC-USD.parquet")
    assert bars["signed_volume"].to_list() == [5.0, 5.0]


def test_a_path_that_is_not_there_is_called_that(tmp_path: Path) -> None:
    result = _run("describe", tmp_path / "nowhere")
    assert result.exit_code == 2
    assert "no such file or directory" in result.stderr


def test_the_table_names_the_market_and_fits_a_terminal(tmp_path: Path) -> None:
    result = _run("describe", _source(tmp_path))
    assert result.exit_code == 0
    assert "USDC-USD" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80


def test_a_malformed_file_ends_in_one_line_and_exit_2_and_writes_nothing(tmp_path: Path) -> None:
    path = _source(tmp_path, lines=[*LINES, "2023-03-01 00:02:00,nan,1,1,1,5"])
    result = _run("import", path, "--out", tmp_path / "bars")
    assert result.exit_code == 2
    assert "row 2" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert list((tmp_path / "bars").iterdir()) == []


def test_a_name_that_tells_no_market_asks_for_it(tmp_path: Path) -> None:
    result = _run("import", _source(tmp_path, "USDCHF_h1.csv"), "--out", tmp_path / "bars")
    assert result.exit_code == 2
    assert "--market" in result.stderr
    named = _run(
        "import", tmp_path / "USDCHF_h1.csv", "--out", tmp_path / "bars", "--market", "USD-CHF", "--venue", "fx"
    )
    assert named.exit_code == 0


@pytest.mark.parametrize(
    ("text", "name"),
    [("usdcusd", "USDC-USD"), ("btcusdt", "BTC-USDT"), ("btc_eur", "BTC-EUR"), ("USDC-USDT", "USDC-USDT")],
)
def test_markets_are_spelled_base_and_quote(text: str, name: str) -> None:
    assert market_name(text) == name


def test_lengths_of_bars_are_read_with_their_unit() -> None:
    assert [parse_bar(text) for text in ("30s", "5m", "1h", "1d")] == [n * 10**9 for n in (30, 300, 3600, 86_400)]
    with pytest.raises(ConfigurationError, match="bar length"):
        parse_bar("5")
