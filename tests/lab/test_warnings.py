"""Claims about how an index's alerts are scored against known onsets."""

from __future__ import annotations

import numpy as np
import pytest

from hansa.lab.warnings import GRACE_NS, HORIZON_NS, volatility_index, warn
from simulator import BAR_NS, DAY_NS

TRAIN = 10 * 288
BARS = TRAIN + 5 * 288
STAMPS = DAY_NS + BAR_NS * np.arange(1, BARS + 1)
ONSET = TRAIN + 600


def quiet() -> np.ndarray:
    """Return an index whose threshold lies above everything that is calm."""
    index = np.full(BARS, 10.0)
    index[:TRAIN:144] = 20.0
    return index


def warned(bars: list[int]) -> dict[str, object]:
    index = quiet()
    index[bars] = 99.0
    onsets = np.array([STAMPS[ONSET]])
    return warn(index, STAMPS, train_bars=TRAIN, onsets_ns=onsets, ends_ns=onsets + 3 * 3_600_000_000_000)


def test_an_alert_exactly_at_onset_is_a_hit_without_lead() -> None:
    found = warned([ONSET])
    assert (found["hits"], found["misses"], found["lead_minutes"]) == (1, 0, (0.0,))
    assert found["alerts"] == [int(STAMPS[ONSET])]
    assert found["false_alarms_per_day"] == 0


@pytest.mark.parametrize(
    ("bars_from_onset", "is_hit"),
    [
        (-HORIZON_NS // BAR_NS - 1, False),
        (-HORIZON_NS // BAR_NS, True),
        (-3, True),
        (5, True),
        (GRACE_NS // BAR_NS, True),
        (GRACE_NS // BAR_NS + 1, False),
    ],
)
def test_an_alert_counts_from_the_horizon_before_to_the_grace_after(bars_from_onset: int, is_hit: bool) -> None:  # noqa: FBT001
    found = warned([ONSET + int(bars_from_onset)])
    assert found["hits"] == int(is_hit)
    if is_hit:
        assert found["lead_minutes"] == (-5.0 * bars_from_onset,)


def test_an_alert_in_the_episode_after_its_grace_is_neither_hit_nor_false() -> None:
    found = warned([ONSET + GRACE_NS // BAR_NS + 3])
    assert (found["hits"], found["misses"], found["false_alarms"]) == (0, 1, 0)


def test_an_alert_far_from_any_onset_is_false() -> None:
    found = warned([TRAIN + 100, ONSET])
    assert (found["hits"], found["false_alarms"]) == (1, 1)


def test_random_alerts_hit_as_often_as_chance_says() -> None:
    rng = np.random.default_rng(4)
    hits, chances = [], []
    for _ in range(150):
        index = quiet()
        index[TRAIN + np.flatnonzero(rng.uniform(size=BARS - TRAIN) < 1 / 200)] = 99.0
        onset = TRAIN + int(rng.integers(100, 1300))
        onsets = np.array([STAMPS[onset]])
        found = warn(index, STAMPS, train_bars=TRAIN, onsets_ns=onsets, ends_ns=onsets + GRACE_NS)
        hits.append(float(str(found["hits"])))
        chances.append(float(str(found["chance_hit_rate"])))
    assert np.mean(hits) == pytest.approx(np.mean(chances), abs=0.09)


def test_what_comes_after_training_does_not_change_the_threshold() -> None:
    assert warned([ONSET])["threshold"] == warned([TRAIN + 5, ONSET, ONSET + 300])["threshold"]


def test_stress_that_was_known_in_training_does_not_push_the_threshold_up() -> None:
    index = quiet()
    stressed = np.arange(200, TRAIN - 100, 180)
    index[[*stressed, ONSET]] = 80.0
    hour = 3_600_000_000_000

    def hits(known: np.ndarray) -> object:
        return warn(index, STAMPS, train_bars=TRAIN, onsets_ns=known, ends_ns=known + hour)["hits"]

    assert hits(STAMPS[[*stressed, ONSET]]) == 1
    assert hits(STAMPS[[ONSET]]) == 0, "fifteen alerts in ten calm days are more than one a day"


def test_an_index_without_values_in_training_says_why_it_cannot_warn() -> None:
    index = quiet()
    index[:TRAIN] = np.nan
    onsets = np.array([STAMPS[ONSET]])
    found = warn(index, STAMPS, train_bars=TRAIN, onsets_ns=onsets, ends_ns=onsets)
    assert set(found) == {"reason"}


def test_the_volatility_index_is_a_trailing_rank() -> None:
    rng = np.random.default_rng(2)
    log_range = rng.standard_normal(3 * 288)
    whole = volatility_index(log_range, 288)
    later = log_range.copy()
    later[500:] += 4.0
    assert np.isnan(whole[:288]).all()
    assert np.nanmin(whole) >= 0
    assert np.nanmax(whole) <= 100
    np.testing.assert_array_equal(volatility_index(later, 288)[:500], whole[:500])
    assert volatility_index(later, 288)[520] > 98
