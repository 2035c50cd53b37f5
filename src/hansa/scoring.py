"""What a quant does alone: load a model, score a frame of bars, compute the stress index; no federation is needed.

    import hansa

    model = hansa.load_model("member/node/model")
    quantiles = model.forecast(bars)        # a row a bar and basket: q05, q25, q50, q75, q95 of the next bar's log cost
    index = hansa.lsi(bars)                 # a row a bar and basket: 0 (calm) to 100

`bars` is a Polars frame of the bars contract (`hansa.market.schema`), from any reader or made by hand: at least
`ts_ns, market, venue, open, high, low, close`, and what the model's measures need. Series of one market at several
venues are weighted by their quote volume over the frame, as a member's are.

Without a federation there is no published state. `state` takes one, as bars of the whole market; left out, the own bars
stand in for it, and the forecast is that of a broker who sees nothing else: its errors are larger than the model's
evaluation says.

Quantiles are calibrated bar by bar on the outcomes that the frame itself shows (`hansa.model.conformal`): the cost in
`state`, or the own cost where there is none. The first bars of a frame show too few; there they are the model's own.

A missing bar is absent: it has no index, its cost is no outcome to learn from, and the forecast made there rests on the
last measures before it. Before the first bar of a basket nothing is forecast. NaN or endless numbers are refused.

Guarantees: the row of bar t uses bars up to t, but for several venues of one basket: their weights are those of the
frame, and a venue that begins later stands before at its first value.
Does NOT guarantee: that a model fits bars of another source or clock; baskets that it does not know are refused.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from hansa.errors import DataError, ModelError
from hansa.federation.views import views_of
from hansa.federation.watchtower import index_rule
from hansa.governance.constitution import Market
from hansa.market.calendar import NS_PER_DAY
from hansa.market.measures import MEASURES, provenance
from hansa.market.quality import usual_spacing_ns
from hansa.market.schema import conform
from hansa.model.artefact import Artefact
from hansa.model.conformal import calibrate_baskets
from hansa.model.design import QUANTILES
from hansa.model.lsi import stress_index, system_index

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jaxtyping import Bool, Float

    from hansa.federation.views import Views

NS: Final = 1_000_000_000
INDEX_MEASURES: Final = ("log_spread", "log_depth", "log_impact", "log_range")
COLUMNS: Final = tuple(f"q{round(100 * level):02}" for level in QUANTILES)


@dataclass(frozen=True, slots=True)
class Model:
    """A model that scores frames of bars.

    Attributes:
        artefact: The numbers and what they are about.
    """

    artefact: Artefact

    @property
    def baskets(self) -> tuple[str, ...]:
        """What the model forecasts."""
        return self.artefact.schema.baskets

    @property
    def bar_seconds(self) -> int:
        """Length of the model's bars; shorter bars are gathered."""
        return 86_400 // self.artefact.schema.design.slots_per_day

    def fitted_to(self, bars: pl.DataFrame, *, baskets: Mapping[str, Sequence[str]] | None = None) -> Model:
        """Return the model with the scaling of own columns measured on a history: what a shared model lacks.

        Args:
            bars: The history; it should end before the bars that are scored.
            baskets: Markets by basket; left out, each basket is the market of its name.

        Raises:
            DataError: The bars lack a market, or what a measure needs.
            ModelError: The history is too short.
        """
        views = self._views(bars, baskets)
        own = self._measures(views)
        return replace(self, artefact=self.artefact.with_own_scaler(own, np.arange(own.shape[0])))

    def forecast(
        self,
        bars: pl.DataFrame,
        *,
        state: pl.DataFrame | None = None,
        baskets: Mapping[str, Sequence[str]] | None = None,
        calibrate: bool = True,
    ) -> pl.DataFrame:
        """Forecast the next bar's log cost at every bar.

        Args:
            bars: Own bars.
            state: Bars of the whole market, on the model's bars; left out, the own bars stand in.
            baskets: Markets by basket; left out, each basket is the market of its name.
            calibrate: Whether the quantiles, the median too, learn from the frame's outcomes; otherwise they are as
                wide as on the rows that the model was fitted to, whatever happened since.

        Returns:
            `ts_ns` (end of the newest bar used), `for_ns` (end of the bar that is forecast), `basket`, and ascending
            quantiles `q05, q25, q50, q75, q95` of the log of the model's cost measure, sorted by basket and time; null
            until every basket has had a bar, in `state` too.

        Raises:
            DataError: The bars lack a market, or what a measure needs, or a number in them is NaN or endless.
            ModelError: The model is a shared one without own scaling: call `fitted_to` first.
        """
        views = self._views(bars, baskets)
        own = self._measures(views)
        outcomes = views if state is None else self._views(state, baskets)
        public = own if state is None else self._measures(outcomes, like=views)
        values = self.artefact.predict(own, public, views.slots())
        stamps = views.stamps()
        values[stamps < max(_begin_ns(each, self.baskets) for each in (views, outcomes))] = np.nan
        if calibrate:
            place = self.artefact.schema.measures.index(self.artefact.schema.cost)
            is_outcome = _is_measured(outcomes, self.baskets, views)[:, :, place]
            values = calibrate_baskets(values, np.where(is_outcome, public[:, :, place], np.nan))
        parts = [
            pl.DataFrame({"ts_ns": stamps, "for_ns": stamps + views.bar_ns}).with_columns(
                pl.lit(name).alias("basket"),
                *(pl.Series(column, values[:, place, level]).fill_nan(None) for level, column in enumerate(COLUMNS)),
            )
            for place, name in enumerate(self.baskets)
        ]
        return pl.concat(parts).sort("basket", "ts_ns")

    def _views(self, bars: pl.DataFrame, baskets: Mapping[str, Sequence[str]] | None) -> Views:
        schema = self.artefact.schema
        wanted = {name: (name,) for name in schema.baskets} if baskets is None else baskets
        if set(wanted) != set(schema.baskets):
            raise ModelError(f"expected markets for the baskets {', '.join(schema.baskets)}; got {', '.join(wanted)}")
        return _views(bars, wanted, schema.measures, self.bar_seconds * NS)

    def _measures(self, views: Views, like: Views | None = None) -> Float[np.ndarray, "time basket measure"]:
        return _stacked(views, self.baskets, like or views)


