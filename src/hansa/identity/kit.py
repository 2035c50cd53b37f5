"""A kit: the folder from which one node runs.

```
hansa.toml     the node's settings                identity.key   Ed25519, encrypted PEM, 0600: signs messages
roster.json    who is in the federation           identity.crt   certificate over the identity key
authority.crt  whose certificates are trusted     node.key       P-256, PEM, 0600: TLS; made anew by the node itself
request.json   what the node asked for: public    node.crt       short-lived, signed by the identity key (`tls`)
```

The identity key may be in a token instead (`hsm`); then there is no `identity.key`. It is made in the folder or the
token and stays there: `request_kit` makes it and the request, the authority answers with `issue` (identity certificate,
its own certificate, roster), and `Kit.load` checks that all fits together and renews what TLS needs.
`make_federation` does the whole on one machine, for a demonstration or a test.

Guarantees: keys are written 0600 from their first byte; an identity key is never overwritten; files appear whole or not
at all; a kit that loads has the roster's identity key and a certificate of its authority in its own name, in date.
Does NOT guarantee: that a request came from the institution it names: compare key fingerprints by another channel.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, Self

import msgspec

from hansa.crypto.prg import derive
from hansa.crypto.signature import SigningKey, parse_public, verify
from hansa.errors import IdentityError
from hansa.identity import tls
from hansa.identity.certificates import (
    generate_key,
    issue_certificate,
    make_authority,
    make_request,
    require_in_date,
    verify_identity,
)
from hansa.identity.codes import check_lei
from hansa.identity.configuration import KeysConfiguration, NatsConfiguration, NodeConfiguration
from hansa.identity.files import read_file, read_secret, write_file, write_secret
from hansa.identity.key_file import COST_CHOSEN, COST_RANDOM
from hansa.identity.keys import create_signer, list_signers, make_passphrase_file, open_signer, store_key
from hansa.identity.roster import Member, Roster, check_name

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from cryptography import x509

    from hansa.crypto.signature import Signer

COORDINATOR: Final = "coordinator"
REQUEST_TYPE: Final = "application/vnd.hansa.kit-request+json"
VOLUME_FILE: Final = "volume.secret"
_VOLUME_NOISE: Final = b"hansa/volume-noise/1"
Role = Literal["member", "coordinator"]


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a node asks the authority for; everything in it is public."""

    federation: str
    name: str
    role: Role
    identity_key: str
    legal_name: str
    certificate_request: str  # PEM, over the identity key
    lei: str | msgspec.UnsetType = msgspec.UNSET
    recovery_key: str | msgspec.UnsetType = msgspec.UNSET  # may revoke or replace a lost identity key
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
    signing_key: Signer = field(repr=False)
    identity: x509.Certificate = field(repr=False)

    @property
    def name(self) -> str:
        """Name of this node."""
        return self.configuration.name

    @property
    def certificate(self) -> Path:
        """PEM file of the node's TLS certificate, its identity certificate behind it."""
        return self.directory / tls.CERTIFICATE_FILE

    @property
    def key(self) -> Path:
        """PEM file of the node's TLS key."""
        return self.directory / tls.KEY_FILE

    @property
    def authority(self) -> Path:
        """PEM file of the federation's authority."""
        return self.directory / "authority.crt"

    def renew_tls(self, *, at: dt.datetime, is_forced: bool = False) -> bool:
        """Make a new TLS key and certificate if two thirds of the old one's life are over; return whether it did.

        Args:
            at: The time now, with a time zone.
            is_forced: Whether to make them in any case.

        Raises:
            IdentityError: The identity key cannot be used now, or its certificate is out of date.
        """
        if not is_forced and not tls.is_due(self.directory, at=at):
            return False
        require_in_date(self.identity, f"certificate of {self.name}", at)
        federation = self.roster.federation
        tls.renew(self.directory, self.identity, federation=federation, node=self.name, signer=self.signing_key, at=at)
        return True

    def volume_key(self) -> bytes:
        """Return the 32 secret bytes from which the noise on this member's own volumes comes (`volume_key`)."""
        return volume_key(self.directory, self.signing_key)

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
        configuration = NodeConfiguration.from_toml(read_file(directory / "hansa.toml").decode(errors="replace"))
        roster = Roster.from_bytes(read_file(directory / "roster.json"))
        if roster.federation != configuration.federation:
            raise IdentityError(
                f"{directory}: hansa.toml says federation {configuration.federation!r}, roster.json "
                f"{roster.federation!r}; take both from one kit"
            )
        node = roster.node(configuration.name)
        if (node == roster.coordinator) != (configuration.role == "coordinator"):
            raise IdentityError(f"{directory}: {node.name} has another role in roster.json; correct hansa.toml")
        signing_key = open_signer(directory, configuration.keys)
        if node.identity_key != signing_key.public:
            raise IdentityError(
                f"{directory}: expected identity key {node.identity_key} (roster), got {signing_key.public}; "
                "restore identity.key or ask for a new roster"
            )
        names = {"federation": roster.federation, "node": node.name, "identity_key": node.identity_key}
        identity = verify_identity(
            read_file(directory / "identity.crt"), authority=read_file(directory / "authority.crt"), at=at, **names
        )
        kit = cls(directory, configuration, roster, signing_key, identity)
        kit.renew_tls(at=at)
        tls.verify_tls_certificate(read_file(kit.certificate), identity=identity, at=at, **names)
        return kit


