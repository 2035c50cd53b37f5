"""Claims about the public record of an attempt: who is named, who never is, and what is refused."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

import pytest

from assembly import Assembly, honest
from crooked import (
    answering_falsely,
    changed,
    inconsistent,
    opened,
    posting_junk,
    probing_falsely,
    sealing_junk,
    silent_in,
)
from hansa.crypto.ring import ELEMENT_BYTES
from hansa.errors import EquivocationError, MessageError, RefusedError
from hansa.protocol.attempt import Attempt
from hansa.protocol.messages import Answer, Complaint, Epoch, Halves, Payload, Probe, Reveal
from players import EPOCH, from_coordinator, from_member
from simulator import limits

if TYPE_CHECKING:
    from crooked import Tamper

DIGEST_BYTES = 32


def settled(tamper: Tamper, members: int = 5, colluders: int = 1) -> Assembly:
    assembly = Assembly(limits(members, colluders), tamper=tamper)
    assembly.announce()
    return assembly.settle()


@pytest.fixture(scope="module")
def ready() -> Assembly:
    """An epoch that came up: its board is read, never written."""
    return settled(honest)


@pytest.fixture(scope="module")
def disputed() -> Assembly:
    """An attempt in which m1 gave a false probe of the key of m3."""
    return settled(probing_falsely("m1", "m3"))


def seed_of(assembly: Assembly, dealer: str, holder: str) -> bytes:
    seat = assembly.members[dealer]._seat
    assert seat is not None
    return seat.dealer.dealing.seeds[holder]


def until(assembly: Assembly, step: str, *, without: str = "") -> Attempt:
    """Return the record of the board up to the first message of a step, or without one sender's messages of it."""
    kept = []
    for session, found, sender, body in assembly.board:
        if found == step and sender == without:
            continue
        if found == step and not without:
            break
        kept.append((session, found, sender, body))
    board, assembly.board = assembly.board, kept
    record = assembly.record()
    assembly.board = board
    return record


def test_when_all_probes_agree_the_epoch_is_ready_and_nobody_is_named(ready: Assembly) -> None:
    record = ready.record()
    assert record.is_ready
    assert record.disputed is None
    assert record.culprits == {}
    assert {record.missing(step) for step in ("halves", "probe")} == {()}
    assert {keys.epoch_id for keys in ready.keys().values() if keys} == {record.epoch_id}


@pytest.mark.parametrize("step", ["halves", "probe"])
def test_until_the_last_member_has_spoken_the_epoch_is_not_ready(ready: Assembly, step: str) -> None:
    record = until(ready, step, without="m2")
    assert record.missing(step) == ("m2",)
    assert not record.is_ready
    assert (record.epoch_id is None) == (step == "halves")


@pytest.mark.parametrize(("members", "colluders", "victim"), [(4, 1, 3), (5, 1, 4), (10, 3, 9), (10, 3, 6)])
def test_a_dealer_whose_shares_do_not_fit_together_is_named(members: int, colluders: int, victim: int) -> None:
    assembly = settled(inconsistent("m1", f"m{victim}", victim + 1), members, colluders)
    record = assembly.record()
    assert record.disputed == "m1"
    assert record.culprits == {"m1": "it dealt shares of its key that do not fit together"}
    assert not record.is_ready


@pytest.mark.parametrize("dealer", ["m0", "m1", "m3"])
def test_a_holder_that_probes_falsely_is_named_not_the_dealer(dealer: str) -> None:
    record = settled(probing_falsely("m1", dealer)).record()
    assert record.disputed == dealer
    assert record.culprits.keys() == {"m1"}
    assert f"its probe of the key of {dealer}" in record.culprits["m1"]
    assert record.missing("reveal") == ("m1",)


@pytest.mark.parametrize(
    "revealing",
    [{"seed": bytes(32)}, {"seed": b""}, {"correction": b""}, {"correction": bytes(ELEMENT_BYTES)}],
)
def test_a_false_reveal_names_who_made_it(revealing: dict[str, bytes]) -> None:
    record = settled(probing_falsely("m4", "m3", revealing=revealing)).record()
    assert record.culprits.keys() == {"m4"}


