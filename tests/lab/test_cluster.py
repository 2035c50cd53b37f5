"""The claim of a cluster: kill any one of its servers in the middle of a secure sum and the same sum is published."""

from __future__ import annotations

import asyncio
import contextlib
import time
from functools import partial
from typing import TYPE_CHECKING

import pytest

from federation.nats_federation import free_ports
from hansa.errors import StoreError
from hansa.federation.nats_accounts import stream_name
from hansa.federation.nats_server import ClusterPlace, NatsServer, ServerOptions
from hansa.federation.node import Node, connect, load_node
from hansa.federation.transport import Channel
from hansa.lab.alliance import COORDINATOR, Alliance, found
from hansa.lab.bench import bench_constitution
from hansa.lab.bench_evidence import verify
from hansa.lab.bench_nodes import PURPOSE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SERVERS = ("a", "b", "c")
MEMBERS = tuple(f"m{place:02d}" for place in range(5))
SUMS = 3
LENGTH = 100_000


@pytest.fixture
def alliance(tmp_path: Path) -> Alliance:
    constitution = partial(bench_constitution, length=LENGTH, sums=SUMS)
    return found(tmp_path / "alliance", PURPOSE, dict.fromkeys(MEMBERS, ()), constitution)


@pytest.fixture
def servers(tmp_path: Path, alliance: Alliance) -> Iterator[dict[str, NatsServer]]:
    kit = alliance.directory / COORDINATOR
    ports = free_ports(len(SERVERS))
    routes = tuple(f"127.0.0.1:{port}" for port in ports)
    made = {
        name: NatsServer(
            tmp_path / f"server-{name}",
            ServerOptions(
                PURPOSE, COORDINATOR, MEMBERS, kit / "node.crt", kit / "node.key", kit / "authority.crt",
                cluster=ClusterPlace(name, port, routes),
            ),
        )
        for name, port in zip(SERVERS, ports, strict=True)
    }  # fmt: skip
    with contextlib.ExitStack() as stack:
        for server in made.values():
            stack.enter_context(server)
        url = ",".join(server.url for server in made.values())
        for name in (COORDINATOR, *MEMBERS):
            settings = alliance.directory / name / "hansa.toml"
            text = settings.read_text().replace('url = ""', f'url = "{url}"').replace("replicas = 1", "replicas = 3")
            settings.write_text(text)
        yield made


def until(condition: Callable[[], bool], *, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.01)


def has_begun(alliance: Alliance, place: int) -> bool:
    """Tell whether some member was asked for sum number `place`."""
    for name in MEMBERS:
        with contextlib.suppress(StoreError), contextlib.closing(alliance.records(name)) as records:
            if records.get(f"asked-{place}") is not None:
                return True
    return False  # or nothing is written yet


async def replication(node: Node) -> list[tuple[str, list[bool]]]:
    """Return for each stream its leader and whether each copy is online and has everything."""
    transport = await connect(node, coordinator=True, patience_seconds=30.0)
    try:
        out = []
        for channel in Channel:
            answer = await transport._requests.ask(f"STREAM.INFO.{stream_name(PURPOSE, channel)}", {})
            copies = answer["cluster"].get("replicas", [])
            current = [bool(one["current"]) and not one.get("offline") for one in copies]
            out.append((str(answer["cluster"].get("leader", "")).rpartition("-")[2], current))
        return out
    finally:
        await transport.close()


@pytest.mark.slow
@pytest.mark.parametrize("victim", [*SERVERS, "leader"])
def test_a_secure_sum_ends_exactly_when_a_server_is_killed_in_its_middle(
    alliance: Alliance, servers: dict[str, NatsServer], victim: str
) -> None:
    node = load_node(alliance.directory / COORDINATOR)
    leaders = asyncio.run(replication(node))
    name = leaders[0][0] if victim == "leader" else victim
    assert name in SERVERS
    try:
        alliance.start(COORDINATOR, ["bench", "coordinator", str(alliance.directory / COORDINATOR), str(SUMS)])
        for member in MEMBERS:
            alliance.start(member, ["bench", "member", str(alliance.directory / member)])
        until(lambda: has_begun(alliance, 1))
        servers[name].kill()
        alliance.wait(seconds=120.0)
    finally:
        alliance.stop()
    # Every word of every published sum is that of the vectors that went in, recomputed here.
    for place in range(SUMS):
        assert verify(alliance, place) < 7.0
    records = alliance.records(COORDINATOR)
    states = [row["state"] for row in records.rows("SELECT state FROM session ORDER BY round")]
    records.close()
    assert states == ["published"] * SUMS
    servers[name].start()
    until(lambda: all(current == [True, True] for _, current in asyncio.run(replication(node))))
