"""A member as the dealer of its ring key in one attempt: corrections, halves, answers.

The halves and the seed of the key are kept before anything leaves; everything else follows from them. Corrections leave
before the halves: once the halves are on the board, a correction that cannot be fetched is late.

Guarantees: a holder's seed leaves sealed to that holder, or in public on that holder's own signed word that what was
sealed does not open or does not fit: then it or the dealer is corrupt. `protocol.attempt` has the argument.
"""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import TYPE_CHECKING

from hansa.crypto.agreement import seal
from hansa.protocol.dealing import Dealing, deal
from hansa.protocol.messages import Answer, Complaint, Halves, Setup, open_envelope

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hansa.protocol.attempt import Attempt
    from hansa.protocol.limits import Limits
    from hansa.protocol.own_words import OwnWords


def pair_halves_info(epoch: str, sender: str, receiver: str) -> bytes:
    """Return the HPKE info that binds a half and a seed to their epoch, sender and receiver."""
    return f"hansa/half/2|{epoch}|{sender}|{receiver}".encode()


class Dealer:
    """What one member deals under one list that names it.

    Args:
        attempt: The attempt's record.
        words: The member's facts of this attempt.
        limits: The constitution's limits.
    """

    def __init__(self, attempt: Attempt, *, words: OwnWords, limits: Limits) -> None:
        self._attempt = attempt
        self._words = words
        self._limits = limits

    @cached_property
    def dealing(self) -> Dealing:
        """The ring key and what each holder gets of it."""
        return deal(self._words.drawn("ring"), holders=self._attempt.members, threshold=self._limits.threshold)

    @property
    def peers(self) -> tuple[str, ...]:
        """The other members of the list."""
        return tuple(name for name in self._attempt.members if name != self._words.name)

    def half(self, peer: str) -> bytes:
        """Return our half of the secret shared with `peer`."""
        return self._words.drawn(f"half/{peer}")

    def posts(self) -> list[tuple[str, str, bytes]]:
        """Return (session, step, body) of the correction of every other holder, none once all have left."""
        if self._words.fact("dealt") is not None:
            return []
        return [
            (self._attempt.session_to(holder), "deal", body)
            for holder, body in self.dealing.corrections.items()
            if holder != self._words.name
        ]

    def note_posted(self) -> None:
        """Keep that every correction has left: our halves, which follow them, are on the board."""
        self._words.keep("dealt", b"1")

    def halves(self, setups: Mapping[str, bytes]) -> bytes:
        """Return our `Halves` envelope.

        Args:
            setups: Set-up envelope of each listed member, as the list names it.
        """
        return self._words.sealed("halves", lambda: self._build_halves(setups))

    def answer(self, holder: str, complaint: Complaint, *, asked: bytes) -> tuple[str, str, bytes]:
        """Return (session, step, body) of what we make public for a holder that complains of us.

        Args:
            holder: Who complains.
            complaint: Its complaint.
            asked: The complaint's envelope.
        """
        half, seed = b"", b""
        if complaint.about == "share":
            half, seed = self.half(holder), self.dealing.seeds[holder]
        correction = self.dealing.corrections.get(holder, b"")
        answer = Answer(hashlib.sha256(asked).digest(), holder, half, seed, correction)
        return self._attempt.session_to(holder), "answer", self._words.sealed(f"answer/{holder}", lambda: answer)

    def _build_halves(self, setups: Mapping[str, bytes]) -> Halves:
        name, epoch = self._words.name, self._attempt.listing.epoch
        sealed = {}
        for peer in self.peers:
            setup = open_envelope(setups[peer], Setup, sender=peer, key=self._limits.keys[peer])
            secrets = self.half(peer) + self.dealing.seeds[peer]
            sealed[peer] = seal(setup.encryption_key, secrets, pair_halves_info(epoch, name, peer))
        commitments = {holder: hashlib.sha256(seed).digest() for holder, seed in self.dealing.seeds.items()}
        corrections = {holder: hashlib.sha256(body).digest() for holder, body in self.dealing.corrections.items()}
        return Halves(epoch, self._attempt.digest, sealed, commitments, corrections)
