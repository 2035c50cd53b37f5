from __future__ import annotations

import hashlib
import json
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from typer.testing import CliRunner

from hansa.cli import app
from hansa.crypto.signature import SigningKey
from hansa.errors import ConfigurationError, ProtocolError
from hansa.federation.records import Records
from hansa.federation.rules import limits_of
from hansa.federation.running_sum import Request
from hansa.lab import bench, bench_evidence
from hansa.lab.bench_nodes import (
    PURPOSE,
    VALUE_BOUND,
    QuietPlanner,
    known_vector,
    member_vector,
    peak_rss_bytes,
)
from hansa.protocol.privacy import Charge, epsilon

if TYPE_CHECKING:
    from pathlib import Path

SECOND_NS = 1_000_000_000


def keys(members: int) -> dict[str, str]:
    return {f"m{place:02d}": SigningKey.from_bytes(bytes([place + 1]) * 32).public for place in range(members)}


def test_the_bench_names_what_it_cannot_measure() -> None:
    for options in ({"members": 2}, {"length": 0}, {"repeats": 0}):
        with pytest.raises(ConfigurationError, match=f"bench: expected {next(iter(options))} of at least"):
            bench.BenchOptions(**options)


def test_a_known_vector_belongs_to_its_member_and_manifest_and_stays_in_bounds() -> None:
    digest = hashlib.sha256(b"manifest").digest()
    first = known_vector("m00", digest, 1000)
    assert np.array_equal(first, known_vector("m00", digest, 1000))
    assert not np.array_equal(first, known_vector("m01", digest, 1000))
    assert not np.array_equal(first, known_vector("m00", digest[::-1], 1000))
    assert np.abs(first).max() <= VALUE_BOUND


def test_the_benchs_budget_pays_for_its_sums_and_not_for_twice_as_many() -> None:
    constitution = bench.bench_constitution(keys(5), SigningKey.from_bytes(bytes(32)).public, length=1000, sums=7)
    purpose = limits_of(constitution).purposes[PURPOSE]
    assert epsilon([Charge(purpose.noise_multiplier, 7)], delta=purpose.delta) <= purpose.epsilon
    assert epsilon([Charge(purpose.noise_multiplier, 14)], delta=purpose.delta) > purpose.epsilon


