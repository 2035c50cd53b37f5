"""Claims about encryption, partial decryption and opened sums."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ring_oracle as book
from hansa.crypto.encryption import (
    add_ciphertext,
    ciphertext_bytes,
    decode,
    empty_total,
    encrypt,
    partial_decryption,
)
from hansa.crypto.key_sharing import deal, lagrange_weights, open_share
from hansa.crypto.lanes import coefficients, pack, unpack
from hansa.crypto.prg import add_limb_mask, expand
from hansa.crypto.ring import add_elements, scale_element, ternary_secret, uniform_element
from hansa.errors import IdentityError, MessageError, ProtocolError

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "encryption.json").read_text())
CRS = hashlib.sha256(b"session").digest()


def seed(label: str) -> bytes:
    return hashlib.sha256(label.encode()).digest()


def random_limbs(width: int, label: str) -> np.ndarray:
    return np.frombuffer(expand(seed(label), 24 * width), dtype="<u8").reshape(3, width).copy()


@pytest.fixture(scope="module")
def book_session() -> tuple[list[int], list[int]]:
    """The two blocks' public elements as coefficients mod Q."""
    blocks = [np.array(book.uniform_residues(CRS, block), dtype=np.uint32) for block in range(2)]
    return book.coefficients(blocks[0]), book.coefficients(blocks[1])


@pytest.mark.parametrize("claim", sorted(VECTORS["sessions"]))
def test_a_session_has_its_published_bytes(claim: str) -> None:
    vector = VECTORS["sessions"][claim]
    if vector["is_wide"]:
        steps = np.array([(-1) ** i * (2**44 - 1 - i) for i in range(vector["length"])])
    else:
        steps = 37 * np.arange(vector["length"]) % 8001 - 4000
    crs, secret, errors, floods = (
        bytes.fromhex(VECTORS[f"{name}_seed"]) for name in ("crs", "secret", "error", "flood")
    )
    key, limbs = ternary_secret(secret), pack(steps, is_wide=vector["is_wide"])
    data = encrypt(limbs, secret=key, crs_seed=crs, error_seed=errors)
    assert len(data) == ciphertext_bytes(limbs.shape[1]) == vector["ciphertext"]["bytes"]
    answer = partial_decryption(limbs.shape[1], share=key, crs_seed=crs, flood_seed=floods)
    masked = partial_decryption(
        limbs.shape[1], share=key, crs_seed=crs, flood_seed=floods, masks=[(crs, False), (secret, True)]
    )
    assert hashlib.sha256(masked).hexdigest() == vector["masked_partial_sha256"]
    for name, wire in (("ciphertext", data), ("partial", answer)):
        assert wire[:16].hex() == vector[name]["first"]
        assert hashlib.sha256(wire).hexdigest() == vector[name]["sha256"]
    total = empty_total(limbs.shape[1])
    add_ciphertext(total, data)
    add_ciphertext(total, answer)
    assert hashlib.sha256(total.astype("<u4").tobytes()).hexdigest() == vector["total_sha256"]
    decoded = decode(total)
    assert hashlib.sha256(decoded.limbs.astype("<u8").tobytes()).hexdigest() == vector["limbs_sha256"]
    assert decoded.noise == pytest.approx(vector["noise"], rel=1e-9)
    assert np.array_equal(unpack(decoded.limbs, len(steps), is_wide=vector["is_wide"]), steps)


# One full block and a cut one, places at the borders of both.
PLACES = [(0, 0), (0, 1), (0, 255), (0, 256), (0, 4095), (0, 8191), (1, 0), (1, 31), (1, 95)]
WIDTH = 8192 + 96


def test_a_ciphertext_is_the_switched_sum_of_product_error_and_rounded_message(
    book_session: tuple[list[int], list[int]],
) -> None:
    limbs = random_limbs(WIDTH, "message")
    data = encrypt(limbs, secret=ternary_secret(seed("key")), crs_seed=CRS, error_seed=seed("error"))
    s = book.ternary(seed("key"))
    for block, place in PLACES:
        m = book.limbs_value(limbs, 8192 * block + place)
        x = book.product(book_session[block], s, place) + book.error(seed("error"), 8192 * block + place)
        expected = book.nearest((x + book.nearest(book.Q * m, book.T)) % book.Q, book.P)
        found = book.wire_residues(data, 8192 * block, 96 if block else 8192, place)
        assert found == [expected % prime for prime in book.KEPT]


