"""An alliance on one machine: kits, a signed constitution, and every node as a process of its own.

Used by `hansa demo`, `hansa run` and tests. Nothing is simulated here: the coordinator starts the embedded server,
members dial in over mutual TLS, streams are on disk. A member's process reads the bars in its own folder only.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from hansa.errors import TransportError
from hansa.federation.nats_server import TETHER
from hansa.federation.records import Records
from hansa.governance.signed import SignedConstitution, write
from hansa.identity.configuration import KeysConfiguration, NatsConfiguration
from hansa.identity.kit import Kit, make_federation

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import polars as pl

    from hansa.governance.constitution import Constitution

COORDINATOR: Final = "coordinator"
STOP_SECONDS: Final = 10.0
REVIVALS: Final = 3


@dataclass(slots=True)
class Alliance:
    """The folder of an alliance and its running processes.

    Args:
        directory: Folder with one folder a node.
        members: Names.
    """

    directory: Path
    members: tuple[str, ...]
    _processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _arguments: dict[str, list[str]] = field(default_factory=dict)
    _revived: dict[str, int] = field(default_factory=dict)

    def start(self, name: str, arguments: Sequence[str]) -> None:
        """Start a node's process; its output goes to `node/log.txt`."""
        work = self.directory / name / "node"
        work.mkdir(mode=0o700, exist_ok=True)
        self._arguments[name] = list(arguments)
        environment = {**os.environ, "JAX_PLATFORMS": "cpu", "OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"}
        tether = [sys.executable, "-I", "-S", "-c", TETHER, str(os.getpid())]
        with (work / "log.txt").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                [*tether, sys.executable, "-m", "hansa", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
            )

    def start_members(self) -> None:
        """Start every member."""
        for name in self.members:
            self.start(name, ["member", "run", str(self.directory / name)])

    def start_coordinator(self, arguments: Sequence[str]) -> None:
        """Start the coordinator with these options of `hansa coordinator run`."""
        self.start(COORDINATOR, ["coordinator", "run", str(self.directory / COORDINATOR), *arguments])

    def kill(self, name: str) -> None:
        """Kill a node's process with SIGKILL."""
        process = self._processes[name]
        process.send_signal(signal.SIGKILL)
        process.wait()

    def restart(self, name: str) -> None:
        """Start a killed node again with the same command."""
        self.start(name, self._arguments[name])

    def pid(self, name: str) -> int:
        """Return the process id of a node."""
        return self._processes[name].pid

    def wait(self, *, seconds: float, progress: Callable[[], None] = lambda: None) -> None:
        """Wait until the coordinator has ended; a member that a signal killed is started again, thrice at the most.

        Raises:
            TransportError: It failed, a member gave up before it, or the time is over; the message shows the log's end.
        """
        deadline = time.monotonic() + seconds
        while self._processes[COORDINATOR].poll() is None:
            progress()  # may kill and restart processes
            self.revive()
            if time.monotonic() > deadline:
                raise TransportError(f"no end after {seconds:.0f} s: {self._log_end(COORDINATOR)}")
            time.sleep(0.1)
        progress()
        code = self._processes[COORDINATOR].returncode
        if code != 0:
            raise self.failure(code)

    def failure(self, code: int) -> TransportError:
        """Return the error that says why the coordinator ended with `code`: its log's end and the last death."""
        return TransportError(
            f"the coordinator ended with code {code}: {self._log_end(COORDINATOR)} {self._last_death()}"
        )

    def revive(self) -> None:
        """Start members that a signal killed again.

        Raises:
            TransportError: A member ended by itself, or was killed more than `REVIVALS` times.
        """
        for name in self.members:
            process = self._processes.get(name)
            if process is None or process.poll() is None:
                continue
            if process.returncode >= 0 or self._revived.get(name, 0) >= REVIVALS:
                raise TransportError(f"{name} ended with code {process.returncode}: {self._log_end(name)}")
            self._revived[name] = self._revived.get(name, 0) + 1
            self.restart(name)

    def stop(self) -> None:
        """Stop every process that still runs, politely first."""
        running = [process for process in self._processes.values() if process.poll() is None]
        for process in running:
            process.terminate()
        for process in running:
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def records(self, name: str) -> Records:
        """Open a node's published records for reading.

        Raises:
            StoreError: The node has not written any yet.
        """
        return Records(self.directory / name / "node" / "records.sqlite", read_only=True)

    def _log_end(self, name: str) -> str:
        lines = (self.directory / name / "node" / "log.txt").read_text(errors="replace").strip().splitlines()
        said = [line for line in lines if not line.startswith("{")] or lines[-1:]  # a refusal stands after the events
        return "\n".join(said)[-600:] or "its log is empty"

    def _last_death(self) -> str:
        records = self.records(COORDINATOR)
        try:
            rows = records.rows("SELECT session, reason FROM session WHERE state = 'died' ORDER BY closed_ns DESC")
        finally:
            records.close()
        return f"last death: {rows[0]['session']}: {rows[0]['reason']}" if rows else ""


def found(
    directory: Path,
    federation: str,
    bars: Mapping[str, Sequence[pl.DataFrame]],
    make: Callable[[Mapping[str, str], str], Constitution],
    *,
    is_hsm: bool = False,
) -> Alliance:
    """Make the kits of an alliance, its members' bar files, and a constitution that all of them sign.

    Args:
        directory: New folder for the alliance.
        federation: Its name.
        bars: Series of each member, each a frame of the bars contract with one market and venue.
        make: Makes the constitution from the members' identity keys and the coordinator's.
        is_hsm: Whether each member's identity key is in a SoftHSM token of its own; the coordinator's is in a file.

    Raises:
        ConfigurationError: The constitution contradicts itself.
        IdentityError: The folder holds keys already, a name is malformed, or SoftHSM is not installed.
    """
    members = tuple(sorted(bars))
    keys = _tokens(directory, federation, members) if is_hsm else {}
    now = datetime.fromtimestamp(time.time(), tz=UTC)
    nats = NatsConfiguration(port=free_port())
    roster = make_federation(directory, federation, members, at=now, nats=nats, keys=keys)
    constitution = make(
        {member.name: member.identity_key for member in roster.members}, roster.coordinator.identity_key
    )
    signed = SignedConstitution(constitution, {})
    for name in members:
        signed = signed.signed_by(name, Kit.load(directory / name, at=now).signing_key)
    for name in (*members, COORDINATOR):
        write(directory / name / "constitution.json", signed)
    for name, frames in bars.items():
        folder = directory / name / "bars"
        folder.mkdir(mode=0o700)
        for frame in frames:
            frame.write_parquet(folder / f"{frame['venue'][0]}_{frame['market'][0]}.parquet")
    return Alliance(directory, members)


def _tokens(directory: Path, federation: str, members: Sequence[str]) -> dict[str, KeysConfiguration]:
    from hansa.identity.softhsm import make_store, make_token  # noqa: PLC0415  loaded where it is wanted

    store = make_store(directory / ".softhsm")
    found: dict[str, KeysConfiguration] = {}
    for name in members:
        (directory / name).mkdir(parents=True, mode=0o700, exist_ok=True)
        found[name] = make_token(store, f"{federation}-{name}"[:32], directory / name / "token.pin")
    return found


def copy_of(alliance: Alliance, directory: Path) -> Alliance:
    """Return a copy of a stopped alliance in another folder: the same keys, the same streams."""
    shutil.copytree(alliance.directory, directory)
    return Alliance(directory, alliance.members)


def free_port() -> int:
    """Return a TCP port of this machine that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
