"""A federation in memory to which a plan's faults happen, and the transcript of everything that was said.

Members' steps are durable as over the network: `MemberNode.answer` writes all of a step in one transaction before
anything leaves. A kill before the commit undoes the transaction, a kill after it leaves the facts and loses the
messages; whoever comes back has its store's file and reads the board from the beginning.
"""

from __future__ import annotations

import contextlib
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from hansa.errors import HansaError
from hansa.federation.transport import Channel, Message, Subject
from hansa.lab.chaos_liars import BadDealer, Face, Said, complaint, false_words, flipped, lies, read
from hansa.lab.chaos_plan import (
    COORDINATOR_LIES,
    DELIVERIES,
    DROPS,
    FACES,
    MEMBER_LIES,
    NEVER,
    RESTARTS,
    RUN_LIMIT_NS,
    SETUP,
    SETUP_LIES,
    Fault,
    Plan,
)
from hansa.lab.simulation import SECOND, Simulation, Vectors, vector
from hansa.protocol.messages import Cohort, Epoch, Manifest

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from hansa.protocol.epoch import Outgoing
    from hansa.protocol.session import Aggregate

IDLE_JUMPS: Final = 40


class _KilledError(Exception):
    """The member dies inside its transaction."""


def position_of(session: str) -> int:
    """Return the place in the programme of a session, `SETUP` for a label of the set-up."""
    return SETUP if session.startswith("setup") else int(session.split("-")[1])


