"""Claims about a member's node."""

from __future__ import annotations

import asyncio
import hashlib
import time
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest

from hansa.errors import StoreError
from hansa.federation.coordinator import CoordinatorNode
from hansa.federation.member import in_turn
from hansa.federation.memory_transport import MemoryHub, MemoryTransport
from hansa.federation.records import Records
from hansa.federation.transport import STEPS, Channel, Message, Subject
from hansa.protocol.messages import Call, Cohort, Died, Manifest, Opening, Recover, open_envelope
from hansa.protocol.session import facts_label
from players import from_coordinator, from_member
from simulator import SECOND, Simulation, inject, limits, purpose, request, signing_key

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from hansa.federation.member import MemberNode

SESSION = "r1-0-gram-a1"


@pytest.fixture
def federation(tmp_path: Path) -> Iterator[Simulation]:
    found = Simulation(tmp_path)
    yield found
    for store in found.stores.values():
        store.close()


def says(federation: Simulation, step: str) -> bool:
    return any(sent[1] == step for sent in federation.sent)


def run_until(federation: Simulation, step: str) -> None:
    federation.run(until=lambda: says(federation, step))
    assert says(federation, step)


def board(federation: Simulation, step: str) -> Message:
    return next(m for m in federation.hub.stored(Channel.BOARD) if m.subject.step == step)


def message(federation: Simulation, step: str, body: bytes, session: str = SESSION) -> Message:
    return Message(Subject(federation.epoch, session, step, "coordinator"), body, 10_000, federation.now_ns)


def manifest(federation: Simulation) -> Manifest:
    key = signing_key("coordinator").public
    return open_envelope(board(federation, "announce").body, Manifest, sender="coordinator", key=key)


def notes(federation: Simulation, name: str = "m0") -> list[str]:
    return [str(row["reason"]) for row in federation.nodes[name]._records.rows("SELECT reason FROM note")]


def test_a_second_manifest_under_the_same_label_is_noted_and_answered_by_nothing(federation: Simulation) -> None:
    run_until(federation, "upload")
    other = msgspec.structs.replace(manifest(federation), index=5)
    egress = federation.stores["m0"].egress()
    assert inject(federation, message(federation, "announce", from_coordinator(other))) == []
    assert "EquivocationError" in notes(federation)[-1]
    federation.start("m0")
    for stored in federation.hub.stored(Channel.BOARD):
        if stored.subject.step in {"setup", "epoch", "halves"}:
            inject(federation, stored)
    assert inject(federation, message(federation, "announce", from_coordinator(other))) == []
    assert len(federation.stores["m0"].egress()) == len(egress)


def test_an_announcement_read_twice_changes_nothing(federation: Simulation) -> None:
    run_until(federation, "agree")
    assert inject(federation, board(federation, "announce")) == []
    federation.run()
    assert len(federation.opened()) == 1
    for stored in federation.hub.stored(Channel.BOARD):
        inject(federation, stored)
    assert len(federation.opened()) == 1


def test_a_member_that_comes_too_late_sends_no_upload(federation: Simulation) -> None:
    federation.run(until=lambda: federation.coordinator._epoch.epoch_id is not None)
    federation.silent.add("m2")
    run_until(federation, "cohort")
    federation.now_ns = board(federation, "announce").time_ns + federation.limits.upload_ns + 1
    federation.revive("m2")
    federation.run()
    assert ("m2", "upload") not in {sent[:2] for sent in federation.sent}
    assert federation.stores["m2"].charged_periods() == []
    assert [aggregate.cohort for aggregate in federation.opened("m2")] == [("m0", "m1", "m3", "m4")]


def test_a_kill_between_the_store_and_the_network_sends_the_same_bytes_later(federation: Simulation) -> None:
    federation.withhold = lambda sender, subject: (sender, subject.step) == ("m0", "upload")
    run_until(federation, "upload")
    (lost,) = [row.sha256 for row in federation.stores["m0"].egress() if row.step == "upload"]
    stored = federation.stores["m0"].fact(f"{facts_label(federation.epoch, SESSION)}/upload")
    federation.withhold = lambda _sender, _subject: False
    federation.start("m0")
    federation.run()
    assert next(body for sender, step, body in federation.sent if (sender, step) == ("m0", "upload")) == stored
    assert [row.sha256 for row in federation.stores["m0"].egress() if row.step == "upload"] == [lost]
    assert len(federation.stores["m0"].charges("gram", "1970")) == 1
    assert federation.opened()[0].cohort == federation.limits.members