def load_model(path: Path | str) -> Model:
    """Load a model that a member's node, or `Artefact.save`, wrote.

    Args:
        path: Folder of `model.json` and `model.safetensors`.

    Raises:
        ModelError: A file is absent, malformed, or of another format.
    """
    return Model(Artefact.load(Path(path)))


def lsi(
    bars: pl.DataFrame,
    *,
    measures: Sequence[str] | None = None,
    baskets: Mapping[str, Sequence[str]] | None = None,
    bar_seconds: int | None = None,
) -> pl.DataFrame:
    """Compute the liquidity stress index of bars by the published rule, as members do from the published state.

    Args:
        bars: Bars of one market or more, of a member or of everybody.
        measures: Log measures to use; left out, those of the rule that every series can give.
        baskets: Markets by basket; left out, each market of the frame is one.
        bar_seconds: Length of the bars; left out, the usual distance.

    Returns:
        `ts_ns`, `basket`, `lsi` from 0 to 100, null while the past is too short and where the basket has no bar; one
        more basket `system` where there are several, of equal weights over those that have one. Sorted by basket and
        time.

    Raises:
        DataError: There are no bars, no measure fits every series, or a number is NaN or endless.
    """
    frame = conform(bars, source="bars")
    if frame.is_empty():
        raise DataError("expected bars, got an empty frame")
    wanted = {str(name): (str(name),) for name in frame["market"].unique().sort()} if baskets is None else baskets
    series = frame.partition_by("market", "venue")
    bar_ns = max(map(usual_spacing_ns, series)) if bar_seconds is None else bar_seconds * NS
    if not 0 < bar_ns <= NS_PER_DAY or NS_PER_DAY % bar_ns:
        raise DataError(f"expected bars of a length that divides a day, got {bar_ns / NS:g} s; give bar_seconds")
    chosen = tuple(measures) if measures is not None else _given_by_all(frame)
    views = _views(frame, wanted, chosen, bar_ns)
    names = tuple(wanted)
    values = np.where(_is_measured(views, names, views), _stacked(views, names, views), np.nan)
    slots_per_day = NS_PER_DAY // bar_ns
    rule = index_rule(chosen, slots_per_day)
    found = {name: stress_index(values[:, place], views.slots(), rule) for place, name in enumerate(wanted)}
    if len(found) > 1:
        indices = np.column_stack(list(found.values()))
        found["system"] = system_index(indices, np.ones(indices.shape[1]))
    parts = [
        pl.DataFrame({"ts_ns": views.stamps(), "lsi": index}).select(
            "ts_ns", pl.lit(name).alias("basket"), pl.col("lsi").fill_nan(None)
        )
        for name, index in found.items()
    ]
    return pl.concat(parts).sort("basket", "ts_ns")


