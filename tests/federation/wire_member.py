"""The member that `wire_network` watches: the true node, store, door and transport; it leaks what the test wants."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from federation.nats_federation import NatsFederation
from hansa.federation.door import MemberDoor
from hansa.federation.member import MemberNode
from hansa.federation.records import Records
from hansa.federation.store import MemberStore
from simulator import SECOND, Vectors, hash_of, limits, signing_key, vector

if TYPE_CHECKING:
    from hansa.federation.transport import Subject
    from hansa.protocol.limits import Limits


def patient_rules() -> Limits:
    """Return the limits of four members; deadlines are for busy machines."""
    wait = 90 * SECOND
    return replace(limits(4, 1), setup_ns=wait, upload_ns=wait, agree_ns=wait, open_ns=wait)


async def member(options: dict[str, str]) -> None:
    """Take part as m0 until a signal; then print what was asked, and what the record has."""
    asked = 0
    rules, epoch = patient_rules(), options["epoch"]
    store = MemberStore(Path(options["directory"]) / "m0.sqlite")
    statistic = Vectors(lambda manifest: vector("m0", manifest.length))
    own = signing_key("m0")
    door = MemberDoor(
        "m0", limits=rules, signer=own, store=store, statistic=statistic, clock=time.time_ns,
    )  # fmt: skip
    node = MemberNode(
        "m0", epoch=epoch, limits=rules, signer=own, store=store, door=door, learner=statistic,
        records=Records(":memory:"), clock=time.time_ns, entropy=np.random.default_rng(hash_of("m0")).bytes,
    )  # fmt: skip
    place = NatsFederation(Path(options["federation"]), name="test", members=rules.members)
    transport = await place.connect(f"tls://127.0.0.1:{options['port']}", "m0", patience_seconds=30.0)
    ask = transport.fetch

    async def counted(subject: Subject) -> bytes | None:
        nonlocal asked
        asked += 1
        return await ask(subject)

    transport.fetch = counted  # type: ignore[method-assign]
    if options["leak"] == "datagram":
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.sendto(b"what are you doing", ("192.0.2.1", 53))
    if options["leak"] == "past the gate":
        await transport._connection.client.publish("_INBOX_m0.answer.0", bytes(500_000))
    task = asyncio.ensure_future(node.run(transport))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task
    await transport.close()
    rows = store.egress()
    store.close()
    sys.stdout.write(json.dumps({"asked": asked, "messages": len(rows), "bytes": sum(row.size for row in rows)}))


if __name__ == "__main__":
    asyncio.run(member(json.loads(sys.argv[1])))
