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

from hansa.crypto.agreement import HALF_BYTES, EncryptionKey, open_sealed, pair_secret, seal
from hansa.errors import EquivocationError, IdentityError, RefusedError
from hansa.protocol.attempt import Attempt
from hansa.protocol.dealing import Dealing, deal, dealt_share, is_correction, is_seed, probe_share
from hansa.protocol.listing import check_attempt_label, check_listing, check_setup
from hansa.protocol.messages import (
    Answer,
    Complaint,
    Epoch,
    Halves,
    Payload,
    Probe,
    Reveal,
    Setup,
    open_envelope,
    seal_envelope,
)

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


@dataclass(slots=True)
class _Holding:
    """What a member has opened of one attempt's halves; `awaited` are dealers whose correction is to be fetched."""

    pair_secrets: dict[str, bytes] = field(default_factory=dict)
    seeds: dict[str, bytes] = field(default_factory=dict)
    shares: dict[str, RingElement] = field(default_factory=dict)
    corrections: dict[str, bytes] = field(default_factory=dict)
    awaited: list[str] = field(default_factory=list)
    said: set[str] = field(default_factory=set)


def pair_halves_info(epoch: str, sender: str, receiver: str) -> bytes:
    """Return the HPKE info that binds a half and a seed to their epoch, sender and receiver."""
    return f"hansa/half/2|{epoch}|{sender}|{receiver}".encode()


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
        self._signer = signer
        self._facts = facts
        self._entropy = entropy
        self._setups: dict[str, bytes] = {}
        self._attempt: Attempt | None = None
        self._former_listings: set[bytes] = set()
        self._holding = _Holding()
        self._dealing: Dealing | None = None

    def setup_message(self) -> bytes:
        """Return this member's `Setup` envelope; the same bytes at every call and after every restart."""
        stored = self._facts.fact(f"{self.epoch}/setup")
        if stored is not None:
            return stored
        if self._facts.fact(f"{self.epoch}/key") is None:
            self._facts.remember(f"{self.epoch}/key", EncryptionKey.generate().to_bytes())
        self._drawn(f"{self.epoch}/noise")
        return self._sealed_once(
            f"{self.epoch}/setup", lambda: Setup(self.epoch, self._limits.constitution, self._key().public_bytes())
        )

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
            self._attempt, self._holding, self._dealing, self.keys = attempt, _Holding(), None, None
        if self.name not in attempt.members:
            return []
        halves = self._halves_message(attempt)
        return [*self._deals(attempt), (attempt.label, "halves", halves)]

    def wanted(self) -> tuple[tuple[str, str], ...]:
        """Return (session, dealer) of every correction to be fetched: step `deal` of the post, sent by the dealer."""
        attempt = self._attempt
        if attempt is None:
            return ()
        return tuple((attempt.session_to(self.name), dealer) for dealer in self._holding.awaited)

    def on_deal(self, dealer: str, body: bytes | None) -> list[Outgoing]:
        """Take in a correction as it was fetched; one that is missing or does not fit is complained of.

        A dealer posts its corrections before its halves, so that one that is not there now is late.

        Raises:
            RefusedError: It was not wanted.
        """
        attempt, holding = self._attempt, self._holding
        if attempt is None or dealer not in holding.awaited:
            raise RefusedError(f"correction of {dealer}: not wanted, or here already")
        holding.awaited.remove(dealer)
        if body is None or not is_correction(body, attempt.halves[dealer].corrections[self.name]):
            return [self._complaint(attempt, dealer, "correction")]
        self._hold_share(dealer, holding.seeds[dealer], body)
        return self._proceed(attempt)

    def keys_for_session(self) -> EpochKeys:
        """Return the epoch's keys for a session; from now on this member reveals no share of this attempt.

        Raises:
            RefusedError: The epoch is not ready, or this member is not in it.
        """
        if self.keys is None or self._attempt is None:
            raise RefusedError(f"epoch {self.epoch}: not set up, or this member is not in it; join at the next one")
        self._decide(self._attempt, b"used")
        return self.keys

    def _on_attempt(self, attempt: Attempt, message: _SetupMessage) -> list[Outgoing]:
        session, step, sender, body = message
        if step == "halves":
            return self._on_halves(attempt, message)
        if step == "complaint":
            complaint = attempt.add_complaint(sender, session, body)
            return [self._answer(attempt, sender, complaint, body)] if complaint.dealer == self.name else []
        if step == "answer":
            answer = attempt.add_answer(sender, session, body)
            return self._on_answer(attempt, sender, answer) if answer.holder == self.name else []
        if step == "reveal":
            attempt.add_reveal(sender, session, body)
            return []
        attempt.add_probe(sender, session, body)
        return self._proceed(attempt)

    def _on_halves(self, attempt: Attempt, message: _SetupMessage) -> list[Outgoing]:
        session, _, sender, body = message
        is_complete = attempt.epoch_id is not None
        attempt.add_halves(sender, session, body)
        if sender == self.name:
            self._facts.remember(self._at(attempt, "dealt"), b"1")  # every correction had been posted before
        if is_complete or attempt.epoch_id is None or self.name not in attempt.members:
            return []
        complaints = [self._open_halves(attempt, dealer) for dealer in attempt.members if dealer != self.name]
        own = self._own_dealing(attempt)
        self._hold_share(self.name, own.seeds[self.name], own.corrections.get(self.name, b""))
        return [complaint for complaint in complaints if complaint is not None] + self._proceed(attempt)

    def _open_halves(self, attempt: Attempt, dealer: str) -> Outgoing | None:
        """Open what `dealer` sealed to us; return a complaint if it does not open or does not fit."""
        halves = attempt.halves[dealer]
        key = self._key()
        try:
            opened = open_sealed(key, halves.sealed[self.name], pair_halves_info(self.epoch, dealer, self.name))
        except IdentityError:
            return self._complaint(attempt, dealer, "share")
        half, seed = opened[:HALF_BYTES], opened[HALF_BYTES:]
        if not is_seed(seed, halves.commitments[self.name]):
            return self._complaint(attempt, dealer, "share")
        self._hold_pair(attempt, dealer, half)
        self._holding.seeds[dealer] = seed
        if attempt.is_corrected(self.name):
            self._holding.awaited.append(dealer)
        else:
            self._hold_share(dealer, seed, b"")
        return None

    def _on_answer(self, attempt: Attempt, dealer: str, answer: Answer) -> list[Outgoing]:
        if dealer in self._holding.shares:
            return []
        if answer.seed:
            self._hold_pair(attempt, dealer, answer.half)
        seed = answer.seed or self._holding.seeds[dealer]
        if dealer in self._holding.awaited:
            self._holding.awaited.remove(dealer)
        self._hold_share(dealer, seed, answer.correction)
        return self._proceed(attempt)

    def _proceed(self, attempt: Attempt) -> list[Outgoing]:
        """Send our probe once we hold every share; with the last probe take the keys or enter the dispute."""
        if self._holding.shares.keys() != attempt.places.keys():
            return []
        dealer = attempt.disputed
        if not attempt.is_probed:
            return self._once(attempt, "probe", lambda: self._probe_message(attempt))
        if dealer is not None:
            return self._once(attempt, "reveal", lambda: self._reveal_message(attempt, dealer))
        if self.keys is None:
            self.keys = self._keys(attempt)
        return []

    def _once(self, attempt: Attempt, step: str, build: Callable[[], bytes]) -> list[Outgoing]:
        """Return a message of ours unless it left in this life: the board keeps the first, repeating it is idle."""
        if step in self._holding.said:
            return []
        body = build()
        self._holding.said.add(step)
        return [(attempt.label, step, body)]

    def _keys(self, attempt: Attempt) -> EpochKeys:
        noise_key = self._facts.fact(f"{self.epoch}/noise")
        if noise_key is None or attempt.epoch_id is None:
            raise RefusedError(f"epoch {self.epoch}: this node's noise key is gone; a new epoch must be agreed")
        holding, secret = self._holding, self._own_dealing(attempt).secret
        return EpochKeys(
            self.epoch, attempt.epoch_id, attempt.members, holding.pair_secrets, noise_key, secret, holding.shares
        )

    def _halves_message(self, attempt: Attempt) -> bytes:
        def build() -> Halves:
            dealing = self._own_dealing(attempt)
            sealed = {}
            for peer in attempt.members:
                if peer != self.name:
                    setup = open_envelope(self._setups[peer], Setup, sender=peer, key=self._limits.keys[peer])
                    secrets = self._own_half(attempt, peer) + dealing.seeds[peer]
                    info = pair_halves_info(self.epoch, self.name, peer)
                    sealed[peer] = seal(setup.encryption_key, secrets, info)
            commitments = {holder: hashlib.sha256(seed).digest() for holder, seed in dealing.seeds.items()}
            corrections = {holder: hashlib.sha256(body).digest() for holder, body in dealing.corrections.items()}
            return Halves(self.epoch, attempt.digest, sealed, commitments, corrections)

        return self._sealed_once(self._at(attempt, "halves"), build)

    def _deals(self, attempt: Attempt) -> list[Outgoing]:
        """Return what we post to each holder, unless it has all left before."""
        if self._facts.fact(self._at(attempt, "dealt")) is not None:
            return []
        corrections = self._own_dealing(attempt).corrections
        return [
            (attempt.session_to(holder), "deal", body) for holder, body in corrections.items() if holder != self.name
        ]

    def _probe_message(self, attempt: Attempt) -> bytes:
        def build() -> Probe:
            shares = self._holding.shares
            probes = {dealer: probe_share(share, attempt.challenge) for dealer, share in shares.items()}
            return Probe(attempt.epoch_id or b"", probes)

        return self._sealed_once(self._at(attempt, "probe"), build)

    def _complaint(self, attempt: Attempt, dealer: str, about: Literal["share", "correction"]) -> Outgoing:
        complaint = Complaint(attempt.digest, dealer, about)
        body = self._sealed_once(self._at(attempt, f"complaint/{dealer}"), lambda: complaint)
        return attempt.session_of(dealer), "complaint", body

    def _answer(self, attempt: Attempt, holder: str, complaint: Complaint, asked: bytes) -> Outgoing:
        """Make public what we dealt to a holder, on its own signed word."""
        dealing = self._own_dealing(attempt)
        correction = dealing.corrections.get(holder, b"")
        half, seed = b"", b""
        if complaint.about == "share":
            half, seed = self._own_half(attempt, holder), dealing.seeds[holder]
        answer = Answer(hashlib.sha256(asked).digest(), holder, half, seed, correction)
        body = self._sealed_once(self._at(attempt, f"answer/{holder}"), lambda: answer)
        return attempt.session_to(holder), "answer", body

    def _reveal_message(self, attempt: Attempt, dealer: str) -> bytes:
        self._decide(attempt, b"dead")
        holding = self._holding
        reveal = Reveal(attempt.epoch_id or b"", dealer, holding.seeds[dealer], holding.corrections[dealer])
        return self._sealed_once(self._at(attempt, "reveal"), lambda: reveal)

    def _decide(self, attempt: Attempt, fate: bytes) -> None:
        """Fix for ever whether this attempt's keys are used or its shares revealed: never both."""
        try:
            self._facts.remember(self._at(attempt, "fate"), fate)
        except EquivocationError as error:
            raise RefusedError(
                f"epoch {self.epoch}, {attempt.label}: it cannot be {fate.decode()}, the other was decided before; "
                "the boards of two members differ"
            ) from error

    def _hold_share(self, dealer: str, seed: bytes, correction: bytes) -> None:
        holding = self._holding
        holding.seeds[dealer], holding.corrections[dealer] = seed, correction
        holding.shares[dealer] = dealt_share(seed, correction)

    def _hold_pair(self, attempt: Attempt, peer: str, theirs: bytes) -> None:
        ours = self._own_half(attempt, peer)
        low, high = sorted((self.name, peer))
        first, second = (ours, theirs) if self.name == low else (theirs, ours)
        secret = pair_secret(first, second, low=low, high=high, context=self.epoch.encode())
        self._holding.pair_secrets[peer] = secret

    def _own_dealing(self, attempt: Attempt) -> Dealing:
        if self._dealing is None:
            seed = self._drawn(self._at(attempt, "ring"))
            self._dealing = deal(seed, holders=attempt.members, threshold=self._limits.threshold)
        return self._dealing

    def _own_half(self, attempt: Attempt, peer: str) -> bytes:
        return self._drawn(self._at(attempt, f"half/{peer}"))

    def _at(self, attempt: Attempt, what: str) -> str:
        return f"{self.epoch}/{attempt.digest.hex()}/{what}"

    def _drawn(self, key: str) -> bytes:
        """Return the 32 random bytes that stand under `key`, drawn and kept at the first call."""
        stored = self._facts.fact(key)
        if stored is None:
            stored = self._entropy(32)
            self._facts.remember(key, stored)
        return stored

    def _sealed_once(self, key: str, build: Callable[[], Payload]) -> bytes:
        """Return the envelope that stands under `key`, built and kept before it leaves for the first time."""
        stored = self._facts.fact(key)
        if stored is None:
            stored = seal_envelope(build(), sender=self.name, signer=self._signer)
            self._facts.remember(key, stored)
        return stored

    def _key(self) -> EncryptionKey:
        stored = self._facts.fact(f"{self.epoch}/key")
        if stored is None:
            raise RefusedError(f"epoch {self.epoch}: this node's key is gone; a new epoch must be agreed")
        return EncryptionKey.from_bytes(stored)
