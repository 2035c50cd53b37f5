"""What crooked members publish instead of what their node says: one function a fault, for any board.

Each returns a hook `(sender, session, step, body) -> the body that is published instead, None for silence`.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, TypeAlias

import msgspec
import numpy as np

from hansa.crypto.ring import decode_element, encode_element
from hansa.protocol.messages import Answer, Halves, PayloadT, Probe, Reveal, open_envelope
from players import from_member
from simulator import signing_key

if TYPE_CHECKING:
    from collections.abc import Callable

Tamper: TypeAlias = "Callable[[str, str, str, bytes], bytes | None]"


def opened(body: bytes, kind: type[PayloadT], sender: str) -> PayloadT:
    return open_envelope(body, kind, sender=sender, key=signing_key(sender).public)


def changed(body: bytes, kind: type[PayloadT], sender: str, **changes: object) -> bytes:
    return from_member(sender, msgspec.structs.replace(opened(body, kind, sender), **changes))


def other_correction(body: bytes) -> bytes:
    """Return another valid ring element."""
    element = decode_element(body)
    return encode_element(np.ascontiguousarray(element[:, ::-1]))


def silent_in(*steps: str, by: str) -> Tamper:
    """Say nothing in these steps."""
    return lambda sender, _session, step, body: None if sender == by and step in steps else body


def inconsistent(dealer: str, victim: str, place: int) -> Tamper:
    """Deal one holder a share beside the polynomial, committed to and posted as if it were right."""
    posted: dict[str, bytes] = {}

    def tamper(sender: str, session: str, step: str, body: bytes) -> bytes | None:
        if sender == dealer and step == "deal" and session.endswith(f"-to-{place}"):
            posted["body"] = other_correction(body)
            return posted["body"]
        if (sender, step) == (dealer, "halves"):
            corrections = opened(body, Halves, dealer).corrections
            crooked = {**corrections, victim: hashlib.sha256(posted["body"]).digest()}
            return changed(body, Halves, dealer, corrections=crooked)
        return body

    return tamper


def sealing_junk(dealer: str, victim: str, *, answering: Tamper | None = None) -> Tamper:
    """Seal to one holder what does not open; then answer its complaint as `answering` has it, honestly by default."""

    def tamper(sender: str, session: str, step: str, body: bytes) -> bytes | None:
        if (sender, step) == (dealer, "halves"):
            sealed = opened(body, Halves, dealer).sealed
            return changed(body, Halves, dealer, sealed={**sealed, victim: sealed[victim][::-1]})
        return body if answering is None else answering(sender, session, step, body)

    return tamper


def posting_junk(dealer: str, *, answering: Tamper | None = None) -> Tamper:
    """Post other corrections than those committed to; answer complaints as `answering` has it."""

    def tamper(sender: str, session: str, step: str, body: bytes) -> bytes | None:
        if (sender, step) == (dealer, "deal"):
            return other_correction(body)
        return body if answering is None else answering(sender, session, step, body)

    return tamper


def answering_falsely(dealer: str, **changes: bytes) -> Tamper:
    """Answer complaints with something else."""

    def tamper(sender: str, _session: str, step: str, body: bytes) -> bytes | None:
        return changed(body, Answer, dealer, **changes) if (sender, step) == (dealer, "answer") else body

    return tamper


def probing_falsely(holder: str, dealer: str, *, revealing: dict[str, bytes] | None = None) -> Tamper:
    """Give another probe of the key of `dealer`; then reveal honestly, or other things."""

    def tamper(sender: str, _session: str, step: str, body: bytes) -> bytes | None:
        if (sender, step) == (holder, "probe"):
            probes = opened(body, Probe, holder).probes
            return changed(body, Probe, holder, probes={**probes, dealer: bytes(56)})
        if (sender, step) == (holder, "reveal") and revealing is not None:
            return changed(body, Reveal, holder, **revealing)
        return body

    return tamper
