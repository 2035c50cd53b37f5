"""Claims about the published result at a member's side, and about what a lying coordinator gets from it."""

from __future__ import annotations

import msgspec
import pytest

from hansa.errors import (
    MessageError,
    ProtocolError,
    SignatureError,
)
from hansa.protocol.messages import (
    Recover,
    Result,
)
from players import from_coordinator, from_member, table_after_upload

COORDINATOR = "coordinator"


def test_the_result_of_a_certified_cohort_closes_the_session() -> None:
    table = table_after_upload(("m4",))
    table.agree()
    table.open(table.sum.uploaded)
    result = table.sum.result()
    assert result is not None
    aggregate = table.sessions["m0"].on_result(from_coordinator(result))
    assert aggregate.cohort == table.sum.uploaded
    assert aggregate.words.view("<i4").tolist() == table.expected(aggregate.cohort).tolist()
    assert table.sessions["m0"].is_closed
    restarted = table.session("m0")
    assert restarted.upload(table.doors["m0"], announced_ns=0, now_ns=0) is None
    assert restarted.on_cohort(from_coordinator(table.propose())) is None
    assert restarted.on_certificate(table.certify()) is None
    assert restarted.on_recover(from_coordinator(Recover(table.sum.digest, b"", {}))) is None


def test_a_member_outside_the_cohort_takes_a_certified_result_too() -> None:
    table = table_after_upload(("m4",))
    table.agree()
    table.open(table.sum.uploaded)
    result = from_coordinator(table.sum.result())  # type: ignore[arg-type]
    outsider = table.sessions["m4"]
    assert outsider.on_cohort(from_coordinator(table.propose())) is None
    with pytest.raises(ProtocolError, match="no quorum"):
        outsider.on_result(result)
    assert outsider.on_certificate(table.certify()) is None
    assert outsider.on_result(result).cohort == table.sum.uploaded


def test_a_result_of_another_cohort_is_refused() -> None:
    table = table_after_upload(("m4",))
    table.agree()
    table.open(table.sum.uploaded)
    result = table.sum.result()
    assert result is not None
    for change in ({"root": b"\0" * 32}, {"members": table.rules.members}, {"words": result.words[:-4]}):
        with pytest.raises((ProtocolError, MessageError)):
            table.sessions["m0"].on_result(from_coordinator(msgspec.structs.replace(result, **change)))
    unheard = table.session("m1")
    with pytest.raises(ProtocolError, match="published"):
        unheard.on_result(from_coordinator(result))
    with pytest.raises(SignatureError):
        table.sessions["m0"].on_result(from_member(COORDINATOR, result, signer="m1"))


def test_words_changed_after_the_coordinator_signed_them_are_refused() -> None:
    table = table_after_upload(("m4",))
    table.agree()
    table.open(table.sum.uploaded)
    result = table.sum.result()
    assert isinstance(result, Result)
    body = bytearray(from_coordinator(result))
    place = bytes(body).index(result.words)
    body[place] ^= 1
    with pytest.raises(SignatureError):
        table.sessions["m0"].on_result(bytes(body))
