"""Integer steps packed into the coefficients of the ring, and back.

A coefficient is an integer mod `T = 2^138`, held as three limbs of 46 bits in uint64. Narrow vectors have six signed
lanes of 23 bits in it, wide vectors three of 46: a value of the padded vector in row-major shape (lane, coefficient)
is `sum over lanes of step 2^(bits lane)`. Negative lanes borrow from their neighbours; `unpack` gives it back.
Limbs may be un-normalised: they wrap mod 2^64 and are read as signed, so steps, sums and masks are added limb by limb
and carries are settled once.

Guarantees: `unpack` of a sum of packed vectors is the exact sum while every sum of a lane stays in
[-2^22, 2^22) narrow, [-2^45, 2^45) wide; up to 2^16 masks may be in a limb at a time.
Does NOT guarantee: anything about a sum beyond these bounds: it wraps into its neighbours (bound it in the manifest).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from hansa.crypto.lane_kernels import add_lane, largest_magnitude, settle, split_lanes
from hansa.crypto.ring_parameters import GROUP, LANE_BITS, LIMB_BITS, LIMBS
from hansa.errors import MessageError, ProtocolError

if TYPE_CHECKING:
    from jaxtyping import Int64, UInt64

NARROW_LANES: Final = 6
WIDE_LANES: Final = 3
NARROW_LIMIT: Final = 1 << 22
WIDE_LIMIT: Final = 1 << 44


def coefficients(length: int, *, is_wide: bool) -> int:
    """Return how many ring coefficients hold `length` values: a multiple of 32.

    Args:
        length: Values, one or more.
        is_wide: Lanes of 46 bits instead of 23.

    Raises:
        ProtocolError: The length is not positive.
    """
    if length < 1:
        raise ProtocolError(f"expected a vector of one value or more to pack, got a length of {length}")
    lanes = WIDE_LANES if is_wide else NARROW_LANES
    return -(-length // (lanes * GROUP)) * GROUP


def pack(steps: Int64[np.ndarray, " value"], *, is_wide: bool) -> UInt64[np.ndarray, "limb=3 coefficient"]:
    """Return the steps in limbs, un-normalised, padded with zeros.

    Args:
        steps: Signed integers; below 2^22 in absolute value, below 2^44 if wide.
        is_wide: Lanes of 46 bits instead of 23.

    Raises:
        ProtocolError: The vector is empty, is not int64 of one axis, or a step is beyond its lane.
    """
    if steps.dtype != np.int64 or steps.ndim != 1:
        raise ProtocolError(f"expected an int64 vector to pack, got {steps.dtype} of shape {steps.shape}")
    width = coefficients(steps.size, is_wide=is_wide)
    limit = WIDE_LIMIT if is_wide else NARROW_LIMIT
    if largest_magnitude(steps) >= limit:
        raise ProtocolError(
            f"expected steps below 2^{limit.bit_length() - 1} in absolute value, got one beyond; "
            "bound the values or declare the purpose wide"
        )
    limbs = np.zeros((LIMBS, width), dtype=np.uint64)
    for lane in range(WIDE_LANES if is_wide else NARROW_LANES):
        limb, shift = (lane, 0) if is_wide else (lane // 2, LANE_BITS * (lane % 2))
        add_lane(steps[lane * width : (lane + 1) * width], shift, limbs[limb])
    return limbs


def unpack(
    limbs: UInt64[np.ndarray, "limb=3 coefficient"], length: int, *, is_wide: bool
) -> Int64[np.ndarray, " value"]:
    """Return the signed steps in limbs of any form.

    Args:
        limbs: A decoded sum, masks removed; need not be normalised.
        length: Values of the vector.
        is_wide: Lanes of 46 bits instead of 23, as at packing.

    Returns:
        `length` steps, each the balanced representative of its lane.

    Raises:
        MessageError: The limbs are not those of a vector of this length.
    """
    width = coefficients(length, is_wide=is_wide)
    if limbs.dtype != np.uint64 or limbs.shape != (LIMBS, width):
        raise MessageError(
            f"expected uint64 limbs of shape {(LIMBS, width)} for {length} values, "
            f"got {limbs.dtype} of shape {limbs.shape}"
        )
    settled = np.empty(limbs.shape, dtype=np.uint64)
    settle(limbs, settled)
    lanes = WIDE_LANES if is_wide else NARROW_LANES
    steps = np.empty((lanes, width), dtype=np.int64)
    split_lanes(settled, LIMB_BITS if is_wide else LANE_BITS, steps)
    return steps.reshape(-1)[:length]
