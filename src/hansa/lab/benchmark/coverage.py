"""How often outcomes lie in the 5 to 95 % band of the shipped model, out of sample, by data set.

A cell of coverage holds each quantile less the outcome, the model's own and the one calibrated bar by bar, and, where
the label is a noisy published cost, that cost less the outcome. Two outcomes are counted then: the published cost,
which is what members forecast and calibrate on, and the true one. A row counts as covered if it lies in the band that
was issued a bar before; folds and simulated markets are taken together. Members of a shared basket share the state:
their rows are no independent draws.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from hansa.model.conformal import coverage
from hansa.model.design import QUANTILES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from jaxtyping import Float

    from hansa.lab.benchmark.cell import Cell, Outcome

OWN: Final = "own"
CALIBRATED: Final = "calibrated"
PUBLISHED: Final = "published"
ASKED: Final = QUANTILES[-1] - QUANTILES[0]
TOLERANCE: Final = 0.02


def names() -> Iterator[str]:
    """Yield the names of all quantiles, the model's own first."""
    for kind in (OWN, CALIBRATED):
        for level in QUANTILES:
            yield f"{kind}_q{round(100 * level):02}"


def put(
    found: Mapping[str, Float[np.ndarray, "series test"]],
    series: int,
    own: Float[np.ndarray, "test quantile"],
    calibrated: Float[np.ndarray, "test quantile"],
) -> None:
    """Write a series' quantiles under their names."""
    for name, column in zip(names(), np.concatenate([own, calibrated], axis=1).T, strict=True):
        found[name][series] = column


def coverages(outcomes: Mapping[Cell, Outcome], dataset: str) -> dict[str, Any] | None:
    """Return a data set's coverage, as JSON has it; None where no cell of it was run.

    Args:
        outcomes: Of all cells.
        dataset: Its name.

    Returns:
        `forecasts` counted; `own` and `calibrated`: share in the band; `below`: share below each calibrated quantile;
        `by_series`: smallest and largest share of a series; `truth`: share of true outcomes in the calibrated band,
        None where the label is the truth; `width_own`, `width`: mean width, log units; `asked`, `is_met`.
    """
    chosen = [one for cell, one in outcomes.items() if cell.dataset == dataset and cell.kind == "coverage"]
    if not chosen:
        return None
    own, given = (np.concatenate([_stacked(one, kind) for one in chosen], axis=1) for kind in (OWN, CALIBRATED))
    outcome = np.concatenate([_published(one) for one in chosen], axis=1)
    outcome = np.where(np.isfinite(given[:, :, 0]), outcome, np.nan)
    known = np.flatnonzero(np.isfinite(outcome).any(axis=1))
    each = [coverage(given[one], outcome[one])[0] for one in known]
    inside, below = coverage(_flat(given), outcome.ravel())
    plain, _ = coverage(_flat(own), outcome.ravel())
    has_truth = any(PUBLISHED in one.errors for one in chosen)
    truth = np.where(np.isfinite(outcome), 0.0, np.nan).ravel()
    return {
        "forecasts": int(np.isfinite(outcome).sum()),
        "own": plain,
        "calibrated": inside,
        "below": below.tolist(),
        "by_series": [min(each), max(each)],
        "truth": coverage(_flat(given), truth)[0] if has_truth else None,
        "width_own": float(np.nanmean(own[:, :, -1] - own[:, :, 0])),
        "width": float(np.nanmean(given[:, :, -1] - given[:, :, 0])),
        "asked": ASKED,
        "is_met": abs(inside - ASKED) <= TOLERANCE,
    }


def _stacked(one: Outcome, kind: str) -> Float[np.ndarray, "series bar quantile"]:
    return np.stack([one.errors[name] for name in names() if name.startswith(f"{kind}_")], axis=2).astype(np.float64)


def _published(one: Outcome) -> Float[np.ndarray, "series bar"]:
    """Return the label less the true outcome; zeros where they are the same."""
    published = one.errors.get(PUBLISHED)
    return np.zeros((len(one.members), one.blocks.size)) if published is None else published.astype(np.float64)


def _flat(quantiles: Float[np.ndarray, "series bar quantile"]) -> Float[np.ndarray, "row quantile"]:
    return quantiles.reshape(-1, quantiles.shape[2])
