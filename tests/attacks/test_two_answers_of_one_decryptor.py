"""Attack: a member answers two calls, each with another Lagrange weight, and the ratio of the weights is known.

Without opening masks an answer is `lambda x + g` mod Q with `x = -a S` and g below 2^57. Two answers give
`r g - g' = K mod Q`, `r = lambda / lambda'` and K known: in the lattice of `(u, r u mod Q)` the pair (g, g') is the one
short point of a coset, found by Gauss's reduction. Then x, hence the member's share of the cohort's key, is exact; t
shares give the sum of the keys, two cohorts a single one, and its late uploads are open.
"""

from __future__ import annotations

import hashlib

from hansa.crypto.encryption import partial_decryption
from hansa.crypto.key_sharing import lagrange_weights
from hansa.crypto.ring import add_elements, scale_element, uniform_element
from hansa.crypto.ring_parameters import DROPPED_MODULUS, KEPT_MODULUS, KEPT_PRIMES, MODULUS, PRIMES
from hansa.protocol.epoch import EpochKeys
from hansa.protocol.messages import Call, Cohort
from hansa.protocol.opening import crs_seed, partial
from players import EPOCH, EPOCH_ID, manifest
from ring_oracle import crt, wire_residues
from simulator import limits

RULES = limits(40, 13)
NAMES = tuple(sorted(RULES.members))
ASKED = manifest(RULES)
WIDTH = 32


def seed(label: str) -> bytes:
    return hashlib.sha256(label.encode()).digest()


KEYS = EpochKeys(
    EPOCH, EPOCH_ID, NAMES, {name: seed(f"pair {name}") for name in NAMES[1:]}, seed("noise"),
    uniform_element(seed("key")), {name: uniform_element(seed(f"share {name}")) for name in NAMES},
)  # fmt: skip
COHORT = Cohort(ASKED.digest(), NAMES, tuple(seed(name) for name in NAMES))
DECRYPTORS = [NAMES[:27], (NAMES[0], *NAMES[14:]), (NAMES[0], *NAMES[7:33])]
CALLS = [Call(ASKED.digest(), COHORT.root(), number, names, ()) for number, names in enumerate(DECRYPTORS)]


def weight(call: Call) -> int:
    """Return the Lagrange weight of the first member mod Q."""
    holders = [NAMES.index(name) + 1 for name in call.decryptors]
    return crt(lagrange_weights(holders, 1).tolist(), PRIMES)


def answered(*, is_masked: bool) -> list[bytes]:
    answers = []
    for call in CALLS:
        if is_masked:
            data = partial(NAMES[0], manifest=ASKED, cohort=COHORT, call=call, keys=KEYS, coefficients=WIDTH)
        else:
            holders = [NAMES.index(name) + 1 for name in call.decryptors]
            share = scale_element(add_elements(list(KEYS.shares.values())), lagrange_weights(holders, 1))
            flood = seed(f"flood {call.number}")
            data = partial_decryption(WIDTH, share=share, crs_seed=crs_seed(ASKED), flood_seed=flood)
        answers.append(data)
    return answers


def short_pair(ratio: int, known: int) -> tuple[int, int]:
    """Return the shortest (g, h) found with `ratio g - h = known` mod Q."""
    one, other = (1, ratio), (0, MODULUS)
    while True:
        if one[0] ** 2 + one[1] ** 2 > other[0] ** 2 + other[1] ** 2:
            one, other = other, one
        norm = one[0] ** 2 + one[1] ** 2
        times = (2 * (one[0] * other[0] + one[1] * other[1]) + norm) // (2 * norm)
        if times == 0:
            break
        other = (other[0] - times * one[0], other[1] - times * one[1])
    determinant = one[0] * other[1] - one[1] * other[0]
    first = round_fraction(-known * -other[0], determinant)
    second = round_fraction(-known * one[0], determinant)
    return -(first * one[0] + second * other[0]), -known - (first * one[1] + second * other[1])


def round_fraction(numerator: int, denominator: int) -> int:
    return (2 * numerator + denominator) // (2 * denominator)


def predicts_the_third_answer(answers: list[bytes]) -> bool:
    """Recover `-a S` from two answers; say whether the third is its multiple but for an error below 2^58."""
    weights = [weight(call) for call in CALLS]
    ratio = weights[0] * pow(weights[1], -1, MODULUS) % MODULUS
    for place in range(WIDTH):
        lifted = [
            DROPPED_MODULUS * crt(wire_residues(data, 0, WIDTH, place), KEPT_PRIMES) % MODULUS for data in answers
        ]
        # p = lambda x + g and p' = lambda' x + g' give p / lambda - p' / lambda' without x.
        known = (lifted[0] - ratio * lifted[1]) % MODULUS
        # g - ratio g' = known: with the roles of the pair exchanged this is ratio g' - g = -known.
        _, negative = short_pair(ratio, -known % MODULUS)
        x = (lifted[0] - negative) * pow(weights[0], -1, MODULUS) % MODULUS
        error = (lifted[2] - weights[2] * x) % MODULUS
        if min(error, MODULUS - error) >= 2**58:
            return False
    return True


def test_two_unmasked_answers_give_away_the_members_share() -> None:
    """Positive control: without opening masks the attack succeeds at every coefficient."""
    assert KEPT_MODULUS * DROPPED_MODULUS == MODULUS
    assert predicts_the_third_answer(answered(is_masked=False))


def test_two_masked_answers_give_nothing_away() -> None:
    assert not predicts_the_third_answer(answered(is_masked=True))
