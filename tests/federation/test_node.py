"""Claims about a node's folder: who has been revoked, and certificates that are renewed while it runs."""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from typing import TYPE_CHECKING

import msgspec
import pytest

from constitutions import constitution
from hansa.errors import ConfigurationError, IdentityError
from hansa.federation import node as node_module
from hansa.federation.node import keep_tls_renewed, load_node, write_anchors
from hansa.governance.constitution import Party
from hansa.governance.key_statements import Revocation, SignedStatement
from hansa.governance.signed import SignedConstitution, write
from hansa.identity import tls
from hansa.identity.certificates import load_certificate
from hansa.identity.kit import Kit, make_federation

if TYPE_CHECKING:
    from pathlib import Path

    from hansa.crypto.signature import Signer
    from hansa.federation.node import Node

MEMBERS = ("east", "north", "south", "west")
NOW = dt.datetime.fromtimestamp(time.time(), tz=dt.UTC)


@pytest.fixture
def federation(tmp_path: Path) -> Path:
    roster = make_federation(tmp_path, "baltic", MEMBERS, at=NOW)
    parties = tuple(Party(one.name, one.identity_key) for one in roster.members)
    coordinator = Party(roster.coordinator.name, roster.coordinator.identity_key)
    rules = msgspec.structs.replace(
        constitution(len(MEMBERS)), federation="baltic", members=parties, coordinator=coordinator
    )
    signed = SignedConstitution(rules, {})
    for name in MEMBERS:
        signed = signed.signed_by(name, key(tmp_path, name))
    for name in (*MEMBERS, "coordinator"):
        write(tmp_path / name / "constitution.json", signed)
    return tmp_path


def key(federation: Path, name: str) -> Signer:
    return Kit.load(federation / name, at=NOW).signing_key


def revoke(federation: Path, whose: str, *, at: str, public: str = "") -> None:
    signer = key(federation, whose)
    said = Revocation("baltic", whose, public or signer.public, NOW.isoformat(), "compromised")
    (federation / at / "revocations").mkdir(exist_ok=True)
    data = SignedStatement(said, {}).signed_by(signer).to_bytes()
    (federation / at / "revocations" / f"{whose}.json").write_bytes(data)


def test_nobody_goes_on_under_a_coordinator_whose_key_is_revoked(federation: Path) -> None:
    for name in ("north", "coordinator"):
        revoke(federation, "coordinator", at=name)
        with pytest.raises(IdentityError, match="the identity key of coordinator has been revoked"):
            load_node(federation / name)


def test_a_revocation_of_a_key_that_is_no_longer_anybodys_says_nothing(federation: Path) -> None:
    revoke(federation, "east", at="north", public=key(federation, "west").public)
    assert load_node(federation / "north").revoked == frozenset()


def test_a_revoked_member_has_no_anchor_and_no_account(federation: Path) -> None:
    before = write_anchors(load_node(federation / "coordinator")).read_bytes()
    revoke(federation, "east", at="coordinator")
    hub = load_node(federation / "coordinator")
    assert hub.admitted == ("north", "south", "west")
    assert before.count(b"BEGIN CERTIFICATE") == 1 + write_anchors(hub).read_bytes().count(b"BEGIN CERTIFICATE")


def test_a_damaged_revocation_is_an_error_and_not_overlooked(federation: Path) -> None:
    revoke(federation, "east", at="north")
    path = federation / "north" / "revocations" / "east.json"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ConfigurationError, match=r"east\.json"):
        load_node(federation / "north")


def age(kit: Kit) -> None:
    """Give a kit the TLS certificate that it would have had six days ago."""
    at = NOW - dt.timedelta(days=6)
    tls.renew(kit.directory, kit.identity, federation="baltic", node=kit.name, signer=kit.signing_key, at=at)


async def renewed_by(node: Node) -> list[bytes]:
    """Keep a node renewed until it has been once; return the certificates that came of it."""
    renewals: list[bytes] = []
    done = asyncio.Event()

    def note() -> None:
        renewals.append(node.kit.certificate.read_bytes())
        done.set()

    task = asyncio.create_task(keep_tls_renewed(node, note))
    async with asyncio.timeout(30):
        await done.wait()
    for _ in range(20):  # further looks find nothing due
        await asyncio.sleep(0.001)
    task.cancel()
    return renewals


async def test_a_running_node_renews_its_certificate_when_it_is_due_and_says_so(
    federation: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = load_node(federation / "north")
    age(node.kit)
    old = node.kit.certificate.read_bytes()
    monkeypatch.setattr(node_module, "RENEWAL_LOOK_SECONDS", 0.001)
    renewals = await renewed_by(node)
    assert len(renewals) == 1
    assert renewals[0] != old
    assert load_certificate(renewals[0]).not_valid_after_utc > NOW + dt.timedelta(days=6)


async def test_a_key_that_cannot_sign_now_is_asked_again(
    federation: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    node = load_node(federation / "north")
    age(node.kit)
    monkeypatch.setattr(node_module, "RENEWAL_LOOK_SECONDS", 0.001)
    times = iter(range(1000))
    real = node_module.Kit.renew_tls

    def away(kit: Kit, *, at: dt.datetime, is_forced: bool = False) -> bool:
        if next(times) < 3:
            raise IdentityError("token 'north': DeviceRemoved; look into its log")
        return real(kit, at=at, is_forced=is_forced)

    monkeypatch.setattr(Kit, "renew_tls", away)
    assert len(await renewed_by(node)) == 1
    assert caplog.text.count("TLS certificate not renewed") == 3