@dataclass
class ChaosFederation(Simulation):
    """Members, coordinator and network of one plan.

    Args:
        plan: What happens.
    """

    plan: Plan = field(kw_only=True)

    def __post_init__(self) -> None:
        self.transcript: list[Said] = []
        self.accepted: dict[str, list[Aggregate]] = defaultdict(list)
        self.manifests: dict[bytes, Manifest] = {}
        self.cohorts: dict[bytes, Cohort] = {}
        self.happened: Counter[str] = Counter()
        self.misled: set[tuple[str, str]] = set()  # (member, session) that were not shown the board as it stands
        self.gone: set[str] = set()
        self._rng = np.random.default_rng([*self.plan.seed, 1])
        self._left = list(self.plan.faults)
        self._faces: list[Face] = []
        self._dealers: dict[str, BadDealer] = {}
        self._late: dict[str, list[tuple[int, Message]]] = defaultdict(list)
        self._wakes: dict[str, tuple[int, bool]] = {}  # when, and whether by a new process
        self._is_calm = False
        self.limits = self.plan.limits
        self.programme = list(self.plan.programme)
        self.statistic = self._statistic
        super().__post_init__()
        self.hub.deliver = self._deliver

    def _statistic(self, name: str) -> Vectors:
        return Vectors(lambda manifest: vector(name, manifest.length), opened=self.accepted[name])

    def play(self) -> None:
        """Run until the programme is over or nothing moves; then bring back who is not gone for good, and settle."""
        start_ns = self.now_ns
        idle = 0
        while idle < IDLE_JUMPS and self.now_ns < start_ns + RUN_LIMIT_NS:
            if self.coordinator.is_done and not self._unread() and not self._wakes:
                break
            idle = 0 if self.step() else idle + 1
            if idle:
                self._hand_over()
                self._add_again()
                self.now_ns += 3 * SECOND
        self._is_calm = True
        for name in self.limits.members:
            if name not in self.gone:
                self.revive(name)
        self.run(40)
        self._add_again()

    def distrusts(self, name: str, session: str) -> bool:
        """Return whether a member has found out that the published sum of a session is another."""
        kept = self.stores[name].fact("distrust")
        return kept == session.encode()

    def _add_again(self) -> None:
        for name in self.limits.members:
            if name not in self.silent:
                self.add_again(name)

    def step(self) -> bool:
        """Wake who is to wake; let everybody read and answer once; return whether anything was said."""
        for name, (when_ns, is_new) in list(self._wakes.items()):
            if when_ns <= self.now_ns:
                del self._wakes[name]
                self.revive(name) if is_new else self.silent.discard(name)
        before = len(self.transcript)
        for name in self.limits.members:
            self._let_read(name)
        self._listen()
        self._let_coordinator_speak()
        return len(self.transcript) > before or self._unread()

    def start(self, name: str) -> None:
        """Start a member; what the network still held for it is in the stream that it reads again."""
        self._late[name].clear()
        super().start(name)

    def _let_coordinator_speak(self) -> None:
        for session, step, body in self.coordinator.advance(self.now_ns):
            fault = self._due(RESTARTS, self.limits.coordinator, session, step)
            if fault is not None and fault.kind == "coordinator-killed-before":
                self.start_coordinator()
                return
            self._publish(self.limits.coordinator, session, step, body)
            if fault is not None:
                self.start_coordinator()
                return

    def _let_read(self, name: str) -> None:
        while name not in self.silent and self.read[name] < len(self.hub.stored(Channel.BOARD)):
            message = self.hub.stored(Channel.BOARD)[self.read[name]]
            fault = self._due(DROPS, name, message.subject.session, message.subject.step)
            if fault is None or fault.kind != "silent" or fault.amount % 2:
                self.read[name] = message.sequence
            if fault is not None:
                self._drop(name, message, fault)
            elif any(face.wants_rewinding(name, message) for face in self._faces):
                self.start(name)
            else:
                for shown in self.hub.deliver(name, message):
                    self._answer(name, shown)

    def _drop(self, name: str, message: Message, fault: Fault) -> None:
        """Let a member fall silent or die at this message."""
        if fault.kind == "killed-uncommitted":
            store = self.stores[name]
            with contextlib.suppress(_KilledError), store.transaction():
                self.nodes[name].answer(message)
                raise _KilledError
        elif fault.kind == "killed-unsent":
            self.nodes[name].answer(message)
        elif fault.kind == "killed-after" or fault.amount % 2:
            self._answer(name, message)
        self.silent.add(name)
        if fault.amount == NEVER:
            self.gone.add(name)
        else:
            self._wakes[name] = (self.now_ns + fault.amount * SECOND, fault.kind != "silent")

    def _answer(self, name: str, message: Message) -> None:
        self._say(name, self.nodes[name].answer(message))
        for subject in self.nodes[name].wanted():
            self._say(name, self.nodes[name].collected(subject, self.hub.body(subject)))

    def _say(self, name: str, outgoing: Iterable[Outgoing]) -> None:
        for said in outgoing:
            self._publish(name, *said)

    def _publish(self, sender: str, session: str, step: str, body: bytes) -> None:
        said = Said(sender, session, step, body)
        for one in self._lied(said) if sender in self.plan.colluders else [said]:
            self.transcript.append(one)
            self._note(one.step, one.body)
            if not self.hub.accept(Subject(self.epoch, one.session, one.step, sender), one.body):
                self._push(one)
        if sender == self.limits.coordinator:
            self._turn(session, step)

    def _push(self, said: Said) -> None:
        """Hand a liar's second body to the coordinator past the stream, as a network without a store would."""
        if said.sender in self.plan.colluders and said.step == "upload":
            self._listen()
            subject = Subject(self.epoch, said.session, said.step, said.sender)
            self.coordinator.handle(Message(subject, said.body, 0, self.now_ns))

    def _lied(self, said: Said) -> list[Said]:
        dealer = self._dealers.get(said.sender)
        if dealer is not None and said.step in {"deal", "halves"}:
            return [dealer.deal(said) if said.step == "deal" else dealer.halves(said)]
        fault = self._due((*MEMBER_LIES, *SETUP_LIES), said.sender, said.session, said.step)
        if fault is None:
            return [said]
        if fault.kind == "bad-dealing":
            self._dealers[said.sender] = BadDealer()
            return [self._dealers[said.sender].deal(said)]
        if fault.kind == "false-complaint":
            listing = next(one for one in reversed(self.transcript) if one.step == "epoch")
            members = read(listing.body, Epoch, self.limits.coordinator).members
            dealer_name = fault.viewers[0]
            return [said, *([complaint(listing.body, members, said, dealer_name)] if dealer_name in members else [])]
        return lies(fault, said, self._rng)

    def _turn(self, session: str, step: str) -> None:
        """Begin a second face when its session is announced."""
        if step == "announce":
            fault = self._due(FACES, self.limits.coordinator, session, "cohort")
            if fault is not None:
                self._faces.append(Face(fault, self.plan, self.transcript, self._rng, session))

    def _deliver(self, reader: str, message: Message) -> Sequence[Message]:
        """Return what a reader gets where `message` stands in a stream."""
        if self._is_calm:
            return (message,)
        shown = [message]
        for face in self._faces:
            shown = [other for one in shown for other in face.shown(reader, one)]
        shown = self._misreport(reader, message) if shown == [message] else shown
        if shown != [message]:
            self.misled.add((reader, message.subject.session))
        fault = self._due(DELIVERIES, reader, message.subject.session, message.subject.step)
        passed = self._overtaken(reader)
        if fault is not None and fault.kind == "delayed":
            self._late[reader] += [(fault.amount, one) for one in shown]
            shown = []
        elif fault is not None:
            shown = self._disturbed(fault, shown)
        shown += passed
        for one in shown:
            self._note(one.subject.step, one.body)
        return shown

    def _misreport(self, reader: str, message: Message) -> list[Message]:
        subject = message.subject
        for fault in self._left:
            if reader not in fault.viewers or fault.kind not in COORDINATOR_LIES:
                continue
            at = {"withheld": fault.step, "false-death": "call"}.get(fault.kind, "result")
            if (position_of(subject.session), subject.step) == (fault.position, at):
                self.happened[fault.kind] += 1
                return [] if fault.kind == "withheld" else false_words(fault, message, self.limits.coordinator)
        return [message]

    def _disturbed(self, fault: Fault, shown: list[Message]) -> list[Message]:
        if not shown:
            return shown
        first, body = shown[0], shown[0].body
        if fault.kind == "duplicated":
            return [first, *shown]
        if fault.kind == "replayed":
            stored = self.hub.stored(first.subject.channel)
            return [*(stored[int(self._rng.integers(len(stored)))] for _ in range(fault.amount)), *shown]
        if fault.kind == "flipped":
            body = flipped(body, self._rng)
        elif fault.kind == "truncated":
            body = body[: int(self._rng.integers(len(body)))]
        else:
            stored = self.hub.stored(first.subject.channel)
            body = stored[int(self._rng.integers(len(stored)))].body
        return [Message(first.subject, body, first.sequence, first.time_ns), *shown]

    def _overtaken(self, reader: str) -> list[Message]:
        """Count one more delivery; return what was held back long enough."""
        held = [(left - 1, message) for left, message in self._late[reader]]
        self._late[reader] = [(left, message) for left, message in held if left > 0]
        return [message for left, message in held if left <= 0]

    def _hand_over(self) -> None:
        """Deliver all that was held back: nobody has anything else to say."""
        for reader, held in list(self._late.items()):
            if reader not in self.silent:
                self._late[reader] = []
                for _, message in held:
                    if reader == self.limits.coordinator:
                        self.coordinator.handle(message)
                    else:
                        self._answer(reader, message)

    def _due(self, kinds: Sequence[str], node: str, session: str, step: str) -> Fault | None:
        """Return, once, the fault of these kinds that fits this moment."""
        if self._is_calm:
            return None
        for fault in self._left:
            place = (fault.node, fault.step, fault.position)
            if fault.kind in kinds and place == (node, step, position_of(session)):
                self._left.remove(fault)
                self.happened[fault.kind] += 1
                return fault
        return None

    def _note(self, step: str, body: bytes) -> None:
        """Keep every manifest and cohort that the coordinator's key has signed."""
        coordinator = self.limits.coordinator
        try:
            if step == "announce":
                manifest = read(body, Manifest, coordinator)
                self.manifests[manifest.digest()] = manifest
            elif step == "cohort":
                cohort = read(body, Cohort, coordinator)
                self.cohorts[cohort.root()] = cohort
        except HansaError:
            return  # damaged on the way: nobody takes it either
