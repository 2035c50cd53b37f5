"""Hands out the rows of a file in order of time, up to an edge, without holding the file.

Rows may lie in any order. As long as no row comes later than an edge that was already handed out, the file is read
once and only the rows after the last edge are held. Otherwise the file is read again and sorted on disk
(`hansa.market.readers.runs`).

Guarantees: rows come sorted by time and, of one time, in the order of the file. Does NOT guarantee: little memory where
more rows than fit have one time or lie between two edges.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from hansa.errors import DataError
from hansa.market.readers.bars import TimesRead, unit_factor
from hansa.market.readers.batches import BLOCK_BYTES, Batch, batches
from hansa.market.readers.runs import in_time_order

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from pathlib import Path

    from jaxtyping import Int

_READING: Final = 0.5  # part of the work that reading is where the rows have to be sorted


class ReadAgainError(Exception):
    """What came later changes what was handed out: the unit of the times, or a row in the wrong place. Begin anew."""


@dataclass(slots=True)
class Feed:
    """The rows of one file.

    Attributes:
        path: The file.
        wanted: Names of the columns that `columns` looks for.
        columns: Makes checked columns of a batch: `ts_ns`, `row` and whatever the reader wants.
        block_bytes: About how much is read at once.
        folder: Where rows are sorted if the file is not in order; None: the system's folder for temporary files.
        progress: Told the share of the work on the file that is done.
    """

    path: Path
    wanted: Collection[str]
    columns: Callable[[Batch, TimesRead], pl.DataFrame]
    block_bytes: int = BLOCK_BYTES
    folder: Path | None = None
    progress: Callable[[float], None] = lambda _: None
    _in_order: bool = True
    _largest: float = 0.0
    _held: list[pl.DataFrame] = field(default_factory=list)
    _rows: Iterator[pl.DataFrame] | None = None
    _frontier_ns: int | None = None
    _edge_ns: int | None = None
    _is_over: bool = False

    def restart(self) -> None:
        """Begin at the first row again, with what was learnt."""
        self._held.clear()
        self._frontier_ns = self._edge_ns = None
        self._is_over = False
        self._rows = self._parsed() if self._in_order else self._sorted()
        self.pull()

    @property
    def is_over(self) -> bool:
        """Whether every row was read."""
        return self._is_over

    @property
    def first_ns(self) -> int:
        """Least time of the rows held; of all rows so far while none was taken."""
        return min(int(frame["ts_ns"].min()) for frame in self._held)  # type: ignore[arg-type] # ts_ns is whole

    @property
    def frontier_ns(self) -> int:
        """Greatest time read so far; of the whole file once it is over."""
        if self._frontier_ns is None:
            raise DataError(f"{self.path}: row 0: expected rows; none was read")
        return self._frontier_ns

    def pull(self) -> None:
        """Read the next rows.

        Raises:
            ReadAgainError: A row belongs before an edge that was handed out, or the times are in another unit.
            DataError: A row is malformed.
        """
        if self._rows is None:
            self.restart()
            return
        frame = next(self._rows, None)
        if frame is None:
            self._is_over = True
            return
        first, last = int(frame["ts_ns"].min()), int(frame["ts_ns"].max())  # type: ignore[arg-type] # ts_ns is whole
        if self._edge_ns is not None and first <= self._edge_ns:
            self._in_order = False
            raise ReadAgainError
        self._frontier_ns = last if self._frontier_ns is None else max(last, self._frontier_ns)
        self._held.append(frame)

    def take(self, edge_ns: int) -> pl.DataFrame:
        """Return the rows up to an edge, in order of time, and keep the later ones."""
        held = pl.concat(self._held) if len(self._held) > 1 else self._held[0]
        is_due = held["ts_ns"] <= edge_ns
        self._held = [held.filter(~is_due)]
        self._edge_ns = edge_ns
        due = held.filter(is_due)
        if due["ts_ns"].is_sorted():
            return due
        order: Int[np.ndarray, " row"] = np.argsort(due["ts_ns"].to_numpy(), kind="stable")
        return due[order]

    def _parsed(self) -> Iterator[pl.DataFrame]:
        times = TimesRead(largest=self._largest)
        for batch in batches(self.path, wanted=self.wanted, block_bytes=self.block_bytes):
            before = unit_factor(times.largest)
            frame = self.columns(batch, times)
            self._largest = times.largest
            if batch.first_row and unit_factor(times.largest) != before:
                raise ReadAgainError
            self.progress(batch.share if self._in_order else _READING * batch.share)
            yield frame

    def _sorted(self) -> Iterator[pl.DataFrame]:
        def merged(share: float) -> None:
            self.progress(_READING + (1 - _READING) * share)

        return in_time_order(self._parsed(), self.folder, self.path, progress=merged)
