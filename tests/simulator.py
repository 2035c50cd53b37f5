"""An in-memory federation: real protocol, door, ledger and coordinator over a hub, with drop-outs and restarts.

Time is simulated: the hub's clock jumps to the next deadline when nobody has anything left to say.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from hansa.crypto.prg import derive
from hansa.crypto.sampling import GaussianTable, sample
from hansa.crypto.signature import SigningKey
from hansa.federation.coordinator import CoordinatorNode
from hansa.federation.door import Contribution, MemberDoor
from hansa.federation.member import MemberNode
from hansa.federation.memory_transport import MemoryHub
from hansa.federation.records import Records
from hansa.federation.running_sum import Request
from hansa.federation.store import MemberStore
from hansa.federation.transport import Channel, Message, Subject
from hansa.protocol.encoding import share_sigma
from hansa.protocol.limits import Limits, PurposeLimit
from hansa.protocol.listing import epoch_label
from hansa.protocol.session import facts_label

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from hansa.protocol.epoch import Outgoing
    from hansa.protocol.messages import Manifest
    from hansa.protocol.session import Aggregate

SECOND = 1_000_000_000
BAR_NS = 300 * SECOND
DAY_NS = 86_400 * SECOND


def signing_key(name: str) -> SigningKey:
    return SigningKey.from_bytes(hashlib.sha256(name.encode()).digest())


def purpose(**changes: object) -> PurposeLimit:
    fields: dict[str, object] = {
        "values": 6,
        "values_per_bar": 0,
        "exchanges": 3,
        "value_bound": 100.0,
        "scale": 1024,
        "sensitivity": 1.0,
        "noise_multiplier": 1.0,
        "period": "year",
        "epsilon": 50.0,
        "delta": 1e-6,
    }
    return PurposeLimit(**{**fields, **changes})  # type: ignore[arg-type]


def limits(members: int = 5, colluders: int = 1, **purposes: PurposeLimit) -> Limits:
    names = tuple(f"m{place}" for place in range(members))
    quorum = (members + colluders) // 2 + 1
    return Limits(
        federation="test",
        constitution="ab" * 32,
        coordinator="coordinator",
        keys={name: signing_key(name).public for name in (*names, "coordinator")},
        members=names,
        colluders=colluders,
        quorum=quorum,
        minimum_cohort=max(3, quorum),
        attempts=2,
        reopenings=2,
        bar_ns=BAR_NS,
        purposes=purposes or {"gram": purpose()},
        setup_ns=10 * SECOND,
        upload_ns=10 * SECOND,
        agree_ns=10 * SECOND,
        open_ns=10 * SECOND,
    )


def request(position: int = 0, name: str = "gram", *, round_: int = 1, bars: int = 1) -> Request:
    return Request(round_, position, name, position, DAY_NS, DAY_NS + (bars - 1) * BAR_NS)


@dataclass
class Vectors:
    """A statistic that gives fixed vectors and remembers every opened sum."""

    value: Callable[[Manifest], np.ndarray]
    sensitivity: float = 1.0
    opened: list[Aggregate] = field(default_factory=list)

    def contribution(self, manifest: Manifest) -> Contribution:
        return Contribution(manifest.purpose, self.value(manifest), self.sensitivity)

    def receive(self, aggregate: Aggregate) -> None:
        self.opened.append(aggregate)

    def settle(self) -> None:
        return


@dataclass
class Simulation:
    """Members and a coordinator on one hub; `silent` members neither read nor write until revived."""

    directory: Path
    limits: Limits = field(default_factory=limits)
    programme: list[Request] = field(default_factory=lambda: [request()])
    statistic: Callable[[str], Vectors] = field(default=lambda name: Vectors(lambda m: vector(name, m.length)))
    silent: set[str] = field(default_factory=set)
    withhold: Callable[[str, Subject], bool] = field(default=lambda _node, _subject: False)
    now_ns: int = 2 * DAY_NS

    def __post_init__(self) -> None:
        self.epoch = epoch_label(self.limits.constitution, 1)
        self.hub = MemoryHub(clock=lambda: self.now_ns)
        self.read: dict[str, int] = {}
        self.nodes: dict[str, MemberNode] = {}
        self.stores: dict[str, MemberStore] = {}
        self.statistics: dict[str, Vectors] = {}
        self.sent: list[tuple[str, str, bytes]] = []
        for name in self.limits.members:
            self.start(name)
        self.start_coordinator()

    def start(self, name: str) -> None:
        """Start, or kill and restart, a member: only its store's file survives."""
        if name in self.stores:
            self.stores[name].close()
        store = MemberStore(self.directory / f"{name}.sqlite")
        statistic = self.statistic(name)
        signer = signing_key(name)
        clock = lambda: self.now_ns  # noqa: E731
        door = MemberDoor(name, limits=self.limits, signer=signer, store=store, statistic=statistic, clock=clock)
        node = MemberNode(
            name, epoch=self.epoch, limits=self.limits, signer=signer, store=store, door=door, learner=statistic,
            records=Records(":memory:"), clock=clock, entropy=np.random.default_rng(hash_of(name)).bytes,
        )  # fmt: skip
        self.read[name] = 0
        self.nodes[name], self.stores[name], self.statistics[name] = node, store, statistic
        if name not in self.silent:
            self._publish(name, "setup-0", "setup", node._epoch.setup_message())

    def start_coordinator(self) -> None:
        """Start, or kill and restart, the coordinator: it reads the streams again and goes on."""
        self.coordinator = CoordinatorNode(
            epoch=self.epoch, limits=self.limits, signer=signing_key("coordinator"), records=Records(":memory:"),
            programme=self.programme,
        )  # fmt: skip
        self.heard = {Channel.BOARD: 0, Channel.INBOX: 0}
        self._listen()

    def revive(self, name: str) -> None:
        """Let a silent member take part again."""
        self.silent.discard(name)
        self.start(name)

    def step(self) -> bool:
        """Let everybody read and answer once; return whether anything was said."""
        before = len(self.sent)
        for name in self.limits.members:
            self._let_read(name)
        self._listen()
        for session, step, body in self.coordinator.advance(self.now_ns):
            self._publish("coordinator", session, step, body)
        return len(self.sent) > before or self._unread()

    def run(self, rounds: int = 400, until: Callable[[], bool] | None = None) -> None:
        """Run until the programme is done, or `until` holds, jumping over silences."""
        for _ in range(rounds):
            if self.coordinator.is_done and not self._unread():
                return
            if until is not None and until():
                return
            if not self.step():
                self.now_ns += 11 * SECOND

    def opened(self, name: str = "m0") -> list[Aggregate]:
        return self.statistics[name].opened

    def expected(self, aggregate: Aggregate) -> np.ndarray:
        """Return the sum of what the cohort's members put in: rounded values and their own noise shares."""
        manifest = aggregate.manifest
        limit = self.limits.purposes[manifest.purpose]
        table = GaussianTable.build(share_sigma(limit, self.limits, length=manifest.length))
        total = np.zeros(manifest.length, dtype=np.int64)
        for name in aggregate.cohort:
            key = self.stores[name].fact(f"{self.epoch}/noise")
            assert key is not None
            value = self.statistic(name).value(manifest)
            seed = derive(key, b"hansa/noise/1" + manifest.digest())
            total += np.rint(value * limit.scale).astype(np.int64) + sample(table, manifest.length, seed)
        return total

    def add_again(self, name: str) -> None:
        """Let a member add again what waits for it, as it does when idle."""
        readding = self.nodes[name].readding
        while subjects := readding.wanted():
            readding.collected({subject: self.hub.body(subject) for subject in subjects})

    def _let_read(self, name: str) -> None:
        if name in self.silent:
            return
        for message in self.hub.stored(Channel.BOARD)[self.read[name] :]:
            self.read[name] = message.sequence
            self._send(name, self.nodes[name].handle(message))
            for subject in self.nodes[name].wanted():
                self._send(name, self.nodes[name].collected(subject, self.hub.body(subject)))

    def _send(self, name: str, outgoing: list[Outgoing]) -> None:
        for session, step, body in outgoing:
            self.stores[name].record_egress(facts_label(self.epoch, session), step, body, time_ns=self.now_ns)
            self._publish(name, session, step, body)

    def _listen(self) -> None:
        for channel in (Channel.BOARD, Channel.INBOX):
            for message in self.hub.stored(channel)[self.heard[channel] :]:
                self.heard[channel] = message.sequence
                self.coordinator.handle(message)

    def _publish(self, sender: str, session: str, step: str, body: bytes) -> None:
        subject = Subject(self.epoch, session, step, sender)
        if not self.withhold(sender, subject) and self.hub.accept(subject, body):
            self.sent.append((sender, step, body))

    def _unread(self) -> bool:
        head = len(self.hub.stored(Channel.BOARD))
        return any(self.read[name] < head for name in self.limits.members if name not in self.silent)


def hash_of(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")


def vector(name: str, length: int) -> np.ndarray:
    return np.round(np.random.default_rng(hash_of(name)).uniform(-50, 50, length), 2)


def inject(simulation: Simulation, message: Message) -> list[Outgoing]:
    """Give one member a message that never stood on the board."""
    return simulation.nodes["m0"].handle(message)
