"""Compiled loops between signed lanes and unsigned limbs.

Guarantees: exact integers; limbs wrap mod 2^64 as two's complement, so that sums of signed lanes and of up to 2^17
masks of 46 bits keep their value in a limb until the carries are settled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from jaxtyping import Int64, UInt64

_LIMB = np.uint64((1 << 46) - 1)


@njit(cache=True, nogil=True)
def add_lane(steps: Int64[np.ndarray, " value"], shift: int, limb: UInt64[np.ndarray, " coefficient"]) -> None:
    """Add a lane of signed steps times 2^shift to the first coefficients of a limb."""
    places = np.uint64(shift)
    for j in range(steps.size):
        limb[j] += np.uint64(steps[j]) << places


@njit(cache=True, nogil=True)
def largest_magnitude(steps: Int64[np.ndarray, " value"]) -> np.uint64:
    """Return the largest absolute value, 2^63 included."""
    largest = np.uint64(0)
    for j in range(steps.size):
        size = np.uint64(steps[j]) if steps[j] >= 0 else np.uint64(0) - np.uint64(steps[j])
        largest = max(largest, size)
    return largest


@njit(cache=True, nogil=True)
def settle(limbs: UInt64[np.ndarray, "limb=3 coefficient"], out: UInt64[np.ndarray, "limb=3 coefficient"]) -> None:
    """Write the limbs of the same integer mod 2^138 with 46 bits each; a limb is read as signed."""
    for j in range(limbs.shape[1]):
        carry = np.int64(0)
        for limb in range(limbs.shape[0]):
            value = np.int64(limbs[limb, j]) + carry
            out[limb, j] = np.uint64(value) & _LIMB
            carry = value >> np.int64(46)


@njit(cache=True, nogil=True)
def add_mask_words(
    limbs: UInt64[np.ndarray, " value"], words: UInt64[np.ndarray, " value"], *, is_negative: bool
) -> None:
    """Add the low 46 bits of each word, or subtract them; wrapping."""
    if is_negative:
        for j in range(limbs.size):
            limbs[j] -= words[j] & _LIMB
    else:
        for j in range(limbs.size):
            limbs[j] += words[j] & _LIMB


@njit(cache=True, nogil=True)
def split_lanes(
    limbs: UInt64[np.ndarray, "limb=3 coefficient"],
    bits: int,
    out: Int64[np.ndarray, "lane coefficient"],
) -> None:
    """Write the balanced lanes of settled limbs: each in [-2^(bits-1), 2^(bits-1)), the last carry dropped."""
    lanes = out.shape[0]
    per_limb = lanes // limbs.shape[0]
    width = np.uint64(bits)
    mask = np.uint64((1 << bits) - 1)
    half = np.int64(1) << np.int64(bits - 1)
    carries = np.zeros(out.shape[1], dtype=np.int64)
    for lane in range(lanes):
        source, target = limbs[lane // per_limb], out[lane]
        shift = np.uint64(lane % per_limb) * width
        for j in range(target.size):
            value = np.int64((source[j] >> shift) & mask) + carries[j]
            carry = np.int64(value >= half)
            target[j] = value - (carry << np.int64(bits))
            carries[j] = carry
