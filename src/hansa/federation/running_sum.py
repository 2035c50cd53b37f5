"""One secure sum under way at the coordinator: what it waits for, for how long, and what it says next.

| reached | waits for | at the latest | then says |
|---|---|---|---|
| announce | every participant's upload | `upload_ns` | cohort, in two exchanges with the first call; or died |
| cohort | a quorum's agreements (three exchanges), a cosigned checkpoint | `agree_ns` | the first call, or died |
| call, recover | its decryptors' partials, all seeds | `open_ns` | result; or a call of others, a recovery; or died |

Times are the stream's, so a restarted coordinator waits no longer than one that lived.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

from hansa.errors import ProtocolError, RefusedError, SessionDiedError
from hansa.protocol.messages import Died, Manifest
from hansa.protocol.secure_sum import SecureSum
from hansa.protocol.session import call_step, session_label

if TYPE_CHECKING:
    from hansa.federation.epoch_setup import CoordinatorEpoch
    from hansa.protocol.limits import Limits
    from hansa.protocol.messages import Payload
    from hansa.protocol.verification import Address


ASIDE: Final = range(10**9, 10**11)
"""Rounds named by a second of UTC: sums that nothing builds on; days and minutes are shorter and longer names."""


@dataclass(frozen=True, slots=True)
class Request:
    """One secure sum that a programme asks for; the span's ends are end-of-bar stamps, ns UTC, both included."""

    round: int
    position: int
    purpose: str
    index: int
    span_start_ns: int
    span_end_ns: int


def is_aside(request: Request) -> bool:
    """Return whether no other sum waits for this one; its round's name says so, to a restarted coordinator as well."""
    return request.round in ASIDE


def manifest_for(request: Request, *, attempt: int, epoch: CoordinatorEpoch, limits: Limits) -> Manifest:
    """Return the manifest of one attempt at a sum.

    Raises:
        RefusedError: The epoch has no id: it is not set up.
    """
    purpose = limits.purposes[request.purpose]
    if epoch.epoch_id is None:
        raise RefusedError("a session before its epoch is set up")
    bars = (request.span_end_ns - request.span_start_ns) // limits.bar_ns + 1
    manifest = Manifest(
        federation=limits.federation,
        constitution=limits.constitution,
        epoch=epoch.label,
        epoch_id=epoch.epoch_id,
        session="",
        round=request.round,
        position=request.position,
        index=request.index,
        attempt=attempt,
        purpose=request.purpose,
        length=purpose.values + purpose.values_per_bar * bars,
        span_start_ns=request.span_start_ns,
        span_end_ns=request.span_end_ns,
        participants=epoch.members,
    )
    return msgspec.structs.replace(manifest, session=session_label(manifest))


class RunningSum:
    """A session in progress.

    Args:
        request: What asked for it.
        manifest: The manifest as published.
        limits: The constitution's limits.
        time_ns: The stream's time of the manifest.
    """

    def __init__(self, request: Request, manifest: Manifest, *, limits: Limits, time_ns: int) -> None:
        self.request = request
        self.sum = SecureSum(manifest, limits=limits)
        self._limits = limits
        self._step = "announce"
        self._since_ns = time_ns
        self._has_recovered = False
        self.answers: dict[Address, bytes] = {}  # SHA-256 of openings and shares that were taken, by step and sender
        self._awaited = ""  # the step that was said last, until the stream has it
        self._notes: list[str] = []

    def note_answer(self, step: str, sender: str, body: bytes) -> None:
        """Note the hash of an opening or of shares that were taken: the log names them with the result."""
        self.answers[step, sender] = hashlib.sha256(body).digest()

    def reach(self, step: str, time_ns: int) -> None:
        """Note that the stream has this session's `step`, since `time_ns`."""
        self._step, self._since_ns = step, time_ns
        self._has_recovered = self._has_recovered or step == "recover"
        if step == self._awaited:
            self._awaited = ""

    def take_notes(self) -> list[str]:
        """Return what is to be known of this session since the last call: who is suspected of what."""
        notes, self._notes = self._notes, []
        return notes

    def drive(self, now_ns: int) -> list[tuple[str, Payload]]:
        """Return what is to be said now, as (step, payload); nothing twice before the stream has it."""
        said = [] if self._awaited else self._say_next(now_ns - self._since_ns)
        if said:
            self._awaited = said[-1][0]
        return said

    def _say_next(self, waited: int) -> list[tuple[str, Payload]]:
        try:
            if self._step == "announce":
                return self._close_uploads(is_late=waited > self._limits.upload_ns)
            if self._step == "cohort" and self.sum.call is None:
                return self._call_first(is_late=waited > self._limits.agree_ns)
            return self._open(is_late=waited > self._limits.open_ns)
        except SessionDiedError as error:
            return [("died", Died(self.sum.digest, str(error)))]

    def _close_uploads(self, *, is_late: bool) -> list[tuple[str, Payload]]:
        everybody = self.sum.uploaded == self.sum.manifest.participants
        if self.sum.cohort is not None or not (is_late or everybody):
            return []
        cohort = self.sum.propose_cohort()
        self.sum.note_cohort(cohort)
        return [("cohort", cohort), *(self._call() if self.sum.exchanges == 2 else ())]

    def _call_first(self, *, is_late: bool) -> list[tuple[str, Payload]]:
        called = self._call()
        if is_late and not called:
            why = "no quorum agreed in time"
            if self._limits.cosignatures and not self.sum.checkpoint:
                why = f"{self._limits.cosignatures} members did not cosign a checkpoint with this manifest in time"
            raise SessionDiedError(why)
        return called

    def _call(self) -> list[tuple[str, Payload]]:
        call = self.sum.next_call()
        if call is None:
            return []
        self.sum.note_call(call)
        return [(call_step(call.number), call)]

    def _open(self, *, is_late: bool) -> list[tuple[str, Payload]]:
        """Publish the sum if it opens; call others, or ask for the shares of who vanished, when it is late."""
        try:
            result = self.sum.result()
        except ProtocolError as error:
            self._notes.append(str(error))
            return self._call()
        if result is not None:
            suspects = self.sum.suspects()
            if suspects:
                self._notes.append(f"a partial decryption was wrong: one of {', '.join(sorted(suspects))} gave it")
            return [("result", result)]
        if not is_late:
            return []
        missing = self.sum.missing()
        said = [] if self.sum.is_answered() else self._call()
        if missing and not self._has_recovered:
            self._has_recovered = True
            said.append(("recover", self.sum.recover()))
        if not said:
            raise SessionDiedError(f"seeds of {', '.join(missing)} towards dropped members are missing")
        return said
