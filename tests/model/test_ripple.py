"""Claims about responses: the closed form, orderings, bends, bands, and what a member's answer can reveal."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hansa.errors import ModelError
from hansa.lab.ripple_markets import known_market
from hansa.model.design import spillover_weights
from hansa.model.ripple import (
    Order,
    choose_dynamics,
    connectedness,
    fit_dynamics,
    half_life,
    linear_responses,
    peak_lag,
    responses,
    surprises,
)
from hansa.model.ripple_bands import banded_response, put_on
from hansa.model.ripple_curve import (
    COEFFICIENTS,
    answer_sensitivity,
    basis,
    believed,
    curves_of,
    lag_deviation,
    part_differences,
)

RNG = np.random.default_rng


def history(name: str = "var1", bars: int = 1500, seed: int = 3) -> np.ndarray:
    values = known_market(name).draw(RNG(seed), bars)
    return values - values.mean(axis=0)


def test_a_straight_response_is_the_closed_form_of_the_fitted_autoregression() -> None:
    dynamics = fit_dynamics(history(), Order(1))
    transition, covariance = dynamics.coefficients[1:].T, dynamics.covariance
    expected = [2.0 * covariance[:, 1] / np.sqrt(covariance[1, 1])]
    for _ in range(6):
        expected.append(transition @ expected[-1])
    found = responses(dynamics, 1, 2.0, 6, rng=RNG(0))[0]
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_windows_are_the_long_autoregression_that_they_stand_for() -> None:
    dynamics = fit_dynamics(history(), Order(1, (3, 5)))
    markets = dynamics.values.shape[1]
    single, three, five = (dynamics.coefficients[1 + k * markets : 1 + (k + 1) * markets].T for k in range(3))
    lags = [single * (lag == 0) + three / 3 * (lag < 3) + five / 5 for lag in range(5)]
    expected = [np.eye(markets)]
    for step in range(1, 9):
        expected.append(sum(lags[k] @ expected[step - 1 - k] for k in range(min(5, step))))
    np.testing.assert_allclose(linear_responses(dynamics, 9), expected, atol=1e-10)


@pytest.mark.parametrize("name", ["var1", "threshold"])
def test_the_order_of_the_markets_does_not_matter(name: str) -> None:
    values = history(name)
    places = [2, 0, 3, 1]
    first, second = choose_dynamics(values), choose_dynamics(values[:, places])
    one = responses(first, 0, 3.0, 12, rng=RNG(1))[0]
    other = responses(second, places.index(0), 3.0, 12, rng=RNG(1))[0]
    np.testing.assert_allclose(other, one[:, places], atol=1e-8)


def test_a_bend_is_found_where_only_stress_spreads_and_nowhere_else() -> None:
    assert [market for market, _ in choose_dynamics(history("threshold", 2500)).order.bends] == [0]
    assert choose_dynamics(history("var1", 2500)).order.bends == ()
    assert choose_dynamics(history("var2", 2500)).order.lags == 2


def test_a_bent_response_grows_faster_than_its_shock_and_relief_does_not_spread() -> None:
    dynamics = choose_dynamics(history("threshold", 2500))
    small, large, relief = (responses(dynamics, 0, size, 6, rng=RNG(1))[0, 2, 1] for size in (1.0, 4.0, -4.0))
    assert large > 4.4 * small
    assert abs(relief) < 0.6 * large


def test_without_the_bend_the_simulated_response_is_the_closed_one() -> None:
    straight = fit_dynamics(history(), Order(1))
    bent = fit_dynamics(history(), Order(1, bends=((3, 0.5),)))  # of the market that moves no other
    one, other = (responses(found, 0, 3.0, 12, rng=RNG(2))[0, :, :3] for found in (straight, bent))
    np.testing.assert_allclose(one, other, atol=0.05)


def test_the_connectedness_of_one_lag_is_the_spillover_of_the_core() -> None:
    values = history()
    found = connectedness(fit_dynamics(values, Order(1)), 12)
    np.testing.assert_allclose(found.weights, spillover_weights(values, ridge=1e-9), atol=5e-3)
    np.testing.assert_allclose(found.shares.sum(axis=1), 1.0)
    np.testing.assert_allclose(np.diag(found.weights), 0.0)
    assert 0 < found.total < 1
    assert found.shares[3, 3] > 0.99  # the market that is alone


def test_costs_lose_their_time_of_day() -> None:
    slot = np.tile(np.arange(24), 50)
    noise = RNG(0).standard_normal((slot.size, 2))
    values, deviation = surprises(5.0 + 3.0 * np.sin(2 * np.pi * slot / 24)[:, None] + 0.1 * noise, slot, 24)
    assert deviation == pytest.approx([0.1, 0.1], rel=0.05)
    assert values.std(axis=0) == pytest.approx([1, 1])


@pytest.mark.parametrize(
    ("costs", "slot", "words"),
    [
        (np.full((50, 2), np.nan), np.zeros(50, dtype=int), "finite"),
        (np.ones((50, 2)), np.zeros(50, dtype=int), "constant"),
        (np.ones((50, 2)), np.zeros(49, dtype=int), "one slot a bar"),
    ],
)
def test_costs_that_cannot_be_used_are_refused(costs: np.ndarray, slot: np.ndarray, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        surprises(costs, slot, 24)


def test_a_short_history_and_an_unknown_market_are_refused() -> None:
    with pytest.raises(ModelError, match="more history"):
        choose_dynamics(history()[:40])
    with pytest.raises(ModelError, match="market 0 to 3"):
        responses(fit_dynamics(history(), Order(1)), 4, 1.0, 5, rng=RNG(0))
    values = history()
    with pytest.raises(ModelError, match="leave one of them out"):
        choose_dynamics(np.column_stack([values, values[:, 0]]))


def test_peaks_and_half_lives() -> None:
    assert peak_lag(0.5 ** np.arange(9)) == 0
    assert half_life(0.5 ** np.arange(9)) == pytest.approx(1.0)
    assert half_life(np.array([0.0, -1.0, -0.9])) == float("inf")
    assert half_life(np.zeros(4)) == float("inf")


def test_a_band_is_the_same_twice_holds_its_curve_and_widens_with_less_history() -> None:
    values = history(bars=3000)
    wide, narrow = (banded_response(choose_dynamics(part), 0, 3.0, 12, seed=1) for part in (values[:400], values))
    again = banded_response(choose_dynamics(values), 0, 3.0, 12, seed=1)
    np.testing.assert_array_equal(again.low, narrow.low)
    assert ((narrow.low <= narrow.curve) & (narrow.curve <= narrow.high))[1:].all()
    assert (wide.high - wide.low)[1:8].mean() > 1.8 * (narrow.high - narrow.low)[1:8].mean()
    assert narrow.is_moved == (True, True, True, False)


def answer(own: np.ndarray, state: np.ndarray, **options: object) -> np.ndarray:
    fields: dict[str, object] = {
        "is_open": np.ones(state.shape[0], dtype=np.bool_), "source": 0, "targets": [1, 2], "size": 3.0,
        "horizon": 24, "clip": 0.25, "parts": 6, **options,
    }  # fmt: skip
    return part_differences(state, own, np.arange(state.shape[0]) % 24, 24, **fields)  # type: ignore[arg-type]


STATE = history(bars=1800)
VIEW = STATE[:, 1:3] + 0.5 * RNG(8).standard_normal((1800, 2))
BASE = answer(VIEW, STATE)


@settings(max_examples=15)
@given(
    part=st.integers(0, 5),
    kind=st.sampled_from(["huge", "zero", "nan", "noise", "mirror"]),
    seed=st.integers(0, 2**32 - 1),
)
def test_whatever_happens_in_one_stretch_moves_an_answer_by_no_more_than_its_sensitivity(
    part: int, kind: str, seed: int
) -> None:
    rows = slice(part * 300, (part + 1) * 300)
    other = VIEW.copy()
    shape = other[rows].shape
    other[rows] = {
        "huge": 1e9 * RNG(seed).standard_normal(shape),
        "zero": np.zeros(shape),
        "nan": np.full(shape, np.nan),
        "noise": 10.0 * RNG(seed).standard_normal(shape),
        "mirror": -other[rows],
    }[kind]
    found = answer(other, STATE)
    moved = np.linalg.norm(found.mean(axis=0) - BASE.mean(axis=0))
    assert moved <= answer_sensitivity(0.25, 6) * (1 + 1e-9)
    rest = [place for place in range(6) if place != part]
    np.testing.assert_array_equal(found[rest], BASE[rest])


def test_the_last_day_of_a_stretch_is_in_no_answer() -> None:
    other = VIEW.copy()
    other[276:300] += 100.0
    np.testing.assert_array_equal(answer(other, STATE), BASE)


def test_a_member_that_does_not_see_a_target_says_nothing_about_it() -> None:
    hidden = VIEW.copy()
    hidden[:, 1] = np.nan
    found = answer(hidden, STATE, clip=9.0)
    assert (found[:, 1] == 0).all()
    assert np.abs(found[:, 0]).max() > 0


def test_the_published_cost_itself_makes_no_difference() -> None:
    assert np.abs(answer(STATE[:, 1:3] + 1e-6 * RNG(1).standard_normal((1800, 2)), STATE)).max() < 0.02


def test_a_member_whose_own_clients_feel_twice_as_much_says_so() -> None:
    own = STATE[:, 1:3] * 2.0 + 0.05 * RNG(1).standard_normal((1800, 2))
    extra = curves_of(answer(own, STATE, clip=9.0).mean(axis=0), 24, 3.0)[0]
    public = responses(choose_dynamics(surprises(STATE, np.arange(1800) % 24, 24)[0]), 0, 3.0, 24, rng=RNG(0))[0, :, 1]
    assert np.corrcoef(extra, public)[0, 1] > 0.9
    assert np.linalg.norm(extra) == pytest.approx(np.linalg.norm(public), rel=0.25)


def test_a_history_too_short_for_its_stretches_is_refused() -> None:
    with pytest.raises(ModelError, match="longer history"):
        answer(VIEW[:400], STATE[:400])


@pytest.mark.parametrize("horizon", [1, 5, 24, 300])
def test_the_coefficients_are_orthonormal_and_keep_the_shape_of_a_response(horizon: int) -> None:
    columns = basis(horizon)
    kept = min(COEFFICIENTS, horizon + 1)
    np.testing.assert_allclose((columns.T @ columns)[:kept, :kept], np.eye(kept), atol=1e-9)
    lags = np.arange(horizon + 1)
    curve = 3.0 * lags * 0.8**lags
    assert np.linalg.norm(columns @ columns.T @ curve - curve) < 0.05 * np.linalg.norm(curve) + 1e-9
    assert lag_deviation(0.1, horizon, -2.0) == pytest.approx(0.2 * np.linalg.norm(columns, axis=1))


def test_an_answer_put_on_the_published_response_moves_and_widens_the_band() -> None:
    band = banded_response(choose_dynamics(STATE), 0, 3.0, 24, seed=1, replicates=50)
    opened = BASE.mean(axis=0)
    one = put_on(band, opened, BASE, deviation=0.0, members=5, size=3.0, targets=[1, 2])
    other = put_on(band, opened, BASE, deviation=0.1, members=5, size=3.0, targets=[1, 2])
    np.testing.assert_allclose(one.curve[:, 1:3], band.curve[:, 1:3] + curves_of(opened, 24, 3.0).T)
    np.testing.assert_array_equal(one.curve[:, [0, 3]], band.curve[:, [0, 3]])
    assert ((other.high - other.low) > (one.high - one.low))[:, 1:3].all()
    assert ((one.high - one.low) >= (band.high - band.low) - 1e-12).all()


def test_an_answer_within_its_noise_is_taken_for_zero_and_one_above_it_is_heard() -> None:
    rng = np.random.default_rng(0)
    noise = 0.02 * rng.standard_normal((200, 2, COEFFICIENTS))
    small, large = np.zeros((2, COEFFICIENTS)), np.full((2, COEFFICIENTS), 0.2)
    for truth in (small, large):
        kept = np.stack([believed(truth + one, 0.02, 24) for one in noise])
        assert ((kept - truth) ** 2).mean() < ((noise) ** 2).mean()
    assert np.abs([believed(one, 0.02, 24) for one in noise]).mean() < 0.3 * np.abs(noise).mean()
    np.testing.assert_allclose(believed(large, 0.02, 24), large, rtol=0.02)
    np.testing.assert_array_equal(believed(large, 0.0, 24), large)
    np.testing.assert_array_equal(believed(small, 0.02, 24), small)


def test_an_answer_of_one_or_two_coefficients_is_left_as_it_is() -> None:
    answer = np.pad(np.array([[0.01, 0.02]]), ((0, 0), (0, COEFFICIENTS - 2)))
    np.testing.assert_array_equal(believed(answer, 0.05, 1), answer)
