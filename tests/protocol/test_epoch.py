"""Claims about a member's side of an epoch's set-up."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest

from assembly import Assembly
from crooked import changed, opened, posting_junk, probing_falsely, sealing_junk, silent_in
from hansa.crypto.agreement import EncryptionKey
from hansa.crypto.ring_parameters import PRIMES
from hansa.errors import EquivocationError, HansaError, MessageError, RefusedError, SignatureError
from hansa.protocol.dealer import pair_halves_info
from hansa.protocol.dealing import dealt_share
from hansa.protocol.messages import Answer, Complaint, Epoch, Halves, Probe, Reveal, Setup
from players import EPOCH, from_member
from simulator import limits

if TYPE_CHECKING:
    from hansa.protocol.epoch import EpochKeys


def same(one: EpochKeys, other: EpochKeys) -> bool:
    """Whether two processes hold the same keys."""
    plain = ("epoch", "epoch_id", "members", "pair_secrets", "noise_key")
    return (
        all(getattr(one, field) == getattr(other, field) for field in plain)
        and np.array_equal(one.secret, other.secret)
        and one.shares.keys() == other.shares.keys()
        and all(np.array_equal(share, other.shares[name]) for name, share in one.shares.items())
    )


def key_from_shares(keys: dict[str, EpochKeys], dealer: str, holders: list[str]) -> list[list[int]]:
    """Interpolate the first four residues of a ring key at zero, in whole numbers."""
    places = {holder: keys[holder].members.index(holder) + 1 for holder in holders}
    found = []
    for row, prime in enumerate(PRIMES):
        total = [0] * 4
        for holder, place in places.items():
            weight = 1
            for other in places.values():
                if other != place:
                    weight = weight * -other * pow(place - other, -1, prime) % prime
            share = keys[holder].shares[dealer][row, :4]
            total = [(sum_ + weight * int(value)) % prime for sum_, value in zip(total, share, strict=True)]
        found.append(total)
    return found


def test_the_label_of_a_sealed_half_names_its_epoch_sender_and_receiver() -> None:
    assert pair_halves_info("e1-ab", "m0", "m1") == b"hansa/half/2|e1-ab|m0|m1"


def test_both_sides_of_every_pair_hold_the_same_secret_and_no_other_pair_does() -> None:
    keys = Assembly(limits(4, 1)).set_up()
    secrets = set()
    for name, held in keys.items():
        assert set(held.pair_secrets) == set(keys) - {name}
        for peer, secret in held.pair_secrets.items():
            assert keys[peer].pair_secrets[name] == secret
            secrets.add(secret)
    assert len(secrets) == 6
    assert len({held.epoch_id for held in keys.values()}) == 1
    assert len({held.noise_key for held in keys.values()}) == 4


@pytest.mark.parametrize(("members", "colluders"), [(4, 1), (5, 1), (10, 3)])
def test_any_threshold_of_holders_have_each_members_ring_key_between_them(members: int, colluders: int) -> None:
    rules = limits(members, colluders)
    keys = Assembly(rules).set_up()
    names = list(rules.members)
    for dealer in (names[0], names[-1]):
        secret = keys[dealer].secret[:, :4].tolist()
        for holders in (names[: rules.threshold], names[-rules.threshold :]):
            assert key_from_shares(keys, dealer, holders) == secret
        assert key_from_shares(keys, dealer, names[: rules.threshold - 1]) != secret
    assert len({held.secret.tobytes() for held in keys.values()}) == members


def test_keys_stay_out_of_a_representation() -> None:
    keys = Assembly(limits(3, 0)).set_up()["m0"]
    for hidden in ("secret", "noise", "share"):
        assert hidden not in repr(keys)


def test_corrections_are_posted_before_the_halves_and_only_to_those_who_need_one() -> None:
    assembly = Assembly(limits(5, 1))
    assembly.announce()
    assembly.settle()
    order = [subject for subject in assembly.said if subject[2] == "m0"]
    assert order[:3] == [("setup-0", "setup", "m0"), ("setup-1-to-4", "deal", "m0"), ("setup-1-to-5", "deal", "m0")]
    assert order[3] == ("setup-1", "halves", "m0")
    assert {session for session, sender in assembly.post if sender == "m3"} == {"setup-1-to-5"}


def test_a_new_list_makes_new_keys_and_the_old_list_does_not_come_back() -> None:
    assembly = Assembly()
    before = assembly.set_up()["m0"]
    old = assembly.bodies("halves")
    assembly.announce(("m0", "m1", "m2", "m3"), number=2)
    after = assembly.settle().keys()["m0"]
    assert after is not None
    assert after.epoch_id != before.epoch_id
    assert all(after.pair_secrets[name] != before.pair_secrets[name] for name in ("m1", "m2", "m3"))
    assert not np.array_equal(after.secret, before.secret)
    assert assembly.keys()["m4"] is None
    first = assembly.members["m0"]
    with pytest.raises(RefusedError, match="replaced"):
        first.handle("setup-3", "epoch", "coordinator", assembly.listing())
    with pytest.raises(RefusedError, match="another list"):
        first.handle("setup-2", "halves", "m1", old["m1"])
    assert first.keys is after


def test_a_member_that_is_not_listed_says_nothing_and_has_no_keys() -> None:
    assembly = Assembly()
    keys = assembly.set_up(("m0", "m1", "m2", "m3"))
    assert keys["m0"].members == ("m0", "m1", "m2", "m3")
    assert {step for _, step, sender in assembly.said if sender == "m4"} == {"setup"}
    with pytest.raises(RefusedError, match="not in the epoch's list"):
        assembly.members["m0"].handle("setup-1", "halves", "m4", b"")
    with pytest.raises(RefusedError, match="not set up"):
        assembly.members["m4"].keys_for_session()


@pytest.mark.parametrize("step", ["halves", "probe", "complaint", "answer", "reveal"])
def test_before_a_list_every_other_step_is_refused(step: str) -> None:
    with pytest.raises(RefusedError, match="no list"):
        Assembly().members["m0"].handle("setup-1", step, "m1", b"")


def test_strangers_are_answered_by_nothing() -> None:
    assembly = Assembly()
    assert assembly.members["m0"].handle("setup-0", "setup", "m9", b"") == []
    assert assembly.members["m0"].wanted() == ()


def test_a_correction_that_nobody_waits_for_is_refused() -> None:
    assembly = Assembly(limits(4, 1))
    for member in (assembly.members["m3"], assembly.member("m3")):
        with pytest.raises(RefusedError, match="not wanted"):
            member.on_deal("m0", b"")
    assembly.set_up()
    with pytest.raises(RefusedError, match="not wanted"):
        assembly.members["m3"].on_deal("m0", assembly.post["setup-1-to-4", "m0"])


@pytest.mark.parametrize("lost", ["key", "noise"])
def test_a_member_that_lost_its_keys_refuses_the_epoch_and_complains_of_nobody(lost: str) -> None:
    assembly = Assembly(limits(3, 0))
    assembly.set_up()
    del assembly.facts["m0"].values[f"{EPOCH}/{lost}"]
    refusals = replayed(assembly, "m0", assembly.board)
    assert refusals
    assert all("gone; a new epoch" in str(refusal) for refusal in refusals)
    assert assembly.keys()["m0"] is None
    assert "complaint" not in {step for _, step, _ in assembly.said}


@pytest.mark.parametrize("kept", [(), ("/key", "/noise", "/setup")])
def test_a_member_whose_facts_were_lost_or_rolled_back_complains_of_nobody(kept: tuple[str, ...]) -> None:
    """Its shares are still secret: a complaint would have its peers publish them."""
    assembly = Assembly(limits(4, 1))
    assembly.set_up()
    said = dict(assembly.said)
    values = assembly.facts["m3"].values
    assembly.facts["m3"].values = {f"{EPOCH}{key}": values[f"{EPOCH}{key}"] for key in kept}
    again = assembly.member("m3")
    again.setup_message()
    again._words.entropy(33)  # a new process draws other bytes
    assembly.members["m3"] = again
    refusals = []
    for entry in assembly.board:
        try:
            assert "complaint" not in {step for _, step, _ in again.handle(*entry)}
        except RefusedError as error:
            refusals.append(str(error))
    assert any("lost or rolled back" in refusal for refusal in refusals)
    assert again.keys is None
    assert again.wanted() == ()
    assert assembly.said == said


def setup_of(**changes: object) -> Setup:
    rules = limits()
    plain = Setup(EPOCH, rules.constitution, EncryptionKey.from_bytes(bytes(96)).public_bytes())
    return msgspec.structs.replace(plain, **changes)


@pytest.mark.parametrize(
    "change",
    [
        {"epoch": "e2-abababababab"},
        {"constitution": "cd" * 32},
        {"encryption_key": b""},
        {"encryption_key": b"short"},
        {"encryption_key": bytes(1184) + b"\0" * 32},
        {"encryption_key": b"\xff" * 1216},
    ],
)
def test_a_set_up_for_another_epoch_or_with_a_key_that_nobody_can_seal_to_is_refused(
    change: dict[str, object],
) -> None:
    member = Assembly().member("m0")
    member.on_setup("m1", from_member("m1", setup_of()))
    with pytest.raises(RefusedError, match="set-up of m2"):
        member.on_setup("m2", from_member("m2", setup_of(**change)))


def test_a_second_set_up_does_not_take_the_place_of_the_first() -> None:
    assembly = Assembly(limits(3, 0)).settle()
    for member in assembly.members.values():
        with pytest.raises(EquivocationError, match="set-up of m2"):
            member.on_setup("m2", from_member("m2", setup_of()))
    assert all(assembly.set_up().values())


def test_a_set_up_in_anothers_name_is_refused() -> None:
    with pytest.raises(SignatureError):
        Assembly().members["m0"].on_setup("m1", from_member("m1", setup_of(), signer="m2"))


@pytest.mark.parametrize(
    ("clause", "names", "change"),
    [
        ("this epoch", None, {"epoch": "e2-abababababab"}),
        ("in order", ("m1", "m0", "m2", "m3", "m4"), {}),
        ("in order", ("m0", "m0", "m1", "m2", "m3"), {}),
        ("all members", ("coordinator", "m0", "m1", "m2", "m3"), {}),
        ("at least 4", ("m0", "m1", "m2"), {}),
        ("published", None, {"setups": (b"\0" * 32,) * 5}),
        ("published", None, {"setups": ()}),
        ("left out", None, {"left_out": {"m4": "late"}}),
        ("left out", ("m0", "m1", "m2", "m3"), {"left_out": {"m9": "late"}}),
    ],
)
def test_a_list_that_the_set_ups_do_not_bear_out_is_refused(
    clause: str, names: tuple[str, ...] | None, change: dict[str, object]
) -> None:
    assembly = Assembly().settle()
    with pytest.raises(RefusedError, match=clause):
        assembly.members["m0"].on_epoch("setup-1", assembly.listing(names, **change))


@pytest.mark.parametrize("session", ["setup-0", "setup-01", "setup-x", "r1-0-gram-a1"])
def test_a_list_under_a_subject_of_no_attempt_is_refused(session: str) -> None:
    assembly = Assembly().settle()
    with pytest.raises(MessageError, match="setup-1"):
        assembly.members["m0"].on_epoch(session, assembly.listing())


def test_a_list_by_anybody_but_the_coordinator_is_refused() -> None:
    assembly = Assembly().settle()
    listing = Epoch(EPOCH, assembly.rules.members, ())
    with pytest.raises(SignatureError):
        assembly.members["m0"].on_epoch("setup-1", from_member("coordinator", listing, signer="m1"))


def test_a_share_that_does_not_open_is_complained_of_answered_and_used() -> None:
    assembly = Assembly(limits(5, 1), tamper=sealing_junk("m1", "m4"))
    keys = assembly.set_up()
    complaint = opened(assembly.bodies("complaint")["m4"], Complaint, "m4")
    assert (complaint.dealer, complaint.about) == ("m1", "share")
    answer = opened(assembly.bodies("answer")["m1"], Answer, "m1")
    assert np.array_equal(keys["m4"].shares["m1"], dealt_share(answer.seed, answer.correction))
    assert keys["m4"].pair_secrets["m1"] == keys["m1"].pair_secrets["m4"]
    assert key_from_shares(keys, "m1", ["m0", "m1", "m2", "m4"]) == keys["m1"].secret[:, :4].tolist()


def test_a_seed_that_does_not_fit_its_commitment_is_complained_of() -> None:
    def tamper(sender: str, _session: str, step: str, body: bytes) -> bytes | None:
        if (sender, step) != ("m1", "halves"):
            return body
        commitments = opened(body, Halves, "m1").commitments
        return changed(body, Halves, "m1", commitments={**commitments, "m0": hashlib.sha256(b"other").digest()})

    assembly = Assembly(limits(5, 1), tamper=tamper)
    assembly.announce()
    assembly.settle()
    assert opened(assembly.bodies("complaint")["m0"], Complaint, "m0").about == "share"
    assert assembly.record().culprits.keys() == {"m1"}


def test_of_a_correction_that_does_not_come_only_the_correction_is_made_public() -> None:
    """A server can withhold it from two honest members: the seed must stay between them."""
    for tamper in (posting_junk("m1"), silent_in("deal", by="m1")):
        assembly = Assembly(limits(5, 1), tamper=tamper)
        keys = assembly.set_up()
        complaints = [session for session, step, _, _ in assembly.board if step == "complaint"]
        assert complaints == ["setup-1-of-2"] * 2
        for session, step, sender, body in assembly.board:
            if step == "answer":
                answer = opened(body, Answer, sender)
                assert (answer.seed, answer.half, session) == (b"", b"", f"setup-1-to-{int(answer.holder[1]) + 1}")
        assert key_from_shares(keys, "m1", ["m0", "m2", "m3", "m4"]) == keys["m1"].secret[:, :4].tolist()


def test_in_a_dispute_every_holder_reveals_its_share_of_that_one_key_and_nobody_has_keys() -> None:
    assembly = Assembly(limits(5, 1), tamper=probing_falsely("m1", "m3"))
    assembly.announce()
    assembly.settle()
    assert assembly.keys() == dict.fromkeys(assembly.rules.members)
    reveals = {name: opened(body, Reveal, name) for name, body in assembly.bodies("reveal").items()}
    assert set(reveals) == set(assembly.rules.members)
    assert {reveal.dealer for reveal in reveals.values()} == {"m3"}
    for member in assembly.members.values():
        with pytest.raises(RefusedError, match="not set up"):
            member.keys_for_session()


def board_with_another_probe(assembly: Assembly, holder: str, dealer: str) -> list[tuple[str, str, str, bytes]]:
    """Return what a lying server shows: the same board, but one holder signed another probe."""
    tamper = probing_falsely(holder, dealer)
    return [(session, step, sender, tamper(sender, session, step, body) or b"")
            for session, step, sender, body in assembly.board]  # fmt: skip


def replayed(assembly: Assembly, name: str, board: list[tuple[str, str, str, bytes]]) -> list[HansaError]:
    """Restart a member over its facts and another board; return its refusals."""
    member = assembly.members[name] = assembly.member(name)
    refusals = []
    for session, step, sender, body in board:
        try:
            member.handle(session, step, sender, body)
            for wanted, dealer in member.wanted():
                member.on_deal(dealer, assembly.post[wanted, dealer])
        except HansaError as error:
            refusals.append(error)
    return refusals


def test_who_took_part_in_a_session_reveals_nothing_of_that_attempt_whatever_board_it_is_shown() -> None:
    assembly = Assembly(limits(5, 1))
    assembly.set_up()
    assembly.members["m0"].keys_for_session()
    (refusal,) = replayed(assembly, "m0", board_with_another_probe(assembly, "m1", "m3"))
    assert "decided before" in str(refusal)
    assert not [key for key in assembly.facts["m0"].values if key.endswith("/reveal")]
    assert assembly.members["m0"].keys is None


def test_who_revealed_takes_part_in_no_session_of_that_attempt_whatever_board_it_is_shown() -> None:
    assembly = Assembly(limits(5, 1))
    assembly.set_up()
    assert replayed(assembly, "m0", board_with_another_probe(assembly, "m1", "m3")) == []
    assert [key for key in assembly.facts["m0"].values if key.endswith("/reveal")]
    assert replayed(assembly, "m0", assembly.board) == []
    with pytest.raises(RefusedError, match="decided before"):
        assembly.members["m0"].keys_for_session()


def test_a_member_probes_a_list_s_keys_once_whatever_halves_it_is_shown_later() -> None:
    """Two challenges for one key would give away twice as many linear equations on it."""
    assembly = Assembly(limits(5, 1))
    assembly.set_up()
    board = []
    for session, step, sender, body in assembly.board:
        shown = body
        if (sender, step) == ("m4", "halves"):
            commitments = opened(body, Halves, "m4").commitments
            shown = changed(body, Halves, "m4", commitments={**commitments, "m1": bytes(32)})
        if step != "probe":
            board.append((session, step, sender, shown))
    before = opened(assembly.bodies("probe")["m0"], Probe, "m0")
    member = assembly.member("m0")
    said = []
    for session, step, sender, body in board:
        said += member.handle(session, step, sender, body)
        for wanted, dealer in member.wanted():
            said += member.on_deal(dealer, assembly.post[wanted, dealer])
    (probe,) = [opened(body, Probe, "m0") for _, step, body in said if step == "probe"]
    assert probe == before
