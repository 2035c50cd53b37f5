"""Claims about the verifier's arithmetic: it finds what the federation's own code finds."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit_keys import P256Key
from hansa.audit.arithmetic import RefusedError, add_again, compact, delta_of, framed, is_signed, load, parse, unpack
from hansa.crypto.encryption import add_ciphertext, ciphertext_bytes, decode, empty_total
from hansa.crypto.lanes import coefficients
from hansa.crypto.lanes import unpack as unpack_lanes
from hansa.crypto.prg import add_limb_masks
from hansa.crypto.ring_kernels import pack_planes
from hansa.crypto.ring_parameters import DEGREE, KEPT_BITS, KEPT_PRIMES
from hansa.protocol.encoding import sum_to_bytes
from hansa.protocol.privacy import Charge, NoiseShares, epsilon


def vector(width: int, generator: np.random.Generator) -> bytes:
    """Return random residues in the form of a ciphertext."""
    packed = np.empty(ciphertext_bytes(width) // 4, dtype="<u4")
    place = 0
    for start in range(0, width, DEGREE):
        values = min(DEGREE, width - start)
        for prime in KEPT_PRIMES:
            words = KEPT_BITS * values // 32
            residues = generator.integers(0, prime, values, dtype=np.uint32)
            pack_planes(residues, KEPT_BITS, packed[place : place + words])
            place += words
    return packed.tobytes()


@pytest.mark.parametrize(
    ("length", "is_wide"), [(1, False), (200, False), (200, True), (6 * 8192, False), (50_000, False)]
)
def test_sums_are_those_of_the_compiled_loops(length: int, *, is_wide: bool) -> None:
    generator = np.random.default_rng(length)
    width = coefficients(length, is_wide=is_wide)
    vectors = [vector(width, generator) for _ in range(5)]
    total = empty_total(width)
    for one in vectors:
        add_ciphertext(total, one)
    masks = [(generator.bytes(32), sign) for sign in (1, -1, -1)]
    expected = decode(total)
    add_limb_masks(expected.limbs, [(seed, sign < 0) for seed, sign in masks])
    steps, noise = add_again(vectors, masks, is_wide=is_wide)
    published = sum_to_bytes(unpack_lanes(expected.limbs, length, is_wide=is_wide), is_wide=is_wide)
    assert steps[: len(published)] == published
    assert noise == pytest.approx(expected.noise, abs=1e-6)


def test_vectors_of_another_form_are_refused() -> None:
    good = vector(32, np.random.default_rng(1))
    with pytest.raises(RefusedError, match="unequal lengths"):
        add_again([good, good[:-1]], [], is_wide=False)
    with pytest.raises(RefusedError, match="unequal lengths"):
        add_again([good[:145], good[:145]], [], is_wide=False)
    with pytest.raises(RefusedError, match="not below its prime"):
        add_again([good, b"\xff" * len(good)], [], is_wide=False)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 200), st.floats(0.5, 30), st.floats(0.5, 300), st.integers(1, 30), st.integers(1, 3000))
def test_budgets_are_those_of_the_doors_accounting(
    count: int, multiplier: float, share: float, shares: int, values: int
) -> None:
    noise = NoiseShares(share, shares, values, 2.0**-110)
    spent = epsilon([Charge(multiplier, count, noise)], delta=1e-6)
    if spent > 500:
        return
    assert delta_of(spent, count, multiplier, (share, shares, values)) <= 1e-6 * (1 + 1e-6)
    if spent > 1e-3:
        assert delta_of(spent * 0.999, count, multiplier, (share, shares, values)) > 1e-6


def test_nothing_spent_keeps_to_any_budget() -> None:
    assert delta_of(1.0, 0, 8.0, (10.0, 3, 20)) < 1e-20


fields = st.recursive(
    st.integers(0, 2**64 - 1) | st.text(max_size=300) | st.binary(max_size=300),
    lambda inner: st.lists(inner, max_size=17) | st.dictionaries(st.text(max_size=40), inner, max_size=17),
    max_leaves=12,
)


@settings(max_examples=60, deadline=None)
@given(fields)
def test_messages_are_read_as_they_were_written(value: object) -> None:
    assert unpack(msgspec.msgpack.encode(value)) == value


@pytest.mark.parametrize("size", [70_000, 300, 40, 3])
def test_long_messages_are_read(size: int) -> None:
    for value in (bytes(size), "x" * size, [0] * size, dict.fromkeys(range(size), 0)):
        assert unpack(msgspec.msgpack.encode(value)) == value


@pytest.mark.parametrize(
    "data", [b"", b"\xc0", b"\xca\0\0\0\0", b"\xd0\1", b"\xff", b"\xa5abc", b"\1\1", b"\xc5\0", b"\xc1"]
)
def test_what_is_no_message_is_refused(data: bytes) -> None:
    with pytest.raises(RefusedError):
        unpack(data)


def test_pieces_that_reach_beyond_the_end_are_refused() -> None:
    assert framed(b"\0\1a\0\0", 2) == [b"a", b""]
    with pytest.raises(RefusedError, match="beyond the end"):
        framed(b"\0\2a", 2)


def test_a_key_that_stands_twice_is_refused() -> None:
    with pytest.raises(RefusedError, match="key twice"):
        parse('{"a": 1, "a": 2}')
    assert compact({"b": 1, "a": "é"}) == '{"a":"é","b":1}'


def test_keys_that_are_none_are_not_loaded() -> None:
    for text in ("ed25519:AAAA", "p256:AAAA", "rsa:AAAA"):
        with pytest.raises(ValueError, match=r".+"):
            load(text)


def test_an_ecdsa_signature_in_another_form_is_refused() -> None:
    key = P256Key(1).public
    with pytest.raises(RefusedError, match="another form"):
        is_signed(key, b"", bytes(63))
    with pytest.raises(RefusedError, match="another form"):
        is_signed(key, b"", b"\x01" * 32 + b"\xff" * 32)
    assert not is_signed(key, b"", b"\x01" * 64)
