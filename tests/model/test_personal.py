from __future__ import annotations

import numpy as np
import pytest

from hansa.errors import ModelError
from hansa.model import personal
from hansa.model.network import START_DEVIATION, NetworkShape, head_length, initial_parameters, layout, predict_offsets
from hansa.model.personal import STRENGTHS, HeadRows, bar_losses, head_rows, train_head, with_head
from hansa.model.training import Series, day_batch

BARS, DAYS, BASKETS = 48, 16, 2
SHAPE = NetworkShape(baskets=BASKETS, features=3, width=16, embedding=2)
SPILLOVER = np.array([[0.0, 1.0], [1.0, 0.0]])
SHARED = initial_parameters(SHAPE, 0)
COMMON = SHARED[-head_length(SHAPE) :]


def series(strange: float, seed: int = 0) -> Series:
    """Return a member's series whose label leaves the linear forecast by `strange` times a bend of an input.

    Its errors about the linear forecast have the deviation that the network starts from, whatever `strange` is.
    """
    generator = np.random.default_rng(seed)
    inputs = generator.standard_normal((BARS * DAYS, BASKETS, 3))
    linear = 0.3 * generator.standard_normal((BARS * DAYS, BASKETS))
    bend = np.tanh(2 * inputs[:, :, 0])
    rest = np.sqrt(START_DEVIATION**2 - strange**2 * bend.var())
    target = linear + strange * bend + rest * generator.standard_normal(linear.shape)
    clock = generator.standard_normal((BARS * DAYS, 4))
    return Series(inputs, clock, linear, target, np.repeat(np.arange(DAYS), BARS))


def rows(data: Series, first_day: int, end_day: int) -> HeadRows:
    chosen = (data.days >= first_day) & (data.days < end_day)
    return head_rows(SHAPE, SHARED, day_batch(data, chosen, SPILLOVER, blocks=DAYS, block_bars=BARS))


def parts(data: Series) -> dict[str, HeadRows]:
    return {"fit": rows(data, 0, 9), "validation": rows(data, 9, 14), "train": rows(data, 0, 14)}


def test_the_shared_head_and_hidden_states_give_the_shared_forecast() -> None:
    data = series(0.7)
    offsets = predict_offsets(SHAPE, SHARED, data.inputs, data.clock, SPILLOVER, window_bars=BARS)
    error = (data.target - data.linear)[..., None] - offsets
    level = np.array([0.05, 0.25, 0.5, 0.75, 0.95])
    wanted = np.maximum(level * error, (level - 1) * error).mean(axis=(1, 2))
    np.testing.assert_allclose(bar_losses(SHAPE, COMMON, rows(data, 0, DAYS)), wanted, rtol=1e-4)


def test_a_member_unlike_the_others_gets_a_head_that_helps_out_of_sample() -> None:
    data = series(0.7)
    head = train_head(SHAPE, SHARED, **parts(data))
    assert np.isfinite(head.strength)
    unseen = rows(data, 14, 16)
    assert bar_losses(SHAPE, head.values, unseen).mean() < 0.985 * bar_losses(SHAPE, COMMON, unseen).mean()


def test_a_member_like_the_shared_model_keeps_the_shared_head() -> None:
    head = train_head(SHAPE, SHARED, **parts(series(0.0)))
    assert np.isinf(head.strength)
    np.testing.assert_array_equal(head.values, COMMON)
    np.testing.assert_array_equal(head.fitted, COMMON)


def test_a_stronger_pull_ends_nearer_the_shared_head() -> None:
    one = parts(series(0.7))
    distances = [
        float(np.linalg.norm(train_head(SHAPE, SHARED, **one, strengths=(strength,)).values - COMMON))
        for strength in sorted(set(STRENGTHS) - {np.inf})
    ]
    assert distances == sorted(distances, reverse=True)
    assert distances[-1] < 0.5 * distances[0]


