"""Set-up of an epoch: pair secrets, ring keys shared among all members, and an epoch id that nobody chooses.

1. Each member publishes `Setup`: its HPKE public key (X25519 + ML-KEM-768) and the constitution it has checked.
2. The coordinator publishes `Epoch`: who has set up (all members, or those in time, at least the minimum cohort).
3. Each listed member posts a correction to each holder beyond the first `t - 1`, then publishes `Halves`: for each
   peer, sealed, a random half `k_i->j` and the seed of its share of the sender's ring key; the hashes of all seeds and
   corrections. `K_ij = HKDF(k_low->high || k_high->low)`; `epoch_id` = SHA-256 over the list, the set-ups, the halves.
4. Each member publishes `Probe`, a random linear function of each share it holds. When all are there and agree, the
   epoch is ready. What does not fit is complained of, answered and judged in public: `protocol.attempt`.

A member keeps its private key, its halves, the seed of its ring key and its noise key before it sends anything; a
restart sends the same bytes. Corrections are computed again from the seed. Each list has its own ring keys.

Guarantees: neither side's bad randomness alone makes a pair secret weak; who recorded the traffic needs to break both
X25519 and ML-KEM-768; members with different views of the set-up have different epoch ids and refuse each other's
work; a member that reveals a share in a dispute never takes part in a session of that attempt, and the other way round.
Source: RFC 9180 (HPKE), FIPS 203 (ML-KEM); Shamir's sharing over the ring of the encryption.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

from hansa.crypto.agreement import HALF_BYTES, EncryptionKey, open_sealed, pair_secret
from hansa.crypto.ring import add_elements
from hansa.errors import EquivocationError, IdentityError, RefusedError
from hansa.protocol.attempt import Attempt
from hansa.protocol.dealer import Dealer, pair_halves_info
from hansa.protocol.dealing import dealt_share, is_correction, is_seed, probe_share
from hansa.protocol.listing import check_attempt_label, check_listing, check_setup
from hansa.protocol.messages import Answer, Complaint, Epoch, Probe, Reveal, Setup, open_envelope
from hansa.protocol.own_words import OwnWords

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hansa.crypto.ring import RingElement
    from hansa.crypto.signature import Signer
    from hansa.protocol.limits import Limits

Outgoing = tuple[str, str, bytes]
"""Session, step and body of a message that leaves."""
_SetupMessage = tuple[str, str, str, bytes]  # session, step, sender, body


class Facts(Protocol):
    """Durable facts of one node: what is remembered is on disk when `remember` returns, and never changes."""

    def fact(self, key: str) -> bytes | None:
        """Return what was remembered under `key`, or None."""

    def remember(self, key: str, value: bytes) -> None:
        """Keep `value`; raise EquivocationError if another value stands there."""


@dataclass(frozen=True, slots=True)
class EpochKeys:
    """What a member holds for one epoch.

    Args:
        members: In order; a holder's coordinate is its place, from 1.
        pair_secrets: The secret shared with each peer.
        noise_key: From which the noise of each session is derived.
        secret: The member's own ring key.
        shares: The member's share of each listed member's ring key, its own included.
    """

    epoch: str
    epoch_id: bytes
    members: tuple[str, ...]
    pair_secrets: Mapping[str, bytes] = field(repr=False)
    noise_key: bytes = field(repr=False)
    secret: RingElement = field(repr=False)
    shares: Mapping[str, RingElement] = field(repr=False)
    _sums: dict[tuple[str, ...], RingElement] = field(default_factory=dict, repr=False, compare=False)

    def share_of(self, cohort: tuple[str, ...]) -> RingElement:
        """Return the member's share of the sum of a cohort's ring keys; that of the newest cohort is kept."""
        if cohort not in self._sums:
            self._sums.clear()
            self._sums[cohort] = add_elements([self.shares[member] for member in cohort])
        return self._sums[cohort]


@dataclass(slots=True)
class _Seat:
    """A listed member's place in one attempt and what it has opened; `awaited`: whose correction is to be fetched."""

    words: OwnWords
    dealer: Dealer
    pair_secrets: dict[str, bytes] = field(default_factory=dict)
    seeds: dict[str, bytes] = field(default_factory=dict)
    corrections: dict[str, bytes] = field(default_factory=dict)
    shares: dict[str, RingElement] = field(default_factory=dict)
    awaited: list[str] = field(default_factory=list)
    said: set[str] = field(default_factory=set)

    def take_share(self, dealer: str, seed: bytes, correction: bytes) -> None:
        """Take our share of a dealer's key, whose seed and correction fit."""
        self.seeds[dealer], self.corrections[dealer] = seed, correction
        self.shares[dealer] = dealt_share(seed, correction)

    def take_half(self, peer: str, theirs: bytes, *, context: str) -> None:
        """Combine a peer's half with ours."""
        ours, own = self.dealer.half(peer), self.words.name
        low, high = sorted((own, peer))
        first, second = (ours, theirs) if own == low else (theirs, ours)
        self.pair_secrets[peer] = pair_secret(first, second, low=low, high=high, context=context.encode())

    def decide(self, fate: bytes) -> None:
        """Fix for ever whether the keys of this attempt are used or its shares revealed: never both.

        Raises:
            RefusedError: The other was decided before.
        """
        try:
            self.words.keep("fate", fate)
        except EquivocationError as error:
            raise RefusedError(
                f"this attempt's keys cannot be {fate.decode()}: the other was decided before; "
                "the boards of two members differ"
            ) from error