def test_a_planner_asks_for_each_sum_after_a_silence_and_then_ends() -> None:
    records = Records(":memory:")
    planner = QuietPlanner(records, sums=2)
    asked, ends = [], False
    busy, idle = SimpleNamespace(is_done=False), SimpleNamespace(is_done=True)
    assert planner(busy, 0) == planner(busy, 100 * SECOND_NS) == ()  # type: ignore[arg-type]
    for tick in range(20):
        more = planner(idle, tick * SECOND_NS // 5)  # type: ignore[arg-type]
        ends = more is None
        if ends:
            break
        asked += [(tick, request) for request in more or ()]
    assert ends
    assert [request.round for _, request in asked] == [0, 1]
    assert asked[1][0] - asked[0][0] >= 2
    assert all(isinstance(request, Request) and request.purpose == PURPOSE for _, request in asked)
    assert isinstance(records.get("turned-1"), int)
    records.close()


@pytest.mark.slow
def test_a_real_run_is_exact_and_gives_every_figure() -> None:
    arguments = ["bench", "secure-sum", "--members", "3", "--length", "257", "--repeats", "1", "--json"]
    outcome = CliRunner().invoke(app, arguments)
    assert outcome.exit_code == 0, outcome.output
    figures = json.loads(outcome.stdout)
    assert figures["exact"] is True
    assert set(figures["steps"]) == set(bench_evidence.STEPS)
    assert sum(figures["steps"].values()) == pytest.approx(figures["seconds"], abs=1e-3)
    assert 0 < figures["seconds"] < 30
    assert figures["bytes_per_member"] > 4 * 257
    assert figures["upload_bytes_per_value"] > 4
    assert 0 < figures["member_seconds"] < figures["seconds"]
    assert 20 < figures["coordinator_rss_mib"] < 1024
    assert 20 < figures["member_rss_mib"] < 1024
    assert 5 < figures["server_rss_mib"] < 1024
    assert not any("ring" in line for line in figures["not_shown"])
    assert {"transport", "members", "length", "repeats", "not_shown", "seconds_all", "disk_sync_seconds"} <= set(
        figures
    )
    assert (figures["members"], figures["length"], figures["repeats"]) == (3, 257, 1)


@pytest.mark.slow
def test_twenty_member_processes_on_one_machine_complete_a_round(tmp_path: Path) -> None:
    """Fifty take minutes of set-up: `benchmarks/fifty_members.py`."""
    directory = tmp_path / "alliance"
    figures = bench.secure_sum(directory, bench.BenchOptions(members=20, length=1000, repeats=1))
    assert figures["exact"] is True
    alliance = bench.Alliance(directory, tuple(f"m{place:02d}" for place in range(20)))
    records = alliance.records(bench.COORDINATOR)
    rows = records.rows("SELECT state, members FROM session ORDER BY round")
    records.close()
    assert [row["state"] for row in rows] == ["published"] * 3
    assert [len(str(row["members"]).split()) for row in rows] == [20] * 3
    assert 0 < float(str(figures["server_disk_mib"])) < 2000


def test_a_bench_refuses_a_file_that_is_not_its_members_vector(tmp_path: Path) -> None:
    vectors = (None, np.zeros(7, np.int16), np.zeros(8), np.full(8, 2**15 + 1), np.full(8, -(2**15) - 1))
    for place, vector in enumerate(vectors):
        folder = tmp_path / str(place)
        folder.mkdir()
        if vector is not None:
            np.save(folder / "member-0.npy", vector)
        options = bench.BenchOptions(members=3, length=8, repeats=1)
        with pytest.raises(ConfigurationError, match=r"bench: expected (a vector of )?8 integers"):
            bench.secure_sum(folder / "alliance", options, folder)


@pytest.mark.slow
def test_a_bench_sums_the_vectors_of_given_files(tmp_path: Path) -> None:
    vectors = np.random.default_rng(1).integers(-(2**15), 2**15, (3, 50), dtype=np.int16)
    for number, vector in enumerate(vectors):
        np.save(tmp_path / f"member-{number}.npy", vector)
    directory = tmp_path / "alliance"
    figures = bench.secure_sum(directory, bench.BenchOptions(members=3, length=50, repeats=1), tmp_path)
    assert figures["exact"] is True
    for number, vector in enumerate(vectors):
        placed = member_vector(directory / f"m{number:02d}", f"m{number:02d}", bytes(32), 50)
        assert np.array_equal(placed * 2**10, vector)


@pytest.mark.slow
def test_a_published_sum_that_is_not_the_members_sum_ends_the_bench(tmp_path: Path) -> None:
    directory = tmp_path / "alliance"
    bench.secure_sum(directory, bench.BenchOptions(members=3, length=8, repeats=1))
    alliance = bench.Alliance(directory, tuple(sorted(keys(3))))
    for name in alliance.members:
        records = Records(directory / name / "node" / "records.sqlite")
        opened = records.get("opened-0")
        assert isinstance(opened, dict)
        records.put("opened-0", {**opened, "sha256": "00" * 32})
        records.close()
    with pytest.raises(ProtocolError, match="not the sum of vectors and noise"):
        bench_evidence.verify(alliance, 0)


def test_a_planner_keeps_as_many_sums_in_flight_as_it_was_told() -> None:
    records = Records(":memory:")
    planner = QuietPlanner(records, sums=4, in_flight=2)
    node = SimpleNamespace(done=set())
    asked = [planner(node, tick) for tick in range(3)]  # type: ignore[arg-type]
    assert [len(more or ()) for more in asked] == [1, 1, 0]
    node.done.add((0, 0))
    assert [request.round for request in planner(node, 3) or ()] == [2]  # type: ignore[arg-type]
    node.done.add((1, 0))
    assert [request.round for request in planner(node, 4) or ()] == [3]  # type: ignore[arg-type]
    assert planner(node, 5) is None  # type: ignore[arg-type]
    records.close()


def test_a_planner_stays_until_the_last_result_is_seen_or_a_sum_has_failed(tmp_path: Path) -> None:
    for is_failed in (False, True):
        folder = tmp_path / str(is_failed)
        alliance = bench.Alliance(folder, ("m00",))
        assert not bench_evidence.has_ended(alliance)
        for name in (bench.COORDINATOR, "m00"):
            (folder / name / "node").mkdir(parents=True)
        records = Records(folder / bench.COORDINATOR / "node" / "records.sqlite")
        member = Records(folder / "m00" / "node" / "records.sqlite")
        planner = QuietPlanner(records, sums=0, in_flight=2, last_seen=folder / "seen")
        node = SimpleNamespace(is_done=True, is_failed=is_failed, done=set())
        assert (planner(node, 0) is None) is is_failed  # type: ignore[arg-type]
        assert bench_evidence.has_ended(alliance) is not is_failed
        assert not bench_evidence.have_seen(alliance, 0)
        member.put("opened-0", {"seen_ns": 1})
        assert bench_evidence.have_seen(alliance, 0)
        (folder / "seen").touch()
        assert planner(node, 1) is None  # type: ignore[arg-type]
        records.close()
        member.close()


def test_peak_memory_counts_what_was_touched_and_freed() -> None:
    before = peak_rss_bytes()
    size = 2 * before
    np.ones(size, dtype=np.uint8)
    assert before + size // 4 < peak_rss_bytes() < before + 2 * size


def test_a_bench_whose_members_noted_nothing_is_refused(tmp_path: Path) -> None:
    alliance = bench.Alliance(tmp_path, ("m00",))
    folder = tmp_path / "m00" / "node"
    folder.mkdir(parents=True)
    records = Records(folder / "records.sqlite")
    with pytest.raises(ProtocolError, match="m00 has not noted its memory"):
        bench_evidence.peak_mib(alliance, "m00")
    records._write("INSERT INTO session (session, round) VALUES ('r3-0-bench-a1', 3)")
    with pytest.raises(ProtocolError, match="m00 has not noted its time at the door for r3-0-bench-a1"):
        bench_evidence.member_seconds(alliance, first=3)
    for session, number, seconds in (("r4-0-bench-a1", 4, 0.5), ("r5-0-bench-a1", 5, 0.25)):
        records._write("INSERT INTO session (session, round) VALUES (?, ?)", session, number)
        records.put(f"door/{session}", seconds)
    assert bench_evidence.member_seconds(alliance, first=4) == 0.375
    records.close()


@pytest.mark.slow
def test_a_real_state_channel_is_exact_and_takes_two_exchanges() -> None:
    arguments = ["bench", "state-channel", "--members", "3", "--length", "50", "--sums", "9", "--json"]
    outcome = CliRunner().invoke(app, arguments)
    assert outcome.exit_code == 0, outcome.output
    figures = json.loads(outcome.stdout)
    assert figures["exact"] is True
    assert set(figures["steps"]) == {"announce", "upload", "open", "publish"}
    for way in ("one_after_another", "in_flight_together"):
        assert 0 < figures[way]["p50"] <= figures[way]["p90"] <= figures[way]["p99"] <= figures[way]["worst"] < 30
