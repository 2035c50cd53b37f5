"""What a round has published, put together from opened sums alone: the same for every member, and for an auditor.

| purpose | vector of a member, before noise | what becomes of the sum |
|---|---|---|
| census | mean quote volume of each basket, in volume units | turnover; a member's weight is its capped share |
| state | weights times 1000 for each basket; then weighted log measures, bar by bar, basket by basket | the state |
| gram | packed Gram of each basket, day-blocks clipped | weights of the closed-form core |
| clip | day-blocks counted by the norm of their gradients (`model.clipping`) | the bound of the steps that follow |
| weights | sum of clipped day gradients, in units of bound / widest bound | one step of the linear server |

The widest bound of a day-block's gradient is half the sensitivity of `weights`. Without a `clip` sum it is the bound.
Dividing by the bound before the door and multiplying after keeps the noise proportional to it at one sensitivity.

The weights are made of volumes that each member has noised at home once, under the census's budget (`liquidity`), so
they may travel 1000 times larger: the state's noise does not blur them, and a sum over fewer members is still divided
by the right weight.
"""

from __future__ import annotations

import math
from copy import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Self

import numpy as np

from hansa.errors import ModelError
from hansa.market.calendar import slot_of_day
from hansa.market.features import carry_forward
from hansa.model.clipping import bound_of
from hansa.model.core import packed_length
from hansa.model.design import Design, feature_names, spillover_weights
from hansa.model.network import NetworkShape, initial_parameters, parameter_count
from hansa.model.training import ServerMomentum
from hansa.protocol.encoding import in_units, share_sigma

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from hansa.governance.constitution import Constitution, Market
    from hansa.model.training import ServerState
    from hansa.protocol.limits import Limits
    from hansa.protocol.session import Aggregate

WEIGHT_SCALE: Final = 1000.0
WARM_UP_BARS: Final = 288
EMBARGO_BARS: Final = 12
VALIDATION_SHARE: Final = 0.25
SERVER: Final = ServerMomentum()


