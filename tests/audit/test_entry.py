"""Claims about statements and the envelopes they are logged in."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import msgspec
import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from hansa.audit.entry import PAYLOAD_TYPE, open_entry, seal_entry
from hansa.audit.statement import PREDICATES, ChargeLogged, ExitLogged, Predicate, Statement
from hansa.crypto.signature import pae, verify
from hansa.errors import HansaError, LogError, MessageError, SignatureError
from simulator import signing_key

KEYS = {"coordinator": signing_key("coordinator").public}
EXIT = ExitLogged(time=1_700_000_000, member="m3", constitution="ab" * 32, reason="notice given")


def digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def sealed(statement: Statement) -> bytes:
    return seal_entry(statement, party="coordinator", signer=signing_key("coordinator"))


def example(kind: type[Predicate]) -> Predicate:
    values: dict[Any, Any] = {
        int: 7, str: "text", float: 1e-7, bool: True, tuple[str, ...]: ("a", "b"), str | None: None,
    }  # fmt: skip
    fields = {}
    for field in msgspec.structs.fields(kind):
        literals = getattr(field.type, "__args__", ())
        fields[field.name] = values[field.type] if field.type in values else literals[0]
    return kind(**fields)


@pytest.mark.parametrize("kind", PREDICATES.values(), ids=PREDICATES)
def test_every_kind_is_logged_and_read_again(kind: type[Predicate]) -> None:
    statement = Statement({"thing/b": digest("b"), "thing/a": digest("a")}, example(kind))
    opened = open_entry(sealed(statement), keys=KEYS)
    assert opened == (statement, "coordinator")


def test_an_entry_is_a_dsse_envelope_of_an_in_toto_statement_in_canonical_json() -> None:
    statement = Statement({"constitution": digest("c")}, EXIT)
    entry = sealed(statement)
    envelope = json.loads(entry)
    payload = base64.b64decode(envelope["payload"])
    assert rfc8785.dumps(envelope) == entry
    assert rfc8785.dumps(json.loads(payload)) == payload
    assert json.loads(payload) == {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "constitution", "digest": {"sha256": digest("c").hex()}}],
        "predicateType": "urn:hansa:log:exit:1",
        "predicate": {"time": 1_700_000_000, "member": "m3", "constitution": "ab" * 32, "reason": "notice given"},
    }
    (signature,) = envelope["signatures"]
    assert (envelope["payloadType"], signature["keyid"]) == ("application/vnd.in-toto+json", "coordinator")
    raw = base64.b64decode(signature["sig"])
    verify(signing_key("coordinator").public_bytes(), PAYLOAD_TYPE, payload, raw)
    assert signing_key("coordinator").sign(PAYLOAD_TYPE, payload) == raw, pae(PAYLOAD_TYPE, payload)


@given(st.floats(0, 1e15))
def test_numbers_are_written_as_another_implementation_writes_them(epsilon: float) -> None:
    charge = msgspec.structs.replace(example(ChargeLogged), epsilon=epsilon)
    data = Statement({"a": digest("a")}, charge).to_bytes()
    assert rfc8785.dumps(json.loads(data)) == data
    assert Statement.parse(data).predicate == charge


def test_any_changed_byte_of_an_entry_is_refused() -> None:
    entry = sealed(Statement({"constitution": digest("c")}, EXIT))
    for place in range(len(entry)):
        changed = entry[:place] + bytes([entry[place] ^ 1]) + entry[place + 1 :]
        with pytest.raises(HansaError):
            open_entry(changed, keys=KEYS)


@pytest.mark.parametrize(
    ("change", "claim"),
    [
        (lambda e: e | {"payloadType": "text/plain"}, "canonical envelope of"),
        (lambda e: e | {"signatures": []}, "one signature of a party"),
        (lambda e: e | {"signatures": e["signatures"] * 2}, "one signature of a party"),
        (lambda e: e | {"signatures": [e["signatures"][0] | {"keyid": "stranger"}]}, "one signature of a party"),
        (lambda e: e | {"more": 1}, "not a DSSE envelope"),
        (lambda e: e | {"payload": "!"}, "not a DSSE envelope"),
    ],
)
def test_an_envelope_of_another_form_is_refused(change: Any, claim: str) -> None:
    envelope = json.loads(sealed(Statement({"constitution": digest("c")}, EXIT)))
    with pytest.raises(MessageError, match=claim):
        open_entry(rfc8785.dumps(change(envelope)), keys=KEYS)
    with pytest.raises(MessageError, match="canonical"):
        open_entry(json.dumps(envelope).encode(), keys=KEYS)


def test_a_signature_of_another_party_is_refused() -> None:
    entry = sealed(Statement({"constitution": digest("c")}, EXIT))
    with pytest.raises(SignatureError):
        open_entry(entry, keys={"coordinator": signing_key("other").public})


@pytest.mark.parametrize(
    ("change", "claim"),
    [
        (lambda s: s | {"predicateType": "urn:hansa:log:unknown:1"}, "not known here"),
        (lambda s: s | {"predicateType": "urn:hansa:log:exit:2"}, "not known here"),
        (lambda s: s | {"_type": "https://in-toto.io/Statement/v0.1"}, "not known here"),
        (lambda s: s | {"subject": []}, "one subject or more"),
        (lambda s: s | {"subject": [{"name": "a", "digest": {"sha1": "00"}}]}, "expected a sha256"),
        (lambda s: s | {"subject": s["subject"] * 2}, "not canonical"),
        (lambda s: s | {"predicate": s["predicate"] | {"more": 1}}, "more"),
        (lambda s: s | {"predicate": {}}, "missing required field"),
        (lambda s: {"predicate": s["predicate"]}, "missing required field"),
    ],
)
def test_a_statement_of_another_form_is_refused(change: Any, claim: str) -> None:
    document = json.loads(Statement({"constitution": digest("c")}, EXIT).to_bytes())
    with pytest.raises(MessageError, match=claim):
        Statement.parse(rfc8785.dumps(change(document)))


def test_a_statement_that_parsers_read_differently_is_refused() -> None:
    data = Statement({"constitution": digest("c")}, EXIT).to_bytes()
    with pytest.raises(MessageError, match="stands twice"):
        Statement.parse(data.replace(b'"member":"m3"', b'"member":"m3","member":"m4"'))
    with pytest.raises(MessageError, match="not canonical"):
        Statement.parse(data.replace(b":", b": ", 1))


def test_what_has_no_canonical_form_is_not_logged() -> None:
    with pytest.raises(MessageError, match="one subject or more"):
        sealed(Statement({}, EXIT))
    with pytest.raises(MessageError, match="one subject or more"):
        sealed(Statement({"a": b"short"}, EXIT))
    with pytest.raises(MessageError, match="statement"):
        sealed(Statement({"a": digest("a")}, msgspec.structs.replace(EXIT, time=2**60)))


def test_a_statement_that_is_too_long_for_a_log_says_so() -> None:
    hundred = Statement({f"upload/{'m' * 36}{k:03}": digest("u") for k in range(200)}, EXIT)
    assert len(sealed(hundred)) < 65_535, "two subjects each of a hundred members fit"
    many = Statement({f"upload/m{k}": digest("u") for k in range(600)}, EXIT)
    with pytest.raises(LogError, match="name fewer subjects"):
        sealed(many)
