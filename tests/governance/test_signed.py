"""Claims about a signed constitution and its file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from constitutions import constitution, signed
from hansa.errors import ConfigurationError, SignatureError
from hansa.governance.signed import SignedConstitution, read, write
from simulator import signing_key

if TYPE_CHECKING:
    from pathlib import Path


def test_a_constitution_signed_by_all_opens_the_door() -> None:
    found = signed()
    assert found.require_all_signatures() is found.constitution


def test_a_missing_signature_names_the_member() -> None:
    found = signed()
    rest = {name: value for name, value in found.signatures.items() if name != "m03"}
    with pytest.raises(SignatureError, match="m03"):
        SignedConstitution(found.constitution, rest).require_all_signatures()


def test_a_signature_over_another_version_does_not_count() -> None:
    found = signed()
    changed = msgspec.structs.replace(found.constitution, minimum_cohort=5)
    with pytest.raises(SignatureError):
        SignedConstitution(changed, found.signatures).require_all_signatures()
    swapped = {**found.signatures, "m00": found.signatures["m01"]}
    with pytest.raises(SignatureError):
        SignedConstitution(found.constitution, swapped).require_all_signatures()


@pytest.mark.parametrize(("name", "key"), [("m00", "m01"), ("coordinator", "coordinator"), ("m99", "m99")])
def test_only_a_member_signs_with_its_own_key(name: str, key: str) -> None:
    with pytest.raises(ConfigurationError, match="not a member"):
        SignedConstitution(constitution(), {}).signed_by(name, signing_key(key))


def test_a_file_gives_back_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "constitution.json"
    write(path, signed())
    assert read(path) == signed()
    assert read(path).require_all_signatures() == constitution()
    assert [entry.name for entry in tmp_path.iterdir()] == ["constitution.json"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "cannot read"),
        (b"x" * 1_000_001, "at most"),
        (b"{}", "constitution.json"),
        (b"\xff", "constitution.json"),
        (b'{"constitution": {}, "signatures": {"m00": "xyz"}}', "constitution.json"),
        (b'{"constitution": {}, "signatures": {}, "more": 1}', "constitution.json"),
        (b'{"constitution": {}, "signatures": {}}', "missing"),
    ],
)
def test_a_file_that_is_absent_too_large_or_no_constitution_is_refused(
    tmp_path: Path, content: bytes | None, reason: str
) -> None:
    path = tmp_path / "constitution.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=reason):
        read(path)
