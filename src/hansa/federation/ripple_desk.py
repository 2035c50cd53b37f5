"""Where ripple queries wait at the coordinator: files in its folder, asked one at a time, aside of other sums.

    node/ripple/<unix second>-<index>.json      {"index": ..., "asked_ns": ...}

A query's sum is named by the second it was asked in (`r1700000000-0-ripple-a1`), a number that no round and no day of
the state channel has, and by which the coordinator knows that nothing is to wait for it. It begins when no other sum is
under way; once begun, bars and rounds go on beside it, so that one which members refuse (budget spent, too few of them,
no such market) costs the others nothing. It is asked about the newest `history_days` of the published state. A file
goes away once its sum is over; one that was asked before a restart is asked again only if the streams do not hold its
result.

Guarantees: a file that is no query of this federation is put aside (`.refused`) and stops nothing.
Does NOT guarantee an answer: members refuse beyond their budget, and the sum then dies with its reason in the records.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from hansa.errors import ConfigurationError, HansaError
from hansa.federation.ripple_query import PURPOSE, RippleQuery
from hansa.federation.running_sum import Request

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from hansa.federation.coordinator import CoordinatorNode, Planner
    from hansa.governance.constitution import Constitution

NS: Final = 1_000_000_000
DAY_NS: Final = 86_400 * NS


class _Waiting(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    index: int
    asked_ns: int


def ask(work: Path, constitution: Constitution, query: RippleQuery, *, now_ns: int) -> str:
    """Put a query on the coordinator's desk; return the label of the session that will ask it first.

    Args:
        work: The coordinator's folder `node`.
        constitution: The constitution in force.
        query: What is asked.
        now_ns: The time, ns UTC.

    Raises:
        ConfigurationError: The constitution has no such purpose, or the file cannot be written.
    """
    if PURPOSE not in constitution.purposes:
        raise ConfigurationError(
            f"the constitution has no purpose {PURPOSE}: draft the next one with [budgets] ripple above 0"
        )
    index, second = query.index(tuple(constitution.market.baskets)), now_ns // NS
    desk = work / PURPOSE
    try:
        desk.mkdir(mode=0o700, exist_ok=True)
        while list(desk.glob(f"{second}-*")):
            second += 1
        waiting = desk / f"{second}-{index}.part"
        waiting.write_bytes(msgspec.json.encode(_Waiting(index, now_ns)))
        waiting.replace(desk / f"{second}-{index}.json")
    except OSError as error:
        raise ConfigurationError(
            f"{desk}: cannot be written ({error.strerror}); check space and permissions"
        ) from error
    return f"r{second}-0-{PURPOSE}-a1"


def with_queries(planner: Planner, work: Path, constitution: Constitution) -> Planner:
    """Return a planner that asks what `planner` says, and one waiting query when that is nothing.

    Args:
        planner: Of rounds and the state channel.
        work: The coordinator's folder `node`.
        constitution: The constitution in force.
    """

    def plan(node: CoordinatorNode, now_ns: int) -> Sequence[Request] | None:
        return planner(node, now_ns) or _next(node, work / PURPOSE, constitution)

    return plan


def _next(node: CoordinatorNode, desk: Path, constitution: Constitution) -> list[Request]:
    if (
        not node.is_clear
        or node.has_aside
        or PURPOSE not in constitution.purposes
        or node.last_bar_ns == 0
        or not desk.is_dir()
    ):
        return []
    for path in sorted(desk.glob("*.json")):
        second = int(path.name.split("-")[0]) if path.name.split("-")[0].isdecimal() else -1
        if (second, 0) in node.done:
            path.unlink(missing_ok=True)
            continue
        try:
            waiting = msgspec.json.decode(path.read_bytes(), type=_Waiting)
            RippleQuery.of_index(waiting.index, tuple(constitution.market.baskets))
        except (msgspec.DecodeError, UnicodeDecodeError, OSError, HansaError):
            path.replace(path.with_suffix(".refused"))
            continue
        return [_request(constitution, waiting.index, second, node.last_bar_ns)]
    return []


def _request(constitution: Constitution, index: int, second: int, end_ns: int) -> Request:
    bar_ns = constitution.market.bar_seconds * NS
    return Request(second, 0, PURPOSE, index, end_ns - constitution.market.history_days * DAY_NS + bar_ns, end_ns)
