"""The floor under a secure sum: one exchange between a coordinator and member processes, and nothing else.

The coordinator publishes 1 kB, every member answers with a body, the coordinator has all of them: mutual TLS, durable
streams (each write is synced to disk before it is acknowledged), each member a process of its own, everything on this
machine. No cryptography but TLS, no door, no signatures. Bodies above the server's limit travel in chunks.

Run: python benchmarks/transport.py [--members 5] [--repeats 11]
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from hansa.federation.nats_server import NatsServer, ServerOptions
from hansa.federation.nats_transport import NatsTransport
from hansa.federation.transport import Subject
from hansa.identity.kit import make_federation

COORDINATOR = "coordinator"
EPOCH = "e1"
SIZES_BYTES = (100, 400_000, 4_000_000)
WARM_UPS = 3
PAUSE_SECONDS = 0.1


async def connect(directory: Path, url: str, node: str) -> NatsTransport:
    kit = directory / node
    return await NatsTransport.connect(
        url,
        node=node,
        federation="bench",
        coordinator=node == COORDINATOR,
        certificate=kit / "node.crt",
        key=kit / "node.key",
        authority=kit / "authority.crt",
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


def measure(directory: Path, names: list[str], repeats: int) -> None:
    make_federation(directory, "bench", names, at=datetime.fromtimestamp(time.time(), tz=UTC))
    kit = directory / COORDINATOR
    options = ServerOptions(
        "bench", COORDINATOR, tuple(names), kit / "node.crt", kit / "node.key", kit / "authority.crt"
    )
    print(f"{len(names)} member processes, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print("| answer, bytes | one exchange, ms: median | least |")
    print("|---|---|---|")
    for size_bytes in SIZES_BYTES:
        with NatsServer(directory / f"server-{size_bytes}", options) as server:
            seconds = asyncio.run(exchange(directory, server.url, names, size_bytes, repeats))
        print(f"| {size_bytes} | {1e3 * statistics.median(seconds):.1f} | {1e3 * min(seconds):.1f} |", flush=True)


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
