"""Virtual environments of the rivals, made on demand: one each, from a hashed lock file, beside hansa's own.

An environment is named by its lock file's hash, so a new lock makes a new one; one that was not finished is made again.
What pip says is shown only when it fails, and then in one sentence.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
CACHE = HERE.parents[1] / ".venv-rivals"
INSTALL_SECONDS = 600.0
STAMP = "installed"


class UnavailableError(Exception):
    """A rival's packages could not be installed; the message is for the one who reads the table."""


def python_of(rival: str) -> Path:
    """Return the interpreter of a rival's environment, made if need be.

    Args:
        rival: `flower` or `tenseal`.

    Raises:
        UnavailableError: There is no package index within reach, or no package for this interpreter.
    """
    lock = HERE / f"requirements-{rival}.lock"
    tag = f"{hashlib.sha256(lock.read_bytes()).hexdigest()[:12]}-{sys.version_info.major}.{sys.version_info.minor}"
    home = CACHE / f"{rival}-{tag}"
    if not (home / STAMP).exists():
        _make(rival, lock, home)
    return home / "bin" / "python"


def _make(rival: str, lock: Path, home: Path) -> None:
    for old in CACHE.glob(f"{rival}-*"):
        shutil.rmtree(old)
    CACHE.mkdir(exist_ok=True)
    print(f"installing {rival} into {CACHE.name}: once", file=sys.stderr, flush=True)
    options = ("--quiet", "--disable-pip-version-check", "--retries", "2", "--timeout", "30")
    _run([sys.executable, "-m", "venv", str(home)])
    pip = [str(home / "bin" / "python"), "-m", "pip", "install"]
    _run([*pip, *options, "--require-hashes", "--no-deps", "-r", str(lock)])
    (home / STAMP).touch()


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=INSTALL_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise UnavailableError(f"its packages were not here after {INSTALL_SECONDS:.0f} s") from error
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or ["pip gave no reason"]
        raise UnavailableError(f"its packages could not be installed; is a package index within reach? pip: {said[-1]}")
