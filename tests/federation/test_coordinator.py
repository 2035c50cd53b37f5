"""Claims about the coordinator's node, and about members who try to stop it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec
import pytest

from coordination import SESSION, deaths, is_exact, is_set_up, notes, says, told
from hansa.federation.transport import STEPS, Channel, Message, Subject
from hansa.protocol.messages import Agreement, Call, Died, Epoch, Opening, Result, Setup, open_envelope
from hansa.protocol.opening import partial
from players import from_coordinator, from_member
from simulator import Simulation, limits, purpose, request, signing_key

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from hansa.protocol.epoch import EpochKeys

KILLED_AFTER = (
    "setup",
    "epoch",
    "halves",
    "probe",
    "announce",
    "upload",
    "cohort",
    "agree",
    "call",
    "open",
    "call-1",
    "open-1",
    "recover",
    "shares",
)


@pytest.fixture
def federation(tmp_path: Path) -> Iterator[Simulation]:
    found = Simulation(tmp_path)
    yield found
    for store in found.stores.values():
        store.close()


@pytest.mark.parametrize("step", KILLED_AFTER)
def test_a_kill_after_any_step_leads_to_the_same_sum(tmp_path: Path, step: str) -> None:
    """Seven members, one drops before its upload and one after its agreement, so that every step is taken."""
    federation = Simulation(tmp_path, limits=limits(7, 1))
    is_killed = False
    for _ in range(200):
        if federation.coordinator.is_done:
            break
        if not federation.step():
            federation.now_ns += federation.limits.upload_ns + 1
        if is_set_up(federation):
            federation.silent.add("m2")
        if ("m1", "agree") in {sent[:2] for sent in federation.sent}:
            federation.silent.add("m1")
        if says(federation, step) and not is_killed:
            is_killed = True
            federation.start_coordinator()
    assert is_killed
    federation.run(rounds=3)
    (aggregate,) = federation.opened()
    assert aggregate.cohort == ("m0", "m1", "m3", "m4", "m5", "m6")
    assert is_exact(federation)
    for store in federation.stores.values():
        store.close()


def test_several_sums_are_opened_in_their_order(tmp_path: Path) -> None:
    federation = Simulation(tmp_path, programme=[request(0), request(1)])
    federation.run()
    federation.coordinator.extend([request(0, round_=2)])
    federation.run()
    assert [(one.manifest.round, one.manifest.position) for one in federation.opened()] == [(1, 0), (1, 1), (2, 0)]
    assert is_exact(federation)
    for store in federation.stores.values():
        store.close()


def test_below_the_minimum_cohort_the_session_dies_and_is_given_up_after_its_attempts(federation: Simulation) -> None:
    federation.run(until=lambda: is_set_up(federation))
    federation.silent.update(["m2", "m3"])
    federation.run()
    assert deaths(federation) == ["3 of 5 members uploaded in time; at least 4 are needed"] * 2
    assert federation.coordinator.is_failed
    assert federation.coordinator.is_done
    assert federation.opened() == []
    assert not says(federation, "open")


def test_without_a_quorum_of_agreements_the_session_dies(federation: Simulation) -> None:
    federation.withhold = lambda sender, subject: subject.step == "agree" and sender in {"m1", "m2"}
    federation.run()
    assert deaths(federation) == ["no quorum agreed in time"] * 2
    assert federation.opened() == []


def test_a_death_for_want_of_decryptors_names_those_who_kept_silent(federation: Simulation) -> None:
    federation.run(until=lambda: is_set_up(federation))
    federation.withhold = lambda sender, subject: subject.step == "open" and sender in {"m1", "m2"}
    federation.run()
    assert deaths(federation) == ["no answer of m1, m2; 4 decryptors are needed"] * 2
    assert federation.opened() == []
    assert not says(federation, "call-1")


def test_a_death_for_want_of_seeds_names_those_who_kept_them(tmp_path: Path) -> None:
    federation = Simulation(tmp_path, limits=limits(7, 1))
    federation.run(until=lambda: is_set_up(federation))
    federation.silent.add("m6")
    federation.withhold = lambda sender, subject: (
        (subject.step, sender) == ("open", "m5") or (subject.step == "shares" and sender in {"m1", "m2"})
    )
    federation.run()
    assert deaths(federation) == ["seeds of m5 towards dropped members are missing"] * 2
    assert federation.opened() == []
    for store in federation.stores.values():
        store.close()


def test_a_silent_decryptor_leads_to_a_call_of_others_and_not_to_a_death(federation: Simulation) -> None:
    federation.withhold = lambda sender, subject: subject.step == "open" and sender == "m1"
    federation.run()
    calls = {m.subject.step: call_in(m) for m in federation.hub.stored(Channel.BOARD) if "call" in m.subject.step}
    assert sorted(calls) == ["call", "call-1"]
    assert "m1" in calls["call"].decryptors
    assert calls["call-1"].decryptors == ("m0", "m2", "m3", "m4")
    assert deaths(federation) == []
    assert federation.opened()[0].cohort == federation.limits.members
    assert is_exact(federation)


def call_in(message: Message) -> Call:
    return open_envelope(message.body, Call, sender="coordinator", key=signing_key("coordinator").public)


def lies_as(monkeypatch: pytest.MonkeyPatch, *liars: str) -> None:
    """Let members decrypt with their own key instead of their share of the cohort's."""

    def wrong(name: str, **fields: object) -> bytes:
        keys: EpochKeys = fields["keys"]  # type: ignore[assignment]
        if name in liars:
            fields["keys"] = replace(keys, shares=dict.fromkeys(keys.members, keys.secret))
        return partial(name, **fields)  # type: ignore[arg-type]

    monkeypatch.setattr("hansa.protocol.session.partial", wrong)


