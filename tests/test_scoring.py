"""Claims about scoring without a federation: point in time, the same numbers as the artefact's, clear refusals."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest

import hansa
from hansa.errors import DataError, ModelError
from hansa.lab.twins import Scenario, simulate
from hansa.model.artefact import Arrays, Artefact, Schema
from hansa.model.conformal import DEFAULT_RULE
from hansa.model.design import Design
from hansa.scoring import COLUMNS

if TYPE_CHECKING:
    from pathlib import Path

NS = 1_000_000_000
BASKETS = ("EUR-USD", "XAU-USD")
MEASURES = ("log_spread", "log_depth")
TWIN = simulate(Scenario(seed=2, members=2, days=8, bar_ns=3600 * NS, markets=BASKETS))
BARS = TWIN.bars["lubeck"]
EVERYBODY = pl.concat(TWIN.bars.values())


def artefact(*, is_scaled: bool = True) -> Artefact:
    design = Design(neighbours=True, lags=(1, 3), slots_per_day=24)
    schema = Schema(baskets=BASKETS, measures=MEASURES, cost="log_spread", design=design, rounds=("ab" * 32,))
    size = len(schema.features)
    rng = np.random.default_rng(0)
    found = Artefact(
        schema,
        Arrays(
            core=0.1 * rng.standard_normal((2, size)),
            column_mean=np.zeros((2, size)),
            column_deviation=np.ones((2, size)),
            label_mean=np.array([0.1, 0.7]),
            label_deviation=np.array([0.3, 0.4]),
            spread=np.tile([-1.6, -0.6, 0.0, 0.6, 1.6], (2, 1)),
            gate=np.zeros(2),
            heads=np.zeros(2),
            spillover=np.array([[0.0, 1.0], [1.0, 0.0]]),
            network=np.zeros(0),
        ),
    )
    return found if is_scaled else found.published()


@pytest.fixture
def model(tmp_path: Path) -> hansa.Model:
    artefact().save(tmp_path / "model")
    return hansa.load_model(tmp_path / "model")


def test_a_forecast_is_the_artefacts_own(model: hansa.Model) -> None:
    found = model.forecast(BARS, calibrate=False)
    assert found.columns == ["ts_ns", "for_ns", "basket", *COLUMNS]
    assert COLUMNS == ("q05", "q25", "q50", "q75", "q95")
    gold = found.filter(pl.col("basket") == "XAU-USD")
    frames = {name: BARS.filter(pl.col("market") == name) for name in BASKETS}
    own = np.stack(
        [
            np.column_stack([np.log(frame["spread_bps"] + 0.1), np.log(frame["depth_quote"])])
            for frame in frames.values()
        ],
        axis=1,
    )
    slot = np.arange(own.shape[0]) % 24
    np.testing.assert_allclose(gold.select(COLUMNS).to_numpy(), model.artefact.predict(own, own, slot)[:, 1])
    assert ((gold["for_ns"] - gold["ts_ns"]) == 3600 * NS).all()
    assert gold["ts_ns"].to_list() == frames["XAU-USD"]["ts_ns"].to_list()


def test_a_frames_own_outcomes_calibrate_the_band(model: hansa.Model) -> None:
    rows = BARS.select("ts_ns", pl.col("market").alias("basket"), (pl.col("spread_bps") + 0.1).log().alias("actual"))
    is_late = pl.int_range(pl.len()).over("basket") >= DEFAULT_RULE.minimum + 2
    late = {
        calibrate: model.forecast(BARS, calibrate=calibrate)
        .join(rows, left_on=["for_ns", "basket"], right_on=["ts_ns", "basket"])
        .filter(is_late)
        for calibrate in (True, False)
    }
    inside = pl.col("actual").is_between("q05", "q95").mean()
    calibrated, plain = (frame.select(inside).item() for frame in late.values())
    assert abs(calibrated - 0.9) < min(abs(plain - 0.9), 0.04)
    assert not late[True].select(COLUMNS).equals(late[False].select(COLUMNS))


def test_bars_after_the_end_of_a_state_teach_nothing(model: hansa.Model) -> None:
    cut = int(BARS["ts_ns"].quantile(0.7) or 0)
    state = EVERYBODY.filter(pl.col("ts_ns") <= cut)
    found = model.forecast(BARS, state=state)
    plain = model.forecast(BARS, state=state, calibrate=False)
    after = pl.col("ts_ns") > cut
    moved = [frame.filter(after).select(pl.col("q95") - pl.col("q05"), "basket") for frame in (found, plain)]
    ratio = (moved[0]["q95"] / moved[1]["q95"]).to_numpy()
    for basket in BASKETS:  # the shift stays what it was at the last known outcome
        assert np.ptp(ratio[(moved[0]["basket"] == basket).to_numpy()]) < 1e-9


def test_no_row_looks_ahead(model: hansa.Model) -> None:
    cut = int(BARS["ts_ns"].quantile(0.6) or 0)
    later = pl.col("ts_ns") > cut
    changed = BARS.with_columns(
        pl.when(later).then(pl.col("spread_bps") * 5).otherwise(pl.col("spread_bps")).alias("spread_bps")
    )
    one, other = model.forecast(BARS), model.forecast(changed)
    assert one.filter(~later).equals(other.filter(~later))
    assert not one.filter(later).equals(other.filter(later))
    assert hansa.lsi(BARS).filter(~later).equals(hansa.lsi(changed).filter(~later))


def test_a_published_state_changes_the_forecast_and_may_be_longer(model: hansa.Model) -> None:
    recent = BARS.filter(pl.col("ts_ns") > BARS["ts_ns"].min() + 48 * 3600 * NS)
    with_state = model.forecast(recent, state=EVERYBODY)
    assert with_state.height == model.forecast(recent).height
    assert not with_state.equals(model.forecast(recent))
    with pytest.raises(DataError, match="begins no later"):
        model.forecast(EVERYBODY.filter(pl.col("venue") == "hamburg"), state=recent)


def test_a_shared_model_asks_for_a_history_first() -> None:
    shared = hansa.Model(artefact(is_scaled=False))
    with pytest.raises(ModelError, match="scaler"):
        shared.forecast(BARS)
    history = BARS.filter(pl.col("ts_ns") <= int(BARS["ts_ns"].quantile(0.5) or 0))
    found = shared.fitted_to(history).forecast(BARS)
    assert found.select(pl.col(COLUMNS).is_finite().all()).to_numpy().all()


def test_baskets_of_several_markets_are_named_by_the_caller(model: hansa.Model) -> None:
    renamed = BARS.with_columns(pl.col("market").replace({"XAU-USD": "GOLD"}))
    with pytest.raises(DataError, match="none of XAU-USD; the frame has EUR-USD, GOLD"):
        model.forecast(renamed)
    named = {"EUR-USD": ["EUR-USD"], "XAU-USD": ["GOLD"]}
    assert model.forecast(renamed, baskets=named).equals(model.forecast(BARS))
    with pytest.raises(ModelError, match="markets for the baskets EUR-USD, XAU-USD"):
        model.forecast(BARS, baskets={"EUR-USD": ["EUR-USD"]})


def test_the_index_lies_between_its_ends_and_has_one_for_the_system() -> None:
    found = hansa.lsi(BARS)
    assert set(found["basket"]) == {*BASKETS, "system"}
    known = found.drop_nulls()
    assert known["lsi"].is_between(0, 100).all()
    assert 0 < known.height < found.height


def test_the_index_of_stress_is_higher() -> None:
    stressed = EVERYBODY.with_columns(
        pl.when((pl.col("ts_ns") > int(BARS["ts_ns"].quantile(0.9) or 0)) & (pl.col("market") == "XAU-USD"))
        .then(pl.col("spread_bps") * 4)
        .otherwise(pl.col("spread_bps"))
        .alias("spread_bps")
    )
    late = (pl.col("ts_ns") > int(BARS["ts_ns"].quantile(0.9) or 0)) & (pl.col("basket") == "XAU-USD")
    before, after = (
        hansa.lsi(frame, measures=["log_spread"]).filter(late)["lsi"].mean() for frame in (EVERYBODY, stressed)
    )
    assert isinstance(before, float)
    assert isinstance(after, float)
    assert after > before + 10


STAMPS = BARS["ts_ns"].unique().sort().to_list()
GAP = pl.col("ts_ns").is_between(STAMPS[150], STAMPS[157])
GOLD_GAP = GAP & (pl.col("market") == "XAU-USD")


def test_a_missing_bar_has_no_index_and_leaves_its_weight_to_the_other_baskets() -> None:
    found = hansa.lsi(BARS.filter(~GOLD_GAP))
    gold = found.filter(GAP & (pl.col("basket") == "XAU-USD"))
    assert gold.height == 8
    assert gold["lsi"].null_count() == 8
    rest = found.filter(GAP & (pl.col("basket") == "EUR-USD"))
    assert rest.equals(hansa.lsi(BARS).filter(GAP & (pl.col("basket") == "EUR-USD")))
    assert rest["lsi"].is_between(0, 100).all()
    assert found.filter(GAP & (pl.col("basket") == "system"))["lsi"].null_count() == 0
    before = found.filter(pl.col("ts_ns") < STAMPS[150])
    assert before.equals(hansa.lsi(BARS).filter(pl.col("ts_ns") < STAMPS[150]))


def test_a_null_measure_drops_out_of_the_index_of_its_bar() -> None:
    holed = BARS.with_columns(pl.when(~GOLD_GAP).then("spread_bps").alias("spread_bps"))
    alone = hansa.lsi(holed, measures=["log_spread"]).filter(GAP & (pl.col("basket") == "XAU-USD"))
    assert alone["lsi"].null_count() == alone.height == 8
    both = hansa.lsi(holed, measures=["log_spread", "log_depth"]).filter(GAP & (pl.col("basket") == "XAU-USD"))
    assert both["lsi"].null_count() == 0


def test_a_missing_bars_cost_is_no_outcome_to_learn_from(model: hansa.Model) -> None:
    late = BARS.filter(~GOLD_GAP)
    gold = pl.col("basket") == "XAU-USD"
    found, plain = (model.forecast(late, calibrate=each).filter(gold) for each in (True, False))
    inside = GAP & (pl.col("ts_ns") > STAMPS[150])
    shift = (found.filter(inside)["q95"] - plain.filter(inside)["q95"]).to_numpy()
    assert shift.size == 7
    assert np.ptp(shift) < 1e-9
    assert found.filter(GAP).select(pl.col(COLUMNS).is_finite().all()).to_numpy().all()


def test_nothing_is_forecast_before_the_first_bar_of_every_basket(model: hansa.Model) -> None:
    starts = STAMPS[60]
    late = BARS.filter((pl.col("market") == "EUR-USD") | (pl.col("ts_ns") >= starts))
    for options in ({}, {"state": late}, {"calibrate": False}):
        found = model.forecast(late, **options)  # type: ignore[arg-type]
        before, after = found.filter(pl.col("ts_ns") < starts), found.filter(pl.col("ts_ns") >= starts)
        assert before["q50"].null_count() == before.height == 120
        assert after.select(COLUMNS).null_count().sum_horizontal().item() == 0
    assert hansa.lsi(late).filter((pl.col("ts_ns") < starts) & (pl.col("basket") == "XAU-USD"))["lsi"].is_null().all()


@pytest.mark.parametrize("column", ["close", "volume", "signed_volume", "spread_bps", "impact_bps_per_mio", "trades"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_is_none_is_refused_with_its_row(model: hansa.Model, column: str, value: float) -> None:
    row = 7
    broken = BARS.with_columns(
        pl.when(pl.int_range(pl.len()) == row).then(value).otherwise(pl.col(column).cast(pl.Float64)).alias(column)
    )
    for score in (model.forecast, hansa.lsi):
        with pytest.raises(DataError, match=f"bars: row {row}: "):
            score(broken)


@pytest.mark.parametrize(
    ("frame", "options", "words"),
    [
        (BARS.head(0), {}, "empty frame"),
        (BARS, {"bar_seconds": 7}, "divides a day"),
        (
            BARS.select("ts_ns", "market", "venue", "open", "high", "low", "close"),
            {"measures": ["log_depth"]},
            "log_depth",
        ),
        (BARS, {"measures": ["depth"]}, "expected measures out of"),
    ],
)
def test_bars_that_give_no_index_are_refused(frame: pl.DataFrame, options: dict[str, object], words: str) -> None:
    with pytest.raises(DataError, match=words):
        hansa.lsi(frame, **options)  # type: ignore[arg-type]


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"model\.json"):
        hansa.load_model(tmp_path)
    with pytest.raises(AttributeError, match="load_model"):
        hansa.model_of  # type: ignore[attr-defined] # noqa: B018


def test_importing_hansa_loads_nothing_heavy_and_scoring_no_compiler() -> None:
    heavy = ("numpy", "polars", "jax", "scipy", "nats", "numba")
    script = (
        f"import sys, hansa; assert not set({heavy}) & set(sys.modules), 'import hansa'; "
        "hansa.load_model; assert 'numba' not in sys.modules and 'nats' not in sys.modules; assert 'lsi' in dir(hansa)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
