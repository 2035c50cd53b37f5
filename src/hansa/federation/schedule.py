"""When rounds begin and what they sum: from the constitution's schedule and round to a list of secure sums.

A round is named by the minute it is as of (`202303130200`), UTC, and looks back `history_days`. Purposes about bars are
asked only for bars that no earlier sum has published; each keeps its place in the round all the same, so that a
restarted coordinator finds what is left of a round by the places that are done. Sums of the state channel are named by
the day (`20230313`) and the slot of their first bar. A bar whose sum was given up is not asked for again by the
channel: its budget may be spent.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from hansa.errors import ConfigurationError
from hansa.federation.running_sum import Request

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hansa.federation.coordinator import CoordinatorNode, Planner
    from hansa.governance.constitution import Constitution, Schedule

NS: Final = 1_000_000_000
DAY_NS: Final = 86_400 * NS
MAX_VALUES: Final = 200_000
GRACE_NS: Final = 5 * NS


def next_round_ns(schedule: Schedule, after_ns: int) -> int:
    """Return the time of the first scheduled round after `after_ns`, ns UTC.

    Raises:
        ConfigurationError: The cron fields or the time zone cannot be read, or never match.
    """
    try:
        zone = ZoneInfo(schedule.time_zone)
        start = datetime.fromtimestamp(after_ns // NS, tz=zone)
        found = next(CronSim(schedule.cron, start))
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ConfigurationError(f"schedule.time_zone: {schedule.time_zone!r} is not an IANA time zone") from error
    except (CronSimError, StopIteration) as error:
        raise ConfigurationError(f"schedule.cron: {schedule.cron!r} is not a cron expression that recurs") from error
    return int(found.astimezone(UTC).timestamp()) * NS


def round_number(as_of_ns: int) -> int:
    """Return the name of the round as of a time: its UTC minute as `YYYYMMDDhhmm`.

    >>> round_number(1_678_672_800_000_000_000)
    202303130200
    """
    return int(datetime.fromtimestamp(as_of_ns // NS, tz=UTC).strftime("%Y%m%d%H%M"))


def round_programme(constitution: Constitution, as_of_ns: int, *, published_ns: int = 0) -> list[Request]:
    """Return the secure sums of one round.

    Args:
        constitution: The constitution in force.
        as_of_ns: Newest time that the round may look at.
        published_ns: Stamp of the newest bar that the state channel has published, 0 for none.
    """
    bar_ns = constitution.market.bar_seconds * NS
    end = as_of_ns // bar_ns * bar_ns
    start = end - constitution.market.history_days * DAY_NS + bar_ns
    number = round_number(as_of_ns)
    programme: list[Request] = []
    place = 0
    for line in constitution.round:
        about_bars = constitution.purposes[line.purpose].values_per_bar > 0
        spans = _spans(constitution, line.purpose, start, end) if about_bars else [(start, end)] * line.count
        for index, (first, last) in enumerate(spans):
            fresh = max(first, published_ns + bar_ns) if about_bars else first
            if fresh <= last:
                programme.append(Request(number, place + index, line.purpose, index, fresh, last))
        place += len(spans)
    return programme


def state_programme(constitution: Constitution, start_ns: int, end_ns: int, *, bars: int) -> list[Request]:
    """Return the sums of the state channel for the bars from `start_ns` to `end_ns`, `bars` of one day at a time."""
    bar_ns = constitution.market.bar_seconds * NS
    programme = []
    first = start_ns
    while first <= end_ns:
        midnight = ((first - bar_ns) // DAY_NS + 1) * DAY_NS
        last = min(end_ns, first + (bars - 1) * bar_ns, midnight)
        day = int(datetime.fromtimestamp((first - bar_ns) // NS, tz=UTC).strftime("%Y%m%d"))
        slot = (first - bar_ns) % DAY_NS // bar_ns
        programme.append(Request(day, slot, "state", 0, first, last))
        first = last + bar_ns
    return programme


def wall_clock_planner(constitution: Constitution, started_ns: int) -> Planner:
    """Return a planner for service: rounds as scheduled, and between them every bar as it closes.

    A bar does not wait for the one before; a round waits until no sum of the channel is under way. Neither waits for a
    sum aside.

    Args:
        constitution: The constitution in force.
        started_ns: When this coordinator started, ns UTC; rounds before it are not caught up, save one begun.
    """
    bar_ns = constitution.market.bar_seconds * NS
    due = next_round_ns(constitution.schedule, started_ns)

    def plan(node: CoordinatorNode, now_ns: int) -> Sequence[Request]:
        nonlocal due
        begun = max((number for number, _ in node.done if number > 10**11), default=None)
        if begun is not None and node.is_clear:
            as_of = datetime.strptime(str(begun), "%Y%m%d%H%M").replace(tzinfo=UTC)
            whole = round_programme(constitution, int(as_of.timestamp()) * NS, published_ns=node.last_bar_ns)
            left = _left(node, whole)
            if left and begun not in node.abandoned:
                return left
        if now_ns >= due + GRACE_NS:
            if not node.is_clear:  # what the channel still has under way is not to be asked for again by the round
                return ()
            programme = round_programme(constitution, due, published_ns=node.last_bar_ns)
            due = next_round_ns(constitution.schedule, now_ns)
            return programme
        closed = (now_ns - GRACE_NS) // bar_ns * bar_ns
        known = max(node.last_bar_ns, node.given_up_ns, node.running_bar_ns)
        if node.last_bar_ns == 0 or known >= closed:
            return ()
        return _left(node, state_programme(constitution, known + bar_ns, closed, bars=DAY_NS // bar_ns))

    return plan


def _left(node: CoordinatorNode, programme: Sequence[Request]) -> list[Request]:
    return [request for request in programme if (request.round, request.position) not in node.done]


def _spans(constitution: Constitution, name: str, start_ns: int, end_ns: int) -> list[tuple[int, int]]:
    """Cut a span of bars so that no sum is longer than `MAX_VALUES` values."""
    bar_ns = constitution.market.bar_seconds * NS
    step = max(1, MAX_VALUES // constitution.purposes[name].values_per_bar) * bar_ns
    return [(first, min(first + step - bar_ns, end_ns)) for first in range(start_ns, end_ns + 1, step)]


def replay_programme(constitution: Constitution, as_of_ns: int, until_ns: int, *, live_bars: int = 0) -> list[Request]:
    """Return one round as of a time, then the state channel up to `until_ns`: a day a sum, the last bars one by one."""
    bar_ns = constitution.market.bar_seconds * NS
    first = as_of_ns // bar_ns * bar_ns + bar_ns
    last = until_ns // bar_ns * bar_ns
    live = max(first, last - (live_bars - 1) * bar_ns)
    batched = state_programme(constitution, first, live - bar_ns, bars=DAY_NS // bar_ns)
    single = state_programme(constitution, live, last, bars=1)
    return [*round_programme(constitution, as_of_ns), *batched, *single]
