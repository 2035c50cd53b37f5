"""What the kernel says of its clock: whether somebody keeps it in step, and how far it may be off.

Source: adjtimex(2): with `modes` 0 it changes nothing and needs no privilege; TIME_ERROR (5) is "not synchronised".
"""

from __future__ import annotations

import ctypes
import sys
from dataclasses import dataclass
from typing import Final

_TIME_ERROR: Final = 5
_BYTES: Final = 512  # more than any `struct timex`
_MAXIMUM_ERROR_AT: Final = 24  # after modes (padded), offset and frequency, 8 bytes each


@dataclass(frozen=True, slots=True)
class KernelClock:
    """Whether the clock is kept in step, and the largest error that the kernel admits, s."""

    is_synchronised: bool
    largest_error_seconds: float


def read_kernel_clock() -> KernelClock | None:
    """Return the kernel's word, None where there is none (other systems than 64-bit Linux)."""
    if sys.platform != "linux" or sys.maxsize <= 2**32:
        return None
    buffer = ctypes.create_string_buffer(_BYTES)
    try:
        state = ctypes.CDLL(None).adjtimex(buffer)
    except (OSError, AttributeError):
        return None
    if state < 0:
        return None
    microseconds = int.from_bytes(buffer.raw[_MAXIMUM_ERROR_AT : _MAXIMUM_ERROR_AT + 8], sys.byteorder, signed=True)
    return KernelClock(state != _TIME_ERROR, microseconds / 1e6)
