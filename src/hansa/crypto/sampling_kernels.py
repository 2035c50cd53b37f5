"""Compiled loop of the inversion of a cumulative table.

Guarantees: the same count of boundaries as a search of the whole table. Does NOT guarantee: constant time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from jaxtyping import Int32, Int64, UInt64

_GUIDE_SHIFT = np.uint64(48)


@njit(cache=True, nogil=True)
def add_inverted(
    table: tuple[UInt64[np.ndarray, " boundary"], Int32[np.ndarray, " prefix"]],
    words: UInt64[np.ndarray, " value"],
    *,
    lowest: int,
    stride: int,
    values: Int64[np.ndarray, " value"],
    ties: Int64[np.ndarray, " tie"],
) -> int:
    """Add stride * (lowest + boundaries at or below the word) to each value; leave out and count the ties.

    `table` is the boundaries and the guide: for a prefix without a boundary the number below it, else -1 minus that
    number. A word that equals a boundary is a tie: its place is written to `ties`, which has room for all words.
    """
    high, guide = table
    count = 0
    for j in range(words.size):
        word = words[j]
        below = np.int64(guide[word >> _GUIDE_SHIFT])
        if below < 0:
            below = -1 - below
            while below < high.size and high[below] <= word:
                below += 1
            if below > 0 and high[below - 1] == word:
                ties[count] = j
                count += 1
                continue
        values[j] += stride * (lowest + below)
    return count
