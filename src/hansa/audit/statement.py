"""What an entry of the log says: an in-toto statement about messages, in canonical JSON.

```
{"_type": "https://in-toto.io/Statement/v1", "predicate": {...}, "predicateType": "urn:hansa:log:<kind>:1",
 "subject": [{"digest": {"sha256": "..."}, "name": "<step>/<sender>"}, ...]}
```

A subject is a message or a file by its SHA-256: the log has hashes, whoever has the bytes can check them. The
predicate repeats what a reader needs without the bytes. Times are whole seconds UTC; digests are in hexadecimal.

| kind | subjects | said by |
|---|---|---|
| manifest | `announce/<coordinator>` | coordinator |
| cohort | `cohort/<coordinator>` | coordinator |
| ciphertexts | `upload/<member>` of the cohort | coordinator |
| result | `result/<coordinator>`, `open.../<member>`, `shares/<member>` | coordinator |
| death | `died/<coordinator>` | coordinator |
| epoch | `epoch/<coordinator>`, `setup/<member>` | coordinator |
| constitution | `constitution` | coordinator |
| alert | `alert` | coordinator |
| attestation | `attestation`: the evidence file | coordinator |
| admission, exit | `constitution` from which it holds | coordinator |
| charge | `announce/<coordinator>` | the member charged |
| egress | `egress`: the digest of the chain | the member |
| node-audit | `report` | the member who audits |

Guarantees: one statement has one byte string, and `Statement.parse` takes no other: unknown, missing and repeated
fields are refused. Does NOT guarantee: that what is said is true; it shows who said it, and before what.

Source: in-toto Attestation Framework, Statement v1; RFC 8785.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar, Final, Literal

import msgspec

from hansa.crypto.canonical import canonical, strict_json
from hansa.errors import ConfigurationError, MessageError

if TYPE_CHECKING:
    from collections.abc import Mapping

STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
_TYPE: Final = re.compile(r"urn:hansa:log:([a-z-]+):1")
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


class Predicate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Root of what statements say; `time` is when it was said, seconds UTC."""

    kind: ClassVar[str]

    time: int


class ManifestLogged(Predicate, frozen=True, forbid_unknown_fields=True):
    """A secure sum is announced; `span_start` and `span_end` are end-of-bar stamps, both included."""

    kind = "manifest"

    session: str
    epoch: str
    round: int
    purpose: str
    length: int
    span_start: int
    span_end: int
    participants: tuple[str, ...]
    constitution: str
    manifest: str


class CohortLogged(Predicate, frozen=True, forbid_unknown_fields=True):
    """Who is in a sum."""

    kind = "cohort"

    session: str
    manifest: str
    root: str
    members: tuple[str, ...]


class CiphertextsLogged(Predicate, frozen=True, forbid_unknown_fields=True):
    """The encrypted vectors that are in a sum; their hashes are the subjects."""

    kind = "ciphertexts"

    session: str
    manifest: str
    root: str


class ResultLogged(Predicate, frozen=True, forbid_unknown_fields=True):
    """A sum was opened by call `call`; `sum` is the SHA-256 of its published steps."""

    kind = "result"

    session: str
    manifest: str
    root: str
    call: int
    members: tuple[str, ...]
    sum: str


class DeathLogged(Predicate, frozen=True, forbid_unknown_fields=True):
    """A session ended without opening anything."""

    kind = "death"

    session: str
    manifest: str
    reason: str


class EpochLogged(Predicate, frozen=True, forbid_unknown_fields=True):
    """An epoch began with these members."""

    kind = "epoch"

    epoch: str
    epoch_id: str
    members: tuple[str, ...]
    constitution: str


class ConstitutionLogged(Predicate, frozen=True, forbid_unknown_fields=True):
    """A constitution is in force from here on."""

    kind = "constitution"

    constitution: str
    epoch: int
    supersedes: str | None


class ChargeLogged(Predicate, frozen=True, forbid_unknown_fields=True):
    """A member charged a budget, or took a charge back of a session that can no longer be opened.

    `number` counts the member's changes of this budget (purpose and period) from 1; `before` and `after` are releases
    charged in it. `epsilon` is what `after` comes to at the purpose's delta, with the noise that the rules ask for.
    """

    kind = "charge"

    member: str
    session: str
    manifest: str
    purpose: str
    period: str
    change: Literal["charge", "release"]
    number: int
    before: int
    releases: int
    after: int
    epsilon: float


