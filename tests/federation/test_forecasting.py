"""Claims about a member's forecasts and their bands: points in time, arms, what is not traded."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from hansa.federation.forecasting import (
    ARMS,
    bands,
    basket_rows,
    forecast,
    published_columns,
    shared_weights,
    weights_only,
)
from hansa.model.core import PULL_GRID
from hansa.model.training import GATES
from small_market import (
    BASKETS,
    TRAIN_BARS,
    changed_after,
    views_of_member,
    without,
    work,
)

if TYPE_CHECKING:
    from hansa.lab.rehearsal import Rehearsal


def test_forecasts_do_not_change_when_later_bars_change(played: Rehearsal) -> None:
    one = played.works["m1"]
    assert one.fitted is not None
    cut = TRAIN_BARS + 20
    calm = forecast(one.published, basket_rows(one.published, views_of_member("m1")), one.fitted)
    other = forecast(one.published, basket_rows(one.published, changed_after(views_of_member("m1"), cut)), one.fitted)
    for arm in ARMS:
        assert np.array_equal(calm[arm][: cut + 1], other[arm][: cut + 1]), arm
    assert not np.array_equal(calm["local"][cut + 1 :], other["local"][cut + 1 :])


def test_forecasts_do_not_change_when_later_states_change(played: Rehearsal) -> None:
    one = played.works["m1"]
    assert one.fitted is not None
    cut, published = TRAIN_BARS + 20, one.published
    calm = forecast(published, basket_rows(published, views_of_member("m1")), one.fitted)
    kept = published.state
    published.state = kept.copy()
    published.state[cut + 1 :] += 2.0
    try:
        other = forecast(published, basket_rows(published, views_of_member("m1")), one.fitted)
        for arm in ARMS:
            assert np.array_equal(calm[arm][: cut + 1], other[arm][: cut + 1]), arm
    finally:
        published.state = kept


@pytest.mark.parametrize("is_calibrated", [True, False])
def test_bands_ascend_and_those_of_a_bar_use_no_later_state(played: Rehearsal, *, is_calibrated: bool) -> None:
    one = played.works["m1"]
    assert one.fitted is not None
    bars = one.published.state.shape[0]
    cut = bars - 20
    views = views_of_member("m1")
    before = bands(one.published, basket_rows(one.published, views), one.fitted, is_calibrated=is_calibrated)
    first = int(one.published.fit_and_validation_rows()[1][0])
    assert np.isnan(before[:first]).all()
    assert (np.diff(before[first:], axis=2) >= 0).all()
    kept = one.published.state
    changed = kept.copy()
    changed[cut:] += 3.0
    try:
        one.published.state = changed
        after = bands(one.published, basket_rows(one.published, views), one.fitted, is_calibrated=is_calibrated)
    finally:
        one.published.state = kept
    np.testing.assert_array_equal(after[:cut], before[:cut])
    assert (after[cut:] != before[cut:]).any()


def test_an_uncalibrated_median_is_the_point_forecast_and_what_is_not_seen_has_no_band(played: Rehearsal) -> None:
    one = played.works["m1"]
    assert one.fitted is not None
    built = basket_rows(one.published, views_of_member("m1"))
    arm = forecast(one.published, built, one.fitted)["federated_state"]
    plain = bands(one.published, built, one.fitted, is_calibrated=False)
    np.testing.assert_allclose(plain[TRAIN_BARS:, :, 2], arm[TRAIN_BARS:], rtol=1e-12)
    del built["xau"]
    alone = bands(one.published, built, one.fitted)
    assert np.isnan(alone[:, 1]).all()
    assert np.isfinite(alone[TRAIN_BARS:, 0]).all()


def test_persistence_is_the_published_cost_and_weights_only_never_looks_at_the_state(played: Rehearsal) -> None:
    one = played.works["m2"]
    assert one.fitted is not None
    built = basket_rows(one.published, views_of_member("m2"))
    arms = forecast(one.published, built, one.fitted)
    assert np.array_equal(arms["persistence"], one.published.state[:, :, 0])
    weights = weights_only(one.published, built["eur"].rows, 0)
    assert not weights[published_columns(one.published)].any()
    assert not np.array_equal(arms["federated_weights"], arms["federated_state"])
    assert np.isfinite(shared_weights(one.published, built["eur"].rows, 0)).all()


def test_pulls_and_gates_are_those_of_the_documented_grids(played: Rehearsal) -> None:
    for one in played.works.values():
        assert one.fitted is not None
        assert set(one.fitted.pulls) == set(one.fitted.gates) == set(BASKETS)
        assert set(one.fitted.pulls.values()) <= set(PULL_GRID)
        assert set(one.fitted.gates.values()) <= set(GATES)
        assert set(one.fitted.gates.values()) == {0.0}, "an untrained network is let in nowhere"


def test_the_forecast_of_a_basket_that_is_not_traded_is_not_a_number(played: Rehearsal) -> None:
    one = work(without(views_of_member("m0"), "xau"))
    one.published = played.works["m0"].published
    one._is_unsettled = True
    one.settle()
    assert one.fitted is not None
    assert set(one.fitted.personal) == {"eur"}
    arms = forecast(one.published, basket_rows(one.published, without(views_of_member("m0"), "xau")), one.fitted)
    assert np.isnan(arms["federated_state"][:, 1]).all()
    assert np.isfinite(arms["federated_state"][TRAIN_BARS:, 0]).all()
