"""Claims about the coordinator's side of a session, and about what lying members achieve there."""

from __future__ import annotations

import hashlib
import itertools

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hansa.crypto.encryption import partial_decryption
from hansa.crypto.sharing import Share
from hansa.errors import EquivocationError, MessageError, ProtocolError, RefusedError, SessionDiedError, SignatureError
from hansa.protocol.messages import Agreement, Call, Cohort, Opening, Shares, open_envelope
from hansa.protocol.secure_sum import SecureSum
from players import EPOCH, Table, from_coordinator, from_member, manifest, table_after_upload, upload_of
from simulator import limits, purpose, signing_key


def shares_of(table: Table, name: str) -> Shares:
    body = table.sessions[name].on_recover(from_coordinator(table.sum.recover()))
    assert body is not None
    return open_envelope(body, Shares, sender=name, key=signing_key(name).public)


@st.composite
def casts(draw: st.DrawFn) -> tuple[Table, list[str], list[str]]:
    """A table of 3-7 members, those who drop before the upload and those who vanish before they answer a call."""
    members = draw(st.integers(3, 7))
    colluders = draw(st.integers(0, (members - 1) // 3))
    asked = purpose(exchanges=draw(st.sampled_from([2, 3])), value_bound=draw(st.sampled_from([100.0, 1e6])))
    table = Table(limits(members, colluders, gram=asked))
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


def test_a_call_from_the_board_is_checked() -> None:
    table = table_after_upload()
    cohort = table.propose()
    call = Call(table.sum.digest, cohort.root(), 0, cohort.members[:4], ())
    with pytest.raises(RefusedError, match="expected 4 members"):
        table.sum.note_call(call)
    table.agree()
    good = table.sum.next_call()
    assert good is not None
    with pytest.raises(ProtocolError, match="does not follow"):
        table.sum.note_call(msgspec.structs.replace(good, number=1, agreements=()))
    table.sum.note_call(good)
    table.sum.note_call(good)
    assert table.sum.call == good
    with pytest.raises(ProtocolError, match="does not follow"):
        table.sum.note_call(msgspec.structs.replace(good, decryptors=cohort.members[1:]))


def opening(table: Table, **changes: object) -> Opening:
    """Return an opening of m4's dropping that is in order but for the changes."""
    root = table.propose().root()
    plain = Opening(table.sum.digest, root, 0, {"m4": bytes(32)}, b"")
    return msgspec.structs.replace(plain, **changes)


def called_table() -> Table:
    table = table_after_upload(("m4",))
    table.agree()
    table.call()
    return table


def answer_again(table: Table) -> None:
    body = from_coordinator(table.sum.call)  # type: ignore[arg-type]
    for name in table.sum.uploaded:
        answer = table.sessions[name].on_call(body)
        assert answer is not None
        table.sum.add_opening(name, answer)


def test_an_opening_with_a_wrong_seed_names_the_culprit() -> None:
    table = called_table()
    with pytest.raises(ProtocolError, match="seed of m2 towards m4 does not fit the commitment of m2"):
        table.sum.add_opening("m2", from_member("m2", opening(table)))
    assert "m2" in table.sum.missing()
    answer_again(table)
    assert np.array_equal(table.opened(), table.expected(table.sum.uploaded))


@pytest.mark.parametrize("peers", [(), ("m3",), ("m3", "m4")])
def test_an_opening_for_other_than_the_dropped_peers_is_refused(peers: tuple[str, ...]) -> None:
    table = called_table()
    with pytest.raises(ProtocolError, match="not for the dropped peers"):
        table.sum.add_opening("m2", from_member("m2", opening(table, seeds=dict.fromkeys(peers, bytes(32)))))


def test_an_opening_of_another_cohort_or_manifest_or_by_a_stranger_is_refused() -> None:
    table = called_table()
    for change in ({"root": bytes(32)}, {"manifest": bytes(32)}):
        with pytest.raises(ProtocolError, match="another cohort"):
            table.sum.add_opening("m2", from_member("m2", opening(table, **change)))
    with pytest.raises(ProtocolError, match="m4 is not in the cohort"):
        table.sum.add_opening("m4", from_member("m4", opening(table)))


@pytest.mark.parametrize("partial", [b"", bytes(579), bytes(581), b"\xff" * 580])
def test_a_partial_of_the_wrong_form_is_no_answer_and_its_giver_is_not_called_again(partial: bytes) -> None:
    table = table_after_upload(rules=limits(7, 1))
    table.agree()
    body = table.call()
    for name in table.rules.members[1:]:
        answer = table.sessions[name].on_call(body)
        if answer is not None:
            table.sum.add_opening(name, answer)
    wrong = Opening(table.sum.digest, table.propose().root(), 0, {}, partial)
    with pytest.raises(MessageError):
        table.sum.add_opening("m0", from_member("m0", wrong))
    assert table.sum.result() is None
    call = table.sum.next_call()
    assert call is not None
    assert call.decryptors == ("m1", "m2", "m3", "m4", "m5")


def test_a_partial_of_who_was_not_called_or_for_no_call_changes_nothing() -> None:
    table = table_after_upload(rules=limits(7, 1))
    table.agree()
    body = table.call()
    root = table.propose().root()
    answer = table.sessions["m0"].on_call(body)
    assert answer is not None
    good = open_envelope(answer, Opening, sender="m0", key=signing_key("m0").public)
    with pytest.raises(ProtocolError, match="m6 is not one of the decryptors"):
        table.sum.add_opening("m6", from_member("m6", good))
    table.sum.add_opening("m6", from_member("m6", Opening(table.sum.digest, root, 0, {}, b"")))
    for number in (-1, 1, 7):
        table.sum.add_opening("m0", from_member("m0", msgspec.structs.replace(good, number=number)))
    with pytest.raises(ProtocolError, match="m0 gave seeds again"):
        table.sum.add_opening("m0", from_member("m0", msgspec.structs.replace(good, number=1, seeds={"m1": b""})))
    for name in table.rules.members[:5]:
        table.sum.add_opening(name, table.sessions[name].on_call(body))  # type: ignore[arg-type]
        table.sum.add_opening(name, table.sessions[name].on_call(body))  # type: ignore[arg-type]
    assert np.array_equal(table.opened(), table.expected(table.rules.members))


def test_a_silent_decryptor_is_left_out_of_the_second_call_which_opens_the_same_sum() -> None:
    table = table_after_upload(("m6",), rules=limits(7, 1))
    table.agree()
    table.open(table.sum.uploaded, silent=["m2"])
    assert table.sum.result() is None
    table.open(table.sum.uploaded, silent=["m2"])
    assert table.sum.call is not None
    assert table.sum.call.decryptors == ("m0", "m1", "m3", "m4", "m5")
    assert table.sum.missing() == ("m2",)
    for name in ("m0", "m1", "m3", "m4", "m5"):
        table.sum.add_shares(name, from_member(name, shares_of(table, name)))
    assert np.array_equal(table.opened(), table.expected(table.sum.uploaded))


def test_a_session_dies_when_too_few_decryptors_or_no_call_is_left() -> None:
    table = table_after_upload()
    table.agree()
    table.open(table.sum.uploaded, silent=["m0", "m1"])
    with pytest.raises(SessionDiedError, match="no answer of m0, m1; 4 decryptors are needed"):
        table.sum.next_call()
    last = table_after_upload(rules=limits(7, 0))
    last.agree()
    for silent in ("m0", "m1", "m2"):
        last.open(last.sum.uploaded, silent=[silent])
    with pytest.raises(SessionDiedError, match="no answer of m0, m1, m2; no call is left of 3"):
        last.sum.next_call()


def garbled(table: Table, name: str, body: bytes) -> bytes | None:
    """Return what `name` answers, its partial, if it gives one, replaced by a well-formed one of noise."""
    answer = table.sessions[name].on_call(body)
    if answer is None:
        return None
    good = open_envelope(answer, Opening, sender=name, key=signing_key(name).public)
    if not good.partial:
        return answer
    noise = partial_decryption(32, share=table.keys[name].secret, crs_seed=bytes(32), flood_seed=bytes(32))
    return from_member(name, msgspec.structs.replace(good, partial=noise))


def open_with_liars(table: Table, liars: tuple[str, ...]) -> None:
    body = table.call()
    for name in table.sum.uploaded:
        answer = garbled(table, name, body) if name in liars else table.sessions[name].on_call(body)
        if answer is not None:
            table.sum.add_opening(name, answer)


@pytest.mark.parametrize("liar", ["m0", "m3"])
def test_a_wrong_partial_is_found_out_by_other_sets_and_the_sum_opens_without_it(liar: str) -> None:
    table = table_after_upload(rules=limits(7, 0))
    table.agree()
    for _ in range(3):
        open_with_liars(table, (liar,))
        try:
            opened = table.opened()
            break
        except ProtocolError as error:
            assert "decode to noise" in str(error)  # noqa: PT017 - the loop goes on
            with pytest.raises(ProtocolError, match="decode to noise"):
                table.sum.result()
    assert np.array_equal(opened, table.expected(table.rules.members))
    assert liar in table.sum.suspects()
    assert len(table.sum.suspects()) <= 3


def test_a_session_whose_partials_are_all_noise_dies_naming_the_sets() -> None:
    table = table_after_upload()
    table.agree()
    for _ in range(3):
        open_with_liars(table, ("m0", "m1", "m2", "m3", "m4"))
        with pytest.raises(ProtocolError, match="decode to noise"):
            table.sum.result()
    with pytest.raises(SessionDiedError, match="call 0 decodes to noise: a partial of one of m0, m1, m2, m3 is wrong"):
        table.sum.next_call()


def test_an_upload_that_is_no_encryption_kills_the_session_and_no_decryptor_is_blamed_alone() -> None:
    table = Table()
    table.upload(["m0", "m1", "m2", "m3"])
    honest = table.sessions["m4"].upload(table.doors["m4"], announced_ns=0, now_ns=0)
    assert honest is not None
    table.uploads["m4"] = honest
    noise = partial_decryption(32, share=table.keys["m4"].secret, crs_seed=bytes(32), flood_seed=bytes(32))
    body = from_member("m4", msgspec.structs.replace(upload_of(table, "m4"), ciphertext=noise))
    table.facts["m4"].values[f"{EPOCH}/{table.manifest.session}/upload-sha256"] = hashlib.sha256(body).digest()
    table.sum.add_upload("m4", body)
    table.agree()
    for _ in range(3):
        table.open(table.rules.members)
        with pytest.raises(ProtocolError, match="decode to noise"):
            table.sum.result()
    with pytest.raises(SessionDiedError, match="or an upload"):
        table.sum.next_call()


def test_a_restart_reaches_the_same_verdicts_and_the_same_result() -> None:
    """The board first (cohort, calls), then the inbox: uploads and openings as they came."""
    table = table_after_upload(("m6",), rules=limits(7, 0))
    table.agree()
    inbox: list[tuple[str, bytes]] = []
    calls: list[Call] = []
    for liars, silent in ((("m0",), ()), ((), ("m1",)), ((), ())):
        body = table.call()
        assert table.sum.call is not None
        calls.append(table.sum.call)
        for name in table.sum.uploaded:
            answer = garbled(table, name, body) if name in liars else table.sessions[name].on_call(body)
            if answer is not None and name not in silent:
                inbox.append((name, answer))
                table.sum.add_opening(name, answer)
        if liars:
            with pytest.raises(ProtocolError, match="decode to noise"):
                table.sum.result()
    late = table.sessions["m1"].on_call(from_coordinator(calls[1]))
    if "m1" in calls[1].decryptors:
        assert late is not None
        inbox.append(("m1", late))
        table.sum.add_opening("m1", late)
    again = SecureSum(table.manifest, limits=table.rules)
    again.note_cohort(table.propose())
    for call in calls:
        again.note_call(call)
    for name, body in table.uploads.items():
        again.add_upload(name, body)
    for name, body in inbox:
        again.add_opening(name, body)
    assert again.result() == table.sum.result()
    assert again.suspects() == table.sum.suspects()
    assert np.array_equal(table.opened(), table.expected(table.sum.uploaded))


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
