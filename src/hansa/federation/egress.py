"""What left a member: the gate in front of its transport, the record's head, and the record held against the streams.

```
statistic -> door (charge, upload, egress row: one durable write) -> gate -> transport -> message server
other steps -> egress row, in the durable write of the step that they answer -> gate -> transport
```

The rows stand in the member's own file (`store`), each chained to the one before; the gate lets nothing through that
is not among them: what is missing is written, on disk, before it is sent. So a kill at any instant leaves at most a row
of something that did not leave, never the other way round.

| held against the streams | means |
|---|---|
| seen | the stream has these very bytes |
| unseen | it has nothing there: killed between row and message, or not sent yet; sent when the member runs again |
| hidden | agreements go to the coordinator alone; members cannot ask for them |
| unrecorded | the stream has a message under this member's name that is in no row: somebody else has its key |
| differing | the stream has other bytes than the row says: the same |

What is asked of the server (which body is wanted, readers, acknowledgements, heartbeats) is in no row: it holds
addresses of public messages and nothing of the member's data.

Does NOT guarantee: anything about other programs of this machine, or alerts that its operator lets it deliver
(`hansa alerts`); or that the member's own file was not rewritten whole: for that its head goes into a log that others
keep.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

from hansa.federation.transport import FETCHED_STEPS, Channel, Subject
from hansa.protocol.limits import MAX_REOPENINGS
from hansa.protocol.session import call_step, facts_label, open_step

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

    from hansa.federation.store import Egress, MemberStore
    from hansa.federation.transport import Message, Transport

SET_UP: Final = "set-up"
LOG: Final = "log"
_SUM: Final = re.compile(r"r\d+-\d+-([a-z0-9-]+)-a\d+")
_Address = tuple[str, str]  # `epoch/session`, step


def purpose_of(session: str) -> str:
    """Return what a session is for: the purpose of a sum, the transparency log, or the set-up of an epoch.

    >>> purpose_of("r202303130200-0-census-a1"), purpose_of("log-17"), purpose_of("setup-1-to-3")
    ('census', 'log', 'set-up')
    """
    found = _SUM.fullmatch(session)
    if found is not None:
        return found[1]
    return LOG if session.startswith("log-") else SET_UP


class RecordedTransport:
    """A member's transport behind the gate.

    Args:
        inner: Sends.
        store: The member's facts, which hold the egress record.
        clock: Returns ns UTC.
    """

    def __init__(self, inner: Transport, *, store: MemberStore, clock: Callable[[], int]) -> None:
        self._inner = inner
        self._store = store
        self._clock = clock

    @property
    def node(self) -> str:
        """Name under which this node publishes."""
        return self._inner.node

    async def publish(self, subject: Subject, body: bytes) -> bool:
        """Publish what the egress record has, or has now; see `Transport.publish`.

        Raises:
            EquivocationError: The record has other bytes for this step of this session; nothing is sent.
            StoreError: The record cannot be written; nothing is sent.
            MessageError: As of `Transport.publish`.
            TransportError: Likewise.
        """
        self._store.record_egress(
            facts_label(subject.epoch, subject.session), subject.step, body,
            time_ns=self._clock(), purpose=purpose_of(subject.session),
        )  # fmt: skip
        return await self._inner.publish(subject, body)

    def board(self, *, after: int = 0) -> AsyncGenerator[Message]:
        """Yield the board; see `Transport.board`."""
        return self._inner.board(after=after)

    def inbox(self, *, after: int = 0) -> AsyncGenerator[Message]:
        """Refuse, as for every member; see `Transport.inbox`."""
        return self._inner.inbox(after=after)

    async def fetch(self, subject: Subject) -> bytes | None:
        """Return a body by address; see `Transport.fetch`."""
        return await self._inner.fetch(subject)

    async def head(self, channel: Channel) -> int:
        """Return the newest sequence of a channel; see `Transport.head`."""
        return await self._inner.head(channel)

    async def close(self) -> None:
        """End the connection."""
        await self._inner.close()


@dataclass(frozen=True, slots=True)
class EgressHead:
    """What a log keeps of a member's record up to a row: enough to see that later records continue this one.

    Attributes:
        member: Whose record.
        last: Number of the newest row, 0 for none.
        bytes: Of all messages up to it.
        chain: SHA-256 of the chain there, in hexadecimal.
    """

    member: str
    last: int
    bytes: int
    chain: str


def egress_head(member: str, rows: Sequence[Egress]) -> EgressHead:
    """Return the head of a checked record."""
    return EgressHead(member, len(rows), sum(row.size for row in rows), rows[-1].chain.hex() if rows else "")


def continues(rows: Sequence[Egress], earlier: EgressHead) -> bool:
    """Return whether a checked record has an earlier head's rows at its beginning, unchanged."""
    return earlier.last <= len(rows) and egress_head(earlier.member, rows[: earlier.last]) == earlier


