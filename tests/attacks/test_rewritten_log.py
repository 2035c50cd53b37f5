"""Attacks by a coordinator on the log: another tree for one member, a rewind, entries left out or moved."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from hansa.audit.checkpoint import Checkpoint, signed_checkpoint
from hansa.audit.merkle import Frontier, leaf_hashes
from hansa.audit.note import Note, origin_of
from hansa.audit.witness import Fault
from hansa.errors import LogError, MessageError, SignatureError
from hansa.federation.log_view import LogView
from hansa.federation.transport import Channel
from hansa.protocol.messages import Call, Logged, open_envelope, seal_envelope
from simulator import SECOND, Simulation, limits, request, signing_key, witnessed

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

COORDINATOR = signing_key("coordinator")
RULES = witnessed(limits())


@pytest.fixture
def simulation(tmp_path: Path) -> Simulation:
    made = Simulation(tmp_path, limits=RULES, programme=[request(0), request(1)])
    made.run()
    made.now_ns += 2 * SECOND
    for _ in range(5):
        made.step()
    return made


def logged(simulation: Simulation) -> list[Logged]:
    """Return every checkpoint of the board with its entries."""
    key = RULES.keys["coordinator"]
    return [
        open_envelope(message.body, Logged, sender="coordinator", key=key)
        for message in simulation.hub.stored(Channel.BOARD)
        if message.subject.step == "logged"
    ]


def said(start: int, before: Sequence[bytes], entries: Sequence[bytes], *, size: int | None = None) -> bytes:
    """Return what a coordinator says of entries after others: a true tree of them, whatever they are."""
    frontier, _ = Frontier().extended(leaf_hashes([*before, *entries]))
    checkpoint = Checkpoint(origin_of("test"), frontier.size if size is None else size, frontier.root())
    note = signed_checkpoint(checkpoint, COORDINATOR).to_bytes()
    return seal_envelope(Logged(start, tuple(entries), note), sender="coordinator", signer=COORDINATOR)


def restarted(simulation: Simulation, name: str = "m0") -> LogView:
    """Return the view of a member that has just started: its store is what it was."""
    return LogView(
        name, limits=RULES, signer=signing_key(name), store=simulation.stores[name], clock=lambda: simulation.now_ns
    )


def test_members_read_the_whole_log_and_each_has_cosigned_it(simulation: Simulation) -> None:
    log = simulation.log
    assert log is not None
    assert {node.log.size for node in simulation.nodes.values()} == {log.size}
    entries = [entry for one in logged(simulation) for entry in one.entries]
    assert entries == list(log.entries())
    log.check()


def test_a_running_coordinator_keeps_cosigned_checkpoints_when_nothing_comes(simulation: Simulation) -> None:
    """A kill later must not lose them: a sum whose manifest no kept checkpoint holds is no evidence."""
    log, coordinator = simulation.log, simulation.coordinator
    assert log is not None
    assert log.published_sizes() == []
    asyncio.run(coordinator._take(asyncio.Queue()))
    assert len(log.published_sizes()) == len(logged(simulation))
    assert coordinator._records.get("log") == {"size": log.size}


def test_a_member_that_reads_the_board_again_comes_to_where_it_was_and_says_nothing_new(
    simulation: Simulation,
) -> None:
    before = simulation.stores["m0"].cosigned(origin_of("test"))
    view = restarted(simulation)
    lines = []
    for one in logged(simulation):
        body = seal_envelope(one, sender="coordinator", signer=COORDINATOR)
        lines.append(view.on_logged(body))
    assert lines[:-1] == [None] * (len(lines) - 1)
    assert before is not None
    assert lines[-1] == str(Note.parse(before).signatures[-1]).encode(), "the newest cosignature, the same bytes"


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda entries: entries[:-1], Fault.REWIND),
        (lambda entries: [entries[1], entries[0], *entries[2:]], Fault.SPLIT_VIEW),
        (lambda entries: [*entries[:-1], entries[-2]], Fault.SPLIT_VIEW),
        (lambda entries: [entries[0], *entries[2:], entries[2]], Fault.SPLIT_VIEW),
    ],
    ids=["rewind", "reordered", "rewritten", "one left out"],
)
def test_a_board_that_was_rewritten_is_refused_by_a_member_that_cosigned_another(
    simulation: Simulation, change: object, fault: Fault
) -> None:
    entries = [entry for one in logged(simulation) for entry in one.entries]
    view = restarted(simulation)
    forged = change(entries)  # type: ignore[operator]
    if fault is Fault.REWIND:
        view.on_logged(said(0, [], forged))
        later = said(len(forged), forged, [entries[0], entries[1], entries[2]])
        with pytest.raises(LogError):
            view.on_logged(later)
    else:
        with pytest.raises(LogError) as caught:
            view.on_logged(said(0, [], forged))
        assert caught.value.fault is fault
    assert simulation.stores["m0"].disputes(), "the checkpoint that contradicts is kept: it is the evidence"


def test_entries_that_do_not_follow_are_refused_by_name(simulation: Simulation) -> None:
    view = simulation.nodes["m1"].log
    size, entries = view.size, [entry for one in logged(simulation) for entry in one.entries]
    for start, fault in ((size + 1, Fault.OMISSION), (size - 1, Fault.REWIND)):
        with pytest.raises(LogError) as caught:
            view.on_logged(said(start, entries[:start], [b"{}"]))
        assert caught.value.fault is fault
    with pytest.raises(MessageError, match="with a checkpoint of size"):
        view.on_logged(said(size, entries, [b"{}"], size=size + 2))
    assert view.size == size


def test_a_checkpoint_by_another_key_is_refused(simulation: Simulation) -> None:
    view = simulation.nodes["m1"].log
    frontier, _ = Frontier().extended(leaf_hashes([b"x"] * (view.size + 1)))
    note = signed_checkpoint(Checkpoint(origin_of("test"), frontier.size, frontier.root()), signing_key("m2"))
    forged = Logged(view.size, (b"x",), note.to_bytes())
    with pytest.raises((SignatureError, MessageError)):
        view.on_logged(seal_envelope(forged, sender="coordinator", signer=COORDINATOR))


def test_nothing_is_opened_without_a_checkpoint_that_holds_its_manifest(tmp_path: Path) -> None:
    """A coordinator that shows a call with an old checkpoint, one of too few witnesses, or none."""
    simulation = Simulation(tmp_path, limits=RULES, programme=[request(0), request(1)])
    simulation.run()
    key = RULES.keys["coordinator"]
    calls = [
        open_envelope(message.body, Call, sender="coordinator", key=key)
        for message in simulation.hub.stored(Channel.BOARD)
        if message.subject.step == "call"
    ]
    view = simulation.nodes["m0"].log
    first, second = calls
    view.require_witnessed(second.manifest, second.checkpoint)
    with pytest.raises(LogError, match="in no entry before"):
        view.require_witnessed(second.manifest, first.checkpoint)
    with pytest.raises(LogError, match="in no entry before"):
        view.require_witnessed(b"\0" * 32, second.checkpoint)
    note = Note.parse(second.checkpoint)
    few = replace(note, signatures=note.signatures[: RULES.quorum])
    with pytest.raises(SignatureError, match=f"expected cosignatures of {RULES.quorum} witnesses"):
        view.require_witnessed(second.manifest, few.to_bytes())


def test_a_round_dies_where_too_few_members_cosign(tmp_path: Path) -> None:
    simulation = Simulation(
        tmp_path,
        limits=RULES,
        programme=[request(0)],
        withhold=lambda node, subject: subject.step == "cosign" and node in {"m0", "m1"},
    )
    simulation.run()
    assert simulation.coordinator.is_failed
    assert simulation.opened() == []
    died = [one for one in simulation.hub.stored(Channel.BOARD) if one.subject.step == "died"]
    assert len(died) == RULES.attempts


def test_a_coordinator_killed_at_any_message_goes_on_with_one_log(tmp_path: Path) -> None:
    calm = Simulation(_folder(tmp_path, "calm"), limits=RULES, programme=[request(0), request(1)])
    calm.run()
    said_by_all = len(calm.sent)
    for kill in range(3, said_by_all, 7):
        killed = Simulation(_folder(tmp_path, f"killed-{kill}"), limits=RULES, programme=[request(0), request(1)])
        killed.run(until=lambda killed=killed, kill=kill: len(killed.sent) >= kill)  # type: ignore[misc]
        killed.start_coordinator()
        killed.run()
        assert not killed.coordinator.is_failed
        assert [one.steps.tolist() for one in killed.opened()]
        log = killed.log
        assert log is not None
        log.check()
        assert [node._records.rows("SELECT * FROM note") for node in killed.nodes.values()] == [[]] * 5


def _folder(directory: Path, name: str) -> Path:
    made = directory / name
    made.mkdir()
    return made
