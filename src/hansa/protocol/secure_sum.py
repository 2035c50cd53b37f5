"""The coordinator's side of one secure sum: add, agree on a cohort, call decryptors, decode, publish.

States: `uploading -> (agreeing) -> opening (-> recovering) -> published`, or `died` from any of the first ones.
The coordinator adds ciphertexts as they come, and partial decryptions as they come (memory: two vectors and a few
hashes and seeds a member, whatever the number of members; a vector more for each call that stays unanswered); it never
holds a key or a value.

A call names t decryptors. One that stays silent or whose partial is of the wrong form is left out of the next call;
partials that decode to noise are called again by another set, which tells whose partial was wrong where it can be told:
one of a set that gave noise, if another set gives none. Noise from every set may as well come from an upload.

Every method is idempotent in the bytes it is given: after a restart the same streams lead to the same state. What is
published is decided by the stream: `note_*` methods take the messages back from the board, in its order.

Guarantees: the published steps are the exact sum of what the cohort uploaded if its decryptors answered honestly, or
the session dies; a seed or share that does not fit its commitment is refused with the name of the member that gave it.
Does NOT guarantee: that a decryptor does not shift the sum by a multiple of a step, which it could do as well by a lie
in its own upload.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from hansa.crypto.encryption import Decoded, add_ciphertext, ciphertext_bytes, decode, empty_total
from hansa.crypto.lanes import unpack
from hansa.errors import EquivocationError, MessageError, ProtocolError, SessionDiedError
from hansa.protocol.encoding import is_wide, sum_to_bytes
from hansa.protocol.masking import remove_orphans
from hansa.protocol.messages import (
    Agreement,
    Call,
    Cohort,
    Opening,
    Recover,
    Result,
    Shares,
    Upload,
    open_envelope,
)
from hansa.protocol.opening import check_call
from hansa.protocol.recovery import SeedRecovery
from hansa.protocol.session import opening_limit, shares_limit, upload_limit, vector_coefficients

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from jaxtyping import UInt32

    from hansa.protocol.limits import Limits
    from hansa.protocol.messages import Manifest

NOISE_LIMIT: Final = 0.25
"""Root mean square of the decoding noise, in half-steps: below 0.1 for a sum of a hundred, near 0.58 for anything else.

