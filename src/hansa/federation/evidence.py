"""An evidence bundle of a running or finished federation: entries of the log, and the messages that they are about.

The log is read from the coordinator's folder, the messages from the federation's streams by their addresses; each is
taken only if its hash is the one that was logged.

Guarantees: what is in the bundle is what the log names. Does NOT guarantee: that it verifies: `hansa verify` says.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from hansa.audit.bundle import make_bundle
from hansa.audit.reader import LogReader
from hansa.audit.statement import CohortLogged, ManifestLogged, Statement
from hansa.errors import ConfigurationError, LogError, TransportError
from hansa.federation.coordinator_service import start_server
from hansa.federation.entries import peek
from hansa.federation.log_view import log_key
from hansa.federation.logged import seeds_of
from hansa.federation.node import connect
from hansa.federation.rules import limits_of
from hansa.federation.transport import STEPS, Subject
from hansa.protocol.messages import Call, Cohort, Manifest, open_envelope
from hansa.protocol.session import call_limit, call_step

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hansa.audit.reader import LogFiles
    from hansa.federation.node import Node
    from hansa.federation.transport import Transport
    from hansa.protocol.limits import Limits

_QUARTER: Final = re.compile(r"(\d{4})Q([1-4])")
_FIRST_PATIENCE_SECONDS: Final = 2.0
_PATIENCE_SECONDS: Final = 20.0
_AT_ONCE: Final = 32


@dataclass(frozen=True, slots=True)
class Choice:
    """What an evidence bundle is about; nothing chosen: everything that the log has.

    Args:
        round: Number of a round (its minute, YYYYMMDDhhmm) or of a day of the state channel.
        member: A member: sums that it is in, and what it said.
        start: First second UTC of entries.
        end: The second after the last.
    """

    round: int | None = None
    member: str = ""
    start: int = 0
    end: int = 1 << 60

    def numbers(self, statements: Sequence[Statement]) -> list[int]:
        """Return the numbers of the entries that are chosen: whole sums, and the rules and epochs they stand under.

        Raises:
            LogError: No sum is; says which rounds the log has.
        """
        sums = {said.manifest for one in statements if self._is_wanted(said := one.predicate)}  # type: ignore[attr-defined]
        if not sums:
            rounds = sorted({said.round for one in statements if isinstance(said := one.predicate, ManifestLogged)})
            there = f"{rounds[0]} to {rounds[-1]}, {len(rounds)} in all" if rounds else "none"
            raise LogError(f"evidence: the log has no sum of that choice; rounds there: {there}")
        chosen = []
        for number, statement in enumerate(statements):
            said = statement.predicate
            manifest = getattr(said, "manifest", None)
            if manifest in sums if manifest else self._is_beside(said):
                chosen.append(number)
        return chosen

    def _is_wanted(self, said: object) -> bool:
        if self.member:
            return isinstance(said, CohortLogged) and self.member in said.members and self.start <= said.time < self.end
        is_in_time = isinstance(said, ManifestLogged) and self.start <= said.time < self.end
        return is_in_time and self.round in {None, said.round}  # type: ignore[attr-defined]

    def _is_beside(self, said: object) -> bool:
        name = getattr(said, "member", "")
        return not name or (self.round is None and self.member in {"", name})


def quarter_seconds(text: str) -> tuple[int, int]:
    """Return the first second of a calendar quarter such as 2026Q4, UTC, and the one after its last.

    Raises:
        ConfigurationError: It is none.
    """
    found = _QUARTER.fullmatch(text)
    if not found:
        raise ConfigurationError(f"quarter: expected such as 2026Q4, got {text[:20]!r}")
    year, number = int(found[1]), int(found[2])
    begins = datetime(year, 3 * number - 2, 1, tzinfo=UTC)
    ends = datetime(year + number // 4, 3 * number % 12 + 1, 1, tzinfo=UTC)
    return int(begins.timestamp()), int(ends.timestamp())


async def export(node: Node, choice: Choice, *, constitution: bytes) -> bytes:
    """Return the bundle of what is chosen.

    Args:
        node: The coordinator's folder.
        choice: What it is about.
        constitution: The signed constitution's file.

    Raises:
        LogError: Nothing in the log is of that choice, or a message that it names cannot be had.
        StoreError: There is no log here.
        TransportError: The message server cannot be reached.
    """
    limits = limits_of(node.constitution)
    log = LogReader(node.log, key=log_key(limits))
    server, transport = None, None
    try:
        try:
            transport = await connect(node, coordinator=True, patience_seconds=_FIRST_PATIENCE_SECONDS)
        except TransportError:
            server = start_server(node)
            transport = await connect(node, coordinator=True, patience_seconds=_PATIENCE_SECONDS)
        return await collect(transport, log, choice, limits=limits, constitution=constitution)
    finally:
        if transport is not None:
            await transport.close()
        if server is not None:
            server.stop()


async def collect(transport: Transport, log: LogFiles, choice: Choice, *, limits: Limits, constitution: bytes) -> bytes:
    """Return the bundle of what is chosen, from a log and the federation's streams; see `export`."""
    statements = [peek(entry) for entry in log.entries()]
    numbers = choice.numbers(statements)
    chosen = [statements[number] for number in numbers]
    messages = await _messages(transport, chosen)
    return make_bundle(
        log,
        numbers=numbers,
        constitution=constitution,
        keys=limits.keys,
        log_key=limits.keys[limits.coordinator],
        message=messages.get,
        seeds=await _Seeds(transport, limits, messages).of(chosen),
    )


