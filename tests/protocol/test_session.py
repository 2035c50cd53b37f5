"""Claims about a member's side of a session, and about what a lying coordinator gets from it."""

from __future__ import annotations

import hashlib

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hansa.crypto.encryption import ciphertext_bytes
from hansa.errors import (
    EquivocationError,
    RefusedError,
)
from hansa.protocol.masking import mask_seed
from hansa.protocol.messages import (
    Agreement,
    Call,
    Cohort,
    Opening,
    encode,
    open_envelope,
)
from hansa.protocol.session import (
    call_limit,
    call_step,
    facts_label,
    open_step,
    opening_limit,
    recover_limit,
    result_limit,
    session_label,
    shares_limit,
    upload_limit,
)
from players import EPOCH, Table, from_coordinator, from_member, manifest, table_after_upload, upload_of
from simulator import limits, purpose, signing_key


def agreed(table: Table, cohort: Cohort, names: tuple[str, ...]) -> list[bytes]:
    return [from_member(name, Agreement(table.sum.digest, cohort.root())) for name in names]


def hashes(table: Table, names: tuple[str, ...]) -> tuple[bytes, ...]:
    return tuple(hashlib.sha256(table.uploads[name]).digest() for name in names)


@given(
    st.integers(0, 2**31), st.integers(0, 2**31), st.from_regex(r"[a-z0-9-]{1,20}", fullmatch=True), st.integers(1, 9)
)
def test_a_label_names_one_place_only(round_: int, position: int, name: str, attempt: int) -> None:
    rules = limits()
    asked = manifest(rules, round=round_, position=position, purpose=name, attempt=attempt)
    head, middle, rest = session_label(asked).split("-", 2)
    purpose_name, last = rest.rsplit("-a", 1)
    assert (int(head[1:]), int(middle), purpose_name, int(last)) == (round_, position, name, attempt)


def test_facts_of_two_epochs_never_meet() -> None:
    assert facts_label("e1-ab", "r1-0-gram-a1") == "e1-ab/r1-0-gram-a1"
    assert facts_label("e1-ab", "r1-0-gram-a1") != facts_label("e2-ab", "r1-0-gram-a1")


def test_the_steps_of_calls_and_openings_are_numbered_after_the_first() -> None:
    assert [call_step(number) for number in range(3)] == ["call", "call-1", "call-2"]
    assert [open_step(number) for number in range(3)] == ["open", "open-1", "open-2"]


@pytest.mark.parametrize(("members", "colluders"), [(4, 0), (7, 1), (16, 0)])
def test_real_messages_stay_within_their_limits(members: int, colluders: int) -> None:
    table = table_after_upload(("m1",), rules=limits(members, colluders))
    upload = upload_of(table, "m0")
    assert set(upload.commitments) == set(table.rules.members) - {"m0"}
    assert len(encode(upload)) <= upload_limit(table.manifest, table.rules)
    table.agree()
    call = table.sum.next_call()
    assert call is not None
    assert len(encode(call)) <= call_limit(members)
    table.sum.note_call(call)
    opening = table.sessions[call.decryptors[0]].on_call(from_coordinator(call))
    assert opening is not None
    assert len(opening) <= opening_limit(table.manifest, table.rules)
    recover = from_coordinator(table.sum.recover())
    assert len(recover) <= recover_limit(members)
    for name in table.sum.uploaded[1:]:
        table.sum.add_opening(name, table.sessions[name].on_call(from_coordinator(call)) or b"")
    assert table.sum.missing() == ("m0",)
    shares = table.sessions["m2"].on_recover(from_coordinator(table.sum.recover()))
    assert shares is not None
    assert len(shares) <= shares_limit(members)
    table.sum.add_opening("m0", opening)
    result = table.sum.result()
    assert result is not None
    assert len(encode(result)) <= result_limit(table.manifest, table.rules)


