"""A federation in memory: real nodes, doors and stores (SQLite files) over a hub, with drop-outs and restarts.

Time is simulated: the hub's clock jumps to the next deadline when nobody has anything left to say. What a reader gets
of the board and of the inbox passes the hub's `deliver` hook; what a node publishes passes `withhold`.

Guarantees: a run is a function of its arguments up to the keys that members draw for themselves; whoever is started
again has its store's file and the streams, nothing else.
Does NOT guarantee: anything about the network engine, real clocks, or processes that die inside a system call.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from hansa.audit.note import origin_of
from hansa.audit.store import LogStore
from hansa.crypto.sampling import GaussianTable, sample
from hansa.crypto.signature import SigningKey
from hansa.errors import ProtocolError
from hansa.federation.attesting import Attesting
from hansa.federation.coordinator import CoordinatorNode
from hansa.federation.door import Contribution, MemberDoor
from hansa.federation.egress import purpose_of
from hansa.federation.logbook import Logbook
from hansa.federation.member import MemberNode
from hansa.federation.memory_transport import MemoryHub
from hansa.federation.quoting import OwnAttestation
from hansa.federation.records import Records
from hansa.federation.running_sum import Request
from hansa.federation.store import MemberStore
from hansa.federation.transport import Channel, Subject
from hansa.protocol.encoding import noise_seed, share_sigma
from hansa.protocol.limits import Limits, PurposeLimit
from hansa.protocol.listing import epoch_label
from hansa.protocol.session import facts_label

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from jaxtyping import Float, Int64

    from hansa.crypto.signature import Signer
    from hansa.federation.transport import Message
    from hansa.identity.attestation.clause import AttestationClause
    from hansa.protocol.epoch import Outgoing
    from hansa.protocol.messages import Manifest
    from hansa.protocol.session import Aggregate

SECOND = 1_000_000_000
BAR_NS = 300 * SECOND
DAY_NS = 86_400 * SECOND


def signing_key(name: str) -> SigningKey:
    """Return the identity key that a node of this name has in every simulation."""
    return SigningKey.from_bytes(hashlib.sha256(name.encode()).digest())


def purpose(**changes: object) -> PurposeLimit:
    """Return the limits of a small purpose, with changes."""
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
    """Return the limits of a federation of members `m0`, `m1` and so on."""
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


def witnessed(rules: Limits) -> Limits:
    """Return limits under which a quorum has to cosign the log before a sum is opened."""
    return replace(rules, cosignatures=rules.quorum)


def request(position: int = 0, name: str = "gram", *, round_: int = 1, bars: int = 1) -> Request:
    """Return a request for one sum."""
    return Request(round_, position, name, position, DAY_NS, DAY_NS + (bars - 1) * BAR_NS)


@dataclass
class Vectors:
    """A statistic that gives fixed vectors and remembers every opened sum."""

    value: Callable[[Manifest], Float[np.ndarray, " value"]]
    sensitivity: float = 1.0
    opened: list[Aggregate] = field(default_factory=list)

    def contribution(self, manifest: Manifest) -> Contribution:
        """Return the vector that a manifest asks for."""
        return Contribution(manifest.purpose, self.value(manifest), self.sensitivity)

    def receive(self, aggregate: Aggregate) -> None:
        """Keep an opened sum."""
        self.opened.append(aggregate)

    def settle(self) -> None:
        """Nothing waits."""


@dataclass
class Simulation:
    """Members and a coordinator on one hub; `silent` members neither read nor write until revived.

    Args:
        directory: Where the members' stores are.
        limits: The constitution's limits.
        programme: What the coordinator sums.
        statistic: Makes each member's statistic, at every start.
        silent: Who neither reads nor writes.
        withhold: Of (node, subject): whether what the node publishes is lost.
        now_ns: The simulated clock.
        store: Opens a member's facts.
        door: Makes a member's door.
        signer: Gives a node its identity key, the one that `limits` names.
        clause: The constitution's on attestation, if it has one.
        evidence: Of an epoch's id: the coordinator's evidence, None while there is none.
    """

    directory: Path
    limits: Limits = field(default_factory=lambda: witnessed(limits()))
    programme: list[Request] = field(default_factory=lambda: [request()])
    statistic: Callable[[str], Vectors] = field(default=lambda name: Vectors(lambda m: vector(name, m.length)))
    silent: set[str] = field(default_factory=set)
    withhold: Callable[[str, Subject], bool] = field(default=lambda _node, _subject: False)
    now_ns: int = 2 * DAY_NS
    store: type[MemberStore] = MemberStore
    door: type[MemberDoor] = MemberDoor
    signer: Callable[[str], Signer] = signing_key
    clause: AttestationClause | None = None
    evidence: Callable[[bytes], bytes | None] = field(default=lambda _epoch_id: None)

    def __post_init__(self) -> None:
        self.epoch = epoch_label(self.limits.constitution, 1)
        self.hub = MemoryHub(clock=self._clock)
        self.read: dict[str, int] = {}
        self.nodes: dict[str, MemberNode] = {}
        self.stores: dict[str, MemberStore] = {}
        self.statistics: dict[str, Vectors] = {}
        self.sent: list[tuple[str, str, bytes]] = []
        self.log: LogStore | None = None
        for name in self.limits.members:
            self.start(name)
        self.start_coordinator()

    def start(self, name: str) -> None:
        """Start, or kill and restart, a member: only its store's file survives."""
        if name in self.stores:
            self.stores[name].close()
        store = self.store(self.directory / f"{name}.sqlite")
        statistic = self.statistic(name)
        signer = self.signer(name)
        door = self.door(name, limits=self.limits, signer=signer, store=store, statistic=statistic, clock=self._clock)
        records = Records(":memory:")
        attesting = Attesting(self.clause, limits=self.limits, epoch=self.epoch, records=records, clock=self._clock)
        node = MemberNode(
            name, epoch=self.epoch, limits=self.limits, signer=signer, store=store, door=door, learner=statistic,
            records=records, clock=self._clock, entropy=np.random.default_rng(hash_of(name)).bytes,
            attesting=attesting,
        )  # fmt: skip
        self.read[name] = 0
        self.nodes[name], self.stores[name], self.statistics[name] = node, store, statistic
        if name not in self.silent:
            self._send(name, node.first_words())

    def start_coordinator(self) -> None:
        """Start, or kill and restart, the coordinator: it reads the streams again and goes on."""
        signer, origin = self.signer("coordinator"), origin_of(self.limits.federation)
        if self.log is not None:
            self.log.close()
        self.log = LogStore(self.directory / "log", origin=origin, signer=signer) if self.limits.cosignatures else None
        self.coordinator = CoordinatorNode(
            epoch=self.epoch, limits=self.limits, signer=signer, records=Records(":memory:"), programme=self.programme,
            logbook=None if self.log is None else Logbook(self.log, limits=self.limits, signer=signer),
            attestation=self._own_attestation(),
        )  # fmt: skip
        self.heard = {Channel.BOARD: 0, Channel.INBOX: 0}
        self._listen()

    def _own_attestation(self) -> OwnAttestation | None:
        if self.clause is None or self.clause.policy == "off":
            return None
        return OwnAttestation(self.evidence, is_required=self.clause.policy == "require")

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
        """Return the sums that a member has accepted since its start."""
        return self.statistics[name].opened

    def expected(self, aggregate: Aggregate) -> Int64[np.ndarray, " value"]:
        """Return the sum of what the cohort's members put in: rounded values and their own noise shares."""
        manifest = aggregate.manifest
        limit = self.limits.purposes[manifest.purpose]
        table = GaussianTable.build(share_sigma(limit, self.limits, length=manifest.length))
        total = np.zeros(manifest.length, dtype=np.int64)
        for name in aggregate.cohort:
            key = self.stores[name].fact(f"{self.epoch}/noise")
            if key is None:
                raise ProtocolError(f"{name} is in a cohort and has no noise key")
            value = self.statistic(name).value(manifest)
            steps = np.rint(value * limit.scale).astype(np.int64)
            total += steps + sample(table, manifest.length, noise_seed(key, manifest.digest(), steps))
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
            for shown in self.hub.deliver(name, message):
                self._answer(name, shown)

    def _answer(self, name: str, message: Message) -> None:
        self._send(name, self.nodes[name].handle(message))
        for subject in self.nodes[name].wanted():
            self._send(name, self.nodes[name].collected(subject, self.hub.body(subject)))

    def _send(self, name: str, outgoing: list[Outgoing]) -> None:
        for session, step, body in outgoing:
            label = facts_label(self.epoch, session)
            self.stores[name].record_egress(label, step, body, time_ns=self.now_ns, purpose=purpose_of(session))
            self._publish(name, session, step, body)

    def _listen(self) -> None:
        for channel in (Channel.BOARD, Channel.INBOX):
            for message in self.hub.stored(channel)[self.heard[channel] :]:
                self.heard[channel] = message.sequence
                for shown in self.hub.deliver(self.limits.coordinator, message):
                    self.coordinator.handle(shown)

    def _clock(self) -> int:
        return self.now_ns

    def _publish(self, sender: str, session: str, step: str, body: bytes) -> None:
        subject = Subject(self.epoch, session, step, sender)
        if not self.withhold(sender, subject) and self.hub.accept(subject, body):
            self.sent.append((sender, step, body))

    def _unread(self) -> bool:
        head = len(self.hub.stored(Channel.BOARD))
        return any(self.read[name] < head for name in self.limits.members if name not in self.silent)


def hash_of(name: str) -> int:
    """Return 64 bits of a name's hash: a seed."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")


def vector(name: str, length: int) -> Float[np.ndarray, " value"]:
    """Return the vector that a member of this name has by default."""
    return np.round(np.random.default_rng(hash_of(name)).uniform(-50, 50, length), 2)
