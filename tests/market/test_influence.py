"""Claims about the cap on one client's influence: proved on bars made from trades, whatever the client does."""

from __future__ import annotations

import math
from itertools import combinations
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hansa.errors import DataError
from hansa.federation.views import views_of
from hansa.governance.constitution import Market
from hansa.market.calendar import resample
from hansa.market.influence import InfluenceRule, extended_log_range, rule_of
from hansa.market.measures import compute, influences, provenance
from hansa.market.readers.ticks import Caps, Depth, Quotes, Trades, bars_from_ticks
from hansa.market.schema import conform

BAR_NS = 300_000_000_000
BARS = 6
CAP = 0.02
TRADED = ("log_volume", "log_range", "log_impact")
MARKET = Market(
    bar_seconds=300, baskets={"eur": ("EUR-USD",)}, measures=(*TRADED, "log_spread", "log_depth"), cost="log_spread",
    volume_unit=1.0, weight_cap=0.5, influence_cap=CAP, history_days=3,
)  # fmt: skip
OF_TRADES = msgspec.structs.replace(MARKET, measures=TRADED, cost="log_impact")
BOUNDS = {
    "house": {"log_volume": CAP, "log_range": 0.0, "log_impact": CAP / 2, "log_spread": 0.0, "log_depth": 0.0},
    "clients": {"log_volume": CAP, "log_range": CAP / 2, "log_impact": CAP, "log_spread": None, "log_depth": None},
}

sizes = st.floats(1e-3, 1e9)
prices = st.floats(0.5, 2.0)
moments = st.integers(1, BARS * BAR_NS)
tape = st.lists(st.tuples(moments, prices, sizes, st.sampled_from([-1, 1])), max_size=12)
crowd = st.lists(tape, max_size=8)
references = st.tuples(st.sampled_from([1.0, 1e4, 1e8]), st.sampled_from([1e-6, 1e-4, 1e-1]))


def frame_of(clients: list[Any], quotes: Any, caps: Caps | None, *, named: bool = True) -> pl.DataFrame:
    rows = sorted((row, place) for place, trades in enumerate(clients) for row in trades)
    columns = [np.array([row[k] for row, _ in rows]) for k in range(4)]
    numbers = np.array([place for _, place in rows], dtype=np.int64)
    trades = Trades(
        columns[0].astype(np.int64), columns[1].astype(float), columns[2].astype(float), columns[3].astype(np.int64),
        numbers if named else None,
    )  # fmt: skip
    stamps = np.array([row[0] for row in quotes], dtype=np.int64)
    bid, ask, depth = (np.array([row[k] for row in quotes], dtype=float) for k in (1, 2, 3))
    return bars_from_ticks(
        Quotes(stamps, bid, ask), Depth(stamps, depth), trades, market="EUR-USD", venue="north", bar_ns=BAR_NS,
        caps=caps,
    )  # fmt: skip


def on_grid(clients: list[Any], quotes: Any, caps: Caps, market: Market) -> np.ndarray:
    """The member's own statistic: measures of all bars, those before and after the client's too."""
    view = views_of([frame_of(clients, quotes, caps)], market).combined("eur", slice(0, BARS))
    assert view is not None
    assert view.measures.shape[0] == BARS
    return np.column_stack([view.measures, np.log(view.quote_volume)])


