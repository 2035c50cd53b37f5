"""Claims about the probes: one fault, one probe that says so, and what to do."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec
import polars as pl
import pytest

import folders
from hansa.audit.note import cosign, origin_of, witness_name
from hansa.audit.store import LogStore
from hansa.crypto.canonical import canonical
from hansa.errors import HansaError
from hansa.federation.doctor.kernel_clock import KernelClock, read_kernel_clock
from hansa.federation.doctor.patient import Patient, admit
from hansa.federation.doctor.probes import FREE_FAIL_BYTES, FREE_WARN_BYTES, examine, report_of
from hansa.federation.node import load_node
from hansa.federation.records import Records
from hansa.federation.rules import limits_of
from hansa.federation.store import MemberStore
from hansa.governance.node_audit import PROBES, NodeAuditClause
from hansa.market.schema import conform
from hansa.protocol.privacy import Charge, NoiseShares
from synthetic_tpm import clause

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from hansa.federation.doctor.report import Probe

NS = 1_000_000_000
IN_STEP = KernelClock(is_synchronised=True, largest_error_seconds=0.01)
OUT_OF_STEP = KernelClock(is_synchronised=False, largest_error_seconds=16.0)


def ticking(milliseconds: float) -> Callable[[], int]:
    """Return a clock that goes on by half of so much at each look."""
    state = iter(range(0, 10**12, int(milliseconds * 1e6)))
    return lambda: next(state)


def patient(directory: Path, *, days: float = 0.0, milliseconds: float = 5.0) -> Patient:
    found = admit(directory, at=folders.NOW + timedelta(days=days), software="0.1.0")
    return replace(found, ticks_ns=ticking(milliseconds), kernel_clock=lambda: IN_STEP)


def look(one: Patient, name: str) -> Probe:
    return next(probe for probe in examine(one) if probe.name == name)


def bars(market: str = "EUR-USD") -> pl.DataFrame:
    count = 12
    frame = pl.DataFrame(
        {
            "ts_ns": [19_000 * 86_400 * NS + place * 300 * NS for place in range(1, count + 1)],
            "market": [market] * count,
            "venue": ["here"] * count,
            **dict.fromkeys(("open", "high", "low", "close"), [100.0] * count),
            "volume": [10.0] * count,
            "spread_bps": [1.0] * count,
        }
    )
    return conform(frame, source="test")


def put_bars(directory: Path, *markets: str) -> None:
    (directory / "bars").mkdir(exist_ok=True)
    for market in markets:
        bars(market).write_parquet(directory / "bars" / f"here_{market}.parquet")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = folders.found(tmp_path_factory.mktemp("made") / "plain")
    put_bars(found / "north", "EUR-USD", "XAU-USD")
    return found


@pytest.fixture
def federation(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "federation")


@pytest.fixture
def member(federation: Path) -> Path:
    return federation / "north"


@pytest.fixture
def roomy(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: shutil._ntuple_diskusage(1 << 40, 0, 1 << 40))
    return None


@pytest.mark.usefixtures("roomy")
def test_a_healthy_member_passes(member: Path) -> None:
    probes = examine(patient(member))

    assert tuple(probe.name for probe in probes) == PROBES
    assert {probe.name: probe.status for probe in probes} == dict.fromkeys(PROBES, "pass") | dict.fromkeys(
        ("facts", "log", "attestation"), "skip"
    )
    assert all(probe.todo == "" for probe in probes)


@pytest.mark.usefixtures("roomy")
def test_a_healthy_coordinator_passes(federation: Path) -> None:
    probes = examine(patient(federation / "coordinator"))

    assert {probe.status for probe in probes} == {"pass", "skip"}
    assert [probe.name for probe in probes if probe.status == "skip"] == [
        "facts",
        "budget",
        "data",
        "log",
        "attestation",
    ]


def test_nothing_that_was_seen_names_the_folder(member: Path) -> None:
    (member / "roster.json").write_text("{}")
    (member / "bars" / "here_EUR-USD.parquet").write_bytes(b"no bars")
    said = json.dumps(msgspec.to_builtins(examine(patient(member))))

    assert str(member) not in said
    assert "the folder" in said


def test_the_probes_leave_nothing_behind(member: Path) -> None:
    admit(member, at=folders.NOW, software="0.1.0")  # the first load makes the working folder
    before = sorted(str(path) for path in member.rglob("*"))
    examine(patient(member))

    assert sorted(str(path) for path in member.rglob("*")) == before


@pytest.mark.parametrize("name", ["hansa.toml", "roster.json", "identity.key", "identity.crt", "constitution.json"])
def test_a_missing_file_fails_the_kit_and_no_probe_raises(member: Path, name: str) -> None:
    (member / name).unlink()
    probes = examine(patient(member))

    assert tuple(probe.name for probe in probes) == PROBES
    kit = probes[0]
    assert (kit.status, name in kit.seen) == ("fail", True)
    with pytest.raises(HansaError, match="no report without"):
        report_of(patient(member), probes)


def test_an_empty_folder_fails_what_it_must(tmp_path: Path) -> None:
    found = {probe.name: probe.status for probe in examine(patient(tmp_path))}

    assert [name for name, status in found.items() if status == "fail"] == ["kit", "keys", "tls", "constitution"]


@pytest.mark.parametrize(("name", "mode"), [("identity.key", 0o640), ("node.key", 0o604), ("node", 0o755)])
def test_what_others_may_read_fails(member: Path, name: str, mode: int) -> None:
    patient(member)
    (member / name).chmod(mode)
    found = look(patient(member), "keys")

    assert found.status == "fail"
    assert f"{name}" in found.seen
    assert "chmod" in found.todo


def test_facts_that_others_may_read_fail(member: Path) -> None:
    MemberStore(patient(member).node.work / "facts.sqlite").close()
    (member / "node" / "facts.sqlite").chmod(0o644)

    assert look(patient(member), "keys").status == "fail"
    assert look(patient(member), "facts").status == "fail"


@pytest.mark.parametrize(("days", "status"), [(0, "pass"), (366, "pass"), (368, "warn"), (398, "fail"), (2000, "fail")])
def test_certificates_are_warned_of_a_month_before_they_end(member: Path, days: int, status: str) -> None:
    found = look(patient(member, days=days), "tls")

    assert found.status == status
    assert ("renew" in found.todo) == (status != "pass")


@pytest.mark.parametrize(
    ("kernel", "offset_ns", "status"),
    [
        (IN_STEP, None, "pass"),
        (IN_STEP, 3_000_000, "pass"),
        (IN_STEP, -2 * NS, "warn"),
        (IN_STEP, 9 * NS, "fail"),
        (OUT_OF_STEP, 3_000_000, "warn"),
        (None, None, "warn"),
    ],
)
def test_the_clock_is_the_kernels_word_and_the_servers(
    member: Path, kernel: KernelClock | None, offset_ns: int | None, status: str
) -> None:
    one = replace(patient(member), kernel_clock=lambda: kernel)
    if offset_ns is not None:
        records = Records(one.node.records_path)
        records.put("clock_offset_ns", offset_ns)
        records.close()

    assert look(one, "clock").status == status


def test_this_machines_kernel_is_asked() -> None:
    found = read_kernel_clock()

    assert found is None or found.largest_error_seconds >= 0.0


def test_records_that_are_damaged_say_nothing(member: Path) -> None:
    one = patient(member)
    one.node.records_path.write_bytes(b"no database" * 100)

    assert one.fact("clock_offset_ns") is None


@pytest.mark.parametrize(("milliseconds", "status"), [(5.0, "pass"), (50.0, "warn"), (500.0, "fail")])
@pytest.mark.usefixtures("roomy")
def test_a_slow_disk_is_told_from_a_fast_one(member: Path, milliseconds: float, status: str) -> None:
    found = look(patient(member, milliseconds=milliseconds), "disk")

    assert found.status == status
    assert f"{milliseconds:.1f} ms" in found.seen


@pytest.mark.parametrize(
    ("free", "status"), [(FREE_WARN_BYTES, "pass"), (FREE_WARN_BYTES - 1, "warn"), (FREE_FAIL_BYTES - 1, "fail")]
)
def test_a_full_disk_is_told(member: Path, monkeypatch: pytest.MonkeyPatch, free: int, status: str) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: shutil._ntuple_diskusage(1 << 40, 0, free))

    assert look(patient(member), "disk").status == status


def test_an_edited_egress_record_fails(member: Path) -> None:
    one = patient(member)
    store = MemberStore(one.node.work / "facts.sqlite")
    store.record_egress("e1/setup", "setup", b"one", time_ns=1)
    store.record_egress("e1/setup", "halves", b"two", time_ns=2)
    assert look(one, "facts").seen.startswith("2 messages")
    store._execute("UPDATE egress SET bytes = 9 WHERE number = 1")
    store.close()

    found = look(one, "facts")
    assert found.status == "fail"
    assert "chain" in found.seen


def test_a_signature_taken_from_the_constitution_fails_twice(member: Path) -> None:
    path = member / "constitution.json"
    tree = json.loads(path.read_bytes())
    del tree["signatures"]["north"]
    path.write_bytes(canonical(tree))
    found = look(patient(member), "constitution")

    assert (found.status, "not by north" in found.seen) == ("fail", True)
    assert look(patient(member), "kit").status == "fail"


@pytest.mark.parametrize(("years", "status"), [(0, "warn"), (1, "pass")])
def test_a_budget_of_this_year_that_does_not_pay_for_a_round_is_warned_of(
    member: Path, years: int, status: str
) -> None:
    one = patient(member)
    purpose = limits_of(one.node.constitution).purposes["gram"]
    year = str(folders.NOW.year - years)
    charge = Charge(purpose.noise_multiplier, 52, NoiseShares(1e6, 3, 4, 1e-9))
    store = MemberStore(one.node.work / "facts.sqlite")
    store.charge("e1/r1-0-gram-a1", purpose="gram", period=year, charge=charge, time_ns=1)
    store.close()
    found = look(one, "budget")

    assert found.status == status
    assert (f"gram {year}" in found.seen) == (status == "warn")
    assert ("hansa privacy show" in found.todo) == (status == "warn")


def test_bars_without_the_schema_fail_and_missing_baskets_are_warned_of(member: Path) -> None:
    (member / "bars" / "here_XAU-USD.parquet").unlink()
    assert look(patient(member), "data").status == "warn"
    (member / "bars" / "here_EUR-USD.parquet").write_bytes(b"no bars")
    assert look(patient(member), "data").status == "fail"


def put_log(federation: Path, count: int = 3) -> bytes:
    """Keep a log of some entries at the coordinator, cosigned and published; return north's cosigned checkpoint."""
    node = load_node(federation / "coordinator")
    north = load_node(federation / "north")
    origin, signer = origin_of(node.constitution.federation), node.kit.signing_key
    line_name = witness_name(node.constitution.federation, "north")
    with LogStore(node.log, origin=origin, signer=signer) as log:
        log.append([b"entry %d" % number for number in range(count)])
        line = cosign(log.head.text, north.kit.signing_key, name=line_name, seconds=1)
        log.publish(log.head.with_signatures([line]))
        return log.head.with_signatures([line]).to_bytes()


