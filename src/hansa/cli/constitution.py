"""`hansa constitution`: draft, read, compare, sign and verify the file from which every limit comes.

Files travel: one founder drafts, each member signs its own copy, anybody unites the copies with `verify --out`.
Exit codes: 0 as asked, 1 a signature is missing or wrong or the files differ, 2 a file or a choice is refused.
"""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hansa.errors import ConfigurationError

if TYPE_CHECKING:
    from hansa.governance.amendment import Change
    from hansa.governance.constitution import Constitution, Party
    from hansa.governance.key_statements import SignedStatement
    from hansa.governance.signed import SignedConstitution
    from hansa.identity.roster import Member, Roster

app = typer.Typer(help="Draft, read, compare, sign and verify a federation's constitution.", no_args_is_help=True)

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
FileArgument = Annotated[Path, typer.Argument(help="A constitution.", metavar="FILE")]
FilesArgument = Annotated[list[Path], typer.Argument(help="Copies of one constitution.", metavar="FILE...")]
RosterOption = Annotated[Path | None, typer.Option(help="roster.json of a kit: names and identity keys.")]

RotationOption = Annotated[
    list[Path] | None,
    typer.Option(help="Signed rotation of a member's key: the member stays, with its new key. Repeat it."),
]


@app.command()
def new(
    draft: Annotated[Path, typer.Argument(help="The draft file (TOML): markets, budgets, schedule.", metavar="DRAFT")],
    *,
    roster: RosterOption = None,
    out: Annotated[Path, typer.Option(help="Where the unsigned constitution goes.")] = Path("constitution.json"),
    before: Annotated[Path | None, typer.Option("--from", help="The constitution that the new one supersedes.")] = None,
    rotation: RotationOption = None,
    template: Annotated[
        bool, typer.Option("--template", help="Write a commented DRAFT to edit, of --from if given, and end.")
    ] = False,
) -> None:
    """Make an unsigned constitution of a draft and a roster, or the next one of a constitution in force."""
    from hansa.federation.draft_file import EXAMPLE, Draft
    from hansa.federation.drafting import constitution_of, draft_of
    from hansa.governance.amendment import changes, require_succession
    from hansa.governance.signed import SignedConstitution, read, write

    old = read(before).require_all_signatures() if before else None
    if template:
        _write_new(draft, (draft_of(old) if old else EXAMPLE).to_toml())
        typer.echo(f"{draft}: edit it, then `hansa constitution new {draft}`")
        return
    federation, members, coordinator = _parties(roster, old)
    made = constitution_of(
        Draft.from_toml(_text(draft)),
        federation=federation,
        members=members,
        coordinator=coordinator,
        supersedes=old,
    )
    if old:
        require_succession(old, made, _rotations(rotation))
    if out.exists():
        raise ConfigurationError(f"{out} exists; name another file with --out, signatures in it would be lost")
    write(out, SignedConstitution(made, {}))
    for change in changes(old, made) if old else ():
        typer.echo(_line(change))
    for warning in _warnings(made):
        typer.echo(f"note: {warning}")
    typer.echo(f"{out}: epoch {made.epoch}, unsigned\ndigest {made.digest()}")


@app.command()
def show(file: FileArgument, *, as_json: JsonOption = False) -> None:
    """Say in plain sentences who may learn what, and who has signed."""
    from hansa.federation.drafting import affordable
    from hansa.governance.sentences import purposes_in_words, rules_in_words
    from hansa.governance.signed import read

    signed = read(file)
    found = signed.constitution
    paid = {name: affordable(found, name) for name in found.purposes}
    facts = _facts(signed)
    words = rules_in_words(found)
    purposes = purposes_in_words(found, paid)
    notes = _warnings(found)
    if as_json:
        document = facts | {"rules": words, "purposes": purposes, "affordable": paid, "notes": notes}
        typer.echo(json.dumps(document | {"constitution": json.loads(found.bytes())}))
        return
    typer.echo(f"{found.federation}, epoch {found.epoch}, schema version {found.version}\ndigest {found.digest()}")
    typer.echo(f"supersedes {found.supersedes or 'nothing: it is the first'}\n")
    typer.echo("\n".join(words))
    typer.echo("".join(f"\n{name}: {sentence}" for name, sentence in purposes.items()))
    typer.echo("".join(f"\nnote: {note}" for note in notes))
    typer.echo()
    keys = {party.name: party.identity_key for party in found.members}
    for name, standing in signed.standings().items():
        typer.echo(f"{standing:8} {name} {keys[name]}")


@app.command()
def diff(
    old: Annotated[Path, typer.Argument(help="A constitution.")],
    new_: Annotated[Path, typer.Argument(help="Another.", metavar="NEW")],
    *,
    as_json: JsonOption = False,
) -> None:
    """Show clause by clause what differs and what it does; exit code 1 if anything does."""
    from hansa.governance.amendment import changes
    from hansa.governance.signed import read

    found = changes(read(old).constitution, read(new_).constitution)
    if as_json:
        import msgspec

        typer.echo(json.dumps(msgspec.to_builtins(found)))
    else:
        for change in found:
            typer.echo(_line(change))
    raise typer.Exit(int(bool(found)))


