"""The coordinator's side of an epoch's set-up: collect, list, judge, list again without whoever spoiled it.

The first list is published when every member of the constitution has set up, or after `setup_seconds` with at least
the minimum cohort. Then every wait is counted from the stream's time of the last thing that was waited for:

| waiting for | at most, in `setup_seconds` | who is left out of the next list |
|---|---|---|
| halves | 1 | members without halves |
| an answer to a complaint | 2 from the last halves | the dealer that did not answer |
| probes | 1 from the last halves, 3 if anybody complained | members without a probe |
| reveals | 1 from the last probe | members without a reveal |

Whoever is proven at fault is left out at once. A list says of everybody who is not in it why. With too few members
left the epoch cannot come up: `failure` says why, and late members may still be waited for.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from hansa.errors import MessageError, RefusedError
from hansa.protocol.attempt import Attempt
from hansa.protocol.listing import attempt_label, check_listing, check_setup
from hansa.protocol.messages import Epoch, open_envelope, seal_envelope

if TYPE_CHECKING:
    from hansa.crypto.signature import Signer
    from hansa.federation.transport import Message
    from hansa.protocol.limits import Limits


class CoordinatorEpoch:
    """The coordinator's view of one epoch.

    Args:
        epoch: Label of the epoch.
        limits: The constitution's limits.
        signer: The coordinator's identity key.
    """

    def __init__(self, *, epoch: str, limits: Limits, signer: Signer) -> None:
        self.members: tuple[str, ...] = ()
        self.left_out: dict[str, str] = {}
        self.failure: str | None = None
        self.label = epoch
        self._limits = limits
        self._signer = signer
        self._setups: dict[str, bytes] = {}
        self._attempt: Attempt | None = None
        self._number = 0
        self._since_ns: int | None = None

    @property
    def epoch_id(self) -> bytes | None:
        """The epoch's id once every listed member has probed its shares and all probes agree."""
        attempt = self._attempt
        return attempt.epoch_id if attempt is not None and attempt.is_ready else None

    def handle(self, message: Message) -> None:
        """Take in a set-up message.

        Raises:
            RefusedError: It is not for this epoch or constitution, or from nobody listed.
        """
        subject = message.subject
        if subject.step == "epoch":
            self._on_epoch(message)
        elif subject.sender not in self._limits.members:
            raise RefusedError(f"set-up: {subject.sender} is not a member")
        elif subject.step == "setup":
            check_setup(subject.sender, message.body, limits=self._limits, epoch=self.label)
            self._setups.setdefault(subject.sender, message.body)
            self._since_ns = message.time_ns if self._since_ns is None else self._since_ns
        elif self._attempt is not None:
            self._on_attempt(self._attempt, message)

    def advance(self, now_ns: int) -> list[tuple[str, str, bytes]]:
        """Return the list to publish now, as (session, step, body), if there is one."""
        self.failure = None
        if self.epoch_id is not None or self._since_ns is None:
            return []
        waited = now_ns - self._since_ns
        if self._attempt is None:
            names = tuple(sorted(self._setups))
            is_late = waited > self._limits.setup_ns
            if names != self._limits.members and not (is_late and len(names) >= self._fewest):
                return []
            reasons = dict.fromkeys(set(self._limits.members) - set(names), "its set-up did not come in time")
        else:
            reasons = self._at_fault(self._attempt, waited)
            names = tuple(name for name in self.members if name not in reasons)
        if not reasons and self._attempt is not None:
            return []
        if len(names) < self._fewest:
            self.failure = self._too_few(names, {**self.left_out, **reasons})
            return []
        return [(attempt_label(self._number + 1), "epoch", self._list(names, {**self.left_out, **reasons}))]

    @property
    def _fewest(self) -> int:
        return max(self._limits.minimum_cohort, self._limits.threshold)

    def _too_few(self, names: tuple[str, ...], reasons: dict[str, str]) -> str:
        why = "; ".join(f"{name}: {reason}" for name, reason in sorted(reasons.items()))
        return f"epoch {self.label}: {len(names)} members are left, at least {self._fewest} are needed; {why}"

    def _list(self, names: tuple[str, ...], left_out: dict[str, str]) -> bytes:
        hashes = tuple(hashlib.sha256(self._setups[name]).digest() for name in names)
        listing = Epoch(self.label, names, hashes, left_out)
        return seal_envelope(listing, sender=self._limits.coordinator, signer=self._signer)

    def _at_fault(self, attempt: Attempt, waited: int) -> dict[str, str]:
        """Return who spoiled this attempt, with the reason: whoever is proven at fault, else whoever is late."""
        setup_ns = self._limits.setup_ns
        if attempt.culprits:
            return dict(attempt.culprits)
        if attempt.epoch_id is None:
            late = attempt.missing("halves") if waited > setup_ns else ()
            return dict.fromkeys(late, "its halves did not come in time")
        if attempt.disputed is not None:
            late = attempt.missing("reveal") if waited > setup_ns else ()
            return dict.fromkeys(late, f"it did not reveal its share of the key of {attempt.disputed}")
        unanswered = attempt.unanswered()
        if unanswered:
            is_late = waited > 2 * setup_ns
            asked = {dealer: holder for dealer, holder in reversed(unanswered) if is_late}
            return {dealer: f"it did not answer the complaint of {holder}" for dealer, holder in asked.items()}
        late = attempt.missing("probe") if waited > setup_ns * (3 if attempt.complaints else 1) else ()
        return dict.fromkeys(late, "its probe did not come in time")

    def _on_epoch(self, message: Message) -> None:
        name = self._limits.coordinator
        listing = open_envelope(message.body, Epoch, sender=name, key=self._limits.keys[name])
        check_listing(listing, body=message.body, setups=self._setups, limits=self._limits, epoch=self.label)
        following = attempt_label(self._number + 1)
        if message.subject.session != following:
            raise MessageError(f"epoch list: expected {following}, got {message.subject.session}")
        self._number += 1
        # The last halves may have come while this list was on its way: the list counts, not they.
        self._attempt = Attempt(message.body, label=following, setups=self._setups, limits=self._limits)
        self.members, self.left_out, self._since_ns = listing.members, listing.left_out, message.time_ns

    def _on_attempt(self, attempt: Attempt, message: Message) -> None:
        subject, body = message.subject, message.body
        if subject.step == "complaint":
            self._on_complaint(attempt, message)
        elif subject.step == "answer":
            attempt.add_answer(subject.sender, subject.session, body)
        elif subject.step == "reveal":
            attempt.add_reveal(subject.sender, subject.session, body)
        elif subject.step == "probe":
            attempt.add_probe(subject.sender, subject.session, body)
            if attempt.is_probed:
                self._since_ns = message.time_ns
        else:
            is_complete = attempt.epoch_id is not None
            attempt.add_halves(subject.sender, subject.session, body)
            if attempt.epoch_id is not None and not is_complete:
                self._since_ns = message.time_ns

    def _on_complaint(self, attempt: Attempt, message: Message) -> None:
        """Note a complaint in time: those that come later could put the probes off for ever."""
        if self._since_ns is not None and message.time_ns > self._since_ns + self._limits.setup_ns:
            raise RefusedError(f"complaint of {message.subject.sender}: it came after the time for complaints")
        attempt.add_complaint(message.subject.sender, message.subject.session, message.body)
