"""The real coordinator, alone in its process, fed over a pipe by one process that plays all members in turn.

```
this process                                         coordinator (hansa bench piped-coordinator)
  members, one in memory at a time                     CoordinatorNode, its records, its memory measured alone
  board in memory, what members upload on disk  ---->  standard input: every message of board and inbox
                                                <----  standard output: what it says
```

All that members send in one step reaches the coordinator at once, as fast as it reads: so it comes from a hundred
machines, and so the coordinator needs most memory.

Guarantees: the envelopes are those of real members over a signed constitution; the folder is that of an alliance, so
everything that is checked of a run over the network is checked here.
Does NOT show: see `NOT_SHOWN`.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import os
import queue
import subprocess
import sys
import threading
import time
from typing import IO, TYPE_CHECKING, Final

from hansa.errors import HansaError, TransportError
from hansa.federation.coordinator import CoordinatorNode
from hansa.federation.coordinator_service import open_logbook
from hansa.federation.nats_server import TETHER
from hansa.federation.records import Records
from hansa.federation.rules import limits_of
from hansa.federation.transport import Channel, Message, Subject
from hansa.lab.alliance import COORDINATOR
from hansa.lab.bench_nodes import PEAK_FACT, QuietPlanner, peak_rss_bytes
from hansa.lab.frozen_members import RESTING, FrozenMembers
from hansa.lab.pipe_transport import PipeTransport, read_frame, write_frame

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from hansa.federation.node import Node
    from hansa.lab.alliance import Alliance

TRANSPORT: Final = "simulated: a pipe to the coordinator's own process; one process plays all members, one at a time"
NOT_SHOWN: Final = (
    "time of a deployed sum: members work one after another in one process; seconds add all of them up",
    "the network and the message server: no TLS, no durable streams, nothing is sent twice",
    "memory of a member: member_rss_mib is that of the process that plays all of them",
    "drop-outs: every member answers; nobody adds the published sum again",
    "set-up of the epoch: it is run in full and over before the first sum",
)
_PATIENCE_SECONDS: Final = 1800.0  # without a word of the coordinator while no member has anything to do
_END: Final = None


async def run_piped_coordinator(node: Node, *, sums: int) -> bool:
    """Be the coordinator over standard input and output; return whether every sum was published.

    Raises:
        TransportError: The other side is gone.
    """
    records = Records(node.records_path)
    federation = node.constitution.federation
    logbook = open_logbook(node) if node.constitution.cosignatures else None
    coordinator = CoordinatorNode(
        epoch=node.epoch,
        limits=limits_of(node.constitution),
        signer=node.kit.signing_key,
        records=records,
        programme=(),
        logbook=logbook,
    )
    transport = await PipeTransport.standard(node.kit.name, federation=federation)
    try:
        await coordinator.run(transport, clock=time.time_ns, planner=QuietPlanner(records, sums))
    finally:
        await transport.close()
        records.put(PEAK_FACT, peak_rss_bytes())
        records.close()
        if logbook is not None:
            logbook.close()
    return not coordinator.is_failed


class SimulatedRun:
    """One run: the members of an alliance's folder against its coordinator.

    Args:
        alliance: Founded, nothing started.
        sums: What the coordinator asks for.
    """

    def __init__(self, alliance: Alliance, *, sums: int) -> None:
        self._alliance = alliance
        self._sums = sums
        self._members = FrozenMembers(alliance, alliance.directory / "post")
        self._board: list[Message] = []
        self._read = dict.fromkeys(alliance.members, 0)
        self._heard: queue.SimpleQueue[Message | HansaError | None] = queue.SimpleQueue()
        self._inbox = itertools.count(1)
        self._waiting: list[tuple[Subject, Path]] = []  # uploads and openings of this step
        self._spool = alliance.directory / "spool"
        self._spool.mkdir(mode=0o700)

    def run(self) -> None:
        """Run every sum.

        Raises:
            TransportError: The coordinator ended before its work was done, or says nothing more.
        """
        process = self._start()
        reader = threading.Thread(target=self._listen, args=(process.stdout,), daemon=True)
        reader.start()
        try:
            self._work(process)
            code = process.wait(_PATIENCE_SECONDS)
        except (OSError, subprocess.TimeoutExpired) as error:
            process.kill()
            raise self._alliance.failure(process.wait()) from error
        finally:
            process.kill()
            process.wait()
            reader.join()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with contextlib.suppress(BrokenPipeError):  # of what was never read
                        pipe.close()
            self._members.forget()
        if code != 0:
            raise self._alliance.failure(code)

    def _start(self) -> subprocess.Popen[bytes]:
        directory = self._alliance.directory / COORDINATOR
        work = directory / "node"
        work.mkdir(mode=0o700, exist_ok=True)
        tether = [sys.executable, "-I", "-S", "-c", TETHER, str(os.getpid()), sys.executable, "-m", "hansa"]
        with (work / "log.txt").open("ab") as log:
            return subprocess.Popen(
                [*tether, "bench", "piped-coordinator", str(directory), str(self._sums)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )

    def _listen(self, pipe: IO[bytes]) -> None:
        """Take in what the coordinator says, whatever this process is doing: neither may wait for the other."""
        try:
            while (message := read_frame(pipe, federation=self._members.federation)) is not None:
                self._heard.put(message)
        except HansaError as error:
            self._heard.put(error)
        else:
            self._heard.put(_END)

    def _work(self, process: subprocess.Popen[bytes]) -> None:
        to_coordinator = process.stdin
        if to_coordinator is None:
            raise TransportError("the coordinator's pipe is missing")
        for name in self._alliance.members:
            self._take(to_coordinator, self._members.first_words(name))
        while True:
            if self._pass(to_coordinator):
                continue
            try:
                heard = self._heard.get(timeout=_PATIENCE_SECONDS)
            except queue.Empty as error:
                raise TransportError(f"the coordinator has said nothing for {_PATIENCE_SECONDS:.0f} s") from error
            if heard is _END:
                return
            if isinstance(heard, HansaError):
                raise heard
            self._put_up(to_coordinator, heard.subject, heard.body)

    def _pass(self, to_coordinator: IO[bytes]) -> bool:
        """Let everybody who has something to answer read to where the board now ends; return whether anybody had."""
        end = len(self._board)
        was_busy = False
        for name, read in self._read.items():
            unread = self._board[read:end]
            if all(message.subject.step in RESTING for message in unread):
                continue
            was_busy = True
            self._read[name] = end
            self._take(to_coordinator, self._members.turn(name, unread))
            gc.collect()  # a node refers to itself; the next member's must not come on top of it
        for subject, path in self._waiting:  # all at once, as from as many machines
            self._send(to_coordinator, Message(subject, path.read_bytes(), next(self._inbox), time.time_ns()))
            path.unlink()
        self._waiting.clear()
        return was_busy

    def _take(self, to_coordinator: IO[bytes], leaving: Iterator[tuple[Subject, bytes]]) -> None:
        """Put what a member says on the board, or on disk until the step's last member has spoken."""
        for subject, body in leaving:
            if subject.channel is Channel.BOARD:
                self._put_up(to_coordinator, subject, body)
            else:
                path = self._spool / str(len(self._waiting))
                path.write_bytes(body)
                self._waiting.append((subject, path))

    def _put_up(self, to_coordinator: IO[bytes], subject: Subject, body: bytes) -> None:
        message = Message(subject, body, len(self._board) + 1, time.time_ns())
        self._board.append(message)
        self._send(to_coordinator, message)

    def _send(self, to_coordinator: IO[bytes], message: Message) -> None:
        write_frame(to_coordinator, message, federation=self._members.federation)
