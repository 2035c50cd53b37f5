from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

from hansa.errors import ModelError
from hansa.model.artefact import Arrays, Artefact, Schema, residual_spread
from hansa.model.core import block_gram, member_rows, solve
from hansa.model.design import QUANTILES, Design, Inputs
from hansa.model.network import NetworkShape, initial_parameters, schema_hash

if TYPE_CHECKING:
    from pathlib import Path

BARS, SLOTS = 400, 24
DESIGN = Design(neighbours=True, lags=(1, 3), slots_per_day=SLOTS)
GENERATOR = np.random.default_rng(0)
OWN, STATE = GENERATOR.standard_normal((BARS, 2, 2)), GENERATOR.standard_normal((BARS, 2, 2))
SLOT = np.arange(BARS) % SLOTS
SPILLOVER = np.array([[0.0, 1.0], [1.0, 0.0]])
TRAIN = np.arange(24, 240)


def artefact(*, network: bool = False, gate: float = 1.0, heads: float = 1.0) -> Artefact:
    prepared = [
        member_rows(DESIGN, Inputs(SLOT, OWN[:, b], STATE[:, b], STATE[:, 1 - b, 1]), STATE[:, b, 1], TRAIN)
        for b in range(2)
    ]
    weights = [solve(block_gram(one.rows.take(TRAIN), clip=np.inf), ridge=0.1) for one in prepared]
    shape = NetworkShape(2, 5, 8, 4)
    vector = initial_parameters(shape, 0) + 0.1 * np.random.default_rng(1).standard_normal(
        initial_parameters(shape, 0).size
    )
    schema = Schema(
        baskets=("USDC-USD", "USDT-USD"),
        measures=("log_range", "log_impact"),
        cost="log_impact",
        design=DESIGN,
        rounds=("ab" * 32,),
        network=(8, 4) if network else None,
        network_hash=schema_hash(shape) if network else "",
    )
    spread = [
        residual_spread(p.rows.target[TRAIN], p.rows.regressors[TRAIN] @ w)
        for p, w in zip(prepared, weights, strict=True)
    ]
    return Artefact(
        schema,
        Arrays(
            core=np.stack(weights),
            column_mean=np.stack([one.columns.mean for one in prepared]),
            column_deviation=np.stack([one.columns.deviation for one in prepared]),
            label_mean=np.array([one.label.mean[0] for one in prepared]),
            label_deviation=np.array([one.label.deviation[0] for one in prepared]),
            spread=np.stack(spread),
            gate=np.full(2, gate),
            heads=np.full(2, heads),
            spillover=SPILLOVER,
            network=vector if network else np.zeros(0),
        ),
    )


def test_the_median_is_the_forecast_of_the_core() -> None:
    model = artefact()
    prepared = member_rows(DESIGN, Inputs(SLOT, OWN[:, 0], STATE[:, 0], STATE[:, 1, 1]), STATE[:, 0, 1], TRAIN)
    forecast = prepared.forecast(model.arrays.core[0])
    np.testing.assert_allclose(model.predict(OWN, STATE, SLOT)[:, 0, 2], forecast, rtol=1e-10)


@pytest.mark.parametrize("network", [False, True])
def test_what_is_loaded_forecasts_the_same_bytes(tmp_path: Path, *, network: bool) -> None:
    model = artefact(network=network)
    model.save(tmp_path / "model")
    loaded = Artefact.load(tmp_path / "model")
    assert loaded.schema == model.schema
    before, after = model.predict(OWN, STATE, SLOT), loaded.predict(OWN, STATE, SLOT)
    assert before.shape == (BARS, 2, len(QUANTILES))
    assert before.tobytes() == after.tobytes()
    assert (np.diff(after, axis=2) >= 0).all()
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == ["model.json", "model.safetensors"]


def test_a_shut_gate_leaves_the_core() -> None:
    shut = artefact(network=True, gate=0.0).predict(OWN, STATE, SLOT)[:, :, 2]
    np.testing.assert_allclose(shut, artefact().predict(OWN, STATE, SLOT)[:, :, 2], rtol=1e-6)
    assert np.abs(artefact(network=True).predict(OWN, STATE, SLOT)[:, :, 2] - shut).max() > 1e-3


def test_heads_that_are_not_used_leave_the_spread_of_past_errors() -> None:
    still = artefact(network=True, gate=0.0, heads=0.0).predict(OWN, STATE, SLOT)
    np.testing.assert_allclose(still, artefact().predict(OWN, STATE, SLOT), rtol=1e-6)
    moving = artefact(network=True, gate=0.0).predict(OWN, STATE, SLOT)
    np.testing.assert_allclose(moving[:, :, 2], still[:, :, 2], rtol=1e-6)
    assert np.abs(moving - still).max() > 1e-2


def test_a_published_artefact_holds_no_private_scale_and_works_after_the_members_own(tmp_path: Path) -> None:
    model = artefact()
    model.published().save(tmp_path)
    loaded = Artefact.load(tmp_path)
    own = [name.startswith("own.") for name in loaded.schema.features]
    assert np.isnan(loaded.arrays.column_mean[:, own]).all()
    with pytest.raises(ModelError, match="with_own_scaler"):
        loaded.predict(OWN, STATE, SLOT)
    mine = loaded.with_own_scaler(OWN, TRAIN)
    np.testing.assert_allclose(mine.predict(OWN, STATE, SLOT), model.predict(OWN, STATE, SLOT), rtol=1e-10)


def test_a_core_without_network_forecasts_without_loading_jax(tmp_path: Path) -> None:
    artefact().save(tmp_path)
    program = (
        "import sys, pathlib, numpy as np; from hansa.model.artefact import Artefact; "
        "Artefact.load(pathlib.Path(sys.argv[1])).predict(np.ones((9, 2, 2)), np.ones((9, 2, 2)), np.arange(9)); "
        "print('jax' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_damaged_and_foreign_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"model\.json"):
        Artefact.load(tmp_path)
    artefact(network=True).save(tmp_path)
    content = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ModelError, match="tensors"):
        Artefact.load(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(content)
    document = json.loads((tmp_path / "model.json").read_text())
    for key, value, reason in (
        ("format", "hansa-model-0", "format"),
        ("features", ["x"], "features"),
        ("surprise", 1, "surprise"),
    ):
        (tmp_path / "model.json").write_text(json.dumps({**document, key: value}))
        with pytest.raises(ModelError, match=reason):
            Artefact.load(tmp_path)
    other = {**document, "schema": {**document["schema"], "network_hash": "00"}}
    (tmp_path / "model.json").write_text(json.dumps(other))
    with pytest.raises(ModelError, match="network layout"):
        Artefact.load(tmp_path)


def test_arrays_of_another_schema_are_refused() -> None:
    model = artefact()
    with pytest.raises(ModelError, match="expected gate"):
        dataclasses.replace(model, arrays=dataclasses.replace(model.arrays, gate=np.zeros(3)))
    with pytest.raises(ModelError, match="own and state"):
        model.predict(OWN[:, :1], STATE, SLOT)


def test_a_schema_that_asks_for_more_feature_names_than_any_model_has_is_refused(tmp_path: Path) -> None:
    artefact().save(tmp_path)
    document = json.loads((tmp_path / "model.json").read_text())
    document["schema"]["measures"] = [f"m{place}" for place in range(1000)]
    document["schema"]["design"]["lags"] = list(range(1, 1001))
    (tmp_path / "model.json").write_text(json.dumps(document))
    with pytest.raises(ModelError, match="measures times lags, got 1000000"):
        Artefact.load(tmp_path)
