"""Attack: the coordinator withholds messages, or publishes another sum than the one it opened."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest

from hansa.errors import HansaError, ProtocolError, SessionDiedError
from hansa.protocol.verification import verify_sum
from players import Table, from_coordinator, from_member, table_after_upload, upload_of
from simulator import limits, purpose

if TYPE_CHECKING:
    from hansa.protocol.messages import Call, Result

EXCHANGES = pytest.mark.parametrize("exchanges", [2, 3])


class Logged:
    """A session of which every message stands in a log that anybody can read."""

    def __init__(self, exchanges: int) -> None:
        self.table = table_after_upload(("m6",), rules=limits(7, 1, gram=purpose(exchanges=exchanges)))
        self.table.agree()
        body = self.table.call()
        call = self.table.sum.call
        assert call is not None
        self.call: Call = call
        self.openings: list[tuple[str, bytes]] = []
        for name in self.table.sum.uploaded:
            answer = self.table.sessions[name].on_call(body)
            assert answer is not None
            self.openings.append((name, answer))
            self.table.sum.add_opening(name, answer)
        result = self.table.sum.result()
        assert result is not None
        self.result: Result = result

    def verify(self, published: Result, **changes: bytes) -> None:
        """Add the published sum again from the log alone, as a member or anybody else does."""
        assert self.table.sum.cohort is not None
        bodies = {("upload", name): body for name, body in self.table.uploads.items()}
        bodies |= {("open", name): body for name, body in self.openings}
        bodies |= {("upload", name): body for name, body in changes.items()}
        verify_sum(
            published,
            manifest=self.table.manifest,
            cohort=self.table.sum.cohort,
            calls=[self.call],
            bodies=bodies,
            limits=self.table.rules,
        )


@EXCHANGES
@pytest.mark.parametrize("place", [0, 2, 5])
@pytest.mark.parametrize("shift", [1, -1, 2**20])
def test_whoever_adds_the_logged_uploads_and_partials_again_finds_an_edited_sum(
    exchanges: int, place: int, shift: int
) -> None:
    logged = Logged(exchanges)
    logged.verify(logged.result)
    steps = np.frombuffer(logged.result.steps, dtype="<i4").copy()
    steps[place] += shift
    edited = msgspec.structs.replace(logged.result, steps=steps.tobytes())
    with pytest.raises(ProtocolError, match="published another sum than the uploads add up to"):
        logged.verify(edited)


@EXCHANGES
def test_an_upload_exchanged_in_the_log_does_not_bear_out_the_sum(exchanges: int) -> None:
    """The cohort's hashes are what its members agreed to: another upload of a colluder is not added."""
    logged = Logged(exchanges)
    other = from_member("m3", msgspec.structs.replace(upload_of(logged.table, "m3"), ciphertext=bytes(580)))
    with pytest.raises(HansaError):
        logged.verify(logged.result, m3=other)


@EXCHANGES
def test_an_edited_sum_of_another_length_cohort_or_call_is_refused_at_once(exchanges: int) -> None:
    logged = Logged(exchanges)
    for change in (
        {"steps": logged.result.steps[:-4]},
        {"steps": logged.result.steps + bytes(4)},
        {"members": logged.result.members[:-1]},
        {"root": bytes(32)},
        {"number": 1},
        {"manifest": bytes(32)},
    ):
        with pytest.raises(HansaError):
            logged.table.sessions["m0"].on_result(from_coordinator(msgspec.structs.replace(logged.result, **change)))
        assert not logged.table.sessions["m0"].is_closed


@EXCHANGES
def test_who_does_not_add_again_takes_an_edited_sum_that_the_coordinator_signed(exchanges: int) -> None:
    """Not covered by the session: its signature binds the coordinator to the lie, adding again finds it."""
    logged = Logged(exchanges)
    edited = msgspec.structs.replace(logged.result, steps=bytes(len(logged.result.steps)))
    aggregate = logged.table.sessions["m0"].on_result(from_coordinator(edited))
    assert not aggregate.steps.any()


@EXCHANGES
def test_an_upload_withheld_from_the_cohort_leaves_the_exact_sum_of_the_others(exchanges: int) -> None:
    table = Table(limits(7, 1, gram=purpose(exchanges=exchanges)))
    for name in table.rules.members:
        body = table.sessions[name].upload(table.doors[name], announced_ns=0, now_ns=0)
        assert body is not None
        if name != "m3":
            table.sum.add_upload(name, body)
    table.agree()
    outsider = table.sessions["m3"]
    assert outsider.on_cohort(from_coordinator(table.propose())) is None
    table.open(table.rules.members)
    assert np.array_equal(table.opened(), table.expected(table.sum.uploaded))
    assert "m3" not in table.sum.uploaded


@EXCHANGES
def test_uploads_withheld_below_the_minimum_kill_the_session_before_anything_opens(exchanges: int) -> None:
    table = Table(limits(7, 1, gram=purpose(exchanges=exchanges)))
    table.upload(["m0", "m1", "m2", "m3"])
    with pytest.raises(SessionDiedError, match="4 of 7 members uploaded in time; at least 5 are needed"):
        table.sum.propose_cohort()
    assert not any(session.has_opened for session in table.sessions.values())


@EXCHANGES
def test_a_withheld_call_or_result_leaves_the_session_open_and_its_facts_in_place(exchanges: int) -> None:
    """Nothing more leaves, nothing is forgotten: a member that is shown the rest later goes on where it stood."""
    table = table_after_upload(("m6",), rules=limits(7, 1, gram=purpose(exchanges=exchanges)))
    table.agree()
    assert not any(session.has_opened for session in table.sessions.values())
    for name in table.rules.members:
        table.sessions[name] = table.session(name)
        table.sessions[name].on_cohort(from_coordinator(table.propose()))
    table.open(table.sum.uploaded)
    assert np.array_equal(table.opened(), table.expected(table.sum.uploaded))
    assert not any(session.is_closed for session in table.sessions.values())
