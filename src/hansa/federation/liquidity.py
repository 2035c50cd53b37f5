"""The liquidity work of a member: which statistic answers which purpose, and what each opened sum sets off at home.

Influence of one privacy unit on a vector, as declared to the door:

| purpose | unit | L2 influence |
|---|---|---|
| census | (client, basket): a share `influence_cap` of the member's volume | `influence_cap * max(volume)`, see below |
| state | (client, basket, bar): `influence_cap` on each log measure | `influence_cap * max(weight) * sqrt(K)` |
| gram, weights | one day of raw data: it reaches its own day-block and the next | `2 * clip`, clip = sensitivity / 2 |
| clip | one day of raw data: its two day-blocks, one count each | 2 |
| ripple | one day of raw data: it lies in one stretch of the history | see `ripple_answer` |

A member noises the logarithm of its own volumes once a census (`influence_cap` times the census's noise multiplier), at
home: the census's sum and the weights that stand in front of every state sum are made of that one noised number, so
repeating them tells nothing more, and the census's budget pays for them.

What `influence_cap` is worth depends on the member's bars (`hansa.market.influence`). Where they are capped, one client
moves a log measure by at most the cap, and the influence above is the true one. Where the source names no clients, the
unit is a trade. Where bars are ready-made, nothing bounds a client: the contribution then says that its unit is a
change of the measures by the cap, whoever made it, and takes part (`docs/adr/0011`). The real unit is in the node's
records as `unit/<purpose>`. The raw bars of a member are kept from everybody by the secure sum (nothing below the
minimum cohort is opened), not by this noise.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

from hansa.crypto.prg import derive
from hansa.crypto.sampling import GaussianTable, sample
from hansa.errors import RefusedError, StoreError
from hansa.federation.door import Contribution
from hansa.federation.forecasting import (
    Fitted,
    bands,
    basket_rows,
    fit,
    fit_personal,
    forecast,
    linear_series,
)
from hansa.federation.model_files import own_artefact, shared_artefact
from hansa.federation.own_network import training_batch
from hansa.federation.published import WEIGHT_SCALE, Published, network_shape
from hansa.federation.ripple_answer import ripple_answer, ripple_contribution
from hansa.federation.watchtower import Watchtower
from hansa.model.clipping import norm_counts
from hansa.model.core import block_gram
from hansa.model.design import QUANTILES
from hansa.model.training import block_norms, block_updates

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from jaxtyping import Float

    from hansa.federation.records import Records
    from hansa.federation.views import Views
    from hansa.governance.constitution import Constitution
    from hansa.model.training import Batch
    from hansa.protocol.limits import Limits
    from hansa.protocol.messages import Manifest
    from hansa.protocol.session import Aggregate

LOG_STEPS: Final = 2**20
CATCH_UP_ROWS: Final = 4 * 288


class LiquidityWork:
    """A member's statistics and forecasts.

    Args:
        constitution: The constitution in force.
        limits: Its limits.
        load: Reads the member's own bars; called again when a span reaches beyond what was read.
        forecasts: File for the member's forecasts, or None.
        volume_key: 32 secret bytes of this member, for the noise on its volumes; the same after a restart.
        models: Folder for the member's and the shared model, or None.
        records: Published records of this node.
    """

    def __init__(
        self,
        constitution: Constitution,
        limits: Limits,
        *,
        load: Callable[[], Views],
        forecasts: Path | None,
        records: Records,
        models: Path | None = None,
        volume_key: bytes,
    ) -> None:
        self.published = Published(constitution, limits)
        self.fitted: Fitted | None = None
        self._before: Fitted | None = None  # of an earlier round: where a head starts
        self._limits = limits
        self._load = load
        self._forecasts = forecasts
        self._models = models
        self._volume_key = volume_key
        self._records = records
        self._views: Views | None = None
        self._batch: Batch | None = None
        self._is_unsettled = False
        self._asked: list[tuple[Aggregate, Published]] = []  # opened queries to be answered, from what was known then
        self._units = {name: purpose.unit for name, purpose in constitution.purposes.items()}
        self._recorded_units: dict[str, str] = {}
        self._watchtower = Watchtower(self.published, records)

    def contribution(self, manifest: Manifest) -> Contribution:
        """Return the statistic that a manifest asks for.

        Raises:
            RefusedError: The purpose is not one of liquidity, or the member's data do not reach.
            ModelError: What it builds on has not been published.
        """
        makers = {
            "census": self._census,
            "state": self._state,
            "gram": self._gram,
            "clip": self._clip,
            "weights": self._weights,
            "ripple": self._ripple,
        }
        maker = makers.get(manifest.purpose)
        if maker is None:
            raise RefusedError(f"{manifest.session}: this member has no statistic for {manifest.purpose}")
        found = maker(manifest)
        unit = found.unit or self._units[found.purpose]
        if self._recorded_units.get(found.purpose) != unit:
            self._records.put(f"unit/{found.purpose}", unit)
            self._recorded_units[found.purpose] = unit
        return found

    def receive(self, aggregate: Aggregate) -> None:
        """Take in an opened sum."""
        purpose = aggregate.manifest.purpose
        self.published.receive(aggregate)
        if purpose in {"census", "gram"}:
            self._before = self.fitted or self._before
            self.fitted, self._batch = None, None
        if purpose == "ripple":
            self._asked.append((aggregate, self.published.snapshot()))  # others answer from the same
            return
        self._is_unsettled = True

    def settle(self, *, is_published: bool = True) -> None:
        """Publish answers to queries, the index of new bars, and forecasts once the round has its core.

        Args:
            is_published: Whether index, alerts and forecasts are wanted; without, models are fitted only.
        """
        self.answer_queries()
        if not self._is_unsettled or self.published.state.shape[0] == 0:
            return
        self._is_unsettled = False
        if is_published:
            self._watchtower.look()
        self._records.put("state_weights", self.published.weights.tolist())
        if self.published.grams is not None:
            self._forecast(is_published=is_published)
            self._records.put("settled_ns", int(self.published.stamps()[-1]))

    def answer_queries(self) -> None:
        """Work out the opened ripple queries and write each with its answer into the records."""
        while self._asked:
            aggregate, published = self._asked.pop(0)
            found = ripple_answer(published, self._reach(aggregate.manifest), self._limits, aggregate)
            self._records.put(f"ripple/{aggregate.manifest.session}", found)

    def _census(self, manifest: Manifest) -> Contribution:
        views = self._reach(manifest)
        rows = views.rows(manifest.span_start_ns, manifest.span_end_ns)
        volume = self._noised_volume(views, rows)
        cap = self.published.market.influence_cap
        _, unit = self._bounded(views, "{unit} and basket", f"a share {cap:g} of a member's volume in a basket")
        return Contribution("census", volume, cap * float(volume.max()), unit)

    def _state(self, manifest: Manifest) -> Contribution:
        published = self.published
        if published.turnover is None:
            raise RefusedError(f"{manifest.session}: a state before the census of its round")
        views = self._reach(manifest)
        train = self._training_slice(views)
        share = self._noised_volume(views, train) / published.turnover
        weights = published.weights_of(share)
        rows = views.rows(manifest.span_start_ns, manifest.span_end_ns)
        bars, measures = rows.stop - rows.start, len(published.market.measures)
        values = np.zeros((bars, len(published.baskets), measures))
        for place, basket in enumerate(published.baskets):
            view = views.combined(basket, train)
            if view is not None:
                values[:, place] = weights[place] * view.measures[rows]
        bound = self._limits.purposes["state"].value_bound  # no log measure of a real bar comes near it
        vector = np.concatenate([weights * WEIGHT_SCALE, np.clip(values.ravel(), -bound, bound)])
        uncapped = f"a change of each measure of a bar by at most {published.market.influence_cap:g} log units"
        caps, unit = self._bounded(views, "{unit}, basket and day", uncapped)
        return Contribution("state", vector, float((weights * caps).max()), unit)

    def _gram(self, manifest: Manifest) -> Contribution:
        if self.published.state.shape[0] < self.published.train_bars:
            raise RefusedError(f"{manifest.session}: a Gram matrix before the state of its span")
        clip = self._limits.purposes["gram"].sensitivity / 2
        built = basket_rows(self.published, self._reach(manifest))
        per_basket = manifest.length // len(self.published.baskets)
        train = self.published.train_rows()
        packed = [
            block_gram(built[basket].rows.take(train), clip=clip / math.sqrt(len(self.published.baskets)))
            if basket in built
            else np.zeros(per_basket)
            for basket in self.published.baskets
        ]
        return Contribution("gram", np.concatenate(packed), 2 * clip)

    def _clip(self, manifest: Manifest) -> Contribution:
        parameters, batch = self._training(manifest)
        norms = block_norms(network_shape(self.published.market), parameters, batch)
        return Contribution("clip", norm_counts(norms, self.published.widest_bound(self._limits)), 2.0)

    def _weights(self, manifest: Manifest) -> Contribution:
        published = self.published
        parameters, batch = self._training(manifest)
        update = block_updates(network_shape(published.market), parameters, batch, clip=published.clip_bound)
        return Contribution("weights", update / published.clip_unit, 2 * published.widest_bound(self._limits))

    def _ripple(self, manifest: Manifest) -> Contribution:
        return ripple_contribution(self.published, self._reach(manifest), self._limits, manifest)

    def _training(self, manifest: Manifest) -> tuple[Float[np.ndarray, " param"], Batch]:
        """Return the network's parameters and this member's day-blocks."""
        if self.published.server is None:
            raise RefusedError(f"{manifest.session}: a training step before the core of its round")
        if self._batch is None:
            built = basket_rows(self.published, self._reach(manifest))
            personal, _ = fit_personal(self.published, built)
            self._batch = training_batch(self.published, linear_series(self.published, built, personal))
        return self.published.server.parameters, self._batch

    def _forecast(self, *, is_published: bool) -> None:
        views = self._views or self._load()
        self._views = views
        built = basket_rows(self.published, views)
        if self.fitted is None:
            self.fitted = fit(self.published, built, self._before)
            self._records.put("pulls", dict(self.fitted.pulls))
            own = self.fitted.own
            self._records.put("gates", dict(self.fitted.gates if own is None else own.gates))
            self._records.put("head", None if own is None else {"strength": own.head.strength, "used": dict(own.heads)})
            self._records.put("clip_bound", self.published.clip_bound)
            if self._models is not None and set(built) == set(self.published.baskets):
                own_artefact(self.published, built, self.fitted).save(self._models / "model")
                shared_artefact(self.published, built).save(self._models / "model-shared")
        if not is_published:
            return
        arms = forecast(self.published, built, self.fitted)
        quantiles = bands(self.published, built, self.fitted)
        self._watchtower.look_ahead(quantiles)
        stamps = self.published.stamps()
        recent = slice(max(self.published.train_bars - 1, stamps.size - CATCH_UP_ROWS), stamps.size)
        for place, basket in enumerate(self.published.baskets):
            values = arms["personal_head"][recent, place]
            self._records.series("forecast", basket, zip(stamps[recent].tolist(), values.tolist(), strict=True))
            for level, column in zip(QUANTILES, quantiles[recent, place].T.tolist(), strict=True):
                name = f"forecast_q{round(100 * level):02}"
                self._records.series(name, basket, zip(stamps[recent].tolist(), column, strict=True))
        if self._forecasts is not None:
            self._write(arms | {"quantiles": quantiles})

    def _write(self, arms: dict[str, Float[np.ndarray, "time basket ..."]]) -> None:
        if self._forecasts is None:
            return
        temporary = self._forecasts.with_suffix(".tmp")
        try:
            with temporary.open("wb") as file:
                np.savez(file, **{"stamps": self.published.stamps(), "state": self.published.state, **arms})  # type: ignore[arg-type] # numpy's own stub
            temporary.replace(self._forecasts)
        except OSError as error:
            raise StoreError(f"{self._forecasts}: cannot be written ({error.strerror}); free disk space") from error

    def _noised_volume(self, views: Views, rows: slice) -> Float[np.ndarray, " basket"]:
        """Return the mean quote volume a bar, with this member's own noise on its logarithm: one draw a span.

        A client of share `influence_cap` moves the logarithm by `-log(1 - influence_cap)`; what is made of the result,
        the census's sum and every weight of the state channel, is post-processing of this one release.
        """
        span = f"{int(views.stamps()[rows.start])}|{int(views.stamps()[rows.stop - 1])}"
        influence = -math.log1p(-self.published.market.influence_cap)
        table = GaussianTable.build(self._limits.purposes["census"].noise_multiplier * influence * LOG_STEPS)
        noise = sample(table, len(self.published.baskets), derive(self._volume_key, span.encode())) / LOG_STEPS
        return np.asarray(np.minimum(self._volume(views, rows) * np.exp(noise), self._census_bound()))

    def _bounded(self, views: Views, capped: str, uncapped: str) -> tuple[Float[np.ndarray, " basket"], str]:
        """Return the L2 influence of one unit on a bar's measures in each basket, and the unit where it is weaker.

        Args:
            views: The member's view.
            capped: Name of the unit where every basket is capped, with a place for whose influence that is.
            uncapped: Name of the unit where one is not.
        """
        market = self.published.market
        caps = np.zeros(len(self.published.baskets))
        units = set()
        for place, basket in enumerate(self.published.baskets):
            if basket in views.series:
                found = views.influence(basket)
                units.add("none" if found is None else found.unit)
                each = (market.influence_cap,) * len(market.measures) if found is None else found.caps
                caps[place] = math.hypot(*each)
        if "none" in units:
            return caps, f"{uncapped}, whoever made it (the bars are not capped: no client is bounded)"
        return caps, capped.format(unit="trade") + " (the source names no clients)" if "trade" in units else ""

    def _census_bound(self) -> float:
        return self._limits.purposes["census"].value_bound

    def _volume(self, views: Views, rows: slice) -> Float[np.ndarray, " basket"]:
        volume = np.zeros(len(self.published.baskets))
        for place, basket in enumerate(self.published.baskets):
            view = views.combined(basket, rows)
            if view is not None:
                volume[place] = view.quote_volume[rows].mean() / self.published.market.volume_unit
        return volume

    def _training_slice(self, views: Views) -> slice:
        published = self.published
        start = published.start_ns + published.train_first * published.bar_ns
        return views.rows(start, published.start_ns + (published.train_bars - 1) * published.bar_ns)

    def _reach(self, manifest: Manifest) -> Views:
        """Return views that reach over the manifest's span; the files are read again if they have grown."""
        if self._views is None or self._views.reach_ns < manifest.span_end_ns:
            self._views = self._load()
        return self._views
