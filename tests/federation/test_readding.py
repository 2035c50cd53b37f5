"""Claims about members that add published sums again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from hansa.errors import RefusedError
from hansa.federation.transport import Subject
from hansa.protocol.messages import seal_envelope
from hansa.protocol.verification import EVERYBODY_BYTES, verifiers
from simulator import Simulation, limits, purpose, request, signing_key

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def federation(tmp_path: Path) -> Simulation:
    return Simulation(tmp_path)


def notes(federation: Simulation, name: str) -> list[str]:
    rows = federation.nodes[name]._records.rows("SELECT reason FROM note")
    return [str(row["reason"]) for row in rows]


def test_an_honest_sum_adds_up_for_everybody(federation: Simulation) -> None:
    federation.run()
    for name in federation.limits.members:
        federation.add_again(name)
        session = federation.opened()[0].manifest.session
        assert federation.nodes[name]._records.get(f"readded/{session}") is True
        federation.nodes[name].readding.refuse_if_distrusted()


@pytest.mark.parametrize("exchanges", [2, 3])
def test_a_sum_with_a_drop_out_a_vanished_member_and_a_second_call_adds_up(tmp_path: Path, exchanges: int) -> None:
    rules = limits(7, 1, gram=purpose(exchanges=exchanges))
    federation = Simulation(tmp_path, limits=rules)
    federation.run(until=lambda: any(step == "announce" for _, step, _ in federation.sent))
    federation.silent.add("m6")
    federation.run(until=lambda: any(step == "call" for _, step, _ in federation.sent))
    federation.silent.add("m0")
    federation.run()
    steps = {step for _, step, _ in federation.sent}
    assert {"call-1", "recover", "shares", "result"} <= steps
    federation.add_again("m3")
    session = federation.opened("m3")[0].manifest.session
    assert federation.nodes["m3"]._records.get(f"readded/{session}") is True, notes(federation, "m3")


def edited(federation: Simulation) -> None:
    """Run with a coordinator that publishes a sum with one bit changed."""
    federation.withhold = lambda _node, subject: subject.step == "result"
    federation.run(until=lambda: federation.coordinator._said != set() and says_result(federation))
    session, _ = next(one for one in federation.coordinator._said if one[1] == "result")
    running = federation.coordinator._running[session]
    honest = running.sum.result()
    assert honest is not None
    wrong = msgspec.structs.replace(honest, steps=bytes([honest.steps[0] ^ 1]) + honest.steps[1:])
    federation.withhold = lambda _node, _subject: False
    body = seal_envelope(wrong, sender="coordinator", signer=signing_key("coordinator"))
    federation.hub.accept(Subject(federation.epoch, session, "result", "coordinator"), body)
    for name in federation.limits.members:
        federation._let_read(name)


def says_result(federation: Simulation) -> bool:
    return any(step == "result" for _, step in federation.coordinator._said)


def test_an_edited_sum_is_found_out_by_every_member_and_its_coordinator_served_no_more(tmp_path: Path) -> None:
    federation = Simulation(tmp_path, programme=[request(0), request(1)])
    edited(federation)
    for name in federation.limits.members:
        assert federation.opened(name), "it was accepted at first"
        federation.add_again(name)
        assert any("published another sum" in reason for reason in notes(federation, name))
        with pytest.raises(RefusedError, match="takes part in nothing more"):
            federation.nodes[name].readding.refuse_if_distrusted()
    federation.start("m0")
    with pytest.raises(RefusedError, match="takes part in nothing more"):
        federation.nodes["m0"].readding.refuse_if_distrusted()


def test_a_published_sum_whose_upload_is_withheld_from_readers_is_not_accepted(federation: Simulation) -> None:
    federation.run()
    readding = federation.nodes["m1"].readding
    bodies = {subject: federation.hub.body(subject) for subject in readding.wanted()}
    missing = next(subject for subject in bodies if subject.step == "upload")
    readding.collected({**bodies, missing: None})
    assert any("no upload of" in reason for reason in notes(federation, "m1"))
    with pytest.raises(RefusedError):
        readding.refuse_if_distrusted()


def test_a_changed_upload_or_partial_is_not_accepted(tmp_path: Path) -> None:
    for place, step in enumerate(("upload", "open")):
        folder = tmp_path / step
        folder.mkdir()
        federation = Simulation(folder)
        federation.run()
        readding = federation.nodes["m1"].readding
        bodies = {subject: federation.hub.body(subject) for subject in readding.wanted()}
        changed = next(subject for subject in bodies if subject.step == step)
        body = bodies[changed]
        assert body is not None
        readding.collected({**bodies, changed: body[:-1] + bytes([body[-1] ^ 1])})
        assert federation.nodes["m1"]._records.get(f"readded/{federation.opened()[0].manifest.session}") is False, place


def test_large_sums_are_added_again_by_members_of_whom_one_is_honest(tmp_path: Path) -> None:
    rules = limits(10, 3, gram=purpose(values=1_000_000))
    federation = Simulation(tmp_path, limits=limits(10, 3))
    federation.run()
    aggregate = federation.opened()[0]
    session = federation.nodes["m0"].readding._waiting[0]
    assert verifiers(session.manifest, session.cohort, federation.limits) == frozenset(federation.limits.members)
    large = msgspec.structs.replace(aggregate.manifest, length=1_000_000)
    drawn = verifiers(large, session.cohort, rules)
    assert len(drawn) == rules.colluders + 1
    assert drawn < frozenset(rules.members)
    assert EVERYBODY_BYTES < 17 * 3_000_000


def test_a_sum_is_added_again_once(federation: Simulation) -> None:
    federation.run()
    federation.add_again("m0")
    federation.read["m0"] = 0
    federation._let_read("m0")
    assert federation.nodes["m0"].readding.wanted() == []