def test_a_member_uploads_one_body_for_ever() -> None:
    table = Table()
    first = table.sessions["m0"].upload(table.doors["m0"], announced_ns=0, now_ns=0)
    again = table.session("m0").upload(table.doors["m0"], announced_ns=0, now_ns=1)
    assert first is not None
    assert first == again
    assert table.doors["m0"].asked == 1


def test_a_late_upload_is_not_sent() -> None:
    table = Table()
    late = table.rules.upload_ns + 1
    assert table.sessions["m0"].upload(table.doors["m0"], announced_ns=0, now_ns=late) is None
    assert table.doors["m0"].asked == 0
    on_time = table.sessions["m0"].upload(table.doors["m0"], announced_ns=0, now_ns=late - 1)
    assert on_time is not None
    assert table.session("m0").upload(table.doors["m0"], announced_ns=0, now_ns=late) is None


def test_nothing_is_uploaded_after_the_cohort() -> None:
    table = table_after_upload(("m4",))
    session = table.sessions["m4"]
    assert session.on_cohort(from_coordinator(table.propose())) is None
    assert session.upload(table.doors["m4"], announced_ns=0, now_ns=0) is None


@pytest.mark.parametrize(
    "change",
    [
        {"epoch_id": bytes(32)},
        {"length": 7},
        {"participants": ("m0", "m1", "m2", "m3")},
        {"purpose": "another"},
        {"epoch": "e2-abababababab"},
        {"session": "r1-0-gram-a2"},
        {"session": "r2-0-gram-a1"},
    ],
)
def test_a_manifest_of_another_epoch_length_cohort_purpose_or_label_is_refused(change: dict[str, object]) -> None:
    table = Table()
    with pytest.raises(RefusedError):
        table.session("m0", manifest(table.rules, **change))


def test_a_second_manifest_under_the_same_label_is_refused_after_a_restart_too() -> None:
    table = Table()
    table.upload(["m0"])
    other = manifest(table.rules, index=1)
    assert other.session == table.manifest.session
    with pytest.raises(EquivocationError):
        table.session("m0", other)


def test_a_session_under_another_subject_is_refused() -> None:
    table = Table()
    asked = table.manifest
    with pytest.raises(RefusedError, match=asked.session):
        type(table.sessions["m0"])(
            asked, name="m0", session="r1-1-gram-a1", keys=table.keys["m0"], limits=table.rules,
            signer=signing_key("m0"), facts=table.facts["m0"],
        )  # fmt: skip


def test_a_cohort_below_the_minimum_is_not_signed() -> None:
    table = table_after_upload()
    few = ("m0", "m1", "m2")
    with pytest.raises(RefusedError, match="at least 4"):
        table.sessions["m0"].on_cohort(from_coordinator(Cohort(table.sum.digest, few, hashes(table, few))))


@pytest.mark.parametrize(
    "names",
    [
        ("m0", "m0", "m1", "m2"),
        ("m1", "m0", "m2", "m3"),
        ("m0", "m1", "m2", "m9"),
        ("coordinator", "m0", "m1", "m2"),
    ],
)
def test_a_cohort_with_names_repeated_out_of_order_or_foreign_is_not_signed(names: tuple[str, ...]) -> None:
    table = table_after_upload()
    with pytest.raises(RefusedError, match="in order"):
        table.sessions["m0"].on_cohort(from_coordinator(Cohort(table.sum.digest, names, (b"",) * 4)))


def test_a_cohort_with_fewer_hashes_than_names_is_not_signed() -> None:
    table = table_after_upload()
    names = table.rules.members
    with pytest.raises(RefusedError, match="one hash each"):
        table.sessions["m0"].on_cohort(from_coordinator(Cohort(table.sum.digest, names, hashes(table, names)[:4])))


def test_a_cohort_without_the_members_own_upload_is_not_signed() -> None:
    table = table_after_upload()
    names = table.rules.members
    for wrong in (hashes(table, ("m1", *names[1:])), (b"\0" * 32, *hashes(table, names[1:]))):
        with pytest.raises(RefusedError, match="upload that we sent"):
            table.sessions["m0"].on_cohort(from_coordinator(Cohort(table.sum.digest, names, wrong)))
    silent = table_after_upload(("m4",))
    with pytest.raises(RefusedError, match="upload that we sent"):
        silent.sessions["m4"].on_cohort(
            from_coordinator(Cohort(silent.sum.digest, names, (*hashes(silent, names[:4]), b"\0" * 32)))
        )


