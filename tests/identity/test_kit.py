from __future__ import annotations

import datetime as dt
import json
import stat
from typing import TYPE_CHECKING

import msgspec
import pytest

from hansa.crypto.prg import derive
from hansa.crypto.signature import SigningKey
from hansa.errors import ConfigurationError, HansaError, IdentityError, SignatureError
from hansa.identity.certificates import load_certificate
from hansa.identity.configuration import KeysConfiguration, NodeConfiguration
from hansa.identity.files import write_secret
from hansa.identity.key_file import read_key
from hansa.identity.keys import make_passphrase_file
from hansa.identity.kit import (
    Kit,
    Request,
    issue,
    make_authority_directory,
    make_federation,
    request_kit,
)

if TYPE_CHECKING:
    from pathlib import Path

AT = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)


@pytest.fixture
def federation(tmp_path: Path) -> Path:
    make_federation(tmp_path, "baltic", ["south", "north"], at=AT)
    return tmp_path


def test_every_kit_of_a_new_federation_loads_and_agrees_on_the_roster(federation: Path) -> None:
    kits = [Kit.load(federation / name, at=AT) for name in ("coordinator", "north", "south")]
    assert len({kit.roster.digest() for kit in kits}) == 1
    assert [kit.configuration.role for kit in kits] == ["coordinator", "member", "member"]
    assert [m.name for m in kits[0].roster.members] == ["north", "south"]
    assert kits[1].roster.node("north").identity_key == kits[1].signing_key.public


def test_private_keys_are_readable_by_their_owner_alone(federation: Path) -> None:
    keys = [*federation.rglob("*.key"), *federation.rglob("*.passphrase")]
    assert len(keys) == 10
    assert {stat.S_IMODE(path.stat().st_mode) for path in keys} == {0o600}
    assert [path for path in federation.rglob(".*") if path.is_file()] == []


def test_a_kit_shows_no_secret(federation: Path) -> None:
    kit = Kit.load(federation / "north", at=AT)
    key = read_key(federation / "north" / "identity.key", source="file:identity.passphrase")
    assert key.public == kit.signing_key.public
    assert key.to_bytes().hex() not in repr(kit)
    assert repr(key.to_bytes()) not in repr(kit)


@pytest.mark.parametrize("name", ["identity.key", "identity.passphrase", "node.key"])
def test_a_key_that_others_can_read_is_refused(federation: Path, name: str) -> None:
    (federation / "north" / name).chmod(0o640)
    with pytest.raises(IdentityError, match=r"expected mode 0600, got 0640.*chmod"):
        Kit.load(federation / "north", at=AT)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("identity.key", "passphrase is wrong"),
        ("identity.crt", "expected 'north' of 'baltic'"),
        ("hansa.toml", "expected identity key"),
    ],
)
def test_files_of_two_kits_do_not_mix(federation: Path, name: str, reason: str) -> None:
    (federation / "north" / name).write_bytes((federation / "south" / name).read_bytes())
    with pytest.raises(IdentityError, match=reason):
        Kit.load(federation / "north", at=AT)


@pytest.mark.parametrize("name", ["identity.key", "identity.crt", "authority.crt", "roster.json"])
def test_a_missing_or_damaged_file_is_named_or_explained(federation: Path, name: str) -> None:
    path = federation / "north" / name
    path.write_bytes(b"damaged")
    with pytest.raises(IdentityError):
        Kit.load(federation / "north", at=AT)
    path.unlink()
    with pytest.raises(IdentityError, match=name):
        Kit.load(federation / "north", at=AT)


@pytest.mark.parametrize("names", [["node.crt"], ["node.key"], ["node.crt", "node.key"]])
def test_what_tls_needs_is_made_anew_where_it_is_missing(federation: Path, names: list[str]) -> None:
    folder = federation / "north"
    for name in names:
        (folder / name).unlink()
    Kit.load(folder, at=AT)
    assert stat.S_IMODE((folder / "node.key").stat().st_mode) == 0o600
    assert not Kit.load(folder, at=AT).renew_tls(at=AT)


def test_a_tls_key_of_another_node_is_replaced_and_its_certificate_with_it_refused(federation: Path) -> None:
    for name in ("node.key", "node.crt"):
        (federation / "north" / name).write_bytes((federation / "south" / name).read_bytes())
    with pytest.raises(IdentityError, match="expected 'north' of 'baltic'"):
        Kit.load(federation / "north", at=AT)
    (federation / "north" / "node.crt").unlink()
    Kit.load(federation / "north", at=AT)
    assert (federation / "north" / "node.key").read_bytes() != (federation / "south" / "node.key").read_bytes()


def test_a_tls_certificate_is_renewed_after_two_thirds_of_its_life_and_ends_with_its_issuer(federation: Path) -> None:
    kit = Kit.load(federation / "north", at=AT)
    before = load_certificate(kit.certificate.read_bytes())
    assert not kit.renew_tls(at=AT + dt.timedelta(days=4))
    assert kit.renew_tls(at=AT + dt.timedelta(days=5))
    after = load_certificate(kit.certificate.read_bytes())
    assert after.public_key() != before.public_key()
    assert after.not_valid_after_utc == AT + dt.timedelta(days=12)
    late = AT + dt.timedelta(days=395)
    assert kit.renew_tls(at=late)
    assert load_certificate(kit.certificate.read_bytes()).not_valid_after_utc == kit.identity.not_valid_after_utc
    with pytest.raises(IdentityError, match="hansa kit renew"):
        kit.renew_tls(at=AT + dt.timedelta(days=398))


