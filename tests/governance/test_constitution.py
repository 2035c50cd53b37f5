"""Claims about the constitution."""

from __future__ import annotations

import hashlib
import json
import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from constitutions import GRAM, constitution, party
from hansa.crypto.canonical import canonical
from hansa.errors import ConfigurationError
from hansa.governance.constitution import (
    OPTIONAL,
    Codes,
    Deadlines,
    Market,
    Party,
    Purpose,
    Schedule,
    Sums,
    check,
    parse,
)
from simulator import signing_key


def test_bytes_are_canonical_json_and_the_digest_is_their_sha_256() -> None:
    document = constitution()
    fields = json.loads(msgspec.json.encode(document))
    assert {fields.pop(name) for name in OPTIONAL} == {None}  # what is not there is not in the bytes
    assert document.bytes() == canonical(fields)
    assert document.digest() == hashlib.sha256(document.bytes()).hexdigest()
    assert parse(document.bytes()) == document
    assert parse(document.bytes()).digest() == document.digest()


@given(st.integers(3, 60), st.data())
def test_two_quorums_share_an_honest_member_and_the_honest_alone_make_one(members: int, data: st.DataObject) -> None:
    colluders = data.draw(st.integers(0, (members - 1) // 3))
    document = constitution(members, colluders)
    check(document)
    assert 2 * document.quorum - members > colluders
    assert document.quorum <= members - colluders
    assert document.quorum <= document.minimum_cohort


def market(**changes: object) -> Market:
    return msgspec.structs.replace(constitution().market, **changes)


def purposes(**changes: object) -> dict[str, Purpose]:
    return {"gram": msgspec.structs.replace(GRAM, **changes)}


ROUND = (Sums("gram", 1),)
CONTRADICTIONS: list[tuple[str, dict[str, object]]] = [
    ("version", {"version": 2}),
    ("epoch", {"epoch": 0}),
    ("epoch", {"epoch": 10_000}),
    ("supersedes", {"epoch": 2}),
    ("supersedes", {"supersedes": 64 * "0"}),
    ("supersedes", {"epoch": 2, "supersedes": 64 * "A"}),
    ("federation", {"federation": "Test.1"}),
    ("federation", {"federation": ""}),
    ("unique", {"members": (party("m1"), party("m1"), party("m2"))}),
    ("unique", {"coordinator": Party("m01", signing_key("coordinator").public)}),
    ("unique", {"members": tuple(party(name) for name in ("M1", "m2", "m3"))}),
    ("keys", {"coordinator": Party("coordinator", signing_key("m01").public)}),
    ("keys", {"members": (party("m1"), party("m2"), Party("m3", signing_key("m2").public))}),
    ("m3: expected a public key", {"members": (party("m1"), party("m2"), Party("m3", "ed25519:none"))}),
    ("sorted", {"members": tuple(party(name) for name in ("m2", "m1", "m3"))}),
    ("3 to 100", {"members": (party("m1"), party("m2")), "colluders": 0}),
    ("colluders", {"colluders": -1}),
    ("colluders", {"colluders": 2}),
    ("minimum_cohort", {"minimum_cohort": 3}),
    ("minimum_cohort", {"minimum_cohort": 6}),
    ("attempts", {"attempts": 0}),
    ("attempts", {"attempts": 11}),
    ("round", {"round": (Sums("other", 1),)}),
    ("round", {"round": (Sums("gram", 0),)}),
    ("cron", {"schedule": Schedule("0 2 * *", "UTC")}),
    ("cron", {"schedule": Schedule("0 2 30 2 *", "UTC")}),
    ("cron", {"schedule": Schedule("0 2 * * 9", "UTC")}),
    ("time_zone", {"schedule": Schedule("0 2 * * 3", "Mars/Olympus")}),
    ("time_zone", {"schedule": Schedule("0 2 * * 3", "../etc/passwd")}),
    ("time_zone", {"schedule": Schedule("0 2 * * 3", "")}),
    ("deadlines", {"deadlines": Deadlines(60.0, 0.0, 10.0, 10.0)}),
    ("deadlines", {"deadlines": Deadlines(60.0, math.nan, 10.0, 10.0)}),
    ("deadlines", {"deadlines": Deadlines(86_401.0, 1.0, 10.0, 10.0)}),
    ("bar_seconds", {"market": market(bar_seconds=7000)}),
    ("bar_seconds", {"market": market(bar_seconds=0)}),
    ("baskets", {"market": market(baskets={})}),
    ("baskets", {"market": market(baskets={"eur": ()})}),
    ("baskets", {"market": market(baskets={"eur": ("A",), "usd": ("A",)})}),
    ("names of baskets", {"market": market(baskets={"eur\x1b[2J": ("A",)})}),
    ("names of baskets", {"market": market(baskets={"eur": ("A/../B",)})}),
    ("names of baskets", {"market": market(measures=("spread", ""))}),
    ("measures", {"market": market(measures=())}),
    ("measures", {"market": market(measures=("spread", "spread"))}),
    ("cost", {"market": market(cost="impact")}),
    ("volume_unit", {"market": market(volume_unit=math.inf)}),
    ("weight_cap", {"market": market(weight_cap=1.5)}),
    ("influence_cap", {"market": market(influence_cap=0.0)}),
    ("history_days", {"market": market(history_days=0)}),
    ("1-16", {"purposes": {"seventeen-letters": GRAM, "gram": GRAM}}),
    ("10000", {"round": (Sums("gram", 5_000), Sums("state", 5_001))}),
    ("finite", {"purposes": purposes(epsilon=math.nan)}),
    ("finite", {"purposes": purposes(noise_multiplier=0.0)}),
    ("finite", {"purposes": purposes(sensitivity=-1.0)}),
    ("values", {"purposes": purposes(values=0)}),
    ("values", {"purposes": purposes(values=-1)}),
    ("values", {"purposes": purposes(values=10_000_001)}),
    ("scale", {"purposes": purposes(scale=0)}),
    ("delta", {"purposes": purposes(delta=0.01)}),
    ("noise of .* steps", {"purposes": purposes(sensitivity=1e-9, scale=1, values=1, noise_multiplier=0.1)}),
    ("noise of .* steps", {"purposes": purposes(noise_multiplier=180.0)}),
    ("scale", {"purposes": purposes(scale=10**400)}),
    ("values", {"purposes": purposes(values_per_bar=10**400)}),
    ("unit", {"purposes": purposes(unit="")}),
    ("unit", {"purposes": purposes(unit="a day\n")}),
    ("period", {"purposes": purposes(period="month")}),
    ("2\\^44", {"purposes": purposes(value_bound=2.0**44 / 5 / 1024)}),
    ("2\\^44", {"purposes": purposes(noise_multiplier=1e9)}),
    ("2\\^44", {"purposes": purposes(values=10_000_000, scale=1, sensitivity=1e-6, noise_multiplier=1e9)}),
]


@pytest.mark.parametrize(("clause", "change"), CONTRADICTIONS)
def test_a_constitution_that_contradicts_itself_is_refused_with_the_clause(
    clause: str, change: dict[str, object]
) -> None:
    if "purposes" in change:
        change = {**change, "round": ROUND}
    with pytest.raises(ConfigurationError, match=clause):
        check(constitution(**change))


def test_the_sum_with_all_its_noise_stays_within_a_wide_lane() -> None:
    """The largest bound that is let through leaves twelve standard deviations of the noise as it is made."""
    members, low, high = 5, 1.0, 2.0**44
    for _ in range(60):
        middle = (low + high) / 2
        try:
            check(constitution(members, purposes=purposes(value_bound=middle), round=ROUND))
            low = middle
        except ConfigurationError:
            high = middle
    sigma = 8.0 * (10.0 * 1024 + math.sqrt(100)) * math.sqrt(5 / 3)
    assert members * low * 1024 + 12 * sigma == pytest.approx(2**44, rel=1e-9)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff",
        b'{"version":"\xff"}',
        constitution().bytes().replace(b'"attempts":3', b'"attempts":3,"extra":1'),
        constitution().bytes().replace(b'"attempts":3', b'"attempts":"3"'),
        constitution().bytes().replace(b'"attempts":3,', b""),
    ],
)
def test_an_unknown_missing_or_mistyped_field_is_refused(data: bytes) -> None:
    with pytest.raises(ConfigurationError, match="constitution"):
        parse(data)


