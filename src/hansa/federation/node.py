"""A node's folder and connection, and how its process ends.

A node's folder is its kit plus:

| file | what | who may read |
|---|---|---|
| constitution.json | the constitution with every member's signature | anybody |
| revocations/ | signed revocations of identity keys (`hansa keys revoke`) | anybody |
| bars/ | the member's bar files | the member |
| node/facts.sqlite | durable facts, ledger, egress record | the member (0600) |
| node/records.sqlite | published records | `hansa status`, `hansa watch` |
| node/forecasts.npz | the member's forecasts | the member |
| node/outbox.sqlite | which alerts have been delivered where | the member |
| node/members.crt | whose keys the message server lets in (coordinator) | anybody |
| node/log/ | the transparency log in the layout of tlog-tiles (coordinator) | anybody |
| node/server/ | the embedded message server's streams (coordinator) | the coordinator |
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Literal

import uvloop

from hansa.errors import ConfigurationError, HansaError, IdentityError
from hansa.federation.nats_transport import NatsTransport
from hansa.governance.key_statements import Revocation, SignedStatement, authority_of
from hansa.governance.signed import read
from hansa.identity.files import read_file, write_file
from hansa.identity.kit import Kit
from hansa.identity.tls import anchors
from hansa.protocol.listing import epoch_label

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from hansa.governance.constitution import Constitution

SERVER_PATIENCE_SECONDS: Final = 10.0
RENEWAL_LOOK_SECONDS: Final = 600.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Node:
    """A node's folder, read and checked."""

    kit: Kit
    constitution: Constitution
    revoked: frozenset[str] = frozenset()  # members whose identity key has been revoked

    @property
    def admitted(self) -> tuple[str, ...]:
        """Members of the constitution whose identity key has not been revoked."""
        return tuple(party.name for party in self.constitution.members if party.name not in self.revoked)

    @property
    def directory(self) -> Path:
        """The node's folder."""
        return self.kit.directory

    @property
    def work(self) -> Path:
        """Where this node writes."""
        return self.kit.directory / "node"

    @property
    def records_path(self) -> Path:
        """The node's published records."""
        return self.work / "records.sqlite"

    @property
    def log(self) -> Path:
        """The transparency log, of a coordinator."""
        return self.work / "log"

    @property
    def bars(self) -> Path:
        """The member's bar files."""
        configured = self.kit.configuration.data.directory
        return self.kit.directory / (configured or "bars")

    @property
    def epoch(self) -> str:
        """Label of the epoch that the constitution begins."""
        return epoch_label(self.constitution.digest(), self.constitution.epoch)

    @property
    def url(self) -> str:
        """Where the message server is."""
        nats = self.kit.configuration.nats
        if nats.url:
            return nats.url
        if nats.port == 0:
            raise ConfigurationError("hansa.toml: nats: give the server's url, or its port on this machine")
        return f"tls://{nats.listen}:{nats.port}"


def load_node(directory: Path) -> Node:
    """Read a node's folder.

    Raises:
        IdentityError: The kit is incomplete, damaged or readable by others, or its key or the coordinator's is revoked.
        ConfigurationError: hansa.toml or the constitution is wrong, or it does not name this node's key.
        SignatureError: A member has not signed the constitution, or a revocation lacks a signature.
    """
    kit = Kit.load(directory, at=datetime.fromtimestamp(time.time(), tz=UTC))
    path = directory / "constitution.json"
    if not path.is_file():
        raise ConfigurationError(
            f"{directory}: no constitution.json; copy the one that all members have signed into this folder"
        )
    constitution = read(path).require_all_signatures()
    parties = {party.name: party.identity_key for party in (*constitution.members, constitution.coordinator)}
    if parties.get(kit.name) != kit.signing_key.public:
        raise ConfigurationError(f"constitution: {kit.name} with this kit's key is not a party to it")
    node = Node(kit, constitution, _revoked(directory, constitution))
    if {kit.name, constitution.coordinator.name} & node.revoked:
        names = ", ".join(sorted({kit.name, constitution.coordinator.name} & node.revoked))
        raise IdentityError(
            f"{directory}: the identity key of {names} has been revoked; nothing is signed with it or taken from it: "
            "rotate it, and let the members sign the constitution that names the new one"
        )
    node.work.mkdir(mode=0o700, exist_ok=True)
    return node


def _revoked(directory: Path, constitution: Constitution) -> frozenset[str]:
    """Return whose keys the files in `revocations/` revoke; those about keys of other epochs say nothing here."""
    found: set[str] = set()
    keys = {party.name: party.identity_key for party in (*constitution.members, constitution.coordinator)}
    for path in sorted((directory / "revocations").glob("*.json")):
        signed = SignedStatement.from_bytes(read_file(path), what=str(path))
        statement = signed.statement
        if isinstance(statement, Revocation) and keys.get(statement.node) == statement.key:
            authority = authority_of(signed, constitution)
            logger.warning("identity key of %s is revoked by %s: %s", statement.node, authority, statement.reason)
            found.add(statement.node)
    return frozenset(found)


def require_role(node: Node, role: Literal["member", "coordinator"]) -> None:
    """Check that a node is what it is about to run as.

    Raises:
        ConfigurationError: It is the other.
    """
    own = node.kit.configuration.role
    if own != role:
        raise ConfigurationError(f"{node.directory}: the kit of a {own}; say `hansa {own} run {node.directory}`")


def run_until_signal(work: Callable[[], Coroutine[None, None, object]]) -> object:
    """Run a coroutine to its end, or until SIGINT or SIGTERM cancels it; return its value or None."""

    async def supervised() -> object:
        task = asyncio.ensure_future(work())
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, task.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            return await task
        return None

    return uvloop.run(supervised())


async def connect(node: Node, *, coordinator: bool, patience_seconds: float) -> NatsTransport:
    """Connect a node to the federation's message server.

    Raises:
        TransportError: The server cannot be reached or refuses this node's certificate.
    """
    return await NatsTransport.connect(
        node.url,
        node=node.kit.name,
        federation=node.constitution.federation,
        certificate=node.kit.certificate,
        key=node.kit.key,
        authority=node.kit.authority,
        coordinator=coordinator,
        replicas=node.kit.configuration.nats.replicas,
        patience_seconds=patience_seconds,
        server_key=node.constitution.coordinator.identity_key,
    )


async def keep_tls_renewed(node: Node, renewed: Callable[[], None] = lambda: None) -> None:
    """Renew a node's TLS certificate whenever it is due, until cancelled; a key that cannot sign now is asked again.

    Args:
        node: The node's folder.
        renewed: Called after each renewal.
    """
    while True:
        try:
            if node.kit.renew_tls(at=datetime.fromtimestamp(time.time(), tz=UTC)):
                logger.info("TLS certificate renewed", extra={"fields": {"node": node.kit.name}})
                renewed()
        except HansaError as error:
            logger.warning("TLS certificate not renewed: %s", error)
        await asyncio.sleep(RENEWAL_LOOK_SECONDS)


def write_anchors(node: Node) -> Path:
    """Write whom the coordinator's message server lets in, `node/members.crt`, and return the file.

    Every identity key of the constitution that nobody has revoked, and no authority.
    """
    parties = (*node.constitution.members, node.constitution.coordinator)
    keys = {party.name: party.identity_key for party in parties if party.name not in node.revoked}
    at = datetime.fromtimestamp(time.time(), tz=UTC)
    made = anchors(node.constitution.federation, keys, server=node.kit.identity, signer=node.kit.signing_key, at=at)
    path = node.work / "members.crt"
    write_file(path, made)
    return path
