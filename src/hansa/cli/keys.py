"""`hansa keys`: identity keys: made, listed, attested, rotated, revoked. No command takes a secret as an argument.

Exit codes: 0 as asked, 1 a statement does not count (yet), 2 a file, a key or a choice is refused.
"""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

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
from hansa.errors import ConfigurationError, SignatureError
from hansa.governance.key_statements import Reason  # noqa: TC001  typer reads it at run time

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hansa.crypto.signature import Signer
    from hansa.governance.key_statements import SignedStatement, Statement
    from hansa.identity.configuration import KeysConfiguration, NodeConfiguration

app = typer.Typer(help="Make, list, attest, rotate and revoke identity keys.", no_args_is_help=True)

KitArgument = Annotated[Path, typer.Argument(help="A node's kit folder.", metavar="KIT")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
OutOption = Annotated[Path | None, typer.Option(help="Where the signed statement goes.")]
RecoveryOption = Annotated[
    Path | None, typer.Option(help="Folder of the recovery key, of `hansa keys create`: it signs, not the lost key.")
]
RecoveryPassphraseOption = Annotated[str, typer.Option(help="Where the recovery key's passphrase comes from.")]


@app.command()
def create(
    directory: Annotated[Path, typer.Argument(help="Folder of the key; of a key in a token, where PIN files begin.")],
    *,
    passphrase: PassphraseOption = "prompt",
    module: ModuleOption = "",
    token: TokenOption = "",
    slot: SlotOption = -1,
    label: LabelOption = "identity",
    pin: PinOption = "prompt",
    setting: SettingOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a key: in a token, for `hansa kit request` to take, or in a file; a recovery key, say, to keep elsewhere."""
    from hansa.identity.keys import create_signer

    keys = keys_of(passphrase=passphrase, module=module, token=token, slot=slot, label=label, pin=pin, settings=setting)
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    _print(_facts(create_signer(directory, keys), keys), as_json=as_json)


@app.command("list")
def list_(
    directory: KitArgument,
    *,
    pin: Annotated[str, typer.Option(help="Where the PIN comes from; default: as in hansa.toml.")] = "",
    as_json: JsonOption = False,
) -> None:
    """List the keys where this kit's key is, and say which one is in use."""
    import msgspec

    from hansa.crypto.signature import key_id
    from hansa.identity.keys import list_signers
    from hansa.identity.roster import Roster

    configuration = _configuration(directory)
    keys = msgspec.structs.replace(configuration.keys, pin=pin) if pin else configuration.keys
    path = directory / "roster.json"
    used = Roster.from_bytes(path.read_bytes()).node(configuration.name).identity_key if path.exists() else ""
    rows = [
        {**one, "key_id": key_id(str(one["public"])) if one["public"] else "", "in_use": one["public"] == used}
        for one in list_signers(directory, keys)
    ]
    if as_json:
        typer.echo(json.dumps({"store": keys.store, "token": keys.token, "keys": rows}))
        return
    for row in rows:
        marks = ["in use" if row["in_use"] else "", "can leave its place" if row["extractable"] else ""]
        typer.echo(f"{row['label']}  {row['public']}  {', '.join(mark for mark in marks if mark)}".rstrip())


@app.command()
def encrypt(
    directory: KitArgument,
    *,
    passphrase: Annotated[str, typer.Option(help="Where the new passphrase comes from.")] = "prompt",
) -> None:
    """Encrypt an identity.key of an older version in place, and name the passphrase's source in hansa.toml."""
    import msgspec

    from hansa.identity.files import write_file
    from hansa.identity.key_file import encrypt_key
    from hansa.identity.keys import KEY_FILE
    from hansa.identity.passphrase import read_passphrase

    configuration = _configuration(directory)
    words = read_passphrase(passphrase, directory=directory, what="new passphrase", is_new=True)
    encrypt_key(directory / KEY_FILE, passphrase=words)
    changed = msgspec.structs.replace(configuration.keys, passphrase=passphrase)
    write_file(directory / "hansa.toml", msgspec.structs.replace(configuration, keys=changed).to_toml().encode())
    typer.echo(f"{directory / KEY_FILE}: encrypted; remove older copies of it, backups too")


@app.command()
def attest(directory: KitArgument, *, out: OutOption = None, as_json: JsonOption = False) -> None:
    """Sign what the token says of the key: that it is sensitive, not extractable, and where it lives."""
    from hansa.governance.key_statements import Attestation
    from hansa.identity.keys import attributes_of, open_signer

    configuration = _configuration(directory)
    signer = open_signer(directory, configuration.keys)
    said = Attestation(
        federation=configuration.federation,
        node=configuration.name,
        key=signer.public,
        key_id=signer.key_id,
        at=_now().isoformat(timespec="seconds"),
        store=configuration.keys.store,
        attributes=attributes_of(signer),
    )
    _deliver(said, [signer], out or directory / "attestation.json", as_json=as_json)


@app.command()
def rotate(
    directory: KitArgument,
    *,
    passphrase: Annotated[str, typer.Option(help="Of the new key in a file; default: as in hansa.toml.")] = "",
    module: ModuleOption = "",
    token: TokenOption = "",
    slot: SlotOption = -1,
    label: LabelOption = "",
    pin: PinOption = "prompt",
    setting: SettingOption = None,
    reason: Annotated[Reason, typer.Option(help="Why.")] = "replaced",
    recovery: RecoveryOption = None,
    recovery_passphrase: RecoveryPassphraseOption = "prompt",
    lost: Annotated[
        bool, typer.Option("--lost", help="Neither the old nor a recovery key signs: a quorum will.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Make the next key in KIT/next and sign that it follows the one in use; `adopt` puts it in its place.

    With --module the next key is in a token; with --label alone in the token of the present one; else in a file.
    """
    import msgspec

    from hansa.governance.key_statements import Rotation
    from hansa.identity.keys import open_signer
    from hansa.identity.rotation import NEXT, begin_rotation

    configuration = _configuration(directory)
    keys = configuration.keys
    if module:
        keys = keys_of(
            passphrase=keys.passphrase, module=module, token=token, slot=slot, label=label or "identity", pin=pin,
            settings=setting,
        )  # fmt: skip
    elif label:
        keys = msgspec.structs.replace(keys, label=label)
    else:
        keys = msgspec.structs.replace(keys, store="file", passphrase=passphrase or keys.passphrase)
    old = _public_in_use(directory, configuration)
    signers = [] if lost else [_recovery(recovery, recovery_passphrase) or open_signer(directory, configuration.keys)]
    new = begin_rotation(directory, keys)
    said = Rotation(
        federation=configuration.federation,
        node=configuration.name,
        old=old,
        new=new.public,
        at=_now().isoformat(timespec="seconds"),
        reason=reason,
    )
    _deliver(said, [*signers, new], directory / NEXT / "rotation.json", as_json=as_json)
    if not as_json:
        typer.echo(
            f"Send {directory / NEXT / 'request.json'} to the authority and rotation.json to the members; put the "
            f"answers and the constitution that names the new key into {directory / NEXT}, then `hansa keys adopt`."
        )


@app.command()
def adopt(
    directory: KitArgument,
    *,
    lost: Annotated[bool, typer.Option("--lost", help="The old key cannot be opened any more.")] = False,
) -> None:
    """Put the next key in the place of the one in use; stop the node first. Doing it again finishes it."""
    from hansa.identity.kit import Kit
    from hansa.identity.rotation import adopt_rotation

    adopt_rotation(directory, at=_now(), is_lost=lost)
    typer.echo(f"{directory}: in use: {Kit.load(directory, at=_now()).signing_key.public}")


@app.command()
def revoke(
    directory: KitArgument,
    *,
    reason: Annotated[Reason, typer.Option(help="Why.")] = "compromised",
    node: Annotated[str, typer.Option(help="Whose key; default: this kit's own.")] = "",
    recovery: RecoveryOption = None,
    recovery_passphrase: RecoveryPassphraseOption = "prompt",
    out: OutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Sign that a key is not to be believed from now on; of another member's key, as one of a quorum (`cosign`)."""
    from hansa.governance.key_statements import Revocation
    from hansa.identity.keys import open_signer

    configuration = _configuration(directory)
    said = Revocation(
        federation=configuration.federation,
        node=node or configuration.name,
        key=_public_in_use(directory, configuration, node=node),
        at=_now().isoformat(timespec="seconds"),
        reason=reason,
    )
    signer = _recovery(recovery, recovery_passphrase) or open_signer(directory, configuration.keys)
    _deliver(said, [signer], out or Path(f"revocation-{said.node}.json"), as_json=as_json)


@app.command()
def cosign(
    file: Annotated[Path, typer.Argument(help="A revocation or a rotation.", metavar="FILE")],
    *,
    kit: Annotated[Path, typer.Option(help="The member's kit folder.")],
    as_json: JsonOption = False,
) -> None:
    """Add this member's signature to a statement about another's key, once it is sure that the member asks for it."""
    from hansa.identity.files import write_file
    from hansa.identity.keys import open_signer

    configuration = _configuration(kit)
    signed = _read(file)
    if signed.statement.federation != configuration.federation or signed.kind == "attestation":
        raise ConfigurationError(f"{file}: a {signed.kind} of {signed.statement.federation}; nothing was signed")
    after = signed.signed_by(open_signer(kit, configuration.keys))
    write_file(file, after.to_bytes())
    _print({"kind": after.kind, "node": after.statement.node, "signed_by": sorted(after.signers())}, as_json=as_json)


@app.command()
def verify(
    file: Annotated[Path, typer.Argument(help="A signed statement.", metavar="FILE")],
    *,
    constitution: Annotated[Path, typer.Option(help="The constitution in force.")],
    as_json: JsonOption = False,
) -> None:
    """Say what a statement says and by whose authority it counts; exit code 1 if it does not."""
    import msgspec

    from hansa.governance.key_statements import authority_of
    from hansa.governance.signed import read

    signed = _read(file)
    facts: dict[str, object] = {**msgspec.to_builtins(signed.statement), "signed_by": sorted(signed.signatures)}
    try:
        facts |= {"counts": True, "by": authority_of(signed, read(constitution).require_all_signatures())}
    except SignatureError as error:
        facts |= {"counts": False, "why": str(error)}
    _print(facts, as_json=as_json)
    raise typer.Exit(0 if facts["counts"] else 1)


def _configuration(directory: Path) -> NodeConfiguration:
    from hansa.identity.configuration import NodeConfiguration
    from hansa.identity.files import read_file

    return NodeConfiguration.from_toml(read_file(directory / "hansa.toml").decode(errors="replace"))


def _public_in_use(directory: Path, configuration: NodeConfiguration, *, node: str = "") -> str:
    from hansa.identity.files import read_file
    from hansa.identity.roster import Roster

    return Roster.from_bytes(read_file(directory / "roster.json")).node(node or configuration.name).identity_key


def _recovery(directory: Path | None, source: str) -> Signer | None:
    from hansa.identity.key_file import read_key
    from hansa.identity.keys import KEY_FILE

    return read_key(directory / KEY_FILE, source=source) if directory else None


def _read(path: Path) -> SignedStatement:
    from hansa.governance.key_statements import SignedStatement
    from hansa.identity.files import read_file

    return SignedStatement.from_bytes(read_file(path), what=str(path))


def _deliver(statement: Statement, signers: list[Signer], path: Path, *, as_json: bool) -> None:
    import msgspec

    from hansa.governance.key_statements import SignedStatement
    from hansa.identity.files import write_file

    signed = SignedStatement(statement, {})
    for signer in signers:
        signed = signed.signed_by(signer)
    write_file(path, signed.to_bytes())
    facts = {**msgspec.to_builtins(statement), "signed_by": sorted(signed.signers()), "file": str(path)}
    _print(facts, as_json=as_json)


def _facts(signer: Signer, keys: KeysConfiguration) -> dict[str, object]:
    return {
        "public": signer.public,
        "algorithm": signer.algorithm,
        "key_id": signer.key_id,
        "store": keys.store,
        "token": keys.token,
        "label": keys.label if keys.store == "pkcs11" else "",
    }


def _print(facts: Mapping[str, object], *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(facts))
        return
    for name, value in facts.items():
        if isinstance(value, dict):
            for inner, one in value.items():
                typer.echo(f"  {inner}: {one}")
        elif value != "":
            typer.echo(f"{name}: {', '.join(value) if isinstance(value, list) else value}")


def _now() -> datetime:
    return datetime.fromtimestamp(time.time(), tz=UTC)