def test_codes_and_recovery_keys_stand_only_where_they_are_given() -> None:
    plain = constitution()
    assert b"lei" not in plain.bytes()
    assert b"codes" not in plain.bytes()
    first = msgspec.structs.replace(plain.members[0], lei="5493001KJTIIGC8Y1R12", recovery_key=signing_key("r").public)
    market = next(iter(next(iter(plain.market.baskets.values()))))
    found = msgspec.structs.replace(
        plain,
        members=(first, *plain.members[1:]),
        market=msgspec.structs.replace(plain.market, codes={market: Codes(isin="US0378331005", mic="XNAS")}),
    )
    assert parse(found.bytes()) == found


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"lei": "5493001KJTIIGC8Y1R13"}, "m00: lei: expected an LEI"),
        ({"recovery_key": "ed25519:short"}, "expected a public key like"),
        ({"recovery_key": signing_key("m01").public}, "a recovery key is also an identity key"),
    ],
)
def test_wrong_codes_and_recovery_keys_of_a_member_are_refused(change: dict[str, str], reason: str) -> None:
    plain = constitution()
    first = msgspec.structs.replace(plain.members[0], **change)
    with pytest.raises(ConfigurationError, match=reason):
        check(msgspec.structs.replace(plain, members=(first, *plain.members[1:])))


@pytest.mark.parametrize(
    ("name", "codes", "reason"),
    [
        ("nowhere", Codes(mic="XNAS"), "names a market that is in no basket"),
        ("", Codes(isin="US0378331006"), "isin: expected an ISIN"),
        ("", Codes(mic="XNASDAQ"), "mic: expected a MIC"),
    ],
)
def test_wrong_codes_of_a_market_are_refused(name: str, codes: Codes, reason: str) -> None:
    plain = constitution()
    market = name or next(iter(next(iter(plain.market.baskets.values()))))
    changed = msgspec.structs.replace(plain.market, codes={market: codes})
    with pytest.raises(ConfigurationError, match=reason):
        check(msgspec.structs.replace(plain, market=changed))
