"""The coordinator as a process, with its embedded message server."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import TYPE_CHECKING, Final

from hansa.audit.note import origin_of
from hansa.audit.store import LogStore
from hansa.errors import TransportError
from hansa.federation.coordinator import CoordinatorNode, Planner
from hansa.federation.entries import constitution_entry
from hansa.federation.logbook import Logbook
from hansa.federation.nats_server import NatsServer, ServerOptions
from hansa.federation.node import SERVER_PATIENCE_SECONDS, connect, keep_tls_renewed, write_anchors
from hansa.federation.quoting import own_attestation
from hansa.federation.records import Records
from hansa.federation.rules import limits_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hansa.federation.node import Node
    from hansa.federation.running_sum import Request

KEEP_SECONDS: Final = 0.5
logger = logging.getLogger(__name__)


async def run_coordinator(
    node: Node, *, programme: Sequence[Request], planner: Planner | None = None, server: NatsServer | None = None
) -> bool:
    """Run a programme, or serve by a planner; return whether every sum was published.

    Args:
        node: The coordinator's folder.
        programme: Sums to begin with.
        planner: Asked for more whenever another sum could begin.
        server: The embedded server, started; it is started again if it dies.

    Raises:
        TransportError: The server cannot be reached or refuses for good.
    """
    records = Records(node.records_path)
    records.put("programme", len(programme))
    logbook = open_logbook(node) if node.constitution.cosignatures else None
    coordinator = CoordinatorNode(
        epoch=node.epoch,
        limits=limits_of(node.constitution),
        signer=node.kit.signing_key,
        records=records,
        programme=programme,
        attestation=own_attestation(node),
        logbook=logbook,
    )
    transport = await connect(node, coordinator=True, patience_seconds=SERVER_PATIENCE_SECONDS)
    logger.info("coordinator connected", extra={"fields": {"node": node.kit.name, "epoch": node.epoch}})

    def renewed() -> None:
        if server is not None:
            write_anchors(node)
            server.reload()

    keepers = [asyncio.create_task(work) for work in (_keep(server), keep_tls_renewed(node, renewed))]
    try:
        await coordinator.run(transport, clock=time.time_ns, planner=planner)
    finally:
        for keeper in keepers:
            keeper.cancel()
        await transport.close()
        is_finished = coordinator.is_done and not coordinator.is_failed
        records.put("finished", is_finished)
        logger.info("coordinator stops", extra={"fields": {"node": node.kit.name, "finished": is_finished}})
        records.close()
        if logbook is not None:
            logbook.close()
    return not coordinator.is_failed


def open_logbook(node: Node) -> Logbook:
    """Return the transparency log; the constitution becomes an entry with the next checkpoint if it is none.

    Raises:
        StoreError: Another process has it open, or it is damaged.
    """
    limits, signer = limits_of(node.constitution), node.kit.signing_key
    store = LogStore(node.log, origin=origin_of(limits.federation), signer=signer)
    logbook = Logbook(store, limits=limits, signer=signer)
    logbook.enter(constitution_entry(node.constitution, time_ns=time.time_ns(), signer=signer))
    return logbook


async def _keep(server: NatsServer | None) -> None:
    """Start the embedded server again whenever its process has died; its streams are on disk."""
    while server is not None:
        await asyncio.sleep(KEEP_SECONDS)
        if not server.is_running:
            logger.warning("the message server died; starting it again")
            server.kill()  # frees the lock of the dead one
            with contextlib.suppress(TransportError):
                server.start()


def start_server(node: Node) -> NatsServer | None:
    """Start the embedded message server, unless hansa.toml names a cluster.

    Raises:
        TransportError: It does not start, or another process keeps its folder.
    """
    nats = node.kit.configuration.nats
    if nats.url:
        return None
    options = ServerOptions(
        federation=node.constitution.federation,
        coordinator=node.kit.name,
        members=node.admitted,
        certificate=node.kit.certificate,
        key=node.kit.key,
        authority=write_anchors(node),
        listen=nats.listen,
        port=nats.port,
    )
    deadline = time.monotonic() + SERVER_PATIENCE_SECONDS
    while True:  # a server whose coordinator was killed needs a moment to die with it
        try:
            return NatsServer(node.work / "server", options).start()
        except TransportError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
