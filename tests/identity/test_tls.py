"""Claims about the TLS certificates that a node's identity key signs."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from hansa.crypto.signature import Signer, SigningKey, public_key
from hansa.errors import IdentityError
from hansa.identity import tls
from hansa.identity.certificates import (
    generate_key,
    issue_certificate,
    load_certificate,
    load_key,
    make_authority,
    make_request,
)
from hansa.identity.keys import create_signer
from hansa.identity.x509_signer import issuer_key
from tokens import token

if TYPE_CHECKING:
    from pathlib import Path

AT = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
AUTHORITY_KEY = generate_key()
AUTHORITY = make_authority("baltic", AUTHORITY_KEY, at=AT)
NORTH, SOUTH = (SigningKey.from_bytes(bytes([seed]) * 32) for seed in (1, 2))
KEY = generate_key()


def identity(signer: Signer = NORTH, *, node: str = "north", hosts: tuple[str, ...] | None = None) -> x509.Certificate:
    issued = issue_certificate(
        make_request("baltic", node, signer),
        authority=AUTHORITY,
        authority_key=AUTHORITY_KEY,
        node=node,
        identity_key=signer.public,
        at=AT,
        hosts=hosts,
    )
    return load_certificate(issued)


def chain(signer: Signer = NORTH, *, hosts: tuple[str, ...] | None = None) -> bytes:
    found = identity(signer, hosts=hosts)
    return tls.make_tls_certificate(found, KEY, federation="baltic", node="north", signer=signer, at=AT)


def der(pem: bytes) -> bytes:
    return load_certificate(pem).public_bytes(serialization.Encoding.DER)


def names(pem: bytes, kind: type[x509.GeneralName]) -> list[str]:
    extension = load_certificate(pem).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return [str(value) for value in extension.value.get_values_for_type(kind)]


def test_a_tls_certificate_names_what_its_issuer_permits() -> None:
    served = chain(hosts=("hub.example", "10.0.0.7", "fd00::7"))
    assert names(served, x509.UniformResourceIdentifier) == ["hansa://north.baltic"]
    assert names(served, x509.DNSName) == ["hub.example", "localhost"]
    assert names(served, x509.IPAddress) == ["10.0.0.7", "fd00::7", "127.0.0.1", "::1"]
    assert names(chain(), x509.DNSName) == []
    leaf = load_certificate(chain())
    assert leaf.public_key() == load_key(KEY).public_key()
    assert leaf.not_valid_after_utc - AT == dt.timedelta(days=7)
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_it_is_the_identity_keys_and_nobody_elses() -> None:
    tls.require_signed_by(der(chain()), NORTH.public, what="it")
    for certificate, key in (
        (der(chain()), SOUTH.public),
        (der(AUTHORITY), NORTH.public),
        (der(chain())[:-1] + b"\0", NORTH.public),
        (b"", NORTH.public),
        (b"\x30\x03", NORTH.public),
    ):
        with pytest.raises(IdentityError, match="it: its TLS key is not signed by identity key"):
            tls.require_signed_by(certificate, key, what="it")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"node": "south"}, "expected 'south' of 'baltic'"),
        ({"identity_key": SOUTH.public}, "not signed by"),
        ({"at": AT + dt.timedelta(days=8)}, "valid 2026-02-28 to 2026-03-08"),
        ({"identity": identity(SOUTH)}, "second certificate is not identity.crt"),
    ],
)
def test_a_certificate_that_does_not_fit_is_refused(changes: dict[str, object], reason: str) -> None:
    found = identity()
    made = tls.make_tls_certificate(found, KEY, federation="baltic", node="north", signer=NORTH, at=AT)
    expected = {
        "identity": found,
        "federation": "baltic",
        "node": "north",
        "identity_key": NORTH.public,
        "at": AT,
    }
    tls.verify_tls_certificate(made, **expected)  # type: ignore[arg-type]
    with pytest.raises(IdentityError, match=reason):
        tls.verify_tls_certificate(made, **{**expected, **changes})  # type: ignore[arg-type]


def test_a_key_in_a_token_signs_requests_and_certificates(tmp_path: Path) -> None:
    signer = create_signer(tmp_path, token(tmp_path, f"tls-{tmp_path.name[-20:]}"))
    made = chain(signer)
    leaf, issuer = x509.load_pem_x509_certificates(made)
    leaf.verify_directly_issued_by(issuer)
    tls.require_signed_by(der(made), signer.public, what="it")
    with pytest.raises(IdentityError):
        tls.require_signed_by(der(made), NORTH.public, what="it")


def test_a_signer_as_a_private_key_gives_nothing_away(tmp_path: Path) -> None:
    secret = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    software, no_hash = issuer_key(NORTH)
    assert no_hash is None
    assert isinstance(public_key(NORTH.public), Ed25519PublicKey)
    hardware, _ = issuer_key(create_signer(tmp_path, token(tmp_path, f"ad-{tmp_path.name[-20:]}")))
    assert isinstance(hardware, ec.EllipticCurvePrivateKey)
    assert (hardware.curve.name, hardware.key_size) == ("secp256r1", 256)
    peer = ec.generate_private_key(ec.SECP256R1()).public_key()
    for attempt in (
        lambda: software.private_bytes(*secret),
        software.private_bytes_raw,  # type: ignore[union-attr]
        lambda: hardware.private_bytes(*secret),
        hardware.private_numbers,
        lambda: hardware.exchange(ec.ECDH(), peer),
        lambda: hardware.sign(b"", ec.ECDSA(hashes.SHA384())),
    ):
        with pytest.raises(IdentityError):
            attempt()


def test_anchors_are_over_the_keys_of_the_constitution_and_constrained_as_certificates_are() -> None:
    server = identity(SOUTH, node="hub", hosts=("hub.example",))
    keys = {"north": NORTH.public, "hub": SOUTH.public}
    hub, north = x509.load_pem_x509_certificates(tls.anchors("baltic", keys, server=server, signer=SOUTH, at=AT))
    for found, expected in ((hub, server), (north, identity())):
        assert found.public_key() == expected.public_key()
        assert found.subject == expected.subject
        for kind in (x509.NameConstraints, x509.BasicConstraints, x509.ExtendedKeyUsage, x509.SubjectKeyIdentifier):
            assert found.extensions.get_extension_for_class(kind) == expected.extensions.get_extension_for_class(kind)
