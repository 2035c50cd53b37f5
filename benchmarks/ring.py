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
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from hansa.crypto.encryption import add_ciphertext, decode, empty_total, encrypt, partial_decryption
from hansa.crypto.lanes import pack, unpack
from hansa.crypto.prg import add_limb_masks
from hansa.crypto.ring import add_elements, ternary_secret
from hansa.crypto.sampling import GaussianTable, add_sample
from hansa.protocol.encoding import quantise
from hansa.protocol.limits import PurposeLimit

if TYPE_CHECKING:
    from collections.abc import Callable

Result = TypeVar("Result")

SIGMA_STEPS = 400.0


def seed(label: str) -> bytes:
    return hashlib.sha256(label.encode()).digest()


KEY = add_elements([ternary_secret(seed(f"key {k}")) for k in range(2)])
PURPOSE = PurposeLimit(
    values=1,
    values_per_bar=0,
    exchanges=1,
    value_bound=1.0,
    scale=1 << 12,
    sensitivity=1.0,
    noise_multiplier=1.0,
    period="year",
    epsilon=1.0,
    delta=1e-6,
)


class Clock:
    """Milliseconds of named parts over repetitions."""

    def __init__(self) -> None:
        self.parts: dict[str, list[float]] = {}

    def time(self, name: str, part: Callable[[], Result]) -> Result:
        """Run a part and keep how long it took."""
        start = time.perf_counter()
        result = part()
        self.parts.setdefault(name, []).append(1000 * (time.perf_counter() - start))
        return result


def upload(clock: Clock, vector: np.ndarray, table: GaussianTable, peers: int) -> tuple[np.ndarray, bytes]:
    steps = clock.time("quantise", lambda: quantise(vector, PURPOSE))
    clock.time("noise", lambda: add_sample(steps, table, seed("noise")))
    limbs = clock.time("pack", lambda: pack(steps, is_wide=False))
    masks = [(seed(f"mask {k}"), bool(k % 2)) for k in range(peers)]
    clock.time(f"masks, {peers} peers", lambda: add_limb_masks(limbs, masks))
    data = clock.time("encrypt", lambda: encrypt(limbs, secret=KEY, crs_seed=seed("session"), error_seed=seed("error")))
    return steps, data


def session(clock: Clock, length: int, peers: int) -> float:
    """One upload, one partial decryption, one addition, one opening; returns bytes a value."""
    table = GaussianTable.build(SIGMA_STEPS)
    vector = np.random.default_rng(5).normal(0.0, 1e-2, length)
    steps, data = clock.time("whole upload", lambda: upload(clock, vector, table, peers))
    total = empty_total(8 * len(data) // 145)
    clock.time("add one ciphertext", lambda: add_ciphertext(total, data))
    answer = clock.time(
        "partial decryption",
        lambda: partial_decryption(total.shape[1], share=KEY, crs_seed=seed("session"), flood_seed=seed("flood")),
    )
    add_ciphertext(total, answer)
    decoded = clock.time("decode", lambda: decode(total))
    limbs = decoded.limbs
    add_limb_masks(limbs, [(seed(f"mask {k}"), k % 2 == 0) for k in range(peers)])
    opened = clock.time("unpack", lambda: unpack(limbs, length, is_wide=False))
    if not np.array_equal(opened, steps):
        raise SystemExit("the opened sum is not the exact one")
    return len(data) / length


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--length", type=int, default=1_000_000)
    parser.add_argument("--peers", type=int, default=9)
    parser.add_argument("--repeats", type=int, default=9)
    chosen = parser.parse_args()
    for length in (chosen.length, 500):
        session(Clock(), length, chosen.peers)  # compiles, or reads the compiled code
        clock = Clock()
        for _ in range(chosen.repeats):
            size = session(clock, length, chosen.peers)
        print(f"{length} values, one core, {size:.3f} bytes a value; milliseconds, best and median:")
        for name, milliseconds in clock.parts.items():
            print(f"  {name:20} {min(milliseconds):8.2f} {statistics.median(milliseconds):8.2f}")


if __name__ == "__main__":
    main()
