"""A member's side of one secure sum: upload, agree, open.

| step | message in | checks | message out |
|---|---|---|---|
| 1 upload | `Manifest` | limits, epoch, label, deadline | `Upload`: one for ever, stored before it is sent |
| 2 agree | `Cohort` | our own hash is in it, `>= u_min`, no other root signed | `Agreement`: stored before it is sent |
| 3 open | `Call` | a quorum of the cohort signed this very root; t decryptors | `Opening`: partial, seeds to dropped |
| 3b recover | `Recover` | the same root; the vanished are in the cohort | `Shares` towards dropped peers only |
| 4 publish | `Result` | the root we know, called | the aggregate |

A session of two exchanges has no step 2: the answer to the call is the vote (`opening`), kept before it is sent.

Guarantees: for one manifest this member sends at most one upload and answers for at most one cohort, whatever it is
asked and however often it is restarted; it reveals seeds only towards peers outside that cohort, so no two cohorts of
one manifest can both be opened while fewer than a third of the members collude with the coordinator. An upload that is
not in the opened cohort stays encrypted under its member's ring key, whatever seeds are out.
Does NOT guarantee: that the coordinator publishes the sum that it opened (`verification` finds out).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeVar

from hansa.crypto.encryption import ciphertext_bytes, encrypt
from hansa.crypto.lanes import coefficients, pack
from hansa.crypto.prg import derive
from hansa.crypto.sharing import SHARE_BYTES
from hansa.errors import EquivocationError, ProtocolError, RefusedError
from hansa.protocol.encoding import is_wide, sum_from_bytes
from hansa.protocol.limits import Limits, PurposeLimit, check_manifest
from hansa.protocol.masking import apply_masks, mask_seed, open_package, recovery_packages
from hansa.protocol.messages import (
    SMALL_BYTES,
    Agreement,
    Call,
    Closed,
    Cohort,
    Manifest,
    Opening,
    Recover,
    Result,
    Shares,
    Upload,
    encode,
    open_envelope,
    seal_envelope,
)
from hansa.protocol.opening import check_call, check_cohort, crs_seed, partial

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Int64

    from hansa.crypto.signature import Signer
    from hansa.protocol.epoch import EpochKeys, Facts

SessionPayload = TypeVar("SessionPayload", Cohort, Call, Recover, Result)


class Door(Protocol):
    """What turns a manifest into this member's one upload envelope: statistic, budget, noise, mask, record."""

    def upload(self, manifest: Manifest, purpose: PurposeLimit, keys: EpochKeys) -> bytes:
        """Return the signed upload; raise RefusedError if the member's own rules say no."""


def session_label(manifest: Manifest) -> str:
    """Return the one name that a manifest's session may have."""
    return f"r{manifest.round}-{manifest.position}-{manifest.purpose}-a{manifest.attempt}"


def call_step(number: int) -> str:
    """Return the step of a session's call `number`; its answers' step is `open_step`."""
    return f"call-{number}" if number else "call"


def open_step(number: int) -> str:
    """Return the step of the answers to call `number`."""
    return f"open-{number}" if number else "open"


def facts_label(epoch: str, session: str) -> str:
    """Return the name of a session in a member's durable facts, which outlive the epoch: labels come again."""
    return f"{epoch}/{session}"


def vector_coefficients(manifest: Manifest, limits: Limits) -> int:
    """Return the coefficients of a session's ciphertexts."""
    wide = is_wide(limits.purposes[manifest.purpose], limits, length=manifest.length)
    return coefficients(manifest.length, is_wide=wide)


def upload_limit(manifest: Manifest, limits: Limits) -> int:
    """Return the largest payload of an upload, bytes: a ciphertext, and a package for each peer."""
    members = len(limits.members)
    return ciphertext_bytes(vector_coefficients(manifest, limits)) + 4096 + members * (SHARE_BYTES * members + 256)


