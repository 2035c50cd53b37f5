from __future__ import annotations

import datetime as dt

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from hansa.errors import IdentityError
from hansa.identity.certificates import (
    generate_key,
    issue_certificate,
    load_certificate,
    make_authority,
    make_request,
    node_uri,
    verify_certificate,
)

AT = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
AUTHORITY_KEY, NODE_KEY, OTHER_KEY = generate_key(), generate_key(), generate_key()
AUTHORITY = make_authority("baltic", AUTHORITY_KEY, at=AT)


def certify(node: str = "north", key: bytes = NODE_KEY, *, hosts: tuple[str, ...] | None = None) -> bytes:
    return issue_certificate(
        make_request("baltic", node, key),
        authority=AUTHORITY,
        authority_key=AUTHORITY_KEY,
        node=node,
        at=AT,
        hosts=hosts,
    )


def names(certificate: bytes, kind: type[x509.GeneralName]) -> list[str]:
    extension = load_certificate(certificate).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return [str(value) for value in extension.value.get_values_for_type(kind)]


def usages(certificate: bytes) -> set[x509.ObjectIdentifier]:
    return set(load_certificate(certificate).extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)


def check(certificate: bytes, **changes: object) -> None:
    expected = {
        "authority": AUTHORITY,
        "federation": "baltic",
        "node": "north",
        "key": NODE_KEY,
        "at": AT,
        **changes,
    }
    verify_certificate(certificate, **expected)  # type: ignore[arg-type]


def test_an_issued_certificate_verifies_for_its_dates_only() -> None:
    certificate = certify()
    for days in (0, 396):
        check(certificate, at=AT + dt.timedelta(days=days))
    check(certificate, at=AT - dt.timedelta(minutes=59))
    for at in (AT - dt.timedelta(minutes=61), AT + dt.timedelta(days=398)):
        with pytest.raises(IdentityError, match="renew"):
            check(certificate, at=at)


def test_a_member_certificate_cannot_serve_and_the_coordinators_can() -> None:
    assert usages(certify()) == {ExtendedKeyUsageOID.CLIENT_AUTH}
    served = certify(hosts=("hub.example", "10.0.0.7"))
    assert usages(served) == {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH}
    assert names(served, x509.DNSName) == ["hub.example", "localhost"]
    assert names(served, x509.IPAddress) == ["10.0.0.7", "127.0.0.1", "::1"]
    assert names(served, x509.UniformResourceIdentifier) == [node_uri("baltic", "north")]
    assert names(certify(), x509.DNSName) == []


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"node": "south"}, "expected 'south' of 'baltic'"),
        ({"federation": "other"}, "of 'other'"),
        ({"key": OTHER_KEY}, "another key"),
        ({"authority": make_authority("baltic", OTHER_KEY, at=AT)}, "not issued by"),
    ],
)
def test_a_certificate_for_another_is_refused(changes: dict[str, object], reason: str) -> None:
    with pytest.raises(IdentityError, match=reason):
        check(certify(), **changes)


def test_a_request_for_another_name_or_with_a_broken_signature_is_refused() -> None:
    def answer(request: bytes) -> bytes:
        return issue_certificate(request, authority=AUTHORITY, authority_key=AUTHORITY_KEY, node="north", at=AT)

    with pytest.raises(IdentityError, match="expected CN=north"):
        answer(make_request("baltic", "south", NODE_KEY))
    with pytest.raises(IdentityError, match="expected CN=north"):
        answer(make_request("other", "north", NODE_KEY))
    with pytest.raises(IdentityError, match="hansa kit request"):
        answer(b"nonsense")


def test_the_authority_certifies_nodes_only() -> None:
    constraints = load_certificate(AUTHORITY).extensions.get_extension_for_class(x509.BasicConstraints).value
    assert (constraints.ca, constraints.path_length) == (True, 0)
    inner = issue_certificate(
        make_request("baltic", "south", OTHER_KEY),
        authority=AUTHORITY,
        authority_key=AUTHORITY_KEY,
        node="south",
        at=AT,
    )
    assert not load_certificate(inner).extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_a_damaged_key_or_certificate_is_an_identity_error() -> None:
    with pytest.raises(IdentityError, match="PEM"):
        check(b"-----BEGIN CERTIFICATE-----")
    with pytest.raises(IdentityError, match="private key"):
        check(certify(), key=b"no key")
