"""A federation's certificates and its embedded server, for tests of the network transport."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hansa.federation.nats_server import NatsServer, ServerOptions
from hansa.federation.nats_transport import NatsTransport
from hansa.identity.certificates import generate_key, issue_certificate, make_authority, make_request

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
            own = generate_key()
            request = make_request(self.name, node, own)
            hosts = () if node == "coordinator" else None
            certificate = issue_certificate(
                request, authority=authority, authority_key=key, node=node, at=NOW, hosts=hosts
            )
            (self.directory / f"{node}.key").write_bytes(own)
            (self.directory / f"{node}.crt").write_bytes(certificate)
        return self

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
                **self.credentials("coordinator"),
                **options,
            ),
        )

    async def connect(self, url: str, node: str, **options: Any) -> NatsTransport:
        return await NatsTransport.connect(
            url,
            node=node,
            federation=self.name,
            coordinator=node == "coordinator",
            **{**self.credentials(node), **options},
        )
