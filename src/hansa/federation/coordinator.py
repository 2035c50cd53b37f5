"""The coordinator's node: sets epochs up, runs the sessions of a programme one after another, publishes sums.

It holds no member's key and no code path to data. Its state is a function of the two streams: after a restart it reads
the board, then the inbox, up to their heads, and only then speaks. What it has published is read back from the board;
the server keeps the first body of every subject, so a second decision cannot replace a first.

Does NOT guarantee liveness against a coordinator that withholds; members then see sessions that do not end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

import msgspec

from hansa.errors import HansaError, ProtocolError, RefusedError, SessionDiedError
from hansa.federation.epoch_setup import CoordinatorEpoch
from hansa.federation.transport import Channel, Message, Subject
from hansa.protocol.listing import SETUP_STEPS
from hansa.protocol.messages import (
    SMALL_BYTES,
    Certificate,
    Cohort,
    Died,
    Manifest,
    Payload,
    PayloadT,
    Recover,
    Result,
    open_envelope,
    seal_envelope,
)
from hansa.protocol.secure_sum import SecureSum
from hansa.protocol.session import certificate_limit, recover_limit, session_label, upload_limit

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from hansa.crypto.signature import Signer
    from hansa.federation.records import Records
    from hansa.federation.transport import Transport
    from hansa.protocol.limits import Limits

Outgoing = tuple[str, str, bytes]
IDLE_SECONDS: Final = 0.25


@dataclass(frozen=True, slots=True)
class Request:
    """One secure sum that a programme asks for; the span's ends are end-of-bar stamps, ns UTC, both included."""

    round: int
    position: int
    purpose: str
    index: int
    span_start_ns: int
    span_end_ns: int


Planner: TypeAlias = Callable[["CoordinatorNode", int], "Sequence[Request] | None"]


@dataclass(slots=True)
class _Running:
    """The session in progress and the stream's time of its last step."""

    request: Request
    attempt: int
    sum: SecureSum
    step: str
    since_ns: int