def test_while_a_reveal_is_missing_the_dealer_is_not_named() -> None:
    crooked, quiet = inconsistent("m1", "m4", 5), silent_in("reveal", by="m2")

    def both(sender: str, session: str, step: str, body: bytes) -> bytes | None:
        return quiet(sender, session, step, crooked(sender, session, step, body) or b"")

    record = settled(both).record()
    assert record.disputed == "m1"
    assert record.missing("reveal") == ("m2",)
    assert record.culprits == {}


@pytest.mark.parametrize("tamper", [sealing_junk("m1", "m4"), posting_junk("m1"), silent_in("deal", by="m1")])
def test_a_complaint_that_is_answered_names_nobody_and_the_epoch_comes_up(tamper: Tamper) -> None:
    record = settled(tamper).record()
    assert record.complaints
    assert record.unanswered() == ()
    assert record.culprits == {}
    assert record.is_ready


def test_without_an_answer_the_complaint_stands() -> None:
    record = settled(sealing_junk("m1", "m4", answering=silent_in("answer", by="m1"))).record()
    assert record.unanswered() == (("m1", "m4"),)
    assert record.missing("probe") == ("m4",)


@pytest.mark.parametrize(
    "answering",
    [
        {"seed": bytes(32)},
        {"seed": bytes(31)},
        {"half": b"short"},
        {"correction": b""},
        {"correction": bytes(ELEMENT_BYTES)},
    ],
)
def test_an_answer_that_does_not_fit_names_the_dealer(answering: dict[str, bytes]) -> None:
    assembly = settled(sealing_junk("m1", "m4", answering=answering_falsely("m1", **answering)))
    record = assembly.record()
    assert record.culprits == {"m1": "its answer to m4 does not fit what it had committed to"}
    assert record.unanswered() == (("m1", "m4"),)
    assert assembly.keys()["m4"] is None


def test_an_answer_about_a_correction_may_not_hold_the_seed() -> None:
    record = settled(posting_junk("m1", answering=answering_falsely("m1", seed=bytes(32)))).record()
    assert record.culprits.keys() == {"m1"}


def test_a_correction_that_is_no_ring_element_names_the_dealer_though_its_hash_fits() -> None:
    junk = b"\xff" * ELEMENT_BYTES

    def tamper(sender: str, session: str, step: str, body: bytes) -> bytes | None:
        if sender != "m1":
            return body
        if step == "halves":
            corrections = opened(body, Halves, "m1").corrections
            return changed(body, Halves, "m1", corrections={**corrections, "m4": hashlib.sha256(junk).digest()})
        if step == "answer":
            return changed(body, Answer, "m1", correction=junk)
        return junk if session == "setup-1-to-5" and step == "deal" else body

    record = settled(tamper).record()
    assert record.complaints.keys() == {("m1", "m4")}
    assert record.culprits.keys() == {"m1"}


def test_a_false_complaint_costs_its_author_s_share_alone() -> None:
    """It is answered in public: the share was the complainer's own, so that nothing is lost."""
    assembly = Assembly(limits(5, 1))
    listing = assembly.settle().announce()
    complaint = from_member("m4", Complaint(hashlib.sha256(listing).digest(), "m1", "share"))
    for member in assembly.members:
        assembly.let_read(member)
    assembly.settle()
    assembly.say("m4", [("setup-1-of-2", "complaint", complaint)])
    record = assembly.settle().record()
    assert record.is_ready
    assert record.culprits == {}
    answer = opened(assembly.bodies("answer")["m1"], Answer, "m1")
    assert (answer.holder, answer.seed) == ("m4", seed_of(assembly, "m1", "m4"))
    assert len(assembly.bodies("answer")) == 1


