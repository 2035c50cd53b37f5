"""Claims about a ring key dealt by seeds."""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

from hansa.crypto.prg import derive
from hansa.crypto.ring import ELEMENT_BYTES, ternary_secret
from hansa.crypto.ring_parameters import PRIMES
from hansa.errors import IdentityError, MessageError
from hansa.protocol.dealing import (
    PROBE_BYTES,
    SEALED_BYTES,
    Dealing,
    corrected_places,
    deal,
    dealt_share,
    is_consistent,
    is_correction,
    is_probe,
    is_seed,
    probe_share,
)

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "dealing.json").read_text())
HOLDERS = ("m0", "m1", "m2", "m3", "m4")
CHALLENGE = bytes(range(32))


@lru_cache(maxsize=4)
def dealt(threshold: int = 3) -> Dealing:
    return deal(bytes(range(32)), holders=HOLDERS, threshold=threshold)


def probes(dealing: Dealing) -> dict[int, bytes]:
    return {
        place: probe_share(dealt_share(dealing.seeds[name], dealing.corrections.get(name, b"")), CHALLENGE)
        for place, name in enumerate(HOLDERS, start=1)
    }


@pytest.mark.parametrize("claim", sorted(VECTORS["deal"]))
def test_one_seed_gives_the_key_every_seed_and_every_correction(claim: str) -> None:
    vector = VECTORS["deal"][claim]
    found = deal(bytes.fromhex(vector["seed"]), holders=tuple(vector["holders"]), threshold=vector["threshold"])
    assert hashlib.sha256(found.secret.tobytes()).hexdigest() == vector["secret_sha256"]
    assert {name: seed.hex() for name, seed in found.seeds.items()} == vector["seeds"]
    sha256 = {name: hashlib.sha256(body).hexdigest() for name, body in found.corrections.items()}
    assert sha256 == vector["corrections_sha256"]
    held = {name: dealt_share(seed, found.corrections.get(name, b"")) for name, seed in found.seeds.items()}
    assert {name: probe_share(share, CHALLENGE).hex() for name, share in held.items()} == vector["probes"]


def test_the_key_is_ternary_and_its_seed_is_none_of_the_holders() -> None:
    dealing = dealt()
    seed = derive(bytes(range(32)), b"hansa/ring-key/1")
    assert np.array_equal(dealing.secret, ternary_secret(seed))
    assert seed not in dealing.seeds.values()
    assert len(set(dealing.seeds.values())) == len(HOLDERS)


@pytest.mark.parametrize("threshold", [1, 2, 3, 5])
def test_the_first_t_less_1_holders_need_no_correction(threshold: int) -> None:
    assert set(dealt(threshold).corrections) == set(HOLDERS[threshold - 1 :])
    assert [HOLDERS[place - 1] for place in corrected_places(5, threshold)] == list(dealt(threshold).corrections)
    assert {len(body) for body in dealt(threshold).corrections.values()} == {ELEMENT_BYTES}


@pytest.mark.parametrize("threshold", [1, 2, 3, 4, 5])
def test_honest_probes_agree_at_every_threshold(threshold: int) -> None:
    assert is_consistent(probes(dealt(threshold)), threshold=threshold)


@pytest.mark.parametrize("place", [1, 3, 5])
@pytest.mark.parametrize("word", [0, 13])
def test_one_changed_residue_of_one_probe_is_noticed(place: int, word: int) -> None:
    found = probes(dealt())
    values = np.frombuffer(found[place], dtype="<u4").copy()
    values[word] = (values[word] + 1) % PRIMES[word // 2]
    assert not is_consistent({**found, place: values.tobytes()}, threshold=3)


def test_a_share_moved_by_one_in_one_residue_is_noticed() -> None:
    dealing = dealt()
    share = dealt_share(dealing.seeds["m1"], b"")
    share[6, 4095] = (int(share[6, 4095]) + 1) % PRIMES[6]
    assert not is_consistent({**probes(dealing), 2: probe_share(share, CHALLENGE)}, threshold=3)


def test_only_the_committed_seed_and_correction_fit() -> None:
    dealing = dealt()
    seed, correction = dealing.seeds["m4"], dealing.corrections["m4"]
    digest = hashlib.sha256(correction).digest()
    assert is_seed(seed, hashlib.sha256(seed).digest())
    assert not is_seed(seed, digest)
    assert not is_seed(b"short", hashlib.sha256(b"short").digest())
    assert is_correction(correction, digest)
    assert not is_correction(correction, hashlib.sha256(seed).digest())
    for junk in (b"", correction[:-1], b"\xff" * ELEMENT_BYTES):
        assert not is_correction(junk, hashlib.sha256(junk).digest())


def test_a_probe_has_canonical_residues() -> None:
    assert is_probe(bytes(PROBE_BYTES))
    assert not is_probe(bytes(PROBE_BYTES - 4))
    for place, prime in enumerate(PRIMES):
        values = np.zeros(14, dtype="<u4")
        values[2 * place] = prime - 1
        assert is_probe(values.tobytes())
        values[2 * place] = prime
        assert not is_probe(values.tobytes())


def test_a_share_of_a_damaged_seed_or_correction_is_refused() -> None:
    with pytest.raises(IdentityError):
        dealt_share(b"short", b"")
    with pytest.raises(MessageError):
        dealt_share(bytes(32), b"short")
    assert SEALED_BYTES == 1200


def test_secrets_stay_out_of_a_representation() -> None:
    assert repr(dealt()) == "Dealing()"