def test_validation_rows_choose_the_pull_and_are_in_no_head_that_is_chosen_from() -> None:
    one, other = parts(series(0.7)), parts(series(-0.7))
    mixed = train_head(SHAPE, SHARED, fit=one["fit"], validation=other["validation"], train=one["train"])
    assert np.isinf(mixed.strength)  # what was learned from the earlier rows is wrong in the later ones
    honest = train_head(SHAPE, SHARED, **one)
    later = train_head(SHAPE, SHARED, fit=one["fit"], validation=one["validation"], train=other["train"])
    np.testing.assert_array_equal(honest.fitted, later.fitted)
    assert not np.array_equal(honest.values, later.values)


def test_a_warm_start_goes_on_from_where_the_last_round_ended() -> None:
    one = parts(series(0.7))
    cold = train_head(SHAPE, SHARED, **one, strengths=(0.001,))
    warm = train_head(SHAPE, SHARED, **one, strengths=(0.001,), start=cold.values)
    assert bar_losses(SHAPE, warm.values, one["train"]).mean() < bar_losses(SHAPE, cold.values, one["train"]).mean()


def test_rounds_pulls_and_starts_compile_nothing_anew() -> None:
    one = parts(series(0.7))
    head = train_head(SHAPE, SHARED, **one)
    programs = (personal._hidden, personal._descend, personal._losses)
    compiled = [program._cache_size() for program in programs]  # type: ignore[attr-defined]
    moved = SHARED + 0.01 * np.random.default_rng(1).standard_normal(SHARED.size)
    data = series(0.5, seed=4)
    again = {
        name: head_rows(
            SHAPE,
            moved,
            day_batch(data, (data.days >= first) & (data.days < end), SPILLOVER, blocks=DAYS, block_bars=BARS),
        )
        for name, first, end in (("fit", 1, 9), ("validation", 9, 15), ("train", 1, 15))
    }
    train_head(SHAPE, moved, **again, start=head.values, strengths=(0.5, 0.05))
    assert [program._cache_size() for program in programs] == compiled  # type: ignore[attr-defined]


def test_only_the_last_arrays_are_a_members_own() -> None:
    head = np.arange(float(head_length(SHAPE)))
    vector = with_head(SHAPE, SHARED, head)
    np.testing.assert_array_equal(vector[: -head.size], SHARED[: -head.size])
    np.testing.assert_array_equal(vector[-head.size :], head)
    names = [name for name, _ in layout(SHAPE)]
    assert names[-4:] == ["head", "head_bias", "out", "out_bias"]


def test_faulty_input_is_refused() -> None:
    one = parts(series(0.7))
    empty = HeadRows(one["fit"].hidden, one["fit"].error, np.zeros_like(one["fit"].weight))
    with pytest.raises(ModelError, match="more history"):
        train_head(SHAPE, SHARED, fit=one["fit"], validation=empty, train=one["train"])
    with pytest.raises(ModelError, match="positive pulls"):
        train_head(SHAPE, SHARED, **one, strengths=(0.0,))
    with pytest.raises(ModelError, match="a start of"):
        train_head(SHAPE, SHARED, **one, start=COMMON[1:])
    with pytest.raises(ModelError, match="a head of"):
        with_head(SHAPE, SHARED, COMMON[1:])
    data = series(0.7)
    batch = day_batch(data, np.ones(BARS * DAYS, dtype=bool), SPILLOVER, blocks=DAYS, block_bars=BARS)
    with pytest.raises(ModelError, match="parameters and inputs"):
        head_rows(SHAPE, SHARED[1:], batch)
    with pytest.raises(ModelError, match="hidden state is not finite"):
        head_rows(SHAPE, SHARED * np.nan, batch)
    lost = HeadRows(one["fit"].hidden, one["fit"].error * np.nan, one["fit"].weight)
    with pytest.raises(ModelError, match="own head is not finite"):
        train_head(SHAPE, SHARED, fit=one["fit"], validation=lost, train=one["train"])
