"""Privacy accounting of secure sums with discrete Gaussian noise.

A charge is `count` sums, each with noise `sigma = noise_multiplier * sensitivity` in the l2 norm. Its privacy loss
under the Gaussian mechanism is `N(mu^2 / 2, mu^2)` with `mu = 1 / noise_multiplier`, and the losses of adaptively
composed sums add, so all charges collapse to ONE Gaussian with `mu^2 = sum count / noise_multiplier^2`; then

    delta(epsilon) = Phi(mu / 2 - epsilon / mu) - exp(epsilon) Phi(-mu / 2 - epsilon / mu)

is exact and takes microseconds. `epsilon_on_grid` evaluates the same privacy loss distribution (PLD) with the
library dp-accounting, an independent and slower check.

What the noise really is, `n` shares of the discrete Gaussian of scale s in `d` coordinates, is charged on top:

1. The sum of shares against one discrete Gaussian of scale `S = sqrt(n) s`: in each coordinate the densities differ
   by a factor within `exp(+-tau)`, `tau = 10 sum_(k=1..n-1) exp(-2 pi^2 s^2 k / (k + 1))`.
2. A discrete Gaussian of variance `S^2` is a continuous one of variance `S^2 - b^2`, rounded at random by the
   discrete Gaussian of scale b around it, again to a factor within `exp(+-kappa)`, `kappa = 5 exp(-2 pi^2 b^2)`;
   rounding is post-processing. Here `b = min(2, S / 2)`: mu grows by `1 / sqrt(1 - b^2 / S^2)`.
3. Together `epsilon` grows by `2 d (tau + kappa)` a sum and delta by the factor `exp(d (tau + kappa))` a sum.
4. The sampler's table is at total variation `table_delta` a sample, `eta = count n d table_delta` a charge: delta
   grows by `(1 + exp(epsilon)) eta`.

`zcdp_rho` and `zcdp_epsilon` state the same loss as zero-concentrated differential privacy (zCDP), whose `rho` of any
charges and periods simply adds: `rho = mu^2 / 2`, and for every order a > 1

    epsilon = rho a + (log(1 / delta) - log(a - 1) + a log(1 - 1 / a)) / (a - 1)

holds at `delta`; it is a looser bound than `epsilon`, by about a tenth.

Guarantees: what `epsilon` returns bounds the (epsilon, delta) loss of the whole transcript of sums, against who
knows everything but the honest members' noise, for the neighbours by which the sensitivity was measured.
Does NOT guarantee: that the sensitivity is right (randomised rounding lengthens a clipped vector: use the length
after rounding), nor anything about the noise of dishonest members: count honest shares only.

Source: Balle, Wang, Improving the Gaussian mechanism (ICML 2018), theorem 8; Dong, Roth, Su, Gaussian differential
privacy (JRSS-B 2022), corollary 3.3; Kairouz, Liu, Steinke, The distributed discrete Gaussian mechanism (ICML 2021),
section 3; Bun, Steinke, Concentrated differential privacy (TCC 2016), proposition 1.6; Canonne, Kamath, Steinke, The
discrete Gaussian for differential privacy (NeurIPS 2020), proposition 12; Peikert, An efficient and parallel Gaussian
sampler (Crypto 2010), theorem 3.1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from hansa.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_GRID_INTERVAL: Final = 1e-4
_RELATIVE_STEP: Final = 1e-12
_ROUNDING: Final = 1e-9
# Beyond these the formulas would lose digits that a budget needs, or overflow.
_SMALLEST_MULTIPLIER: Final = 1e-6
_LARGEST_MULTIPLIER: Final = 1e6
_SMALLEST_SHARE_SIGMA: Final = 0.5
_MILLS_SWITCH: Final = 10.0


@dataclass(frozen=True, slots=True)
class NoiseShares:
    """How the noise of a sum is made in integers.

    Args:
        share_sigma: Scale of one member's discrete Gaussian share, in integer units; 0.5 or more, below which the
            bounds of the module do not hold.
        shares: Honest shares that are in the sum, 1 or more.
        dimension: Length of the vector, 1 or more.
        table_delta: Total variation distance of one sample from the discrete Gaussian.

    Raises:
        ConfigurationError: A value is out of range or not a number.
    """

    share_sigma: float
    shares: int
    dimension: int
    table_delta: float

    def __post_init__(self) -> None:
        if not _SMALLEST_SHARE_SIGMA <= self.share_sigma < math.inf:
            raise ConfigurationError(
                f"expected noise shares of scale {_SMALLEST_SHARE_SIGMA} or more integer units, "
                f"got {self.share_sigma}; quantise finer"
            )
        _refuse_unless_count("honest noise shares", self.shares)
        _refuse_unless_count("values in the vector", self.dimension)
        if not 0 <= self.table_delta < 1:
            raise ConfigurationError(f"expected a table distance from 0 to 1, got {self.table_delta}")


@dataclass(frozen=True, slots=True)
class Charge:
    """A number of like sums to be paid from a privacy budget.

    Args:
        noise_multiplier: Scale of the noise over the l2 sensitivity of the sum, 1e-6 to 1e6.
        count: Number of sums, 1 or more.
        noise: How the noise is made; None accounts for the ideal continuous Gaussian.

    Raises:
        ConfigurationError: A value is out of range or not a number.
    """

    noise_multiplier: float
    count: int
    noise: NoiseShares | None = None

    def __post_init__(self) -> None:
        if not _SMALLEST_MULTIPLIER <= self.noise_multiplier <= _LARGEST_MULTIPLIER:
            raise ConfigurationError(
                f"expected a noise multiplier from {_SMALLEST_MULTIPLIER:g} to {_LARGEST_MULTIPLIER:g}, "
                f"got {self.noise_multiplier}"
            )
        _refuse_unless_count("sums in a charge", self.count)


@dataclass(frozen=True, slots=True)
class Slack:
    """What the discreteness of the noise adds to the loss of one sum.

    Args:
        log_ratio: Bound of the log density ratio between the real and the ideal noise over all coordinates.
        variance_factor: Share of the variance that the ideal Gaussian keeps, above 0.75 and at most 1.
        distance: Total variation distance of the sampled from the real noise over all coordinates and shares.
    """

    log_ratio: float
    variance_factor: float
    distance: float


def epsilon(charges: Iterable[Charge], *, delta: float) -> float:
    """Return the smallest epsilon at `delta` for all charges together.

    Args:
        charges: What was or will be released, in any order.
        delta: Failure probability, between 0 and 1.

    Returns:
        Epsilon in nats, rounded up; 0 for no charges; infinity when the slack alone exceeds `delta`.

    Raises:
        ConfigurationError: `delta` is not between 0 and 1.

    Guarantees:
        An upper bound on the loss (see the module); never less for more charges.
    """
    _refuse_unless_probability(delta)
    total = _compose(charges)
    return _with_slack(lambda ideal_delta: _gaussian_epsilon(total.mu, ideal_delta), total, delta)


def epsilon_on_grid(charges: Iterable[Charge], *, delta: float) -> float:
    """Return what the library dp-accounting makes of the charges: an independent check of `epsilon`.

    The slack is added in the same way; only the Gaussian loss is evaluated anew, on a grid rounded upwards. Takes
    seconds to import and up to half a second to run: for audits and tests, not for a member's ledger.

    Raises:
        ConfigurationError: `delta` is not between 0 and 1.
    """
    # Imported here: it takes a second that a member process should not spend at its start.
    from dp_accounting.pld import privacy_loss_distribution  # noqa: PLC0415

    _refuse_unless_probability(delta)
    total = _compose(charges)
    if total.mu == 0:
        return 0.0
    loss = privacy_loss_distribution.from_gaussian_mechanism(
        standard_deviation=1 / total.mu, value_discretization_interval=_GRID_INTERVAL * max(1.0, total.mu)
    )
    return _with_slack(lambda ideal_delta: float(loss.get_epsilon_for_delta(ideal_delta)), total, delta)


def zcdp_rho(charges: Iterable[Charge]) -> float:
    """Return the zCDP parameter `rho` of all charges together, the rounding of the noise included (item 2)."""
    return _compose(charges).mu ** 2 / 2


def zcdp_epsilon(charges: Iterable[Charge], *, delta: float) -> float:
    """Return epsilon at `delta` by way of zCDP: at least what `epsilon` returns, and easier to add up by hand.

    Raises:
        ConfigurationError: `delta` is not between 0 and 1.
    """
    _refuse_unless_probability(delta)
    total = _compose(charges)
    return _with_slack(lambda ideal_delta: _concentrated_epsilon(total.mu**2 / 2, ideal_delta), total, delta)


def noise_multiplier_for(epsilon: float, delta: float, count: int) -> float:
    """Return the smallest noise multiplier with which `count` ideal sums stay within (epsilon, delta).

    Args:
        epsilon: Budget in nats, positive.
        delta: Failure probability, between 0 and 1.
        count: Number of sums, 1 or more.

    Returns:
        Noise scale over sensitivity, rounded up by less than one part in 10^9.

    Raises:
        ConfigurationError: A value is out of range or not a number.
    """
    _refuse_unless_positive("a privacy budget epsilon", epsilon)
    _refuse_unless_probability(delta)
    _refuse_unless_count("sums", count)
    low, high = 0.0, 1.0
    while _delta(high, epsilon) <= delta:
        low, high = high, 2 * high
    while high - low > 1e-10 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if _delta(middle, epsilon) <= delta else (low, middle)
    return math.sqrt(count) / low


def share_variance(sigma: float, *, u_min: int, colluders: int) -> float:
    """Return the variance of one member's noise share.

    Any cohort has at least `u_min` members of whom at most `colluders` leave their noise out, so that the noise of
    the honest ones has variance `sigma^2` or more.

    Args:
        sigma: Scale of the noise that the sum must hold, in integer units.
        u_min: Members in the smallest cohort that may be opened.
        colluders: Members whose noise is not counted, less than `u_min`.

    Returns:
        `sigma^2 / (u_min - colluders)`, in squared integer units.

    Raises:
        ConfigurationError: A value is out of range or no honest member would remain.
    """
    _refuse_unless_positive("a noise scale", sigma)
    if colluders < 0 or u_min <= colluders:
        raise ConfigurationError(
            f"expected 0 <= colluders < u_min, got {colluders} colluders and u_min {u_min}; raise u_min"
        )
    return sigma**2 / (u_min - colluders)


def slack(noise: NoiseShares) -> Slack:
    """Return what discreteness adds to the loss of one sum (items 1, 2 and 4 of the module)."""
    exponent = 2 * math.pi**2 * noise.share_sigma**2
    # The first term is the largest; beyond a thousand shares it bounds the rest.
    terms = min(noise.shares - 1, 1000)
    sum_of_terms = math.fsum(math.exp(-exponent * k / (k + 1)) for k in range(1, terms + 1))
    tau = 10 * (sum_of_terms + (noise.shares - 1 - terms) * math.exp(-exponent / 2))
    total_variance = noise.shares * noise.share_sigma**2
    rounding_variance = min(4.0, total_variance / 4)
    kappa = 5 * math.exp(-2 * math.pi**2 * rounding_variance)
    return Slack(
        log_ratio=noise.dimension * (tau + kappa),
        variance_factor=1 - rounding_variance / total_variance,
        distance=noise.dimension * noise.shares * noise.table_delta,
    )


@dataclass(frozen=True, slots=True)
class _Composition:
    mu: float
    log_ratio: float
    distance: float


def _compose(charges: Iterable[Charge]) -> _Composition:
    squared_mu, log_ratios, distances = [], [], []
    for charge in charges:
        extra = Slack(0.0, 1.0, 0.0) if charge.noise is None else slack(charge.noise)
        squared_mu.append(charge.count / (charge.noise_multiplier**2 * extra.variance_factor))
        log_ratios.append(charge.count * extra.log_ratio)
        distances.append(charge.count * extra.distance)
    return _Composition(math.sqrt(math.fsum(squared_mu)), math.fsum(log_ratios), math.fsum(distances))


def _with_slack(gaussian_epsilon: Callable[[float], float], total: _Composition, delta: float) -> float:
    """Solve item 3 and 4 of the module for epsilon; the last step proves the answer it returns."""
    found = 0.0
    for _ in range(50):
        remaining = _remaining_delta(total, found, delta)
        if remaining <= 0:
            return math.inf
        # Rising from below: with more epsilon the distance of the tables weighs more, and less delta remains.
        previous, found = found, gaussian_epsilon(remaining) + 2 * total.log_ratio
        if found <= previous * (1 + _ROUNDING):
            return found
    return math.inf


def _remaining_delta(total: _Composition, epsilon: float, delta: float) -> float:
    """Return the delta that is left to the ideal Gaussian when `epsilon`, a part in 10^9 more, is promised."""
    if total.distance == 0:
        return delta * math.exp(-total.log_ratio)
    if epsilon > 700:
        return 0.0
    weight = 1 + math.exp(epsilon * (1 + _ROUNDING))
    return (delta - weight * total.distance) * math.exp(-total.log_ratio)


@lru_cache(maxsize=1024)
def _gaussian_epsilon(mu: float, delta: float) -> float:
    if mu == 0 or _delta(mu, 0.0) <= delta:
        return 0.0
    low, high = 0.0, max(1.0, mu)
    while _delta(mu, high) > delta:
        low, high = high, 2 * high
    while high - low > _RELATIVE_STEP * high:
        middle = (low + high) / 2
        low, high = (low, middle) if _delta(mu, middle) <= delta else (middle, high)
    return high * (1 + _ROUNDING)


def _concentrated_epsilon(rho: float, delta: float) -> float:
    """Return the least epsilon over a geometric grid of orders around the best one of the simpler bound."""
    if rho == 0:
        return 0.0
    centre = math.sqrt(math.log(1 / delta) / rho)
    orders = (1 + centre * 2 ** (step / 16) for step in range(-64, 65))
    return max(0.0, min(rho * a + (-math.log(delta * (a - 1)) + a * math.log1p(-1 / a)) / (a - 1) for a in orders))


def _delta(mu: float, epsilon: float) -> float:
    """Return delta of the Gaussian mechanism, as `phi(a) (R(a) - R(b))` in the Mills ratio to keep the digits."""
    a, b = epsilon / mu - mu / 2, epsilon / mu + mu / 2
    density = math.exp(-a * a / 2) / math.sqrt(2 * math.pi)
    if a > 0:
        return density * (_mills_ratio(a) - _mills_ratio(b))
    return math.erfc(a / math.sqrt(2)) / 2 - density * _mills_ratio(b)


def _mills_ratio(x: float) -> float:
    """Return `Phi(-x) / phi(x)` for x >= 0: by erfc, or by the continued fraction of Laplace where that underflows."""
    if x < _MILLS_SWITCH:
        return math.erfc(x / math.sqrt(2)) * math.sqrt(math.pi / 2) * math.exp(x * x / 2)
    fraction = x
    for k in range(40, 0, -1):
        fraction = x + k / fraction
    return 1 / fraction


def _refuse_unless_positive(what: str, value: float) -> None:
    if not 0 < value < math.inf:
        raise ConfigurationError(f"expected {what} that is positive and finite, got {value}")


def _refuse_unless_count(what: str, value: int) -> None:
    if value < 1 or value != int(value):
        raise ConfigurationError(f"expected 1 or more {what}, got {value}")


def _refuse_unless_probability(delta: float) -> None:
    if not 0 < delta < 1:
        raise ConfigurationError(f"expected a delta between 0 and 1, got {delta}")
