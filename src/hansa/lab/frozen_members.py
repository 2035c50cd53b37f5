"""A hundred members in one process: real nodes, doors and stores, of which one at a time is in memory.

A member's turn: its node is read back from its file, takes in what the board has for it, answers, and is written back.
Between two turns a member is its files: the store and the records that every member has, and the node's state as the
process holds it. So the process needs the memory of one member, whatever their number.

Guarantees: each member runs the code of `hansa member run` from the board's message to the envelopes that leave, its
durable facts included. Does NOT show: members at work at the same time, their connections, or their own memory.
"""

from __future__ import annotations

import os
import pickle
import shutil
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING, Any, Final

from hansa.federation.door import MemberDoor
from hansa.federation.member import MemberNode
from hansa.federation.node import load_node
from hansa.federation.records import Records
from hansa.federation.rules import limits_of
from hansa.federation.store import MemberStore
from hansa.federation.transport import Channel, Message, Subject
from hansa.identity.kit import Kit
from hansa.lab.bench_nodes import KnownVectors

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from hansa.crypto.signature import Signer
    from hansa.lab.alliance import Alliance
    from hansa.protocol.epoch import Outgoing
    from hansa.protocol.limits import Limits

RESTING: Final = frozenset({"setup", "probe", "closed"})
"""Steps to which no member answers before the coordinator has spoken; a turn for one of them can wait."""
_STATE: Final = "node.state"


@dataclass(slots=True)
class _DoorSeconds:
    """Notes a member's time at the door."""

    records: Records

    def __call__(self, session: str, seconds: float) -> None:
        self.records.put(f"door/{session}", seconds)


@dataclass(slots=True)
class FrozenMembers:
    """The members of an alliance's folder.

    Args:
        alliance: Its folders; `node/` of every member is written.
        post: Folder for what members post to one another.
    """

    alliance: Alliance
    post: Path
    limits: Limits = field(init=False)
    epoch: str = field(init=False)
    federation: str = field(init=False)
    _signers: dict[str, Signer] = field(default_factory=dict)

    def __post_init__(self) -> None:
        node = load_node(self.alliance.directory / self.alliance.members[0])
        self.limits, self.epoch = limits_of(node.constitution), node.epoch
        self.federation = node.constitution.federation
        at = datetime.fromtimestamp(time.time(), tz=UTC)
        for name in self.alliance.members:
            self._signers[name] = Kit.load(self.alliance.directory / name, at=at).signing_key
            self._work(name).mkdir(mode=0o700, exist_ok=True)
        self.post.mkdir(mode=0o700)

    def forget(self) -> None:
        """Remove what only a run needs: the states, which hold keys, and the post. Stores and records stay."""
        for name in self.alliance.members:
            (self._work(name) / _STATE).unlink(missing_ok=True)
        shutil.rmtree(self.post)

    def first_words(self, name: str) -> Iterator[tuple[Subject, bytes]]:
        """Start a member: give what it says before it has read anything."""
        with self._awake(name) as member:
            yield from self._leaving(name, member.first_words())

    def turn(self, name: str, unread: Sequence[Message]) -> Iterator[tuple[Subject, bytes]]:
        """Let a member read; give what leaves it, in order. What it posts to another is kept here."""
        with self._awake(name) as member:
            for message in unread:
                yield from self._leaving(name, member.answer(message))
                for subject in member.wanted():
                    yield from self._leaving(name, member.collected(subject, self._posted(subject)))

    def _leaving(self, name: str, outgoing: Sequence[Outgoing]) -> Iterator[tuple[Subject, bytes]]:
        for session, step, body in outgoing:
            subject = Subject(self.epoch, session, step, name)
            if subject.channel is Channel.POST:
                self._address(subject).write_bytes(body)
            else:
                yield subject, body

    def _posted(self, subject: Subject) -> bytes | None:
        path = self._address(subject)
        return path.read_bytes() if path.exists() else None

    def _address(self, subject: Subject) -> Path:
        return self.post / f"{subject.session}.{subject.step}.{subject.sender}"

    def _work(self, name: str) -> Path:
        return self.alliance.directory / name / "node"

    @contextmanager
    def _awake(self, name: str) -> Iterator[MemberNode]:
        """Give a member's node, from its file or a new one, with its store and records open; write it back."""
        work = self._work(name)
        store, records = MemberStore(work / "facts.sqlite"), Records(work / "records.sqlite")
        try:
            statistic = KnownVectors(name, records, self.alliance.directory / name)
            shared = {
                "limits": self.limits, "signer": self._signers[name], "store": store, "records": records,
                "statistic": statistic, "measured": _DoorSeconds(records),
            }  # fmt: skip
            state = work / _STATE
            if state.exists():
                with state.open("rb") as file:
                    member: MemberNode = _Thawer(file, shared).load()
            else:
                member = self._born(name, shared)
            yield member
            with os.fdopen(os.open(state, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "wb") as file:
                _Freezer(file, shared).dump(member)
            store.tidy()
        finally:
            records.close()
            store.close()

    def _born(self, name: str, shared: Mapping[str, Any]) -> MemberNode:
        signer, store, statistic = shared["signer"], shared["store"], shared["statistic"]
        door = MemberDoor(
            name, limits=self.limits, signer=signer, store=store, statistic=statistic, clock=time.time_ns,
            measured=shared["measured"],
        )  # fmt: skip
        return MemberNode(
            name, epoch=self.epoch, limits=self.limits, signer=signer, store=store, door=door, learner=statistic,
            records=shared["records"], clock=time.time_ns, entropy=os.urandom,
        )  # fmt: skip


class _Freezer(pickle.Pickler):
    """Writes a node without what it shares with its process: that is opened anew."""

    def __init__(self, file: IO[bytes], shared: Mapping[str, object]) -> None:
        super().__init__(file, protocol=5)
        self._names = {id(thing): name for name, thing in shared.items()}

    def persistent_id(self, thing: object) -> str | None:
        return self._names.get(id(thing))


class _Thawer(pickle.Unpickler):  # of files that this process has written itself
    def __init__(self, file: IO[bytes], shared: Mapping[str, object]) -> None:
        super().__init__(file)
        self._shared = shared

    def persistent_load(self, name: str) -> object:
        return self._shared[name]
