"""Claims about sums of two exchanges that overlap at the coordinator, and about sums that must not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from coordination import deaths, is_exact, says
from hansa.federation.coordinator import WINDOW
from hansa.federation.running_sum import Request
from hansa.federation.transport import Channel, Subject
from simulator import BAR_NS, DAY_NS, Simulation, limits, purpose, request

if TYPE_CHECKING:
    from pathlib import Path

    from hansa.federation.coordinator import CoordinatorNode


def bars(*slots: int) -> list[Request]:
    """Return sums of the state channel, one bar each."""
    spans = [DAY_NS + slot * BAR_NS for slot in slots]
    return [Request(19700102, slot, "state", 0, span, span) for slot, span in zip(slots, spans, strict=True)]


def channel(tmp_path: Path, programme: list[Request], members: int = 5) -> Simulation:
    state = purpose(values_per_bar=2, exchanges=2, period="day")
    return Simulation(tmp_path, limits=limits(members, state=state, gram=purpose()), programme=programme)


def close(federation: Simulation) -> None:
    for store in federation.stores.values():
        store.close()


def published(federation: Simulation) -> list[int]:
    """Return the positions of the sums in the order in which the board published them."""
    sessions = [m.subject.session for m in federation.hub.stored(Channel.BOARD) if m.subject.step == "result"]
    return [int(session.split("-")[1]) for session in sessions]


def published_at(federation: Simulation) -> dict[int, int]:
    results = [m for m in federation.hub.stored(Channel.BOARD) if m.subject.step == "result"]
    return {int(m.subject.session.split("-")[1]): m.time_ns for m in results}


def test_a_stalled_bar_does_not_delay_the_next_ones_and_its_sum_comes_later(tmp_path: Path) -> None:
    federation = channel(tmp_path, bars(0, 1, 2, 3, 4))
    federation.withhold = lambda sender, subject: (
        subject.step == "upload" and sender == "m2" and subject.session.startswith("r19700102-1-")
    )
    federation.run()
    start = min(published_at(federation).values())
    waited = {place: time_ns - start for place, time_ns in published_at(federation).items()}
    assert {place: late for place, late in waited.items() if late} == {1: waited[1]}
    assert waited[1] > federation.limits.upload_ns
    assert published(federation) == [0, 2, 3, 4, 1]
    for name in federation.limits.members:
        found = [(one.manifest.position, len(one.cohort)) for one in federation.opened(name)]
        assert found == [(0, 5), (2, 5), (3, 5), (4, 5), (1, 4)]
        assert is_exact(federation, name)
    assert federation.coordinator.last_bar_ns == DAY_NS + 4 * BAR_NS
    assert not federation.coordinator.is_failed
    close(federation)


def test_at_most_a_window_of_sums_of_two_exchanges_overlaps(tmp_path: Path) -> None:
    federation = channel(tmp_path, bars(*range(WINDOW + 3)))
    federation.withhold = lambda sender, subject: subject.step == "upload" and sender == "m2"
    most = 0

    def watch() -> bool:
        nonlocal most
        most = max(most, len(federation.coordinator._running))
        return False

    federation.run(until=watch)
    assert most == WINDOW == 8
    assert sorted(published(federation)) == list(range(WINDOW + 3))
    assert is_exact(federation)
    close(federation)


def test_in_service_the_planner_is_asked_again_while_a_bar_is_stalled_and_ends_the_work_when_nothing_is_left(
    tmp_path: Path,
) -> None:
    federation = channel(tmp_path, [])
    federation.withhold = lambda sender, subject: (
        subject.step == "upload" and sender == "m2" and subject.session.startswith("r19700102-0-")
    )
    under_way: list[int] = []

    def planner(node: CoordinatorNode, _now_ns: int) -> list[Request] | None:
        if len(under_way) == 4:
            return None
        under_way.append(node.running_bar_ns)
        return bars(len(under_way) - 1)

    for _ in range(100):
        if federation.coordinator._is_over(planner, federation.now_ns):
            break
        if not federation.step():
            federation.now_ns += federation.limits.upload_ns + 1
    assert federation.coordinator.is_done
    assert under_way[0] == 0
    assert all(under_way[1:])
    assert published(federation) == [1, 2, 3, 0]
    assert federation.coordinator.running_bar_ns == 0
    close(federation)


def test_a_planner_is_not_asked_while_a_sum_of_three_exchanges_or_a_full_window_is_under_way(tmp_path: Path) -> None:
    federation = channel(tmp_path, [request()])
    assert not federation.coordinator.is_free, "no epoch yet"
    federation.run(until=lambda: bool(federation.coordinator._running))
    assert not federation.coordinator.is_free
    federation.run()
    assert federation.coordinator.is_free
    federation.withhold = lambda sender, subject: subject.step == "upload" and sender == "m2"
    federation.coordinator.extend(bars(*range(WINDOW)))
    federation.run(until=lambda: len(federation.coordinator._running) == WINDOW)
    assert not federation.coordinator.is_free
    federation.run()
    assert federation.coordinator.is_free
    close(federation)


def test_a_sum_of_three_exchanges_begins_when_all_before_it_are_over_and_overlaps_with_nothing(
    tmp_path: Path,
) -> None:
    later = Request(19700102, 9, "state", 0, DAY_NS + 9 * BAR_NS, DAY_NS + 9 * BAR_NS)
    federation = channel(tmp_path, [*bars(0, 1), request(5), later])
    federation.withhold = lambda sender, subject: (
        subject.step == "upload" and sender == "m2" and subject.session.startswith("r19700102-0-")
    )
    federation.run()
    steps = [
        (int(m.subject.session.split("-")[1]), m.subject.step)
        for m in federation.hub.stored(Channel.BOARD)
        if m.subject.step in {"announce", "result"}
    ]
    assert steps == [
        (0, "announce"),
        (1, "announce"),
        (1, "result"),
        (0, "result"),
        (5, "announce"),
        (5, "result"),
        (9, "announce"),
        (9, "result"),
    ]
    assert is_exact(federation)
    close(federation)


@pytest.mark.parametrize("step", ["announce", "upload", "cohort", "call", "open", "call-1", "open-1", "result", "died"])
def test_a_kill_while_sums_overlap_leads_to_the_same_sums(tmp_path: Path, step: str) -> None:
    """One bar loses an upload, one a decryptor, one dies once; the coordinator is killed at every step of any."""
    federation = channel(tmp_path, bars(0, 1, 2, 3))

    def withhold(sender: str, subject: Subject) -> bool:
        place = subject.session.split("-")[1]
        first = subject.session.endswith("-a1")
        return first and (subject.step, sender, place) in {
            ("upload", "m2", "0"),
            ("open", "m1", "1"),
            ("upload", "m3", "2"),
            ("upload", "m4", "2"),
        }

    federation.withhold = withhold
    is_killed = False
    for _ in range(200):
        if federation.coordinator.is_done:
            break
        if not federation.step():
            federation.now_ns += federation.limits.upload_ns + 1
        if says(federation, step) and not is_killed:
            is_killed = True
            federation.start_coordinator()
    assert is_killed
    federation.run(rounds=3)
    assert sorted(published(federation)) == [0, 1, 2, 3]
    found = {one.manifest.position: (one.manifest.attempt, one.cohort) for one in federation.opened()}
    everybody = federation.limits.members
    assert found == {0: (1, ("m0", "m1", "m3", "m4")), 1: (1, everybody), 2: (2, everybody), 3: (1, everybody)}
    assert is_exact(federation)
    assert deaths(federation) == ["3 of 5 members uploaded in time; at least 4 are needed"]
    close(federation)


def test_a_bar_that_is_given_up_takes_no_other_bar_with_it(tmp_path: Path) -> None:
    federation = channel(tmp_path, bars(0, 1, 2))
    federation.withhold = lambda sender, subject: (
        subject.step == "upload" and sender in {"m3", "m4"} and subject.session.startswith("r19700102-1-")
    )
    federation.run()
    assert published(federation) == [0, 2]
    assert len(deaths(federation)) == federation.limits.attempts
    assert federation.coordinator.given_up_ns == DAY_NS + BAR_NS
    assert federation.coordinator.last_bar_ns == DAY_NS + 2 * BAR_NS
    assert federation.coordinator.is_done
    assert federation.coordinator.abandoned == set()
    close(federation)