def test_the_log_is_skipped_while_there_is_none(federation: Path) -> None:
    for name in ("north", "coordinator"):
        assert look(patient(federation / name), "log").status == "skip"


def test_a_coordinators_log_is_hashed_again(federation: Path) -> None:
    put_log(federation)
    found = look(patient(federation / "coordinator"), "log")
    assert (found.status, found.seen) == ("pass", "3 entries make the published checkpoint")
    (bundle,) = (federation / "coordinator" / "node" / "log" / "tile" / "entries").rglob("3")
    bundle.write_bytes(bundle.read_bytes().replace(b"entry 1", b"entry 7"))
    assert look(patient(federation / "coordinator"), "log").status == "fail"
    bundle.unlink()
    assert look(patient(federation / "coordinator"), "log").status == "fail"


def test_a_member_says_what_it_cosigned_and_fails_once_that_was_contradicted(federation: Path) -> None:
    note = put_log(federation)
    path = federation / "north" / "node" / "facts.sqlite"
    path.parent.mkdir(mode=0o700, exist_ok=True)
    store = MemberStore(path)
    origin = origin_of("baltic")
    store.keep_cosigned(origin, note, [])
    found = look(patient(federation / "north"), "log")
    assert (found.status, found.seen) == ("pass", "cosigned up to 3 entries, never contradicted")
    store.keep_dispute(origin, b"another")
    found = look(patient(federation / "north"), "log")
    assert (found.status, "contradict" in found.seen) == ("fail", True)
    store.close()


