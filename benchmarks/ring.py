"""What the ring layer costs a member and the coordinator: a million narrow values, one core, ten members.

Milliseconds, best and median of one run: every part of an upload (quantise, noise, pack, masks, encrypt), a partial
decryption, adding one ciphertext at the coordinator, opening the sum; bytes a value; then the same for 500 values.
Every opened sum is compared with the exact one.

Run: python benchmarks/ring.py [--length 1000000] [--peers 9] [--repeats 9]
"""

from __future__ import annotations

import argparse
import hashlib
import statistics
import time
from typing import TYPE_CHECKING

import numpy as np

from hansa.crypto.encryption import add_ciphertext, decode, empty_total, encrypt, partial_decryption
from hansa.crypto.lanes import pack, unpack
from hansa.crypto.prg import add_limb_masks
from hansa.crypto.ring import add_elements, ternary_secret
from hansa.crypto.sampling import GaussianTable, sample
from hansa.protocol.encoding import quantise
from hansa.protocol.limits import PurposeLimit

if TYPE_CHECKING:
    from collections.abc import Callable

SCALE = 1 << 12
SIGMA_STEPS = 400.0


def seed(label: str) -> bytes:
    return hashlib.sha256(label.encode()).digest()


class Clock:
    """Milliseconds of named parts over repetitions."""

    def __init__(self) -> None:
        self.parts: dict[str, list[float]] = {}

    def time[Result](self, name: str, part: Callable[[], Result]) -> Result:
        start = time.perf_counter()
        result = part()
        self.parts.setdefault(name, []).append(1000 * (time.perf_counter() - start))
        return result
