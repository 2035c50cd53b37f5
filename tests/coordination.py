"""What tests of the coordinator ask of a federation in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hansa.federation.transport import Message, Subject

if TYPE_CHECKING:
    from simulator import Simulation

SESSION = "r1-0-gram-a1"


def says(federation: Simulation, step: str) -> bool:
    return any(sent[1] == step for sent in federation.sent)


def is_set_up(federation: Simulation) -> bool:
    return federation.coordinator._epoch.epoch_id is not None


def told(
    federation: Simulation, step: str, body: bytes, *, sender: str = "coordinator", session: str = SESSION
) -> None:
    subject = Subject(federation.epoch, session, step, sender)
    federation.coordinator.handle(Message(subject, body, 10_000, federation.now_ns))


def notes(federation: Simulation) -> list[str]:
    return [str(row["reason"]) for row in federation.coordinator._records.rows("SELECT reason FROM note")]


def deaths(federation: Simulation) -> list[str]:
    found = federation.coordinator._records.rows("SELECT reason FROM session WHERE state = 'died'")
    return [str(row["reason"]) for row in found]


def is_exact(federation: Simulation, name: str = "m0") -> bool:
    return all(np.array_equal(aggregate.steps, federation.expected(aggregate)) for aggregate in federation.opened(name))
