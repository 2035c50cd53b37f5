"""Claims about ripple queries between members: bound by the manifest, bounded, charged, refused when spent."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hansa.errors import ConfigurationError, RefusedError
from hansa.federation.budgets import purpose_budgets
from hansa.federation.drafting import affordable, draft_of
from hansa.federation.records import Records
from hansa.federation.ripple_answer import ripple_length
from hansa.federation.ripple_desk import ask, with_queries
from hansa.federation.ripple_query import PURPOSE, RippleQuery
from hansa.federation.rules import limits_of
from hansa.federation.running_sum import Request
from hansa.federation.schedule import round_programme
from hansa.lab.rehearsal import Rehearsal, open_sums
from hansa.protocol.messages import Manifest
from ripple_rules import RULES
from simulator import Simulation
from small_market import (
    AS_OF_NS,
    BASKETS,
    HISTORY_DAYS,
    START_NS,
    UNTIL_NS,
    all_views,
    constitution,
    views_of_member,
    without,
    work,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from hansa.federation.door import Contribution
    from hansa.federation.liquidity import LiquidityWork
    from hansa.federation.views import Views
    from hansa.protocol.session import Aggregate

NAMES = tuple(BASKETS)
QUERY = RippleQuery("xau", ("eur",), 3.0, 24)
STATE = [one for one in round_programme(RULES, AS_OF_NS) if one.purpose != "gram"]


def asked(query: RippleQuery = QUERY, second: int = 1_700_000_000) -> Request:
    return Request(second, 0, PURPOSE, query.index(NAMES), START_NS, AS_OF_NS)


def rehearsed(views: Mapping[str, Views] | None = None, query: RippleQuery = QUERY) -> Rehearsal:
    found = Rehearsal(RULES, {name: work(own, RULES) for name, own in (views or all_views()).items()})
    open_sums(found, [*STATE, asked(query)], np.random.default_rng(1))
    return found


def answer_of(one: LiquidityWork) -> dict[str, object]:
    (session,) = [aggregate.manifest.session for aggregate, _ in one._asked]
    one.answer_queries()
    found = one._records.get(f"ripple/{session}")
    assert isinstance(found, dict)
    return found


@given(
    source=st.sampled_from(NAMES),
    tenths=st.integers(-999, 999).filter(bool),
    horizon=st.integers(1, 999),
)
def test_a_query_comes_back_from_its_index(source: str, tenths: int, horizon: int) -> None:
    query = RippleQuery(source, tuple(name for name in NAMES if name != source), tenths / 10, horizon)
    index = query.index(NAMES)
    assert 0 <= index < 10**13
    assert RippleQuery.of_index(index, NAMES) == query


def test_the_largest_query_is_within_what_a_manifest_may_count_to() -> None:
    names = tuple(f"b{place:02}" for place in range(12))
    assert RippleQuery(names[-1], names[:-1], 99.9, 999).index(names) < 10**13
    assert RippleQuery(names[0], names[1:], 99.9, 999).index(names) < 10**13


@given(st.integers(0, 10**13))
def test_another_index_is_refused_and_never_another_query(index: int) -> None:
    with contextlib.suppress(RefusedError):
        assert RippleQuery.of_index(index, NAMES).index(NAMES) == index


@pytest.mark.parametrize(
    ("source", "shock", "targets", "horizon", "words"),
    [
        ("gold", "3sd", "eur", "24h", "baskets out of eur, xau; got gold"),
        ("xau", "3%", "eur", "24h", "deviations such as 3sd"),
        ("xau", "0sd", "eur", "24h", "0.1 to 99.9"),
        ("xau", "3sd", "eur", "24 hours", "horizon such as 24h"),
        ("xau", "3sd", "eur", "7m", "multiple of the 300 s bars"),
        ("xau", "3sd", "eur", "9d", "1 to 999 bars"),
        ("xau", "3sd", "xau", "24h", "other than xau"),
        ("xau", "3sd", "", "24h", "got none"),
    ],
)
def test_a_query_that_makes_no_sense_is_refused_with_its_clause(
    source: str, shock: str, targets: str, horizon: str, words: str
) -> None:
    with pytest.raises(ConfigurationError, match=words):
        RippleQuery.parse(source, shock, targets, horizon, baskets=NAMES, bar_seconds=300)


def test_a_query_is_read_as_it_is_typed() -> None:
    found = RippleQuery.parse("xau", "-2.5sd", "eur", "2h", baskets=NAMES, bar_seconds=300)
    assert found == RippleQuery("xau", ("eur",), -2.5, 24)


def test_the_drafted_purpose_pays_for_the_planned_queries_and_reads_back() -> None:
    assert RULES.purposes[PURPOSE].values == ripple_length(RULES.market)
    assert affordable(RULES, PURPOSE) == 2
    budgets = draft_of(RULES).budgets
    assert (budgets.ripple, budgets.ripple_queries) == (4.0, 2)


def manifest(query: RippleQuery = QUERY) -> Manifest:
    purpose, limits = RULES.purposes[PURPOSE], limits_of(RULES)
    return Manifest(
        federation="test", constitution=limits.constitution, epoch="e", epoch_id=bytes(32), session="s", round=1,
        position=0, index=query.index(NAMES), attempt=1, purpose=PURPOSE, length=purpose.values,
        span_start_ns=START_NS, span_end_ns=AS_OF_NS, participants=limits.members,
    )  # fmt: skip


def test_one_day_of_a_member_moves_what_it_sends_by_no_more_than_the_sensitivity() -> None:
    one = rehearsed().works["m0"]
    base = one.contribution(manifest())
    (series,) = views_of_member("m0").series["eur"]
    for day in range(HISTORY_DAYS):
        measures = series.measures.copy()
        measures[day * 288 : (day + 1) * 288] += np.random.default_rng(day).standard_normal((288, 1)) * 50
        own = replace(views_of_member("m0"))
        changed = replace(own, series={**own.series, "eur": (replace(series, measures=measures),)})
        one._views = changed
        moved = np.linalg.norm(one.contribution(manifest()).vector - base.vector)
        assert moved <= RULES.purposes[PURPOSE].sensitivity * (1 + 1e-9)
    assert base.sensitivity == RULES.purposes[PURPOSE].sensitivity
    assert base.unit == ""


def test_only_what_is_asked_about_is_in_a_contribution() -> None:
    vector = rehearsed().works["m0"].contribution(manifest()).vector.reshape(len(NAMES), -1)
    assert np.abs(vector[NAMES.index("eur")]).max() > 0
    assert (vector[NAMES.index("xau")] == 0).all()


def test_a_member_that_does_not_see_the_target_adds_zeros() -> None:
    views = all_views(m2=without(views_of_member("m2"), "eur"))
    assert (rehearsed(views).works["m2"].contribution(manifest()).vector == 0).all()


def test_a_query_before_its_state_or_about_no_query_is_refused() -> None:
    with pytest.raises(RefusedError, match="not published"):
        work(views_of_member("m0"), RULES).contribution(manifest())
    wrong = Manifest(**{name: getattr(manifest(), name) for name in Manifest.__struct_fields__} | {"index": 7})
    with pytest.raises(RefusedError, match="got none"):
        rehearsed().works["m0"].contribution(wrong)


def test_every_member_records_the_same_curve_with_its_noise_beside_the_band() -> None:
    played = rehearsed()
    first, second = (answer_of(played.works[name]) for name in ("m0", "m3"))
    assert first["query"] == {
        "source": "xau", "targets": ["eur"], "shock_sd": 3.0, "horizon_bars": 24, "bar_seconds": 300,
        "span_start_ns": START_NS, "span_end_ns": AS_OF_NS,
    }  # fmt: skip
    (one,), (other,) = first["responses"], second["responses"]  # type: ignore[misc]
    assert one["curve"] == other["curve"]
    np.testing.assert_allclose(np.add(one["published_curve"], one["members_add"]), one["curve"])
    noise = np.array(first["noise_sd"])
    assert (noise > 0).all()
    half = 0.5 * (np.array(one["high"]) - one["low"])
    assert (half > 1.6 * noise * 0.9).all()
    shares = np.array(first["connectedness"]["shares"])  # type: ignore[index]
    np.testing.assert_allclose(shares.sum(axis=1), 1.0)
    assert first["cohort"] == ["m0", "m1", "m2", "m3"]


class Answering:
    """A member's liquidity work in a simulated federation, with its own records."""

    def __init__(self, name: str) -> None:
        self.records = Records(":memory:")
        self.work = work(views_of_member(name), RULES, records=self.records)
        self.opened: list[Aggregate] = []

    def contribution(self, manifest: Manifest) -> Contribution:
        return self.work.contribution(manifest)

    def receive(self, aggregate: Aggregate) -> None:
        self.opened.append(aggregate)
        self.work.receive(aggregate)

    def settle(self) -> None:
        self.work.settle()


