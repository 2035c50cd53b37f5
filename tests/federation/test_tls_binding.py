"""Claims about who is let in: at the handshake, by the identity keys of the constitution, against the real server."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from federation.nats_federation import NOW, NatsFederation
from hansa.crypto.signature import SigningKey
from hansa.errors import TransportError
from hansa.federation.transport import Channel, Subject
from hansa.identity import tls
from hansa.identity.certificates import (
    BACKDATE,
    generate_key,
    issue_certificate,
    load_certificate,
    load_key,
    make_authority,
    make_request,
    node_name,
)
from hansa.identity.keys import create_signer
from hansa.identity.x509_signer import issuer_key
from tokens import token

if TYPE_CHECKING:
    from pathlib import Path

    from hansa.crypto.signature import Signer


@pytest.fixture
def federation(tmp_path: Path) -> NatsFederation:
    made = NatsFederation(tmp_path)
    made.make()
    server = load_certificate((tmp_path / "coordinator.identity.crt").read_bytes())
    keys = {node: made.signer(node).public for node in ("coordinator", *made.members)}
    trusted = tls.anchors("baltic", keys, server=server, signer=made.signer("coordinator"), at=NOW)
    (tmp_path / "members.crt").write_bytes(trusted)
    return made


def stand_in(
    federation: NatsFederation, signer: Signer, *, node: str, hosts: tuple[str, ...] | None = None
) -> dict[str, Path]:
    """Return the credentials of somebody who has an authority of the same name certify another key for `node`."""
    folder = federation.directory / "stand-in"
    folder.mkdir()
    authority_key, key = generate_key(), generate_key()
    authority = make_authority("baltic", authority_key, at=NOW)
    issued = issue_certificate(
        make_request("baltic", node, signer),
        authority=authority,
        authority_key=authority_key,
        node=node,
        identity_key=signer.public,
        at=NOW,
        hosts=hosts,
    )
    chain = tls.make_tls_certificate(
        load_certificate(issued), key, federation="baltic", node=node, signer=signer, at=NOW
    )
    (folder / "crt").write_bytes(chain)
    (folder / "key").write_bytes(key)
    (folder / "authority").write_bytes(authority)
    return {"certificate": folder / "crt", "key": folder / "key", "authority": folder / "authority"}


def forged(federation: NatsFederation, *names: x509.GeneralName) -> dict[str, Path]:
    """Return the credentials of north, whose identity key has signed a certificate with these names."""
    issuer = load_certificate((federation.directory / "north.identity.crt").read_bytes())
    key = generate_key()
    builder = (
        x509.CertificateBuilder()
        .subject_name(node_name("baltic", "south"))
        .issuer_name(issuer.subject)
        .public_key(load_key(key).public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - BACKDATE)
        .not_valid_after(NOW + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(list(names)), critical=False)
    )
    leaf = builder.sign(*issuer_key(federation.signer("north")))
    pems = [one.public_bytes(serialization.Encoding.PEM) for one in (leaf, issuer)]
    (federation.directory / "forged.crt").write_bytes(b"".join(pems))
    (federation.directory / "forged.key").write_bytes(key)
    files = federation.credentials("north")
    return files | {"certificate": federation.directory / "forged.crt", "key": federation.directory / "forged.key"}


async def test_keys_of_the_constitution_are_let_in_and_the_server_is_the_coordinators(
    federation: NatsFederation,
) -> None:
    key = federation.signer("coordinator").public
    with federation.server(authority=federation.directory / "members.crt") as server:
        hub = await federation.connect(server.url, "coordinator", server_key=key)
        north = await federation.connect(server.url, "north", server_key=key)
        assert await north.publish(Subject("e1", "s1", "upload", "north"), b"body")
        assert await hub.head(Channel.INBOX) == 1
        await north.close()
        await hub.close()


async def test_a_server_that_the_coordinators_key_did_not_sign_for_is_left_at_once(federation: NatsFederation) -> None:
    other = SigningKey.from_bytes(bytes(32)).public
    with federation.server() as server, pytest.raises(TransportError, match=r"not signed by.*nothing was sent"):
        await federation.connect(server.url, "north", server_key=other)


@pytest.mark.parametrize("kind", ["roster", "authority"])
async def test_a_certificate_of_the_authority_over_another_key_lets_nobody_in(
    federation: NatsFederation, kind: str
) -> None:
    """With the authority as the anchor it would: that is what the anchors are for."""
    stranger = SigningKey.from_bytes(bytes([9]) * 32)
    files = stand_in(federation, stranger, node="north")
    trusted = files["authority"] if kind == "authority" else federation.directory / "members.crt"
    with federation.server(authority=trusted) as server:
        files = files | {"authority": federation.directory / "authority.crt"}
        if kind == "authority":
            await (await federation.connect(server.url, "north", **files)).close()
        else:
            with pytest.raises(TransportError, match="refuses the certificate"):
                await federation.connect(server.url, "north", **files)


@pytest.mark.parametrize(
    "names",
    [
        [x509.UniformResourceIdentifier("hansa://south.baltic")],
        [x509.RFC822Name._init_without_validation("hansa://south.baltic")],
        [x509.DNSName._init_without_validation("hansa://south.baltic")],
        [x509.DNSName("south.baltic")],
        [x509.UniformResourceIdentifier("hansa://north.baltic"), x509.UniformResourceIdentifier("hansa://coordinator")],
    ],
)
@pytest.mark.parametrize("trusted", ["members.crt", "authority.crt"])
async def test_a_member_cannot_name_another_in_a_certificate_that_it_signs(
    federation: NatsFederation, names: list[x509.GeneralName], trusted: str
) -> None:
    files = forged(federation, *names)
    with (
        federation.server(authority=federation.directory / trusted) as server,
        pytest.raises(TransportError, match="refuses the certificate"),
    ):
        await federation.connect(server.url, "south", **files)


async def test_the_forger_is_let_in_under_its_own_name(federation: NatsFederation) -> None:
    """So what refuses the others is the name, not some other fault of the certificate."""
    files = forged(federation, x509.UniformResourceIdentifier("hansa://north.baltic"))
    with federation.server(authority=federation.directory / "members.crt") as server:
        await (await federation.connect(server.url, "north", **files)).close()


async def test_a_server_shows_its_renewed_certificate_after_a_reload_and_keeps_its_connections(
    federation: NatsFederation,
) -> None:
    signer = federation.signer("coordinator")
    with federation.server() as server:
        hub = await federation.connect(server.url, "coordinator", server_key=signer.public)
        before = hub._connection.client.server_certificate()  # type: ignore[attr-defined]
        identity = load_certificate((federation.directory / "coordinator.identity.crt").read_bytes())
        key = generate_key()
        chain = tls.make_tls_certificate(identity, key, federation="baltic", node="coordinator", signer=signer, at=NOW)
        federation.credentials("coordinator")["key"].write_bytes(key)
        federation.credentials("coordinator")["certificate"].write_bytes(chain)
        server.reload()
        wanted = load_certificate(chain).public_bytes(serialization.Encoding.DER)
        assert before != wanted
        for _ in range(100):
            north = await federation.connect(server.url, "north", server_key=signer.public)
            shown = north._connection.client.server_certificate()  # type: ignore[attr-defined]
            await north.close()
            if shown == wanted:
                break
        assert shown == wanted
        assert await hub.head(Channel.BOARD) == 0  # on the connection from before
        assert hub._connection.client.server_certificate() == before  # type: ignore[attr-defined]
        await hub.close()


async def test_a_member_whose_key_is_in_a_token_is_let_in(federation: NatsFederation, tmp_path: Path) -> None:
    signer = create_signer(tmp_path, token(tmp_path, f"bind-{tmp_path.name[-20:]}"))
    files = stand_in(federation, signer, node="north") | {"authority": federation.directory / "authority.crt"}
    server_identity = load_certificate((tmp_path / "coordinator.identity.crt").read_bytes())
    keys = {"coordinator": federation.signer("coordinator").public, "north": signer.public}
    trusted = tls.anchors("baltic", keys, server=server_identity, signer=federation.signer("coordinator"), at=NOW)
    (tmp_path / "members.crt").write_bytes(trusted)
    with federation.server(authority=tmp_path / "members.crt") as server:
        await (await federation.connect(server.url, "north", **files)).close()
        with pytest.raises(
            TransportError, match="refuses the certificate"
        ):  # north's key in a file is no longer its key
            await federation.connect(server.url, "north")
