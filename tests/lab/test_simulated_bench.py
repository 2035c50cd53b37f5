from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from typer.testing import CliRunner

from hansa.cli import app
from hansa.errors import ConfigurationError, ProtocolError, TransportError
from hansa.federation.records import Records
from hansa.lab import bench, bench_evidence
from hansa.lab.alliance import COORDINATOR, Alliance, found
from hansa.lab.bench_nodes import PURPOSE
from hansa.lab.frozen_members import FrozenMembers
from hansa.lab.simulated_bench import SimulatedRun

if TYPE_CHECKING:
    from pathlib import Path

    from hansa.governance.constitution import Constitution

KEYS = {
    "seconds", "seconds_all", "steps", "member_seconds", "upload_bytes_per_value", "bytes_per_member",
    "coordinator_rss_mib", "member_rss_mib", "disk_sync_seconds", "noise_sigmas", "exact", "members", "length",
    "repeats", "transport", "not_shown",
}  # fmt: skip


def names(members: int) -> dict[str, tuple[()]]:
    return {f"m{place:02d}": () for place in range(members)}


def test_a_bench_names_the_transports_there_are() -> None:
    with pytest.raises(ConfigurationError, match="expected transport nats or simulated, got 'pigeon'"):
        bench.BenchOptions(transport="pigeon")
    assert bench.BenchOptions(repeats=2).sums == 4
    assert bench.BenchOptions(repeats=2, transport="simulated").sums == 2


@pytest.mark.slow
def test_six_members_in_one_process_sum_exactly_over_a_pipe() -> None:
    arguments = ["bench", "secure-sum", "--members", "6", "--length", "20000", "--transport", "simulated", "--json"]
    outcome = CliRunner().invoke(app, arguments)
    assert outcome.exit_code == 0, outcome.output
    figures = json.loads(outcome.stdout)
    assert figures["exact"] is True
    assert set(figures) >= KEYS
    assert (figures["members"], figures["length"], figures["repeats"]) == (6, 20_000, 1)
    assert figures["transport"].startswith("simulated: ")
    assert any("one after another" in line for line in figures["not_shown"])
    assert 0 < figures["noise_sigmas"] < bench_evidence.MAX_SIGMAS
    assert 20 < figures["coordinator_rss_mib"] < 1024
    assert figures["bytes_per_member"] > 20_000 * figures["upload_bytes_per_value"] > 20_000


@pytest.mark.slow
def test_what_a_simulated_run_of_given_vectors_leaves_shows_a_wrong_sum_and_no_state(tmp_path: Path) -> None:
    directory = tmp_path / "alliance"
    for number in range(3):
        np.save(tmp_path / f"member-{number}.npy", np.full(40, 1024 * (number + 1), np.int32))
    options = bench.BenchOptions(members=3, length=40, repeats=1, transport="simulated")
    assert bench.secure_sum(directory, options, tmp_path)["exact"] is True
    alliance = Alliance(directory, tuple(names(3)))
    assert not list(directory.rglob("node.state"))
    assert not (directory / "post").exists()
    records = Records(directory / "m01" / "node" / "records.sqlite")
    opened = records.get("opened-0")
    assert isinstance(opened, dict)
    for name in alliance.members:
        others = Records(directory / name / "node" / "records.sqlite")
        others.put("opened-0", {**opened, "sha256": "00" * 32})
        others.close()
    records.close()
    with pytest.raises(ProtocolError, match="not the sum of vectors and noise"):
        bench_evidence.verify(alliance, 0)


def founded(directory: Path, members: int = 3) -> Alliance:
    def constitution(keys: dict[str, str], coordinator_key: str) -> Constitution:
        return bench.bench_constitution(keys, coordinator_key, length=50, sums=1)

    return found(directory, PURPOSE, names(members), constitution)  # type: ignore[arg-type]


def test_a_coordinator_that_does_not_start_ends_the_run_with_its_reason(tmp_path: Path) -> None:
    alliance = founded(tmp_path / "alliance")
    run = SimulatedRun(alliance, sums=1)
    (alliance.directory / COORDINATOR / "constitution.json").unlink()
    Records(_work(alliance, COORDINATOR) / "records.sqlite").close()
    with pytest.raises(TransportError, match=r"the coordinator ended with code .*no constitution\.json"):
        run.run()


def _work(alliance: Alliance, name: str) -> Path:
    work = alliance.directory / name / "node"
    work.mkdir(mode=0o700, exist_ok=True)
    return work


def test_a_member_between_two_turns_is_its_files_and_says_the_same(tmp_path: Path) -> None:
    alliance = founded(tmp_path / "alliance")
    members = FrozenMembers(alliance, tmp_path / "post")
    first = list(members.first_words("m00"))
    assert [subject.step for subject, _ in first] == ["setup"]
    state = alliance.directory / "m00" / "node" / "node.state"
    assert state.stat().st_mode & 0o777 == 0o600
    assert list(members.first_words("m00")) == first
    again = FrozenMembers(alliance, tmp_path / "another-post")
    assert list(again.first_words("m00")) == first
    assert list(members.turn("m00", ())) == []
    members.forget()
    assert not state.exists()
