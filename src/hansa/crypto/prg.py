"""A pseudorandom generator and a key-derivation function: short secrets into masks, noise and keys.

`expand(seed, length)` is the AES-256-CTR keystream of `seed` from counter block zero: the same bytes on every
machine. A mask word is four keystream bytes, little-endian; addition is mod 2^32. `derive` is HKDF-SHA256 with an
empty salt.
A limb mask word is eight keystream bytes, little-endian, cut to 46 bits; addition is mod 2^64.

Guarantees: to who does not know the seed the output cannot be told from uniform bytes (2^128 blocks of AES-256
with one key are never approached: the longest mask is far below 2^40 bytes).
Does NOT guarantee: anything about a seed that is used for two purposes (use `derive` with two infos), nor that
memory is wiped after use.

Source: NIST SP 800-38A section 6.5 (CTR), RFC 5869 (HKDF).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.poly1305 import Poly1305

from hansa.errors import IdentityError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from jaxtyping import UInt32, UInt64

SEED_BYTES: Final = 32
# One block of keystream stays in the second-level cache between the cipher and the addition.
_BLOCK_BYTES: Final = 256 * 1024
_ZEROS: Final = bytes(_BLOCK_BYTES)
_LONGEST_DERIVED_BYTES: Final = 255 * 32


def expand(seed: bytes, length: int) -> bytes:
    """Return the first `length` bytes of the keystream of `seed`.

    Args:
        seed: 32 secret bytes, used for this one stream.
        length: Bytes wanted, zero or more; a longer stream begins with the shorter one.

    Returns:
        `length` pseudorandom bytes.

    Raises:
        IdentityError: The seed is not 32 bytes long, or the length is negative.
    """
    if length < 0:
        raise IdentityError(f"expected a length of zero or more bytes, got {length}")
    return _keystream(seed).update(bytes(length))


def add_mask(words: UInt32[np.ndarray, " value"], seed: bytes, *, negative: bool) -> None:
    """Add the keystream of `seed` to `words` mod 2^32, or subtract it; in place.

    Args:
        words: Contiguous writable uint32 values; they are overwritten.
        seed: 32 secret bytes that both members of a pair derive for this one session.
        negative: Subtract instead of add: of a pair exactly one member subtracts.

    Raises:
        IdentityError: The seed is not 32 bytes long, or `words` is not a contiguous writable uint32 vector.

    Guarantees:
        Adding and subtracting with the same seed leaves `words` as they were.
    """
    if words.dtype != np.uint32 or words.ndim != 1 or not (words.flags.c_contiguous and words.flags.writeable):
        raise IdentityError(
            f"expected a contiguous writable uint32 vector to mask, got {words.dtype} of shape {words.shape}"
        )
    stream = _keystream(seed)
    combine = np.subtract if negative else np.add
    buffer = bytearray(min(4 * words.size, _BLOCK_BYTES))
    mask = np.frombuffer(buffer, dtype="<u4")
    zeros = memoryview(_ZEROS)
    for start in range(0, words.size, _BLOCK_BYTES // 4):
        block = words[start : start + _BLOCK_BYTES // 4]
        stream.update_into(zeros[: 4 * block.size], buffer)
        combine(block, mask[: block.size], out=block)


def add_limb_mask(limbs: UInt64[np.ndarray, "limb coefficient"], seed: bytes, *, negative: bool) -> None:
    """Add the 46-bit keystream words of `seed` to `limbs`, or subtract them; in place, wrapping mod 2^64.

    Args:
        limbs: Contiguous writable uint64 values, masked in row-major order; they are overwritten.
        seed: 32 secret bytes that both members of a pair derive for this one session.
        negative: Subtract instead of add: of a pair exactly one member subtracts.

    Raises:
        IdentityError: The seed is not 32 bytes long, or `limbs` is not a contiguous writable uint64 matrix.

    Guarantees:
        Read as digits of base 2^46 the limbs then hold their integer plus or minus a uniform one mod 2^138.
    """
    add_limb_masks(limbs, [(seed, negative)])


def add_limb_masks(limbs: UInt64[np.ndarray, "limb coefficient"], masks: Iterable[tuple[bytes, bool]]) -> None:
    """Add or subtract many masks as `add_limb_mask` does each, block by block: every block is read once.

    Args:
        limbs: Contiguous writable uint64 values; they are overwritten.
        masks: A seed of 32 secret bytes and whether it is subtracted, for each peer.

    Raises:
        IdentityError: As for `add_limb_mask`; nothing was masked then.
    """
    from hansa.crypto.lane_kernels import add_mask_words  # noqa: PLC0415 - who derives keys needs no compiler

    if limbs.dtype != np.uint64 or limbs.ndim != 2 or not (limbs.flags.c_contiguous and limbs.flags.writeable):
        raise IdentityError(
            f"expected a contiguous writable uint64 matrix to mask, got {limbs.dtype} of shape {limbs.shape}"
        )
    streams = [(_keystream(seed), negative) for seed, negative in masks]
    words = limbs.reshape(-1)
    buffer = bytearray(min(8 * words.size, _BLOCK_BYTES))
    mask = np.frombuffer(buffer, dtype="<u8")
    zeros = memoryview(_ZEROS)
    for start in range(0, words.size, _BLOCK_BYTES // 8):
        block = words[start : start + _BLOCK_BYTES // 8]
        for stream, negative in streams:
            stream.update_into(zeros[: 8 * block.size], buffer)
            add_mask_words(block, mask[: block.size], is_negative=negative)


class Keystream:
    """A reading position in the keystream of a seed; its `repr` shows nothing of it.

    Args:
        seed: 32 bytes, used for this one stream.
        start: First byte to read, a multiple of 16.

    Raises:
        IdentityError: The seed is not 32 bytes long.
        ValueError: The start is not a multiple of 16 bytes from zero on.
    """

    def __init__(self, seed: bytes, start: int = 0) -> None:
        if start < 0 or start % 16:
            raise ValueError(f"expected a start of whole 16-byte blocks, got {start}")
        self._stream = _keystream(seed, start // 16)
        self._buffer = bytearray()
        self._zeros = memoryview(b"")

    def words32(self, count: int) -> UInt32[np.ndarray, " word"]:
        """Return the next `count` little-endian 32-bit words; the array is overwritten by the next call."""
        return np.frombuffer(self._read(4 * count), dtype="<u4", count=count)

    def words64(self, count: int) -> UInt64[np.ndarray, " word"]:
        """Return the next `count` little-endian 64-bit words; the array is overwritten by the next call."""
        return np.frombuffer(self._read(8 * count), dtype="<u8", count=count)

    def _read(self, length: int) -> bytearray:
        if len(self._buffer) < length:
            self._buffer = bytearray(length)
            self._zeros = memoryview(bytes(length))
        self._stream.update_into(self._zeros[:length], self._buffer)
        return self._buffer


def derive(secret: bytes, info: bytes, length: int = SEED_BYTES) -> bytes:
    """Derive a key from `secret` for the one purpose that `info` names (HKDF-SHA256, empty salt).

    Args:
        secret: Secret bytes with at least 128 bits of entropy; at least 16 bytes.
        info: Public, unambiguous description of the purpose; different purposes give independent keys.
        length: Bytes wanted, 1 to 8160.

    Returns:
        `length` bytes.

    Raises:
        IdentityError: The secret is too short or the length is out of range.
    """
    if len(secret) < 16:
        raise IdentityError(f"expected a secret of at least 16 bytes, got {len(secret)}")
    if not 1 <= length <= _LONGEST_DERIVED_BYTES:
        raise IdentityError(f"expected 1 to {_LONGEST_DERIVED_BYTES} bytes to derive, got {length}")
    return HKDF(hashes.SHA256(), length, salt=None, info=info).derive(secret)


def derive_for(secret: bytes, info: bytes, data: bytes | memoryview) -> bytes:
    """Derive a key from `secret` for one purpose and this very data.

    Args:
        secret: As for `derive`.
        info: As for `derive`.
        data: Any bytes; a key for other data is independent of this one.

    Returns:
        32 bytes: `derive(secret, info || tag)` with Poly1305's tag of the data under `derive(secret, info || "/data")`.
        Tags never leave, so that one key may serve all data of one purpose; two data of n bytes share one with a chance
        of n / 2^105 or less.

    Raises:
        IdentityError: As for `derive`.
    """
    return derive(secret, info + Poly1305.generate_tag(derive(secret, info + b"/data"), data))


def _keystream(seed: bytes, first_block: int = 0) -> CipherContext:
    if len(seed) != SEED_BYTES:
        raise IdentityError(f"expected a seed of {SEED_BYTES} bytes, got {len(seed)}")
    # A zero nonce is sound because a seed serves one stream only.
    return Cipher(algorithms.AES(seed), modes.CTR(first_block.to_bytes(16, "big"))).encryptor()
