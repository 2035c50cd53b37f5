"""`hansa kit`: the folders of keys, certificates and settings from which nodes run. No command prints a secret."""

from __future__ import annotations

import datetime as dt
import json
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer
from rich.console import Console
from rich.table import Column, Table

from hansa.cli.key_options import (
    LabelOption,
    ModuleOption,
    PassphraseOption,
    PinOption,
    SettingOption,
    SlotOption,
    TokenOption,
    keys_of,
)
from hansa.errors import HansaError
from hansa.identity.certificates import load_certificate
from hansa.identity.configuration import DataConfiguration, NatsConfiguration, NodeConfiguration
from hansa.identity.files import read_file
from hansa.identity.keys import open_signer
from hansa.identity.kit import (
    Kit,
    Request,
    issue,
    make_authority_directory,
    make_federation,
    request_kit,
    write_request,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

app = typer.Typer(help="Make, ask for, issue and check the kits of a federation's nodes.", no_args_is_help=True)

_FAULT_EXIT: Final = 2

HostsOption = Annotated[str, typer.Option(help="Names and addresses of the message server, with commas.")]
UrlOption = Annotated[str, typer.Option(help="tls://host:port of the message server; empty: the embedded one.")]


@app.command()
def new(
    directory: Annotated[Path, typer.Argument(help="Where the folders go.")],
    *,
    federation: Annotated[str, typer.Option(help="Name of the federation.")],
    members: Annotated[str, typer.Option(help="Names of the members, with commas.")],
    url: UrlOption = "",
    hosts: HostsOption = "",
) -> None:
    """Make an authority and every kit on this machine: for a demonstration or a test."""
    with _faults():
        names = _split(members)
        settings = NatsConfiguration(url=url)
        roster = make_federation(directory, federation, names, at=_now(), nats=settings, hosts=_split(hosts))
        Console().print(
            f"{federation}: authority, coordinator and {len(roster.members)} members in {directory}\n"
            "All private keys are on this machine: between institutions use `kit request` and `kit issue`."
        )


@app.command()
def request(
    directory: Annotated[Path, typer.Argument(help="This node's own folder.")],
    *,
    federation: Annotated[str, typer.Option(help="Name of the federation.")],
    name: Annotated[str, typer.Option(help="Name of this node.")],
    role: Annotated[Literal["member", "coordinator"], typer.Option(help="What this node is.")] = "member",
    legal_name: Annotated[str, typer.Option(help="Name of the institution in law.")] = "",
    lei: Annotated[str, typer.Option(help="LEI of the institution (ISO 17442).")] = "",
    recovery_key: Annotated[
        str, typer.Option(help="Public key, of `hansa keys create`, that may revoke or replace a lost identity key.")
    ] = "",
    url: UrlOption = "",
    data: Annotated[str, typer.Option(help="Directory of this member's data.")] = "",
    passphrase: PassphraseOption = "prompt",
    module: ModuleOption = "",
    token: TokenOption = "",
    slot: SlotOption = -1,
    label: LabelOption = "identity",
    pin: PinOption = "prompt",
    setting: SettingOption = None,
) -> None:
    """Make this node's keys and request.json, the only file that is sent to the authority.

    In a token, the key with this label is taken, and made if there is none.
    """
    with _faults():
        keys = keys_of(
            passphrase=passphrase, module=module, token=token, slot=slot, label=label, pin=pin, settings=setting
        )
        configuration = NodeConfiguration(
            name, federation, role, NatsConfiguration(url=url), DataConfiguration(directory=data), keys=keys
        )
        asked = request_kit(
            directory, configuration=configuration, legal_name=legal_name, lei=lei, recovery_key=recovery_key
        )
        Console().print(
            f"Send {directory / 'request.json'} to the authority; read it this key aloud:\n{asked.identity_key}"
        )


@app.command()
def renew(directory: Annotated[Path, typer.Argument(help="A node's folder.")]) -> None:
    """Make request.json anew for the identity key that is there: before its certificate ends, or after a rotation."""
    with _faults():
        configuration = NodeConfiguration.from_toml(read_file(directory / "hansa.toml").decode(errors="replace"))
        before = Request.from_bytes(read_file(directory / "request.json"))
        asked = write_request(
            directory,
            configuration,
            open_signer(directory, configuration.keys),
            legal_name=before.legal_name,
            lei=before.lei or "",
            recovery_key=before.recovery_key or "",
        )
        Console().print(
            f"Send {directory / 'request.json'} to the authority; read it this key aloud:\n{asked.identity_key}"
        )


@app.command("issue")
def issue_(
    authority: Annotated[Path, typer.Argument(help="Folder of the authority; made if it has no key.")],
    requests: Annotated[list[Path], typer.Argument(help="request.json of every member and of the coordinator.")],
    *,
    hosts: HostsOption = "",
    out: Annotated[Path | None, typer.Option(help="Where the answers go; default AUTHORITY/issued.")] = None,
) -> None:
    """Answer every node's request with a certificate, the authority's certificate and the roster."""
    with _faults():
        asked = [Request.from_bytes(_content(path)) for path in requests]
        if not (authority / "authority.key").exists():
            make_authority_directory(authority, asked[0].federation, at=_now())
        answers = out or authority / "issued"
        issue(authority, asked, answers, hosts=_split(hosts), at=_now())
        table = Table("node", "role", Column("identity key", overflow="fold"))  # compared by eye: never cut
        for one in asked:
            table.add_row(one.name, one.role, one.identity_key)
        Console().print(table)
        Console().print(f"Compare each key by another channel, then send each node its folder of {answers}.")


@app.command()
def show(
    directory: Annotated[Path, typer.Argument(help="A node's folder.")],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Check a kit and print what is public in it."""
    with _faults():
        kit = Kit.load(directory, at=_now())
        expires = load_certificate(kit.certificate.read_bytes()).not_valid_after_utc
        facts = {
            "name": kit.name,
            "role": kit.configuration.role,
            "federation": kit.roster.federation,
            "identity_key": kit.signing_key.public,
            "key_store": kit.configuration.keys.store,
            "certificate_expires": kit.identity.not_valid_after_utc.isoformat(),
            "tls_certificate_expires": expires.isoformat(),
            "nats_url": kit.configuration.nats.url,
            "roster_sha256": kit.roster.digest().hex(),
            "coordinator": kit.roster.coordinator.name,
            "members": [member.name for member in kit.roster.members],
        }
        if as_json:
            typer.echo(json.dumps(facts))
            return
        table = Table("what", Column("value", overflow="fold"))
        for what, value in facts.items():
            table.add_row(what, value if isinstance(value, str) else ", ".join(value))
        Console().print(table)


@contextmanager
def _faults() -> Iterator[None]:
    try:
        yield
    except HansaError as error:
        typer.echo(f"hansa kit: {error}", err=True)
        raise typer.Exit(_FAULT_EXIT) from error


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise typer.BadParameter(f"{path}: {error.strerror}") from error


def _split(names: str) -> list[str]:
    return [name.strip() for name in names.split(",") if name.strip()]


def _now() -> dt.datetime:
    return dt.datetime.fromtimestamp(time.time(), dt.UTC)
