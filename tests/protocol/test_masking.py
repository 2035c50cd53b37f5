"""Claims about masks and recovery packages."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hansa.crypto.prg import expand
from hansa.crypto.sharing import combine
from hansa.errors import IdentityError, MessageError, ProtocolError
from hansa.protocol.masking import apply_masks, mask_seed, open_package, recovery_packages, remove_orphans
from players import epoch_keys
from simulator import limits

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "masking.json").read_text())
MANIFEST = b"\x07" * 32
RULES = limits(7, 2)
KEYS = epoch_keys(RULES)
NAMES = RULES.members


def seeds(name: str, manifest: bytes = MANIFEST) -> dict[str, bytes]:
    return {peer: mask_seed(secret, manifest) for peer, secret in KEYS[name].pair_secrets.items()}


T = 2**138


def masked(name: str, manifest: bytes = MANIFEST) -> np.ndarray:
    limbs = np.zeros((3, 11), dtype=np.uint64)
    apply_masks(limbs, name=name, seeds=seeds(name, manifest))
    return limbs


def integers(limbs: np.ndarray) -> list[int]:
    """Return the integers mod T by Python's own arithmetic: limbs are signed digits of base 2^46."""
    rows = limbs.astype(np.int64).tolist()
    return [sum(digit << (46 * place) for place, digit in enumerate(column)) % T for column in zip(*rows, strict=True)]


@pytest.mark.parametrize("claim", sorted(VECTORS["mask_seed"]))
def test_mask_seed_is_hkdf_bound_to_the_manifest(claim: str) -> None:
    vector = VECTORS["mask_seed"][claim]
    seed = mask_seed(bytes.fromhex(vector["pair_secret"]), bytes.fromhex(vector["manifest"]))
    assert seed.hex() == vector["seed"]


def keystream_words(seed: bytes, count: int) -> list[int]:
    stream = expand(seed, 8 * count)
    return [int.from_bytes(stream[8 * k : 8 * k + 8], "little") % 2**46 for k in range(count)]


def test_the_lower_name_adds_and_the_higher_subtracts_46_bits_of_the_keystream() -> None:
    seed = bytes(range(32))
    low, high = np.zeros((3, 4), dtype=np.uint64), np.zeros((3, 4), dtype=np.uint64)
    apply_masks(low, name="a", seeds={"b": seed})
    apply_masks(high, name="b", seeds={"a": seed})
    words = keystream_words(seed, 12)
    assert low.ravel().tolist() == words
    assert high.ravel().tolist() == [-word % 2**64 for word in words]


@pytest.mark.parametrize("claim", sorted(VECTORS["masked"]))
def test_masked_limbs_are_these_integers_mod_2_to_138(claim: str) -> None:
    """The same integers by definition: the sum of the keystreams' digits, signs by the order of names."""
    vector = VECTORS["masked"][claim]
    given_seeds = {peer: bytes.fromhex(seed) for peer, seed in vector["seeds"].items()}
    limbs = np.zeros((3, 2), dtype=np.uint64)
    apply_masks(limbs, name=vector["name"], seeds=given_seeds)
    assert [f"{value:x}" for value in integers(limbs)] == vector["integers"]
    expected = [0, 0]
    for peer, seed in given_seeds.items():
        words = keystream_words(seed, 6)
        for place in range(2):
            value = sum(words[2 * limb + place] << (46 * limb) for limb in range(3))
            expected[place] += value if vector["name"] < peer else -value
    assert integers(limbs) == [value % T for value in expected]


@settings(max_examples=25)
@given(st.sets(st.sampled_from(NAMES), min_size=1))
def test_masks_cancel_over_any_cohort_once_its_orphans_are_removed(cohort: set[str]) -> None:
    total = np.zeros((3, 11), dtype=np.uint64)
    for name in cohort:
        total += masked(name)
        dropped = {peer: seed for peer, seed in seeds(name).items() if peer not in cohort}
        remove_orphans(total, cohort_member=name, seeds=dropped)
    assert not any(integers(total))


@settings(max_examples=25)
@given(st.sets(st.sampled_from(NAMES), min_size=1, max_size=6))
def test_masks_stay_while_one_orphan_is_left(cohort: set[str]) -> None:
    total = sum((masked(name) for name in cohort), start=np.zeros((3, 11), dtype=np.uint64))
    assert all(integers(total))


