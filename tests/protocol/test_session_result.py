"""Claims about the published result at a member's side."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from hansa.errors import MessageError, ProtocolError, SignatureError
from hansa.protocol.messages import Recover, Result
from players import Table, from_coordinator, from_member, table_after_upload
from simulator import limits, purpose


def opened_table(**changes: object) -> tuple[Table, Result, bytes]:
    """Return a session opened over all but m4, its result and its call."""
    table = table_after_upload(("m4",), rules=limits(5, 1, gram=purpose(**changes)))
    table.agree()
    call = table.open(table.sum.uploaded)
    result = table.sum.result()
    assert result is not None
    return table, result, call


@pytest.mark.parametrize("exchanges", [2, 3])
@pytest.mark.parametrize("bound", [100.0, 1e6])
def test_the_result_of_a_called_cohort_closes_the_session(exchanges: int, bound: float) -> None:
    table, result, call = opened_table(exchanges=exchanges, value_bound=bound)
    assert len(result.steps) == 6 * (8 if bound > 100 else 4)
    aggregate = table.sessions["m0"].on_result(from_coordinator(result))
    assert aggregate.cohort == table.sum.uploaded
    assert np.array_equal(aggregate.steps, table.expected(aggregate.cohort))
    assert table.sessions["m0"].is_closed
    restarted = table.session("m0")
    assert restarted.upload(table.doors["m0"], announced_ns=0, now_ns=0) is None
    assert restarted.on_cohort(from_coordinator(table.propose())) is None
    assert restarted.on_call(call) is None
    assert restarted.on_recover(from_coordinator(Recover(table.sum.digest, b"", {}))) is None


def test_a_member_outside_the_cohort_takes_a_called_result_too() -> None:
    table, result, call = opened_table()
    outsider = table.sessions["m4"]
    assert outsider.on_cohort(from_coordinator(table.propose())) is None
    with pytest.raises(ProtocolError, match="nobody was called"):
        outsider.on_result(from_coordinator(result))
    assert outsider.on_call(call) is None
    assert outsider.on_result(from_coordinator(result)).cohort == table.sum.uploaded


@pytest.mark.parametrize(
    "change", [{"root": b"\0" * 32}, {"members": ("m0", "m1", "m2", "m3", "m4")}, {"steps": bytes(20)}, {"number": 1}]
)
def test_a_result_of_another_cohort_length_or_call_is_refused(change: dict[str, object]) -> None:
    table, result, _ = opened_table()
    with pytest.raises((ProtocolError, MessageError)):
        table.sessions["m0"].on_result(from_coordinator(msgspec.structs.replace(result, **change)))
    assert not table.sessions["m0"].is_closed


def test_a_result_before_its_cohort_or_by_another_hand_is_refused() -> None:
    table, result, _ = opened_table()
    with pytest.raises(ProtocolError, match="published"):
        table.session("m1").on_result(from_coordinator(result))
    with pytest.raises(SignatureError):
        table.sessions["m0"].on_result(from_member("coordinator", result, signer="m1"))


def test_steps_changed_after_the_coordinator_signed_them_are_refused() -> None:
    table, result, _ = opened_table()
    body = bytearray(from_coordinator(result))
    place = bytes(body).index(result.steps)
    body[place] ^= 1
    with pytest.raises(SignatureError):
        table.sessions["m0"].on_result(bytes(body))