def _given_by_all(frame: pl.DataFrame) -> tuple[str, ...]:
    sources = provenance(frame, [name for name in INDEX_MEASURES if name in MEASURES])
    found = tuple(name for name, source in sources.items() if "unavailable" not in source)
    if not found:
        raise DataError(f"expected bars that give one of {', '.join(INDEX_MEASURES)}; add volume, spread or depth")
    return found


def _views(bars: pl.DataFrame, baskets: Mapping[str, Sequence[str]], measures: Sequence[str], bar_ns: int) -> Views:
    frame = conform(bars, source="bars")
    names = [name for markets in baskets.values() for name in markets]
    series = [part for part in frame.partition_by("market", "venue") if part["market"][0] in names]
    known = {str(part["market"][0]) for part in series}
    absent = [basket for basket, markets in baskets.items() if not known.intersection(markets)]
    if absent:
        raise DataError(
            f"expected bars of every basket; none of {', '.join(absent)}; the frame has "
            f"{', '.join(sorted(map(str, frame['market'].unique()))) or 'no rows'}"
        )
    market = Market(
        bar_seconds=bar_ns // NS,
        baskets={name: tuple(markets) for name, markets in baskets.items()},
        measures=tuple(measures),
        cost=measures[0],
        volume_unit=1.0,
        weight_cap=1.0,
        influence_cap=1.0,
        history_days=1,
    )
    return views_of(series, market)


def _stacked(views: Views, baskets: Sequence[str], like: Views) -> Float[np.ndarray, "time basket measure"]:
    """Return the measures of every basket on the bars of `like`; the last known value where `views` end before."""
    whole = slice(0, views.bars)
    columns = []
    for name in baskets:
        view = views.combined(name, whole)
        if view is None:
            raise DataError(f"expected bars of {name}, got none")
        columns.append(view.measures)
    stacked = np.stack(columns, axis=1)
    if views is like:
        return stacked
    if views.bar_ns != like.bar_ns or views.start_ns > like.start_ns:
        raise DataError("expected a state that begins no later than the own bars; give a longer one")
    places = np.minimum((like.stamps() - views.start_ns) // views.bar_ns, views.bars - 1)
    return np.asarray(stacked[places])


def _is_measured(views: Views, baskets: Sequence[str], like: Views) -> Bool[np.ndarray, "time basket measure"]:
    """Return where `views` have each measure of the bar itself, on the bars of `like`; nowhere after their end."""
    found = np.stack([views.is_measured(name) for name in baskets], axis=1)
    places = (like.stamps() - views.start_ns) // views.bar_ns
    is_before_end = places < views.bars
    return np.asarray(found[np.minimum(places, views.bars - 1)] & is_before_end[:, None, None])


def _begin_ns(views: Views, baskets: Sequence[str]) -> int:
    """Return the stamp from which on every measure of every basket has been known."""
    found = np.stack([views.is_measured(name) for name in baskets], axis=1)
    first = np.where(found.any(axis=0), found.argmax(axis=0), views.bars)
    return views.start_ns + int(first.max()) * views.bar_ns
