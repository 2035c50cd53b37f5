"""Claims about order-book measures: known answers, and real books."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hansa.errors import DataError
from hansa.market.book import (
    Book,
    depth_quote,
    depth_slope,
    integrated_order_flow,
    integration_weights,
    level_flow,
    order_flow,
    quoted_spread_bps,
)

DEEP = Path(__file__).parents[3] / "shared" / "data" / "binance_deep_2026-02" / "lobdeep_btc_spot.parquet"


def book(*rows: tuple[float, float, float, float]) -> Book:
    """Return a book of one level: bid, bid size, ask, ask size."""
    bid, bid_size, ask, ask_size = (np.array(column)[:, None] for column in zip(*rows, strict=True))
    return Book(np.arange(len(rows)), bid, ask, bid_size, ask_size)


def test_the_flow_of_each_kind_of_event_is_its_definition() -> None:
    found = level_flow(
        book(
            (99.0, 5.0, 101.0, 4.0),
            (99.0, 8.0, 101.0, 4.0),  # 3 added to the bid
            (100.0, 2.0, 101.0, 4.0),  # a better bid of 2
            (99.0, 8.0, 101.0, 4.0),  # that bid is gone
            (99.0, 8.0, 100.5, 1.0),  # a better ask of 1
            (99.0, 8.0, 101.0, 4.0),  # that ask is taken
        )
    )[:, 0]
    np.testing.assert_array_equal(found, [0, 3, 2, -2, -1, 1])


def test_spread_depth_and_an_empty_side() -> None:
    found = book((99.0, 5.0, 101.0, 4.0), (np.nan, 0.0, 101.0, 4.0), (102.0, 1.0, 101.0, 1.0))
    np.testing.assert_allclose(quoted_spread_bps(found), [200.0, np.nan, np.nan])
    np.testing.assert_allclose(depth_quote(found, 1)[:2], [99 * 5 + 101 * 4, np.nan])
    with pytest.raises(DataError, match="levels"):
        depth_quote(found, 2)


@given(st.floats(0.3, 2.5))
@settings(max_examples=10, deadline=None)
def test_the_slope_of_a_power_law_book_is_its_exponent(exponent: float) -> None:
    distance = 1e-5 * np.arange(1, 21)
    total = (distance / distance[0]) ** exponent
    value = np.diff(total, prepend=0.0)
    bid, ask = 100 * (1 - distance)[None], 100 * (1 + distance)[None]
    found = Book(np.zeros(1, dtype=np.int64), bid, ask, value / bid, value / ask)
    assert depth_slope(found)[0] == pytest.approx(exponent, rel=1e-2)


def test_bars_hold_their_own_events_and_levels_are_scaled_by_the_size_of_the_book() -> None:
    found = book((99.0, 5.0, 101.0, 5.0), (99.0, 8.0, 101.0, 5.0), (99.0, 8.0, 101.0, 9.0))
    flow = order_flow(found, np.array([-1, 1, 2, 3]))
    np.testing.assert_allclose(flow[:, 0], [3 / 5.75, -4 / 8.5, np.nan])


def test_integration_finds_the_common_direction_of_the_levels() -> None:
    rng = np.random.default_rng(1)
    common = rng.standard_normal(400)
    flow = np.outer(common, [1.0, 0.8, 0.6]) + 0.1 * rng.standard_normal((400, 3))
    weights = integration_weights(flow[:300])
    assert np.abs(weights).sum() == pytest.approx(1.0)
    assert weights[0] > weights[1] > weights[2] > 0
    assert np.corrcoef(integrated_order_flow(flow, weights)[300:], common[300:])[0, 1] > 0.99
    with pytest.raises(DataError, match="history"):
        integration_weights(flow[:1])


def test_malformed_books_are_refused() -> None:
    good = np.ones((2, 1))
    with pytest.raises(DataError, match="shape"):
        Book(np.zeros(3, dtype=np.int64), good, good, good, good)
    with pytest.raises(DataError, match="sort"):
        Book(np.array([1, 0]), good, good, good, good)
    with pytest.raises(DataError, match="negative"):
        Book(np.array([0, 1]), good, good, -good, good)


@pytest.mark.skipif(
    not DEEP.is_file(),
    reason="needs real market data, no part of the project, in ../shared/data/binance_deep_2026-02",
)
def test_more_levels_explain_more_of_the_price_of_a_real_book() -> None:
    table = pl.read_parquet(DEEP).sort("ts_ms")
    levels = 10
    side = {
        name: np.array(table[name].list.head(levels).to_list(), dtype=np.float64)
        for name in ("bids_px", "bids_qty", "asks_px", "asks_qty")
    }
    ts_ns = table["ts_ms"].to_numpy() * 1_000_000
    found = Book(ts_ns, side["bids_px"], side["asks_px"], side["bids_qty"], side["asks_qty"])
    assert 0 < np.nanmedian(quoted_spread_bps(found)) < 1
    assert np.nanmedian(depth_quote(found, 5)) > np.nanmedian(depth_quote(found, 1)) > 0
    edges = np.arange(ts_ns[0], ts_ns[-1], 2_000_000_000)
    flow = order_flow(found, edges)
    ends = np.searchsorted(ts_ns, edges, side="right") - 1
    moved = 1e4 * np.diff(np.log(found.mid[np.maximum(ends, 0)]))
    known = np.isfinite(flow).all(axis=1)

    def explained(columns: np.ndarray) -> float:
        design = np.column_stack([np.ones(known.sum()), columns[known]])
        residual = moved[known] - design @ np.linalg.lstsq(design, moved[known], rcond=None)[0]
        return float(1 - residual.var() / moved[known].var())

    assert explained(flow[:, :1]) > 0.1
    assert explained(flow) > explained(flow[:, :1])
