"""The model as files: two of them, readable without the federation and without its software.

    model.safetensors   core (basket, feature), column_mean, column_deviation (basket, feature), label_mean,
                        label_deviation, gate, heads (basket), spread (basket, quantile), spillover (basket, basket),
                        network (param; empty without a network), all float64
    model.json          format, schema (baskets, measures, cost measure, design, feature names, network sizes and layout
                        hash), scaler rules, manifest hashes of the rounds that made it, SHA-256 of the tensor file

    q = label_mean + label_deviation (x·core + gate residual_median + step_q),   x = (column - mean) / deviation
    step_q = residual_q - residual_median where heads is 1, spread_q where it is 0

A member's own network has its own head (`hansa.model.personal`) and stays at home with its core. The scaling of the
own columns is private: a published artefact has NaN there, and `with_own_scaler` fills in the member's. An artefact
with it stays at home.

Guarantees: `load` gives what `save` wrote, or a ModelError: both files are checked against each other and the schema.
Does NOT guarantee: authorship; compare the manifest hashes with the transparency log.

Source: safetensors format 0.4 (a JSON header and raw arrays: loading runs no code).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np
from safetensors import SafetensorError
from safetensors import numpy as tensors

from hansa.errors import ModelError
from hansa.market.features import harmonics
from hansa.model.design import (
    QUANTILES,
    Design,
    Inputs,
    current_columns,
    feature_names,
    fit_scaler,
    neighbour_mix,
    regressors,
)

if TYPE_CHECKING:
    from pathlib import Path

    from jaxtyping import Bool, Float, Int

    from hansa.model.network import NetworkShape

FORMAT: Final = "hansa-model-1"
MAX_FEATURES: Final = 10_000
SCALER_RULES: Final = {
    "own": "mean and deviation of the owner's training rows, each column; private, NaN when published",
    "public": "mean and deviation of the published state's training rows, each column and the label",
    "absent": "an absent value counts as the training mean",
}


class Schema(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the model forecasts, from what, and which rounds made it.

    Attributes:
        baskets: Names, in the order of the arrays.
        measures: Names of the K log measures.
        cost: The measure that is forecast, one of `measures`.
        design: Groups, lags and slots of the regressors.
        rounds: Manifest hashes (hex) of the rounds that made it, in order.
        network: Width and embedding of the residual network, or nothing.
        network_hash: Its `network.schema_hash`; empty without a network.
    """

    baskets: tuple[str, ...]
    measures: tuple[str, ...]
    cost: str
    design: Design
    rounds: tuple[str, ...]
    network: tuple[int, int] | None = None
    network_hash: str = ""

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the regressors."""
        return feature_names(self.design, self.measures)


class _Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: str
    schema: Schema
    features: tuple[str, ...]
    quantiles: tuple[float, ...]
    scalers: dict[str, str]
    tensors_sha256: str


@dataclass(frozen=True, slots=True)
class Arrays:
    """The numbers of a model; shapes as in the module's docstring."""

    core: Float[np.ndarray, "basket feature"]
    column_mean: Float[np.ndarray, "basket feature"]
    column_deviation: Float[np.ndarray, "basket feature"]
    label_mean: Float[np.ndarray, " basket"]
    label_deviation: Float[np.ndarray, " basket"]
    spread: Float[np.ndarray, "basket quantile"]
    gate: Float[np.ndarray, " basket"]
    heads: Float[np.ndarray, " basket"]
    spillover: Float[np.ndarray, "basket basket"]
    network: Float[np.ndarray, " param"]


