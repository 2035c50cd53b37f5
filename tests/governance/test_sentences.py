"""Claims about a constitution in plain sentences."""

from __future__ import annotations

from msgspec.structs import replace

from constitutions import GRAM, constitution
from hansa.governance.constitution import Sums
from hansa.governance.sentences import purposes_in_words, rules_in_words, warnings

AFFORDABLE = {"gram": 1, "state": 288}


def test_rules_name_members_quorum_and_threshold() -> None:
    text = " ".join(rules_in_words(constitution()))
    for words in ("5 members", "up to 1 members", "over 4 members", "4 sign", "4 help to open", "'0 2 * * 3' in UTC"):
        assert words in text
    assert "eur: EUR-USD, EUR-GBP" in text


def test_a_purpose_says_what_is_learned_at_which_epsilon_and_how_often() -> None:
    found = purposes_in_words(constitution(), AFFORDABLE)
    assert set(found) == {"gram", "state"}
    assert "epsilon 4 (delta 1e-06), which pays for 1 sums a year; a round makes 1" in found["gram"]
    assert "288 bars a day" in found["state"]
    other = purposes_in_words(constitution(purposes={"fraud": GRAM}, round=(Sums("fraud", 1),)), {"fraud": 3})
    assert "a sum of 100 values" in other["fraud"]


def test_a_budget_that_ends_before_the_schedule_is_warned_of() -> None:
    notes = " ".join(warnings(constitution(), AFFORDABLE, rounds_a_year=52))
    assert "gram: the schedule begins 52 rounds a year, the budget pays for 1" in notes
    assert "state: the budget" not in notes
    assert "pays for 9 bars" in " ".join(warnings(constitution(), {"gram": 1, "state": 9}, rounds_a_year=1))


def test_where_budgets_are_small_and_yearly_there_is_nothing_to_warn_of() -> None:
    fine = constitution(purposes={"gram": replace(GRAM, epsilon=0.5)}, round=(Sums("gram", 2),))
    assert warnings(fine, {"gram": 104}, rounds_a_year=52) == []
    unused = constitution(purposes={"gram": replace(GRAM, epsilon=0.5)}, round=())
    assert warnings(unused, {"gram": 1}, rounds_a_year=52) == []
