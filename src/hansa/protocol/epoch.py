"""Set-up of an epoch: fresh encryption keys, pair secrets, and an epoch id that nobody chooses.

1. Each member publishes `Setup`: its HPKE public key (X25519 + ML-KEM-768) and the constitution it has checked.
2. The coordinator publishes `Epoch`: who has set up (all members, or those in time, at least the minimum cohort).
3. Each listed member publishes `Halves`: for each peer j a random 32-byte half `k_i->j`, sealed to j.
4. `K_ij = HKDF(k_low->high || k_high->low)`; `epoch_id` = SHA-256 over the list, the set-ups and the halves.

A member keeps its private key, its halves and its noise key before it sends anything; a restart sends the same bytes.

Guarantees: neither side's bad randomness alone makes a pair secret weak; who recorded the traffic needs to break both
X25519 and ML-KEM-768; members with different views of the set-up have different epoch ids and refuse each other's work.
Source: RFC 9180 (HPKE), FIPS 203 (ML-KEM); PROTOCOL set-up, without the ring keys.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from hansa.crypto.agreement import EncryptionKey, open_sealed, pair_secret, seal
from hansa.errors import EquivocationError, IdentityError, RefusedError
from hansa.protocol.messages import Epoch, Halves, Setup, open_envelope, seal_envelope

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hansa.crypto.ring import RingElement
    from hansa.crypto.signature import Signer
    from hansa.protocol.limits import Limits


class Facts(Protocol):
    """Durable facts of one node: what is remembered is on disk when `remember` returns, and never changes."""

    def fact(self, key: str) -> bytes | None:
        """Return what was remembered under `key`, or None."""

    def remember(self, key: str, value: bytes) -> None:
        """Keep `value`; raise EquivocationError if another value stands there."""


@dataclass(frozen=True, slots=True)
class EpochKeys:
    """What a member holds for one epoch: its id, its members in order, a secret with each peer, a noise key."""

    epoch: str
    epoch_id: bytes
    members: tuple[str, ...]
    pair_secrets: Mapping[str, bytes] = field(repr=False)
    noise_key: bytes = field(repr=False)
    secret: RingElement = field(repr=False)
    shares: Mapping[str, RingElement] = field(repr=False)


def epoch_label(constitution_digest: str, number: int) -> str:
    """Return the epoch's name in subjects: its number and the head of the constitution's digest."""
    return f"e{number}-{constitution_digest[:12]}"


def attempt_label(attempt: int) -> str:
    """Return the session part of the subjects of one attempt to set an epoch up."""
    return f"setup-{attempt}"


def epoch_identifier(listing: bytes, setups: Mapping[str, bytes], halves: Mapping[str, bytes]) -> bytes:
    """Return SHA-256 over the coordinator's list and, in order of names, the set-up and halves envelopes."""
    state = hashlib.sha256(b"hansa/epoch/1" + hashlib.sha256(listing).digest())
    for name in sorted(halves):
        state.update(hashlib.sha256(setups[name]).digest() + hashlib.sha256(halves[name]).digest())
    return state.digest()