class CoordinatorNode:
    """The state of the coordinator, driven by messages and time.

    Args:
        epoch: Label of the epoch.
        limits: The constitution's limits.
        signer: The coordinator's identity key.
        records: Published records of this node.
        programme: What to sum, in order.
    """

    def __init__(
        self, *, epoch: str, limits: Limits, signer: Signer, records: Records, programme: Sequence[Request]
    ) -> None:
        self.is_failed = False
        self.done: set[tuple[int, int]] = set()
        self.abandoned: set[int] = set()
        self.last_bar_ns = 0  # newest bar that a sum about bars has published
        self.given_up_ns = 0  # newest bar of a sum about bars that was given up
        self._epoch_label = epoch
        self._limits = limits
        self._signer = signer
        self._records = records
        self._programme = list(programme)
        self._next = 0
        self._epoch = CoordinatorEpoch(epoch=epoch, limits=limits, signer=signer)
        self._failure: str | None = None  # why the epoch could not come up, as noted last
        self._running: _Running | None = None
        self._deaths: dict[tuple[int, int], int] = {}
        self._said: set[tuple[str, str]] = set()
        self._sealed: tuple[bytes, Payload] | None = None  # our newest envelope and what is in it

    @property
    def is_done(self) -> bool:
        """Whether the epoch is set up and every sum of the programme is published or given up."""
        return self._epoch.epoch_id is not None and self._running is None and self._next >= len(self._programme)

    def extend(self, programme: Sequence[Request]) -> None:
        """Add sums to the end of the programme."""
        self._programme.extend(programme)

    def handle(self, message: Message) -> None:
        """Take in one message of either channel."""
        subject = message.subject
        if subject.epoch != self._epoch_label:
            return
        try:
            if subject.step in SETUP_STEPS:
                self._on_setup(message)
            elif subject.channel is Channel.BOARD:
                self._on_board(message)
            else:
                self._on_inbox(message)
        except HansaError as error:
            reason = f"{subject.sender}: {type(error).__name__}: {error}"
            self._records.note(message.time_ns, subject.session, subject.step, reason)

    def advance(self, now_ns: int) -> list[Outgoing]:
        """Return what is to be published now as (session, step, body); each at most once a life."""
        outgoing = self._epoch.advance(now_ns)
        self._note_failure(now_ns)
        if self._epoch.epoch_id is not None:
            outgoing += self._start() if self._running is None else self._drive(self._running, now_ns)
        fresh = [item for item in outgoing if item[:2] not in self._said]
        self._said.update(item[:2] for item in fresh)
        return fresh

    async def run(self, transport: Transport, *, clock: Callable[[], int], planner: Planner | None = None) -> None:
        """Work until the programme is done and the planner, if there is one, has no more.

        Args:
            transport: The coordinator's transport.
            clock: Returns ns UTC, the stream's clock.
            planner: Asked for more whenever nothing is left to do; None ends the work.

        Raises:
            TransportError: The server refuses for good.
        """
        queue: asyncio.Queue[Message] = asyncio.Queue(maxsize=64)
        heads = [await transport.head(channel) for channel in (Channel.BOARD, Channel.INBOX)]
        board = await self._replay(transport.board(), heads[0])
        inbox = await self._replay(transport.inbox(), heads[1])
        readers = [asyncio.create_task(_forward(stream, queue)) for stream in (board, inbox)]
        try:
            while not (self.is_done and self._is_planned_out(planner, clock())):
                for session, step, body in self.advance(clock()):
                    subject = Subject(self._epoch_label, session, step, self._limits.coordinator)
                    await transport.publish(subject, body)
                for reader in readers:
                    if reader.done():
                        reader.result()
                await self._take(queue)
        finally:
            for reader in readers:
                reader.cancel()
            await asyncio.gather(*readers, return_exceptions=True)

    def _is_planned_out(self, planner: Planner | None, now_ns: int) -> bool:
        more = None if planner is None else planner(self, now_ns)
        self.extend(more or ())
        return more is None

    async def _take(self, queue: asyncio.Queue[Message]) -> None:
        """Handle what has come; wait a little when nothing has."""
        try:
            self.handle(await asyncio.wait_for(queue.get(), IDLE_SECONDS))
        except TimeoutError:
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

    def _on_setup(self, message: Message) -> None:
        self._epoch.handle(message)
        if message.subject.step == "epoch":
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
            self._note_manifest(self._read(message, Manifest), message.time_ns)
            return
        running = self._running
        if running is None or session != running.sum.manifest.session:
            return
        members = len(self._limits.members)
        if step == "cohort":
            running.sum.note_cohort(self._read(message, Cohort))
        elif step == "certificate":
            running.sum.note_certificate(self._read(message, Certificate, limit=certificate_limit(members)))
        elif step == "recover":
            self._read(message, Recover, limit=recover_limit(members))
        elif step == "result":
            limit = upload_limit(running.sum.manifest.length, members)
            self._note_result(running, self._read(message, Result, limit=limit), message.time_ns)
            return
        elif step == "died":
            self._note_death(running, self._read(message, Died), message.time_ns)
            return
        else:
            return
        self._records.step(session, step, message.time_ns)
        running.step, running.since_ns = step, message.time_ns

    def _note_manifest(self, manifest: Manifest, time_ns: int) -> None:
        place = (manifest.round, manifest.position)
        if place in self.done or self._running is not None or manifest.attempt != self._deaths.get(place, 0) + 1:
            return
        request = Request(*place, manifest.purpose, manifest.index, manifest.span_start_ns, manifest.span_end_ns)
        if self._next >= len(self._programme) or self._programme[self._next] != request:
            self._programme.insert(self._next, request)
        self._running = _Running(
            request, manifest.attempt, SecureSum(manifest, limits=self._limits), "announce", time_ns
        )
        self._records.session(manifest, "announce", time_ns)

    def _note_result(self, running: _Running, result: Result, time_ns: int) -> None:
        cohort = running.sum.cohort
        if cohort is None or (result.manifest, result.root) != (running.sum.digest, cohort.root()):
            raise ProtocolError(f"{running.sum.manifest.session}: a result of another cohort")
        self._records.published(running.sum.manifest.session, members=result.members, time_ns=time_ns)
        self.done.add((running.request.round, running.request.position))
        if self._is_about_bars(running.request):
            self.last_bar_ns = max(self.last_bar_ns, running.request.span_end_ns)
        self._running, self._next = None, self._next + 1

    def _note_death(self, running: _Running, died: Died, time_ns: int) -> None:
        if died.manifest != running.sum.digest:
            raise ProtocolError(f"{running.sum.manifest.session}: a death notice of another manifest")
        self._records.died(running.sum.manifest.session, reason=died.reason, time_ns=time_ns)
        place = (running.request.round, running.request.position)
        deaths = self._deaths.get(place, 0) + 1
        self._deaths[place] = deaths
        self._running = None
        if deaths >= self._limits.attempts:
            self._abandon(running.request)

    def _abandon(self, request: Request) -> None:
        """Give up a sum and what is left of its round: later sums build on earlier ones."""
        self.is_failed = True
        self.done.add((request.round, request.position))
        self.abandoned.add(request.round)
        if self._is_about_bars(request):
            self.given_up_ns = max(self.given_up_ns, request.span_end_ns)
        kept = [one for one in self._programme[self._next :] if one.round != request.round]
        self._programme[self._next :] = kept

    def _is_about_bars(self, request: Request) -> bool:
        return self._limits.purposes[request.purpose].values_per_bar > 0

    def _on_inbox(self, message: Message) -> None:
        running = self._running
        subject = message.subject
        if running is None or subject.session != running.sum.manifest.session:
            return
        if subject.step == "upload":
            running.sum.add_upload(subject.sender, message.body)
        elif subject.step == "agree":
            running.sum.add_agreement(subject.sender, message.body)
        elif subject.step == "open":
            running.sum.add_opening(subject.sender, message.body)
        elif subject.step == "shares":
            running.sum.add_shares(subject.sender, message.body)

    def _start(self) -> list[Outgoing]:
        if self._next >= len(self._programme):
            return []
        request = self._programme[self._next]
        manifest = self._manifest(request, self._deaths.get((request.round, request.position), 0) + 1)
        return [self._say(manifest.session, "announce", manifest)]

    def _manifest(self, request: Request, attempt: int) -> Manifest:
        epoch_id = self._epoch.epoch_id
        purpose = self._limits.purposes[request.purpose]
        if epoch_id is None:
            raise RefusedError("a session before its epoch is set up")
        bars = (request.span_end_ns - request.span_start_ns) // self._limits.bar_ns + 1
        manifest = Manifest(
            federation=self._limits.federation,
            constitution=self._limits.constitution,
            epoch=self._epoch_label,
            epoch_id=epoch_id,
            session="",
            round=request.round,
            position=request.position,
            index=request.index,
            attempt=attempt,
            purpose=request.purpose,
            length=purpose.values + purpose.values_per_bar * bars,
            span_start_ns=request.span_start_ns,
            span_end_ns=request.span_end_ns,
            participants=self._epoch.members,
        )
        return msgspec.structs.replace(manifest, session=session_label(manifest))

    def _drive(self, running: _Running, now_ns: int) -> list[Outgoing]:
        session = running.sum.manifest.session
        if not self._said.isdisjoint({(session, "result"), (session, "died")}):
            return []
        waited = now_ns - running.since_ns
        if running.step == "announce":
            return self._close_uploads(running, is_late=waited > self._limits.upload_ns)
        if running.step == "cohort":
            return self._certify(running, is_late=waited > self._limits.agree_ns)
        return self._publish(running) or self._recover(running, is_late=waited > self._limits.open_ns)

    def _close_uploads(self, running: _Running, *, is_late: bool) -> list[Outgoing]:
        if not is_late and running.sum.uploaded != running.sum.manifest.participants:
            return []
        try:
            cohort = running.sum.propose_cohort()
        except SessionDiedError as error:
            return self._die(running, str(error))
        running.sum.note_cohort(cohort)
        return [self._say(running.sum.manifest.session, "cohort", cohort)]

    def _certify(self, running: _Running, *, is_late: bool) -> list[Outgoing]:
        certificate = running.sum.certificate()
        if certificate is None:
            return self._die(running, "no quorum agreed in time") if is_late else []
        running.sum.is_certified = True
        session = running.sum.manifest.session
        return [self._say(session, "certificate", certificate), *self._publish(running)]

    def _recover(self, running: _Running, *, is_late: bool) -> list[Outgoing]:
        missing = running.sum.missing()
        if not is_late:
            return []
        if running.step == "certificate" and missing:
            return [self._say(running.sum.manifest.session, "recover", running.sum.recover())]
        return self._die(running, f"seeds of {', '.join(missing)} towards dropped members are missing")

    def _publish(self, running: _Running) -> list[Outgoing]:
        result = running.sum.result()
        return [] if result is None else [self._say(running.sum.manifest.session, "result", result)]

    def _die(self, running: _Running, reason: str) -> list[Outgoing]:
        return [self._say(running.sum.manifest.session, "died", Died(running.sum.digest, reason))]

    def _say(self, session: str, step: str, payload: Payload) -> Outgoing:
        body = seal_envelope(payload, sender=self._limits.coordinator, signer=self._signer)
        self._sealed = (body, payload)
        return session, step, body

    def _read(self, message: Message, expected: type[PayloadT], *, limit: int = SMALL_BYTES) -> PayloadT:
        if self._sealed is not None and self._sealed[0] == message.body and isinstance(self._sealed[1], expected):
            return self._sealed[1]  # the very bytes that we sealed: nothing left to verify
        name = self._limits.coordinator
        return open_envelope(message.body, expected, sender=name, key=self._limits.keys[name], limit=limit)


async def _forward(stream: AsyncGenerator[Message], queue: asyncio.Queue[Message]) -> None:
    async for message in stream:
        await queue.put(message)
