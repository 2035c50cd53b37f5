"""What the ring layer costs a member and the coordinator: a million narrow values, one core, ten members.

Milliseconds on the clock, best and median of one run, and of the processor, median: every part of an upload (quantise,
noise, pack, masks, encrypt), a partial decryption, adding one ciphertext at the coordinator, opening the sum; bytes a
value; then the same for 500 values. On a busy machine the clock shows it, and caches are shared in any case.
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
OTHER_DECRYPTORS = 6


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
        self.parts: dict[str, list[tuple[float, float]]] = {}

    def time(self, name: str, part: Callable[[], Result]) -> Result:
        """Run a part and keep how long it took, on the clock and of the processor."""
        start, spent = time.perf_counter(), time.process_time()
        result = part()
        times = 1000 * (time.perf_counter() - start), 1000 * (time.process_time() - spent)
        self.parts.setdefault(name, []).append(times)
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
    others = [(seed(f"opening {k}"), bool(k % 2)) for k in range(OTHER_DECRYPTORS)]
    clock.time(
        f"the same among {OTHER_DECRYPTORS + 1}, masked",
        lambda: partial_decryption(
            total.shape[1], share=KEY, crs_seed=seed("session"), flood_seed=seed("flood"), masks=others
        ),
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
        print(f"{length} values, one core, {size:.3f} bytes a value; ms: best, median, median of the processor")
        for name, times in clock.parts.items():
            clocks, processor = zip(*times, strict=True)
            print(
                f"  {name:28} {min(clocks):8.2f} {statistics.median(clocks):8.2f} {statistics.median(processor):8.2f}"
            )


if __name__ == "__main__":
    main()
