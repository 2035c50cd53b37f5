"""Shamir's secret sharing of 32-byte secrets over the prime field of p = 2^256 + 297.

`y_j = secret + c_1 x_j + ... + c_(t-1) x_j^(t-1) mod p`, the secret read as a big-endian integer below 2^256 < p.
A share on the wire is x (4 bytes) and y (33 bytes), both big-endian.

The coefficients come from `entropy` by HKDF and AES-CTR, 48 bytes each reduced mod p (2^-127 from uniform); the
derivation also takes in a hash of the secrets and of the request, so entropy that is used twice by mistake does not
put one polynomial under two secrets.

Guarantees: fewer than `threshold` shares say nothing about the secret (up to the generator); `threshold` distinct
holders recover it; a share counted twice counts once; when more shares than needed are given, they must agree.
Does NOT guarantee: that a dealer dealt consistently or a holder returns what it got (hash and log the shares), or
constant time.

Source: Shamir, How to share a secret (CACM 1979); Bellare et al., Hedged public-key encryption (Asiacrypt 2009).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from hansa.crypto.prg import derive, expand
from hansa.errors import MessageError, ProtocolError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

PRIME: Final = 2**256 + 297
SECRET_BYTES: Final = 32
SHARE_BYTES: Final = 37
_COEFFICIENT_BYTES: Final = 48
_HIGHEST_X: Final = 2**32 - 1
_LABEL: Final = b"hansa/shamir/v1"


@dataclass(frozen=True, slots=True)
class Share:
    """One holder's point of the polynomial.

    Args:
        x: The holder's coordinate, 1 to 2^32 - 1.
        y: The secret ordinate, 0 to p - 1; left out of `repr`.
    """

    x: int
    y: int = field(repr=False)

    def encode(self) -> bytes:
        """Return the 37 bytes of the wire form."""
        return self.x.to_bytes(4, "big") + self.y.to_bytes(33, "big")

    @classmethod
    def decode(cls, encoded: bytes) -> Share:
        """Return the share in 37 bytes of the wire form.

        Raises:
            MessageError: The length is another, x is zero or y is not below p.
        """
        if len(encoded) != SHARE_BYTES:
            raise MessageError(f"expected a share of {SHARE_BYTES} bytes, got {len(encoded)}")
        x, y = int.from_bytes(encoded[:4], "big"), int.from_bytes(encoded[4:], "big")
        if x == 0 or y >= PRIME:
            raise MessageError("expected a share with x >= 1 and y below the prime, got one outside the field")
        return cls(x, y)


def split(secret: bytes, *, threshold: int, holders: Sequence[int], entropy: bytes) -> list[Share]:
    """Share one secret among `holders` so that any `threshold` of them recover it.

    Args:
        secret: 32 bytes.
        threshold: Shares needed, 1 to the number of holders.
        holders: Distinct coordinates, 1 to 2^32 - 1.
        entropy: 32 fresh uniform bytes drawn by the dealer.

    Returns:
        One share a holder, in the order of `holders`.

    Raises:
        ProtocolError: The secret or entropy has another length, a coordinate is repeated or out of range, or the
            threshold cannot be met.
    """
    return split_many([secret], threshold=threshold, holders=holders, entropy=entropy)[0]


def split_many(
    secrets: Sequence[bytes], *, threshold: int, holders: Sequence[int], entropy: bytes
) -> list[list[Share]]:
    """Share many secrets among the same holders, each with its own polynomial.

    Args:
        secrets: Secrets of 32 bytes each.
        threshold: Shares needed, 1 to the number of holders.
        holders: Distinct coordinates, 1 to 2^32 - 1.
        entropy: 32 fresh uniform bytes drawn by the dealer, for all secrets together.

    Returns:
        Shares indexed (secret, holder).

    Raises:
        ProtocolError: As for `split`.
    """
    _refuse_impossible(secrets, threshold, holders, entropy)
    request = hashlib.sha256(b"".join(secrets))
    request.update(threshold.to_bytes(4, "big") + b"".join(x.to_bytes(4, "big") for x in holders))
    row_bytes = (threshold - 1) * _COEFFICIENT_BYTES
    stream = expand(derive(entropy, _LABEL + request.digest()), row_bytes * len(secrets))
    return [
        _evaluate(int.from_bytes(secret, "big"), stream[row * row_bytes : (row + 1) * row_bytes], holders)
        for row, secret in enumerate(secrets)
    ]


def combine(shares: Iterable[Share], *, threshold: int) -> bytes:
    """Recover a secret from the shares of at least `threshold` distinct holders.

    Args:
        shares: Shares of one secret; exact repetitions are ignored. The first `threshold` by coordinate determine
            the secret, the others are checked against them.
        threshold: Shares needed, as at the split.

    Returns:
        The 32-byte secret.

    Raises:
        ProtocolError: Too few distinct holders, two different shares of one holder, surplus shares that do not lie
            on the polynomial, or a result that is not a 32-byte secret.
    """
    points: dict[int, int] = {}
    for share in shares:
        if points.setdefault(share.x, share.y) != share.y:
            raise ProtocolError(f"two different shares came for holder {share.x}: expected one; drop this holder")
    if threshold < 1 or len(points) < threshold:
        raise ProtocolError(f"expected shares of at least {threshold} distinct holders, got {len(points)}")
    ordered = sorted(points)
    used, surplus = tuple(ordered[:threshold]), ordered[threshold:]
    for x in surplus:
        if _interpolate(points, used, at=x) != points[x]:
            raise ProtocolError("the shares do not lie on one polynomial: a dealer or a holder changed one")
    value = _interpolate(points, used, at=0)
    if value >> 256:
        raise ProtocolError("the shares do not combine to a 32-byte secret: one is damaged or of another secret")
    return value.to_bytes(SECRET_BYTES, "big")


def _refuse_impossible(secrets: Sequence[bytes], threshold: int, holders: Sequence[int], entropy: bytes) -> None:
    if len(entropy) != 32:
        raise ProtocolError(f"expected 32 bytes of entropy, got {len(entropy)}")
    if any(len(secret) != SECRET_BYTES for secret in secrets):
        raise ProtocolError(f"expected secrets of {SECRET_BYTES} bytes each")
    if len(set(holders)) != len(holders) or not all(1 <= x <= _HIGHEST_X for x in holders):
        raise ProtocolError(f"expected distinct holder coordinates from 1 to {_HIGHEST_X}")
    if not 1 <= threshold <= len(holders):
        raise ProtocolError(f"expected a threshold from 1 to {len(holders)} holders, got {threshold}")


def _evaluate(secret: int, stream: bytes, holders: Sequence[int]) -> list[Share]:
    size = _COEFFICIENT_BYTES
    coefficients = [
        int.from_bytes(stream[start : start + size], "big") % PRIME for start in range(0, len(stream), size)
    ]
    shares = []
    for x in holders:
        # Reduced once at the end: x is small, so the integer grows by few bits a step.
        y = 0
        for coefficient in coefficients:
            y = (y + coefficient) * x
        shares.append(Share(x, (y + secret) % PRIME))
    return shares


def _interpolate(points: dict[int, int], used: tuple[int, ...], *, at: int) -> int:
    return sum(points[x] * weight for x, weight in zip(used, _lagrange(used, at), strict=True)) % PRIME


@lru_cache(maxsize=1024)
def _lagrange(coordinates: tuple[int, ...], at: int) -> tuple[int, ...]:
    weights = []
    for x in coordinates:
        numerator = denominator = 1
        for other in coordinates:
            if other != x:
                numerator = numerator * (at - other) % PRIME
                denominator = denominator * (x - other) % PRIME
        weights.append(numerator * pow(denominator, -1, PRIME) % PRIME)
    return tuple(weights)