def _addresses(statements: Sequence[Statement]) -> dict[bytes, Subject]:
    """Return the address of each message that the statements of sums name, by its SHA-256."""
    epochs = {said.manifest: said.epoch for one in statements if isinstance(said := one.predicate, ManifestLogged)}
    found = {}
    for statement in statements:
        epoch = epochs.get(getattr(statement.predicate, "manifest", ""))
        for name, digest in statement.subjects.items() if epoch else ():
            step, _, sender = name.partition("/")
            if step in STEPS:
                found[digest] = Subject(epoch or "", statement.predicate.session, step, sender)  # type: ignore[attr-defined]
    return found


async def _messages(transport: Transport, statements: Sequence[Statement]) -> dict[bytes, bytes]:
    """Fetch what the statements name.

    Raises:
        LogError: A message is not there, or not the one that was logged.
    """
    gate = asyncio.Semaphore(_AT_ONCE)
    found: dict[bytes, bytes] = {}

    async def fetch(digest: bytes, subject: Subject) -> None:
        async with gate:
            body = await transport.fetch(subject)
        if body is None or hashlib.sha256(body).digest() != digest:
            state = "is not in the streams" if body is None else "is another than the one that was logged"
            raise LogError(f"evidence: {subject.session}/{subject.step}/{subject.sender} {state}")
        found[digest] = body

    await asyncio.gather(*(fetch(digest, subject) for digest, subject in _addresses(statements).items()))
    return found


class _Seeds:
    """The seeds of masks towards members that dropped out of a sum, from the messages that revealed them."""

    def __init__(self, transport: Transport, limits: Limits, messages: Mapping[bytes, bytes]) -> None:
        self._transport = transport
        self._limits = limits
        self._messages = messages

    async def of(self, statements: Sequence[Statement]) -> dict[str, Mapping[str, Mapping[str, bytes]]]:
        """Return them by manifest."""
        told: dict[str, list[Statement]] = {}
        for statement in statements:
            told.setdefault(getattr(statement.predicate, "manifest", ""), []).append(statement)
        found: dict[str, Mapping[str, Mapping[str, bytes]]] = {}
        for digest, group in told.items():
            kinds = {one.predicate.kind: one for one in group}
            if digest and {"manifest", "cohort", "ciphertexts", "result"} <= kinds.keys():
                seeds = await self._of_sum(kinds)
                found |= {digest: seeds} if seeds else {}
        return found

    async def _of_sum(self, kinds: Mapping[str, Statement]) -> Mapping[str, Mapping[str, bytes]]:
        coordinator, limits = self._limits.coordinator, self._limits
        key = limits.keys[coordinator]
        manifest = open_envelope(
            self._messages[kinds["manifest"].subjects[f"announce/{coordinator}"]], Manifest, sender=coordinator, key=key
        )
        cohort = open_envelope(
            self._messages[kinds["cohort"].subjects[f"cohort/{coordinator}"]], Cohort, sender=coordinator, key=key
        )
        if cohort.members == manifest.participants:
            return {}
        calls = []
        for number in range(limits.reopenings + 1):
            body = await self._transport.fetch(
                Subject(manifest.epoch, manifest.session, call_step(number), coordinator)
            )
            if body is None:
                break
            calls.append(open_envelope(body, Call, sender=coordinator, key=key, limit=call_limit(len(limits.members))))
        named = kinds["ciphertexts"].subjects | kinds["result"].subjects
        bodies = {
            (step, sender): self._messages[digest]
            for name, digest in named.items()
            for step, _, sender in (name.partition("/"),)
            if step != "result"
        }
        return seeds_of(manifest, cohort, calls, bodies, limits=limits)
