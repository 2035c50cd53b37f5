"""Claims about the set-up of an epoch, and about members who spoil it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest

from hansa.crypto.agreement import EncryptionKey, seal
from hansa.errors import EquivocationError, IdentityError, RefusedError, SignatureError
from hansa.protocol.epoch import (
    EpochKeys,
    MemberEpoch,
    attempt_label,
    epoch_identifier,
    epoch_label,
    pair_halves_info,
)
from hansa.protocol.messages import Epoch, Halves, Setup, open_envelope
from players import EPOCH, MemoryFacts, from_coordinator, from_member
from simulator import hash_of, limits, signing_key

if TYPE_CHECKING:
    from hansa.protocol.limits import Limits


@dataclass
class Assembly:
    """The members of an epoch and what they published."""

    rules: Limits = field(default_factory=limits)

    def __post_init__(self) -> None:
        self.facts = {name: MemoryFacts() for name in self.rules.members}
        self.members = {name: self.start(name) for name in self.rules.members}
        self.setups = {name: member.setup_message() for name, member in self.members.items()}
        self.halves: dict[str, bytes] = {}

    def start(self, name: str) -> MemberEpoch:
        return MemberEpoch(
            name,
            epoch=EPOCH,
            limits=self.rules,
            signer=signing_key(name),
            facts=self.facts[name],
            entropy=np.random.default_rng(hash_of(name)).bytes,
        )

    def tell_setups(self, member: MemberEpoch) -> None:
        for name, body in self.setups.items():
            member.on_setup(name, body)

    def listing(self, names: tuple[str, ...] | None = None, **changes: object) -> bytes:
        chosen = names or self.rules.members
        hashes = tuple(hashlib.sha256(self.setups.get(name, b"")).digest() for name in chosen)
        return from_coordinator(msgspec.structs.replace(Epoch(EPOCH, chosen, hashes), **changes))

    def set_up(self, names: tuple[str, ...] | None = None) -> dict[str, EpochKeys | None]:
        body = self.listing(names)
        for name, member in self.members.items():
            self.tell_setups(member)
            halves = member.on_epoch(body)
            if halves is not None:
                self.halves[name] = halves
        for member in self.members.values():
            for name, halves in self.halves.items():
                member.on_halves(name, halves)
        return {name: member.keys for name, member in self.members.items()}


def test_labels_name_the_epoch_and_its_attempts() -> None:
    assert epoch_label("abcdef0123456789", 7) == "e7-abcdef012345"
    assert attempt_label(2) == "setup-2"
    assert pair_halves_info("e1-ab", "m0", "m1") == b"hansa/half/1|e1-ab|m0|m1"


def test_both_sides_of_every_pair_hold_the_same_secret_and_no_other_pair_does() -> None:
    keys = Assembly(limits(4, 1)).set_up()
    secrets = set()
    for name, held in keys.items():
        assert held is not None
        assert set(held.pair_secrets) == set(keys) - {name}
        for peer, secret in held.pair_secrets.items():
            assert keys[peer].pair_secrets[name] == secret  # type: ignore[union-attr]
            secrets.add(secret)
    assert len(secrets) == 6
    assert len({held.epoch_id for held in keys.values() if held}) == 1
    assert len({held.noise_key for held in keys.values() if held}) == 4


def test_the_epoch_id_is_the_hash_of_everything_that_was_published() -> None:
    assembly = Assembly(limits(3, 0))
    keys = assembly.set_up()["m0"]
    state = hashlib.sha256(b"hansa/epoch/1" + hashlib.sha256(assembly.listing()).digest())
    for name in assembly.rules.members:
        state.update(hashlib.sha256(assembly.setups[name]).digest() + hashlib.sha256(assembly.halves[name]).digest())
    assert keys is not None
    assert keys.epoch_id == state.digest() == epoch_identifier(assembly.listing(), assembly.setups, assembly.halves)


def test_members_with_different_views_have_different_epoch_ids() -> None:
    assembly = Assembly(limits(3, 0))
    assembly.set_up()
    ids = {epoch_identifier(assembly.listing(), assembly.setups, assembly.halves)}
    for view in (assembly.setups, assembly.halves):
        for name in assembly.rules.members:
            changed = {**view, name: view[name] + b"x"}
            setups = changed if view is assembly.setups else assembly.setups
            halves = changed if view is assembly.halves else assembly.halves
            ids.add(epoch_identifier(assembly.listing(), setups, halves))
    ids.add(epoch_identifier(assembly.listing() + b"x", assembly.setups, assembly.halves))
    assert len(ids) == 8


def test_a_restart_sends_the_same_bytes_and_finds_the_same_keys() -> None:
    assembly = Assembly(limits(3, 0))
    before = assembly.set_up()["m1"]
    again = assembly.start("m1")
    assert again.setup_message() == assembly.setups["m1"]
    assembly.tell_setups(again)
    assert again.on_epoch(assembly.listing()) == assembly.halves["m1"]
    assert again.on_epoch(assembly.listing()) == assembly.halves["m1"]
    for name, body in assembly.halves.items():
        again.on_halves(name, body)
    assert again.keys == before


def test_keys_stay_out_of_a_representation() -> None:
    keys = Assembly(limits(3, 0)).set_up()["m0"]
    assert keys is not None
    assert "secret" not in repr(keys)
    assert "noise" not in repr(keys)


def test_a_kill_between_the_key_and_the_set_up_loses_nothing() -> None:
    assembly = Assembly(limits(3, 0))
    kept = dict(assembly.facts["m0"].values)
    del assembly.facts["m0"].values[f"{EPOCH}/setup"]
    assert assembly.start("m0").setup_message() == assembly.setups["m0"]
    assert assembly.facts["m0"].values == kept


@pytest.mark.parametrize("lost", ["key", "noise"])
def test_a_member_that_lost_its_keys_refuses_the_epoch(lost: str) -> None:
    assembly = Assembly(limits(3, 0))
    assembly.set_up()
    again = assembly.start("m0")
    assembly.tell_setups(again)
    again.on_epoch(assembly.listing())
    del assembly.facts["m0"].values[f"{EPOCH}/{lost}"]
    again.on_halves("m1", assembly.halves["m1"])
    again.on_halves("m2", assembly.halves["m2"])
    with pytest.raises(RefusedError, match="gone; a new epoch"):
        again.on_halves("m0", assembly.halves["m0"])


def setup_of(**changes: object) -> Setup:
    rules = limits()
    plain = Setup(EPOCH, rules.constitution, EncryptionKey.from_bytes(bytes(96)).public_bytes())
    return msgspec.structs.replace(plain, **changes)


@pytest.mark.parametrize(
    "change",
    [
        {"epoch": "e2-abababababab"},
        {"constitution": "cd" * 32},
        {"encryption_key": b""},
        {"encryption_key": b"short"},
        {"encryption_key": bytes(1184) + b"\0" * 32},
        {"encryption_key": b"\xff" * 1216},
    ],
)
def test_a_set_up_for_another_epoch_or_with_a_key_that_nobody_can_seal_to_is_refused(
    change: dict[str, object],
) -> None:
    assembly = Assembly()
    assembly.members["m0"].on_setup("m1", from_member("m1", setup_of()))
    with pytest.raises(RefusedError, match="set-up of m2"):
        assembly.members["m0"].on_setup("m2", from_member("m2", setup_of(**change)))


def test_a_second_set_up_does_not_take_the_place_of_the_first() -> None:
    assembly = Assembly(limits(3, 0))
    for member in assembly.members.values():
        assembly.tell_setups(member)
        with pytest.raises(EquivocationError, match="set-up of m2"):
            member.on_setup("m2", from_member("m2", setup_of()))
    assert all(assembly.set_up().values())


def test_a_set_up_in_anothers_name_is_refused() -> None:
    with pytest.raises(SignatureError):
        Assembly().members["m0"].on_setup("m1", from_member("m1", setup_of(), signer="m2"))


@pytest.mark.parametrize(
    ("clause", "names", "change"),
    [
        ("this epoch", None, {"epoch": "e2-abababababab"}),
        ("in order", ("m1", "m0", "m2", "m3", "m4"), {}),
        ("in order", ("m0", "m0", "m1", "m2", "m3"), {}),
        ("all members", ("coordinator", "m0", "m1", "m2", "m3"), {}),
        ("at least 4", ("m0", "m1", "m2"), {}),
        ("published", None, {"setups": (b"\0" * 32,) * 5}),
        ("published", None, {"setups": ()}),
    ],
)
def test_a_list_that_the_set_ups_do_not_bear_out_is_refused(
    clause: str, names: tuple[str, ...] | None, change: dict[str, object]
) -> None:
    assembly = Assembly()
    assembly.tell_setups(assembly.members["m0"])
    with pytest.raises(RefusedError, match=clause):
        assembly.members["m0"].on_epoch(assembly.listing(names, **change))


def test_a_list_by_anybody_but_the_coordinator_is_refused() -> None:
    assembly = Assembly()
    assembly.tell_setups(assembly.members["m0"])
    listing = Epoch(EPOCH, assembly.rules.members, ())
    with pytest.raises(SignatureError):
        assembly.members["m0"].on_epoch(from_member("coordinator", listing, signer="m1"))


def test_a_member_that_is_not_listed_has_no_keys() -> None:
    assembly = Assembly()
    keys = assembly.set_up(("m0", "m1", "m2", "m3"))
    assert keys["m4"] is None
    assert keys["m0"] is not None
    assert keys["m0"].members == ("m0", "m1", "m2", "m3")
    with pytest.raises(RefusedError, match="not in the epoch's list"):
        assembly.members["m0"].on_halves("m4", b"")


def test_halves_before_a_list_are_refused() -> None:
    with pytest.raises(RefusedError, match="not in the epoch's list"):
        Assembly().members["m0"].on_halves("m1", b"")


def test_a_new_list_makes_new_secrets_and_the_old_list_does_not_come_back() -> None:
    assembly = Assembly()
    before = assembly.set_up()["m0"]
    old = dict(assembly.halves)
    assembly.halves.clear()
    after = assembly.set_up(("m0", "m1", "m2", "m3"))["m0"]
    assert before is not None
    assert after is not None
    assert after.epoch_id != before.epoch_id
    assert all(after.pair_secrets[name] != before.pair_secrets[name] for name in ("m1", "m2", "m3"))
    with pytest.raises(RefusedError, match="replaced"):
        assembly.members["m0"].on_epoch(assembly.listing())
    with pytest.raises(RefusedError, match="another list"):
        assembly.members["m0"].on_halves("m1", old["m1"])
    assert assembly.members["m0"].keys == after


def test_later_halves_do_not_change_keys_that_stand() -> None:
    assembly = Assembly(limits(3, 0))
    keys = assembly.set_up()["m0"]
    halves = open_envelope(assembly.halves["m2"], Halves, sender="m2", key=signing_key("m2").public)
    other = msgspec.structs.replace(halves, sealed=dict.fromkeys(halves.sealed, b"junk"))
    with pytest.raises(EquivocationError, match="halves of m2"):
        assembly.members["m0"].on_halves("m2", from_member("m2", other))
    assert assembly.members["m0"].on_halves("m2", assembly.halves["m2"]) is keys


@pytest.mark.parametrize("change", [{"epoch": "e2-abababababab"}, {"listing": b"\0" * 32}, {"sealed": {}}])
def test_halves_for_another_epoch_list_or_peers_are_refused(change: dict[str, object]) -> None:
    assembly = Assembly(limits(3, 0))
    assembly.set_up()
    halves = open_envelope(assembly.halves["m2"], Halves, sender="m2", key=signing_key("m2").public)
    fresh = assembly.start("m0")
    assembly.tell_setups(fresh)
    fresh.on_epoch(assembly.listing())
    with pytest.raises(RefusedError, match="halves of m2"):
        fresh.on_halves("m2", from_member("m2", msgspec.structs.replace(halves, **change)))


def test_a_half_that_does_not_open_names_its_sender() -> None:
    assembly = Assembly(limits(3, 0))
    for member in assembly.members.values():
        assembly.tell_setups(member)
        assembly.halves[member.name] = member.on_epoch(assembly.listing()) or b""
    digest = hashlib.sha256(assembly.listing()).digest()
    setup = open_envelope(assembly.setups["m0"], Setup, sender="m0", key=signing_key("m0").public)
    moved = seal(setup.encryption_key, bytes(32), pair_halves_info(EPOCH, "m1", "m0"))
    bad = from_member("m2", Halves(EPOCH, digest, {"m0": moved, "m1": b"junk"}))
    first = assembly.members["m0"]
    first.on_halves("m0", assembly.halves["m0"])
    first.on_halves("m1", assembly.halves["m1"])
    with pytest.raises(IdentityError, match="halves of m2"):
        first.on_halves("m2", bad)
    assert first.keys is None
