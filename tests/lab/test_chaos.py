"""Claims about runs of chaos: plans repeat, good code passes, and every verdict fires on a planted defect."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from hansa.federation.door import MemberDoor
from hansa.federation.readding import Readding
from hansa.federation.store import MemberStore
from hansa.lab.chaos import play
from hansa.lab.chaos_plan import Fault, Plan, draw_plan
from simulator import limits, purpose, request

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from hansa.crypto.sampling import GaussianTable
    from hansa.protocol.limits import PurposeLimit
    from hansa.protocol.messages import Manifest
    from hansa.protocol.privacy import Charge


def plan(*faults: Fault, exchanges: int = 2, colluders: tuple[str, ...] = ()) -> Plan:
    rules = limits(5, len(colluders), gram=purpose(exchanges=exchanges, epsilon=500.0))
    return Plan(rules, (request(0), request(1)), colluders, faults, (1, 0))


class ForgetfulStore(MemberStore):
    """A store that comes back from a copy made before it agreed to anything."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.close()
        with sqlite3.connect(path) as connection:
            connection.execute("DELETE FROM fact WHERE key LIKE '%/agreed' OR key LIKE '%/called/%'")
            connection.execute("DELETE FROM fact WHERE key LIKE '%/opened' OR key LIKE '%/closed'")
            connection.execute("DELETE FROM egress WHERE step IN ('agree', 'open')")
        connection.close()
        super().__init__(path)


class FreeDoor(MemberDoor):
    """A door that charges nothing."""

    def _affordable(self, _manifest: Manifest, _purpose: PurposeLimit, _table: GaussianTable) -> dict[str, Charge]:
        return {}


REWINDING = Fault("rewound-cohort", "coordinator", "cohort", 0, 0, ("m0", "m1", "m2"))
EDITING = Fault("edited-sum", "coordinator", "cohort", 1, 0, ("m1", "m3"))


def test_a_run_is_drawn_from_its_seed_and_number_alone() -> None:
    assert draw_plan(7, 3) == draw_plan(7, 3)
    assert draw_plan(7, 3) != draw_plan(7, 4)
    for number in range(50):
        drawn = draw_plan(7, number)
        assert 4 <= len(drawn.limits.members) <= 7
        assert 3 * len(drawn.colluders) < len(drawn.limits.members)


def test_without_faults_every_sum_is_exact(tmp_path: Path) -> None:
    assert play(plan(), tmp_path).verdicts == ("exact",)


def test_a_coordinator_that_rewinds_members_opens_no_second_cohort(tmp_path: Path) -> None:
    outcome = play(plan(REWINDING), tmp_path)
    assert outcome.verdicts == ("exact",)
    assert outcome.happened["rewound-cohort"] == 1


def test_a_store_that_forgets_what_it_agreed_to_is_a_leak(tmp_path: Path) -> None:
    outcome = play(plan(REWINDING), tmp_path, store=ForgetfulStore)
    assert "leaked" in outcome.verdicts
    assert any("2 cohorts of one manifest" in line for line in outcome.findings)


def test_a_door_that_does_not_charge_is_found_out(tmp_path: Path) -> None:
    outcome = play(plan(), tmp_path, door=FreeDoor)
    assert outcome.verdicts == ("double_charged",)
    assert all("uploaded without a charge" in line for line in outcome.findings)


def test_an_edited_sum_is_found_out_by_members_and_wrong_where_they_do_not_add_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "good").mkdir()
    (tmp_path / "bad").mkdir()
    assert play(plan(EDITING), tmp_path / "good").findings == ()
    monkeypatch.setattr(Readding, "note", lambda _self, _session: None)
    monkeypatch.setattr(Readding, "distrust", lambda _self, _session: None)  # nor notice a second sum
    outcome = play(plan(EDITING), tmp_path / "bad", keep=tmp_path / "kept")
    assert outcome.verdicts == ("wrong",)
    assert (tmp_path / "kept" / "run-0" / "transcript.jsonl").exists()
    assert (tmp_path / "kept" / "run-0" / "m1.sqlite").exists()
