"""Claims about dynamics below noise: right where least squares is too small, the same where there is no noise."""

from __future__ import annotations

import numpy as np
import pytest

from hansa.model.ripple import Dynamics, Order, choose_dynamics, fit_dynamics, responses
from hansa.model.ripple_bands import banded_response
from hansa.model.ripple_noise import _noise_gram, _with_history, choose_latent, refit_latent

BARS = 4000
FIRST = np.array([[0.7, 0.0, 0.0], [0.3, 0.6, 0.0], [0.0, 0.0, 0.6]])


def exact(seed: int, bars: int = BARS, pull: float = 0.0) -> np.ndarray:
    """Return a history in deviations; `pull`: how much the second market feels the first above 1."""
    rng = np.random.default_rng(seed)
    run = np.zeros((bars + 100, 3))
    for bar in range(1, bars + 100):
        run[bar] = FIRST @ run[bar - 1] + rng.standard_normal(3)
        run[bar, 1] += pull * max(run[bar - 1, 0] - 1.0, 0.0)
    return np.asarray(run[100:] - run[100:].mean(axis=0))


def seen(history: np.ndarray, share: float, seed: int = 9) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal(history.shape)
    return np.asarray(history + np.sqrt(share) * history.std(axis=0) * noise)


def curve(dynamics: Dynamics, target: int = 1) -> np.ndarray:
    return responses(dynamics, 0, 3.0, 12, rng=np.random.default_rng(0))[0, :, target]


def distance(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.linalg.norm(one - other) / np.linalg.norm(other))


def test_without_noise_the_dynamics_are_those_of_least_squares() -> None:
    values = exact(0)
    found, plain = choose_latent(values, windows=(6, 24)), choose_dynamics(values, windows=(6, 24))
    assert found.noise is None
    assert found.order == plain.order
    np.testing.assert_array_equal(found.coefficients, plain.coefficients)


@pytest.mark.parametrize("seed", range(3))
def test_noise_is_found_and_the_response_is_nearer_to_the_one_below_it(seed: int) -> None:
    history = exact(seed)
    values = seen(history, 0.5)
    scale = values.std(axis=0)
    truth = curve(fit_dynamics(history / scale, Order(1)))
    found = choose_latent(values / scale, windows=(6, 24))
    assert found.noise is not None
    np.testing.assert_allclose(found.noise, 1 / 3, rtol=0.2)
    assert distance(curve(found), truth) < 0.5 * distance(curve(choose_dynamics(values / scale)), truth)
    np.testing.assert_allclose(found.values.var(axis=0), 2 / 3, rtol=0.25)


def test_a_bend_is_found_below_noise_and_enters_other_markets_alone() -> None:
    values = seen(exact(1, pull=0.8), 0.4)
    found = choose_latent(values / values.std(axis=0))
    assert [market for market, _ in found.order.bends] == [0]
    assert found.coefficients[-1, 0] == 0.0
    assert found.coefficients[-1, 1] > 0.2


def test_skewed_costs_seen_with_noise_are_not_taken_for_bends() -> None:
    rng = np.random.default_rng(2)
    run = np.zeros((BARS, 3))
    for bar in range(1, BARS):
        run[bar] = 0.7 * run[bar - 1] + rng.poisson(0.3, 3)
    values = seen(run - run.mean(axis=0), 0.4)
    assert choose_latent(values / values.std(axis=0)).order.bends == ()


def test_noise_that_is_known_is_taken_off_at_least() -> None:
    values = seen(exact(3), 0.3)
    values /= values.std(axis=0)
    known = np.array([0.05, 0.1, 0.0])
    found = choose_latent(values, known_noise=known)
    assert found.noise is not None
    assert (found.noise >= known).all()


def test_the_covariance_of_noise_in_a_row_is_that_of_the_same_sums_of_noise() -> None:
    order = Order(2, (4,))
    noise = np.array([1.0, 2.0])
    weights = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0.25] * 4])
    np.testing.assert_allclose(_noise_gram(order, noise)[1:, 1:], np.kron(weights @ weights.T, np.diag(noise)))
    assert not _noise_gram(order, noise)[0].any()


def test_the_covariance_of_the_shocks_is_found_below_the_noise() -> None:
    history = exact(4, bars=20_000)
    share = 0.5
    values = seen(history, share)
    noise = share * history.var(axis=0)
    coefficients, shocks, _, covariance = refit_latent(values[None], Order(1), noise)
    np.testing.assert_allclose(shocks[0], np.eye(3), atol=0.15)
    np.testing.assert_allclose(coefficients[0, 1:].T, FIRST, atol=0.06)
    assert (np.diag(covariance[0]) > np.diag(shocks[0]) + noise).all()


def test_dynamics_that_move_more_than_what_is_seen_are_no_solution() -> None:
    values = exact(5, bars=500)
    wild = Dynamics(Order(1), np.vstack([np.zeros(3), 1.01 * np.eye(3)]), values[1:], np.eye(3), values, np.ones(3))
    assert _with_history(wild, values, np.ones(3)) is None


def test_a_short_history_is_fitted_plainly() -> None:
    assert choose_latent(seen(exact(6, bars=150), 0.5)).noise is None


def test_the_band_below_noise_holds_the_truth_that_the_plain_one_misses() -> None:
    values = seen(exact(7), 0.5)
    scale = values.std(axis=0)
    truth = 3 * np.array([np.linalg.matrix_power(FIRST, lag)[:, 0] for lag in range(13)]) / scale
    band = banded_response(choose_latent(values / scale), 0, 3.0, 12, seed=1, replicates=60)
    plain = banded_response(choose_dynamics(values / scale), 0, 3.0, 12, seed=1, replicates=60)
    inside = (band.low <= truth) & (truth <= band.high)
    assert inside[:, 1].mean() >= 0.8
    assert ((plain.low <= truth) & (truth <= plain.high))[:, 1].mean() < inside[:, 1].mean()
