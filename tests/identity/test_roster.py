from __future__ import annotations

import hashlib
import json

import pytest

from hansa.crypto.signature import SigningKey
from hansa.errors import IdentityError
from hansa.identity.roster import Member, Roster, check_name

KEYS = [SigningKey.from_bytes(bytes([number]) * 32).public for number in range(4)]
ROSTER = Roster("baltic", (Member("north", KEYS[0], "Nörd & Co"), Member("south", KEYS[1])), Member("hub", KEYS[2]))


def test_the_canonical_form_is_the_documented_one() -> None:
    member = '{"identity_key":"%s","legal_name":"%s","name":"%s"}'
    expected = (
        '{"coordinator":'
        + member % (KEYS[2], "", "hub")
        + ',"federation":"baltic","members":['
        + member % (KEYS[0], "Nörd & Co", "north")
        + ","
        + member % (KEYS[1], "", "south")
        + "]}"
    )
    assert ROSTER.to_bytes() == expected.encode()
    assert ROSTER.digest() == hashlib.sha256(expected.encode()).digest()


def test_a_roster_survives_its_text_form_however_it_is_indented() -> None:
    assert Roster.from_bytes(ROSTER.to_bytes()) == ROSTER
    assert Roster.from_bytes(json.dumps(json.loads(ROSTER.to_bytes()), indent=3).encode()) == ROSTER


def test_a_node_is_found_by_name() -> None:
    assert ROSTER.node("south") == ROSTER.members[1]
    assert ROSTER.node("hub") == ROSTER.coordinator
    with pytest.raises(IdentityError, match="'west'"):
        ROSTER.node("west")


@pytest.mark.parametrize(
    "members",
    [
        (),
        (Member("south", KEYS[0]), Member("north", KEYS[1])),
        (Member("north", KEYS[0]), Member("north", KEYS[1])),
        (Member("north", KEYS[0]), Member("south", KEYS[0])),
        (Member("hub", KEYS[0]),),
        (Member("north", KEYS[2]),),
        (Member("North", KEYS[0]),),
        (Member("north", "ed25519:short"),),
    ],
)
def test_a_roster_with_repeated_unsorted_or_malformed_members_is_refused(members: tuple[Member, ...]) -> None:
    with pytest.raises(IdentityError):
        Roster("baltic", members, ROSTER.coordinator)


def test_unknown_missing_and_mistyped_fields_are_refused() -> None:
    plain = json.loads(ROSTER.to_bytes())
    for faulty in ({**plain, "admin": 1}, {"members": []}, {**plain, "federation": 3}, {**plain, "members": []}):
        with pytest.raises(IdentityError):
            Roster.from_bytes(json.dumps(faulty).encode())


@pytest.mark.parametrize("name", ["", "a.b", "a*", ">", "../x", "x" * 41, "Ä"])
def test_a_name_that_could_leave_its_place_is_refused(name: str) -> None:
    with pytest.raises(IdentityError, match="a-z, 0-9"):
        check_name(name, what="node")
