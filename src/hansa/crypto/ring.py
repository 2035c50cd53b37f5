"""Elements of the ring: secrets, uniform elements, sums, multiples and their wire form.

An element is uint32 of shape (prime 7, 8192): canonical residues of its values in the transform domain, in the order
of `ring_parameters`. There, sums and products are taken place by place, and a uniform element is uniform residues.

A uniform element reads its seed's AES-CTR keystream as little-endian 32-bit words: 8192 for each prime in turn, then
512 spare ones. A word is cut to the prime's bits (29 or 28); one that is not below the prime is replaced by the next
spare word, cut the same way, again and again. Block b of a longer stream begins at byte `b * 231424`.
A ternary secret reads bytes: a byte below 255 gives the coefficient `byte mod 3 - 1`, 255 is passed over.

Wire form, 205824 bytes: for each prime in turn its residues in bit planes: seen as 32 rows of 256, row i begins at bit
`i * bits` of a column of 32-bit words; the words row by row, little-endian; 29 bits a residue, 28 for the last two.

Guarantees: residues are exactly uniform given a uniform stream (spares run out with probability below 2^-1200);
one element has one encoding.
Does NOT guarantee: constant time: rejection depends on the stream, memory is not wiped.

Source: Lyubashevsky, Peikert, Regev, On ideal lattices and learning with errors over rings (2010), section 2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from hansa.crypto.prg import Keystream, expand
from hansa.crypto.ring_kernels import (
    forward_transform,
    is_below,
    pack_planes,
    reject,
    unpack_planes,
    weighted_sum,
)
from hansa.crypto.ring_parameters import COLUMNS, DEGREE, PRIMES, ROWS, column, transform
from hansa.errors import MessageError, ProtocolError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TypeAlias

    from jaxtyping import Int64, UInt32

    RingElement: TypeAlias = UInt32[np.ndarray, "prime=7 8192"]

SPARE_WORDS: Final = 512
STREAM_BYTES: Final = 4 * (len(PRIMES) * DEGREE + SPARE_WORDS)
_BITS: Final = tuple(prime.bit_length() for prime in PRIMES)
ELEMENT_BYTES: Final = sum(_BITS) * DEGREE // 8
_TERNARY_BYTES: Final = DEGREE + 1024


def ternary_secret(seed: bytes) -> RingElement:
    """Return a secret with uniform coefficients in {-1, 0, 1}, in the transform domain.

    Args:
        seed: 32 fresh secret bytes, used for this one key.

    Raises:
        IdentityError: The seed is not 32 bytes long.
    """
    stream = np.frombuffer(expand(seed, _TERNARY_BYTES), dtype=np.uint8)
    # More than 1024 bytes of 255 among 9216 come with probability below 2^-3000.
    kept = stream[stream != 255][:DEGREE]
    return to_transform(kept.astype(np.int64) % 3 - 1)


def to_transform(coefficients: Int64[np.ndarray, 8192]) -> RingElement:
    """Return the element with these integer coefficients, natural order."""
    values = np.mod(coefficients[None, :], np.array(PRIMES, dtype=np.int64)[:, None]).astype(np.uint64)
    forward_transform(values, transform())
    ordered = values.reshape(len(PRIMES), COLUMNS, ROWS).transpose(0, 2, 1)
    element: RingElement = ordered.reshape(len(PRIMES), DEGREE).astype(np.uint32)
    return element


def uniform_element(seed: bytes) -> RingElement:
    """Return the uniform element of a seed: the first block of its stream.

    Args:
        seed: 32 bytes; secret or public, for this one purpose.

    Raises:
        IdentityError: The seed is not 32 bytes long.
    """
    element = np.empty((len(PRIMES), DEGREE), dtype=np.uint32)
    read_uniform(Keystream(seed), element)
    return element


def read_uniform(stream: Keystream, out: RingElement) -> None:
    """Write the next block of a stream of uniform elements into `out`."""
    reject(stream.words32(STREAM_BYTES // 4), transform(), out)


def add_elements(elements: Sequence[RingElement]) -> RingElement:
    """Return the sum of one element or more.

    Raises:
        ProtocolError: There is none, or one is not an element.
    """
    weights = np.ones((len(elements), len(PRIMES)), dtype=np.uint32)
    return weighted_elements(elements, weights)


def scale_element(element: RingElement, weights: UInt32[np.ndarray, " prime"]) -> RingElement:
    """Return the element times one integer, given by its residue for each prime.

    Raises:
        ProtocolError: The shapes are others, or a weight is not canonical.
    """
    return weighted_elements([element], np.asarray(weights)[None, :])


def weighted_elements(elements: Sequence[RingElement], weights: UInt32[np.ndarray, "element prime"]) -> RingElement:
    """Return the sum of integer multiples of elements.

    Args:
        elements: One element or more.
        weights: The residues of each element's factor, shape (element, prime).

    Raises:
        ProtocolError: There is no element, a shape is another, or a weight is not canonical.
    """
    if not elements:
        raise ProtocolError("expected one ring element or more to add, got none")
    for element in elements:
        require_element(element)
    if weights.shape != (len(elements), len(PRIMES)) or (weights >= column(PRIMES)[:, 0]).any():
        raise ProtocolError("expected one canonical weight for each element and prime")
    out = np.empty((len(PRIMES), DEGREE), dtype=np.uint32)
    weighted_sum(np.stack(elements), weights.astype(np.uint32), transform().primes, out)
    return out


def encode_element(element: RingElement) -> bytes:
    """Return the wire form of an element, `ELEMENT_BYTES` long.

    Raises:
        ProtocolError: The shape is another or a residue is not canonical.
    """
    require_element(element)
    words = np.empty(ELEMENT_BYTES // 4, dtype="<u4")
    for row, bits, start in zip(element, _BITS, _starts(), strict=True):
        pack_planes(np.ascontiguousarray(row), bits, words[start : start + bits * DEGREE // 32])
    return words.tobytes()


def decode_element(data: bytes) -> RingElement:
    """Return the element in its wire form.

    Raises:
        MessageError: The length is another, or a residue is not below its prime.
    """
    if len(data) != ELEMENT_BYTES:
        raise MessageError(f"expected a ring element of {ELEMENT_BYTES} bytes, got {len(data)}")
    words = np.frombuffer(data, dtype="<u4")
    element = np.empty((len(PRIMES), DEGREE), dtype=np.uint32)
    for row, bits, start, prime in zip(element, _BITS, _starts(), transform().primes, strict=True):
        unpack_planes(words[start : start + bits * DEGREE // 32], bits, row)
        if not is_below(row, prime):
            raise MessageError(f"expected residues below {prime}, got a larger one; the element is damaged")
    return element


def require_element(element: RingElement) -> None:
    """Refuse what is not an element.

    Raises:
        ProtocolError: The type or the shape is another, or a residue is not canonical.
    """
    require_element_shape(element)
    if (element >= column(PRIMES)).any():
        raise ProtocolError("expected a ring element with residues below their primes, got a larger one")


def require_element_shape(element: RingElement) -> None:
    """Refuse what cannot be an element by its type or shape.

    Raises:
        ProtocolError: It is not uint32 of shape (prime, coefficient).
    """
    shape = (len(PRIMES), DEGREE)
    if element.shape != shape or element.dtype != np.uint32:
        raise ProtocolError(f"expected a uint32 ring element of shape {shape}, got {element.dtype} of {element.shape}")


def _starts() -> list[int]:
    """Return the first word of each prime in the wire form."""
    return [sum(_BITS[:k]) * DEGREE // 32 for k in range(len(PRIMES))]
