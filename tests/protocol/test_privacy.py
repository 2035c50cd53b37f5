"""Claims about privacy accounting."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from hansa.errors import ConfigurationError
from hansa.protocol import privacy
from hansa.protocol.privacy import (
    Charge,
    NoiseShares,
    epsilon,
    epsilon_on_grid,
    noise_multiplier_for,
    share_variance,
    slack,
    zcdp_epsilon,
    zcdp_rho,
)

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "privacy.json").read_text())
DELTA = 1e-6
NOISE = NoiseShares(share_sigma=230.0, shares=3, dimension=100_000, table_delta=2.0**-113)
multipliers = st.floats(0.3, 50)


def gaussian(scale: float, reach: int) -> np.ndarray:
    grid = np.arange(-reach, reach + 1)
    weights = np.exp(-(grid**2) / (2 * scale**2))
    return weights / weights.sum()


@pytest.mark.parametrize("claim", sorted(VECTORS))
def test_epsilon_has_its_published_value(claim: str) -> None:
    vector = VECTORS[claim]
    found = epsilon([Charge(vector["noise_multiplier"], vector["count"])], delta=vector["delta"])
    assert found == pytest.approx(vector["epsilon"], abs=2e-6)


def test_dp_accounting_gives_the_same_for_a_year_of_weekly_rounds() -> None:
    charges = [Charge(8.0, 52, NOISE)]
    assert epsilon_on_grid(charges, delta=DELTA) == pytest.approx(epsilon(charges, delta=DELTA), abs=1e-5)
    assert epsilon_on_grid([], delta=DELTA) == 0


@given(multipliers, st.integers(1, 40), multipliers, st.integers(1, 40))
def test_unlike_charges_collapse_to_one_gaussian(first: float, m: int, second: float, n: int) -> None:
    together = epsilon([Charge(first, m), Charge(second, n)], delta=DELTA)
    one = 1 / math.sqrt(m / first**2 + n / second**2)
    assert together == pytest.approx(epsilon([Charge(one, 1)], delta=DELTA), rel=1e-8)
    assert together > max(epsilon([Charge(first, m)], delta=DELTA), epsilon([Charge(second, n)], delta=DELTA))


@given(multipliers, st.floats(1e-12, 0.1))
def test_the_returned_epsilon_meets_delta_and_little_less_does_not(multiplier: float, delta: float) -> None:
    found = epsilon([Charge(multiplier, 1)], delta=delta)
    mu = 1 / multiplier

    def loss(at: float) -> float:
        return float(stats.norm.sf(at / mu - mu / 2) - np.exp(at + stats.norm.logsf(at / mu + mu / 2)))

    assert loss(found) <= delta * (1 + 1e-4)
    assert found == 0 or loss(found * 0.999) > delta * (1 - 1e-4)


def test_no_charges_cost_nothing() -> None:
    assert epsilon([], delta=DELTA) == 0


def test_so_much_noise_that_delta_covers_all_costs_nothing() -> None:
    assert epsilon([Charge(1e6, 1)], delta=1e-3) == 0


def test_a_smaller_delta_costs_more() -> None:
    charge = [Charge(8.0, 52)]
    assert epsilon(charge, delta=1e-9) > epsilon(charge, delta=1e-6) > epsilon(charge, delta=1e-3)


def test_discreteness_of_real_parameters_costs_less_than_a_ten_thousandth() -> None:
    ideal, real = epsilon([Charge(8.0, 52)], delta=DELTA), epsilon([Charge(8.0, 52, NOISE)], delta=DELTA)
    assert ideal < real < ideal + 1e-4


def test_a_coarse_table_costs_epsilon_and_a_worse_one_everything() -> None:
    def cost(table_delta: float) -> float:
        return epsilon([Charge(8.0, 52, NoiseShares(230.0, 3, 100_000, table_delta))], delta=DELTA)

    assert cost(2.0**-113) < cost(2.0**-54) < math.inf
    assert cost(2.0**-30) == math.inf


def test_a_table_distance_is_counted_at_the_epsilon_that_is_promised() -> None:
    eta = 52 * 3 * 100_000 * 2.0**-54
    found = epsilon([Charge(8.0, 52, NoiseShares(230.0, 3, 100_000, 2.0**-54))], delta=DELTA)
    left = DELTA - (1 + math.exp(found)) * eta
    multiplier = 8.0 * math.sqrt(slack(NOISE).variance_factor)
    assert found == pytest.approx(epsilon([Charge(multiplier, 52)], delta=left), rel=1e-7)


def test_an_epsilon_that_no_float_can_exponentiate_leaves_no_delta_to_a_table() -> None:
    assert epsilon([Charge(0.01, 1, NoiseShares(50.0, 1, 1, 1e-300))], delta=DELTA) == math.inf


@pytest.mark.parametrize(("scale", "count"), [(0.5, 2), (0.6, 3), (0.8, 4), (1.0, 2)])
def test_a_sum_of_shares_is_within_tau_of_one_discrete_gaussian(scale: float, count: int) -> None:
    share = gaussian(scale, 40)
    total = share
    for _ in range(count - 1):
        total = np.convolve(total, share)
    whole = gaussian(scale * math.sqrt(count), len(total) // 2)
    centre = slice(len(total) // 2 - 4, len(total) // 2 + 5)
    worst = np.abs(np.log(total[centre] / whole[centre])).max()
    assert 0 < worst <= slack(NoiseShares(scale, count, 1, 0.0)).log_ratio


@pytest.mark.parametrize("scale", [0.5, 0.8, 1.5])
def test_a_discrete_gaussian_is_a_rounded_continuous_one_within_kappa(scale: float) -> None:
    bound = slack(NoiseShares(scale, 1, 1, 0.0))
    rounding = scale * math.sqrt(1 - bound.variance_factor)
    points = np.linspace(-12 * scale, 12 * scale, 20_001)
    density = stats.norm.pdf(points, scale=scale * math.sqrt(bound.variance_factor))
    integers = np.arange(-60, 61)
    kernel = np.exp(-((integers[:, None] - points) ** 2) / (2 * rounding**2))
    rounded = (density * kernel / kernel.sum(axis=0)).sum(axis=1) * (points[1] - points[0])
    worst = np.abs(np.log(rounded[57:64] / gaussian(scale, 60)[57:64])).max()
    assert worst <= bound.log_ratio


@pytest.mark.parametrize("scale", [2.0, 5.0, 30.0])
@pytest.mark.parametrize("shift", [1, 3, 17])
@pytest.mark.parametrize("delta", [1e-2, 1e-6])
def test_the_loss_of_a_shifted_discrete_gaussian_stays_within_the_promise(
    scale: float, shift: int, delta: float
) -> None:
    promised = epsilon([Charge(scale / shift, 1, NoiseShares(scale, 1, 1, 0.0))], delta=delta)
    grid = np.arange(-40 * int(scale), 40 * int(scale) + 1)
    loss = shift * (shift + 2 * grid) / (2 * scale**2)
    mass = gaussian(scale, 40 * int(scale))
    assert float((mass * -np.expm1(np.minimum(promised - loss, 0))).sum()) <= delta


def test_the_bound_for_many_shares_is_no_less_than_term_by_term() -> None:
    terms = math.fsum(math.exp(-2 * math.pi**2 * k / (k + 1)) for k in range(1, 3000))
    found = slack(NoiseShares(1.0, 3000, 1, 0.0)).log_ratio
    assert found >= 10 * terms


def test_slack_grows_with_dimension_and_shares() -> None:
    small, large = slack(NoiseShares(0.7, 2, 10, 1e-20)), slack(NoiseShares(0.7, 4, 20, 1e-20))
    assert large.log_ratio > small.log_ratio
    assert large.distance == pytest.approx(4 * small.distance)


@given(st.floats(0.01, 20), st.floats(1e-9, 1e-2), st.integers(1, 500))
def test_the_multiplier_found_spends_the_budget_and_not_more(budget: float, delta: float, count: int) -> None:
    multiplier = noise_multiplier_for(budget, delta, count)
    spent = epsilon([Charge(multiplier, count)], delta=delta)
    assert budget * (1 - 1e-4) <= spent <= budget * (1 + 2e-9)


def test_the_multiplier_for_a_year_of_weekly_rounds_is_eight() -> None:
    assert noise_multiplier_for(4.343732, 1e-6, 52) == pytest.approx(8.0, abs=1e-5)


@given(st.floats(0.5, 1e6), st.integers(1, 100), st.integers(0, 40))
def test_honest_shares_of_the_smallest_cohort_hold_the_whole_variance(
    sigma: float, honest: int, colluders: int
) -> None:
    variance = share_variance(sigma, u_min=honest + colluders, colluders=colluders)
    assert honest * variance == pytest.approx(sigma**2)


@pytest.mark.parametrize("x", [0.0, 3.0, 9.999999, 10.0, 30.0])
def test_the_mills_ratio_is_exact_on_both_sides_of_its_switch(x: float) -> None:
    exact = math.exp(stats.norm.logsf(x) - stats.norm.logpdf(x))
    assert privacy._mills_ratio(x) == pytest.approx(exact, rel=1e-12)


@pytest.mark.parametrize("multiplier", [0.0, -1.0, math.nan, math.inf, 1e-9, 1e9])
def test_a_multiplier_out_of_range_is_refused(multiplier: float) -> None:
    with pytest.raises(ConfigurationError, match="noise multiplier"):
        Charge(multiplier, 1)


@pytest.mark.parametrize("count", [0, -3])
def test_a_count_below_one_is_refused(count: int) -> None:
    with pytest.raises(ConfigurationError, match="1 or more sums"):
        Charge(1.0, count)


@pytest.mark.parametrize("delta", [0.0, 1.0, -0.1, math.nan, math.inf])
def test_a_delta_that_is_no_probability_is_refused(delta: float) -> None:
    for ask in (
        lambda: epsilon([Charge(1.0, 1)], delta=delta),
        lambda: epsilon_on_grid([Charge(1.0, 1)], delta=delta),
        lambda: noise_multiplier_for(1.0, delta, 1),
    ):
        with pytest.raises(ConfigurationError, match="delta between 0 and 1"):
            ask()


@pytest.mark.parametrize(("budget", "count"), [(0.0, 1), (-1.0, 1), (math.nan, 1), (math.inf, 1), (1.0, 0)])
def test_an_impossible_budget_is_refused(budget: float, count: int) -> None:
    with pytest.raises(ConfigurationError):
        noise_multiplier_for(budget, 1e-6, count)


@pytest.mark.parametrize(
    "values", [(0.4, 2, 1, 0.0), (math.nan, 2, 1, 0.0), (1.0, 0, 1, 0.0), (1.0, 2, 0, 0.0), (1.0, 2, 1, math.nan)]
)
def test_impossible_noise_shares_are_refused(values: tuple[float, int, int, float]) -> None:
    with pytest.raises(ConfigurationError):
        NoiseShares(*values)


@pytest.mark.parametrize(
    ("sigma", "u_min", "colluders"), [(0.0, 3, 1), (math.nan, 3, 1), (1.0, 3, 3), (1.0, 0, 0), (1.0, 3, -1)]
)
def test_a_share_variance_without_honest_members_is_refused(sigma: float, u_min: int, colluders: int) -> None:
    with pytest.raises(ConfigurationError):
        share_variance(sigma, u_min=u_min, colluders=colluders)


@given(multipliers, st.integers(1, 40), multipliers, st.integers(1, 40))
def test_rho_adds_over_charges(first: float, m: int, second: float, n: int) -> None:
    one, other = Charge(first, m), Charge(second, n)
    assert zcdp_rho([one, other]) == pytest.approx(m / (2 * first**2) + n / (2 * second**2))
    assert zcdp_rho([one, other]) == pytest.approx(zcdp_rho([one]) + zcdp_rho([other]))


@given(st.floats(5, 50), st.integers(1, 300))
def test_the_epsilon_of_rho_is_never_below_the_exact_one_nor_far_above(multiplier: float, count: int) -> None:
    charges = [Charge(multiplier, count, NOISE)]
    exact, by_rho = epsilon(charges, delta=DELTA), zcdp_epsilon(charges, delta=DELTA)
    rho = zcdp_rho(charges)
    assert exact <= by_rho
    # The bound that is quoted most, rho + 2 sqrt(rho log(1 / delta)), is the looser one.
    assert by_rho <= rho + 2 * math.sqrt(rho * math.log(1 / DELTA)) + 1e-3


def test_a_day_of_the_state_channel_costs_the_rho_of_its_formula() -> None:
    cap, sigma, bars = 0.02, 0.48, 288
    rho = zcdp_rho([Charge(sigma / cap, bars)])
    assert rho == pytest.approx(bars * cap**2 / (2 * sigma**2))
    assert zcdp_epsilon([Charge(sigma / cap, bars)], delta=DELTA) == pytest.approx(3.5424, abs=1e-4)
    assert zcdp_rho([]) == zcdp_epsilon([], delta=DELTA) == 0
