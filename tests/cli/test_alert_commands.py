"""Claims about `hansa alerts` and `hansa watch --alerts`: what is on record is shown, and tampering is found."""

from __future__ import annotations

import json
import sqlite3
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from hansa.cli import app
from hansa.errors import StoreError
from hansa.federation.alerts import Alert
from hansa.federation.records import Records

if TYPE_CHECKING:
    from pathlib import Path

NOW = 1_700_000_000_000_000_000


@pytest.fixture
def node(tmp_path: Path) -> Path:
    (tmp_path / "north" / "node").mkdir(parents=True)
    records = Records(tmp_path / "north" / "node" / "records.sqlite")
    records.alert(Alert("lsi", "eur", NOW, 91.0, "lsi-1/ab", NOW, NOW + 5, {"threshold": 80.0}))
    records.alert(Alert("lsi", "x\x1b[31my", NOW + 9, 92.0, "lsi-1/ab", NOW + 99, NOW + 100))
    records.close()
    return tmp_path / "north"


def run(*words: str) -> str:
    result = CliRunner().invoke(app, list(words), catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


@pytest.mark.parametrize("command", [("alerts",), ("watch", "--alerts", "--seconds", "0.01")])
def test_each_alert_is_one_line_that_says_whether_it_came_before_the_outcome(
    node: Path, command: tuple[str, ...]
) -> None:
    lines = run(*command, str(node)).splitlines()
    assert len(lines) == 2
    assert "before any later bar" in lines[0]
    assert "after later bars were known" in lines[1]
    assert "\x1b" not in "".join(lines), "a name cannot drive the terminal"


def test_json_holds_version_evidence_and_digest(node: Path) -> None:
    (first, _) = json.loads(run("alerts", str(node), "--json"))["north"]
    assert (first["model_version"], first["evidence"], first["is_ahead"]) == ("lsi-1/ab", {"threshold": 80.0}, True)
    assert len(first["digest"]) == 64


def test_check_finds_a_changed_alert(node: Path) -> None:
    run("alerts", str(node), "--check")
    with sqlite3.connect(node / "node" / "records.sqlite") as connection:
        connection.execute("UPDATE alert SET value = 10.0 WHERE number = 1")
    with pytest.raises(StoreError, match="changed after it was written"):
        run("alerts", str(node), "--check")
