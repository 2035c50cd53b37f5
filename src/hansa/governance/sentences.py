"""A constitution in plain sentences: who, under which rules, what may be learned, how finely and how often.

Guarantees: every sentence is a function of the constitution and of the figures given with it.
Does NOT replace the file: what is signed are its bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hansa.governance.constitution import Constitution, Purpose

_LEARNED: Final = {
    "census": "how much is traded in each basket by all of the cohort together",
    "state": "for each bar and basket the cohort's weighted mean of each measure",
    "gram": "for each basket the matrix of products of regressors, from which the shared linear model is solved",
    "ripple": "how the members' own costs respond to a shock in one basket, beyond what the published state tells",
    "weights": "the sum of the members' training steps of the residual network",
}


def rules_in_words(constitution: Constitution) -> list[str]:
    """Return how sums are made, one sentence each."""
    rules, size = constitution, len(constitution.members)
    schedule, market = constitution.schedule, constitution.market
    baskets = "; ".join(f"{name}: {', '.join(markets)}" for name, markets in market.baskets.items())
    who = f"{size} members and the coordinator {rules.coordinator.name}"
    return [
        f"{who}; up to {rules.colluders} members may collude with the coordinator.",
        f"A sum is opened only over {rules.minimum_cohort} members or more.",
        f"For that {rules.quorum} sign for the same cohort (quorum) and {rules.threshold} help to open it (threshold).",
        f"One sum is tried at most {rules.attempts} times, a cohort answered again at most {rules.reopenings} times.",
        f"Rounds begin by the schedule {schedule.cron!r} in {schedule.time_zone}, back {market.history_days} days.",
        f"Baskets: {baskets}; bars of {market.bar_seconds} s.",
        f"Measures: {', '.join(market.measures)}; forecast is {market.cost}.",
        f"One member weighs at most {market.weight_cap:g} of a basket.",
        f"One client moves a measure by at most {market.influence_cap:g} log units: each member vouches for its own.",
        *_attestation_in_words(constitution),
        *_node_audit_in_words(constitution),
    ]


def _attestation_in_words(constitution: Constitution) -> list[str]:
    clause = constitution.attestation
    if clause is None or clause.policy == "off":
        return []
    machines = ", ".join(sorted({image.technology for image in clause.images})) or "no machine at all"
    refused = "sends nothing" if clause.policy == "require" else "notes it and takes part all the same"
    bound = "bound to its keys, its code and the epoch"
    return [f"The coordinator shows a quote of its machine ({machines}), {bound}; a member without one {refused}."]


def _node_audit_in_words(constitution: Constitution) -> list[str]:
    clause = constitution.node_audit
    if clause is None:
        return []
    then = "is suspended" if clause.suspend else "is named"
    needed = ", ".join(clause.must_pass)
    return [
        "Every quarter a member reports on its node, and another one, drawn by the log, checks it.",
        f"Whoever has not passed {needed} {clause.grace_days} days after the quarter {then}.",
    ]


def purposes_in_words(constitution: Constitution, affordable: Mapping[str, int]) -> dict[str, str]:
    """Return for each purpose what everybody may learn, at which epsilon and how often.

    Args:
        constitution: The constitution.
        affordable: Sums of each purpose, or bars, that its budget pays for in one period.
    """
    return {
        name: _purpose_in_words(constitution, name, purpose, affordable[name])
        for name, purpose in sorted(constitution.purposes.items())
    }


def _purpose_in_words(constitution: Constitution, name: str, purpose: Purpose, affordable: int) -> str:
    learned = _LEARNED.get(name, f"a sum of {purpose.values} values, and {purpose.values_per_bar} more for each bar")
    steps = sum(line.count for line in constitution.round if line.purpose == name)
    what = "bars" if purpose.values_per_bar else "sums"
    bars = "; a round sums the bars that it looks back on"
    often = bars if purpose.values_per_bar else f"; a round makes {steps}"
    return (
        f"Everybody learns {learned}, with noise {purpose.noise_multiplier:g} times what one unit ({purpose.unit}) can "
        f"change. What all sums of a {purpose.period} tell about a unit is bounded by epsilon {purpose.epsilon:g} "
        f"(delta {purpose.delta:g}), which pays for {affordable} {what} a {purpose.period}{often}. "
        f"Coordinator and members take turns {purpose.exchanges} times a sum."
    )


def warnings(constitution: Constitution, affordable: Mapping[str, int], *, rounds_a_year: int) -> list[str]:
    """Return what the members should know before they sign: budgets that end before the schedule does, large epsilons.

    Args:
        constitution: The constitution.
        affordable: As for `purposes_in_words`.
        rounds_a_year: Rounds that the schedule begins in a year.
    """
    found = []
    for name, purpose in sorted(constitution.purposes.items()):
        if purpose.period == "year" and not purpose.values_per_bar:
            count = sum(line.count for line in constitution.round if line.purpose == name)
            paid = affordable[name] // count if count else rounds_a_year
            if paid < rounds_a_year:
                found.append(
                    f"{name}: the schedule begins {rounds_a_year} rounds a year, the budget pays for {paid}; "
                    "members refuse the rest"
                )
        elif purpose.values_per_bar and affordable[name] < 86_400 // constitution.market.bar_seconds:
            found.append(f"{name}: the budget of a {purpose.period} pays for {affordable[name]} bars, less than a day")
        if purpose.epsilon > 1:
            found.append(f"{name}: an epsilon of {purpose.epsilon:g} is a weak guarantee by itself")
    if any(purpose.period == "day" for purpose in constitution.purposes.values()):
        found.append("budgets of a day add up: a unit that is present every day has no useful yearly bound")
    return found
