"""Claims about the rival networks: they learn what there is, the graph sees the other node, nothing sees later bars."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hansa.errors import ModelError
from hansa.model.rival_networks import NodeSeries, train_and_forecast

FIT, VALIDATION = np.arange(20, 900), np.arange(930, 1200)


def led(seed: int = 1, bars: int = 1500) -> NodeSeries:
    """Node 1 follows node 0 by one bar; node 0 is noise."""
    rng = np.random.default_rng(seed)
    first = rng.standard_normal(bars)
    second = np.append(0.0, first[:-1])
    inputs = np.stack([first, second], axis=1)[:, :, None]
    target = np.full((bars, 2), np.nan)
    target[:-1] = inputs[1:, :, 0]
    return NodeSeries(inputs, target, np.arange(bars) % 6, 6)


def error(series: NodeSeries, *, is_graph: bool) -> float:
    made = train_and_forecast(series, FIT, VALIDATION, window_bars=4, is_graph=is_graph, seed=1, epochs=20)
    return float(np.mean((made[1230:1499, 1] - series.target[1230:1499, 1]) ** 2))


def test_a_graph_network_sees_the_other_node_and_an_mlp_does_not() -> None:
    series = led()
    assert error(series, is_graph=True) < 0.5
    assert error(series, is_graph=False) > 0.85


def test_a_network_is_the_same_for_the_same_seed_and_sees_no_later_bar() -> None:
    series = led(2, 600)
    parts = (np.arange(20, 300), np.arange(310, 400))

    def made(of: NodeSeries, seed: int) -> np.ndarray:
        return train_and_forecast(of, *parts, window_bars=4, is_graph=True, seed=seed, epochs=2)

    changed = replace(series, inputs=np.where(np.arange(600)[:, None, None] >= 500, 9.0, series.inputs))
    np.testing.assert_array_equal(made(series, 1), made(series, 1))
    np.testing.assert_allclose(made(changed, 1)[:500], made(series, 1)[:500], atol=1e-5)
    assert not np.allclose(made(series, 1), made(series, 2))


def test_nothing_to_learn_from_is_refused() -> None:
    with pytest.raises(ModelError, match="rows to fit"):
        train_and_forecast(led(), FIT[:0], VALIDATION, window_bars=4, is_graph=False, seed=1)