def test_a_finished_session_is_learned_again_after_a_restart_but_nothing_is_sent(federation: Simulation) -> None:
    federation.run()
    federation.now_ns += 2 * SECOND  # what the log lingers with is said
    for _ in range(5):
        federation.step()
    before = len(federation.sent)
    federation.start("m0")
    federation.run(rounds=5)
    federation.step()
    assert len(federation.opened()) == 1
    assert len(federation.sent) == before


def test_after_a_death_notice_nothing_more_is_opened(federation: Simulation) -> None:
    federation.run(until=lambda: federation.coordinator._epoch.epoch_id is not None)
    federation.silent.add("m2")
    run_until(federation, "call")
    digest = manifest(federation).digest()
    died = from_coordinator(Died(digest, "weary"))
    for name in ("m0", "m1", "m3", "m4"):
        federation.nodes[name].handle(message(federation, "died", died))
    federation.run()
    opening = {m.subject.session for m in federation.hub.stored(Channel.INBOX) if m.subject.step in {"open", "shares"}}
    assert opening == {"r1-0-gram-a2"}
    assert [aggregate.manifest.session for aggregate in federation.opened()] == ["r1-0-gram-a2"]
    found = federation.nodes["m0"]._records.rows("SELECT state, reason FROM session WHERE session = ?", SESSION)
    assert found[0]["state"] == "died"
    assert federation.stores["m0"].fact(f"{facts_label(federation.epoch, SESSION)}/upload") is None


def test_a_death_notice_of_another_manifest_or_signer_kills_nothing(federation: Simulation) -> None:
    run_until(federation, "upload")
    digest = manifest(federation).digest()
    for body in (
        from_coordinator(Died(b"\0" * 32, "")),
        from_member("coordinator", Died(digest, ""), signer="m1"),
        from_member("m1", Died(digest, "")),
    ):
        assert inject(federation, message(federation, "died", body)) == []
    federation.run()
    assert len(federation.opened()) == 1
    assert len(notes(federation)) == 3


def test_messages_of_an_unknown_session_step_or_epoch_are_answered_by_nothing(federation: Simulation) -> None:
    run_until(federation, "call")
    call = board(federation, "call")
    assert inject(federation, message(federation, "call", call.body, "r9-9-gram-a1")) == []
    assert "never saw its manifest" in notes(federation)[-1]
    elsewhere = Subject("e9-abababababab", SESSION, "call", "coordinator")
    assert inject(federation, Message(elsewhere, call.body, 10_000, 0)) == []
    assert inject(federation, message(federation, "upload", b"")) == []
    stranger = Subject(federation.epoch, "setup-0", "setup", "m9")
    assert inject(federation, Message(stranger, b"", 10_000, 0)) == []
    assert len(notes(federation)) == 1


def test_malformed_bytes_of_every_step_stop_no_member(federation: Simulation) -> None:
    run_until(federation, "agree")
    for step, channel in STEPS.items():
        for body in (b"", b"\xff" * 40, b"\x94\xa2\xff\xff", bytes(2_000_000)):
            for session in (SESSION, "setup-1", "setup-1-to-1", "setup-1-of-2") if channel is Channel.BOARD else ():
                assert inject(federation, message(federation, step, body, session)) == []
    federation.run()
    assert np.array_equal(federation.opened()[0].steps, federation.expected(federation.opened()[0]))


def test_a_store_that_fails_stops_the_node_before_anything_is_sent(federation: Simulation) -> None:
    federation.run(until=lambda: says(federation, "halves"))
    federation.stores["m0"]._execute("PRAGMA query_only = ON")
    with pytest.raises(StoreError):
        federation.run()
    assert ("m0", "upload") not in {sent[:2] for sent in federation.sent}


def test_the_same_store_serves_the_next_epoch_though_its_labels_come_again(federation: Simulation) -> None:
    federation.run()
    federation.epoch = "e2-abababababab"
    federation.hub = MemoryHub(clock=lambda: federation.now_ns)
    for name in federation.limits.members:
        federation.start(name)
        node = federation.nodes[name]
        node._epoch_label = node._epoch.epoch = federation.epoch
        federation._publish(name, "setup-0", "setup", node._epoch.setup_message())
    federation.hub._streams[Channel.BOARD] = [
        stored for stored in federation.hub.stored(Channel.BOARD) if stored.subject.epoch == federation.epoch
    ]
    federation.start_coordinator()
    federation.run()
    assert federation.coordinator.done
    aggregate = federation.opened()[-1]
    assert np.array_equal(aggregate.steps, federation.expected(aggregate))
    assert [one.count for one in federation.stores["m0"].charges("gram", "1970")] == [2]
    assert {row.session.split("/")[0] for row in federation.stores["m0"].egress()} >= {"e2-abababababab"}


