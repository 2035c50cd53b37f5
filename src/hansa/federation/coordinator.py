"""The coordinator's node: sets epochs up, runs the sessions of a programme in order, publishes sums.

Sums of two exchanges (the state channel's) overlap, up to `WINDOW` at a time: a bar does not wait for the one before.
Any other sum begins when all before it are over, and the next one when it is. Sums aside (`running_sum.is_aside`:
queries) are under way one at a time, begin while nothing else is under way, and no other sum waits for one: a query
that members refuse ends at its deadline, attempt by attempt, and delays nothing.

It holds no member's key and no code path to data. Its state is a function of the two streams: after a restart it reads
the board, then the inbox, up to their heads, and only then speaks. What it has published is read back from the board;
the server keeps the first body of every subject, so a second decision cannot replace a first.

Does NOT guarantee liveness against a coordinator that withholds; members then see sessions that do not end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeAlias

from hansa.errors import HansaError, ProtocolError, RefusedError
from hansa.federation.attesting import attest_label
from hansa.federation.entries import Said
from hansa.federation.epoch_setup import CoordinatorEpoch
from hansa.federation.logbook import log_session
from hansa.federation.own_envelopes import Outgoing, OwnEnvelopes
from hansa.federation.running_sum import Request, RunningSum, is_aside, manifest_for
from hansa.federation.transport import Channel, Message, Subject, forward
from hansa.protocol.listing import SETUP_STEPS
from hansa.protocol.messages import (
    Call,
    Cohort,
    Died,
    Manifest,
    Payload,
    Recover,
    Result,
)
from hansa.protocol.session import call_limit, recover_limit, result_limit

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from hansa.crypto.signature import Signer
    from hansa.federation.logbook import Logbook
    from hansa.federation.quoting import OwnAttestation
    from hansa.federation.records import Records
    from hansa.federation.transport import Transport
    from hansa.protocol.limits import Limits

IDLE_SECONDS: Final = 0.25
LOG_STEPS: Final = frozenset({"logged", "cosign"})
WINDOW: Final = 8
DAYS: Final = range(10**7, 10**8)  # sums of the state channel are named by their day, rounds by their minute


Planner: TypeAlias = Callable[["CoordinatorNode", int], "Sequence[Request] | None"]


class CoordinatorNode:
    """The state of the coordinator, driven by messages and time.

    Args:
        epoch: Label of the epoch.
        limits: The constitution's limits.
        signer: The coordinator's identity key.
        records: Published records of this node.
        programme: What to sum, in order.
        logbook: The epoch's transparency log; None keeps none, where the constitution asks for no cosignatures.
        attestation: Where its own evidence comes from; None: nobody asks for any.

    Raises RefusedError if the constitution asks for cosignatures and there is no log.
    """

    def __init__(
        self,
        *,
        epoch: str,
        limits: Limits,
        signer: Signer,
        records: Records,
        programme: Sequence[Request],
        logbook: Logbook | None = None,
        attestation: OwnAttestation | None = None,
    ) -> None:
        if limits.cosignatures and logbook is None:
            raise RefusedError("coordinator: the constitution asks for cosignatures; give it a log")
        self.is_failed = False
        self.done: set[tuple[int, int]] = set()
        self.abandoned: set[int] = set()
        self.last_bar_ns = 0  # newest bar that a sum about bars has published
        self.given_up_ns = 0  # newest bar of a sum about bars that was given up
        self._epoch_label = epoch
        self._limits = limits
        self._signer = signer
        self._records = records
        self._logbook = logbook
        self._pending = list(programme)  # not yet begun, in order
        self._epoch = CoordinatorEpoch(epoch=epoch, limits=limits, signer=signer)
        self._attestation = attestation
        self._failure: str | None = None  # why the epoch could not come up, as noted last
        self._running: dict[str, RunningSum] = {}
        self._deaths: dict[tuple[int, int], int] = {}
        self._said: set[tuple[str, str]] = set()
        self._early: dict[str, list[Message]] = {}  # of sessions announced and not yet read back: the inbox ran ahead
        self._own = OwnEnvelopes(limits.coordinator, key=limits.keys[limits.coordinator], signer=signer)

    @property
    def is_done(self) -> bool:
        """Whether the epoch is set up and every sum of the programme is published or given up."""
        return self._epoch.epoch_id is not None and not self._running and not self._pending

    @property
    def is_clear(self) -> bool:
        """Whether the epoch is set up and no sum but one aside is under way or waits."""
        return self._epoch.epoch_id is not None and not self._main_running and all(map(is_aside, self._pending))

    @property
    def is_free(self) -> bool:
        """Whether a sum of two exchanges could begin now."""
        exchanges = self._main_running
        is_open = len(exchanges) < WINDOW and all(one == 2 for one in exchanges)
        return self._epoch.epoch_id is not None and is_open and all(map(is_aside, self._pending))

    @property
    def has_aside(self) -> bool:
        """Whether a sum aside is under way or waits."""
        return any(map(is_aside, [*self._pending, *(running.request for running in self._running.values())]))

    @property
    def _main_running(self) -> list[int]:
        """The exchanges of each sum under way that is not aside."""
        return [running.sum.exchanges for running in self._running.values() if not is_aside(running.request)]

    @property
    def running_bar_ns(self) -> int:
        """Newest bar that a sum under way is about, 0 if none is about bars."""
        requests = [running.request for running in self._running.values()]
        return max((request.span_end_ns for request in requests if self._is_about_bars(request)), default=0)

    def extend(self, programme: Sequence[Request]) -> None:
        """Add sums to the end of the programme."""
        self._pending.extend(programme)

    def handle(self, message: Message) -> None:
        """Take in one message of either channel."""
        subject = message.subject
        if subject.epoch != self._epoch_label and subject.step != "logged":  # one log goes through all epochs
            return
        try:
            if subject.step in SETUP_STEPS:
                self._on_setup(message)
            elif subject.step in LOG_STEPS:
                if self._logbook is not None:
                    self._logbook.handle(message, self._own)
            elif subject.channel is Channel.BOARD:
                self._on_board(message)
            else:
                self._on_inbox(message)
        except HansaError as error:
            why = f"{subject.sender}: {type(error).__name__}: {error}"
            self._records.note(message.time_ns, subject.session, subject.step, why)

    def advance(self, now_ns: int) -> list[Outgoing]:
        """Return what is to be published now as (session, step, body); each at most once a life."""
        outgoing = self._epoch.advance(now_ns)
        self._note_failure(now_ns)
        if self._epoch.epoch_id is not None:
            if self._logbook is not None:
                self._logbook.enter_listing(self._own, epoch_id=self._epoch.epoch_id)
            outgoing += self._attest(self._epoch.epoch_id, now_ns)
            is_attested = self._attestation is None or not self._attestation.is_awaited
            outgoing += self._start(now_ns) if is_attested else []
            for session, running in self._running.items():
                if self._logbook is not None:
                    self._logbook.certify(running.sum)
                for step, payload in running.drive(now_ns):
                    outgoing.append(self._own.say(session, step, payload))
                    if step == "result":
                        self._enter(Said(*outgoing[-1], now_ns), payload, running)
                for reason in running.take_notes():
                    self._records.note(now_ns, session, "open", reason)
        logged = self._logbook and self._logbook.say(now_ns)
        outgoing += [self._own.say(log_session(logged), "logged", logged)] if logged else []
        fresh = [item for item in outgoing if item[:2] not in self._said]
        self._said.update(item[:2] for item in fresh)
        return fresh

    def _attest(self, epoch_id: bytes, now_ns: int) -> list[Outgoing]:
        attestation = self._attestation
        payload = attestation and attestation.due(
            epoch_id, note=lambda reason: self._records.note(now_ns, "", "attest", reason)
        )
        return [self._own.say(attest_label(payload.evidence), "attest", payload)] if payload else []

    async def run(self, transport: Transport, *, clock: Callable[[], int], planner: Planner | None = None) -> None:
        """Work until the programme is done and the planner, if there is one, has no more.

        Args:
            transport: The coordinator's transport.
            clock: Returns ns UTC, the stream's clock.
            planner: Asked for more whenever a sum of two exchanges could begin (`is_free`); None, once nothing is left
                to do, ends the work.

        Raises:
            TransportError: The server refuses for good.
        """
        queue: asyncio.Queue[Message] = asyncio.Queue(maxsize=64)
        heads = [await transport.head(channel) for channel in (Channel.BOARD, Channel.INBOX)]
        board = await self._replay(transport.board(), heads[0])
        inbox = await self._replay(transport.inbox(), heads[1])
        readers = [asyncio.create_task(forward(stream, queue)) for stream in (board, inbox)]
        try:
            while not self._is_over(planner, clock()):
                await asyncio.gather(*(self._publish(transport, *said) for said in self.advance(clock())))
                for reader in readers:
                    if reader.done():
                        reader.result()
                await self._take(queue)
        finally:
            for reader in readers:
                reader.cancel()
            await asyncio.gather(*readers, return_exceptions=True)

    async def _publish(self, transport: Transport, session: str, step: str, body: bytes) -> None:
        await transport.publish(Subject(self._epoch_label, session, step, self._limits.coordinator), body)

    def _is_over(self, planner: Planner | None, now_ns: int) -> bool:
        more = planner(self, now_ns) if planner is not None and self.is_free else None
        self.extend(more or ())
        is_over = more is None and self.is_done
        return is_over and (self._logbook is None or self._logbook.may_rest(now_ns))

    async def _take(self, queue: asyncio.Queue[Message]) -> None:
        """Handle what has come; wait a little when nothing has."""
        try:
            self.handle(await asyncio.wait_for(queue.get(), IDLE_SECONDS))
        except TimeoutError:
            if self._logbook is not None and self._logbook.keep():
                self._records.put("log", {"size": self._logbook.store.size})
            return
        while not queue.empty():
            self.handle(queue.get_nowait())

    async def _replay(self, stream: AsyncGenerator[Message], head: int) -> AsyncGenerator[Message]:
        if head:
            async for message in stream:
                self.handle(message)
                if message.sequence >= head:
                    break
        return stream

    def _enter(self, said: Said, payload: Payload, running: RunningSum | None = None) -> None:
        """Append the entries of a message of ours to the log."""
        if self._logbook is not None:
            self._logbook.enter_message(said, payload, epoch_id=self._epoch.epoch_id, running=running)

    def _on_setup(self, message: Message) -> None:
        self._epoch.handle(message)
        if message.subject.step == "epoch":
            if self._logbook is not None:
                self._logbook.listing = message
            for name, reason in self._epoch.left_out.items():
                self._records.note(message.time_ns, message.subject.session, "epoch", f"{name} is left out: {reason}")

    def _note_failure(self, now_ns: int) -> None:
        failure = self._epoch.failure
        if failure is not None and failure != self._failure:
            self._records.note(now_ns, "", "epoch", failure)
        self._failure = failure

    def _on_board(self, message: Message) -> None:
        step, session = message.subject.step, message.subject.session
        if step == "announce":
            manifest = self._own.read(message, Manifest)
            self._enter(Said(session, step, message.body, message.time_ns), manifest)
            self._note_manifest(manifest, message.time_ns)
            return
        running = self._running.get(session)
        if running is None:
            return
        members, said = len(self._limits.members), Said(session, step, message.body, message.time_ns)
        if step == "cohort":
            cohort = self._own.read(message, Cohort)
            running.sum.note_cohort(cohort)
            self._enter(said, cohort, running)
        elif step.startswith("call"):
            running.sum.note_call(self._own.read(message, Call, limit=call_limit(members)))
        elif step == "recover":
            self._own.read(message, Recover, limit=recover_limit(members))
        elif step == "result":
            limit = result_limit(running.sum.manifest, self._limits)
            result = self._own.read(message, Result, limit=limit)
            self._note_result(running, result, message.time_ns)
            self._enter(said, result, running)
            return
        elif step == "died":
            died = self._own.read(message, Died)
            self._note_death(running, died, message.time_ns)
            self._enter(said, died, running)
            return
        else:
            return
        running.reach(step, message.time_ns)
        self._records.step(session, step.split("-")[0], message.time_ns)

    def _note_manifest(self, manifest: Manifest, time_ns: int) -> None:
        early = self._early.pop(manifest.session, [])
        place = (manifest.round, manifest.position)
        if place in self.done or manifest.attempt != self._deaths.get(place, 0) + 1:
            return
        request = Request(*place, manifest.purpose, manifest.index, manifest.span_start_ns, manifest.span_end_ns)
        if request in self._pending:
            self._pending.remove(request)
        self._running[manifest.session] = RunningSum(request, manifest, limits=self._limits, time_ns=time_ns)
        self._records.session(manifest, "announce", time_ns)
        for message in early:
            self.handle(message)

    def _note_result(self, running: RunningSum, result: Result, time_ns: int) -> None:
        cohort, session = running.sum.cohort, running.sum.manifest.session
        if cohort is None or (result.manifest, result.root) != (running.sum.digest, cohort.root()):
            raise ProtocolError(f"{session}: a result of another cohort")
        self._records.published(session, members=result.members, time_ns=time_ns)
        self.done.add((running.request.round, running.request.position))
        if self._is_about_bars(running.request):
            self.last_bar_ns = max(self.last_bar_ns, running.request.span_end_ns)
        del self._running[session]

    def _note_death(self, running: RunningSum, died: Died, time_ns: int) -> None:
        session = running.sum.manifest.session
        if died.manifest != running.sum.digest:
            raise ProtocolError(f"{session}: a death notice of another manifest")
        self._records.died(session, reason=died.reason, time_ns=time_ns)
        place = (running.request.round, running.request.position)
        deaths = self._deaths.get(place, 0) + 1
        self._deaths[place] = deaths
        del self._running[session]
        if deaths >= self._limits.attempts:
            self._abandon(running.request)
        else:
            self._pending.insert(0, running.request)

    def _abandon(self, request: Request) -> None:
        """Give up a sum and what is left of its round: later sums build on earlier ones, but not the channel's."""
        self.is_failed = self.is_failed or not is_aside(request)
        self.done.add((request.round, request.position))
        if self._is_about_bars(request):
            self.given_up_ns = max(self.given_up_ns, request.span_end_ns)
        if request.round not in DAYS:
            self.abandoned.add(request.round)
            self._pending = [one for one in self._pending if one.round != request.round]

    def _is_about_bars(self, request: Request) -> bool:
        return self._limits.purposes[request.purpose].values_per_bar > 0

    def _on_inbox(self, message: Message) -> None:
        subject = message.subject
        running = self._running.get(subject.session)
        if running is None:
            if subject.session in self._early:
                self._early[subject.session].append(message)
            return
        if subject.step == "upload":
            running.sum.add_upload(subject.sender, message.body)
        elif subject.step == "agree":
            running.sum.add_agreement(subject.sender, message.body)
        elif subject.step.startswith("open"):
            running.sum.add_opening(subject.sender, message.body)
            running.note_answer(subject.step, subject.sender, message.body)
        elif subject.step == "shares":
            running.sum.add_shares(subject.sender, message.body)
            running.note_answer(subject.step, subject.sender, message.body)

    def _start(self, now_ns: int) -> list[Outgoing]:
        """Announce the sums that may begin beside those that run."""
        begun = self._main_running
        asides = [running for running in self._running.values() if is_aside(running.request)]
        is_aside_free, is_next_free = not asides, True
        outgoing = []
        for request in self._pending:
            exchanges = self._limits.purposes[request.purpose].exchanges
            if is_aside(request):
                if begun or not is_aside_free:
                    continue
                is_aside_free = False
            else:
                overlaps = len(begun) < WINDOW and all(one == 2 for one in [*begun, exchanges])
                is_next_free = is_next_free and (not begun or overlaps)
                if not is_next_free:
                    continue
                begun.append(exchanges)
            attempt = self._deaths.get((request.round, request.position), 0) + 1
            manifest = manifest_for(request, attempt=attempt, epoch=self._epoch, limits=self._limits)
            if (manifest.session, "announce") not in self._said:
                self._early.setdefault(manifest.session, [])
                outgoing.append(self._own.say(manifest.session, "announce", manifest))
                self._enter(Said(*outgoing[-1], now_ns), manifest)
        return outgoing
