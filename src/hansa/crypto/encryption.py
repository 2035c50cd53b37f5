"""Additively homomorphic ring-LWE encryption whose sums open by a threshold of partial decryptions.

    ciphertext_i = round((a s_i + e_i + round(Q m_i / T)) / P)              mod Q'
    partial_j    = round((-a lambda_j sum over U of s_i[j] + flood_j) / P)
                   + sum over decryptors k of +-mask_jk                      mod Q'
    sum of ciphertexts over U + sum of partials = round(Q' sum m_i / T) + small

`a` is the uniform element of the session's public seed, one block for 8192 coefficients; every block has its own a.
Coefficients of a product depend on all of a and s but not on one another, so a shorter vector is cut to the
coefficients it needs. Rounding Q m / T rather than multiplying m by floor(Q / T) keeps the number of times that masked
sums wrap around T out of the opened noise.

| stream, little-endian words of AES-CTR | of coefficient j of block b with n coefficients |
|---|---|
| error, 64-bit words | word `8192 b + j`: ones among bits 0-20 less ones among bits 21-41 |
| flood, 64-bit words | upper 55 bits of words `32768 b + i n + j`, i = 0 to 3, summed, less `2 (2^55 - 1)` |
| opening mask, 32-bit words | residue j of the block of a uniform element, of the five kept primes alone |

Opening masks cancel over the decryptors of one opening. Without them a flood does not hide a share: lambda is any
number mod Q, and two answers `lambda Z + flood`, `lambda' Z + flood'` for one unknown Z mod Q are a lattice problem of
two dimensions with a unique answer. With them the sum over the honest decryptors is all that shows, and there the
lambdas have done their work: it is a S but for one flood each.

Wire form, 145 bits a coefficient: block by block, for each kept prime in turn its 29-bit residues in bit planes (32
rows of n / 32, as for an element), little-endian 32-bit words.

Guarantees: a ciphertext hides its vector from everybody without s_i, and a sum from fewer than the threshold, by
ring-LWE; what a partial shows beyond the sum is bounded by the flood (sd 2^54.2 on noise below 2^20).
Does NOT guarantee: anything about a share that answers without opening masks (one decryptor alone excepted), or whose
masks serve two openings; anything if a key encrypts twice under one `crs_seed` (the difference opens), if a share
answers for a product that somebody else chose (it never does here: a comes from the seed), integrity of a ciphertext
(sign it) or constant time.

Source: Lyubashevsky, Peikert, Regev (Eurocrypt 2010); Boneh et al., Threshold cryptosystems from threshold fully
homomorphic encryption (Crypto 2018), section 5; del Pino et al., Threshold Raccoon (Eurocrypt 2024), section 2 (masks
over the answering set).
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from hansa.crypto.encryption_constants import ENCODING_DIGITS, FLOOD_WORDS, encryption_constants
from hansa.crypto.encryption_kernels import (
    add_and_switch,
    add_opening_mask,
    add_residues,
    are_residues,
    binomial_error,
    decode_digits,
    encoding_digits,
    flood_digits,
)
from hansa.crypto.prg import Keystream
from hansa.crypto.ring import SPARE_WORDS, STREAM_BYTES, read_uniform, require_element_shape
from hansa.crypto.ring_kernels import pack_planes, product_coefficients, reject, scaled_factor
from hansa.crypto.ring_parameters import (
    COLUMNS,
    DEGREE,
    GROUP,
    KEPT,
    KEPT_BITS,
    LIMBS,
    PRIMES,
    ROWS,
    column,
    transform,
)
from hansa.errors import MessageError, ProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import TypeAlias

    from jaxtyping import UInt32, UInt64

    from hansa.crypto.ring import RingElement

    _Terms: TypeAlias = Callable[[int, UInt32[np.ndarray, "digit coefficient"]], None]

MASK_STREAM_BYTES: Final = 4 * (KEPT * DEGREE + SPARE_WORDS)


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """An opened sum.

    Args:
        limbs: The integers mod 2^138, 46 bits a limb, shape (limb 3, coefficient).
        noise: Root mean square of the distance to the nearest step, in half-steps: below 0.2 for a sum of up to 100
            members, 0.577 (the uniform law's) if a ciphertext or a partial is wrong or missing.
    """

    limbs: UInt64[np.ndarray, "limb=3 coefficient"]
    noise: float


def ciphertext_bytes(coefficients: int) -> int:
    """Return the length of a ciphertext or a partial decryption: 145 bits a coefficient.

    Raises:
        ProtocolError: The number of coefficients is not a positive multiple of 32.
    """
    if coefficients < 1 or coefficients % GROUP:
        raise ProtocolError(f"expected a positive multiple of {GROUP} coefficients, got {coefficients}")
    return KEPT * KEPT_BITS * coefficients // 8


def encrypt(
    limbs: UInt64[np.ndarray, "limb=3 coefficient"],
    *,
    secret: RingElement,
    crs_seed: bytes,
    error_seed: bytes,
    workers: int = 1,
) -> bytes:
    """Encrypt one packed and masked vector.

    Args:
        limbs: Integers mod 2^138 in three limbs, un-normalised ones included.
        secret: The member's ring key.
        crs_seed: 32 public bytes of this one session; never twice under one secret.
        error_seed: 32 fresh secret bytes for this one ciphertext.
        workers: Threads; the bytes do not depend on it.

    Returns:
        `ciphertext_bytes` of the coefficients.

    Raises:
        ProtocolError: The limbs are not contiguous uint64 of shape (3, multiple of 32).
        IdentityError: A seed is not 32 bytes long.
    """
    if limbs.dtype != np.uint64 or limbs.ndim != 2 or len(limbs) != LIMBS or not limbs.flags.c_contiguous:
        raise ProtocolError(f"expected contiguous uint64 limbs of shape (3, coefficient), got {limbs.shape}")
    constants = encryption_constants()

    def terms_from(first: int) -> _Terms:
        errors = Keystream(error_seed, 8 * first)

        def write(start: int, terms: UInt32[np.ndarray, "digit coefficient"]) -> None:
            encoding_digits(limbs, start, constants.modulus_digits, terms)
            binomial_error(errors.words64(terms.shape[1]), terms[ENCODING_DIGITS])

        return write

    factor = _factor(secret, constants.product_scale)
    return _add_to_products(
        limbs.shape[1],
        factor,
        crs_seed,
        weights=constants.encoding_weights,
        terms_from=terms_from,
        masks=(),
        workers=workers,
    )


def partial_decryption(
    coefficients: int,
    *,
    share: RingElement,
    weight: UInt32[np.ndarray, " prime"] | None = None,
    crs_seed: bytes,
    flood_seed: bytes,
    masks: Sequence[tuple[bytes, bool]] = (),
    workers: int = 1,
) -> bytes:
    """Return a decryptor's part of the opening of one session's sum.

    Args:
        coefficients: Those of the session's ciphertexts.
        share: The sum of the decryptor's shares of the cohort's ring keys.
        weight: The decryptor's Lagrange weight, by its residue for each prime; None for one.
        crs_seed: 32 public bytes of the session.
        flood_seed: 32 fresh secret bytes for this one answer.
        masks: For each other decryptor of this opening 32 bytes that both derive for it, bound to the session, the
            cohort, the set of decryptors and the attempt; and whether this side subtracts: of a pair exactly one
            does. Empty for a decryptor that opens alone, and for no other.
        workers: Threads; the bytes do not depend on it.

    Returns:
        As long as a ciphertext, and added like one.

    Raises:
        ProtocolError: The number of coefficients is not a positive multiple of 32, or the share is no ring element.
        IdentityError: A seed is not 32 bytes long.
    """
    constants = encryption_constants()

    def terms_from(first: int) -> _Terms:
        floods = Keystream(flood_seed, 8 * FLOOD_WORDS * first)

        def write(_: int, terms: UInt32[np.ndarray, "digit coefficient"]) -> None:
            words = floods.words64(FLOOD_WORDS * terms.shape[1])
            flood_digits(words.reshape(FLOOD_WORDS, -1), terms)

        return write

    scale = constants.negated_scale
    factor = _factor(share, scale if weight is None else scale * weight[:, None] % column(PRIMES))
    return _add_to_products(
        coefficients,
        factor,
        crs_seed,
        weights=constants.flood_weights,
        terms_from=terms_from,
        masks=masks,
        workers=workers,
    )


def empty_total(coefficients: int) -> UInt32[np.ndarray, "prime=5 coefficient"]:
    """Return the sum of no ciphertexts.

    Raises:
        ProtocolError: The number of coefficients is not a positive multiple of 32.
    """
    ciphertext_bytes(coefficients)
    return np.zeros((KEPT, coefficients), dtype=np.uint32)


def add_ciphertext(total: UInt32[np.ndarray, "prime=5 coefficient"], data: bytes) -> None:
    """Add a ciphertext or a partial decryption to a running total, in place.

    Args:
        total: From `empty_total`; canonical residues.
        data: The wire form; not trusted.

    Raises:
        MessageError: The length is not that of the total's coefficients, or a residue is not below its prime; the
            total is unchanged.
    """
    coefficients = total.shape[1]
    if len(data) != ciphertext_bytes(coefficients):
        raise MessageError(
            f"expected {ciphertext_bytes(coefficients)} bytes for {coefficients} coefficients, got {len(data)}"
        )
    words = np.frombuffer(data, dtype="<u4")
    primes = transform().primes
    for k, start, stop, row in _rows(coefficients, words):
        if not are_residues(row, (stop - start) // GROUP, primes[k]):
            raise MessageError(
                f"expected residues below {primes[k]}, got a larger one among coefficients {start} to {stop - 1}; "
                "the message is damaged"
            )
    for k, start, stop, row in _rows(coefficients, words):
        add_residues(row, primes[k], total[k, start:stop])


def decode(total: UInt32[np.ndarray, "prime=5 coefficient"]) -> Decoded:
    """Open a total of ciphertexts of U and partial decryptions of a threshold of decryptors.

    Args:
        total: From `empty_total` and `add_ciphertext`.

    Returns:
        `round(T x / Q') mod T` in 46-bit limbs, and how far the coefficients were from whole steps.
    """
    constants = encryption_constants()
    limbs = np.empty((LIMBS, total.shape[1]), dtype=np.uint64)
    squares = decode_digits(total, constants.decoding_factors, constants.switch, constants.fractions, limbs)
    return Decoded(limbs, math.sqrt(squares / total.shape[1]))


def _rows(
    coefficients: int, words: UInt32[np.ndarray, " word"]
) -> Iterator[tuple[int, int, int, UInt32[np.ndarray, " word"]]]:
    """Give (prime, first coefficient, end, packed words) in the order of the wire form."""
    place = 0
    for start in range(0, coefficients, DEGREE):
        stop = min(start + DEGREE, coefficients)
        length = KEPT_BITS * (stop - start) // GROUP
        for k in range(KEPT):
            yield k, start, stop, words[place : place + length]
            place += length


def _add_masks(streams: Sequence[tuple[Keystream, bool]], switched: UInt32[np.ndarray, "prime=5 coefficient"]) -> None:
    """Add the next block of each opening mask to the residues of a block."""
    mask = np.empty((KEPT, DEGREE if streams else 0), dtype=np.uint32)
    for stream, is_negative in streams:
        reject(stream.words32(MASK_STREAM_BYTES // 4), transform(), mask)
        add_opening_mask(mask, transform().primes, is_negative=is_negative, out=switched)


def _factor(element: RingElement, scale: UInt64[np.ndarray, "prime 1"]) -> tuple[RingElement, RingElement]:
    """Return the scaled element and what a product by it without division needs."""
    require_element_shape(element)
    factor, quotients = np.empty_like(element, order="C"), np.empty_like(element, order="C")
    if not scaled_factor(element, scale[:, 0], transform().primes, factor, quotients):
        raise ProtocolError("expected a ring element with residues below their primes, got a larger one")
    return factor, quotients


def _add_to_products(
    coefficients: int,
    factor: tuple[RingElement, RingElement],
    crs_seed: bytes,
    *,
    weights: UInt32[np.ndarray, "prime=7 digit+1"],
    terms_from: Callable[[int], _Terms],
    masks: Sequence[tuple[bytes, bool]],
    workers: int,
) -> bytes:
    """Return the wire form of round((a * factor + terms) / P), terms as digits with weights."""
    packed = np.empty(ciphertext_bytes(coefficients) // 4, dtype="<u4")
    blocks = -(-coefficients // DEGREE)
    each = -(-blocks // max(1, workers))

    def work(first_block: int) -> None:
        first, end = first_block * DEGREE, min((first_block + each) * DEGREE, coefficients)
        stream = Keystream(crs_seed, STREAM_BYTES * first_block)
        mask_streams = [(Keystream(mask, MASK_STREAM_BYTES * first_block), negative) for mask, negative in masks]
        write_terms = terms_from(first)
        rows = (words for _, _, _, words in _rows(end - first, packed[KEPT * KEPT_BITS * first // GROUP :]))
        element = np.empty((len(PRIMES), DEGREE), dtype=np.uint32)
        product = np.empty_like(element)
        scratch = np.empty((ROWS, COLUMNS), dtype=np.uint32)
        for start in range(first, end, DEGREE):
            width = min(DEGREE, end - start)
            if start == first or width < DEGREE:
                terms = np.empty((weights.shape[1] - 1, width), dtype=np.uint32)
                switched = np.empty((KEPT, width), dtype=np.uint32)
            read_uniform(stream, element)
            product_coefficients(element, factor, transform(), scratch, product)
            write_terms(start, terms)
            add_and_switch(product, terms, weights, encryption_constants().switch, switched)
            _add_masks(mask_streams, switched)
            for row, words in zip(switched, rows, strict=False):
                pack_planes(row, KEPT_BITS, words)

    if each >= blocks:
        work(0)
    else:
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(work, range(0, blocks, each)))
    return packed.tobytes()
