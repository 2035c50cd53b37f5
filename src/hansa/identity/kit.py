"""A kit: the folder from which one node runs.

```
hansa.toml     the node's settings                       identity.key   Ed25519, PEM, 0600: signs messages
roster.json    who is in the federation                  node.key       P-256, PEM, 0600: TLS
authority.crt  whose certificates are trusted            node.crt       TLS certificate of the node
request.json   what the node asked for: public, signed by its identity key
```

The two private keys are made in the folder and stay there: `request_kit` makes them and the request, the authority
answers with `issue` (certificate, its own certificate, roster), and `Kit.load` checks that all fits together.
`make_federation` does the whole on one machine, for a demonstration or a test.

Guarantees: keys are written 0600 from their first byte and never overwritten; files appear whole or not at all; a
kit that loads has the roster's identity key and a certificate of its authority in its own name, in date.
Does NOT guarantee: that a request came from the institution it names: compare key fingerprints by another channel.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, Self

import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from hansa.crypto.signature import SigningKey, parse_public, verify
from hansa.errors import IdentityError
from hansa.identity.certificates import (
    generate_key,
    issue_certificate,
    make_authority,
    make_request,
    verify_certificate,
)
from hansa.identity.configuration import NatsConfiguration, NodeConfiguration
from hansa.identity.roster import Member, Roster, check_name

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Sequence
    from pathlib import Path

COORDINATOR: Final = "coordinator"
REQUEST_TYPE: Final = "application/vnd.hansa.kit-request+json"
MAX_FILE_BYTES: Final = 1_000_000
Role = Literal["member", "coordinator"]


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a node asks the authority for; everything in it is public."""

    federation: str
    name: str
    role: Role
    identity_key: str
    legal_name: str
    certificate_request: str  # PEM
    signature: str = ""  # hexadecimal, by the identity key over the rest

    def signed_part(self) -> bytes:
        """Return the bytes under the signature."""
        return msgspec.json.encode(msgspec.structs.replace(self, signature=""), order="sorted")

    @classmethod
    def from_bytes(cls, text: bytes) -> Self:
        """Parse and verify.

        Raises:
            IdentityError: A field is unknown or malformed.
            SignatureError: The identity key did not sign it.
        """
        try:
            request = msgspec.json.decode(text, type=cls)
            signature = bytes.fromhex(request.signature)
        except (msgspec.DecodeError, ValueError) as error:
            raise IdentityError(f"request: {error}; make it with `hansa kit request`") from error
        verify(parse_public(request.identity_key), REQUEST_TYPE, request.signed_part(), signature)
        return request


@dataclass(frozen=True, slots=True)
class Kit:
    """A checked kit; `repr` shows no secret."""

    directory: Path
    configuration: NodeConfiguration
    roster: Roster
    signing_key: SigningKey = field(repr=False)

    @property
    def name(self) -> str:
        """Name of this node."""
        return self.configuration.name

    @property
    def certificate(self) -> Path:
        """PEM file of the node's TLS certificate."""
        return self.directory / "node.crt"

    @property
    def key(self) -> Path:
        """PEM file of the node's TLS key."""
        return self.directory / "node.key"

    @property
    def authority(self) -> Path:
        """PEM file of the federation's authority."""
        return self.directory / "authority.crt"

    @classmethod
    def load(cls, directory: Path, *, at: dt.datetime) -> Self:
        """Read and check a kit.

        Args:
            directory: The folder.
            at: The time now, with a time zone.

        Raises:
            IdentityError: A file is missing, a key can be read by others, or keys, certificate and roster differ.
            ConfigurationError: `hansa.toml` has an unknown, missing or malformed key.
        """
        configuration = NodeConfiguration.from_toml(_read(directory / "hansa.toml").decode(errors="replace"))
        roster = Roster.from_bytes(_read(directory / "roster.json"))
        signing_key = load_signing_key(directory / "identity.key")
        if roster.federation != configuration.federation:
            raise IdentityError(
                f"{directory}: hansa.toml says federation {configuration.federation!r}, roster.json "
                f"{roster.federation!r}; take both from one kit"
            )
        node = roster.node(configuration.name)
        if (node == roster.coordinator) != (configuration.role == "coordinator"):
            raise IdentityError(f"{directory}: {node.name} has another role in roster.json; correct hansa.toml")
        if node.identity_key != signing_key.public:
            raise IdentityError(
                f"{directory}: expected identity key {node.identity_key} (roster), got {signing_key.public}; "
                "restore identity.key or ask for a new roster"
            )
        verify_certificate(
            _read(directory / "node.crt"),
            authority=_read(directory / "authority.crt"),
            federation=roster.federation,
            node=node.name,
            key=_read_secret(directory / "node.key"),
            at=at,
        )
        return cls(directory, configuration, roster, signing_key)


