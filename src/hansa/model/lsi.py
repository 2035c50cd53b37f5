"""The liquidity stress index, 0 to 100, computed from the published state: anyone can compute it again.

    z^k = sign_k * robust z-score of the state against the same time of day before t, clipped to 4
    s^k = rank of z^k among its own past, in (0, 1)
    LSI = 100 sqrt( (a∘s)ᵀ C (a∘s) ),   C = EWMA(0.98) correlation of s - 1/2,   a >= 0, sum a = 1
    system LSI = 100 sqrt( (v∘L)ᵀ R (v∘L) ) / 100 over baskets L, R likewise

All ranks 1 and all correlations 1 give 100. A missing component drops out and the weights of the others are scaled up.

Guarantees: point in time: the value at t depends on bars <= t alone, by a fixed published rule without fitted values.
NaN, never calm, while the past is too short or every component is missing.

Does NOT guarantee: a calibrated probability; the index is a rank, so a whole year of stress looks ordinary in the end.
Until `rank_window_bars` of past exist, the rank is among what there is.

Source: Hollo, Kremer, Lo Duca, CISS, ECB WP 1426, 2012 (ranks, portfolio form, EWMA correlations); Adrian,
Fleming, Vogt, FRBNY SR 827 (components).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.special import ndtri

from hansa.errors import ModelError
from hansa.market.features import trailing_zscores

if TYPE_CHECKING:
    from jaxtyping import Float, Int


SCORE_CLIP: Final = 4.0
MOST_CORRELATED: Final = 1.0 - 1e-12


@dataclass(frozen=True, slots=True)
class IndexRule:
    """The published rule of an index.

    Attributes:
        signs: +1 where a high measure is stress (spread, impact, range), -1 where a low one is (depth, volume).
        weights: Weight of each measure, >= 0; used as shares of their sum.
        score_window_bars: How far back the z-score looks, bars.
        score_minimum: Fewest earlier values at the same time of day.
        rank_window_bars: How far back the rank looks, bars.
        rank_minimum: Fewest earlier scores.
        decay: Weight of the past in the EWMA, per bar.
    """

    signs: tuple[int, ...]
    weights: tuple[float, ...]
    score_window_bars: int = 60 * 288
    score_minimum: int = 5
    rank_window_bars: int = 250 * 288
    rank_minimum: int = 288
    decay: float = 0.98


def stress_index(
    state: Float[np.ndarray, "time measure"], slot: Int[np.ndarray, " time"], rule: IndexRule
) -> Float[np.ndarray, " time"]:
    """Compute the LSI of one basket at every bar.

    Args:
        state: Published log measures, NaN where nothing was published, shape (time, measure).
        slot: Slot of the day of each bar.
        rule: The published rule.

    Returns:
        LSI, 0 to 100, NaN while the past is too short, shape (time).

    Raises:
        ModelError: The rule does not fit the state.
    """
    return index_of_ranks(component_ranks(state, slot, rule), rule)


def index_of_ranks(ranks: Float[np.ndarray, "time measure"], rule: IndexRule) -> Float[np.ndarray, " time"]:
    """Return the LSI from the ranks of `component_ranks`; NaN where every component is missing."""
    return np.asarray(100.0 * portfolio(ranks, np.array(rule.weights), correlations(moments(ranks - 0.5, rule.decay))))


def component_scores(
    state: Float[np.ndarray, "time measure"], slot: Int[np.ndarray, " time"], rule: IndexRule
) -> Float[np.ndarray, "time measure"]:
    """Return z of each measure: signed, against the same time of day before, clipped to 4; NaN where unknown.

    Raises:
        ModelError: The rule does not fit the state.
    """
    _check(state, slot, rule)
    window, least = rule.score_window_bars, rule.score_minimum
    return np.column_stack(
        [
            sign * trailing_zscores(state[:, k], slot, window_bars=window, minimum=least, clip=SCORE_CLIP)
            for k, sign in enumerate(rule.signs)
        ]
    )


def component_ranks(
    state: Float[np.ndarray, "time measure"],
    slot: Int[np.ndarray, " time"],
    rule: IndexRule,
    *,
    scores: Float[np.ndarray, "time measure"] | None = None,
) -> Float[np.ndarray, "time measure"]:
    """Return the rank of each measure's stress among its past, NaN where the past is too short or it is missing.

    Args:
        state: Published log measures.
        slot: Slot of the day of each bar.
        rule: The published rule.
        scores: From `component_scores`, where they are at hand.

    Raises:
        ModelError: The rule does not fit the state.
    """
    found = component_scores(state, slot, rule) if scores is None else scores
    window, least = rule.rank_window_bars, rule.rank_minimum
    return np.column_stack([trailing_rank(column, window_bars=window, minimum=least) for column in found.T])


def system_index(
    indices: Float[np.ndarray, "time basket"], turnover: Float[np.ndarray, " basket"], *, decay: float = 0.98
) -> Float[np.ndarray, " time"]:
    """Combine the LSI of the baskets into one, weighted by turnover.

    Args:
        indices: LSI of each basket, shape (time, basket).
        turnover: Weight of each basket, >= 0, published; used as shares of their sum.
        decay: Weight of the past in the EWMA of cross-basket correlations, per bar.

    Returns:
        System LSI, 0 to 100, NaN where every basket's is, shape (time).

    Raises:
        ModelError: There is not one weight of 0 or more for each basket.
    """
    _check_turnover(indices, turnover)
    ranks = indices / 100.0
    return 100.0 * portfolio(ranks, turnover, correlations(moments(ranks - 0.5, decay)))


def system_band(
    indices: Float[np.ndarray, "time basket"],
    turnover: Float[np.ndarray, " basket"],
    *,
    decay: float = 0.98,
    confidence: float = 0.9,
) -> Float[np.ndarray, "time bound"]:
    """Return the system LSI with every correlation at the low and at the high end of its band.

    A correlation by EWMA rests on about (1 + decay) / (1 - decay) bars (99 at 0.98): its band is Fisher's. Bars hang
    together, so the true band is wider; this one says what the estimate alone leaves open.

    Args:
        indices: LSI of each basket.
        turnover: Weight of each basket, >= 0.
        decay: As for `system_index`.
        confidence: Share of such bands that hold the correlation, bars being independent.

    Returns:
        Columns low and high, 0 to 100, NaN where every basket's index is.

    Raises:
        ModelError: There is not one weight of 0 or more for each basket, or the confidence is out of (0, 1).
    """
    _check_turnover(indices, turnover)
    if not 0 < confidence < 1:
        raise ModelError(f"expected a confidence in (0, 1), got {confidence}")
    ranks = indices / 100.0
    middle = np.arctanh(np.clip(correlations(moments(ranks - 0.5, decay)), -MOST_CORRELATED, MOST_CORRELATED))
    reach = float(ndtri(0.5 + confidence / 2)) / max((1 + decay) / (1 - decay) - 3.0, 1.0) ** 0.5
    diagonal = np.arange(ranks.shape[1])
    bounds = []
    for side in (-reach, reach):
        moved = np.tanh(middle + side)
        moved[:, diagonal, diagonal] = 1.0
        bounds.append(100.0 * portfolio(ranks, turnover, moved))
    return np.column_stack(bounds)


def trailing_rank(values: Float[np.ndarray, " time"], *, window_bars: int, minimum: int) -> Float[np.ndarray, " time"]:
    """Rank each value among the finite ones of the `window_bars` bars before it: (below + ties/2 + 1/2) / (n + 1).

    Args:
        values: Shape (time), NaN where missing.
        window_bars: Bars before t that count.
        minimum: Fewest finite values among them.

    Returns:
        Ranks in (0, 1), NaN where the value is missing or the past too short, shape (time).

    >>> trailing_rank(np.array([1.0, 2.0, 0.0]), window_bars=9, minimum=1).round(3)
    array([  nan, 0.75 , 0.167])
    """
    ranks = np.full(values.size, np.nan)
    past: list[float] = []
    for bar, value in enumerate(values.tolist()):
        if bar > window_bars:
            leaving = float(values[bar - window_bars - 1])
            if leaving == leaving:  # noqa: PLR0124 - NaN differs from itself
                del past[bisect_left(past, leaving)]
        if value != value:  # noqa: PLR0124 - likewise
            continue
        if len(past) >= minimum:
            below, upto = bisect_left(past, value), bisect_right(past, value)
            ranks[bar] = ((below + upto) / 2 + 0.5) / (len(past) + 1)
        insort(past, value)
    return ranks


def _check(state: Float[np.ndarray, "time measure"], slot: Int[np.ndarray, " time"], rule: IndexRule) -> None:
    measures = state.shape[1] if state.ndim == 2 else -1
    if slot.shape != state.shape[:1] or not measures == len(rule.signs) == len(rule.weights):
        raise ModelError(
            f"expected state (time, {len(rule.signs)}) with a slot a bar and {len(rule.weights)} weights, "
            f"got {state.shape} and {slot.shape}"
        )
    if min(rule.weights) < 0 or sum(rule.weights) <= 0 or not set(rule.signs) <= {-1, 1}:
        raise ModelError(f"expected weights of 0 or more and signs of +1 or -1, got {rule.weights}, {rule.signs}")


def portfolio(
    ranks: Float[np.ndarray, "time component"],
    weights: Float[np.ndarray, " component"],
    correlation: Float[np.ndarray, "time component component"],
) -> Float[np.ndarray, " time"]:
    """Return sqrt((a∘s)ᵀ C (a∘s)) at each bar; a missing component leaves its weight to the others.

    Args:
        ranks: s, NaN where missing.
        weights: a, >= 0; used as shares of their sum over the components that are there.
        correlation: C at each bar.

    Returns:
        0 to 1, NaN where every component is missing.
    """
    present = np.isfinite(ranks)
    share = np.where(present, weights, 0.0)
    total = share.sum(axis=1)
    share = np.divide(share, total[:, None], out=np.zeros_like(share), where=total[:, None] > 0)
    exposed = share * np.where(present, ranks, 0.0)
    square = np.einsum("ti,tij,tj->t", exposed, correlation, exposed)
    return np.where(total > 0, np.sqrt(np.maximum(square, 0.0)), np.nan)


def moments(
    centred: Float[np.ndarray, "time component"], decay: float
) -> Float[np.ndarray, "time side component component"]:
    """Return the EWMA of products and of squares after each bar; a pair with a missing side keeps its last ones.

    Args:
        centred: Ranks less their mean under calm, 1/2.
        decay: Weight of the past, per bar.
    """
    found = np.empty((centred.shape[0], 2, centred.shape[1], centred.shape[1]))
    moment = np.zeros(found.shape[1:])
    for bar, step in enumerate(products(centred)):
        moment = np.where(np.isfinite(step), decay * moment + (1 - decay) * step, moment)
        found[bar] = moment
    return found


def products(centred: Float[np.ndarray, "time component"]) -> Float[np.ndarray, "time side component component"]:
    """Return each pair's product and first square at each bar, NaN where one side is missing.

    Variances are kept per pair, over the bars where both sides are known: |correlation| <= 1 by Cauchy-Schwarz.
    """
    product = np.einsum("ti,tj->tij", centred, centred)
    side = np.where(np.isfinite(product), np.einsum("tii->ti", product)[:, :, None], np.nan)
    return np.stack([product, side], axis=1)


def correlations(
    moment: Float[np.ndarray, "time side component component"],
) -> Float[np.ndarray, "time component component"]:
    """Return the correlation that moments say at each bar; 0 for a pair that was never seen together, 1 with itself."""
    scale = np.sqrt(moment[:, 1] * moment[:, 1].transpose(0, 2, 1))
    correlation = np.asarray(np.divide(moment[:, 0], scale, out=np.zeros_like(scale), where=scale > 0))
    diagonal = np.arange(correlation.shape[1])
    correlation[:, diagonal, diagonal] = 1.0
    return correlation


def _check_turnover(indices: Float[np.ndarray, "time basket"], turnover: Float[np.ndarray, " basket"]) -> None:
    if indices.ndim != 2 or turnover.shape != indices.shape[1:] or not (turnover >= 0).all() or not turnover.any():
        raise ModelError(f"expected one turnover of 0 or more a basket of {indices.shape}, got {turnover}")