def test_members_who_were_shown_different_manifests_do_not_cancel() -> None:
    total = sum((masked(name) for name in NAMES[1:]), start=masked(NAMES[0], b"\x08" * 32))
    assert all(integers(total))


def packages(name: str, manifest: bytes = MANIFEST) -> dict[str, bytes]:
    return recovery_packages(
        name=name,
        participants=NAMES,
        pair_secrets=KEYS[name].pair_secrets,
        seeds=seeds(name, manifest),
        manifest=manifest,
        threshold=RULES.quorum,
        entropy=bytes(32),
    )


def opened(receiver: str, sealed: bytes, *, sender: str = "m1", manifest: bytes = MANIFEST) -> dict[str, bytes]:
    shares = open_package(
        sealed,
        sender=sender,
        receiver=receiver,
        participants=NAMES,
        pair_secret=KEYS[receiver].pair_secrets[sender],
        manifest=manifest,
    )
    return {peer: share.encode() for peer, share in shares.items()}


@settings(max_examples=20)
@given(st.sets(st.sampled_from([name for name in NAMES if name != "m1"]), min_size=5))
def test_any_quorum_of_packages_recovers_every_seed(holders: set[str]) -> None:
    sealed = packages("m1")
    found: dict[str, list] = {}
    for holder in sorted(holders):
        shares = open_package(
            sealed[holder], sender="m1", receiver=holder, participants=NAMES,
            pair_secret=KEYS[holder].pair_secrets["m1"], manifest=MANIFEST,
        )  # fmt: skip
        for peer, share in shares.items():
            assert share.x == NAMES.index(holder) + 1
            found.setdefault(peer, []).append(share)
    assert {peer: combine(shares, threshold=RULES.quorum) for peer, shares in found.items()} == seeds("m1")


def test_fewer_shares_than_the_quorum_open_no_seed() -> None:
    sealed = packages("m1")
    shares = [
        open_package(
            sealed[holder], sender="m1", receiver=holder, participants=NAMES,
            pair_secret=KEYS[holder].pair_secrets["m1"], manifest=MANIFEST,
        )["m0"]
        for holder in ("m0", "m2", "m3", "m4")
    ]  # fmt: skip
    with pytest.raises(ProtocolError, match="at least 5"):
        combine(shares, threshold=RULES.quorum)


@pytest.mark.parametrize("claim", sorted(VECTORS["package"]))
def test_packages_have_these_hashes(claim: str) -> None:
    """Pinned from this code: sealing is deterministic, so a change of labels or layout shows here."""
    vector = VECTORS["package"][claim]
    assert hashlib.sha256(packages(vector["sender"])[vector["receiver"]]).hexdigest() == vector["sha256"]


def test_with_fewer_peers_than_the_threshold_there_are_no_packages() -> None:
    few = recovery_packages(
        name="m1", participants=NAMES[:5], pair_secrets=KEYS["m1"].pair_secrets,
        seeds=seeds("m1"), manifest=MANIFEST, threshold=5, entropy=bytes(32),
    )  # fmt: skip
    assert few == {}


def test_a_restart_makes_the_same_packages() -> None:
    assert packages("m1") == packages("m1")


def test_a_package_opens_for_its_receiver_sender_and_session_only() -> None:
    sealed = packages("m1")
    assert set(opened("m2", sealed["m2"])) == set(NAMES) - {"m1"}
    for wrong in (
        lambda: opened("m3", sealed["m2"]),
        lambda: opened("m2", sealed["m2"], sender="m4"),
        lambda: opened("m2", sealed["m2"], manifest=b"\x08" * 32),
        lambda: opened("m2", sealed["m2"][:-1] + b"\x00"),
    ):
        with pytest.raises(IdentityError):
            wrong()


def test_a_package_of_another_number_of_shares_is_refused() -> None:
    short = recovery_packages(
        name="m1", participants=NAMES[:3], pair_secrets=KEYS["m1"].pair_secrets,
        seeds=seeds("m1"), manifest=MANIFEST, threshold=2, entropy=bytes(32),
    )  # fmt: skip
    with pytest.raises(MessageError, match="recovery package of m1"):
        opened("m2", short["m2"])
