"""Claims about ripple estimates on markets with known responses; `benchmarks/ripple.py` prints the whole table."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import pytest

from hansa.errors import ConfigurationError
from hansa.lab.ripple_markets import MARKETS, NAMES, known_market
from hansa.lab.ripple_trials import Score, federated_trial, score, trial

if TYPE_CHECKING:
    from collections.abc import Mapping

HISTORIES = 12


@cache
def scores(name: str) -> Mapping[str, Score]:
    market = known_market(name)
    trials = [trial(market, seed, bars=2000, replicates=120) for seed in range(HISTORIES)]
    return {estimator: score(market, [one[estimator] for one in trials]) for estimator in trials[0]}


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_signs_shapes_and_peaks_are_right(name: str) -> None:
    found = scores(name)["ripple"]
    assert found.sign >= 0.95
    assert found.correlation >= 0.9
    assert found.peak >= 0.9


@pytest.mark.slow
def test_the_band_covers_the_truth_and_placebos_are_rarely_flagged() -> None:
    found = [scores(name)["ripple"] for name in NAMES]
    cover = np.mean([one.cover for one in found if one.cover is not None])
    placebo = np.mean([one.placebo for one in found if one.placebo is not None])
    assert 0.83 <= cover <= 0.97  # of some 100 edges whose lags hang together: a standard error of 0.03
    assert placebo <= 0.10  # of some 190 edges at 5 %: two standard errors


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("rival", ["VAR by OLS", "local projections"])
def test_neither_rival_is_nearer_to_the_truth(name: str, rival: str) -> None:
    assert scores(name)["ripple"].error <= scores(name)[rival].error * 1.02


@pytest.mark.slow
def test_where_only_stress_spreads_a_straight_model_is_much_worse() -> None:
    assert scores("threshold")["ripple"].error < 0.6 * scores("threshold")["VAR by OLS"].error


def test_a_few_histories_give_the_right_signs_and_shapes() -> None:
    market = known_market("var2")
    found = score(market, [trial(market, seed, bars=1500, replicates=30)["ripple"] for seed in range(3)])
    assert found.sign == 1.0
    assert found.correlation >= 0.9
    assert found.peak >= 0.8


@pytest.mark.parametrize("name", NAMES)
def test_a_shock_reaches_all_but_the_market_that_is_alone(name: str) -> None:
    truth = known_market(name).truth
    assert np.abs(truth[0, :, 1:3]).max(axis=0).min() > 0.1
    assert np.abs(truth[0, :, MARKETS - 1]).max() < 0.02
    assert np.abs(truth[1, :, : MARKETS - 1]).max() < 0.02


def test_an_unknown_market_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="var1"):
        known_market("var9")


def test_a_true_curve_scores_full_marks_and_its_mirror_none() -> None:
    market = known_market("var2")
    one = trial(market, 0, bars=1500, replicates=20)["VAR by OLS"]
    right = score(market, [type(one)(market.truth)])
    wrong = score(market, [type(one)(-market.truth)])
    assert (right.error, right.sign, right.peak) == (0.0, 1.0, 1.0)
    assert right.correlation == pytest.approx(1.0)
    assert (wrong.error, wrong.sign) == (pytest.approx(2.0), 0.0)


def test_what_comes_through_the_door_has_the_sign_and_a_band_that_knows_of_the_noise() -> None:
    market = known_market("var1")
    found = federated_trial(market, 1, members=5, bars=12 * 600, replicates=40)
    door = score(market, [found["through the door"]])
    assert door.sign >= 0.95
    assert door.cover is not None
    assert door.cover >= 0.85
    wide, narrow = (found[name].high - found[name].low for name in ("through the door", "published state"))  # type: ignore[operator]
    assert (wide[:, :, 1:] > narrow[:, :, 1:]).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_noise_of_views_is_taken_off_the_published_response(name: str) -> None:
    market = known_market(name)
    trials = [federated_trial(market, seed, members=3, bars=12 * 600, replicates=60) for seed in range(4)]
    public = score(market, [one["published state"] for one in trials])
    assert public.error < 0.17  # 0.14 to 0.36 by plain least squares
    assert public.cover is not None
    assert public.cover >= 0.6
