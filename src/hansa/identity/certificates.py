"""X.509 certificates of a federation's identity keys: one authority, one identity certificate per node.

Authority: EC P-256, self-signed, CN = federation, path length 1, 5 years.

Identity certificate: over a node's identity key (Ed25519, or P-256 in a token), O = federation, CN = node, 397 days.
That key signs with it the node's own short-lived TLS certificates (`tls`), nothing else: path length 0, and name
constraints that permit one name, `hansa://<node>.<federation>`, by which the message server knows its user. A member's
is good for clients only, the coordinator's also for a server, at the hosts that the authority wrote into it.

Every certificate starts an hour before its time of issue, for clocks that disagree.

Guarantees: a request is signed by the identity key that it certifies; a node can sign TLS certificates for itself and
for no other node, whatever names it writes into them.
Does NOT guarantee: revocation by itself: the message server takes the keys that the constitution names and nobody has
revoked (`tls.anchors`), whatever the authority issued.

Source: RFC 5280 (name constraints: 4.2.1.10); RFC 2986 (requests); RFC 8410 (Ed25519 in X.509); CA/Browser Forum
baseline requirements 6.3.2 (397 days).
"""

from __future__ import annotations

import datetime as dt
import ipaddress
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from hansa.crypto.signature import public_key
from hansa.errors import IdentityError
from hansa.identity.x509_signer import issuer_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hansa.crypto.signature import Signer

AUTHORITY_DAYS: Final = 5 * 365
IDENTITY_DAYS: Final = 397
BACKDATE: Final = dt.timedelta(hours=1)
# What cryptography raises on damaged DER, some of it only when a field is first read.
UNREADABLE: Final = (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion, x509.UnsupportedGeneralNameType)
LOCAL_HOSTS: Final = ("localhost", "127.0.0.1", "::1")


_NOBODY: Final = "hansa.invalid"  # the only host and mailbox that a member may write into a certificate: RFC 6761


def node_uri(federation: str, node: str) -> str:
    """Return the name under which the message server knows `node`."""
    return f"hansa://{node_host(federation, node)}"


def node_host(federation: str, node: str) -> str:
    """Return the host of that name: what name constraints are about."""
    return f"{node}.{federation}"


def generate_key() -> bytes:
    """Return a new P-256 private key, PEM (PKCS #8), not encrypted, from the operating system's randomness."""
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def make_authority(federation: str, key: bytes, *, at: dt.datetime) -> bytes:
    """Return the self-signed certificate of the federation's authority.

    Args:
        federation: Its name, which becomes the common name.
        key: PEM private key from `generate_key`.
        at: Time of issue, with a time zone.
    """
    private = load_key(key)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, federation)])
    identifier = x509.SubjectKeyIdentifier.from_public_key(private.public_key())
    builder = (
        dated(x509.CertificateBuilder(), at, at + dt.timedelta(days=AUTHORITY_DAYS))
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=1), critical=True)
        .add_extension(key_usage(signs_certificates=True), critical=True)
        .add_extension(identifier, critical=False)
    )
    return _pem(builder.sign(private, hashes.SHA256()))