def make_authority_directory(directory: Path, federation: str, *, at: dt.datetime) -> None:
    """Make the authority of a federation: `authority.key` (0600, keep it offline) and `authority.crt`.

    Raises:
        IdentityError: The name is malformed or a key is there already.
    """
    check_name(federation, what="federation")
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    key = generate_key()
    _write_new(directory / "authority.key", key)
    _write(directory / "authority.crt", make_authority(federation, key, at=at))


def request_kit(
    directory: Path, *, configuration: NodeConfiguration, legal_name: str = "", key: SigningKey | None = None
) -> Request:
    """Make a node's keys, its `hansa.toml` and its `request.json`, the one file that travels.

    Args:
        directory: The node's own folder; made if absent.
        configuration: Name, federation, role and settings.
        legal_name: Of the institution.
        key: Identity key to use; a new one if None.

    Raises:
        IdentityError: A key is there already: a second identity would lock the node out.
    """
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    identity = key or SigningKey.generate()
    tls_key = generate_key()
    _write_new(directory / "identity.key", _signing_key_pem(identity))
    _write_new(directory / "node.key", tls_key)
    unsigned = Request(
        federation=configuration.federation,
        name=configuration.name,
        role=configuration.role,
        identity_key=identity.public,
        legal_name=legal_name,
        certificate_request=make_request(configuration.federation, configuration.name, tls_key).decode(),
    )
    signature = identity.sign(REQUEST_TYPE, unsigned.signed_part())
    request = msgspec.structs.replace(unsigned, signature=signature.hex())
    _write(directory / "hansa.toml", configuration.to_toml().encode())
    _write(directory / "request.json", msgspec.json.format(msgspec.json.encode(request), indent=1))
    return request


def issue(
    authority: Path, requests: Sequence[Request], answers: Path, *, hosts: Sequence[str] = (), at: dt.datetime
) -> Roster:
    """Answer the requests of all nodes: `<answers>/<node>/` gets node.crt, authority.crt and roster.json.

    Args:
        authority: Folder of `make_authority_directory`.
        requests: One of each member and one of the coordinator.
        answers: Where the nodes' folders are, or shall be; each node copies its three files into its kit.
        hosts: Names and addresses at which members reach the embedded message server.
        at: Time of issue, with a time zone.

    Raises:
        IdentityError: A request is for another federation or repeats, or there is not exactly one coordinator.
    """
    certificate, key = _read(authority / "authority.crt"), _read_secret(authority / "authority.key")
    coordinators = [request for request in requests if request.role == "coordinator"]
    if len(coordinators) != 1:
        raise IdentityError(f"issue: expected one request of a coordinator, got {len(coordinators)}")
    nodes = {r: Member(r.name, r.identity_key, r.legal_name) for r in requests}
    for request in requests:
        verify(
            parse_public(request.identity_key),
            REQUEST_TYPE,
            request.signed_part(),
            bytes.fromhex(request.signature),
        )
    federations = {request.federation for request in requests}
    if len(federations) != 1:
        raise IdentityError(f"issue: expected requests for one federation, got {sorted(federations)}")
    members = sorted((nodes[r] for r in requests if r.role == "member"), key=lambda member: member.name)
    roster = Roster(federations.pop(), tuple(members), nodes[coordinators[0]])
    issued = {
        request.name: issue_certificate(
            request.certificate_request.encode(),
            authority=certificate,
            authority_key=key,
            node=request.name,
            at=at,
            hosts=hosts if request.role == "coordinator" else None,
        )
        for request in requests
    }
    for name, node_certificate in issued.items():
        (answers / name).mkdir(parents=True, exist_ok=True, mode=0o700)
        _write(answers / name / "node.crt", node_certificate)
        _write(answers / name / "authority.crt", certificate)
        _write(answers / name / "roster.json", roster.to_bytes())
    return roster


