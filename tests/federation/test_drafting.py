"""Claims about drafting: choices and parties become a consistent constitution whose budgets pay for what is planned."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from hansa.errors import ConfigurationError
from hansa.federation.draft_file import EXAMPLE, Budgets, Draft, Training
from hansa.federation.drafting import affordable, constitution_of, draft_of, scheduled_rounds
from hansa.governance.constitution import Party, Schedule, check, parse
from hansa.governance.node_audit import NodeAuditClause
from hansa.identity.attestation.clause import AttestationClause, Image
from simulator import signing_key

if TYPE_CHECKING:
    from hansa.governance.constitution import Constitution


def party(name: str) -> Party:
    return Party(name, signing_key(name).public)


def made(draft: Draft = EXAMPLE, *, members: int = 5, supersedes: Constitution | None = None) -> Constitution:
    names = [f"m{place:02}" for place in range(members)]
    return constitution_of(
        draft,
        federation="test",
        members=[party(name) for name in reversed(names)],
        coordinator=party("hub"),
        supersedes=supersedes,
    )


@settings(max_examples=25, deadline=None)
@given(
    st.integers(3, 40),
    st.integers(1, 60),
    st.sampled_from([0.5, 1.0, 4.0, 8.0]),
    st.integers(0, 20),
)
def test_budgets_pay_for_what_is_planned(members: int, rounds: int, epsilon: float, steps: int) -> None:
    budgets = Budgets(epsilon, 8.0, epsilon, epsilon, epsilon, 1e-6, rounds)
    found = made(replace(EXAMPLE, budgets=budgets, training=Training(steps)), members=members)
    check(found)
    assert parse(found.bytes()) == found
    assert affordable(found, "state") >= 288
    assert affordable(found, "gram") >= rounds
    assert affordable(found, "gram") <= rounds * 1.1 + 1
    assert affordable(found, "weights") >= rounds * steps


TDX = Image("tdx", {"mrtd": "ab" * 48, "rtmr1": "cd" * 48})
CLAUSES = {
    "attestation": AttestationClause("require", images=(TDX, Image("sgx", {"mrsigner": "ef" * 32})), code=("12" * 32,)),
    "node_audit": NodeAuditClause(("kit", "tls"), grace_days=14, suspend=False),
}


@pytest.mark.parametrize("clauses", [{}, {"attestation": CLAUSES["attestation"]}, CLAUSES])
def test_optional_clauses_travel_through_the_draft_file_and_back(clauses: dict[str, object]) -> None:
    draft = replace(EXAMPLE, **clauses)
    assert Draft.from_toml(draft.to_toml()) == draft
    found = made(draft)
    assert parse(found.bytes()) == found
    assert {name: getattr(draft_of(found), name) for name in CLAUSES} == dict.fromkeys(CLAUSES) | clauses
    assert all((name in found.fields()) == (name in clauses) for name in CLAUSES)


def test_an_optional_clause_that_nobody_can_meet_is_refused_in_the_draft() -> None:
    with pytest.raises(ConfigurationError, match="attestation: images: at least one"):
        made(replace(EXAMPLE, attestation=AttestationClause("require")))
    with pytest.raises(ConfigurationError, match="node_audit"):
        made(replace(EXAMPLE, node_audit=NodeAuditClause(())))


def test_left_out_the_colluders_are_the_most_and_the_cohort_the_least() -> None:
    assert (made(members=3).colluders, made(members=3).minimum_cohort) == (0, 3)
    assert (made(members=10).colluders, made(members=10).minimum_cohort) == (3, 7)
    chosen = made(replace(EXAMPLE, colluders=1, minimum_cohort=8), members=10)
    assert (chosen.colluders, chosen.minimum_cohort, chosen.quorum) == (1, 8, 6)


def test_the_next_constitution_names_the_one_before() -> None:
    first = made()
    second = made(supersedes=first)
    assert (first.epoch, first.supersedes) == (1, None)
    assert (second.epoch, second.supersedes) == (2, first.digest())


@pytest.mark.parametrize(
    "draft",
    [
        EXAMPLE,
        replace(EXAMPLE, colluders=0, minimum_cohort=4, attempts=1, reopenings=0),
        replace(EXAMPLE, budgets=Budgets(1.0, 2.0, 3.0, 0.5, 4.0, 1e-7, 365), training=Training(3, 5.0, 0.25)),
        replace(EXAMPLE, training=Training(0), budgets=Budgets(clip=0.0, rounds_a_year=52)),
        replace(EXAMPLE, budgets=Budgets(clip=0.0)),
        replace(EXAMPLE, budgets=Budgets(ripple=2.0, ripple_queries=7)),
        replace(EXAMPLE, schedule=Schedule("30 6 1 * *", "Europe/Berlin")),
    ],
)
def test_a_constitution_gives_back_its_draft_and_the_draft_its_file(draft: Draft) -> None:
    found = made(draft)
    again = draft_of(found)
    assert Draft.from_toml(again.to_toml()) == again
    assert made(again) == found
    assert again.budgets.rounds_a_year == draft.budgets.rounds_a_year
    assert Draft.from_toml(draft.to_toml()) == draft


def test_a_constitution_that_no_draft_makes_is_refused_with_the_clauses() -> None:
    found = made()
    gram = replace(found.purposes["gram"], value_bound=100.0)
    with pytest.raises(ConfigurationError, match=r"set otherwise: purposes\.gram\.value_bound"):
        draft_of(replace(found, purposes={**found.purposes, "gram": gram}))
    rest = {name: purpose for name, purpose in found.purposes.items() if name != "gram"}
    with pytest.raises(ConfigurationError, match="no purpose gram"):
        draft_of(replace(found, purposes=rest))


@pytest.mark.parametrize(
    ("old", "new", "clause"),
    [
        ("# colluders = 1", "colluders = 2", "colluders: 0 <= c < n/3"),
        ("# minimum_cohort = 4", "minimum_cohort = 2", "minimum_cohort"),
        ("attempts = 3", "attempts = 0", "attempts"),
        ("reopenings = 2", "quorum = 2", "unknown field `quorum`"),
        ("bar_seconds = 300", "bar_seconds = 7", "bar_seconds"),
        ('"log_spread", "log_depth"', '"log_spread", "log_colour"', "measures.*log_colour"),
        ('cost = "log_spread"', 'cost = "log_range"', "market.cost"),
        ("volume_unit = 10000000.0", "volume_unit = inf", "volume_unit"),
        ("volume_unit = 10000000.0", 'volume_unit = "much"', "volume_unit"),
        ("weight_cap = 0.25", "weight_cap = 2", "weight_cap"),
        ("influence_cap = 0.02", "influence_cap = nan", "influence_cap|purposes"),
        ('"EUR-USD" = ["EUR-USD"]', '"EUR-USD" = []', "baskets"),
        ("census = 4.0", "census = 0.0", "budgets.census"),
        ("state = 8.0", "state = nan", "budgets.state"),
        ("gram = 8.0", "gram = 1e-6", "budgets|purposes.gram"),
        ("delta = 1e-06", "delta = 0.5", "budgets.delta"),
        ("rounds_a_year = 52", "rounds_a_year = 0", "rounds_a_year"),
        ("rounds_a_year = 52", "rounds_a_year = 52\nepsilon = 9", "unknown field `epsilon`"),
        ("steps = 12", "steps = -1", "training.steps"),
        ("gram_clip = 12.0", "gram_clip = 1e7", "gram_clip"),
        ('cron = "0 2 * * 3"', 'cron = "0 2 * * 9"', "schedule.cron"),
        ('time_zone = "UTC"', 'time_zone = "Mars"', "schedule.time_zone"),
        ("open_seconds = 30.0", "open_seconds = 0", "deadlines"),
        ("[training]", "[training", "draft"),
    ],
)
def test_a_choice_that_is_unknown_or_contradicts_another_is_refused_with_its_clause(
    old: str, new: str, clause: str
) -> None:
    text = EXAMPLE.to_toml()
    assert old in text
    with pytest.raises(ConfigurationError, match=clause):
        made(Draft.from_toml(text.replace(old, new, 1)))


def test_a_budget_below_what_its_noise_pays_for_is_counted_short() -> None:
    found = made()
    gram = replace(found.purposes["gram"], epsilon=1.0)
    assert affordable(replace(found, purposes={**found.purposes, "gram": gram}), "gram") < 2
    gram = replace(found.purposes["gram"], epsilon=1e9)
    assert affordable(replace(found, purposes={**found.purposes, "gram": gram}), "gram") > 500


def test_rounds_of_a_year_are_counted_from_the_schedule() -> None:
    assert scheduled_rounds(Schedule("0 2 * * 3", "UTC")) == 52
    assert scheduled_rounds(Schedule("0 2 1 * *", "UTC")) == 12
    assert scheduled_rounds(Schedule("* * * * *", "UTC")) == 10_000
    assert scheduled_rounds(Schedule("0 2 29 2 *", "UTC")) == 0
