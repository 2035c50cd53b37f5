"""Claims about the pages on founding and joining: their commands, run as they stand, put a federation in force."""

from __future__ import annotations

import re
import shlex
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from hansa.cli import app
from hansa.federation.node import load_node
from hansa.identity.kit import make_federation

if TYPE_CHECKING:
    from click.testing import Result

PAGES = Path(__file__).parents[2] / "docs" / "how-to"
MEMBERS = ("east", "north", "south")


def commands(page: str) -> list[list[str]]:
    """Return the words of each `hansa constitution` command of a page, in order."""
    text = (PAGES / page).read_text().replace("\\\n", " ")
    found = re.findall(r"^ {4}\.venv/bin/hansa (constitution .*)$", text, re.MULTILINE)
    return [shlex.split(line) for line in found]


def run(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


@pytest.fixture
def founders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    make_federation(tmp_path, "baltic", MEMBERS, at=datetime.now(tz=UTC))  # noqa: TID251 - kits are valid from now
    monkeypatch.chdir(tmp_path)
    return tmp_path


def take_kit(folder: Path, name: str) -> None:
    (folder / "kit").unlink(missing_ok=True)
    (folder / "kit").symlink_to(folder / name)


def test_a_federation_is_founded_joined_and_amended_as_the_pages_say(founders: Path) -> None:
    template, new, sign, unite, next_template, next_new, diff, verify_next = commands("found-a-federation.md")
    show, verify, sign_too = commands("join-a-federation.md")
    take_kit(founders, "north")
    for words in (template, new):
        assert run(*words).exit_code == 0, words
    assert run(*show).exit_code == 0
    assert run(*verify).exit_code == 1  # nobody has signed yet
    assert sign == sign_too
    drafted = Path("constitution.json").read_bytes()
    for name in MEMBERS:
        Path("constitution.json").write_bytes(drafted)
        take_kit(founders, name)
        assert run(*sign).exit_code == 0
        shutil.copy("constitution.json", f"{name}.json")
    assert run(*unite).exit_code == 0
    assert run(*verify).exit_code == 0
    for name in (*MEMBERS, "coordinator"):
        shutil.copy("constitution.json", founders / name)
        assert load_node(founders / name).constitution.federation == "baltic"
    assert run(*next_template).exit_code == 0
    Path("amended.toml").write_text(Path("amended.toml").read_text().replace("attempts = 3", "attempts = 4"))
    assert run(*next_new).exit_code == 0
    found = run(*diff)
    assert found.exit_code == 1
    assert [line.split(":")[0] for line in found.stdout.splitlines()] == ["epoch", "attempts", "supersedes"]
    after = run(*verify_next)
    assert after.exit_code == 1
    assert after.stdout.splitlines()[:3] == [f"{name}: missing" for name in MEMBERS]


def test_every_command_of_the_pages_is_tried_above() -> None:
    assert len(commands("found-a-federation.md")) == 8
    assert len(commands("join-a-federation.md")) == 3
    assert not commands("operate-a-coordinator.md")