def test_a_partial_decryption_is_the_switched_negative_product_with_flood(
    book_session: tuple[list[int], list[int]],
) -> None:
    share = uniform_element(seed("share"))
    data = partial_decryption(WIDTH, share=share, crs_seed=CRS, flood_seed=seed("flood"))
    s = book.coefficients(share)
    for block, place in PLACES:
        width = 96 if block else 8192
        x = book.flood(seed("flood"), block, width, place) - book.product(book_session[block], s, place)
        expected = book.nearest(x % book.Q, book.P)
        assert book.wire_residues(data, 8192 * block, width, place) == [expected % prime for prime in book.KEPT]


def test_decoding_is_exact_rounding_and_the_noise_is_the_distance_to_the_step() -> None:
    width = 640
    stream = np.frombuffer(expand(seed("total"), 20 * width), dtype="<u4").reshape(5, width)
    total = np.ascontiguousarray(stream % np.array(book.KEPT, dtype=np.uint32)[:, None])
    decoded = decode(total)
    squares = 0.0
    for place in range(width):
        x = book.crt([int(r) for r in total[:, place]], book.KEPT)
        step = book.nearest(book.T * x, book.Q_KEPT)
        assert book.limbs_value(decoded.limbs, place) == step % book.T
        squares += (2 * (book.T * x - step * book.Q_KEPT) / book.Q_KEPT) ** 2
    assert decoded.noise == pytest.approx((squares / width) ** 0.5, rel=1e-5)
    assert int(decoded.limbs.max()) < 2**46


@pytest.mark.parametrize("width", [32, 96, 8192, WIDTH, 3 * 8192 + 32])
def test_the_bytes_do_not_depend_on_the_number_of_workers(width: int) -> None:
    limbs = random_limbs(width, "workers")
    key = ternary_secret(seed("key"))
    alone = encrypt(limbs, secret=key, crs_seed=CRS, error_seed=seed("error"))
    answer = partial_decryption(width, share=key, crs_seed=CRS, flood_seed=seed("flood"))
    assert len(alone) == len(answer) == ciphertext_bytes(width) == 145 * width // 8
    masks = [(seed("pair 1"), True), (seed("pair 2"), False)]
    masked = partial_decryption(width, share=key, crs_seed=CRS, flood_seed=seed("flood"), masks=masks)
    for workers in (2, 3, 9):
        assert encrypt(limbs, secret=key, crs_seed=CRS, error_seed=seed("error"), workers=workers) == alone
        again = partial_decryption(width, share=key, crs_seed=CRS, flood_seed=seed("flood"), workers=workers)
        assert again == answer
        again = partial_decryption(
            width, share=key, crs_seed=CRS, flood_seed=seed("flood"), masks=masks, workers=workers
        )
        assert again == masked != answer


@given(
    length=st.integers(1, 700),
    is_wide=st.booleans(),
    members=st.integers(2, 5),
    dropped=st.integers(0, 2),
    extreme=st.sampled_from([-1, 0, 1]),
    draw=st.binary(min_size=32, max_size=32),
)
@settings(max_examples=20, deadline=None)
def test_any_threshold_of_decryptors_opens_the_exact_sum_of_the_cohort(
    *, length: int, is_wide: bool, members: int, dropped: int, extreme: int, draw: bytes
) -> None:
    """Masks cancel over the cohort, some members drop out, lanes reach their limits."""
    names = list(range(1, members + 1))
    threshold = members // 2 + 1
    cohort = names[: max(threshold, members - dropped)]
    limit = (2**44 if is_wide else 2**22) // members - 1
    width = coefficients(length, is_wide=is_wide)
    total, expected, shares = empty_total(width), np.zeros(length, dtype=np.int64), {}
    for i in cohort:
        words = np.frombuffer(expand(draw, 8 * length * (i + 1)), dtype="<i8")[length * i :]
        steps = np.full(length, extreme * limit) if extreme else words % (2 * limit + 1) - limit
        expected += steps
        limbs = pack(steps, is_wide=is_wide)
        for j in cohort:
            if i != j:
                add_limb_mask(limbs, seed(f"{draw.hex()} {min(i, j)} {max(i, j)}"), negative=i > j)
        key = ternary_secret(seed(f"key {i}"))
        add_ciphertext(total, encrypt(limbs, secret=key, crs_seed=draw, error_seed=seed(f"error {i}")))
        seeds = [seed(f"{i} to {j}") for j in names]
        dealt = deal(key, threshold=threshold, holders=names, seeds=seeds)
        shares[i] = [open_share(*pair) for pair in zip(seeds, dealt, strict=True)]
    decryptors = cohort[-threshold:]
    for j in decryptors:
        own = add_elements([shares[i][j - 1] for i in cohort])
        share = scale_element(own, lagrange_weights(decryptors, j))
        masks = [(seed(f"opening {min(j, k)} {max(j, k)}"), j > k) for k in decryptors if k != j]
        answer = partial_decryption(
            width, share=share, crs_seed=draw, flood_seed=seed(f"flood {j}"), masks=masks, workers=j
        )
        add_ciphertext(total, answer)
    decoded = decode(total)
    assert decoded.noise < 0.1
    assert unpack(decoded.limbs, length, is_wide=is_wide).tolist() == expected.tolist()


