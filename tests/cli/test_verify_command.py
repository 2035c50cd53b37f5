"""Claims about `hansa verify`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from typer.testing import CliRunner

from evidence import Evidence, Played
from hansa.cli import app

if TYPE_CHECKING:
    from pathlib import Path


def test_a_bundle_is_verified_and_tests_itself(tmp_path: Path) -> None:
    (tmp_path / "members").mkdir()
    evidence = Evidence(tmp_path, Played(tmp_path / "members"))
    bundle = tmp_path / "bundle"
    bundle.write_bytes(evidence.bundle())
    run = CliRunner().invoke
    done = run(app, ["verify", str(bundle), "--json", "--constitution", evidence.document.digest()])
    assert (done.exit_code, json.loads(done.output)["verified"]) == (0, True)
    done = run(app, ["verify", str(bundle), "--constitution", "00"])
    assert done.exit_code == 1
    assert "refused  constitution: expected digest 00" in done.output
    done = run(app, ["verify", "--self-test", str(bundle), "--json"])
    figures = json.loads(done.output)
    assert done.exit_code == 0
    assert figures["mutations"] == figures["refused"] >= 40
    bundle.write_bytes(b"garbage")
    assert run(app, ["verify", str(bundle)]).exit_code == 2