def opening_limit(manifest: Manifest, limits: Limits) -> int:
    """Return the largest payload of an opening, bytes: a partial decryption, and a seed for each peer."""
    return ciphertext_bytes(vector_coefficients(manifest, limits)) + 4096 + 128 * len(limits.members)


def result_limit(manifest: Manifest, limits: Limits) -> int:
    """Return the largest payload of a result, bytes."""
    return 8 * manifest.length + 4096 + 64 * len(limits.members)


def shares_limit(members: int) -> int:
    """Return the largest payload of recovered shares, bytes."""
    return 4096 + members * (SHARE_BYTES + 64) * members


def recover_limit(members: int) -> int:
    """Return the largest payload of a recovery request, bytes: a package for each pair of members."""
    return 4096 + members * members * (SHARE_BYTES * members + 128)


def call_limit(members: int) -> int:
    """Return the largest payload of a call, bytes: a name, an agreement and a cosignature a member."""
    return 8192 + (640 + 192) * members


def build_upload(
    steps: Int64[np.ndarray, " value"],
    *,
    name: str,
    manifest: Manifest,
    keys: EpochKeys,
    limits: Limits,
    entropy: bytes,
) -> Upload:
    """Mask and encrypt noised integer steps; add commitments and recovery packages.

    Args:
        steps: Clipped, rounded and noised vector in integer steps.
        name: This member.
        manifest: The session's checked manifest.
        keys: Keys of the epoch.
        limits: The constitution's limits (the quorum is the packages' threshold).
        entropy: 32 secret bytes, used for this manifest only.
    """
    digest = manifest.digest()
    purpose = limits.purposes[manifest.purpose]
    limbs = pack(steps, is_wide=is_wide(purpose, limits, length=manifest.length))
    seeds = {peer: mask_seed(keys.pair_secrets[peer], digest) for peer in keys.members if peer != name}
    apply_masks(limbs, name=name, seeds=seeds)
    ciphertext = encrypt(
        limbs, secret=keys.secret, crs_seed=crs_seed(manifest), error_seed=derive(entropy, b"hansa/error/1")
    )
    packages = recovery_packages(
        name=name,
        participants=keys.members,
        pair_secrets=keys.pair_secrets,
        seeds=seeds,
        manifest=digest,
        threshold=limits.quorum,
        entropy=derive(entropy, b"hansa/packages/1"),
    )
    commitments = {peer: hashlib.sha256(seed).digest() for peer, seed in seeds.items()}
    return Upload(digest, ciphertext, commitments, packages)


@dataclass(frozen=True, slots=True)
class Aggregate:
    """An opened sum: the manifest, who is in it, and the sum in integer steps."""

    manifest: Manifest
    cohort: tuple[str, ...]
    steps: Int64[np.ndarray, " value"] = field(repr=False)


