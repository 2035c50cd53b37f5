"""Adding a published sum again: what the coordinator did with the uploads, done by somebody else.

Uploads, calls and openings are signed and stay in the streams. Whoever fetches those of a cohort can add ciphertexts
and partial decryptions, take out the orphan masks and compare: the published steps must be these, to the last bit.
It takes no key: what opens a sum of a cohort is public once t decryptors have answered.

Everybody adds small sums again; of a large one the `c + 1` members that the cohort's root draws, so that an honest one
is among them.

Guarantees: a published sum that `verify_sum` accepts is the sum of the very uploads whose hashes the cohort's members
agreed to. Does NOT guarantee: that those uploads are true, or that decryptors did not shift their partials by whole
steps.
"""

from __future__ import annotations

import contextlib
import hashlib
from typing import TYPE_CHECKING, Final

from hansa.crypto.encryption import ciphertext_bytes
from hansa.errors import HansaError, ProtocolError
from hansa.protocol.secure_sum import SecureSum
from hansa.protocol.session import open_step, vector_coefficients

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hansa.protocol.limits import Limits
    from hansa.protocol.messages import Call, Cohort, Manifest, Result

EVERYBODY_BYTES: Final = 8 * 2**20
"""Sums whose uploads and partials are together at most this long are added again by every member."""

Address = tuple[str, str]
"""Step and sender of a message of the session."""


def verifiers(manifest: Manifest, cohort: Cohort, limits: Limits) -> frozenset[str]:
    """Return the members that are to add a sum again."""
    size = ciphertext_bytes(vector_coefficients(manifest, limits))
    if size * (len(cohort.members) + limits.threshold) <= EVERYBODY_BYTES:
        return frozenset(manifest.participants)
    root = cohort.root()
    drawn = sorted(manifest.participants, key=lambda name: hashlib.sha256(root + name.encode()).digest())
    return frozenset(drawn[: limits.colluders + 1])


def needed(manifest: Manifest, cohort: Cohort, calls: Sequence[Call], number: int) -> list[Address]:
    """Return which messages `verify_sum` wants for a sum that call `number` opened."""
    wanted = [("upload", name) for name in cohort.members]
    wanted += [(open_step(number), name) for name in calls[number].decryptors]
    if cohort.members != manifest.participants:
        wanted += [("open", name) for name in cohort.members if ("open", name) not in wanted]
        wanted += [("shares", name) for name in cohort.members]
    return wanted


def verify_sum(
    result: Result,
    *,
    manifest: Manifest,
    cohort: Cohort,
    calls: Sequence[Call],
    bodies: Mapping[Address, bytes],
    limits: Limits,
) -> None:
    """Return if the published sum is what uploads and openings add up to.

    Args:
        result: As published.
        manifest: Of the session.
        cohort: As agreed to.
        calls: All of the session, in order.
        bodies: The messages of `needed`, as fetched; seeds and shares that nobody sent are left out.
        limits: The constitution's limits.

    Raises:
        ProtocolError: They do not add up, or what would show it is missing; the message says which.
    """
    again = SecureSum(manifest, limits=limits)
    again.note_cohort(cohort)
    for name in cohort.members:
        again.add_upload(name, _body(bodies, "upload", name, manifest))
    for call in calls[: result.number + 1]:
        again.note_call(call)
    step, decryptors = open_step(result.number), calls[result.number].decryptors
    for name in decryptors:
        again.add_opening(name, _body(bodies, step, name, manifest))
    for kind, add in (("open", again.add_opening), ("shares", again.add_shares)):
        for name in cohort.members:
            body = bodies.get((kind, name))
            is_added = kind == step and name in decryptors
            if body is not None and not is_added:
                with contextlib.suppress(HansaError):  # the coordinator refused it as well, and went on without
                    add(name, body)
    found = again.result()
    if found is None:
        raise ProtocolError(
            f"{manifest.session}: what was published does not open: uploads {', '.join(again.uploaded)}; "
            f"seeds are missing of {', '.join(again.missing()) or 'nobody'}"
        )
    if found.steps != result.steps:
        raise ProtocolError(f"{manifest.session}: the coordinator published another sum than the uploads add up to")


def _body(bodies: Mapping[Address, bytes], step: str, name: str, manifest: Manifest) -> bytes:
    body = bodies.get((step, name))
    if body is None:
        raise ProtocolError(f"{manifest.session}: no {step} of {name} is in the stream, though the sum is published")
    return body
