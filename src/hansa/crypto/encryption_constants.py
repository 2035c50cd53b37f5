"""Constants that encryption, partial decryption and decoding hand to their compiled loops.

Digits have 23 bits. A weight is a residue times 2^32 (Montgomery) by which a digit enters the sum that is switched:
times 1/P for a kept prime, and the last weight of a row is the constant, half of P included for the rounding.

Guarantees: exact integers from the primes alone, the same on every machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np

from hansa.crypto.encryption_kernels import Switch
from hansa.crypto.ring_parameters import (
    DEGREE,
    DROPPED_MODULUS,
    DROPPED_PRIMES,
    KEPT_MODULUS,
    KEPT_PRIMES,
    LANE_BITS,
    LIMBS,
    MODULUS,
    PLAINTEXT_MODULUS,
    PRIMES,
    column,
)

if TYPE_CHECKING:
    from jaxtyping import UInt32, UInt64

ERROR_ETA: Final = 21
FLOOD_BITS: Final = 55
FLOOD_WORDS: Final = 4
FLOOD_DIGITS: Final = 3
ENCODING_DIGITS: Final = 2 * LIMBS
_MONTGOMERY: Final = 1 << 32
_FRACTION_DIGITS: Final = 3


@dataclass(frozen=True, slots=True, eq=False)
class EncryptionConstants:
    """Tables of encryption and decoding; public, never written to."""

    switch: Switch
    modulus_digits: UInt64[np.ndarray, "digit=6"]
    encoding_weights: UInt32[np.ndarray, "prime=7 digit+1=8"]
    flood_weights: UInt32[np.ndarray, "prime=7 digit+1=4"]
    decoding_factors: UInt64[np.ndarray, "prime=5"]
    fractions: UInt32[np.ndarray, "prime=5 digit=9"]
    product_scale: UInt64[np.ndarray, "prime=7 1"]
    negated_scale: UInt64[np.ndarray, "prime=7 1"]


@lru_cache(maxsize=1)
def encryption_constants() -> EncryptionConstants:
    """Return the tables; made once a process."""
    inverse = pow(PLAINTEXT_MODULUS, -1, MODULUS)
    digits = [-(1 << (LANE_BITS * digit)) * inverse for digit in range(ENCODING_DIGITS)]
    flood_centre = FLOOD_WORDS * ((1 << FLOOD_BITS) - 1) // 2
    second = DROPPED_PRIMES[1]
    scale = [pow(DEGREE, -1, prime) * _switch_factor(prime) % prime for prime in PRIMES]
    remainders = [
        [-weight * _switch_factor(prime) * _MONTGOMERY % prime for weight in (1, DROPPED_PRIMES[0])]
        for prime in KEPT_PRIMES
    ]
    fraction_bits = LANE_BITS * (ENCODING_DIGITS + _FRACTION_DIGITS)
    return EncryptionConstants(
        switch=Switch(
            np.array(PRIMES, dtype=np.uint64),
            np.array([-pow(prime, -1, _MONTGOMERY) % _MONTGOMERY for prime in PRIMES], dtype=np.uint64),
            np.uint64(pow(DROPPED_PRIMES[0], -1, second) * _MONTGOMERY % second),
            np.array(remainders, dtype=np.uint64),
        ),
        modulus_digits=np.array(_split(MODULUS % PLAINTEXT_MODULUS, ENCODING_DIGITS), dtype=np.uint64),
        product_scale=column(tuple(scale)),
        negated_scale=column(tuple(prime - factor for prime, factor in zip(PRIMES, scale, strict=True))),
        encoding_weights=_weights([*digits, 1], PLAINTEXT_MODULUS // 2 * inverse - ERROR_ETA),
        flood_weights=_weights([1 << (LANE_BITS * digit) for digit in range(FLOOD_DIGITS)], -flood_centre),
        decoding_factors=np.array(
            [pow(KEPT_MODULUS // prime, -1, prime) * _MONTGOMERY % prime for prime in KEPT_PRIMES], dtype=np.uint64
        ),
        fractions=np.array(
            [_split((1 << fraction_bits) // prime, ENCODING_DIGITS + _FRACTION_DIGITS) for prime in KEPT_PRIMES],
            dtype=np.uint32,
        ),
    )


def _weights(values: list[int], constant: int) -> UInt32[np.ndarray, "prime=7 digit+1"]:
    """Return Montgomery weights of digits and of the constant, the rounding of the modulus switch included."""
    terms = [*values, constant + (DROPPED_MODULUS - 1) // 2]
    rows = [[term * _switch_factor(prime) * _MONTGOMERY % prime for term in terms] for prime in PRIMES]
    return np.array(rows, dtype=np.uint32)


def _switch_factor(prime: int) -> int:
    """Return 1/P for a kept prime, 1 for a dropped one."""
    return pow(DROPPED_MODULUS, -1, prime) if prime in KEPT_PRIMES else 1


def _split(number: int, digits: int) -> list[int]:
    return [number >> (LANE_BITS * digit) & ((1 << LANE_BITS) - 1) for digit in range(digits)]
