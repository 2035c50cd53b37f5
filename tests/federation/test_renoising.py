"""Claims about what more noise would cost a member."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from hansa.errors import DataError, ModelError, RefusedError
from hansa.federation.renoising import Channel, error_costs, read_channel
from simulator import BAR_NS
from small_market import BASKETS, START_NS, constitution, views_of_member, without

if TYPE_CHECKING:
    from pathlib import Path

MARKET = constitution().market
BARS = 1500
STAMPS = START_NS + BAR_NS * np.arange(BARS)


def channel(deviation: float = 0.2) -> Channel:
    """The mean of three members' views stands in for the published state."""
    views = [views_of_member(name) for name in ("m1", "m2", "m3")]
    state = np.mean([[view.series[basket][0].measures[:BARS] for basket in BASKETS] for view in views], axis=0)
    return Channel(STAMPS, state.transpose(1, 0, 2), np.array([1.0, 0.5]), deviation)


def test_todays_noise_costs_nothing_and_more_costs_more() -> None:
    costs = error_costs(channel(), views_of_member("m0"), MARKET, [1.0, 2.0, 4.0, 8.0])
    assert costs[0].increase == 0
    assert [cost.rmse for cost in costs] == sorted(cost.rmse for cost in costs)
    assert costs[1].increase > 0.005
    assert len({cost.local_rmse for cost in costs}) == 1
    assert costs[0].rmse < costs[0].local_rmse
    assert error_costs(channel(), views_of_member("m0"), MARKET, [2.0])[0] == costs[1]


def test_a_channel_without_noise_cannot_get_noisier_by_a_factor() -> None:
    (cost,) = error_costs(channel(0.0), views_of_member("m0"), MARKET, [8.0])
    assert cost.increase == pytest.approx(0.0, abs=1e-12)


def test_a_member_that_sees_one_basket_is_scored_on_that_one() -> None:
    views = without(views_of_member("m0"), "xau")
    (cost,) = error_costs(channel(), views, MARKET, [2.0])
    assert cost.increase > 0
    with pytest.raises(ModelError, match="sees no basket"):
        error_costs(channel(), without(views, "eur"), MARKET, [2.0])


def test_less_noise_and_bars_that_are_not_there_are_refused() -> None:
    with pytest.raises(ModelError, match="cannot be taken off"):
        error_costs(channel(), views_of_member("m0"), MARKET, [1.0, 0.5])
    with pytest.raises(RefusedError, match="outside this member's data"):
        error_costs(channel(), views_of_member("m0", 400), MARKET, [2.0])


def test_a_node_without_a_published_state_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no published state yet"):
        read_channel(tmp_path / "forecasts.npz", [1.0], 0.1)
    np.savez(tmp_path / "forecasts.npz", stamps=STAMPS, state=channel().state)
    with pytest.raises(DataError, match="no published state yet"):
        read_channel(tmp_path / "forecasts.npz", None, 0.1)
    read = read_channel(tmp_path / "forecasts.npz", [1.0, 0.5], 0.1)
    assert read.state.shape == (BARS, 2, 2)
    assert read.weights.tolist() == [1.0, 0.5]