Of 32 coefficients, the fewest, uniform ones stay below it with probability 2^-33 (volume of a ball in a cube).
"""


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
        self._limits = limits
        self._purpose = limits.purposes[manifest.purpose]
        self._coefficients = vector_coefficients(manifest, limits)
        self._total: UInt32[np.ndarray, "prime coefficient"] = empty_total(self._coefficients)
        self._uploads: dict[str, bytes] = {}
        self._packages: dict[str, Mapping[str, bytes]] = {}
        self._agreements: dict[str, bytes] = {}
        self._recovery = SeedRecovery(manifest, limits.quorum)
        self._calls: list[Call] = []
        self._heard: list[set[str]] = []  # who answered each call
        self._opened: list[UInt32[np.ndarray, "prime coefficient"] | None] = []  # the sum, and each call's partials
        self._garbled: set[int] = set()  # calls whose partials decode to noise
        self._clean: set[int] = set()
        self.checkpoint = b""  # cosigned, of a log that holds the manifest: for the first call

    @property
    def uploaded(self) -> tuple[str, ...]:
        """Names whose uploads are in the sum, in order."""
        return tuple(sorted(self._uploads))

    @property
    def call(self) -> Call | None:
        """The newest call."""
        return self._calls[-1] if self._calls else None

    @property
    def exchanges(self) -> int:
        """How often members and coordinator take turns."""
        return self._purpose.exchanges

    def add_upload(self, sender: str, body: bytes) -> None:
        """Add a member's ciphertext; the same bytes again change nothing, nor does an upload after the cohort.

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
        limit = upload_limit(self.manifest, self._limits)
        upload = open_envelope(body, Upload, sender=sender, key=self._limits.keys[sender], limit=limit)
        peers = set(participants) - {sender}
        holders = peers if len(peers) >= self._limits.quorum else set()
        if upload.manifest != self.digest or set(upload.commitments) != peers or set(upload.recovery) != holders:
            raise MessageError(f"{self.manifest.session}: the upload of {sender} is for another manifest or peers")
        add_ciphertext(self._total, upload.ciphertext)
        self._uploads[sender] = digest
        self._recovery.commit(sender, upload.commitments)
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
        self._recovery.fix(cohort.members)

    def add_agreement(self, sender: str, body: bytes) -> None:
        """Note a cohort member's signature.

        Raises:
            ProtocolError: Before the cohort, or of another root.
        """
        cohort = self._cohort_of(sender)
        agreement = open_envelope(body, Agreement, sender=sender, key=self._limits.keys[sender])
        if (agreement.manifest, agreement.root) != (self.digest, cohort.root()):
            raise ProtocolError(f"{self.manifest.session}: {sender} agreed to another cohort")
        self._agreements.setdefault(sender, body)

    def next_call(self) -> Call | None:
        """Return the next call: to those who agreed first, or uploaded first.

        None while no quorum has agreed, or the manifest is not in a checkpoint with enough cosignatures.

        Raises:
            SessionDiedError: Too few decryptors are left, or no call is; nothing was opened.
        """
        cohort = self._require_cohort()
        number = len(self._calls)
        if number == 0 and self._limits.cosignatures and not self.checkpoint:
            return None
        if number > self._limits.reopenings:
            raise SessionDiedError(f"{self._why_not_opened()}; no call is left of {number}")
        agreements: tuple[bytes, ...] = ()
        order = [name for name in self._uploads if name in cohort.members]
        if self.exchanges == 3 and number == 0:
            if len(self._agreements) < self._limits.quorum:
                return None
            agreements = tuple(self._agreements[name] for name in sorted(self._agreements)[: self._limits.quorum])
        order.sort(key=lambda name: name not in self._agreements if self.exchanges == 3 else False)
        free = [name for name in order if name not in self._silent()]
        if len(free) < self._limits.threshold:
            raise SessionDiedError(f"{self._why_not_opened()}; {self._limits.threshold} decryptors are needed")
        checkpoint = self.checkpoint if number == 0 else b""
        return Call(self.digest, cohort.root(), number, self._choose(free), agreements, checkpoint)

    def note_call(self, call: Call) -> None:
        """Take a call as published; from now on this one opens the sum. The same call again changes nothing.

        Raises:
            RefusedError: It breaks a rule of calls.
            ProtocolError: Its number does not follow.
        """
        if call == self.call:
            return
        check_call(call, cohort=self._require_cohort(), limits=self._limits, exchanges=self.exchanges)
        if call.number != len(self._calls):
            raise ProtocolError(f"{self.manifest.session}: call {call.number} does not follow")
        self._calls.append(call)
        self._heard.append(set())
        self._opened.append(None)
        if call.number:
            self._judge(call.number - 1)

    def add_opening(self, sender: str, body: bytes) -> None:
        """Add a cohort member's partial decryption, and note its seeds towards the dropped peers.

        Raises:
            ProtocolError: Not for exactly the dropped peers, a seed does not fit the sender's commitment, or uploads of
                the cohort are not here yet.
            MessageError: The partial has the wrong form.
        """
        cohort = self._cohort_of(sender)
        limit = opening_limit(self.manifest, self._limits)
        opening = open_envelope(body, Opening, sender=sender, key=self._limits.keys[sender], limit=limit)
        if (opening.manifest, opening.root) != (self.digest, cohort.root()):
            raise ProtocolError(f"{self.manifest.session}: the opening of {sender} is for another cohort")
        if opening.number == 0:
            self._recovery.reveal(sender, opening.seeds)
        elif opening.seeds:
            raise ProtocolError(f"{self.manifest.session}: {sender} gave seeds again")
        if 0 <= opening.number < len(self._calls) and sender not in self._heard[opening.number]:
            self._add_partial(sender, opening)

    def _add_partial(self, sender: str, opening: Opening) -> None:
        number = opening.number
        if sender not in self._calls[number].decryptors:
            if opening.partial:
                raise ProtocolError(f"{self.manifest.session}: {sender} is not one of the decryptors called")
            return
        if len(opening.partial) != ciphertext_bytes(self._coefficients):
            raise MessageError(f"{self.manifest.session}: a partial of {len(opening.partial)} bytes from {sender}")
        if self.uploaded != self._members():
            raise ProtocolError(f"{self.manifest.session}: an opening before all uploads of the cohort")
        opened = self._opened[number]
        if opened is None:
            opened = self._opened[number] = self._total.copy()
        add_ciphertext(opened, opening.partial)
        self._heard[number].add(sender)
        if number < len(self._calls) - 1:
            self._judge(number)

    def missing(self) -> tuple[str, ...]:
        """Return the cohort members whose seeds towards dropped peers are not here yet."""
        return self._recovery.missing()

    @property
    def seeds(self) -> Mapping[str, Mapping[str, bytes]]:
        """Seeds of the masks that are left in the sum, by cohort member and dropped peer; public once it is opened."""
        return self._recovery.seeds

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
        limit = shares_limit(len(self.manifest.participants))
        message = open_envelope(body, Shares, sender=sender, key=self._limits.keys[sender], limit=limit)
        if (message.manifest, message.root) != (self.digest, cohort.root()):
            raise ProtocolError(f"{self.manifest.session}: shares of {sender} are for another cohort")
        self._recovery.add_shares(sender, message.shares)

    def is_answered(self) -> bool:
        """Return whether every decryptor of the newest call has answered it."""
        return bool(self._calls) and self._is_complete(len(self._calls) - 1)

    def result(self) -> Result | None:
        """Return the opened sum if all that it needs is here, else None.

        Raises:
            ProtocolError: The partials decode to noise; another call may find a set whose partials do not.
        """
        cohort = self._require_cohort()
        call = self.call
        if call is None or not self.is_answered():
            return None
        found = self._judge(call.number)
        if found is None:
            raise ProtocolError(f"{self.manifest.session}: call {call.number}: the partials decode to noise")
        if self.missing():
            return None
        for name, seeds in self._recovery.seeds.items():
            remove_orphans(found.limbs, cohort_member=name, seeds=seeds)
        wide = is_wide(self._purpose, self._limits, length=self.manifest.length)
        steps = unpack(found.limbs, self.manifest.length, is_wide=wide)
        return Result(self.digest, cohort.root(), call.number, cohort.members, sum_to_bytes(steps, is_wide=wide))

    def suspects(self) -> frozenset[str]:
        """Return who gave a wrong partial if it is one decryptor, wrong at every call; empty if nobody fits that.

        Those in every set that decoded to noise and in none that did not. A decryptor that is wrong at one call only
        can point at others: what is certain is that one of each set that gave noise was wrong, or an upload.
        """
        if not self._garbled:
            return frozenset()
        common = frozenset.intersection(*(frozenset(self._calls[number].decryptors) for number in self._garbled))
        return common.difference(*(self._calls[number].decryptors for number in self._clean))

    def _is_complete(self, number: int) -> bool:
        return self._heard[number] == set(self._calls[number].decryptors)

    def _judge(self, number: int) -> Decoded | None:
        """Note whether a call's partials open a sum or noise once all are here; return the sum."""
        opened = self._opened[number]
        if opened is None or not self._is_complete(number):
            return None
        found = decode(opened)
        is_sum = found.noise < NOISE_LIMIT
        (self._clean if is_sum else self._garbled).add(number)
        if not is_sum or number != len(self._calls) - 1:
            self._opened[number] = None
        return found if is_sum else None

    def _choose(self, free: list[str]) -> tuple[str, ...]:
        """Return t of the free ones; after noise, leave out others of the suspects at every call."""
        threshold = self._limits.threshold
        if not self._garbled:
            return tuple(sorted(free[:threshold]))
        suspects = [name for name in free if name in self.suspects()] or free
        spare = len(free) - threshold
        start = (len(self._garbled) - 1) * spare % len(suspects)
        left_out = (suspects[start:] + suspects[:start])[:spare]
        return tuple(sorted([name for name in free if name not in left_out][:threshold]))

    def _silent(self) -> set[str]:
        """Return who was named by a call and did not answer it."""
        return {
            name
            for call, heard in zip(self._calls, self._heard, strict=True)
            for name in call.decryptors
            if name not in heard
        }

    def _why_not_opened(self) -> str:
        reasons = []
        for number in sorted(self._garbled):
            names = ", ".join(self._calls[number].decryptors)
            reasons.append(f"call {number} decodes to noise: a partial of one of {names} is wrong, or an upload")
        if self.call is not None and not self.is_answered():
            reasons.append(f"no answer of {', '.join(sorted(self._silent()))}")
        return "; ".join(reasons) or "the sum was not opened"

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
