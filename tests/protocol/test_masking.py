"""Claims about masks and recovery packages."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hansa.crypto.prg import expand
from hansa.crypto.sharing import combine
from hansa.errors import IdentityError, MessageError
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


def masked(name: str, manifest: bytes = MANIFEST) -> np.ndarray:
    words = np.zeros(33, dtype=np.uint32)
    apply_masks(words, name=name, seeds=seeds(name, manifest))
    return words


@pytest.mark.parametrize("claim", sorted(VECTORS["mask_seed"]))
def test_mask_seed_is_hkdf_bound_to_the_manifest(claim: str) -> None:
    vector = VECTORS["mask_seed"][claim]
    seed = mask_seed(bytes.fromhex(vector["pair_secret"]), bytes.fromhex(vector["manifest"]))
    assert seed.hex() == vector["seed"]


def test_the_lower_name_adds_and_the_higher_subtracts() -> None:
    seed = bytes(range(32))
    stream = np.frombuffer(expand(seed, 16), dtype="<u4")
    low, high = np.zeros(4, dtype=np.uint32), np.zeros(4, dtype=np.uint32)
    apply_masks(low, name="a", seeds={"b": seed})
    apply_masks(high, name="b", seeds={"a": seed})
    assert np.array_equal(low, stream)
    assert np.array_equal(high, -stream)


@settings(max_examples=25)
@given(st.sets(st.sampled_from(NAMES), min_size=1))
def test_masks_cancel_over_any_cohort_once_its_orphans_are_removed(cohort: set[str]) -> None:
    total = np.zeros(33, dtype=np.uint32)
    for name in cohort:
        total += masked(name)
        dropped = {peer: seed for peer, seed in seeds(name).items() if peer not in cohort}
        remove_orphans(total, cohort_member=name, seeds=dropped)
    assert not total.any()


@settings(max_examples=25)
@given(st.sets(st.sampled_from(NAMES), min_size=1, max_size=6))
def test_masks_stay_while_one_orphan_is_left(cohort: set[str]) -> None:
    total = sum((masked(name) for name in cohort), start=np.zeros(33, dtype=np.uint32))
    assert np.count_nonzero(total) > 25


def test_members_who_were_shown_different_manifests_do_not_cancel() -> None:
    total = sum((masked(name) for name in NAMES[1:]), start=masked(NAMES[0], b"\x08" * 32))
    assert np.count_nonzero(total) > 25


def packages(name: str, manifest: bytes = MANIFEST) -> dict[str, bytes]:
    return recovery_packages(
        name=name,
        participants=NAMES,
        pair_secrets=KEYS[name].pair_secrets,
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


def test_with_fewer_peers_than_the_threshold_there_are_no_packages() -> None:
    few = recovery_packages(
        name="m1", participants=NAMES[:5], pair_secrets=KEYS["m1"].pair_secrets, manifest=MANIFEST,
        threshold=5, entropy=bytes(32),
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
        name="m1", participants=NAMES[:3], pair_secrets=KEYS["m1"].pair_secrets, manifest=MANIFEST,
        threshold=2, entropy=bytes(32),
    )  # fmt: skip
    with pytest.raises(MessageError, match="recovery package of m1"):
        opened("m2", short["m2"])
