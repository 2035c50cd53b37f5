"""The in-memory federation of the tests: `hansa.lab.simulation`, and a message past the board."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hansa.lab.simulation import (
    BAR_NS,
    DAY_NS,
    SECOND,
    Simulation,
    Vectors,
    hash_of,
    limits,
    purpose,
    request,
    signing_key,
    vector,
    witnessed,
)

if TYPE_CHECKING:
    from hansa.federation.transport import Message
    from hansa.protocol.epoch import Outgoing

__all__ = [
    "BAR_NS",
    "DAY_NS",
    "SECOND",
    "Simulation",
    "Vectors",
    "hash_of",
    "inject",
    "limits",
    "purpose",
    "request",
    "signing_key",
    "vector",
    "witnessed",
]


def inject(simulation: Simulation, message: Message) -> list[Outgoing]:
    """Give one member a message that never stood on the board."""
    return simulation.nodes["m0"].handle(message)
