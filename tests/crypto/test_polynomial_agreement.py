"""Claims about points on one polynomial."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hansa.crypto.polynomial_agreement import agreeing_places, lagrange_coefficients

PRIME = 268271617
numbers = st.integers(0, PRIME - 1)


def value(polynomial: list[int], x: int) -> int:
    return sum(c * pow(x, k, PRIME) for k, c in enumerate(polynomial)) % PRIME


@given(st.lists(numbers, min_size=1, max_size=6), st.sets(st.integers(1, 10**6), min_size=6, max_size=6), numbers)
def test_lagrange_coefficients_evaluate_the_polynomial(polynomial: list[int], nodes: set[int], at: int) -> None:
    weights = lagrange_coefficients(sorted(nodes), at, PRIME)
    assert sum(w * value(polynomial, x) for w, x in zip(weights, sorted(nodes), strict=True)) % PRIME == value(
        polynomial, at
    )


@given(st.integers(1, 6), st.integers(0, 8), st.data())
def test_errors_up_to_half_the_surplus_are_located_whatever_they_are(
    threshold: int, surplus: int, data: st.DataObject
) -> None:
    places = sorted(
        data.draw(st.sets(st.integers(1, 10**6), min_size=threshold + surplus, max_size=threshold + surplus))
    )
    polynomials = [data.draw(st.lists(numbers, min_size=threshold, max_size=threshold)) for _ in range(2)]
    words = {x: [value(polynomial, x) for polynomial in polynomials] for x in places}
    wrong = data.draw(st.permutations(places))[: surplus // 2]
    for x in wrong:
        # The same error in both words, or in one only: the hardest for interleaved decoding.
        shift = data.draw(st.integers(1, PRIME - 1))
        words[x][0] = (words[x][0] + shift) % PRIME
        words[x][1] = (words[x][1] + shift * data.draw(st.integers(0, 1))) % PRIME
    assert agreeing_places(words, threshold=threshold, prime=PRIME) == frozenset(places) - set(wrong)


def test_independent_errors_in_two_words_are_located_up_to_two_thirds_of_the_surplus() -> None:
    words = {x: [value([5, 7, 11], x), value([1, 2, 3], x)] for x in range(1, 10)}
    for x in (2, 3, 5, 8):
        words[x] = [words[x][0] + x, words[x][1] + x * x * x]
    assert agreeing_places(words, threshold=3, prime=PRIME) == {1, 4, 6, 7, 9}


def test_more_errors_give_no_answer_rather_than_a_wrong_one() -> None:
    words = {x: [value([5, 7, 11], x)] for x in range(1, 7)}
    for x in (1, 2, 3):
        words[x] = [words[x][0] + 10 * x * x * x]
    assert agreeing_places(words, threshold=3, prime=PRIME) == frozenset()


def test_no_more_points_than_the_threshold_always_agree() -> None:
    assert agreeing_places({1: [9], 2: [4]}, threshold=2, prime=PRIME) == {1, 2}
