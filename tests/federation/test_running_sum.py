"""Claims about one secure sum under way at the coordinator: what it says, when, and that it says it once."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from hansa.federation.running_sum import RunningSum
from hansa.protocol.messages import Call, Cohort, Died, Recover, Result
from players import Table, from_coordinator, manifest
from simulator import SECOND, limits, purpose, request

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hansa.protocol.limits import Limits
    from hansa.protocol.messages import Payload

T0 = 1_000 * SECOND
LATE = 10 * SECOND + 1


class Board:
    """A running sum, the members around it, and a stream that shows only what the test lets it show."""

    def __init__(self, rules: Limits) -> None:
        self.rules = rules
        self.table = Table(rules)
        self.running = self.restarted()

    def restarted(self) -> RunningSum:
        """Return a running sum that knows the manifest alone."""
        running = RunningSum(request(), manifest(self.rules), limits=self.rules, time_ns=T0)
        self.table.sum = running.sum
        return running

    def upload(self, *dropped: str) -> None:
        self.table.upload([name for name in self.rules.members if name not in dropped])

    def agree(self, names: Sequence[str] | None = None) -> None:
        self.table.agree(names)

    def answer(self, call: Call, *, silent: Sequence[str] = ()) -> None:
        """Let the cohort answer a call."""
        cohort = self.running.sum.cohort
        assert cohort is not None
        for name in cohort.members:
            session = self.table.sessions[name]
            if session.cohort is None:
                session.on_cohort(from_coordinator(cohort))
            body = session.on_call(from_coordinator(call))
            if body is not None and name not in silent:
                self.running.sum.add_opening(name, body)

    def says(self, now_ns: int) -> list[tuple[str, Payload]]:
        return self.running.drive(now_ns)

    def says_one(self, now_ns: int) -> tuple[str, Payload]:
        (said,) = self.says(now_ns)
        return said


def first_call(board: Board, *dropped: str) -> Call:
    """Go on to the first call of three exchanges, which the stream has at T0."""
    board.upload(*dropped)
    step, cohort = board.says_one(T0 + LATE)
    assert (step, type(cohort)) == ("cohort", Cohort)
    board.running.reach("cohort", T0)
    board.agree()
    step, call = board.says_one(T0)
    assert step == "call"
    assert isinstance(call, Call)
    board.running.reach("call", T0)
    return call


def test_nothing_is_said_twice_before_the_stream_has_it() -> None:
    board = Board(limits())
    board.upload()
    assert [step for step, _ in board.says(T0)] == ["cohort"]
    board.agree()
    for waited in (0, LATE, 100 * LATE):
        assert board.says(T0 + waited) == []
    board.running.reach("cohort", T0 + LATE)
    step, call = board.says_one(T0 + LATE)
    assert step == "call"
    assert isinstance(call, Call)
    assert board.says(T0 + 100 * LATE) == []
    board.running.reach("call", T0 + LATE)
    board.answer(call)
    assert board.says_one(T0 + LATE)[0] == "result"
    assert board.says(T0 + 100 * LATE) == []


def test_a_cohort_waits_for_everybody_or_for_the_deadline_by_the_streams_time() -> None:
    board = Board(limits())
    board.upload("m4")
    assert board.says(T0 + board.rules.upload_ns) == []
    step, cohort = board.says_one(T0 + board.rules.upload_ns + 1)
    assert step == "cohort"
    assert isinstance(cohort, Cohort)
    assert cohort.members == ("m0", "m1", "m2", "m3")
    everybody = Board(limits())
    everybody.upload()
    assert everybody.says_one(T0)[0] == "cohort"


def test_in_two_exchanges_the_first_call_comes_with_the_cohort_and_the_stream_must_have_both() -> None:
    board = Board(limits(gram=purpose(exchanges=2)))
    board.upload()
    (cohort_step, _), (call_step, call) = board.says(T0)
    assert (cohort_step, call_step) == ("cohort", "call")
    assert isinstance(call, Call)
    assert call.agreements == ()
    board.running.reach("cohort", T0)
    assert board.says(T0 + 100 * LATE) == []
    board.running.reach("call", T0)
    board.answer(call)
    assert board.says_one(T0)[0] == "result"


def test_a_restart_between_cohort_and_call_of_two_exchanges_says_the_same_call() -> None:
    board = Board(limits(gram=purpose(exchanges=2)))
    board.upload()
    (_, cohort), said = board.says(T0)
    assert isinstance(cohort, Cohort)
    uploads = board.table.uploads
    board.running = board.restarted()
    board.running.sum.note_cohort(cohort)
    board.running.reach("cohort", T0)
    for name, body in uploads.items():
        board.running.sum.add_upload(name, body)
    assert board.says(T0) == [said]


def test_in_three_exchanges_no_call_comes_before_a_quorum_and_without_one_the_session_dies_once() -> None:
    board = Board(limits())
    board.upload()
    board.says(T0)
    board.running.reach("cohort", T0)
    board.agree(["m0", "m1", "m2"])
    assert board.rules.quorum == 4
    assert board.says(T0 + board.rules.agree_ns) == []
    step, died = board.says_one(T0 + board.rules.agree_ns + 1)
    assert step == "died"
    assert isinstance(died, Died)
    assert died.reason == "no quorum agreed in time"
    assert board.says(T0 + 100 * LATE) == []


def test_a_silent_decryptor_leads_to_a_call_of_others_after_the_deadline_and_not_before() -> None:
    board = Board(limits())
    call = first_call(board)
    silent = call.decryptors[1]
    board.answer(call, silent=[silent])
    assert board.says(T0 + board.rules.open_ns) == []
    step, again = board.says_one(T0 + board.rules.open_ns + 1)
    assert step == "call-1"
    assert isinstance(again, Call)
    assert (again.number, again.agreements) == (1, ())
    assert silent not in again.decryptors
    assert set(again.decryptors) == set(board.rules.members) - {silent}
    board.running.reach("call-1", T0 + LATE)
    assert board.says(T0 + LATE + board.rules.open_ns) == []
    board.answer(again)
    step, result = board.says_one(T0 + LATE)
    assert step == "result"
    assert isinstance(result, Result)
    assert result.number == 1
    assert board.running.take_notes() == []


def test_more_silent_decryptors_than_the_cohort_can_spare_end_the_session_with_their_names() -> None:
    board = Board(limits())
    call = first_call(board)
    silent = call.decryptors[:2]
    board.answer(call, silent=silent)
    step, died = board.says_one(T0 + LATE)
    assert step == "died"
    assert isinstance(died, Died)
    assert died.reason == f"no answer of {', '.join(silent)}; 4 decryptors are needed"


def test_calls_end_with_the_constitutions_reopenings() -> None:
    board = Board(replace(limits(9, 1), reopenings=2))
    call, now, silent = first_call(board), T0, []
    for number in (1, 2):
        silent.append(call.decryptors[0])
        board.answer(call, silent=silent[-1:])
        now += LATE
        step, call = board.says_one(now)
        assert step == f"call-{number}"
        assert isinstance(call, Call)
        assert not set(silent) & set(call.decryptors)
        board.running.reach(step, now)
    silent.append(call.decryptors[0])
    board.answer(call, silent=silent[-1:])
    step, died = board.says_one(now + LATE)
    assert step == "died"
    assert isinstance(died, Died)
    assert died.reason == f"no answer of {', '.join(sorted(silent))}; no call is left of 3"


def test_shares_of_a_vanished_members_seeds_are_asked_for_once() -> None:
    board = Board(limits(7, 1))
    call = first_call(board, "m6")
    (spare,) = set(board.rules.members) - {"m6"} - set(call.decryptors)
    board.answer(call, silent=[spare])
    step, recover = board.says_one(T0 + LATE)
    assert step == "recover"
    assert isinstance(recover, Recover)
    assert set(recover.packages) == {spare}
    board.running.reach("recover", T0 + LATE)
    assert board.says(T0 + LATE + board.rules.open_ns) == []
    for name in call.decryptors[:-1]:
        body = board.table.sessions[name].on_recover(from_coordinator(recover))
        assert body is not None
        board.running.sum.add_shares(name, body)
    step, died = board.says_one(T0 + 2 * LATE)
    assert step == "died"
    assert isinstance(died, Died)
    assert died.reason == f"seeds of {spare} towards dropped members are missing"


def test_a_call_of_others_and_a_request_for_shares_leave_together() -> None:
    board = Board(limits(7, 1))
    call = first_call(board, "m6")
    board.answer(call, silent=call.decryptors[:1])
    (call_step, again), (recover_step, recover) = board.says(T0 + LATE)
    assert (call_step, recover_step) == ("call-1", "recover")
    assert isinstance(again, Call)
    assert isinstance(recover, Recover)
    board.running.reach("call-1", T0 + LATE)
    assert board.says(T0 + 100 * LATE) == []
    board.running.reach("recover", T0 + LATE)
    board.answer(again)
    assert board.says(T0 + LATE) == []
    for name in again.decryptors:
        body = board.table.sessions[name].on_recover(from_coordinator(recover))
        assert body is not None
        board.running.sum.add_shares(name, body)
    assert board.says_one(T0 + LATE)[0] == "result"


def test_a_cohort_below_the_minimum_dies_instead_of_being_announced() -> None:
    board = Board(limits())
    board.upload("m3", "m4")
    step, died = board.says_one(T0 + LATE)
    assert step == "died"
    assert isinstance(died, Died)
    assert died.reason == "3 of 5 members uploaded in time; at least 4 are needed"


@pytest.mark.parametrize("exchanges", [2, 3])
def test_nothing_is_said_while_nothing_has_come_and_no_deadline_has_passed(exchanges: int) -> None:
    board = Board(limits(gram=purpose(exchanges=exchanges)))
    assert board.says(T0) == board.says(T0 + board.rules.upload_ns) == []
