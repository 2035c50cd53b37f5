"""Claims about `hansa chaos`."""

from __future__ import annotations

import json

from typer.testing import CliRunner

from hansa.cli import app

KEYS = ["runs", "exact", "died_cleanly", "wrong", "leaked", "double_charged"]


def test_it_counts_how_runs_ended_and_says_over_what() -> None:
    result = CliRunner().invoke(app, ["chaos", "--runs", "1", "--seed", "7", "--run", "2", "--json"])
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)
    assert list(figures)[:6] == KEYS
    assert figures["exact"] + figures["died_cleanly"] == figures["runs"] == 1
    assert figures["over"] == "simulated transport, real stores"


def test_it_prints_a_table_too() -> None:
    result = CliRunner().invoke(app, ["chaos", "--runs", "1", "--seed", "7", "--run", "2"])
    assert result.exit_code == 0, result.output
    assert "died cleanly" in result.stdout
