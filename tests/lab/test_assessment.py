"""Claims about scoring every arm by an observer who sees everything."""

from __future__ import annotations

import numpy as np
import pytest

from hansa.errors import ModelError
from hansa.federation.published import EMBARGO_BARS
from hansa.lab.assessment import ALL_ARMS, Bench, assess, omniscient_forecasts
from small_market import BASKETS, START_NS, TRAIN_BARS, all_views, changed_after, constitution, without

BARS = TRAIN_BARS + 60


def bench(**changed: object) -> Bench:
    views = all_views(**changed)  # type: ignore[arg-type]
    return Bench(constitution(), views, START_NS, BARS, TRAIN_BARS)


def next_of(outcome: np.ndarray) -> np.ndarray:
    return np.roll(outcome, -1, axis=0)


def test_rows_begin_after_training_and_embargo_and_leave_room_for_the_next_bar() -> None:
    rows = bench().rows
    assert (rows[0], rows[-1]) == (TRAIN_BARS + EMBARGO_BARS, BARS - 2)


def test_a_perfect_forecast_has_no_error_and_the_ratio_of_local_to_itself_is_one() -> None:
    outcome = np.random.default_rng(1).standard_normal((BARS, len(BASKETS)))
    perfect = next_of(outcome)
    names = list(bench().views)
    arms = {"oracle": dict.fromkeys(names, perfect), "local": dict.fromkeys(names, perfect + 0.3)}
    found = assess(bench(), arms, outcome)
    for metric in ("mape", "rmse"):
        assert found.errors["oracle"][metric].estimate == pytest.approx(0.0, abs=1e-12)
        assert found.ratios["oracle"][metric].estimate == pytest.approx(0.0, abs=1e-12)
        assert found.ratios["local"][metric].estimate == pytest.approx(1.0)
    assert found.errors["local"]["mape"].estimate == pytest.approx(np.expm1(0.3))
    assert found.errors["local"]["rmse"].estimate == pytest.approx(0.3)
    assert found.per_member["m2"]["local"]["rmse"] == pytest.approx(0.3)


def test_a_forecast_is_compared_with_the_bar_after_its_row() -> None:
    outcome = np.zeros((BARS, len(BASKETS)))
    outcome[TRAIN_BARS + EMBARGO_BARS + 1] = 1.0
    names = list(bench().views)
    guess = np.zeros_like(outcome)
    guess[TRAIN_BARS + EMBARGO_BARS] = 1.0
    arms = {"right": dict.fromkeys(names, guess), "local": dict.fromkeys(names, outcome)}
    found = assess(bench(), arms, outcome)
    assert found.errors["right"]["rmse"].estimate == 0.0
    assert found.errors["local"]["rmse"].estimate > 0.0


def test_a_member_that_forecasts_worse_shows_in_its_own_row_alone() -> None:
    outcome = np.random.default_rng(2).standard_normal((BARS, len(BASKETS)))
    members = {name: next_of(outcome) + 0.1 for name in bench().views}
    members["m1"] = next_of(outcome) + 0.5
    found = assess(bench(), {"local": members}, outcome)
    errors = {name: arms["local"]["rmse"] for name, arms in found.per_member.items()}
    assert errors == pytest.approx({"m0": 0.1, "m1": 0.5, "m2": 0.1, "m3": 0.1})
    assert found.errors["local"]["rmse"].estimate == pytest.approx(0.2)


def test_an_arm_without_a_forecast_of_some_basket_is_refused() -> None:
    outcome = np.zeros((BARS, len(BASKETS)))
    holes = np.zeros_like(outcome)
    holes[:, 1] = np.nan
    names = list(bench().views)
    with pytest.raises(ModelError, match="finite"):
        assess(bench(), {"local": dict.fromkeys(names, holes)}, outcome)


def test_no_row_after_training_is_refused() -> None:
    short = Bench(constitution(), all_views(), START_NS, TRAIN_BARS + 5, TRAIN_BARS)
    with pytest.raises(ModelError, match="no bar is left"):
        assess(short, {}, np.zeros((TRAIN_BARS + 5, 2)))


def test_the_exact_state_weighs_members_by_their_capped_shares() -> None:
    found = bench()
    volume = np.array([view.series["eur"][0].quote_volume[:TRAIN_BARS].mean() for view in found.views.values()])
    weights = np.minimum(volume / volume.sum(), 0.5)
    expected = sum(
        weight / weights.sum() * view.series["eur"][0].measures[:BARS]
        for weight, view in zip(weights, found.views.values(), strict=True)
    )
    assert found.exact_state()[:, 0] == pytest.approx(expected)


def test_a_member_that_does_not_trade_a_basket_is_left_out_of_its_state() -> None:
    alone = bench(**{name: without(all_views()[name], "xau") for name in ("m1", "m2", "m3")})
    assert alone.exact_state()[:, 1] == pytest.approx(all_views()["m0"].series["xau"][0].measures[:BARS])
    assert set(alone.combined()["m1"]) == {"eur"}
    found = omniscient_forecasts(alone)
    assert np.isnan(found["centralised"]["m1"][:, 1]).all()


def test_an_observers_forecasts_do_not_use_later_bars() -> None:
    cut = TRAIN_BARS + 20
    changed = {name: changed_after(view, cut) for name, view in all_views().items()}
    calm, other = omniscient_forecasts(bench()), omniscient_forecasts(bench(**changed))
    for arm in ("local_public", "centralised"):
        for name in calm[arm]:
            np.testing.assert_array_equal(calm[arm][name][: cut + 1], other[arm][name][: cut + 1])
    assert set(calm) <= set(ALL_ARMS)


def test_a_training_span_outside_a_members_data_is_refused() -> None:
    with pytest.raises(Exception, match="outside this member's data"):
        Bench(constitution(), all_views(), START_NS, BARS + 1, TRAIN_BARS).combined()
