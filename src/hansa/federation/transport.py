"""How messages travel: three ordered, durable streams and one body per subject.

A message's address is `hansa.<federation>.<epoch>.<session>.<step>.<sender>`; every part is `[a-z0-9-]{1,40}`.
The step alone decides the channel:

| channel | steps | written by | read by |
|---|---|---|---|
| board | setup, halves, probe, complaint, answer, reveal, closed | each member, under its own name | everyone |
| board | epoch, attest, announce, cohort, call, recover, result, died, logged | coordinator | everyone |
| inbox | upload, agree, open, shares, cosign | each member | coordinator; by address: all but `agree` |
| post | deal | each member, under its own name | nobody follows it; by address: everyone |

The post carries bulky bodies from one member to another: the session part names the recipient (`setup-1-to-3`), who
fetches the body by its address when it needs it, so that nobody is sent what is not for it. Uploads and openings may be
fetched too, so that everybody can add them again: an upload is encrypted, and fewer than t partials say nothing.

Later calls of a session and their answers have steps of their own, `call-1` and `open-1` to `call-10` and `open-10`.

Guarantees: a message that was accepted stays, keeps its sequence and its time, and is the only one ever on its
subject; a reader sees a channel in sequence order, without loss or repetition, over restarts of either side; what
was accepted can be fetched.
Does NOT guarantee: secrecy of what may be fetched (seal it); that a body is well formed or honestly written
(signatures do); or that the server's operator shows every reader the same stream (the transparency log does).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Protocol, Self

from hansa.errors import MessageError, TransportError
from hansa.protocol.limits import MAX_REOPENINGS
from hansa.protocol.listing import SETUP_STEPS
from hansa.protocol.session import call_step, open_step

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncGenerator, Mapping

PREFIX: Final = "hansa"
_IDENTIFIER: Final = re.compile(r"[a-z0-9-]{1,40}")


class Channel(StrEnum):
    """One ordered stream of a federation."""

    BOARD = "board"
    INBOX = "inbox"
    POST = "post"


STEPS: Final[Mapping[str, Channel]] = MappingProxyType(
    {
        **dict.fromkeys(sorted(SETUP_STEPS), Channel.BOARD),
        "attest": Channel.BOARD,
        "announce": Channel.BOARD,
        "cohort": Channel.BOARD,
        **{call_step(number): Channel.BOARD for number in range(MAX_REOPENINGS + 1)},
        "recover": Channel.BOARD,
        "result": Channel.BOARD,
        "died": Channel.BOARD,
        "closed": Channel.BOARD,
        "logged": Channel.BOARD,
        "upload": Channel.INBOX,
        "agree": Channel.INBOX,
        **{open_step(number): Channel.INBOX for number in range(MAX_REOPENINGS + 1)},
        "shares": Channel.INBOX,
        "cosign": Channel.INBOX,
        "deal": Channel.POST,
    }
)
MEMBER_STEPS: Final = frozenset(
    (SETUP_STEPS - {"epoch"}) | {"closed"} | {step for step, channel in STEPS.items() if channel is not Channel.BOARD}
)
"""Steps that a member may publish, under its own name only; the coordinator may publish every step."""
FETCHED_STEPS: Final = frozenset(STEPS) - {"agree"}
"""Steps that a member may fetch by address; the coordinator may fetch every step."""


def check_identifier(text: str, *, what: str) -> str:
    """Return `text` if it may stand in a subject.

    Args:
        text: A name of a federation, epoch, session or node.
        what: What it names, for the error.

    Raises:
        MessageError: It is not 1 to 40 characters of a-z, 0-9 and hyphen.
    """
    if not _IDENTIFIER.fullmatch(text):
        raise MessageError(f"{what}: expected 1 to 40 characters of a-z, 0-9 and '-', got {text[:60]!r}; rename it")
    return text


@dataclass(frozen=True, slots=True)
class Subject:
    """Address of one message.

    Raises:
        MessageError: A part is not an identifier or the step is unknown.
    """

    epoch: str
    session: str
    step: str
    sender: str

    def __post_init__(self) -> None:
        for what in ("epoch", "session", "step", "sender"):
            check_identifier(getattr(self, what), what=f"subject {what}")
        if self.step not in STEPS:
            raise MessageError(f"subject step: expected one of {', '.join(STEPS)}; got {self.step!r}")

    @property
    def channel(self) -> Channel:
        """The stream in which this subject lives."""
        return STEPS[self.step]

    def to_text(self, federation: str) -> str:
        """Return `hansa.<federation>.<epoch>.<session>.<step>.<sender>`."""
        return f"{PREFIX}.{federation}.{self.epoch}.{self.session}.{self.step}.{self.sender}"

    @classmethod
    def from_text(cls, text: str, *, federation: str) -> Self:
        """Parse the text form.

        Raises:
            MessageError: It has another number of parts, another prefix or federation, or a faulty part.
        """
        parts = text.split(".")
        if len(parts) != 6 or parts[0] != PREFIX or parts[1] != federation:
            raise MessageError(
                f"subject: expected {PREFIX}.{federation}.<epoch>.<session>.<step>.<sender>, got {text[:300]!r}"
            )
        return cls(*parts[2:])


@dataclass(frozen=True, slots=True)
class Message:
    """One accepted message.

    `sequence` is its place in its channel (from 1, rising, with holes); `time_ns` the stream's clock, ns UTC when
    it was accepted; both are the same at every reading.
    """

    subject: Subject
    body: bytes
    sequence: int
    time_ns: int


class Transport(Protocol):
    """One node's connection to the federation's channels."""

    @property
    def node(self) -> str:
        """Name under which this node publishes."""

    async def publish(self, subject: Subject, body: bytes) -> bool:
        """Store `body` under `subject` for ever; it is durable when this returns.

        Args:
            subject: Its sender must be this node.
            body: Any bytes up to the transport's `max_body_bytes`.

        Returns:
            True if this body was stored now, False if the subject had its body already (the first one stays).

        Raises:
            MessageError: The sender is another node or the body is too large.
            TransportError: The server refuses, for good.
        """

    def board(self, *, after: int = 0) -> AsyncGenerator[Message]:
        """Yield every message of the board with a sequence above `after`, in order, then live, for ever."""

    def inbox(self, *, after: int = 0) -> AsyncGenerator[Message]:
        """Yield every message of the inbox with a sequence above `after`; refused to a member."""

    async def fetch(self, subject: Subject) -> bytes | None:
        """Return the body stored under `subject`, or None if there is none yet.

        Args:
            subject: Anybody's. A member's step is one of `FETCHED_STEPS`.

        Raises:
            MessageError: What is stored there is no body: malformed, too large, or a chunk is missing or wrong.
            TransportError: This node may not fetch that step, or the connection was closed.
        """

    async def head(self, channel: Channel) -> int:
        """Return the sequence of the channel's newest message, 0 if it has none: a reader there has caught up."""

    async def close(self) -> None:
        """End every reading and the connection; accepted messages stay."""