def make_request(federation: str, node: str, signer: Signer) -> bytes:
    """Return a PEM signing request over `node`'s identity key, signed with it."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(node_name(federation, node))
    return builder.sign(*issuer_key(signer)).public_bytes(serialization.Encoding.PEM)


def issue_certificate(
    request: bytes,
    *,
    authority: bytes,
    authority_key: bytes,
    node: str,
    identity_key: str,
    at: dt.datetime,
    hosts: Sequence[str] | None = None,
) -> bytes:
    """Certify the identity key of a signing request.

    Args:
        request: PEM signing request; the names it asks for are compared, never copied.
        authority: PEM certificate of the authority.
        authority_key: PEM private key of the authority.
        node: Name that the authority means to certify.
        identity_key: The node's identity key in text form.
        at: Time of issue, with a time zone.
        hosts: Host names and addresses of the message server, for the coordinator; None for a member.

    Returns:
        PEM certificate, valid for 397 days.

    Raises:
        IdentityError: The request is damaged, not self-signed, for another name, or over another key.
    """
    issuer = load_certificate(authority)
    federation = common_name(issuer)
    try:
        wanted = x509.load_pem_x509_csr(request)
        is_signature_valid, subject, public = wanted.is_signature_valid, wanted.subject, wanted.public_key()
    except UNREADABLE as error:
        raise IdentityError(
            "signing request: not a PEM certificate request with a key; make it with `hansa kit request`"
        ) from error
    if not is_signature_valid:
        raise IdentityError("signing request: its own signature is wrong; make and send it again")
    if subject != node_name(federation, node):
        raise IdentityError(
            f"signing request: expected {node_name(federation, node).rfc4514_string()}, "
            f"got {subject.rfc4514_string()[:200]}"
        )
    if public != public_key(identity_key):
        raise IdentityError(
            f"signing request of {node}: it is not over its identity key {identity_key}; an older kit's request is "
            "made anew by `hansa kit renew`"
        )
    private = load_key(authority_key)
    return _pem(
        identity_builder(federation, node, identity_key, issuer=issuer.subject, at=at, hosts=hosts)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(private.public_key()), critical=False)
        .sign(private, hashes.SHA256())
    )


def identity_builder(
    federation: str, node: str, identity_key: str, *, issuer: x509.Name, at: dt.datetime, hosts: Sequence[str] | None
) -> x509.CertificateBuilder:
    """Return an identity certificate that lacks its issuer's key identifier and signature.

    Args:
        federation: Name of the federation.
        node: Name of the node.
        identity_key: Its identity key in text form.
        issuer: Name of the issuer.
        at: Time of issue, with a time zone.
        hosts: Where the node serves; None: it is a client only.
    """
    public = public_key(identity_key)
    served = None if hosts is None else list(dict.fromkeys((*hosts, *LOCAL_HOSTS)))
    usages = [ExtendedKeyUsageOID.CLIENT_AUTH, *([ExtendedKeyUsageOID.SERVER_AUTH] if served else [])]
    # Every form of name that a TLS peer maps to a user or a host is constrained, or it would be free.
    permitted: list[x509.GeneralName] = [
        x509.UniformResourceIdentifier(node_host(federation, node)),
        x509.RFC822Name(f"nobody@{_NOBODY}"),
        *([_constraint(host) for host in served] if served else [x509.DNSName(_NOBODY)]),
    ]
    return (
        dated(x509.CertificateBuilder(), at, at + dt.timedelta(days=IDENTITY_DAYS))
        .subject_name(node_name(federation, node))
        .issuer_name(issuer)
        .public_key(public)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(key_usage(signs_certificates=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(x509.NameConstraints(permitted_subtrees=permitted, excluded_subtrees=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def verify_identity(
    certificate: bytes, *, authority: bytes, federation: str, node: str, identity_key: str, at: dt.datetime
) -> x509.Certificate:
    """Check that an identity certificate is its authority's, its node's, over its key and in date; return it.

    Args:
        certificate: PEM certificate over the identity key.
        authority: PEM certificate of the federation's authority.
        federation: Expected name of the federation.
        node: Expected name of the node.
        identity_key: The node's identity key in text form.
        at: The time now, with a time zone.

    Raises:
        IdentityError: One of these does not hold; the message says which and what to do.
    """
    own, issuer = load_certificate(certificate), load_certificate(authority)
    try:
        own.verify_directly_issued_by(issuer)
    except (*UNREADABLE, InvalidSignature) as error:
        raise IdentityError(
            f"certificate of {node}: not issued by the authority of {common_name(issuer)}; use the pair "
            "that came from `hansa kit issue`"
        ) from error
    if own.subject != node_name(federation, node) or common_name(issuer) != federation:
        raise IdentityError(
            f"certificate: expected {node!r} of {federation!r}, got {own.subject.rfc4514_string()[:200]}"
        )
    if own.public_key() != public_key(identity_key):
        raise IdentityError(
            f"certificate of {node}: it is not over identity key {identity_key}; run `hansa kit renew` and have the "
            "request issued"
        )
    require_in_date(own, f"certificate of {node}", at)
    require_in_date(issuer, f"authority of {node}", at)
    return own


def require_in_date(certificate: x509.Certificate, what: str, at: dt.datetime) -> None:
    """Check that a certificate is valid at a time.

    Raises:
        IdentityError: It is not; the message says since when or until when it was.
    """
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if not start <= at <= end:
        raise IdentityError(
            f"{what}: valid {start:%Y-%m-%d} to {end:%Y-%m-%d}, now {at:%Y-%m-%d}; renew with `hansa kit renew` and "
            "`hansa kit issue`"
        )


def load_certificate(pem: bytes) -> x509.Certificate:
    """Parse a PEM certificate.

    Raises:
        IdentityError: It is not one.
    """
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        # Parsed when first asked for: what is damaged is refused here, not where it is used.
        certificate.public_key()
        _ = certificate.subject, certificate.issuer, certificate.not_valid_before_utc, certificate.not_valid_after_utc
    except UNREADABLE as error:
        raise IdentityError("certificate: expected PEM X.509; ask the coordinator for it again") from error
    return certificate


def common_name(certificate: x509.Certificate) -> str:
    """Return the common name of a certificate's subject.

    Raises:
        IdentityError: It has none, or several.
    """
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if len(names) != 1:
        raise IdentityError(f"certificate: expected one common name, got {len(names)}")
    return str(names[0].value)


def load_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    """Parse the PEM of a P-256 key that is not encrypted.

    Raises:
        IdentityError: It is not one.
    """
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError) as error:
        raise IdentityError("private key: expected an unencrypted PEM key; make a new kit") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise IdentityError("private key: expected an elliptic-curve key (P-256); make a new kit")
    return key


def node_name(federation: str, node: str) -> x509.Name:
    """Return the subject of a node's certificates."""
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, federation),
            x509.NameAttribute(NameOID.COMMON_NAME, node),
        ]
    )


def host_name(host: str) -> x509.GeneralName:
    """Return a host name or an address as a name of a certificate."""
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _constraint(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_network(host))
    except ValueError:
        return x509.DNSName(host)


def dated(builder: x509.CertificateBuilder, at: dt.datetime, until: dt.datetime) -> x509.CertificateBuilder:
    """Return a builder with a random serial number and its dates."""
    return builder.serial_number(x509.random_serial_number()).not_valid_before(at - BACKDATE).not_valid_after(until)


def key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    """Return what the key of a certificate may do: sign certificates, or TLS handshakes."""
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
