"""What the board says about one attempt to set an epoch up, judged alike by every node.

```
list -> halves of every listed member -> epoch id -> [complaints, answers] -> probes -> ready
                                                                                 or: a key in dispute -> reveals
```

* Ready: the probe of every listed member is there, and for every dealer the probes of all holders lie on one
  polynomial of degree below the threshold. A dealer has fixed seeds and corrections by their hashes before the
  challenge, a hash of the epoch id, is known: shares that do not fit together pass with a chance of about 2^-200.
* A complaint is answered in public. About a share: the seed and the half; one of the two, dealer or holder, is
  corrupt (an honest holder opens what an honest dealer sealed, and nobody signs in its name), so the adversary knew
  that share and that half before. About a correction, which a server can withhold from two honest ones: the
  correction alone, which is uniform to everybody without the seed.
* In dispute: the probes of a dealer's key disagree. No session may ever run in this attempt; each holder makes its
  share of that one key public, and everybody computes its probe again. A reveal that does not fit the commitments or
  the probe names the holder; if all fit, the dealer is named.

A node that lies to some members only cannot have a key opened by a staged dispute and used as well: those who reveal
and those who take part are disjoint honest sets, with the c colluders each would have to reach the quorum q, and
`(n - c) + 2c < 2q`.

Guarantees: nobody honest is named; a node restarted over the same board judges the same.
Does NOT guarantee: that a silent member is corrupt, or that every node is shown the same board.
Source: Feldman's and Pedersen's complaint phase, with hash commitments in place of homomorphic ones.
"""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import TYPE_CHECKING, Final

from hansa.crypto.agreement import HALF_BYTES
from hansa.errors import EquivocationError, RefusedError
from hansa.protocol.dealing import (
    CORRECTION_BYTES,
    PROBE_BYTES,
    SEALED_BYTES,
    corrected_places,
    dealt_share,
    is_consistent,
    is_correction,
    is_probe,
    is_seed,
    probe_share,
)
from hansa.protocol.listing import epoch_identifier
from hansa.protocol.messages import Answer, Complaint, Epoch, Halves, Probe, Reveal, open_envelope

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hansa.protocol.limits import Limits
    from hansa.protocol.messages import PayloadT

_ROOM: Final = 256  # bytes of field names and small fields in a payload
_ENTRY: Final = 64  # bytes of a name and the length marks around one value


