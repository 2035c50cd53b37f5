"""Claims about ring elements."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import ring_oracle as book
from hansa.crypto import ring_kernels, ring_parameters
from hansa.crypto.prg import Keystream
from hansa.crypto.ring import (
    ELEMENT_BYTES,
    add_elements,
    decode_element,
    encode_element,
    read_uniform,
    scale_element,
    ternary_secret,
    to_transform,
    uniform_element,
    weighted_elements,
)
from hansa.errors import IdentityError, MessageError, ProtocolError

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "ring.json").read_text())
SEED = bytes(range(32))
PRIMES = np.array(book.PRIMES, dtype=np.uint64)[:, None]
seeds = st.binary(min_size=32, max_size=32)


def is_prime(number: int) -> bool:
    """Trial division: the numbers are below 2^30."""
    return number > 1 and all(number % divisor for divisor in range(2, int(number**0.5) + 1))


def test_every_function_returns_its_published_element() -> None:
    seed = bytes.fromhex(VECTORS["seed"])
    secret, uniform = ternary_secret(seed), uniform_element(seed)
    results = {
        "ternary_secret": secret,
        "uniform_element": uniform,
        "sum_of_both": add_elements([secret, uniform]),
        "scaled_uniform_element": scale_element(uniform, np.array(VECTORS["weights"], dtype=np.uint32)),
    }
    for name, element in results.items():
        assert element[:, 0].tolist() == VECTORS[name]["first"]
        assert hashlib.sha256(element.astype("<u4").tobytes()).hexdigest() == VECTORS[name]["sha256"]
    data = encode_element(uniform)
    assert data[:16].hex() == VECTORS["encoded_uniform_element"]["first"]
    assert hashlib.sha256(data).hexdigest() == VECTORS["encoded_uniform_element"]["sha256"]


def test_the_parameters_are_what_the_security_figures_assume() -> None:
    assert ring_parameters.PRIMES == book.PRIMES
    assert all(is_prime(prime) and prime % (2 * 8192) == 1 for prime in book.PRIMES)
    assert 200.995 < np.log2(float(ring_parameters.MODULUS)) < 201
    assert ring_parameters.PLAINTEXT_MODULUS == 2**138


def test_an_element_holds_values_at_the_odd_powers_of_the_root_in_the_stated_order() -> None:
    coefficients = np.zeros(8192, dtype=np.int64)
    coefficients[[0, 1, 700, 8191]] = [3, -1, 1, -7]
    element = to_transform(coefficients)
    for k, prime in enumerate(book.PRIMES):
        for index in (0, 1, 2, 63, 64, 4095, 4096, 8191):
            point = pow(book.root(prime), 2 * index + 1, prime)
            value = (3 - point + pow(point, 700, prime) - 7 * pow(point, 8191, prime)) % prime
            assert element[k, book.position(index)] == value


def test_the_inverse_transform_returns_the_coefficients_of_a_product() -> None:
    element = uniform_element(SEED)
    one = np.array([pow(8192, -1, prime) for prime in book.PRIMES], dtype=np.uint64)[:, None]
    factor = np.repeat(one, 8192, axis=1)
    out, work = np.empty_like(element), np.empty((64, 128), dtype=np.uint32)
    tables = ring_parameters.transform()
    pair = (factor.astype(np.uint32), ring_parameters.shoup(factor))
    ring_kernels.product_coefficients(element, pair, tables, work, out)
    assert (out < 2 * PRIMES).all()
    expected = book.coefficients(element)
    assert all((out[k] % prime).tolist() == [c % prime for c in expected] for k, prime in enumerate(book.PRIMES))


@given(seeds)
@settings(max_examples=5, deadline=None)
def test_a_uniform_element_is_the_keystream_with_rejection(seed: bytes) -> None:
    assert uniform_element(seed).tolist() == book.uniform_residues(seed)


def test_the_next_block_of_a_stream_begins_where_the_spares_of_the_one_before_end() -> None:
    stream, element = Keystream(SEED), uniform_element(SEED)
    read_uniform(stream, element)
    assert np.array_equal(element, uniform_element(SEED))
    read_uniform(stream, element)
    assert element.tolist() == book.uniform_residues(SEED, 1)


def test_rejection_takes_spares_in_order_and_stays_canonical_without_them() -> None:
    words = np.full(7 * 8192 + 3, 2**32 - 1, dtype=np.uint32)
    words[-3:] = [2**29 - 1, 5, 6]
    out = np.empty((7, 8192), dtype=np.uint32)
    ring_kernels.reject(words, ring_parameters.transform(), out)
    assert out[0, :2].tolist() == [5, 6]
    assert (out < PRIMES).all()


def test_a_ternary_secret_is_the_keystream_mod_3() -> None:
    assert np.array_equal(ternary_secret(SEED), to_transform(np.array(book.ternary(SEED))))
    counts = np.bincount(np.array([c + 1 for k in range(20) for c in book.ternary(bytes([k] * 32))]))
    assert stats.chisquare(counts).pvalue > 1e-3


@given(st.lists(st.tuples(seeds, st.integers(0, 2**200)), min_size=1, max_size=4))
@settings(max_examples=10, deadline=None)
def test_weighted_sums_are_those_of_the_integers(terms: list[tuple[bytes, int]]) -> None:
    elements = [uniform_element(seed) for seed, _ in terms]
    weights = [[weight % prime for prime in book.PRIMES] for _, weight in terms]
    expected = sum(e * np.array(w, dtype=np.uint64)[:, None] % PRIMES for e, w in zip(elements, weights, strict=True))
    assert np.array_equal(weighted_elements(elements, np.array(weights, dtype=np.uint32)), expected % PRIMES)
    assert np.array_equal(add_elements(elements), sum(e.astype(np.uint64) for e in elements) % PRIMES)


def test_a_hundred_largest_residues_add_without_overflow() -> None:
    largest = np.repeat((PRIMES - 1).astype(np.uint32), 8192, axis=1)
    weights = np.repeat((PRIMES - 1).astype(np.uint32).T, 100, axis=0)
    assert np.array_equal(weighted_elements([largest] * 100, weights), np.full((7, 8192), 100))
    assert np.array_equal(scale_element(largest, weights[0]), np.ones((7, 8192)))


@given(seeds)
@settings(max_examples=5, deadline=None)
def test_the_wire_form_returns_the_element_and_has_its_stated_planes(seed: bytes) -> None:
    element = uniform_element(seed)
    data = encode_element(element)
    assert len(data) == ELEMENT_BYTES == 205_824
    assert np.array_equal(decode_element(data), element)
    start = 0
    for row, bits in zip(element.tolist(), [29] * 5 + [28] * 2, strict=True):
        for column in (0, 100, 255):
            words = [int.from_bytes(data[start + 4 * (256 * w + column) :][:4], "little") for w in range(bits)]
            whole = sum(word << (32 * w) for w, word in enumerate(words))
            assert [whole >> (bits * i) & (2**bits - 1) for i in range(32)] == row[column::256]
        start += bits * 1024


def test_a_damaged_element_is_refused() -> None:
    data = encode_element(uniform_element(SEED))
    for damaged in (b"", data[:-1], data + b"\0"):
        with pytest.raises(MessageError, match="205824 bytes"):
            decode_element(damaged)
    for k, prime in enumerate(book.PRIMES):
        bits, start = prime.bit_length(), sum(p.bit_length() for p in book.PRIMES[:k]) * 1024
        # The first residue of a prime is the low bits of its first word.
        low = (int.from_bytes(data[start : start + 4], "little") >> bits << bits) | prime
        with pytest.raises(MessageError, match=f"below {prime}"):
            decode_element(data[:start] + low.to_bytes(4, "little") + data[start + 4 :])


def test_what_is_no_element_is_refused() -> None:
    element = uniform_element(SEED)
    larger = element.copy()
    larger[6, 5] = book.PRIMES[6]
    for other in (element[:5], element.astype(np.int64), larger):
        with pytest.raises(ProtocolError):
            encode_element(other)
        with pytest.raises(ProtocolError):
            add_elements([element, other])
    with pytest.raises(ProtocolError, match="got none"):
        add_elements([])
    for weights in (np.array(book.PRIMES, dtype=np.uint32), np.ones(6, dtype=np.uint32)):
        with pytest.raises(ProtocolError, match="canonical weight"):
            scale_element(element, weights)


def test_a_seed_of_another_length_is_refused() -> None:
    for make in (uniform_element, ternary_secret):
        with pytest.raises(IdentityError, match="32 bytes"):
            make(bytes(31))


@given(st.lists(st.integers(0, 2**30), min_size=1, max_size=40), st.integers(0, 2**30))
def test_a_scaled_factor_is_canonical_and_carries_its_exact_quotients(values: list[int], scale: int) -> None:
    primes = ring_parameters.transform().primes
    element = np.zeros((7, 8192), dtype=np.uint32)
    scales = np.array([scale % int(prime) for prime in primes], dtype=np.uint64)
    for k, prime in enumerate(primes):
        element[k, : len(values)] = [value % int(prime) for value in values]
        element[k, 40:43] = [0, 1, int(prime) - 1]
    factor, quotients = np.empty_like(element), np.empty_like(element)
    assert ring_kernels.scaled_factor(element, scales, primes, factor, quotients)
    for k, prime in enumerate(primes):
        expected = [int(one) * int(scales[k]) % int(prime) for one in element[k, :43]]
        assert factor[k, :43].tolist() == expected
        assert quotients[k, :43].tolist() == [(one << 32) // int(prime) for one in expected]


def test_a_scaled_factor_of_the_largest_residues_is_exact_and_a_larger_one_is_noticed() -> None:
    primes = ring_parameters.transform().primes
    element = np.repeat(primes[:, None] - np.uint32(1), 8192, axis=1) - np.arange(8192, dtype=np.uint32)[None, :]
    factor, quotients = np.empty_like(element), np.empty_like(element)
    assert ring_kernels.scaled_factor(element, primes.astype(np.uint64) - 1, primes, factor, quotients)
    assert np.array_equal(factor, np.repeat(np.arange(1, 8193, dtype=np.uint32)[None, :], 7, axis=0))
    wide = factor.astype(np.uint64) << np.uint64(32)
    assert np.array_equal(quotients, wide // primes.astype(np.uint64)[:, None])
    element[3, 8191] = primes[3]
    assert not ring_kernels.scaled_factor(element, primes.astype(np.uint64) - 1, primes, factor, quotients)