def test_a_holder_that_signs_two_complaints_cannot_turn_an_answer_against_its_dealer() -> None:
    """The dealer was shown one of them, the judge the other."""
    assembly = settled(posting_junk("m1"))
    listing = assembly.record().digest
    other = from_member("m4", Complaint(listing, "m1", "share"))
    assembly.board = [
        (session, step, sender, other if (sender, step) == ("m4", "complaint") else body)
        for session, step, sender, body in assembly.board
    ]
    record = assembly.record()
    assert record.culprits == {}
    assert record.unanswered() == (("m1", "m4"),)


SPOILT = {
    "another list": (Halves, {"listing": bytes(32)}),
    "this epoch": (Halves, {"epoch": "e2-abababababab"}),
    "one for each of the 4 peers": (Halves, {"sealed": {}}),
    "1200 bytes": (Halves, {"sealed": {f"m{place}": b"junk" for place in (0, 1, 3, 4)}}),
    "a commitment for each holder": (Halves, {"commitments": {}}),
    "beyond the first t - 1": (Halves, {"corrections": {f"m{place}": bytes(32) for place in range(5)}}),
    "hashes of 32 bytes": (Halves, {"corrections": {"m3": bytes(32), "m4": bytes(31)}}),
    "the epoch id": (Probe, {"epoch_id": bytes(32)}),
    "one for each dealer": (Probe, {"probes": {"m1": bytes(56)}}),
    "two residues": (Probe, {"probes": {f"m{place}": b"\xff" * 56 for place in range(5)}}),
    "two residues a prime": (Probe, {"probes": {f"m{place}": bytes(52) for place in range(5)}}),
    "in dispute": (Reveal, {"dealer": "m0"}),
    "in dispute here": (Reveal, {"epoch_id": bytes(32)}),
}


@pytest.mark.parametrize("clause", SPOILT)
def test_what_is_not_for_this_attempt_and_all_its_members_is_refused(disputed: Assembly, clause: str) -> None:
    kind, change = SPOILT[clause]
    step = kind.__name__.lower()
    record = until(disputed, step, without="m2")
    body = changed(disputed.bodies(step)["m2"], kind, "m2", **change)
    adding = {"halves": record.add_halves, "probe": record.add_probe, "reveal": record.add_reveal}[step]
    with pytest.raises(RefusedError, match=f"{step} of m2: .*{clause}"):
        adding("m2", "setup-1", body)
    with pytest.raises(RefusedError, match=f"{step} of m2"):
        adding("m2", "setup-2", disputed.bodies(step)["m2"])
    assert record.missing(step) in {("m2",), ("m1", "m2")}
    adding("m2", "setup-1", disputed.bodies(step)["m2"])
    assert "m2" not in record.missing(step)


@pytest.mark.parametrize(
    ("clause", "session", "sender", "change"),
    [
        ("this list", "setup-1-of-2", "m4", {"listing": bytes(32)}),
        ("another listed member", "setup-1-of-2", "m4", {"dealer": "m9"}),
        ("another listed member", "setup-1-of-5", "m4", {"dealer": "m4"}),
        ("the subject of its dealer", "setup-1-of-3", "m4", {}),
        ("a correction that was due", "setup-1-of-2", "m0", {"about": "correction"}),
    ],
)
def test_a_complaint_of_nobody_or_about_nothing_is_refused(
    ready: Assembly, clause: str, session: str, sender: str, change: dict[str, object]
) -> None:
    record = ready.record()
    fields: dict[str, object] = {"listing": record.digest, "dealer": "m1", "about": "share", **change}
    with pytest.raises(RefusedError, match=clause):
        record.add_complaint(sender, session, from_member(sender, Complaint(**fields)))  # type: ignore[arg-type]
    assert record.complaints == {}


def test_a_complaint_before_all_halves_is_refused(ready: Assembly) -> None:
    record = until(ready, "halves", without="m2")
    with pytest.raises(RefusedError, match="all halves before"):
        record.add_complaint("m4", "setup-1-of-2", from_member("m4", Complaint(record.digest, "m1", "share")))


