"""Decoding margin of the ring layer, and what a shift of the flood's sum costs.

First, full blocks of narrow lanes near their limit, n members and n parts of the key that each flood: the noise as
`decode` reports it, beside the prediction `sqrt(n (1/12 + 1/12 + sd^2)) / half`, sd the flood's deviation after the
switch and half the distance to the next step. Then the Kullback-Leibler divergence of the sum of four uniforms on w
values from itself shifted by d, times (w/d)^2, computed from the exact law: its limit is half the Fisher information.

Run: python benchmarks/ring_margin.py
"""

from __future__ import annotations

import hashlib
import math

import numpy as np

from hansa.crypto.encryption import add_ciphertext, decode, empty_total, encrypt, partial_decryption
from hansa.crypto.lanes import pack, unpack
from hansa.crypto.prg import expand
from hansa.crypto.ring import ternary_secret, uniform_element, weighted_elements
from hansa.crypto.ring_parameters import DEGREE, DROPPED_MODULUS, KEPT_MODULUS, MODULUS, PLAINTEXT_MODULUS, PRIMES

HALF_STEP = KEPT_MODULUS / (2 * PLAINTEXT_MODULUS)
FLOOD_VARIANCE = 4 * (2.0**110 - 1) / 12 / float(DROPPED_MODULUS) ** 2


def seed(label: str) -> bytes:
    return hashlib.sha256(label.encode()).digest()


def margin(members: int) -> tuple[float, float]:
    """Noise reported for one full block, and predicted, in half-steps."""
    limit = (1 << 22) // members - 1
    total, expected = empty_total(DEGREE), np.zeros(6 * DEGREE, dtype=np.int64)
    keys = [ternary_secret(seed(f"key {i}")) for i in range(members)]
    parts = [uniform_element(seed(f"part {i}")) for i in range(members - 1)]
    weights = np.array([[1] * 7] * members + [[prime - 1 for prime in PRIMES]] * (members - 1), dtype=np.uint32)
    parts.append(weighted_elements([*keys, *parts], weights))
    for i in range(members):
        steps = np.frombuffer(expand(seed(f"steps {i}"), 48 * DEGREE), dtype="<i8") % (2 * limit + 1) - limit
        steps[:DEGREE] = limit
        expected += steps
        limbs = pack(steps, is_wide=False)
        data = encrypt(limbs, secret=keys[i], crs_seed=seed("session"), error_seed=seed(f"error {i}"))
        add_ciphertext(total, data)
        answer = partial_decryption(DEGREE, share=parts[i], crs_seed=seed("session"), flood_seed=seed(f"flood {i}"))
        add_ciphertext(total, answer)
    decoded = decode(total)
    if not np.array_equal(unpack(decoded.limbs, 6 * DEGREE, is_wide=False), expected):
        raise SystemExit("the opened sum is not the exact one")
    return decoded.noise, math.sqrt(members * (1 / 6 + FLOOD_VARIANCE)) / HALF_STEP


def shift_cost(width: int, shift: int) -> float:
    """KL divergence of the sum of four uniforms on `width` values from its shift, where both live, times (w/d)^2."""
    uniform = np.ones(width)
    law = np.rint(np.convolve(np.convolve(uniform, uniform), np.convolve(uniform, uniform))) / width**4
    divergence = float(np.sum(law[:-shift] * np.log(law[:-shift] / law[shift:])))
    return divergence * (width / shift) ** 2


def main() -> None:
    print(
        f"log2 Q {math.log2(MODULUS):.4f}, half-step {HALF_STEP:.2f}, flood after the switch {FLOOD_VARIANCE**0.5:.3f}"
    )
    print("| members and decryptors | noise | predicted | standard deviations to the next step |")
    print("|---|---|---|---|")
    for members in (2, 10, 50, 100):
        noise, predicted = margin(members)
        print(f"| {members} | {noise:.4f} | {predicted:.4f} | {1 / noise:.1f} |")
    print("| w | d | KL (w/d)^2 |")
    print("|---|---|---|")
    for width, shift in ((256, 1), (1024, 1), (4096, 1), (4096, 8)):
        print(f"| {width} | {shift} | {shift_cost(width, shift):.5f} |")


if __name__ == "__main__":
    main()
