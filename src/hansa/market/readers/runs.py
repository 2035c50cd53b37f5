"""Sorts more rows than memory holds by time: sorted runs on disk, merged by pieces.

The runs lie in one file without a name, so that a process that is killed leaves nothing. Each is cut into 256 pieces,
whose first times are kept; merging reads the pieces in the order of these and hands out the rows before the first time
of the piece that comes next. Each piece is read once.

Guarantees: rows come sorted by `ts_ns` and `row`. Does NOT guarantee: little memory where more rows than fit have one
time. While merging, the rows held are those of one piece a run, a 256th of all, and of the frame that comes out.

Source: Knuth, The Art of Computer Programming, vol. 3, section 5.4 (external sorting).
"""

from __future__ import annotations

from io import BytesIO
from itertools import islice
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING, Final, NamedTuple

import polars as pl

from hansa.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_FRAMES_A_RUN: Final = 4
_PIECES_A_RUN: Final = 256
_LEAST_ROWS: Final = 64  # of a piece


class _Piece(NamedTuple):
    first_ns: int
    place: int
    size: int


def in_time_order(
    frames: Iterator[pl.DataFrame],
    folder: Path | None,
    path: Path,
    *,
    progress: Callable[[float], None] = lambda _: None,
) -> Iterator[pl.DataFrame]:
    """Sort frames by `ts_ns` and `row` on disk.

    Args:
        frames: Frames of which a few fit into memory, of the same columns.
        folder: Where the runs are put; None: the system's folder for temporary files.
        path: Named in an error.
        progress: Told the share of the rows that is merged, 0 to 1.

    Returns:
        Frames of about the size of those that came.

    Raises:
        DataError: The folder cannot be written.
    """
    try:
        with TemporaryFile(dir=folder) as disk:
            pieces: list[_Piece] = []
            came = 0
            while group := list(islice(frames, _FRAMES_A_RUN)):
                came += len(group)
                pieces += _written(pl.concat(group).sort("ts_ns", "row"), disk)
            pieces.sort()
            for start, frame in _merged(pieces, disk, max(1, len(pieces) // max(1, came))):
                progress(start / len(pieces))
                yield frame
    except OSError as error:
        cause = type(error).__name__
        raise DataError(
            f"{path}: the rows are not in order of time and cannot be sorted on disk ({cause}); check space and "
            "permissions, or sort the file"
        ) from error


def _written(run: pl.DataFrame, disk: IO[bytes]) -> Iterator[_Piece]:
    for frame in run.iter_slices(max(_LEAST_ROWS, -(-run.height // _PIECES_A_RUN))):
        place = disk.tell()
        size = disk.write(frame.write_ipc(None, compression="lz4").getvalue())
        yield _Piece(int(frame["ts_ns"][0]), place, size)


def _merged(pieces: list[_Piece], disk: IO[bytes], together: int) -> Iterator[tuple[int, pl.DataFrame]]:
    """Return, with the number of the pieces read so far, the rows that no unread piece can precede."""
    held = None
    for start in range(0, len(pieces), together):
        end = start + together
        parts = [_read(piece, disk) for piece in pieces[start:end]]
        held = pl.concat(parts if held is None else [held, *parts])
        if end >= len(pieces):
            yield len(pieces), held.sort("ts_ns", "row")
            return
        is_due = pl.col("ts_ns") < pieces[end].first_ns
        due = held.filter(is_due)
        held = held.filter(~is_due)
        if due.height:
            yield end, due.sort("ts_ns", "row")


def _read(piece: _Piece, disk: IO[bytes]) -> pl.DataFrame:
    disk.seek(piece.place)
    return pl.read_ipc(BytesIO(disk.read(piece.size)))
