"""Claims about `hansa keys`: the whole life of a member's key, from the file into a token."""

from __future__ import annotations

import json
import shutil
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from typer.testing import CliRunner

from constitutions import constitution
from hansa.cli.constitution import app as constitution_app
from hansa.cli.keys import app
from hansa.cli.kit import app as kit_app
from hansa.errors import ConfigurationError, HansaError, IdentityError
from hansa.federation.node import load_node, write_anchors
from hansa.governance.constitution import Constitution, Party
from hansa.governance.signed import SignedConstitution, read, write
from hansa.identity.key_file import is_encrypted, read_key
from hansa.identity.keys import KEY_FILE
from hansa.identity.kit import Kit, Request, issue, make_federation
from tokens import token

if TYPE_CHECKING:
    from click.testing import Result

MEMBERS = ("east", "isle", "north", "south", "west")


def run(*arguments: object, app_: Any = app) -> Result:
    return CliRunner().invoke(app_, [str(argument) for argument in arguments])


def facts(*arguments: object) -> dict[str, Any]:
    done = run(*arguments, "--json")
    assert done.exit_code == 0, (done.output, done.exception)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def refused(*arguments: object) -> HansaError:
    done = run(*arguments)
    assert isinstance(done.exception, HansaError), done.output
    return done.exception


def now() -> datetime:
    return datetime.fromtimestamp(time.time(), tz=UTC)


def of_roster(folder: Path, **changes: object) -> Constitution:
    roster = Kit.load(folder, at=now()).roster
    made = constitution(len(MEMBERS))
    parties = tuple(Party(one.name, one.identity_key, recovery_key=one.recovery_key or "") for one in roster.members)
    coordinator = Party(roster.coordinator.name, roster.coordinator.identity_key)
    fields = {"federation": roster.federation, "members": parties, "coordinator": coordinator, **changes}
    return msgspec.structs.replace(made, **fields)


@pytest.fixture
def federation(tmp_path: Path) -> Path:
    make_federation(tmp_path, "baltic", MEMBERS, at=now())
    signed = SignedConstitution(of_roster(tmp_path / "north"), {})
    for name in MEMBERS:
        signed = signed.signed_by(name, Kit.load(tmp_path / name, at=now()).signing_key)
    for name in (*MEMBERS, "coordinator"):
        write(tmp_path / name / "constitution.json", signed)
    return tmp_path


def test_a_key_is_made_and_listed_without_its_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANSA_TEST_WORDS", "correct horse battery")
    made = facts("create", tmp_path / "recovery", "--passphrase", "env:HANSA_TEST_WORDS")
    assert (made["algorithm"], made["store"], len(made["key_id"])) == ("ed25519", "file", 64)
    assert read_key(tmp_path / "recovery" / KEY_FILE, source="env:HANSA_TEST_WORDS").public == made["public"]
    assert "correct horse" not in json.dumps(made)
    with pytest.raises(IdentityError, match="never overwritten"):
        raise refused("create", tmp_path / "recovery", "--passphrase", "env:HANSA_TEST_WORDS")


def test_the_list_says_which_key_is_in_use(federation: Path) -> None:
    listed = facts("list", federation / "north")
    assert listed["store"] == "file"
    assert [(row["label"], row["in_use"], row["extractable"]) for row in listed["keys"]] == [
        ("identity.key", True, True)
    ]
    assert "in use" in run("list", federation / "north").stdout


