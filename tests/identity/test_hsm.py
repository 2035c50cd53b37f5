"""Claims about keys in a token, against SoftHSM."""

from __future__ import annotations

import os
import traceback
from typing import TYPE_CHECKING
from unittest.mock import patch

import msgspec
import pkcs11
import pytest
from pkcs11 import Attribute, KeyType, ObjectClass
from pkcs11.util.ec import encode_named_curve_parameters

from hansa.crypto.signature import P256_ORDER, Signer, parse_public, verify
from hansa.errors import ConfigurationError, IdentityError, SignatureError
from hansa.identity.hsm import create_key, list_keys, open_key, open_session
from hansa.identity.keys import create_signer, open_signer, token_place
from tokens import require_softhsm, token

if TYPE_CHECKING:
    from pathlib import Path

    from hansa.identity.configuration import KeysConfiguration


@pytest.fixture(autouse=True)
def _softhsm() -> None:
    require_softhsm()


@pytest.fixture
def keys(tmp_path: Path, request: pytest.FixtureRequest) -> KeysConfiguration:
    return token(tmp_path, f"t{abs(hash(request.node.name)) % 10**9}")


def generate(session: pkcs11.Session, label: str, **template: bool) -> None:
    curve = {Attribute.EC_PARAMS: encode_named_curve_parameters("secp256r1")}
    private = {Attribute[name.upper()]: value for name, value in template.items()}
    parameters = session.create_domain_parameters(KeyType.EC, curve, local=True)
    parameters.generate_keypair(store=True, label=label, private_template=private)


def test_a_key_is_made_in_the_token_signs_and_cannot_leave(tmp_path: Path, keys: KeysConfiguration) -> None:
    signer: Signer = create_signer(tmp_path, keys)
    assert signer.public.startswith("p256:")
    assert (signer.algorithm, signer.is_deterministic, len(signer.key_id)) == ("p256", False, 64)
    for payload in (b"", b"bytes", os.urandom(100)):
        signature = signer.sign("type", payload)
        verify(parse_public(signer.public), "type", payload, signature)
        assert int.from_bytes(signature[32:], "big") <= P256_ORDER // 2
        with pytest.raises(SignatureError):
            verify(parse_public(signer.public), "other", payload, signature)
    session = open_session(token_place(tmp_path, keys))
    private = session.get_key(ObjectClass.PRIVATE_KEY, label="identity")
    with pytest.raises(pkcs11.AttributeSensitive):
        private[Attribute.VALUE]
    assert signer.public in repr(signer)


def test_the_same_key_is_found_again_and_says_where_it_lives(tmp_path: Path, keys: KeysConfiguration) -> None:
    made = create_key(token_place(tmp_path, keys), "identity")
    found = open_key(token_place(tmp_path, keys), "identity")
    assert found.public == made.public
    said = found.attributes()
    assert (said["sensitive"], said["extractable"], said["never_extractable"], said["local"]) == (
        True,
        False,
        True,
        True,
    )
    assert (said["token_label"], said["token_manufacturer"]) == (keys.token, "SoftHSM project")
    assert list_keys(token_place(tmp_path, keys)) == [
        {"label": "identity", "public": made.public, "extractable": False}
    ]


def test_equal_messages_get_equal_bytes_while_the_process_lives(tmp_path: Path, keys: KeysConfiguration) -> None:
    signer = create_key(token_place(tmp_path, keys), "identity")
    assert signer.sign("type", b"one") == signer.sign("type", b"one")
    again = open_key(token_place(tmp_path, keys), "identity")
    assert again.sign("type", b"one") != signer.sign("type", b"one")  # why a member keeps what it has signed


@pytest.mark.parametrize("loss", ["restart", "session", "logout"])
def test_a_lost_session_is_opened_again(tmp_path: Path, keys: KeysConfiguration, loss: str) -> None:
    signer = create_key(token_place(tmp_path, keys), "identity")
    if loss == "restart":
        pkcs11.lib(keys.module).reinitialize()
    else:
        signer._session.close()  # which logs the process out
    verify(parse_public(signer.public), "type", b"after", signer.sign("type", b"after"))
    verify(parse_public(signer.public), "type", b"later", signer.sign("type", b"later"))


def test_after_a_loss_a_wrong_pin_is_tried_once_and_never_again(tmp_path: Path, keys: KeysConfiguration) -> None:
    signer = create_key(token_place(tmp_path, keys), "identity")
    (tmp_path / "token.pin").write_text("not the PIN\n")
    pkcs11.lib(keys.module).reinitialize()
    with pytest.raises(IdentityError, match="wrong PIN; it was tried once"):
        signer.sign("type", b"one")
    with patch("hansa.identity.hsm.open_session") as opened, pytest.raises(IdentityError, match="wrong PIN"):
        signer.sign("type", b"two")
    opened.assert_not_called()


