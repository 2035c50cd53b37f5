"""Claims about an epoch's set-up over the federation's own server, with its certificates and permissions."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from crooked import Tamper, opened, posting_junk, probing_falsely, sealing_junk
from federation.nats_federation import NatsFederation
from hansa.federation.coordinator import CoordinatorNode
from hansa.federation.records import Records
from hansa.protocol.messages import Epoch, Result
from simulator import Simulation, limits, request, signing_key

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from hansa.federation.nats_transport import NatsTransport
    from hansa.federation.transport import Message, Subject


@dataclass
class CrookedTransport:
    """A member's connection over which it says something else than its node."""

    inner: NatsTransport
    tamper: Tamper

    @property
    def node(self) -> str:
        return self.inner.node

    async def publish(self, subject: Subject, body: bytes) -> bool:
        passed = self.tamper(subject.sender, subject.session, subject.step, body)
        return passed is not None and await self.inner.publish(subject, passed)

    def board(self, *, after: int = 0) -> AsyncGenerator[Message]:
        return self.inner.board(after=after)

    async def fetch(self, subject: Subject) -> bytes | None:
        return await self.inner.fetch(subject)


async def said(connection: NatsTransport) -> list[Message]:
    """Return the board up to the first result."""
    board = []
    async for message in connection.board():
        board.append(message)
        if message.subject.step == "result":
            break
    return board


async def test_shares_are_dealt_complained_of_and_revealed_and_the_liar_is_left_out(tmp_path: Path) -> None:
    """m0 seals junk to m4 and posts junk to everybody but answers; m1 gives a false probe of the key of m2."""

    def tamper(sender: str, session: str, step: str, body: bytes) -> bytes | None:
        passed: bytes | None = body
        for one in (sealing_junk("m0", "m4"), posting_junk("m0"), probing_falsely("m1", "m2")):
            passed = one(sender, session, step, passed or b"")
        return passed

    rules = limits(5, 1)
    place = NatsFederation(tmp_path / "nats", name="test", members=rules.members).make()
    (tmp_path / "facts").mkdir()
    simulation = Simulation(tmp_path / "facts", rules)
    coordinator = CoordinatorNode(
        epoch=simulation.epoch, limits=rules, signer=signing_key("coordinator"), records=Records(":memory:"),
        programme=[request()],
    )  # fmt: skip
    with place.server() as server:
        connections = {name: await place.connect(server.url, name) for name in (*rules.members, "coordinator")}
        tasks = []
        for name in rules.members:
            node = simulation.nodes[name]
            node._clock = time.time_ns
            crooked = CrookedTransport(connections[name], tamper)
            tasks.append(asyncio.create_task(node.run(crooked)))  # type: ignore[arg-type]
        await asyncio.wait_for(coordinator.run(connections["coordinator"], clock=time.time_ns), 60)
        board = await said(connections["coordinator"])
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for connection in connections.values():
            await connection.close()
    lists = [opened(m.body, Epoch, "coordinator") for m in board if m.subject.step == "epoch"]
    assert [set(listing.left_out) for listing in lists] == [set(), {"m1"}]
    assert opened(board[-1].body, Result, "coordinator").members == ("m0", "m2", "m3", "m4")
    steps = {(m.subject.step, m.subject.sender) for m in board if m.subject.session.startswith("setup-1")}
    assert steps >= {("complaint", "m3"), ("complaint", "m4"), ("answer", "m0"), ("reveal", "m4"), ("probe", "m1")}
    for store in simulation.stores.values():
        store.close()
