"""Claims about an epoch's set-up in a federation: who spoils it is named, left out, and the rest go on."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pytest

from assembly import honest
from crooked import (
    answering_falsely,
    inconsistent,
    opened,
    posting_junk,
    probing_falsely,
    sealing_junk,
    silent_in,
)
from hansa.federation.transport import Channel, Message, Subject
from hansa.protocol.messages import Complaint, Epoch
from players import from_member
from simulator import Simulation, limits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from crooked import Tamper

UNANSWERING = silent_in("answer", by="m1")


def both(first: Tamper, second: Tamper) -> Tamper:
    """Pass what a member says through two hooks."""

    def tamper(sender: str, session: str, step: str, body: bytes) -> bytes | None:
        passed = first(sender, session, step, body)
        return None if passed is None else second(sender, session, step, passed)

    return tamper


@dataclass
class Crooked(Simulation):
    """A federation in which some publish something else than their node says."""

    tamper: Callable[[str, str, str, bytes], bytes | None] = field(default=honest)

    def _publish(self, sender: str, session: str, step: str, body: bytes) -> None:
        passed = self.tamper(sender, session, step, body)
        if passed is not None:
            super()._publish(sender, session, step, passed)

    def lists(self) -> list[Epoch]:
        """Return every list on the board."""
        return [opened(m.body, Epoch, "coordinator") for m in self.board("epoch")]

    def board(self, step: str) -> list[Message]:
        """Return the messages of one step of the board."""
        return [message for message in self.hub.stored(Channel.BOARD) if message.subject.step == step]

    def notes(self) -> list[str]:
        """Return what the coordinator's records note."""
        return [str(row["reason"]) for row in self.coordinator._records.rows("SELECT reason FROM note")]

    def is_exact(self, without: tuple[str, ...] = ()) -> bool:
        """Whether the rest opened one sum, and it is right."""
        rest = tuple(name for name in self.limits.members if name not in without)
        (aggregate,) = self.opened(rest[0])
        return aggregate.cohort == rest and np.array_equal(aggregate.steps, self.expected(aggregate))


