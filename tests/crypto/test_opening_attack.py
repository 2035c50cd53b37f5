"""The attack that opening masks are for: one share that answers twice, under two sets of decryptors.

`y = -lambda Z + flood` and `y' = -lambda' Z + flood'` mod Q for one unknown Z give `flood - rho flood' = v` mod Q with
`rho = lambda / lambda'` and v known: a lattice of two dimensions. Where its shortest vector is longer than the floods
there is one solution, and Z comes out exactly, flood or not.
"""

from __future__ import annotations

import hashlib
from fractions import Fraction

import pytest

import ring_oracle as book
from hansa.crypto.encryption import partial_decryption
from hansa.crypto.key_sharing import lagrange_weights
from hansa.crypto.ring import scale_element, uniform_element

CRS = bytes(32)
HOLDER = 50
OTHERS = [x for x in range(1, 101) if x != HOLDER]
# A hundred members, threshold 67: two sets of decryptors with as little in common as can be.
FIRST = [HOLDER, *OTHERS[::2], *OTHERS[1::2][:16]]
SECOND = [HOLDER, *OTHERS[1::2], *OTHERS[::2][-17:]]
SHARE = uniform_element(bytes([5] * 32))
Vector = tuple[int, int]


def dot(u: Vector, v: Vector) -> int:
    return u[0] * v[0] + u[1] * v[1]


def reduced(rho: int) -> tuple[Vector, Vector]:
    """Gauss's shortest basis of the pairs (x, y) with x = rho y mod Q."""
    longer, shorter = (book.Q, 0), (rho, 1)
    while True:
        if dot(longer, longer) < dot(shorter, shorter):
            longer, shorter = shorter, longer
        times = book.nearest(dot(longer, shorter), dot(shorter, shorter))
        if times == 0:
            return longer, shorter
        longer = (longer[0] - times * shorter[0], longer[1] - times * shorter[1])


def floods(rho: int, known: int) -> Vector:
    """The shortest (x, y) with x - rho y = known mod Q (Babai)."""
    u, v = reduced(rho)
    determinant = u[0] * v[1] - u[1] * v[0]
    a, b = round(Fraction(known * v[1], determinant)), round(Fraction(-known * u[1], determinant))
    return known - a * u[0] - b * v[0], -a * u[1] - b * v[1]


def answer(decryptors: list[int], masks: list[tuple[bytes, bool]]) -> tuple[int, bytes]:
    weights = lagrange_weights(decryptors, HOLDER)
    data = partial_decryption(
        32,
        share=scale_element(SHARE, weights),
        crs_seed=CRS,
        flood_seed=hashlib.sha256(str(decryptors).encode()).digest(),
        masks=masks,
    )
    return book.crt(weights.tolist(), book.PRIMES), data


def recovered(place: int, masks: list[list[tuple[bytes, bool]]]) -> int:
    answers = [answer(decryptors, own) for decryptors, own in zip((FIRST, SECOND), masks, strict=True)]
    (first, y), (second, z) = [
        (weight, book.crt(book.wire_residues(data, 0, 32, place), book.KEPT) * book.P) for weight, data in answers
    ]
    rho = first * pow(second, -1, book.Q) % book.Q
    flood = floods(rho, (y - rho * z) % book.Q)[0]
    return (flood - y) * pow(first, -1, book.Q) % book.Q


@pytest.fixture(scope="module")
def truth() -> tuple[list[int], list[int]]:
    return book.coefficients(uniform_element(CRS)), book.coefficients(SHARE)


def test_two_answers_without_opening_masks_give_the_share_away(truth: tuple[list[int], list[int]]) -> None:
    assert len(set(FIRST)) == len(set(SECOND)) == 67
    for place in (0, 31):
        assert recovered(place, [[], []]) == book.product(*truth, place)


def test_opening_masks_defeat_it(truth: tuple[list[int], list[int]]) -> None:
    masks = [[(hashlib.sha256(f"{attempt} {k}".encode()).digest(), k % 2 == 0) for k in range(66)] for attempt in "ab"]
    for place in (0, 31):
        assert recovered(place, masks) != book.product(*truth, place)
