from __future__ import annotations

import numpy as np
import pytest

from hansa.errors import ModelError
from hansa.model.baselines import (
    centralised,
    local,
    local_with_public,
    persistence,
)
from hansa.model.core import block_gram, day_numbers, member_rows, solve
from hansa.model.design import Design, Inputs
from hansa.model.evaluation import next_bar, purged_split, rmse

BARS, SLOTS = 2400, 48
DESIGN = Design(lags=(1, 3, 12), slots_per_day=SLOTS)


def market(seed: int = 0, members: int = 5) -> tuple[list[Inputs], np.ndarray]:
    generator = np.random.default_rng(seed)
    truth = np.zeros(BARS)
    for bar in range(1, BARS):
        truth[bar] = 0.95 * truth[bar - 1] + 0.3 * generator.standard_normal()
    views = [truth[:, None] + 0.8 * generator.standard_normal((BARS, 1)) for _ in range(members)]
    state = np.mean(views, axis=0)
    slot = np.arange(BARS) % SLOTS
    return [Inputs(slot, view, state) for view in views], state[:, 0]


def test_the_state_helps_and_the_order_of_the_arms_holds() -> None:
    members, cost = market()
    split = purged_split(BARS, warm_up_bars=SLOTS)
    actual = next_bar(cost)[split.test]
    alone = np.mean([rmse(local(one, cost, split.train, design=DESIGN)[split.test], actual) for one in members])
    views = [one.own for one in members if one.own is not None]
    public = rmse(local_with_public(members[0], views, cost, split.train, design=DESIGN)[split.test], actual)
    together = np.mean([rmse(p[split.test], actual) for p in centralised(members, cost, split.train, design=DESIGN)])
    assert together < 0.95 * alone
    assert public < alone


def test_centralised_is_the_federated_core_without_clipping_and_noise() -> None:
    members, cost = market()
    split = purged_split(BARS, warm_up_bars=SLOTS)
    built = [member_rows(DESIGN, one, cost, split.train) for one in members]
    summed = np.sum([block_gram(one.rows.take(split.train), clip=np.inf) for one in built], axis=0)
    forecast = built[2].forecast(solve(summed, ridge=0.1))
    expected = centralised(members, cost, split.train, design=DESIGN, ridge=0.1)[2]
    np.testing.assert_allclose(forecast, expected, rtol=1e-12)


def test_label_scale_is_the_same_for_all_members() -> None:
    members, cost = market()
    train = purged_split(BARS, warm_up_bars=SLOTS).train
    rows = [member_rows(DESIGN, one, cost, train).rows for one in members]
    np.testing.assert_array_equal(rows[0].target, rows[1].target)
    assert np.isnan(rows[0].target[-1])


def test_a_forecast_does_not_read_test_labels() -> None:
    members, cost = market()
    split = purged_split(BARS, warm_up_bars=SLOTS)
    changed = cost.copy()
    changed[split.test[0] :] += 5.0
    np.testing.assert_array_equal(local(members[0], cost, split.train), local(members[0], changed, split.train))


def test_persistence_repeats_and_days_are_counted() -> None:
    np.testing.assert_array_equal(persistence(np.array([1.0, 2.0])), [1.0, 2.0])
    np.testing.assert_array_equal(day_numbers(np.array([46, 47, 0, 1, 0])), [0, 0, 1, 1, 2])


def test_local_with_public_needs_a_view() -> None:
    members, cost = market()
    with pytest.raises(ModelError, match="at least one view"):
        local_with_public(members[0], [], cost, np.arange(100))
