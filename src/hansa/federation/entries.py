"""What becomes an entry of the log: each message of the coordinator's that decides something.

| message | statements |
|---|---|
| (before an epoch's first message) | constitution |
| epoch | epoch |
| announce | manifest |
| cohort | cohort, ciphertexts |
| result | result |
| died | death |

A manifest and a result are entries before they are published, all else once the board has it. An entry's identity is
its kind and the hashes that it is about: said again after a restart, at another time or with
another signature, it is the same entry.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from hansa.audit.entry import open_entry, seal_entry
from hansa.audit.statement import ConstitutionLogged, ManifestLogged, Statement
from hansa.errors import MessageError
from hansa.federation.logged import agreed, announced, begun, died, opened
from hansa.protocol.messages import Cohort, Died, Epoch, Manifest, Result
from hansa.protocol.session import open_step

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hansa.crypto.signature import Signer
    from hansa.governance.constitution import Constitution
    from hansa.protocol.messages import Payload
    from hansa.protocol.verification import Address

NS: Final = 1_000_000_000
ANSWERS: Final = ("open", "shares")


class Said(NamedTuple):
    """A message of the coordinator's: its place, its bytes, when it was said (ns UTC)."""

    session: str
    step: str
    body: bytes
    time_ns: int


def identity_of(statement: Statement) -> bytes:
    """Return the hash of a statement's kind and subjects, the answers that opened a sum aside.

    After a restart a result is read back before the answers to its calls are.
    """
    own = {name: digest for name, digest in statement.subjects.items() if not name.startswith(ANSWERS)}
    subjects = "|".join(f"{name}={digest.hex()}" for name, digest in sorted(own.items()))
    return hashlib.sha256(f"{statement.predicate.kind}|{subjects}".encode()).digest()


def manifest_of(statement: Statement) -> bytes | None:
    """Return the digest of the manifest that a statement announces, None for other statements."""
    said = statement.predicate
    return bytes.fromhex(said.manifest) if isinstance(said, ManifestLogged) else None


def constitution_entry(constitution: Constitution, *, time_ns: int, signer: Signer) -> bytes:
    """Return the entry with which an epoch begins."""
    digest = constitution.digest()
    said = ConstitutionLogged(
        time=time_ns // NS, constitution=digest, epoch=constitution.epoch, supersedes=constitution.supersedes
    )
    statement = Statement({"constitution": bytes.fromhex(digest)}, said)
    return seal_entry(statement, party=constitution.coordinator.name, signer=signer)


def message_entries(
    said: Said,
    payload: Payload,
    *,
    manifest: Manifest | None = None,
    answers: Mapping[Address, bytes] | None = None,
    constitution: str,
    epoch_id: bytes | None,
    party: str,
    signer: Signer,
) -> list[bytes]:
    """Return the entries of a message of the coordinator's; none for a message that decides nothing.

    Args:
        said: The message.
        payload: What it says.
        manifest: Of its session, if it has one.
        answers: SHA-256 of the openings and shares of its session, by step and sender.
        constitution: Digest of the constitution.
        epoch_id: The epoch's id, None while it is not set up.
        party: The coordinator.
        signer: Its identity key.
    """
    time = said.time_ns // NS
    statements: list[Statement] = []
    if isinstance(payload, Manifest):
        statements = [announced(said.body, payload, coordinator=party, time=time)]
    elif isinstance(payload, Cohort) and manifest is not None:
        statements = agreed(said.body, payload, manifest, coordinator=party, time=time)
    elif isinstance(payload, Result) and manifest is not None:
        steps = {open_step(0), open_step(payload.number), "shares"}  # other calls opened nothing
        used = {address: digest for address, digest in (answers or {}).items() if address[0] in steps}
        statements = [opened(said.body, payload, manifest, answers=used, coordinator=party, time=time)]
    elif isinstance(payload, Died):
        statements = [died(said.body, payload, session=said.session, coordinator=party, time=time)]
    elif isinstance(payload, Epoch):
        statements = [
            begun(said.body, payload, epoch_id=epoch_id, constitution=constitution, coordinator=party, time=time)
        ]
    return [seal_entry(statement, party=party, signer=signer) for statement in statements]


def read_entry(entry: bytes, *, keys: Mapping[str, str]) -> Statement:
    """Return the statement of an entry whose party's signature holds.

    Raises:
        MessageError: It is malformed.
        SignatureError: The signature does not hold.
    """
    return open_entry(entry, keys=keys).statement


def peek(entry: bytes) -> Statement:
    """Return the statement of an entry whose signature was verified before it was appended, maybe by a key now gone.

    Raises:
        MessageError: It is malformed.
    """
    try:
        payload = base64.b64decode(msgspec.json.decode(entry)["payload"], validate=True)
    except (msgspec.DecodeError, binascii.Error, ValueError, KeyError, TypeError, RecursionError) as error:
        raise MessageError(f"entry: not a DSSE envelope: {error}") from error
    return Statement.parse(payload)
