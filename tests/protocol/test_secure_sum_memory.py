"""What a session of the coordinator keeps of each member: hashes and packages, never a vector."""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING

import pytest

from hansa.crypto.encryption import ciphertext_bytes
from hansa.protocol.secure_sum import SecureSum
from hansa.protocol.session import vector_coefficients
from players import Table, from_coordinator, manifest
from simulator import limits, purpose

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

VALUES = 60_000


@pytest.fixture
def traced() -> Iterator[Callable[[], int]]:
    tracemalloc.start()
    yield lambda: tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()


def test_a_coordinator_keeps_one_total_and_one_vector_a_call_whatever_the_number_of_members(
    traced: Callable[[], int],
) -> None:
    rules = limits(members=9, colluders=2, gram=purpose(values=VALUES))
    table = Table(rules, manifest(rules, length=VALUES))
    members, vector = table.rules.members, ciphertext_bytes(vector_coefficients(table.manifest, table.rules))
    table.upload(members)
    uploads = dict(table.uploads)
    coordinator = SecureSum(table.manifest, limits=table.rules)
    kept = []
    for name in members:
        coordinator.add_upload(name, uploads[name])
        kept.append(traced())
    assert (kept[-1] - kept[0]) / (len(members) - 1) < vector / 16
    cohort = coordinator.propose_cohort()
    coordinator.note_cohort(cohort)
    for name in members:
        agreement = table.sessions[name].on_cohort(from_coordinator(cohort))
        assert agreement is not None
        coordinator.add_agreement(name, agreement)
    call = coordinator.next_call()
    assert call is not None
    coordinator.note_call(call)
    openings = {name: table.sessions[name].on_call(from_coordinator(call)) for name in call.decryptors}
    before, kept = traced(), []
    for name, opening in openings.items():
        assert opening is not None
        coordinator.add_opening(name, opening)
        kept.append(traced())
    assert len(kept) == table.rules.threshold >= 6
    assert before + vector / 2 < kept[0] < before + 2 * vector  # the sum's copy, to which partials are added
    assert (kept[-1] - kept[0]) / (len(kept) - 1) < vector / 16
    assert coordinator.result() is not None
