"""Claims about the constitution."""

from __future__ import annotations

import hashlib
import json
import math
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hansa.errors import ConfigurationError, SignatureError
from hansa.governance import constitution as governance
from hansa.governance.canonical import canonical
from hansa.governance.constitution import (
    Constitution,
    Deadlines,
    Market,
    Party,
    Purpose,
    Schedule,
    SignedConstitution,
    Sums,
    check,
    parse,
)
from simulator import signing_key

if TYPE_CHECKING:
    from pathlib import Path

GRAM = Purpose(
    values=100, values_per_bar=0, exchanges=3, value_bound=1000.0, scale=1024, sensitivity=10.0, noise_multiplier=8.0,
    unit="day", period="year", epsilon=4.0, delta=1e-6,
)  # fmt: skip


def party(name: str) -> Party:
    return Party(name, signing_key(name).public)


def constitution(size: int = 5, colluders: int = 1, **changes: object) -> Constitution:
    plain = Constitution(
        version=1,
        epoch=1,
        federation="test",
        members=tuple(party(f"m{place:02}") for place in range(size)),
        coordinator=party("coordinator"),
        colluders=colluders,
        minimum_cohort=max(3, colluders + 2, (size + colluders) // 2 + 1),
        attempts=3,
        reopenings=2,
        market=Market(
            bar_seconds=300,
            baskets={"eur": ("EUR-USD", "EUR-GBP")},
            measures=("spread", "depth"),
            cost="spread",
            volume_unit=1e6,
            weight_cap=0.4,
            influence_cap=0.1,
            history_days=90,
        ),
        purposes={"gram": GRAM, "state": msgspec.structs.replace(GRAM, values=0, values_per_bar=3, period="day")},
        round=(Sums("gram", 1), Sums("state", 2)),
        schedule=Schedule("0 2 * * 3", "UTC"),
        deadlines=Deadlines(60.0, 30.0, 10.0, 10.0),
    )
    return msgspec.structs.replace(plain, **changes)


def signed(document: Constitution | None = None) -> SignedConstitution:
    found = SignedConstitution(document or constitution(), {})
    for member in found.constitution.members:
        found = found.signed_by(member.name, signing_key(member.name))
    return found


def test_bytes_are_canonical_json_and_the_digest_is_their_sha_256() -> None:
    document = constitution()
    assert document.bytes() == canonical(json.loads(msgspec.json.encode(document)))
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
    ("deadlines", {"deadlines": Deadlines(60.0, 0.0, 10.0, 10.0)}),
    ("deadlines", {"deadlines": Deadlines(60.0, math.nan, 10.0, 10.0)}),
    ("deadlines", {"deadlines": Deadlines(86_401.0, 1.0, 10.0, 10.0)}),
    ("bar_seconds", {"market": market(bar_seconds=7000)}),
    ("bar_seconds", {"market": market(bar_seconds=0)}),
    ("baskets", {"market": market(baskets={})}),
    ("baskets", {"market": market(baskets={"eur": ()})}),
    ("baskets", {"market": market(baskets={"eur": ("A",), "usd": ("A",)})}),
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
    ("period", {"purposes": purposes(period="month")}),
    ("2\\^31", {"purposes": purposes(value_bound=2.0**31 / 5 / 1024)}),
    ("2\\^31", {"purposes": purposes(noise_multiplier=1e6)}),
    ("2\\^31", {"purposes": purposes(values=10_000_000, scale=1, sensitivity=1e-6, noise_multiplier=1e5)}),
]


@pytest.mark.parametrize(("clause", "change"), CONTRADICTIONS)
def test_a_constitution_that_contradicts_itself_is_refused_with_the_clause(
    clause: str, change: dict[str, object]
) -> None:
    if "purposes" in change:
        change = {**change, "round": ROUND}
    with pytest.raises(ConfigurationError, match=clause):
        check(constitution(**change))


def test_the_sum_with_all_its_noise_stays_within_a_word() -> None:
    """The largest bound that is let through leaves twelve standard deviations of the noise as it is made."""
    members, low, high = 5, 1.0, 2.0**31
    for _ in range(60):
        middle = (low + high) / 2
        try:
            check(constitution(members, purposes=purposes(value_bound=middle), round=ROUND))
            low = middle
        except ConfigurationError:
            high = middle
    sigma = 8.0 * (10.0 * 1024 + math.sqrt(100)) * math.sqrt(5 / 3)
    assert members * low * 1024 + 12 * sigma == pytest.approx(2**31, rel=1e-9)


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


def test_a_constitution_signed_by_all_opens_the_door() -> None:
    found = signed()
    assert found.require_all_signatures() is found.constitution


def test_a_missing_signature_names_the_member() -> None:
    found = signed()
    rest = {name: value for name, value in found.signatures.items() if name != "m03"}
    with pytest.raises(SignatureError, match="m03"):
        SignedConstitution(found.constitution, rest).require_all_signatures()


def test_a_signature_over_another_version_does_not_count() -> None:
    found = signed()
    changed = msgspec.structs.replace(found.constitution, minimum_cohort=5)
    with pytest.raises(SignatureError):
        SignedConstitution(changed, found.signatures).require_all_signatures()
    swapped = {**found.signatures, "m00": found.signatures["m01"]}
    with pytest.raises(SignatureError):
        SignedConstitution(found.constitution, swapped).require_all_signatures()


@pytest.mark.parametrize(("name", "key"), [("m00", "m01"), ("coordinator", "coordinator"), ("m99", "m99")])
def test_only_a_member_signs_with_its_own_key(name: str, key: str) -> None:
    with pytest.raises(ConfigurationError, match="not a member"):
        SignedConstitution(constitution(), {}).signed_by(name, signing_key(key))


def test_a_file_gives_back_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "constitution.json"
    governance.write(path, signed())
    assert governance.read(path) == signed()
    assert governance.read(path).require_all_signatures() == constitution()
    assert [entry.name for entry in tmp_path.iterdir()] == ["constitution.json"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "cannot read"),
        (b"x" * 1_000_001, "at most"),
        (b"{}", "constitution.json"),
        (b"\xff", "constitution.json"),
        (b'{"constitution": {}, "signatures": {"m00": "xyz"}}', "constitution.json"),
        (b'{"constitution": {}, "signatures": {}, "more": 1}', "constitution.json"),
        (b'{"constitution": {}, "signatures": {}}', "missing"),
    ],
)
def test_a_file_that_is_absent_too_large_or_no_constitution_is_refused(
    tmp_path: Path, content: bytes | None, reason: str
) -> None:
    path = tmp_path / "constitution.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=reason):
        governance.read(path)
