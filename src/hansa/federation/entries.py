"""What becomes an entry of the log: each message of the coordinator's that decides something, and what members submit.

| message | statements |
|---|---|
| (the epoch's first entry) | constitution |
| epoch | epoch |
| announce | manifest |
| cohort | cohort, ciphertexts |
| result | result |
| died | death |
| submit | charge, egress, alert, node-audit: signed by the member |

An entry's identity is its kind and the hashes that it is about: said again after a restart, at another time or with
another signature, it is the same entry.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final, NamedTuple

from hansa.audit.entry import open_entry, seal_entry
from hansa.audit.statement import (
    CiphertextsLogged,
    CohortLogged,
    ConstitutionLogged,
    DeathLogged,
    EpochLogged,
    ManifestLogged,
    ResultLogged,
    Statement,
)
from hansa.protocol.messages import Cohort, Died, Epoch, Manifest, Result

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hansa.audit.statement import Predicate
    from hansa.crypto.signature import Signer
    from hansa.governance.constitution import Constitution
    from hansa.protocol.messages import Payload

NS: Final = 1_000_000_000
SUBMITTED: Final = frozenset({"charge", "egress", "alert", "node-audit"})
"""Kinds of statement that a member may submit, about itself or, in an audit, about another."""
MAX_REASON: Final = 500


class Said(NamedTuple):
    """A message of the coordinator's: its place, its bytes, when it was said (ns UTC)."""

    session: str
    step: str
    body: bytes
    time_ns: int


def identity_of(statement: Statement) -> bytes:
    """Return the hash of a statement's kind and subjects."""
    subjects = "|".join(f"{name}={digest.hex()}" for name, digest in sorted(statement.subjects.items()))
    return hashlib.sha256(f"{statement.predicate.kind}|{subjects}".encode()).digest()


def manifest_of(statement: Statement) -> bytes | None:
    """Return the digest of the manifest that a statement announces, None for other statements."""
    said = statement.predicate
    return bytes.fromhex(said.manifest) if isinstance(said, ManifestLogged) else None


def constitution_entry(constitution: Constitution, *, time_ns: int, signer: Signer) -> bytes:
    """Return the first entry of an epoch's log."""
    digest = constitution.digest()
    said = ConstitutionLogged(
        time=time_ns // NS, constitution=digest, epoch=constitution.epoch, supersedes=constitution.supersedes
    )
    statement = Statement({"constitution": bytes.fromhex(digest)}, said)
    return seal_entry(statement, party=constitution.coordinator.name, signer=signer)


def message_entries(
    said: Said, payload: Payload, *, constitution: str, epoch_id: bytes | None, party: str, signer: Signer
) -> list[bytes]:
    """Return the entries of a message of the coordinator's; none for a message that decides nothing.

    Args:
        said: The message.
        payload: What it says.
        constitution: Digest of the constitution.
        epoch_id: The epoch's id, None while it is not set up.
        party: The coordinator.
        signer: Its identity key.
    """
    own = {f"{said.step}/{party}": hashlib.sha256(said.body).digest()}
    statements = _statements(said, payload, own, constitution=constitution, epoch_id=epoch_id)
    return [seal_entry(statement, party=party, signer=signer) for statement in statements]


def _statements(
    said: Said, payload: Payload, own: dict[str, bytes], *, constitution: str, epoch_id: bytes | None
) -> Iterator[Statement]:
    time, session = said.time_ns // NS, said.session
    predicate: Predicate
    if isinstance(payload, Manifest):
        predicate = ManifestLogged(
            time=time,
            session=session,
            epoch=payload.epoch,
            round=payload.round,
            purpose=payload.purpose,
            length=payload.length,
            span_start=payload.span_start_ns // NS,
            span_end=payload.span_end_ns // NS,
            participants=payload.participants,
            constitution=payload.constitution,
            manifest=payload.digest().hex(),
        )
        yield Statement(own, predicate)
    elif isinstance(payload, Cohort):
        manifest, root = payload.manifest.hex(), payload.root().hex()
        predicate = CohortLogged(time=time, session=session, manifest=manifest, root=root, members=payload.members)
        yield Statement(own, predicate)
        uploads = dict(zip([f"upload/{name}" for name in payload.members], payload.uploads, strict=True))
        yield Statement(uploads, CiphertextsLogged(time=time, session=session, manifest=manifest, root=root))
    elif isinstance(payload, Result):
        predicate = ResultLogged(
            time=time,
            session=session,
            manifest=payload.manifest.hex(),
            root=payload.root.hex(),
            call=payload.number,
            members=payload.members,
            sum=hashlib.sha256(payload.steps).hexdigest(),
        )
        yield Statement(own, predicate)
    elif isinstance(payload, Died):
        reason = payload.reason[:MAX_REASON]
        yield Statement(own, DeathLogged(time=time, session=session, manifest=payload.manifest.hex(), reason=reason))
    elif isinstance(payload, Epoch):
        setups = dict(zip([f"setup/{name}" for name in payload.members], payload.setups, strict=True))
        predicate = EpochLogged(
            time=time,
            epoch=payload.epoch,
            epoch_id=(epoch_id or b"").hex(),
            members=payload.members,
            constitution=constitution,
        )
        yield Statement(own | setups, predicate)


def read_entry(entry: bytes, *, keys: Mapping[str, str]) -> Statement:
    """Return the statement of an entry whose party's signature holds.

    Raises:
        MessageError: It is malformed.
        SignatureError: The signature does not hold.
    """
    return open_entry(entry, keys=keys).statement
