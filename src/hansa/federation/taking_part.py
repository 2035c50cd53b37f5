"""A member's process, whatever its work: its store, its door, its connection, until it is cancelled."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from hansa.federation.attesting import Attesting
from hansa.federation.door import MemberDoor, Statistic
from hansa.federation.member import Learner, MemberNode
from hansa.federation.node import connect, keep_tls_renewed
from hansa.federation.rules import limits_of
from hansa.federation.store import MemberStore
from hansa.federation.warm_up import compile_kernels, keep_freed_memory

if TYPE_CHECKING:
    from hansa.federation.nats_transport import NatsTransport
    from hansa.federation.node import Node
    from hansa.federation.records import Records

logger = logging.getLogger(__name__)


class Work(Statistic, Learner, Protocol):
    """What a member computes for the door, and what it does with opened sums."""


@dataclass
class _Connection:
    """The connection, for those who are made before it."""

    transport: NatsTransport | None = None

    def coordinator_key(self) -> str | None:
        """Return the SHA-256 of the coordinator's TLS key, if it is the coordinator at the other end."""
        return None if self.transport is None else self.transport.coordinator_key()


async def take_part(node: Node, work: Work, *, records: Records, patience_seconds: float = 60.0) -> None:
    """Take part until cancelled; the store and the records are closed at the end.

    Args:
        node: The member's folder.
        work: Its work.
        records: Its published records.
        patience_seconds: How long the first connection may take.

    Raises:
        StoreError: Durable facts cannot be written.
        TransportError: The server cannot be reached or refuses for good.
    """
    keep_freed_memory()
    compile_kernels()
    limits, name, signer = limits_of(node.constitution), node.kit.name, node.kit.signing_key
    store = MemberStore(node.work / "facts.sqlite")
    shown = _Connection()
    try:
        member = MemberNode(
            name,
            epoch=node.epoch,
            limits=limits,
            signer=signer,
            store=store,
            door=MemberDoor(
                name,
                limits=limits,
                signer=signer,
                store=store,
                statistic=work,
                clock=time.time_ns,
                measured=lambda session, seconds: records.put(f"door/{session}", seconds),
            ),
            learner=work,
            records=records,
            clock=time.time_ns,
            entropy=os.urandom,
            attesting=Attesting(
                node.constitution.attestation,
                limits=limits,
                epoch=node.epoch,
                records=records,
                clock=time.time_ns,
                tls_key=shown.coordinator_key,
            ),
        )
        transport = await connect(node, coordinator=False, patience_seconds=patience_seconds)
        shown.transport = transport
        logger.info("member connected", extra={"fields": {"node": name, "epoch": node.epoch}})
        renewing = asyncio.create_task(keep_tls_renewed(node))
        try:
            await member.run(transport)
        finally:
            renewing.cancel()
            logger.info("member stops", extra={"fields": {"node": name}})
            await transport.close()
    finally:
        store.close()
        records.close()