def volume_key(directory: Path, signing_key: Signer) -> bytes:
    """Return the 32 secret bytes from which the noise on a member's own volumes comes, for ever the same.

    They follow from a software identity key, unless `volume.secret` (0600) holds them: with a key in hardware, or once
    the identity key has been rotated.

    Args:
        directory: The kit's folder.
        signing_key: The node's identity key.

    Raises:
        IdentityError: The file is readable by others or damaged.
    """
    path = directory / VOLUME_FILE
    if not path.exists():
        if isinstance(signing_key, SigningKey):
            return derive(signing_key.to_bytes(), _VOLUME_NOISE)
        write_secret(path, secrets.token_bytes(32))
    found = read_secret(path)
    if len(found) != 32:
        raise IdentityError(f"{path}: expected 32 bytes, got {len(found)}; restore it from your backup")
    return found


def make_authority_directory(directory: Path, federation: str, *, at: dt.datetime) -> None:
    """Make the authority of a federation: `authority.key` (0600, keep it offline) and `authority.crt`.

    Raises:
        IdentityError: The name is malformed or a key is there already.
    """
    check_name(federation, what="federation")
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    key = generate_key()
    write_secret(directory / "authority.key", key)
    write_file(directory / "authority.crt", make_authority(federation, key, at=at))


def request_kit(
    directory: Path,
    *,
    configuration: NodeConfiguration,
    legal_name: str = "",
    key: SigningKey | None = None,
    cost: int = COST_CHOSEN,
    lei: str = "",
    recovery_key: str = "",
) -> Request:
    """Make a node's keys, its `hansa.toml` and its `request.json`, the one file that travels.

    Args:
        directory: The node's own folder; made if absent.
        configuration: Name, federation, role and settings; `keys` says where the identity key is made.
        legal_name: Of the institution.
        key: Software identity key to use; a new one if None.
        cost: Of the file's encryption (`key_file`).
        lei: Of the institution; empty: none is given.
        recovery_key: Public key that may revoke or replace a lost identity key; empty: none.

    Raises:
        IdentityError: A key is there already: a second identity would lock the node out.
    """
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    identity = _identity(directory, configuration.keys, key, cost)
    write_file(directory / "hansa.toml", configuration.to_toml().encode())
    return write_request(directory, configuration, identity, legal_name=legal_name, lei=lei, recovery_key=recovery_key)


