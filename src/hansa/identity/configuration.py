"""`hansa.toml`: what one node needs to know before it can connect; everything else comes from the constitution.

Guarantees: an unknown key, a missing one or another type is refused with its place.
Does NOT hold: limits of privacy or quorum, or secrets.
"""

from __future__ import annotations

import json
import re
import tomllib
from typing import Final, Literal, Self

import msgspec

from hansa.errors import ConfigurationError, IdentityError
from hansa.identity.passphrase import check_source
from hansa.identity.roster import check_name

_VARIABLE: Final = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")


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


class AlertsConfiguration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a member's alerts go; nothing is sent that is not named here."""

    webhook: str = ""  # https://host/path; empty: none
    webhook_secret: str = "webhook.secret"  # noqa: S105 - the name of a file in this folder, 0600: 16 bytes or more
    events_listen: str = "127.0.0.1"  # loopback address of the server-sent events
    events_port: int = 0  # 0: none
    fix_file: str = ""  # FIX News is appended to this file; empty: none
    fix_listen: str = "127.0.0.1"  # loopback address of the FIX session
    fix_port: int = 0  # 0: none
    fix_sender: str = "HANSA"  # SenderCompID
    fix_target: str = "MEMBER"  # CompID of the counterparty
    oldest_hours: float = 24.0  # alerts of older bars are not sent: those of a history that is read in

    def check(self) -> None:
        """Check ports, addresses and names.

        Raises:
            ConfigurationError: One is out of range; the message names it.
        """
        for name in ("events_port", "fix_port"):
            if not 0 <= getattr(self, name) <= 65535:
                raise ConfigurationError(f"hansa.toml: alerts.{name}: expected 0 to 65535, got {getattr(self, name)}")
        for name in ("events_listen", "fix_listen"):
            if getattr(self, name) not in LOOPBACK:
                raise ConfigurationError(f"hansa.toml: alerts.{name}: expected one of {', '.join(LOOPBACK)}")
        for name in ("fix_sender", "fix_target"):
            value = getattr(self, name)
            if not (value.isascii() and value.isprintable() and 0 < len(value) <= 32):
                raise ConfigurationError(f"hansa.toml: alerts.{name}: expected 1 to 32 printable ASCII characters")
        if not self.oldest_hours > 0:
            raise ConfigurationError(f"hansa.toml: alerts.oldest_hours: expected above 0, got {self.oldest_hours}")


class KeysConfiguration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the node's identity key is; the secrets that open it never stand here."""

    store: Literal["file", "pkcs11"] = "file"  # "file": identity.key in this folder; "pkcs11": in a token
    passphrase: str = "prompt"  # noqa: S105 - a source: of identity.key: file:PATH, env:NAME, fd:NUMBER or prompt
    module: str = ""  # path of the PKCS#11 library
    token: str = ""  # label of the token; empty: the one in `slot`
    slot: int = -1  # number of the slot; -1: whichever holds the token
    label: str = "identity"  # of the key in the token
    pin: str = "prompt"  # of the token: file:PATH, env:NAME, fd:NUMBER or prompt
    environment: dict[str, str] = {}  # what the library wants in the environment, such as SOFTHSM2_CONF

    def check(self) -> None:
        """Check sources, names and the slot.

        Raises:
            ConfigurationError: One is malformed; the message names it and shows no secret.
        """
        check_source(self.passphrase, what="hansa.toml: keys.passphrase")
        check_source(self.pin, what="hansa.toml: keys.pin")
        if self.slot < -1:
            raise ConfigurationError(f"hansa.toml: keys.slot: expected a number or -1, got {self.slot}")
        for name, text, most in (("token", self.token, 32), ("label", self.label, 64)):
            if not text.isprintable() or len(text) > most:
                raise ConfigurationError(f"hansa.toml: keys.{name}: expected at most {most} printable characters")
        wrong = [name for name in self.environment if not _VARIABLE.fullmatch(name) or name.startswith("LD_")]
        if wrong or not self.label:
            what = f"environment: {wrong[0]!r} is no name for a library's setting" if wrong else "label: expected one"
            raise ConfigurationError(f"hansa.toml: keys.{what}")


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
    alerts: AlertsConfiguration = AlertsConfiguration()
    keys: KeysConfiguration = KeysConfiguration()

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
        self.alerts.check()
        self.keys.check()

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
            webhook=_quote(self.alerts.webhook),
            webhook_secret=_quote(self.alerts.webhook_secret),
            events_listen=_quote(self.alerts.events_listen),
            events_port=self.alerts.events_port,
            fix_file=_quote(self.alerts.fix_file),
            fix_listen=_quote(self.alerts.fix_listen),
            fix_port=self.alerts.fix_port,
            fix_sender=_quote(self.alerts.fix_sender),
            fix_target=_quote(self.alerts.fix_target),
            oldest_hours=self.alerts.oldest_hours,
            store=_quote(self.keys.store),
            passphrase=_quote(self.keys.passphrase),
            module=_quote(self.keys.module),
            token=_quote(self.keys.token),
            slot=self.keys.slot,
            label=_quote(self.keys.label),
            pin=_quote(self.keys.pin),
            environment=", ".join(f"{name} = {_quote(value)}" for name, value in self.keys.environment.items()),
        )


_TEMPLATE = """\
name = {name}
federation = {federation}
role = {role}  # "member" or "coordinator"

[keys]
store = {store}  # "file": identity.key in this folder; "pkcs11": in a token
passphrase = {passphrase}  # of identity.key: file:PATH, env:NAME, fd:NUMBER or prompt
module = {module}  # path of the PKCS#11 library
token = {token}  # label of the token; empty: the one in slot
slot = {slot}  # number of the slot; -1: whichever holds the token
label = {label}  # of the key in the token
pin = {pin}  # of the token: file:PATH, env:NAME, fd:NUMBER or prompt
environment = {{{environment}}}  # what the library wants in the environment

[nats]
url = {url}  # tls://host:port, several with commas; empty: the coordinator's embedded server
listen = {listen}  # address that the embedded server binds (coordinator)
port = {port}  # of the embedded server; 0: any free one at the first start, then the same
replicas = {replicas}  # copies of each stream; 3 on a cluster

[data]
directory = {directory}  # this member's bars or files; never sent
markets = {markets}  # such as "USDC-USD"; empty: all
bar_seconds = {bar_seconds}  # s

[alerts]
webhook = {webhook}  # https://host/path that gets each alert; empty: none
webhook_secret = {webhook_secret}  # file in this folder with the secret that signs them (0600)
events_listen = {events_listen}  # loopback address of the server-sent events
events_port = {events_port}  # 0: none
fix_file = {fix_file}  # FIX News is appended here; empty: none
fix_listen = {fix_listen}  # loopback address of the FIX session
fix_port = {fix_port}  # 0: none
fix_sender = {fix_sender}  # SenderCompID
fix_target = {fix_target}  # CompID of the counterparty
oldest_hours = {oldest_hours}  # alerts of older bars are not sent
"""


def _quote(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)  # a TOML basic string, for text without control characters