@pytest.mark.parametrize(("policy", "status"), [("require", "fail"), ("warn", "warn"), ("off", "skip")])
def test_an_attestation_that_is_asked_for_is_looked_at(tmp_path: Path, policy: str, status: str) -> None:
    federation = folders.found(tmp_path / policy, attestation=clause(policy))
    assert look(patient(federation / "coordinator"), "attestation").status == status
    one = patient(federation / "north")
    assert look(one, "attestation").status == "skip"
    records = Records(one.node.records_path)
    records.put("attestation", {"valid": False, "reason": "the quote is of another machine"})
    assert look(one, "attestation").status == status
    records.put("attestation", {"valid": True, "technology": "tdx", "valid_until": "2026-12-01T00:00:00+00:00"})
    records.close()
    assert look(one, "attestation").status == ("skip" if policy == "off" else "pass")
    (federation / "coordinator" / "node" / "attestation").mkdir()
    (federation / "coordinator" / "node" / "attestation" / "evidence.json").write_text("{}")
    assert look(patient(federation / "coordinator"), "attestation").status == ("skip" if policy == "off" else "pass")


def test_code_that_the_constitution_does_not_name_fails(tmp_path: Path) -> None:
    audit = NodeAuditClause(("kit",), code=("ab" * 32,))
    federation = folders.found(tmp_path / "strict", node_audit=audit, attestation=clause("warn"))

    assert look(patient(federation / "north"), "code").status == "fail"
    assert look(patient(federation / "coordinator"), "code").status == "fail"
