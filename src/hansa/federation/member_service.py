"""A member's liquidity work as a process."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from hansa.federation.delivery.courier import Courier
from hansa.federation.liquidity import LiquidityWork
from hansa.federation.records import Records
from hansa.federation.rules import limits_of
from hansa.federation.taking_part import take_part
from hansa.federation.views import load_views, require_bars
from hansa.model.network import enable_compilation_cache

if TYPE_CHECKING:
    from hansa.federation.node import Node


async def run_member(node: Node, *, patience_seconds: float = 60.0) -> None:
    """Take part until cancelled.

    Raises:
        DataError: There are no bars of any market of the constitution in the member's folder.
        StoreError: Durable facts cannot be written.
        TransportError: The server cannot be reached or refuses for good, or a port for alerts is taken.
        ConfigurationError: Alerts are to go where they cannot.
    """
    require_bars(node.bars, node.constitution.market)
    enable_compilation_cache(Path(os.environ.get("JAX_COMPILATION_CACHE_DIR") or node.work / "compiled"))
    records = Records(node.records_path)
    work = LiquidityWork(
        node.constitution,
        limits_of(node.constitution),
        load=lambda: load_views(node.bars, node.constitution.market),
        forecasts=node.work / "forecasts.npz",
        records=records,
        models=node.work,
        volume_key=node.kit.volume_key(),
    )
    courier = Courier(
        node.kit.configuration.alerts,
        directory=node.directory,
        records_path=node.records_path,
        outbox_path=node.work / "outbox.sqlite",
    )
    async with courier.running():
        await take_part(node, work, records=records, patience_seconds=patience_seconds)