@pytest.fixture
def federation(tmp_path: Path) -> Simulation:
    programme = [*STATE, *(asked(second=1_700_000_000 + place) for place in range(3))]
    return Simulation(
        tmp_path,
        limits=limits_of(RULES),
        programme=programme,
        statistic=Answering,
        now_ns=UNTIL_NS,  # type: ignore[arg-type]
    )


@pytest.mark.slow
def test_over_the_real_protocol_two_queries_are_paid_for_and_the_third_is_refused(federation: Simulation) -> None:
    federation.run()
    opened = [one.manifest.session for one in federation.opened() if one.manifest.purpose == PURPOSE]
    assert opened == ["r1700000000-0-ripple-a1", "r1700000001-0-ripple-a1"]
    year = federation.stores["m0"].charges(PURPOSE, "2022")
    assert sum(charge.count for charge in year) == 2
    notes = federation.nodes["m0"]._records.rows("SELECT reason FROM note WHERE session LIKE 'r1700000002%'")
    assert "BudgetError" in str(notes[0]["reason"])
    assert "wait for the next period or amend the constitution" in str(notes[0]["reason"])
    died = federation.coordinator._records.rows("SELECT session FROM session WHERE state = 'died'")
    assert {str(row["session"]).split("-")[0] for row in died} == {"r1700000002"}
    budget = federation.nodes["m0"]._records.rows("SELECT * FROM budget WHERE purpose = 'ripple'")[0]
    assert 0 < float(str(budget["epsilon"])) <= 4.0
    one = federation.statistics["m0"]
    assert isinstance(one, Answering)
    one.settle()
    names = [str(row["name"]) for row in one.records.rows("SELECT name FROM fact WHERE name LIKE 'ripple/%'")]
    assert names == [f"ripple/{session}" for session in opened]
    for store in federation.stores.values():
        store.close()


