"""Claims about what is left of the budgets and when it runs out."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec
import pytest

from hansa.errors import StoreError
from hansa.federation.budgets import (
    block_rounds,
    charge_of,
    purpose_budgets,
    releases_asked,
    releases_left,
    rounds_from,
    value_deviation,
)
from hansa.federation.rules import limits_of
from hansa.federation.store import MemberStore, Spending, read_ledger
from hansa.protocol.privacy import Charge, epsilon
from simulator import BAR_NS, DAY_NS
from small_market import AS_OF_NS, constitution

if TYPE_CHECKING:
    from pathlib import Path

    from hansa.federation.budgets import PeriodBudget
    from hansa.governance.constitution import Constitution

RULES = constitution(4, 2)
LIMITS = limits_of(RULES)
NOW_NS = AS_OF_NS + 5 * DAY_NS


def ns(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000_000_000


def spending(session: str, purpose: str, period: str, releases: int = 1) -> Spending:
    return Spending(session, purpose, period, charge_of(LIMITS.purposes[purpose], LIMITS, releases=releases), 1)


def only(purpose: str, *ledger: Spending, rules: Constitution = RULES, now_ns: int = NOW_NS) -> PeriodBudget:
    (found,) = [one for one in purpose_budgets(rules, ledger, now_ns=now_ns) if one.purpose == purpose]
    (period,) = found.periods
    return period


def louder(purpose: str, factor: float) -> Constitution:
    changed = msgspec.structs.replace(
        RULES.purposes[purpose], noise_multiplier=factor * RULES.purposes[purpose].noise_multiplier
    )
    return msgspec.structs.replace(RULES, purposes={**RULES.purposes, purpose: changed})


@pytest.mark.parametrize("name", ["census", "state", "gram", "weights"])
def test_what_is_left_fits_into_the_budget_and_one_more_does_not(name: str) -> None:
    limit = LIMITS.purposes[name]
    one = charge_of(limit, LIMITS)
    spent = [replace(one, count=1)]
    left = releases_left(spent, one, allowed=4 * limit.epsilon, delta=limit.delta)
    assert left > 1
    assert epsilon([*spent, replace(one, count=left)], delta=limit.delta) <= 4 * limit.epsilon
    assert epsilon([*spent, replace(one, count=left + 1)], delta=limit.delta) > 4 * limit.epsilon


def test_nothing_is_left_of_a_spent_budget() -> None:
    limit = LIMITS.purposes["gram"]
    one = charge_of(limit, LIMITS)
    assert releases_left([one], one, allowed=epsilon([one], delta=limit.delta), delta=limit.delta) == 0


def test_a_charge_costs_what_the_door_would_charge() -> None:
    one = charge_of(LIMITS.purposes["state"], LIMITS, releases=7)
    assert isinstance(one, Charge)
    assert one.count == 7
    assert one.noise is not None
    assert one.noise.dimension == RULES.purposes["state"].values_per_bar
    assert one.noise.shares == LIMITS.minimum_cohort - LIMITS.colluders
    deviation = value_deviation(LIMITS.purposes["state"], LIMITS)
    assert deviation == pytest.approx(one.noise.share_sigma * 2 / 2**16)  # four members: twice one share


def test_a_budget_for_one_round_runs_out_at_the_second_scheduled_one() -> None:
    found = only("gram", spending("e1-ab/r202201190200-2-gram-a1", "gram", "2022"), now_ns=ns("2022-01-01"))
    assert (found.releases, found.left) == (1, 0)
    assert found.runs_out_ns == ns("2022-01-26T02:00")  # the Wednesday after
    assert found.epsilon <= RULES.purposes["gram"].epsilon < found.epsilon * 1.05
    assert found.rho == pytest.approx(1 / (2 * RULES.purposes["gram"].noise_multiplier ** 2), rel=1e-3)
    assert found.rho_epsilon >= found.epsilon


def test_a_budget_that_outlasts_the_schedule_does_not_run_out_in_its_year() -> None:
    rules = louder("census", 8)
    row = replace(
        spending("e1-ab/r202201190200-0-census-a1", "census", "2022"),
        charge=charge_of(limits_of(rules).purposes["census"], limits_of(rules)),
    )
    found = only("census", row, rules=rules)
    assert found.left >= 52
    assert found.runs_out_ns is None


def test_a_round_of_several_sums_is_paid_whole() -> None:
    assert releases_asked(RULES, "weights") == 2
    rules = louder("weights", 1.9)  # pays for seven steps: three rounds and a half
    found = only("weights", rules=rules, now_ns=ns("2022-06-01"))
    assert found.left == 7
    times = rounds_from(rules, ns("2022-06-01"))
    assert found.runs_out_ns == [next(times) for _ in range(4)][-1]


def test_a_purpose_that_no_round_asks_for_never_runs_out() -> None:
    rules = msgspec.structs.replace(RULES, round=tuple(line for line in RULES.round if line.purpose != "gram"))
    assert only("gram", rules=rules).runs_out_ns is None


def test_a_day_of_bars_fits_into_the_budget_of_a_day() -> None:
    found = only("state", spending("e1-ab/r20220107-0-state-a1", "state", "2022-01-07", 288))
    assert found.releases == 288
    assert found.runs_out_ns is None


def test_a_day_runs_out_at_the_first_bar_that_no_longer_fits() -> None:
    rules = louder("state", 0.5)
    rows = [
        replace(
            spending(f"e1-ab/r20220107-0-state-a{attempt}", "state", "2022-01-07"),
            charge=charge_of(limits_of(rules).purposes["state"], limits_of(rules), releases=20),
        )
        for attempt in (1, 2)
    ]
    found = only("state", *rows, rules=rules)
    assert found.releases == 40  # both attempts are paid ...
    assert found.runs_out_ns == ns("2022-01-07") + (20 + found.left + 1) * BAR_NS  # ... but twenty bars are done


def test_purposes_without_charges_show_the_current_period() -> None:
    found = {one.purpose: one for one in purpose_budgets(RULES, [], now_ns=ns("2022-03-04T10:00"))}
    assert [one.period for one in found["state"].periods] == ["2022-03-04"]
    assert [one.period for one in found["gram"].periods] == ["2022"]
    assert found["gram"].periods[0].epsilon == found["gram"].periods[0].rho == 0
    assert found["state"].unit == RULES.purposes["state"].unit
    assert found["state"].releases_a_round == 288


def test_a_day_takes_part_in_the_rounds_that_can_look_back_to_it() -> None:
    weekly = block_rounds(RULES, "gram")
    assert RULES.market.history_days == 6
    assert (weekly.by_schedule, weekly.paid, weekly.years, weekly.most) == (2, 2, 2, 2)  # 8 days: two Wednesdays
    daily = msgspec.structs.replace(RULES, schedule=msgspec.structs.replace(RULES.schedule, cron="0 2 * * *"))
    assert block_rounds(daily, "gram").by_schedule == 8
    assert block_rounds(daily, "gram").most == 2  # what two years' budgets pay for
    long = msgspec.structs.replace(RULES, market=msgspec.structs.replace(RULES.market, history_days=400))
    assert (block_rounds(long, "gram").by_schedule, block_rounds(long, "gram").years) == (58, 3)


def test_only_units_of_a_day_of_raw_data_have_rounds() -> None:
    found = {one.purpose: one.block_rounds for one in purpose_budgets(RULES, [], now_ns=NOW_NS)}
    assert {name for name, rounds in found.items() if rounds is not None} == {"gram", "clip", "weights"}


def test_the_ledger_is_read_back_without_being_written(tmp_path: Path) -> None:
    path = tmp_path / "facts.sqlite"
    assert read_ledger(path) == []
    store = MemberStore(path)
    row = spending("e1-ab/r202201190200-2-gram-a1", "gram", "2022", 3)
    store.charge(row.session, purpose=row.purpose, period=row.period, charge=row.charge, time_ns=row.time_ns)
    assert read_ledger(path) == [row]
    store.close()
    assert read_ledger(path) == [row]
    path.write_bytes(b"no database at all, but long enough to be taken for one" * 40)
    with pytest.raises(StoreError, match="cannot read the ledger"):
        read_ledger(path)
