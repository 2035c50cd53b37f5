"""What becomes an entry of the log: each message that decides something, as a signed statement about its hash.

| message | kind | says beside the SHA-256 of the message |
|---|---|---|
| (the epoch's first entry) | constitution | federation, epoch, parties, the constitution before |
| epoch | epoch | who set up, by the hashes of their set-ups; who was left out, and why |
| announce | manifest | the digest that keys, masks and signatures are bound to, purpose, round, span, length |
| cohort | cohort | who is in the sum, and the hash of each one's upload |
| result | result | the cohort's root, the call that opened it, the hash of the published steps |
| died | died | why |
| submit | egress, alert, node-audit, attestation | what a member signed |

Entries are a function of the message; an entry's identity is what it says, not the signature around it.
"""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING, Any, Final

import msgspec

from hansa.crypto.signature import parse_public, verify
from hansa.errors import LogError, MessageError
from hansa.governance.canonical import canonical
from hansa.protocol.messages import Cohort, Died, Epoch, Manifest, Result

if TYPE_CHECKING:
    from hansa.crypto.signature import Signer
    from hansa.governance.constitution import Constitution
    from hansa.protocol.messages import Payload

TYPE: Final = "https://in-toto.io/Statement/v1"
KIND: Final = "https://hansa.example/statement/"
PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
MAX_ENTRY_BYTES: Final = 60_000
SUBMITTED: Final = frozenset({"egress", "alert", "node-audit", "attestation"})
"""Kinds of statement that a member may submit."""


class _Signature(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    keyid: str
    sig: str


class _Envelope(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    payload: str
    payloadType: str  # noqa: N815 - DSSE's own name
    signatures: tuple[_Signature, ...]


class Statement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an entry says: its kind, whose message it is about, that message's SHA-256, and the predicate."""

    kind: str
    name: str
    sha256: str
    predicate: dict[str, Any]
    signer: str


def seal_statement(
    kind: str, name: str, body: bytes, predicate: dict[str, Any], *, sender: str, signer: Signer
) -> bytes:
    """Return the entry of a message.

    Args:
        kind: One of the kinds above.
        name: The message's address in the epoch: session, step and sender.
        body: The message.
        predicate: What else the entry says; numbers beyond 2^53 as text.
        sender: Who signs.
        signer: Its identity key.

    Raises:
        LogError: It is too long for an entry.
    """
    subject = [{"name": name, "digest": {"sha256": hashlib.sha256(body).hexdigest()}}]
    payload = canonical({"_type": TYPE, "subject": subject, "predicateType": KIND + kind, "predicate": predicate})
    signature = base64.b64encode(signer.sign(PAYLOAD_TYPE, payload)).decode()
    entry = canonical(
        {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [{"keyid": sender, "sig": signature}],
        }
    )
    if len(entry) > MAX_ENTRY_BYTES:
        raise LogError(f"the {kind} entry of {name} has {len(entry)} bytes; at most {MAX_ENTRY_BYTES} are logged")
    return entry


def read_statement(entry: bytes) -> Statement:
    """Return what an entry says; its signature is not verified.

    Raises:
        MessageError: It is no DSSE envelope around a statement of ours.
    """
    try:
        envelope = msgspec.json.decode(entry, type=_Envelope)
        said = msgspec.json.decode(base64.b64decode(envelope.payload, validate=True))
        (subject,) = said["subject"]
        kind = said["predicateType"].removeprefix(KIND)
        return msgspec.convert(
            {
                "kind": kind,
                "name": subject["name"],
                "sha256": subject["digest"]["sha256"],
                "predicate": said["predicate"],
                "signer": envelope.signatures[0].keyid,
            },
            Statement,
        )
    except (msgspec.MsgspecError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise MessageError(f"log entry: expected a DSSE envelope around an in-toto statement: {error}") from error


def open_statement(entry: bytes, *, sender: str, key: str) -> Statement:
    """Return what an entry says if `sender` signed it.

    Raises:
        MessageError: It is malformed or names another signer.
        SignatureError: The signature does not hold.
    """
    statement = read_statement(entry)
    if statement.signer != sender:
        raise MessageError(f"log entry: expected a statement of {sender}, got one of {statement.signer[:40]}")
    envelope = msgspec.json.decode(entry, type=_Envelope)
    signature = base64.b64decode(envelope.signatures[0].sig)
    verify(parse_public(key), envelope.payloadType, base64.b64decode(envelope.payload), signature)
    return statement


def identity_of(entry: bytes) -> bytes:
    """Return the hash of what an entry says, whoever's signature is around it."""
    return hashlib.sha256(msgspec.json.decode(entry, type=_Envelope).payload.encode()).digest()


def manifest_of(entry: bytes) -> bytes | None:
    """Return the digest of the manifest that an entry is about; None for other entries and what is no statement."""
    try:
        statement = read_statement(entry)
        return bytes.fromhex(statement.predicate["digest"]) if statement.kind == "manifest" else None
    except (MessageError, KeyError, TypeError, ValueError):
        return None


def constitution_entry(constitution: Constitution, *, sender: str, signer: Signer) -> bytes:
    """Return the first entry of an epoch's log."""
    predicate = {
        "federation": constitution.federation,
        "epoch": constitution.epoch,
        "members": {party.name: party.identity_key for party in constitution.members},
        "coordinator": {constitution.coordinator.name: constitution.coordinator.identity_key},
        "supersedes": constitution.supersedes,
    }
    return seal_statement(
        "constitution", "constitution.json", constitution.bytes(), predicate, sender=sender, signer=signer
    )


def message_entry(name: str, body: bytes, payload: Payload, *, sender: str, signer: Signer) -> bytes | None:
    """Return the entry of a message of the coordinator's; None for a message that decides nothing.

    Args:
        name: Its address in the epoch: session, step and sender.
        body: Its bytes on the board.
        payload: What it says.
        sender: The coordinator.
        signer: Its identity key.
    """
    predicate = _predicate(payload)
    if predicate is None:
        return None
    return seal_statement(type(payload).__name__.lower(), name, body, predicate, sender=sender, signer=signer)


def _predicate(payload: Payload) -> dict[str, Any] | None:
    if isinstance(payload, Manifest):
        return {
            "digest": payload.digest().hex(),
            "epoch_id": payload.epoch_id.hex(),
            "constitution": payload.constitution,
            "purpose": payload.purpose,
            "round": str(payload.round),
            "position": payload.position,
            "attempt": payload.attempt,
            "length": payload.length,
            "span_start_ns": str(payload.span_start_ns),
            "span_end_ns": str(payload.span_end_ns),
            "participants": list(payload.participants),
        }
    if isinstance(payload, Cohort):
        uploads = {name: digest.hex() for name, digest in zip(payload.members, payload.uploads, strict=True)}
        return {"manifest": payload.manifest.hex(), "root": payload.root().hex(), "uploads": uploads}
    if isinstance(payload, Result):
        steps = hashlib.sha256(payload.steps).hexdigest()
        root = payload.root.hex()
        return {"manifest": payload.manifest.hex(), "root": root, "call": payload.number, "steps_sha256": steps}
    if isinstance(payload, Died):
        return {"manifest": payload.manifest.hex(), "reason": payload.reason[:1000]}
    if isinstance(payload, Epoch):
        setups = {name: digest.hex() for name, digest in zip(payload.members, payload.setups, strict=True)}
        return {"setups": setups, "left_out": {k: v[:200] for k, v in payload.left_out.items()}}
    return None
