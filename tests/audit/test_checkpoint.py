"""Claims about signed notes, checkpoints and cosignatures: published examples, and everything else refused."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit_keys import EdwardsKey, P256Key
from hansa.audit.checkpoint import Checkpoint, open_checkpoint, signed_checkpoint
from hansa.audit.merkle import EMPTY_ROOT
from hansa.audit.note import KeyType, Note, NoteKey, SignatureLine, cosign, sign
from hansa.errors import MessageError, SignatureError

VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[1] / "vectors" / "note.json").read_text())
ORIGIN = "hansa.example/demo"
CHECKPOINT = Checkpoint(ORIGIN, 3, bytes(range(32)))
KEYS = [EdwardsKey("log"), P256Key(7)]
WITNESSES = [EdwardsKey("north"), P256Key(11), EdwardsKey("south")]


def cosigned(*, seconds: int = 1_700_000_000) -> Note:
    note = signed_checkpoint(CHECKPOINT, KEYS[0])
    lines = [cosign(note.text, key, name=f"w{k}", seconds=seconds) for k, key in enumerate(WITNESSES)]
    return note.with_signatures(lines)


def witness_keys() -> list[NoteKey]:
    return [NoteKey.of(f"w{k}", key.public, is_cosignature=True) for k, key in enumerate(WITNESSES)]


def log_key() -> NoteKey:
    return NoteKey.of(ORIGIN, KEYS[0].public, is_cosignature=False)


@pytest.mark.parametrize("vector", VECTORS["notes"], ids=lambda vector: vector["claim"])
def test_published_notes_verify_with_their_published_keys(vector: dict[str, Any]) -> None:
    note = Note.parse(vector["note"].encode())
    keys = [NoteKey.parse(vkey) for vkey in vector["vkeys"]]
    assert [key.vkey for key in keys] == vector["vkeys"]
    assert note.to_bytes().decode() == vector["note"]
    found = note.verified(keys)
    assert set(found) == set(keys)
    assert [found[key] for key in keys] == vector["times"]
    with pytest.raises(SignatureError, match="not over this text"):
        Note(note.text.replace("e", "a", 1) + "x\n", note.signatures).verified(keys)


@pytest.mark.parametrize("vector", VECTORS["checkpoints"], ids=lambda vector: vector["claim"])
def test_published_checkpoints_are_read(vector: dict[str, Any]) -> None:
    note = Note.parse(vector["note"].encode())
    checkpoint = Checkpoint.parse(note.text)
    assert (checkpoint.origin, checkpoint.size) == (vector["origin"], vector["size"])
    assert base64.b64encode(checkpoint.root).decode() == vector["root"]
    assert checkpoint.text() == note.text


@pytest.mark.parametrize("vkey", VECTORS["vkeys"])
def test_published_keys_are_read_and_written_back(vkey: str) -> None:
    assert NoteKey.parse(vkey).vkey == vkey


@pytest.mark.parametrize("vkey", VECTORS["bad_vkeys"])
def test_published_bad_keys_are_refused(vkey: str) -> None:
    with pytest.raises(MessageError, match=r"vkey|key of|key's name"):
        NoteKey.parse(vkey)


def test_every_other_spelling_of_a_key_is_refused() -> None:
    vkey = VECTORS["vkeys"][0]
    spellings = {vkey[start:end] for start in range(len(vkey)) for end in range(start, len(vkey) + 1)} - {vkey}
    spellings |= {f"{vkey[:k]}{chr(ord(vkey[k]) + 1)}{vkey[k + 1 :]}" for k in range(len(vkey))}
    for spelling in spellings:
        with pytest.raises(MessageError):
            NoteKey.parse(spelling)


@pytest.mark.parametrize("note", VECTORS["bad_notes"])
def test_malformed_notes_are_refused(note: str) -> None:
    with pytest.raises(MessageError, match="note"):
        Note.parse(note.encode())
    with pytest.raises(MessageError, match="UTF-8"):
        Note.parse(b"\xff" + note.encode())


def test_a_note_signed_as_published_has_the_published_bytes() -> None:
    vector = VECTORS["signed"]
    key = EdwardsKey(base64.b64decode(vector["seed"]))
    line = sign(vector["text"], key, name=vector["name"])
    assert str(line) == vector["line"]
    assert Note(vector["text"], (line,)).to_bytes() == (vector["text"] + "\n" + vector["line"]).encode()


@pytest.mark.parametrize("key", KEYS, ids=["ed25519", "p256"])
def test_a_log_key_of_either_kind_signs_a_checkpoint(key: EdwardsKey | P256Key) -> None:
    note = signed_checkpoint(CHECKPOINT, key)
    log = NoteKey.of(ORIGIN, key.public, is_cosignature=False)
    assert open_checkpoint(note.to_bytes(), log=log).checkpoint == CHECKPOINT
    assert NoteKey.parse(log.vkey) == log


def test_cosignatures_of_both_kinds_count() -> None:
    note = cosigned()
    opened = open_checkpoint(note.to_bytes(), log=log_key(), witnesses=witness_keys(), quorum=3)
    assert opened.witnesses == {f"w{k}": 1_700_000_000 for k in range(3)}
    assert {key.type for key in witness_keys()} == {KeyType.COSIGNATURE_ED25519, KeyType.COSIGNATURE_P256}


def test_too_few_witnesses_are_named() -> None:
    with pytest.raises(SignatureError, match=r"expected cosignatures of 3 witnesses, got 2: w0, w1"):
        open_checkpoint(cosigned().to_bytes(), log=log_key(), witnesses=witness_keys()[:2], quorum=3)
    note = signed_checkpoint(CHECKPOINT, KEYS[0])
    with pytest.raises(SignatureError, match="got 0: nobody"):
        open_checkpoint(note.to_bytes(), log=log_key(), witnesses=witness_keys(), quorum=1)


def test_one_key_under_two_names_is_one_witness() -> None:
    note = signed_checkpoint(CHECKPOINT, KEYS[0])
    lines = [cosign(note.text, WITNESSES[0], name=name, seconds=5) for name in ("a", "b")]
    keys = [NoteKey.of(name, WITNESSES[0].public, is_cosignature=True) for name in ("a", "b")]
    with pytest.raises(SignatureError, match="expected cosignatures of 2 witnesses, got 1"):
        open_checkpoint(note.with_signatures(lines).to_bytes(), log=log_key(), witnesses=keys, quorum=2)


def test_a_checkpoint_of_another_log_or_without_its_signature_is_refused() -> None:
    note = cosigned()
    other = NoteKey.of("hansa.example/other", KEYS[0].public, is_cosignature=False)
    with pytest.raises(MessageError, match=r"expected one of 'hansa\.example/other'"):
        open_checkpoint(note.to_bytes(), log=other)
    stranger = NoteKey.of(ORIGIN, EdwardsKey("stranger").public, is_cosignature=False)
    with pytest.raises(SignatureError, match="has not signed"):
        open_checkpoint(note.to_bytes(), log=stranger)


def test_a_signature_of_a_known_key_that_does_not_hold_is_never_skipped() -> None:
    note = cosigned()
    for place in range(4):
        lines = list(note.signatures)
        bad = bytes([lines[place].signature[0], *lines[place].signature[1:-1], lines[place].signature[-1] ^ 1])
        lines[place] = SignatureLine(lines[place].name, lines[place].key_id, bad)
        with pytest.raises(SignatureError, match="not over this text"):
            open_checkpoint(Note(note.text, tuple(lines)).to_bytes(), log=log_key(), witnesses=witness_keys())


def test_the_time_of_a_cosignature_is_signed() -> None:
    line = cosigned().signatures[1]
    changed = SignatureLine(line.name, line.key_id, (1).to_bytes(8, "big") + line.signature[8:])
    with pytest.raises(SignatureError):
        Note(CHECKPOINT.text(), (changed,)).verified(witness_keys())
    beyond = SignatureLine(line.name, line.key_id, bytes([255] * 8) + line.signature[8:])
    with pytest.raises(MessageError, match="2\\^63"):
        Note(CHECKPOINT.text(), (beyond,)).verified(witness_keys())


def test_the_second_signature_of_a_p256_cosignature_is_refused() -> None:
    line = cosigned().signatures[2]
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    s = int.from_bytes(line.signature[40:], "big")
    other = SignatureLine(line.name, line.key_id, line.signature[:40] + (order - s).to_bytes(32, "big"))
    with pytest.raises(SignatureError):
        Note(CHECKPOINT.text(), (other,)).verified(witness_keys())
    short = SignatureLine(line.name, line.key_id, line.signature[:-1])
    with pytest.raises(SignatureError):
        Note(CHECKPOINT.text(), (short,)).verified(witness_keys())


def test_a_new_cosignature_of_a_witness_replaces_its_old_one() -> None:
    note = cosigned(seconds=5)
    again = note.with_signatures([cosign(note.text, WITNESSES[0], name="w0", seconds=6)])
    assert len(again.signatures) == len(note.signatures)
    opened = open_checkpoint(again.to_bytes(), log=log_key(), witnesses=witness_keys(), quorum=3)
    assert opened.witnesses == {"w0": 6, "w1": 5, "w2": 5}


def test_a_text_that_could_be_another_signed_message_is_not_signed() -> None:
    for origin in ("DSSEv1 28 application", "cosignature/v1"):
        with pytest.raises(MessageError, match="must not begin"):
            sign(f"{origin}\n0\n{base64.b64encode(EMPTY_ROOT).decode()}\n", KEYS[0], name="log")
    for text in ("", "no newline", "tab\t\n"):
        with pytest.raises(MessageError, match="ends in a newline"):
            cosign(text, KEYS[0], name="log", seconds=0)


@pytest.mark.parametrize(
    ("text", "claim"),
    [
        ("", "three lines"),
        ("a\n0\n", "three lines"),
        ("a\n\n0\n", "three lines"),
        (f"a\n0\n{base64.b64encode(EMPTY_ROOT).decode()}", "three lines"),
        (f"a\n0\n{base64.b64encode(EMPTY_ROOT).decode()}\n\n", "three lines"),
        (f"a\n00\n{base64.b64encode(EMPTY_ROOT).decode()}\n", "decimal digits"),
        (f"a\n-1\n{base64.b64encode(EMPTY_ROOT).decode()}\n", "decimal digits"),
        (f"a\n\u0663\n{base64.b64encode(EMPTY_ROOT).decode()}\n", "decimal digits"),
        (f"a\n{2**63}\n{base64.b64encode(EMPTY_ROOT).decode()}\n", "decimal digits"),
        (f"a\n{'1' * 5000}\n{base64.b64encode(EMPTY_ROOT).decode()}\n", "decimal digits"),
        ("a\n0\nAAAA\n", "expected a root hash of 32 bytes"),
        ("a\n0\n!\n", "not base64"),
        (f"a\n0\n{'A' * 42}B=\n", "the one form"),
    ],
)
def test_malformed_checkpoints_are_refused(text: str, claim: str) -> None:
    with pytest.raises(MessageError, match=claim):
        Checkpoint.parse(text)


def test_extension_lines_are_kept() -> None:
    checkpoint = Checkpoint("a", 0, EMPTY_ROOT, ("one", "two"))
    assert Checkpoint.parse(checkpoint.text()) == checkpoint


@given(st.binary(max_size=300))
def test_no_bytes_are_read_and_written_otherwise(data: bytes) -> None:
    try:
        note = Note.parse(data)
    except MessageError:
        return
    assert note.to_bytes() == data


@pytest.mark.parametrize(
    "public", ["", "ed25519:", "ed25519:AAAA", "p256:AAAA", "rsa:AAAA", "p256:!", "p256:" + "A" * 44]
)
def test_text_that_is_no_public_key_is_refused(public: str) -> None:
    with pytest.raises(MessageError, match=r"expected"):
        NoteKey.of("a", public, is_cosignature=True)


def test_a_note_that_is_too_large_or_has_too_many_signatures_is_refused() -> None:
    with pytest.raises(MessageError, match="at most"):
        Note.parse(b"a" * (1 << 21))
    note = cosigned()
    with pytest.raises(MessageError, match="1 to 256"):
        Note.parse(Note(note.text, note.signatures[:1] * 257).to_bytes())


def test_keys_of_another_curve_are_refused() -> None:
    raw = KeyType.P256.value + base64.b64decode(VECTORS["p384"])
    with pytest.raises(MessageError, match="got another key"):
        NoteKey.parse(f"a+00000000+{base64.b64encode(raw).decode()}")