@dataclass(frozen=True, slots=True)
class Comparison:
    """A record held against the streams; see the module. Rows by number, the rest by `epoch/session/step`."""

    head: EgressHead
    seen: int
    hidden: int
    unseen: tuple[int, ...]
    differing: tuple[str, ...]
    unrecorded: tuple[str, ...]

    @property
    def is_clean(self) -> bool:
        """Whether nothing is on the streams under this member's name that the record does not have."""
        return not self.differing and not self.unrecorded

    def body(self) -> dict[str, object]:
        """Return it ready for JSON."""
        return {**asdict(self), "clean": self.is_clean}


async def compare(
    transport: Transport,
    read: Callable[[], Sequence[Egress]],
    *,
    members: int,
) -> Comparison:
    """Hold a member's record against what stands under its name on the streams; the member may be running.

    Args:
        transport: A connection of this member.
        read: Returns its record as it is now, checked.
        members: In the constitution: bounds whom corrections were sent to.

    Raises:
        StoreError: The record does not fit its chain.
        TransportError: The server refuses.
    """
    rows = read()
    board = await _board(transport)
    found = {address: digest for address, digest in board.items() if digest is not None}

    async def at(address: _Address) -> bytes | None:
        if address not in found:
            body = await transport.fetch(_subject(address, transport.node))
            if body is None:
                return None
            found[address] = hashlib.sha256(body).digest()
        return found[address]

    seen, hidden, unseen, differing = 0, 0, [], []
    for row in rows:
        if row.step not in FETCHED_STEPS:
            hidden += 1
            continue
        stands = await at((row.session, row.step))
        if stands is None:
            unseen.append(row.number)
        elif stands == row.sha256:
            seen += 1
        else:
            differing.append(f"{row.session}/{row.step}")
    await _look_elsewhere(board, {(row.session, row.step) for row in rows}, at, members)
    later = {(row.session, row.step) for row in read()}  # what was sent since the first reading is in the record too
    unrecorded = sorted("/".join(address) for address in found if address not in later)
    return Comparison(
        egress_head(transport.node, rows), seen, hidden, tuple(unseen), tuple(differing), tuple(unrecorded)
    )


async def _board(transport: Transport) -> dict[_Address, bytes | None]:
    """Return the digest of each own message of the board, and None for each of others, by address."""
    head = await transport.head(Channel.BOARD)
    found: dict[_Address, bytes | None] = {}
    if not head:
        return found
    board = transport.board()
    try:
        async for message in board:
            subject = message.subject
            own = subject.sender == transport.node
            address = (facts_label(subject.epoch, subject.session), subject.step)
            if own or address not in found:
                found[address] = hashlib.sha256(message.body).digest() if own else None
            if message.sequence >= head:
                break
    finally:
        await board.aclose()
    return found


async def _look_elsewhere(
    board: dict[_Address, bytes | None], known: set[_Address], at: Callable[[_Address], Awaitable[object]], members: int
) -> None:
    """Ask for what may stand on inbox and post under this member's name beyond what its record has."""
    calls = {call_step(number): open_step(number) for number in range(MAX_REOPENINGS + 1)}
    asked = {
        "announce": ("upload",),
        "logged": ("cosign",),
        "recover": ("shares",),
        **{call: (answer,) for call, answer in calls.items()},
    }
    for label, step in board:
        places = [(label, answer) for answer in asked.get(step, ())]
        if step == "epoch":
            places = [(f"{label}-to-{place}", "deal") for place in range(1, members + 1)]
        for address in places:
            if address not in known:
                await at(address)


def _subject(address: _Address, node: str) -> Subject:
    epoch, _, session = address[0].partition("/")
    return Subject(epoch, session, address[1], node)
