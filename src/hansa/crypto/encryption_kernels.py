"""Compiled loops of encryption, partial decryption and decoding.

With `c = (Q m + T/2) mod T`, the encoding is `round(Q m / T) = (Q m + T/2 - c) / T`, which is `(T/2 - c) / T` modulo
each prime, because Q vanishes: only c is needed, in six 23-bit digits. Every integer that is added to the product
a s enters modulo a prime as a weighted sum of small digits and leaves by one Montgomery reduction.
The modulus switch of X is `(X' - (X' mod P)) / P` with `X' = X + (P - 1)/2`: X / P to the nearest integer, P odd.
Decoding takes `T x / Q' = sum of z_k T / q_k`, `z_k = x (Q'/q_k)^-1 mod q_k`, mod T, in 207-bit fixed point: exact
unless the distance to a tie is below 2^-37 of a step.

Guarantees: the same integers on every machine. Does NOT guarantee: constant time of the compiled code.

Source: Montgomery, Modular multiplication without trial division (1985); Kim, Polyakov, Zucca, Revisiting homomorphic
encryption schemes for finite fields (Asiacrypt 2021), section 3 (encoding and switching).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from jaxtyping import UInt32, UInt64

_STRETCH = 512
_LOW_32 = np.uint64(0xFFFFFFFF)
_DIGIT = np.uint64((1 << 23) - 1)
_LIMB = np.uint64((1 << 46) - 1)


class Switch(NamedTuple):
    """Constants of the modulus switch; residues times 2^32 (Montgomery), `negated_inverses` are -1/q mod 2^32."""

    primes: UInt64[np.ndarray, "prime=7"]
    negated_inverses: UInt64[np.ndarray, "prime=7"]
    remainder_factor: np.uint64
    remainder_weights: UInt64[np.ndarray, "prime=5 digit=2"]


@njit(cache=True, nogil=True)
def _reduce(value: np.uint64, prime: np.uint64, negated_inverse: np.uint64) -> np.uint64:
    """Return value / 2^32 mod prime, at most value / 2^32 + prime."""
    multiple = (value * negated_inverse) & _LOW_32
    return (value + multiple * prime) >> np.uint64(32)


@njit(cache=True, nogil=True)
def _weigh(
    terms: UInt32[np.ndarray, "term coefficient"],
    start: int,
    weights: UInt32[np.ndarray, " term+1"],
    total: UInt64[np.ndarray, " value"],
) -> None:
    """Write the constant (the last weight) plus the weighted sum of the terms from `start` on, not reduced."""
    count = terms.shape[0]
    constant = np.uint64(weights[count])
    for j in range(total.size):
        total[j] = constant
    for i in range(count):
        weight, row = weights[i], terms[i, start : start + total.size]
        for j in range(total.size):
            total[j] += np.uint64(row[j]) * np.uint64(weight)


@njit(cache=True, nogil=True)
def _close(
    total: UInt64[np.ndarray, " value"],
    product: UInt32[np.ndarray, " value"],
    prime: np.uint64,
    negated_inverse: np.uint64,
    out: UInt32[np.ndarray, " value"],
) -> None:
    """Reduce the weighted sum (below 2^59), add the product (below 2 q), make canonical."""
    single = np.uint32(prime)
    twice = np.uint32(2 * prime)
    for j in range(total.size):
        value = np.uint32(np.uint32(_reduce(total[j], prime, negated_inverse)) + product[j])
        value = min(value, np.uint32(value - twice))
        out[j] = min(value, np.uint32(value - single))


@njit(cache=True, nogil=True)
def add_and_switch(
    product: UInt32[np.ndarray, "prime=7 8192"],
    terms: UInt32[np.ndarray, "term coefficient"],
    weights: UInt32[np.ndarray, "prime=7 term+1"],
    switch: Switch,
    out: UInt32[np.ndarray, "prime=5 coefficient"],
) -> None:
    """Write round((product + sum of weighted terms) / P) modulo the kept primes.

    `product` holds the multiple by 1/P for kept primes already; the weights of kept primes too.
    """
    kept, count = out.shape
    buffer = np.empty(_STRETCH, dtype=np.uint64)
    low_buffer = np.empty(_STRETCH, dtype=np.uint32)
    high_buffer = np.empty(_STRETCH, dtype=np.uint32)
    second = switch.primes[kept + 1]
    for start in range(0, count, _STRETCH):
        stop = min(start + _STRETCH, count)
        total, low, high = buffer[: stop - start], low_buffer[: stop - start], high_buffer[: stop - start]
        for k in range(kept, kept + 2):
            _weigh(terms, start, weights[k], total)
            target = low if k == kept else high
            _close(total, product[k, start:stop], switch.primes[k], switch.negated_inverses[k], target)
        for j in range(total.size):
            difference = np.uint64(high[j]) + np.uint64(2) * second - np.uint64(low[j])
            digit = _reduce(difference * switch.remainder_factor, second, switch.negated_inverses[kept + 1])
            high[j] = min(np.uint32(digit), np.uint32(np.uint32(digit) - np.uint32(second)))
        for k in range(kept):
            _weigh(terms, start, weights[k], total)
            first_weight, second_weight = switch.remainder_weights[k, 0], switch.remainder_weights[k, 1]
            for j in range(total.size):
                total[j] += np.uint64(low[j]) * first_weight + np.uint64(high[j]) * second_weight
            _close(total, product[k, start:stop], switch.primes[k], switch.negated_inverses[k], out[k, start:stop])


@njit(cache=True, nogil=True)
def encoding_digits(
    limbs: UInt64[np.ndarray, "limb=3 coefficient"],
    start: int,
    modulus_digits: UInt64[np.ndarray, "digit=6"],
    out: UInt32[np.ndarray, "digit coefficient"],
) -> None:
    """Write the six digits of `(Q m + T/2) mod T` for m in limbs, from `start` on, that need not be normalised."""
    width = out.shape[1]
    first, second, third = limbs[0, start:], limbs[1, start:], limbs[2, start:]
    q0, q1, q2 = modulus_digits[0], modulus_digits[1], modulus_digits[2]
    q3, q4, q5 = modulus_digits[3], modulus_digits[4], modulus_digits[5]
    shift = np.uint64(23)
    for j in range(width):
        limb = np.int64(first[j])
        m0, m1 = np.uint64(limb) & _DIGIT, (np.uint64(limb) >> shift) & _DIGIT
        limb = np.int64(second[j]) + (limb >> np.int64(46))
        m2, m3 = np.uint64(limb) & _DIGIT, (np.uint64(limb) >> shift) & _DIGIT
        limb = np.int64(third[j]) + (limb >> np.int64(46))
        m4, m5 = np.uint64(limb) & _DIGIT, (np.uint64(limb) >> shift) & _DIGIT
        digit = m0 * q0
        out[0, j] = np.uint32(digit & _DIGIT)
        digit = (digit >> shift) + m0 * q1 + m1 * q0
        out[1, j] = np.uint32(digit & _DIGIT)
        digit = (digit >> shift) + m0 * q2 + m1 * q1 + m2 * q0
        out[2, j] = np.uint32(digit & _DIGIT)
        digit = (digit >> shift) + m0 * q3 + m1 * q2 + m2 * q1 + m3 * q0
        out[3, j] = np.uint32(digit & _DIGIT)
        digit = (digit >> shift) + m0 * q4 + m1 * q3 + m2 * q2 + m3 * q1 + m4 * q0
        out[4, j] = np.uint32(digit & _DIGIT)
        digit = (digit >> shift) + m0 * q5 + m1 * q4 + m2 * q3 + m3 * q2 + m4 * q1 + m5 * q0
        # T/2 is half of the last digit.
        out[5, j] = np.uint32((digit + np.uint64(1 << 22)) & _DIGIT)


@njit(cache=True, nogil=True)
def binomial_error(words: UInt64[np.ndarray, " coefficient"], out: UInt32[np.ndarray, " coefficient"]) -> None:
    """Write 21 plus the centred binomial (eta = 21): ones among bits 0-20, plus 21, minus ones among bits 21-41."""
    low = np.uint64((1 << 21) - 1)
    high = np.uint64(((1 << 21) - 1) << 21)
    for j in range(words.size):
        word = (words[j] ^ high) & (low | high)
        word -= (word >> np.uint64(1)) & np.uint64(0x5555555555555555)
        word = (word & np.uint64(0x3333333333333333)) + ((word >> np.uint64(2)) & np.uint64(0x3333333333333333))
        word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
        out[j] = np.uint32((word * np.uint64(0x0101010101010101)) >> np.uint64(56))


@njit(cache=True, nogil=True)
def flood_digits(words: UInt64[np.ndarray, "4 coefficient"], out: UInt32[np.ndarray, "digit=3 coefficient"]) -> None:
    """Write the digits of the sum of four uniform 55-bit integers: the upper bits of four words."""
    drop = np.uint64(9)
    shift = np.uint64(23)
    for j in range(out.shape[1]):
        value = (words[0, j] >> drop) + (words[1, j] >> drop) + (words[2, j] >> drop) + (words[3, j] >> drop)
        out[0, j] = np.uint32(value & _DIGIT)
        out[1, j] = np.uint32((value >> shift) & _DIGIT)
        out[2, j] = np.uint32(value >> np.uint64(46))


@njit(cache=True, nogil=True)
def are_residues(words: UInt32[np.ndarray, " word"], width: int, prime: np.uint32) -> bool:
    """Return whether one prime's packed 29-bit residues are all canonical; 32 rows of `width` values."""
    mask = np.uint32((1 << 29) - 1)
    largest = np.uint32(0)
    for row in range(32):
        word, shift = row * 29 // 32, np.uint32(row * 29 % 32)
        source = words[word * width : (word + 1) * width]
        if shift > 3:
            after = words[(word + 1) * width : (word + 2) * width]
            back = np.uint32(np.uint32(32) - shift)
            for j in range(width):
                largest = max(largest, (np.uint32(source[j] >> shift) | np.uint32(after[j] << back)) & mask)
        else:
            for j in range(width):
                largest = max(largest, np.uint32(source[j] >> shift) & mask)
    return bool(largest < prime)


