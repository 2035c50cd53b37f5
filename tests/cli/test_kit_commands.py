from __future__ import annotations

import json
from typing import TYPE_CHECKING

from typer.testing import CliRunner

from hansa.cli.kit import app
from hansa.identity.configuration import NodeConfiguration
from hansa.identity.kit import Request
from tokens import token

if TYPE_CHECKING:
    from pathlib import Path

    import pytest
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


def test_requests_are_answered_and_the_kits_then_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANSA_TEST_WORDS", "correct horse battery")
    for name, role in (("north", "member"), ("hub", "coordinator")):
        words = ["--federation", "baltic", "--name", name, "--role", role, "--passphrase", "env:HANSA_TEST_WORDS"]
        asked = run("request", tmp_path / name, *words)
        assert asked.exit_code == 0, asked.output
    requests = [tmp_path / name / "request.json" for name in ("north", "hub")]
    issued = run("issue", tmp_path / "authority", *requests, "--hosts", "hub.example", "--out", tmp_path)
    assert issued.exit_code == 0, issued.output
    assert "\u2026" not in issued.output  # keys are compared by eye, to the last sign
    for name in ("north", "hub"):
        assert run("show", tmp_path / name).exit_code == 0


def test_a_key_in_a_token_is_asked_for_by_its_place(tmp_path: Path) -> None:
    keys = token(tmp_path / "north", "kit-request")
    place = ["--module", keys.module, "--token", keys.token, "--pin", keys.pin]
    setting = f"SOFTHSM2_CONF={keys.environment['SOFTHSM2_CONF']}"
    who = ["--federation", "baltic", "--name", "north"]
    asked = run("request", tmp_path / "north", *who, *place, "--setting", setting)
    assert asked.exit_code == 0, asked.output
    assert "p256:" in asked.output
    assert not (tmp_path / "north" / "identity.key").exists()
    written = NodeConfiguration.from_toml((tmp_path / "north" / "hansa.toml").read_text())
    assert written.keys == keys
    assert Request.from_bytes((tmp_path / "north" / "request.json").read_bytes()).identity_key.startswith("p256:")


def test_a_secret_on_the_command_line_is_refused_and_not_repeated(tmp_path: Path) -> None:
    who = ["--federation", "baltic", "--name", "north"]
    for words in (["--passphrase", "hunter2hunter2"], ["--module", "/m.so", "--token", "t", "--pin", "1234hunter2"]):
        refused = run("request", tmp_path / "north", *who, *words)
        assert refused.exit_code == 2
        assert "expected file:PATH" in refused.output
        assert "hunter2" not in refused.output
    assert not (tmp_path / "north").exists()


def test_a_fault_is_one_line_and_an_exit_code(tmp_path: Path) -> None:
    run("new", tmp_path, "--federation", "baltic", "--members", "north")
    again = run("new", tmp_path, "--federation", "baltic", "--members", "north")
    assert again.exit_code == 2
    assert again.stderr.startswith("hansa kit: ")
    assert len(again.stderr.splitlines()) == 1
    assert run("show", tmp_path / "nowhere").exit_code == 2
