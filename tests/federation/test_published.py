"""Claims about the public facts that opened sums make: the same whoever computes them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest

from hansa.errors import ModelError
from hansa.federation.published import SERVER, WEIGHT_SCALE, Published, gram_length, network_shape, weights_length
from hansa.federation.rules import limits_of
from hansa.federation.schedule import replay_programme, state_programme
from hansa.model.network import initial_parameters
from hansa.protocol.encoding import share_sigma
from hansa.protocol.session import Aggregate
from simulator import BAR_NS
from small_market import AS_OF_NS, BASKETS, MEASURES, START_NS, TRAIN_BARS, constitution, manifest_of

if TYPE_CHECKING:
    from hansa.federation.running_sum import Request

RULES = constitution(steps=2)
LIMITS = limits_of(RULES)
CENSUS, STATE, GRAM, CLIP, STEP, *_ = replay_programme(RULES, AS_OF_NS, AS_OF_NS)
COHORT = ("m0", "m1", "m2", "m3")
TURNOVER = np.array([4.0, 2.0])


def opened(request: Request, values: np.ndarray, cohort: tuple[str, ...] = COHORT) -> Aggregate:
    scale = LIMITS.purposes[request.purpose].scale
    return Aggregate(manifest_of(request, RULES), cohort, np.rint(values * scale).astype(np.int64))


def state_of(bars: int) -> np.ndarray:
    return np.random.default_rng(bars).standard_normal((bars, len(BASKETS), len(MEASURES)))


def state_sum(request: Request, weights: np.ndarray, state: np.ndarray, cohort: tuple[str, ...] = COHORT) -> Aggregate:
    vector = np.concatenate([weights * WEIGHT_SCALE, (weights[None, :, None] * state).ravel()])
    return opened(request, vector, cohort)


def after_state() -> Published:
    published = Published(RULES, LIMITS)
    published.receive(opened(CENSUS, TURNOVER))
    published.receive(state_sum(STATE, np.array([0.9, 0.8]), state_of(TRAIN_BARS)))
    return published


def test_the_census_sets_the_span_and_the_turnover() -> None:
    published = Published(RULES, LIMITS)
    published.receive(opened(CENSUS, TURNOVER))
    assert (published.start_ns, published.train_first, published.train_bars) == (START_NS, 0, TRAIN_BARS)
    assert published.turnover == pytest.approx(TURNOVER)
    assert published.weights_of(np.array([0.1, 0.9])) == pytest.approx([0.1, 0.5])


def test_a_noisy_turnover_below_zero_stays_positive() -> None:
    published = Published(RULES, LIMITS)
    published.receive(opened(CENSUS, np.array([-0.3, 1.0])))
    assert published.turnover is not None
    assert (published.turnover > 0).all()


@pytest.mark.parametrize("weights", [[1.0, 1.0], [0.9, 0.8], [0.31, 0.5]])
def test_the_state_is_divided_by_the_sum_of_the_weights_in_it(weights: list[float]) -> None:
    published = Published(RULES, LIMITS)
    published.receive(opened(CENSUS, TURNOVER))
    published.receive(state_sum(STATE, np.array(weights), state_of(TRAIN_BARS), COHORT[:3]))
    assert published.state == pytest.approx(state_of(TRAIN_BARS), abs=1e-3)


def test_a_bar_that_no_sum_gave_is_not_a_number_and_no_training_row() -> None:
    published = Published(RULES, LIMITS)
    published.receive(opened(CENSUS, TURNOVER))
    first, _, *rest = state_programme(RULES, START_NS, AS_OF_NS, bars=288)
    for request in (first, *rest):
        published.receive(state_sum(request, np.ones(2), state_of(288)))
    assert np.isnan(published.state[288:576]).all()
    assert np.isfinite(published.state[576:]).all()
    rows = published.train_rows()
    assert (rows[0], rows[-1], rows.size) == (576, TRAIN_BARS - 2, TRAIN_BARS - 1 - 576)
    assert np.isfinite(published.spillover()).all()


def test_sums_of_bars_that_overtake_each_other_make_the_same_state_and_a_gap_is_filled_later() -> None:
    requests = state_programme(RULES, START_NS, AS_OF_NS, bars=288)
    parts = [state_sum(one, np.array([0.9, 0.8]), state_of(288)) for one in requests]
    in_order, overtaken = Published(RULES, LIMITS), Published(RULES, LIMITS)
    for published in (in_order, overtaken):
        published.receive(opened(CENSUS, TURNOVER))
    for part in parts:
        in_order.receive(part)
    first, second, *rest = parts
    for part in (first, *rest[::-1]):
        overtaken.receive(part)
    gap = slice(288, 576)
    assert np.isnan(overtaken.state[gap]).all()
    assert np.array_equal(np.delete(overtaken.state, np.r_[gap], axis=0), np.delete(in_order.state, np.r_[gap], axis=0))
    assert overtaken.train_rows()[0] == 576
    overtaken.receive(second)
    assert np.array_equal(overtaken.state, in_order.state)
    assert np.array_equal(overtaken.train_rows(), in_order.train_rows())
    assert np.array_equal(overtaken.spillover(), in_order.spillover())
    assert sorted(overtaken.rounds) == sorted(in_order.rounds)


def test_training_rows_leave_out_the_warm_up_and_the_bar_whose_label_is_outside() -> None:
    rows = after_state().train_rows()
    assert rows.tolist() == list(range(288, TRAIN_BARS - 1))


def test_validation_rows_come_later_with_an_embargo_between() -> None:
    published = after_state()
    fit, validation = published.fit_and_validation_rows()
    assert validation[0] - fit[-1] == 13
    assert validation[-1] == published.train_rows()[-1]
    assert validation.size == int(0.25 * published.train_rows().size)


@pytest.mark.parametrize(
    ("request_", "length", "message"),
    [
        (STATE, 2 + 4 * TRAIN_BARS, "before the census"),
        (GRAM, 0, "before the state"),
        (CLIP, 0, "before the core"),
        (STEP, 0, "before the core"),
    ],
)
def test_a_sum_before_what_it_builds_on_is_refused(request_: Request, length: int, message: str) -> None:
    published = Published(RULES, LIMITS)
    if request_ != STATE:
        published.receive(opened(CENSUS, TURNOVER))
    with pytest.raises(ModelError, match=message):
        published.receive(opened(request_, np.zeros(length or manifest_of(request_, RULES).length)))
    assert len(published.rounds) == (request_ != STATE)


def test_a_state_that_begins_before_the_first_census_is_refused() -> None:
    published = after_state()
    early = msgspec.structs.replace(
        manifest_of(STATE, RULES), span_start_ns=START_NS - BAR_NS, span_end_ns=START_NS - BAR_NS, length=6
    )
    with pytest.raises(ModelError, match="1 bars before"):
        published.receive(Aggregate(early, COHORT, np.ones(6, np.int64)))


def test_the_core_starts_the_network_from_the_same_parameters_everywhere() -> None:
    one, other = after_state(), after_state()
    packed = np.random.default_rng(1).standard_normal(gram_length(RULES.market))
    for published in (one, other):
        published.receive(opened(GRAM, packed))
    assert one.grams is not None
    assert one.grams.ravel() == pytest.approx(packed, abs=1e-3)
    assert one.server is not None
    assert other.server is not None
    assert np.array_equal(one.server.parameters, other.server.parameters)
    assert one.server.parameters == pytest.approx(
        initial_parameters(network_shape(RULES.market), int(RULES.digest()[:8], 16))
    )


def test_a_training_step_is_the_linear_server_over_the_cohorts_blocks() -> None:
    published = after_state()
    published.receive(opened(GRAM, np.zeros(gram_length(RULES.market))))
    before = published.server
    assert before is not None
    step = np.rint(np.random.default_rng(2).standard_normal(weights_length(RULES.market)) * 100) / 128
    published.receive(opened(STEP, step, COHORT[:3]))
    expected = SERVER.apply(before, step, blocks=published.training_days() * 3)
    assert published.server is not None
    assert published.server.parameters == pytest.approx(expected.parameters, abs=1e-6)


def test_a_clip_sum_sets_the_bound_and_a_step_is_in_its_units() -> None:
    published = after_state()
    published.receive(opened(GRAM, np.zeros(gram_length(RULES.market))))
    widest = RULES.purposes["weights"].sensitivity / 2
    assert (published.clip_bound, published.clip_unit) == (widest, 1.0)
    counts = np.zeros(RULES.purposes["clip"].values)
    counts[2] = 8.0
    published.receive(opened(CLIP, counts))
    assert published.clip_bound == pytest.approx(widest / 2**5 / 2**0.5, rel=1e-5)  # six digits
    before = published.server
    assert before is not None
    step = np.rint(np.random.default_rng(2).standard_normal(weights_length(RULES.market)) * 100) / 128
    published.receive(opened(STEP, step))
    real = step * published.clip_bound / widest
    expected = SERVER.apply(before, real, blocks=published.training_days() * 4)
    assert published.server is not None
    assert published.server.parameters == pytest.approx(expected.parameters, abs=1e-6)
    published.receive(opened(GRAM, np.zeros(gram_length(RULES.market))))
    assert published.clip_bound == widest  # a new core begins at the widest bound


def test_without_a_clip_purpose_the_bound_is_the_constitutions() -> None:
    fixed = msgspec.structs.replace(
        RULES,
        purposes={name: one for name, one in RULES.purposes.items() if name != "clip"},
        round=tuple(line for line in RULES.round if line.purpose != "clip"),
    )
    published = Published(fixed, limits_of(fixed))
    assert published.clip_bound == RULES.purposes["weights"].sensitivity / 2
    assert published.clip_unit == 1.0


def test_the_deviation_is_that_of_the_cohorts_noise_shares() -> None:
    purpose = LIMITS.purposes["gram"]
    aggregate = opened(GRAM, np.zeros(gram_length(RULES.market)), COHORT[:3])
    share = share_sigma(purpose, LIMITS, length=gram_length(RULES.market))
    assert after_state().deviation(aggregate) == pytest.approx(share * 3**0.5 / purpose.scale)


def test_a_later_round_keeps_the_state_and_forgets_the_core() -> None:
    published = after_state()
    published.receive(opened(GRAM, np.zeros(gram_length(RULES.market))))
    kept = published.state.copy()
    shifted = msgspec.structs.replace(
        manifest_of(CENSUS, RULES), span_start_ns=START_NS + 288 * BAR_NS, span_end_ns=AS_OF_NS + 288 * BAR_NS
    )
    published.receive(Aggregate(shifted, COHORT, np.ones(2, np.int64)))
    assert np.array_equal(published.state, kept)
    assert (published.start_ns, published.train_first, published.train_bars) == (START_NS, 288, TRAIN_BARS + 288)
    assert published.grams is None
    assert published.server is None
    assert published.rounds == [shifted.digest().hex()]


def test_a_later_round_trains_the_network_on_from_where_the_one_before_left_it() -> None:
    published = after_state()
    published.receive(opened(GRAM, np.zeros(gram_length(RULES.market))))
    step = np.rint(np.random.default_rng(2).standard_normal(weights_length(RULES.market)) * 100) / 128
    published.receive(opened(STEP, step))
    assert published.server is not None
    left = published.server.parameters
    published.receive(opened(CENSUS, np.ones(2)))
    published.receive(opened(GRAM, np.zeros(gram_length(RULES.market))))
    assert published.server is not None
    assert np.array_equal(published.server.parameters, left)
    assert not published.server.velocity.any(), "at rest: what pushed it belonged to the old core"


def test_a_purpose_of_other_work_changes_nothing() -> None:
    limits = replace(LIMITS, purposes={**LIMITS.purposes, "aml": LIMITS.purposes["census"]})
    published = Published(RULES, limits)
    asked = msgspec.structs.replace(manifest_of(CENSUS, RULES), purpose="aml")
    published.receive(Aggregate(asked, COHORT, np.ones(2, np.int64)))
    assert published.turnover is None
    assert published.rounds == []