@pytest.mark.parametrize("session", ["setup-1-to-5", "setup-1-to-4"])
def test_an_answer_that_nobody_asked_for_is_refused_and_names_nobody(ready: Assembly, session: str) -> None:
    record = ready.record()
    for asked in (record.digest, b""):
        with pytest.raises(RefusedError, match="expected one to the complaint"):
            record.add_answer("m1", session, from_member("m1", Answer(asked, "m4", b"", bytes(32), b"")))
    assert record.culprits == {}


def test_a_probe_before_all_halves_is_refused(ready: Assembly) -> None:
    record = until(ready, "halves", without="m2")
    with pytest.raises(RefusedError, match="the epoch id"):
        record.add_probe("m0", "setup-1", ready.bodies("probe")["m0"])
    with pytest.raises(RefusedError, match="before the halves"):
        assert record.challenge


def test_a_reveal_where_nothing_is_in_dispute_is_refused(ready: Assembly, disputed: Assembly) -> None:
    with pytest.raises(RefusedError, match="in dispute"):
        ready.record().add_reveal("m2", "setup-1", disputed.bodies("reveal")["m2"])


def test_a_second_message_does_not_take_the_place_of_the_first() -> None:
    assembly = settled(sealing_junk("m2", "m4", answering=probing_falsely("m1", "m3")))
    record = assembly.record()
    listing, epoch_id = record.digest, record.epoch_id or b""
    changes: dict[str, tuple[type[Payload], dict[str, object]]] = {
        "halves": (Halves, {"corrections": {"m3": bytes(32), "m4": bytes(32)}}),
        "probe": (Probe, {"probes": {f"m{place}": bytes(56) for place in range(5)}}),
        "reveal": (Reveal, {"seed": bytes(32)}),
        "answer": (Answer, {"half": bytes(32)}),
    }
    for step, (kind, change) in changes.items():
        body = changed(assembly.bodies(step)["m2"], kind, "m2", **change)
        adding = getattr(record, f"add_{step}")
        with pytest.raises(EquivocationError, match=re.escape(step)):
            adding("m2", "setup-1-to-5" if step == "answer" else "setup-1", body)
    with pytest.raises(EquivocationError, match="complaint of m2 of m4"):
        record.add_complaint("m4", "setup-1-of-3", from_member("m4", Complaint(listing, "m2", "correction")))
    assert record.epoch_id == epoch_id
    assert record.culprits.keys() == {"m1"}


@pytest.mark.parametrize("step", ["halves", "probe", "reveal", "complaint", "answer"])
def test_what_is_too_large_or_from_nobody_listed_is_refused_unread(disputed: Assembly, step: str) -> None:
    record = disputed.record()
    adding = getattr(record, f"add_{step}")
    session = () if step in {"halves", "probe", "reveal"} else ("setup-1-of-2",)
    with pytest.raises(RefusedError, match="not in the epoch's list"):
        adding("m9", *(session or ("setup-1",)), b"")
    with pytest.raises(MessageError, match="bytes; at most"):
        adding("m2", *(session or ("setup-1",)), bytes(ELEMENT_BYTES + 3000))


def test_the_halves_of_a_hundred_members_are_within_their_bound_and_small() -> None:
    rules = limits(100, 33)
    names = rules.members
    listing = from_coordinator(Epoch(EPOCH, names, tuple(bytes(DIGEST_BYTES) for _ in names)))
    record = Attempt(listing, label="setup-1", setups={}, limits=rules)
    corrected = [name for name in names if record.is_corrected(name)]
    halves = Halves(
        EPOCH,
        record.digest,
        {name: bytes(1200) for name in names if name != "m7"},
        {name: bytes(DIGEST_BYTES) for name in names},
        {name: bytes(DIGEST_BYTES) for name in corrected},
    )
    body = from_member("m7", halves)
    record.add_halves("m7", "setup-1", body)
    assert "m7" not in record.missing("halves")
    assert len(corrected) == 100 - rules.threshold + 1
    assert len(body) < 130_000
