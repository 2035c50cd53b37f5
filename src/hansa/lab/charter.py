"""A constitution for an alliance on one machine: the demo's and that of `hansa run`.

The choices of such an alliance, put through `federation.drafting`: the budgets are chosen, the noise follows. One
round is planned a year; `influence_cap` is 0.02 log units; the other budgets and clips are the drafting's defaults
(census 4 a year, state 8 a day, clip 2 a year, Gram and weights 8 a year).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hansa.federation.draft_file import Budgets, Draft, Training
from hansa.federation.drafting import constitution_of
from hansa.governance.constitution import Constitution, Deadlines, Market, Party
from hansa.market.influence import DEFAULT_CAP

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

INFLUENCE_CAP: Final = DEFAULT_CAP
CLIP_EPSILON: Final = 2.0


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
    ripple_epsilon: float = 0.0,
    ripple_queries: int = 20,
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
        ripple_epsilon: Yearly budget of ripple queries; 0 for none.
        ripple_queries: Queries a year that it pays for.
        weight_cap: Largest share of a member in a basket; the state's noise grows with it.
        upload_seconds: How long a session waits for uploads.
        bar_seconds: Length of a bar.

    Raises:
        ConfigurationError: Choices contradict each other; the clause is named.
    """
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
    draft = Draft(
        market,
        Budgets(
            state=state_epsilon,
            gram=training_epsilon,
            clip=clip_epsilon,
            weights=training_epsilon,
            ripple=ripple_epsilon,
            ripple_queries=ripple_queries,
        ),
        Training(steps=steps),
        deadlines=Deadlines(60.0, upload_seconds, upload_seconds, upload_seconds),
    )
    return constitution_of(
        draft,
        federation=federation,
        members=[Party(name, key) for name, key in keys.items()],
        coordinator=Party("coordinator", coordinator_key),
    )
