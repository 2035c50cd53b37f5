"""Claims about the model confidence set."""

from __future__ import annotations

import numpy as np
import pytest

from hansa.errors import ModelError
from hansa.model.confidence_set import confidence_set

BLOCKS = np.repeat(np.arange(60), 10)


def losses(seed: int, *means: float, noise: float = 0.3) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    common = np.repeat(rng.standard_normal(60), 10)
    return {f"m{place}": mean + common + noise * rng.standard_normal(BLOCKS.size) for place, mean in enumerate(means)}


def test_the_best_stays_and_a_clearly_worse_one_goes() -> None:
    found = confidence_set(losses(1, 1.0, 1.0, 1.5), BLOCKS)
    assert found["m2"] < 0.01
    assert max(found["m0"], found["m1"]) == 1.0
    assert min(found["m0"], found["m1"]) >= 0.1


def test_a_worst_that_is_noisy_does_not_shield_a_worse_one() -> None:
    """The largest mean is dropped for its own noise, not for another's: m1 is a little worse in every bar."""
    rng = np.random.default_rng(2)
    table = {
        "m0": np.ones(BLOCKS.size),
        "m1": 1.05 + 0.01 * rng.standard_normal(BLOCKS.size),
        "m2": 1.0 + 3.0 * rng.standard_normal(BLOCKS.size),
    }
    found = confidence_set(table, BLOCKS)
    assert found["m1"] < 0.1 <= found["m0"]


def test_equally_good_models_stay_together_as_often_as_the_confidence_says() -> None:
    kept = sum(
        min(confidence_set(losses(seed, 1.0, 1.0, 1.0), BLOCKS, draws=300).values()) >= 0.1 for seed in range(60)
    )
    assert 45 <= kept <= 60


def test_the_same_forecasts_twice_are_both_in_the_set() -> None:
    one = losses(3, 1.0)["m0"]
    assert confidence_set({"a": one, "b": one.copy()}, BLOCKS) == {"a": 1.0, "b": 1.0}


def test_the_order_of_the_models_changes_nothing() -> None:
    table = losses(4, 1.0, 1.02, 1.3)
    there, back = confidence_set(table, BLOCKS), confidence_set(dict(reversed(table.items())), BLOCKS)
    assert there == back


@pytest.mark.parametrize(
    ("table", "blocks", "said"),
    [
        ({}, BLOCKS, "at least one model"),
        ({"a": np.zeros(3)}, BLOCKS, "600 bars"),
        ({"a": np.full(600, np.nan)}, BLOCKS, "finite losses"),
        ({"a": np.zeros(600)}, np.zeros(600, dtype=int), "at least 2 blocks"),
    ],
)
def test_what_says_nothing_is_refused(table: dict[str, np.ndarray], blocks: np.ndarray, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        confidence_set(table, blocks)
