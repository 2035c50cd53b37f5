"""A ring key dealt to all members by seeds: what a dealer sends each holder, and what a holder makes of it.

Holder j of n, coordinate j from 1, with the seed `r_j` of its share of the key s:

```
share_j = expand(r_j)                    for j < t: these and s fix the polynomial f, of degree t - 1, f(0) = s
share_j = expand(r_j) + correction_j     for j >= t: correction_j = f(j) - expand(r_j)
```

All of it follows from one seed of the dealer: the key, every `r_j`, every correction. A restart deals the same.

Guarantees: fewer than `t` shares say nothing of the key; a correction without its seed is uniform, so it may be public;
the SHA-256 of a seed binds the dealer to it and, the seed being uniform, hides it.
Does NOT guarantee: that the shares of a dishonest dealer fit together; the probes show that.
Source: Shamir, How to share a secret (1979), over the ring of the encryption.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from hansa.crypto import key_sharing
from hansa.crypto.agreement import HALF_BYTES
from hansa.crypto.prg import SEED_BYTES, derive
from hansa.crypto.ring import ELEMENT_BYTES, decode_element, ternary_secret
from hansa.crypto.ring_parameters import PRIMES
from hansa.errors import MessageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hansa.crypto.ring import RingElement

CORRECTION_BYTES: Final = ELEMENT_BYTES
PROBE_BYTES: Final = key_sharing.PROBE_BYTES
# A sealed message is 1136 bytes longer than what is in it: here a half and a seed.
SEALED_BYTES: Final = 1136 + HALF_BYTES + SEED_BYTES


@dataclass(frozen=True, slots=True)
class Dealing:
    """A member's ring key, the seed of each holder's share, and the corrections of those beyond the first `t - 1`."""

    secret: RingElement = field(repr=False)
    seeds: Mapping[str, bytes] = field(repr=False)
    corrections: Mapping[str, bytes] = field(repr=False)


def corrected_places(holders: int, threshold: int) -> range:
    """Return the places, from 1, of the holders whose share is corrected."""
    return range(threshold, holders + 1)


def deal(seed: bytes, *, holders: tuple[str, ...], threshold: int) -> Dealing:
    """Deal a new ring key.

    Args:
        seed: 32 fresh secret bytes, used for this one key.
        holders: Every member of the list, in order, the dealer included.
        threshold: Shares that open.
    """
    seeds = {holder: derive(seed, b"hansa/share-seed/1|" + holder.encode()) for holder in holders}
    secret = ternary_secret(derive(seed, b"hansa/ring-key/1"))
    places = range(1, len(holders) + 1)
    corrections = key_sharing.deal(
        secret, threshold=threshold, holders=places, seeds=[seeds[holder] for holder in holders]
    )
    sent = {holder: body for holder, body in zip(holders, corrections, strict=True) if body is not None}
    return Dealing(secret, seeds, sent)


def is_seed(seed: bytes, commitment: bytes) -> bool:
    """Return whether `seed` is the one committed to, and a seed at all."""
    return len(seed) == SEED_BYTES and hashlib.sha256(seed).digest() == commitment


def is_correction(body: bytes, commitment: bytes) -> bool:
    """Return whether `body` is the correction committed to, and a ring element at all."""
    if len(body) != CORRECTION_BYTES or hashlib.sha256(body).digest() != commitment:
        return False
    try:
        decode_element(body)
    except MessageError:
        return False
    return True


def dealt_share(seed: bytes, correction: bytes) -> RingElement:
    """Return a holder's share; the correction is empty for the first `t - 1` holders.

    Raises:
        IdentityError: The seed is not 32 bytes long.
        MessageError: The correction is no ring element.
    """
    return key_sharing.open_share(seed, correction or None)


def probe_share(share: RingElement, challenge: bytes) -> bytes:
    """Return `PROBE_BYTES` that are a random linear function of a share, the function given by the challenge."""
    return key_sharing.probe(share, challenge)


def is_probe(data: bytes) -> bool:
    """Return whether `data` has the form of a probe: two residues for each prime."""
    if len(data) != PROBE_BYTES:
        return False
    values = np.frombuffer(data, dtype="<u4").reshape(len(PRIMES), -1)
    return bool((values < np.array(PRIMES)[:, None]).all())


def is_consistent(probes: Mapping[int, bytes], *, threshold: int) -> bool:
    """Return whether the probes of one key, by place, are all values of one polynomial of degree `threshold - 1`."""
    return bool(key_sharing.agreeing(probes, threshold=threshold, needed=len(probes)))
