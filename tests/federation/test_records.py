"""Claims about what a node publishes about itself."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

from hansa.errors import StoreError
from hansa.federation.alerts import Alert
from hansa.federation.records import Records
from players import manifest
from simulator import limits

if TYPE_CHECKING:
    from pathlib import Path

MANIFEST = manifest(limits())
SESSION = MANIFEST.session


def row(records: Records) -> dict[str, object]:
    (found,) = records.rows("SELECT * FROM session")
    return found


def test_a_sessions_row_follows_its_steps() -> None:
    records = Records(":memory:")
    records.session(MANIFEST, "announce", 1)
    records.step(SESSION, "cohort", 2)
    records.step(SESSION, "call", 3)
    records.published(SESSION, members=("m0", "m1"), time_ns=4)
    found = row(records)
    assert (found["state"], found["members"], found["announce_ns"], found["closed_ns"]) == ("published", "m0 m1", 1, 4)
    assert (found["cohort_ns"], found["call_ns"], found["recover_ns"]) == (2, 3, None)


def test_a_restart_leaves_a_row_as_it_is() -> None:
    records = Records(":memory:")
    records.session(MANIFEST, "announce", 1)
    records.died(SESSION, reason="nobody came", time_ns=9)
    records.session(MANIFEST, "announce", 5)
    found = row(records)
    assert (found["state"], found["reason"], found["announce_ns"]) == ("died", "nobody came", 1)


def test_an_unknown_step_is_refused() -> None:
    with pytest.raises(StoreError, match="expected a step"):
        Records(":memory:").step(SESSION, "state = 'published' --", 1)


def test_a_note_is_kept_once() -> None:
    records = Records(":memory:")
    for time_ns in (1, 2):
        records.note(time_ns, SESSION, "cohort", "refused")
    assert records.rows("SELECT * FROM note") == [
        {"time_ns": 1, "session": SESSION, "step": "cohort", "reason": "refused"}
    ]


def test_a_series_holds_the_newest_value_of_a_bar_and_no_gaps() -> None:
    records = Records(":memory:")
    records.series("lsi", "eur", [(1, 0.5), (2, math.nan), (3, 0.7)])
    records.series("lsi", "eur", [(3, 0.8)])
    assert [(found["ts_ns"], found["value"]) for found in records.rows("SELECT * FROM series")] == [(1, 0.5), (3, 0.8)]


def test_alerts_budgets_and_facts_come_back() -> None:
    records = Records(":memory:")
    records.alert(Alert("lsi", "eur", 1, 0.9))
    records.alert(Alert("lsi", "eur", 1, 0.9))
    records.budget("gram", "1970", epsilon=1.0, allowed=4.0, delta=1e-6)
    records.budget("gram", "1970", epsilon=2.0, allowed=4.0, delta=1e-6)
    records.put("model", {"digest": "ab", "round": 3})
    assert len(records.rows("SELECT * FROM alert")) == 1
    assert [found["epsilon"] for found in records.rows("SELECT * FROM budget")] == [2.0]
    assert records.get("model") == {"digest": "ab", "round": 3}
    assert records.get("absent") is None


def test_somebody_elses_records_are_read_only(tmp_path: Path) -> None:
    path = tmp_path / "records.sqlite"
    with pytest.raises(StoreError, match="cannot open"):
        Records(path, read_only=True)
    own = Records(path)
    own.put("model", 1)
    reader = Records(path, read_only=True)
    assert reader.get("model") == 1
    with pytest.raises(StoreError, match="readonly"):
        reader.put("model", 2)
    reader.close()
    own.close()


def test_a_damaged_file_or_query_is_a_store_error(tmp_path: Path) -> None:
    path = tmp_path / "records.sqlite"
    path.write_bytes(b"no database" * 1000)
    with pytest.raises(StoreError, match="cannot open"):
        Records(path)
    with pytest.raises(StoreError, match="records"):
        Records(":memory:").rows("SELECT nothing FROM nowhere")
