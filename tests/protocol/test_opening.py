"""Claims about which sums a member helps to open, and about its part of the opening."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ring_oracle as book
from hansa.crypto.encryption import add_ciphertext, decode, empty_total, partial_decryption
from hansa.crypto.key_sharing import lagrange_weights
from hansa.crypto.prg import derive, expand
from hansa.crypto.ring import add_elements, scale_element
from hansa.errors import HansaError, MessageError, RefusedError, SignatureError
from hansa.protocol.messages import Agreement, Call, Cohort, encode
from hansa.protocol.opening import check_call, check_certificate, check_cohort, crs_seed, partial
from hansa.protocol.secure_sum import NOISE_LIMIT
from players import epoch_keys, from_member, manifest
from simulator import limits

if TYPE_CHECKING:
    from collections.abc import Sequence

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "opening.json").read_text())
RULES = limits(7, 2)
KEYS = epoch_keys(RULES)
ASKED = manifest(RULES)
NAMES = RULES.members
UPLOADS = tuple(hashlib.sha256(name.encode()).digest() for name in NAMES)


def cohort_of(names: Sequence[str] = NAMES) -> Cohort:
    return Cohort(ASKED.digest(), tuple(names), UPLOADS[: len(names)])


COHORT = cohort_of()


def signed(names: Sequence[str], *, cohort: Cohort = COHORT) -> tuple[bytes, ...]:
    return tuple(from_member(name, Agreement(cohort.manifest, cohort.root())) for name in names)


def call_of(
    decryptors: Sequence[str] = NAMES[:5], *, number: int = 0, agreements: Sequence[bytes] = (), cohort: Cohort = COHORT
) -> Call:
    return Call(ASKED.digest(), cohort.root(), number, tuple(decryptors), tuple(agreements))


def answer(name: str, call: Call, *, cohort: Cohort = COHORT, coefficients: int = 32) -> bytes:
    return partial(name, manifest=ASKED, cohort=cohort, call=call, keys=KEYS[name], coefficients=coefficients)


@pytest.mark.parametrize("claim", sorted(VECTORS["crs_seed"]))
def test_the_crs_seed_is_sha_256_of_the_epoch_and_the_manifest(claim: str) -> None:
    vector = VECTORS["crs_seed"][claim]
    asked = manifest(RULES, epoch_id=bytes.fromhex(vector["epoch_id"]), index=vector["index"])
    assert crs_seed(asked).hex() == vector["seed"]
    assert crs_seed(asked) == hashlib.sha256(b"hansa/crs/1" + asked.epoch_id + asked.digest()).digest()


@pytest.mark.parametrize("claim", sorted(VECTORS["partial"]))
def test_a_partial_has_this_hash(claim: str) -> None:
    """Pinned from this code; the next test computes the same bytes from the definition, the oracle those of a part."""
    vector = VECTORS["partial"][claim]
    data = answer(vector["name"], call_of(vector["decryptors"], number=vector["number"]))
    assert hashlib.sha256(data).hexdigest() == vector["sha256"]


def opening_masks(name: str, call: Call) -> list[tuple[bytes, bool]]:
    """Return the seeds of the masks towards the other decryptors, and whether this side subtracts."""
    info = b"hansa/opening-mask/1" + ASKED.digest() + hashlib.sha256(encode(call)).digest()
    return [(derive(KEYS[name].pair_secrets[peer], info), peer < name) for peer in call.decryptors if peer != name]


@pytest.mark.parametrize("name", ["m0", "m3", "m4"])
def test_a_partial_is_the_flooded_product_of_the_weighted_share_under_the_masks_of_its_call(name: str) -> None:
    call = call_of()
    own = add_elements([KEYS[name].shares[member] for member in NAMES])
    share = scale_element(own, lagrange_weights([1, 2, 3, 4, 5], NAMES.index(name) + 1))
    info = b"hansa/flood/1" + ASKED.digest() + hashlib.sha256(encode(call)).digest()
    expected = partial_decryption(
        32,
        share=share,
        crs_seed=crs_seed(ASKED),
        flood_seed=derive(KEYS[name].noise_key, info),
        masks=opening_masks(name, call),
    )
    assert answer(name, call) == expected


def test_the_first_coefficient_of_a_partial_follows_from_big_integers() -> None:
    call = call_of()
    share = scale_element(add_elements([KEYS["m2"].shares[one] for one in NAMES]), lagrange_weights([1, 2, 3, 4, 5], 3))
    s = book.coefficients(share)
    a = book.coefficients(np.array(book.uniform_residues(crs_seed(ASKED)), dtype=np.uint32))
    info = b"hansa/flood/1" + ASKED.digest() + hashlib.sha256(encode(call)).digest()
    x = book.flood(derive(KEYS["m2"].noise_key, info), 0, 32, 0) - book.product(a, s, 0)
    expected = [book.nearest(x % book.Q, book.P)] * 5
    for seed, is_negative in opening_masks("m2", call):
        for k in range(5):
            word = int.from_bytes(expand(seed, 4 * (8192 * k + 1))[-4:], "little") % 2**29
            assert word < book.KEPT[k], "none of these words is a rejected one"
            expected[k] += -word if is_negative else word
    found = book.wire_residues(answer("m2", call), 0, 32, 0)
    assert found == [value % prime for value, prime in zip(expected, book.KEPT, strict=True)]


@settings(max_examples=5, deadline=None)
@given(st.sets(st.sampled_from(NAMES), min_size=5, max_size=7), st.randoms(use_true_random=False))
def test_any_threshold_of_the_cohort_opens_it_and_one_less_opens_noise(names: set[str], draw: object) -> None:
    """An encryption of zero under the sum of the keys stands for the uploads."""
    cohort = cohort_of(sorted(names))
    decryptors = sorted(draw.sample(sorted(names), RULES.threshold))  # type: ignore[attr-defined]
    call = call_of(decryptors, cohort=cohort)
    total = empty_total(32)
    key = add_elements([KEYS[name].secret for name in cohort.members])
    minus = scale_element(key, np.array(book.PRIMES, dtype=np.uint32) - 1)
    add_ciphertext(total, partial_decryption(32, share=minus, crs_seed=crs_seed(ASKED), flood_seed=bytes(32)))
    for place, name in enumerate(decryptors):
        assert decode(total).noise > NOISE_LIMIT, f"{place} of {RULES.threshold} decryptors open nothing"
        add_ciphertext(total, answer(name, call, cohort=cohort))
    opened = decode(total)
    assert opened.noise < 0.05
    assert not opened.limbs.any()


def test_answers_to_different_calls_do_not_open_together() -> None:
    """The masks are those of one call: four of one call and one of another decode to noise."""
    calls = [call_of(), call_of(NAMES[:4] + NAMES[5:6], number=1)]
    key = add_elements([KEYS[name].secret for name in NAMES])
    minus = scale_element(key, np.array(book.PRIMES, dtype=np.uint32) - 1)
    total = empty_total(32)
    add_ciphertext(total, partial_decryption(32, share=minus, crs_seed=crs_seed(ASKED), flood_seed=bytes(32)))
    for name, call in zip(NAMES, (calls[0], calls[0], calls[0], calls[0], calls[1]), strict=False):
        add_ciphertext(total, answer("m5" if call is calls[1] else name, call))
    assert decode(total).noise > NOISE_LIMIT


def test_the_same_call_floods_alike_and_another_number_afresh() -> None:
    assert answer("m0", call_of()) == answer("m0", call_of())
    assert answer("m0", call_of()) != answer("m0", call_of(number=1))


def test_a_cohort_of_participants_in_order_with_a_hash_each_passes() -> None:
    check_cohort(COHORT, ASKED, RULES)
    check_cohort(cohort_of(NAMES[2:]), ASKED, RULES)


@pytest.mark.parametrize(
    ("clause", "names", "hashes"),
    [
        ("in order", ("m1", "m0", "m2", "m3", "m4"), 5),
        ("none twice", ("m0", "m0", "m1", "m2", "m3"), 5),
        ("expected participants", ("m0", "m1", "m2", "m3", "m9"), 5),
        ("at least 5", ("m0", "m1", "m2", "m3"), 4),
        ("at least 5", (), 0),
        ("at least 5", ("m0",), 1),
        ("one hash each", NAMES, 6),
    ],
)
def test_a_cohort_of_other_names_number_or_hashes_is_refused(clause: str, names: tuple[str, ...], hashes: int) -> None:
    with pytest.raises(RefusedError, match=clause):
        check_cohort(Cohort(ASKED.digest(), names, UPLOADS[:hashes]), ASKED, RULES)


def test_a_good_call_passes_in_both_kinds_of_session() -> None:
    check_call(call_of(agreements=signed(NAMES[:5])), cohort=COHORT, limits=RULES, exchanges=3)
    check_call(call_of(), cohort=COHORT, limits=RULES, exchanges=2)
    for number in (1, RULES.reopenings):
        for exchanges in (2, 3):
            check_call(call_of(NAMES[2:], number=number), cohort=COHORT, limits=RULES, exchanges=exchanges)


@pytest.mark.parametrize(
    ("clause", "change"),
    [
        ("5 decryptors", {"decryptors": NAMES[:4]}),
        ("5 decryptors", {"decryptors": NAMES[:6]}),
        ("none twice", {"decryptors": ("m0", "m0", "m1", "m2", "m3")}),
        ("in order", {"decryptors": ("m1", "m0", "m2", "m3", "m4")}),
        ("of the cohort", {"decryptors": ("m0", "m1", "m2", "m3", "m9")}),
        ("number from 0 to 2", {"number": 3}),
        ("number from 0 to 2", {"number": -1}),
        ("cohort that was published", {"root": bytes(32)}),
        ("first call of three exchanges alone", {"agreements": (b"",)}),
    ],
)
def test_a_call_that_breaks_a_rule_is_refused_with_its_clause(clause: str, change: dict[str, object]) -> None:
    with pytest.raises(RefusedError, match=clause):
        check_call(msgspec.structs.replace(call_of(), **change), cohort=COHORT, limits=RULES, exchanges=2)


def test_decryptors_outside_the_cohort_are_refused() -> None:
    with pytest.raises(RefusedError, match="of the cohort"):
        check_call(call_of(NAMES[2:], cohort=cohort_of(NAMES[:5])), cohort=cohort_of(NAMES[:5]), limits=RULES,
                   exchanges=2)  # fmt: skip


def test_a_certificate_in_a_later_call_is_refused() -> None:
    with pytest.raises(RefusedError, match="first call of three exchanges alone"):
        check_call(call_of(number=1, agreements=signed(NAMES[:5])), cohort=COHORT, limits=RULES, exchanges=3)


OTHER = cohort_of(NAMES[:6])


@pytest.mark.parametrize(
    ("last", "error"),
    [
        ((), RefusedError),
        (signed(("m0",)), RefusedError),
        (signed(("m4",), cohort=OTHER), RefusedError),
        ((from_member("m4", Agreement(bytes(32), COHORT.root())),), RefusedError),
        ((from_member("m9", Agreement(COHORT.manifest, COHORT.root())),), RefusedError),
        ((from_member("m4", Agreement(COHORT.manifest, COHORT.root()), signer="m0"),), SignatureError),
        ((b"\xff",), MessageError),
        (signed(("m4", "m4", "m4", "m4")), RefusedError),
    ],
)
def test_a_certificate_without_a_quorum_of_good_signatures_is_refused(
    last: tuple[bytes, ...], error: type[HansaError]
) -> None:
    with pytest.raises(error):
        check_certificate((*signed(NAMES[:4]), *last), cohort=COHORT, limits=RULES)


@given(st.sets(st.sampled_from(NAMES)))
def test_a_certificate_is_a_quorum_of_signatures_whoever_gives_them(names: set[str]) -> None:
    agreements = signed(sorted(names))
    if len(names) >= RULES.quorum:
        check_certificate(agreements, cohort=COHORT, limits=RULES)
    else:
        with pytest.raises(RefusedError, match=f"expected 5 members of the cohort, got {len(names)}"):
            check_certificate(agreements, cohort=COHORT, limits=RULES)
