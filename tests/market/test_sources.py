from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from hansa.errors import DataError
from hansa.market import sources

if TYPE_CHECKING:
    from pathlib import Path

STABLE = ["USDC-USD", "USDT-USD", "USDC-USDT"]
BITCOIN = ["BTC-USD", "BTC-USDT", "BTC-USDC"]


def _touch(directory: Path, *names: str) -> Any:
    for name in names:
        (directory / name).write_bytes(b"")
    return directory


def test_names_give_venue_and_market_and_signed_files_enrich(tmp_path: Path) -> None:
    directory = _touch(
        tmp_path,
        "kraken_usdcusd.parquet",
        "signed_kraken_usdcusd_1min.parquet",
        "binanceus_USDC-USD.csv.gz",
        "notes.txt",
    )
    found = sources.discover(directory, ["USDC-USD"])
    assert [(s.venue, s.market, s.signed_path and s.signed_path.name) for s in found] == [
        ("binanceus", "USDC-USD", None),
        ("kraken", "USDC-USD", "signed_kraken_usdcusd_1min.parquet"),
    ]


def test_a_signed_file_alone_is_reported_and_no_view(tmp_path: Path) -> None:
    directory = _touch(tmp_path, "kraken_usdcusd.parquet", "signed_bybit_usdcusd_1min.parquet")
    assert len(sources.discover(directory, ["USDC-USD"])) == 1
    assert [p.name for p in sources.unmatched_signed(directory, ["USDC-USD"])] == ["signed_bybit_usdcusd_1min.parquet"]


def test_two_files_of_one_venue_and_market_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="both USDC-USD at kraken"):
        sources.discover(_touch(tmp_path, "kraken_usdcusd.parquet", "kraken_usdc_usd.csv"), ["USDC-USD"])


def test_a_directory_without_a_fitting_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no file"):
        sources.discover(tmp_path, ["USDC-USD"])
    with pytest.raises(DataError, match="expected a directory"):
        sources.discover(tmp_path / "absent", ["USDC-USD"])


@pytest.mark.parametrize(("markets", "count"), [(STABLE, 4), (BITCOIN, 8)])
def test_the_depeg_folder_gives_the_views_of_each_group(shared: Path, markets: list[str], count: int) -> None:
    found = sources.discover(shared / "usdc_depeg_2023-03", markets)
    assert len(found) == count
    assert len({(s.venue, s.market) for s in found}) == count


def test_a_loaded_source_has_the_signed_volume_of_its_second_file(shared: Path) -> None:
    (source,) = sources.discover(shared / "usdc_depeg_2023-03", ["USDC-USD"])
    bars = sources.load(source)
    assert bars.height == 20_934
    assert bars["signed_volume"].null_count() == 141  # the signed file begins five hours later
