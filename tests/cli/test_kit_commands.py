from __future__ import annotations

import json
from typing import TYPE_CHECKING

from typer.testing import CliRunner

from hansa.cli.kit import app

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_a_new_federation_is_shown_without_secrets(tmp_path: Path) -> None:
    assert run("new", tmp_path, "--federation", "baltic", "--members", "north, south").exit_code == 0
    shown = run("show", tmp_path / "north", "--json")
    facts = json.loads(shown.stdout)
    assert (facts["name"], facts["role"], facts["members"]) == ("north", "member", ["north", "south"])
    assert facts["identity_key"].startswith("ed25519:")
    assert "PRIVATE" not in shown.output
    table = run("show", tmp_path / "north").stdout
    assert "north" in table
    assert "\u2026" not in table


def test_requests_are_answered_and_the_kits_then_load(tmp_path: Path) -> None:
    for name, role in (("north", "member"), ("hub", "coordinator")):
        asked = run("request", tmp_path / name, "--federation", "baltic", "--name", name, "--role", role)
        assert asked.exit_code == 0, asked.output
    requests = [tmp_path / name / "request.json" for name in ("north", "hub")]
    issued = run("issue", tmp_path / "authority", *requests, "--hosts", "hub.example", "--out", tmp_path)
    assert issued.exit_code == 0, issued.output
    assert "\u2026" not in issued.output  # keys are compared by eye, to the last sign
    for name in ("north", "hub"):
        assert run("show", tmp_path / name).exit_code == 0


def test_a_fault_is_one_line_and_an_exit_code(tmp_path: Path) -> None:
    run("new", tmp_path, "--federation", "baltic", "--members", "north")
    again = run("new", tmp_path, "--federation", "baltic", "--members", "north")
    assert again.exit_code == 2
    assert again.stderr.startswith("hansa kit: ")
    assert len(again.stderr.splitlines()) == 1
    assert run("show", tmp_path / "nowhere").exit_code == 2
