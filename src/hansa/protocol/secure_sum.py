"""The coordinator's side of one secure sum: add, agree on a cohort, open, publish.

States: `uploading -> agreeing -> opening (-> recovering) -> published`, or `died` from any of the first three.
The coordinator adds masked words as they come (memory: one vector and 32 bytes a seed, whatever the number of
members); it never holds a key, a value or an unmasked vector other than the sum.

Every method is idempotent in the bytes it is given: after a restart the same streams lead to the same state. What is
published is decided by the stream: `note_*` methods take the messages back from the board, in its order.

Guarantees: the published words are the exact sum, mod 2^32, of what the cohort uploaded, or the session dies; a seed
or share that does not fit its commitment is refused with the name of the member that gave it.
"""

from __future__ import annotations

import hashlib
import itertools
from typing import TYPE_CHECKING, Final

import numpy as np

from hansa.crypto.sharing import Share, combine
from hansa.errors import EquivocationError, MessageError, ProtocolError, SessionDiedError
from hansa.protocol.encoding import words_from_bytes
from hansa.protocol.masking import remove_orphans
from hansa.protocol.messages import (
    Agreement,
    Certificate,
    Cohort,
    Opening,
    Recover,
    Result,
    Shares,
    Upload,
    open_envelope,
)
from hansa.protocol.session import check_certificate, upload_limit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jaxtyping import UInt32

    from hansa.protocol.limits import Limits
    from hansa.protocol.messages import Manifest

MAX_COMBINATIONS: Final = 500


