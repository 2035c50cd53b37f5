"""One session without a transport: limits, epoch keys, a manifest, facts in memory and a door with fixed steps."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from hansa.crypto.key_sharing import deal, open_share
from hansa.crypto.ring import ternary_secret
from hansa.errors import EquivocationError
from hansa.protocol.encoding import is_wide, sum_from_bytes
from hansa.protocol.epoch import EpochKeys
from hansa.protocol.messages import Cohort, Manifest, Payload, Shares, Upload, open_envelope, seal_envelope
from hansa.protocol.secure_sum import SecureSum
from hansa.protocol.session import MemberSession, build_upload, facts_label, session_label, upload_limit
from simulator import BAR_NS, DAY_NS, limits, signing_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hansa.crypto.ring import RingElement
    from hansa.protocol.limits import Limits, PurposeLimit

EPOCH = "e1-abababababab"
EPOCH_ID = bytes(range(32))


@dataclass
class MemoryFacts:
    """Facts that survive a restart of the session that wrote them."""

    values: dict[str, bytes] = field(default_factory=dict)

    def fact(self, key: str) -> bytes | None:
        return self.values.get(key)

    def remember(self, key: str, value: bytes) -> None:
        if self.values.setdefault(key, value) != value:
            raise EquivocationError(key)


@lru_cache(maxsize=8)
def ring_keys(
    members: tuple[str, ...], threshold: int
) -> tuple[dict[str, RingElement], dict[str, dict[str, RingElement]]]:
    """Return each member's ring key, and the shares that each holder has of everybody's."""
    holders = range(1, len(members) + 1)
    secrets, shares = {}, {name: {} for name in members}
    for dealer in members:
        seeds = [hashlib.sha256(f"share|{dealer}|{holder}".encode()).digest() for holder in members]
        secrets[dealer] = ternary_secret(hashlib.sha256(b"ring" + dealer.encode()).digest())
        corrections = deal(secrets[dealer], threshold=threshold, holders=holders, seeds=seeds)
        for holder, seed, correction in zip(members, seeds, corrections, strict=True):
            shares[holder][dealer] = open_share(seed, correction)
    return secrets, shares


def epoch_keys(rules: Limits) -> dict[str, EpochKeys]:
    def secret(one: str, other: str) -> bytes:
        return hashlib.sha256("|".join(sorted((one, other))).encode()).digest()

    secrets, shares = ring_keys(rules.members, rules.threshold)
    return {
        name: EpochKeys(
            EPOCH,
            EPOCH_ID,
            rules.members,
            {peer: secret(name, peer) for peer in rules.members if peer != name},
            hashlib.sha256(b"noise" + name.encode()).digest(),
            secrets[name],
            shares[name],
        )
        for name in rules.members
    }


def manifest(rules: Limits, **changes: object) -> Manifest:
    """Return a manifest that the limits allow, with changes; the label follows unless it is changed too."""
    plain = Manifest(
        federation=rules.federation, constitution=rules.constitution, epoch=EPOCH, epoch_id=EPOCH_ID, session="",
        round=1, position=0, index=0, attempt=1, purpose="gram", length=6, span_start_ns=DAY_NS, span_end_ns=DAY_NS,
        participants=rules.members,
    )  # fmt: skip
    changed = msgspec.structs.replace(plain, **changes)
    return changed if changed.session else msgspec.structs.replace(changed, session=session_label(changed))


def steps_of(name: str, length: int) -> np.ndarray:
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    return np.random.default_rng(seed).integers(-(2**18), 2**18, length)


def from_coordinator(payload: Payload) -> bytes:
    return seal_envelope(payload, sender="coordinator", signer=signing_key("coordinator"))


def from_member(name: str, payload: Payload, *, signer: str | None = None) -> bytes:
    return seal_envelope(payload, sender=name, signer=signing_key(signer or name))


@dataclass
class FixedDoor:
    """Uploads fixed steps; counts how often it was asked."""

    name: str
    rules: Limits
    facts: MemoryFacts
    asked: int = 0

    def upload(self, manifest: Manifest, _purpose: PurposeLimit, keys: EpochKeys) -> bytes:
        self.asked += 1
        upload = build_upload(
            steps_of(self.name, manifest.length),
            name=self.name,
            manifest=manifest,
            keys=keys,
            limits=self.rules,
            entropy=hashlib.sha256(keys.noise_key + manifest.digest()).digest(),
        )
        body = from_member(self.name, upload)
        label = facts_label(keys.epoch, manifest.session)
        self.facts.remember(f"{label}/upload", body)
        self.facts.remember(f"{label}/upload-sha256", hashlib.sha256(body).digest())
        return body


@dataclass
class Table:
    """The members of one session around a coordinator's state; every step can be taken one by one."""

    rules: Limits = field(default_factory=limits)
    asked: Manifest | None = None

    def __post_init__(self) -> None:
        self.manifest = self.asked or manifest(self.rules)
        self.keys = epoch_keys(self.rules)
        self.facts = {name: MemoryFacts() for name in self.rules.members}
        self.doors = {name: FixedDoor(name, self.rules, self.facts[name]) for name in self.rules.members}
        self.sessions = {name: self.session(name) for name in self.rules.members}
        self.sum = SecureSum(self.manifest, limits=self.rules)
        self.uploads: dict[str, bytes] = {}

    def session(self, name: str, asked: Manifest | None = None) -> MemberSession:
        """Return a new session of a member over its old facts: a restart."""
        return MemberSession(
            asked or self.manifest,
            name=name,
            session=(asked or self.manifest).session,
            keys=self.keys[name],
            limits=self.rules,
            signer=signing_key(name),
            facts=self.facts[name],
        )

    def upload(self, names: Sequence[str]) -> None:
        for name in names:
            body = self.sessions[name].upload(self.doors[name], announced_ns=0, now_ns=0)
            assert body is not None
            self.uploads[name] = body
            self.sum.add_upload(name, body)

    def propose(self) -> Cohort:
        cohort = self.sum.propose_cohort()
        self.sum.note_cohort(cohort)
        return cohort

    def agree(self, names: Sequence[str] | None = None) -> None:
        """Show the cohort to `names` (else all in it); in three exchanges take their agreements."""
        cohort = self.sum.cohort or self.propose()
        for name in names or cohort.members:
            body = self.sessions[name].on_cohort(from_coordinator(cohort))
            assert (body is not None) == (self.sum.exchanges == 3)
            if body is not None:
                self.sum.add_agreement(name, body)

    def call(self) -> bytes:
        """Publish the next call."""
        call = self.sum.next_call()
        assert call is not None
        self.sum.note_call(call)
        return from_coordinator(call)

    def open(self, names: Sequence[str], *, silent: Sequence[str] = ()) -> bytes:
        """Let `names` see the next call and everybody but the silent answer it; return the call."""
        body = self.call()
        for name in names:
            opening = self.sessions[name].on_call(body)
            if opening is not None and name not in silent:
                self.sum.add_opening(name, opening)
        return body

    def opened(self) -> np.ndarray:
        result = self.sum.result()
        assert result is not None
        wide = is_wide(self.rules.purposes[self.manifest.purpose], self.rules, length=self.manifest.length)
        return sum_from_bytes(result.steps, self.manifest.length, is_wide=wide)

    def expected(self, names: Sequence[str]) -> np.ndarray:
        return sum((steps_of(name, self.manifest.length) for name in names), start=np.zeros(1, dtype=np.int64))


def table_after_upload(dropped: Sequence[str] = (), *, rules: Limits | None = None) -> Table:
    table = Table(rules or limits())
    table.upload([name for name in table.rules.members if name not in dropped])
    return table


def upload_of(table: Table, name: str) -> Upload:
    limit = upload_limit(table.manifest, table.rules)
    return open_envelope(table.uploads[name], Upload, sender=name, key=signing_key(name).public, limit=limit)


def shares_of(table: Table, name: str) -> Shares:
    """Return the shares that a member gives for those whose seeds are missing."""
    body = table.sessions[name].on_recover(from_coordinator(table.sum.recover()))
    assert body is not None
    return open_envelope(body, Shares, sender=name, key=signing_key(name).public)


SpanChange = dict[str, object]
OFF_GRID: SpanChange = {"span_start_ns": DAY_NS + 1, "span_end_ns": DAY_NS + 1}
BACKWARDS: SpanChange = {"span_start_ns": DAY_NS + BAR_NS}
