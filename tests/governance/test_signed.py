"""Claims about a signed constitution and its file."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from constitutions import constitution, signed
from hansa.crypto.signature import SigningKey
from hansa.errors import ConfigurationError, SignatureError
from hansa.governance.constitution import parse
from hansa.governance.signed import SignedConstitution, combine, read, write
from simulator import signing_key


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


def test_copies_that_were_signed_apart_are_one_when_combined() -> None:
    whole = signed()
    plain = SignedConstitution(whole.constitution, {})
    copies = [plain.signed_by(member.name, signing_key(member.name)) for member in whole.constitution.members]
    assert combine(copies) == whole
    assert combine(copies).to_bytes() == whole.to_bytes()
    assert set(combine(copies[1:]).standings().items()) >= {("m00", "missing"), ("m01", "signed")}


def test_of_two_signatures_of_one_member_the_one_that_holds_is_kept() -> None:
    whole = signed()
    spoilt = SignedConstitution(whole.constitution, {**whole.signatures, "m01": bytes(64)})
    assert spoilt.standings()["m01"] == "wrong"
    assert combine([spoilt, whole]) == combine([whole, spoilt]) == whole
    assert combine([spoilt]).standings()["m01"] == "wrong"


def test_copies_of_different_constitutions_are_not_combined() -> None:
    with pytest.raises(ConfigurationError, match="copies of one constitution"):
        combine([signed(), signed(constitution(minimum_cohort=5))])


def test_signing_again_changes_no_byte() -> None:
    assert signed().signed_by("m00", signing_key("m00")).to_bytes() == signed().to_bytes()


WHOLE = signed(constitution(3, 0)).to_bytes()


def is_refused_or_unsigned(data: bytes) -> bool:
    try:
        found = SignedConstitution.from_bytes(data)
    except ConfigurationError:
        return True
    return "wrong" in found.standings().values() or "missing" in found.standings().values()


@pytest.mark.parametrize("mask", [0x01, 0x20, 0xFF])
def test_a_change_of_any_single_byte_is_refused_or_leaves_it_unsigned(mask: int) -> None:
    assert not is_refused_or_unsigned(WHOLE)
    for place in range(len(WHOLE)):
        data = bytearray(WHOLE)
        data[place] ^= mask
        assert is_refused_or_unsigned(bytes(data)), place


@settings(max_examples=300)
@given(st.integers(0, len(WHOLE) - 1), st.binary(max_size=3), st.integers(0, 3))
def test_a_replaced_inserted_or_cut_piece_is_refused_or_leaves_it_unsigned(place: int, piece: bytes, cut: int) -> None:
    data = WHOLE[:place] + piece + WHOLE[place + cut :]
    assert data == WHOLE or is_refused_or_unsigned(data)


BODY = constitution(3, 0).bytes()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (BODY.replace(b'"attempts":3', b'"attempts":3,"attempts":3'), "'attempts' stands twice"),
        (BODY.replace(b'"attempts":3', b'"attempts" :3'), "not canonical"),
        (BODY.replace(b'"attempts":3', b'"attempts":3.0'), "not canonical|Expected"),
        (BODY.replace(b'"delta":1e-06', b'"delta":0.000001').replace(b"0.000001", b"1.0e-6"), "not canonical"),
        (BODY.replace(b'"volume_unit":1000000', b'"volume_unit":1e6'), "not canonical"),
        (BODY.replace(b'"volume_unit":1000000', b'"volume_unit":NaN'), "not finite"),
        (BODY.replace(b'"volume_unit":1000000', b'"volume_unit":-Infinity'), "not finite"),
        (BODY.replace(b'"volume_unit":1000000', b'"volume_unit":1e400'), "not finite"),
        (BODY.replace(b'"volume_unit":1000000', b'"volume_unit":1' + 400 * b"0"), "not finite"),
        (BODY.replace(b'"attempts":3', b'"attempts":' + 5000 * b"1"), "not finite"),
        (BODY.replace(b'"federation":"test"', b'"federation":"\\u0074est"'), "not canonical"),
        (BODY.replace(b'"federation":"test"', b'"federation":"\\ud800"'), "constitution"),
        (BODY.replace(b',"supersedes":null', b""), "not canonical"),
        (BODY + b"\n", "not canonical"),
        (b"\xef\xbb\xbf" + BODY, "not JSON"),
        (100_000 * b"[", "not JSON"),
    ],
)
def test_what_two_parsers_may_read_differently_is_refused(data: bytes, reason: str) -> None:
    assert data != BODY
    with pytest.raises(ConfigurationError, match=reason):
        parse(data)
    with pytest.raises(ConfigurationError, match=reason):
        SignedConstitution.from_bytes(b'{"constitution":' + data + b',"signatures":{}}')


@pytest.mark.parametrize(
    ("signatures", "reason"),
    [
        (b'{"m99":"' + 128 * b"0" + b'"}', "'m99' is not a member"),
        (b'{"m00":"00"}', "128 hexadecimal digits"),
        (b'{"m00":"' + 128 * b"A" + b'"}', "not canonical"),
        (b'{"m00":"' + 128 * b"0" + b' "}', "not canonical"),
        (b'{"m00":"' + 128 * b"0" + b'","m00":"' + 128 * b"1" + b'"}', "stands twice"),
    ],
)
def test_a_signature_that_is_not_a_members_or_not_in_its_one_form_is_refused(signatures: bytes, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        SignedConstitution.from_bytes(b'{"constitution":' + BODY + b',"signatures":' + signatures + b"}")


def test_a_file_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "constitution.json").mkdir()
    with pytest.raises(ConfigurationError, match="cannot write"):
        write(tmp_path / "constitution.json", signed())
    assert [entry.name for entry in tmp_path.iterdir()] == ["constitution.json"]


VECTOR = json.loads((Path(__file__).parents[1] / "vectors" / "constitution.json").read_text())


def test_bytes_digest_and_signature_are_those_of_the_vector() -> None:
    found = parse(VECTOR["canonical"].encode())
    key = SigningKey.from_bytes(bytes.fromhex(VECTOR["member_seed"]))
    assert found.bytes().decode() == VECTOR["canonical"]
    assert found.digest() == VECTOR["sha256"]
    after = SignedConstitution(found, {}).signed_by(VECTOR["member"], key)
    assert after.signatures[VECTOR["member"]].hex() == VECTOR["signature"]
    assert after.to_bytes().decode() == VECTOR["file"]
    assert (found.quorum, found.threshold) == (VECTOR["quorum"], VECTOR["threshold"])