class FreeCoordinator:
    """As much of a coordinator as a planner looks at."""

    def __init__(self, last_bar_ns: int) -> None:
        self.is_clear, self.has_aside, self.last_bar_ns = True, False, last_bar_ns
        self.done: set[tuple[int, int]] = set()


def test_waiting_queries_are_asked_one_at_a_time_and_only_between_other_sums(tmp_path: Path) -> None:
    node = FreeCoordinator(AS_OF_NS)
    labels = [ask(tmp_path, RULES, QUERY, now_ns=1_700_000_000 * 10**9 + place) for place in range(2)]
    assert labels == ["r1700000000-0-ripple-a1", "r1700000001-0-ripple-a1"]
    other: list[Request] = []
    plan = with_queries(lambda _node, _now: other, tmp_path, RULES)
    assert plan(node, 0) == [Request(1_700_000_000, 0, PURPOSE, QUERY.index(NAMES), START_NS, AS_OF_NS)]  # type: ignore[arg-type]
    other.append(STATE[0])
    assert plan(node, 0) == [STATE[0]]  # type: ignore[arg-type]
    other.clear()
    node.is_clear = False
    assert not plan(node, 0)  # type: ignore[arg-type]
    node.is_clear, node.has_aside = True, True
    assert not plan(node, 0)  # type: ignore[arg-type]
    node.has_aside = False
    node.done.add((1_700_000_000, 0))
    found = plan(node, 0)  # type: ignore[arg-type]
    assert found is not None
    assert [one.round for one in found] == [1_700_000_001]
    assert len(list((tmp_path / PURPOSE).glob("*.json"))) == 1


def test_a_file_that_is_no_query_is_put_aside_and_nothing_is_asked_before_a_state(tmp_path: Path) -> None:
    ask(tmp_path, RULES, QUERY, now_ns=1_700_000_000 * 10**9)
    (tmp_path / PURPOSE / "1600000000-7.json").write_bytes(b'{"index": 7, "asked_ns": 1}')
    (tmp_path / PURPOSE / "1600000001-7.json").write_bytes(b"\xff")
    plan = with_queries(lambda _node, _now: [], tmp_path, RULES)
    assert not plan(FreeCoordinator(0), 0)  # type: ignore[arg-type]
    found = plan(FreeCoordinator(AS_OF_NS), 0)  # type: ignore[arg-type]
    assert found is not None
    assert [one.round for one in found] == [1_700_000_000]
    assert len(list((tmp_path / PURPOSE).glob("*.refused"))) == 2


def test_a_constitution_without_the_purpose_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"\[budgets\] ripple above 0"):
        ask(tmp_path, constitution(), QUERY, now_ns=0)


def test_a_budget_of_queries_is_shown_without_a_bound_by_rounds() -> None:
    (found,) = [one for one in purpose_budgets(RULES, [], now_ns=AS_OF_NS) if one.purpose == PURPOSE]
    assert found.block_rounds is None
    (period,) = found.periods
    assert (period.left, period.runs_out_ns) == (2, None)
