from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hansa.errors import ModelError
from hansa.model.usefulness import average_precision, chance_of_lead, rate_bound, usefulness

EVENT = np.array([False] * 8 + [True] * 2)


def test_usefulness_is_one_for_perfect_and_at_most_zero_without_skill() -> None:
    assert usefulness(EVENT, EVENT) == 1.0
    assert usefulness(np.zeros(10, dtype=bool), EVENT) <= 0.0
    assert usefulness(np.ones(10, dtype=bool), EVENT) <= 0.0
    assert usefulness(~EVENT, EVENT) < 0.0
    assert np.isnan(usefulness(EVENT, np.zeros(10, dtype=bool)))


def test_usefulness_equals_its_formula() -> None:
    alarm = np.array([True] + [False] * 7 + [True, False])
    loss = 0.8 * 0.2 * 0.5 + 0.2 * 0.8 * 0.125
    assert usefulness(alarm, EVENT) == pytest.approx((0.16 - loss) / 0.16)


def test_a_missed_bar_costs_more_the_higher_mu_is() -> None:
    alarm = np.array([True] * 2 + [False] * 6 + [True, False])
    assert usefulness(alarm, EVENT, mu=0.5) > usefulness(alarm, EVENT, mu=0.3)


def test_average_precision_knows_perfect_skill_none_and_ties() -> None:
    assert average_precision(EVENT.astype(float), EVENT) == 1.0
    assert average_precision(np.zeros(10), EVENT) == pytest.approx(0.2)
    assert average_precision(np.array([np.nan] * 8 + [1.0, 2.0]), EVENT) == 1.0
    assert average_precision(np.array([3.0, 1.0, 0, 0, 0, 0, 0, 0, 2.0, 0.5]), EVENT) == pytest.approx((0.5 + 0.5) / 2)
    assert np.isnan(average_precision(np.zeros(3), np.zeros(3, dtype=bool)))


def test_the_chance_of_a_lead_is_that_of_the_literature() -> None:
    assert [round(chance_of_lead(1.0, hours), 3) for hours in (48, 9, 3)] == [0.865, 0.313, 0.118]
    assert chance_of_lead(0.0, 48.0) == 0.0


@given(st.integers(0, 40), st.floats(0.5, 100))
def test_no_alarm_seen_is_no_rate_of_zero(count: int, days: float) -> None:
    assert rate_bound(count, days) > count / days
    assert rate_bound(0, 7.0) == pytest.approx(2.9957 / 7, rel=1e-3)


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ModelError, match="flag a bar"):
        usefulness(EVENT[:3], EVENT)
    with pytest.raises(ModelError, match="score a bar"):
        average_precision(np.zeros(3), EVENT)
    with pytest.raises(ModelError, match="days above 0"):
        rate_bound(1, 0.0)