def test_one_cohort_is_signed_whatever_comes_and_however_often_the_member_restarts() -> None:
    table = table_after_upload()
    every = table.propose()
    names = every.members[:4]
    other = from_coordinator(Cohort(table.sum.digest, names, every.uploads[:4]))
    first = table.sessions["m0"].on_cohort(from_coordinator(every))
    assert table.sessions["m0"].on_cohort(from_coordinator(every)) == first
    with pytest.raises(EquivocationError):
        table.sessions["m0"].on_cohort(other)
    restarted = table.session("m0")
    with pytest.raises(EquivocationError):
        restarted.on_cohort(other)
    assert restarted.on_cohort(from_coordinator(every)) == first
    restarted.close()
    with pytest.raises(EquivocationError):
        table.session("m0").on_cohort(other)


def test_a_refused_second_cohort_does_not_shut_out_the_first() -> None:
    table = table_after_upload(("m4",))
    table.agree()
    cohort = table.propose()
    second = from_coordinator(msgspec.structs.replace(cohort, uploads=(b"\0" * 32, *cohort.uploads[1:])))
    for name in cohort.members:
        with pytest.raises(EquivocationError):
            table.sessions[name].on_cohort(second)
    table.open(cohort.members)
    assert np.array_equal(table.opened(), table.expected(cohort.members))


def call_body(table: Table, agreements: list[bytes] | None = None, **changes: object) -> bytes:
    """Return a first call of the table's cohort with these signatures, whether it is a good one or not."""
    cohort = table.sum.cohort
    assert cohort is not None
    names = cohort.members[: table.rules.threshold]
    if agreements is None:
        agreements = agreed(table, cohort, cohort.members[: table.rules.quorum])
    call = Call(table.sum.digest, cohort.root(), 0, names, tuple(agreements))
    return from_coordinator(msgspec.structs.replace(call, **changes))


def opening_of(table: Table, name: str, body: bytes | None) -> Opening:
    assert body is not None
    limit = opening_limit(table.manifest, table.rules)
    return open_envelope(body, Opening, sender=name, key=signing_key(name).public, limit=limit)


def test_a_call_opens_a_partial_and_seeds_towards_dropped_peers_only() -> None:
    table = table_after_upload(("m4",))
    table.agree()
    opening = opening_of(table, "m0", table.sessions["m0"].on_call(table.call()))
    assert opening.seeds == {"m4": mask_seed(table.keys["m0"].pair_secrets["m4"], table.sum.digest)}
    assert len(opening.partial) == ciphertext_bytes(32)
    assert (opening.number, opening.root) == (0, table.propose().root())


def test_who_is_not_called_gives_seeds_alone_and_nothing_if_nobody_dropped() -> None:
    dropped = table_after_upload(("m6",), rules=limits(7, 0))
    dropped.agree()
    call = dropped.call()
    opening = opening_of(dropped, "m5", dropped.sessions["m5"].on_call(call))
    assert set(opening.seeds) == {"m6"}
    assert opening.partial == b""
    full = table_after_upload(rules=limits(7, 0))
    full.agree()
    assert full.sessions["m6"].on_call(full.call()) is None


def test_repeated_signatures_count_once() -> None:
    table = table_after_upload(("m4",))
    table.agree()
    cohort = table.propose()
    twice = agreed(table, cohort, ("m0", "m0", "m1", "m1"))
    with pytest.raises(RefusedError, match="expected 4 members of the cohort, got 2"):
        table.sessions["m0"].on_call(call_body(table, twice))