@app.command()
def sign(
    file: FileArgument,
    *,
    kit: Annotated[Path, typer.Option(help="The member's kit folder.")],
    digest: Annotated[str, typer.Option(help="Refuse unless the constitution has this digest.")] = "",
) -> None:
    """Add this member's signature to a copy, once it has been read; signing again changes nothing."""
    from hansa.governance.signed import read, write
    from hansa.identity.kit import Kit

    signed = read(file)
    found = signed.constitution
    if digest and digest != found.digest():
        raise ConfigurationError(f"{file}: expected digest {digest}, got {found.digest()}; nothing was signed")
    own = Kit.load(kit, at=datetime.fromtimestamp(time.time(), tz=UTC))
    if own.roster.federation != found.federation:
        raise ConfigurationError(f"{file} is of {found.federation}, the kit of {own.roster.federation}")
    after = signed.signed_by(own.name, own.signing_key)
    if after != signed:
        write(file, after)
    typer.echo(f"{file}: signed by {own.name}, epoch {found.epoch}\ndigest {found.digest()}")
    missing = [name for name, standing in after.standings().items() if standing != "signed"]
    typer.echo(f"not yet signed by {', '.join(missing)}" if missing else "signed by every member")


@app.command()
def verify(
    files: FilesArgument,
    *,
    roster: RosterOption = None,
    previous: Annotated[Path | None, typer.Option(help="The constitution before: check the chain.")] = None,
    rotation: RotationOption = None,
    out: Annotated[Path | None, typer.Option(help="Write the copies' signatures into one file.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Check every signature over all copies together; exit code 1 names who is missing or wrong."""
    from hansa.governance.amendment import require_succession
    from hansa.governance.signed import combine, read, write

    united = combine([read(path) for path in files])
    found = united.constitution
    faults = [f"{name}: {standing}" for name, standing in united.standings().items() if standing != "signed"]
    if roster:
        faults += _differences_from_roster(found, _roster(roster))
    if previous:
        try:
            require_succession(read(previous).require_all_signatures(), found, _rotations(rotation))
        except ConfigurationError as error:
            faults.append(str(error))
    if out:
        write(out, united)
    if as_json:
        typer.echo(json.dumps(_facts(united) | {"faults": faults}))
    else:
        for fault in faults:
            typer.echo(fault)
        typer.echo(f"digest {found.digest()}")
        typer.echo(f"{found.federation}, epoch {found.epoch}: {f'{len(faults)} faults' if faults else 'in force'}")
    raise typer.Exit(int(bool(faults)))


def _rotations(paths: list[Path] | None) -> list[SignedStatement]:
    from hansa.governance.key_statements import SignedStatement

    return [SignedStatement.from_bytes(_text(path).encode(), what=str(path)) for path in paths or ()]


def _parties(path: Path | None, old: Constitution | None) -> tuple[str, tuple[Party, ...], Party]:
    if path:
        roster = _roster(path)
        members, coordinator = tuple(map(_party, roster.members)), _party(roster.coordinator)
        return roster.federation, members, coordinator
    if old:
        return old.federation, old.members, old.coordinator
    raise ConfigurationError("expected the parties: --roster roster.json of a kit, or --from a constitution in force")


def _party(node: Member) -> Party:
    from hansa.governance.constitution import Party

    return Party(node.name, node.identity_key, lei=node.lei or "", recovery_key=node.recovery_key or "")


def _differences_from_roster(found: Constitution, roster: Roster) -> list[str]:
    own = {party.name: party for party in (*found.members, found.coordinator)}
    theirs = {node.name: _party(node) for node in (*roster.members, roster.coordinator)}
    faults = [f"federation: {found.federation}; roster: {roster.federation}"]
    faults = faults if found.federation != roster.federation else []
    if found.coordinator.name != roster.coordinator.name:
        faults.append(f"coordinator: {found.coordinator.name}; roster: {roster.coordinator.name}")
    for name in sorted(own.keys() | theirs.keys()):
        ours, others = own.get(name), theirs.get(name)
        if ours == others:
            continue
        said = []
        for what in ("identity_key", "lei", "recovery_key"):
            one, other = (getattr(party, what) if party else "absent" for party in (ours, others))
            if one != other:
                said.append(f"{what.replace('_', ' ')} {one or 'none'}; roster: {other or 'none'}")
        faults.append(f"{name}: {', '.join(said)}")
    return faults


def _facts(signed: SignedConstitution) -> dict[str, object]:
    found = signed.constitution
    return {
        "federation": found.federation,
        "epoch": found.epoch,
        "version": found.version,
        "digest": found.digest(),
        "supersedes": found.supersedes,
        "quorum": found.quorum,
        "threshold": found.threshold,
        "signatures": dict(signed.standings()),
    }


def _warnings(found: Constitution) -> list[str]:
    from hansa.federation.drafting import affordable, scheduled_rounds
    from hansa.governance.sentences import warnings

    paid = {name: affordable(found, name) for name in found.purposes}
    return warnings(found, paid, rounds_a_year=scheduled_rounds(found.schedule))


def _line(change: Change) -> str:
    old, new_ = ("(none)" if value is None else value for value in (change.old, change.new))
    return f"{change.clause}: {old} -> {new_}" + (f"  [{change.effect}]" if change.effect else "")


def _roster(path: Path) -> Roster:
    from hansa.identity.roster import Roster

    return Roster.from_bytes(_text(path).encode())


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(1_000_001)
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}") from error
    if len(data) > 1_000_000:
        raise ConfigurationError(f"{path}: more than 1,000,000 bytes; this is not the file that is meant")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}: not UTF-8 text") from error


def _write_new(path: Path, text: str) -> None:
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise ConfigurationError(f"cannot write {path}: {error.strerror}; name another file") from error
