"""Claims about errors averaged over members and their intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hansa.errors import ModelError
from hansa.model.comparison import gap_closure, mean_error, mean_ratio, member_errors, member_losses

if TYPE_CHECKING:
    from hansa.model.evaluation import Metric

METRICS: tuple[Metric, ...] = ("mape", "rmse")
DAYS = np.repeat(np.arange(12), 30)


def forecasts(seed: int, members: int = 3, spread: float = 0.2) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    actual = np.tile(rng.standard_normal(DAYS.size), (members, 1))
    return actual + spread * rng.standard_normal(actual.shape), actual


@pytest.mark.parametrize("metric", METRICS)
def test_a_perfect_forecast_has_no_error(metric: Metric) -> None:
    _, actual = forecasts(1)
    found = mean_error(member_losses(actual, actual, metric), DAYS, metric=metric)
    assert (found.estimate, found.low, found.high) == (0.0, 0.0, 0.0)


def test_known_errors_of_two_members() -> None:
    actual = np.zeros((2, 4))
    predicted = np.array([[np.log(1.1)] * 4, [np.log(1.3)] * 4])
    days = np.array([0, 0, 1, 1])
    mape = mean_error(member_losses(predicted, actual, "mape"), days, metric="mape")
    assert mape.estimate == pytest.approx((0.1 + 0.3) / 2)
    rmse = mean_error(member_losses(predicted, actual, "rmse"), days, metric="rmse")
    assert rmse.estimate == pytest.approx((np.log(1.1) + np.log(1.3)) / 2)
    assert (rmse.low, rmse.high) == pytest.approx((rmse.estimate, rmse.estimate)), "every day is the same"


@pytest.mark.parametrize("metric", METRICS)
def test_the_ratio_of_an_arm_with_itself_is_one(metric: Metric) -> None:
    losses = member_losses(*forecasts(2), metric)
    found = mean_ratio(losses, losses, DAYS, metric=metric)
    assert (found.estimate, found.low, found.high) == pytest.approx((1.0, 1.0, 1.0))


@pytest.mark.parametrize("metric", METRICS)
def test_both_sides_of_a_ratio_are_drawn_from_the_same_days(metric: Metric) -> None:
    """Twice the error on every bar: whatever days are drawn, the ratio is the same."""
    losses = member_losses(*forecasts(3), metric)
    worse = losses * (4.0 if metric == "rmse" else 2.0)
    found = mean_ratio(worse, losses, DAYS, metric=metric)
    assert (found.estimate, found.low, found.high) == pytest.approx((2.0, 2.0, 2.0))


def test_members_share_their_days() -> None:
    """Two members whose good and bad days are opposite: drawn together, their mean hardly moves."""
    bad = (DAYS % 2).astype(float)
    opposite = mean_error(np.stack([1.0 + bad, 2.0 - bad]), DAYS, metric="mape")
    alike = mean_error(np.stack([1.0 + bad, 1.0 + bad]), DAYS, metric="mape")
    assert opposite.high - opposite.low < 1e-9
    assert alike.high - alike.low > 0.2


@given(seed=st.integers(0, 2**16), members=st.integers(1, 6))
def test_an_interval_contains_its_estimate(seed: int, members: int) -> None:
    predicted, actual = forecasts(seed, members)
    rival, _ = forecasts(seed + 1, members)
    for metric in METRICS:
        losses = member_losses(predicted, actual, metric)
        error = mean_error(losses, DAYS, metric=metric, draws=200)
        assert error.low <= error.estimate <= error.high
        ratio = mean_ratio(losses, member_losses(actual + rival * 0.1, actual, metric), DAYS, metric=metric, draws=200)
        assert ratio.low <= ratio.estimate <= ratio.high


def test_an_interval_covers_the_true_error_nearly_as_often_as_it_says() -> None:
    """A percentile bootstrap of few days is a little narrow."""
    hits = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        by_day = rng.normal(0.0, 0.3, 80)
        error = np.repeat(by_day, 10)[None] + rng.normal(0.0, 0.4, (2, 800))
        found = mean_error(error**2, np.repeat(np.arange(80), 10), metric="rmse", seed=seed, draws=300)
        hits += found.low <= 0.5 <= found.high
    assert 78 <= hits <= 98


def test_the_same_seed_gives_the_same_interval() -> None:
    losses = member_losses(*forecasts(4), "rmse")
    assert mean_error(losses, DAYS, metric="rmse", seed=7) == mean_error(losses, DAYS, metric="rmse", seed=7)
    assert mean_error(losses, DAYS, metric="rmse", seed=7) != mean_error(losses, DAYS, metric="rmse", seed=8)


@pytest.mark.parametrize(
    ("predicted", "actual"),
    [(np.zeros((2, 3)), np.zeros((2, 4))), (np.zeros(3), np.zeros(3)), (np.full((1, 2), np.nan), np.zeros((1, 2)))],
)
def test_forecasts_of_other_shapes_or_not_finite_are_refused(predicted: np.ndarray, actual: np.ndarray) -> None:
    with pytest.raises(ModelError, match="finite forecasts and outcomes"):
        member_losses(predicted, actual, "mape")


def test_a_ratio_to_a_perfect_rival_is_refused() -> None:
    losses = member_losses(*forecasts(5), "mape")
    with pytest.raises(ModelError, match="a ratio to 0"):
        mean_ratio(losses, np.zeros_like(losses), DAYS, metric="mape")


def test_gap_closure_is_nothing_at_local_and_one_at_the_centralised_error() -> None:
    local, central = np.full((2, DAYS.size), 4.0), np.full((2, DAYS.size), 1.0)
    for losses, closed in ((local, 0.0), (central, 1.0), (np.full((2, DAYS.size), 2.25), 0.5)):
        found = gap_closure(losses, local, central, DAYS, metric="rmse")
        assert (found.estimate, found.low, found.high) == pytest.approx((closed, closed, closed))


def test_where_there_is_no_gap_its_closure_says_nothing() -> None:
    losses = np.ones((1, DAYS.size))
    assert np.isnan(gap_closure(losses, losses, 2 * losses, DAYS, metric="mape").estimate)


def test_members_are_scored_on_the_bars_that_they_have() -> None:
    losses = np.array([[1.0, 3.0, np.nan, np.nan], [2.0, 2.0, 2.0, 2.0]])
    days = np.array([0, 0, 1, 1])
    np.testing.assert_allclose(member_errors(losses, "mape"), [2.0, 2.0])
    found = mean_error(losses, days, metric="mape")
    assert found.estimate == pytest.approx(2.0)
    assert np.isfinite([found.low, found.high]).all(), "a draw without a member's days"
    with pytest.raises(ModelError, match="at least one scored bar"):
        member_errors(np.full((1, 4), np.nan), "mape")