QUOTES = [(1, 0.99, 1.01, 1e6), (BAR_NS * 3 // 2, 1.0, 1.03, 2e6), (BAR_NS * 5 + 7, 1.2, 1.21, 3e6)]
ENDS = [(1, 1.0, 5.0, 1), (BARS * BAR_NS, 1.1, 5.0, -1)]  # another client's trades, so that the grids are one


@settings(max_examples=120, deadline=None)
@given(others=crowd, one=tape, instead=tape, reference=references)
def test_a_clients_whole_day_moves_each_measure_by_its_bound_where_quotes_are_the_houses(
    others: Any, one: Any, instead: Any, reference: Any
) -> None:
    caps = Caps(CAP, *reference, "house")
    bounds = [*BOUNDS["house"].values(), CAP]
    removed = on_grid([ENDS, *others], QUOTES, caps, MARKET)
    present = on_grid([ENDS, *others, one], QUOTES, caps, MARKET)
    replaced = on_grid([ENDS, *others, instead], QUOTES, caps, MARKET)
    for first, second in combinations((removed, present, replaced), 2):
        assert (np.abs(first - second).max(axis=0) <= np.array(bounds) + 1e-9).all()


@settings(max_examples=120, deadline=None)
@given(others=crowd, one=tape, instead=tape, reference=references)
def test_a_clients_whole_day_moves_each_measure_by_its_bound_where_quotes_are_clients_orders(
    others: Any, one: Any, instead: Any, reference: Any
) -> None:
    caps = Caps(CAP, *reference, "clients")
    bounds = [*(bound for bound in BOUNDS["clients"].values() if bound is not None), CAP]
    removed = on_grid([ENDS, *others], [], caps, OF_TRADES)
    present = on_grid([ENDS, *others, one], [], caps, OF_TRADES)
    replaced = on_grid([ENDS, *others, instead], [], caps, OF_TRADES)
    for first, second in combinations((removed, present, replaced), 2):
        assert (np.abs(first - second).max(axis=0) <= np.array(bounds) + 1e-9).all()


def test_without_a_cap_one_client_moves_the_measures_far_beyond_it() -> None:
    """The attack that the cap stops: a single large trade far from the others."""
    whale = [(BAR_NS // 2, 1.9, 1e7, 1)]
    small = [[(BAR_NS // 3 + place, 1.0, 1e3, 1)] for place in range(60)]
    for caps, far in ((None, True), (Caps(CAP, 1e5, 1e-4, "clients"), False)):
        moved = []
        for crowd_there in ([ENDS, *small], [ENDS, *small, whale]):
            found = compute(frame_of(crowd_there, [], caps), TRADED)
            moved.append(found.select(TRADED).to_numpy()[0])
        jump = np.abs(moved[1] - moved[0])
        assert (jump > 3 * CAP).all() if far else (jump <= CAP + 1e-9).all()


def test_a_bar_without_trades_and_a_bar_that_is_not_there_are_the_references() -> None:
    caps = Caps(CAP, 1e5, 1e-3, "house")
    view = views_of([frame_of([ENDS], QUOTES, caps)], MARKET).combined("eur", slice(0, BARS))
    assert view is not None
    volume, price_range, impact = view.measures[:, :3].T
    assert volume[2] == pytest.approx(math.log(1e5))
    assert price_range[2] == pytest.approx(math.log(1e-3))
    assert impact[2] == pytest.approx(math.log(1e-3) - math.log(1e5) / 2)


def test_many_small_clients_are_counted_in_full_and_few_hardly_move_a_bar() -> None:
    caps = Caps(CAP, 1e6, 1e-4, "clients")
    crowd_there = [[(1 + place, 1.0, 1e4, 1)] for place in range(500)]
    full = frame_of(crowd_there, [], caps)["capped_volume"][0]
    assert full == pytest.approx(1e6 + 500 * 1e4)
    few = frame_of([[(1 + place, 1.0, 1e9, 1)] for place in range(10)], [], caps)["capped_volume"][0]
    assert 0 < math.log(few / 1e6) <= 10 * CAP


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(st.floats(-1, 1), st.floats(0, 0.5)), min_size=1, max_size=7),
    st.sampled_from([1e-4, 0.1]),
    st.sampled_from([0.01, 0.3]),
)
def test_the_extended_range_is_the_least_over_all_sets_of_clients(clients: Any, floor: float, step: float) -> None:
    low = np.array([place for place, _ in clients])
    high = low + np.array([width for _, width in clients])
    least = math.log(floor) + step * len(clients)
    for size in range(1, len(clients) + 1):
        for kept in combinations(range(len(clients)), size):
            chosen = list(kept)
            spread = high[chosen].max() - low[chosen].min()
            least = min(least, math.log(floor + spread) + step * (len(clients) - size))
    assert extended_log_range(low, high, floor=floor, step=step) == pytest.approx(least, abs=1e-12)


@pytest.mark.parametrize(("quotes", "named"), [("house", True), ("clients", True), ("clients", False)])
def test_bars_say_whose_influence_is_capped_and_on_which_measures(quotes: Any, *, named: bool) -> None:
    frame = frame_of([ENDS], QUOTES, Caps(CAP, 1e5, 1e-3, quotes), named=named)
    rule = rule_of(frame)
    assert rule is not None
    assert (rule.unit, rule.quotes) == ("client" if named else "trade", quotes)
    assert influences(frame, MARKET.measures) == BOUNDS[quotes]
    assert influences(frame, ["amihud"]) == {"amihud": None}
    assert provenance(frame, ["log_impact"]) == {"log_impact": "capped range over root capped volume"}


def test_bars_without_a_rule_are_not_capped_and_a_mixture_neither() -> None:
    plain = frame_of([ENDS], QUOTES, None)
    assert influences(plain, MARKET.measures) == dict.fromkeys(MARKET.measures)
    view = views_of([plain], MARKET)
    assert view.influence("eur") is None
    capped = frame_of([ENDS], QUOTES, Caps(CAP, 1e5, 1e-3, "house"))
    mixed = pl.concat([capped.head(2), plain.tail(2)])
    assert rule_of(mixed) is None
    assert views_of([mixed], MARKET).influence("eur") is None


def test_a_cap_wider_than_the_constitutions_is_no_cap() -> None:
    frame = frame_of([ENDS], QUOTES, Caps(2 * CAP, 1e5, 1e-3, "house"))
    assert views_of([frame], MARKET).influence("eur") is None
    wider = msgspec.structs.replace(MARKET, influence_cap=2 * CAP)
    assert views_of([frame], wider).influence("eur") is not None


def test_capped_bars_of_another_length_lose_their_rule() -> None:
    frame = frame_of([ENDS], QUOTES, Caps(CAP, 1e5, 1e-3, "house"))
    assert resample(frame, BAR_NS).equals(frame)
    coarse = resample(frame, 2 * BAR_NS)
    assert rule_of(coarse) is None


@pytest.mark.parametrize(
    "text", ["client 0.02", "client x 1 1 house", "client 2 1 1 house", "nobody 0.02 1 1 house", "client 0.02 1 1 all"]
)
def test_a_rule_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(DataError):
        InfluenceRule.parse(text)


def test_a_rule_is_read_back_as_it_was_written() -> None:
    rule = InfluenceRule(0.015, 1.5e6, 1.25e-4, "trade", "clients")
    assert InfluenceRule.parse(rule.text()) == rule


def test_capped_values_without_their_rule_are_refused() -> None:
    frame = frame_of([ENDS], QUOTES, Caps(CAP, 1e5, 1e-3, "house"))
    for fault in (
        frame.with_columns(influence=pl.lit(None, dtype=pl.String)),
        frame.with_columns(capped_volume=pl.lit(0.0)),
        frame.with_columns(capped_range=pl.lit(None, dtype=pl.Float64)),
    ):
        with pytest.raises(DataError, match="capped value"):
            conform(fault, source="test")
