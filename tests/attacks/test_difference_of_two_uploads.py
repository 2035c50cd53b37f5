"""Attack: get one member to encrypt two vectors under one ring element; the difference of the ciphertexts is open."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import pytest

from adversary import difference, is_opened, looks_uniform
from hansa.crypto.encryption import decode
from hansa.crypto.lanes import unpack
from hansa.errors import EquivocationError, RefusedError
from hansa.protocol.messages import Upload, open_envelope
from hansa.protocol.session import build_upload, upload_limit
from players import MemoryFacts, Table, from_coordinator, manifest, steps_of, table_after_upload
from simulator import limits, purpose, signing_key

if TYPE_CHECKING:
    from hansa.protocol.messages import Manifest

LENGTH = 600
RULES = limits(5, 1, gram=purpose(values=LENGTH))
ASKED = manifest(RULES, length=LENGTH)


def ciphertext_of(table: Table, body: bytes | None, asked: Manifest = ASKED) -> bytes:
    assert body is not None
    limit = upload_limit(asked, table.rules)
    return open_envelope(body, Upload, sender="m0", key=signing_key("m0").public, limit=limit).ciphertext


def uploaded(table: Table, asked: Manifest = ASKED) -> bytes:
    """Let m0 start anew over its facts and return what it uploads for a manifest."""
    session = table.session("m0", asked)
    return ciphertext_of(table, session.upload(table.doors["m0"], announced_ns=0, now_ns=0), asked)


def vector(label: str) -> np.ndarray:
    seed = int.from_bytes(hashlib.sha256(label.encode()).digest()[:8], "big")
    return np.random.default_rng(seed).integers(-1000, 1000, LENGTH)


def encrypted(table: Table, steps: np.ndarray) -> bytes:
    entropy = hashlib.sha256(table.keys["m0"].noise_key + ASKED.digest()).digest()
    return build_upload(
        steps, name="m0", manifest=ASKED, keys=table.keys["m0"], limits=RULES, entropy=entropy
    ).ciphertext


def test_two_vectors_encrypted_for_one_manifest_open_their_difference() -> None:
    """Positive control: no key, no partial, no seed is needed."""
    table = Table(RULES, ASKED)
    one, other = vector("one"), vector("other")
    found = decode(difference(encrypted(table, one), encrypted(table, other)))
    assert is_opened(found)
    assert unpack(found.limbs, LENGTH, is_wide=False).tolist() == (one - other).tolist()


def test_a_replayed_manifest_gets_the_same_bytes_after_any_number_of_restarts() -> None:
    table = Table(RULES, ASKED)
    first = uploaded(table)
    for _ in range(3):
        assert uploaded(table) == first
    assert table.doors["m0"].asked == 1


def test_a_second_manifest_of_the_label_is_refused_after_a_restart() -> None:
    table = Table(RULES, ASKED)
    uploaded(table)
    for change in ({"index": 1}, {"span_end_ns": ASKED.span_end_ns + RULES.bar_ns}):
        with pytest.raises(EquivocationError):
            table.session("m0", manifest(RULES, length=LENGTH, **change))


def test_no_upload_leaves_after_the_session_is_closed_or_its_cohort_is_known() -> None:
    table = table_after_upload(("m0",))
    session = table.sessions["m0"]
    session.on_cohort(from_coordinator(table.propose()))
    assert session.upload(table.doors["m0"], announced_ns=0, now_ns=0) is None
    session.close()
    assert table.session("m0").upload(table.doors["m0"], announced_ns=0, now_ns=0) is None


def test_a_rolled_back_member_with_the_same_data_sends_the_same_bytes() -> None:
    """The whole disk as it was before the session: noise, masks and error follow from keys and manifest."""
    table = Table(RULES, ASKED)
    first = uploaded(table)
    table.facts["m0"].values.clear()
    assert uploaded(table) == first
    assert table.doors["m0"].asked == 2, "it was computed again"


def test_a_rolled_back_member_under_another_manifest_gives_two_closed_uploads() -> None:
    """It takes a second manifest of the label, but under another element, other masks and other noise."""
    table = Table(RULES, ASKED)
    first = uploaded(table)
    table.facts["m0"].values.clear()
    other = manifest(RULES, length=LENGTH, index=1)
    assert other.session == ASKED.session
    found = decode(difference(first, uploaded(table, other)))
    assert not is_opened(found)
    assert looks_uniform(found.limbs)


def test_what_a_full_rollback_gives_is_the_difference_of_the_data_of_two_times() -> None:
    """Not covered by the encryption: same manifest, whole disk rolled back, data changed; noise differs at the door."""
    table = Table(RULES, ASKED)
    before, after = steps_of("m0", LENGTH), steps_of("m0", LENGTH)
    after[3] += 5
    found = decode(difference(encrypted(table, after), encrypted(table, before)))
    assert is_opened(found)
    assert unpack(found.limbs, LENGTH, is_wide=False).tolist() == [5 if place == 3 else 0 for place in range(LENGTH)]


def test_the_upload_is_kept_before_it_is_sent() -> None:
    """Killed between the record and the network: the bytes are there and go out again."""
    table = Table(RULES, ASKED)
    kept = MemoryFacts(dict(table.facts["m0"].values))
    body = table.session("m0").upload(table.doors["m0"], announced_ns=0, now_ns=0)
    assert body is not None
    assert body in table.facts["m0"].values.values()
    assert body not in kept.values.values()
    with pytest.raises(RefusedError):
        table.session("m0", manifest(RULES, length=LENGTH, epoch_id=bytes(32)))