def test_a_garbage_partial_is_called_again_by_others_and_noted_with_its_suspects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lies_as(monkeypatch, "m1")
    federation = Simulation(tmp_path, limits=limits(7, 1))
    federation.run()
    calls = [call_in(m) for m in federation.hub.stored(Channel.BOARD) if m.subject.step.startswith("call")]
    assert [call.decryptors for call in calls] == [("m0", "m1", "m2", "m3", "m4"), ("m2", "m3", "m4", "m5", "m6")]
    assert notes(federation) == [
        f"{SESSION}: call 0: the partials decode to noise",
        "a partial decryption was wrong: one of m0, m1 gave it",
    ]
    assert is_exact(federation)
    assert len(federation.opened()) == 1
    for store in federation.stores.values():
        store.close()


def test_more_garbage_than_the_cohort_can_spare_opens_nothing_and_names_its_suspects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lies_as(monkeypatch, "m1", "m4")
    federation = Simulation(tmp_path)
    federation.run()
    assert federation.opened() == []
    (reason,) = set(deaths(federation))
    told = reason.split("; ")
    assert told[-1] == "no call is left of 3"
    assert len(told) == 4, "one sentence a call"
    for number, sentence in enumerate(told[:3]):
        assert sentence.startswith(f"call {number} decodes to noise: a partial of one of ")
        assert "m1" in sentence or "m4" in sentence
    for store in federation.stores.values():
        store.close()


