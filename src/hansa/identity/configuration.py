"""`hansa.toml`: what one node needs to know before it can connect; everything else comes from the constitution.

Guarantees: an unknown key, a missing one or another type is refused with its place.
Does NOT hold: limits of privacy or quorum, or secrets.
"""

from __future__ import annotations

import json
import tomllib
from typing import Literal, Self

import msgspec

from hansa.errors import ConfigurationError, IdentityError
from hansa.identity.roster import check_name


class NatsConfiguration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the message server is, or how the coordinator runs its own."""

    url: str = ""  # tls://host:port, several with commas; empty: the coordinator's embedded server
    listen: str = "127.0.0.1"  # address that the embedded server binds
    port: int = 0  # of the embedded server; 0: any free one at the first start, then the same
    replicas: int = 1  # copies of each stream; 3 on a cluster


class DataConfiguration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A member's own data; the paths never leave it."""

    directory: str = ""  # of bars or of a venue's files; empty: none yet
    markets: tuple[str, ...] = ()  # such as "USDC-USD"; empty: all that the directory holds
    bar_seconds: int = 300  # length of a bar, s


class NodeConfiguration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One node's `hansa.toml`.

    Raises:
        ConfigurationError: A name is malformed or a number out of range.
    """

    name: str
    federation: str
    role: Literal["member", "coordinator"]
    nats: NatsConfiguration = NatsConfiguration()
    data: DataConfiguration = DataConfiguration()

    def __post_init__(self) -> None:
        try:
            check_name(self.name, what="hansa.toml: name")
            check_name(self.federation, what="hansa.toml: federation")
        except IdentityError as error:
            raise ConfigurationError(str(error)) from error
        if not 0 <= self.nats.port <= 65535:
            raise ConfigurationError(f"hansa.toml: nats.port: expected 0 to 65535, got {self.nats.port}")
        if not 1 <= self.nats.replicas <= 5:
            raise ConfigurationError(f"hansa.toml: nats.replicas: expected 1 to 5, got {self.nats.replicas}")
        if self.data.bar_seconds < 1:
            raise ConfigurationError(f"hansa.toml: data.bar_seconds: expected at least 1, got {self.data.bar_seconds}")

    @classmethod
    def from_toml(cls, text: str) -> Self:
        """Parse the file's text.

        Raises:
            ConfigurationError: It is not TOML, or a key is unknown, missing or of another type.
        """
        try:
            return msgspec.convert(tomllib.loads(text), type=cls)
        except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
            if isinstance(error.__cause__, ConfigurationError):
                raise error.__cause__ from None
            raise ConfigurationError(f"hansa.toml: {error}; `hansa kit new` writes a correct one") from error

    def to_toml(self) -> str:
        """Return the file's text, with units."""
        return _TEMPLATE.format(
            name=_quote(self.name),
            federation=_quote(self.federation),
            role=_quote(self.role),
            url=_quote(self.nats.url),
            listen=_quote(self.nats.listen),
            port=self.nats.port,
            replicas=self.nats.replicas,
            directory=_quote(self.data.directory),
            markets=json.dumps(list(self.data.markets), ensure_ascii=False),
            bar_seconds=self.data.bar_seconds,
        )


_TEMPLATE = """\
name = {name}
federation = {federation}
role = {role}  # "member" or "coordinator"

[nats]
url = {url}  # tls://host:port, several with commas; empty: the coordinator's embedded server
listen = {listen}  # address that the embedded server binds (coordinator)
port = {port}  # of the embedded server; 0: any free one at the first start, then the same
replicas = {replicas}  # copies of each stream; 3 on a cluster

[data]
directory = {directory}  # this member's bars or files; never sent
markets = {markets}  # such as "USDC-USD"; empty: all
bar_seconds = {bar_seconds}  # s
"""


def _quote(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)  # a TOML basic string, for text without control characters
