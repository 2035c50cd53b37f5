"""The coordinator's side of an epoch's set-up: collect, list, compute the epoch id.

The list is published when every member of the constitution has set up, or after `setup_seconds` with at least the
minimum cohort. If a listed member's halves do not come within `setup_seconds`, a new list without it is published.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from hansa.errors import MessageError, RefusedError
from hansa.protocol.epoch import attempt_label, check_halves, check_listing, check_setup, epoch_identifier
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
        self.epoch_id: bytes | None = None
        self.members: tuple[str, ...] = ()
        self._epoch = epoch
        self._limits = limits
        self._signer = signer
        self._setups: dict[str, bytes] = {}
        self._halves: dict[str, bytes] = {}
        self._attempt = 0
        self._listing: Epoch | None = None
        self._listing_body = b""
        self._since_ns: int | None = None

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
            check_setup(subject.sender, message.body, limits=self._limits, epoch=self._epoch)
            self._setups.setdefault(subject.sender, message.body)
            self._since_ns = message.time_ns if self._since_ns is None else self._since_ns
        elif subject.session == attempt_label(self._attempt):
            self._on_halves(subject.sender, message.body)

    def advance(self, now_ns: int) -> list[tuple[str, str, bytes]]:
        """Return the list to publish now, as (session, step, body), if there is one."""
        if self.epoch_id is not None or self._since_ns is None:
            return []
        ready = tuple(sorted(self._halves if self._attempt else self._setups))
        is_complete = not self._attempt and ready == self._limits.members
        is_late = now_ns > self._since_ns + self._limits.setup_ns
        if not (is_complete or is_late) or len(ready) < self._limits.minimum_cohort:
            return []
        hashes = tuple(hashlib.sha256(self._setups[name]).digest() for name in ready)
        body = seal_envelope(Epoch(self._epoch, ready, hashes), sender=self._limits.coordinator, signer=self._signer)
        return [(attempt_label(self._attempt + 1), "epoch", body)]

    def _on_epoch(self, message: Message) -> None:
        name = self._limits.coordinator
        listing = open_envelope(message.body, Epoch, sender=name, key=self._limits.keys[name])
        check_listing(listing, body=message.body, setups=self._setups, limits=self._limits, epoch=self._epoch)
        following = attempt_label(self._attempt + 1)
        if message.subject.session != following:
            raise MessageError(f"epoch list: expected {following}, got {message.subject.session}")
        self._attempt += 1
        # The last halves may have come while this list was on its way: the list counts, not they.
        self.epoch_id = None
        self._listing, self._listing_body, self._halves, self._since_ns = listing, message.body, {}, message.time_ns
        self.members = listing.members

    def _on_halves(self, sender: str, body: bytes) -> None:
        if self._listing is None or sender not in self.members:
            raise RefusedError(f"halves of {sender}: it is not in the epoch's list")
        check_halves(sender, body, limits=self._limits, listing=self._listing, listing_body=self._listing_body)
        self._halves.setdefault(sender, body)
        if tuple(sorted(self._halves)) == self.members:
            self.epoch_id = epoch_identifier(self._listing_body, self._setups, self._halves)
