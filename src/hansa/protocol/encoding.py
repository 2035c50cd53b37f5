"""A statistic as words mod 2^32 and back.

`word = round(value * scale) mod 2^32`, little-endian; sums of up to n members stay below 2^31 in absolute value
(the constitution is refused otherwise), so a sum of words read as int32 is the sum of the integers.

Guarantees: a value outside its bound, or one that is not finite, never becomes a word: it is refused, not clipped in
silence (clipping to the sensitivity is the statistic's own work, before).
Rounding to the nearest step moves a vector by at most half a step a value; `sensitivity_steps` adds it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from hansa.errors import MessageError, RefusedError

if TYPE_CHECKING:
    from jaxtyping import Float, Int64, UInt32

    from hansa.protocol.limits import PurposeLimit


def quantise(vector: Float[np.ndarray, " value"], purpose: PurposeLimit) -> Int64[np.ndarray, " value"]:
    """Return the vector in integer steps.

    Raises:
        RefusedError: A value is not finite or beyond the purpose's bound.
    """
    from hansa.protocol.encoding_kernels import round_to_steps  # noqa: PLC0415 - who reads sums needs no compiler

    values = np.ascontiguousarray(vector, dtype=np.float64)
    steps = np.empty(values.shape, dtype=np.int64)
    place = round_to_steps(values, float(purpose.scale), purpose.value_bound * purpose.scale, steps)
    if place >= 0:
        raise RefusedError(
            f"value {place} of {len(steps)} is not finite or beyond the bound {purpose.value_bound:g} of its purpose"
        )
    return steps


def sensitivity_steps(purpose: PurposeLimit, length: int) -> float:
    """Return the L2 sensitivity in steps, rounding included: `sensitivity * scale + sqrt(length)`."""
    return purpose.sensitivity * purpose.scale + math.sqrt(length)


def to_words(steps: Int64[np.ndarray, " value"]) -> UInt32[np.ndarray, " value"]:
    """Return integers mod 2^32."""
    return steps.astype(np.uint32)


def words_from_bytes(data: bytes, length: int) -> UInt32[np.ndarray, " value"]:
    """Return a read-only view of little-endian words.

    Raises:
        MessageError: The bytes are not `length` words.
    """
    if len(data) != 4 * length:
        raise MessageError(f"expected {length} words of 4 bytes; got {len(data)} bytes")
    return np.frombuffer(data, dtype="<u4")


def sum_from_words(words: UInt32[np.ndarray, " value"], scale: int) -> Float[np.ndarray, " value"]:
    """Return the opened sum in the statistic's own unit."""
    return words.view(np.int32).astype(np.float64) / scale
