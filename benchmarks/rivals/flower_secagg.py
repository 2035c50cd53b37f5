"""Flower's SecAgg+ in one process: its workflow and its client module, called through a grid that is a function call.

Runs in Flower's own environment, with the very app that is deployed. No network, no processes, no waiting; members work
one after the other. Hence two figures: `seconds` as it ran, and `critical_path_seconds`, in which the members of each
stage work side by side: the server's own time plus the slowest member of each stage.

Also measured: the masked vector's bytes in a member's reply, all bytes of that reply as Flower stores and sends them,
and which bits of the number that seeds a mask ever differ between masks, over keys made by Flower's own functions.

Prints one JSON object.

Run: python flower_secagg.py --vectors DIR --members 5 --rounds 5
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import sys
import time
from copy import deepcopy
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock
from uuid import uuid4

import numpy as np
from flwr.app import Context, Message, RecordDict
from flwr.common import bytes_to_ndarray
from flwr.common.secure_aggregation import secaggplus_utils
from flwr.common.secure_aggregation.crypto.symmetric_encryption import generate_shared_key
from flwr.common.secure_aggregation.secaggplus_constants import RECORD_KEY_CONFIGS, Key
from flwr.serverapp import Grid
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects
from flwr.supercore.primitives.asymmetric import generate_key_pairs
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flwr.clientapp import ClientApp

sys.path.insert(0, str(Path(__file__).parent / "flower_app"))
from secure_sum.client_app import app as client_app
from secure_sum.server_app import STAGES, run_rounds

RUN_ID = 1
SEED_SAMPLES = 2000


class CallingGrid(Grid):
    """A grid whose members are contexts in this process; it notes each member's seconds and keeps one masked reply."""

    def __init__(self, app: ClientApp, vectors: list[Path]) -> None:
        self.app = app
        self.contexts = {
            number: Context(RUN_ID, number, {"vector": str(path)}, RecordDict(), {})
            for number, path in enumerate(vectors, start=1)
        }
        self.exchanges: list[list[float]] = []  # seconds of every member, by exchange
        self.masked: Message | None = None

    def set_run(self, run: Run) -> None:
        """Do nothing: there is one run."""

    @property
    def run(self) -> Run:
        """The one run."""
        return Run.create_empty(RUN_ID)

    def create_message(self, *arguments: object, **named: object) -> Message:
        """Refuse: the workflow does not use it."""
        raise NotImplementedError

    push_messages = pull_messages = create_message

    def get_node_ids(self) -> Iterable[int]:
        """Return the members' numbers."""
        return list(self.contexts)

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        """Let each member answer, one after the other."""
        del timeout
        replies, seconds = [], []
        for sent in messages:
            message = deepcopy(sent)  # the workflow sends one content to all, and the module empties what it receives
            message.metadata.__dict__["_message_id"] = str(uuid4())
            begin = time.perf_counter()
            replies.append(self.app(message, self.contexts[message.metadata.dst_node_id]))
            seconds.append(time.perf_counter() - begin)
        self.exchanges.append(seconds)
        if Key.MASKED_PARAMETERS in replies[0].content.config_records[RECORD_KEY_CONFIGS]:
            self.masked = replies[0]
        return replies


def reply_bytes(reply: Message) -> dict[str, int]:
    """Return the bytes of the masked numbers in a reply, and of the whole reply as Flower stores and sends it."""
    parts = reply.content.config_records[RECORD_KEY_CONFIGS][Key.MASKED_PARAMETERS]
    return {
        "masked": sum(bytes_to_ndarray(part).nbytes for part in parts),
        "reply": sum(len(one.deflate()) for one in get_all_nested_objects(reply).values()),
    }


def varying_bits(keys: Iterable[bytes]) -> int:
    """Return how many bits differ between the numbers with which Flower seeds its generator for these keys."""
    with mock.patch.object(np.random, "RandomState") as generator:
        for key in keys:
            secaggplus_utils.pseudo_rand_gen(key, 2**32, [(1,)])
    seeds = [call.args[0] for call in generator.call_args_list]
    return (reduce(int.__or__, seeds) ^ reduce(int.__and__, seeds)).bit_count()


def seed_bits() -> dict[str, int]:
    """Return the varying bits of the seeds of pairwise and of private masks."""
    _, peer = generate_key_pairs()
    return {
        "pairwise": varying_bits(generate_shared_key(generate_key_pairs()[0], peer) for _ in range(SEED_SAMPLES)),
        "private": varying_bits(os.urandom(32) for _ in range(SEED_SAMPLES)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vectors", type=Path, required=True, help="folder of member-N.npy and expected.npy")
    parser.add_argument("--members", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=6, help="the first one warms up")
    chosen = parser.parse_args()
    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = RUN_ID, 0, 0
    grid = CallingGrid(client_app, [chosen.vectors / f"member-{number}.npy" for number in range(chosen.members)])
    figures = run_rounds(
        grid,
        Context(RUN_ID, 0, {}, RecordDict(), {}),
        expected=np.load(chosen.vectors / "expected.npy"),
        members=chosen.members,
        rounds=chosen.rounds,
    )
    members = np.array(grid.exchanges).reshape(chosen.rounds, len(STAGES), chosen.members)
    critical = np.array(figures["seconds"]) - members.sum(axis=(1, 2)) + members.max(axis=2).sum(axis=1)
    if grid.masked is None:
        message = "expected replies with masked vectors, got none: Flower's stages are others than these"
        raise RuntimeError(message)
    more = {
        "version": importlib.metadata.version("flwr"),
        "critical_path_seconds": critical.tolist(),
        "member_seconds": members.sum(axis=1).mean(axis=1).tolist(),
        "bytes": reply_bytes(grid.masked),
        "seed_bits": seed_bits(),
    }
    print(json.dumps({**figures, **more}))


if __name__ == "__main__":
    main()
