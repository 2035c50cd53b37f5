"""Claims about identity keys in files and where their passphrases come from."""

from __future__ import annotations

import logging
import os
import shutil
import stat
import subprocess
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from hansa.crypto.signature import SigningKey
from hansa.errors import ConfigurationError, IdentityError
from hansa.identity.key_file import COST_RANDOM, encrypt_key, encrypted, is_encrypted, read_key, write_key
from hansa.identity.passphrase import read_passphrase

if TYPE_CHECKING:
    from pathlib import Path

KEY = SigningKey.from_bytes(bytes(range(32)))
WORDS = "correct horse battery"


def plain(key: SigningKey) -> bytes:
    return Ed25519PrivateKey.from_private_bytes(key.to_bytes()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def secret(path: Path, content: str) -> str:
    path.write_text(content)
    path.chmod(0o600)
    return f"file:{path.name}"


def test_an_encrypted_key_is_read_with_its_passphrase_alone(tmp_path: Path) -> None:
    path = tmp_path / "identity.key"
    write_key(path, KEY, passphrase=WORDS, cost=COST_RANDOM)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert is_encrypted(path.read_bytes())
    assert KEY.to_bytes() not in path.read_bytes()
    right, wrong = secret(tmp_path / "right", WORDS + "\n"), secret(tmp_path / "wrong", WORDS + "!\n")
    assert read_key(path, source=right).to_bytes() == KEY.to_bytes()
    with pytest.raises(IdentityError, match="passphrase is wrong") as caught:
        read_key(path, source=wrong)
    assert WORDS not in str(caught.value)
    with pytest.raises(IdentityError, match="never overwritten"):
        write_key(path, KEY, passphrase=WORDS)


@pytest.mark.skipif(
    shutil.which("openssl") is None,
    reason="needs the openssl command (Debian: apt-get install openssl), as another reader of the key file",
)
def test_openssl_reads_the_file_and_sees_scrypt(tmp_path: Path) -> None:
    path = tmp_path / "identity.key"
    path.write_bytes(encrypted(KEY, WORDS, cost=1 << 14))
    public = ["openssl", "pkey", "-in", path, "-passin", "stdin", "-pubout", "-outform", "DER"]
    done = subprocess.run(public, input=WORDS.encode(), capture_output=True, check=True)
    assert done.stdout[-32:] == KEY.public_bytes()
    structure = ["openssl", "asn1parse", "-in", path]
    shown = subprocess.run(structure, capture_output=True, check=True, text=True)
    assert "scrypt" in shown.stdout
    assert "aes-256-cbc" in shown.stdout


def test_two_files_of_one_key_share_nothing() -> None:
    one, other = (encrypted(KEY, WORDS, cost=2) for _ in range(2))
    assert one != other


def test_an_older_key_is_read_with_a_warning_and_encrypted_in_place(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "identity.key"
    path.write_bytes(plain(KEY))
    path.chmod(0o600)
    with caplog.at_level(logging.WARNING):
        assert read_key(path, source="prompt").public == KEY.public
    assert "hansa keys encrypt" in caplog.text
    encrypt_key(path, passphrase=WORDS, cost=COST_RANDOM)
    assert read_key(path, source=secret(tmp_path / "p", WORDS)).public == KEY.public
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(IdentityError, match="encrypted already"):
        encrypt_key(path, passphrase=WORDS)


def test_another_kind_of_key_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "identity.key"
    other = ec.generate_private_key(ec.SECP256R1())
    path.write_bytes(
        other.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    path.chmod(0o600)
    with pytest.raises(IdentityError, match="expected an Ed25519 key"):
        read_key(path, source="prompt")


def test_a_passphrase_comes_from_a_file_the_environment_or_a_descriptor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert read_passphrase(secret(tmp_path / "p", "päss\r\nmore"), directory=tmp_path, what="it") == "päss"
    monkeypatch.setenv("HANSA_TEST_PASSPHRASE", "from outside")
    assert read_passphrase("env:HANSA_TEST_PASSPHRASE", directory=tmp_path, what="it") == "from outside"
    reading, writing = os.pipe()
    os.write(writing, b"through a pipe\n")
    os.close(writing)
    for _ in range(2):  # a kit may be read twice
        assert read_passphrase(f"fd:{reading}", directory=tmp_path, what="it") == "through a pipe"


def test_a_new_passphrase_is_asked_for_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter(["one of the two", "another one", WORDS, WORDS])
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("getpass.getpass", lambda _: next(answers))
    with pytest.raises(IdentityError, match="the two are different"):
        read_passphrase("prompt", directory=tmp_path, what="it", is_new=True)
    assert read_passphrase("prompt", directory=tmp_path, what="it", is_new=True) == WORDS


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("file:open", "mode 0600, got 0644"),
        ("file:absent", "No such file"),
        ("file:empty", "is empty"),
        ("file:bytes", "UTF-8"),
        ("file:long", "more than 1024 bytes"),
        ("env:HANSA_NO_SUCH", "no variable"),
        ("fd:999999", "descriptor 999999"),
        ("prompt", "no terminal to ask at"),
    ],
)
def test_a_source_without_a_passphrase_is_explained(tmp_path: Path, source: str, reason: str) -> None:
    (tmp_path / "open").write_text("x")
    (tmp_path / "open").chmod(0o644)
    for name, content in (("empty", b"\n"), ("bytes", b"\xff\xfe"), ("long", b"x" * 1025)):
        (tmp_path / name).write_bytes(content)
        (tmp_path / name).chmod(0o600)
    with pytest.raises(IdentityError, match=reason):
        read_passphrase(source, directory=tmp_path, what="it")


@pytest.mark.parametrize("source", ["", "hunter2", "pass:hunter2", "env:", "env:A=B", "fd:-1", "prompt:hunter2"])
def test_a_secret_in_the_place_of_a_source_is_refused_and_not_repeated(tmp_path: Path, source: str) -> None:
    with pytest.raises(ConfigurationError, match="expected file:PATH") as caught:
        read_passphrase(source, directory=tmp_path, what="it")
    assert "hunter2" not in str(caught.value)


def test_a_short_new_passphrase_is_refused(tmp_path: Path) -> None:
    with pytest.raises(IdentityError, match="at least 12 characters, got 5"):
        read_passphrase(secret(tmp_path / "p", "short"), directory=tmp_path, what="it", is_new=True)
