"""Claims about shared ring keys and their probes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ring_oracle as book
from hansa.crypto.key_sharing import agreeing, deal, lagrange_weights, open_share, probe
from hansa.crypto.ring import add_elements, scale_element, ternary_secret, uniform_element
from hansa.errors import IdentityError, MessageError, ProtocolError

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "key_sharing.json").read_text())
CHALLENGE = hashlib.sha256(b"challenge").digest()
KEY = ternary_secret(bytes(32))


def seeds_for(holders: list[int]) -> list[bytes]:
    return [hashlib.sha256(f"to {holder}".encode()).digest() for holder in holders]


def shares_of(key: np.ndarray, threshold: int, holders: list[int]) -> dict[int, np.ndarray]:
    dealt = deal(key, threshold=threshold, holders=holders, seeds=seeds_for(holders))
    return {x: open_share(s, c) for x, s, c in zip(holders, seeds_for(holders), dealt, strict=True)}


def altered(share: np.ndarray, *places: tuple[int, int]) -> np.ndarray:
    changed = share.copy()
    for k, place in places:
        changed[k, place] = (int(changed[k, place]) + 1) % book.PRIMES[k]
    return changed


def test_dealing_opening_weighing_and_probing_give_their_published_values() -> None:
    holders, seeds = VECTORS["holders"], [bytes.fromhex(text) for text in VECTORS["seeds"]]
    key = ternary_secret(bytes.fromhex(VECTORS["secret_seed"]))
    dealt = deal(key, threshold=VECTORS["threshold"], holders=holders, seeds=seeds)
    assert [data and hashlib.sha256(data).hexdigest() for data in dealt] == VECTORS["corrections"]
    shares = [open_share(*pair) for pair in zip(seeds, dealt, strict=True)]
    assert [hashlib.sha256(share.astype("<u4").tobytes()).hexdigest() for share in shares] == VECTORS["shares"]
    decryptors = VECTORS["lagrange_weights"]["decryptors"]
    for x in decryptors:
        assert lagrange_weights(decryptors, x).tolist() == VECTORS["lagrange_weights"]["weights"][str(x)]
    probes = [probe(share, bytes.fromhex(VECTORS["challenge"])) for share in shares]
    assert [data.hex() for data in probes] == VECTORS["probes"]
    assert agreeing(dict(zip(holders, probes, strict=True)), threshold=3, needed=4) == frozenset(holders)


@given(st.data())
@settings(max_examples=12, deadline=None)
def test_any_threshold_of_holders_recovers_the_key(data: st.DataObject) -> None:
    holders = data.draw(st.lists(st.integers(1, 65536), min_size=1, max_size=7, unique=True))
    threshold = data.draw(st.integers(1, len(holders)))
    shares = shares_of(KEY, threshold, holders)
    decryptors = data.draw(st.permutations(holders))[: data.draw(st.integers(threshold, len(holders)))]
    parts = [scale_element(shares[x], lagrange_weights(decryptors, x)) for x in decryptors]
    assert np.array_equal(add_elements(parts), KEY)


def test_one_holder_less_than_the_threshold_recovers_something_else() -> None:
    shares = shares_of(KEY, 3, [1, 2, 3, 4])
    parts = [scale_element(shares[x], lagrange_weights([2, 4], x)) for x in (2, 4)]
    assert (add_elements(parts) != KEY).mean() > 0.99


def test_the_first_holders_need_no_correction_and_the_others_lie_on_the_polynomial() -> None:
    holders = [5, 1, 9, 2]
    dealt = deal(KEY, threshold=3, holders=holders, seeds=seeds_for(holders))
    assert [correction is None for correction in dealt] == [True, True, False, False]
    shares = shares_of(KEY, 3, holders)
    for k, prime in enumerate(book.PRIMES):
        for place in (0, 4711, 8191):
            points = [(0, int(KEY[k, place])), *((x, int(shares[x][k, place])) for x in (5, 1))]
            for x in (9, 2):
                value = 0
                for i, y in points:
                    term = y
                    for j, _ in points:
                        if i != j:
                            term = term * (x - j) * pow(i - j, -1, prime) % prime
                    value += term
                assert shares[x][k, place] == value % prime


def test_a_correction_is_padded_by_the_seed() -> None:
    """Another key under other seeds: corrections have no common structure to the eye of chance."""
    holders = [1, 2]
    first = deal(KEY, threshold=1, holders=holders, seeds=seeds_for(holders))
    second = deal(KEY, threshold=1, holders=holders, seeds=[hashlib.sha256(s).digest() for s in seeds_for(holders)])
    assert len({*first, *second}) == 4


@given(threshold=st.integers(1, 5), extra=st.integers(0, 4), data=st.data())
@settings(max_examples=15, deadline=None)
def test_probes_find_every_wrong_share_up_to_half_the_surplus(threshold: int, extra: int, data: st.DataObject) -> None:
    holders = list(range(1, threshold + extra + 1))
    shares = shares_of(KEY, threshold, holders)
    wrong = set(data.draw(st.permutations(holders))[: extra // 2])
    for x in wrong:
        shares[x] = altered(shares[x], (data.draw(st.integers(0, 6)), data.draw(st.integers(0, 8191))))
    probes = {x: probe(share, CHALLENGE) for x, share in shares.items()}
    expected = frozenset(holders) - wrong
    assert agreeing(probes, threshold=threshold, needed=len(expected)) == expected
    assert agreeing(probes, threshold=threshold, needed=len(expected) + 1) == frozenset()


def test_probes_are_linear_and_their_polynomial_opens_the_probe_of_the_key() -> None:
    shares = shares_of(KEY, 2, [1, 2, 3])
    weights = {x: lagrange_weights([1, 3], x) for x in (1, 3)}
    opened = probe(KEY, CHALLENGE)
    for k, prime in enumerate(book.PRIMES):
        for which in range(2):
            start = 4 * (2 * k + which)
            values = {x: int.from_bytes(probe(shares[x], CHALLENGE)[start : start + 4], "little") for x in (1, 3)}
            total = sum(values[x] * int(weights[x][k]) for x in (1, 3)) % prime
            assert total == int.from_bytes(opened[start : start + 4], "little")


def test_a_hundred_holders_with_sixteen_wrong_shares_are_sorted_out() -> None:
    """Threshold 67: half of the surplus of 33, each share wrong modulo one prime only."""
    holders = list(range(1, 101))
    key = uniform_element(bytes(32))
    slope = uniform_element(bytes([1] * 32))
    # A polynomial of degree one is one of degree 66.
    probes = {}
    for x in holders:
        share = add_elements([key, scale_element(slope, np.full(7, x, dtype=np.uint32))])
        wrong = altered(share, (x % 7, 8 * x)) if x % 6 == 0 else share
        probes[x] = probe(wrong, CHALLENGE)
    expected = frozenset(x for x in holders if x % 6)
    assert agreeing(probes, threshold=67, needed=84) == expected


def test_too_many_wrong_shares_are_no_agreement() -> None:
    shares = shares_of(KEY, 4, list(range(1, 7)))
    probes = {x: probe(altered(share, (0, x)) if x < 4 else share, CHALLENGE) for x, share in shares.items()}
    assert agreeing(probes, threshold=4, needed=3) == frozenset()
    assert agreeing({}, threshold=4, needed=1) == frozenset()


def test_a_malformed_probe_is_refused() -> None:
    good = probe(KEY, CHALLENGE)
    assert len(good) == 56
    for bad in (good[:-1], good + b"\0", book.PRIMES[0].to_bytes(4, "little") + good[4:], good[:-4] + b"\xff" * 4):
        with pytest.raises(MessageError, match="from holder 2"):
            agreeing({1: good, 2: bad}, threshold=1, needed=1)
    with pytest.raises(MessageError, match="holders from 1"):
        agreeing({0: good}, threshold=1, needed=1)
    with pytest.raises(ProtocolError, match="threshold"):
        agreeing({1: good}, threshold=0, needed=1)


@pytest.mark.parametrize(
    ("threshold", "holders", "count"),
    [(0, [1, 2], 2), (3, [1, 2], 2), (1, [1, 2], 1), (1, [1, 1], 2), (1, [0, 1], 2), (1, [1, 65537], 2)],
)
def test_an_impossible_sharing_is_refused(threshold: int, holders: list[int], count: int) -> None:
    with pytest.raises(ProtocolError):
        deal(KEY, threshold=threshold, holders=holders, seeds=[bytes(32)] * count)


def test_what_is_no_share_is_refused() -> None:
    with pytest.raises(IdentityError, match="share seed"):
        open_share(bytes(31), None)
    with pytest.raises(MessageError):
        open_share(bytes(32), b"short")
    with pytest.raises(IdentityError, match="challenge"):
        probe(KEY, bytes(31))
    with pytest.raises(ProtocolError):
        probe(KEY[:5], CHALLENGE)
    with pytest.raises(ProtocolError, match="holder 3 among"):
        lagrange_weights([1, 2], 3)
    with pytest.raises(ProtocolError, match="distinct"):
        lagrange_weights([1, 1], 1)