@pytest.fixture
def federations(tmp_path: Path) -> Iterator[Callable[..., Crooked]]:
    made: list[Crooked] = []

    def make(members: int = 5, colluders: int = 1, **options: object) -> Crooked:
        directory = tmp_path / str(len(made))
        directory.mkdir()
        made.append(Crooked(directory, limits(members, colluders), **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for federation in made:
        for store in federation.stores.values():
            store.close()


FAULTS: dict[str, tuple[Callable[[str, int], Tamper], str]] = {
    "shares that do not fit together": (
        lambda last, place: inconsistent("m1", last, place),
        "it dealt shares of its key that do not fit together",
    ),
    "a false probe": (
        lambda _last, _place: probing_falsely("m1", "m2"),
        "its probe of the key of m2 was not that of the share it was dealt",
    ),
    "a false probe and no reveal": (
        lambda _last, _place: both(probing_falsely("m1", "m2"), silent_in("reveal", by="m1")),
        "it did not reveal its share of the key of m2",
    ),
    "a wrong seed, no answer": (
        lambda last, _place: sealing_junk("m1", last, answering=UNANSWERING),
        "it did not answer the complaint of {last}",
    ),
    "a wrong seed, a wrong answer": (
        lambda last, _place: sealing_junk("m1", last, answering=answering_falsely("m1", seed=bytes(32))),
        "its answer to {last} does not fit what it had committed to",
    ),
    "no correction, no answer": (
        lambda _last, _place: silent_in("deal", "answer", by="m1"),
        "it did not answer the complaint of {first}",
    ),
    "a wrong correction, a wrong answer": (
        lambda _last, _place: posting_junk("m1", answering=answering_falsely("m1", correction=b"")),
        "its answer to {first} does not fit what it had committed to",
    ),
    "no halves": (lambda _last, _place: silent_in("halves", by="m1"), "its halves did not come in time"),
    "no probe": (lambda _last, _place: silent_in("probe", by="m1"), "its probe did not come in time"),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize(("members", "colluders"), [(4, 1), (5, 1), pytest.param(10, 3, marks=pytest.mark.slow)])
def test_who_spoils_the_set_up_is_named_and_the_epoch_comes_up_without_it(
    federations: Callable[..., Crooked], fault: str, members: int, colluders: int
) -> None:
    make, reason = FAULTS[fault]
    last = f"m{members - 1}"
    federation = federations(members, colluders, tamper=make(last, members))
    federation.run()
    first = f"m{federation.limits.threshold - 1}"
    named = {"m1": reason.format(last=last, first=first)}
    assert [listing.left_out for listing in federation.lists()] == [{}, named]
    assert federation.lists()[1].members == tuple(name for name in federation.limits.members if name != "m1")
    assert federation.is_exact(without=("m1",))
    assert federation.opened("m1") == []
    assert f"m1 is left out: {named['m1']}" in federation.notes()


def test_two_spoilers_are_left_out_one_after_the_other(federations: Callable[..., Crooked]) -> None:
    federation = federations(10, 3, tamper=both(inconsistent("m1", "m9", 10), probing_falsely("m4", "m5")))
    federation.run()
    assert [set(listing.left_out) for listing in federation.lists()] == [set(), {"m1"}, {"m1", "m4"}]
    assert federation.is_exact(without=("m1", "m4"))


@pytest.mark.parametrize("tamper", [sealing_junk("m1", "m4"), posting_junk("m1"), silent_in("deal", by="m1")])
def test_a_dealer_that_answers_every_complaint_stays_in(federations: Callable[..., Crooked], tamper: Tamper) -> None:
    federation = federations(tamper=tamper)
    federation.run()
    assert federation.board("complaint")
    assert len(federation.lists()) == 1
    assert federation.is_exact()


def complain(federation: Crooked, sender: str, place: int) -> None:
    digest = hashlib.sha256(federation.board("epoch")[-1].body).digest()
    complaint = Complaint(digest, f"m{place - 1}", "share")
    federation._publish(sender, f"setup-1-of-{place}", "complaint", from_member(sender, complaint))


def test_false_complaints_keep_nobody_from_setting_up(federations: Callable[..., Crooked]) -> None:
    federation = federations(tamper=silent_in("probe", by="m0"))
    federation.run(until=lambda: len(federation.board("probe")) == 4)
    for place in (1, 2, 3, 4):
        complain(federation, "m4", place)
    federation.tamper = honest
    federation.start("m0")
    federation.run()
    assert len(federation.board("answer")) == 4
    assert len(federation.lists()) == 1
    assert federation.is_exact()


def test_complaints_put_the_probes_off_three_times_the_deadline_and_no_longer(
    federations: Callable[..., Crooked],
) -> None:
    """m4 complains of one dealer after the other and never probes."""
    federation = federations(tamper=silent_in("probe", by="m4"))
    federation.run(until=lambda: len(federation.board("probe")) == 4)
    since = federation.board("halves")[-1].time_ns
    for place in (1, 2, 3, 4):
        complain(federation, "m4", place)
        federation.step()
        federation.now_ns += federation.limits.setup_ns * 7 // 10
    federation.run()
    assert federation.lists()[1].left_out == {"m4": "its probe did not come in time"}
    assert federation.board("epoch")[1].time_ns - since <= 4 * federation.limits.setup_ns
    assert [note for note in federation.notes() if "after the time for complaints" in note]
    assert federation.is_exact(without=("m4",))


def test_with_too_few_members_left_the_epoch_does_not_come_up_and_the_records_say_why(
    federations: Callable[..., Crooked],
) -> None:
    federation = federations(3, 0, tamper=inconsistent("m1", "m2", 3))
    federation.run(rounds=30)
    assert len(federation.lists()) == 1
    assert not federation.board("announce")
    (note,) = [note for note in federation.notes() if "are left" in note]
    assert note == (
        f"epoch {federation.epoch}: 2 members are left, at least 3 are needed; "
        "m1: it dealt shares of its key that do not fit together"
    )


def test_late_members_are_waited_for_when_the_epoch_needs_them(federations: Callable[..., Crooked]) -> None:
    federation = federations(3, 0, tamper=silent_in("halves", by="m1"))
    federation.run(rounds=20)
    assert "its halves did not come in time" in str(federation.coordinator._epoch.failure)
    federation.tamper = honest
    federation.start("m1")
    federation.run()
    assert federation.coordinator._epoch.failure is None
    assert federation.is_exact()


SETUP_STEPS = ("setup", "epoch", "halves", "complaint", "answer", "probe", "reveal")


@pytest.mark.parametrize("step", SETUP_STEPS)
def test_a_coordinator_killed_after_any_step_names_the_same(federations: Callable[..., Crooked], step: str) -> None:
    federation = federations(tamper=both(sealing_junk("m2", "m4"), inconsistent("m1", "m4", 5)))
    federation.run(until=lambda: bool(federation.board(step)))
    federation.start_coordinator()
    federation.run(until=lambda: len(federation.lists()) == 2)
    federation.start_coordinator()
    federation.run()
    assert [set(listing.left_out) for listing in federation.lists()] == [set(), {"m1"}]
    assert federation.is_exact(without=("m1",))


@pytest.mark.parametrize("step", SETUP_STEPS)
def test_a_member_killed_after_any_step_takes_part(federations: Callable[..., Crooked], step: str) -> None:
    federation = federations(tamper=both(sealing_junk("m2", "m4"), inconsistent("m1", "m4", 5)))
    federation.run(until=lambda: bool(federation.board(step)))
    for name in ("m0", "m4"):
        federation.start(name)
    federation.run()
    assert federation.is_exact(without=("m1",))
    for name in ("m0", "m4"):
        federation.start(name)
    federation.run(rounds=3)
    federation.step()
    assert federation.opened("m4")[0].cohort == ("m0", "m2", "m3", "m4")


def test_no_session_runs_in_an_attempt_that_died(federations: Callable[..., Crooked]) -> None:
    federation = federations(tamper=inconsistent("m1", "m4", 5))
    federation.run()
    dead = hashlib.sha256(federation.board("epoch")[0].body).hexdigest()
    alive = hashlib.sha256(federation.board("epoch")[1].body).hexdigest()
    for name in ("m0", "m2", "m3", "m4"):
        facts = federation.stores[name]
        assert facts.fact(f"{federation.epoch}/{dead}/fate") == b"dead"
        assert facts.fact(f"{federation.epoch}/{alive}/fate") == b"used"


def test_everything_posted_stands_in_the_egress_record(federations: Callable[..., Crooked]) -> None:
    federation = federations()
    federation.run()
    rows = {(row.session.split("/")[1], row.step): row.sha256 for row in federation.stores["m0"].egress()}
    for place in (4, 5):
        body = federation.hub.body(Subject(federation.epoch, f"setup-1-to-{place}", "deal", "m0"))
        assert body is not None
        assert rows[f"setup-1-to-{place}", "deal"] == hashlib.sha256(body).digest()
