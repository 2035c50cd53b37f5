"""Entries of the log: statements in signed DSSE envelopes, one byte string each.

```
{"payload": base64(statement), "payloadType": "application/vnd.in-toto+json",
 "signatures": [{"keyid": "<party>", "sig": base64(signature)}]}
```

Canonical JSON. `keyid` is the name of the party in the constitution, whose identity key verifies; the signature covers
the DSSE pre-authentication encoding of payload type and payload.

Guarantees: what `open_entry` returns was signed by the party that `keyid` names. Does NOT guarantee: that this party
may say it (the caller compares), or that it stands in a log (an inclusion proof does).

Source: DSSE protocol v1.0.2.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from hansa.audit.statement import Statement
from hansa.audit.tiles import MAX_ENTRY_BYTES
from hansa.crypto.canonical import canonical
from hansa.crypto.signature import parse_public, verify
from hansa.errors import LogError, MessageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hansa.crypto.signature import Signer

PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"


class _Signature(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    keyid: str
    sig: str


class _Envelope(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    payload: str
    payload_type: str = msgspec.field(name="payloadType")
    signatures: tuple[_Signature, ...]


class Opened(NamedTuple):
    """An entry's statement and the party that signed it."""

    statement: Statement
    party: str


def seal_entry(statement: Statement, *, party: str, signer: Signer) -> bytes:
    """Sign a statement and return the entry's bytes.

    Raises:
        MessageError: The statement has no canonical form.
        LogError: The entry is longer than a log takes.
    """
    payload = statement.to_bytes()
    signature = {"keyid": party, "sig": base64.b64encode(signer.sign(PAYLOAD_TYPE, payload)).decode()}
    entry = canonical(
        {"payload": base64.b64encode(payload).decode(), "payloadType": PAYLOAD_TYPE, "signatures": [signature]}
    )
    if len(entry) > MAX_ENTRY_BYTES:
        raise LogError(
            f"an entry of {len(entry)} bytes about {statement.predicate.kind}; a log takes at most {MAX_ENTRY_BYTES}: "
            "name fewer subjects"
        )
    return entry


def open_entry(entry: bytes, *, keys: Mapping[str, str]) -> Opened:
    """Check an entry's envelope and return its statement.

    Args:
        entry: As logged.
        keys: Identity keys by party, as the constitution has them.

    Raises:
        MessageError: It is not a canonical envelope with one signature of a known party.
        SignatureError: The signature is not that party's.
    """
    try:
        envelope = msgspec.json.decode(entry, type=_Envelope)
        payload = base64.b64decode(envelope.payload, validate=True)
        signatures = [(one.keyid, base64.b64decode(one.sig, validate=True)) for one in envelope.signatures]
    except (msgspec.DecodeError, UnicodeDecodeError, binascii.Error, ValueError) as error:
        raise MessageError(f"entry: not a DSSE envelope: {error}") from error
    if canonical(msgspec.to_builtins(envelope)) != entry or envelope.payload_type != PAYLOAD_TYPE:
        raise MessageError(
            f"entry: expected a canonical envelope of {PAYLOAD_TYPE}, got {envelope.payload_type[:80]!r}"
        )
    if len(signatures) != 1 or signatures[0][0] not in keys:
        raise MessageError(f"entry: expected one signature of a party, got {[name[:40] for name, _ in signatures][:9]}")
    party, signature = signatures[0]
    verify(parse_public(keys[party]), PAYLOAD_TYPE, payload, signature)
    return Opened(Statement.parse(payload), party)
