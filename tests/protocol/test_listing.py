"""Claims about an epoch's labels and its identifier."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from assembly import Assembly
from hansa.errors import MessageError
from hansa.protocol.listing import attempt_label, check_attempt_label, epoch_identifier, epoch_label
from simulator import limits

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "messages.json").read_text())


def test_labels_name_the_epoch_and_its_attempts() -> None:
    assert epoch_label("abcdef0123456789", 7) == "e7-abcdef012345"
    assert attempt_label(2) == "setup-2"
    assert check_attempt_label("setup-123456789") == "setup-123456789"


@pytest.mark.parametrize("label", ["setup-0", "setup-01", "setup-", "setup-1-to-2", "setup-1234567890", "x"])
def test_other_labels_are_those_of_no_attempt(label: str) -> None:
    with pytest.raises(MessageError, match="expected a session"):
        check_attempt_label(label)


@pytest.mark.parametrize("claim", sorted(VECTORS["epoch_identifier"]))
def test_the_identifier_is_sha_256_of_the_list_and_of_every_set_up_and_halves(claim: str) -> None:
    vector = VECTORS["epoch_identifier"][claim]
    views = [{name: bytes.fromhex(text) for name, text in vector[view].items()} for view in ("setups", "halves")]
    assert epoch_identifier(bytes.fromhex(vector["listing"]), *views).hex() == vector["epoch_id"]


def test_the_epoch_id_is_the_hash_of_everything_that_was_published() -> None:
    assembly = Assembly(limits(3, 0))
    keys = assembly.set_up()["m0"]
    setups, halves = assembly.bodies("setup"), assembly.bodies("halves")
    state = hashlib.sha256(b"hansa/epoch/1" + hashlib.sha256(assembly.listing()).digest())
    for name in assembly.rules.members:
        state.update(hashlib.sha256(setups[name]).digest() + hashlib.sha256(halves[name]).digest())
    assert keys.epoch_id == state.digest() == epoch_identifier(assembly.listing(), setups, halves)


def test_members_with_different_views_have_different_epoch_ids() -> None:
    names = ("m0", "m1", "m2")
    listing, setups, halves = b"list", dict.fromkeys(names, b"set-up"), dict.fromkeys(names, b"halves")
    ids = {epoch_identifier(listing, setups, halves), epoch_identifier(listing + b"x", setups, halves)}
    for name in names:
        ids.add(epoch_identifier(listing, {**setups, name: b"other"}, halves))
        ids.add(epoch_identifier(listing, setups, {**halves, name: b"other"}))
    assert len(ids) == 8
