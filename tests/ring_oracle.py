"""The ring by the book: Python integers, definitions instead of tricks. Slow, for comparison only."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from hansa.crypto.prg import expand

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

N = 8192
KEPT = (536690689, 536641537, 536608769, 536543233, 536494081)
DROPPED = (268369921, 268271617)
PRIMES = KEPT + DROPPED
Q_KEPT, P = math.prod(KEPT), math.prod(DROPPED)
Q = Q_KEPT * P
T = 2**138
STREAM_BYTES = 4 * (7 * N + 512)


def root(prime: int) -> int:
    base = 2
    while pow(base, (prime - 1) // 2, prime) != prime - 1:
        base += 1
    return pow(base, (prime - 1) // (2 * N), prime)


def position(index: int) -> int:
    """Where the value at root^(2 index + 1) stands in an element."""
    reversed_bits = int(f"{index:013b}"[::-1], 2)
    return reversed_bits % 64 * 128 + reversed_bits // 64


def crt(residues: Sequence[int], primes: Sequence[int]) -> int:
    product = math.prod(primes)
    return sum(r * (product // p) * pow(product // p, -1, p) for r, p in zip(residues, primes, strict=True)) % product


def fourier(values: list[int], w: int, prime: int) -> list[int]:
    if len(values) == 1:
        return values
    even = fourier(values[::2], w * w % prime, prime)
    odd = fourier(values[1::2], w * w % prime, prime)
    half, power, upper, lower = len(even), 1, [], []
    for j in range(half):
        term = power * odd[j] % prime
        upper.append((even[j] + term) % prime)
        lower.append((even[j] - term) % prime)
        power = power * w % prime
    return upper + lower


def coefficients(element: np.ndarray) -> list[int]:
    """Coefficients mod Q of an element of the transform domain."""
    rows = []
    for row, prime in zip(element.tolist(), PRIMES, strict=True):
        psi_inverse = pow(root(prime), -1, prime)
        sums = fourier([row[position(b)] for b in range(N)], psi_inverse**2 % prime, prime)
        rows.append([s * pow(psi_inverse, j, prime) * pow(N, -1, prime) % prime for j, s in enumerate(sums)])
    weights = [Q // p * pow(Q // p, -1, p) for p in PRIMES]
    return [sum(r * w for r, w in zip(column, weights, strict=True)) % Q for column in zip(*rows, strict=True)]


def uniform_residues(seed: bytes, block: int = 0) -> list[list[int]]:
    stream = expand(seed, STREAM_BYTES * (block + 1))[STREAM_BYTES * block :]
    words = [int.from_bytes(stream[i : i + 4], "little") for i in range(0, len(stream), 4)]
    spare = iter(words[7 * N :])
    rows = []
    for k, prime in enumerate(PRIMES):
        bits = prime.bit_length()
        row = []
        for word in words[k * N : (k + 1) * N]:
            value = word % 2**bits
            while value >= prime:
                value = next(spare) % 2**bits
            row.append(value)
        rows.append(row)
    return rows


def ternary(seed: bytes) -> list[int]:
    return [byte % 3 - 1 for byte in expand(seed, N + 1024) if byte != 255][:N]


def product(a: Sequence[int], s: Sequence[int], place: int) -> int:
    """One coefficient of a * s mod X^N + 1, mod Q."""
    return sum((1 if j <= place else -1) * s[j] * a[place - j] for j in range(N) if s[j]) % Q


def error(seed: bytes, place: int) -> int:
    word = int.from_bytes(expand(seed, 8 * (place + 1))[-8:], "little")
    return (word & (2**21 - 1)).bit_count() - (word >> 21 & (2**21 - 1)).bit_count()


def flood(seed: bytes, block: int, width: int, place: int) -> int:
    stream = expand(seed, 32 * (N * block + width))
    starts = [32 * N * block + 8 * (i * width + place) for i in range(4)]
    return sum(int.from_bytes(stream[s : s + 8], "little") >> 9 for s in starts) - 2 * (2**55 - 1)


def nearest(numerator: int, denominator: int) -> int:
    return (2 * numerator + denominator) // (2 * denominator)


def wire_residues(data: bytes, start: int, width: int, place: int) -> list[int]:
    """Residues of coefficient start + place, in the block of `width` coefficients that begins at `start`."""
    found = []
    rows = width // 32
    row, column = place // rows, place % rows
    for k in range(5):
        base = 145 * start // 8 + k * 29 * width // 8
        words = [int.from_bytes(data[base + 4 * (w * rows + column) :][:4], "little") for w in range(29)]
        whole = sum(word << (32 * w) for w, word in enumerate(words))
        found.append(whole >> (29 * row) & (2**29 - 1))
    return found


def limbs_value(limbs: np.ndarray, place: int) -> int:
    """The integer mod T of one coefficient; limbs read as signed."""
    signed = [int(limb) - (int(limb) >> 63 << 64) for limb in limbs[:, place]]
    return sum(limb << (46 * h) for h, limb in enumerate(signed)) % T
