"""A fixed federation from which valid inputs are made: keys from hashes of names, no randomness."""

from __future__ import annotations

import hashlib
from functools import cache
from typing import TYPE_CHECKING

from hansa.crypto.encryption import ciphertext_bytes
from hansa.crypto.signature import SigningKey
from hansa.federation.draft_file import EXAMPLE
from hansa.federation.drafting import constitution_of
from hansa.federation.rules import limits_of
from hansa.governance.constitution import Party
from hansa.governance.signed import SignedConstitution
from hansa.protocol.messages import (
    Agreement,
    Answer,
    Attested,
    Call,
    Closed,
    Cohort,
    Complaint,
    Died,
    Epoch,
    Halves,
    Logged,
    Manifest,
    Opening,
    Payload,
    Probe,
    Recover,
    Result,
    Reveal,
    Setup,
    Shares,
    Upload,
    seal_envelope,
)

if TYPE_CHECKING:
    from hansa.protocol.limits import Limits

NAMES = ("m00", "m01", "m02", "m03")
COORDINATOR = "hub"
EPOCH_ID = bytes(32)
LENGTH = 8
DAY_NS = 86_400_000_000_000


@cache
def key(name: str) -> SigningKey:
    """Return a node's key."""
    return SigningKey.from_bytes(hashlib.sha256(name.encode()).digest())


@cache
def signed() -> SignedConstitution:
    """Return a constitution that all have signed."""
    made = constitution_of(
        EXAMPLE,
        federation="fuzz",
        members=[Party(name, key(name).public) for name in NAMES],
        coordinator=Party(COORDINATOR, key(COORDINATOR).public),
    )
    found = SignedConstitution(made, {})
    for name in NAMES:
        found = found.signed_by(name, key(name))
    return found


@cache
def limits() -> Limits:
    """Return the limits of that constitution."""
    return limits_of(signed().constitution)


def manifest() -> Manifest:
    """Return a manifest that every member accepts."""
    rules = signed().constitution
    return Manifest(
        federation=rules.federation,
        constitution=rules.digest(),
        epoch="e1",
        epoch_id=EPOCH_ID,
        session="r202401010200-0-census-a1",
        round=202401010200,
        position=0,
        index=0,
        attempt=1,
        purpose="census",
        length=rules.purposes["census"].values,
        span_start_ns=19_000 * DAY_NS,
        span_end_ns=19_001 * DAY_NS,
        participants=NAMES,
    )


def cohort() -> Cohort:
    """Return a cohort of all members."""
    return Cohort(manifest().digest(), NAMES, (bytes(32),) * len(NAMES))


def payloads() -> dict[type[Payload], Payload]:
    """Return a valid payload of each type that is known here."""
    digest, root = manifest().digest(), cohort().root()
    agreements = tuple(seal_envelope(Agreement(digest, root), sender=name, signer=key(name)) for name in NAMES)
    by_peer = {name: bytes(37) for name in NAMES[1:]}
    by_name = dict.fromkeys(NAMES, bytes(32))
    found: tuple[Payload, ...] = (
        Setup("e1", signed().constitution.digest(), bytes(1216)),
        Epoch("e1", NAMES, (bytes(32),) * len(NAMES)),
        Halves("e1", bytes(32), dict.fromkeys(NAMES[1:], bytes(1200)), by_name, {"m03": bytes(32)}),
        Probe(bytes(32), dict.fromkeys(NAMES, bytes(56))),
        Complaint(bytes(32), "m01", "share"),
        Answer(bytes(32), "m02", bytes(32), bytes(32), bytes(64)),
        Reveal(bytes(32), "m01", bytes(32), bytes(64)),
        manifest(),
        Upload(digest, bytes(ciphertext_bytes(32)), dict.fromkeys(NAMES[1:], bytes(32)), by_peer),
        cohort(),
        Agreement(digest, root),
        Call(digest, root, 0, NAMES[:3], agreements, b"a checkpoint"),
        Opening(digest, root, 0, {"m03": bytes(32)}, bytes(ciphertext_bytes(32))),
        Recover(digest, root, {"m02": by_peer}),
        Shares(digest, root, {"m02": by_peer}),
        Result(digest, root, 0, NAMES, bytes(4 * LENGTH)),
        Died(digest, "too few members"),
        Closed(digest),
        Attested(bytes(32), b"{}"),
        Logged(0, (b"{}", b"[]"), b"a checkpoint"),
    )
    return {type(payload): payload for payload in found}
