"""What another noise would cost: budget, noise on a value, and for the state channel the error it would bring.

A plan multiplies a purpose's `noise_multiplier` by a factor, everything else as the constitution has it, and states

* `epsilon` for the releases of a period that the constitution pays for today (whole rounds; a day's bars),
* `schedule_epsilon` if every scheduled round of a year ran,
* `deviation`, the noise on one value of a sum over all members, in the statistic's unit,
* `refusal`, the clause by which the constitution could not be amended so, or why the noise could not be sampled in
  the purpose's scale; the accounting is then the ideal Gaussian's.

Does NOT guarantee that an amendment is wise: what the noise does to forecasts is `hansa.federation.renoising`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import msgspec

from hansa.errors import ConfigurationError
from hansa.federation.budgets import (
    SCHEDULE_FROM_NS,
    YEAR_NS,
    charge_of,
    releases_asked,
    releases_left,
    rounds_from,
    value_deviation,
)
from hansa.federation.rules import limits_of
from hansa.governance.constitution import check
from hansa.protocol.privacy import Charge, epsilon, noise_multiplier_for, zcdp_rho

if TYPE_CHECKING:
    from hansa.governance.constitution import Constitution
    from hansa.protocol.limits import Limits, PurposeLimit

_STEP: Final = 1.0005


@dataclass(frozen=True, slots=True)
class Plan:
    """One purpose at one noise.

    Attributes:
        purpose: Name in the constitution.
        factor: Of the constitution's noise.
        noise_multiplier: Noise of a sum over the sensitivity.
        deviation: Standard deviation of the noise on one value of a sum of all members, in the statistic's unit.
        releases: Releases of a period that the constitution pays for today.
        epsilon: Of these releases at `delta`.
        rho: Of these releases, as zCDP.
        delta: Of the budget.
        affordable: Releases of a period that would fit into the constitution's epsilon.
        schedule_releases: Releases of a period if every scheduled round, or every bar of a day, is summed once.
        schedule_epsilon: Of those.
        refusal: Why the constitution cannot be amended so, or an empty text.
    """

    purpose: str
    factor: float
    noise_multiplier: float
    deviation: float
    releases: int
    epsilon: float
    rho: float
    delta: float
    affordable: int
    schedule_releases: int
    schedule_epsilon: float
    refusal: str


def plan_factor(constitution: Constitution, name: str, factor: float) -> Plan:
    """Return the plan for a purpose whose noise is multiplied by `factor`.

    Raises:
        ConfigurationError: The purpose is not in the constitution, or the factor is not positive and finite.
    """
    if name not in constitution.purposes:
        raise ConfigurationError(f"expected a purpose of {', '.join(constitution.purposes)}; got {name}")
    if not 0 < factor < float("inf"):
        raise ConfigurationError(f"expected a factor above 0, got {factor}")
    limits = limits_of(constitution)
    limit = limits.purposes[name]
    changed = replace(limit, noise_multiplier=limit.noise_multiplier * factor)
    one, refusal = _charge(changed, limits)
    releases, scheduled = paid_releases(constitution, name), scheduled_releases(constitution, name)
    together = replace(one, count=releases)
    return Plan(
        purpose=name,
        factor=factor,
        noise_multiplier=changed.noise_multiplier,
        deviation=value_deviation(changed, limits),
        releases=releases,
        epsilon=epsilon([together], delta=limit.delta),
        rho=zcdp_rho([together]),
        delta=limit.delta,
        affordable=releases_left([], one, allowed=limit.epsilon, delta=limit.delta),
        schedule_releases=scheduled,
        schedule_epsilon=epsilon([replace(one, count=max(scheduled, 1))], delta=limit.delta),
        refusal=refusal or _refusal(constitution, name, changed.noise_multiplier),
    )


def plan_epsilon(constitution: Constitution, name: str, wanted: float) -> Plan:
    """Return the plan whose noise is the least that keeps the releases of a period within epsilon `wanted`.

    Raises:
        ConfigurationError: As for `plan_factor`, or `wanted` is not positive.
    """
    if name not in constitution.purposes:
        raise ConfigurationError(f"expected a purpose of {', '.join(constitution.purposes)}; got {name}")
    purpose = constitution.purposes[name]
    ideal = noise_multiplier_for(wanted, purpose.delta, paid_releases(constitution, name))
    factor = ideal / purpose.noise_multiplier
    found = plan_factor(constitution, name, factor)
    while found.epsilon > wanted:  # what the discreteness of the noise adds
        factor *= _STEP
        found = plan_factor(constitution, name, factor)
    return found


def paid_releases(constitution: Constitution, name: str) -> int:
    """Return the releases of a period that the constitution's own noise pays for: whole rounds, or a day's bars."""
    asked = max(releases_asked(constitution, name), 1)
    if constitution.purposes[name].period == "day":
        return asked
    limits = limits_of(constitution)
    limit = limits.purposes[name]
    fitting = releases_left([], charge_of(limit, limits), allowed=limit.epsilon, delta=limit.delta)
    return min(max(fitting // asked, 1) * asked, max(scheduled_releases(constitution, name), asked))


def scheduled_releases(constitution: Constitution, name: str) -> int:
    """Return the releases of a period if the whole schedule runs and no sum is attempted twice."""
    asked = releases_asked(constitution, name)
    if constitution.purposes[name].period == "day":
        return asked
    rounds = 0
    for time_ns in rounds_from(constitution, SCHEDULE_FROM_NS - 1):
        if time_ns >= SCHEDULE_FROM_NS + YEAR_NS:
            break
        rounds += 1
    return asked * rounds


def _charge(purpose: PurposeLimit, limits: Limits) -> tuple[Charge, str]:
    """Return the charge of one release; an ideal one, and why, where the noise cannot be sampled in the scale."""
    try:
        return charge_of(purpose, limits), ""
    except ConfigurationError as error:
        return Charge(purpose.noise_multiplier, 1), str(error)


def _refusal(constitution: Constitution, name: str, noise_multiplier: float) -> str:
    purpose = msgspec.structs.replace(constitution.purposes[name], noise_multiplier=noise_multiplier)
    amended = msgspec.structs.replace(constitution, purposes={**constitution.purposes, name: purpose})
    try:
        check(amended)
    except ConfigurationError as error:
        return str(error)
    return ""
