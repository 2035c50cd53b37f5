"""One message server of a cluster as a process, and its configuration for a server that the operator runs himself.

Both come from the coordinator's kit and the signed constitution: the same accounts and permissions as the embedded
server's, on every server of the cluster.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from hansa.errors import TransportError
from hansa.federation.nats_server import ClusterPlace, NatsServer, ServerOptions, render_configuration
from hansa.federation.node import keep_tls_renewed, write_anchors

if TYPE_CHECKING:
    from pathlib import Path

    from hansa.federation.node import Node

LOOK_SECONDS: Final = 0.5

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ServerPlace:
    """Where one server of a cluster listens and stores."""

    store: Path  # folder of its streams, log and configuration
    place: ClusterPlace
    listen: str  # address for clients to dial
    port: int  # for clients, TCP


def server_options(node: Node, where: ServerPlace) -> ServerOptions:
    """Return the options of one server of the cluster of `node`'s federation.

    Raises:
        MessageError: A name is malformed.
    """
    return ServerOptions(
        federation=node.constitution.federation,
        coordinator=node.constitution.coordinator.name,
        members=node.admitted,
        certificate=node.kit.certificate,
        key=node.kit.key,
        authority=write_anchors(node),
        listen=where.listen,
        port=where.port,
        cluster=where.place,
    )


def server_configuration(node: Node, where: ServerPlace) -> str:
    """Return the configuration file of one server of the cluster, for `nats-server -c`."""
    return render_configuration(where.store.resolve(), server_options(node, where), port=where.port)


async def run_server(node: Node, where: ServerPlace) -> None:
    """Run one server of the cluster until cancelled.

    Raises:
        TransportError: It does not start, or it died; whoever supervises this process starts it again.
    """
    with NatsServer(where.store, server_options(node, where)) as server:
        logger.info("message server %s runs at %s", where.place.name, server.url)

        def renewed() -> None:
            write_anchors(node)
            server.reload()

        renewing = asyncio.create_task(keep_tls_renewed(node, renewed))
        try:
            while True:
                await asyncio.sleep(LOOK_SECONDS)
                if not server.is_running:
                    log = where.store / "server.log"
                    raise TransportError(f"message server {where.place.name} died; its log is {log}; start it again")
        finally:
            renewing.cancel()
