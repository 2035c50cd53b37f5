"""How long one exchange takes: the coordinator publishes, five members answer, the coordinator has all answers.

The engine as the alliance uses it: embedded NATS server, mutual TLS, durable file streams that are synced to disk at
every write, vectors above the payload limit in chunks. All six clients share one process and its event loop, so the
figure contains their work one after another; between processes see `hansa bench secure-sum`.

Run: python benchmarks/message_exchange.py [--members 5] [--repeats 11]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from hansa.federation.nats_server import NatsServer, ServerOptions
from hansa.federation.nats_transport import NatsTransport
from hansa.federation.transport import Subject
from hansa.identity.kit import Kit, make_federation

COORDINATOR = "coordinator"
SIZES_BYTES = (100, 400_000, 4_000_000)


async def answer(transport: NatsTransport, body: bytes) -> None:
    async for message in transport.board():
        if message.subject.step == "announce":
            await transport.publish(Subject("e1", message.subject.session, "upload", transport.node), body)


async def exchange(coordinator: NatsTransport, members: list[NatsTransport], size_bytes: int, repeats: int) -> float:
    body = os.urandom(size_bytes)
    inbox = coordinator.inbox(after=await coordinator.head(Subject("e1", "s", "upload", "x").channel))
    answering = [asyncio.create_task(answer(member, body)) for member in members]
    seconds = []
    for repeat in range(repeats + 1):
        session = f"s{size_bytes}-{repeat}"
        begin = time.perf_counter()
        await coordinator.publish(Subject("e1", session, "announce", COORDINATOR), body)
        waiting = {member.node for member in members}
        async for message in inbox:
            if message.subject.session == session:
                waiting.discard(message.subject.sender)
            if not waiting:
                break
        seconds.append(time.perf_counter() - begin)
    for task in answering:
        task.cancel()
    await asyncio.gather(*answering, return_exceptions=True)
    await inbox.aclose()
    return statistics.median(seconds[1:])


async def measure(directory: Path, names: list[str], repeats: int) -> None:
    at = datetime.fromtimestamp(time.time(), tz=UTC)
    make_federation(directory, "bench", names, at=at)
    kits = {name: Kit.load(directory / name, at=at) for name in (COORDINATOR, *names)}
    own = kits[COORDINATOR]
    options = ServerOptions(
        federation="bench",
        coordinator=COORDINATOR,
        members=tuple(names),
        certificate=own.certificate,
        key=own.key,
        authority=own.authority,
    )
    print("| body, bytes | one exchange, ms (median) |")
    print("|---|---|")
    for size_bytes in SIZES_BYTES:
        with NatsServer(directory / f"server-{size_bytes}", options) as server:
            clients = [
                await NatsTransport.connect(
                    server.url,
                    node=name,
                    federation="bench",
                    coordinator=name == COORDINATOR,
                    certificate=kit.certificate,
                    key=kit.key,
                    authority=kit.authority,
                )
                for name, kit in kits.items()
            ]
            seconds = await exchange(clients[0], clients[1:], size_bytes, repeats)
            for client in clients:
                await client.close()
        print(f"| {size_bytes} | {1000 * seconds:.1f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--members", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=11)
    chosen = parser.parse_args()
    names = [f"member-{number}" for number in range(1, chosen.members + 1)]
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(measure(Path(folder) / "federation", names, chosen.repeats))


if __name__ == "__main__":
    main()
