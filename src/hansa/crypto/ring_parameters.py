"""The one ring of the secure sum: its primes, its constants, and the tables of its number-theoretic transform.

`R_q = Z_Q[X] / (X^8192 + 1)`, Q the product of seven primes that are 1 modulo 2 * 8192. Five primes are kept on the
wire; two are dropped by modulus switching before a ciphertext or a partial decryption is sent:
`Q = Q' P`, `log2 Q = 200.995`, `log2 Q' = 144.996`, `log2 P = 55.999`. Plaintexts are integers mod `T = 2^138`.

Order of an element in the transform domain: position `e * 128 + g` (e below 64, g below 128) holds the value at
`psi^(2 b + 1)`, b the 13-bit reversal of `g * 64 + e`, psi the least primitive root's power of order 16384 for that
prime. In this order the first six of the thirteen inverse stages pair whole rows of 128.

Guarantees: tables are made of exact integers, the same on every machine.
Does NOT guarantee: anything about security by itself; the figures stand in the documentation, "Ring parameters".

Source: Longa, Naehrig, Speeding up the number theoretic transform (CANS 2016), algorithms 1 and 2; Shoup's products
as in Harvey, Faster arithmetic for number-theoretic transforms (2014), section 2.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Int64, UInt32, UInt64

DEGREE: Final = 8192
KEPT_PRIMES: Final = (536690689, 536641537, 536608769, 536543233, 536494081)
DROPPED_PRIMES: Final = (268369921, 268271617)
PRIMES: Final = KEPT_PRIMES + DROPPED_PRIMES
KEPT: Final = len(KEPT_PRIMES)
KEPT_BITS: Final = 29
DROPPED_BITS: Final = 28
KEPT_MODULUS: Final = math.prod(KEPT_PRIMES)
DROPPED_MODULUS: Final = math.prod(DROPPED_PRIMES)
MODULUS: Final = KEPT_MODULUS * DROPPED_MODULUS
LANE_BITS: Final = 23
LIMB_BITS: Final = 46
LIMBS: Final = 3
PLAINTEXT_MODULUS: Final = 1 << (LIMBS * LIMB_BITS)
# Coefficients are packed on the wire in groups of 32.
GROUP: Final = 32
# The inverse transform works on 64 rows of 128 until its stride reaches a row's worth of positions.
ROWS: Final = 64
COLUMNS: Final = DEGREE // ROWS


class Transform(NamedTuple):
    """Tables of the transform, as the kernels take them; `_shoup` holds `floor(2^32 w / q)` for each factor w."""

    primes: UInt32[np.ndarray, "prime=7"]
    masks: UInt32[np.ndarray, "prime=7"]
    forward: UInt32[np.ndarray, "prime=7 8192"]
    row_factors: UInt32[np.ndarray, "prime=7 pair=63 column=128"]
    row_shoup: UInt32[np.ndarray, "prime=7 pair=63 column=128"]
    inverse: UInt32[np.ndarray, "prime=7 8192"]
    inverse_shoup: UInt32[np.ndarray, "prime=7 8192"]


@lru_cache(maxsize=1)
def transform() -> Transform:
    """Return the tables of the transform; made once a process, public and never written to."""
    reversal = _reversal()
    forward = np.array([_powers(_root(prime), prime) for prime in PRIMES], dtype=np.uint64)[:, reversal]
    inverse = np.array([_powers(pow(_root(q), -1, q), q) for q in PRIMES], dtype=np.uint64)[:, reversal]
    rows = np.concatenate([inverse[:, stage] for stage in _row_stages()], axis=1)
    pairs = (len(PRIMES), ROWS - 1, COLUMNS)
    return Transform(
        np.array(PRIMES, dtype=np.uint32),
        np.array([(1 << prime.bit_length()) - 1 for prime in PRIMES], dtype=np.uint32),
        forward.astype(np.uint32, order="C"),
        rows.astype(np.uint32, order="C").reshape(pairs),
        shoup(rows).reshape(pairs),
        inverse.astype(np.uint32, order="C"),
        shoup(inverse),
    )


def shoup(factors: UInt64[np.ndarray, "prime=7 value"]) -> UInt32[np.ndarray, "prime=7 value"]:
    """Return `floor(2^32 w / q)` for canonical residues w: with it a product by w needs no division."""
    quotients: UInt64[np.ndarray, "prime=7 value"] = (factors << np.uint64(32)) // column(PRIMES)
    return quotients.astype(np.uint32, order="C")


def column(residues: tuple[int, ...]) -> UInt64[np.ndarray, "prime 1"]:
    """Return one number a prime as a column that broadcasts over coefficients."""
    return np.array(residues, dtype=np.uint64)[:, None]


def _root(prime: int) -> int:
    """Return the power of order 16384 of the least number that has one."""
    powers = (pow(base, (prime - 1) // (2 * DEGREE), prime) for base in range(2, prime))
    return next(root for root in powers if pow(root, DEGREE, prime) == prime - 1)


def _powers(root: int, prime: int) -> list[int]:
    powers = [1]
    for _ in range(DEGREE - 1):
        powers.append(powers[-1] * root % prime)
    return powers


def _reversal() -> Int64[np.ndarray, 8192]:
    bits = DEGREE.bit_length() - 1
    index = np.arange(DEGREE)
    reversal = np.zeros_like(index)
    for bit in range(bits):
        reversal |= ((index >> bit) & 1) << (bits - 1 - bit)
    return reversal


def _row_stages() -> list[Int64[np.ndarray, " factor"]]:
    """Return, for strides 1 to 32 in turn and each pair of rows, the 128 places of its factors in the inverse table."""
    stages: list[Int64[np.ndarray, " factor"]] = []
    stride = 1
    while stride < ROWS:
        blocks = ROWS // (2 * stride)
        first = DEGREE // (2 * stride)
        stages.extend(first + np.arange(COLUMNS) * blocks + block for block in range(blocks))
        stride *= 2
    return stages