def test_an_opening_mask_is_the_uniform_element_of_the_kept_primes() -> None:
    key = ternary_secret(seed("key"))
    bare, plus, minus = (
        partial_decryption(WIDTH, share=key, crs_seed=CRS, flood_seed=seed("flood"), masks=masks, workers=2)
        for masks in ([], [(seed("pair"), False)], [(seed("pair"), True)])
    )
    stream = expand(seed("pair"), 2 * 4 * (5 * 8192 + 512))
    for block, place in PLACES:
        words = np.frombuffer(stream, dtype="<u4")[block * (5 * 8192 + 512) :][: 5 * 8192].reshape(5, 8192)
        for k, prime in enumerate(book.KEPT):
            mask = int(words[k, place]) % 2**29
            assert mask < prime  # none of these places is a rejected one
            found = [
                book.wire_residues(data, 8192 * block, 96 if block else 8192, place)[k] for data in (bare, plus, minus)
            ]
            assert found == [found[0], (found[0] + mask) % prime, (found[0] - mask) % prime]


def test_a_partial_alone_shows_nothing_but_all_together_open() -> None:
    width = 8192
    parts = [uniform_element(seed(f"part {j}")) for j in range(3)]
    limbs = pack(np.arange(6 * width) % 1000, is_wide=False)
    total = empty_total(width)
    add_ciphertext(total, encrypt(limbs, secret=add_elements(parts), crs_seed=CRS, error_seed=seed("error")))
    for j, part in enumerate(parts):
        masks = [(seed(f"pair {j + k}"), j > k) for k in range(3) if k != j]
        add_ciphertext(
            total,
            partial_decryption(width, share=part, crs_seed=CRS, flood_seed=seed(f"flood {j}"), masks=masks),
        )
        if j < 2:
            assert decode(total).noise == pytest.approx(3**-0.5, abs=0.02)
    assert np.array_equal(unpack(decode(total).limbs, 6 * width, is_wide=False), np.arange(6 * width) % 1000)


def test_a_missing_or_wrong_partial_shows_in_the_noise() -> None:
    width = 8192
    keys = [ternary_secret(seed(f"key {i}")) for i in range(3)]
    total = empty_total(width)
    for i, key in enumerate(keys):
        limbs = np.zeros((3, width), dtype=np.uint64)
        add_ciphertext(total, encrypt(limbs, secret=key, crs_seed=CRS, error_seed=seed(f"error {i}")))
    assert decode(total).noise == pytest.approx(3**-0.5, abs=0.02)
    wrong = total.copy()
    share = add_elements(keys)
    add_ciphertext(total, partial_decryption(width, share=share, crs_seed=CRS, flood_seed=seed("flood")))
    assert decode(total).noise < 0.05
    assert not decode(total).limbs.any()
    share = add_elements([*keys, uniform_element(seed("slip"))])
    add_ciphertext(wrong, partial_decryption(width, share=share, crs_seed=CRS, flood_seed=seed("flood")))
    assert decode(wrong).noise == pytest.approx(3**-0.5, abs=0.02)


