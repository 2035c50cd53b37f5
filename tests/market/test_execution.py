"""Claims about effective and realised spreads, lambda and VPIN: known answers and a real day."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from hansa.errors import DataError
from hansa.market.execution import effective_spread_bps, kyle_lambda, realised_spread_bps, trade_signs, vpin
from hansa.market.readers.ticks import Quotes, Trades

LOBSTER = Path(__file__).parents[3] / "shared" / "data" / "lobster_2012-06-21"
QUOTES = Quotes(np.array([0, 10, 20]), np.array([99.0, 99.5, 100.5]), np.array([101.0, 100.5, 101.5]))


def trades(times: list[int], prices: list[float], sides: list[int] | None = None) -> Trades:
    return Trades(np.array(times), np.array(prices), np.ones(len(times)), np.array(sides or [0] * len(times)))


def test_effective_and_realised_spreads_are_their_definitions() -> None:
    made = trades([5, 15], [101.0, 99.5], [1, -1])
    np.testing.assert_allclose(effective_spread_bps(made, QUOTES), [200.0, 100.0])
    np.testing.assert_allclose(realised_spread_bps(made, QUOTES, later_ns=5), [200.0, 300.0])
    assert np.isnan(realised_spread_bps(made, QUOTES, later_ns=50)).all()
    assert np.isnan(effective_spread_bps(trades([0], [100.0], [1]), QUOTES)).all(), "no quote stood before"


def test_a_side_that_is_not_named_is_told_by_the_mid_and_else_by_the_last_change() -> None:
    found = trade_signs(trades([5, 6, 7, 8], [100.4, 100.0, 99.9, 100.0]), QUOTES)
    np.testing.assert_array_equal(found, [1, -1, -1, 1])
    np.testing.assert_array_equal(trade_signs(trades([5], [99.0], [1]), QUOTES), [1])


def test_lambda_is_the_slope_of_the_past_and_does_not_look_ahead() -> None:
    rng = np.random.default_rng(0)
    flow = 1e6 * rng.standard_normal(400)
    mid = 100 * np.exp(np.cumsum(2e-4 * flow / 1e6 + 1e-6 * rng.standard_normal(400)))
    found = kyle_lambda(mid, flow, window_bars=100, minimum=50)
    assert np.isnan(found[:50]).all()
    np.testing.assert_allclose(found[60:], 2.0, rtol=0.02)
    changed = mid.copy()
    changed[300:] *= 1.5
    np.testing.assert_array_equal(kyle_lambda(changed, flow, window_bars=100, minimum=50)[:301], found[:301])
    assert np.isnan(kyle_lambda(mid, np.zeros(400), window_bars=100, minimum=50)).all()


def test_vpin_is_one_for_one_sided_flow_and_small_for_balanced_and_splits_trades_at_the_edge() -> None:
    count = 200
    flow = Trades(np.arange(count), np.full(count, 100.0), np.full(count, 3.0), np.zeros(count, dtype=int))
    _, one_sided = vpin(flow, np.ones(count, dtype=int), bucket_volume=10.0, buckets=5)
    assert np.isnan(one_sided[:4]).all()
    np.testing.assert_allclose(one_sided[4:], 1.0)
    _, balanced = vpin(flow, np.where(np.arange(count) % 2, 1, -1), bucket_volume=12.0, buckets=5)
    np.testing.assert_allclose(balanced[4:], 0.0, atol=1e-9)
    times, _ = vpin(flow, np.ones(count, dtype=int), bucket_volume=10.0, buckets=5)
    np.testing.assert_array_equal(times[:3], [3, 6, 9])


def test_settings_that_make_no_sense_are_refused() -> None:
    made = trades([5], [101.0], [1])
    with pytest.raises(DataError, match="after"):
        realised_spread_bps(made, QUOTES, later_ns=0)
    with pytest.raises(DataError, match="windows"):
        kyle_lambda(np.ones(3), np.ones(3), window_bars=1, minimum=2)
    with pytest.raises(DataError, match="bucket"):
        vpin(made, np.ones(1, dtype=int), bucket_volume=0.0, buckets=1)


@pytest.mark.skipif(
    not LOBSTER.is_dir(),
    reason="needs real market data, no part of the project, in ../shared/data/lobster_2012-06-21",
)
def test_a_real_day_pays_about_the_quoted_spread_and_moves_the_price() -> None:
    message = pl.read_csv(LOBSTER / "AMZN_message_1.csv.gz", has_header=False).to_numpy()
    levels = pl.read_csv(LOBSTER / "AMZN_orderbook_1.csv.gz", has_header=False).to_numpy() / 1e4
    ts_ns = np.rint(message[:, 0] * 1e9).astype(np.int64)
    quotes = Quotes(ts_ns, levels[:, 2], levels[:, 0])
    visible = message[:, 1] == 4
    made = Trades(ts_ns[visible], message[visible, 4] / 1e4, message[visible, 3], -message[visible, 5].astype(int))
    quoted = 1e4 * (quotes.ask - quotes.bid) / (0.5 * (quotes.ask + quotes.bid))
    effective = effective_spread_bps(made, quotes)
    realised = realised_spread_bps(made, quotes)
    assert 0.2 < np.nanmean(effective) / quoted.mean() < 1.2
    assert np.nanmean(realised) < np.nanmean(effective), "trades move the price against the maker"
    guessed = trade_signs(Trades(made.ts_ns, made.price, made.size, np.zeros(made.size.size, dtype=int)), quotes)
    assert (guessed == made.side).mean() > 0.85
