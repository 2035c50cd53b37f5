"""A member as a process."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from hansa.federation.door import MemberDoor
from hansa.federation.liquidity import LiquidityWork
from hansa.federation.member import MemberNode
from hansa.federation.node import connect
from hansa.federation.records import Records
from hansa.federation.rules import limits_of
from hansa.federation.store import MemberStore
from hansa.federation.views import load_views, require_bars
from hansa.model.network import enable_compilation_cache

if TYPE_CHECKING:
    from hansa.federation.node import Node


logger = logging.getLogger(__name__)


async def run_member(node: Node, *, patience_seconds: float = 60.0) -> None:
    """Take part until cancelled.

    Raises:
        DataError: There are no bars of any market of the constitution in the member's folder.
        StoreError: Durable facts cannot be written.
        TransportError: The server cannot be reached or refuses for good.
    """
    require_bars(node.bars, node.constitution.market)
    enable_compilation_cache(Path(os.environ.get("JAX_COMPILATION_CACHE_DIR") or node.work / "compiled"))
    limits = limits_of(node.constitution)
    records = Records(node.records_path)
    store = MemberStore(node.work / "facts.sqlite")
    work = LiquidityWork(
        node.constitution,
        limits,
        load=lambda: load_views(node.bars, node.constitution.market),
        forecasts=node.work / "forecasts.npz",
        records=records,
        models=node.work,
    )
    name, signer = node.kit.name, node.kit.signing_key
    door = MemberDoor(name, limits=limits, signer=signer, store=store, statistic=work, clock=time.time_ns)
    member = MemberNode(
        name,
        epoch=node.epoch,
        limits=limits,
        signer=signer,
        store=store,
        door=door,
        learner=work,
        records=records,
        clock=time.time_ns,
        entropy=os.urandom,
    )
    transport = await connect(node, coordinator=False, patience_seconds=patience_seconds)
    logger.info("member connected", extra={"fields": {"node": name, "epoch": node.epoch}})
    try:
        await member.run(transport)
    finally:
        logger.info("member stops", extra={"fields": {"node": name}})
        await transport.close()
        store.close()
        records.close()
