from __future__ import annotations

import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from hansa.federation.records import Records

if TYPE_CHECKING:
    from pathlib import Path

# Says so when it is asked to end: what a command does on its way out is done.
_PROGRAM = """
import sys, time
from hansa import cli
def work():
    try:
        print("begun", flush=True)
        time.sleep(60)
    finally:
        print("in order", flush=True)
cli.app = work
cli.main()
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_command_that_is_told_to_end_ends_in_order(number: signal.Signals) -> None:
    with subprocess.Popen([sys.executable, "-c", _PROGRAM], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        process.send_signal(number)
        assert process.stdout.read() == "in order\n"
        assert process.wait(10) == 128 + number


def test_status_has_a_line_for_each_note(tmp_path: Path) -> None:
    (tmp_path / "node").mkdir()
    records = Records(tmp_path / "node" / "records.sqlite")
    for number in range(3):
        records.note(number, "s1", "upload", f"reason {number}")
    records.close()
    command = [sys.executable, "-m", "hansa", "status", str(tmp_path)]
    shown = subprocess.run(command, capture_output=True, text=True, check=True)
    assert sorted(line for line in shown.stdout.splitlines() if "reason" in line) == [
        f"s1 upload: reason {number}" for number in range(3)
    ]
