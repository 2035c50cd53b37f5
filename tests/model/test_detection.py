"""Claims about detectors: what they know, what they are tuned on, and how fast they are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hansa.errors import ModelError
from hansa.model.detection import (
    Cusum,
    ShiryaevRoberts,
    average_run_length,
    expected_delay,
    fit_reference,
    limit_at_run_length,
    quantile_score,
    resampled,
    standardised,
    warning_score,
)

CALM = np.random.default_rng(0).standard_normal(600)
DETECTORS = (Cusum(1.0), ShiryaevRoberts(1.0))


@given(st.integers(0, 200), st.integers(1, 300))
@settings(max_examples=15, deadline=None)
def test_nothing_after_training_moves_the_score_of_an_earlier_bar(seed: int, later: int) -> None:
    values = np.random.default_rng(seed).standard_normal((600, 2))
    slot = np.arange(600) % 24
    changed = values.copy()
    changed[300 + later :] += 9.0
    scores = [
        fit_reference(one[:300], slot[:300], slots_per_day=24).scores(one, slot)[: 300 + later]
        for one in (values, changed)
    ]
    np.testing.assert_array_equal(*scores)


def test_a_season_is_taken_out_only_where_training_knows_it() -> None:
    slot = np.arange(24 * 40) % 24
    season = np.sin(2 * np.pi * slot / 24) * 5
    values = (season + np.random.default_rng(1).standard_normal(slot.size))[:, None]
    long = fit_reference(values[: 24 * 30], slot[: 24 * 30], slots_per_day=24)
    short = fit_reference(values[: 24 * 10], slot[: 24 * 10], slots_per_day=24)
    assert (long.centre.shape[0], short.centre.shape[0]) == (24, 1)
    assert abs(np.corrcoef(long.scores(values, slot)[:, 0], season)[0, 1]) < 0.3
    assert np.corrcoef(short.scores(values, slot)[:, 0], season)[0, 1] > 0.8


def test_a_measure_that_never_moves_is_unknown_and_leaves_its_weight_to_the_others() -> None:
    values = np.column_stack([np.ones(100), np.arange(100.0)])
    slot = np.zeros(100, dtype=int)
    scores = fit_reference(values[:50], slot[:50], slots_per_day=1).scores(values, slot)
    assert np.isnan(scores[:, 0]).all()
    np.testing.assert_array_equal(warning_score(scores, (1, 1), (0.5, 0.5)), scores[:, 1])
    np.testing.assert_array_equal(warning_score(scores, (1, -1), (0.0, 0.5)), -scores[:, 1])


def test_mostly_equal_values_are_scaled_by_their_mean_deviation() -> None:
    values = np.zeros((100, 1))
    values[::5] = 1.0
    reference = fit_reference(values, np.zeros(100, dtype=int), slots_per_day=1)
    assert reference.scale[0, 0] == pytest.approx(1.2533 * 0.2)


@pytest.mark.parametrize("detector", DETECTORS)
def test_resampled_calm_alarms_about_as_rarely_as_asked(detector: Cusum | ShiryaevRoberts) -> None:
    limit = limit_at_run_length(detector, CALM, run_length_bars=288, rng=np.random.default_rng(1))
    found = average_run_length(detector, CALM, limit, bars=2000, rng=np.random.default_rng(2))
    assert 200 < found < 420
    rarer = limit_at_run_length(detector, CALM, run_length_bars=1000, rng=np.random.default_rng(1))
    assert rarer > limit


@pytest.mark.parametrize("detector", DETECTORS)
def test_a_larger_lift_is_found_sooner(detector: Cusum | ShiryaevRoberts) -> None:
    limit = limit_at_run_length(detector, CALM, run_length_bars=288, rng=np.random.default_rng(1))
    delays = [
        expected_delay(detector, CALM, limit, lift=lift, bars=600, rng=np.random.default_rng(3)) for lift in (0.5, 1, 2)
    ]
    assert delays[0] > delays[1] > delays[2] > 1


def test_shiryaev_roberts_is_its_definition() -> None:
    values, drift, statistic, expected = CALM[:40], 1.0, 0.0, []
    for value in values:
        statistic = (1 + statistic) * np.exp(drift * value - drift**2 / 2)
        expected.append(np.log(statistic))
    level, found = np.array([-np.inf]), []
    for value in values:
        level = ShiryaevRoberts(drift).advance(level, np.array([value]))
        found.append(level[0])
    np.testing.assert_allclose(found, expected)


def test_blocks_keep_the_dependence_of_an_hour() -> None:
    rng = np.random.default_rng(5)
    series = np.convolve(rng.standard_normal(3000), np.ones(6) / 6, mode="valid")
    drawn = resampled(series, bars=2400, rng=rng, paths=8)
    kept = np.mean([np.corrcoef(path[:-1], path[1:])[0, 1] for path in drawn.T])
    assert kept > 0.6


def test_a_forecast_quantile_warns_when_it_rises_above_its_training_level() -> None:
    rng = np.random.default_rng(2)
    quantiles = np.column_stack([rng.standard_normal(200), 2 + rng.standard_normal(200)])
    quantiles[150:, 1] += 10
    score = quantile_score(
        quantiles, (0.5, 0.95), np.zeros(200, dtype=int), level=0.95, train_bars=100, slots_per_day=1
    )
    assert score[150:].min() > score[:150].max()


def test_what_makes_no_sense_is_refused() -> None:
    slot = np.zeros(10, dtype=int)
    with pytest.raises(ModelError, match="give more history"):
        fit_reference(np.full((10, 1), np.nan), slot, slots_per_day=1)
    with pytest.raises(ModelError, match="sign"):
        warning_score(np.zeros((3, 2)), (1,), (1.0,))
    with pytest.raises(ModelError, match="varies"):
        standardised(np.ones(10), 5)
    with pytest.raises(ModelError, match="bars of calm"):
        resampled(np.ones(3), bars=9, rng=np.random.default_rng(0))
    with pytest.raises(ModelError, match="level"):
        quantile_score(np.zeros((10, 1)), (0.5,), slot, level=0.95, train_bars=5, slots_per_day=1)
    with pytest.raises(ModelError, match="run length"):
        limit_at_run_length(Cusum(1.0), CALM, run_length_bars=0.0, rng=np.random.default_rng(0))
