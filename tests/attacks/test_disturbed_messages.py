"""Attack: bits flipped, messages cut, lengthened, repeated, sent early, sent by or to somebody else.

Everything here is deterministic, so the attacker knows every message of the session before it is sent.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hansa.errors import HansaError
from hansa.protocol.messages import Call, Cohort, encode
from players import Table, from_coordinator
from simulator import limits, purpose

PRESENT = ("m0", "m1", "m2", "m3", "m4")  # m5 vanishes after its upload, m6 drops before it


@dataclass(frozen=True)
class Event:
    """One delivery: by `step` it goes to the member `name`, or comes from it to the coordinator."""

    step: str
    name: str
    body: bytes


def deliver(table: Table, event: Event) -> bytes | None:
    session, total = table.sessions[event.name], table.sum
    to_member = {
        "cohort": session.on_cohort,
        "call": session.on_call,
        "recover": session.on_recover,
        "result": session.on_result,
    }
    if event.step in to_member:
        answer = to_member[event.step](event.body)
        return answer if isinstance(answer, bytes) else None
    to_coordinator = {
        "upload": total.add_upload,
        "agree": total.add_agreement,
        "open": total.add_opening,
        "shares": total.add_shares,
    }
    to_coordinator[event.step](event.name, event.body)
    return None


@dataclass(frozen=True)
class Script:
    """An undisturbed session: what is delivered, in order, and what the coordinator publishes in between."""

    events: tuple[Event, ...]
    cohort: Cohort
    calls: tuple[Call, ...]
    result: bytes


def new_table(exchanges: int) -> Table:
    return Table(limits(7, 1, gram=purpose(exchanges=exchanges)))


@lru_cache(maxsize=2)
def script(exchanges: int) -> Script:
    table = new_table(exchanges)
    events: list[Event] = []

    def give(step: str, name: str, body: bytes) -> bytes | None:
        events.append(Event(step, name, body))
        return deliver(table, events[-1])

    for name in (*PRESENT, "m5"):
        body = table.sessions[name].upload(table.doors[name], announced_ns=0, now_ns=0)
        assert body is not None
        give("upload", name, body)
    cohort = table.propose()
    exchange(give, "cohort", "agree", from_coordinator(cohort))
    calls = []
    while not table.sum.is_answered():
        call = table.sum.next_call()
        assert call is not None
        table.sum.note_call(call)
        calls.append(call)
        exchange(give, "call", "open", from_coordinator(call))
    exchange(give, "recover", "shares", from_coordinator(table.sum.recover()))
    result = table.sum.result()
    assert result is not None
    for name in PRESENT:
        give("result", name, from_coordinator(result))
    return Script(tuple(events), cohort, tuple(calls), encode(result))


def exchange(give: object, step: str, answer: str, body: bytes) -> None:
    for name in PRESENT:
        said = give(step, name, body)  # type: ignore[operator]
        if said is not None:
            give(answer, name, said)  # type: ignore[operator]


def spoiled(event: Event, how: str, place: int) -> Event:
    body = event.body
    if how == "flipped":
        at = place % (8 * len(body))
        body = body[: at // 8] + bytes([body[at // 8] ^ 1 << at % 8]) + body[at // 8 + 1 :]
    elif how == "cut":
        body = body[: place % len(body)]
    elif how == "lengthened":
        body += bytes(1 + place % 40)
    name = f"m{place % 7}" if how == "misdirected" else event.name
    steps = ("upload", "cohort", "agree", "call", "open", "recover", "shares", "result")
    return Event(steps[place % 8] if how == "under another step" else event.step, name, body)


HOW = ("again or early", "flipped", "cut", "lengthened", "misdirected", "under another step")
disturbances = st.lists(
    st.tuples(st.integers(0, 200), st.integers(0, 200), st.sampled_from(HOW), st.integers(0, 10**6)), max_size=40
)


def play(table: Table, known: Script, extra: list[tuple[int, int, str, int]]) -> None:
    """Deliver the script; before its event `when` each disturbance `(when, which, how, place)` comes in between."""
    calls = iter(known.calls)
    for moment, event in enumerate(known.events):
        if event.step == "cohort" and table.sum.cohort is None:
            table.sum.note_cohort(known.cohort)
        if event.step == "call" and (table.sum.call is None or from_coordinator(table.sum.call) != event.body):
            table.sum.note_call(next(calls))
        for when, which, how, place in extra:
            if when % len(known.events) == moment:
                try:
                    deliver(table, spoiled(known.events[which % len(known.events)], how, place))
                except HansaError:
                    continue
        if event.step == "upload":
            body = table.sessions[event.name].upload(table.doors[event.name], announced_ns=0, now_ns=0)
            assert body in (event.body, None)
        try:
            deliver(table, event)
        except HansaError as error:
            assert event.step == "result", error  # noqa: PT017 - it came early and closed the session
        if event.step == "shares" and table.sum.result() is not None:
            assert encode(table.sum.result()) == known.result  # type: ignore[arg-type]


@pytest.mark.parametrize("exchanges", [2, 3])
@settings(max_examples=20, deadline=None, derandomize=True)
@given(extra=disturbances)
def test_disturbed_messages_are_refused_by_name_or_change_nothing(
    exchanges: int, extra: list[tuple[int, int, str, int]]
) -> None:
    table, known = new_table(exchanges), script(exchanges)
    play(table, known, extra)
    result = table.sum.result()
    assert result is not None
    assert encode(result) == known.result
    assert table.opened().tolist() == table.expected(known.cohort.members).tolist()


@pytest.mark.parametrize("exchanges", [2, 3])
def test_no_single_bit_of_any_message_can_be_changed(exchanges: int) -> None:
    """Of each kind one message, every 23rd bit: refused with a named error at an untouched receiver."""
    known = script(exchanges)
    seen: set[str] = set()
    for event in known.events:
        if event.step in seen:
            continue
        seen.add(event.step)
        table = new_table(exchanges)
        for at in range(0, 8 * len(event.body), 23 if len(event.body) < 2000 else 211):
            with pytest.raises(HansaError):
                deliver(table, spoiled(event, "flipped", at))
    assert seen >= {"upload", "cohort", "call", "open", "recover", "shares", "result"}
