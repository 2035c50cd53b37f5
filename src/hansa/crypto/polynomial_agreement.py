"""Which of many points lie on one polynomial of low degree: errors in a Reed-Solomon codeword, located.

Points `(x_i, y_i)` over a prime field, several words y over the same x whose errors stand in the same places. With
`v_i = 1 / product over k != i of (x_i - x_k)`, a word lies on a polynomial of degree below t exactly if its syndromes
`S_j = sum v_i y_i x_i^j`, j below n - t, are zero. If e places are wrong, the coefficients of the polynomial with
its roots there, `E_0..E_e`, satisfy `sum over m of E_m S_(j+m) = 0` for each word and j below n - t - e.

Guarantees: what is returned does lie on one polynomial. Up to `(n - t) / 2` wrong places are always located, the
right ones; with two words whose errors are not multiples of each other up to `2 (n - t) / 3`.
Does NOT guarantee: an answer beyond these numbers. With n at or below t every word agrees: ask for more points.

Source: Peterson (1960); Feng, Tzeng, A generalization of the Berlekamp-Massey algorithm for multisequence shift
register synthesis (1991); Bleichenbacher, Kiayias, Yung, Decoding of interleaved Reed-Solomon codes (ICALP 2003).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def agreeing_places(words: Mapping[int, Sequence[int]], *, threshold: int, prime: int) -> frozenset[int]:
    """Return the places whose values lie on one polynomial of degree below `threshold` in every word.

    Args:
        words: For each distinct coordinate, 1 to prime - 1, its value in each word.
        threshold: One more than the greatest degree; one or more.
        prime: Modulus of the field.

    Returns:
        All places if all agree; else what is left when the located errors are taken out; empty if none were located.
    """
    places = sorted(words)
    surplus = len(places) - threshold
    syndromes = _syndromes(words, places, surplus, prime)
    if not any(any(row) for row in syndromes):
        return frozenset(places)
    for errors in range(1, 2 * surplus // 3 + 1):
        equations = [row[j : j + errors + 1] for row in syndromes for j in range(surplus - errors)]
        locator = _null_vector(equations, errors + 1, prime)
        if locator is None:
            continue
        kept = [x for x in places if _value_at(locator, x, prime)]
        if not any(any(row) for row in _syndromes(words, kept, len(kept) - threshold, prime)):
            return frozenset(kept)
    return frozenset()


def lagrange_coefficients(nodes: Sequence[int], at: int, prime: int) -> list[int]:
    """Return the weights of values at distinct `nodes` in the value at `at` of their polynomial.

    Args:
        nodes: Distinct coordinates mod prime.
        at: Where the polynomial is evaluated.
        prime: Modulus of the field.
    """
    weights = []
    for node in nodes:
        numerator = denominator = 1
        for other in nodes:
            if other != node:
                numerator = numerator * (at - other) % prime
                denominator = denominator * (node - other) % prime
        weights.append(numerator * pow(denominator, -1, prime) % prime)
    return weights


def _syndromes(words: Mapping[int, Sequence[int]], places: Sequence[int], count: int, prime: int) -> list[list[int]]:
    rows: list[list[int]] = [[0] * max(count, 0) for _ in next(iter(words.values()), ())]
    for x in places:
        denominator = 1
        for other in places:
            if other != x:
                denominator = denominator * (x - other) % prime
        scale = pow(denominator, -1, prime)
        for row, value in zip(rows, words[x], strict=True):
            term = value * scale % prime
            for j in range(count):
                row[j] = (row[j] + term) % prime
                term = term * x % prime
    return rows


def _null_vector(equations: Sequence[Sequence[int]], width: int, prime: int) -> list[int] | None:
    """Return one non-zero vector that every equation sends to zero, or None."""
    pivots: dict[int, list[int]] = {}
    for equation in equations:
        rest = list(equation)
        for column, pivot in pivots.items():
            rest = _without(rest, pivot, column, prime)
        lead = next((column for column, entry in enumerate(rest) if entry), None)
        if lead is None:
            continue
        scale = pow(rest[lead], -1, prime)
        rest = [entry * scale % prime for entry in rest]
        pivots = {column: _without(pivot, rest, lead, prime) for column, pivot in pivots.items()}
        pivots[lead] = rest
    free = next((column for column in range(width) if column not in pivots), None)
    if free is None:
        return None
    return [
        1 if column == free else -pivots[column][free] % prime if column in pivots else 0 for column in range(width)
    ]


def _without(row: Sequence[int], pivot: Sequence[int], column: int, prime: int) -> list[int]:
    factor = row[column]
    return [(entry - factor * other) % prime for entry, other in zip(row, pivot, strict=True)]


def _value_at(polynomial: Sequence[int], x: int, prime: int) -> int:
    value = 0
    for coefficient in reversed(polynomial):
        value = (value * x + coefficient) % prime
    return value