def make_federation(
    directory: Path,
    name: str,
    members: Sequence[str],
    *,
    at: dt.datetime,
    nats: NatsConfiguration | None = None,
    hosts: Sequence[str] = (),
) -> Roster:
    """Make the authority and every kit on this machine: `authority/`, `coordinator/` and a folder per member.

    Args:
        directory: Where the folders go.
        name: Of the federation.
        members: Their names, none of them "authority" or "coordinator".
        at: Time of issue, with a time zone.
        nats: The message server's settings, for all.
        hosts: Names and addresses at which members reach the embedded message server.

    Raises:
        IdentityError: A name is malformed, reserved or repeats, or a key is there already.
    """
    for member in members:
        check_name(member, what="member")
    if not members or len(set(members)) < len(members) or {"authority", COORDINATOR} & set(members):
        raise IdentityError(
            f"members: expected distinct names other than 'authority' and '{COORDINATOR}', got {', '.join(members)}"
        )
    make_authority_directory(directory / "authority", name, at=at)
    roles: dict[str, Role] = {COORDINATOR: "coordinator", **dict.fromkeys(members, "member")}
    requests = [
        request_kit(
            directory / node,
            configuration=NodeConfiguration(node, name, role, nats or NatsConfiguration()),
        )
        for node, role in roles.items()
    ]
    return issue(directory / "authority", requests, directory, hosts=hosts, at=at)


def load_signing_key(path: Path) -> SigningKey:
    """Read an identity key.

    Raises:
        IdentityError: It is missing, not an unencrypted Ed25519 key, or others may read it.
    """
    try:
        key = serialization.load_pem_private_key(_read_secret(path), password=None)
    except (ValueError, TypeError) as error:
        raise IdentityError(f"{path}: expected an unencrypted PEM key; restore it from your backup") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise IdentityError(f"{path}: expected an Ed25519 key; restore it from your backup")
    return SigningKey.from_bytes(key.private_bytes_raw())


def _signing_key_pem(key: SigningKey) -> bytes:
    return Ed25519PrivateKey.from_private_bytes(key.to_bytes()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise IdentityError(f"{path}: larger than {MAX_FILE_BYTES} bytes; this is not a kit's file")
        return path.read_bytes()
    except OSError as error:
        raise IdentityError(f"{path}: {error.strerror}; a kit is made by `hansa kit new` or `request`") from error


def _read_secret(path: Path) -> bytes:
    content = _read(path)
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise IdentityError(f"{path}: expected mode 0600, got {mode:04o}; run `chmod 600 {path}` and ask who read it")
    return content


def _write_new(path: Path, content: bytes) -> None:
    """Write a secret, 0600, whole or not at all, never over another."""
    partial = _partial(path, content, 0o600)
    try:
        os.link(partial, path)
    except FileExistsError as error:
        raise IdentityError(f"{path}: exists; a key is never overwritten: choose another folder") from error
    finally:
        partial.unlink()


def _write(path: Path, content: bytes) -> None:
    _partial(path, content, 0o644).replace(path)


def _partial(path: Path, content: bytes, mode: int) -> Path:
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return partial
