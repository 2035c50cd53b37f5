"""X.509 certificates of a federation: one authority, one certificate per node.

Authority: EC P-256, self-signed, CN = federation, path length 0, 5 years. Node: EC P-256, O = federation, CN = node,
URI name `hansa://<federation>/<node>` (by which the message server knows its user), 397 days; a member's is valid
for client authentication only, the coordinator's also for server authentication, with host names and addresses.
Every certificate starts an hour before its time of issue, for clocks that disagree.

Guarantees: a request is signed by the key it certifies; a verified chain binds one key to one node of one federation.
Does NOT guarantee: revocation (re-issue the authority at the next epoch, or remove the user at the server).

Source: RFC 5280; RFC 2986 (requests); CA/Browser Forum baseline requirements 6.3.2 (397 days).
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

from hansa.errors import IdentityError

if TYPE_CHECKING:
    from collections.abc import Sequence

AUTHORITY_DAYS: Final = 5 * 365
NODE_DAYS: Final = 397
BACKDATE: Final = dt.timedelta(hours=1)
# What cryptography raises on damaged DER, some of it only when a field is first read.
_UNREADABLE: Final = (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion, x509.UnsupportedGeneralNameType)
LOCAL_HOSTS: Final = ("localhost", "127.0.0.1", "::1")


def node_uri(federation: str, node: str) -> str:
    """Return the name under which the message server knows `node`."""
    return f"hansa://{federation}/{node}"


def generate_key() -> bytes:
    """Return a new P-256 private key, PEM (PKCS #8), from the operating system's randomness."""
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
    private = _load_key(key)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, federation)])
    identifier = x509.SubjectKeyIdentifier.from_public_key(private.public_key())
    builder = (
        _dated(x509.CertificateBuilder(), at, AUTHORITY_DAYS)
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(identifier, critical=False)
    )
    return _pem(builder.sign(private, hashes.SHA256()))


def make_request(federation: str, node: str, key: bytes) -> bytes:
    """Return a PEM signing request for `node`, signed with its own private key, which stays where it is."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(_node_name(federation, node))
    return builder.sign(_load_key(key), hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def issue_certificate(
    request: bytes,
    *,
    authority: bytes,
    authority_key: bytes,
    node: str,
    at: dt.datetime,
    hosts: Sequence[str] | None = None,
) -> bytes:
    """Certify the key of a signing request.

    Args:
        request: PEM signing request; the names it asks for are compared, never copied.
        authority: PEM certificate of the authority.
        authority_key: PEM private key of the authority.
        node: Name that the authority means to certify.
        at: Time of issue, with a time zone.
        hosts: Host names and addresses of the message server, for the coordinator; None for a member.

    Returns:
        PEM certificate, valid for 397 days.

    Raises:
        IdentityError: The request is damaged, not self-signed, for another name, or the key is not P-256.
    """
    issuer = load_certificate(authority)
    federation = common_name(issuer)
    try:
        wanted = x509.load_pem_x509_csr(request)
        is_signature_valid, subject, public = wanted.is_signature_valid, wanted.subject, wanted.public_key()
    except _UNREADABLE as error:
        raise IdentityError(
            "signing request: not a PEM certificate request with a key; make it with `hansa kit request`"
        ) from error
    if not is_signature_valid:
        raise IdentityError("signing request: its own signature is wrong; make and send it again")
    if subject != _node_name(federation, node):
        raise IdentityError(
            f"signing request: expected {_node_name(federation, node).rfc4514_string()}, "
            f"got {subject.rfc4514_string()[:200]}"
        )
    if not isinstance(public, ec.EllipticCurvePublicKey) or not isinstance(public.curve, ec.SECP256R1):
        raise IdentityError("signing request: expected a P-256 key; make it with `hansa kit request`")
    private = _load_key(authority_key)
    usages = [ExtendedKeyUsageOID.CLIENT_AUTH]
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(node_uri(federation, node))]
    if hosts is not None:
        usages.append(ExtendedKeyUsageOID.SERVER_AUTH)
        names += [_host_name(host) for host in dict.fromkeys((*hosts, *LOCAL_HOSTS))]
    builder = (
        _dated(x509.CertificateBuilder(), at, NODE_DAYS)
        .subject_name(subject)
        .issuer_name(issuer.subject)
        .public_key(public)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(private.public_key()), critical=False)
    )
    return _pem(builder.sign(private, hashes.SHA256()))


def verify_certificate(
    certificate: bytes, *, authority: bytes, federation: str, node: str, key: bytes, at: dt.datetime
) -> None:
    """Check that a node's certificate is its authority's, its own, its key's and in date.

    Args:
        certificate: PEM certificate of the node.
        authority: PEM certificate of the federation's authority.
        federation: Expected name of the federation.
        node: Expected name of the node.
        key: PEM private key that must belong to the certificate.
        at: The time now, with a time zone.

    Raises:
        IdentityError: One of these does not hold; the message says which and what to do.
    """
    leaf, issuer = load_certificate(certificate), load_certificate(authority)
    try:
        leaf.verify_directly_issued_by(issuer)
    except (*_UNREADABLE, InvalidSignature) as error:
        raise IdentityError(
            f"certificate of {node}: not issued by the authority of {common_name(issuer)}; use the pair "
            "that came from `hansa kit issue`"
        ) from error
    if leaf.subject != _node_name(federation, node) or common_name(issuer) != federation:
        raise IdentityError(
            f"certificate: expected {node!r} of {federation!r}, got {leaf.subject.rfc4514_string()[:200]}"
        )
    if leaf.public_key() != _load_key(key).public_key():
        raise IdentityError(f"certificate of {node}: node.key is another key's; restore the pair or ask again")
    for what, one in (("certificate", leaf), ("authority", issuer)):
        if not one.not_valid_before_utc <= at <= one.not_valid_after_utc:
            raise IdentityError(
                f"{what} of {node}: valid {one.not_valid_before_utc:%Y-%m-%d} to {one.not_valid_after_utc:%Y-%m-%d}, "
                f"now {at:%Y-%m-%d}; renew with `hansa kit request` and `hansa kit issue`"
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
    except _UNREADABLE as error:
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


def _load_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError) as error:
        raise IdentityError("private key: expected an unencrypted PEM key; make a new kit") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise IdentityError("private key: expected an elliptic-curve key (P-256); make a new kit")
    return key


def _node_name(federation: str, node: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, federation),
            x509.NameAttribute(NameOID.COMMON_NAME, node),
        ]
    )


def _host_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _dated(builder: x509.CertificateBuilder, at: dt.datetime, days: int) -> x509.CertificateBuilder:
    return (
        builder.serial_number(x509.random_serial_number())
        .not_valid_before(at - BACKDATE)
        .not_valid_after(at + dt.timedelta(days=days))
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
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
