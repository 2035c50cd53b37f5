"""The claim that nothing but what the egress record has leaves a member: each packet of its process is captured.

With a network namespace (root, or user namespaces permitted) the member's packets are read from a raw packet socket.
Elsewhere a counting proxy in front of the message server stands in: it has the bytes, and cannot see other addresses.
The test's name says which.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from federation.nats_federation import NatsFederation, free_ports
from federation.wire_member import patient_rules
from hansa.federation.coordinator import CoordinatorNode
from hansa.federation.records import Records
from hansa.federation.transport import Subject
from simulator import Simulation, request, signing_key

if TYPE_CHECKING:
    from hansa.federation.nats_transport import NatsTransport

TESTS = Path(__file__).parent.parent
HERE = Path(__file__).with_name("wire_network.py")
SUMS = 3
GREETING_BYTES = 16 * 1024  # TLS with a client's certificate, CONNECT, subscriptions, a reader of the board
MESSAGE_BYTES = 512  # subject, reply address, command, the answer's acknowledgement, TLS record
SECOND_BYTES = 256  # heartbeats and flow control


@cache
def has_namespaces() -> bool:
    return subprocess.run([sys.executable, str(HERE), "--probe"], check=False, capture_output=True).returncode == 0


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()
    writer.close()


async def set_up(central: NatsTransport, epoch: str, watched: asyncio.subprocess.Process) -> None:
    """Wait until the watched member has said its first word: no other begins before, so that it is never late."""
    while await central.fetch(Subject(epoch, "setup-0", "setup", "m0")) is None:
        assert watched.returncode is None
        await asyncio.sleep(0.1)


async def exchange(tmp_path: Path, *, capture: str, leak: str = "") -> dict[str, Any]:
    """Run a few sums of four members of which m0 is watched; return the report on m0."""
    rules = patient_rules()
    place = NatsFederation(tmp_path / "nats", name="test", members=rules.members).make()
    (tmp_path / "facts").mkdir()
    simulation = Simulation(tmp_path / "facts", rules)
    (tmp_path / "watched").mkdir()
    coordinator = CoordinatorNode(
        epoch=simulation.epoch, limits=rules, signer=signing_key("coordinator"), records=Records(":memory:"),
        programme=[request(number) for number in range(SUMS)],
    )  # fmt: skip
    begun = time.monotonic()
    with place.server() as server:
        gate = str(tmp_path / "gate")

        async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", int(server.url.rpartition(":")[2]))
            await asyncio.gather(pump(reader, far_writer), pump(far_reader, writer), return_exceptions=True)

        listening = await asyncio.start_unix_server(forward, gate)
        central = await place.connect(server.url, "coordinator")
        options = {
            "port": str(free_ports(1)[0]), "socket": gate, "directory": str(tmp_path / "watched"),
            "federation": str(place.directory), "epoch": simulation.epoch, "leak": leak, "capture": capture,
        }  # fmt: skip
        watched = await asyncio.create_subprocess_exec(
            sys.executable, str(HERE), json.dumps(options), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])},
        )  # fmt: skip
        await set_up(central, simulation.epoch, watched)
        others = {name: await place.connect(server.url, name) for name in rules.members[1:]}
        tasks = []
        for name, transport in others.items():
            node = simulation.nodes[name]
            node._clock = time.time_ns
            tasks.append(asyncio.create_task(node.run(transport)))
        try:
            await asyncio.wait_for(coordinator.run(central, clock=time.time_ns), 400)
        finally:
            said, _ = await asyncio.wait_for(watched.communicate(b""), 200)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for transport in (*others.values(), central):
            await transport.close()
        listening.close()
    assert not coordinator.is_failed
    rows = coordinator._records.rows("SELECT members FROM session WHERE state = 'published'")
    assert [str(row["members"]).split() for row in rows] == [list(rules.members)] * SUMS
    for store in simulation.stores.values():
        store.close()
    return {**json.loads(said), "port": int(options["port"]), "seconds": time.monotonic() - begun}


def excess(report: dict[str, Any]) -> float:
    """Return the bytes on the wire that neither the record nor the overhead of its messages explains."""
    allowed = report["bytes"] * 1.01 + GREETING_BYTES + SECOND_BYTES * report["seconds"]
    allowed += MESSAGE_BYTES * (report["messages"] + report["asked"])
    return float(report["forwarded"] - allowed)


def strangers(report: dict[str, Any]) -> list[list[Any]]:
    """Return what was captured that is neither to the message server nor its answer."""
    ports = {row[2] for row in report["flows"] if row[0] == "tcp" and row[2] != report["port"]}
    assert len(ports) <= 2, "one connection of the member, a second after a break"
    return [row for row in report["flows"] if row[:2] != ["tcp", "127.0.0.1"]]


needs_namespace = pytest.mark.skipif(
    not has_namespaces(),
    reason="needs leave to make a network namespace and read raw packets (root on Linux); "
    "the counting proxy's test makes the same claim without",
)


@pytest.mark.slow
@needs_namespace
async def test_by_packet_capture_all_that_leaves_goes_to_the_server_and_is_in_the_record(tmp_path: Path) -> None:
    report = await exchange(tmp_path, capture="packets")
    assert report["dropped"] == 0
    assert strangers(report) == [], "no datagram, no name to resolve, no address but the server's"
    sent = sum(row[4] for row in report["flows"] if row[2] == report["port"])
    assert report["forwarded"] <= sent <= report["forwarded"] * 1.02 + 70_000, "segments that were sent twice"
    assert report["bytes"] <= report["forwarded"]
    assert excess(report) <= 0, report
    assert report["messages"] > 3 * SUMS


@pytest.mark.slow
@needs_namespace
async def test_by_packet_capture_a_datagram_to_a_stranger_is_seen(tmp_path: Path) -> None:
    report = await exchange(tmp_path, capture="packets", leak="datagram")
    assert ["udp", "192.0.2.1", 53, 1, 18] in strangers(report)


@pytest.mark.slow
async def test_by_counting_proxy_the_bytes_that_leave_are_explained_by_the_record(tmp_path: Path) -> None:
    report = await exchange(tmp_path, capture="proxy")
    assert report["bytes"] <= report["forwarded"]
    assert excess(report) <= 0, report


@pytest.mark.slow
async def test_bytes_that_pass_the_gate_by_are_not_explained(tmp_path: Path) -> None:
    report = await exchange(tmp_path, capture="proxy", leak="past the gate")
    assert excess(report) > 0, report
