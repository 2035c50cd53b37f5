"""Compiled loop from a statistic's values to integer steps.

Guarantees: the step of a value within its bound is `rint(value * scale)` in binary64, ties to even.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from jaxtyping import Float64, Int64

_STRETCH = 1024


@njit(cache=True, nogil=True)
def round_to_steps(
    vector: Float64[np.ndarray, " value"], scale: float, bound: float, steps: Int64[np.ndarray, " value"]
) -> int:
    """Write the steps; return the place of the first value that is not finite or beyond the bound, -1 if none.

    Steps from the returned place on are undefined. `bound` is in steps.
    """
    for start in range(0, vector.size, _STRETCH):
        stop = min(start + _STRETCH, vector.size)
        bad = 0
        for j in range(start, stop):
            step = vector[j] * scale
            # A comparison with NaN is false.
            bad += not abs(step) <= bound
            steps[j] = np.int64(np.rint(step))
        if bad:
            for j in range(start, stop):
                if not abs(vector[j] * scale) <= bound:
                    return j
    return -1
