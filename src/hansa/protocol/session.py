"""A member's side of one secure sum: upload, agree, open.

| step | message in | checks | message out |
|---|---|---|---|
| 1 upload | `Manifest` | limits, epoch, label, deadline | `Upload`: one for ever, stored before it is sent |
| 2 agree | `Cohort` | our own hash is in it, `>= u_min`, no other root signed | `Agreement`: stored before it is sent |
| 3 open | `Certificate` | a quorum of the cohort signed this very root | `Opening`: seeds towards dropped peers only |
| 3b recover | `Recover` | the same root; the vanished are in the cohort | `Shares` towards dropped peers only |
| 4 publish | `Result` | the root we know, certified | the aggregate |

Guarantees: for one manifest this member sends at most one upload and signs at most one cohort, whatever it is asked
and however often it is restarted; it reveals seeds only towards peers outside a cohort that a quorum signed, so no two
cohorts of one manifest can both be opened while fewer than a third of the members collude with the coordinator.
Does NOT guarantee (masks alone): that the coordinator keeps closed an upload of a peer that it calls dropped, once the
peer's seeds are out; the ring-LWE layer is there for that. A late member therefore sends nothing.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeVar

from hansa.crypto.sharing import SHARE_BYTES
from hansa.errors import EquivocationError, ProtocolError, RefusedError
from hansa.protocol.encoding import to_words, words_from_bytes
from hansa.protocol.limits import Limits, PurposeLimit, check_manifest
from hansa.protocol.masking import apply_masks, mask_seed, open_package, recovery_packages
from hansa.protocol.messages import (
    SMALL_BYTES,
    Agreement,
    Certificate,
    Cohort,
    Manifest,
    Opening,
    Recover,
    Result,
    Shares,
    Upload,
    claimed_sender,
    open_envelope,
    seal_envelope,
)

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Int64, UInt32

    from hansa.crypto.signature import Signer
    from hansa.protocol.epoch import EpochKeys, Facts

SessionPayload = TypeVar("SessionPayload", Cohort, Certificate, Recover, Result)


class Door(Protocol):
    """What turns a manifest into this member's one upload envelope: statistic, budget, noise, mask, record."""

    def upload(self, manifest: Manifest, purpose: PurposeLimit, keys: EpochKeys) -> bytes:
        """Return the signed upload; raise RefusedError if the member's own rules say no."""


def session_label(manifest: Manifest) -> str:
    """Return the one name that a manifest's session may have."""
    return f"r{manifest.round}-{manifest.position}-{manifest.purpose}-a{manifest.attempt}"


def facts_label(epoch: str, session: str) -> str:
    """Return the name of a session in a member's durable facts, which outlive the epoch: labels come again."""
    return f"{epoch}/{session}"


def upload_limit(length: int, members: int) -> int:
    """Return the largest payload of an upload or a result of `length` values, bytes."""
    return 4 * length + 4096 + members * (SHARE_BYTES * members + 256)


def recover_limit(members: int) -> int:
    """Return the largest payload of a recovery request, bytes: a package for each pair of members."""
    return 4096 + members * members * (SHARE_BYTES * members + 128)


def certificate_limit(members: int) -> int:
    """Return the largest payload of a certificate, bytes: one agreement a member."""
    return 4096 + 512 * members


def build_upload(
    steps: Int64[np.ndarray, " value"],
    *,
    name: str,
    manifest: Manifest,
    keys: EpochKeys,
    limits: Limits,
    entropy: bytes,
) -> Upload:
    """Mask noised integer steps and pack them with commitments and recovery packages.

    Args:
        steps: Clipped, rounded and noised vector in integer steps.
        name: This member.
        manifest: The session's checked manifest.
        keys: Keys of the epoch.
        limits: The constitution's limits (the quorum is the packages' threshold).
        entropy: 32 secret bytes, used for this manifest only.
    """
    digest = manifest.digest()
    words: UInt32[np.ndarray, " value"] = to_words(steps)
    seeds = {peer: mask_seed(keys.pair_secrets[peer], digest) for peer in keys.members if peer != name}
    apply_masks(words, name=name, seeds=seeds)
    packages = recovery_packages(
        name=name,
        participants=keys.members,
        pair_secrets=keys.pair_secrets,
        manifest=digest,
        threshold=limits.quorum,
        entropy=entropy,
    )
    commitments = {peer: hashlib.sha256(seed).digest() for peer, seed in seeds.items()}
    return Upload(digest, words.tobytes(), commitments, packages)