class AlertLogged(Predicate, frozen=True, forbid_unknown_fields=True):
    """An alert was given."""

    kind = "alert"

    alert: str
    basket: str
    level: str


class EgressLogged(Predicate, frozen=True, forbid_unknown_fields=True):
    """What left a member up to row `last` of its own record: `bytes` in all, `chain` the record's last hash."""

    kind = "egress"

    member: str
    last: int
    bytes: int
    chain: str


class AttestationLogged(Predicate, frozen=True, forbid_unknown_fields=True):
    """The coordinator published a quote of its machine; the subject is the evidence with its binding."""

    kind = "attestation"

    technology: Literal["tdx", "sgx", "sev-snp", "tpm"]
    epoch: str
    log_key: str


class NodeAuditLogged(Predicate, frozen=True, forbid_unknown_fields=True):
    """A member checked another one's report of its node."""

    kind = "node-audit"

    member: str
    auditor: str
    period: str
    is_compliant: bool
    findings: tuple[str, ...]


class AdmissionLogged(Predicate, frozen=True, forbid_unknown_fields=True):
    """A member joined, with a constitution."""

    kind = "admission"

    member: str
    identity_key: str
    constitution: str


class ExitLogged(Predicate, frozen=True, forbid_unknown_fields=True):
    """A member left, with a constitution."""

    kind = "exit"

    member: str
    constitution: str
    reason: str


PREDICATES: Final[Mapping[str, type[Predicate]]] = {
    one.kind: one
    for one in (
        ManifestLogged, CohortLogged, CiphertextsLogged, ResultLogged, DeathLogged, EpochLogged, ConstitutionLogged,
        ChargeLogged, AlertLogged, EgressLogged, AttestationLogged, NodeAuditLogged, AdmissionLogged, ExitLogged,
    )
}  # fmt: skip


class _Subject(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    digest: dict[str, str]


class _Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    type: str = msgspec.field(name="_type")
    subject: tuple[_Subject, ...]
    predicate_type: str = msgspec.field(name="predicateType")
    predicate: msgspec.Raw


class Statement(msgspec.Struct, frozen=True):
    """A predicate about subjects.

    Args:
        subjects: SHA-256 (32 bytes) by name, one or more.
        predicate: What is said of them.
    """

    subjects: dict[str, bytes]
    predicate: Predicate

    def to_bytes(self) -> bytes:
        """Return the canonical bytes.

        Raises:
            MessageError: There is no subject, a digest is not 32 bytes, or a value has no canonical form.
        """
        if not self.subjects or any(len(digest) != 32 for digest in self.subjects.values()):
            raise MessageError("statement: expected one subject or more, each with a SHA-256 of 32 bytes")
        document = {
            "_type": STATEMENT_TYPE,
            "subject": [{"name": name, "digest": {"sha256": d.hex()}} for name, d in sorted(self.subjects.items())],
            "predicateType": f"urn:hansa:log:{self.predicate.kind}:1",
            "predicate": msgspec.to_builtins(self.predicate),
        }
        try:
            return canonical(document)
        except ConfigurationError as error:
            raise MessageError(f"statement: {error}") from error

    @classmethod
    def parse(cls, data: bytes) -> Statement:
        """Read canonical bytes.

        Raises:
            MessageError: They are not those of a statement of a kind that is known here.
        """
        try:
            strict_json(data, what="statement")
            document = msgspec.json.decode(data, type=_Document)
            kind = _TYPE.fullmatch(document.predicate_type)
            known = PREDICATES.get(kind[1] if kind else "")
            if known is None or document.type != STATEMENT_TYPE:
                raise MessageError(f"statement: kind {document.predicate_type[:80]!r} is not known here; update hansa")
            predicate = msgspec.json.decode(document.predicate, type=known)
        except (msgspec.DecodeError, ConfigurationError) as error:
            raise MessageError(f"statement: {error}") from error
        subjects = {}
        for subject in document.subject:
            digest = subject.digest.get("sha256", "")
            if not _DIGEST.fullmatch(digest):
                raise MessageError(f"statement: subject {subject.name[:60]!r}: expected a sha256 in hexadecimal")
            subjects[subject.name] = bytes.fromhex(digest)
        found = cls(subjects, predicate)
        if found.to_bytes() != data:
            raise MessageError("statement: the bytes are not canonical; take them as they were logged")
        return found