def test_a_hundred_members_and_decryptors_leave_a_wide_margin() -> None:
    width, members = 8192, 100
    total, expected = empty_total(width), np.zeros(6 * width, dtype=np.int64)
    share = np.zeros_like(uniform_element(CRS))
    for i in range(members):
        steps = np.frombuffer(expand(seed(f"steps {i}"), 48 * width), dtype="<i8") % 83_887 - 41_943
        steps[: 2 * width] = 41_943
        steps[2 * width : 3 * width] = -41_943
        expected += steps
        key = ternary_secret(seed(f"key {i}"))
        share = add_elements([share, key])
        add_ciphertext(
            total, encrypt(pack(steps, is_wide=False), secret=key, crs_seed=CRS, error_seed=seed(f"error {i}"))
        )
    # Any split of the key in a hundred parts floods as a hundred decryptors do.
    for j in range(members):
        part = uniform_element(seed(f"part {j}")) if j < members - 1 else share
        share = add_elements([share, scale_element(part, np.array(book.PRIMES, dtype=np.uint32) - 1)])
        add_ciphertext(total, partial_decryption(width, share=part, crs_seed=CRS, flood_seed=seed(f"flood {j}")))
    decoded = decode(total)
    assert decoded.noise < 0.1
    assert np.array_equal(unpack(decoded.limbs, 6 * width, is_wide=False), expected)


@pytest.mark.parametrize(
    "damage",
    [lambda data: data[:-1], lambda data: data + b"\0", lambda _: b"", lambda data: data[:-4] + b"\xff" * 4],
    ids=["short", "long", "empty", "residue above its prime"],
)
def test_a_damaged_ciphertext_is_refused_and_the_total_stays(damage: object) -> None:
    total = empty_total(96)
    data = encrypt(random_limbs(96, "m"), secret=ternary_secret(seed("key")), crs_seed=CRS, error_seed=seed("error"))
    add_ciphertext(total, data)
    before = total.copy()
    with pytest.raises(MessageError):
        add_ciphertext(total, damage(data))  # type: ignore[operator]
    assert np.array_equal(total, before)


def test_the_least_residue_that_is_not_canonical_is_refused_in_every_plane() -> None:
    width = 32
    for k, prime in enumerate(book.KEPT):
        for place in range(width):
            bits = prime << (29 * place)
            data = bytes(116 * k) + bits.to_bytes(116, "little") + bytes(116 * (4 - k))
            with pytest.raises(MessageError, match=f"below {prime}"):
                add_ciphertext(empty_total(width), data)
            good = bytes(116 * k) + (bits - (1 << 29 * place)).to_bytes(116, "little") + bytes(116 * (4 - k))
            total = empty_total(width)
            add_ciphertext(total, good)
            assert total[k, place] == prime - 1
            assert total.sum() == prime - 1


@pytest.mark.parametrize("width", [0, -32, 31, 33])
def test_a_number_of_coefficients_that_is_no_multiple_of_32_is_refused(width: int) -> None:
    with pytest.raises(ProtocolError, match="multiple of 32"):
        empty_total(width)


def test_limbs_or_keys_of_another_form_are_refused() -> None:
    key = ternary_secret(seed("key"))
    for limbs in (
        np.zeros((2, 32), dtype=np.uint64),
        np.zeros((3, 32), dtype=np.int64),
        np.zeros(96, dtype=np.uint64),
        np.zeros((3, 64), dtype=np.uint64)[:, ::2],
    ):
        with pytest.raises(ProtocolError, match="limbs"):
            encrypt(limbs, secret=key, crs_seed=CRS, error_seed=seed("error"))
    with pytest.raises(ProtocolError, match="multiple of 32"):
        encrypt(np.zeros((3, 31), dtype=np.uint64), secret=key, crs_seed=CRS, error_seed=seed("error"))
    with pytest.raises(ProtocolError, match="ring element"):
        encrypt(np.zeros((3, 32), dtype=np.uint64), secret=key[:, :64], crs_seed=CRS, error_seed=seed("error"))
    with pytest.raises(ProtocolError, match="ring element"):
        partial_decryption(32, share=key[:5], crs_seed=CRS, flood_seed=seed("flood"))
    with pytest.raises(IdentityError):
        encrypt(np.zeros((3, 32), dtype=np.uint64), secret=key, crs_seed=CRS[:31], error_seed=seed("error"))