async def forward(stream: AsyncGenerator[Message], queue: asyncio.Queue[Message]) -> None:
    """Put what a reading yields into a queue, for ever."""
    async for message in stream:
        await queue.put(message)


def check_fetch(subject: Subject, *, node: str, coordinator: bool) -> None:
    """Refuse a subject that `node` may not fetch; the server holds the same rule.

    Raises:
        TransportError: A member asks for a step that goes to the coordinator alone.
    """
    if not coordinator and subject.step not in FETCHED_STEPS:
        raise TransportError(
            f"{node}: fetch: step {subject.step!r} goes to the coordinator alone; a member may fetch "
            f"{', '.join(sorted(FETCHED_STEPS))}"
        )


def check_publication(subject: Subject, *, node: str, coordinator: bool) -> None:
    """Refuse a subject that `node` may not write to; the server holds the same rule against liars.

    Raises:
        MessageError: The sender is not `node`, or a member publishes a step of the coordinator's.
    """
    if subject.sender != node:
        raise MessageError(f"publish: expected sender {node!r} (this node), got {subject.sender!r}")
    if not coordinator and subject.step not in MEMBER_STEPS:
        raise MessageError(
            f"publish: step {subject.step!r} is the coordinator's; a member has {', '.join(sorted(MEMBER_STEPS))}"
        )