async def test_other_bytes_for_a_step_that_left_before_are_noted_and_not_sent(federation: Simulation) -> None:
    transport = MemoryTransport(federation.hub, "m0")
    node = federation.nodes["m0"]
    before = len(federation.hub.stored(Channel.INBOX))
    await node._send(transport, SESSION, "shares", b"first")
    await node._send(transport, SESSION, "shares", b"second")
    assert [stored.body for stored in federation.hub.stored(Channel.INBOX)[before:]] == [b"first"]
    assert "EquivocationError" in notes(federation)[-1]


def test_recovery_gives_each_vanished_members_seeds_to_the_sum(tmp_path: Path) -> None:
    federation = Simulation(tmp_path, limits=limits(7, 1))
    federation.run(until=lambda: federation.coordinator._epoch.epoch_id is not None)
    federation.silent.add("m2")
    federation.run(until=lambda: ("m1", "agree") in {sent[:2] for sent in federation.sent})
    federation.silent.add("m1")
    federation.run()
    aggregate = federation.opened()[0]
    assert aggregate.cohort == ("m0", "m1", "m3", "m4", "m5", "m6")
    assert np.array_equal(aggregate.steps, federation.expected(aggregate))
    recover = open_envelope(
        board(federation, "recover").body, Recover, sender="coordinator", key=signing_key("coordinator").public
    )
    assert set(recover.packages) == {"m1"}
    first = openings(federation, "open")
    assert sorted(first) == ["m0", "m3", "m4", "m5", "m6"]
    assert {tuple(opening.seeds) for opening in first.values()} == {("m2",)}
    again = openings(federation, "open-1")
    assert sorted(again) == ["m0", "m3", "m4", "m5", "m6"]
    assert {tuple(opening.seeds) for opening in again.values()} == {()}
    assert all(again[name].partial != first[name].partial for name in again)
    for store in federation.stores.values():
        store.close()


def openings(federation: Simulation, step: str) -> dict[str, Opening]:
    found = {sender: body for sender, said, body in federation.sent if said == step}
    return {
        name: open_envelope(body, Opening, sender=name, key=signing_key(name).public) for name, body in found.items()
    }


def published_call(federation: Simulation, step: str = "call") -> Call:
    key = signing_key("coordinator").public
    return open_envelope(board(federation, step).body, Call, sender="coordinator", key=key)


def test_only_the_decryptors_answer_a_call_when_nobody_dropped(federation: Simulation) -> None:
    federation.run()
    call = published_call(federation)
    assert len(call.decryptors) == federation.limits.threshold == 4
    assert tuple(sorted(openings(federation, "open"))) == call.decryptors
    assert not says(federation, "open-1")


def test_a_cohort_member_that_is_no_decryptor_gives_its_seeds_and_no_partial(tmp_path: Path) -> None:
    federation = Simulation(tmp_path, limits=limits(7, 1))
    federation.run(until=lambda: federation.coordinator._epoch.epoch_id is not None)
    federation.silent.add("m2")
    federation.run()
    (rest,) = set(federation.opened()[0].cohort) - set(published_call(federation).decryptors)
    answers = openings(federation, "open")
    assert {name for name, answer in answers.items() if not answer.partial} == {rest}
    assert {tuple(answer.seeds) for answer in answers.values()} == {("m2",)}
    for store in federation.stores.values():
        store.close()


def test_in_two_exchanges_nobody_signs_and_the_answer_to_the_call_is_the_vote(tmp_path: Path) -> None:
    federation = Simulation(tmp_path, limits=limits(gram=purpose(exchanges=2)))
    federation.run()
    assert not says(federation, "agree")
    assert published_call(federation).agreements == ()
    assert np.array_equal(federation.opened()[0].steps, federation.expected(federation.opened()[0]))
    label = facts_label(federation.epoch, SESSION)
    decryptors = published_call(federation).decryptors
    kept = {name for name in federation.limits.members if federation.stores[name].fact(f"{label}/called/0")}
    assert kept == set(decryptors)
    for store in federation.stores.values():
        store.close()


