"""Claims about when rounds begin, what they sum, and what a coordinator that serves by the clock asks for."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hansa.errors import ConfigurationError
from hansa.federation import schedule
from hansa.federation.schedule import (
    GRACE_NS,
    NS,
    next_round_ns,
    replay_programme,
    round_number,
    round_programme,
    state_programme,
    wall_clock_planner,
)
from hansa.governance.constitution import Schedule, Sums
from simulator import BAR_NS, DAY_NS
from small_market import AS_OF_NS, HISTORY_DAYS, START_NS, TRAIN_BARS, constitution

if TYPE_CHECKING:
    from hansa.federation.running_sum import Request

WEEKLY = Schedule("0 2 * * 3", "UTC")


def ns(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * NS


@dataclass
class Coordinator:
    """What a planner sees of a node; every sum that it asks for is published at once, or stays under way."""

    done: set[tuple[int, int]] = field(default_factory=set)
    abandoned: set[int] = field(default_factory=set)
    last_bar_ns: int = 0
    given_up_ns: int = 0
    published: list[Request] = field(default_factory=list)
    running: list[Request] = field(default_factory=list)

    @property
    def is_clear(self) -> bool:
        return not self.running

    @property
    def running_bar_ns(self) -> int:
        return max((one.span_end_ns for one in self.running), default=0)

    def publish(self, request: Request) -> None:
        assert (request.round, request.position) not in self.done, "asked twice"
        self.done.add((request.round, request.position))
        self.published.append(request)
        if request.purpose == "state":
            self.last_bar_ns = max(self.last_bar_ns, request.span_end_ns)

    def give_up(self, request: Request) -> None:
        self.done.add((request.round, request.position))
        self.abandoned.add(request.round)
        if request.purpose == "state":
            self.given_up_ns = max(self.given_up_ns, request.span_end_ns)


def bars_of(requests: list[Request]) -> list[int]:
    return [
        stamp
        for one in requests
        if one.purpose == "state"
        for stamp in range(one.span_start_ns, one.span_end_ns + 1, BAR_NS)
    ]


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        ("2024-01-09T12:00", "2024-01-10T02:00"),
        ("2024-01-10T01:59", "2024-01-10T02:00"),
        ("2024-01-10T02:00", "2024-01-17T02:00"),
    ],
)
def test_the_next_round_is_strictly_after(after: str, expected: str) -> None:
    assert next_round_ns(WEEKLY, ns(after)) == ns(expected)


@pytest.mark.parametrize(
    ("after", "expected"),
    [("2024-03-20T12:00", "2024-03-27T02:00"), ("2024-04-01T00:00", "2024-04-03T01:00")],
)
def test_a_round_keeps_its_local_hour_over_the_change_to_summer_time(after: str, expected: str) -> None:
    """3 o'clock in Berlin is 2 UTC until 31 March 2024 and 1 UTC after it."""
    assert next_round_ns(Schedule("0 3 * * 3", "Europe/Berlin"), ns(after)) == ns(expected)


def test_a_daily_round_in_the_hour_that_is_left_out_or_comes_twice_happens_once_a_day() -> None:
    daily = Schedule("30 2 * * *", "Europe/Berlin")
    for first, last, days in (("2024-03-29T12:00", "2024-04-02T12:00", 4), ("2024-10-25T12:00", "2024-10-29T12:00", 4)):
        at, found = ns(first), []
        while (at := next_round_ns(daily, at)) < ns(last):
            found.append(at)
        assert len(found) == days


@pytest.mark.parametrize(
    ("plan", "clause"),
    [
        (Schedule("0 2 * * 3", "Europe/Lubeck"), "time_zone"),
        (Schedule("0 2 * * 3", "../../etc/passwd"), "time_zone"),
        (Schedule("61 2 * * 3", "UTC"), "cron"),
        (Schedule("0 0 30 2 *", "UTC"), "cron"),
    ],
)
def test_a_schedule_that_cannot_be_read_or_never_comes_is_refused(plan: Schedule, clause: str) -> None:
    with pytest.raises(ConfigurationError, match=f"schedule.{clause}"):
        next_round_ns(plan, ns("2024-01-09T12:00"))


def test_a_round_is_named_by_its_minute() -> None:
    assert round_number(ns("2023-03-13T02:00") + 59 * NS) == 202303130200


def test_a_round_asks_for_each_of_its_lines_over_the_whole_history() -> None:
    programme = round_programme(constitution(steps=2), AS_OF_NS)
    assert [one.purpose for one in programme] == ["census", "state", "gram", "clip", "weights", "weights"]
    assert [one.position for one in programme] == [0, 1, 2, 3, 4, 5]
    assert {(one.span_start_ns, one.span_end_ns) for one in programme} == {(START_NS, AS_OF_NS)}
    assert [one.index for one in programme][-2:] == [0, 1]


