"""Attack: hand a decryptor a ring element of one's own choosing, and read its key off the answer."""

from __future__ import annotations

import hashlib

import msgspec
import numpy as np
import pytest

import ring_oracle as book
from adversary import added, is_opened
from hansa.crypto.encryption import decode, encrypt, partial_decryption
from hansa.crypto.ring import add_elements, scale_element, ternary_secret, to_transform
from hansa.crypto.ring_parameters import MODULUS, PRIMES, column
from hansa.errors import EquivocationError, ProtocolError, RefusedError
from hansa.protocol.messages import Call, Cohort, Opening, Recover, Result
from hansa.protocol.opening import crs_seed
from players import Table, from_member, manifest, table_after_upload, upload_of
from simulator import limits, purpose

CHOSEN = 2**100


def answer_of_a_naive_decryptor(c1: np.ndarray, secret: np.ndarray, flood_seed: int) -> np.ndarray:
    """Joint-key BFV: `c1 s + flood`, for whatever c1 came; the flood is 2^62 wide."""
    flood = np.random.default_rng(flood_seed).integers(-(2**62), 2**62, 8192)
    product = (c1.astype(np.uint64) * secret % column(PRIMES)).astype(np.uint32)
    return add_elements([product, to_transform(flood)])


def test_one_answer_of_a_decryptor_that_takes_any_c1_is_its_whole_key() -> None:
    """Positive control: the chosen element is the constant 2^100; 2^62 of flood do not hide the key under it."""
    seed = hashlib.sha256(b"naive").digest()
    constant = np.repeat(np.array([[CHOSEN % prime] for prime in PRIMES], dtype=np.uint32), 8192, axis=1)
    answer = book.coefficients(answer_of_a_naive_decryptor(constant, ternary_secret(seed), 7))
    found = [round((x if x < MODULUS // 2 else x - MODULUS) / CHOSEN) for x in answer]
    assert found == book.ternary(seed)


CHANGES = {
    "federation": "another",
    "constitution": "cd" * 32,
    "epoch": "e2-abababababab",
    "epoch_id": bytes(32),
    "round": 2,
    "position": 1,
    "index": 1,
    "attempt": 2,
    "purpose": "delta",
    "length": 7,
    "span_start_ns": 86_400_000_000_000 - 300_000_000_000,
    "span_end_ns": 86_400_000_000_000 + 300_000_000_000,
    "participants": ("m0", "m1", "m2", "m3"),
}


@pytest.mark.parametrize("field", sorted(CHANGES))
def test_no_field_of_a_manifest_moves_a_session_to_another_ring_element(field: str) -> None:
    """Under one label there is one manifest, so one element; a changed one is refused before and after a restart."""
    rules = limits(5, 1, gram=purpose(), delta=purpose())
    table = table_after_upload(rules=rules)
    changed = manifest(rules, **{field: CHANGES[field], "session": table.manifest.session})
    assert set(CHANGES) | {"session"} == {one.name for one in msgspec.structs.fields(changed)}
    assert crs_seed(changed) != crs_seed(table.manifest)
    with pytest.raises((RefusedError, EquivocationError)):
        table.session("m0", changed)


def test_no_message_to_a_member_has_room_for_a_ring_element() -> None:
    """What a member answers for: names, digests, signatures, packages. Results are read, never answered."""
    texts = {
        kind: {field.name for field in msgspec.structs.fields(kind) if field.type is bytes}
        for kind in (Cohort, Call, Recover, Result)
    }
    assert texts == {
        Cohort: {"manifest"},
        Call: {"manifest", "root", "checkpoint"},  # a note, read as text and verified; nothing is computed from it
        Recover: {"manifest", "root"},
        Result: {"manifest", "root", "steps"},
    }


@pytest.mark.parametrize("exchanges", [2, 3])
def test_a_colluder_that_uploads_last_and_chooses_the_total_opens_the_same_product_only(exchanges: int) -> None:
    """Its ciphertext takes everybody's away and puts a chosen element there; the answers do not depend on it."""
    table = Table(limits(5, 1, gram=purpose(exchanges=exchanges)))
    table.upload(["m0", "m1", "m2", "m3"])
    honest = table.sessions["m4"].upload(table.doors["m4"], announced_ns=0, now_ns=0)
    assert honest is not None
    table.uploads["m4"] = honest
    others = added([upload_of(table, name).ciphertext for name in ("m0", "m1", "m2", "m3")], 32)
    chosen = np.array([[CHOSEN % prime] for prime in book.KEPT], dtype=np.int64)
    bits = ((chosen - others) % np.array(book.KEPT)[:, None]).astype(np.int64)
    body = from_member("m4", msgspec.structs.replace(upload_of(table, "m4"), ciphertext=wire(bits)))
    table.facts["m4"].values[f"{table.manifest.epoch}/{table.manifest.session}/upload-sha256"] = hashlib.sha256(
        body
    ).digest()
    table.sum.add_upload("m4", body)
    table.agree()
    call = table.call()
    partials = []
    for name in table.rules.members:
        answer = table.sessions[name].on_call(call)
        if answer is not None:
            table.sum.add_opening(name, answer)
            partials.append(opening(answer, name).partial)
    with pytest.raises(ProtocolError, match="noise"):
        table.sum.result()
    keys = add_elements([table.keys[name].secret for name in table.rules.members])
    zero = encrypt(
        np.zeros((3, 32), dtype=np.uint64), secret=keys, crs_seed=crs_seed(table.manifest), error_seed=bytes(32)
    )
    product = decode(added([*partials, zero], 32))
    assert is_opened(product), "together the answers are minus a times the sum of the keys"
    assert not product.limbs.any()
    assert not is_opened(decode(added(partials, 32))), "without a ciphertext of the cohort they are noise"


def opening(body: bytes, name: str) -> Opening:
    kind, sender, payload, _ = msgspec.msgpack.decode(body)
    assert (kind, sender) == (Opening.media_type(), name)
    return msgspec.msgpack.decode(payload, type=Opening)


def wire(residues: np.ndarray) -> bytes:
    """Return the wire form of 32 coefficients, by the book: for each prime 29-bit residues, one after the other."""
    rows = residues.tolist()
    return b"".join(
        sum(value << (29 * place) for place, value in enumerate(row)).to_bytes(116, "little") for row in rows
    )


def test_an_honest_answer_read_like_the_naive_one_shows_no_key() -> None:
    """The same rounding that read the naive decryptor's key agrees with the true one as often as a guess does."""
    rules = limits(4, 1, gram=purpose(values=6 * 8192))
    table = Table(rules, manifest(rules, length=6 * 8192))
    table.upload(rules.members)
    table.agree()
    answer = table.sessions["m0"].on_call(table.call())
    assert answer is not None
    data = opening(answer, "m0").partial
    lifted = [book.crt(book.wire_residues(data, 0, 8192, place), book.KEPT) for place in range(2000)]
    found = [round((x if x < book.Q_KEPT // 2 else x - book.Q_KEPT) / (CHOSEN // book.P)) % 3 - 1 for x in lifted]
    key = book.ternary(hashlib.sha256(b"ringm0").digest())[:2000]
    agreeing = sum(one == other for one, other in zip(found, key, strict=True))
    assert 550 < agreeing < 790, "a third, within six deviations"


def test_a_share_of_the_key_scaled_by_a_stranger_opens_nothing() -> None:
    """A partial under another session's element does not open this one."""
    table = table_after_upload()
    keys = add_elements([table.keys[name].secret for name in table.rules.members])
    minus = scale_element(keys, np.array(PRIMES, dtype=np.uint32) - 1)
    ciphertexts = [upload_of(table, name).ciphertext for name in table.rules.members]
    for asked, opens in ((table.manifest, True), (manifest(table.rules, attempt=2), False)):
        stray = partial_decryption(32, share=scale_element(minus, np.array(PRIMES, dtype=np.uint32) - 1),
                                   crs_seed=crs_seed(asked), flood_seed=bytes(32))  # fmt: skip
        assert is_opened(decode(added([*ciphertexts, stray], 32))) == opens
