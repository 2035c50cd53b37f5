"""Claims about members that are killed at any instant of an epoch's set-up."""

from __future__ import annotations

import numpy as np
import pytest

from assembly import Assembly, honest
from crooked import Tamper, posting_junk, probing_falsely, sealing_junk
from simulator import limits


def trouble(sender: str, session: str, step: str, body: bytes) -> bytes | None:
    """Let m1 seal junk to m3, m0 post junk to everybody, and m1 give a false probe of the key of m2."""
    passed: bytes | None = body
    for tamper in (sealing_junk("m1", "m3"), posting_junk("m0"), probing_falsely("m1", "m2")):
        passed = tamper(sender, session, step, passed or b"")
    return passed


STORIES: dict[str, Tamper] = {"all honest": honest, "complaints and a dispute": trouble}


def told(story: str, dies_after: dict[str, int]) -> Assembly:
    """Set four members up while one of them dies after so many writes and messages."""
    assembly = Assembly(limits(4, 1), tamper=STORIES[story], dies_after=dies_after)
    assembly.settle()
    assembly.announce()
    return assembly.settle()


def facts_of(assembly: Assembly, name: str) -> list[str]:
    """Return the names of a member's facts, without the list's digest."""
    return sorted(key.split("/")[-1] for key in assembly.facts[name].values)


@pytest.mark.parametrize(
    ("story", "name"),
    [
        ("all honest", "m3"),
        ("complaints and a dispute", "m0"),
        ("complaints and a dispute", "m1"),
        ("complaints and a dispute", "m3"),
    ],
)
def test_a_kill_after_any_write_or_message_changes_no_byte_and_loses_nothing(story: str, name: str) -> None:
    """m0 and m1 are dealers in trouble, m3 is the holder that complains of both; `say` compares the bytes."""
    undisturbed = told(story, {})
    events = undisturbed.facts[name].events
    assert events > 12
    subjects = set(undisturbed.said)
    for instant in range(1, events + 1):
        assembly = told(story, {name: instant})
        assert assembly.facts[name].events > instant or instant == events
        assert set(assembly.said) == subjects
        assert facts_of(assembly, name) == facts_of(undisturbed, name)
        record = assembly.record()
        assert record.is_ready == (story == "all honest")
        assert len({keys.epoch_id if keys else b"" for keys in assembly.keys().values()}) == 1
        assert record.culprits.keys() == (set() if record.is_ready else {"m1"})


def test_a_restarted_member_finds_the_same_keys() -> None:
    assembly = told("all honest", {})
    before = assembly.members["m3"].keys
    assembly.start("m3")
    assembly.settle()
    after = assembly.members["m3"].keys
    assert before is not None
    assert after is not None
    assert after is not before
    assert (after.epoch_id, after.pair_secrets, after.noise_key) == (
        before.epoch_id, before.pair_secrets, before.noise_key,
    )  # fmt: skip
    assert np.array_equal(after.secret, before.secret)
    assert all(np.array_equal(after.shares[name], before.shares[name]) for name in assembly.rules.members)


def test_corrections_are_not_posted_again_once_the_halves_are_on_the_board() -> None:
    assembly = told("all honest", {})
    again = assembly.member("m0")
    said = []
    for session, step, sender, body in assembly.board:
        said += again.handle(session, step, sender, body)
    assert "halves" in {step for _, step, _ in said}
    assert "deal" not in {step for _, step, _ in said}
    again = assembly.member("m0")
    del assembly.facts["m0"].values[next(key for key in assembly.facts["m0"].values if key.endswith("/dealt"))]
    said = [sent for entry in assembly.board for sent in again.handle(*entry)]
    posted = {(session, body) for session, step, body in said if step == "deal"}
    assert posted == {(session, body) for (session, sender), body in assembly.post.items() if sender == "m0"}


def test_a_correction_that_is_gone_after_a_restart_is_asked_for_in_public() -> None:
    assembly = told("all honest", {})
    assembly.post.clear()
    assembly.start("m3")
    assembly.settle()
    assert {sender for _, step, sender, _ in assembly.board if step == "answer"} == {"m0", "m1", "m2"}
    assert assembly.members["m3"].keys is not None
    assert assembly.record().is_ready