@njit(cache=True, nogil=True)
def add_residues(words: UInt32[np.ndarray, " word"], prime: np.uint32, total: UInt32[np.ndarray, " value"]) -> None:
    """Add one prime's packed 29-bit residues to canonical ones, mod the prime; in place."""
    mask = np.uint32((1 << 29) - 1)
    width = total.size // 32
    for row in range(32):
        word, shift = row * 29 // 32, np.uint32(row * 29 % 32)
        source = words[word * width : (word + 1) * width]
        target = total[row * width : (row + 1) * width]
        if shift > 3:
            after = words[(word + 1) * width : (word + 2) * width]
            back = np.uint32(np.uint32(32) - shift)
            for j in range(width):
                residue = (np.uint32(source[j] >> shift) | np.uint32(after[j] << back)) & mask
                value = np.uint32(target[j] + residue)
                target[j] = min(value, np.uint32(value - prime))
        else:
            for j in range(width):
                value = np.uint32(target[j] + (np.uint32(source[j] >> shift) & mask))
                target[j] = min(value, np.uint32(value - prime))


@njit(cache=True, nogil=True)
def add_opening_mask(
    mask: UInt32[np.ndarray, "prime=5 8192"],
    primes: UInt32[np.ndarray, " prime"],
    *,
    is_negative: bool,
    out: UInt32[np.ndarray, "prime=5 coefficient"],
) -> None:
    """Add canonical residues to the first coefficients, or subtract them, mod each prime; in place."""
    for k in range(out.shape[0]):
        prime = primes[k]
        source, target = mask[k], out[k]
        for j in range(target.size):
            addend = np.uint32(prime - source[j]) if is_negative else source[j]
            value = np.uint32(target[j] + addend)
            target[j] = min(value, np.uint32(value - prime))


