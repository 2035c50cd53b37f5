"""Claims about sums aside: a query that is refused, or slow, delays neither bars nor rounds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from coordination import deaths, is_exact, says
from hansa.errors import RefusedError
from hansa.federation.ripple_query import PURPOSE, RippleQuery
from hansa.federation.running_sum import Request, is_aside
from hansa.federation.schedule import round_number
from hansa.federation.transport import Channel
from simulator import BAR_NS, DAY_NS, Simulation, Vectors, limits, purpose, vector

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy as np

    from hansa.protocol.messages import Manifest

BASKETS = ("eur", "xau")
KNOWN = RippleQuery("xau", ("eur",), 3.0, 24).index(BASKETS)
UNKNOWN = 7
SECOND = 1_700_000_000
ROUND = round_number(DAY_NS)


def query(place: int = 0, index: int = KNOWN) -> Request:
    return Request(SECOND + place, 0, PURPOSE, index, DAY_NS, DAY_NS)


def bar(slot: int) -> Request:
    return Request(19700102, slot, "state", 0, DAY_NS + slot * BAR_NS, DAY_NS + slot * BAR_NS)


def round_of(place: int) -> Request:
    return Request(ROUND, place, "census", 0, DAY_NS, DAY_NS)


OTHERS = [bar(0), round_of(0), round_of(1), bar(1)]


def answers(name: str, few: tuple[str, ...]) -> Callable[[Manifest], np.ndarray]:
    """Return the statistic of a member that refuses a query about no market, or any query if it is not of the few."""

    def value(manifest: Manifest) -> np.ndarray:
        if manifest.purpose == PURPOSE:
            RippleQuery.of_index(manifest.index, BASKETS)
            if few and name not in few:
                raise RefusedError("this member answers no queries today")
        return vector(name, manifest.length)

    return value


def alliance(
    tmp_path: Path, programme: list[Request], *, epsilon: float = 50.0, few: tuple[str, ...] = ()
) -> Simulation:
    rules = limits(
        5,
        state=purpose(values_per_bar=2, exchanges=2, period="day"),
        census=purpose(),
        **{PURPOSE: purpose(epsilon=epsilon)},
    )
    return Simulation(tmp_path, limits=rules, programme=programme, statistic=lambda name: Vectors(answers(name, few)))


def stamps(federation: Simulation, step: str, place: int) -> list[int]:
    """Return when the board had a step of the sums of a round."""
    found = [m for m in federation.hub.stored(Channel.BOARD) if m.subject.step == step]
    return [m.time_ns for m in found if m.subject.session.startswith(f"r{place}-")]


def is_asked(federation: Simulation) -> bool:
    return bool(stamps(federation, "announce", SECOND))


def close(federation: Simulation) -> None:
    for store in federation.stores.values():
        store.close()


@pytest.mark.parametrize("is_killed", [False, True])
@pytest.mark.parametrize(
    ("why", "epsilon", "few", "index"),
    [
        ("BudgetError", 0.01, (), KNOWN),
        ("answers no queries today", 50.0, ("m0", "m1"), KNOWN),
        ("index 7: ripple query", 50.0, (), UNKNOWN),
    ],
)
def test_a_refused_query_delays_no_bar_and_no_round(
    tmp_path: Path, why: str, epsilon: float, few: tuple[str, ...], index: int, *, is_killed: bool
) -> None:
    federation = alliance(tmp_path, [query(index=index)], epsilon=epsilon, few=few)
    federation.run(until=lambda: is_asked(federation))
    asked_ns = federation.now_ns
    assert federation.coordinator.is_free, "the channel's planner is asked while the query waits for its deadline"
    assert federation.coordinator.is_clear, "so is the planner of rounds"
    assert federation.coordinator.has_aside
    assert not federation.coordinator.is_done
    if is_killed:
        federation.start_coordinator()
    federation.coordinator.extend(OTHERS)
    federation.run(until=lambda: len(stamps(federation, "result", ROUND)) == 2 and federation.coordinator.is_clear)
    assert stamps(federation, "result", ROUND) == [asked_ns] * 2, "the clock has not moved"
    assert stamps(federation, "result", 19700102) == [asked_ns] * 2
    assert not stamps(federation, "died", SECOND)
    federation.run()
    assert len(stamps(federation, "died", SECOND)) == federation.limits.attempts
    assert min(stamps(federation, "died", SECOND)) > asked_ns + federation.limits.upload_ns
    assert any(why in str(row["reason"]) for row in federation.nodes["m4"]._records.rows("SELECT reason FROM note"))
    assert is_exact(federation)
    assert not federation.coordinator.is_failed, "that a query was refused is no failure of the programme"
    assert federation.coordinator.abandoned == {SECOND}
    close(federation)


def test_between_two_attempts_of_a_refused_query_bars_go_on(tmp_path: Path) -> None:
    federation = alliance(tmp_path, [query()], epsilon=0.01)
    federation.run(until=lambda: len(stamps(federation, "announce", SECOND)) == 2)
    now_ns = federation.now_ns
    federation.coordinator.extend(OTHERS)
    federation.run(until=lambda: len(stamps(federation, "result", ROUND)) == 2 and federation.coordinator.is_clear)
    assert stamps(federation, "result", 19700102) == [now_ns] * 2
    assert stamps(federation, "result", ROUND) == [now_ns] * 2
    close(federation)


def test_a_query_that_is_answered_is_exact_beside_bars_and_rounds(tmp_path: Path) -> None:
    federation = alliance(tmp_path, [query()])
    federation.withhold = lambda sender, subject: (
        subject.step == "upload" and sender == "m2" and subject.session.startswith(f"r{SECOND}-")
    )
    federation.run(until=lambda: is_asked(federation))
    federation.coordinator.extend(OTHERS)
    federation.run()
    opened = [(one.manifest.purpose, len(one.cohort)) for one in federation.opened()]
    assert opened == [("state", 5), ("census", 5), ("census", 5), ("state", 5), (PURPOSE, 4)]
    assert is_exact(federation)
    assert not deaths(federation)
    close(federation)


def test_queries_are_under_way_one_at_a_time_and_begin_between_other_sums(tmp_path: Path) -> None:
    federation = alliance(tmp_path, [bar(0), query(0), query(1), round_of(0)])
    most = 0

    def watch() -> bool:
        nonlocal most
        running = [one.request for one in federation.coordinator._running.values()]
        most = max(most, sum(map(is_aside, running)))
        return False

    federation.run(until=watch)
    assert most == 1
    order = [
        m.subject.session.split("-")[2]
        for m in federation.hub.stored(Channel.BOARD)
        if m.subject.step in {"announce", "result"}
    ]
    assert order[:2] == ["state", "state"], "a query begins when nothing else is under way"
    assert order.count(PURPOSE) == 4
    assert is_exact(federation)
    assert says(federation, "result")
    close(federation)


def test_days_and_rounds_are_not_aside() -> None:
    assert is_aside(query())
    assert not is_aside(bar(0))
    assert not is_aside(Request(round_number(2_000_000_000 * 10**9), 0, "census", 0, 0, 0))
