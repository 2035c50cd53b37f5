"""Claims about seeds of masks towards dropped peers: revealed by their owners, or combined from shares."""

from __future__ import annotations

import hashlib
import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hansa.crypto.sharing import PRIME, Share, split
from hansa.errors import MessageError, ProtocolError
from hansa.protocol.recovery import SeedRecovery
from players import manifest
from simulator import limits

RULES = limits(7, 0)
ASKED = manifest(RULES)
NAMES = RULES.members
MEMBERS, DROPPED = NAMES[:5], NAMES[5:]


def seed_of(name: str, peer: str) -> bytes:
    return hashlib.sha256(f"{name}|{peer}".encode()).digest()


def committed() -> SeedRecovery:
    recovery = SeedRecovery(ASKED, RULES.quorum)
    for name in NAMES:
        commitments = {peer: hashlib.sha256(seed_of(name, peer)).digest() for peer in NAMES if peer != name}
        recovery.commit(name, commitments)
    recovery.fix(MEMBERS)
    return recovery


def shares_of(vanished: str) -> dict[str, dict[str, dict[str, bytes]]]:
    """Return what each peer would send for a vanished member, by sender."""
    found: dict[str, dict[str, dict[str, bytes]]] = {name: {vanished: {}} for name in MEMBERS if name != vanished}
    holders = [NAMES.index(name) + 1 for name in found]
    for peer in DROPPED:
        entropy = hashlib.sha256(peer.encode()).digest()
        dealt = split(seed_of(vanished, peer), threshold=RULES.quorum, holders=holders, entropy=entropy)
        for name, share in zip(found, dealt, strict=True):
            found[name][vanished][peer] = share.encode()
    return found


def test_revealed_seeds_that_fit_are_taken() -> None:
    recovery = committed()
    for name in MEMBERS:
        assert name in recovery.missing()
        recovery.reveal(name, {peer: seed_of(name, peer) for peer in DROPPED})
    assert recovery.missing() == ()
    assert recovery.seeds == {name: {peer: seed_of(name, peer) for peer in DROPPED} for name in MEMBERS}


def test_nothing_is_missing_if_nobody_dropped() -> None:
    recovery = committed()
    recovery.fix(NAMES)
    recovery.reveal("m0", {})
    assert recovery.missing() == ()
    assert recovery.seeds == {}


@given(st.sampled_from(MEMBERS), st.sampled_from(DROPPED), st.binary(max_size=33))
def test_a_seed_that_does_not_fit_names_who_gave_it(name: str, peer: str, wrong: bytes) -> None:
    recovery = committed()
    seeds = {other: seed_of(name, other) for other in DROPPED} | {peer: wrong}
    with pytest.raises(ProtocolError, match=f"seed of {name} towards {peer} does not fit the commitment of {name}"):
        recovery.reveal(name, seeds)
    assert name in recovery.missing()


@pytest.mark.parametrize("peers", [(), DROPPED[:1], (*DROPPED, "m4"), ("m3", "m4")])
def test_seeds_for_other_than_the_dropped_peers_are_refused(peers: tuple[str, ...]) -> None:
    with pytest.raises(ProtocolError, match="not for the dropped peers"):
        committed().reveal("m0", {peer: seed_of("m0", peer) for peer in peers})


def test_a_seed_without_a_commitment_is_refused() -> None:
    recovery = SeedRecovery(ASKED, RULES.quorum)
    recovery.fix(MEMBERS)
    with pytest.raises(ProtocolError, match="does not fit"):
        recovery.reveal("m0", {peer: seed_of("m0", peer) for peer in DROPPED})


@settings(max_examples=20)
@given(st.permutations([name for name in MEMBERS if name != "m2"]))
def test_a_quorum_of_shares_recovers_a_vanished_member_in_any_order(order: list[str]) -> None:
    recovery = committed()
    given_shares = shares_of("m2")
    for count, name in enumerate(order):
        assert count < RULES.quorum or "m2" in recovery.seeds
        recovery.add_shares(name, given_shares[name])
    assert recovery.seeds == {"m2": {peer: seed_of("m2", peer) for peer in DROPPED}}
    assert recovery.missing() == tuple(name for name in MEMBERS if name != "m2")


def test_fewer_shares_than_the_quorum_recover_nothing_and_a_repeated_one_counts_once() -> None:
    recovery = committed()
    given_shares = shares_of("m2")
    assert RULES.quorum == 4
    for name, _ in itertools.product(("m0", "m1", "m3"), range(3)):
        recovery.add_shares(name, given_shares[name])
    assert recovery.seeds == {}


def test_wrong_shares_that_leave_no_quorum_of_right_ones_recover_nothing() -> None:
    """Four holders, a quorum of four: one wrong share and the seed stays closed, however often it is tried."""
    recovery = committed()
    given_shares = shares_of("m2")
    for name in given_shares:
        shares = given_shares[name]
        if name == "m3":
            shares = {"m2": {peer: Share(4, 99).encode() for peer in DROPPED}}
        recovery.add_shares(name, shares)
    assert recovery.seeds == {}
    recovery.add_shares("m3", given_shares["m3"])
    assert set(recovery.seeds) == {"m2"}, "the right share takes the wrong one's place"


def test_shares_that_combine_to_no_seed_recover_nothing() -> None:
    """The last share is bent until the four combine to the field's largest number, which is longer than a seed."""
    recovery = committed()
    given_shares = shares_of("m2")
    last = "m4"
    xs = [NAMES.index(name) + 1 for name in given_shares]
    bent = {}
    for peer in DROPPED:
        others = {NAMES.index(name) + 1: Share.decode(given_shares[name]["m2"][peer]).y for name in given_shares}
        weights = {x: math.prod(o * pow(o - x, -1, PRIME) for o in xs if o != x) % PRIME for x in xs}
        known = sum(weights[x] * y for x, y in others.items() if x != 5)
        bent[peer] = Share(5, (PRIME - 1 - known) * pow(weights[5], -1, PRIME) % PRIME).encode()
    for name in given_shares:
        recovery.add_shares(name, {"m2": bent} if name == last else given_shares[name])
    assert recovery.seeds == {}


@pytest.mark.parametrize(
    ("claim", "shares"),
    [
        ("dropped peers", {"m5": {"m6": Share(1, 1).encode()}}),
        ("dropped peers", {"m2": {"m5": Share(1, 1).encode()}}),
        ("dropped peers", {"m2": {"m5": Share(1, 1).encode(), "m4": Share(1, 1).encode()}}),
        ("another member", {"m2": {"m5": Share(1, 1).encode(), "m6": Share(2, 1).encode()}}),
    ],
)
def test_shares_of_others_or_for_others_are_refused(claim: str, shares: dict[str, dict[str, bytes]]) -> None:
    with pytest.raises(ProtocolError, match=claim):
        committed().add_shares("m0", shares)


def test_a_share_of_another_form_is_refused() -> None:
    with pytest.raises(MessageError, match="share"):
        committed().add_shares("m0", {"m2": dict.fromkeys(DROPPED, b"x")})