def test_bars_that_the_state_channel_has_published_are_not_asked_for_again() -> None:
    published = START_NS + 99 * BAR_NS
    programme = round_programme(constitution(), AS_OF_NS, published_ns=published)
    assert bars_of(programme) == list(range(published + BAR_NS, AS_OF_NS + 1, BAR_NS))
    assert [one.purpose for one in round_programme(constitution(), AS_OF_NS, published_ns=AS_OF_NS)] == [
        "census",
        "gram",
    ]


@given(known=st.integers(-10, TRAIN_BARS + 10))
def test_a_sum_keeps_its_place_in_the_round_whatever_is_published_already(known: int) -> None:
    whole = {one.position: one for one in round_programme(constitution(), AS_OF_NS)}
    for one in round_programme(constitution(), AS_OF_NS, published_ns=START_NS + known * BAR_NS):
        assert (one.purpose, one.index) == (whole[one.position].purpose, whole[one.position].index)


def test_a_long_history_is_cut_into_sums_of_bounded_length(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule, "MAX_VALUES", 2000)  # 500 bars of 4 values
    programme = round_programme(constitution(), AS_OF_NS)
    states = [one for one in programme if one.purpose == "state"]
    assert len(states) == 4
    assert bars_of(programme) == list(range(START_NS, AS_OF_NS + 1, BAR_NS))
    assert [one.position for one in programme] == list(range(6))
    rest = round_programme(constitution(), AS_OF_NS, published_ns=states[1].span_end_ns)
    assert [one for one in rest if one.purpose == "state"] == states[2:]


@given(first=st.integers(0, 700), length=st.integers(1, 700), bars=st.sampled_from([1, 7, 288]))
def test_the_state_channel_covers_each_bar_once_and_no_sum_spans_two_days(first: int, length: int, bars: int) -> None:
    start = START_NS + first * BAR_NS
    end = start + (length - 1) * BAR_NS
    programme = state_programme(constitution(), start, end, bars=bars)
    assert bars_of(programme) == list(range(start, end + 1, BAR_NS))
    assert len({(one.round, one.position) for one in programme}) == len(programme)
    for one in programme:
        assert (one.span_start_ns - BAR_NS) // DAY_NS == (one.span_end_ns - BAR_NS) // DAY_NS


def test_a_sum_of_the_channel_is_named_by_the_day_and_slot_of_its_first_bar() -> None:
    (midnight,) = state_programme(constitution(), ns("2023-03-13T00:00"), ns("2023-03-13T00:00"), bars=1)
    (first,) = state_programme(constitution(), ns("2023-03-13T00:05"), ns("2023-03-13T00:05"), bars=1)
    assert (midnight.round, midnight.position) == (20230312, 287)
    assert (first.round, first.position) == (20230313, 0)


@pytest.mark.parametrize(("after", "live"), [(0, 0), (1, 1), (60, 12), (60, 100), (700, 0), (700, 12)])
def test_a_replay_covers_each_bar_once_and_the_last_ones_one_by_one(after: int, live: int) -> None:
    programme = replay_programme(constitution(), AS_OF_NS, AS_OF_NS + after * BAR_NS, live_bars=live)
    assert bars_of(programme) == list(range(START_NS, AS_OF_NS + after * BAR_NS + 1, BAR_NS))
    assert len({(one.round, one.position) for one in programme}) == len(programme)
    ending = programme[len(programme) - min(live, after) :]
    assert all(one.span_start_ns == one.span_end_ns for one in ending)


def test_nothing_is_asked_before_the_first_round() -> None:
    planner = wall_clock_planner(constitution(), ns("2024-01-08T00:00"))
    for hour in range(50):
        assert not planner(Coordinator(), ns("2024-01-08T00:00") + hour * 3600 * NS)  # type: ignore[arg-type]


def serve(node: Coordinator, start: str, end: str, *, restart_every: int = 0) -> None:
    """Ask the planner every minute and publish what it asks for; forget the planner every so many asks."""
    asked = 0
    planner = wall_clock_planner(RULES, ns(start))
    for now in range(ns(start), ns(end), 60 * NS):
        for request in planner(node, now) or ():  # type: ignore[arg-type]
            node.publish(request)
            asked += 1
            if restart_every and asked % restart_every == 0:
                planner = wall_clock_planner(RULES, now)
                break


RULES = msgspec.structs.replace(constitution(steps=2), schedule=Schedule("0 2 * * *", "UTC"))


def test_in_service_a_round_is_due_once_and_every_bar_is_published_once() -> None:
    node = Coordinator()
    serve(node, "2024-01-10T01:30", "2024-01-12T03:00")
    rounds = [one.round for one in node.published if one.purpose == "census"]
    assert rounds == [202401100200, 202401110200, 202401120200]
    first = ns("2024-01-10T02:00") - (HISTORY_DAYS * 288 - 1) * BAR_NS
    bars = bars_of(node.published)
    assert bars == list(range(first, bars[-1] + 1, BAR_NS))
    assert bars[-1] == ns("2024-01-12T02:50") + BAR_NS
    last = [one for one in node.published if one.round == 202401120200]
    assert [one.purpose for one in last] == ["census", "state", "gram", "clip", "weights", "weights"]
    assert bars_of(last) == [ns("2024-01-12T02:00")], "the channel had published all but the newest"


