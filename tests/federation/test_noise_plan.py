"""Claims about plans for another noise."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from hansa.errors import ConfigurationError
from hansa.federation.budgets import charge_of
from hansa.federation.noise_plan import paid_releases, plan_epsilon, plan_factor, scheduled_releases
from hansa.federation.rules import limits_of
from hansa.protocol.privacy import epsilon
from small_market import constitution

RULES = constitution(4, 2)
LIMITS = limits_of(RULES)


@pytest.mark.parametrize("name", ["census", "state", "gram", "weights"])
def test_todays_noise_costs_the_constitutions_epsilon_and_a_little_less(name: str) -> None:
    purpose = RULES.purposes[name]
    plan = plan_factor(RULES, name, 1.0)
    assert plan.noise_multiplier == purpose.noise_multiplier
    assert plan.releases == paid_releases(RULES, name) == {"state": 288, "weights": 2}.get(name, 1)
    assert 0.95 * purpose.epsilon < plan.epsilon <= purpose.epsilon
    together = charge_of(LIMITS.purposes[name], LIMITS, releases=plan.releases)
    assert plan.epsilon == epsilon([together], delta=purpose.delta)
    assert plan.refusal == ""


def test_twice_the_noise_is_twice_the_deviation_and_a_quarter_of_rho() -> None:
    one, two = plan_factor(RULES, "state", 1.0), plan_factor(RULES, "state", 2.0)
    assert two.deviation == pytest.approx(2 * one.deviation)
    assert two.rho == pytest.approx(one.rho / 4, rel=1e-6)
    assert two.epsilon < one.epsilon / 2
    assert two.affordable == pytest.approx(4 * one.affordable, rel=0.01)


@pytest.mark.parametrize("name", ["census", "state", "gram", "weights"])
@pytest.mark.parametrize("wanted", [1.0, 8.0])
def test_a_wanted_epsilon_is_kept_by_hardly_more_noise_than_needed(name: str, wanted: float) -> None:
    plan = plan_epsilon(RULES, name, wanted)
    assert plan.epsilon <= wanted
    assert plan_factor(RULES, name, plan.factor * 0.998).epsilon > wanted


def test_the_schedule_of_a_year_is_counted() -> None:
    assert scheduled_releases(RULES, "gram") == 52  # every Wednesday
    assert scheduled_releases(RULES, "weights") == 104
    assert scheduled_releases(RULES, "state") == 288
    plan = plan_factor(RULES, "gram", 2.0)
    limit = replace(LIMITS.purposes["gram"], noise_multiplier=plan.noise_multiplier)
    assert plan.schedule_epsilon == epsilon([charge_of(limit, LIMITS, releases=52)], delta=limit.delta)


def test_a_noise_that_the_constitution_could_not_hold_names_the_clause() -> None:
    full = msgspec.structs.replace(RULES.purposes["gram"], value_bound=536_870_820.0)  # the wide lane is nearly full
    tight = msgspec.structs.replace(RULES, purposes={**RULES.purposes, "gram": full})
    assert plan_factor(tight, "gram", 1.0).refusal == ""
    assert "must stay below 2^44" in plan_factor(tight, "gram", 2.0).refusal
    found = plan_factor(RULES, "gram", 500.0)
    assert "change the scale of the round" in found.refusal
    assert 0 < found.epsilon < 0.1


@pytest.mark.parametrize(("name", "factor"), [("gossip", 1.0), ("gram", 0.0), ("gram", float("inf"))])
def test_an_unknown_purpose_or_a_senseless_factor_is_refused(name: str, factor: float) -> None:
    with pytest.raises(ConfigurationError):
        plan_factor(RULES, name, factor)
    if name not in RULES.purposes:
        with pytest.raises(ConfigurationError, match="expected a purpose of census"):
            plan_epsilon(RULES, name, 1.0)