def test_a_partial_of_the_wrong_form_is_noted_with_its_senders_name_and_counts_as_silence(
    federation: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    def short(name: str, **fields: object) -> bytes:
        found = partial(name, **fields)  # type: ignore[arg-type]
        return found[4:] if name == "m2" else found

    monkeypatch.setattr("hansa.protocol.session.partial", short)
    federation.run()
    assert len(notes(federation)) == 1
    assert notes(federation)[0].startswith("m2: MessageError:")
    assert says(federation, "call-1")
    assert is_exact(federation)
    assert len(federation.opened()) == 1


def test_a_wrong_seed_is_noted_with_the_culprits_name(federation: Simulation) -> None:
    federation.run(until=lambda: is_set_up(federation))
    federation.silent.add("m4")
    federation.run(until=lambda: says(federation, "call"))
    running = federation.coordinator._running[SESSION]
    assert running.sum.cohort is not None
    wrong = Opening(running.sum.digest, running.sum.cohort.root(), 0, {"m4": bytes(32)}, b"")
    told(federation, "open", from_member("m1", wrong), sender="m1")
    assert "the seed of m1 towards m4 does not fit the commitment of m1" in notes(federation)[-1]
    federation.run()
    assert is_exact(federation)
    assert len(federation.opened()) == 1


def test_only_the_coordinators_own_messages_move_its_session(federation: Simulation) -> None:
    federation.run(until=lambda: says(federation, "upload"))
    running = federation.coordinator._running[SESSION]
    digest, since = running.sum.digest, running._since_ns
    federation.now_ns += 1
    forged = Result(digest, b"", 0, (), b"")
    for step in ("cohort", "call", "call-1", "recover", "result", "died", "announce"):
        told(federation, step, b"junk", sender="m1")
        told(federation, step, from_member("m1", forged), sender="m1")
        told(federation, step, from_member("coordinator", forged, signer="m1"))
    told(federation, "result", from_coordinator(forged))
    told(federation, "died", from_coordinator(Died(b"\0" * 32, "")))
    assert federation.coordinator._running == {SESSION: running}
    assert (running._step, running._since_ns) == ("announce", since)
    federation.run()
    assert is_exact(federation)
    assert len(federation.opened()) == 1


def test_an_announcement_read_twice_keeps_the_uploads(federation: Simulation) -> None:
    federation.run(until=lambda: says(federation, "upload"))
    federation._listen()
    announce = next(m for m in federation.hub.stored(Channel.BOARD) if m.subject.step == "announce")
    federation.coordinator.handle(announce)
    federation.run()
    assert len(federation.opened()) == 1
    federation.coordinator.handle(announce)
    assert federation.coordinator.is_done


def test_an_upload_that_is_read_before_its_own_announcement_counts(federation: Simulation) -> None:
    held: list[Message] = []
    deliver = federation.hub.deliver

    def board_behind(name: str, message: Message) -> list[Message]:
        if (name, message.subject.step) != ("coordinator", "announce"):
            return deliver(name, message)
        held.append(message)
        return []

    federation.hub.deliver = board_behind
    federation.run(until=lambda: [step for _, step, _ in federation.sent].count("upload") == 5)
    assert [message.subject.session for message in held] == [SESSION]
    federation.hub.deliver = deliver
    federation.coordinator.handle(held[0])
    federation.run()
    assert [aggregate.manifest.session for aggregate in federation.opened()] == [SESSION]
    assert federation.opened()[0].cohort == federation.limits.members
    assert is_exact(federation)


def test_strangers_and_malformed_bytes_stop_nobody(federation: Simulation) -> None:
    federation.run(until=lambda: says(federation, "cohort"))
    agreement = Agreement(b"", b"")
    for step in STEPS:
        for sender in ("m1", "m9", "coordinator"):
            for body in (b"", b"\xff" * 30, b"\x94\xa2\xff\xff", from_member(sender, agreement)):
                told(federation, step, body, sender=sender)
    told(federation, "agree", b"", session="r9-9-gram-a1")
    federation.coordinator.handle(Message(Subject("e9-ab", SESSION, "agree", "m1"), b"", 1, 1))
    federation.run()
    assert len(federation.opened()) == 1
    assert is_exact(federation)


def setup(federation: Simulation, name: str, key: bytes) -> bytes:
    return from_member(name, Setup(federation.epoch, federation.limits.constitution, key))


def test_a_second_set_up_under_another_subject_does_not_stop_the_epoch(federation: Simulation) -> None:
    """A member that showed two keys split the members from the coordinator before first ones stayed."""
    first = next(m for m in federation.hub.stored(Channel.BOARD) if m.subject.sender == "m1")
    key = open_envelope(first.body, Setup, sender="m1", key=signing_key("m1").public).encryption_key
    other = setup(federation, "m4", key)
    federation.hub.accept(Subject(federation.epoch, "setup-9", "setup", "m4"), other)
    federation.run()
    assert is_exact(federation)
    assert federation.opened()[0].cohort == federation.limits.members


def test_a_key_that_nobody_can_seal_to_leaves_its_member_out_and_stops_nobody(tmp_path: Path) -> None:
    federation = Simulation(tmp_path, silent={"m4"})
    federation.hub.accept(
        Subject(federation.epoch, "setup-0", "setup", "m4"), setup(federation, "m4", b"no key at all")
    )
    federation.run()
    assert federation.opened()[0].cohort == ("m0", "m1", "m2", "m3")
    assert any("set-up of m4" in note for note in notes(federation))
    for store in federation.stores.values():
        store.close()


def test_a_listed_member_without_halves_is_left_out_of_the_next_list(federation: Simulation) -> None:
    federation.withhold = lambda sender, subject: (sender, subject.step) == ("m3", "halves")
    federation.run()
    assert federation.opened()[0].cohort == ("m0", "m1", "m2", "m4")
    assert federation.opened("m3") == []
    assert is_exact(federation)


def test_halves_that_come_while_the_next_list_is_on_its_way_do_not_split_the_epoch(federation: Simulation) -> None:
    """The coordinator took the old epoch's id with the new list's members before the list counted."""
    federation.withhold = lambda sender, subject: (sender, subject.step) == ("m3", "halves")
    federation.run(until=lambda: says(federation, "halves"))
    federation._listen()
    federation.now_ns += federation.limits.setup_ns + 1
    ((session, step, body),) = federation.coordinator.advance(federation.now_ns)
    listing = next(m for m in federation.hub.stored(Channel.BOARD) if m.subject.step == "epoch")
    again = federation.nodes["m3"]._epoch.handle("setup-1", "epoch", "coordinator", listing.body)
    (late,) = [sent[2] for sent in again if sent[1] == "halves"]
    federation.withhold = lambda _sender, _subject: False
    federation._publish("m3", "setup-1", "halves", late)
    federation._publish("coordinator", session, step, body)
    federation.run()
    assert federation.opened()[0].cohort == ("m0", "m1", "m2", "m4")
    assert is_exact(federation)


def test_a_list_read_twice_or_under_a_wrong_subject_changes_nothing(federation: Simulation) -> None:
    federation.run(until=lambda: says(federation, "halves"))
    federation._listen()
    listing = next(m for m in federation.hub.stored(Channel.BOARD) if m.subject.step == "epoch")
    federation.coordinator.handle(listing)
    told(federation, "epoch", listing.body, session="setup-7")
    few = open_envelope(listing.body, Epoch, sender="coordinator", key=signing_key("coordinator").public)
    told(federation, "epoch", from_coordinator(msgspec.structs.replace(few, epoch="e2-ab")), session="setup-2")
    federation.run()
    assert federation.opened()[0].cohort == federation.limits.members


def test_an_epoch_waits_until_the_minimum_cohort_has_set_up(tmp_path: Path) -> None:
    federation = Simulation(tmp_path, silent={"m2", "m3"})
    federation.run(rounds=20)
    assert not says(federation, "epoch")
    federation.revive("m3")
    federation.run()
    assert federation.opened()[0].cohort == ("m0", "m1", "m3", "m4")
    for store in federation.stores.values():
        store.close()


def test_only_a_published_sum_about_bars_moves_the_newest_bar(tmp_path: Path) -> None:
    state = purpose(values_per_bar=2)
    federation = Simulation(
        tmp_path, limits=limits(state=state, gram=purpose()), programme=[request(0), request(1, "state", bars=3)]
    )
    federation.run(until=lambda: len(federation.opened()) == 1)
    assert federation.coordinator.last_bar_ns == 0
    federation.run()
    assert federation.coordinator.last_bar_ns == request(1, "state", bars=3).span_end_ns
    assert federation.coordinator.given_up_ns == 0
    federation.silent.update(["m2", "m3"])
    lost = request(2, "state", bars=9)
    federation.coordinator.extend([lost])
    federation.run()
    assert federation.coordinator.last_bar_ns == request(1, "state", bars=3).span_end_ns
    assert federation.coordinator.given_up_ns == lost.span_end_ns
    for store in federation.stores.values():
        store.close()
