"""Reads a table from a file in batches of rows, so that memory does not grow with the file.

CSV is cut at ends of lines, never inside quotes, and each block is parsed under the file's header; gzip is unpacked as
it is read. Parquet comes from Polars' streaming engine.

Guarantees: the batches put together are the table that `load_table` reads. An error names the row, 0-based without the
header, and shows no value. Does NOT guarantee: small memory for a Parquet file written as one row group, or a CSV in
another compression than gzip: those are unpacked whole.
"""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np
import polars as pl

from hansa.errors import DataError
from hansa.market.readers.bars import load_table, lowered_names

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

BLOCK_BYTES: Final = 1 << 24
_GZIP_MAGIC: Final = b"\x1f\x8b"
_OTHER_MAGICS: Final = (b"\x28\xb5\x2f\xfd", b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")
_READ_BYTES: Final = 1 << 20
_LONGEST_BLOCKS: Final = 4  # a row longer than that many blocks is a quote that is never closed
_BYTES_A_ROW: Final = 64  # of a Parquet file, about

_Part = tuple[list[str], pl.DataFrame, float]  # names of all columns, rows, share of the file


@dataclass(frozen=True, slots=True)
class Batch:
    """Some consecutive rows of a file.

    Attributes:
        first_row: Number of the first of them in the file.
        frame: The rows; column names in small letters, cells of a CSV are text.
        names: Names of all columns of the file, in small letters.
        share: Part of the file read so far, 0 to 1.
    """

    first_row: int
    frame: pl.DataFrame
    names: tuple[str, ...]
    share: float


def batches(path: Path, *, wanted: Collection[str] | None = None, block_bytes: int = BLOCK_BYTES) -> Iterator[Batch]:
    """Read a file as batches with column names in small letters.

    Args:
        path: `.parquet`, `.csv` or `.csv.gz` file.
        wanted: Names, in small letters, of the columns to read of a Parquet file; None, or if it has none: all.
        block_bytes: About how much of the unpacked file a batch holds.

    Raises:
        DataError: As for `load_table`; what a later batch is refused for comes after the batches before it.
    """
    first_row = 0
    is_parquet = path.name.lower().endswith(".parquet")
    found = _parquet(path, wanted, block_bytes) if is_parquet else _csv(path, block_bytes)
    for names, frame, share in found:
        if frame.is_empty():
            continue
        lowered = dict(zip(names, lowered_names(names, path), strict=True))
        frame.columns = [lowered[name] for name in frame.columns]
        yield Batch(first_row, frame, tuple(lowered.values()), share)
        first_row += frame.height
    if not first_row:
        load_table(path)
        raise DataError(f"{path}: row 0: expected rows; the file has none")


def _parquet(path: Path, wanted: Collection[str] | None, block_bytes: int) -> Iterator[_Part]:
    row = 0
    try:
        table = pl.scan_parquet(path, glob=False)
        names = table.collect_schema().names()
        lowered = lowered_names(names, path)
        if wanted is not None and (kept := [name for name, low in zip(names, lowered, strict=True) if low in wanted]):
            table = table.select(kept)
        rows = int(table.select(pl.len()).collect().item())
        size = max(1, block_bytes // _BYTES_A_ROW)
        for frame in table.collect_batches(chunk_size=size, maintain_order=True, engine="streaming"):
            row += frame.height
            yield names, frame, row / rows
    except (pl.exceptions.PolarsError, OSError) as error:
        raise _unreadable(path, row, error) from error


def _csv(path: Path, block_bytes: int) -> Iterator[_Part]:
    if not path.name.lower().endswith((".csv", ".csv.gz")):
        raise DataError(f"{path}: expected a .parquet, .csv or .csv.gz file")
    row = 0
    try:
        size = max(1, path.stat().st_size)
        with path.open("rb") as file:
            magic = file.read(4)
            file.seek(0)
            if magic.startswith(_OTHER_MAGICS):
                whole = load_table(path)
                yield whole.columns, whole, 1.0
                return
            content: _Content = gzip.GzipFile(fileobj=file) if magic.startswith(_GZIP_MAGIC) else file
            blocks = _Blocks(path, content, block_bytes)
            header = blocks.header()
            for block in blocks.rest():
                frame = _parsed(header, block, path, row)
                row = blocks.row = row + frame.height
                yield frame.columns, frame, min(1.0, file.tell() / size)
    except OSError as error:
        raise _unreadable(path, row, error) from error


class _Content(Protocol):
    def read1(self, size: int, /) -> bytes: ...


class _Blocks:
    """The bytes of a CSV, cut at ends of rows; `row` is the number of the next row, which the caller knows."""

    def __init__(self, path: Path, content: _Content, block_bytes: int) -> None:
        self._path, self._content, self._block_bytes = path, content, block_bytes
        self._longest = _LONGEST_BLOCKS * max(block_bytes, _READ_BYTES)
        self.row = 0
        self._held = bytearray()
        self._is_over = False

    def header(self) -> bytes:
        """Return the first line that is not blank."""
        while True:
            while not (cut := _last_row_end(self._held, first=True)) and not self._is_over:
                if len(self._held) > self._longest:
                    raise DataError(f"{self._path}: row 0: the line of column names never ends; is it a CSV?")
                self._more()
            line = bytes(self._held[:cut]) if cut else bytes(self._held)
            del self._held[: len(line)]
            if line.strip(b"\r\n") or (self._is_over and not self._held):
                return line if line.endswith(b"\n") else line + b"\n"

    def rest(self) -> Iterator[bytes]:
        """Return whole rows, block after block."""
        while True:
            while len(self._held) < self._block_bytes and not self._is_over:
                self._more()
            cut = len(self._held) if self._is_over else _last_row_end(self._held)
            while not cut and not self._is_over:
                if len(self._held) > self._longest:
                    raise DataError(f"{self._path}: row {self.row}: a quoted cell is never closed; correct the row")
                wanted = 2 * len(self._held)
                while len(self._held) < wanted and not self._is_over:
                    self._more()
                cut = _last_row_end(self._held)
            if cut or self._held:
                block = bytes(self._held[: cut or None])
                del self._held[: len(block)]
                yield block
            if self._is_over and not self._held:
                return

    def _more(self) -> None:
        """Read on; a row cut off by damage is told by the number of those before it."""
        try:
            piece = self._content.read1(min(_READ_BYTES, max(self._block_bytes, 64)))
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            row = self.row + self._held.count(b"\n")
            raise DataError(
                f"{self._path}: row {row}: the compressed file is truncated or damaged here ({type(error).__name__}); "
                "fetch it again"
            ) from error
        self._held += piece
        self._is_over = not piece


def _last_row_end(block: bytearray, *, first: bool = False) -> int:
    """Return where the last (or first) row that ends in the block ends, 0 where none does."""
    if b'"' not in block:
        return (block.find(b"\n") if first else block.rfind(b"\n")) + 1
    content = np.frombuffer(bytes(block), dtype=np.uint8)
    ends = np.flatnonzero(content == ord("\n"))
    quotes_before = np.searchsorted(np.flatnonzero(content == ord('"')), ends)
    outside = ends[quotes_before % 2 == 0]
    return int(outside[0 if first else -1]) + 1 if outside.size else 0


def _parsed(header: bytes, block: bytes, path: Path, row: int) -> pl.DataFrame:
    try:
        return pl.read_csv(header + block, infer_schema=False)
    except pl.exceptions.NoDataError:  # blank lines
        return pl.DataFrame()
    except pl.exceptions.PolarsError as error:
        raise _unreadable(path, row + _good_rows(header, block), error) from error


def _good_rows(header: bytes, block: bytes) -> int:
    """Return how many rows of a block can be parsed, by halving."""
    lines = block.splitlines(keepends=True)
    good, bad, rows = 0, len(lines), 0
    while bad - good > 1:
        middle = (good + bad) // 2
        try:
            rows = pl.read_csv(header + b"".join(lines[:middle]), infer_schema=False).height
            good = middle
        except pl.exceptions.PolarsError:
            bad = middle
    return rows


def _unreadable(path: Path, row: int, error: Exception) -> DataError:
    cause = type(error).__name__
    hint = "malformed, truncated or damaged?" if row else "absent, truncated or empty?"
    return DataError(f"{path}: row {row}: cannot be read as a table ({cause}): {hint}")
