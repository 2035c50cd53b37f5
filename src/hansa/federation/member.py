"""A member's node: reads the board, answers through the door, keeps going.

Deterministic over the board's stream: killed at any instant and started again, it reads the board from the beginning,
sends again exactly the bytes that it had stored, and goes on. It answers with messages; it never waits for anybody.

What is wrong in a message ends that message, not the node: the reason goes into the node's records.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

from hansa.errors import (
    EquivocationError,
    HansaError,
    MessageError,
    ProtocolError,
    RefusedError,
    StoreError,
    TransportError,
)
from hansa.federation.egress import RecordedTransport, purpose_of
from hansa.federation.log_view import LogView
from hansa.federation.readding import Readding
from hansa.federation.transport import Message, Subject, forward
from hansa.protocol.closing import Closures
from hansa.protocol.epoch import MemberEpoch, Outgoing
from hansa.protocol.kept_signatures import with_kept_signatures
from hansa.protocol.limits import MAX_REOPENINGS, periods
from hansa.protocol.listing import SETUP_STEPS, attempt_label
from hansa.protocol.messages import Died, Manifest, open_envelope
from hansa.protocol.privacy import epsilon
from hansa.protocol.session import Aggregate, Door, MemberSession, call_step, facts_label

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from hansa.crypto.signature import Signer
    from hansa.federation.attesting import Attesting
    from hansa.federation.records import Records
    from hansa.federation.store import MemberStore
    from hansa.federation.transport import Transport
    from hansa.protocol.limits import Limits

Handler = Callable[[Subject, Message], list[tuple[str, bytes]]]

IDLE_SECONDS: Final = 0.2


class Learner(Protocol):
    """What a member does with each opened sum, in the board's order."""

    def receive(self, aggregate: Aggregate) -> None:
        """Take in an opened sum; quickly, for the next message waits."""

    def settle(self) -> None:
        """Do what can wait until no message is there: forecasts, indices."""


