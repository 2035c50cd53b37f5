"""A federation's certificates and its embedded server, for tests of the network transport."""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hansa.crypto.signature import SigningKey
from hansa.federation.nats_server import ClusterPlace, NatsServer, ServerOptions
from hansa.federation.nats_transport import NatsTransport
from hansa.identity import tls
from hansa.identity.certificates import (
    generate_key,
    issue_certificate,
    load_certificate,
    make_authority,
    make_request,
)

if TYPE_CHECKING:
    from pathlib import Path

NOW = dt.datetime.now(dt.UTC)  # noqa: TID251  the server compares with the true time


@dataclass(frozen=True)
class NatsFederation:
    directory: Path
    name: str = "baltic"
    members: tuple[str, ...] = ("north", "south")

    def make(self) -> NatsFederation:
        self.directory.mkdir(parents=True, exist_ok=True)
        key = generate_key()
        authority = make_authority(self.name, key, at=NOW)
        (self.directory / "authority.crt").write_bytes(authority)
        for node in ("coordinator", *self.members):
            own, signer = generate_key(), self.signer(node)
            identity = issue_certificate(
                make_request(self.name, node, signer),
                authority=authority,
                authority_key=key,
                node=node,
                identity_key=signer.public,
                at=NOW,
                hosts=() if node == "coordinator" else None,
            )
            chain = tls.make_tls_certificate(
                load_certificate(identity), own, federation=self.name, node=node, signer=signer, at=NOW
            )
            (self.directory / f"{node}.key").write_bytes(own)
            (self.directory / f"{node}.crt").write_bytes(chain)
            (self.directory / f"{node}.identity.crt").write_bytes(identity)
        return self

    def signer(self, node: str) -> SigningKey:
        return SigningKey.from_bytes(hashlib.sha256(f"{self.name}/{node}".encode()).digest())

    def credentials(self, node: str) -> dict[str, Path]:
        return {
            "certificate": self.directory / f"{node}.crt",
            "key": self.directory / f"{node}.key",
            "authority": self.directory / "authority.crt",
        }

    def server(self, **options: Any) -> NatsServer:
        return NatsServer(
            self.directory / "nats",
            ServerOptions(
                federation=self.name,
                coordinator="coordinator",
                members=self.members,
                **{**self.credentials("coordinator"), **options},
            ),
        )

    def cluster(self, **options: Any) -> list[NatsServer]:
        """Return three servers, not started; they may be started in any order."""
        ports = free_ports(3)
        routes = tuple(f"127.0.0.1:{port}" for port in ports)
        return [
            NatsServer(
                self.directory / f"nats-{name}",
                ServerOptions(
                    federation=self.name,
                    coordinator="coordinator",
                    members=self.members,
                    cluster=ClusterPlace(name, port, routes),
                    **{**self.credentials("coordinator"), **options},
                ),
            )
            for name, port in zip("abc", ports, strict=True)
        ]

    async def connect(self, url: str, node: str, **options: Any) -> NatsTransport:
        return await NatsTransport.connect(
            url,
            node=node,
            federation=self.name,
            coordinator=node == "coordinator",
            **{**self.credentials(node), **options},
        )


def free_ports(count: int) -> list[int]:
    """Return TCP ports of this machine that are free now."""
    with contextlib.ExitStack() as probes:
        opened = [probes.enter_context(socket.socket()) for _ in range(count)]
        for probe in opened:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in opened]
