from __future__ import annotations

import datetime as dt

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from hansa.crypto.signature import SigningKey
from hansa.errors import IdentityError
from hansa.identity.certificates import (
    generate_key,
    issue_certificate,
    load_certificate,
    make_authority,
    make_request,
    verify_identity,
)

AT = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
AUTHORITY_KEY, OTHER_KEY = generate_key(), generate_key()
AUTHORITY = make_authority("baltic", AUTHORITY_KEY, at=AT)
OWN, OTHER = (SigningKey.from_bytes(bytes([seed]) * 32) for seed in (1, 2))


def answer(request: bytes, *, node: str = "north", hosts: tuple[str, ...] | None = None) -> bytes:
    return issue_certificate(
        request,
        authority=AUTHORITY,
        authority_key=AUTHORITY_KEY,
        node=node,
        identity_key=OWN.public,
        at=AT,
        hosts=hosts,
    )


def certify(*, hosts: tuple[str, ...] | None = None) -> bytes:
    return answer(make_request("baltic", "north", OWN), hosts=hosts)


def usages(certificate: bytes) -> set[x509.ObjectIdentifier]:
    return set(load_certificate(certificate).extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)


def check(certificate: bytes, **changes: object) -> None:
    expected = {
        "authority": AUTHORITY,
        "federation": "baltic",
        "node": "north",
        "identity_key": OWN.public,
        "at": AT,
        **changes,
    }
    verify_identity(certificate, **expected)  # type: ignore[arg-type]


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
    assert usages(certify(hosts=())) == {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH}


def test_an_identity_key_may_sign_for_its_own_node_alone() -> None:
    found = load_certificate(certify()).extensions
    basic = found.get_extension_for_class(x509.BasicConstraints)
    names = found.get_extension_for_class(x509.NameConstraints)
    assert (basic.critical, basic.value.ca, basic.value.path_length) == (True, True, 0)
    assert names.critical
    assert {one.value for one in names.value.permitted_subtrees or ()} == {
        "north.baltic",
        "nobody@hansa.invalid",
        "hansa.invalid",
    }


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"node": "south"}, "expected 'south' of 'baltic'"),
        ({"federation": "other"}, "of 'other'"),
        ({"identity_key": OTHER.public}, "not over identity key"),
        ({"authority": make_authority("baltic", OTHER_KEY, at=AT)}, "not issued by"),
    ],
)
def test_a_certificate_for_another_is_refused(changes: dict[str, object], reason: str) -> None:
    with pytest.raises(IdentityError, match=reason):
        check(certify(), **changes)


def test_a_request_for_another_name_or_key_or_with_a_broken_signature_is_refused() -> None:
    with pytest.raises(IdentityError, match="expected CN=north"):
        answer(make_request("baltic", "south", OWN))
    with pytest.raises(IdentityError, match="expected CN=north"):
        answer(make_request("other", "north", OWN))
    with pytest.raises(IdentityError, match="not over its identity key"):
        answer(make_request("baltic", "north", OTHER))
    with pytest.raises(IdentityError, match="hansa kit request"):
        answer(b"nonsense")


def test_the_authority_certifies_identity_keys_only() -> None:
    constraints = load_certificate(AUTHORITY).extensions.get_extension_for_class(x509.BasicConstraints).value
    assert (constraints.ca, constraints.path_length) == (True, 1)


def test_a_damaged_certificate_is_an_identity_error() -> None:
    with pytest.raises(IdentityError, match="PEM"):
        check(b"-----BEGIN CERTIFICATE-----")
    with pytest.raises(IdentityError, match="private key"):
        issue_certificate(
            make_request("baltic", "north", OWN),
            authority=AUTHORITY,
            authority_key=b"no key",
            node="north",
            identity_key=OWN.public,
            at=AT,
        )