@dataclass(frozen=True, slots=True)
class Aggregate:
    """An opened sum: the manifest, who is in it, and the words (int32 after a view) of the sum."""

    manifest: Manifest
    cohort: tuple[str, ...]
    words: UInt32[np.ndarray, " value"] = field(repr=False)


class MemberSession:
    """One session of one member, from its manifest on.

    Raises:
        RefusedError: The manifest asks for what the constitution or the epoch does not allow.
    """

    def __init__(
        self,
        manifest: Manifest,
        *,
        name: str,
        session: str,
        keys: EpochKeys,
        limits: Limits,
        signer: Signer,
        facts: Facts,
    ) -> None:
        self.manifest = manifest
        self.purpose = check_manifest(manifest, limits, epoch_id=keys.epoch_id, epoch_members=keys.members)
        if session != manifest.session or session != session_label(manifest):
            raise RefusedError(f"session {session}: its manifest belongs to {session_label(manifest)}")
        if manifest.epoch != keys.epoch:
            raise RefusedError(f"session {session}: expected a manifest of {keys.epoch}, got {manifest.epoch}")
        self.digest = manifest.digest()
        self._name = name
        self._keys = keys
        self._limits = limits
        self._signer = signer
        self._facts = facts
        self._label = facts_label(keys.epoch, session)
        self.is_closed = facts.fact(f"{self._label}/closed") is not None
        self._cohort: Cohort | None = None
        self._is_certified = False
        facts.remember(f"{self._label}/manifest", self.digest)

    def upload(self, door: Door, *, announced_ns: int, now_ns: int) -> bytes | None:
        """Return this member's upload, or None when it is too late to send one.

        Args:
            door: Makes the upload when none is stored.
            announced_ns: The stream's time of the manifest.
            now_ns: The same clock, now.
        """
        if self.is_closed or self._cohort is not None or now_ns > announced_ns + self._limits.upload_ns:
            return None
        stored = self._facts.fact(f"{self._label}/upload")
        if stored is not None:
            return stored
        return door.upload(self.manifest, self.purpose, self._keys)

    def on_cohort(self, body: bytes) -> bytes | None:
        """Check a cohort and sign it once; return the agreement, or None if we are not in it.

        Raises:
            EquivocationError: Another cohort came before.
            RefusedError: It is too small, malformed, or does not hold the upload that we sent.
        """
        cohort = self._open(body, Cohort)
        names = cohort.members
        if list(names) != sorted(set(names)) or not set(names) <= set(self.manifest.participants):
            raise RefusedError(f"cohort of {self.manifest.session}: expected participants in order, none twice")
        if len(names) < self._limits.minimum_cohort or len(cohort.uploads) != len(names):
            raise RefusedError(
                f"cohort of {self.manifest.session}: expected at least {self._limits.minimum_cohort} members "
                f"and one hash each; got {len(names)} members, {len(cohort.uploads)} hashes"
            )
        agreed = self._facts.fact(f"{self._label}/agreed")
        if self._cohort not in (None, cohort) or agreed not in (None, cohort.root()):
            raise EquivocationError(f"cohort of {self.manifest.session}: a second one came; the first stays")
        if self.is_closed or self._name not in names:
            self._cohort = cohort
            return None
        stored = self._facts.fact(f"{self._label}/upload")
        own = cohort.uploads[names.index(self._name)]
        if stored is None or hashlib.sha256(stored).digest() != own:
            raise RefusedError(f"cohort of {self.manifest.session}: it does not hold the upload that we sent")
        self._facts.remember(f"{self._label}/agreed", cohort.root())
        self._cohort = cohort
        return self._seal(Agreement(self.digest, cohort.root()))

    def on_certificate(self, body: bytes) -> bytes | None:
        """Check a quorum's signatures; return our seeds towards dropped peers, or None if nobody dropped."""
        if self._cohort is None:
            raise RefusedError(f"{self.manifest.session}: a certificate before a cohort that we accept")
        certificate = self._open(body, Certificate, limit=certificate_limit(len(self._keys.members)))
        check_certificate(certificate, cohort=self._cohort, limits=self._limits)
        self._is_certified = True
        if self.is_closed or self._name not in self._cohort.members:
            return None
        cohort = self._agreed_cohort()
        dropped = [name for name in self.manifest.participants if name not in cohort.members]
        if not dropped:
            return None  # nothing to open, and nothing that a recovery could ask for
        self._facts.remember(f"{self._label}/certified", cohort.root())
        seeds = {name: mask_seed(self._keys.pair_secrets[name], self.digest) for name in dropped}
        return self._seal(Opening(self.digest, cohort.root(), seeds))

    def on_recover(self, body: bytes) -> bytes | None:
        """Return our shares for cohort members that vanished, towards dropped peers only."""
        if self.is_closed:
            return None
        cohort = self._agreed_cohort()
        if self._facts.fact(f"{self._label}/certified") != cohort.root():
            raise RefusedError(f"recovery in {self.manifest.session}: no quorum has certified this cohort to us")
        recover = self._open(body, Recover, limit=recover_limit(len(self._keys.members)))
        if recover.manifest != self.digest or recover.root != cohort.root():
            raise RefusedError(f"recovery in {self.manifest.session}: another manifest or cohort")
        if not set(recover.packages) <= set(cohort.members):
            raise RefusedError(f"recovery in {self.manifest.session}: names a member that is not in the cohort")
        dropped = [name for name in self.manifest.participants if name not in cohort.members]
        shares: dict[str, dict[str, bytes]] = {}
        for vanished, packages in recover.packages.items():
            if vanished == self._name or self._name not in packages:
                continue
            opened = open_package(
                packages[self._name],
                sender=vanished,
                receiver=self._name,
                participants=self._keys.members,
                pair_secret=self._keys.pair_secrets[vanished],
                manifest=self.digest,
            )
            shares[vanished] = {name: opened[name].encode() for name in dropped}
        return self._seal(Shares(self.digest, cohort.root(), shares)) if shares else None

    def on_result(self, body: bytes) -> Aggregate:
        """Check and return the published sum.

        Raises:
            ProtocolError: It is of a cohort other than the one that was published and certified.
        """
        length = self.manifest.length
        result = self._open(body, Result, limit=upload_limit(length, len(self._keys.members)))
        if self._cohort is None or result.root != self._cohort.root() or result.members != self._cohort.members:
            raise ProtocolError(f"result of {self.manifest.session}: not of the cohort that was published")
        if not self._is_certified:
            raise ProtocolError(f"result of {self.manifest.session}: no quorum has certified its cohort")
        self.close()
        return Aggregate(self.manifest, result.members, words_from_bytes(result.words, length))

    def close(self) -> None:
        """End the session for good: from now on nothing is sent for it."""
        self.is_closed = True
        self._facts.remember(f"{self._label}/closed", b"closed")

    def _agreed_cohort(self) -> Cohort:
        cohort = self._cohort
        if cohort is None or self._facts.fact(f"{self._label}/agreed") != cohort.root():
            raise RefusedError(f"{self.manifest.session}: we have not signed a cohort, so we open nothing")
        return cohort

    def _open(self, body: bytes, expected: type[SessionPayload], *, limit: int = SMALL_BYTES) -> SessionPayload:
        key = self._limits.keys[self._limits.coordinator]
        payload = open_envelope(body, expected, sender=self._limits.coordinator, key=key, limit=limit)
        if payload.manifest != self.digest:
            raise RefusedError(f"{self.manifest.session}: a {expected.__name__} of another manifest")
        return payload

    def _seal(self, payload: Agreement | Opening | Shares) -> bytes:
        return seal_envelope(payload, sender=self._name, signer=self._signer)


def check_certificate(certificate: Certificate, *, cohort: Cohort, limits: Limits) -> None:
    """Refuse a certificate that a quorum of distinct cohort members did not sign.

    Raises:
        RefusedError: Too few valid signatures, or of another root.
    """
    root = cohort.root()
    if certificate.root != root or len(certificate.agreements) > len(cohort.members):
        raise RefusedError("certificate: of another cohort, or with more signatures than the cohort has members")
    signers = set()
    for body in certificate.agreements:
        signer = claimed_sender(body)
        if signer not in cohort.members:
            raise RefusedError(f"certificate: a signature of {signer}, who is not in the cohort")
        agreement = open_envelope(body, Agreement, sender=signer, key=limits.keys[signer])
        if (agreement.manifest, agreement.root) == (cohort.manifest, root):
            signers.add(signer)
    if len(signers) < limits.quorum:
        raise RefusedError(f"certificate: expected {limits.quorum} members of the cohort, got {len(signers)}")
