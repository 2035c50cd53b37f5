"""A node's TLS certificate: short-lived, signed by its identity key, made anew by the node itself.

`ssl` cannot use a key behind PKCS#11 without an engine or provider of OpenSSL, so the TLS key is a file: P-256, 0600,
not encrypted (the message server reads no other). It lives 7 days and is worth nothing without its certificate, which
the identity key signed. `node.crt` is that certificate and behind it the identity certificate, which leads to the
authority. Once two thirds of its life are over a node makes another pair; standing connections are not disturbed.

Both sides check at the handshake that the identity key of the constitution signed the other's TLS key:

* the message server trusts no authority but `anchors`: one for each party of the constitution, over its identity key;
* a node verifies the server's chain and then the leaf under the coordinator's key (`require_signed_by`).

So an authority that issues certificates to strangers lets nobody in, and a stolen TLS key is of use for 7 days.

Guarantees: whoever stands at the other end of a connection has been let in by the identity key of the constitution.
Does NOT guarantee: that a thief of the TLS key is cut off before it expires (revoke the identity key for that).

Source: RFC 5280, RFC 8446 4.4.2 (certificate lists).
"""

from __future__ import annotations

import datetime as dt
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.x509.oid import ExtendedKeyUsageOID

from hansa.crypto.signature import public_key
from hansa.errors import IdentityError
from hansa.identity.certificates import (
    UNREADABLE,
    dated,
    generate_key,
    identity_builder,
    key_usage,
    load_certificate,
    load_key,
    node_name,
    node_uri,
    require_in_date,
)
from hansa.identity.files import read_file, read_secret, replace_secret, write_file
from hansa.identity.x509_signer import issuer_key

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from hansa.crypto.signature import Signer

TLS_DAYS: Final = 7
KEY_FILE: Final = "node.key"
CERTIFICATE_FILE: Final = "node.crt"


def make_tls_certificate(
    identity: x509.Certificate, key: bytes, *, federation: str, node: str, signer: Signer, at: dt.datetime
) -> bytes:
    """Return a node's TLS certificate followed by its identity certificate, PEM.

    Args:
        identity: The node's identity certificate; what it permits is what the new one names.
        key: PEM private key of TLS.
        federation: Name of the federation.
        node: Name of the node.
        signer: The node's identity key.
        at: Time of issue, with a time zone.
    """
    names = [x509.UniformResourceIdentifier(node_uri(federation, node)), *_hosts(identity)]
    until = min(at + dt.timedelta(days=TLS_DAYS), identity.not_valid_after_utc)
    usages = identity.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    builder = (
        dated(x509.CertificateBuilder(), at, until)
        .subject_name(node_name(federation, node))
        .issuer_name(identity.subject)
        .public_key(load_key(key).public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(key_usage(signs_certificates=False), critical=True)
        .add_extension(usages, critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public_key(signer.public)), critical=False)
    )
    made = builder.sign(*issuer_key(signer))
    return b"".join(one.public_bytes(serialization.Encoding.PEM) for one in (made, identity))


def is_due(directory: Path, *, at: dt.datetime) -> bool:
    """Return whether a node's TLS key and certificate are missing, apart, or over two thirds of their life.

    Raises:
        IdentityError: A file is damaged, or others may read the key.
    """
    if not (directory / KEY_FILE).exists() or not (directory / CERTIFICATE_FILE).exists():
        return True
    leaf = load_certificate(read_file(directory / CERTIFICATE_FILE))
    if leaf.public_key() != load_key(read_secret(directory / KEY_FILE)).public_key():
        return True  # a renewal was cut short between the two files
    life = leaf.not_valid_after_utc - leaf.not_valid_before_utc
    return at >= leaf.not_valid_before_utc + life * 2 / 3


def renew(
    directory: Path, identity: x509.Certificate, *, federation: str, node: str, signer: Signer, at: dt.datetime
) -> None:
    """Make a new TLS key and certificate and put them in the place of the old."""
    key = generate_key()
    chain = make_tls_certificate(identity, key, federation=federation, node=node, signer=signer, at=at)
    replace_secret(directory / KEY_FILE, key)
    write_file(directory / CERTIFICATE_FILE, chain)


def verify_tls_certificate(
    chain: bytes, *, identity: x509.Certificate, federation: str, node: str, identity_key: str, at: dt.datetime
) -> None:
    """Check a node's own TLS certificate.

    Args:
        chain: PEM, the TLS certificate first.
        identity: The node's identity certificate, checked.
        federation: Expected name of the federation.
        node: Expected name of the node.
        identity_key: The node's identity key in text form.
        at: The time now, with a time zone.

    Raises:
        IdentityError: It is another node's, not signed by this key, out of date, or the chain is another.
    """
    leaf = load_certificate(chain)
    if leaf.subject != node_name(federation, node):
        raise IdentityError(f"node.crt: expected {node!r} of {federation!r}, got {leaf.subject.rfc4514_string()[:200]}")
    require_signed_by(leaf.public_bytes(serialization.Encoding.DER), identity_key, what="node.crt")
    if x509.load_pem_x509_certificates(chain)[1:] != [identity]:
        raise IdentityError("node.crt: its second certificate is not identity.crt; remove node.crt: it is made anew")
    require_in_date(leaf, f"node.crt of {node}", at)


def require_signed_by(certificate: bytes, identity_key: str, *, what: str) -> None:
    """Check that an identity key signed a certificate.

    Args:
        certificate: DER.
        identity_key: In text form.
        what: Name for the message.

    Raises:
        IdentityError: It did not.
    """
    public = public_key(identity_key)
    try:
        found = x509.load_der_x509_certificate(certificate)
        signature, signed = found.signature, found.tbs_certificate_bytes
        if isinstance(public, Ed25519PublicKey):
            public.verify(signature, signed)
        else:
            public.verify(signature, signed, ec.ECDSA(hashes.SHA256()))
    except (*UNREADABLE, InvalidSignature) as error:
        raise IdentityError(f"{what}: its TLS key is not signed by identity key {identity_key}") from error


def anchors(
    federation: str, keys: Mapping[str, str], *, server: x509.Certificate, signer: Signer, at: dt.datetime
) -> bytes:
    """Return the trust anchors of the message server, PEM: one over each node's identity key.

    Args:
        federation: Name of the federation.
        keys: Identity keys of those who are let in, in text form, by name.
        server: Identity certificate of the coordinator, at whose hosts the server is.
        signer: The coordinator's identity key; the server does not check who signed an anchor.
        at: The time now, with a time zone.
    """
    private, algorithm = issuer_key(signer)
    made = []
    for node, key in sorted(keys.items()):
        hosts = [str(one.value) for one in _hosts(server)] if server.subject == node_name(federation, node) else None
        builder = identity_builder(federation, node, key, issuer=server.subject, at=at, hosts=hosts)
        made.append(builder.sign(private, algorithm).public_bytes(serialization.Encoding.PEM))
    return b"".join(made)


def _hosts(identity: x509.Certificate) -> list[x509.DNSName | x509.IPAddress]:
    """Return the host names and addresses that an identity certificate lets its node serve at."""
    usages = identity.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    if ExtendedKeyUsageOID.SERVER_AUTH not in usages:
        return []
    constraints = identity.extensions.get_extension_for_class(x509.NameConstraints).value
    return [
        x509.IPAddress(ip_address(str(one.value).partition("/")[0])) if isinstance(one, x509.IPAddress) else one
        for one in constraints.permitted_subtrees or ()
        if isinstance(one, x509.IPAddress | x509.DNSName)
    ]