@dataclass(frozen=True, slots=True)
class Artefact:
    """A model that forecasts without the federation."""

    schema: Schema
    arrays: Arrays

    def __post_init__(self) -> None:
        """Refuse arrays that do not fit the schema."""
        baskets, features = len(self.schema.baskets), len(self.schema.features)
        wanted = {
            "core": (baskets, features),
            "column_mean": (baskets, features),
            "column_deviation": (baskets, features),
            "label_mean": (baskets,),
            "label_deviation": (baskets,),
            "spread": (baskets, len(QUANTILES)),
            "gate": (baskets,),
            "heads": (baskets,),
            "spillover": (baskets, baskets),
            "network": (_network_length(self.schema),),
        }
        for name, size in wanted.items():
            got = getattr(self.arrays, name).shape
            if got != size:
                raise ModelError(f"expected {name} of shape {size}, got {got}: the artefact is of another schema")
        if self.schema.cost not in self.schema.measures:
            raise ModelError(f"expected a cost among {self.schema.measures}, got {self.schema.cost}")

    def save(self, directory: Path) -> None:
        """Write both files; a reader never sees half a file.

        Args:
            directory: Created if absent.
        """
        directory.mkdir(parents=True, exist_ok=True)
        content = tensors.save(
            {
                field.name: np.ascontiguousarray(getattr(self.arrays, field.name), dtype=np.float64)
                for field in fields(Arrays)
            }
        )
        document = _Document(
            format=FORMAT,
            schema=self.schema,
            features=self.schema.features,
            quantiles=QUANTILES,
            scalers=SCALER_RULES,
            tensors_sha256=hashlib.sha256(content).hexdigest(),
        )
        _replace(directory / "model.safetensors", content)
        _replace(directory / "model.json", msgspec.json.format(msgspec.json.encode(document), indent=2))

    @classmethod
    def load(cls, directory: Path) -> Artefact:
        """Read and check an artefact.

        Raises:
            ModelError: A file is absent, malformed, of another format, or does not belong to the other.
        """
        try:
            document = msgspec.json.decode((directory / "model.json").read_bytes(), type=_Document)
            content = (directory / "model.safetensors").read_bytes()
            arrays = tensors.load(content)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError, SafetensorError) as error:
            raise ModelError(f"expected model.json and model.safetensors in {directory}: {error}") from error
        _refuse_oversize(document.schema)
        digest = hashlib.sha256(content).hexdigest()
        if document.format != FORMAT or digest != document.tensors_sha256:
            raise ModelError(
                f"expected format {FORMAT} and tensors {document.tensors_sha256}, got {document.format} and {digest}"
            )
        if document.features != document.schema.features or document.quantiles != QUANTILES:
            raise ModelError(f"expected features {document.schema.features}, got {document.features}")
        names = {field.name for field in fields(Arrays)}
        if set(arrays) != names or any(array.dtype != np.float64 for array in arrays.values()):
            raise ModelError(f"expected float64 arrays {sorted(names)}, got {sorted(arrays)}")
        return cls(document.schema, Arrays(**arrays))

    def with_own_scaler(
        self,
        own: Float[np.ndarray, "time basket measure"],
        rows: Int[np.ndarray, " row"],
    ) -> Artefact:
        """Return the artefact with the scaling of the member's own columns, measured on its own history.

        Args:
            own: The member's log measures, shape (time, basket, measure).
            rows: Bars of the history to measure on.
        """
        private = self._private()
        alone = replace(self.schema.design, state=False, neighbours=False)
        mean, deviation = self.arrays.column_mean.copy(), self.arrays.column_deviation.copy()
        for basket in range(len(self.schema.baskets)):
            inputs = Inputs(slot=np.zeros(own.shape[0], dtype=np.int64), own=own[:, basket])
            scaler = fit_scaler(regressors(alone, inputs)[:, : int(private.sum())], rows)
            mean[basket, private], deviation[basket, private] = scaler.mean, scaler.deviation
        return replace(self, arrays=replace(self.arrays, column_mean=mean, column_deviation=deviation))

    def published(self) -> Artefact:
        """Return the artefact without the private scaling."""
        hidden = np.where(self._private(), np.nan, 0.0)
        return replace(
            self,
            arrays=replace(
                self.arrays,
                column_mean=self.arrays.column_mean + hidden,
                column_deviation=self.arrays.column_deviation + hidden,
            ),
        )

    def predict(
        self,
        own: Float[np.ndarray, "time basket measure"],
        state: Float[np.ndarray, "time basket measure"],
        slot: Int[np.ndarray, " time"],
    ) -> Float[np.ndarray, "time basket quantile"]:
        """Forecast the cost of the next bar at every bar.

        Args:
            own: The member's log measures, gaps carried forward.
            state: Published log measures.
            slot: Slot of the day of each bar.

        Returns:
            Ascending quantiles of the log cost of bar t + 1 at row t.

        Raises:
            ModelError: Shapes disagree with the schema, or the own columns have no scaler yet.
        """
        wanted = (slot.size, len(self.schema.baskets), len(self.schema.measures))
        if own.shape != wanted or state.shape != wanted:
            raise ModelError(f"expected own and state of shape {wanted}, got {own.shape} and {state.shape}")
        if np.isnan(self.arrays.column_mean).any():
            raise ModelError("the own columns have no scaler: call with_own_scaler with your own history first")
        scaled = self._columns(own, state, slot)
        linear = np.einsum("tbf,bf->tb", scaled, self.arrays.core)
        steps = linear[:, :, None] + self._offsets(scaled, linear, slot)
        return np.asarray(self.arrays.label_mean[:, None] + self.arrays.label_deviation[:, None] * steps)

    def _private(self) -> Bool[np.ndarray, " feature"]:
        return np.array([name.startswith("own.") for name in self.schema.features])

    def _columns(
        self,
        own: Float[np.ndarray, "time basket measure"],
        state: Float[np.ndarray, "time basket measure"],
        slot: Int[np.ndarray, " time"],
    ) -> Float[np.ndarray, "time basket feature"]:
        mixed = neighbour_mix(state[:, :, self.schema.measures.index(self.schema.cost)], self.arrays.spillover)
        columns = [
            regressors(self.schema.design, Inputs(slot, own[:, basket], state[:, basket], mixed[:, basket]))
            for basket in range(len(self.schema.baskets))
        ]
        scaled = (np.stack(columns, axis=1) - self.arrays.column_mean) / self.arrays.column_deviation
        return np.asarray(np.nan_to_num(scaled, nan=0.0))

    def _offsets(
        self,
        scaled: Float[np.ndarray, "time basket feature"],
        linear: Float[np.ndarray, "time basket"],
        slot: Int[np.ndarray, " time"],
    ) -> Float[np.ndarray, "time basket quantile"]:
        still = np.broadcast_to(self.arrays.spread, (*linear.shape, len(QUANTILES)))
        if self.schema.network is None:
            return still
        from hansa.model import network  # noqa: PLC0415 - JAX is loaded only for a model that has a network

        shape = _network_shape(self.schema)
        current = scaled[:, :, current_columns(self.schema.design, len(self.schema.measures))]
        offsets = network.predict_offsets(
            shape,
            self.arrays.network,
            network.stack_inputs(current, linear),
            harmonics(slot, self.schema.design.slots_per_day),
            self.arrays.spillover,
        )
        return gated_steps(offsets, still, gates=self.arrays.gate[:, None], heads=self.arrays.heads[:, None])


