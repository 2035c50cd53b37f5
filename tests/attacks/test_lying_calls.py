"""Attack: the coordinator names cohorts and calls that nobody should help to open."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import msgspec
import pytest

from adversary import complete_roots, opening_of
from hansa.errors import EquivocationError, HansaError, RefusedError
from hansa.protocol.messages import Agreement, Call, Cohort
from players import Table, from_coordinator, from_member, manifest, table_after_upload
from simulator import limits, purpose

if TYPE_CHECKING:
    from collections.abc import Sequence

EXCHANGES = pytest.mark.parametrize("exchanges", [2, 3])


def full_table(exchanges: int, members: int = 7, colluders: int = 2) -> Table:
    return table_after_upload(rules=limits(members, colluders, gram=purpose(exchanges=exchanges)))


def cohort_of(table: Table, names: Sequence[str]) -> Cohort:
    digests = tuple(hashlib.sha256(table.uploads.get(name, b"")).digest() for name in names)
    return Cohort(table.sum.digest, tuple(names), digests)


def signed(cohort: Cohort, names: Sequence[str]) -> tuple[bytes, ...]:
    return tuple(from_member(name, Agreement(cohort.manifest, cohort.root())) for name in names)


def call_of(table: Table, cohort: Cohort, **changes: object) -> Call:
    """Return a first call with every signature that it needs, whoever must have given them, and changes."""
    names = cohort.members[: table.rules.threshold]
    agreements = signed(cohort, cohort.members[: table.rules.quorum]) if table.sum.exchanges == 3 else ()
    return msgspec.structs.replace(Call(cohort.manifest, cohort.root(), 0, names, agreements), **changes)


def assert_nothing_is_answered(table: Table, cohort: Cohort, call: Call) -> None:
    for name in table.rules.members:
        session = table.session(name)
        for message, answer in ((cohort, session.on_cohort), (call, session.on_call)):
            with pytest.raises(HansaError):
                answer(from_coordinator(message))
        assert not session.has_opened
        assert f"{table.manifest.epoch}/{table.manifest.session}/agreed" not in table.facts[name].values


@EXCHANGES
@pytest.mark.parametrize("size", [0, 1, 2, 4])
def test_nobody_helps_to_open_a_cohort_below_the_minimum(exchanges: int, size: int) -> None:
    table = full_table(exchanges)
    assert table.rules.minimum_cohort == 5
    for start in range(len(table.rules.members) - size + 1):
        cohort = cohort_of(table, table.rules.members[start : start + size])
        assert_nothing_is_answered(table, cohort, call_of(table, cohort))


@EXCHANGES
@pytest.mark.parametrize(
    "names",
    [
        ("m0", "m0", "m0", "m0", "m0"),
        ("m0", "m0", "m1", "m2", "m3"),
        ("m4", "m3", "m2", "m1", "m0"),
        ("m0", "m1", "m2", "m3", "m9"),
        ("coordinator", "m0", "m1", "m2", "m3"),
    ],
)
def test_nobody_helps_to_open_a_cohort_filled_up_with_one_name_or_strangers(
    exchanges: int, names: tuple[str, ...]
) -> None:
    table = full_table(exchanges)
    cohort = cohort_of(table, names)
    assert_nothing_is_answered(table, cohort, call_of(table, cohort, decryptors=("m0", "m1", "m2", "m3", "m4")))


@EXCHANGES
def test_who_is_not_in_the_cohort_or_finds_another_upload_there_opens_nothing(exchanges: int) -> None:
    table = full_table(exchanges)
    without = cohort_of(table, table.rules.members[1:])
    call = call_of(table, without)
    assert table.sessions["m0"].on_cohort(from_coordinator(without)) is None
    assert table.sessions["m0"].on_call(from_coordinator(call)) is None
    every = cohort_of(table, table.rules.members)
    swapped = msgspec.structs.replace(every, uploads=(every.uploads[0], every.uploads[0], *every.uploads[2:]))
    with pytest.raises(RefusedError, match="upload that we sent"):
        table.sessions["m1"].on_cohort(from_coordinator(swapped))


@EXCHANGES
@pytest.mark.parametrize(
    "change",
    [
        {"decryptors": ("m0", "m1", "m2", "m3")},
        {"decryptors": ("m0",)},
        {"decryptors": ()},
        {"decryptors": ("m0", "m0", "m1", "m2", "m3")},
        {"decryptors": ("m0", "m1", "m2", "m3", "m9")},
        {"decryptors": ("m0", "m1", "m2", "m3", "m4", "m5")},
        {"number": 3, "agreements": ()},
        {"number": -1, "agreements": ()},
        {"number": 2**40, "agreements": ()},
        {"manifest": bytes(32)},
        {"root": bytes(32)},
    ],
    ids=str,
)
def test_a_call_of_fewer_repeated_strange_or_too_many_decryptors_or_numbers_is_not_answered(
    exchanges: int, change: dict[str, object]
) -> None:
    table = full_table(exchanges)
    table.agree()
    assert table.sum.cohort is not None
    good = call_of(table, table.sum.cohort)
    for name in table.rules.members:
        with pytest.raises(HansaError):
            table.sessions[name].on_call(from_coordinator(msgspec.structs.replace(good, **change)))
        assert not table.sessions[name].has_opened
        answer = table.sessions[name].on_call(from_coordinator(good))
        assert (answer is not None) == (name in good.decryptors), "a refused call does not shut out a good one"


def test_no_certificate_is_made_of_strangers_repetitions_or_other_cohorts() -> None:
    table = full_table(3)
    table.agree()
    cohort = table.sum.cohort
    assert cohort is not None
    other = cohort_of(table, table.rules.members[:6])
    elsewhere = Cohort(bytes(32), cohort.members, cohort.uploads)
    for agreements in (
        signed(cohort, ("m0", "m1", "m2", "m3")),
        signed(cohort, ("m0",) * 7),
        (*signed(cohort, ("m0", "m1", "m2", "m3")), *signed(cohort, ("m0", "m1", "m2"))),
        (*signed(cohort, ("m0", "m1", "m2", "m3")), *signed(other, ("m4", "m5", "m6"))),
        signed(elsewhere, cohort.members),
        (*signed(cohort, ("m0", "m1", "m2", "m3")), *signed(cohort, ("coordinator",))),
        (),
    ):
        for name in table.rules.members:
            with pytest.raises(RefusedError, match="certificate"):
                table.sessions[name].on_call(from_coordinator(call_of(table, cohort, agreements=agreements)))
            assert not table.sessions[name].has_opened


@EXCHANGES
def test_a_call_of_another_session_is_not_answered(exchanges: int) -> None:
    table = full_table(exchanges)
    table.agree()
    other = Table(table.rules, manifest(table.rules, attempt=2))
    other.upload(other.rules.members)
    other.agree()
    call = other.call()
    for name in table.rules.members:
        with pytest.raises(RefusedError, match="another manifest"):
            table.sessions[name].on_call(call)


@EXCHANGES
def test_a_second_opening_under_another_cohort_is_not_answered(exchanges: int) -> None:
    """After the sum over seven has been opened, the sum over six of them would show the seventh."""
    table = full_table(exchanges)
    table.agree()
    table.open(table.rules.members)
    six = cohort_of(table, table.rules.members[:6])
    for name in table.rules.members:
        for session in (table.sessions[name], table.session(name)):
            with pytest.raises(EquivocationError):
                session.on_cohort(from_coordinator(six))
            with pytest.raises(RefusedError):
                session.on_call(from_coordinator(call_of(table, six)))


@EXCHANGES
def test_no_more_calls_are_answered_than_the_constitution_allows(exchanges: int) -> None:
    """Every call goes to another set; the partials of all of them are for one root."""
    table = full_table(exchanges)
    table.agree()
    cohort = table.sum.cohort
    assert cohort is not None
    openings = []
    for number in range(10):
        names = tuple(sorted(table.rules.members[(number + k) % 7] for k in range(5)))
        call = call_of(table, cohort, number=number, decryptors=names)
        call = call if number == 0 else msgspec.structs.replace(call, agreements=())
        for name in table.rules.members:
            try:
                body = table.sessions[name].on_call(from_coordinator(call))
            except RefusedError:
                assert number > table.rules.reopenings
                continue
            if body is not None:
                openings.append((name, opening_of(body, name, table.manifest, table.rules)))
    assert {opening.number for _, opening in openings} == set(range(table.rules.reopenings + 1))
    assert complete_roots(openings, ("m5", "m6"), table.rules.threshold) == {cohort.root()}


@EXCHANGES
def test_only_the_coordinators_hand_calls(exchanges: int) -> None:
    table = full_table(exchanges)
    cohort = table.sum.propose_cohort()
    call = call_of(table, cohort)
    for signer in ("m0", "m6"):
        with pytest.raises(HansaError):
            table.sessions["m1"].on_cohort(from_member("coordinator", cohort, signer=signer))
    table.sessions["m1"].on_cohort(from_coordinator(cohort))
    for body in (from_member("coordinator", call, signer="m6"), from_member("m6", call)):
        with pytest.raises(HansaError):
            table.sessions["m1"].on_call(body)
