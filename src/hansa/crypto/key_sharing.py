"""Shamir's sharing of a ring key, dealt with seeds, and public probes that show whether the shares agree.

Place by place and prime by prime `share(x) = secret + c_1 x + ... + c_(t-1) x^(t-1)`. Each holder k has a 32-byte seed
from the dealer. The first t - 1 holders' shares are the uniform elements of their seeds, which with the secret at
zero fix the polynomial; every other holder's share is sent as `share - uniform element of its seed`: a one-time pad,
so these corrections may be published and hashed by everybody.

A probe of a share is, for each prime, its inner product mod the prime with two uniform vectors that a 32-byte
challenge gives, 14 numbers in 56 bytes (little-endian uint32; both vectors' values for a prime side by side). It is
linear in the share, so the probes of consistent shares lie on polynomials of degree t - 1 too.

Guarantees: fewer than t shares say nothing about the secret beyond the seeds' generator. If the challenge is drawn
after every share is fixed, a share that differs from the polynomial modulo some prime passes with probability about
q^-2 (2^-56 and less).
Does NOT guarantee: secrecy of the probes' linear combinations: those of t holders give two linear equations mod Q on
the secret, two exact hints about a secret of 8192 coefficients (two samples without error; their cost is stated in the
documentation). One challenge for a key, never more. Nor constant time.

Source: Shamir, How to share a secret (CACM 1979); Cramer, Damgard, Ishai, Share conversion, pseudorandom secret-sharing
and applications (TCC 2005); Dachman-Soled, Ducas, Gong, Rossi, LWE with side information (Crypto 2020), section 4.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

import numpy as np

from hansa.crypto.polynomial_agreement import agreeing_places, lagrange_coefficients
from hansa.crypto.prg import derive
from hansa.crypto.ring import decode_element, encode_element, require_element, uniform_element
from hansa.crypto.ring_kernels import weighted_sum
from hansa.crypto.ring_parameters import PRIMES, column, transform
from hansa.errors import IdentityError, MessageError, ProtocolError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jaxtyping import UInt32

    from hansa.crypto.ring import RingElement

CHALLENGE_BYTES: Final = 32
PROBES: Final = 2
PROBE_BYTES: Final = 4 * PROBES * len(PRIMES)
HIGHEST_HOLDER: Final = 1 << 16
_SHARE_LABEL: Final = b"hansa/ring-share/v1"
_PROBE_LABEL: Final = b"hansa/ring-probe/v1/"
_PROBE_FORM: Final = struct.Struct(f"<{PROBES * len(PRIMES)}I")


def deal(secret: RingElement, *, threshold: int, holders: Sequence[int], seeds: Sequence[bytes]) -> list[bytes | None]:
    """Share a ring key among holders so that any `threshold` of them can answer for it.

    Args:
        secret: The key.
        threshold: Shares needed, 1 to the number of holders.
        holders: Distinct coordinates, 1 to 65536.
        seeds: A fresh secret seed of 32 bytes for each holder, known to it and the dealer.

    Returns:
        For each holder its correction in the wire form of an element, or None for the first `threshold - 1`.

    Raises:
        ProtocolError: The holders repeat or are out of range, the seeds or the threshold do not fit them, or the
            secret is no ring element.
        IdentityError: A seed is not 32 bytes long.
    """
    if not 1 <= threshold <= len(holders) or len(seeds) != len(holders):
        raise ProtocolError(
            f"expected a seed for each holder and a threshold they can meet, got {len(holders)} holders, "
            f"{len(seeds)} seeds, threshold {threshold}"
        )
    _refuse_holders(holders)
    require_element(secret)
    pads = [_pad(seed) for seed in seeds]
    nodes = (0, *holders[: threshold - 1])
    known = np.stack([secret, *pads[: threshold - 1]])
    corrections: list[bytes | None] = [None] * (threshold - 1)
    share = np.empty_like(secret)
    for x, pad in zip(holders[threshold - 1 :], pads[threshold - 1 :], strict=True):
        weights = np.array([lagrange_coefficients(nodes, x, prime) for prime in PRIMES], dtype=np.uint32)
        weighted_sum(known, np.ascontiguousarray(weights.T), transform().primes, share)
        difference = (share.astype(np.uint64) + column(PRIMES) - pad) % column(PRIMES)
        corrections.append(encode_element(difference.astype(np.uint32)))
    return corrections


def open_share(seed: bytes, correction: bytes | None) -> RingElement:
    """Return a holder's share from its seed and its correction (None for one of the first holders).

    Raises:
        IdentityError: The seed is not 32 bytes long.
        MessageError: The correction is not a ring element.
    """
    pad = _pad(seed)
    if correction is None:
        return pad
    share: RingElement = ((decode_element(correction).astype(np.uint64) + pad) % column(PRIMES)).astype(np.uint32)
    return share


def lagrange_weights(holders: Sequence[int], own: int) -> UInt32[np.ndarray, " prime"]:
    """Return the weight at zero of holder `own` among the decryptors, for each prime.

    Args:
        holders: Coordinates of all decryptors of an opening, distinct, at least the threshold of them.
        own: One of them.

    Raises:
        ProtocolError: The coordinates repeat or are out of range, or `own` is not among them.
    """
    _refuse_holders(holders)
    if own not in holders:
        raise ProtocolError(f"expected holder {own} among the decryptors {sorted(holders)}")
    place = list(holders).index(own)
    return np.array([lagrange_coefficients(holders, 0, prime)[place] for prime in PRIMES], dtype=np.uint32)


def probe(share: RingElement, challenge: bytes) -> bytes:
    """Return two public linear functionals of a share for each prime.

    Args:
        share: The holder's share.
        challenge: 32 public bytes that nobody could foresee when the shares were fixed; one for a key.

    Raises:
        IdentityError: The challenge is not 32 bytes long.
        ProtocolError: The share is no ring element.
    """
    if len(challenge) != CHALLENGE_BYTES:
        raise IdentityError(f"expected a challenge of {CHALLENGE_BYTES} bytes, got {len(challenge)}")
    require_element(share)
    values = np.empty((len(PRIMES), PROBES), dtype="<u4")
    for which in range(PROBES):
        vector = uniform_element(derive(challenge, _PROBE_LABEL + bytes([which])))
        products = share.astype(np.uint64) * vector % column(PRIMES)
        values[:, which] = products.sum(axis=1) % column(PRIMES)[:, 0]
    return values.tobytes()


def agreeing(probes: Mapping[int, bytes], *, threshold: int, needed: int) -> frozenset[int]:
    """Return the largest set found of holders whose probes lie on one polynomial of degree below `threshold`.

    Args:
        probes: The probe of each holder, by coordinate.
        threshold: Of the sharing; one or more.
        needed: Members that the set must have. At or below the threshold, agreement says nothing.

    Returns:
        The holders, or the empty set if fewer than `needed` were found. Every wrong share is found out if at most
        `(n - threshold) / 2` of n are wrong modulo each prime; usually up to `2 (n - threshold) / 3`.

    Raises:
        MessageError: A probe has another length or a value at or above its prime, or a holder is out of range.
        ProtocolError: The threshold is not positive.
    """
    if threshold < 1:
        raise ProtocolError(f"expected a threshold of one or more, got {threshold}")
    values = {holder: _parse_probe(holder, data) for holder, data in probes.items()}
    left = frozenset(values)
    waiting = list(range(len(PRIMES)))
    # A prime with too many errors may be decided once another prime has found out some of its holders.
    while waiting:
        undecided = []
        for k in waiting:
            words = {holder: values[holder][PROBES * k : PROBES * (k + 1)] for holder in left}
            found = agreeing_places(words, threshold=threshold, prime=PRIMES[k])
            if found:
                left = found
            else:
                undecided.append(k)
        if len(undecided) == len(waiting):
            return frozenset()
        waiting = undecided
    return left if len(left) >= needed else frozenset()


def _parse_probe(holder: int, data: bytes) -> tuple[int, ...]:
    if not 1 <= holder <= HIGHEST_HOLDER:
        raise MessageError(f"expected holders from 1 to {HIGHEST_HOLDER}, got {holder}")
    if len(data) != PROBE_BYTES:
        raise MessageError(f"expected a probe of {PROBE_BYTES} bytes from holder {holder}, got {len(data)}")
    values = _PROBE_FORM.unpack(data)
    if any(value >= PRIMES[place // PROBES] for place, value in enumerate(values)):
        raise MessageError(f"expected probe values below their primes from holder {holder}, got a larger one")
    return values


def _refuse_holders(holders: Sequence[int]) -> None:
    if len(set(holders)) != len(holders) or not all(1 <= x <= HIGHEST_HOLDER for x in holders):
        raise ProtocolError(f"expected distinct holders from 1 to {HIGHEST_HOLDER}, got {sorted(holders)}")


def _pad(seed: bytes) -> RingElement:
    if len(seed) != 32:
        raise IdentityError(f"expected a share seed of 32 bytes, got {len(seed)}")
    return uniform_element(derive(seed, _SHARE_LABEL))
