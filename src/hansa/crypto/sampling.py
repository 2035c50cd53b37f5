"""Discrete Gaussian noise by inversion of a cumulative table on 128-bit uniforms.

`P(k) = exp(-k^2 / 2 sigma^2) / sum over Z`. A sample is `-n + #{j : C_j <= u}` with `C_j = floor(2^128 P(X <= j))`,
`n = ceil(13 sigma) + 1` and u uniform below 2^128. Only the upper 64 bits of u are drawn, as little-endian words of
the AES-CTR keystream; the lower 64 come from a second keystream and are looked at when the upper half equals that
of a boundary, so nearly never. A guide table over the upper 16 bits answers most samples with one look-up.

The table is built in 256-bit fixed point from `exp(-1 / 2 sigma^2)` in 120-digit decimal arithmetic: the same table
on every machine. Above sigma = 2048 it is a sum of two tables, `X + s Y` with `s = round(sqrt(sigma / 3))`,
`var X = 9 s^2` and `var Y = (sigma^2 - 9 s^2) / s^2`: the variances add exactly, and the law differs from the
discrete Gaussian by a factor within `1 +- 5 exp(-2 pi^2 b^2)`, `1 / b^2 = 1 / var Y + s^2 / var X`.

Guarantees: one sample is within total variation `table.delta` (below 2^-110) of the discrete Gaussian given uniform
bits: 13-sigma tail 2^-121, rounding 2^-127 an entry.
Does NOT guarantee: constant time (look-ups depend on the noise); seeds must be fresh, one for each call.

Source: Peikert, An Efficient and Parallel Gaussian Sampler (Crypto 2010), theorem 3.1 (sum of two); Poeppelmann,
Ducas, Gueneysu (CHES 2014), section 3 (table inversion with a guide table).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Context, Decimal
from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np

from hansa.crypto.prg import Keystream, derive, expand
from hansa.errors import ConfigurationError, IdentityError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jaxtyping import Int32, Int64, UInt64

SMALLEST_SIGMA: Final = 0.25
LARGEST_SIGMA: Final = float(2**20)
_LARGEST_DIRECT_SIGMA: Final = 2048.0
_TAIL_SIGMAS: Final = 13
_FIXED_POINT_BITS: Final = 256
_GUIDE_SHIFT: Final = 48
_BLOCK_SAMPLES: Final = 1 << 15
_DECIMAL: Final = Context(prec=120)


@dataclass(frozen=True, slots=True, eq=False)
class _Inversion:
    """One cumulative table; boundary j separates the values `lowest + j` and `lowest + j + 1`."""

    high: UInt64[np.ndarray, " boundary"]
    low: UInt64[np.ndarray, " boundary"]
    guide: Int32[np.ndarray, " prefix"]
    lowest: int
    delta: float


@dataclass(frozen=True, slots=True, eq=False)
class GaussianTable:
    """All that is needed to draw discrete Gaussian noise of one sigma; immutable and public.

    Args:
        sigma: Scale of the discrete Gaussian, in integer units.
        delta: Total variation distance of one sample from the discrete Gaussian, an upper bound.
        fine: Table of the first term.
        coarse: Table of the second term, or None.
        stride: Factor of the second term.
    """

    sigma: float
    delta: float
    fine: _Inversion
    coarse: _Inversion | None
    stride: int

    @staticmethod
    def build(sigma: float) -> GaussianTable:
        """Return the table for `sigma`; built once a process and then remembered.

        Args:
            sigma: Scale in integer units, 0.25 to 2^20.

        Raises:
            ConfigurationError: `sigma` is not a number in this range.

        Guarantees:
            `sigma` is taken as the exact rational number that the float is.
        """
        if not SMALLEST_SIGMA <= sigma <= LARGEST_SIGMA:
            raise ConfigurationError(
                f"expected a noise scale from {SMALLEST_SIGMA} to {LARGEST_SIGMA:.0f} integer units, got {sigma}; "
                "change the scale of the round"
            )
        return _build(float(sigma))


def sample(table: GaussianTable, count: int, seed: bytes) -> Int64[np.ndarray, " value"]:
    """Draw `count` independent discrete Gaussian integers.

    Args:
        table: The table of the wanted sigma.
        count: Samples wanted.
        seed: 32 fresh secret bytes for this call.

    Returns:
        `count` integers; the same seed and table give the same ones everywhere, and a shorter draw is a prefix.

    Raises:
        IdentityError: The seed is not 32 bytes long, or the count is negative.

    Guarantees:
        Within total variation `count * table.delta` of independent discrete Gaussians, plus the distance of the
        keystream from uniform.
    """
    if count < 0:
        raise IdentityError(f"expected zero or more samples, got {count}")
    values = np.zeros(count, dtype=np.int64)
    add_sample(values, table, seed)
    return values


def add_sample(values: Int64[np.ndarray, " value"], table: GaussianTable, seed: bytes) -> None:
    """Add to each value the integer that `sample` draws for its place; in place.

    Args:
        values: Contiguous writable int64 values; they are overwritten.
        table: The table of the wanted sigma.
        seed: 32 fresh secret bytes for this call.

    Raises:
        IdentityError: The seed is not 32 bytes long, or `values` is not a contiguous writable int64 vector.
    """
    if values.dtype != np.int64 or values.ndim != 1 or not (values.flags.c_contiguous and values.flags.writeable):
        raise IdentityError(
            f"expected a contiguous writable int64 vector for noise, got {values.dtype} of shape {values.shape}"
        )
    _add_inverted(values, table.fine, 1, seed, "fine")
    if table.coarse is not None:
        _add_inverted(values, table.coarse, table.stride, seed, "coarse")


def _add_inverted(
    values: Int64[np.ndarray, " value"], inversion: _Inversion, stride: int, seed: bytes, term: str
) -> None:
    from hansa.crypto.sampling_kernels import add_inverted  # noqa: PLC0415 - who plans noise needs no compiler

    stream = Keystream(derive(seed, f"hansa/gaussian/v1/{term}/high".encode()))
    tied = np.empty(min(len(values), _BLOCK_SAMPLES), dtype=np.int64)
    ties: dict[int, int] = {}
    for start in range(0, len(values), _BLOCK_SAMPLES):
        block = values[start : start + _BLOCK_SAMPLES]
        words = stream.words64(block.size)
        count = add_inverted(
            (inversion.high, inversion.guide),
            words,
            lowest=inversion.lowest,
            stride=stride,
            values=block,
            ties=tied,
        )
        ties |= {start + int(place): int(words[place]) for place in tied[:count]}
    if ties:
        _break_ties(inversion, stride, values, ties, _lower_halves(seed, term, max(ties) + 1))


def _lower_halves(seed: bytes, term: str, count: int) -> UInt64[np.ndarray, " value"]:
    stream = expand(derive(seed, f"hansa/gaussian/v1/{term}/low".encode()), 8 * count)
    return np.frombuffer(stream, dtype="<u8")


def _break_ties(
    inversion: _Inversion,
    stride: int,
    values: Int64[np.ndarray, " value"],
    ties: Mapping[int, int],
    low: UInt64[np.ndarray, " value"],
) -> None:
    """Add the samples whose upper halves, given by place, equal a boundary's."""
    for place, high in ties.items():
        first = int(np.searchsorted(inversion.high, np.uint64(high), side="left"))
        last = int(np.searchsorted(inversion.high, np.uint64(high), side="right"))
        below = first + int(np.searchsorted(inversion.low[first:last], low[place], side="right"))
        values[place] += stride * (inversion.lowest + below)


