"""Claims about secret sharing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hansa.crypto.sharing import PRIME, SHARE_BYTES, Share, combine, split, split_many
from hansa.errors import MessageError, ProtocolError

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "sharing.json").read_text())
SECRET = bytes(range(32))
ENTROPY = bytes(range(32, 64))


def shares_of(secret: bytes = SECRET, *, threshold: int = 3, count: int = 5) -> list[Share]:
    return split(secret, threshold=threshold, holders=range(1, count + 1), entropy=ENTROPY)


def test_the_field_is_prime() -> None:
    odd, twos = PRIME - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for base in range(2, 66):
        power = pow(base, odd, PRIME)
        powers = [power]
        for _ in range(twos - 1):
            power = power * power % PRIME
            powers.append(power)
        assert powers[0] == 1 or PRIME - 1 in powers


def test_shares_have_their_published_values() -> None:
    vector = VECTORS["split_two_of_three"]
    shares = split(
        bytes.fromhex(vector["secret"]),
        threshold=vector["threshold"],
        holders=vector["holders"],
        entropy=bytes.fromhex(vector["entropy"]),
    )
    assert [share.encode().hex() for share in shares] == vector["shares"]


def test_a_line_worked_by_hand_combines_to_its_intercept() -> None:
    # y = 7 + 5 x
    assert combine([Share(2, 17), Share(9, 52)], threshold=2) == (7).to_bytes(32, "big")


@given(st.data())
def test_any_threshold_of_holders_recovers_the_secret(data: st.DataObject) -> None:
    secret = data.draw(st.binary(min_size=32, max_size=32))
    holders = data.draw(st.lists(st.integers(1, 2**32 - 1), min_size=1, max_size=9, unique=True))
    threshold = data.draw(st.integers(1, len(holders)))
    shares = split(secret, threshold=threshold, holders=holders, entropy=ENTROPY)
    chosen = data.draw(st.permutations(shares))[: data.draw(st.integers(threshold, len(holders)))]
    assert combine(chosen, threshold=threshold) == secret


def test_the_largest_secret_is_recovered() -> None:
    assert combine(shares_of(b"\xff" * 32), threshold=3) == b"\xff" * 32


def test_fewer_shares_fit_every_secret() -> None:
    # With two of three shares any intercept has a parabola through it: here through 0 and through 1.
    two = shares_of()[:2]
    for intercept in (0, 1):
        third = next(Share(3, y) for y in [_through(two, intercept, x=3)])
        assert combine([*two, third], threshold=3) == intercept.to_bytes(32, "big")


def _through(points: list[Share], intercept: int, *, x: int) -> int:
    known = [(0, intercept), *((share.x, share.y) for share in points)]
    total = 0
    for abscissa, ordinate in known:
        term = ordinate
        for other, _ in known:
            if other != abscissa:
                term = term * (x - other) * pow(abscissa - other, -1, PRIME) % PRIME
        total += term
    return total % PRIME


def test_many_secrets_have_independent_polynomials() -> None:
    rows = split_many([SECRET, SECRET], threshold=2, holders=[1, 2], entropy=ENTROPY)
    assert rows[0] != rows[1]
    assert [combine(row, threshold=2) for row in rows] == [SECRET, SECRET]


def test_entropy_used_twice_does_not_put_two_secrets_under_one_polynomial() -> None:
    other = bytes(32)
    first, second = shares_of(SECRET), shares_of(other)
    slope = int.from_bytes(SECRET, "big") - int.from_bytes(other, "big")
    assert (first[0].y - second[0].y - slope) % PRIME != 0


def test_splitting_again_gives_the_same_shares() -> None:
    assert shares_of() == shares_of()


def test_no_secrets_give_no_shares() -> None:
    assert split_many([], threshold=1, holders=[1], entropy=ENTROPY) == []


def test_repeated_shares_do_not_count_twice() -> None:
    first, second, *_ = shares_of()
    with pytest.raises(ProtocolError, match="at least 3 distinct holders, got 2"):
        combine([first, second, first, second], threshold=3)


def test_two_different_shares_of_one_holder_are_refused() -> None:
    first, *rest = shares_of()
    with pytest.raises(ProtocolError, match="two different shares came for holder 1"):
        combine([first, *rest, Share(first.x, first.y ^ 1)], threshold=3)


def test_a_changed_surplus_share_is_refused() -> None:
    *honest, last = shares_of()
    with pytest.raises(ProtocolError, match="one polynomial"):
        combine([*honest, Share(last.x, (last.y + 1) % PRIME)], threshold=3)


def test_a_result_outside_the_secrets_is_refused() -> None:
    with pytest.raises(ProtocolError, match="32-byte secret"):
        combine([Share(1, PRIME - 1)], threshold=1)


def test_a_threshold_of_zero_combines_nothing() -> None:
    with pytest.raises(ProtocolError, match="at least 0"):
        combine([], threshold=0)


@pytest.mark.parametrize(
    "change",
    [
        {"secret": bytes(31)},
        {"entropy": bytes(31)},
        {"threshold": 0},
        {"threshold": 4},
        {"holders": [1, 1, 2]},
        {"holders": [0, 1, 2]},
        {"holders": [1, 2, 2**32]},
    ],
    ids=str,
)
def test_an_impossible_split_is_refused(change: dict[str, object]) -> None:
    request: dict[str, object] = {"secret": SECRET, "threshold": 2, "holders": [1, 2, 3], "entropy": ENTROPY}
    with pytest.raises(ProtocolError):
        split(**{**request, **change})  # type: ignore[arg-type]


@given(st.integers(1, 2**32 - 1), st.integers(0, PRIME - 1))
def test_a_share_survives_its_wire_form(x: int, y: int) -> None:
    encoded = Share(x, y).encode()
    assert len(encoded) == SHARE_BYTES
    assert Share.decode(encoded) == Share(x, y)


@pytest.mark.parametrize(
    "encoded",
    [bytes(36), bytes(37), bytes(3) + b"\x01" + PRIME.to_bytes(33, "big")],
    ids=["short", "x of zero", "y of p"],
)
def test_a_share_outside_the_field_is_refused(encoded: bytes) -> None:
    with pytest.raises(MessageError):
        Share.decode(encoded)


def test_the_representation_of_a_share_shows_no_ordinate() -> None:
    assert repr(Share(3, 12345)) == "Share(x=3)"