class Attempt:
    """The record of one attempt.

    Args:
        body: The coordinator's list, checked.
        label: Session part of the attempt's subjects.
        setups: Set-up envelope of each listed member.
        limits: The constitution's limits.
    """

    def __init__(self, body: bytes, *, label: str, setups: Mapping[str, bytes], limits: Limits) -> None:
        name = limits.coordinator
        self.body = body
        self.digest = hashlib.sha256(body).digest()
        self.label = label
        self.listing = open_envelope(body, Epoch, sender=name, key=limits.keys[name])
        self.members = self.listing.members
        self.places = {member: place for place, member in enumerate(self.members, start=1)}
        self.halves: dict[str, Halves] = {}
        self.complaints: dict[tuple[str, str], Complaint] = {}
        self.answered: set[tuple[str, str]] = set()
        self.revealed: set[str] = set()
        self.culprits: dict[str, str] = {}
        self.epoch_id: bytes | None = None
        self._limits = limits
        self._setups = setups
        self._bodies: dict[tuple[str, str], bytes] = {}
        self._probes: dict[str, Probe] = {}

    @property
    def is_ready(self) -> bool:
        """Whether every probe is there and no key is in dispute."""
        return self.is_probed and self.disputed is None

    @property
    def is_probed(self) -> bool:
        """Whether the probe of every listed member is there."""
        return self._probes.keys() == self.places.keys()

    @cached_property
    def challenge(self) -> bytes:
        """What every probe is a function of; known once all halves are there."""
        if self.epoch_id is None:
            raise RefusedError(f"{self.label}: a probe before the halves of all members are there")
        return hashlib.sha256(b"hansa/probe/1" + self.epoch_id).digest()

    @property
    def disputed(self) -> str | None:
        """The first dealer whose probes disagree, once all are there."""
        return self._first_disputed if self.is_probed else None

    @cached_property
    def _first_disputed(self) -> str | None:
        for dealer in self.members:
            probes = {self.places[holder]: probe.probes[dealer] for holder, probe in self._probes.items()}
            if not is_consistent(probes, threshold=self._limits.threshold):
                return dealer
        return None

    def missing(self, step: str) -> tuple[str, ...]:
        """Return the listed members whose halves, probe or reveal has not come."""
        there = {"halves": self.halves.keys(), "probe": self._probes.keys(), "reveal": self.revealed}[step]
        return tuple(name for name in self.members if name not in there)

    def unanswered(self) -> tuple[tuple[str, str], ...]:
        """Return the (dealer, holder) of every complaint without a valid answer, in order."""
        return tuple(sorted(self.complaints.keys() - self.answered))

    def session_to(self, holder: str) -> str:
        """Return the session part of what dealers address to `holder`."""
        return f"{self.label}-to-{self.places[holder]}"

    def session_of(self, dealer: str) -> str:
        """Return the session part of complaints of `dealer`."""
        return f"{self.label}-of-{self.places[dealer]}"

    def is_corrected(self, holder: str) -> bool:
        """Whether the holder's share is its seed's expansion and a correction, not the expansion alone."""
        return self.places[holder] in corrected_places(len(self.members), self._limits.threshold)

    def add_halves(self, sender: str, session: str, body: bytes) -> None:
        """Note a member's halves; the last ones fix the epoch id.

        Raises:
            EquivocationError: Others of that member came before; the first stay.
            RefusedError: They are not for this list and each of its members.
        """
        entries = len(self.members) * (SEALED_BYTES + 2 * 32 + 3 * _ENTRY)
        halves = self._open("halves", sender, body, Halves, entries)
        corrected = {holder for holder in self.members if self.is_corrected(holder)}
        is_ours = (halves.epoch, halves.listing, session) == (self.listing.epoch, self.digest, self.label)
        clauses = {
            "this epoch and this list, not another list": is_ours,
            f"one for each of the {len(self.members) - 1} peers": set(halves.sealed) == set(self.members) - {sender},
            f"{SEALED_BYTES} bytes for each": {len(value) for value in halves.sealed.values()} <= {SEALED_BYTES},
            "a commitment for each holder": set(halves.commitments) == set(self.members),
            "the hash of a correction for each holder beyond the first t - 1": set(halves.corrections) == corrected,
            "hashes of 32 bytes": {len(value) for part in (halves.commitments, halves.corrections)
                                   for value in part.values()} <= {32},
        }  # fmt: skip
        self._hold(f"halves of {sender}", clauses)
        self._once("halves", sender, body)
        self.halves[sender] = halves
        if self.epoch_id is None and not self.missing("halves"):
            bodies = {name: self._bodies["halves", name] for name in self.members}
            self.epoch_id = epoch_identifier(self.body, self._setups, bodies)

    def add_probe(self, sender: str, session: str, body: bytes) -> None:
        """Note a holder's probes of all its shares.

        Raises:
            EquivocationError: Others of that holder came before; the first stay.
            RefusedError: They are for another epoch, or not one of each dealer's key.
        """
        probe = self._open("probe", sender, body, Probe, len(self.members) * (PROBE_BYTES + _ENTRY))
        clauses = {
            f"session {self.label}": session == self.label,
            "the epoch id of the halves on the board": self.epoch_id is not None and probe.epoch_id == self.epoch_id,
            "one for each dealer": set(probe.probes) == set(self.members),
            "two residues a prime for each": all(map(is_probe, probe.probes.values())),
        }
        self._hold(f"probe of {sender}", clauses)
        self._once("probe", sender, body)
        self._probes[sender] = probe

    def add_complaint(self, sender: str, session: str, body: bytes) -> Complaint:
        """Note a holder's complaint and return it.

        Raises:
            EquivocationError: It complained of that dealer in another way before.
            RefusedError: It is for another list, of nobody listed, or under another subject.
        """
        complaint = self._open("complaint", sender, body, Complaint, _ENTRY)
        clauses = {
            "all halves before any complaint": self.epoch_id is not None,
            "this list": complaint.listing == self.digest,
            "another listed member": complaint.dealer in self.places and complaint.dealer != sender,
        }
        self._hold(f"complaint of {sender}", clauses)
        is_possible = complaint.about == "share" or self.is_corrected(sender)
        clauses = {
            "the subject of its dealer": session == self.session_of(complaint.dealer),
            "a correction that was due": is_possible,
        }
        self._hold(f"complaint of {sender}", clauses)
        self._once(f"complaint of {complaint.dealer}", sender, body)
        self.complaints[complaint.dealer, sender] = complaint
        return complaint

    def add_answer(self, sender: str, session: str, body: bytes) -> Answer:
        """Check a dealer's answer to a complaint and return it; one that does not fit names the dealer.

        Raises:
            EquivocationError: It answered otherwise before.
            RefusedError: Nobody complained, or the answer does not fit what the dealer had committed to.
        """
        answer = self._open("answer", sender, body, Answer, _ENTRY + CORRECTION_BYTES)
        complaint = self.complaints.get((sender, answer.holder))
        # A holder that signs two complaints must not have the answer to one held against the other.
        asked = self._bodies.get((f"complaint of {sender}", answer.holder))
        if complaint is None or answer.complaint != asked or session != self.session_to(answer.holder):
            raise RefusedError(f"answer of {sender}: expected one to the complaint on the board, by its holder's place")
        self._once(f"answer to {answer.holder}", sender, body)
        halves, holder = self.halves[sender], answer.holder
        is_fitting = not answer.seed and not answer.half
        if complaint.about == "share":
            is_fitting = is_seed(answer.seed, halves.commitments[holder]) and len(answer.half) == HALF_BYTES
        if not is_fitting or not self._is_correction(answer, sender, holder):
            self.culprits.setdefault(sender, f"its answer to {holder} does not fit what it had committed to")
            raise RefusedError(f"answer of {sender}: it does not fit its commitments to {holder}; {sender} is at fault")
        self.answered.add((sender, holder))
        return answer

    def add_reveal(self, sender: str, session: str, body: bytes) -> None:
        """Compute a revealed share's probe again; name the holder, or with the last true one the dealer.

        Raises:
            EquivocationError: It revealed something else before.
            RefusedError: Nothing is in dispute, or the reveal is about something else, or false.
        """
        reveal = self._open("reveal", sender, body, Reveal, _ENTRY + CORRECTION_BYTES)
        dealer = self.disputed
        if dealer is None or (reveal.epoch_id, reveal.dealer, session) != (self.epoch_id, dealer, self.label):
            raise RefusedError(f"reveal of {sender}: expected one about the key in dispute here, {dealer}")
        self._once("reveal", sender, body)
        is_dealt = is_seed(reveal.seed, self.halves[dealer].commitments[sender])
        if not is_dealt or not self._is_correction(reveal, dealer, sender) or not self._is_probed_so(reveal, sender):
            self.culprits.setdefault(sender, f"its probe of the key of {dealer} was not that of the share it was dealt")
            raise RefusedError(f"reveal of {sender}: it does not bear out its probe of {dealer}; {sender} is at fault")
        self.revealed.add(sender)
        if not self.missing("reveal"):
            self.culprits.setdefault(dealer, "it dealt shares of its key that do not fit together")

    def _is_probed_so(self, reveal: Reveal, holder: str) -> bool:
        share = dealt_share(reveal.seed, reveal.correction)
        return probe_share(share, self.challenge) == self._probes[holder].probes[reveal.dealer]

    def _is_correction(self, said: Answer | Reveal, dealer: str, holder: str) -> bool:
        expected = self.halves[dealer].corrections.get(holder)
        return said.correction == b"" if expected is None else is_correction(said.correction, expected)

    def _open(self, step: str, sender: str, body: bytes, expected: type[PayloadT], size: int) -> PayloadT:
        if sender not in self.places:
            raise RefusedError(f"{step} of {sender}: it is not in the epoch's list")
        return open_envelope(body, expected, sender=sender, key=self._limits.keys[sender], limit=size + _ROOM)

    def _once(self, what: str, sender: str, body: bytes) -> None:
        digest = body if what == "halves" else hashlib.sha256(body).digest()
        if self._bodies.setdefault((what, sender), digest) != digest:
            raise EquivocationError(f"{what} of {sender}: a second message came; the first stays")

    def _hold(self, what: str, clauses: Mapping[str, bool]) -> None:
        for clause, holds in clauses.items():
            if not holds:
                raise RefusedError(f"{what}: expected {clause}")
