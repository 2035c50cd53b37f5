"""Finds the files of a directory that are views of given markets: one file, one venue, one market.

```
[signed_]<venue>_<market>[_1min].(parquet|csv|csv.gz)        kraken_usdcusd.parquet, signed_kraken_usdcusd_1min.parquet
```
The market's name is compared without case and without `-`, `_` and `/`. A `signed_` file enriches the plain series of
its venue and market with buyer- and seller-initiated volume; alone it is no view.

Guarantees: one source a venue and market, in the order of `markets`, then by venue.
Does not guarantee: that names tell the truth.

Source: DESIGN.md section 5.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from hansa.errors import DataError
from hansa.market.calendar import NS_PER_MINUTE
from hansa.market.readers.bars import attach_signed, read_bars

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import polars as pl

_NAME: Final = re.compile(
    r"^(?P<signed>signed_)?(?P<venue>[A-Za-z0-9.]+)_(?P<market>.+?)(?:_1min)?\.(?:parquet|csv|csv\.gz)$"
)


@dataclass(frozen=True, slots=True)
class Source:
    """One view of one market.

    Attributes:
        path: File of the bars.
        venue: Venue, from the name of the file.
        market: Market, as the caller spells it.
        signed_path: File with buyer- and seller-initiated volume of the same venue and market, if there is one.
    """

    path: Path
    venue: str
    market: str
    signed_path: Path | None = None


def discover(directory: Path, markets: Sequence[str]) -> list[Source]:
    """Find the views of some markets.

    Args:
        directory: Where the files lie; sub-directories are not entered.
        markets: Markets to look for, such as `USDC-USD`.

    Returns:
        Sources in the order of `markets`, then by venue.

    Raises:
        DataError: The directory is absent, two files claim one venue and market, or no file fits.
    """
    plain, signed = _named_files(directory, markets)
    if not plain:
        raise DataError(f"{directory}: no file <venue>_<market>.parquet or .csv for {', '.join(markets)}")
    return [Source(path, venue, market, signed.get((market, venue))) for (market, venue), path in plain.items()]


def unmatched_signed(directory: Path, markets: Sequence[str]) -> list[Path]:
    """Find the signed series that enrich nothing, because the plain series of their venue and market is absent.

    Args:
        directory: As for `discover`.
        markets: As for `discover`.

    Returns:
        Paths, sorted.

    Raises:
        DataError: As for `discover`, save that no file need fit.
    """
    plain, signed = _named_files(directory, markets)
    return sorted(path for key, path in signed.items() if key not in plain)


def split_name(path: Path) -> tuple[str, str] | None:
    """Read venue and market out of a file's name.

    Args:
        path: Path of a file; it need not exist.

    Returns:
        Venue and market as the name spells them, or None where the name has another form.
    """
    match = _NAME.match(path.name)
    return None if match is None else (match["venue"], match["market"])


def load(source: Source, *, bar_ns: int = NS_PER_MINUTE) -> pl.DataFrame:
    """Read the bars of a source, with signed volume where there is a file for it.

    Args:
        source: View to read.
        bar_ns: Length of the files' bars, ns.

    Returns:
        Frame of the bars contract.

    Raises:
        DataError: A file is malformed; the message names file, row and reason.
    """
    bars = read_bars(source.path, market=source.market, venue=source.venue, bar_ns=bar_ns)
    if source.signed_path is None:
        return bars
    return attach_signed(bars, read_bars(source.signed_path, market=source.market, venue=source.venue, bar_ns=bar_ns))


def _named_files(
    directory: Path, markets: Sequence[str]
) -> tuple[dict[tuple[str, str], Path], dict[tuple[str, str], Path]]:
    if not directory.is_dir():
        raise DataError(f"{directory}: expected a directory of bars; there is none")
    wanted = {_plain(market): market for market in markets}
    found: dict[bool, dict[tuple[str, str], Path]] = {False: {}, True: {}}
    for path in sorted(directory.iterdir()):
        match = _NAME.match(path.name)
        if match is None or _plain(match["market"]) not in wanted:
            continue
        group = found[match["signed"] is not None]
        key = (wanted[_plain(match["market"])], match["venue"])
        if key in group:
            raise DataError(f"{directory}: {group[key].name} and {path.name} are both {key[0]} at {key[1]}; keep one")
        group[key] = path
    order = {market: place for place, market in enumerate(markets)}
    ranked = [dict(sorted(group.items(), key=lambda item: (order[item[0][0]], item[0][1]))) for group in found.values()]
    return ranked[0], ranked[1]


def _plain(market: str) -> str:
    return re.sub(r"[-_/]", "", market).lower()
