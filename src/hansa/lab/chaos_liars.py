"""The liars of a run of chaos: what colluding members say instead, and a coordinator's second face.

The coordinator's face is an attack on an honest member's one answer: it signs a manifest, a cohort or a call of its own
making, shows it to its viewers instead of, before or after what stands on the board, and puts the viewers' answers
together with what the colluders sign. It has the coordinator's key and the colluders' keys, and every message.

Does NOT do: break a signature or an encryption, or choose its words by what the answers decrypt to.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from hansa.crypto.encryption import ciphertext_bytes, encrypt
from hansa.crypto.ring import decode_element, encode_element, ternary_secret
from hansa.federation.transport import Message, Subject
from hansa.lab.simulation import signing_key
from hansa.protocol.messages import (
    Agreement,
    Call,
    Closed,
    Cohort,
    Complaint,
    Died,
    Halves,
    Manifest,
    Opening,
    Payload,
    PayloadT,
    Probe,
    Result,
    Upload,
    open_envelope,
    seal_envelope,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hansa.lab.chaos_plan import Fault, Plan

LARGEST_BODY = 1 << 26


@dataclass(frozen=True, slots=True)
class Said:
    """One message that somebody tried to publish, whether or not the hub had one under that subject already."""

    sender: str
    session: str
    step: str
    body: bytes


def read(body: bytes, kind: type[PayloadT], sender: str) -> PayloadT:
    """Return the payload of an envelope that `sender` signed."""
    return open_envelope(body, kind, sender=sender, key=signing_key(sender).public, limit=LARGEST_BODY)


def sealed(payload: Payload, sender: str) -> bytes:
    """Return a payload signed with `sender`'s key."""
    return seal_envelope(payload, sender=sender, signer=signing_key(sender))


