"""Claims about `hansa doctor`: output, exit codes, signed reports and checks."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

import folders
from hansa.cli import app
from hansa.errors import ConfigurationError, HansaError, SignatureError
from hansa.federation.doctor.report import open_check, open_report, report_digest
from hansa.federation.node import load_node
from hansa.governance.node_audit import PROBES

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result


def run(*words: object) -> Result:
    return CliRunner().invoke(app, ["doctor", *(str(word) for word in words)])


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folders.found(tmp_path_factory.mktemp("doctor") / "federation")


def test_a_member_without_bars_fails_and_is_told_what_to_do(federation: Path) -> None:
    done = run(federation / "north")

    assert done.exit_code == 1
    lines = done.stdout.splitlines()
    assert [line.split()[1] for line in lines if not line.startswith(" ")] == list(PROBES)
    assert any(line.startswith("fail  data") for line in lines)


def test_json_holds_every_probe(federation: Path) -> None:
    done = run(federation / "coordinator", "--json")
    found = json.loads(done.stdout)

    assert done.exit_code == 0
    assert found["node"] == "coordinator"
    assert [probe["name"] for probe in found["probes"]] == list(PROBES)
    assert sum(found["counts"].values()) == len(PROBES)


def test_a_folder_that_is_no_kit_is_examined_all_the_same(tmp_path: Path) -> None:
    done = run(tmp_path, "--json")

    assert done.exit_code == 1
    assert json.loads(done.stdout)["node"] is None


def test_a_signed_report_is_checked_by_another_member(federation: Path, tmp_path: Path) -> None:
    report, check = tmp_path / "north.json", tmp_path / "check.json"
    assert run(federation / "north", "--sign", report).exit_code == 1  # the probe of data fails, and the report says so
    rules = load_node(federation / "south").constitution
    assert open_report(report.read_bytes(), rules).failed == ("data",)
    done = run(federation / "south", "--check", report, "--out", check)

    assert done.exit_code == 0, done.output
    assert "failed: data" in done.stdout
    made = open_check(check.read_bytes(), rules)
    assert (made.auditor, made.node, made.report) == ("south", "north", report_digest(report.read_bytes()))
    assert made.faults == ()
    assert json.loads(run(federation / "south", "--check", report, "--json").stdout)["failed"] == ["data"]


def test_oscal_is_printed_alone(federation: Path) -> None:
    done = run(federation / "coordinator", "--oscal")

    assert done.exit_code == 0
    assert json.loads(done.stdout)["assessment-results"]["metadata"]["oscal-version"] == "1.1.3"


def test_a_changed_report_is_refused(federation: Path, tmp_path: Path) -> None:
    report = tmp_path / "north.json"
    run(federation / "north", "--sign", report)
    report.write_bytes(report.read_bytes().replace(b'"fail"', b'"pass"'))

    assert isinstance(run(federation / "south", "--check", report).exception, SignatureError)


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("--out", "x.json"), ConfigurationError),
        (("--check", "absent.json"), ConfigurationError),
        (("--sign", "/proc/none/report.json"), ConfigurationError),
    ],
)
def test_options_that_cannot_be_followed_are_refused(
    federation: Path, words: tuple[str, ...], error: type[HansaError]
) -> None:
    assert isinstance(run(federation / "north", *words).exception, error)


@pytest.mark.parametrize("words", [("--sign", "report.json"), ("--oscal",), ("--check", "report.json")])
def test_a_folder_that_does_not_load_signs_and_checks_nothing(tmp_path: Path, words: tuple[str, ...]) -> None:
    assert isinstance(run(tmp_path, *words).exception, HansaError)