class MemberNode:
    """The state of one member, driven by messages.

    Args:
        name: The member.
        epoch: Label of the epoch to take part in.
        limits: The constitution's limits.
        signer: The member's identity key.
        store: The member's durable facts.
        door: Where uploads come from.
        learner: Where opened sums go.
        records: Published records of this node.
        clock: Returns ns UTC, the stream's clock.
        entropy: Returns fresh random bytes.
        attesting: What it knows of the coordinator's machine; None: it does not look.
    """

    def __init__(
        self,
        name: str,
        *,
        epoch: str,
        limits: Limits,
        signer: Signer,
        store: MemberStore,
        door: Door,
        learner: Learner,
        records: Records,
        clock: Callable[[], int],
        entropy: Callable[[int], bytes],
        attesting: Attesting | None = None,
    ) -> None:
        self.name = name
        self._epoch_label = epoch
        self._limits = limits
        self._signer = signer = with_kept_signatures(signer, store)
        self._store = store
        self._door = door
        self._learner = learner
        self._records = records
        self._clock = clock
        self._epoch = MemberEpoch(name, epoch=epoch, limits=limits, signer=signer, facts=store, entropy=entropy)
        self._sessions: dict[str, MemberSession] = {}
        self._ended: set[str] = set()
        self._closures = Closures(limits)
        self.log = LogView(name, limits=limits, signer=signer, store=store, clock=clock)
        self._attesting = attesting
        self._clock_offset_ns: int | None = None
        self.readding = Readding(name, limits=limits, facts=store, records=records, clock=clock)
        self._handlers: dict[str, Handler] = {
            "attest": self._on_attest,
            "announce": self._on_announce,
            "cohort": self._on_cohort,
            **{call_step(number): self._on_call for number in range(MAX_REOPENINGS + 1)},
            "recover": self._on_recover,
            "result": self._on_result,
            "died": self._on_died,
            "closed": self._on_closed,
            "logged": self._on_logged,
        }

    async def run(self, transport: Transport) -> None:
        """Take part until cancelled; nothing is published through `transport` that is not in the egress record.

        Raises:
            StoreError: The member's facts cannot be written; the node stops rather than forget.
            TransportError: The server refuses for good.
        """
        transport = RecordedTransport(transport, store=self._store, clock=self._clock)
        for said in self.first_words():
            await self._send(transport, *said)
        queue: asyncio.Queue[Message] = asyncio.Queue(maxsize=64)
        reader = asyncio.create_task(forward(transport.board(), queue))
        try:
            while True:
                waiting = [await self._next(queue, reader, transport)]
                while not queue.empty():
                    waiting.append(queue.get_nowait())
                for messages in in_turn(waiting):
                    await self._publish(transport, self.answer(*messages))
                    await self._collect(transport)
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)

    def first_words(self) -> list[Outgoing]:
        """Return what a node says before it has read anything: its set-up, the same bytes after every restart."""
        return [(attempt_label(0), "setup", self._epoch.setup_message())]

    async def _next(self, queue: asyncio.Queue[Message], reader: asyncio.Task[None], transport: Transport) -> Message:
        """Return the next message; when none is waiting, do what can wait."""
        getter = asyncio.ensure_future(queue.get())
        try:
            done, _ = await asyncio.wait({getter, reader}, timeout=IDLE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                self._settle()
                while not getter.done() and await self._add_again(transport):
                    pass
                done, _ = await asyncio.wait({getter, reader}, return_when=asyncio.FIRST_COMPLETED)
            if getter not in done:
                reader.result()
                raise TransportError(f"{self.name}: the board ended; restart this node")
            return getter.result()
        finally:
            getter.cancel()

    def _settle(self) -> None:
        try:
            self._store.tidy()
            self._learner.settle()
        except StoreError:
            raise
        except HansaError as error:
            self._records.note(self._clock(), "", "settle", f"{type(error).__name__}: {error}")

    async def _add_again(self, transport: Transport) -> bool:
        """Add the oldest sum that waits for it again; return whether there was one."""
        subjects = self.readding.wanted()
        if subjects:
            bodies = await asyncio.gather(*(self._fetched(transport, subject) for subject in subjects))
            self.readding.collected(dict(zip(subjects, bodies, strict=True)))
        return bool(subjects)

    def answer(self, *messages: Message) -> list[Outgoing]:
        """Take in messages of the board; return the (session, step, body) triples that leave now.

        Everything that the steps must never forget is one durable write, on disk when this returns.
        """
        with self._store.transaction():
            return [said for message in messages for said in self._recorded(self.handle(message))]

    def handle(self, message: Message) -> list[Outgoing]:
        """Take in one message of the board; return the (session, step, body) triples to send."""
        subject = message.subject
        if subject.epoch != self._epoch_label and subject.step != "logged":  # one log goes through all epochs
            return []
        try:
            if subject.step in SETUP_STEPS:
                return self._epoch.handle(subject.session, subject.step, subject.sender, message.body)
            handler = self._handlers.get(subject.step)
            return [] if handler is None else [(subject.session, *said) for said in handler(subject, message)]
        except StoreError:
            raise
        except HansaError as error:
            self._records.note(self._clock(), subject.session, subject.step, f"{type(error).__name__}: {error}")
            return []

    def wanted(self) -> list[Subject]:
        """Return the subjects of the post that this member waits for."""
        return [Subject(self._epoch_label, session, "deal", dealer) for session, dealer in self._epoch.wanted()]

    def collected(self, subject: Subject, body: bytes | None) -> list[Outgoing]:
        """Take in what stood under a wanted subject of the post, None if nothing; return what leaves now."""
        with self._store.transaction():
            try:
                return self._recorded(self._epoch.on_deal(subject.sender, body))
            except StoreError:
                raise
            except HansaError as error:
                self._records.note(self._clock(), subject.session, subject.step, f"{type(error).__name__}: {error}")
                return []

    async def _collect(self, transport: Transport) -> None:
        """Fetch what the set-up waits for."""
        for subject in self.wanted():
            await self._publish(transport, self.collected(subject, await self._fetched(transport, subject)))

    async def _fetched(self, transport: Transport, subject: Subject) -> bytes | None:
        """Return what stands under a subject; what its sender spoilt is as good as not sent."""
        try:
            return await transport.fetch(subject)
        except MessageError as error:
            self._records.note(self._clock(), subject.session, subject.step, f"{type(error).__name__}: {error}")
            return None

    async def _send(self, transport: Transport, session: str, step: str, body: bytes) -> None:
        with self._store.transaction():
            outgoing = self._recorded([(session, step, body)])
        await self._publish(transport, outgoing)

    async def _publish(self, transport: Transport, recorded: list[Outgoing]) -> None:
        for session, step, body in recorded:
            await transport.publish(Subject(self._epoch_label, session, step, self.name), body)

    def _recorded(self, outgoing: list[Outgoing]) -> list[Outgoing]:
        """Write what is about to leave into the egress record; return what may leave."""
        may_leave = []
        for session, step, body in outgoing:
            if step == "upload":  # the door recorded it with its charge
                may_leave.append((session, step, body))
                continue
            try:
                label = facts_label(self._epoch_label, session)
                self._store.record_egress(label, step, body, time_ns=self._clock(), purpose=purpose_of(session))
            except EquivocationError as error:
                self._records.note(self._clock(), session, step, f"{type(error).__name__}: {error}")
            else:
                may_leave.append((session, step, body))
        return may_leave

    def _on_attest(self, _subject: Subject, message: Message) -> list[tuple[str, bytes]]:
        if self._attesting is not None:
            self._attesting.take(message.body)
        return []

    def _on_announce(self, subject: Subject, message: Message) -> list[tuple[str, bytes]]:
        self.readding.refuse_if_distrusted()
        coordinator = self._limits.coordinator
        manifest = open_envelope(message.body, Manifest, sender=coordinator, key=self._limits.keys[coordinator])
        known = self._sessions.get(subject.session)
        if subject.session in self._ended or (known is not None and known.digest == manifest.digest()):
            return []
        session = MemberSession(
            manifest,
            name=self.name,
            session=subject.session,
            keys=self._epoch.keys_for_session(),
            limits=self._limits,
            signer=self._signer,
            facts=self._store,
            log=self.log,
        )
        self._sessions[subject.session] = session
        self._closures.know(manifest)
        self._records.session(manifest, "announce", message.time_ns)
        self._note_clock(message.time_ns)
        if self._attesting is not None and not self._attesting.may_send(
            subject.session, self._epoch.keys_for_session().epoch_id
        ):
            return []  # the sum of the others is still taken in
        body = session.upload(self._door, announced_ns=message.time_ns, now_ns=self._clock())
        self._record_budgets(session.manifest)
        return [] if body is None else [("upload", body)]

    def _note_clock(self, stream_ns: int) -> None:
        """Keep how far our clock is from the server's at best: what is read again at a restart is old, not late."""
        offset = self._clock() - stream_ns
        if self._clock_offset_ns is None or abs(offset) < abs(self._clock_offset_ns):
            self._clock_offset_ns = offset
            self._records.put("clock_offset_ns", offset)

    def _on_cohort(self, subject: Subject, message: Message) -> list[tuple[str, bytes]]:
        body = self._session(subject).on_cohort(message.body)
        self._records.step(subject.session, "cohort", message.time_ns)
        return [] if body is None else [("agree", body)]

    def _on_call(self, subject: Subject, message: Message) -> list[tuple[str, bytes]]:
        body = self._session(subject).on_call(message.body)
        self._records.step(subject.session, "call", message.time_ns)
        return [] if body is None else [(subject.step.replace("call", "open"), body)]

    def _on_recover(self, subject: Subject, message: Message) -> list[tuple[str, bytes]]:
        body = self._session(subject).on_recover(message.body)
        return [] if body is None else [("shares", body)]

    def _on_result(self, subject: Subject, message: Message) -> list[tuple[str, bytes]]:
        session = self._session(subject)
        try:
            aggregate = session.on_result(message.body)
        except EquivocationError:
            self.readding.distrust(subject.session)
            raise
        self._records.put(f"sum/{subject.session}", hashlib.sha256(aggregate.steps.tobytes()).hexdigest())
        self._learner.receive(aggregate)
        self.readding.note(session)
        self._records.published(subject.session, members=aggregate.cohort, time_ns=message.time_ns)
        self._end(subject)
        return []

    def _on_died(self, subject: Subject, message: Message) -> list[tuple[str, bytes]]:
        session = self._session(subject)
        coordinator = self._limits.coordinator
        died = open_envelope(message.body, Died, sender=coordinator, key=self._limits.keys[coordinator])
        if died.manifest != session.digest:
            raise ProtocolError(f"{subject.session}: a death notice of another manifest")
        session.close()
        self._records.died(subject.session, reason=died.reason, time_ns=message.time_ns)
        self._end(subject)
        return [] if session.has_opened else [("closed", session.closed_statement())]

    def _on_closed(self, subject: Subject, message: Message) -> list[tuple[str, bytes]]:
        manifest = self._closures.add(subject.sender, subject.session, message.body)
        if manifest is not None:
            if subject.session in self._sessions:
                self._sessions[subject.session].close()
            self._store.release_charges(facts_label(self._epoch_label, subject.session))
            self._record_budgets(manifest)
        return []

    def _on_logged(self, subject: Subject, message: Message) -> list[tuple[str, bytes]]:
        line = self.log.on_logged(message.body)
        self._records.put("log", {"size": self.log.size, "session": subject.session})
        return [] if line is None else [("cosign", line)]

    def _record_budgets(self, manifest: Manifest) -> None:
        purpose, name = self._limits.purposes[manifest.purpose], manifest.purpose
        for period in periods(manifest, purpose, self._limits.bar_ns):
            spent = epsilon(self._store.charges(name, period), delta=purpose.delta)
            self._records.budget(name, period, epsilon=spent, allowed=purpose.epsilon, delta=purpose.delta)

    def _end(self, subject: Subject) -> None:
        self._store.release_upload(facts_label(self._epoch_label, subject.session))
        self._ended.add(subject.session)
        del self._sessions[subject.session]

    def _session(self, subject: Subject) -> MemberSession:
        session = self._sessions.get(subject.session)
        if session is None:
            raise RefusedError(f"{subject.session}: we refused or never saw its manifest")
        return session


def in_turn(waiting: Iterable[Message]) -> Iterator[list[Message]]:
    """Give what is taken in together: neighbours, but each message of the set-up alone: it may want something first."""
    together: list[Message] = []
    for message in waiting:
        if message.subject.step in SETUP_STEPS:
            if together:
                yield together
            yield [message]
            together = []
        else:
            together.append(message)
    if together:
        yield together
