"""Claims about the coordinator's side of a session, and about what lying members achieve there."""

from __future__ import annotations

import itertools
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hansa.crypto.sharing import Share
from hansa.errors import EquivocationError, MessageError, ProtocolError, RefusedError, SessionDiedError, SignatureError
from hansa.protocol.limits import MAX_REOPENINGS
from hansa.protocol.messages import Agreement, Call, Cohort
from hansa.protocol.secure_sum import SecureSum
from players import Table, from_coordinator, from_member, manifest, shares_of, table_after_upload, upload_of
from simulator import limits, purpose


@st.composite
def casts(draw: st.DrawFn) -> tuple[Table, list[str], list[str]]:
    """A table of 3-7 members, those who drop before the upload and those who vanish before they answer a call."""
    members = draw(st.integers(3, 7))
    colluders = draw(st.integers(0, (members - 1) // 3))
    asked = purpose(exchanges=draw(st.sampled_from([2, 3])), value_bound=draw(st.sampled_from([100.0, 1e6])))
    # One that vanished is found out by a call: there are enough calls to find out all of them.
    table = Table(replace(limits(members, colluders, gram=asked), reopenings=MAX_REOPENINGS))
    order = draw(st.permutations(table.rules.members))
    dropped = order[: draw(st.integers(0, members - table.rules.minimum_cohort))]
    staying = order[len(dropped) :]
    vanished = staying[: draw(st.integers(0, len(staying) - table.rules.threshold))]
    return table, list(dropped), list(vanished)


def call_until_answered(table: Table, names: list[str]) -> None:
    """Call again and again, until none of those called is silent."""
    while not table.sum.is_answered():
        table.open(names)


@settings(max_examples=25, deadline=None)
@given(casts())
def test_the_opened_sum_is_exactly_what_the_cohort_put_in(cast: tuple[Table, list[str], list[str]]) -> None:
    table, dropped, vanished = cast
    cohort = [name for name in table.rules.members if name not in dropped]
    present = [name for name in cohort if name not in vanished]
    table.upload(cohort)
    table.agree()
    call_until_answered(table, present)
    if dropped and vanished:
        assert table.sum.result() is None
        assert table.sum.missing() == tuple(sorted(vanished))
        bodies = [(name, table.sessions[name].on_recover(from_coordinator(table.sum.recover()))) for name in present]
        for name, body in bodies:
            assert body is not None
            table.sum.add_shares(name, body)
    assert np.array_equal(table.opened(), table.expected(cohort))


def test_fewer_than_the_minimum_cohort_open_nothing() -> None:
    table = table_after_upload(("m3", "m4"))
    with pytest.raises(SessionDiedError, match="3 of 5 members"):
        table.sum.propose_cohort()


def test_nobody_is_called_before_a_quorum_has_agreed() -> None:
    table = table_after_upload()
    table.agree(["m0", "m1", "m2"])
    assert table.sum.next_call() is None
    assert table.sum.result() is None
    table.agree(["m0", "m0", "m1", "m1"])
    assert table.sum.next_call() is None, "an agreement given twice counts once"
    table.agree(["m4"])
    call = table.sum.next_call()
    assert call is not None
    assert call.decryptors == ("m0", "m1", "m2", "m4"), "those who agreed are called before the others"


def test_in_two_exchanges_who_uploaded_first_is_called_first() -> None:
    table = Table(limits(7, 0, gram=purpose(exchanges=2)))
    table.upload(["m6", "m0", "m5", "m1", "m4", "m2", "m3"])
    table.propose()
    call = table.sum.next_call()
    assert call is not None
    assert call.decryptors == ("m0", "m1", "m5", "m6")
    assert call.agreements == ()


def test_every_step_before_the_cohort_is_out_of_order() -> None:
    table = table_after_upload()
    call = Call(table.sum.digest, b"", 0, table.rules.members[:4], ())
    for step in (
        table.sum.next_call,
        table.sum.result,
        table.sum.recover,
        lambda: table.sum.note_call(call),
    ):
        with pytest.raises(ProtocolError, match="no cohort"):
            step()
    assert table.sum.call is None
    assert not table.sum.is_answered()
    assert table.sum.suspects() == frozenset()
    with pytest.raises(ProtocolError, match="no cohort"):
        table.sum.add_agreement("m0", from_member("m0", Agreement(table.sum.digest, b"")))


def test_the_same_upload_again_changes_nothing_and_another_one_is_equivocation() -> None:
    table = table_after_upload()
    table.sum.add_upload("m0", table.uploads["m0"])
    other = from_member("m0", msgspec.structs.replace(upload_of(table, "m0"), ciphertext=bytes(580)))
    with pytest.raises(EquivocationError, match="m0"):
        table.sum.add_upload("m0", other)
    table.agree()
    table.open(table.rules.members)
    assert np.array_equal(table.opened(), table.expected(table.rules.members))


def test_an_upload_after_the_cohort_is_ignored() -> None:
    table = table_after_upload(("m4",))
    table.agree()
    table.upload(["m4"])
    assert table.sum.uploaded == ("m0", "m1", "m2", "m3")
    table.open(table.sum.uploaded)
    assert np.array_equal(table.opened(), table.expected(table.sum.uploaded))


@pytest.mark.parametrize(
    "change",
    [
        {"manifest": b"\0" * 32},
        {"ciphertext": bytes(579)},
        {"ciphertext": b"\xff" * 580},
        {"commitments": {}},
        {"recovery": {"m9": b""}},
    ],
)
def test_an_upload_of_another_session_length_or_peers_is_refused(change: dict[str, object]) -> None:
    table = table_after_upload()
    fresh = SecureSum(table.manifest, limits=table.rules)
    with pytest.raises(MessageError):
        fresh.add_upload("m0", from_member("m0", msgspec.structs.replace(upload_of(table, "m0"), **change)))
    assert fresh.uploaded == ()


def test_an_upload_in_anothers_name_is_refused() -> None:
    table = table_after_upload()
    fresh = SecureSum(table.manifest, limits=table.rules)
    with pytest.raises(MessageError, match="not a participant"):
        fresh.add_upload("m9", table.uploads["m0"])
    with pytest.raises(MessageError):
        fresh.add_upload("m1", table.uploads["m0"])
    with pytest.raises(SignatureError):
        fresh.add_upload("m1", from_member("m1", upload_of(table, "m1"), signer="m0"))


def test_uploads_of_another_attempt_do_not_fit() -> None:
    table = table_after_upload()
    second = SecureSum(manifest(table.rules, attempt=2), limits=table.rules)
    with pytest.raises(MessageError, match="another manifest"):
        second.add_upload("m0", table.uploads["m0"])


def test_a_ciphertext_swapped_for_another_kills_the_cohort() -> None:
    table = table_after_upload()
    names = table.rules.members
    tampered = from_member("m0", msgspec.structs.replace(upload_of(table, "m0"), ciphertext=bytes(580)), signer="m0")
    fresh = SecureSum(table.manifest, limits=table.rules)
    for name in names:
        fresh.add_upload(name, tampered if name == "m0" else table.uploads[name])
    with pytest.raises(RefusedError, match="upload that we sent"):
        table.sessions["m0"].on_cohort(from_coordinator(fresh.propose_cohort()))


def test_a_restart_takes_the_published_cohort_back_and_its_uploads_only() -> None:
    table = table_after_upload(("m4",))
    cohort = table.propose()
    table.upload(["m4"])
    again = SecureSum(table.manifest, limits=table.rules)
    again.note_cohort(cohort)
    for name in reversed(table.rules.members):
        again.add_upload(name, table.uploads[name])
    assert again.uploaded == cohort.members
    table.sum = again
    table.agree()
    table.open(cohort.members)
    assert np.array_equal(table.opened(), table.expected(cohort.members))


def test_a_restart_that_has_not_all_uploads_again_opens_nothing() -> None:
    table = table_after_upload()
    table.agree()
    call = table.call()
    assert table.sum.cohort is not None
    assert table.sum.call is not None
    again = SecureSum(table.manifest, limits=table.rules)
    again.note_cohort(table.sum.cohort)
    again.note_call(table.sum.call)
    again.add_upload("m0", table.uploads["m0"])
    answer = table.sessions["m0"].on_call(call)
    assert answer is not None
    with pytest.raises(ProtocolError, match="before all uploads"):
        again.add_opening("m0", answer)
    assert again.result() is None


def test_a_cohort_that_leaves_out_an_added_upload_is_refused() -> None:
    table = table_after_upload()
    every = table.sum.propose_cohort()
    for cohort in (
        Cohort(table.sum.digest, every.members[:4], every.uploads[:4]),
        Cohort(b"\0" * 32, every.members, every.uploads),
        Cohort(table.sum.digest, every.members, (b"\0" * 32, *every.uploads[1:])),
    ):
        with pytest.raises(ProtocolError, match="not in the published cohort"):
            table.sum.note_cohort(cohort)


def test_an_agreement_to_another_cohort_or_by_a_stranger_is_refused() -> None:
    table = table_after_upload(("m4",))
    cohort = table.propose()
    with pytest.raises(ProtocolError, match="another cohort"):
        table.sum.add_agreement("m0", from_member("m0", Agreement(table.sum.digest, b"\0" * 32)))
    for stranger in ("m4", "m9", "coordinator"):
        with pytest.raises(ProtocolError, match="not in the cohort"):
            table.sum.add_agreement(stranger, from_member(stranger, Agreement(table.sum.digest, cohort.root())))


def vanished_table(colluders: int = 1) -> Table:
    """Return a session whose sum waits for the seed of m5 towards m6."""
    table = table_after_upload(("m6",), rules=limits(7, colluders))
    table.agree()
    call_until_answered(table, ["m0", "m1", "m2", "m3", "m4"])
    return table


@pytest.mark.parametrize("liars", [("m0",), ("m4",)])
def test_a_wrong_share_only_delays_the_recovery(liars: tuple[str, ...]) -> None:
    table = vanished_table(0)
    given_shares = {name: shares_of(table, name) for name in ("m0", "m1", "m2", "m3", "m4")}
    for name, shares in given_shares.items():
        if name in liars:
            place = table.rules.members.index(name) + 1
            wrong = msgspec.structs.replace(shares, shares={"m5": {"m6": Share(place, 12345).encode()}})
            table.sum.add_shares(name, from_member(name, wrong))
        else:
            table.sum.add_shares(name, from_member(name, shares))
    assert np.array_equal(table.opened(), table.expected(table.sum.uploaded))


def test_fewer_shares_than_the_quorum_recover_nothing() -> None:
    table = vanished_table()
    for name in ("m0", "m1", "m2", "m3"):
        table.sum.add_shares(name, from_member(name, shares_of(table, name)))
    assert table.sum.missing() == ("m5",)
    assert table.sum.result() is None


def test_a_share_repeated_by_its_holder_counts_once() -> None:
    table = vanished_table()
    for name, _ in itertools.product(("m0", "m1", "m2", "m3"), range(2)):
        table.sum.add_shares(name, from_member(name, shares_of(table, name)))
    assert table.sum.missing() == ("m5",)


def test_shares_of_others_for_others_or_of_another_cohort_are_refused() -> None:
    table = vanished_table()
    good = shares_of(table, "m0")
    stolen = Share(2, 1).encode()
    cases = {
        "another member": {"shares": {"m5": {"m6": stolen}}},
        "dropped peers": {"shares": {"m5": {"m4": good.shares["m5"]["m6"]}}},
        "not for the dropped": {"shares": {"m6": {"m6": good.shares["m5"]["m6"]}}},
        "another cohort": {"root": b"\0" * 32},
    }
    for claim, change in cases.items():
        with pytest.raises(ProtocolError, match=claim):
            table.sum.add_shares("m0", from_member("m0", msgspec.structs.replace(good, **change)))
    with pytest.raises(MessageError, match="share"):
        table.sum.add_shares("m0", from_member("m0", msgspec.structs.replace(good, shares={"m5": {"m6": b"x"}})))
    with pytest.raises(ProtocolError, match="m6 is not in the cohort"):
        table.sum.add_shares("m6", from_member("m6", good))


def test_no_two_cohorts_of_one_manifest_are_both_signed_by_a_quorum() -> None:
    """Two colluders of seven sign everything; the coordinator asks each half for another cohort."""
    rules = limits(7, 2)
    table = table_after_upload(rules=rules)
    every = table.sum.propose_cohort()
    cohorts = [
        Cohort(every.manifest, every.members[:6], every.uploads[:6]),
        Cohort(every.manifest, every.members[1:], every.uploads[1:]),
    ]
    signed: list[set[str]] = [{"m1", "m2"}, {"m1", "m2"}]
    for name, first in (("m0", 0), ("m3", 0), ("m4", 1), ("m5", 1), ("m6", 1)):
        for place in (first, 1 - first):
            try:
                if table.sessions[name].on_cohort(from_coordinator(cohorts[place])) is not None:
                    signed[place].add(name)
            except EquivocationError:
                continue
    assert sum(len(names) >= rules.quorum for names in signed) <= 1
    assert signed == [{"m0", "m1", "m2", "m3"}, {"m1", "m2", "m4", "m5", "m6"}]
