"""The floor under a secure sum: one exchange between a coordinator and member processes, and nothing else.

The coordinator publishes 1 kB, every member answers with a body, the coordinator has all of them: mutual TLS, durable
streams (each write is synced to disk before it is acknowledged), each member a process of its own, everything on this
machine. No cryptography but TLS, no door, no signatures. Bodies above the server's limit travel in chunks.

The same over one server and over a cluster of three (each stream on three disks, here the same one), with the ratio.

Run: python benchmarks/transport.py [--members 5] [--repeats 11]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import socket
import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from hansa.federation.nats_server import ClusterPlace, NatsServer, ServerOptions
from hansa.federation.nats_transport import NatsTransport
from hansa.federation.transport import Subject
from hansa.identity.kit import make_federation

COORDINATOR = "coordinator"
EPOCH = "e1"
SIZES_BYTES = (100, 400_000, 3_000_000)
WARM_UPS = 3
PAUSE_SECONDS = 0.1


async def connect(directory: Path, url: str, node: str) -> NatsTransport:
    """Connect a node; several servers are a cluster, which keeps a copy of each stream on every one."""
    kit = directory / node
    return await NatsTransport.connect(
        url,
        node=node,
        federation="bench",
        coordinator=node == COORDINATOR,
        certificate=kit / "node.crt",
        key=kit / "node.key",
        authority=kit / "authority.crt",
        replicas=len(url.split(",")),
        patience_seconds=30.0,
    )


async def answer(directory: Path, url: str, node: str, size_bytes: int) -> None:
    """Be a member: answer every announcement until the death notice."""
    transport = await connect(directory, url, node)
    body = os.urandom(size_bytes)
    async for message in transport.board():
        if message.subject.step == "died":
            break
        await transport.publish(Subject(EPOCH, message.subject.session, "upload", node), body)
    await transport.close()


async def exchange(directory: Path, url: str, names: list[str], size_bytes: int, repeats: int) -> list[float]:
    coordinator = await connect(directory, url, COORDINATOR)
    arguments = ("--member", str(directory), url)
    processes = [
        await asyncio.create_subprocess_exec(sys.executable, __file__, *arguments, name, str(size_bytes))
        for name in names
    ]
    inbox = coordinator.inbox()
    seconds = []
    for repeat in range(WARM_UPS + repeats):
        await asyncio.sleep(PAUSE_SECONDS)
        begin = time.perf_counter()
        await coordinator.publish(Subject(EPOCH, f"s{repeat}", "announce", COORDINATOR), bytes(1000))
        for _ in names:
            await anext(inbox)
        seconds.append(time.perf_counter() - begin)
    await coordinator.publish(Subject(EPOCH, "end", "died", COORDINATOR), b"end")
    await asyncio.gather(*(process.wait() for process in processes))
    await inbox.aclose()
    await coordinator.close()
    return seconds[WARM_UPS:]


def servers(directory: Path, names: list[str], count: int) -> list[NatsServer]:
    """Return one server, or the servers of a cluster, not started."""
    kit = directory.parent / COORDINATOR
    with contextlib.ExitStack() as probes:
        opened = [probes.enter_context(socket.socket()) for _ in range(count)]
        for probe in opened:
            probe.bind(("127.0.0.1", 0))
        ports = [probe.getsockname()[1] for probe in opened]
    routes = tuple(f"127.0.0.1:{port}" for port in ports)
    places = [ClusterPlace(f"n{place}", port, routes) if count > 1 else None for place, port in enumerate(ports)]
    files = (kit / "node.crt", kit / "node.key", kit / "authority.crt")
    return [
        NatsServer(directory / f"n{number}", ServerOptions("bench", COORDINATOR, tuple(names), *files, cluster=place))
        for number, place in enumerate(places)
    ]


def seconds_over(directory: Path, names: list[str], count: int, size_bytes: int, repeats: int) -> list[float]:
    with contextlib.ExitStack() as stack:
        started = [stack.enter_context(server) for server in servers(directory, names, count)]
        url = ",".join(server.url for server in started)
        return asyncio.run(exchange(directory.parent, url, names, size_bytes, repeats))


def measure(directory: Path, names: list[str], repeats: int) -> None:
    make_federation(directory, "bench", names, at=datetime.fromtimestamp(time.time(), tz=UTC))
    print(f"{len(names)} member processes, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print("| answer, bytes | one server, ms: median | least | three servers, ms: median | least | ratio of medians |")
    print("|---|---|---|---|---|---|")
    for size_bytes in SIZES_BYTES:
        one, three = (
            seconds_over(directory / f"servers-{count}-{size_bytes}", names, count, size_bytes, repeats)
            for count in (1, 3)
        )
        figures = [1e3 * figure for each in (one, three) for figure in (statistics.median(each), min(each))]
        ratio = figures[2] / figures[0]
        print(f"| {size_bytes} | " + " | ".join(f"{one:.1f}" for one in figures) + f" | {ratio:.1f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--members", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=11)
    parser.add_argument("--member", nargs=4, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # it warns at every end of a TLS stream
    if chosen.member:
        directory, url, node, size_bytes = chosen.member
        asyncio.run(answer(Path(directory), url, node, int(size_bytes)))
        return
    names = [f"member-{number}" for number in range(1, chosen.members + 1)]
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder) / "federation", names, chosen.repeats)


if __name__ == "__main__":
    main()