class MemberEpoch:
    """A member's side of the set-up.

    Args:
        name: This member.
        limits: Limits of the constitution that all members signed.
        signer: The member's identity key.
        facts: Durable facts of this member.
        entropy: Returns so many fresh random bytes.
    """

    def __init__(
        self,
        name: str,
        *,
        epoch: str,
        limits: Limits,
        signer: Signer,
        facts: Facts,
        entropy: Callable[[int], bytes],
    ) -> None:
        self.name = name
        self.epoch = epoch
        self.keys: EpochKeys | None = None
        self._limits = limits
        self._words = OwnWords(name, epoch, signer, facts, entropy)
        self._setups: dict[str, bytes] = {}
        self._attempt: Attempt | None = None
        self._former_listings: set[bytes] = set()
        self._seat: _Seat | None = None

    def setup_message(self) -> bytes:
        """Return this member's `Setup` envelope; the same bytes at every call and after every restart."""
        if self._words.fact("setup") is None:
            if self._words.fact("key") is None:
                self._words.keep("key", EncryptionKey.generate().to_bytes())
            self._words.drawn("noise")
        constitution = self._limits.constitution
        return self._words.sealed("setup", lambda: Setup(self.epoch, constitution, self._key().public_bytes()))

    def handle(self, session: str, step: str, sender: str, body: bytes) -> list[Outgoing]:
        """Take in one set-up message of the board; return what leaves now.

        Raises:
            EquivocationError: A second, other message came where one is allowed; the first stays.
            IdentityError: The signature is not the sender's.
            MessageError: It is malformed or too large.
            RefusedError: It contradicts the constitution, the list or what came before.
        """
        if step == "epoch":
            return self.on_epoch(session, body)
        if sender not in self._limits.members:
            return []
        if step == "setup":
            self.on_setup(sender, body)
            return []
        attempt = self._attempt
        if attempt is None:
            raise RefusedError(f"{step} of {sender}: no list of this epoch's members has come")
        return self._on_attempt(attempt, (session, step, sender, body))

    def on_setup(self, sender: str, body: bytes) -> None:
        """Note a member's set-up; its first one stays.

        Raises:
            EquivocationError: It sent another one before.
            RefusedError: It names another epoch or constitution, or holds no valid key.
        """
        check_setup(sender, body, limits=self._limits, epoch=self.epoch)
        if self._setups.setdefault(sender, body) != body:
            raise EquivocationError(f"set-up of {sender}: a second one came; the first stays")

    def on_epoch(self, session: str, body: bytes) -> list[Outgoing]:
        """Check the coordinator's list; return our corrections and our `Halves`, nothing if we are not listed.

        A new list takes the place of the one before it; the same one again changes nothing.

        Raises:
            RefusedError: The list is too short, out of order, not what the members published, or was replaced before.
        """
        if body in self._former_listings:
            raise RefusedError("epoch list: this one was replaced by a later one")
        name = self._limits.coordinator
        listing = open_envelope(body, Epoch, sender=name, key=self._limits.keys[name])
        check_listing(listing, body=body, setups=self._setups, limits=self._limits, epoch=self.epoch)
        attempt = self._attempt
        if attempt is None or attempt.body != body:
            if attempt is not None:
                self._former_listings.add(attempt.body)
            label = check_attempt_label(session)
            attempt = Attempt(body, label=label, setups=self._setups, limits=self._limits)
            self._attempt, self._seat, self.keys = attempt, None, None
            if self.name in attempt.members:
                self._check_own_setup(attempt)
                words = self._words.below(attempt.digest.hex())
                self._seat = _Seat(words, Dealer(attempt, words=words, limits=self._limits))
        if self._seat is None:
            return []
        halves = self._seat.dealer.halves(self._setups)
        return [*self._seat.dealer.posts(), (attempt.label, "halves", halves)]

    def wanted(self) -> tuple[tuple[str, str], ...]:
        """Return (session, dealer) of every correction to be fetched: step `deal` of the post, sent by the dealer."""
        if self._attempt is None or self._seat is None:
            return ()
        session = self._attempt.session_to(self.name)
        return tuple((session, dealer) for dealer in self._seat.awaited)

    def on_deal(self, dealer: str, body: bytes | None) -> list[Outgoing]:
        """Take in a correction as it was fetched; one that is missing or does not fit is complained of.

        Raises:
            RefusedError: It was not wanted.
        """
        attempt, seat = self._attempt, self._seat
        if attempt is None or seat is None or dealer not in seat.awaited:
            raise RefusedError(f"correction of {dealer}: not wanted, or here already")
        seat.awaited.remove(dealer)
        if body is None or not is_correction(body, attempt.halves[dealer].corrections[self.name]):
            return [_complaint(attempt, seat, dealer, "correction")]
        seat.take_share(dealer, seat.seeds[dealer], body)
        return self._proceed(attempt, seat)

    def keys_for_session(self) -> EpochKeys:
        """Return the epoch's keys for a session; from now on this member reveals no share of this attempt.

        Raises:
            RefusedError: The epoch is not ready, this member is not in it, or it has revealed a share of this attempt.
        """
        if self.keys is None or self._seat is None:
            raise RefusedError(f"epoch {self.epoch}: not set up, or this member is not in it; join at the next one")
        self._seat.decide(b"used")
        return self.keys

    def _on_attempt(self, attempt: Attempt, message: _SetupMessage) -> list[Outgoing]:
        session, step, sender, body = message
        seat = self._seat
        if step == "halves":
            is_last = attempt.epoch_id is None
            attempt.add_halves(sender, session, body)
            if seat is not None and sender == self.name:
                seat.dealer.note_posted()
            is_last = is_last and attempt.epoch_id is not None
            return self._on_all_halves(attempt, seat) if seat is not None and is_last else []
        if step == "complaint":
            complaint = attempt.add_complaint(sender, session, body)
            is_of_us = seat is not None and complaint.dealer == self.name
            return [seat.dealer.answer(sender, complaint, asked=body)] if seat is not None and is_of_us else []
        if step == "answer":
            answer = attempt.add_answer(sender, session, body)
            is_to_us = seat is not None and answer.holder == self.name
            return self._on_answer(attempt, seat, sender, answer) if seat is not None and is_to_us else []
        if step == "reveal":
            attempt.add_reveal(sender, session, body)
            return []
        attempt.add_probe(sender, session, body)
        return [] if seat is None else self._proceed(attempt, seat)

    def _on_all_halves(self, attempt: Attempt, seat: _Seat) -> list[Outgoing]:
        key = self._key()
        own = seat.dealer.dealing
        if not is_seed(own.seeds[self.name], attempt.halves[self.name].commitments[self.name]):
            self._seat = None
            raise RefusedError(
                f"epoch {self.epoch}: our halves on the board are not those that this node would deal; its facts were "
                "lost or rolled back, it sits this list out"
            )
        seat.take_share(self.name, own.seeds[self.name], own.corrections.get(self.name, b""))
        complaints = [self._open_halves(attempt, seat, dealer, key) for dealer in seat.dealer.peers]
        return [complaint for complaint in complaints if complaint is not None] + self._proceed(attempt, seat)

    def _open_halves(self, attempt: Attempt, seat: _Seat, dealer: str, key: EncryptionKey) -> Outgoing | None:
        """Open what `dealer` sealed to us; return a complaint if it does not open or does not fit."""
        halves = attempt.halves[dealer]
        try:
            opened = open_sealed(key, halves.sealed[self.name], pair_halves_info(self.epoch, dealer, self.name))
        except IdentityError:
            return _complaint(attempt, seat, dealer, "share")
        half, seed = opened[:HALF_BYTES], opened[HALF_BYTES:]
        if not is_seed(seed, halves.commitments[self.name]):
            return _complaint(attempt, seat, dealer, "share")
        seat.take_half(dealer, half, context=self.epoch)
        if attempt.is_corrected(self.name):
            seat.seeds[dealer] = seed
            seat.awaited.append(dealer)
        else:
            seat.take_share(dealer, seed, b"")
        return None

    def _on_answer(self, attempt: Attempt, seat: _Seat, dealer: str, answer: Answer) -> list[Outgoing]:
        if dealer in seat.shares:
            return []
        if answer.seed:
            seat.take_half(dealer, answer.half, context=self.epoch)
        seat.awaited = [name for name in seat.awaited if name != dealer]
        seat.take_share(dealer, answer.seed or seat.seeds[dealer], answer.correction)
        return self._proceed(attempt, seat)

    def _proceed(self, attempt: Attempt, seat: _Seat) -> list[Outgoing]:
        """Send our probe once we hold every share; with the last probe take the keys or enter the dispute."""
        if seat.shares.keys() != attempt.places.keys():
            return []
        if attempt.is_ready:
            self.keys = self.keys or self._take_keys(attempt, seat)
            return []
        step = "reveal" if attempt.is_probed else "probe"
        if step in seat.said:
            return []
        body = _probe(attempt, seat) if step == "probe" else _reveal(attempt, seat, attempt.disputed or "")
        seat.said.add(step)
        return [(attempt.label, step, body)]

    def _check_own_setup(self, attempt: Attempt) -> None:
        """Refuse a list with a set-up of ours that this node does not know.

        Its key could open nothing: complaints would make public what is still secret.
        """
        own = hashlib.sha256(self._words.fact("setup") or b"").digest()
        if attempt.listing.setups[attempt.places[self.name] - 1] != own:
            raise RefusedError(
                f"epoch {self.epoch}: the list has another set-up of ours than this node holds; its facts were lost "
                "or rolled back, a new epoch must be agreed"
            )

    def _take_keys(self, attempt: Attempt, seat: _Seat) -> EpochKeys:
        noise_key = self._words.fact("noise")
        if noise_key is None:
            raise RefusedError(f"epoch {self.epoch}: this node's noise key is gone; a new epoch must be agreed")
        return EpochKeys(
            self.epoch,
            attempt.epoch_id or b"",
            attempt.members,
            seat.pair_secrets,
            noise_key,
            seat.dealer.dealing.secret,
            seat.shares,
        )

    def _key(self) -> EncryptionKey:
        stored = self._words.fact("key")
        if stored is None:
            raise RefusedError(f"epoch {self.epoch}: this node's key is gone; a new epoch must be agreed")
        return EncryptionKey.from_bytes(stored)


def _complaint(attempt: Attempt, seat: _Seat, dealer: str, about: Literal["share", "correction"]) -> Outgoing:
    complaint = Complaint(attempt.digest, dealer, about)
    return attempt.session_of(dealer), "complaint", seat.words.sealed(f"complaint/{dealer}", lambda: complaint)


def _probe(attempt: Attempt, seat: _Seat) -> bytes:
    """Return our one probe of this attempt's keys: a second challenge would give away more of them."""

    def build() -> Probe:
        probes = {dealer: probe_share(share, attempt.challenge) for dealer, share in seat.shares.items()}
        return Probe(attempt.epoch_id or b"", probes)

    return seat.words.sealed("probe", build)


def _reveal(attempt: Attempt, seat: _Seat, dealer: str) -> bytes:
    """Return our share of a key in dispute; from now on this member takes part in no session of this attempt."""
    seat.decide(b"dead")
    reveal = Reveal(attempt.epoch_id or b"", dealer, seat.seeds[dealer], seat.corrections[dealer])
    return seat.words.sealed("reveal", lambda: reveal)
