"""A member that lies in the state channel within what its own door lets through, and what the index makes of it.

The five points of the index's design hold for one capped client. They do not hold for a member: this measures how far
it gets, and what is left: the index stays in its range, and a lie about one bar is gone from the index after it.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import pytest

from hansa.errors import RefusedError
from hansa.federation.schedule import state_programme
from hansa.federation.watchtower import basket_indices, index_rule
from hansa.lab.rehearsal import open_sums, rehearse
from hansa.model.dominance import POINTS, admissible_shift, largest_move, largest_share
from simulator import BAR_NS
from small_market import AS_OF_NS, TRAIN_BARS, all_views, constitution

if TYPE_CHECKING:
    from collections.abc import Callable

    from hansa.federation.door import Contribution
    from hansa.federation.liquidity import LiquidityWork
    from hansa.protocol.messages import Manifest

AFTER = 12
LIAR = "m3"


class Lying:
    """A member whose statistic says something else about one bar, through the same bounds."""

    def __init__(self, work: LiquidityWork, lie: Callable[[np.ndarray], np.ndarray]) -> None:
        self._work, self._lie = work, lie

    def contribution(self, manifest: Manifest) -> Contribution:
        found = self._work.contribution(manifest)
        if manifest.span_start_ns == AS_OF_NS + BAR_NS:
            found = replace(found, vector=self._lie(found.vector))
        return found

    def __getattr__(self, name: str) -> object:
        return getattr(self._work, name)


def indices(lie: Callable[[np.ndarray], np.ndarray] | None) -> tuple[np.ndarray, np.ndarray, float]:
    """Return the index and the state at the bar that is lied about and after it, and the published weights."""
    played = rehearse(constitution(), all_views(), as_of_ns=AS_OF_NS, until_ns=AS_OF_NS, seed=1, is_settled=False)
    works = dict(played.works)
    if lie is not None:
        works[LIAR] = Lying(works[LIAR], lie)  # type: ignore[assignment]
    live = state_programme(constitution(), AS_OF_NS + BAR_NS, AS_OF_NS + (1 + AFTER) * BAR_NS, bars=1)
    open_sums(replace(played, works=works), live, np.random.default_rng(2))
    published = played.works["m0"].published
    return basket_indices(published)[TRAIN_BARS:], published.state, float(published.weights.min())


@cache
def honest() -> tuple[np.ndarray, np.ndarray, float]:
    return indices(None)


def bound() -> float:
    return constitution().purposes["state"].value_bound


def extreme(vector: np.ndarray, side: float) -> np.ndarray:
    """Return every measure at the door's bound, in the direction of stress or of calm."""
    lied = vector.copy()
    lied[2:] = side * bound() * np.tile([1.0, -1.0], 2)  # spread up and depth down is stress
    return lied


def stressed(vector: np.ndarray) -> np.ndarray:
    return extreme(vector, 1.0)


def soothing(vector: np.ndarray) -> np.ndarray:
    return extreme(vector, -1.0)


def weightless(vector: np.ndarray) -> np.ndarray:
    """Return honest measures under a weight that takes most of the others' away."""
    lied = vector.copy()
    lied[:2] = -bound() / 2
    return lied


@pytest.mark.parametrize(("lie", "target"), [(stressed, 60.0), (soothing, None), (weightless, None)])
def test_a_member_that_lies_within_the_door_moves_the_index_far_beyond_five_points(
    lie: Callable[[np.ndarray], np.ndarray], target: float | None
) -> None:
    before, _, _ = honest()
    after, _, _ = indices(lie)
    moved = np.abs(after[0] - before[0])
    assert moved.max() > POINTS
    if target is not None:
        assert after[0].min() > target
    assert np.nanmin(after) >= 0
    assert np.nanmax(after) <= 100


def test_the_index_forgets_a_lie_about_one_bar() -> None:
    before, _, _ = honest()
    for lie in (stressed, soothing, weightless):
        after, _, _ = indices(lie)
        assert np.abs(after[1:] - before[1:]).max() <= POINTS, "what is left is in correlations and in one rank"


def test_what_a_liar_reaches_is_what_dominance_says_of_its_share() -> None:
    before, state, weights = honest()
    market = constitution().market
    share = largest_share(market.weight_cap, weights)
    slots = np.arange(state.shape[0]) % 288
    for place in range(2):
        said = largest_move(state[:, place], slots, index_rule(market.measures, 288), shift=8.0, bars=[TRAIN_BARS])
        reached = max(abs(indices(lie)[0][0, place] - before[0, place]) for lie in (stressed, soothing))
        assert reached <= said + 1.0
        assert said - reached < 15.0, "the worst case is one that a liar comes near"
    assert 0.25 < share <= 1.0


def test_a_value_beyond_the_bound_does_not_leave_an_honest_door() -> None:
    with pytest.raises(RefusedError, match="beyond the bound"):
        indices(lambda vector: vector + 2 * bound())


def test_an_error_within_what_five_points_take_moves_it_no_further() -> None:
    before, state, weights = honest()
    share = largest_share(constitution().market.weight_cap, weights)
    slots, rule = np.arange(state.shape[0]) % 288, index_rule(constitution().market.measures, 288)
    shift = min(admissible_shift(state[:, place], slots, rule, bars=[TRAIN_BARS]) for place in range(2))
    error = 0.9 * shift / share  # of each of the member's measures, log units

    def mistaken(vector: np.ndarray) -> np.ndarray:
        weighted = vector[[0, 0, 1, 1]] / 1000.0
        return np.concatenate([vector[:2], vector[2:] + error * weighted * np.array([1.0, -1.0, 1.0, -1.0])])

    after, _, _ = indices(mistaken)
    moved = np.abs(after[0] - before[0]).max()
    assert 0.1 < moved <= POINTS
