"""Drafting a constitution: a short file of choices and the parties' keys become every number of it.

What is chosen stands in `draft_file`. What follows from it: the length of each purpose's vector (from the models), its
sensitivity (from caps and clips), and its noise: `sigma / sensitivity` is the least that keeps all planned sums of a
period within epsilon, and two per cent more, so that the slack of discrete noise fits in too. Where sums or noise
would not fit, the steps become coarser.

| purpose | unit | period | planned sums |
|---|---|---|---|
| census | client and basket | year | `rounds_a_year` |
| state | client, basket and day | day | every bar |
| gram | one day of a member's raw data | year | `rounds_a_year` |
| weights | one day of a member's raw data | year | `rounds_a_year` times the training's steps |
| ripple | one day of a member's raw data | year | `ripple_queries` |

Guarantees: the result has passed `governance.constitution.check`, and each budget affords its planned sums by the
accounting that members' doors use; a choice that is unknown or contradicts another is refused with its clause.
Does NOT guarantee that the influence cap holds for a member's clients: that is the member's statistic to enforce.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Final

from cronsim import CronSim
from msgspec.structs import replace

from hansa.crypto.sampling import LARGEST_SIGMA, GaussianTable
from hansa.errors import ConfigurationError
from hansa.federation.draft_file import Budgets, Draft, Training
from hansa.federation.published import gram_length, weights_length
from hansa.federation.ripple_answer import ripple_length
from hansa.federation.ripple_query import PURPOSE
from hansa.federation.rules import limits_of
from hansa.governance.amendment import changes
from hansa.governance.constitution import (
    SUM_LIMIT,
    Constitution,
    Party,
    Purpose,
    Schedule,
    Sums,
    check,
    noise_and_reach,
)
from hansa.market.measures import MEASURES
from hansa.model.clipping import BINS
from hansa.model.ripple_curve import answer_sensitivity
from hansa.protocol.encoding import share_sigma, values_touched
from hansa.protocol.privacy import Charge, NoiseShares, epsilon, noise_multiplier_for

if TYPE_CHECKING:
    from collections.abc import Sequence

_HEADROOM: Final = 1.02
_MAX_RELEASES: Final = 2**30
_YEAR_START: Final = datetime(2023, 1, 1, tzinfo=UTC)
_MOST_ROUNDS: Final = 10_000


def constitution_of(
    draft: Draft,
    *,
    federation: str,
    members: Sequence[Party],
    coordinator: Party,
    supersedes: Constitution | None = None,
) -> Constitution:
    """Return the constitution that a draft makes for these parties.

    Args:
        draft: The choices.
        federation: Name of the federation.
        members: Names and identity keys, in any order.
        coordinator: Name and identity key.
        supersedes: The constitution in force, if there is one.

    Raises:
        ConfigurationError: Choices contradict each other or the parties; the clause is named.
    """
    unknown = sorted(set(draft.market.measures) - set(MEASURES))
    if unknown:
        raise ConfigurationError(f"draft: market.measures: expected some of {', '.join(MEASURES)}; got {unknown[0]!r}")
    _refuse_unplannable(draft)
    size = len(members)
    colluders = max(0, (size - 1) // 3) if draft.colluders is None else draft.colluders
    least = max(3, colluders + 2, (size + colluders) // 2 + 1)
    constitution = Constitution(
        version=1,
        epoch=1 if supersedes is None else supersedes.epoch + 1,
        federation=federation,
        members=tuple(sorted(members, key=lambda party: party.name)),
        coordinator=coordinator,
        colluders=colluders,
        minimum_cohort=least if draft.minimum_cohort is None else draft.minimum_cohort,
        attempts=draft.attempts,
        reopenings=draft.reopenings,
        cosignatures=(len(members) + colluders) // 2 + 1 if draft.cosignatures is None else draft.cosignatures or None,
        market=draft.market,
        purposes=_purposes(draft),
        round=(Sums("census", 1), Sums("state", 1), Sums("gram", 1), *_training(draft)),
        schedule=draft.schedule,
        deadlines=draft.deadlines,
        supersedes=None if supersedes is None else supersedes.digest(),
        attestation=draft.attestation,
        node_audit=draft.node_audit,
    )
    if constitution.minimum_cohort > constitution.colluders:  # otherwise `check` refuses
        constitution = replace(constitution, purposes=_fitting(constitution))
    check(constitution)
    for name, planned in _planned(draft).items():
        if name not in constitution.purposes:
            continue
        found = affordable(constitution, name)
        if found < planned:
            raise ConfigurationError(
                f"draft: budgets.{name}: epsilon {constitution.purposes[name].epsilon:g} is to pay for {planned} sums "
                f"a {constitution.purposes[name].period} and pays for {found}; raise it"
            )
    return constitution


def draft_of(constitution: Constitution) -> Draft:
    """Return the draft that makes a constitution, to begin the next one with.

    Raises:
        ConfigurationError: No draft makes it: a number was set otherwise; the clauses are named.
    """
    try:
        census, state, gram, weights = (constitution.purposes[n] for n in ("census", "state", "gram", "weights"))
    except KeyError as error:
        raise ConfigurationError(f"constitution: it has no purpose {error.args[0]}, which every draft has") from error
    steps = sum(line.count for line in constitution.round if line.purpose == "weights")
    once = _multiplier(census.epsilon, census.delta, 1)
    draft = Draft(
        market=constitution.market,
        budgets=Budgets(
            census=census.epsilon,
            state=state.epsilon,
            gram=gram.epsilon,
            clip=constitution.purposes["clip"].epsilon if "clip" in constitution.purposes else 0.0,
            weights=weights.epsilon,
            **_ripple_budget(constitution),
            delta=census.delta,
            rounds_a_year=max(1, round((census.noise_multiplier / once) ** 2)),
        ),
        training=Training(steps, gram.sensitivity / 2, weights.sensitivity / 2),
        schedule=constitution.schedule,
        deadlines=constitution.deadlines,
        colluders=constitution.colluders,
        minimum_cohort=constitution.minimum_cohort,
        attempts=constitution.attempts,
        reopenings=constitution.reopenings,
        cosignatures=constitution.cosignatures or 0,
        attestation=constitution.attestation,
        node_audit=constitution.node_audit,
    )
    made = constitution_of(
        draft,
        federation=constitution.federation,
        members=constitution.members,
        coordinator=constitution.coordinator,
    )
    made = replace(made, epoch=constitution.epoch, supersedes=constitution.supersedes)
    different = ", ".join(change.clause for change in changes(constitution, made))
    if different:
        raise ConfigurationError(f"constitution: no draft makes this one; set otherwise: {different}")
    return draft


def _ripple_budget(constitution: Constitution) -> dict[str, Any]:
    ripple = constitution.purposes.get(PURPOSE)
    if ripple is None:
        return {}
    once = _multiplier(ripple.epsilon, ripple.delta, 1)
    return {"ripple": ripple.epsilon, "ripple_queries": max(1, round((ripple.noise_multiplier / once) ** 2))}


def affordable(constitution: Constitution, name: str) -> int:
    """Return how many sums of a purpose its budget pays for in one period; about bars, how many bars.

    Raises:
        ConfigurationError: The noise is too small to account for.
    """
    limits = limits_of(constitution)
    purpose = limits.purposes[name]
    length = purpose.values + purpose.values_per_bar
    table = GaussianTable.build(share_sigma(purpose, limits, length=length))
    honest = constitution.minimum_cohort - constitution.colluders
    noise = NoiseShares(table.sigma, honest, values_touched(purpose, length), table.delta)

    def fits(count: int) -> bool:
        return epsilon([Charge(purpose.noise_multiplier, count, noise)], delta=purpose.delta) <= purpose.epsilon

    low, high = 0, 1
    while high < _MAX_RELEASES and fits(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def scheduled_rounds(schedule: Schedule) -> int:
    """Return how many rounds a schedule begins in a year, at most 10,000."""
    end = _YEAR_START + timedelta(days=365)
    starts = takewhile(lambda start: start < end, CronSim(schedule.cron, _YEAR_START))
    return sum(1 for _, _ in zip(range(_MOST_ROUNDS), starts, strict=False))


def _refuse_unplannable(draft: Draft) -> None:
    budgets, training = draft.budgets, draft.training
    numbers = {
        **{f"budgets.{name}": getattr(budgets, name) for name in ("census", "state", "gram", "weights")},
        "training.gram_clip": training.gram_clip,
        "training.gradient_clip": training.gradient_clip,
    }
    for clause, number in numbers.items():
        if not 0 < number <= 1e6:
            raise ConfigurationError(f"draft: {clause}: expected above 0, at most 10^6; got {number}")
    clauses = {
        f"budgets.clip: 0 to 10^6; got {budgets.clip}": 0 <= budgets.clip <= 1e6,
        f"budgets.ripple: 0 to 10^6; got {budgets.ripple}": 0 <= budgets.ripple <= 1e6,
        f"budgets.ripple_queries: 1 to {_MOST_ROUNDS}; got {budgets.ripple_queries}": 1
        <= budgets.ripple_queries
        <= _MOST_ROUNDS,
        f"budgets.delta: above 0, at most 1e-3; got {budgets.delta}": 0 < budgets.delta <= 1e-3,
        f"budgets.rounds_a_year: 1 to {_MOST_ROUNDS}; got {budgets.rounds_a_year}": 1
        <= budgets.rounds_a_year
        <= _MOST_ROUNDS,
        f"training.steps: 0 to {_MOST_ROUNDS}; got {training.steps}": 0 <= training.steps <= _MOST_ROUNDS,
        f"market.bar_seconds: divides a day; got {draft.market.bar_seconds}": draft.market.bar_seconds > 0
        and 86_400 % draft.market.bar_seconds == 0,
        "market.measures: at least one": bool(draft.market.measures),
        "market.baskets: at least one": bool(draft.market.baskets),
    }
    for clause, holds in clauses.items():
        if not holds:
            raise ConfigurationError(f"draft: {clause}")


def _planned(draft: Draft) -> dict[str, int]:
    rounds = draft.budgets.rounds_a_year
    bars = 86_400 // draft.market.bar_seconds
    steps = rounds * max(draft.training.steps, 1)
    queries = draft.budgets.ripple_queries
    return {"census": rounds, "state": bars, "gram": rounds, "clip": rounds, "weights": steps, PURPOSE: queries}


def _training(draft: Draft) -> list[Sums]:
    """Return the training sums of a round: where the steps clip, if that is asked for, and the steps."""
    if not draft.training.steps:
        return []
    return [*([Sums("clip", 1)] if draft.budgets.clip else []), Sums("weights", draft.training.steps)]


def _purposes(draft: Draft) -> dict[str, Purpose]:
    market, budgets, planned = draft.market, draft.budgets, _planned(draft)
    baskets, measures = len(market.baskets), len(market.measures)

    def noise(name: str) -> float:
        return _multiplier(getattr(budgets, name), budgets.delta, planned[name])

    census = Purpose(
        values=baskets,
        values_per_bar=0,
        exchanges=3,
        value_bound=4.0,
        scale=2**20,
        sensitivity=market.influence_cap * 4.0,
        noise_multiplier=noise("census"),
        unit="client and basket",
        period="year",
        epsilon=budgets.census,
        delta=budgets.delta,
    )
    gram = replace(
        census,
        values=gram_length(market),
        value_bound=4096.0,
        scale=2**13,
        sensitivity=2 * draft.training.gram_clip,
        noise_multiplier=noise("gram"),
        unit="one day of a member's raw data",
        epsilon=budgets.gram,
    )
    weights = replace(
        gram,
        values=weights_length(market),
        value_bound=256.0,
        scale=2**16,
        sensitivity=2 * draft.training.gradient_clip,
        noise_multiplier=noise("weights"),
        epsilon=budgets.weights,
    )
    state = replace(
        census,
        values_per_bar=baskets * measures,
        exchanges=2,
        value_bound=1024.0,
        scale=2**16,
        sensitivity=market.influence_cap * market.weight_cap * math.sqrt(measures),
        noise_multiplier=noise("state"),
        unit="client, basket and day",
        period="day",
        epsilon=budgets.state,
    )
    found = {"census": census, "state": state, "gram": gram, "weights": weights}
    if budgets.clip and draft.training.steps:
        found["clip"] = replace(
            gram,
            values=BINS,
            value_bound=float(market.history_days + 2),
            scale=2**10,
            sensitivity=2.0,
            noise_multiplier=noise("clip"),
            epsilon=budgets.clip,
        )
    if budgets.ripple:
        found[PURPOSE] = replace(
            gram,
            values=ripple_length(market),
            value_bound=4.0,
            scale=2**20,
            sensitivity=answer_sensitivity(),
            noise_multiplier=noise(PURPOSE),
            epsilon=budgets.ripple,
        )
    return found


def _fitting(constitution: Constitution) -> dict[str, Purpose]:
    """Return the purposes with steps so coarse that sums fit a lane and a member's noise is within the sampler's reach.

    Half of either limit is left, so that a later constitution with a few more members keeps its steps.
    """
    found = {}
    for name, purpose in constitution.purposes.items():
        fitting = purpose
        while fitting.scale > 1:
            share, reach = noise_and_reach(fitting, constitution)
            if share <= LARGEST_SIGMA / 2 and reach < SUM_LIMIT / 2:
                break
            fitting = replace(fitting, scale=fitting.scale // 2)
        found[name] = fitting
    return found


def _multiplier(epsilon: float, delta: float, sums: int) -> float:
    return float(f"{_HEADROOM * noise_multiplier_for(epsilon, delta, sums):.6g}")
