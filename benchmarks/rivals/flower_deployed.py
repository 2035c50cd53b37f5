"""Flower's SecAgg+ deployed: a SuperLink, a SuperNode a member, `flwr run`, all real processes on loopback.

Runs in Flower's own environment. TLS from every SuperNode to the SuperLink and Flower's SuperNode authentication (an
EC key a member, registered before it connects); Flower has no client certificates. Defaults everywhere else: nothing of
Flower is patched, its polling intervals are its own. Between a SuperNode and the ClientApp process that it starts for
each message the Runtime API is plain HTTP on loopback, as by default.

Prints one JSON object. Every process that is started, by this program or by Flower, has ended when it returns.

Run: python flower_deployed.py --vectors DIR --members 5 --rounds 4
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import importlib.metadata
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from collections.abc import Callable

HOST = "127.0.0.1"
APP = Path(__file__).parent / "flower_app"
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
START_SECONDS = 60.0
STOP_SECONDS = 10.0
PROTECTION = (
    "TLS to the SuperLink with a server certificate; SuperNodes authenticate by registered EC keys, "
    "not by certificates; plain HTTP inside a member"
)


def free_ports(number: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for one in sockets:
            one.bind((HOST, 0))
        return [one.getsockname()[1] for one in sockets]


def private_pem(key: ec.EllipticCurvePrivateKey, private_format: serialization.PrivateFormat) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, private_format, serialization.NoEncryption())


def certificate(
    subject: str, key: ec.EllipticCurvePrivateKey, issuer: str, issuer_key: ec.EllipticCurvePrivateKey
) -> bytes:
    """Return a certificate for loopback, or an authority's where the subject is its own issuer; PEM."""
    begin = datetime.fromtimestamp(time.time(), tz=UTC) - timedelta(minutes=5)
    name, issuer_name = (x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, one)]) for one in (subject, issuer))
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer_name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=subject == issuer, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
    if subject == issuer:
        usage = dict.fromkeys(
            (
                "digital_signature",
                "content_commitment",
                "key_encipherment",
                "data_encipherment",
                "key_agreement",
                "encipher_only",
                "decipher_only",
            ),
            False,
        )
        builder = builder.add_extension(x509.KeyUsage(key_cert_sign=True, crl_sign=True, **usage), critical=True)
    else:
        names = [x509.IPAddress(ip_address(HOST)), x509.DNSName("localhost")]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(issuer_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def write_credentials(directory: Path, members: int) -> None:
    """Write `ca.pem`, `server.pem`, `server.key` and for each member `node-N` and `node-N.pub`."""
    authority, server = ec.generate_private_key(ec.SECP384R1()), ec.generate_private_key(ec.SECP384R1())
    (directory / "ca.pem").write_bytes(certificate("bench authority", authority, "bench authority", authority))
    (directory / "server.pem").write_bytes(certificate("superlink", server, "bench authority", authority))
    (directory / "server.key").write_bytes(private_pem(server, serialization.PrivateFormat.PKCS8))
    for member in range(members):
        key = ec.generate_private_key(ec.SECP384R1())
        (directory / f"node-{member}").write_bytes(private_pem(key, serialization.PrivateFormat.OpenSSH))
        public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
        (directory / f"node-{member}.pub").write_bytes(public)


def descendants() -> list[int]:
    """Return the processes that are below this one, itself left out."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
                parents.setdefault(parent, []).append(int(entry.name))
    found, last = [], [os.getpid()]
    while last:
        last = [child for one in last for child in parents.get(one, [])]
        found += last
    return found


def reap() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def stop_everything() -> None:
    """End all processes below this one; as their subreaper it also has those whose parents are gone."""
    deadline = time.monotonic() + STOP_SECONDS
    for one in descendants():
        with contextlib.suppress(ProcessLookupError):
            os.kill(one, signal.SIGTERM)
    while descendants():
        if time.monotonic() > deadline:
            for one in descendants():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(one, signal.SIGKILL)
        reap()
        time.sleep(0.1)


class Deployment:
    """A SuperLink and its SuperNodes in a folder of their own."""

    def __init__(
        self, directory: Path, vectors: Path, members: int, *, deadline: float, superexec_poll: float | None
    ) -> None:
        self.directory, self.vectors, self.members, self.deadline = directory, vectors, members, deadline
        self.port, *self.node_ports = free_ports(members + 1)
        bin_folder = str(Path(sys.executable).parent)
        self.environment = {
            **os.environ,
            "PATH": bin_folder + os.pathsep + os.environ.get("PATH", ""),
            "FLWR_HOME": str(directory / "home"),
            "FLWR_TELEMETRY_ENABLED": "0",
            "FLWR_DISABLE_UPDATE_CHECK": "1",
            "OMP_NUM_THREADS": "1",
        }
        if superexec_poll is not None:
            self.environment["FLWR_SUPEREXEC_TASK_POLL_INTERVAL"] = str(superexec_poll)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, command: list[str]) -> None:
        """Start a process; its output goes to `NAME.log`."""
        with (self.directory / f"{name}.log").open("wb") as log:
            self.processes[name] = subprocess.Popen(
                command, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.directory
            )

    def command(self, *arguments: str) -> None:
        """Run a short `flwr` command."""
        done = subprocess.run(
            ["flwr", *arguments],  # noqa: S607 - the environment's own, by PATH, as Flower itself starts its processes
            env=self.environment,
            cwd=self.directory,
            check=False,
            capture_output=True,
            text=True,
            timeout=self.left(),
            stdin=subprocess.DEVNULL,
        )
        if done.returncode:
            message = f"flwr {arguments[0]} has failed: {(done.stdout + done.stderr)[-1500:]}"
            raise RuntimeError(message)

    def left(self) -> float:
        """Return the seconds until the deadline, 1 or more."""
        return max(1.0, self.deadline - time.monotonic())

    def wait_until(self, what: str, is_so: Callable[[], bool], seconds: float) -> None:
        """Wait for `is_so()`; RuntimeError when a process ends or the time is over."""
        end = min(self.deadline, time.monotonic() + seconds)
        while not is_so():
            dead = [name for name, one in self.processes.items() if one.poll() is not None]
            if dead or time.monotonic() > end:
                name = dead[0] if dead else "superlink"
                tail = (self.directory / f"{name}.log").read_text(errors="replace")[-1500:]
                message = f"{what}: {name + ' has ended' if dead else 'the time is over'}; its log ends: {tail}"
                raise RuntimeError(message)
            time.sleep(0.1)

    def listens(self) -> bool:
        """Return whether the SuperLink's port is open."""
        with socket.socket() as one:
            return one.connect_ex((HOST, self.port)) == 0

    def set_up(self) -> None:
        """Start the SuperLink, register the members' keys, start the SuperNodes."""
        (self.directory / "home").mkdir()
        write_credentials(self.directory, self.members)
        connection = (
            f'[superlink]\ndefault = "bench"\n\n[superlink.bench]\naddress = "{HOST}:{self.port}"\n'
            f'root-certificates = "{self.directory / "ca.pem"}"\n'
        )
        (self.directory / "home" / "config.toml").write_text(connection)
        self.start(
            "superlink",
            [
                "flower-superlink",
                "--host",
                HOST,
                "--port",
                str(self.port),
                "--enable-supernode-auth",
                "--disable-runtime-dependency-installation",
                "--ssl-ca-certfile",
                str(self.directory / "ca.pem"),
                "--ssl-certfile",
                str(self.directory / "server.pem"),
                "--ssl-keyfile",
                str(self.directory / "server.key"),
            ],
        )
        self.wait_until("the SuperLink's port", self.listens, START_SECONDS)
        for member, port in enumerate(self.node_ports):
            self.command("supernode", "register", str(self.directory / f"node-{member}.pub"), "bench")
            self.start(
                f"supernode-{member}",
                [
                    "flower-supernode",
                    "--superlink",
                    f"{HOST}:{self.port}",
                    "--host",
                    HOST,
                    "--port",
                    str(port),
                    "--root-certificates",
                    str(self.directory / "ca.pem"),
                    "--auth-supernode-private-key",
                    str(self.directory / f"node-{member}"),
                    "--node-config",
                    f'vector="{self.vectors / f"member-{member}.npy"}"',
                ],
            )

    def run(self, rounds: int) -> dict[str, object]:
        """Run the app once and return its figures, with the seconds from `flwr run` to its result."""
        result = self.directory / "result.json"
        app = self.directory / APP.name.replace("_", "-")
        shutil.copytree(APP, app, ignore=shutil.ignore_patterns("__pycache__"))
        configuration = (
            f'members={self.members} rounds={rounds} expected="{self.vectors / "expected.npy"}" result="{result}"'
        )
        begin = time.perf_counter()
        self.command("run", str(app), "bench", "--run-config", configuration)
        self.wait_until("the app's result", result.exists, self.left())
        return {"whole_run_seconds": time.perf_counter() - begin, **json.loads(result.read_text())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vectors", type=Path, required=True, help="folder of member-N.npy and expected.npy")
    parser.add_argument("--members", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=4, help="the first one warms up")
    parser.add_argument("--seconds", type=float, default=600.0, help="give up after so long")
    parser.add_argument(
        "--superexec-poll",
        type=float,
        help="seconds between two looks for work of Flower's SuperExec; its default is 1",
    )
    chosen = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)  # who started this has gone
    with tempfile.TemporaryDirectory(prefix="flower-") as folder:
        deployment = Deployment(
            Path(folder),
            chosen.vectors.resolve(),
            chosen.members,
            deadline=time.monotonic() + chosen.seconds,
            superexec_poll=chosen.superexec_poll,
        )
        begin = time.perf_counter()
        try:
            deployment.set_up()
            set_up_seconds = time.perf_counter() - begin
            figures = deployment.run(chosen.rounds)
        finally:
            stop_everything()
    version = importlib.metadata.version("flwr")
    print(json.dumps({"version": version, "protection": PROTECTION, "set_up_seconds": set_up_seconds, **figures}))


if __name__ == "__main__":
    main()
