"""Claims about replays: tuned on training alone, through the noisy sum, and the truth printed either way."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

import hansa.lab.rehearsal
from hansa.cli import app
from hansa.errors import ConfigurationError, DataError
from hansa.federation.records import Records
from hansa.federation.watchtower import Watchtower
from hansa.lab.replay.channel import channel_of
from hansa.lab.replay.events import Event, cut, event_named, read_events
from hansa.lab.replay.rules import METHODS, Bench, outcome, warn
from hansa.lab.replay.run import replay
from hansa.lab.replay.scenes import scene_of
from hansa.lab.report.replay_picture import replay_picture
from hansa.market.calendar import NS_PER_DAY, NS_PER_HOUR
from hansa.model.warning_rules import STATE_RULES

SHARED = Path(__file__).parents[3] / "shared" / "data"
needs_data = pytest.mark.skipif(
    not (SHARED / "events.csv").is_file(),
    reason="needs real market data, no part of the project, in ../shared/data/events.csv",
)
MINUTE = 60_000_000_000
ONSET = 19_010 * NS_PER_DAY + 3 * NS_PER_HOUR
FIRST = 19_000 * NS_PER_DAY
VENUES = ("alpha_usdcusd", "beta_usdcusdt", "gamma_usdtusd", "delta_usdtusd")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four stablecoin venues by the minute; stress builds up in the last six hours before the onset."""
    folder = tmp_path_factory.mktemp("data")
    series = folder / "usdc_depeg_2023-03"
    series.mkdir()
    minutes = (ONSET + NS_PER_DAY // 4 - FIRST) // MINUTE
    times = FIRST + np.arange(minutes) * MINUTE
    stressed = (times > ONSET - 6 * NS_PER_HOUR) & (times <= ONSET)
    for place, name in enumerate(VENUES):
        rng = np.random.default_rng(place)
        span = 1e-4 * np.exp(0.4 * rng.standard_normal(minutes)) * np.where(stressed, 12.0, 1.0)
        close = 1 + 1e-4 * rng.standard_normal(minutes)
        pl.DataFrame(
            {
                "timestamp": pl.Series(times).cast(pl.Datetime("ns", "UTC")),
                "open": close,
                "high": close * (1 + span),
                "low": close * (1 - span),
                "close": close,
                "volume": 1e4 * np.exp(0.3 * rng.standard_normal(minutes)),
            }
        ).write_parquet(series / f"{name}.parquet")
    (folder / "events.csv").write_text(
        "event,time,fact,dataset\n"
        "made_up,2022-01-18T02:00Z,alpha usdcusd first wobble,usdc_depeg_2023-03\n"
        "made_up,2022-01-18T03:00Z,alpha usdcusd breaks (onset label),usdc_depeg_2023-03\n"
        "nowhere,2022-01-18T03:00Z,x,unknown_set\n"
    )
    return folder


def test_the_onset_is_the_row_that_says_so_and_windows_are_cut_at_midnights(data: Path) -> None:
    event = event_named(data, "made_up")
    assert event.onset_ns == ONSET
    windows = cut(ONSET, train_days=2, calm_days=7)
    assert (windows.train_ns, windows.calm_ns) == (FIRST, FIRST + 2 * NS_PER_DAY)
    assert windows.window_ns == FIRST + 9 * NS_PER_DAY


def test_stress_that_builds_up_is_hit_and_scored_beside_everybody_else(data: Path) -> None:
    found = replay(event_named(data, "made_up"), data, draws=3).document
    assert found["hit"]
    assert 4.0 < float(str(found["sustained_lead_hours"])) <= 6.1
    assert set(found["by_member"]) == {  # type: ignore[call-overload]
        "alpha-usdc-usd", "beta-usdc-usdt", "gamma-usdt-usd", "delta-usdt-usd"
    }  # fmt: skip
    assert {
        "hit", "lead_hours", "lead_chance", "false_alarms_per_day", "usefulness", "best_single_member",
        "volatility_rule", "random_alarms", "by_member", "onset", "first_alert", "method", "model_version",
    } <= set(found)  # fmt: skip
    assert json.loads(json.dumps(found)) == found
    assert float(str(found["lead_chance"])) > 0, "no lead is free of luck"


def test_what_comes_after_training_moves_no_limit_and_no_earlier_alarm(data: Path) -> None:
    scene = scene_of(event_named(data, "made_up"), data)
    channel = channel_of(scene)
    state = channel.published(1)
    bench = Bench.of(scene, channel)
    now = bench.train_bars + 500
    changed = state.copy()
    changed[now:] += 3.0
    for method in METHODS:
        before, after = (warn(one, bench, method, rate=1.0) for one in (state, changed))
        assert before.limit == after.limit, method
        np.testing.assert_array_equal(before.is_alarm[:now], after.is_alarm[:now])


@pytest.mark.parametrize("seed", [1, 2])
def test_a_member_that_lives_through_an_event_raises_the_alerts_that_its_replay_shows(data: Path, seed: int) -> None:
    scene = scene_of(event_named(data, "made_up"), data)
    channel = channel_of(scene)
    bench = Bench.of(scene, channel)
    facts = channel.facts(seed)
    state, records = facts.state, Records(":memory:")
    tower = Watchtower(facts, records)
    rng = np.random.default_rng(seed)
    looks = np.sort(rng.choice(np.arange(bench.train_bars + 1, len(state)), 25, replace=False)).tolist()
    for bars in [bench.train_bars - 9, *looks, len(state)]:  # as one bar, or a few at once, come to be known
        facts.state = state[:bars]
        tower.look()
    said = {rule: set[int]() for rule in STATE_RULES}
    for alert in records.alerts():
        if alert.rule in said:
            said[alert.rule].add(alert.ts_ns)
            assert alert.evidence["false_alerts_per_day"] == 1.0
    for rule in STATE_RULES:
        warned = warn(channel.published(seed), bench, rule, rate=1.0)
        after = warned.alerts[warned.alerts >= bench.train_bars]
        assert said[rule] == set(bench.stamps[after].tolist()), rule
        assert any(stamp > scene.windows.window_ns for stamp in said[rule]), "the event itself is warned of"


def test_the_state_goes_through_the_noisy_integer_sum(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    channel = channel_of(scene_of(event_named(data, "made_up"), data))
    one, same, other = (channel.published(seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)
    monkeypatch.setattr(hansa.lab.rehearsal, "sample", lambda _t, length, _s: np.zeros(length, dtype=np.int64))
    exact = channel.published(1)
    assert 0.02 < float(np.nanstd(one - exact)) < 1.0


def test_closed_markets_are_absent_and_never_calm(data: Path) -> None:
    scene = scene_of(event_named(data, "made_up"), data)
    hole = slice(ONSET - 2 * NS_PER_DAY, ONSET - NS_PER_DAY)
    shut = {
        name: [bars.filter((pl.col("ts_ns") <= hole.start) | (pl.col("ts_ns") > hole.stop)) for bars in series]
        for name, series in scene.members.items()
    }
    channel = channel_of(type(scene)(**{**{key: getattr(scene, key) for key in scene.__slots__}, "members": shut}))
    state = channel.published(1)
    inside = (channel.stamps > hole.start) & (channel.stamps <= hole.stop)
    assert np.isnan(state[inside]).all()
    assert np.isfinite(state[~inside]).all()
    warned = warn(state, Bench.of(scene, channel), "threshold", rate=1.0)
    assert not warned.is_alarm[inside].any()
    assert np.isnan(warned.score[inside]).all()


def test_a_rule_that_says_nothing_is_a_miss_with_its_chance_of_luck(data: Path) -> None:
    scene = scene_of(event_named(data, "made_up"), data)
    channel = channel_of(scene)
    bench = Bench.of(scene, channel)
    state = channel.published(1)
    warned = warn(state, bench, "threshold", rate=1.0)
    silent = type(warned)(warned.score, 99.0, np.zeros_like(warned.is_alarm), warned.alerts[:0])
    found = outcome(silent, bench, rate=1.0)
    assert (found["hit"], found["lead_hours"], found["first_alert"]) == (False, None, None)
    assert found["usefulness"] == pytest.approx(0.0)
    assert found["hit_chance"] == pytest.approx(1 - np.exp(-27 / 24), abs=1e-3)


def test_the_picture_shows_the_onset_and_escapes_names(data: Path) -> None:
    event = event_named(data, "made_up")
    drawn = str(replay_picture(replay(Event("a<b", event.dataset, event.onset_ns, event.fact), data, draws=1)))
    assert drawn.startswith("<svg")
    assert "a<b" not in drawn
    assert "a&lt;b" in drawn
    assert "onset, 2022-01-18 03:00 UTC" in drawn
    assert "nan" not in drawn


def test_the_command_prints_json_text_and_a_picture(data: Path, tmp_path: Path) -> None:
    run = CliRunner()
    chart = tmp_path / "made_up.svg"
    printed = run.invoke(
        app, ["replay", "made_up", "--data", str(data), "--draws", "1", "--json", "--chart", str(chart)]
    )
    assert printed.exit_code == 0, printed.output
    assert json.loads(printed.stdout)["event"] == "made_up"
    assert chart.read_text().startswith("<svg")
    shown = run.invoke(app, ["replay", "made_up", "--data", str(data), "--draws", "1"])
    assert "random alarms" in shown.stdout
    assert "not shown" in shown.stdout


def test_unknown_events_sets_rates_and_tables_are_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="made_up, nowhere"):
        event_named(data, "other")
    with pytest.raises(DataError, match="unknown_set"):
        scene_of(event_named(data, "nowhere"), data)
    with pytest.raises(ConfigurationError, match="rate"):
        replay(event_named(data, "made_up"), data, rate=-1.0)
    with pytest.raises(DataError, match="events"):
        read_events(tmp_path)
    (tmp_path / "events.csv").write_text("event,time\nx,y\n")
    with pytest.raises(DataError, match="columns"):
        read_events(tmp_path)
    (tmp_path / "events.csv").write_text("event,time,fact,dataset\nx,soon,f,d\n")
    with pytest.raises(DataError, match="row 0"):
        read_events(tmp_path)


@needs_data
def test_the_depeg_is_warned_of_ten_hours_ahead_at_two_false_alarm_bars_a_day_or_less() -> None:
    found = replay(event_named(SHARED, "usdc_depeg"), SHARED).document
    assert found["calm"] == {"from": "2023-03-03T00:00Z", "to": "2023-03-10T00:00Z"}
    assert found["hit"]
    assert float(str(found["lead_hours"])) >= 10
    assert float(str(found["false_alarms_per_day"])) <= 2
    draws = found["noise_draws"]
    assert isinstance(draws, dict)
    assert draws["share_with_10_hours_and_2_false_bars_a_day"] > 0.5


@needs_data
@pytest.mark.parametrize("name", ["snb", "may19"])
def test_the_state_stands_on_the_bars_of_its_members_where_series_begin_late(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel = channel_of(scene_of(event_named(SHARED, name), SHARED))
    monkeypatch.setattr(hansa.lab.rehearsal, "sample", lambda _t, length, _s: np.zeros(length, dtype=np.int64))
    state = channel.published(1)
    column = channel.constitution.market.measures.index("log_range")
    own = np.stack([one[: state.shape[0], column] for one in channel.own.values()])
    known = np.isfinite(state[:, column]) & np.isfinite(own).all(axis=0)
    mean = np.where(known, own.mean(axis=0), np.nan)
    together = np.corrcoef(state[known, column], mean[known])[0, 1]
    assert together > 0.9
    assert np.corrcoef(state[known, column][1:], mean[known][:-1])[0, 1] < together - 0.1


@needs_data
def test_the_real_events_have_hits_and_misses_and_both_are_printed() -> None:
    names = ("covid", "gbp_flash_crash")
    found = {name: replay(event_named(SHARED, name), SHARED, draws=3).document for name in names}
    assert {name: document["hit"] for name, document in found.items()} == {"covid": True, "gbp_flash_crash": False}
    assert float(str(found["covid"]["usefulness"])) < 0, "a hit among false alarms is worse than no warning"