def test_an_older_key_is_encrypted_in_place(federation: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = federation / "north"
    key = read_key(folder / KEY_FILE, source="file:identity.passphrase")
    plain = Ed25519PrivateKey.from_private_bytes(key.to_bytes()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / KEY_FILE).write_bytes(plain)
    monkeypatch.setenv("HANSA_TEST_WORDS", "correct horse battery")
    assert run("encrypt", folder, "--passphrase", "env:HANSA_TEST_WORDS").exit_code == 0
    assert is_encrypted((folder / KEY_FILE).read_bytes())
    assert Kit.load(folder, at=now()).signing_key.public == key.public
    with pytest.raises(IdentityError, match="encrypted already"):
        raise refused("encrypt", folder, "--passphrase", "env:HANSA_TEST_WORDS")


def test_an_attestation_says_where_a_key_lives_and_counts_for_its_constitution(federation: Path) -> None:
    folder = federation / "north"
    said = facts("attest", folder, "--out", federation / "a.json")
    assert (said["store"], said["attributes"], said["node"]) == ("file", {}, "north")
    checked = facts("verify", federation / "a.json", "--constitution", folder / "constitution.json")
    assert (checked["counts"], checked["by"]) == (True, "its own key")


def test_a_member_goes_from_a_file_into_a_token(federation: Path) -> None:
    folder = federation / "north"
    volume = Kit.load(folder, at=now()).volume_key()
    old = Kit.load(folder, at=now()).signing_key.public
    where = token(folder, f"rotate-{federation.name[-20:]}")
    options = ["--module", where.module, "--token", where.token, "--pin", where.pin]
    options += ["--setting", f"SOFTHSM2_CONF={where.environment['SOFTHSM2_CONF']}"]
    said = facts("rotate", folder, *options)
    assert (said["old"], said["new"][:5], said["signed_by"]) == (old, "p256:", sorted([old, said["new"]]))
    assert Kit.load(folder, at=now()).signing_key.public == old  # goes on until all have agreed
    with pytest.raises(IdentityError, match="a rotation is under way"):
        raise refused("rotate", folder, *options)
    with pytest.raises(IdentityError, match="all members sign it first"):
        raise refused("adopt", folder)

    names = ("coordinator", *MEMBERS)
    requests = [
        Request.from_bytes((federation / name / ("next" if name == "north" else "") / "request.json").read_bytes())
        for name in names
    ]
    issue(federation / "authority", requests, federation / "answers", at=now())
    for name in ("identity.crt", "authority.crt", "roster.json"):
        (folder / "next" / name).write_bytes((federation / "answers" / "north" / name).read_bytes())
    before = read(folder / "constitution.json")
    after = of_roster(folder / "next", epoch=2, supersedes=before.constitution.digest())
    signed = SignedConstitution(after, {})
    for name in MEMBERS:
        place = folder / "next" if name == "north" else federation / name
        signed = signed.signed_by(name, Kit.load(place, at=now()).signing_key)
    write(folder / "next" / "constitution.json", signed)
    chain = [folder / "next" / "constitution.json", "--previous", folder / "constitution.json"]
    assert run("verify", *chain, "--rotation", folder / "next" / "rotation.json", app_=constitution_app).exit_code == 0

    assert run("adopt", folder).exit_code == 0
    node = load_node(folder)
    assert node.kit.signing_key.public == said["new"]
    assert node.kit.configuration.keys == msgspec.structs.replace(where, passphrase="file:identity.passphrase")
    assert node.kit.volume_key() == volume
    assert not (folder / "next").exists()
    assert read_key(folder / "identity.old-1.key", source="file:identity.passphrase").public == old
    attested = facts("attest", folder)
    assert attested["attributes"]["never_extractable"] is True
    assert attested["attributes"]["token_label"] == where.token
    listed = facts("list", folder)
    assert [(row["public"], row["in_use"], row["extractable"]) for row in listed["keys"]] == [
        (said["new"], True, False)
    ]


def rotated(federation: Path, name: str = "north") -> Path:
    """Return a member's folder whose rotation from file to file waits to be adopted."""
    folder = federation / name
    facts("rotate", folder)
    requests = [
        Request.from_bytes((federation / one / ("next" if one == name else "") / "request.json").read_bytes())
        for one in ("coordinator", *MEMBERS)
    ]
    issue(federation / "authority", requests, federation / "answers", at=now())
    for one in ("identity.crt", "authority.crt", "roster.json"):
        (folder / "next" / one).write_bytes((federation / "answers" / name / one).read_bytes())
    (folder / "next" / "constitution.json").write_bytes((folder / "constitution.json").read_bytes())
    return folder


def test_adopting_that_was_cut_short_anywhere_is_finished_by_doing_it_again(
    federation: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = rotated(federation)
    expected = Kit.load(folder / "next", at=now()).signing_key.public
    replace, unlink = Path.replace, Path.unlink
    for cut in range(40):
        copy = tmp_path / f"copy-{cut}"
        shutil.copytree(folder, copy)
        left = [cut]

        def spend(left: list[int] = left) -> None:
            if left[0] == 0:
                raise KeyboardInterrupt
            left[0] -= 1

        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", lambda self, target, spend=spend: (spend(), replace(self, target))[1])
            patch.setattr(
                Path,
                "unlink",
                lambda self, missing_ok=False, spend=spend: (spend(), unlink(self, missing_ok=missing_ok))[1],
            )
            done = run("adopt", copy)
        if done.exit_code != 0:
            for stray in copy.rglob(".*.[0-9]*"):
                stray.unlink()
            again = run("adopt", copy)
            assert again.exit_code == 0 or "no rotation is under way" in str(again.exception), (cut, again.exception)
        assert Kit.load(copy, at=now()).signing_key.public == expected, cut
        assert len(list(copy.glob("identity.old-*.key"))) == 1, cut
        if done.exit_code == 0:
            break
    assert 10 < cut < 39


def test_a_lost_key_is_revoked_by_a_quorum_and_shut_out(federation: Path, tmp_path: Path) -> None:
    file = tmp_path / "revocation.json"
    facts("revoke", federation / "east", "--node", "north", "--reason", "lost", "--out", file)
    check = ["verify", file, "--constitution", federation / "east" / "constitution.json"]
    quorum = read(federation / "east" / "constitution.json").constitution.quorum
    for count, name in enumerate(("isle", "south", "west"), start=1):
        if count < quorum:
            assert run(*check).exit_code == 1
            assert "of the other members" in run(*check).stdout
        facts("cosign", file, "--kit", federation / name)
    assert facts(*check)["counts"] is True
    for name in ("coordinator", "north", "east"):
        (federation / name / "revocations").mkdir()
        shutil.copy(file, federation / name / "revocations" / "north.json")
    with pytest.raises(IdentityError, match="the identity key of north has been revoked"):
        load_node(federation / "north")
    assert load_node(federation / "east").revoked == {"north"}
    hub = load_node(federation / "coordinator")
    assert hub.admitted == ("east", "isle", "south", "west")
    assert write_anchors(hub).read_text().count("BEGIN CERTIFICATE") == 5


def test_too_few_signatures_shut_nobody_out_and_are_said(federation: Path, tmp_path: Path) -> None:
    file = tmp_path / "revocation.json"
    facts("revoke", federation / "east", "--node", "north", "--out", file)
    (federation / "west" / "revocations").mkdir()
    shutil.copy(file, federation / "west" / "revocations" / "north.json")
    with pytest.raises(HansaError, match="of the other members; 1 have signed"):
        load_node(federation / "west")


def test_a_recovery_key_revokes_and_replaces_a_lost_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANSA_TEST_WORDS", "correct horse battery")
    words = ["--passphrase", "env:HANSA_TEST_WORDS"]
    recovery = facts("create", tmp_path / "safe", *words)["public"]
    for name in ("hub", "a", "b", "c"):
        role = "coordinator" if name == "hub" else "member"
        who = (
            ["--federation", "baltic", "--name", name, "--role", role, "--recovery-key", recovery]
            if name == "a"
            else []
        )
        who = who or ["--federation", "baltic", "--name", name, "--role", role]
        assert run("request", tmp_path / name, *who, *words, app_=kit_app).exit_code == 0
    done = run(
        "issue", tmp_path / "authority", *(tmp_path / n / "request.json" for n in ("hub", "a", "b", "c")),
        "--out", tmp_path, app_=kit_app,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    made = of_roster(tmp_path / "b", minimum_cohort=3, colluders=0)
    assert made.members[0].recovery_key == recovery
    signed = SignedConstitution(made, {})
    for name in ("a", "b", "c"):
        signed = signed.signed_by(name, Kit.load(tmp_path / name, at=now()).signing_key)
    write(tmp_path / "constitution.json", signed)
    (tmp_path / "a" / KEY_FILE).unlink()  # lost
    by_recovery = ["--recovery", tmp_path / "safe", "--recovery-passphrase", "env:HANSA_TEST_WORDS"]
    facts("revoke", tmp_path / "a", "--reason", "lost", *by_recovery, "--out", tmp_path / "r.json")
    assert facts("verify", tmp_path / "r.json", "--constitution", tmp_path / "constitution.json")["by"] == (
        "its recovery key"
    )
    said = facts("rotate", tmp_path / "a", "--reason", "lost", *by_recovery)
    assert said["signed_by"] == sorted([recovery, said["new"]])
    rotation = tmp_path / "a" / "next" / "rotation.json"
    assert facts("verify", rotation, "--constitution", tmp_path / "constitution.json")["by"] == "its recovery key"


def test_statements_of_another_federation_and_attestations_are_not_cosigned(federation: Path, tmp_path: Path) -> None:
    make_federation(tmp_path / "other", "adriatic", ("a", "b"), at=now())
    facts("attest", federation / "north", "--out", tmp_path / "a.json")
    facts("revoke", tmp_path / "other" / "a", "--out", tmp_path / "r.json")
    for name in ("a.json", "r.json"):
        with pytest.raises(ConfigurationError, match="nothing was signed"):
            raise refused("cosign", tmp_path / name, "--kit", federation / "north")
