"""Compiled loops of the ring: transforms, rejection, packing in bit planes, weighted sums of elements.

Every array is contiguous and its shape is checked by the callers. A factor w comes with `floor(2^32 w / q)` (Shoup):
the product with x below 2^32 is then `x w - floor(x w_shoup / 2^32) q`, below 2 q, in 32-bit arithmetic. Numbers in
a transform stay below 2 q < 2^30 between stages, "lazy"; `min(x, x - q)` on wrapping uint32 is a conditional
subtraction. Casts are everywhere because uint32 with uint32 becomes uint64 in the compiler's types.

Guarantees: exact residues; no kernel allocates per coefficient or holds the interpreter's lock.
Does NOT guarantee: constant time (memory and branches of the rejection depend on the stream).

Source: Harvey, Faster arithmetic for number-theoretic transforms (2014), section 2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from jaxtyping import UInt32, UInt64

    from hansa.crypto.ring_parameters import Transform

_STRETCH = 256


@njit(cache=True, nogil=True)
def forward_transform(values: UInt64[np.ndarray, "prime 8192"], tables: Transform) -> None:
    """Replace coefficients in natural order by values at the roots in bit-reversed order; all canonical."""
    for k in range(values.shape[0]):
        row = values[k]
        prime = np.uint64(tables.primes[k])
        stride = row.size
        blocks = 1
        while blocks < row.size:
            stride //= 2
            for block in range(blocks):
                factor = np.uint64(tables.forward[k, blocks + block])
                for j in range(2 * block * stride, (2 * block + 1) * stride):
                    upper = row[j]
                    lower = row[j + stride] * factor % prime
                    row[j] = (upper + lower) % prime
                    row[j + stride] = (upper + prime - lower) % prime
            blocks *= 2


@njit(cache=True, nogil=True)
def _times(value: np.uint32, factor: np.uint32, shoup: np.uint32, prime: np.uint32) -> np.uint32:
    """Return value * factor mod prime, below 2 * prime."""
    quotient = np.uint32((np.uint64(value) * np.uint64(shoup)) >> np.uint64(32))
    return np.uint32(np.uint32(value * factor) - np.uint32(quotient * prime))


@njit(cache=True, nogil=True)
def _pair_rows(
    upper: UInt32[np.ndarray, " value"],
    lower: UInt32[np.ndarray, " value"],
    factors: UInt32[np.ndarray, " value"],
    shoup: UInt32[np.ndarray, " value"],
    prime: np.uint32,
) -> None:
    """Inverse butterfly with one factor a column."""
    twice = np.uint32(np.uint32(2) * prime)
    for j in range(upper.size):
        x, y = upper[j], lower[j]
        total = np.uint32(x + y)
        upper[j] = min(total, np.uint32(total - twice))
        lower[j] = _times(np.uint32(np.uint32(x - y) + twice), factors[j], shoup[j], prime)


@njit(cache=True, nogil=True)
def _pair_blocks(
    upper: UInt32[np.ndarray, " value"],
    lower: UInt32[np.ndarray, " value"],
    factor: np.uint32,
    shoup: np.uint32,
    prime: np.uint32,
) -> None:
    """Inverse butterfly with one factor for all."""
    twice = np.uint32(np.uint32(2) * prime)
    for j in range(upper.size):
        x, y = upper[j], lower[j]
        total = np.uint32(x + y)
        upper[j] = min(total, np.uint32(total - twice))
        lower[j] = _times(np.uint32(np.uint32(x - y) + twice), factor, shoup, prime)


@njit(cache=True, nogil=True)
def _inverse_rows(
    work: UInt32[np.ndarray, "row column"],
    factors: UInt32[np.ndarray, "pair column"],
    shoup: UInt32[np.ndarray, "pair column"],
    prime: np.uint32,
) -> None:
    """Stages of strides 1 to row / 2, each on whole rows."""
    rows = work.shape[0]
    stride = 1
    pair = 0
    while stride < rows:
        for first in range(0, rows, 2 * stride):
            for row in range(first, first + stride):
                _pair_rows(work[row], work[row + stride], factors[pair], shoup[pair], prime)
            pair += 1
        stride *= 2


@njit(cache=True, nogil=True)
def product_coefficients(
    element: UInt32[np.ndarray, "prime 8192"],
    factor: tuple[UInt32[np.ndarray, "prime 8192"], UInt32[np.ndarray, "prime 8192"]],
    tables: Transform,
    work: UInt32[np.ndarray, "row column"],
    out: UInt32[np.ndarray, "prime 8192"],
) -> None:
    """Write the coefficients of element * factor * 8192 (put 1/8192 into the factor), below 2 q, natural order.

    The factor is its residues and what `shoup` makes of them.
    """
    rows, columns = work.shape
    degree = rows * columns
    flat = work.reshape(degree)
    for k in range(element.shape[0]):
        prime = tables.primes[k]
        row, own, own_shoup = element[k], factor[0][k], factor[1][k]
        for j in range(degree):
            flat[j] = _times(row[j], own[j], own_shoup[j], prime)
        _inverse_rows(work, tables.row_factors[k], tables.row_shoup[k], prime)
        result = out[k]
        for column in range(columns):
            for place in range(rows):
                result[column * rows + place] = work[place, column]
        stride = rows
        while stride < degree:
            blocks = degree // (2 * stride)
            for block in range(blocks):
                start = 2 * block * stride
                _pair_blocks(
                    result[start : start + stride],
                    result[start + stride : start + 2 * stride],
                    tables.inverse[k, blocks + block],
                    tables.inverse_shoup[k, blocks + block],
                    prime,
                )
            stride *= 2


@njit(cache=True, nogil=True)
def reject(words: UInt32[np.ndarray, " word"], tables: Transform, out: UInt32[np.ndarray, "prime 8192"]) -> None:
    """Turn words into uniform residues: a masked word at or above its prime takes the next spare word, in order."""
    count, degree = out.shape
    spare = count * degree
    for k in range(count):
        prime, mask = tables.primes[k], tables.masks[k]
        source = words[k * degree : (k + 1) * degree]
        target = out[k]
        for start in range(0, degree, _STRETCH):
            is_any_high = False
            for j in range(start, start + _STRETCH):
                value = source[j] & mask
                target[j] = value
                is_any_high |= value >= prime
            if is_any_high:
                for j in range(start, start + _STRETCH):
                    while target[j] >= prime and spare < words.size:
                        target[j] = words[spare] & mask
                        spare += 1
                    # Spares never run out in practice; the function stays total and canonical if they do.
                    target[j] = min(target[j], np.uint32(target[j] - prime))


@njit(cache=True, nogil=True)
def pack_planes(values: UInt32[np.ndarray, " value"], bits: int, out: UInt32[np.ndarray, " word"]) -> None:
    """Write 32 rows of values below 2^bits as `bits` rows of words; value row i begins at bit `i bits`."""
    width = values.size // 32
    out[:] = np.uint32(0)
    for row in range(32):
        word, shift = row * bits // 32, np.uint32(row * bits % 32)
        source = values[row * width : (row + 1) * width]
        target = out[word * width : (word + 1) * width]
        for j in range(width):
            target[j] |= np.uint32(source[j] << shift)
        if shift + bits > 32:
            after = out[(word + 1) * width : (word + 2) * width]
            back = np.uint32(np.uint32(32) - shift)
            for j in range(width):
                after[j] = np.uint32(source[j] >> back)


@njit(cache=True, nogil=True)
def unpack_planes(words: UInt32[np.ndarray, " word"], bits: int, out: UInt32[np.ndarray, " value"]) -> None:
    """Undo `pack_planes`."""
    width = out.size // 32
    mask = np.uint32((1 << bits) - 1)
    for row in range(32):
        word, shift = row * bits // 32, np.uint32(row * bits % 32)
        source = words[word * width : (word + 1) * width]
        target = out[row * width : (row + 1) * width]
        if shift + bits > 32:
            after = words[(word + 1) * width : (word + 2) * width]
            back = np.uint32(np.uint32(32) - shift)
            for j in range(width):
                target[j] = (np.uint32(source[j] >> shift) | np.uint32(after[j] << back)) & mask
        else:
            for j in range(width):
                target[j] = np.uint32(source[j] >> shift) & mask


@njit(cache=True, nogil=True)
def is_below(values: UInt32[np.ndarray, " value"], prime: np.uint32) -> bool:
    """Return whether every value is a canonical residue."""
    is_any_high = False
    for j in range(values.size):
        is_any_high |= values[j] >= prime
    return not is_any_high


@njit(cache=True, nogil=True)
def weighted_sum(
    elements: UInt32[np.ndarray, "element prime 8192"],
    weights: UInt32[np.ndarray, "element prime"],
    primes: UInt32[np.ndarray, " prime"],
    out: UInt32[np.ndarray, "prime 8192"],
) -> None:
    """Write sum of weight * element, canonical; weights canonical, elements below 2^30."""
    total = np.empty(_STRETCH, dtype=np.uint64)
    for k in range(primes.size):
        prime = np.uint64(primes[k])
        for start in range(0, out.shape[1], _STRETCH):
            total[:] = np.uint64(0)
            for i in range(elements.shape[0]):
                weight = weights[i, k]
                row = elements[i, k, start : start + _STRETCH]
                for j in range(_STRETCH):
                    total[j] += np.uint64(row[j]) * np.uint64(weight)
                # Sixteen products below 2^59 and a remainder stay below 2^64.
                if i % 16 == 15:
                    for j in range(_STRETCH):
                        total[j] %= prime
            for j in range(_STRETCH):
                out[k, start + j] = np.uint32(total[j] % prime)


@njit(cache=True, nogil=True)
def scaled_factor(
    element: UInt32[np.ndarray, "prime 8192"],
    scale: UInt64[np.ndarray, " prime"],
    primes: UInt32[np.ndarray, " prime"],
    factor: UInt32[np.ndarray, "prime 8192"],
    quotients: UInt32[np.ndarray, "prime 8192"],
) -> bool:
    """Write scale * element, canonical, and floor(2^32 factor / prime); return whether the element was canonical.

    A quotient by doubles is wrong by one at most (products below 2^60, quotients below 2^32), and then put right.
    """
    high = 0
    for k in range(primes.size):
        prime = np.int64(primes[k])
        inverse = 1.0 / float(prime)
        weight = np.int64(scale[k])
        for j in range(element.shape[1]):
            value = np.int64(element[k, j])
            high += 1 if value >= prime else 0
            product = value * weight
            rest = product - np.int64(float(product) * inverse) * prime
            rest += prime if rest < 0 else 0
            rest -= prime if rest >= prime else 0
            factor[k, j] = np.uint32(rest)
            shifted = rest << 32
            quotient = np.int64(float(shifted) * inverse)
            left = shifted - quotient * prime
            quotient -= 1 if left < 0 else 0
            quotient += 1 if left >= prime else 0
            quotients[k, j] = np.uint32(quotient)
    return high == 0
