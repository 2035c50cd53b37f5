"""Claims about cutting real files into members and times."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest
from rich.console import Console
from rich.progress import Progress

from hansa.errors import ConfigurationError, DataError
from hansa.lab.conduct import Span
from hansa.lab.venues import BAR_NS, DAY_NS, LIVE_BARS, _times, member_series, run

if TYPE_CHECKING:
    from pathlib import Path

START = 19_000 * DAY_NS
MINUTE = 60_000_000_000


def frame(first: int, minutes: int) -> pl.DataFrame:
    stamps = START + MINUTE * np.arange(first + 1, first + minutes + 1)
    prices = {name: np.full(minutes, 100.0) for name in ("open", "high", "low", "close")}
    return pl.DataFrame({"ts_ns": stamps, **prices, "volume": np.full(minutes, 5.0)})


def write(folder: Path, name: str, *, first: int = 0, minutes: int = 30) -> None:
    frame(first, minutes).rename({"ts_ns": "time"}).with_columns(pl.col("time") // 1_000_000_000 - 60).write_csv(
        folder / f"{name}.csv"
    )


def spans(*covered: tuple[int, int]) -> dict[str, list[pl.DataFrame]]:
    return {str(place): [frame(first, last - first)] for place, (first, last) in enumerate(covered)}


def quiet() -> Progress:
    return Progress(console=Console(file=io.StringIO()))


def test_each_series_or_each_venue_is_a_member(tmp_path: Path) -> None:
    for name in ("kraken_usdcusd", "kraken_usdtusd", "Bit.Stamp_usdcusd"):
        write(tmp_path, name)
    markets = ["USDC-USD", "USDT-USD"]
    assert list(member_series(tmp_path, markets, member_by="series")) == [
        "bit-stamp-usdc-usd",
        "kraken-usdc-usd",
        "kraken-usdt-usd",
    ]
    by_venue = member_series(tmp_path, markets, member_by="venue")
    assert {name: len(found) for name, found in by_venue.items()} == {"bit-stamp": 1, "kraken": 2}


def test_a_market_without_a_file_is_refused_by_name(tmp_path: Path) -> None:
    write(tmp_path, "kraken_usdcusd")
    with pytest.raises(DataError, match=r"for USDT-USD, DAI-USD; leave it out"):
        member_series(tmp_path, ["USDC-USD", "USDT-USD", "DAI-USD"], member_by="series")


def test_too_few_members_are_refused_and_named(tmp_path: Path) -> None:
    write(tmp_path, "kraken_usdcusd")
    write(tmp_path, "kraken_usdtusd")
    with pytest.raises(ConfigurationError, match="at least 3 members, got kraken;"):
        run(tmp_path / "out", tmp_path, ["USDC-USD", "USDT-USD"], member_by="venue", progress=quiet())
    assert not (tmp_path / "out").exists()


def test_files_with_too_little_in_common_are_refused() -> None:
    days = 24 * 60
    with pytest.raises(ConfigurationError, match=r"2\.0 days in common"):
        _times(spans((0, 5 * days), (3 * days, 8 * days)))
    with pytest.raises(ConfigurationError, match=r"0\.0 days in common"):
        _times(spans((0, 5 * days), (6 * days, 8 * days)))


def test_the_replay_covers_whole_bars_that_every_series_has() -> None:
    days = 24 * 60
    train_days, span = _times(spans((0, 10 * days), (2, 10 * days - 3)))
    first, last = START + BAR_NS, START + 10 * DAY_NS - BAR_NS
    assert train_days == 5
    assert span.as_of_ns == first + train_days * DAY_NS - BAR_NS
    assert span.until_ns == last
    assert span.live_bars == LIVE_BARS
    assert (span.as_of_ns % BAR_NS, span.until_ns % BAR_NS) == (0, 0)


def test_a_span_becomes_the_options_of_the_coordinators_command() -> None:
    span = Span(1_678_672_800_000_000_000, 1_678_759_200_000_000_000, 3)
    assert span.options() == [
        "--as-of", "2023-03-13T02:00:00Z", "--until", "2023-03-14T02:00:00Z", "--live-bars", "3",
    ]  # fmt: skip
