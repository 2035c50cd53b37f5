"""A member adds published sums again, when nothing else waits, and stops trusting a coordinator that changed one.

What a sum's verification needs is fetched by address; the newest sums wait in memory, and after a restart the board is
read again, so a sum that was not yet added again is added then.

Guarantees: a member that found a published sum to be another than the uploads add up to keeps that on disk and takes
part in nothing more; its records name the session. Does NOT guarantee: that the wrong sum was not used before; of a
small sum it is found out within the next idle moment.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hansa.errors import HansaError, ProtocolError, RefusedError
from hansa.federation.transport import Subject
from hansa.protocol.verification import needed, verifiers, verify_sum

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hansa.federation.records import Records
    from hansa.protocol.epoch import Facts
    from hansa.protocol.limits import Limits
    from hansa.protocol.messages import Call, Cohort, Manifest, Result
    from hansa.protocol.session import MemberSession

_DISTRUST = "distrust"


@dataclass(frozen=True, slots=True)
class _Published:
    manifest: Manifest
    cohort: Cohort
    calls: tuple[Call, ...]
    result: Result


class Readding:
    """The sums that one member has yet to add again.

    Args:
        name: The member.
        limits: The constitution's limits.
        facts: The member's durable facts.
        records: Its published records: `readded/<session>` says whether a sum was right.
        clock: Returns ns UTC.
    """

    def __init__(self, name: str, *, limits: Limits, facts: Facts, records: Records, clock: Callable[[], int]) -> None:
        self._name = name
        self._limits = limits
        self._facts = facts
        self._records = records
        self._clock = clock
        self._waiting: deque[_Published] = deque()

    def refuse_if_distrusted(self) -> None:
        """Refuse to go on after a sum that was changed.

        Raises:
            RefusedError: The coordinator published a wrong sum before.
        """
        session = self._facts.fact(_DISTRUST)
        if session is not None:
            raise RefusedError(
                f"the coordinator published a wrong sum, or two, in {session.decode()}; "
                "this member takes part in nothing more until its operator has settled that"
            )

    def distrust(self, session: str) -> None:
        """Keep that the coordinator has published a wrong sum, or two, in a session."""
        if self._facts.fact(_DISTRUST) is None:
            self._facts.remember(_DISTRUST, session.encode())

    def note(self, session: MemberSession) -> None:
        """Note a session whose result has come, if this member is one of those that add it again."""
        cohort, result = session.cohort, session.result
        if cohort is None or result is None or self._records.get(f"readded/{session.manifest.session}") is not None:
            return
        if self._name in verifiers(session.manifest, cohort, self._limits):
            self._waiting.append(_Published(session.manifest, cohort, tuple(session.calls), result))

    def wanted(self) -> list[Subject]:
        """Return the addresses of what the oldest waiting sum needs, none if none waits."""
        if not self._waiting:
            return []
        one = self._waiting[0]
        addresses = needed(one.manifest, one.cohort, one.calls, one.result.number)
        return [Subject(one.manifest.epoch, one.manifest.session, step, name) for step, name in addresses]

    def collected(self, bodies: Mapping[Subject, bytes | None]) -> None:
        """Add the oldest waiting sum again from what was fetched for it, and keep the verdict."""
        one = self._waiting.popleft()
        session = one.manifest.session
        found = {(subject.step, subject.sender): body for subject, body in bodies.items() if body is not None}
        try:
            verify_sum(
                one.result,
                manifest=one.manifest,
                cohort=one.cohort,
                calls=one.calls,
                bodies=found,
                limits=self._limits,
            )
        except ProtocolError as error:
            self.distrust(session)
            self._judge(session, error)
        except HansaError as error:
            self._judge(session, error)
        else:
            self._records.put(f"readded/{session}", True)  # noqa: FBT003 - the published value

    def _judge(self, session: str, error: HansaError) -> None:
        self._records.put(f"readded/{session}", False)  # noqa: FBT003 - the published value
        self._records.note(self._clock(), session, "result", f"{type(error).__name__}: {error}")