@pytest.mark.parametrize("signers", [("m0", "m1", "m2"), ()])
def test_too_few_signatures_open_nothing(signers: tuple[str, ...]) -> None:
    table = table_after_upload(("m4",))
    table.agree()
    few = agreed(table, table.propose(), signers)
    with pytest.raises(RefusedError, match="expected 4"):
        table.sessions["m0"].on_call(call_body(table, few))


def test_a_call_of_another_cohort_or_manifest_opens_nothing() -> None:
    table = table_after_upload(("m4",))
    table.agree()
    with pytest.raises(RefusedError, match="cohort that was published"):
        table.sessions["m0"].on_call(call_body(table, root=b"\0" * 32))
    with pytest.raises(RefusedError, match="another manifest"):
        table.sessions["m0"].on_call(call_body(table, manifest=b"\0" * 32))
    assert not table.sessions["m0"].has_opened


def test_a_call_before_the_cohort_opens_nothing() -> None:
    table = table_after_upload(("m4",))
    table.agree()
    with pytest.raises(RefusedError, match="before a cohort"):
        table.session("m0").on_call(table.call())


def test_a_later_call_before_the_first_opens_nothing() -> None:
    table = table_after_upload(("m4",))
    table.agree()
    with pytest.raises(RefusedError, match="before the first"):
        table.sessions["m0"].on_call(call_body(table, [], number=1))


def test_a_member_that_did_not_sign_opens_nothing() -> None:
    table = table_after_upload(("m4",))
    table.agree()
    call = table.call()
    del table.facts["m0"].values[f"{EPOCH}/{table.manifest.session}/agreed"]
    with pytest.raises(RefusedError, match="not agreed"):
        table.sessions["m0"].on_call(call)


def test_the_same_call_has_the_same_answer_after_a_restart() -> None:
    table = table_after_upload(("m4",))
    table.agree()
    call = table.call()
    first = table.sessions["m0"].on_call(call)
    assert table.sessions["m0"].on_call(call) == first
    again = table.session("m0")
    assert again.has_opened
    again.on_cohort(from_coordinator(table.propose()))
    assert again.on_call(call) == first


def test_one_call_is_answered_under_a_number_whatever_comes_and_however_often_the_member_restarts() -> None:
    table = table_after_upload(rules=limits(7, 1))
    table.agree()
    call = table.call()
    other = call_body(table, decryptors=table.rules.members[1:6])
    first = table.sessions["m1"].on_call(call)
    with pytest.raises(EquivocationError, match="second call 0"):
        table.sessions["m1"].on_call(other)
    again = table.session("m1")
    again.on_cohort(from_coordinator(table.propose()))
    with pytest.raises(EquivocationError, match="second call 0"):
        again.on_call(other)
    assert again.on_call(call) == first, "a refused second call does not shut out the first"


TWO = {"gram": purpose(exchanges=2)}


def test_in_two_exchanges_the_cohort_is_not_signed_and_the_call_is_answered() -> None:
    table = table_after_upload(("m4",), rules=limits(5, 1, **TWO))
    table.agree()
    table.open(table.sum.uploaded)
    assert np.array_equal(table.opened(), table.expected(table.sum.uploaded))


def test_in_two_exchanges_one_cohort_is_answered_for_however_often_the_member_restarts() -> None:
    table = table_after_upload(rules=limits(5, 1, **TWO))
    every = table.propose()
    other = Cohort(table.sum.digest, every.members[:4], every.uploads[:4])
    table.agree()
    for session in (table.sessions["m0"], table.session("m0")):
        with pytest.raises(EquivocationError):
            session.on_cohort(from_coordinator(other))
    with pytest.raises(RefusedError, match="cohort that was published"):
        table.sessions["m0"].on_call(
            from_coordinator(Call(table.sum.digest, other.root(), 0, other.members[: table.rules.threshold], ()))
        )


def test_in_two_exchanges_signatures_on_the_cohort_are_refused() -> None:
    table = table_after_upload(("m4",), rules=limits(5, 1, **TWO))
    table.agree()
    with pytest.raises(RefusedError, match="belong into the first call of three"):
        table.sessions["m0"].on_call(call_body(table))
