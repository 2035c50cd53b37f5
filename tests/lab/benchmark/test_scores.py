"""Claims about what is said of a data set: errors, the rule of the default, the state's share, the targets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hansa.errors import ModelError
from hansa.lab.benchmark.cell import Cell, Outcome
from hansa.lab.benchmark.gather import gather, newcomers
from hansa.lab.benchmark.scores import SHIPPED_ARM, default, score, state_share
from hansa.lab.benchmark.targets import noise_of_cuts, targets

BARS = 400


def outcome(seed: int, **deviations: float) -> Outcome:
    rng = np.random.default_rng(seed)
    errors = {arm: (size * rng.standard_normal((3, BARS))).astype(np.float32) for arm, size in deviations.items()}
    return Outcome(errors, np.arange(BARS) // 10, ("a", "a", "b"), ("x", "y", "z"), {"stale": 1})


def outcomes(state: float = 0.5, har: float = 0.9) -> dict[Cell, Outcome]:
    found = {}
    for fold in range(2):
        found[Cell("alone", "djia_daily", fold, 2, 1)] = outcome(
            fold, local=1.0, local_public=0.9, local_public_state=0.8, centralised=0.45
        )
        for seed in (1, 2):
            found[Cell("federated", "djia_daily", fold, 2, seed, "8")] = outcome(
                10 * seed + fold, federated_state=state, federated_personal=0.95
            )
        found[Cell("rivals", "djia_daily", fold, 2, 1, "simple")] = outcome(50 + fold, har=har, last_value=2.0)
    return found


def test_folds_stand_in_a_row_and_seeds_are_averaged() -> None:
    losses = gather(outcomes(), "djia_daily")
    assert set(losses.by_arm) == {
        "local", "local_public", "local_public_state", "centralised", "federated_state|8", "federated_personal|8",
        "har", "last_value",
    }  # fmt: skip
    assert losses.by_arm["local"]["rmse"].shape == (3, 2 * BARS)
    assert np.unique(losses.blocks).size == 80, "no block spans two folds"
    cells = outcomes()
    one, other = (cells[Cell("federated", "djia_daily", 0, 2, seed, "8")].errors["federated_state"] for seed in (1, 2))
    wanted = (one.astype(np.float64) ** 2 + other.astype(np.float64) ** 2) / 2
    np.testing.assert_allclose(losses.by_arm["federated_state|8"]["rmse"][:, :BARS], wanted)
    with pytest.raises(ModelError, match="cells of bitcoin"):
        gather(cells, "bitcoin")


def test_a_document_says_who_is_better_and_by_how_much() -> None:
    found = score(gather(outcomes(), "djia_daily"), draws=200)
    assert found["ratios"]["federated_state|8"]["rmse"]["estimate"] == pytest.approx(0.5, abs=0.03)
    assert found["gap_closure"]["federated_state|8"]["rmse"]["estimate"] == pytest.approx(0.5 / 0.55, abs=0.05)
    assert found["diebold_mariano"]["federated_state|8"]["significantly_better"] == 3
    assert found["diebold_mariano"]["last_value"]["significantly_worse"] == 3
    assert found["confidence_set"]["last_value"] < 0.1
    assert found["default"]["model"] == SHIPPED_ARM
    assert found["per_member"]["federated_state|8"].keys() == {"a", "b"}
    assert found["state_channel"]["public_share"] == pytest.approx(0.2 / 0.5, abs=0.05)


def test_where_a_simpler_model_wins_it_is_the_default() -> None:
    found = score(gather(outcomes(state=0.9, har=0.4), "djia_daily"), draws=200)
    assert found["default"]["model"] == "har"
    assert not found["default"]["is_shipped_model"]
    assert default({"last_value": 0.2, "har": 1.0, SHIPPED_ARM: 0.05})["model"] == "last_value"
    assert default({"har": 1.0, SHIPPED_ARM: 0.1})["model"] == SHIPPED_ARM


def test_a_bar_that_one_arm_lacks_counts_for_none() -> None:
    cells = outcomes()
    bad = Cell("rivals", "djia_daily", 0, 2, 1, "simple")
    cells[bad].errors["har"][0] = np.nan
    found = score(gather(cells, "djia_daily"), draws=50)
    assert found["series"] == 3, "the other fold has bars enough"
    cells[Cell("rivals", "djia_daily", 1, 2, 1, "simple")].errors["har"][0] = np.nan
    assert score(gather(cells, "djia_daily"), draws=50)["series"] == 2


def test_the_share_of_public_data_is_said_only_of_a_gain() -> None:
    errors = {"local": 1.0, "local_public": 0.7, "local_public_state": 0.8, SHIPPED_ARM: 0.5}
    assert state_share(errors)["public_share"] == pytest.approx(0.6)
    assert state_share({**errors, SHIPPED_ARM: 1.1})["public_share"] is None


def test_newcomers_are_gathered_each_from_its_own_cell() -> None:
    cells = {}
    for place, member in enumerate(("a", "b")):
        one = outcome(place, local=1.0, federated_weights=0.5)
        for error in one.errors.values():
            error[[name != member for name in one.members]] = np.nan
        cells[Cell("newcomer", "djia_daily", 0, 1, 1, "8", newcomer=member)] = one
    found = newcomers(cells, "djia_daily")
    assert found is not None
    assert np.isfinite(found.by_arm["federated_weights|8"]["rmse"]).all()
    assert set(found.by_arm) == {"local", "federated_weights|8"}
    assert newcomers({}, "djia_daily") is None


def test_the_noise_of_a_cut_lies_between_the_rows_of_the_sweep() -> None:
    rows = [{"factor": factor, "cut": cut} for factor, cut in ((0.5, 0.2), (1.0, 0.28), (2.0, 0.4))]
    found = noise_of_cuts(rows)
    assert found["0.25"] == pytest.approx(0.5 * 2 ** (5 / 8))
    assert found["0.37"] == pytest.approx(2 ** (9 / 12))
    assert noise_of_cuts(rows[:1])["0.25"] is None
    quiet = [{**row, "cut_without_noise": row["cut"] + 0.05} for row in rows]
    assert noise_of_cuts(quiet, "cut_without_noise")["0.25"] == pytest.approx(0.5)
    assert noise_of_cuts([{"factor": 0.1, "cut": 0.0}, *quiet], "cut_without_noise")["0.25"] == pytest.approx(0.5)


def test_a_target_is_missed_where_it_is_missed() -> None:
    shared: dict[str, Any] = {
        "default": {"model": SHIPPED_ARM, "in_the_set": [SHIPPED_ARM]},
        "per_member": {SHIPPED_ARM: {"a": {"rmse": 0.6}, "b": {"rmse": 1.01}}},
        "ratios": {
            SHIPPED_ARM: {"rmse": {"estimate": 0.76}, "mape": {"estimate": 0.69}},
            "federated_state|none": {"rmse": {"estimate": 0.75}},
            "centralised": {"rmse": {"estimate": 0.74}, "mape": {"estimate": 0.68}},
            "federated_state|4 a client-day": {"rmse": {"estimate": 0.779}},
        },
    }
    rows = targets({"stablecoins": shared}, None, [])
    assert rows[0]["found"] == "0.760 (centralised, no noise: 0.740)"
    verdicts = {row["target"]: row["verdict"] for row in rows}
    assert verdicts == {
        "mean RMSE ratio federated / local, epsilon 8": "MISSED",
        "mean MAPE ratio federated / local, epsilon 8": "MET",
        "RMSE ratio of each member": "MISSED",
        "RMSE ratio more at epsilon 4 a client-day than without noise": "MET",
        "RMSE ratio more at epsilon 4 a client-day than at 8": "MET",
        "the default is in the 90 % confidence set": "MET",
    }


def test_a_default_outside_its_set_is_a_miss_and_so_is_a_band_that_does_not_cover() -> None:
    one: dict[str, Any] = {
        "default": {"model": "har", "in_the_set": [SHIPPED_ARM]},
        "ratios": {"har": {"rmse": {"estimate": 0.9}}},
        "coverage": {"calibrated": 0.87, "forecasts": 1200, "is_met": False},
    }
    found = {row["target"]: (row["verdict"], row["found"]) for row in targets({"fx_hourly": one}, None, [])}
    assert found == {
        "the default is in the 90 % confidence set": ("MISSED", "har, RMSE ratio 0.900"),
        "outcomes in the 5 to 95 % band, out of sample": ("MISSED", "87.0% of 1,200"),
    }


def test_futures_are_counted_by_the_length_of_their_history() -> None:
    series = {
        name: {"statistic": statistic, "p_value": 0.01, "bars": bars}
        for name, statistic, bars in (("a", -3.0, 100), ("b", -2.5, 200), ("c", 2.5, 900))
    }
    tests = {"of": 3, "better": 2, "significantly_better": 2, "significantly_worse": 1, "by_series": series}
    one = {
        "default": {"model": "har", "in_the_set": ["har"]},
        "ratios": {"har": {"rmse": {"estimate": 0.9}}},
        "diebold_mariano": {"federated_personal|8": tests},
    }
    rows = {row["target"]: row for row in targets({"china_futures": one}, None, [])}
    row = rows["markets significantly below it (5 %, Diebold-Mariano), epsilon 8"]
    assert row["found"] == "67% (2 of 3): 2 of 2 with at most 200, 0 of 1 with more than 200 bars scored"
    assert row["verdict"] == "MISSED"


def test_gap_closure_at_four_a_year_is_wanted_and_with_the_state_at_four_too_is_printed() -> None:
    closed = {"mape": {"estimate": 0.85}, "rmse": {"estimate": 0.75}}
    one: dict[str, Any] = {
        "default": {"model": "har", "in_the_set": ["har"]},
        "ratios": {
            "har": {"rmse": {"estimate": 0.9}},
            SHIPPED_ARM: {"mape": {"estimate": 0.7, "low": 0.65, "high": 0.76}},
        },
        "gap_closure": {"federated_state|4 a year": closed, "federated_state|4": closed},
    }
    sweep = [{"factor": factor, "cut": cut, "cut_without_noise": 0.4} for factor, cut in ((0.5, 0.2), (1.0, 0.3))]
    rows = {row["target"]: row["verdict"] for row in targets({"simulated": one}, None, sweep)}
    assert rows["lower bound of that interval"] == "MISSED"
    strict = "yearly budget at epsilon 4 (state channel at 8 a client-day)"
    assert rows[f"gap closure in MAPE, {strict}"] == "MET"
    assert rows[f"gap closure in RMSE, {strict}"] == "MISSED"
    assert rows["gap closure in RMSE, yearly budget and state channel both at epsilon 4"] == "PRINTED"
    assert rows["view noise (times the calibrated) at a cut of 25, 30, 37 %, no noise"] == "PRINTED"
