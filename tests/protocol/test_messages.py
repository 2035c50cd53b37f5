"""Claims about messages and their envelopes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hansa.errors import MessageError, SignatureError
from hansa.protocol.messages import (
    ENVELOPE_OVERHEAD_BYTES,
    SMALL_BYTES,
    Agreement,
    Answer,
    Call,
    Cohort,
    Complaint,
    Died,
    Epoch,
    Halves,
    Manifest,
    Opening,
    Payload,
    Probe,
    Recover,
    Result,
    Reveal,
    Shares,
    Upload,
    claimed_sender,
    encode,
    open_envelope,
    seal_envelope,
)
from players import from_member
from simulator import signing_key

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "messages.json").read_text())
KEY = signing_key("m0").public
AGREEMENT = Agreement(b"\x01" * 32, b"\x02" * 32)


@pytest.mark.parametrize("claim", sorted(VECTORS["manifest_digest"]))
def test_manifest_digest_is_sha_256_of_its_label_and_messagepack(claim: str) -> None:
    vector = VECTORS["manifest_digest"][claim]
    fields = {**vector["fields"], "epoch_id": bytes.fromhex(vector["fields"]["epoch_id"])}
    manifest = Manifest(**{**fields, "participants": tuple(fields["participants"])})
    assert encode(manifest).hex() == vector["encoding"]
    assert manifest.digest().hex() == vector["digest"]


@pytest.mark.parametrize("claim", sorted(VECTORS["cohort_root"]))
def test_cohort_root_is_sha_256_of_its_label_and_messagepack(claim: str) -> None:
    vector = VECTORS["cohort_root"][claim]
    uploads = tuple(bytes.fromhex(text) for text in vector["uploads"])
    cohort = Cohort(bytes.fromhex(vector["manifest"]), tuple(vector["members"]), uploads)
    assert cohort.root().hex() == vector["root"]


def hash_like(value: int) -> bytes:
    return bytes([value]) * 32


SET_UP: dict[str, Payload] = {
    "epoch": Epoch("e1-ab", ("m0", "m1"), (hash_like(1), hash_like(2)), {"m2": "its halves did not come in time"}),
    "halves": Halves(
        "e1-ab", hash_like(1), {"m1": b"sealed"}, {"m0": hash_like(2), "m1": hash_like(3)}, {"m1": hash_like(4)}
    ),
    "probe": Probe(hash_like(1), {"m0": bytes(56)}),
    "complaint": Complaint(hash_like(1), "m1", "share"),
    "answer": Answer(hash_like(1), "m2", hash_like(2), hash_like(3), b"correction"),
    "reveal": Reveal(hash_like(1), "m1", hash_like(2), b"correction"),
}


@pytest.mark.parametrize("step", sorted(VECTORS["set_up_encoding"]))
def test_a_set_up_message_has_this_encoding_and_comes_back_from_its_envelope(step: str) -> None:
    payload = SET_UP[step]
    assert encode(payload).hex() == VECTORS["set_up_encoding"][step]
    assert open_envelope(from_member("m0", payload), type(payload), sender="m0", key=KEY) == payload


SESSION: dict[str, Payload] = {
    "upload": Upload(hash_like(1), b"ciphertext", {"m1": hash_like(2), "m2": hash_like(3)}, {"m1": b"package"}),
    "cohort": Cohort(hash_like(1), ("m0", "m1"), (hash_like(2), hash_like(3))),
    "agreement": Agreement(hash_like(1), hash_like(2)),
    "call": Call(hash_like(1), hash_like(2), 1, ("m0", "m2"), ()),
    "call with its certificate": Call(hash_like(1), hash_like(2), 0, ("m0", "m2"), (b"envelope", b"another")),
    "opening": Opening(hash_like(1), hash_like(2), 300, {"m3": hash_like(4)}, b"partial"),
    "recover": Recover(hash_like(1), hash_like(2), {"m1": {"m0": b"package"}}),
    "shares": Shares(hash_like(1), hash_like(2), {"m1": {"m3": b"share"}}),
    "result": Result(hash_like(1), hash_like(2), 0, ("m0", "m1"), bytes(300)),
    "died": Died(hash_like(1), "no quorum agreed in time"),
}


def by_the_book(value: object) -> bytes:
    """MessagePack, shortest forms: maps by sorted keys, structs as maps in the order of their fields."""
    if isinstance(value, int):
        return (
            value.to_bytes(1)
            if value < 128
            else b"\xcc" + value.to_bytes(1)
            if value < 256
            else b"\xcd" + (value.to_bytes(2))
        )
    if isinstance(value, str):
        data = value.encode()
        return bytes([0xA0 + len(data)]) + data if len(data) < 32 else b"\xd9" + bytes([len(data)]) + data
    if isinstance(value, bytes):
        return b"\xc4" + bytes([len(value)]) + value if len(value) < 256 else b"\xc5" + len(value).to_bytes(2) + value
    if isinstance(value, tuple):
        return bytes([0x90 + len(value)]) + b"".join(by_the_book(item) for item in value)
    pairs = sorted(value.items()) if isinstance(value, dict) else msgspec.structs.asdict(value).items()  # type: ignore[type-var]
    pairs = [(key, item) for key, item in pairs if (key, item) != ("checkpoint", b"")]  # left out of a call without
    return bytes([0x80 + len(pairs)]) + b"".join(by_the_book(key) + by_the_book(item) for key, item in pairs)


@pytest.mark.parametrize("step", sorted(VECTORS["session_encoding"]))
def test_a_message_of_a_session_has_this_encoding_and_comes_back_from_its_envelope(step: str) -> None:
    payload = SESSION[step]
    assert encode(payload).hex() == VECTORS["session_encoding"][step]
    assert encode(payload) == by_the_book(payload)
    assert open_envelope(from_member("m0", payload), type(payload), sender="m0", key=KEY) == payload


@pytest.mark.parametrize("step", sorted(SESSION))
def test_no_truncated_message_of_a_session_is_taken(step: str) -> None:
    payload = SESSION[step]
    body = from_member("m0", payload)
    for length in range(0, len(body), 7):
        with pytest.raises((MessageError, SignatureError)):
            open_envelope(body[:length], type(payload), sender="m0", key=KEY)


def test_a_complaint_about_anything_else_is_refused() -> None:
    body = from_member("m0", Complaint(b"l", "m1", "weather"))  # type: ignore[arg-type]
    with pytest.raises(MessageError, match="weather"):
        open_envelope(body, Complaint, sender="m0", key=KEY)


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_an_envelope_gives_back_what_was_sealed(manifest: bytes, root: bytes) -> None:
    payload = Agreement(manifest, root)
    assert open_envelope(from_member("m0", payload), Agreement, sender="m0", key=KEY) == payload


def test_the_order_of_a_mapping_does_not_change_the_bytes() -> None:
    one = Opening(b"m", b"r", 0, {"m1": b"1", "m2": b"2"}, b"")
    other = Opening(b"m", b"r", 0, {"m2": b"2", "m1": b"1"}, b"")
    assert encode(one) == encode(other)


@given(st.integers(0, 200), st.integers(1, 255))
def test_no_changed_byte_is_taken(place: int, change: int) -> None:
    body = bytearray(from_member("m0", AGREEMENT))
    body[place % len(body)] ^= change
    with pytest.raises((MessageError, SignatureError)):
        open_envelope(bytes(body), Agreement, sender="m0", key=KEY)


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_refused_as_a_message(body: bytes) -> None:
    with pytest.raises(MessageError):
        open_envelope(body, Agreement, sender="m0", key=KEY)


def test_a_message_of_one_type_is_none_of_another() -> None:
    with pytest.raises(MessageError, match="opening"):
        open_envelope(from_member("m0", AGREEMENT), Opening, sender="m0", key=KEY)


def test_a_type_under_another_types_signature_is_refused() -> None:
    kind, sender, payload, signature = msgspec.msgpack.decode(from_member("m0", AGREEMENT))
    assert kind == Agreement.media_type()
    moved = msgspec.msgpack.encode([Died.media_type(), sender, payload, signature])
    with pytest.raises(SignatureError):
        open_envelope(moved, Died, sender="m0", key=KEY)


def test_a_message_of_another_sender_is_refused() -> None:
    with pytest.raises(MessageError, match="m1"):
        open_envelope(from_member("m0", AGREEMENT), Agreement, sender="m1", key=signing_key("m1").public)


def test_a_message_signed_by_another_key_is_refused() -> None:
    with pytest.raises(SignatureError):
        open_envelope(from_member("m0", AGREEMENT, signer="m1"), Agreement, sender="m0", key=KEY)


def test_size_is_bounded_before_anything_is_read() -> None:
    body = from_member("m0", Upload(b"m", bytes(5000), {}, {}))
    with pytest.raises(MessageError, match="at most 100"):
        open_envelope(body, Upload, sender="m0", key=KEY, limit=100)
    assert open_envelope(body, Upload, sender="m0", key=KEY, limit=5100).ciphertext == bytes(5000)
    with pytest.raises(MessageError, match="at most"):
        open_envelope(bytes(SMALL_BYTES + ENVELOPE_OVERHEAD_BYTES + 1), Died, sender="m0", key=KEY)


class Longer(Agreement, frozen=True):
    extra: int = 1

    @classmethod
    def media_type(cls) -> str:
        return Agreement.media_type()


def test_an_unknown_field_is_refused_even_if_signed() -> None:
    body = seal_envelope(Longer(b"m", b"r"), sender="m0", signer=signing_key("m0"))
    with pytest.raises(MessageError, match="extra"):
        open_envelope(body, Agreement, sender="m0", key=KEY)


def test_a_field_of_the_wrong_type_is_refused_even_if_signed() -> None:
    wrong = msgspec.msgpack.encode({"epoch": "e", "listing": b"l", "sealed": [1]})
    signature = signing_key("m0").sign(Halves.media_type(), hashlib.sha256(wrong).digest())
    body = msgspec.msgpack.encode([Halves.media_type(), "m0", wrong, signature])
    with pytest.raises(MessageError, match="sealed"):
        open_envelope(body, Halves, sender="m0", key=KEY)


def test_claimed_sender_reads_the_name_only() -> None:
    assert claimed_sender(from_member("m0", AGREEMENT, signer="m1")) == "m0"
    for body in (b"", b"\xc1", bytes(SMALL_BYTES + 1)):
        with pytest.raises(MessageError):
            claimed_sender(body)
