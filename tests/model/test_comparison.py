from __future__ import annotations

import numpy as np
import pytest

from hansa.errors import ModelError
from hansa.model.comparison import mean_error, mean_ratio, member_losses

DAYS = np.repeat(np.arange(12), 40)


def losses(scale: float, metric: str = "rmse", members: int = 3, seed: int = 3) -> np.ndarray:
    rng = np.random.default_rng(seed)
    actual = rng.normal(size=(members, DAYS.size))
    return member_losses(actual + scale * rng.normal(size=actual.shape), actual, metric)  # type: ignore[arg-type]


def test_losses_have_their_known_values() -> None:
    predicted, actual = np.array([[0.0, np.log(2.0)]]), np.array([[0.0, 0.0]])
    assert member_losses(predicted, actual, "mape").tolist() == [[pytest.approx(0.0), pytest.approx(1.0)]]
    assert member_losses(predicted, actual, "rmse")[0, 1] == pytest.approx(np.log(2.0) ** 2)


def test_the_mean_is_over_members_errors_and_not_over_their_squares() -> None:
    found = np.array([np.full(DAYS.size, 1.0), np.full(DAYS.size, 9.0)])
    assert mean_error(found, DAYS, metric="rmse").estimate == pytest.approx((1 + 3) / 2)


@pytest.mark.parametrize("metric", ["mape", "rmse"])
def test_an_interval_holds_its_estimate_and_is_the_same_for_the_same_seed(metric: str) -> None:
    found = losses(0.3, metric)
    first = mean_error(found, DAYS, metric=metric, seed=5)  # type: ignore[arg-type]
    assert first.low < first.estimate < first.high
    assert first == mean_error(found, DAYS, metric=metric, seed=5)  # type: ignore[arg-type]
    assert first != mean_error(found, DAYS, metric=metric, seed=6)  # type: ignore[arg-type]


def test_a_ratio_to_itself_has_no_width() -> None:
    one = mean_ratio(losses(0.3), losses(0.3), DAYS, metric="rmse")
    assert (one.estimate, one.low, one.high) == pytest.approx((1.0, 1.0, 1.0))


def test_a_ratio_covers_the_truth() -> None:
    one = mean_ratio(losses(0.2), losses(0.4, seed=4), DAYS, metric="rmse")
    assert one.low < 0.5 < one.high


def test_what_members_share_on_a_day_is_not_taken_for_independent() -> None:
    rng = np.random.default_rng(1)
    day = rng.exponential(size=12)[DAYS]
    alone = mean_error(day[None], DAYS, metric="mape")
    together = mean_error(np.stack([day] * 9), DAYS, metric="mape")
    assert together.high - together.low == pytest.approx(alone.high - alone.low)


def test_faulty_series_and_a_rival_without_error_are_refused() -> None:
    with pytest.raises(ModelError, match="finite"):
        member_losses(np.array([[np.nan]]), np.array([[0.0]]), "mape")
    with pytest.raises(ModelError, match="member, bar"):
        member_losses(np.zeros(3), np.zeros(3), "mape")
    with pytest.raises(ModelError, match="a day for each"):
        mean_error(losses(0.3), DAYS[1:], metric="rmse")
    with pytest.raises(ModelError, match="says nothing"):
        mean_ratio(losses(0.3), losses(0.0), DAYS, metric="rmse")
