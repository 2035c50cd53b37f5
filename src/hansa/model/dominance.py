"""How far one contributor can move the index: what the caps of the constitution are worth in index points.

A contributor of weight w whose log measures change by d moves the state by w d. `largest_move` tries changes of up to
`shift` log units of the state in every measure at one bar, up, down and half, and computes the index there again;
`admissible_shift` asks it backwards: how far the state may move before the index moves by more than `points`.

| who | moves the state of a bar by at most |
|---|---|
| a client, where bars are capped | weight x influence cap, a measure |
| an honest member whose print is off by d log units | weight x d |
| a member that lies, but no further than honest members differ (`plausible`) | weight x 2 plausible |
| a member that lies up to the door's value bound | value bound / all weights: any place from 0 to 100 |

A weight is a member's share of the published sum of weights: its cap, over that sum where capped weights sum to less
than 1. Five points hold for a client. They do not hold for a member: honest members differ by several times what
moves the index by five points, so no clip that leaves honest stress in would hold them (`plausible_points`).

Guarantees: the index is computed by its own rule, the correlation's own answer to the change included; the search is
over a grid of 5 values a measure, which holds the corners. Does NOT guarantee anything against a lie: the secure sum
hides who lied, and clip and weight at home are the liar's to leave out. A range proof at the door would make the third
row the bound; nothing makes it five points.

Source: SCIENCE.md 1.4, validation (4).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Final

import numpy as np

from hansa.errors import ModelError
from hansa.market.features import last_zscore
from hansa.model.lsi import SCORE_CLIP, component_ranks, component_scores, correlations, moments, portfolio, products

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float, Int

    from hansa.model.lsi import IndexRule

POINTS: Final = 5.0
"""Most index points by which one contributor should move the index."""
GRID: Final = (-1.0, -0.5, 0.0, 0.5, 1.0)
WIDEST_SHIFT: Final = 8.0


@dataclass(frozen=True, slots=True)
class Dominance:
    """What the caps of a constitution are worth.

    Attributes:
        client_points: Most points by which one capped client moves a basket's index at the bars tried.
        member_log_units: How far all log measures of one member may be off at a bar before the index moves 5 points.
        plausible_points: Most points by which a member moves it that lies no further than honest members differ.
        liar_points: Most points by which a member that lies moves it, up to the door's value bound.
    """

    client_points: float
    member_log_units: float
    plausible_points: float
    liar_points: float


def largest_move(
    state: Float[np.ndarray, "time measure"],
    slot: Int[np.ndarray, " time"],
    rule: IndexRule,
    *,
    shift: float,
    bars: Sequence[int],
) -> float:
    """Return the most index points by which a change of one bar moves that bar's index.

    Args:
        state: Published log measures.
        slot: Slot of the day of each bar.
        rule: The published rule.
        shift: Log units by which each measure of the state may change, 0 or more.
        bars: Bars to try; those without an index are left out.

    Returns:
        Points, 0 to 100; 0 where no bar has an index.

    Raises:
        ModelError: The shift is negative or the rule does not fit.
    """
    if not shift >= 0:
        raise ModelError(f"expected a shift of 0 log units or more; got {shift}")
    return _largest(_Ready.of(state, slot, rule), shift, bars)


@dataclass(frozen=True, slots=True)
class _Ready:
    """What every trial needs and no trial changes."""

    state: Float[np.ndarray, "time measure"]
    slot: Int[np.ndarray, " time"]
    rule: IndexRule
    scores: Float[np.ndarray, "time measure"]
    ranks: Float[np.ndarray, "time measure"]
    moments: Float[np.ndarray, "time side measure measure"]

    @classmethod
    def of(cls, state: Float[np.ndarray, "time measure"], slot: Int[np.ndarray, " time"], rule: IndexRule) -> _Ready:
        scores = component_scores(state, slot, rule)
        ranks = component_ranks(state, slot, rule, scores=scores)
        return cls(state, slot, rule, scores, ranks, moments(ranks - 0.5, rule.decay))


def _largest(ready: _Ready, shift: float, bars: Sequence[int]) -> float:
    rule, worst = ready.rule, 0.0
    for bar in bars:
        if not np.isfinite(ready.ranks[bar]).any():
            continue
        changed = [_ranks_of(ready, measure, bar=bar, shift=shift) for measure in range(len(rule.signs))]
        trials = np.array(list(product(*changed)))
        step = products(trials - 0.5)
        past = ready.moments[bar - 1] if bar else np.zeros_like(ready.moments[0])
        after = np.where(np.isfinite(step), rule.decay * past + (1 - rule.decay) * step, past)
        index = 100.0 * portfolio(trials, np.array(rule.weights), correlations(after))
        worst = max(worst, float(np.nanmax(np.abs(index - index[trials.shape[0] // 2]))))
    return worst


def _ranks_of(ready: _Ready, measure: int, *, bar: int, shift: float) -> list[float]:
    """Return the rank of one measure at a bar for each changed value, the unchanged one in the middle."""
    rule, values = ready.rule, ready.state[:, measure]
    before = slice(max(0, bar - rule.score_window_bars), bar)
    past = values[before][ready.slot[before] == ready.slot[bar]]
    ranked = ready.scores[max(0, bar - rule.rank_window_bars) : bar, measure]
    ranked = np.sort(ranked[np.isfinite(ranked)])
    found = []
    for part in GRID:
        series = np.append(past, values[bar] + part * shift)
        score = rule.signs[measure] * last_zscore(series, minimum=rule.score_minimum, clip=SCORE_CLIP)
        if not np.isfinite(score) or ranked.size < rule.rank_minimum:
            found.append(float("nan"))
            continue
        low, high = np.searchsorted(ranked, score, "left"), np.searchsorted(ranked, score, "right")
        found.append(float(((low + high) / 2 + 0.5) / (ranked.size + 1)))
    return found


def admissible_shift(
    state: Float[np.ndarray, "time measure"],
    slot: Int[np.ndarray, " time"],
    rule: IndexRule,
    *,
    bars: Sequence[int],
    points: float = POINTS,
) -> float:
    """Return how many log units the state may move at one of these bars before the index moves more than `points`.

    Raises:
        ModelError: The rule does not fit.
    """
    return _admissible(_Ready.of(state, slot, rule), bars, points)


def _admissible(ready: _Ready, bars: Sequence[int], points: float) -> float:
    low, high = 0.0, WIDEST_SHIFT
    if _largest(ready, high, bars) <= points:
        return high
    for _ in range(12):
        middle = (low + high) / 2
        low, high = (middle, high) if _largest(ready, middle, bars) <= points else (low, middle)
    return low


def dominance(
    state: Float[np.ndarray, "time measure"],
    slot: Int[np.ndarray, " time"],
    rule: IndexRule,
    *,
    weight: float,
    influence_cap: float,
    plausible: float,
    value_bound: float,
    bars: Sequence[int],
) -> Dominance:
    """State what the caps of a constitution are worth on a published state.

    Args:
        state: Published log measures.
        slot: Slot of the day of each bar.
        rule: The published rule.
        weight: Largest share of a member in a basket's published state (`largest_share`).
        influence_cap: Largest move of a log measure by one client.
        plausible: How far an honest member's log measures move against the state.
        value_bound: Widest log measure that the door lets through.
        bars: Bars to try.

    Raises:
        ModelError: The rule does not fit.
    """
    ready = _Ready.of(state, slot, rule)
    return Dominance(
        client_points=_largest(ready, weight * influence_cap, bars),
        member_log_units=_admissible(ready, bars, POINTS) / weight,
        plausible_points=_largest(ready, min(2 * weight * plausible, WIDEST_SHIFT), bars),
        liar_points=_largest(ready, min(weight * value_bound, WIDEST_SHIFT), bars),
    )


def largest_share(weight_cap: float, weights: float) -> float:
    """Return the largest share of one member in a state: its cap, over all weights where they sum to less than 1.

    Args:
        weight_cap: Largest weight of a member.
        weights: Published sum of the weights of a basket.

    >>> largest_share(0.25, 1.0), largest_share(0.25, 0.5), largest_share(0.5, 0.4)
    (0.25, 0.5, 1.0)
    """
    return min(weight_cap / min(max(weights, 1e-9), 1.0), 1.0)
