"""What of a federation's messages goes into the log: statements from messages as they were sent.

Each function takes the messages' bytes, whose hashes become the statement's subjects, and what they say. A subject's
name is `<step>/<sender>`, as in the message's address.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from hansa.audit.statement import (
    AttestationLogged,
    ChargeLogged,
    CiphertextsLogged,
    CohortLogged,
    DeathLogged,
    EpochLogged,
    ManifestLogged,
    ResultLogged,
    Statement,
)
from hansa.protocol.secure_sum import SecureSum
from hansa.protocol.session import open_step

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Literal

    from hansa.protocol.limits import Limits
    from hansa.protocol.messages import Call, Cohort, Died, Epoch, Manifest, Result
    from hansa.protocol.verification import Address

_NS = 1_000_000_000
MAX_REASON = 500


def announced(body: bytes, manifest: Manifest, *, coordinator: str, time: int) -> Statement:
    """Return the statement that a sum is announced.

    Args:
        body: The manifest's envelope.
        manifest: What it says.
        coordinator: Who sent it.
        time: Seconds UTC.
    """
    said = ManifestLogged(
        time=time,
        session=manifest.session,
        epoch=manifest.epoch,
        round=manifest.round,
        purpose=manifest.purpose,
        length=manifest.length,
        span_start=manifest.span_start_ns // _NS,
        span_end=manifest.span_end_ns // _NS,
        participants=manifest.participants,
        constitution=manifest.constitution,
        manifest=manifest.digest().hex(),
    )
    return Statement({f"announce/{coordinator}": _sha256(body)}, said)


def agreed(body: bytes, cohort: Cohort, manifest: Manifest, *, coordinator: str, time: int) -> list[Statement]:
    """Return the statements of who is in a sum, and with which ciphertexts."""
    digest, root = manifest.digest().hex(), cohort.root().hex()
    who = CohortLogged(time=time, session=manifest.session, manifest=digest, root=root, members=cohort.members)
    what = CiphertextsLogged(time=time, session=manifest.session, manifest=digest, root=root)
    uploads = {f"upload/{name}": sent for name, sent in zip(cohort.members, cohort.uploads, strict=True)}
    return [Statement({f"cohort/{coordinator}": _sha256(body)}, who), Statement(uploads, what)]


def opened(
    body: bytes,
    result: Result,
    manifest: Manifest,
    *,
    answers: Mapping[Address, bytes],
    coordinator: str,
    time: int,
) -> Statement:
    """Return the statement of an opened sum.

    Args:
        body: The result's envelope.
        result: What it says.
        manifest: Of the session.
        answers: SHA-256 of the envelopes of openings and shares, by step and sender.
        coordinator: Who sent the result.
        time: Seconds UTC.
    """
    said = ResultLogged(
        time=time,
        session=manifest.session,
        manifest=manifest.digest().hex(),
        root=result.root.hex(),
        call=result.number,
        members=result.members,
        sum=_sha256(result.steps).hex(),
    )
    subjects = {f"{step}/{sender}": digest for (step, sender), digest in answers.items()}
    return Statement({f"result/{coordinator}": _sha256(body), **subjects}, said)


def died(body: bytes, notice: Died, *, session: str, coordinator: str, time: int) -> Statement:
    """Return the statement that a session ended without opening anything."""
    reason = notice.reason[:MAX_REASON]
    said = DeathLogged(time=time, session=session, manifest=notice.manifest.hex(), reason=reason)
    return Statement({f"died/{coordinator}": _sha256(body)}, said)


def begun(
    body: bytes, listing: Epoch, *, epoch_id: bytes | None, constitution: str, coordinator: str, time: int
) -> Statement:
    """Return the statement that an epoch came up under a list of who set up.

    Args:
        body: The list's envelope.
        listing: What it says.
        epoch_id: The id that the set-up led to.
        constitution: Digest of the constitution.
        coordinator: Who sent it.
        time: Seconds UTC.
    """
    said = EpochLogged(
        time=time,
        epoch=listing.epoch,
        epoch_id=(epoch_id or b"").hex(),
        members=listing.members,
        constitution=constitution,
    )
    setups = {f"setup/{name}": digest for name, digest in zip(listing.members, listing.setups, strict=True)}
    return Statement({f"epoch/{coordinator}": _sha256(body), **setups}, said)


def charged(
    body: bytes,
    manifest: Manifest,
    *,
    coordinator: str,
    member: str,
    period: str,
    change: Literal["charge", "release"],
    number: int,
    before: int,
    releases: int,
    epsilon: float,
    time: int,
) -> Statement:
    """Return a member's statement that its ledger changed.

    Args:
        body: The manifest's envelope.
        manifest: The sum that costs it.
        coordinator: Who sent the manifest.
        member: Whose ledger.
        period: Of the budget.
        change: What happened.
        number: Changes of this budget so far, this one included.
        before: Releases charged before.
        releases: Of this sum.
        epsilon: What is charged now comes to, at the purpose's delta.
        time: Seconds UTC.
    """
    said = ChargeLogged(
        time=time,
        member=member,
        session=manifest.session,
        manifest=manifest.digest().hex(),
        purpose=manifest.purpose,
        period=period,
        change=change,
        number=number,
        before=before,
        releases=releases,
        after=before + (releases if change == "charge" else -releases),
        epsilon=epsilon,
    )
    return Statement({f"announce/{coordinator}": _sha256(body)}, said)


def attested(
    evidence: bytes, *, technology: Literal["tdx", "sgx", "sev-snp", "tpm"], epoch: str, log_key: str, time: int
) -> Statement:
    """Return the statement that the coordinator's machine was attested; `evidence` is the file with its binding."""
    return Statement(
        {"attestation": _sha256(evidence)},
        AttestationLogged(time=time, technology=technology, epoch=epoch, log_key=log_key),
    )


def seeds_of(
    manifest: Manifest, cohort: Cohort, calls: Sequence[Call], bodies: Mapping[Address, bytes], *, limits: Limits
) -> Mapping[str, Mapping[str, bytes]]:
    """Return the seeds of the masks that dropped members left in a sum, from the messages that revealed them.

    Args:
        manifest: Of the session.
        cohort: As agreed to.
        calls: All of the session, in order.
        bodies: Uploads, openings and shares by step and sender.
        limits: The constitution's limits.
    """
    if cohort.members == manifest.participants:
        return {}
    again = SecureSum(manifest, limits=limits)
    again.note_cohort(cohort)
    for name in cohort.members:
        again.add_upload(name, bodies["upload", name])
    for call in calls:
        again.note_call(call)
    for step, name in bodies:
        if step == open_step(0):
            again.add_opening(name, bodies[step, name])
    for step, name in bodies:
        if step == "shares":
            again.add_shares(name, bodies[step, name])
    return again.seeds


def _sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()
