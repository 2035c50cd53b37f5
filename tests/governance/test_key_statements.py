"""Claims about signed statements on keys: whose signatures make them count, and what they change."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import msgspec
import pytest

from constitutions import constitution
from hansa.crypto.canonical import canonical
from hansa.errors import ConfigurationError, SignatureError
from hansa.governance.amendment import require_succession
from hansa.governance.constitution import Constitution, Party
from hansa.governance.key_statements import Attestation, Revocation, Rotation, SignedStatement, authority_of
from hansa.governance.membership import membership_entries
from hansa.governance.signed import SignedConstitution
from simulator import signing_key

if TYPE_CHECKING:
    from hansa.crypto.signature import SigningKey

AT = "2026-03-01T00:00:00+00:00"
RECOVERY, NEXT = signing_key("recovery of m00"), signing_key("next of m00")
OLD = msgspec.structs.replace(
    constitution(),
    members=(
        msgspec.structs.replace(constitution().members[0], recovery_key=RECOVERY.public),
        *constitution().members[1:],
    ),
)
OWN = signing_key("m00")
OTHERS = [signing_key(party.name) for party in OLD.members[1:]]


def revocation(*signers: SigningKey, **changes: str) -> SignedStatement:
    fields = {"federation": OLD.federation, "node": "m00", "key": OWN.public, "at": AT, "reason": "lost", **changes}
    return signed(Revocation(**fields), *signers)  # type: ignore[arg-type]


def rotation(*signers: SigningKey, **changes: str) -> SignedStatement:
    fields = {"federation": OLD.federation, "node": "m00", "old": OWN.public, "new": NEXT.public, "at": AT}
    return signed(Rotation(**{**fields, "reason": "replaced", **changes}), *signers)  # type: ignore[arg-type]


def signed(statement: Attestation | Revocation | Rotation, *signers: SigningKey) -> SignedStatement:
    found = SignedStatement(statement, {})
    for signer in signers:
        found = found.signed_by(signer)
    return found


def following(**changes: object) -> Constitution:
    return msgspec.structs.replace(OLD, epoch=OLD.epoch + 1, supersedes=OLD.digest(), **changes)


def test_a_key_is_revoked_by_itself_its_recovery_key_or_a_quorum_of_the_others() -> None:
    assert authority_of(revocation(OWN), OLD) == "its own key"
    assert authority_of(revocation(RECOVERY), OLD) == "its recovery key"
    assert authority_of(revocation(*OTHERS[: OLD.quorum]), OLD) == f"{OLD.quorum} other members, a quorum"


@pytest.mark.parametrize(
    "signers",
    [[], OTHERS[: OLD.quorum - 1], [signing_key("stranger")], [NEXT], [*OTHERS[: OLD.quorum - 1], signing_key("x")]],
)
def test_fewer_or_others_revoke_nothing(signers: list[SigningKey]) -> None:
    with pytest.raises(SignatureError, match=f"its recovery key, or {OLD.quorum} of the other members"):
        authority_of(revocation(*signers), OLD)


def test_the_coordinator_counts_for_nobodys_quorum() -> None:
    with pytest.raises(SignatureError):
        authority_of(revocation(*OTHERS[: OLD.quorum - 1], signing_key("coordinator")), OLD)


def test_a_rotation_needs_the_new_key_too() -> None:
    assert authority_of(rotation(OWN, NEXT), OLD) == "its own key"
    assert authority_of(rotation(RECOVERY, NEXT), OLD) == "its recovery key"
    with pytest.raises(SignatureError, match="not signed by the new key"):
        authority_of(rotation(OWN), OLD)
    with pytest.raises(SignatureError, match="of the other members"):
        authority_of(rotation(NEXT), OLD)


def test_an_attestation_is_its_own_keys_word() -> None:
    said = Attestation(OLD.federation, "m00", OWN.public, OWN.key_id, AT, "pkcs11", {"extractable": False})
    assert authority_of(signed(said, OWN), OLD) == "its own key"
    with pytest.raises(SignatureError, match="not signed by the key that it is about"):
        authority_of(signed(said, *OTHERS), OLD)


@pytest.mark.parametrize("changes", [{"federation": "other"}, {"node": "m01"}, {"node": "m99"}, {"key": NEXT.public}])
def test_a_statement_about_another_is_refused(changes: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match="statement"):
        authority_of(revocation(OWN, RECOVERY, *OTHERS, **changes), OLD)


def test_a_file_gives_back_what_was_written_and_any_changed_field_is_refused() -> None:
    found = revocation(OWN, RECOVERY)
    data = found.to_bytes()
    assert SignedStatement.from_bytes(data) == found
    tree = json.loads(data)
    for name, value in tree["statement"].items():
        other = {**tree, "statement": {**tree["statement"], name: "left" if name == "reason" else f"{value}x"}}
        with pytest.raises((ConfigurationError, SignatureError)):
            authority_of(SignedStatement.from_bytes(canonical(other)), OLD)
    for broken in (b"", b"{}", data + b" ", data[:-1], data.replace(b"revocation", b"rotation"), b"x" * 1_000_001):
        with pytest.raises(ConfigurationError):
            SignedStatement.from_bytes(broken)


def test_a_signature_for_one_kind_is_none_for_another() -> None:
    body = rotation(OWN, NEXT)
    moved = SignedStatement(revocation().statement, body.signatures)
    with pytest.raises(SignatureError, match="does not verify"):
        authority_of(moved, OLD)


def test_members_who_rotated_their_keys_stay() -> None:
    """All five go into hardware at once: without the statements nobody would be the same."""
    fresh = {party.name: signing_key(f"token of {party.name}") for party in OLD.members}
    members = tuple(Party(name, key.public) for name, key in fresh.items())
    statements = [
        rotation(signing_key(name), key, node=name, old=signing_key(name).public, new=key.public)
        for name, key in fresh.items()
    ]
    new = following(members=members)
    with pytest.raises(ConfigurationError, match="0 do"):
        require_succession(OLD, new)
    require_succession(OLD, new, statements)
    require_succession(OLD, new, statements[: OLD.quorum])
    with pytest.raises(ConfigurationError, match=f"{OLD.quorum - 1} do"):
        require_succession(OLD, new, statements[: OLD.quorum - 1])
    with pytest.raises(SignatureError):
        require_succession(OLD, new, [rotation(NEXT)])


def all_signed(one: Constitution, keys: dict[str, SigningKey] | None = None) -> SignedConstitution:
    found = SignedConstitution(one, {})
    for party in one.members:
        found = found.signed_by(party.name, (keys or {}).get(party.name) or signing_key(party.name))
    return found


def test_admission_exit_and_change_of_key_are_entries() -> None:
    first = membership_entries(None, all_signed(OLD))
    assert [(one.event, one.node, one.role) for one in first] == [
        ("admission", "coordinator", "coordinator"),
        *(("admission", party.name, "member") for party in OLD.members),
    ]
    guest = Party("m77", signing_key("m77").public, lei="5493001KJTIIGC8Y1R12")
    new = following(members=(Party("m00", NEXT.public), *OLD.members[1:4], guest))
    entries = membership_entries(all_signed(OLD), all_signed(new, {"m00": NEXT}), [rotation(OWN, NEXT)])
    assert [(one.event, one.node, one.previous_key, one.identity_key, one.lei) for one in entries] == [
        ("key-change", "m00", OWN.public, NEXT.public, ""),
        ("exit", "m04", OLD.members[4].identity_key, "", ""),
        ("admission", "m77", "", guest.identity_key, guest.lei),
    ]
    assert {(one.constitution, one.supersedes) for one in entries} == {(new.digest(), OLD.digest())}
    assert canonical(json.loads(entries[0].to_bytes())) == entries[0].to_bytes()


def test_without_the_signatures_nothing_is_entered() -> None:
    new = following(members=OLD.members[:4])
    unsigned = SignedConstitution(new, {})
    with pytest.raises(SignatureError, match="no signature of m00"):
        membership_entries(all_signed(OLD), unsigned)
    strangers = following(members=tuple(Party(f"n{place}", signing_key(f"n{place}").public) for place in range(5)))
    with pytest.raises(ConfigurationError, match=r"a quorum of .* 0 do"):
        membership_entries(all_signed(OLD), all_signed(strangers))
