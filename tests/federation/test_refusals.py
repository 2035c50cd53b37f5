from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from hansa.federation.refusals import MAX_SENDERS, WHOLE_LINES, Refusals

if TYPE_CHECKING:
    import pytest


def test_a_sender_of_garbage_gets_a_few_lines_only(caplog: pytest.LogCaptureFixture) -> None:
    refusals = Refusals()
    with caplog.at_level(logging.WARNING):
        for number in range(1, 1001):
            assert refusals.note("north", "garbage") == number
        refusals.note("south", "first of its own")
    numbers = [1, 2, 3, 10, 100, 1000]
    assert [record.message for record in caplog.records] == [
        *(f"skipped, number {number} of north: garbage" for number in numbers),
        "skipped, number 1 of south: first of its own",
    ]
    assert WHOLE_LINES == 3


def test_counts_do_not_grow_with_the_number_of_senders(caplog: pytest.LogCaptureFixture) -> None:
    refusals = Refusals()
    with caplog.at_level(logging.ERROR):
        for number in range(3 * MAX_SENDERS):
            refusals.note(f"s{number}", "garbage")
    assert len(refusals._counts) == MAX_SENDERS + 1
    assert refusals.note("another", "garbage") == 2 * MAX_SENDERS + 1