def test_another_key_after_a_loss_is_refused(tmp_path: Path, keys: KeysConfiguration) -> None:
    signer = create_key(token_place(tmp_path, keys), "identity")
    session = open_session(token_place(tmp_path, keys), rw=True)
    for one in list(session.get_objects({Attribute.LABEL: "identity"})):
        one.destroy()
    create_key(token_place(tmp_path, keys), "identity")
    pkcs11.lib(keys.module).reinitialize()
    with pytest.raises(IdentityError, match="another key; expected p256:"):
        signer.sign("type", b"one")


def test_a_wrong_pin_is_one_attempt_and_a_restart_makes_none(tmp_path: Path, keys: KeysConfiguration) -> None:
    create_key(token_place(tmp_path, keys), "identity").close()
    right = (tmp_path / "token.pin").read_text()
    (tmp_path / "token.pin").write_text("secret-but-wrong\n")
    with pytest.raises(IdentityError, match="Too many wrong PINs lock") as caught:
        open_signer(tmp_path, keys)
    text = "".join(traceback.format_exception(caught.value))
    assert "secret-but-wrong" not in text
    assert right.strip() not in text
    (tmp_path / "token.pin").write_text(right)
    with pytest.raises(IdentityError, match="none is tried until somebody types the right one"):
        open_signer(tmp_path, keys)
    asked = msgspec.structs.replace(keys, pin="prompt")
    with patch("sys.stdin.isatty", return_value=True), patch("getpass.getpass", return_value=right.strip()):
        open_signer(tmp_path, asked).close()  # type: ignore[attr-defined]
    assert open_signer(tmp_path, keys).sign("type", b"again")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"module": "/nowhere/lib.so"}, "cannot be loaded.*keys.module"),
        ({"token": "nobody"}, "token 'nobody': is not there; .* shows "),
        ({"slot": 99_999_999}, "is not there"),
        ({"label": "other"}, "private key 'other' is not there, or not on P-256; `hansa keys list`"),
        ({"pin": "env:HANSA_NO_SUCH"}, "no variable HANSA_NO_SUCH"),
        ({"pin": "file:absent"}, "absent: No such file"),
    ],
)
def test_what_is_missing_is_named(
    tmp_path: Path, keys: KeysConfiguration, change: dict[str, object], reason: str
) -> None:
    create_key(token_place(tmp_path, keys), "identity").close()
    with pytest.raises(IdentityError, match=reason):
        open_signer(tmp_path, msgspec.structs.replace(keys, **change))


def test_settings_without_a_token_are_refused(tmp_path: Path, keys: KeysConfiguration) -> None:
    for change in ({"module": ""}, {"token": "", "slot": -1}):
        with pytest.raises(ConfigurationError, match="expected module"):
            open_signer(tmp_path, msgspec.structs.replace(keys, **change))


def test_a_label_that_is_taken_or_stands_twice_is_refused(tmp_path: Path, keys: KeysConfiguration) -> None:
    place = token_place(tmp_path, keys)
    create_key(place, "identity")
    with pytest.raises(IdentityError, match="there already; choose another key label"):
        create_key(place, "identity")
    session = open_session(place, rw=True)
    generate(session, "identity", sensitive=True, extractable=False)
    with pytest.raises(IdentityError, match="is there 2 times; give each a label of its own"):
        open_key(place, "identity")


@pytest.mark.parametrize("template", [{"extractable": True}, {"sensitive": False}])
def test_a_key_that_can_leave_its_token_is_refused(
    tmp_path: Path, keys: KeysConfiguration, template: dict[str, bool]
) -> None:
    place = token_place(tmp_path, keys)
    generate(open_session(place, rw=True), "loose", **template)
    with pytest.raises(IdentityError, match="'loose' can leave the token"):
        open_key(place, "loose")


def test_a_public_key_of_another_pair_is_found_out(tmp_path: Path, keys: KeysConfiguration) -> None:
    place = token_place(tmp_path, keys)
    session = open_session(place, rw=True)
    for label in ("mine", "other"):
        create_key(place, label)
    mine = session.get_key(ObjectClass.PUBLIC_KEY, label="mine")
    identifier = mine[Attribute.ID]
    mine.destroy()
    stray = session.get_key(ObjectClass.PUBLIC_KEY, label="other")
    stray[Attribute.LABEL], stray[Attribute.ID] = "mine", identifier
    with pytest.raises(IdentityError, match="no pair"):
        open_key(place, "mine")
