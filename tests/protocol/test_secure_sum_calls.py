"""Claims about calls and their answers at the coordinator's side, and about what lying decryptors achieve there."""

from __future__ import annotations

import hashlib

import msgspec
import numpy as np
import pytest

from hansa.crypto.encryption import partial_decryption
from hansa.errors import MessageError, ProtocolError, RefusedError, SessionDiedError
from hansa.protocol.messages import Call, Opening, open_envelope
from hansa.protocol.secure_sum import SecureSum
from players import EPOCH, Table, from_coordinator, from_member, shares_of, table_after_upload, upload_of
from simulator import limits, signing_key


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