class Log(Protocol):
    """What this member knows of the transparency log."""

    def require_witnessed(self, manifest: bytes, checkpoint: bytes) -> None:
        """Return if `checkpoint` is cosigned by enough members and holds the manifest with this digest, else raise."""


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
        log: Log | None = None,
    ) -> None:
        self.manifest = manifest
        self.purpose = check_manifest(manifest, limits, epoch_id=keys.epoch_id, epoch_members=keys.members)
        if session != manifest.session or session != session_label(manifest):
            raise RefusedError(f"session {session}: its manifest belongs to {session_label(manifest)}")
        if manifest.epoch != keys.epoch:
            raise RefusedError(f"session {session}: expected a manifest of {keys.epoch}, got {manifest.epoch}")
        self.digest = manifest.digest()
        self.cohort: Cohort | None = None
        self.result: Result | None = None
        self._name = name
        self._keys = keys
        self._limits = limits
        self._signer = signer
        self._facts = facts
        self._log = log
        self._label = facts_label(keys.epoch, session)
        self.is_closed = facts.fact(f"{self._label}/closed") is not None
        self._calls: dict[int, Call] = {}
        facts.remember(f"{self._label}/manifest", self.digest)

    @property
    def has_opened(self) -> bool:
        """Whether this member has ever answered a call of this session."""
        return self._facts.fact(f"{self._label}/opened") is not None

    def upload(self, door: Door, *, announced_ns: int, now_ns: int) -> bytes | None:
        """Return this member's upload, or None when it is too late to send one.

        Args:
            door: Makes the upload when none is stored.
            announced_ns: The stream's time of the manifest.
            now_ns: The same clock, now.
        """
        if self.is_closed or self.cohort is not None or now_ns > announced_ns + self._limits.upload_ns:
            return None
        stored = self._facts.fact(f"{self._label}/upload")
        if stored is not None:
            return stored
        return door.upload(self.manifest, self.purpose, self._keys)

    def on_cohort(self, body: bytes) -> bytes | None:
        """Check a cohort; in a session of three exchanges return our one signature on it, if we are in it.

        Raises:
            EquivocationError: Another cohort came before.
            RefusedError: It is too small, malformed, or does not hold the upload that we sent.
        """
        cohort = self._open(body, Cohort)
        check_cohort(cohort, self.manifest, self._limits)
        names = cohort.members
        agreed = self._facts.fact(f"{self._label}/agreed")
        if self.cohort not in (None, cohort) or agreed not in (None, cohort.root()):
            raise EquivocationError(f"cohort of {self.manifest.session}: a second one came; the first stays")
        if self.is_closed or self._name not in names:
            self.cohort = cohort
            return None
        stored = self._facts.fact(f"{self._label}/upload-sha256")
        if stored is None or stored != cohort.uploads[names.index(self._name)]:
            raise RefusedError(f"cohort of {self.manifest.session}: it does not hold the upload that we sent")
        self._facts.remember(f"{self._label}/agreed", cohort.root())
        self.cohort = cohort
        return self._seal(Agreement(self.digest, cohort.root())) if self.purpose.exchanges == 3 else None

    def on_call(self, body: bytes) -> bytes | None:
        """Check a call; return our opening, or None if it wants nothing of us.

        Raises:
            EquivocationError: Another call came under this number before.
            RefusedError: Before a cohort or a first call that we accept, or the call breaks a rule.
        """
        cohort = self.cohort
        if cohort is None:
            raise RefusedError(f"{self.manifest.session}: a call before a cohort that we accept")
        call = self._open(body, Call, limit=call_limit(len(self._limits.members)))
        check_call(call, cohort=cohort, limits=self._limits, exchanges=self.purpose.exchanges)
        if call.number and 0 not in self._calls:
            raise RefusedError(f"{self.manifest.session}: call {call.number} before the first")
        answered = self._facts.fact(f"{self._label}/called/{call.number}")
        digest = hashlib.sha256(encode(call)).digest()
        if self._calls.get(call.number, call) != call or answered not in (None, digest):
            raise EquivocationError(f"{self.manifest.session}: a second call {call.number} came; the first stays")
        if call.checkpoint:
            self._require_witnessed(call.checkpoint)
        self._calls[call.number] = call
        if self.is_closed or self._name not in cohort.members:
            return None
        cohort = self._agreed_cohort()
        seeds = {} if call.number else self._seeds_towards(self._dropped(cohort))
        if not seeds and self._name not in call.decryptors:
            return None
        self._facts.remember(f"{self._label}/opened", b"opened")
        self._facts.remember(f"{self._label}/called/{call.number}", digest)
        answer = b""
        if self._name in call.decryptors:
            size = vector_coefficients(self.manifest, self._limits)
            answer = partial(
                self._name, manifest=self.manifest, cohort=cohort, call=call, keys=self._keys, coefficients=size
            )
        return self._seal(Opening(self.digest, cohort.root(), call.number, seeds, answer))

    def _require_witnessed(self, checkpoint: bytes) -> None:
        if self._log is None:
            raise RefusedError(f"{self.manifest.session}: the constitution asks for a log, and this node reads none")
        self._log.require_witnessed(self.digest, checkpoint)

    def on_recover(self, body: bytes) -> bytes | None:
        """Return our shares for cohort members that vanished, towards dropped peers only."""
        if self.is_closed:
            return None
        cohort = self._agreed_cohort()
        if not self.has_opened:
            raise RefusedError(f"recovery in {self.manifest.session}: before a call that we have answered")
        recover = self._open(body, Recover, limit=recover_limit(len(self._keys.members)))
        if recover.root != cohort.root():
            raise RefusedError(f"recovery in {self.manifest.session}: another cohort")
        if not set(recover.packages) <= set(cohort.members):
            raise RefusedError(f"recovery in {self.manifest.session}: names a member that is not in the cohort")
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
            shares[vanished] = {name: opened[name].encode() for name in self._dropped(cohort)}
        return self._seal(Shares(self.digest, cohort.root(), shares)) if shares else None

    @property
    def calls(self) -> list[Call]:
        """The calls that were accepted, in order."""
        return [self._calls[number] for number in sorted(self._calls)]

    def on_result(self, body: bytes) -> Aggregate:
        """Check and return the published sum.

        Raises:
            ProtocolError: It is of a cohort other than the one that was published and called.
            EquivocationError: Another sum was published to us before.
        """
        result = self._open(body, Result, limit=result_limit(self.manifest, self._limits))
        if self.cohort is None or result.root != self.cohort.root() or result.members != self.cohort.members:
            raise ProtocolError(f"result of {self.manifest.session}: not of the cohort that was published")
        if result.number not in self._calls:
            raise ProtocolError(f"result of {self.manifest.session}: nobody was called to open it")
        wide = is_wide(self.purpose, self._limits, length=self.manifest.length)
        steps = sum_from_bytes(result.steps, self.manifest.length, is_wide=wide)
        self._facts.remember(f"{self._label}/result", hashlib.sha256(result.steps).digest())
        self.result = result
        self.close()
        return Aggregate(self.manifest, result.members, steps)

    def close(self) -> None:
        """End the session for good: from now on nothing is sent for it."""
        self.is_closed = True
        self._facts.remember(f"{self._label}/closed", b"closed")

    def closed_statement(self) -> bytes:
        """Return our word that we have answered no call and never will; the session must be closed.

        Raises:
            RefusedError: We have answered one, or still might.
        """
        if self.has_opened or not self.is_closed:
            raise RefusedError(f"{self.manifest.session}: we cannot say that we do not open it")
        return self._seal(Closed(self.digest))

    def _dropped(self, cohort: Cohort) -> list[str]:
        return [name for name in self.manifest.participants if name not in cohort.members]

    def _seeds_towards(self, peers: list[str]) -> dict[str, bytes]:
        return {name: mask_seed(self._keys.pair_secrets[name], self.digest) for name in peers}

    def _agreed_cohort(self) -> Cohort:
        cohort = self.cohort
        if cohort is None or self._facts.fact(f"{self._label}/agreed") != cohort.root():
            raise RefusedError(f"{self.manifest.session}: we have not agreed to a cohort, so we open nothing")
        return cohort

    def _open(self, body: bytes, expected: type[SessionPayload], *, limit: int = SMALL_BYTES) -> SessionPayload:
        key = self._limits.keys[self._limits.coordinator]
        payload = open_envelope(body, expected, sender=self._limits.coordinator, key=key, limit=limit)
        if payload.manifest != self.digest:
            raise RefusedError(f"{self.manifest.session}: a {expected.__name__} of another manifest")
        return payload

    def _seal(self, payload: Agreement | Opening | Shares | Closed) -> bytes:
        return seal_envelope(payload, sender=self._name, signer=self._signer)