def flipped(body: bytes, rng: np.random.Generator) -> bytes:
    """Return the bytes with one bit changed."""
    place = int(rng.integers(8 * len(body)))
    changed = bytearray(body)
    changed[place // 8] ^= 1 << place % 8
    return bytes(changed)


def garbage(size: int, rng: np.random.Generator) -> bytes:
    """Return a well-formed ciphertext or partial of so many bytes that belongs to nothing: uniform everywhere."""
    width = next(width for width in range(32, size, 32) if ciphertext_bytes(width) == size)
    limbs = np.zeros((3, width), dtype=np.uint64)
    return encrypt(limbs, secret=ternary_secret(rng.bytes(32)), crs_seed=rng.bytes(32), error_seed=rng.bytes(32))


def lies(fault: Fault, said: Said, rng: np.random.Generator) -> list[Said]:
    """Return what a lying member publishes instead of one message, in order."""
    if said.step == "upload":
        return _false_uploads(fault, said, rng)
    if said.step == "open":
        return _false_openings(fault, said, rng)
    victim = fault.viewers[0]
    if fault.kind == "junk-sealed":
        halves = read(said.body, Halves, said.sender)
        junk = {name: body[::-1] if name == victim else body for name, body in halves.sealed.items()}
        return [_instead(said, msgspec.structs.replace(halves, sealed=junk))]
    probe = read(said.body, Probe, said.sender)
    return [_instead(said, msgspec.structs.replace(probe, probes={**probe.probes, victim: bytes(56)}))]


def _false_uploads(fault: Fault, said: Said, rng: np.random.Generator) -> list[Said]:
    upload = read(said.body, Upload, said.sender)
    if fault.kind == "wrong-packages":
        packages = {peer: package[::-1] for peer, package in upload.recovery.items()}
        return [_instead(said, msgspec.structs.replace(upload, recovery=packages))]
    other = _instead(said, msgspec.structs.replace(upload, ciphertext=garbage(len(upload.ciphertext), rng)))
    return [said, other] if fault.kind == "second-upload" else [other]


def _false_openings(fault: Fault, said: Said, rng: np.random.Generator) -> list[Said]:
    opening = read(said.body, Opening, said.sender)
    if fault.kind == "false-closed":
        return [said, Said(said.sender, said.session, "closed", sealed(Closed(opening.manifest), said.sender))]
    if fault.kind == "wrong-seeds":
        return [_instead(said, msgspec.structs.replace(opening, seeds={peer: rng.bytes(32) for peer in opening.seeds}))]
    other = garbage(len(opening.partial), rng) if opening.partial else b""
    return [_instead(said, msgspec.structs.replace(opening, partial=other))]


def _instead(said: Said, payload: Payload) -> Said:
    return Said(said.sender, said.session, said.step, sealed(payload, said.sender))


def complaint(listing: bytes, members: Sequence[str], said: Said, dealer: str) -> Said:
    """Return a member's complaint of a share that fits."""
    place = members.index(dealer) + 1
    words = Complaint(hashlib.sha256(listing).digest(), dealer, "share")
    return Said(said.sender, f"{said.session}-of-{place}", "complaint", sealed(words, said.sender))


@dataclass(slots=True)
class BadDealer:
    """A dealer that commits to and posts, for the first holder it posts to, a share beside its polynomial."""

    honest: bytes = b""
    posted: bytes = b""

    def deal(self, said: Said) -> Said:
        """Return a correction beside the polynomial, the same at every repetition."""
        if self.honest in {b"", said.body}:
            self.honest = said.body
            self.posted = encode_element(decode_element(said.body)[:, ::-1].copy())
            return Said(said.sender, said.session, said.step, self.posted)
        return said

    def halves(self, said: Said) -> Said:
        """Return halves that commit to it."""
        halves = read(said.body, Halves, said.sender)
        right, wrong = (hashlib.sha256(body).digest() for body in (self.honest, self.posted))
        corrections = {name: wrong if given == right else given for name, given in halves.corrections.items()}
        body = sealed(msgspec.structs.replace(halves, corrections=corrections), said.sender)
        return Said(said.sender, said.session, said.step, body)


@dataclass(slots=True)
class Face:
    """What a lying coordinator shows the fault's viewers of one session, made up once and kept.

    Args:
        fault: Its kind, viewers, and when: 0 instead of what is on the board, 1 before it, 2 after it.
        plan: The run.
        transcript: Everything that anybody has tried to publish, as it grows.
        rng: Where its choices come from.
    """

    fault: Fault
    plan: Plan
    transcript: list[Said]
    rng: np.random.Generator
    session: str = ""
    manifests: list[Manifest] = field(default_factory=list)
    cohorts: list[Cohort] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    rewound: set[str] = field(default_factory=set)

    def wants_rewinding(self, viewer: str, message: Message) -> bool:
        """Return whether this viewer is to be killed now, so that it reads the board again and differently."""
        fits = self.fault.kind == "rewound-cohort" and self._is_for(viewer, message) and viewer not in self.rewound
        if fits and message.subject.step in {"result", "died"}:
            self.rewound.add(viewer)
            return True
        return False

    def shown(self, viewer: str, message: Message) -> list[Message]:
        """Return what a viewer reads where `message` stands on the board."""
        step, kind = message.subject.step, self.fault.kind
        if not self._is_for(viewer, message) or (kind == "rewound-cohort" and viewer not in self.rewound):
            return [message]
        if step == "announce" and kind == "two-manifests":
            return [self._message(message, "announce", self._manifest(message))]
        if kind == "second-opening":
            return self._again(message) if step == "result" else [message]
        if step == "cohort":
            return self._placed(message, [self._message(message, "cohort", self._cohort(message))])
        if step in {"call", "died"} and self.cohorts:
            return self._placed(message, [self._message(message, "call", self._call())])
        return [message]

    def _is_for(self, viewer: str, message: Message) -> bool:
        return viewer in self.fault.viewers and message.subject.session == self.session

    def _placed(self, message: Message, made_up: list[Message]) -> list[Message]:
        if self.fault.kind in {"two-manifests", "rewound-cohort"} or self.fault.amount == 0:
            return [*made_up, message] if message.subject.step == "died" else made_up
        return [*made_up, message] if self.fault.amount == 1 else [message, *made_up]

    def _again(self, message: Message) -> list[Message]:
        """Return the result with a second cohort and its call after it, or before it."""
        cohort = next(one for one in reversed(self.transcript) if (one.session, one.step) == (self.session, "cohort"))
        stood = Message(message.subject, cohort.body, message.sequence, message.time_ns)
        made_up = [
            self._message(message, "cohort", self._cohort(stood)),
            self._message(message, "call", self._call()),
        ]
        return [message, *made_up] if self.fault.amount else [*made_up, message]

    def _message(self, message: Message, step: str, payload: Payload) -> Message:
        coordinator = self.plan.limits.coordinator
        subject = Subject(message.subject.epoch, self.session, step, coordinator)
        return Message(subject, sealed(payload, coordinator), message.sequence, message.time_ns)

    def _manifest(self, message: Message) -> Manifest:
        if not self.manifests:
            true = read(message.body, Manifest, self.plan.limits.coordinator)
            self.manifests.append(msgspec.structs.replace(true, index=true.index + 1))
        return self.manifests[0]

    def _cohort(self, message: Message) -> Cohort:
        if not self.cohorts:
            self.cohorts.append(self._make_cohort(read(message.body, Cohort, self.plan.limits.coordinator)))
        return self.cohorts[0]

    def _make_cohort(self, true: Cohort) -> Cohort:
        rules, viewers = self.plan.limits, self.fault.viewers
        hashes = dict(zip(true.members, true.uploads, strict=True))
        manifest = true.manifest
        if self.fault.kind == "two-manifests" and self.manifests:
            manifest = self.manifests[0].digest()
            hashes = {name: self._upload_sha256(name, manifest) for name in self.manifests[0].participants}
        elif self.fault.kind == "cohort-below-minimum":
            size = int(self.rng.integers(1, rules.minimum_cohort))
            order = [*viewers, *self.plan.colluders, *true.members]
            names = list(dict.fromkeys(name for name in order if name in hashes))[:size]
            hashes = {name: hashes[name] for name in names}
        elif self.fault.kind == "cohort-without-us":
            changed = {name: self.rng.bytes(32) for name in viewers if name in hashes}
            left = {name: given for name, given in hashes.items() if name not in viewers}
            hashes = left if len(left) >= rules.minimum_cohort else {**hashes, **changed}
        else:
            others = [name for name in hashes if name not in viewers] or list(hashes)
            dropped = str(self.rng.choice(others))
            if len(hashes) > rules.minimum_cohort:
                del hashes[dropped]
            else:
                hashes[dropped] = self.rng.bytes(32)
        return Cohort(manifest, tuple(sorted(hashes)), tuple(hashes[name] for name in sorted(hashes)))

    def _upload_sha256(self, name: str, manifest: bytes) -> bytes:
        for said in self.transcript:
            is_upload = (said.sender, said.session, said.step) == (name, self.session, "upload")
            if is_upload and read(said.body, Upload, name).manifest == manifest:
                return hashlib.sha256(said.body).digest()
        return self.rng.bytes(32)

    def _call(self) -> Call:
        if not self.calls:
            cohort, rules, liars = self.cohorts[0], self.plan.limits, self.plan.colluders
            order = dict.fromkeys((*self.fault.viewers, *liars, *cohort.members))
            decryptors = [name for name in order if name in cohort.members][: rules.threshold]
            root = cohort.root()
            signed = tuple(
                said.body
                for said in dict.fromkeys(self.transcript)
                if (said.session, said.step) == (self.session, "agree")
                and said.sender in cohort.members
                and read(said.body, Agreement, said.sender).root == root
            )
            own = tuple(sealed(Agreement(cohort.manifest, root), name) for name in liars if name in cohort.members)
            is_certified = self._exchanges() == 3
            self.calls.append(
                Call(cohort.manifest, root, 0, tuple(sorted(decryptors)), signed + own if is_certified else ())
            )
        return self.calls[0]

    def _exchanges(self) -> int:
        asked = self.plan.programme[self.fault.position]
        return self.plan.limits.purposes[asked.purpose].exchanges


def false_words(fault: Fault, message: Message, coordinator: str) -> list[Message]:
    """Return what a viewer reads where a call or a result stands: an edited sum, or a death notice around it."""
    true: Result | Call
    if message.subject.step == "result":
        true = read(message.body, Result, coordinator)
    else:
        true = read(message.body, Call, coordinator)
    if fault.kind == "edited-sum" and isinstance(true, Result):
        steps = bytes([true.steps[0] ^ 1]) + true.steps[1:]
        return [_in_place(message, message.subject.step, msgspec.structs.replace(true, steps=steps))]
    died = _in_place(message, "died", Died(true.manifest, "a death notice of a lying coordinator"))
    return [[died], [died, message], [message, died]][fault.amount]


def _in_place(message: Message, step: str, payload: Payload) -> Message:
    subject = message.subject
    body = sealed(payload, subject.sender)
    return Message(
        Subject(subject.epoch, subject.session, step, subject.sender), body, message.sequence, message.time_ns
    )
