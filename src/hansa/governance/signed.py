"""A constitution with its members' signatures, and the file that carries both.

```
{"constitution": {...}, "signatures": {"north": "<128 hexadecimal digits>", ...}}
```

The whole file is canonical JSON (RFC 8785): one content has one file, byte for byte. A signature (`crypto.signature`:
Ed25519 or ECDSA over P-256, by the key that the constitution names, 64 bytes either way) is over the DSSE encoding of
`SIGNATURE_TYPE` and the canonical bytes of `constitution`. Members sign their own copies, in any order and place;
`combine` unites the copies of one digest.

Guarantees: a file whose bytes were changed anywhere is refused, or shows whose signature no longer holds; a
constitution that is not signed by all its members does not open a door.
Does NOT guarantee: that a digest is the one that the members agreed on: they compare it by another channel.

Source: RFC 8785 (JSON Canonicalization Scheme), DSSE protocol v1.0.2.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from hansa.crypto.canonical import canonical, strict_json
from hansa.crypto.signature import SIGNATURE_BYTES, parse_public, verify
from hansa.errors import ConfigurationError, SignatureError
from hansa.governance.constitution import parse

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from hansa.crypto.signature import Signer
    from hansa.governance.constitution import Constitution

SIGNATURE_TYPE: Final = "application/vnd.hansa.constitution+json"
MAX_FILE_BYTES: Final = 1_000_000
Standing = Literal["signed", "missing", "wrong"]


class _Document(msgspec.Struct, forbid_unknown_fields=True):
    constitution: msgspec.Raw
    signatures: dict[str, str]


@dataclass(frozen=True, slots=True)
class SignedConstitution:
    """A constitution and its members' signatures by name."""

    constitution: Constitution
    signatures: Mapping[str, bytes]

    def signed_by(self, name: str, signer: Signer) -> SignedConstitution:
        """Return a copy with the signature of member `name` added; one that holds already stays.

        Raises:
            ConfigurationError: `name` is no member, or the key is not the one the constitution names.
        """
        keys = {party.name: party.identity_key for party in self.constitution.members}
        if keys.get(name) != signer.public:
            raise ConfigurationError(f"constitution: members: {name} with key {signer.public} is not a member")
        body, present = self.constitution.bytes(), self.signatures.get(name)
        if present is not None and _holds(signer.public, body, present):
            return self  # a key in hardware would make another one each time
        signature = signer.sign(SIGNATURE_TYPE, body)
        return SignedConstitution(self.constitution, {**self.signatures, name: signature})

    def require_all_signatures(self) -> Constitution:
        """Return the constitution if every member has signed it.

        Raises:
            SignatureError: A signature is missing or wrong; the message names the member.
        """
        for name, standing in self.standings().items():
            if standing == "missing":
                raise SignatureError(f"constitution: no signature of {name}; ask it to sign this version")
            if standing == "wrong":
                raise SignatureError(f"constitution: the signature of {name} does not fit these bytes; ask it again")
        return self.constitution

    def standings(self) -> Mapping[str, Standing]:
        """Return, for each member in order, whether its signature is there and holds."""
        body = self.constitution.bytes()
        found: dict[str, Standing] = {}
        for party in self.constitution.members:
            signature = self.signatures.get(party.name)
            found[party.name] = "missing" if signature is None else "wrong"
            if signature is not None and _holds(party.identity_key, body, signature):
                found[party.name] = "signed"
        return MappingProxyType(found)

    def to_bytes(self) -> bytes:
        """Return the file's bytes."""
        signatures = {name: signature.hex() for name, signature in self.signatures.items()}
        return canonical({"constitution": self.constitution.fields(), "signatures": signatures})

    @classmethod
    def from_bytes(cls, data: bytes, *, what: str = "constitution") -> SignedConstitution:
        """Read a file's bytes; the signatures are not yet checked.

        Args:
            data: The whole file.
            what: Its name, for the message.

        Raises:
            ConfigurationError: It is too large, not a constitution, not canonical, or names a signer who is no member.
        """
        if len(data) > MAX_FILE_BYTES:
            raise ConfigurationError(f"{what}: {len(data)} bytes; a constitution has at most {MAX_FILE_BYTES}")
        strict_json(data, what=what)
        try:
            document = msgspec.json.decode(data, type=_Document)
            signatures = {name: bytes.fromhex(text) for name, text in document.signatures.items()}
        except (msgspec.DecodeError, ValueError) as error:
            raise ConfigurationError(f"{what}: {error}") from error
        constitution = parse(bytes(document.constitution))
        strangers = sorted(signatures.keys() - {party.name for party in constitution.members})
        if strangers:
            raise ConfigurationError(f"{what}: signatures: {strangers[0][:60]!r} is not a member; remove its signature")
        if any(len(signature) != SIGNATURE_BYTES for signature in signatures.values()):
            raise ConfigurationError(f"{what}: signatures: expected {2 * SIGNATURE_BYTES} hexadecimal digits each")
        found = cls(constitution, signatures)
        if found.to_bytes() != data:
            raise ConfigurationError(
                f"{what}: the file is not canonical (order, white space, capital digits); take one that hansa wrote"
            )
        return found


def _holds(identity_key: str, body: bytes, signature: bytes) -> bool:
    try:
        verify(parse_public(identity_key), SIGNATURE_TYPE, body, signature)
    except SignatureError:
        return False
    return True


def combine(copies: Sequence[SignedConstitution]) -> SignedConstitution:
    """Return the constitution with the signatures of all copies; of two by one member the one that holds.

    Args:
        copies: One or more, of the same constitution.

    Raises:
        ConfigurationError: They are copies of different constitutions.
    """
    digests = {copy.constitution.digest(): None for copy in copies}
    if len(digests) != 1:
        raise ConfigurationError(
            f"expected copies of one constitution, got digests {', '.join(digests)}; `hansa constitution diff` shows "
            "what is different"
        )
    united: dict[str, bytes] = {}
    for copy in copies:
        for name, standing in copy.standings().items():
            if standing == "signed" or (standing == "wrong" and name not in united):
                united[name] = copy.signatures[name]
    return SignedConstitution(copies[0].constitution, united)


def write(path: Path, signed: SignedConstitution) -> None:
    """Write a signed constitution to `path`: whole or not at all.

    Raises:
        ConfigurationError: The file cannot be written.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with partial.open("wb") as file:
            file.write(signed.to_bytes())
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise ConfigurationError(f"constitution: cannot write {path}: {error.strerror}") from error


def read(path: Path) -> SignedConstitution:
    """Read a signed constitution; the signatures are not yet checked.

    Raises:
        ConfigurationError: The file is absent or not a constitution (`SignedConstitution.from_bytes`).
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(f"constitution: cannot read {path}: {error.strerror}") from error
    return SignedConstitution.from_bytes(data, what=f"constitution: {path.name}")