class SecureSum:
    """One session at the coordinator.

    Args:
        manifest: The manifest as published.
        limits: The constitution's limits.
    """

    def __init__(self, manifest: Manifest, *, limits: Limits) -> None:
        self.manifest = manifest
        self.digest = manifest.digest()
        self.cohort: Cohort | None = None
        self.is_certified = False
        self._limits = limits
        self._sum: UInt32[np.ndarray, " value"] = np.zeros(manifest.length, dtype=np.uint32)
        self._uploads: dict[str, bytes] = {}
        self._commitments: dict[str, Mapping[str, bytes]] = {}
        self._packages: dict[str, Mapping[str, bytes]] = {}
        self._agreements: dict[str, bytes] = {}
        self._seeds: dict[str, dict[str, bytes]] = {}
        self._shares: dict[tuple[str, str], dict[str, Share]] = {}

    @property
    def uploaded(self) -> tuple[str, ...]:
        """Names whose uploads are in the sum, in order."""
        return tuple(sorted(self._uploads))

    @property
    def dropped(self) -> tuple[str, ...]:
        """Participants that are not in the cohort."""
        members = self._members()
        return tuple(name for name in self.manifest.participants if name not in members)

    def add_upload(self, sender: str, body: bytes) -> None:
        """Add a member's masked words; the same bytes again change nothing, nor does an upload after the cohort.

        Raises:
            EquivocationError: Other bytes than before from the same member.
            MessageError: Not a participant's well-formed upload of this manifest.
            SignatureError: Not signed by that member.
        """
        digest = hashlib.sha256(body).digest()
        if sender in self._uploads:
            if self._uploads[sender] != digest:
                raise EquivocationError(f"{self.manifest.session}: {sender} sent two different uploads")
            return
        if self.cohort is not None and not self._is_in_cohort(sender, digest):
            return
        participants = self.manifest.participants
        if sender not in participants:
            raise MessageError(f"{self.manifest.session}: {sender} is not a participant")
        limit = upload_limit(self.manifest.length, len(participants))
        upload = open_envelope(body, Upload, sender=sender, key=self._limits.keys[sender], limit=limit)
        peers = set(participants) - {sender}
        holders = peers if len(peers) >= self._limits.quorum else set()
        if upload.manifest != self.digest or set(upload.commitments) != peers or set(upload.recovery) != holders:
            raise MessageError(f"{self.manifest.session}: the upload of {sender} is for another manifest or peers")
        words = words_from_bytes(upload.words, self.manifest.length)
        np.add(self._sum, words, out=self._sum)
        self._uploads[sender] = digest
        self._commitments[sender] = upload.commitments
        self._packages[sender] = upload.recovery

    def propose_cohort(self) -> Cohort:
        """Return the cohort of everybody whose upload is here.

        Raises:
            SessionDiedError: Fewer than the minimum cohort; nothing was opened.
        """
        names = self.uploaded
        if len(names) < self._limits.minimum_cohort:
            raise SessionDiedError(
                f"{len(names)} of {len(self.manifest.participants)} members uploaded in time; "
                f"at least {self._limits.minimum_cohort} are needed"
            )
        return Cohort(self.digest, names, tuple(self._uploads[name] for name in names))

    def note_cohort(self, cohort: Cohort) -> None:
        """Take the published cohort back from the board; from now on only its uploads are added.

        After a restart the cohort is known before the uploads are read again.

        Raises:
            ProtocolError: An upload was added that is not in it.
        """
        fixed = dict(zip(cohort.members, cohort.uploads, strict=True))
        if cohort.manifest != self.digest or any(fixed.get(name) != digest for name, digest in self._uploads.items()):
            raise ProtocolError(f"{self.manifest.session}: an upload was added that is not in the published cohort")
        self.cohort = cohort

    def add_agreement(self, sender: str, body: bytes) -> None:
        """Note a cohort member's signature.

        Raises:
            ProtocolError: Before the cohort, or of another root.
        """
        cohort = self._cohort_of(sender)
        agreement = open_envelope(body, Agreement, sender=sender, key=self._limits.keys[sender])
        if (agreement.manifest, agreement.root) != (self.digest, cohort.root()):
            raise ProtocolError(f"{self.manifest.session}: {sender} agreed to another cohort")
        self._agreements[sender] = body

    def certificate(self) -> Certificate | None:
        """Return the certificate once a quorum has signed, else None."""
        cohort = self._require_cohort()
        if len(self._agreements) < self._limits.quorum:
            return None
        chosen = sorted(self._agreements)[: self._limits.quorum]
        return Certificate(self.digest, cohort.root(), tuple(self._agreements[name] for name in chosen))

    def note_certificate(self, certificate: Certificate) -> None:
        """Take the published certificate back from the board.

        Raises:
            RefusedError: It is not one of the published cohort.
        """
        check_certificate(certificate, cohort=self._require_cohort(), limits=self._limits)
        self.is_certified = True

    def add_opening(self, sender: str, body: bytes) -> None:
        """Note a cohort member's seeds towards the dropped peers.

        Raises:
            ProtocolError: Not for exactly the dropped peers, or a seed does not fit the sender's commitment.
        """
        cohort = self._cohort_of(sender)
        opening = open_envelope(body, Opening, sender=sender, key=self._limits.keys[sender])
        fits = (opening.manifest, opening.root) == (self.digest, cohort.root())
        if not fits or set(opening.seeds) != set(self.dropped):
            raise ProtocolError(f"{self.manifest.session}: the opening of {sender} is not for the dropped peers")
        for peer, seed in opening.seeds.items():
            self._check_seed(sender, peer, seed)
        self._seeds[sender] = dict(opening.seeds)

    def missing(self) -> tuple[str, ...]:
        """Return the cohort members whose seeds towards dropped peers are not here yet."""
        if not self.dropped:
            return ()
        return tuple(name for name in self._members() if name not in self._seeds)

    def recover(self) -> Recover:
        """Return the request for shares of those that are missing."""
        cohort = self._require_cohort()
        missing = self.missing()
        receivers = [name for name in cohort.members if name not in missing]
        packages = {name: {peer: self._packages[name][peer] for peer in receivers} for name in missing}
        return Recover(self.digest, cohort.root(), packages)

    def add_shares(self, sender: str, body: bytes) -> None:
        """Note a member's shares and combine those seeds for which a quorum's shares are here.

        Raises:
            ProtocolError: Shares of another cohort or for a peer that did not drop.
        """
        cohort = self._cohort_of(sender)
        limit = upload_limit(0, len(self.manifest.participants))
        message = open_envelope(body, Shares, sender=sender, key=self._limits.keys[sender], limit=limit)
        if (message.manifest, message.root) != (self.digest, cohort.root()):
            raise ProtocolError(f"{self.manifest.session}: shares of {sender} are for another cohort")
        place = self.manifest.participants.index(sender) + 1
        for vanished, towards in message.shares.items():
            if vanished not in cohort.members or set(towards) != set(self.dropped):
                raise ProtocolError(f"{self.manifest.session}: shares of {sender} are not for the dropped peers")
            for peer, data in towards.items():
                share = Share.decode(data)
                if share.x != place:
                    raise ProtocolError(f"{self.manifest.session}: {sender} gave the share of another member")
                self._shares.setdefault((vanished, peer), {})[sender] = share
        for vanished in self.missing():
            self._combine(vanished)

    def result(self) -> Result | None:
        """Return the opened sum if it is certified and every orphan mask can be removed, else None."""
        cohort = self._require_cohort()
        if not self.is_certified or self.missing() or self.uploaded != cohort.members:
            return None
        words = self._sum.copy()
        for name in cohort.members:
            if self.dropped:
                remove_orphans(words, cohort_member=name, seeds=self._seeds[name])
        return Result(self.digest, cohort.root(), cohort.members, words.tobytes())

    def _combine(self, vanished: str) -> None:
        seeds = {}
        for peer in self.dropped:
            seed = self._combined_seed(vanished, peer)
            if seed is None:
                return
            seeds[peer] = seed
        self._seeds[vanished] = seeds

    def _combined_seed(self, vanished: str, peer: str) -> bytes | None:
        """Return the seed that fits the commitment from any quorum of the shares: a wrong share only delays it."""
        shares = self._shares.get((vanished, peer), {}).values()
        quorum = self._limits.quorum
        for chosen in itertools.islice(itertools.combinations(shares, quorum), MAX_COMBINATIONS):
            try:
                seed = combine(chosen, threshold=quorum)
            except ProtocolError:
                continue
            if self._fits(vanished, peer, seed):
                return seed
        return None

    def _fits(self, name: str, peer: str, seed: bytes) -> bool:
        return hashlib.sha256(seed).digest() == self._commitments.get(name, {}).get(peer)

    def _check_seed(self, name: str, peer: str, seed: bytes) -> None:
        if not self._fits(name, peer, seed):
            raise ProtocolError(
                f"{self.manifest.session}: the seed of {name} towards {peer} does not fit the commitment of {name}"
            )

    def _is_in_cohort(self, sender: str, digest: bytes) -> bool:
        cohort = self._require_cohort()
        return (sender, digest) in zip(cohort.members, cohort.uploads, strict=True)

    def _members(self) -> tuple[str, ...]:
        return self._require_cohort().members

    def _cohort_of(self, sender: str) -> Cohort:
        cohort = self._require_cohort()
        if sender not in cohort.members:
            raise ProtocolError(f"{self.manifest.session}: {sender[:40]} is not in the cohort")
        return cohort

    def _require_cohort(self) -> Cohort:
        if self.cohort is None:
            raise ProtocolError(f"{self.manifest.session}: no cohort has been published yet")
        return self.cohort
