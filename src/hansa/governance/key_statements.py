"""What is said about identity keys, signed: where one lives, that one follows another, that one is not to be believed.

```
{"kind": "revocation", "signatures": {"<public key>": "<128 hexadecimal digits>", ...}, "statement": {...}}
```

The file is canonical JSON. A signature is over the DSSE encoding of `application/vnd.hansa.key-<kind>+json` and the
canonical bytes of `statement`. Who must have signed:

| kind | signatures |
|---|---|
| attestation | the key that it is about |
| revocation | the key itself, or the member's recovery key, or a quorum of the other members |
| rotation | the new key, and the old one, or the member's recovery key, or a quorum of the other members |

Recovery keys and members are those of the constitution in force. Statements alone change no roster: the next
constitution does, signed by all its members, and `amendment.require_succession` counts a member whose key changed as
the same only by such a rotation. A revocation shuts the member out of the message server at once (`federation.node`).

Guarantees: a statement whose bytes were changed is refused; nobody but the holder, its recovery key or a quorum revokes
or replaces a key.
Does NOT guarantee: that what a token says of itself is true: an attestation is the member's signed word.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from hansa.crypto.canonical import canonical, strict_json
from hansa.crypto.signature import SIGNATURE_BYTES, parse_public, verify
from hansa.errors import ConfigurationError, IdentityError, SignatureError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hansa.crypto.signature import Signer
    from hansa.governance.constitution import Constitution, Party

MAX_FILE_BYTES: Final = 1_000_000
Reason = Literal["replaced", "lost", "compromised", "left"]


class Attestation(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="attestation"):
    """Where a key lives: what its token says of itself and of the key, or that it is a file."""

    federation: str
    node: str
    key: str
    key_id: str
    at: str  # ISO 8601, UTC
    store: Literal["file", "pkcs11"]
    attributes: dict[str, str | bool]


class Revocation(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="revocation"):
    """From now on nothing is to be believed that this key signs."""

    federation: str
    node: str
    key: str
    at: str
    reason: Reason


class Rotation(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="rotation"):
    """The next constitution shall name `new` where this one names `old`."""

    federation: str
    node: str
    old: str
    new: str
    at: str
    reason: Reason


Statement = Attestation | Revocation | Rotation


class _Document(msgspec.Struct, forbid_unknown_fields=True):
    statement: Statement
    signatures: dict[str, str]


@dataclass(frozen=True, slots=True)
class SignedStatement:
    """A statement and signatures on it, by the public key in text form."""

    statement: Statement
    signatures: Mapping[str, bytes]

    @property
    def kind(self) -> str:
        """`attestation`, `revocation` or `rotation`."""
        return str(self.statement.__struct_config__.tag)

    def signed_by(self, signer: Signer) -> SignedStatement:
        """Return a copy with this signature added."""
        signature = signer.sign(self._type(), self._body())
        return SignedStatement(self.statement, {**self.signatures, signer.public: signature})

    def signers(self) -> frozenset[str]:
        """Return the public keys whose signatures hold.

        Raises:
            SignatureError: One does not hold.
        """
        for key, signature in self.signatures.items():
            try:
                verify(parse_public(key), self._type(), self._body(), signature)
            except SignatureError as error:
                raise SignatureError(f"{self.kind} of {self.statement.node}: {error}") from error
        return frozenset(self.signatures)

    def to_bytes(self) -> bytes:
        """Return the file's bytes."""
        signatures = {key: signature.hex() for key, signature in self.signatures.items()}
        return canonical({"statement": msgspec.to_builtins(self.statement), "signatures": signatures})

    @classmethod
    def from_bytes(cls, data: bytes, *, what: str = "statement") -> SignedStatement:
        """Read a file's bytes; the signatures are not yet checked.

        Raises:
            ConfigurationError: It is too large, not a statement, or not canonical.
        """
        if len(data) > MAX_FILE_BYTES:
            raise ConfigurationError(f"{what}: {len(data)} bytes; a statement has at most {MAX_FILE_BYTES}")
        strict_json(data, what=what)
        try:
            document = msgspec.json.decode(data, type=_Document)
            signatures = {key: bytes.fromhex(text) for key, text in document.signatures.items()}
            for key in signatures:
                parse_public(key)
        except (msgspec.DecodeError, ValueError, IdentityError) as error:
            raise ConfigurationError(f"{what}: {error}") from error
        found = cls(document.statement, signatures)
        if any(len(one) != SIGNATURE_BYTES for one in signatures.values()) or found.to_bytes() != data:
            raise ConfigurationError(f"{what}: the file is not canonical; take one that hansa wrote")
        return found

    def _type(self) -> str:
        return f"application/vnd.hansa.key-{self.kind}+json"

    def _body(self) -> bytes:
        return canonical(msgspec.to_builtins(self.statement))


def authority_of(signed: SignedStatement, constitution: Constitution) -> str:
    """Return by whose authority a statement counts, in words.

    Args:
        signed: The statement.
        constitution: The one in force.

    Raises:
        ConfigurationError: It is about another federation, node or key.
        SignatureError: A signature is wrong, or too few are there; the message says whose would do.
    """
    statement, signers = signed.statement, signed.signers()
    party = _party(statement, constitution)
    what = f"{signed.kind} of {statement.node}"
    if isinstance(statement, Attestation):
        if statement.key not in signers:
            raise SignatureError(f"{what}: it is not signed by the key that it is about")
        return "its own key"
    if isinstance(statement, Rotation) and statement.new not in signers:
        raise SignatureError(f"{what}: it is not signed by the new key: nobody has shown to hold it")
    if party.identity_key in signers:
        return "its own key"
    if party.recovery_key and party.recovery_key in signers:
        return "its recovery key"
    others = {one.identity_key for one in constitution.members if one.name != party.name}
    count = len(others & signers)
    if count < constitution.quorum:
        recovery = "its recovery key, " if party.recovery_key else ""
        raise SignatureError(
            f"{what}: expected the signature of its own key, {recovery}or {constitution.quorum} of the other members; "
            f"{count} have signed"
        )
    return f"{count} other members, a quorum"


def _party(statement: Statement, constitution: Constitution) -> Party:
    if statement.federation != constitution.federation:
        raise ConfigurationError(f"statement of {statement.federation}, constitution of {constitution.federation}")
    parties = {one.name: one for one in (*constitution.members, constitution.coordinator)}
    party = parties.get(statement.node)
    key = statement.old if isinstance(statement, Rotation) else statement.key
    if party is None or party.identity_key != key:
        raise ConfigurationError(
            f"statement about {statement.node} and {key}: the constitution of epoch {constitution.epoch} names "
            f"{party.identity_key if party else 'nobody of that name'}"
        )
    return party
