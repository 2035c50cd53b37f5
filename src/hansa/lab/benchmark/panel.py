"""A panel: series of liquidity measures of several members on one grid, what is to be forecast, and how it is split.

Two shapes of federation occur. In a *shared* panel every member sees the same baskets through its own window, and the
label is what all together see (`Venues`: the product's rehearsal can run on it). In an *own* panel each member trades
markets of its own, and the label is that market's own cost.

A row is a bar; its label is the next bar. Gaps of a measure are carried forward, a label is never: where the next bar
is absent, or locked at its limit and so without a range, the row is neither learned from nor scored.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jaxtyping import Bool, Float, Int

    from hansa.federation.views import Views
    from hansa.model.evaluation import Split

LEAST_TRAINING_ROWS: Final = 100
"""Rows that a series needs in the training part to be learned from and scored."""
VALIDATION_SHARE: Final = 0.25
"""Share of a series' training rows, the last ones, on which choices are made."""


@dataclass(frozen=True, slots=True)
class Venues:
    """What the rehearsal of a federation needs besides the panel: views of the same baskets, and the times.

    Attributes:
        views: Each member's view.
        baskets: Markets by basket.
        volume_unit: Quote volume a bar that counts as 1 in the census.
        weight_cap: Largest share of a member in a basket.
        start_ns: Stamp of bar 0 of the panel.
        train_days: Whole days before the test part.
        as_of_ns: Newest stamp of the training span.
        until_ns: Newest stamp of the state channel.
    """

    views: Mapping[str, Views] = field(repr=False)
    baskets: Mapping[str, tuple[str, ...]]
    volume_unit: float
    weight_cap: float
    start_ns: int
    train_days: int
    as_of_ns: int
    until_ns: int


@dataclass(frozen=True, slots=True, eq=False)
class Panel:
    """Series on one grid, of one fold.

    Attributes:
        name: Of the data set.
        members: Member of each series.
        markets: Basket or market of each series.
        measures: Names of the log measures.
        cost: Column of the measure that is forecast.
        own: Measures as the member has them, carried forward; NaN before a series begins, (series, time, measure).
        label: Log cost of each bar that models learn, NaN where absent, (series, time).
        outcome: Log cost of each bar that is scored, (series, time).
        slot: Slot of the season (time of day, weekday) of each bar.
        slots: Slots of a season.
        season_bars: Bars after which a season comes again: a day, or five trading days.
        blocks: Block of each bar: the unit of the bootstrap, and of clipping where the panel is an own one.
        lags: Trailing means, bars, ascending.
        split: Rows of this fold.
        left_out: Rows of the files that were left out, by reason.
        venues: Present in a shared panel.
    """

    name: str
    members: tuple[str, ...]
    markets: tuple[str, ...]
    measures: tuple[str, ...]
    cost: int
    own: Float[np.ndarray, "series time measure"] = field(repr=False)
    label: Float[np.ndarray, "series time"] = field(repr=False)
    outcome: Float[np.ndarray, "series time"] = field(repr=False)
    slot: Int[np.ndarray, " time"] = field(repr=False)
    slots: int
    season_bars: int
    blocks: Int[np.ndarray, " time"] = field(repr=False)
    lags: tuple[int, ...]
    split: Split = field(repr=False)
    left_out: Mapping[str, int] = field(default_factory=dict)
    venues: Venues | None = field(default=None, repr=False)

    @property
    def series(self) -> range:
        """Indices of the series."""
        return range(len(self.members))

    @property
    def names(self) -> tuple[str, ...]:
        """Members in order, each once."""
        return tuple(dict.fromkeys(self.members))

    def of(self, member: str) -> tuple[int, ...]:
        """Return the series of a member."""
        return tuple(one for one in self.series if self.members[one] == member)

    def known(self, series: int) -> Bool[np.ndarray, " time"]:
        """Return which rows of a series can be learned from: its longest lag is full and its label is there."""
        present = np.isfinite(self.own[series]).all(axis=1)
        first = int(np.argmax(present)) + self.lags[-1] - 1 if present.any() else present.size
        labelled = np.append(np.isfinite(self.label[series][1:]), np.False_)
        return np.asarray(present & labelled & (np.arange(present.size) >= first))

    def rows(self, series: int, part: Int[np.ndarray, " row"]) -> Int[np.ndarray, " row"]:
        """Return the rows of a part (`split.train`, `.fit`, `.validation`) that can be learned from."""
        return np.asarray(part[self.known(series)[part]])

    def parts(self, series: int) -> tuple[Int[np.ndarray, " row"], Int[np.ndarray, " row"], Int[np.ndarray, " row"]]:
        """Return a series' rows to fit on, those to choose on, and all training rows; a short history has its own."""
        train = self.rows(series, self.split.train)
        border = train.size - int(train.size * VALIDATION_SHARE)
        gap = min(self.lags[-1] + 1, border // 4)
        return train[: border - gap], train[border:], train

    def learns(self, series: int) -> bool:
        """Return whether a series has enough rows to be learned from."""
        return self.rows(series, self.split.train).size >= LEAST_TRAINING_ROWS

    def errors(self, forecast: Float[np.ndarray, "series test"]) -> Float[np.ndarray, "series test"]:
        """Return forecast minus outcome at the test rows; NaN where there is no outcome or the series does not learn.

        Args:
            forecast: Of the bar after each test row, log units.
        """
        test = self.split.test
        error = forecast - self.outcome[:, test + 1]
        for series in self.series:
            error[series, ~self.known(series)[test]] = np.nan
            if not self.learns(series):
                error[series] = np.nan
        return np.asarray(error)
