"""Claims about the index that a node publishes while sums of bars overtake each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from hansa.federation.records import Records
from hansa.federation.rules import limits_of
from hansa.federation.schedule import replay_programme, state_programme
from hansa.protocol.session import Aggregate
from simulator import BAR_NS
from small_market import AS_OF_NS, START_NS, TRAIN_BARS, constitution, manifest_of, views_of_member, work

if TYPE_CHECKING:
    from hansa.federation.liquidity import LiquidityWork

LIMITS = limits_of(constitution())
CENSUS = Aggregate(
    manifest_of(replay_programme(constitution(), AS_OF_NS, AS_OF_NS)[0]), LIMITS.members, np.array([2 << 20, 3 << 20])
)
LIVE_BARS = 5


def parts() -> list[Aggregate]:
    """Return the sums of the training bars at once and of some bars after it one by one."""
    rng = np.random.default_rng(4)
    training = state_programme(constitution(), START_NS, AS_OF_NS, bars=288)
    live = state_programme(constitution(), AS_OF_NS + BAR_NS, AS_OF_NS + LIVE_BARS * BAR_NS, bars=1)
    found = []
    for request in (*training, *live):
        manifest = manifest_of(request)
        vector = np.concatenate([np.full(2, 1000.0), rng.standard_normal(manifest.length - 2)])
        scaled = np.rint(vector * LIMITS.purposes["state"].scale).astype(np.int64)
        found.append(Aggregate(manifest, LIMITS.members, scaled))
    return found


def index_of(one: LiquidityWork) -> dict[tuple[str, int], float]:
    rows = one._records.rows("SELECT basket, ts_ns, value FROM series WHERE name = 'lsi'")
    return {(str(row["basket"]), int(str(row["ts_ns"]))): float(str(row["value"])) for row in rows}


def fresh() -> LiquidityWork:
    one = work(views_of_member("m0"))
    one.receive(CENSUS)
    return one


@pytest.mark.parametrize("late", [1, 2, LIVE_BARS])
def test_a_gap_that_is_filled_later_leaves_the_index_of_a_node_that_never_saw_the_gap(late: int) -> None:
    sums = parts()
    calm, stalled = fresh(), fresh()
    for one in sums:
        calm.receive(one)
    calm.settle()
    missing = sums[-late]
    for one in sums:
        if one is not missing:
            stalled.receive(one)
            if one.manifest.span_start_ns > AS_OF_NS:
                stalled.settle()
    stamp = missing.manifest.span_start_ns
    assert ("eur", stamp) in index_of(calm)
    assert index_of(stalled) != index_of(calm)
    stalled.receive(missing)
    stalled.settle()
    assert index_of(stalled) == index_of(calm)
    assert len(stalled.published.stamps()) == TRAIN_BARS + LIVE_BARS


def test_bars_that_nothing_has_changed_are_not_published_again(monkeypatch: pytest.MonkeyPatch) -> None:
    one, written = fresh(), []
    sums = parts()
    real = Records.series

    def series(records: Records, name: str, basket: str, rows: object) -> None:
        found = list(rows)  # type: ignore[call-overload]
        written.append((basket, len(found)))
        real(records, name, basket, found)

    for part in sums[:-2]:
        one.receive(part)
    one.settle()
    monkeypatch.setattr(Records, "series", series)
    one._watchtower.look()
    assert {count for _, count in written} == {0}
    written.clear()
    one.receive(sums[-1])
    one.settle()
    assert {count for _, count in written} == {1}
    written.clear()
    one.receive(sums[-2])
    one.settle()
    assert dict(written) == {"eur": 2, "xau": 2, "system": 2}