def test_an_expired_certificate_and_an_unknown_setting_are_refused(federation: Path) -> None:
    with pytest.raises(IdentityError, match="renew"):
        Kit.load(federation / "north", at=AT + dt.timedelta(days=400))
    with (federation / "north" / "hansa.toml").open("a") as file:
        file.write("secret = 1\n")
    with pytest.raises(ConfigurationError, match="secret"):
        Kit.load(federation / "north", at=AT)


def test_a_key_is_never_overwritten(federation: Path) -> None:
    before = (federation / "north" / "identity.key").read_bytes()
    with pytest.raises(IdentityError, match="never overwritten"):
        request_kit(federation / "north", configuration=NodeConfiguration("north", "baltic", "member"))
    with pytest.raises(IdentityError, match="never overwritten"):
        make_federation(federation, "baltic", ["north"], at=AT)
    assert (federation / "north" / "identity.key").read_bytes() == before


def ask(directory: Path, name: str, role: str = "member") -> Request:
    (directory / name).mkdir()
    keys = KeysConfiguration(passphrase=make_passphrase_file(directory / name))
    configuration = NodeConfiguration(name, "baltic", role, keys=keys)  # type: ignore[arg-type]
    request_kit(directory / name, configuration=configuration, legal_name=f"{name} & Co")
    return Request.from_bytes((directory / name / "request.json").read_bytes())


def test_private_keys_stay_where_they_were_made(tmp_path: Path) -> None:
    make_authority_directory(tmp_path / "authority", "baltic", at=AT)
    requests = [ask(tmp_path, "north"), ask(tmp_path, "hub", "coordinator")]
    sent = (tmp_path / "north" / "request.json").read_text()
    assert "PRIVATE" not in sent
    assert read_key(tmp_path / "north" / "identity.key", source="file:identity.passphrase").to_bytes().hex() not in sent
    roster = issue(tmp_path / "authority", requests, tmp_path / "answers", at=AT)
    assert {path.name for path in (tmp_path / "answers" / "north").iterdir()} == {
        "identity.crt",
        "authority.crt",
        "roster.json",
    }
    for path in (tmp_path / "answers" / "north").iterdir():
        (tmp_path / "north" / path.name).write_bytes(path.read_bytes())
    kit = Kit.load(tmp_path / "north", at=AT)
    assert kit.roster == roster
    assert roster.node("north").legal_name == "north & Co"


def test_an_altered_request_is_refused(tmp_path: Path) -> None:
    request = ask(tmp_path, "north")
    altered = msgspec.structs.replace(request, role="coordinator")
    with pytest.raises(SignatureError):
        Request.from_bytes(msgspec.json.encode(altered))
    stolen = msgspec.structs.replace(request, identity_key=SigningKey.from_bytes(bytes(32)).public)
    with pytest.raises(SignatureError):
        Request.from_bytes(msgspec.json.encode(stolen))
    with pytest.raises(IdentityError, match="hansa kit request"):
        Request.from_bytes(json.dumps({"name": "north"}).encode())


def test_an_authority_wants_one_coordinator_and_one_federation(tmp_path: Path) -> None:
    make_authority_directory(tmp_path / "authority", "baltic", at=AT)
    north, hub = ask(tmp_path, "north"), ask(tmp_path, "hub", "coordinator")
    for requests in ([north], [hub], [north, hub, hub], [north, north, hub]):
        with pytest.raises(HansaError):
            issue(tmp_path / "authority", requests, tmp_path / "answers", at=AT)
    assert not (tmp_path / "answers").exists()


@pytest.mark.parametrize("members", [[], ["a", "a"], ["authority"], ["coordinator"], ["../up"]])
def test_a_federation_with_impossible_members_is_refused(tmp_path: Path, members: list[str]) -> None:
    with pytest.raises(IdentityError):
        make_federation(tmp_path / "new", "baltic", members, at=AT)
    assert not (tmp_path / "new").exists()


def test_the_noise_on_volumes_follows_from_a_software_key_and_survives_its_loss(federation: Path) -> None:
    kit = Kit.load(federation / "north", at=AT)
    key = read_key(federation / "north" / "identity.key", source="file:identity.passphrase")
    assert kit.volume_key() == derive(key.to_bytes(), b"hansa/volume-noise/1")  # as before there was a choice of keys
    assert not (federation / "north" / "volume.secret").exists()
    write_secret(federation / "north" / "volume.secret", bytes(range(32)))
    assert kit.volume_key() == bytes(range(32))
    (federation / "north" / "volume.secret").write_bytes(b"short")
    with pytest.raises(IdentityError, match="32 bytes, got 5"):
        kit.volume_key()
