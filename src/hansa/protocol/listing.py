"""Who takes part in an epoch: its labels, its identifier, and the checks of set-ups and of the coordinator's list.

A holder's *place* is its position in the list, from 1: its coordinate in the sharing of every ring key.

| subject's session | whose message |
|---|---|
| `setup-<attempt>` | list, halves, probe, reveal |
| `setup-<attempt>-to-<place>` | a dealer's correction for, or answer to, the holder at that place |
| `setup-<attempt>-of-<place>` | a holder's complaint of the dealer at that place |

Guarantees: a list that passes names members of the constitution only, in order, by the set-up messages that they
signed, and enough of them to open a sum. Does NOT guarantee: that nobody was left out who had set up in time.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Final

from hansa.crypto.agreement import seal
from hansa.errors import IdentityError, MessageError, RefusedError
from hansa.protocol.messages import Setup, open_envelope

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hansa.protocol.limits import Limits
    from hansa.protocol.messages import Epoch

SETUP_STEPS: Final = frozenset({"setup", "epoch", "halves", "probe", "complaint", "answer", "reveal"})
"""Steps of the board that set an epoch up; corrections travel by post."""

_ATTEMPT: Final = re.compile(r"setup-[1-9][0-9]{0,8}")


def epoch_label(constitution_digest: str, number: int) -> str:
    """Return the epoch's name in subjects: its number and the head of the constitution's digest."""
    return f"e{number}-{constitution_digest[:12]}"


def attempt_label(attempt: int) -> str:
    """Return the session part of the subjects of one attempt to set an epoch up."""
    return f"setup-{attempt}"


def check_attempt_label(label: str) -> str:
    """Return `label` if it names an attempt from 1.

    Raises:
        MessageError: It does not.
    """
    if not _ATTEMPT.fullmatch(label):
        raise MessageError(f"epoch list: expected a session setup-1, setup-2, ...; got {label!r}")
    return label


def epoch_identifier(listing: bytes, setups: Mapping[str, bytes], halves: Mapping[str, bytes]) -> bytes:
    """Return SHA-256 over the coordinator's list and, in order of names, the set-up and halves envelopes."""
    state = hashlib.sha256(b"hansa/epoch/1" + hashlib.sha256(listing).digest())
    for name in sorted(halves):
        state.update(hashlib.sha256(setups[name]).digest() + hashlib.sha256(halves[name]).digest())
    return state.digest()


def check_setup(sender: str, body: bytes, *, limits: Limits, epoch: str) -> None:
    """Refuse a set-up that would keep its peers from setting up.

    Raises:
        RefusedError: It names another epoch or constitution, or its key is one that nobody can seal to.
    """
    setup = open_envelope(body, Setup, sender=sender, key=limits.keys[sender])
    if (setup.epoch, setup.constitution) != (epoch, limits.constitution):
        raise RefusedError(f"set-up of {sender}: another epoch or constitution than ours; compare digests")
    try:
        seal(setup.encryption_key, b"", b"hansa/setup-check/1")
    except IdentityError as error:
        raise RefusedError(f"set-up of {sender}: {error}") from error


def check_listing(listing: Epoch, *, body: bytes, setups: Mapping[str, bytes], limits: Limits, epoch: str) -> None:
    """Refuse a list of the epoch's members that the set-up messages do not bear out.

    Raises:
        RefusedError: Names what was expected and what came.
    """
    hashes = tuple(hashlib.sha256(setups.get(name, b"")).digest() for name in listing.members)
    members, left_out = set(listing.members), set(listing.left_out)
    fewest = max(limits.minimum_cohort, limits.threshold)
    clauses = {
        "this epoch": listing.epoch == epoch,
        "names in order, none twice, all members": list(listing.members) == sorted(members)
        and members <= set(limits.members),
        "nobody both listed and left out": left_out <= set(limits.members) - members,
        f"at least {fewest} members": len(listing.members) >= fewest,
        "the set-up messages that the members published": hashes == listing.setups,
    }
    for clause, holds in clauses.items():
        if not holds:
            raise RefusedError(f"epoch list ({hashlib.sha256(body).hexdigest()[:12]}): expected {clause}")