def pair_halves_info(epoch: str, sender: str, receiver: str) -> bytes:
    """Return the HPKE info that binds a half to its epoch, sender and receiver."""
    return f"hansa/half/1|{epoch}|{sender}|{receiver}".encode()


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
        self._listing: Epoch | None = None
        self._listing_body = b""
        self._former_listings: set[bytes] = set()
        self._halves: dict[str, bytes] = {}

    def setup_message(self) -> bytes:
        """Return this member's `Setup` envelope; the same bytes at every call and after every restart."""
        stored = self._facts.fact(f"{self.epoch}/setup")
        if stored is not None:
            return stored
        if self._facts.fact(f"{self.epoch}/key") is None:
            self._facts.remember(f"{self.epoch}/key", EncryptionKey.generate().to_bytes())
        if self._facts.fact(f"{self.epoch}/noise") is None:
            self._facts.remember(f"{self.epoch}/noise", self._entropy(32))
        payload = Setup(self.epoch, self._limits.constitution, self._key().public_bytes())
        body = seal_envelope(payload, sender=self.name, signer=self._signer)
        self._facts.remember(f"{self.epoch}/setup", body)
        return body

    def on_setup(self, sender: str, body: bytes) -> None:
        """Note a member's set-up; its first one stays.

        Raises:
            EquivocationError: It sent another one before.
            RefusedError: It names another epoch or constitution, or holds no valid key.
        """
        check_setup(sender, body, limits=self._limits, epoch=self.epoch)
        if self._setups.setdefault(sender, body) != body:
            raise EquivocationError(f"set-up of {sender}: a second one came; the first stays")

    def on_epoch(self, body: bytes) -> bytes | None:
        """Check the coordinator's list; return our `Halves` envelope, or None if we are not listed.

        A new list takes the place of the one before it; the same one again changes nothing.

        Raises:
            RefusedError: The list is too short, out of order, not what the members published, or was replaced before.
        """
        if body in self._former_listings:
            raise RefusedError("epoch list: this one was replaced by a later one")
        listing = open_envelope(
            body, Epoch, sender=self._limits.coordinator, key=self._limits.keys[self._limits.coordinator]
        )
        check_listing(listing, body=body, setups=self._setups, limits=self._limits, epoch=self.epoch)
        if body != self._listing_body:
            self._former_listings.add(self._listing_body)
            self._listing, self._listing_body, self._halves, self.keys = listing, body, {}, None
        if self.name not in listing.members:
            return None
        return self._halves_message(listing, hashlib.sha256(body).digest())

    def on_halves(self, sender: str, body: bytes) -> EpochKeys | None:
        """Note a member's halves, the first ones for this list; return the epoch's keys once all are there.

        Raises:
            EquivocationError: Other halves of that member came before.
            IdentityError: A half does not open with our key; its sender is named.
            RefusedError: Halves of a member that is not listed, or not for this list and its members.
        """
        listing = self._listing
        if listing is None or sender not in listing.members:
            raise RefusedError(f"halves of {sender}: it is not in the epoch's list")
        check_halves(sender, body, limits=self._limits, listing=listing, listing_body=self._listing_body)
        if self._halves.setdefault(sender, body) != body:
            raise EquivocationError(f"halves of {sender}: a second message came; the first stays")
        if self.keys is None and self.name in listing.members and set(self._halves) == set(listing.members):
            self.keys = self._derive(listing)
        return self.keys

    def _key(self) -> EncryptionKey:
        stored = self._facts.fact(f"{self.epoch}/key")
        if stored is None:
            raise RefusedError(f"epoch {self.epoch}: this node's key is gone; a new epoch must be agreed")
        return EncryptionKey.from_bytes(stored)

    def _own_half(self, tag: str, peer: str) -> bytes:
        key = f"{self.epoch}/{tag}/half/{peer}"
        stored = self._facts.fact(key)
        if stored is None:
            stored = self._entropy(32)
            self._facts.remember(key, stored)
        return stored

    def _halves_message(self, listing: Epoch, digest: bytes) -> bytes:
        tag = digest.hex()
        stored = self._facts.fact(f"{self.epoch}/{tag}/halves")
        if stored is not None:
            return stored
        sealed = {}
        for peer in listing.members:
            if peer != self.name:
                setup = open_envelope(self._setups[peer], Setup, sender=peer, key=self._limits.keys[peer])
                info = pair_halves_info(self.epoch, self.name, peer)
                sealed[peer] = seal(setup.encryption_key, self._own_half(tag, peer), info)
        body = seal_envelope(Halves(self.epoch, digest, sealed), sender=self.name, signer=self._signer)
        self._facts.remember(f"{self.epoch}/{tag}/halves", body)
        return body

    def _derive(self, listing: Epoch) -> EpochKeys:
        tag = hashlib.sha256(self._listing_body).hexdigest()
        key = self._key()
        secrets = {}
        for peer in listing.members:
            if peer == self.name:
                continue
            halves = open_envelope(self._halves[peer], Halves, sender=peer, key=self._limits.keys[peer])
            try:
                theirs = open_sealed(key, halves.sealed[self.name], pair_halves_info(self.epoch, peer, self.name))
            except IdentityError as error:
                raise IdentityError(
                    f"halves of {peer}: ours does not open; the epoch needs a list without it"
                ) from error
            ours = self._own_half(tag, peer)
            low, high = sorted((self.name, peer))
            first, second = (ours, theirs) if self.name == low else (theirs, ours)
            secrets[peer] = pair_secret(first, second, low=low, high=high, context=self.epoch.encode())
        identifier = epoch_identifier(self._listing_body, self._setups, self._halves)
        noise_key = self._facts.fact(f"{self.epoch}/noise")
        if noise_key is None:
            raise RefusedError(f"epoch {self.epoch}: this node's noise key is gone; a new epoch must be agreed")
        return EpochKeys(self.epoch, identifier, listing.members, secrets, noise_key)


def check_setup(sender: str, body: bytes, *, limits: Limits, epoch: str) -> None:
    """Refuse a set-up that would keep its peers from setting up.

    Raises:
        RefusedError: It names another epoch or constitution, or its key is one that nobody can seal to.
    """
    setup = open_envelope(body, Setup, sender=sender, key=limits.keys[sender])
    if (setup.epoch, setup.constitution) != (epoch, limits.constitution):
        raise RefusedError(f"set-up of {sender}: another epoch or constitution than ours; compare digests")
    try:
        seal(setup.encryption_key, b"", b"hansa/setup-check/1")
    except IdentityError as error:
        raise RefusedError(f"set-up of {sender}: {error}") from error


def check_halves(sender: str, body: bytes, *, limits: Limits, listing: Epoch, listing_body: bytes) -> None:
    """Refuse halves that were not made for this list and each of its other members.

    Raises:
        RefusedError: They are for another list, or for other peers.
    """
    halves = open_envelope(body, Halves, sender=sender, key=limits.keys[sender])
    if halves.epoch != listing.epoch or halves.listing != hashlib.sha256(listing_body).digest():
        raise RefusedError(f"halves of {sender}: for another epoch or another list of its members")
    if set(halves.sealed) != set(listing.members) - {sender}:
        raise RefusedError(f"halves of {sender}: expected one for each of the {len(listing.members) - 1} peers")


def check_listing(listing: Epoch, *, body: bytes, setups: Mapping[str, bytes], limits: Limits, epoch: str) -> None:
    """Refuse a list of the epoch's members that the set-up messages do not bear out.

    Raises:
        RefusedError: Names what was expected and what came.
    """
    hashes = tuple(hashlib.sha256(setups.get(name, b"")).digest() for name in listing.members)
    clauses = {
        "this epoch": listing.epoch == epoch,
        "names in order, none twice, all members": list(listing.members) == sorted(set(listing.members))
        and set(listing.members) <= set(limits.members),
        f"at least {limits.minimum_cohort} members": len(listing.members) >= limits.minimum_cohort,
        "the set-up messages that the members published": hashes == listing.setups,
    }
    for clause, holds in clauses.items():
        if not holds:
            raise RefusedError(f"epoch list ({hashlib.sha256(body).hexdigest()[:12]}): expected {clause}")
