"""Reads the commands of README.md, checks that they exist and that none is missing, or runs every one of them.

A command is a line that begins with `$ ` in a ```console block. `make X` must be a target of the Makefile, and
`hansa A B --option` a command of the program with that option. A command that needs `$DATA` runs only where the
environment variable DATA names a folder of market data.

Run: python .ci/readme_commands.py check | run
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

from typer.main import get_command

ROOT = Path(__file__).resolve().parent.parent
TIMEOUT_SECONDS = 600


def commands(text: str) -> list[str]:
    """Return the commands of a Markdown text, in order; a line that ends in a backslash goes on in the next."""
    blocks = re.findall(r"^```console\n(.*?)^```", text.replace("\\\n", " "), flags=re.MULTILINE | re.DOTALL)
    return [" ".join(line[2:].split()) for block in blocks for line in block.splitlines() if line.startswith("$ ")]


def fault(command: str, targets: set[str]) -> str | None:
    """Return what is wrong with a command, or None."""
    words = shlex.split(command, comments=True)
    program = Path(words[0]).name
    if program == "make":
        unknown = [word for word in words[1:] if "=" not in word and word not in targets]
        return f"no such target: {unknown[0]}" if unknown else None
    return _hansa_fault(words[1:]) if program == "hansa" else f"neither make nor hansa: {program}"


def _hansa_fault(words: list[str]) -> str | None:
    from hansa.cli import app  # noqa: PLC0415 - only where a command of the program is named

    here = get_command(app)
    while words and not words[0].startswith("-") and hasattr(here, "commands"):
        if words[0] not in here.commands:
            return f"no such command: {words[0]}"
        here = here.commands[words.pop(0)]
    known = {name for parameter in here.params for name in parameter.opts} | {"--help"}
    unknown = [word for word in words if word.startswith("--") and word.split("=")[0] not in known]
    return f"no such option: {unknown[0]}" if unknown else None


def program_commands() -> list[str]:
    """Return every command of the program that is not hidden, such as `hansa kit new`."""
    from hansa.cli import app  # noqa: PLC0415 - as above

    pending, found = [("hansa", get_command(app))], []
    while pending:
        path, command = pending.pop()
        inner = getattr(command, "commands", {})
        found += [] if inner or command.hidden else [path]
        pending += [(f"{path} {name}", one) for name, one in inner.items() if not one.hidden]
    return sorted(found)


def check(found: list[str]) -> int:
    """Print every command that does not exist, and every one of the program that the README omits; return how many."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    faults = {command: reason for command in found if (reason := fault(command, targets))}
    for command, reason in faults.items():
        print(f"README.md: {command}: {reason}")
    text = (ROOT / "README.md").read_text()
    omitted = [command for command in program_commands() if f"`{command}`" not in text]
    for command in omitted:
        print(f"README.md: {command} is not in the table of commands")
    return len(faults) + len(omitted)


def run(found: list[str]) -> int:
    """Run every command in the current directory; return how many failed."""
    failed = 0
    for command in found:
        if "$DATA" in command and not os.environ.get("DATA"):
            print(f"left out, no DATA: {command}", flush=True)
            continue
        print(f"README.md: {command}", flush=True)
        begin = time.monotonic()
        code = _run_one(command)
        print(f"README.md: {command}: exit {code} after {time.monotonic() - begin:.0f} s", flush=True)
        failed += code != 0
    return failed


def _run_one(command: str) -> int:
    try:
        return subprocess.run(["bash", "-c", command], check=False, timeout=TIMEOUT_SECONDS).returncode  # noqa: S607
    except subprocess.TimeoutExpired:
        return 124


def main() -> int:
    """Check or run; exit code 1 if a command is at fault."""
    found = commands((ROOT / "README.md").read_text())
    if not found:
        print("README.md: expected commands in ```console blocks, found none")
        return 1
    action = {"check": check, "run": run}[sys.argv[1]]
    return int(action(found) > 0)


if __name__ == "__main__":
    sys.exit(main())