def design_of(market: Market) -> Design:
    """Return the regressors that a federation's core uses."""
    return Design(own=True, state=True, neighbours=len(market.baskets) > 1, slots_per_day=86_400 // market.bar_seconds)


def network_shape(market: Market) -> NetworkShape:
    """Return the sizes of the residual network: own and state measures and the linear forecast of each basket."""
    return NetworkShape(baskets=len(market.baskets), features=2 * len(market.measures) + 1)


def gram_length(market: Market) -> int:
    """Return the values of the `gram` purpose: one packed Gram a basket."""
    features = len(feature_names(design_of(market), market.measures))
    return len(market.baskets) * packed_length(features)


def weights_length(market: Market) -> int:
    """Return the values of the `weights` purpose: the network's parameters."""
    return parameter_count(network_shape(market))


@dataclass(frozen=True, slots=True)
class Training:
    """The training span of one round: bars `first` to `bars` - 1 of the state, and what its census said of turnover."""

    first: int
    bars: int
    turnover: Float[np.ndarray, " basket"] = field(repr=False)


class Published:
    """The public facts of the newest round.

    Args:
        constitution: The constitution in force.
        limits: Its limits.
    """

    def __init__(self, constitution: Constitution, limits: Limits) -> None:
        self.market = constitution.market
        self.baskets = tuple(self.market.baskets)
        self.cost = self.market.measures.index(self.market.cost)
        self.start_ns = 0
        self.train_first = 0
        self.train_bars = 0  # counted from bar 0 of the state, the end of the training span included
        self.turnover: Float[np.ndarray, " basket"] | None = None
        self.state: Float[np.ndarray, "time basket measure"] = np.empty(
            (0, len(self.baskets), len(self.market.measures))
        )
        self.weights: Float[np.ndarray, " basket"] = np.zeros(len(self.baskets))  # of the newest state sum
        self.grams: Float[np.ndarray, "basket packed"] | None = None
        self.gram_deviation = 0.0
        self.server: ServerState | None = None
        self.trained: Float[np.ndarray, " param"] | None = None  # the network as the round before left it
        self.clip_bound = self.widest_bound(limits)
        self.rounds: list[str] = []
        self.trainings: list[Training] = []  # of every round so far
        self._limits = limits
        self._seed = int(constitution.digest()[:8], 16)

    @staticmethod
    def widest_bound(limits: Limits) -> float:
        """Return the largest norm that a day-block's gradient may keep; 0 where no purpose trains the network."""
        return limits.purposes["weights"].sensitivity / 2 if "weights" in limits.purposes else 0.0

    @property
    def clip_unit(self) -> float:
        """One unit of the vector of `weights`, in units of the gradient: the bound over the widest one."""
        return self.clip_bound / self.widest_bound(self._limits)

    @property
    def bar_ns(self) -> int:
        """Length of a bar, ns."""
        return self._limits.bar_ns

    def stamps(self) -> Int[np.ndarray, " time"]:
        """Return the stamp of each bar of the state, ns UTC."""
        return self.start_ns + np.arange(self.state.shape[0], dtype=np.int64) * self.bar_ns

    def slots(self) -> Int[np.ndarray, " time"]:
        """Return the slot of the day of each bar of the state."""
        return slot_of_day(self.stamps(), self.bar_ns)

    def train_rows(self) -> Int[np.ndarray, " row"]:
        """Return the training rows: warm-up left out, the last bar, whose label lies outside, and gaps of the state."""
        rows = np.arange(max(WARM_UP_BARS, self.train_first), min(self.train_bars, self.state.shape[0]) - 1)
        known = np.isfinite(self.state[:, :, self.cost]).all(axis=1)
        return np.asarray(rows[known[rows] & known[rows + 1]])

    def fit_and_validation_rows(self) -> tuple[Int[np.ndarray, " row"], Int[np.ndarray, " row"]]:
        """Return the training rows in an earlier part and, an embargo after it, a later part for choices at home."""
        rows = self.train_rows()
        border = rows.size - int(rows.size * VALIDATION_SHARE)
        return rows[: max(border - EMBARGO_BARS, 1)], rows[border:]

    def training_days(self) -> int:
        """Return how many days have training rows."""
        bars = self.train_bars - self.train_first
        return -(-bars * self.bar_ns // 86_400_000_000_000) + 1

    def spillover(self) -> Float[np.ndarray, "basket basket"]:
        """Return who moves whom, from the published cost over the training bars."""
        return spillover_weights(carry_forward(self.state[: self.train_bars, :, self.cost]))

    def weights_of(self, share: Float[np.ndarray, " basket"]) -> Float[np.ndarray, " basket"]:
        """Return a member's weight in each basket: its share of the turnover, capped."""
        return np.asarray(np.minimum(share, self.market.weight_cap))

    def receive(self, aggregate: Aggregate) -> None:
        """Take in an opened sum.

        Raises:
            ModelError: It comes before what it builds on.
        """
        manifest = aggregate.manifest
        purpose = self._limits.purposes[manifest.purpose]
        total = in_units(aggregate.steps, purpose.scale)
        handlers = {
            "census": self._census,
            "state": self._state,
            "gram": self._gram,
            "clip": self._clip,
            "weights": self._weights,
        }
        if manifest.purpose in handlers:
            handlers[manifest.purpose](aggregate, total)
            self.rounds.append(manifest.digest().hex())

    def snapshot(self) -> Self:
        """Return what is published now, whatever comes later."""
        found = copy(self)
        found.state = self.state.copy()
        return found

    def deviation(self, aggregate: Aggregate) -> float:
        """Return the standard deviation of the noise on one value of an opened sum, in the statistic's unit."""
        manifest = aggregate.manifest
        purpose = self._limits.purposes[manifest.purpose]
        share = share_sigma(purpose, self._limits, length=manifest.length)
        return float(share) * math.sqrt(len(aggregate.cohort)) / purpose.scale

    def _census(self, aggregate: Aggregate, total: Float[np.ndarray, " value"]) -> None:
        manifest = aggregate.manifest
        if self.state.shape[0] == 0:
            self.start_ns = manifest.span_start_ns
        self.train_first = max((manifest.span_start_ns - self.start_ns) // self.bar_ns, 0)
        self.train_bars = (manifest.span_end_ns - self.start_ns) // self.bar_ns + 1
        self.turnover = np.maximum(total, 1e-9)
        self.trainings.append(Training(self.train_first, self.train_bars, self.turnover))
        if self.server is not None:
            self.trained = self.server.parameters
        self.grams, self.server, self.rounds = None, None, []

    def _state(self, aggregate: Aggregate, total: Float[np.ndarray, " value"]) -> None:
        if self.turnover is None:
            raise ModelError("a state before the census of its round; wait for the next round")
        baskets, measures = len(self.baskets), len(self.market.measures)
        self.weights = np.maximum(total[:baskets] / WEIGHT_SCALE, 1e-3)
        values = total[baskets:].reshape(-1, baskets, measures) / self.weights[None, :, None]
        first = (aggregate.manifest.span_start_ns - self.start_ns) // self.bar_ns
        if first < 0:
            raise ModelError(f"a state that begins {-first} bars before the first census")
        missing = first + values.shape[0] - self.state.shape[0]
        if missing > 0:  # sums of single bars may overtake each other: what is not there yet is a gap
            self.state = np.concatenate([self.state, np.full((missing, baskets, measures), np.nan)])
        self.state[first : first + values.shape[0]] = values

    def _gram(self, aggregate: Aggregate, total: Float[np.ndarray, " value"]) -> None:
        if self.state.shape[0] < self.train_bars:
            raise ModelError("a Gram matrix before the state of its span")
        self.grams = total.reshape(len(self.baskets), -1)
        self.gram_deviation = self.deviation(aggregate)
        first = initial_parameters(network_shape(self.market), self._seed) if self.trained is None else self.trained
        self.server = SERVER.start(first)  # a round goes on where the one before ended, at rest
        self.clip_bound = self.widest_bound(self._limits)

    def _clip(self, _aggregate: Aggregate, total: Float[np.ndarray, " value"]) -> None:
        if self.server is None:
            raise ModelError("norms of gradients before the core of the round")
        self.clip_bound = bound_of(total, self.widest_bound(self._limits))

    def _weights(self, aggregate: Aggregate, total: Float[np.ndarray, " value"]) -> None:
        if self.server is None:
            raise ModelError("a training step before the core of its round")
        blocks = self.training_days() * len(aggregate.cohort)
        self.server = SERVER.apply(self.server, self.clip_unit * total, blocks=blocks)