@njit(cache=True, nogil=True)
def decode_digits(
    total: UInt32[np.ndarray, "prime=5 coefficient"],
    factors: UInt64[np.ndarray, "prime=5"],
    switch: Switch,
    fractions: UInt32[np.ndarray, "prime=5 digit=9"],
    limbs: UInt64[np.ndarray, "limb=3 coefficient"],
) -> float:
    """Write round(T x / Q') mod T in limbs; return the sum of squared distances to the step, in half-steps.

    `fractions` holds `floor(2^207 / q_k)` in 23-bit digits, the three lowest of them below the point.
    """
    kept, count = total.shape
    places = fractions.shape[1]
    digits = np.empty((places, _STRETCH), dtype=np.uint64)
    squares = 0.0
    shift = np.uint64(23)
    for start in range(0, count, _STRETCH):
        stop = min(start + _STRETCH, count)
        width = stop - start
        digits[:] = np.uint64(0)
        digits[2, :] = np.uint64(1 << 22)
        for k in range(kept):
            row = total[k, start:stop]
            prime, negated_inverse, factor = switch.primes[k], switch.negated_inverses[k], factors[k]
            for place in range(places):
                fraction = fractions[k, place]
                target = digits[place]
                for j in range(width):
                    share = np.uint32(_reduce(np.uint64(row[j]) * factor, prime, negated_inverse))
                    target[j] += np.uint64(share) * np.uint64(fraction)
        for place in range(places - 1):
            here, after = digits[place], digits[place + 1]
            for j in range(width):
                after[j] += here[j] >> shift
                here[j] &= _DIGIT
        for limb in range(limbs.shape[0]):
            low, high = digits[2 * limb + 3], digits[2 * limb + 4]
            target = limbs[limb, start:stop]
            for j in range(width):
                target[j] = (low[j] | (high[j] << shift)) & _LIMB
        top = digits[2]
        for j in range(width):
            # A half was added for the rounding: the distance to the step is the fraction minus a half.
            distance = (np.float64(np.int64(top[j])) + 0.5) * 2.0**-22 - 1.0
            squares += distance * distance
    return squares
