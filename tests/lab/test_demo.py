"""Claims about the demo's stage, outcome and alerts; the whole demo is the acceptance's."""

from __future__ import annotations

import numpy as np
import pytest

from hansa.crypto.signature import SigningKey
from hansa.federation.views import views_of
from hansa.lab.assessment import Bench
from hansa.lab.demo import MEASURES, TRAIN_DAYS, Stage, alert_table, levelled, rehearsed, stage
from hansa.lab.twins import START_NS

BAR_NS = 300_000_000_000


@pytest.fixture(scope="module")
def scene() -> Stage:
    return stage(3, members=3)


@pytest.fixture(scope="module")
def bench(scene: Stage) -> Bench:
    keys = {name: SigningKey.from_bytes(name.encode().ljust(32)).public for name in scene.scenario.names}
    rules = scene.constitution(keys, SigningKey.from_bytes(b"hub".ljust(32)).public, steps=0)
    views = {name: views_of(scene.series(name), rules.market) for name in scene.scenario.names}
    return Bench(rules, views, START_NS + BAR_NS, scene.scenario.days * 288, TRAIN_DAYS * 288)


def test_training_ends_with_a_whole_day_and_the_channel_with_the_data(scene: Stage) -> None:
    assert scene.span.as_of_ns == START_NS + TRAIN_DAYS * 288 * BAR_NS
    assert scene.span.until_ns == START_NS + scene.scenario.days * 288 * BAR_NS


def test_a_member_gets_its_own_series_alone(scene: Stage) -> None:
    for name in scene.scenario.names:
        series = scene.series(name)
        assert [frame["market"].unique().to_list() for frame in series] == [[one] for one in scene.scenario.markets]
        assert all(frame["venue"].unique().to_list() == [name] for frame in series)


def test_the_outcome_is_the_truth_moved_by_a_constant_that_training_alone_sets(scene: Stage, bench: Bench) -> None:
    truth = scene.truth()
    moved = levelled(bench, truth) - truth[: bench.bars]
    assert moved == pytest.approx(np.broadcast_to(moved[0], moved.shape))
    exact = bench.exact_state()[: bench.train_bars, :, MEASURES.index("log_spread")]
    assert moved[0] == pytest.approx((exact - truth[: bench.train_bars]).mean(axis=0))
    later = truth.copy()
    later[bench.train_bars :] += 1.0
    assert levelled(bench, later)[: bench.train_bars] == pytest.approx(levelled(bench, truth)[: bench.train_bars])


def test_alerts_are_scored_for_each_market_against_its_own_onsets(scene: Stage, bench: Bench) -> None:
    stamps = bench.stamps()
    values = np.random.default_rng(1).uniform(0, 60, stamps.size)
    market = scene.scenario.markets[0]
    onsets = scene.twin.onsets.filter(scene.twin.onsets["market"] == market)["ts_ns"].sort().to_list()
    tested = [one for one in onsets if one > stamps[bench.train_bars]]
    values[np.searchsorted(stamps, tested)] = 99.0
    index = {market: {"ts_ns": stamps.tolist(), "value": values.tolist()}}
    table = alert_table({"lsi": index}, bench.views, scene, bench)
    assert set(table) == set(scene.scenario.markets)
    assert table[market]["onsets_ns"] == onsets
    found = table[market]["lsi"]
    assert isinstance(found, dict)
    assert found["misses"] == 0
    silent = table[scene.scenario.markets[1]]["lsi"]
    assert isinstance(silent, dict)
    assert set(silent) == {"reason"}


@pytest.mark.slow
def test_a_rehearsed_seed_gains() -> None:
    found = rehearsed(1, members=3)
    ratios, errors = found["ratios"], found["errors"]
    assert ratios["local"]["mape"] == pytest.approx(1.0)
    assert 0.3 < ratios["federated_state"]["mape"] < 0.95
    assert 0 < errors["federated_state"]["mape"] < errors["local"]["mape"]