@pytest.mark.parametrize("every", [1, 2, 3, 5])
def test_a_coordinator_restarted_after_any_sum_goes_on_where_it_was(every: int) -> None:
    calm, killed = Coordinator(), Coordinator()
    serve(calm, "2024-01-10T01:30", "2024-01-11T03:00")
    serve(killed, "2024-01-10T01:30", "2024-01-11T03:00", restart_every=every)
    assert bars_of(killed.published) == bars_of(calm.published)
    assert [one for one in killed.published if one.purpose != "state"] == [
        one for one in calm.published if one.purpose != "state"
    ]


def test_a_round_waits_until_the_members_have_its_last_bar() -> None:
    planner = wall_clock_planner(RULES, ns("2024-01-10T01:30"))
    node = Coordinator()
    assert not planner(node, ns("2024-01-10T02:00"))  # type: ignore[arg-type]
    assert planner(node, ns("2024-01-10T02:00") + GRACE_NS)  # type: ignore[arg-type]


def test_bars_that_were_given_up_are_left_out_and_the_channel_goes_on() -> None:
    node = Coordinator()
    serve(node, "2024-01-10T01:30", "2024-01-10T02:20")
    planner = wall_clock_planner(RULES, ns("2024-01-10T02:20"))
    (lost,) = planner(node, ns("2024-01-10T02:26")) or ()  # type: ignore[arg-type]
    node.give_up(lost)
    assert not planner(node, ns("2024-01-10T02:27"))  # type: ignore[arg-type]
    (following,) = planner(node, ns("2024-01-10T02:31")) or ()  # type: ignore[arg-type]
    assert following.span_start_ns == lost.span_end_ns + BAR_NS


def test_a_bar_under_way_delays_neither_the_next_one_nor_is_it_asked_for_again() -> None:
    node = Coordinator()
    serve(node, "2024-01-10T01:30", "2024-01-10T02:20")
    planner = wall_clock_planner(RULES, ns("2024-01-10T02:20"))
    (stalled,) = planner(node, ns("2024-01-10T02:26")) or ()  # type: ignore[arg-type]
    node.running.append(stalled)
    assert planner(node, ns("2024-01-10T02:27")) == ()  # type: ignore[arg-type]
    (following,) = planner(node, ns("2024-01-10T02:31")) or ()  # type: ignore[arg-type]
    assert following.span_start_ns == stalled.span_end_ns + BAR_NS
    node.publish(following)
    assert planner(node, ns("2024-01-10T02:32")) == ()  # type: ignore[arg-type]
    node.publish(node.running.pop())
    assert planner(node, ns("2024-01-10T02:33")) == ()  # type: ignore[arg-type]
    (third,) = planner(node, ns("2024-01-10T02:36")) or ()  # type: ignore[arg-type]
    assert third.span_start_ns == following.span_end_ns + BAR_NS


def test_a_round_that_is_due_waits_for_the_bars_under_way_and_does_not_ask_for_them_again() -> None:
    node = Coordinator()
    serve(node, "2024-01-10T01:30", "2024-01-11T01:55")
    planner = wall_clock_planner(RULES, ns("2024-01-11T01:55"))
    (stalled,) = planner(node, ns("2024-01-11T01:56")) or ()  # type: ignore[arg-type]
    node.running.append(stalled)
    assert planner(node, ns("2024-01-11T02:01")) == ()  # type: ignore[arg-type]
    node.publish(node.running.pop())
    programme = planner(node, ns("2024-01-11T02:02")) or ()  # type: ignore[arg-type]
    assert [one.purpose for one in programme] == ["census", "state", "gram", "clip", "weights", "weights"]
    assert bars_of(list(programme)) == [stalled.span_end_ns + BAR_NS]


def test_a_round_that_was_given_up_is_not_begun_again_and_the_channel_stays_silent_without_a_state() -> None:
    node = Coordinator()
    planner = wall_clock_planner(RULES, ns("2024-01-10T01:30"))
    census = (planner(node, ns("2024-01-10T02:01")) or ())[0]  # type: ignore[arg-type]
    node.give_up(census)
    assert not planner(node, ns("2024-01-10T09:00"))  # type: ignore[arg-type]
    (following, *_) = planner(node, ns("2024-01-11T02:01")) or ()  # type: ignore[arg-type]
    assert (following.round, following.purpose) == (202401110200, "census")


def test_a_round_without_lines_about_bars_has_its_counts() -> None:
    rules = msgspec.structs.replace(constitution(), round=(Sums("gram", 3),))
    assert [(one.position, one.index) for one in round_programme(rules, AS_OF_NS)] == [(0, 0), (1, 1), (2, 2)]
