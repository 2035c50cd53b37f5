"""What an attacker computes from a transcript: it has the coordinator's key, all messages and its colluders' keys."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from hansa.crypto.encryption import Decoded, add_ciphertext, ciphertext_bytes, empty_total
from hansa.crypto.ring_parameters import KEPT_PRIMES
from hansa.protocol.messages import Call, Cohort, Manifest, Opening, open_envelope
from hansa.protocol.opening import partial
from hansa.protocol.secure_sum import NOISE_LIMIT
from hansa.protocol.session import opening_limit
from simulator import signing_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from hansa.protocol.epoch import EpochKeys
    from hansa.protocol.limits import Limits

_PRIMES = np.array(KEPT_PRIMES, dtype=np.int64)[:, None]


def added(parts: Iterable[bytes], coefficients: int) -> np.ndarray:
    """Return the sum of ciphertexts and partials."""
    total = empty_total(coefficients)
    for data in parts:
        add_ciphertext(total, data)
    return total


def difference(one: bytes, other: bytes) -> np.ndarray:
    """Return a total that is one ciphertext less another."""
    coefficients = next(width for width in range(32, 10**7, 32) if ciphertext_bytes(width) == len(one))
    first, second = (added([data], coefficients).astype(np.int64) for data in (one, other))
    return ((first - second) % _PRIMES).astype(np.uint32)


def is_opened(found: Decoded) -> bool:
    return found.noise < NOISE_LIMIT


def looks_uniform(limbs: np.ndarray) -> bool:
    """Test the decoded digits against the uniform law: bytes by chi square, whole digits by Kolmogorov and Smirnov."""
    digits = (limbs & np.uint64(2**46 - 1)).ravel()
    octets = np.concatenate([(digits >> np.uint64(shift)) & np.uint64(255) for shift in (0, 8, 16, 24, 32)])
    counts = np.bincount(octets.astype(np.int64), minlength=256)
    by_octets = stats.chisquare(counts).pvalue
    by_size = stats.kstest(digits.astype(np.float64) / 2.0**46, "uniform").pvalue
    return min(by_octets, by_size) > 1e-3


def opening_of(body: bytes, name: str, asked: Manifest, rules: Limits) -> Opening:
    return open_envelope(body, Opening, sender=name, key=signing_key(name).public, limit=opening_limit(asked, rules))


def partials_of(  # the attacker's whole knowledge
    call: Call,
    cohort: Cohort,
    openings: Mapping[str, Opening],
    colluders: Mapping[str, EpochKeys],
    *,
    asked: Manifest,
    coefficients: int,
) -> dict[str, bytes]:
    """Return every partial of one call that the attacker has: honest answers, and what its colluders compute."""
    found = {
        name: opening.partial
        for name, opening in openings.items()
        if (opening.root, opening.number) == (call.root, call.number) and opening.partial
    }
    for name, keys in colluders.items():
        if name in call.decryptors:
            found[name] = partial(name, manifest=asked, cohort=cohort, call=call, keys=keys, coefficients=coefficients)
    return {name: data for name, data in found.items() if name in call.decryptors}


def complete_roots(openings: Sequence[tuple[str, Opening]], colluders: Sequence[str], threshold: int) -> set[bytes]:
    """Return the roots for which honest partials to one call and the colluders' own reach the threshold."""

    def place(item: tuple[str, Opening]) -> tuple[bytes, int]:
        return item[1].root, item[1].number

    found = set()
    for (root, _), group in groupby(sorted(openings, key=place), key=place):
        givers = {name for name, opening in group if opening.partial} | set(colluders)
        if len(givers) >= threshold:
            found.add(root)
    return found
