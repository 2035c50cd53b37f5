"""The set-up of an epoch without a transport: members, a board in order, a post by address, and kills at any event.

Every member reads the whole board in order and is killed at will: only its facts survive. Nobody may ever say other
bytes under a subject that it has used before.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from hansa.errors import HansaError
from hansa.protocol.attempt import Attempt
from hansa.protocol.epoch import MemberEpoch
from hansa.protocol.messages import Epoch
from players import EPOCH, MemoryFacts, from_coordinator
from simulator import hash_of, limits, signing_key

if TYPE_CHECKING:
    from collections.abc import Callable

    from hansa.protocol.epoch import EpochKeys, Outgoing
    from hansa.protocol.limits import Limits

Tamper = "Callable[[str, str, str, bytes], bytes | None]"


class KilledError(Exception):
    """The process ended here."""


@dataclass
class MortalFacts(MemoryFacts):
    """Facts of a member that dies right after its n-th durable event, if one is set."""

    dies_after: int | None = None
    events: int = 0

    def remember(self, key: str, value: bytes) -> None:
        is_new = key not in self.values
        super().remember(key, value)
        if is_new:
            self.count()

    def count(self) -> None:
        """Count one write or one message that left."""
        self.events += 1
        if self.events == self.dies_after:
            raise KilledError


def honest(_sender: str, _session: str, _step: str, body: bytes) -> bytes | None:
    """Let everything pass as its sender meant it."""
    return body


@dataclass
class Assembly:
    """The members of an epoch and what they published."""

    rules: Limits = field(default_factory=limits)
    tamper: Callable[[str, str, str, bytes], bytes | None] = honest
    dies_after: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.board: list[tuple[str, str, str, bytes]] = []
        self.post: dict[tuple[str, str], bytes] = {}
        self.said: dict[tuple[str, str, str], bytes] = {}
        self.notes: list[tuple[str, str, str, HansaError]] = []
        self.facts = {name: MortalFacts(dies_after=self.dies_after.get(name)) for name in self.rules.members}
        self.read = dict.fromkeys(self.rules.members, 0)
        self.members: dict[str, MemberEpoch] = {}
        for name in self.rules.members:
            self.start(name)

    def start(self, name: str) -> MemberEpoch:
        """Start a member, or kill it and start it again over its facts."""
        for _ in range(9):
            try:
                self.members[name] = self.member(name)
                self.read[name] = 0
                self.say(name, [("setup-0", "setup", self.members[name].setup_message())])
            except KilledError:
                continue
            return self.members[name]
        raise AssertionError(name)

    def member(self, name: str) -> MemberEpoch:
        """Return a fresh process of a member over its facts."""
        entropy = np.random.default_rng(hash_of(name)).bytes
        return MemberEpoch(
            name, epoch=EPOCH, limits=self.rules, signer=signing_key(name), facts=self.facts[name], entropy=entropy
        )

    def say(self, sender: str, outgoing: list[Outgoing]) -> None:
        """Publish, the first body of every subject; what is said again must be what was said before."""
        for session, step, body in outgoing:
            assert self.said.setdefault((session, step, sender), body) == body, (session, step, sender)
            passed = self.tamper(sender, session, step, body)
            if passed is not None and step == "deal":
                self.post.setdefault((session, sender), passed)
            elif passed is not None and (session, step, sender) not in {entry[:3] for entry in self.board}:
                self.board.append((session, step, sender, passed))
            if sender in self.facts:
                self.facts[sender].count()

    def announce(self, names: tuple[str, ...] | None = None, number: int = 1, **changes: object) -> bytes:
        """Publish a list of the coordinator's and return it."""
        body = self.listing(names, **changes)
        self.say("coordinator", [(f"setup-{number}", "epoch", body)])
        return body

    def listing(self, names: tuple[str, ...] | None = None, **changes: object) -> bytes:
        """Return a list of these members, or of all, by the set-ups on the board."""
        chosen = names or self.rules.members
        setups = self.bodies("setup")
        hashes = tuple(hashlib.sha256(setups.get(name, b"")).digest() for name in chosen)
        return from_coordinator(msgspec.structs.replace(Epoch(EPOCH, chosen, hashes), **changes))

    def settle(self) -> Assembly:
        """Let everybody read and answer until nobody has more to say."""
        while any(self.read[name] < len(self.board) for name in self.members):
            for name in self.members:
                try:
                    self.let_read(name)
                except KilledError:
                    self.start(name)
        return self

    def let_read(self, name: str) -> None:
        """Let one member read the board to its end."""
        while self.read[name] < len(self.board):
            session, step, sender, body = self.board[self.read[name]]
            try:
                self.say(name, self.members[name].handle(session, step, sender, body))
            except HansaError as error:
                self.notes.append((name, sender, step, error))
            for subject in self.members[name].wanted():
                self.say(name, self.members[name].on_deal(subject[1], self.post.get(subject)))
            self.read[name] += 1

    def bodies(self, step: str) -> dict[str, bytes]:
        """Return the newest body of a step by sender."""
        return {sender: body for _, found, sender, body in self.board if found == step}

    def keys(self) -> dict[str, EpochKeys | None]:
        """Return what every member holds."""
        return {name: member.keys for name, member in self.members.items()}

    def set_up(self, names: tuple[str, ...] | None = None) -> dict[str, EpochKeys]:
        """Set the epoch up and return the keys of the listed members."""
        self.announce(names)
        self.settle()
        found = {name: keys for name, keys in self.keys().items() if keys is not None}
        assert set(found) == set(names or self.rules.members)
        return found

    def record(self, number: int = 1) -> Attempt:
        """Return the board's record of one attempt, as a stranger reads it."""
        label = f"setup-{number}"
        body = next(body for session, step, _, body in self.board if (session, step) == (label, "epoch"))
        attempt = Attempt(body, label=label, setups=self.bodies("setup"), limits=self.rules)
        for session, step, sender, said in self.board:
            if session.startswith(label):
                try:
                    note(attempt, session, step, sender, said)
                except HansaError as error:
                    self.notes.append(("stranger", sender, step, error))
        return attempt


def note(attempt: Attempt, session: str, step: str, sender: str, body: bytes) -> None:
    """Add one message of the board to a record."""
    adding = {
        "halves": attempt.add_halves,
        "probe": attempt.add_probe,
        "complaint": attempt.add_complaint,
        "answer": attempt.add_answer,
        "reveal": attempt.add_reveal,
    }.get(step)
    if adding is not None:
        adding(sender, session, body)