def gated_steps(
    offsets: Float[np.ndarray, "time basket quantile"],
    still: Float[np.ndarray, "time basket quantile"],
    *,
    gates: Float[np.ndarray, "basket 1"],
    heads: Float[np.ndarray, "basket 1"],
) -> Float[np.ndarray, "time basket quantile"]:
    """Return the quantiles minus the core that a model with a network has.

    Args:
        offsets: The network's quantiles minus the core.
        still: Quantiles of past errors about their median.
        gates: Share of the network's median that is used.
        heads: 1 where the network's quantiles spread the forecast about its median, 0 where past errors do.
    """
    median = offsets[:, :, 2:3]
    return np.asarray(gates * median + np.where(heads > 0, offsets - median, still))


def residual_spread(
    target: Float[np.ndarray, " bar"], linear: Float[np.ndarray, " bar"]
) -> Float[np.ndarray, " quantile"]:
    """Return the quantiles of the core's errors about their median: the spread of a model without a network.

    Args:
        target: Label of validation rows, scaled units.
        linear: Forecast of the core.
    """
    steps = np.quantile(target - linear, QUANTILES)
    return np.asarray(steps - steps[2])


def _refuse_oversize(schema: Schema) -> None:
    """Refuse a schema whose feature names would be far more than the file that asks for them."""
    names = len(schema.measures) * len(schema.design.lags)
    if names > MAX_FEATURES:
        raise ModelError(f"expected at most {MAX_FEATURES} measures times lags, got {names}; this is no model of hansa")


def _network_length(schema: Schema) -> int:
    if schema.network is None:
        return 0
    from hansa.model import network  # noqa: PLC0415 - JAX is loaded only for a model that has a network

    shape = _network_shape(schema)
    if network.schema_hash(shape) != schema.network_hash:
        raise ModelError(f"expected network layout {network.schema_hash(shape)}, got {schema.network_hash}")
    return network.parameter_count(shape)


def _network_shape(schema: Schema) -> NetworkShape:
    from hansa.model import network  # noqa: PLC0415 - JAX is loaded only for a model that has a network

    width, embedding = schema.network or (0, 0)
    features = current_columns(schema.design, len(schema.measures)).size + 1
    return network.NetworkShape(len(schema.baskets), features, width, embedding)


def _replace(path: Path, content: bytes) -> None:
    waiting = path.with_suffix(path.suffix + ".part")
    waiting.write_bytes(content)
    waiting.replace(path)
