"""A constitution for an alliance on one machine: the demo's and that of `hansa run`.

The budgets are chosen, the noise follows: `sigma / sensitivity` is the least that keeps a year's planned releases (one
round) or a day's (every bar) within epsilon. What is chosen and why:

| purpose | unit | epsilon | note |
|---|---|---|---|
| census | (client, basket), year | 4 | one number a basket |
| state | (client, basket), day | 8 | `influence_cap` 0.02 log units; a whole day of bars |
| gram | one day of raw data, year | 8 | few day-blocks: the core leans on published series where noise hides it |
| clip | one day of raw data, year | 2 | once a round: to which norm the steps clip, at most `GRADIENT_CLIP` |
| weights | one day of raw data, year | 8 | a dozen steps; a member's gate closes the network where noise drowns it |

A day-block takes part in every round that looks back to it: rounds within `history_days` and a day. The charges of a
year are those of all its rounds, so the yearly budget pays for whatever rounds a block is in: one, as drafted here.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from hansa.federation.published import gram_length, weights_length
from hansa.governance.constitution import Constitution, Deadlines, Market, Party, Purpose, Schedule, Sums, check
from hansa.market.influence import DEFAULT_CAP
from hansa.model.clipping import BINS
from hansa.protocol.privacy import noise_multiplier_for

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DELTA: Final = 1e-6
INFLUENCE_CAP: Final = DEFAULT_CAP
GRAM_CLIP: Final = 12.0
GRADIENT_CLIP: Final = 0.5
CLIP_EPSILON: Final = 2.0
HEADROOM: Final = 1.02
"""The noise is a little more than the budget needs, so that the discrete noise's slack fits in it too."""


def charter(
    *,
    federation: str,
    keys: Mapping[str, str],
    coordinator_key: str,
    baskets: Mapping[str, Sequence[str]],
    measures: Sequence[str],
    cost: str,
    volume_unit: float,
    history_days: int,
    steps: int = 12,
    training_epsilon: float = 8.0,
    state_epsilon: float = 8.0,
    clip_epsilon: float = CLIP_EPSILON,
    weight_cap: float = 0.25,
    upload_seconds: float = 30.0,
    bar_seconds: int = 300,
) -> Constitution:
    """Return a constitution for members with these identity keys.

    Args:
        federation: Name of the federation.
        keys: Identity key by member.
        coordinator_key: Identity key of the coordinator.
        baskets: Markets by basket.
        measures: Log measures of a bar.
        cost: The measure that is forecast.
        volume_unit: Quote volume a bar that counts as 1.
        history_days: Days that a round looks back.
        steps: Training steps of the residual network in a round.
        training_epsilon: Yearly budget of `gram`, and of `weights`.
        state_epsilon: Daily budget of the state channel.
        clip_epsilon: Yearly budget of `clip`; 0 for a fixed bound.
        weight_cap: Largest share of a member in a basket; the state's noise grows with it.
        upload_seconds: How long a session waits for uploads.
        bar_seconds: Length of a bar.
    """
    members = len(keys)
    colluders = (members - 1) // 3
    market = Market(
        bar_seconds=bar_seconds,
        baskets={name: tuple(markets) for name, markets in baskets.items()},
        measures=tuple(measures),
        cost=cost,
        volume_unit=volume_unit,
        weight_cap=weight_cap,
        influence_cap=INFLUENCE_CAP,
        history_days=history_days,
    )
    constitution = Constitution(
        version=1,
        epoch=1,
        federation=federation,
        members=tuple(Party(name, keys[name]) for name in sorted(keys)),
        coordinator=Party("coordinator", coordinator_key),
        colluders=colluders,
        minimum_cohort=max(3, colluders + 2, (members + colluders) // 2 + 1),
        attempts=3,
        reopenings=2,
        market=market,
        purposes=_purposes(
            market,
            steps=steps,
            training_epsilon=training_epsilon,
            state_epsilon=state_epsilon,
            clip_epsilon=clip_epsilon,
        ),
        round=(Sums("census", 1), Sums("state", 1), Sums("gram", 1), *_training(steps, clip_epsilon)),
        schedule=Schedule("0 2 * * 3", "UTC"),
        deadlines=Deadlines(60.0, upload_seconds, upload_seconds, upload_seconds),
    )
    check(constitution)
    return constitution


def _training(steps: int, clip_epsilon: float) -> list[Sums]:
    if steps == 0:
        return []
    return [*([Sums("clip", 1)] if clip_epsilon else []), Sums("weights", steps)]


def _purposes(
    market: Market, *, steps: int, training_epsilon: float, state_epsilon: float, clip_epsilon: float
) -> dict[str, Purpose]:
    baskets, measures = len(market.baskets), len(market.measures)
    bars = 86_400 // market.bar_seconds
    year = Purpose(
        values=baskets,
        values_per_bar=0,
        exchanges=3,
        value_bound=4.0,
        scale=2**20,
        sensitivity=market.influence_cap * 4.0,
        noise_multiplier=_multiplier(4.0, 1),
        unit="client and basket",
        period="year",
        epsilon=4.0,
        delta=DELTA,
    )
    gram = replace(
        year,
        values=gram_length(market),
        value_bound=4096.0,
        scale=2**13,
        sensitivity=2 * GRAM_CLIP,
        noise_multiplier=_multiplier(training_epsilon, 1),
        unit="one day of a member's raw data",
        epsilon=training_epsilon,
    )
    weights = replace(
        gram,
        values=weights_length(market),
        value_bound=256.0,
        scale=2**16,
        sensitivity=2 * GRADIENT_CLIP,
        noise_multiplier=_multiplier(training_epsilon, max(steps, 1)),
    )
    state = replace(
        year,
        values_per_bar=baskets * measures,
        exchanges=2,
        value_bound=1024.0,
        scale=2**16,
        sensitivity=market.influence_cap * market.weight_cap * math.sqrt(measures),
        noise_multiplier=_multiplier(state_epsilon, bars),
        unit="client, basket and day",
        period="day",
        epsilon=state_epsilon,
    )
    found = {"census": year, "state": state, "gram": gram, "weights": weights}
    if steps and clip_epsilon:
        found["clip"] = replace(
            gram,
            values=BINS,
            value_bound=float(market.history_days + 2),
            scale=2**10,
            sensitivity=2.0,
            noise_multiplier=_multiplier(clip_epsilon, 1),
            epsilon=clip_epsilon,
        )
    return found


def _multiplier(epsilon: float, releases: int) -> float:
    return float(f"{HEADROOM * noise_multiplier_for(epsilon, DELTA, releases):.6g}")