def write_request(
    directory: Path,
    configuration: NodeConfiguration,
    identity: Signer,
    *,
    legal_name: str = "",
    lei: str = "",
    recovery_key: str = "",
) -> Request:
    """Write `request.json` for an identity key that is there, and return what it says.

    Args:
        directory: The node's folder.
        configuration: Name, federation and role.
        identity: The node's identity key.
        legal_name: Of the institution.
        lei: Of the institution; empty: none is given.
        recovery_key: Public key that may revoke or replace a lost identity key; empty: none.

    Raises:
        IdentityError: The LEI or the recovery key is malformed.
    """
    if lei:
        check_lei(lei, what="lei")
    if recovery_key and parse_public(recovery_key) == parse_public(identity.public):
        raise IdentityError("recovery key: expected another key than the identity key, kept at another place")
    unsigned = Request(
        federation=configuration.federation,
        name=configuration.name,
        role=configuration.role,
        identity_key=identity.public,
        legal_name=legal_name,
        certificate_request=make_request(configuration.federation, configuration.name, identity).decode(),
        lei=lei or msgspec.UNSET,
        recovery_key=recovery_key or msgspec.UNSET,
    )
    signature = identity.sign(REQUEST_TYPE, unsigned.signed_part())
    request = msgspec.structs.replace(unsigned, signature=signature.hex())
    write_file(directory / "request.json", msgspec.json.format(msgspec.json.encode(request), indent=1))
    return request


def issue(
    authority: Path, requests: Sequence[Request], answers: Path, *, hosts: Sequence[str] = (), at: dt.datetime
) -> Roster:
    """Answer the requests of all nodes: `<answers>/<node>/` gets identity.crt, authority.crt, roster.json.

    Args:
        authority: Folder of `make_authority_directory`.
        requests: One of each member and one of the coordinator.
        answers: Where the nodes' folders are, or shall be; each node copies its three files into its kit.
        hosts: Names and addresses at which members reach the embedded message server.
        at: Time of issue, with a time zone.

    Raises:
        IdentityError: A request is for another federation or repeats, or there is not exactly one coordinator.
    """
    certificate, key = read_file(authority / "authority.crt"), read_secret(authority / "authority.key")
    coordinators = [request for request in requests if request.role == "coordinator"]
    if len(coordinators) != 1:
        raise IdentityError(f"issue: expected one request of a coordinator, got {len(coordinators)}")
    nodes = {r: Member(r.name, r.identity_key, r.legal_name, r.lei, r.recovery_key) for r in requests}
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
            identity_key=request.identity_key,
            at=at,
            hosts=hosts if request.role == "coordinator" else None,
        )
        for request in requests
    }
    for name, node_certificate in issued.items():
        (answers / name).mkdir(parents=True, exist_ok=True, mode=0o700)
        write_file(answers / name / "identity.crt", node_certificate)
        write_file(answers / name / "authority.crt", certificate)
        write_file(answers / name / "roster.json", roster.to_bytes())
    return roster


def make_federation(
    directory: Path,
    name: str,
    members: Sequence[str],
    *,
    at: dt.datetime,
    nats: NatsConfiguration | None = None,
    hosts: Sequence[str] = (),
    keys: Mapping[str, KeysConfiguration] | None = None,
) -> Roster:
    """Make the authority and every kit on this machine: `authority/`, `coordinator/` and a folder per member.

    Args:
        directory: Where the folders go.
        name: Of the federation.
        members: Their names, none of them "authority" or "coordinator".
        at: Time of issue, with a time zone.
        nats: The message server's settings, for all.
        hosts: Names and addresses at which members reach the embedded message server.
        keys: Where the identity keys of some nodes are; the others get a file and a passphrase file.

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
    requests = []
    for node, role in roles.items():
        place = directory / node
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        own = (keys or {}).get(node) or KeysConfiguration(passphrase=make_passphrase_file(place))
        configuration = NodeConfiguration(node, name, role, nats or NatsConfiguration(), keys=own)
        requests.append(request_kit(place, configuration=configuration, cost=COST_RANDOM))
    roster = issue(directory / "authority", requests, directory, hosts=hosts, at=at)
    for node in roles:
        Kit.load(directory / node, at=at)  # checks it, and makes its TLS certificate
    return roster


def _identity(directory: Path, keys: KeysConfiguration, key: SigningKey | None, cost: int) -> Signer:
    if keys.store == "pkcs11":
        is_there = any(one["label"] == keys.label for one in list_signers(directory, keys))
        return open_signer(directory, keys) if is_there else create_signer(directory, keys)
    identity = key or SigningKey.generate()
    store_key(directory, keys, identity, cost=cost)
    return identity
