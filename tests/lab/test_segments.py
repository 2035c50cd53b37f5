from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hansa.lab.calibration import NOISE_HALF_LIVES_SECONDS, NOISE_SHARES, autocorrelation
from hansa.lab.segments import persistent, private_noise
from hansa.lab.twins import Scenario, simulate


@settings(max_examples=10, deadline=None)
@given(st.floats(600.0, 7200.0), st.integers(0, 2**32))
def test_a_persistent_part_has_unit_variance_and_its_half_life(half_life: float, seed: int) -> None:
    path = persistent(np.random.default_rng(seed).standard_normal((20, 8000)), half_life, 300.0)
    lag = round(half_life / 300.0)
    assert path.var() == pytest.approx(1.0, abs=0.15)
    assert (path[:, :-lag] * path[:, lag:]).mean() == pytest.approx(0.5 ** (lag * 300.0 / half_life), abs=0.15)


def test_the_first_bar_is_as_variable_as_any_other() -> None:
    path = persistent(np.random.default_rng(5).standard_normal((5000, 3)), 86_400.0, 300.0)
    assert path.std(axis=0) == pytest.approx(1.0, abs=0.05)


def test_private_noise_has_the_calibrated_spectrum() -> None:
    noise = private_noise(np.random.default_rng(6), (200_000,), 300.0)
    expected = sum(s * 0.5 ** (300.0 / h) for s, h in zip(NOISE_SHARES, NOISE_HALF_LIVES_SECONDS, strict=True))
    assert noise.var() == pytest.approx(1.0, abs=0.03)
    assert autocorrelation(noise, (1,))[0] == pytest.approx(expected, abs=0.02)


def test_a_view_holds_every_measure_in_every_bar() -> None:
    bars = simulate(Scenario(seed=3, members=1, days=2, episodes=1)).bars["lubeck"]
    assert bars.null_count().sum_horizontal().item() == 0
    assert (bars["signed_volume"].abs() <= bars["volume"]).all()
    assert (bars["trades"] >= 1).all()
    assert (bars["venue"] == "lubeck").all()


def test_without_noise_two_generators_differ_by_bias_and_share_only() -> None:
    twin = simulate(Scenario(seed=3, members=2, markets=("XAU-USD",), days=2, episodes=0, view_noise=0.0))
    one, two = (np.log(bars["spread_bps"].to_numpy()) for bars in twin.bars.values())
    assert (one - two).std() < 1e-9