def test_a_restart_answers_the_same_call_with_the_same_bytes(federation: Simulation) -> None:
    federation.withhold = lambda sender, subject: (sender, subject.step) == ("m0", "open")
    federation.run(until=lambda: says(federation, "open"))
    assert "m0" in published_call(federation).decryptors
    lost = [row.sha256 for row in federation.stores["m0"].egress() if row.step == "open"]
    assert len(lost) == 1
    federation.withhold = lambda _sender, _subject: False
    federation.start("m0")
    federation.run()
    (sent,) = [body for sender, step, body in federation.sent if (sender, step) == ("m0", "open")]
    assert hashlib.sha256(sent).digest() == lost[0]
    assert len([row for row in federation.stores["m0"].egress() if row.step == "open"]) == 1
    assert len(federation.opened()) == 1


def test_a_second_call_under_a_number_or_one_out_of_turn_is_noted_and_answered_by_nothing(
    federation: Simulation,
) -> None:
    run_until(federation, "cohort")
    federation._let_read("m0")
    federation.withhold = lambda sender, subject: (sender, subject.step) == ("m0", "open")
    later = msgspec.structs.replace(call_of(federation), number=1)
    assert inject(federation, message(federation, "call-1", from_coordinator(later))) == []
    assert "call 1 before the first" in notes(federation)[-1]
    run_until(federation, "open")
    first = published_call(federation)
    others = tuple(name for name in federation.limits.members if name != first.decryptors[-1])
    egress = len(federation.stores["m0"].egress())
    other = msgspec.structs.replace(first, decryptors=others)
    assert inject(federation, message(federation, "call", from_coordinator(other))) == []
    assert "EquivocationError" in notes(federation)[-1]
    assert len(federation.stores["m0"].egress()) == egress


def call_of(federation: Simulation) -> Call:
    """Return a first call of the published cohort without its certificate."""
    key = signing_key("coordinator").public
    cohort = open_envelope(board(federation, "cohort").body, Cohort, sender="coordinator", key=key)
    return Call(cohort.manifest, cohort.root(), 0, cohort.members[: federation.limits.threshold], ())


async def test_nodes_run_a_programme_over_a_transport(tmp_path: Path) -> None:
    federation = Simulation(tmp_path, limits=limits(), programme=[])
    hub = MemoryHub(clock=time.time_ns)
    nodes: list[MemberNode] = []
    for name in federation.limits.members:
        federation.statistics[name].settle = lambda: None  # type: ignore[attr-defined]
        node = federation.nodes[name]
        node._clock = time.time_ns
        nodes.append(node)
    coordinator = CoordinatorNode(
        epoch=federation.epoch, limits=federation.limits, signer=signing_key("coordinator"),
        records=Records(":memory:"), programme=[request(0), request(1)],
    )  # fmt: skip
    tasks = [asyncio.create_task(node.run(MemoryTransport(hub, node.name))) for node in nodes]
    await asyncio.wait_for(coordinator.run(MemoryTransport(hub, "coordinator"), clock=time.time_ns), 20)
    again = CoordinatorNode(
        epoch=federation.epoch, limits=federation.limits, signer=signing_key("coordinator"),
        records=Records(":memory:"), programme=[request(0), request(1), request(2)],
    )  # fmt: skip
    await asyncio.wait_for(again.run(MemoryTransport(hub, "coordinator"), clock=time.time_ns), 20)
    for _ in range(200):
        await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert [aggregate.manifest.position for aggregate in federation.opened()] == [0, 1, 2]
    for aggregate in federation.opened():
        assert np.array_equal(aggregate.steps, federation.expected(aggregate))
    assert federation.limits.upload_ns == 10 * SECOND


def test_messages_are_taken_in_together_but_those_of_the_set_up_each_alone() -> None:
    steps = ["epoch", "probe", "announce", "cohort", "call", "probe", "result"]
    waiting = [
        Message(Subject("e1", "s", step, "coordinator"), b"", place, 0) for place, step in enumerate(steps, start=1)
    ]
    found = [[message.subject.step for message in messages] for messages in in_turn(waiting)]
    assert found == [["epoch"], ["probe"], ["announce", "cohort", "call"], ["probe"], ["result"]]
    assert list(in_turn([])) == []
