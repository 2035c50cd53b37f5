"""Claims about `hansa benchmark liquidity`, on a small folder in the form of the daily stocks."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from hansa.cli import app
from hansa.errors import ConfigurationError
from small_stocks import write_stocks

if TYPE_CHECKING:
    from pathlib import Path

RUNNER = CliRunner()


def call(*words: str) -> str:
    result = RUNNER.invoke(app, ["benchmark", "liquidity", *words])
    if result.exception is not None:
        raise result.exception
    return result.stdout


@pytest.mark.slow
def test_one_data_set_gives_json_a_page_and_a_card_and_resumes(tmp_path: Path) -> None:
    data = write_stocks(tmp_path / "data")
    words = [
        "--quick",
        "--data",
        str(data),
        "--dataset",
        "djia_daily",
        "--jobs",
        "2",
        "--resume",
        str(tmp_path / "cells"),
    ]
    page, card = tmp_path / "docs" / "results.md", tmp_path / "docs" / "card.md"
    found = json.loads(call(*words, "--json", "--page", str(page), "--card", str(card)))
    one = found["datasets"]["djia_daily"]
    assert one["series"] == 12
    assert {"local", "centralised", "har_rolling", "federated_state|8", "federated_state|none"} <= one["errors"].keys()
    assert 0.5 < one["ratios"]["federated_state|8"]["rmse"]["estimate"] < 1.3
    assert found["defaults"]["djia_daily"] in one["default"]["in_the_set"]
    for text in (page.read_text(), card.read_text()):
        assert "djia_daily" in text
        assert not re.search(r"\bnan\b", text)
    assert "| `federated_state\\|8` |" in page.read_text()
    assert "## Ownership" in card.read_text()
    shown = call(*words)
    assert "state channel" in shown
    assert "default" in shown


def test_without_the_files_it_says_where_to_point(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="--data DIR"):
        call("--dataset", "djia_daily", "--data", str(tmp_path))
    with pytest.raises(ConfigurationError, match="data sets of simulated"):
        call("--dataset", "bonds")