@lru_cache(maxsize=32)
def _build(sigma: float) -> GaussianTable:
    variance = Fraction(sigma) ** 2
    if sigma <= _LARGEST_DIRECT_SIGMA:
        fine = _tabulate(variance)
        return GaussianTable(sigma, fine.delta, fine, coarse=None, stride=0)
    stride = round(math.sqrt(sigma / 3))
    fine_variance = Fraction(9 * stride**2)
    coarse_variance = (variance - fine_variance) / stride**2
    fine, coarse = _tabulate(fine_variance), _tabulate(coarse_variance)
    smoothing = 1 / (1 / coarse_variance + stride**2 / fine_variance)
    delta = fine.delta + coarse.delta + 5 * math.exp(-2 * math.pi**2 * float(smoothing))
    return GaussianTable(sigma, delta, fine, coarse, stride)


def _tabulate(variance: Fraction) -> _Inversion:
    sigma = math.sqrt(variance)
    reach = math.ceil(_TAIL_SIGMAS * sigma) + 1
    boundaries = _boundaries(_weights(variance, reach))
    mask = 2**64 - 1
    high = np.array([boundary >> 64 for boundary in boundaries], dtype=np.uint64)
    low = np.array([boundary & mask for boundary in boundaries], dtype=np.uint64)
    # Mass beyond the reach, against a normaliser of at least sqrt(2 pi) sigma; then rounding of every boundary.
    tail = 2 * sigma / (reach * math.sqrt(2 * math.pi)) * math.exp(-(reach**2) / (2 * sigma**2))
    return _Inversion(high, low, _guide(high), -reach, tail + len(boundaries) * 2.0**-127)


def _weights(variance: Fraction, reach: int) -> list[int]:
    """Return `exp(-k^2 / 2 variance)` for k = 0 to reach in fixed point, by two products a term."""
    bits = _FIXED_POINT_BITS
    half_precision = _DECIMAL.divide(Decimal(variance.denominator), Decimal(2 * variance.numerator))
    factor = _DECIMAL.exp(_DECIMAL.minus(half_precision))
    ratio = int(_DECIMAL.multiply(factor, Decimal(2**bits)))
    step = ratio * ratio >> bits
    weights = [1 << bits]
    for _ in range(reach):
        weights.append(weights[-1] * ratio >> bits)
        ratio = ratio * step >> bits
    return weights


def _boundaries(weights: list[int]) -> list[int]:
    """Return `floor(2^128 P(X <= j))` for j = -reach to reach - 1."""
    total = 2 * sum(weights) - weights[0]
    cumulated = 0
    boundaries = []
    for weight in (*reversed(weights[1:]), *weights[:-1]):
        cumulated += weight
        # A weight too small for the fixed point must not carry the last boundary to 2^128.
        boundaries.append(min((cumulated << 128) // total, 2**128 - 1))
    return boundaries


def _guide(high: UInt64[np.ndarray, " boundary"]) -> Int32[np.ndarray, " prefix"]:
    """Return for every 16-bit prefix how many boundaries lie below it, -1 minus that number where one lies in it."""
    prefixes = np.arange(1 << 16, dtype=np.uint64) << np.uint64(_GUIDE_SHIFT)
    below = np.searchsorted(high, prefixes, side="left")
    through = np.searchsorted(high, prefixes | np.uint64((1 << _GUIDE_SHIFT) - 1), side="right")
    return np.where(below == through, below, -1 - below).astype(np.int32)
