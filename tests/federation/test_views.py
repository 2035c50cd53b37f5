"""Claims about a member's own view: gaps, weights, spans, and that nothing later changes anything earlier."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from hansa.errors import DataError, RefusedError
from hansa.federation.views import Influence, SeriesView, Views, load_views, require_bars, views_of
from hansa.governance.constitution import Market
from hansa.market.limit_lock import limit_locked
from hansa.market.readers.bars import read_bars
from hansa.market.schema import conform
from simulator import BAR_NS, DAY_NS

START = DAY_NS + BAR_NS
SHARED = Path(__file__).parents[3] / "shared" / "data"
MARKET = Market(
    bar_seconds=300, baskets={"eur": ("EUR-USD", "EUR-GBP"), "xau": ("XAU-USD",)},
    measures=("log_spread", "log_volume"), cost="log_spread", volume_unit=1.0, weight_cap=0.5, influence_cap=0.1,
    history_days=3,
)  # fmt: skip


def bars(
    places: list[int], *, market: str = "EUR-USD", venue: str = "north", spread: list[float | None] | None = None,
    volume: float = 10.0,
) -> pl.DataFrame:  # fmt: skip
    count = len(places)
    given = spread if spread is not None else [1.0 + 0.1 * place for place in range(count)]
    frame = pl.DataFrame(
        {
            "ts_ns": [START + place * BAR_NS for place in places],
            "market": [market] * count,
            "venue": [venue] * count,
            **dict.fromkeys(("open", "high", "low", "close"), [100.0] * count),
            "volume": [volume] * count,
            "spread_bps": pl.Series(given, dtype=pl.Float64),
        }
    )
    return conform(frame, source="test")


def spread_of(views: Views, basket: str = "eur", series: int = 0) -> list[float]:
    return (np.exp(views.series[basket][series].measures[:, 0]) - 0.1).round(9).tolist()


def test_a_missing_bar_carries_the_last_value_on_and_has_no_volume() -> None:
    views = views_of([bars([0, 1, 4], spread=[1.0, 2.0, 3.0])], MARKET)
    assert spread_of(views) == [1.0, 2.0, 2.0, 2.0, 3.0]
    assert views.series["eur"][0].quote_volume.tolist() == [1000.0, 1000.0, 0.0, 0.0, 1000.0]


def test_an_absent_value_of_a_bar_carries_the_last_value_on() -> None:
    assert spread_of(views_of([bars([0, 1, 2], spread=[1.0, None, 3.0])], MARKET)) == [1.0, 1.0, 3.0]


def test_before_the_first_bar_of_a_series_its_first_value_stands_in() -> None:
    early = bars([0, 1, 2, 3])
    late = bars([2, 3], market="XAU-USD", spread=[5.0, 6.0])
    views = views_of([early, late], MARKET)
    assert spread_of(views, "xau") == [5.0, 5.0, 5.0, 6.0]
    assert views.series["xau"][0].quote_volume.tolist() == [0.0, 0.0, 1000.0, 1000.0]
    assert (views.start_ns, views.bars, views.reach_ns) == (START, 4, START + 3 * BAR_NS)


def test_a_series_without_a_measure_is_refused_and_named() -> None:
    faulty = bars([0], market="XAU-USD", venue="riga", spread=[None])
    with pytest.raises(DataError, match="XAU-USD at riga: no bar has log_spread"):
        views_of([bars([0, 1]), faulty], MARKET)


def test_no_series_at_all_is_refused() -> None:
    with pytest.raises(DataError, match="at least one series"):
        views_of([], MARKET)


def test_a_basket_that_the_member_does_not_trade_is_absent() -> None:
    views = views_of([bars([0, 1])], MARKET)
    assert set(views.series) == {"eur"}
    assert views.combined("xau", slice(0, 2)) is None


def test_series_of_a_basket_weigh_by_their_quote_volume() -> None:
    heavy = bars([0, 1], spread=[1.0, 1.0], volume=30.0)
    light = bars([0, 1], market="EUR-GBP", spread=[4.0, 4.0], volume=10.0)
    found = views_of([heavy, light], MARKET).combined("eur", slice(0, 2))
    assert found is not None
    assert found.measures[:, 0] == pytest.approx([0.75 * np.log(1.1) + 0.25 * np.log(4.1)] * 2)
    assert found.quote_volume.tolist() == [4000.0, 4000.0]


def test_weights_come_from_the_given_rows_alone() -> None:
    one, other = np.zeros((4, 1)), np.ones((4, 1))
    first = SeriesView(one, np.array([3.0, 3.0, 0.0, 0.0]))
    second = SeriesView(other, np.array([1.0, 1.0, 100.0, 100.0]))
    found = Views(START, BAR_NS, 4, {"eur": (first, second)}).combined("eur", slice(0, 2))
    assert found is not None
    assert found.measures[:, 0].tolist() == [0.25] * 4


def test_series_without_any_volume_weigh_the_same() -> None:
    flat = np.zeros(2)
    pair = (SeriesView(np.zeros((2, 1)), flat), SeriesView(np.ones((2, 1)), flat))
    found = Views(START, BAR_NS, 2, {"eur": pair}).combined("eur", slice(0, 2))
    assert found is not None
    assert found.measures[:, 0].tolist() == [0.5, 0.5]


@pytest.mark.parametrize(("first", "last"), [(-1, 2), (0, 5), (3, 2), (9, 12)])
def test_a_span_outside_the_data_is_refused(first: int, last: int) -> None:
    views = views_of([bars([0, 1, 2, 3, 4])], MARKET)
    with pytest.raises(RefusedError, match="outside this member's data"):
        views.rows(START + first * BAR_NS, START + last * BAR_NS)


def test_a_span_gives_its_rows_with_both_ends() -> None:
    views = views_of([bars([0, 1, 2, 3, 4])], MARKET)
    assert views.rows(START + BAR_NS, START + 3 * BAR_NS) == slice(1, 4)
    assert views.rows(START, views.reach_ns) == slice(0, 5)
    assert views.stamps()[views.rows(START + BAR_NS, START + BAR_NS)].tolist() == [START + BAR_NS]
    assert views.slots().tolist() == [0, 1, 2, 3, 4]


def test_later_bars_never_change_earlier_rows() -> None:
    rng = np.random.default_rng(3)
    spread = rng.uniform(0.5, 2.0, 60).tolist()
    whole = views_of([bars(list(range(60)), spread=spread)], MARKET)
    for cut in (1, 20, 59):
        changed = spread[:cut] + rng.uniform(5.0, 9.0, 60 - cut).tolist()
        for frame in (bars(list(range(60)), spread=changed), bars(list(range(cut)), spread=spread[:cut])):
            early = views_of([frame], MARKET).series["eur"][0].measures[:cut]
            assert np.array_equal(early, whole.series["eur"][0].measures[:cut])


def test_files_of_a_folder_become_views_and_a_folder_without_is_refused(tmp_path: Path) -> None:
    bars([0, 1, 2]).write_parquet(tmp_path / "north_eurusd.parquet")
    assert spread_of(load_views(tmp_path, MARKET)) == [1.0, 1.1, 1.2]
    require_bars(tmp_path, MARKET)
    with pytest.raises(DataError, match="no file"):
        load_views(tmp_path / "..", MARKET)


@pytest.mark.parametrize("folder", ["absent", "."])
def test_a_member_without_bars_is_told_where_to_put_them(tmp_path: Path, folder: str) -> None:
    with pytest.raises(DataError, match=r"hansa market import.*hansa.toml"):
        require_bars(tmp_path / folder, MARKET)


def test_capped_series_weigh_the_same_whatever_is_traded_and_the_weakest_bound_holds() -> None:
    rules = {"EUR-USD": "client 0.1 1000.0 0.01 house", "EUR-GBP": "trade 0.05 1000.0 0.01 house"}
    heavy, light = (
        bars([0, 1], market=market, spread=[spread, spread], volume=volume).with_columns(
            capped_volume=pl.lit(1000.0 + volume), capped_range=pl.lit(0.02), influence=pl.lit(rules[market])
        )
        for market, spread, volume in (("EUR-USD", 1.0, 90.0), ("EUR-GBP", 4.0, 10.0))
    )
    views = views_of([heavy, light], MARKET)
    assert views.influence("eur") == Influence("trade", (0.0, 0.1))
    found = views.combined("eur", slice(0, 2))
    assert found is not None
    assert found.measures[:, 0] == pytest.approx([0.5 * np.log(1.1) + 0.5 * np.log(4.1)] * 2)
    assert found.quote_volume.tolist() == [2100.0, 2100.0]
    assert views_of([heavy, bars([0, 1], market="EUR-GBP")], MARKET).influence("eur") is None
    assert views.influence("xau") is None


def test_a_bar_locked_at_its_limit_reads_as_the_worst_of_late_and_never_as_calm() -> None:
    rng = np.random.default_rng(0)
    close = np.append(100 * np.exp(0.002 * rng.standard_normal(40)), 92.0)
    span = np.append(0.003 + 0.002 * rng.random(40), 0.0)
    frame = pl.DataFrame(
        {
            "ts_ns": [START + place * BAR_NS for place in range(41)],
            "market": ["EUR-USD"] * 41,
            "venue": ["north"] * 41,
            "open": close,
            "high": close * (1 + span),
            "low": close * (1 - span),
            "close": close,
            "volume": np.append(np.full(40, 1e4), 50.0),
        }
    )
    market = Market(
        bar_seconds=300, baskets={"eur": ("EUR-USD",)}, measures=("log_volume", "log_range", "log_impact"),
        cost="log_impact", volume_unit=1.0, weight_cap=0.5, influence_cap=0.1, history_days=3,
    )  # fmt: skip
    seen = views_of([conform(frame, source="test")], market).series["eur"][0].measures
    for column in (1, 2):
        assert seen[40, column] == seen[20:40, column].max()
    assert seen[40, 0] < seen[:40, 0].min(), "the volume says what happened"


@pytest.mark.skipif(
    not SHARED.is_dir(),
    reason="needs real market data, no part of the project, in ../shared/data/china_futures_daily",
)
def test_real_locked_futures_score_as_stress() -> None:
    path = SHARED / "china_futures_daily" / "china_futures_2017_2021.parquet"
    silver = read_bars(path, market="AG-CNY", venue="shfe", bar_ns=DAY_NS, asset="AG_silver")
    market = Market(
        bar_seconds=86_400, baskets={"ag": ("AG-CNY",)}, measures=("log_volume", "log_range", "log_impact"),
        cost="log_impact", volume_unit=1.0, weight_cap=0.5, influence_cap=0.1, history_days=300,
    )  # fmt: skip
    views = views_of([silver], market)
    place = (silver["ts_ns"].to_numpy() - views.start_ns) // DAY_NS
    locked = place[limit_locked(silver).to_numpy()]
    measures = views.series["ag"][0].measures
    assert locked.size > 0
    for bar in locked:
        before = measures[max(0, bar - 60) : bar]
        assert (measures[bar, 1:] > np.median(before[:, 1:], axis=0)).all(), bar
