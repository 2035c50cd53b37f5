"""Claims about the gate through which every manifest goes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hansa.errors import RefusedError
from hansa.protocol.limits import MAX_LENGTH, bars_in_span, check_manifest, periods
from players import BACKWARDS, EPOCH_ID, OFF_GRID, manifest
from simulator import BAR_NS, DAY_NS, limits, purpose

if TYPE_CHECKING:
    from hansa.protocol.messages import Manifest

RULES = limits(5, 1, gram=purpose(), state=purpose(values=0, values_per_bar=4, period="day"))
BARS_PER_DAY = DAY_NS // BAR_NS


def check(asked: Manifest) -> None:
    check_manifest(asked, RULES, epoch_id=EPOCH_ID, epoch_members=RULES.members)


def test_a_manifest_within_the_limits_passes() -> None:
    found = check_manifest(manifest(RULES), RULES, epoch_id=EPOCH_ID, epoch_members=RULES.members)
    assert found is RULES.purposes["gram"]
    check(manifest(RULES, purpose="state", length=4 * 12, span_end_ns=DAY_NS + 11 * BAR_NS))


@pytest.mark.parametrize(
    ("clause", "change"),
    [
        ("not in the constitution", {"purpose": "positions"}),
        ("federation", {"federation": "another"}),
        ("constitution", {"constitution": "cd" * 32}),
        ("epoch id", {"epoch_id": bytes(32)}),
        ("participants", {"participants": RULES.members[:4]}),
        ("participants", {"participants": (*RULES.members[1:], "m0")}),
        ("participants", {"participants": (*RULES.members, "m9")}),
        ("length", {"length": 7}),
        ("length", {"purpose": "state", "length": 8}),
        ("attempt", {"attempt": 0}),
        ("attempt", {"attempt": 3}),
        ("from 0", {"round": -1}),
        ("from 0", {"position": 10**13}),
        ("from 0", {"index": 2**63}),
        ("grid", OFF_GRID),
        ("grid", BACKWARDS),
        ("grid", {"span_start_ns": 0, "span_end_ns": 0}),
        ("grid", {"span_end_ns": 2**64 - 2**64 % BAR_NS - BAR_NS}),
    ],
)
def test_a_manifest_beyond_the_limits_is_refused_with_its_clause(clause: str, change: dict[str, object]) -> None:
    with pytest.raises(RefusedError, match=clause):
        check(manifest(RULES, **change))


def test_a_span_that_asks_for_an_unbounded_vector_is_refused() -> None:
    bars = MAX_LENGTH // 4 + 1
    with pytest.raises(RefusedError, match="length of at most"):
        check(manifest(RULES, purpose="state", length=4 * bars, span_end_ns=DAY_NS + (bars - 1) * BAR_NS))


def test_an_epoch_below_the_minimum_cohort_is_refused() -> None:
    few = RULES.members[:3]
    with pytest.raises(RefusedError, match="at least 4"):
        check_manifest(manifest(RULES, participants=few), RULES, epoch_id=EPOCH_ID, epoch_members=few)


def test_a_yearly_purpose_pays_once_in_the_year_of_its_last_bar() -> None:
    # The bar that ends at midnight of 1 January lies in December.
    new_year_1971 = 365 * DAY_NS
    asked = manifest(RULES, span_start_ns=DAY_NS, span_end_ns=new_year_1971)
    assert periods(asked, RULES.purposes["gram"], BAR_NS) == {"1970": 1}
    later = manifest(RULES, span_start_ns=DAY_NS, span_end_ns=new_year_1971 + BAR_NS)
    assert periods(later, RULES.purposes["gram"], BAR_NS) == {"1971": 1}


@given(st.integers(1, 3000), st.integers(1, 2000))
def test_every_bar_is_paid_to_the_day_in_which_it_lies(first: int, count: int) -> None:
    asked = manifest(RULES, purpose="state", span_start_ns=first * BAR_NS, span_end_ns=(first + count - 1) * BAR_NS)
    assert bars_in_span(asked, BAR_NS) == count
    paid = periods(asked, RULES.purposes["state"], BAR_NS)
    assert sum(paid.values()) == count
    assert max(paid.values()) <= BARS_PER_DAY
    assert len(paid) == (first + count - 2) // BARS_PER_DAY - (first - 1) // BARS_PER_DAY + 1


def test_a_daily_purpose_that_is_not_about_bars_pays_once_a_day() -> None:
    limit = purpose(period="day")
    asked = manifest(RULES, span_start_ns=DAY_NS, span_end_ns=3 * DAY_NS)
    assert periods(asked, limit, BAR_NS) == {"1970-01-01": 1, "1970-01-02": 1, "1970-01-03": 1}
