"""A statistic as integer steps, the noise that goes on top, and how wide a lane each sum needs.

```
step    = round(value * scale)
sigma   = noise_multiplier * (sensitivity * scale + sqrt(values one unit touches))      steps, of the sum
share   = discrete Gaussian of variance sigma^2 / (u_min - c)                            a member
reach   = n * value_bound * scale + 12 * standard deviation of all members' shares
```

A sum travels in narrow lanes (23 bits, six values a coefficient) where `reach < 2^22`, else in wide ones (46 bits,
three values a coefficient), for which the constitution promises `reach < 2^44`; both follow from the constitution
alone. An opened sum is int32 or int64, little-endian.

Guarantees: a value outside its bound, or one that is not finite, never becomes a step: it is refused, not clipped in
silence (clipping to the sensitivity is the statistic's own work, before).
Rounding to the nearest step moves a vector by at most half a step a value; `sensitivity_steps` adds it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

from hansa.crypto.prg import derive_for
from hansa.errors import MessageError, RefusedError
from hansa.protocol.privacy import share_variance

if TYPE_CHECKING:
    from jaxtyping import Float, Int64

    from hansa.protocol.limits import Limits, PurposeLimit

NARROW_LIMIT: Final = 2**22
TAIL_SIGMAS: Final = 12


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


def noise_seed(noise_key: bytes, manifest: bytes, steps: Int64[np.ndarray, " value"]) -> bytes:
    """Return the seed of a member's noise for these steps in the session of `manifest` (its digest).

    The same steps get the same noise after a restart. Other steps for the same manifest get other noise: a disk that
    was set back may make a member send twice, and then the difference of its uploads still hides behind both noises.
    """
    return derive_for(noise_key, b"hansa/noise/2" + manifest, np.ascontiguousarray(steps, dtype="<i8").data.cast("B"))


def values_touched(purpose: PurposeLimit, length: int) -> int:
    """Return how many values of one release a privacy unit can move: a bar's, or the whole vector's."""
    return purpose.values_per_bar or length


def sensitivity_steps(purpose: PurposeLimit, length: int) -> float:
    """Return the L2 sensitivity in steps, rounding included: `sensitivity * scale + sqrt(length)`."""
    return purpose.sensitivity * purpose.scale + math.sqrt(length)


def share_sigma(purpose: PurposeLimit, limits: Limits, *, length: int) -> float:
    """Return the standard deviation, in steps, of the noise that one member adds."""
    sigma = purpose.noise_multiplier * sensitivity_steps(purpose, values_touched(purpose, length))
    return math.sqrt(share_variance(sigma, u_min=limits.minimum_cohort, colluders=limits.colluders))


def is_wide(purpose: PurposeLimit, limits: Limits, *, length: int) -> bool:
    """Return whether sums of this purpose need wide lanes."""
    members = len(limits.members)
    noise = share_sigma(purpose, limits, length=length) * math.sqrt(members)
    return members * purpose.value_bound * purpose.scale + TAIL_SIGMAS * noise >= NARROW_LIMIT


def sum_to_bytes(steps: Int64[np.ndarray, " value"], *, is_wide: bool) -> bytes:
    """Return an opened sum as it is published."""
    return steps.astype("<i8" if is_wide else "<i4").tobytes()


def sum_from_bytes(data: bytes, length: int, *, is_wide: bool) -> Int64[np.ndarray, " value"]:
    """Return a published sum in steps.

    Raises:
        MessageError: The bytes are not `length` values.
    """
    size = 8 if is_wide else 4
    if len(data) != size * length:
        raise MessageError(f"expected {length} values of {size} bytes; got {len(data)} bytes")
    return np.frombuffer(data, dtype="<i8" if is_wide else "<i4").astype(np.int64)


def in_units(steps: Int64[np.ndarray, " value"], scale: int) -> Float[np.ndarray, " value"]:
    """Return an opened sum in the statistic's own unit."""
    return steps.astype(np.float64) / scale
