"""The claim over faults: the opened sum is exactly what the cohort put in, or the session dies and nothing opens."""

from __future__ import annotations

import hashlib
import tempfile
from collections import defaultdict
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from adversary import added, complete_roots, is_opened
from hansa.crypto.encryption import decode
from hansa.errors import EquivocationError
from hansa.federation.store import read_ledger
from hansa.federation.transport import Channel, Message, Subject
from hansa.protocol.messages import Agreement, Call, Cohort, Manifest, Opening, Payload, Upload, open_envelope
from hansa.protocol.session import call_step, facts_label, vector_coefficients
from players import from_coordinator
from simulator import SECOND, Simulation, limits, purpose, request, signing_key

if TYPE_CHECKING:
    from hansa.federation.store import MemberStore
    from hansa.protocol.epoch import Outgoing
    from hansa.protocol.limits import Limits

members = st.integers(0, 6)
moments = st.integers(0, 10_000)
shapes = st.sampled_from([(4, 1), (5, 1), (7, 2)])  # members and colluders


@lru_cache(maxsize=16)
def set_up(rules_of: tuple[int, int]) -> tuple[dict[str, bytes], tuple[Message, ...]]:
    """Return the members' files and the messages of a finished set-up: every example goes on from there."""
    with tempfile.TemporaryDirectory() as directory:
        simulation = Simulation(Path(directory), limits=rules(*rules_of), programme=[])
        simulation.run(until=lambda: simulation.coordinator.is_done)
        for store in simulation.stores.values():
            store.close()
        files = {path.name: path.read_bytes() for path in Path(directory).iterdir()}
        return files, tuple(message for channel in Channel for message in simulation.hub.stored(channel))


def rules(size: int, colluders: int) -> Limits:
    return limits(
        size,
        colluders,
        gram=purpose(epsilon=500.0),
        delta=purpose(values=3, epsilon=500.0, exchanges=2, value_bound=1e5),
    )


def read(body: bytes, kind: type[Payload], sender: str) -> Payload:
    return open_envelope(body, kind, sender=sender, key=signing_key(sender).public, limit=1 << 24)


@dataclass
class Observed(Simulation):
    """A simulation that keeps every body a member let go, accepted or not, and every cohort it was shown."""

    tried: dict[tuple[str, str, str], set[bytes]] = field(default_factory=lambda: defaultdict(set))
    cohorts: dict[bytes, Cohort] = field(default_factory=dict)

    def __post_init__(self) -> None:
        files, messages = set_up((len(self.limits.members), self.limits.colluders))
        for name, data in files.items():
            (self.directory / name).write_bytes(data)
            (self.directory / name).chmod(0o600)
        super().__post_init__()
        for message in messages:
            self.hub.accept(message.subject, message.body)
        self._listen()

    def _publish(self, sender: str, session: str, step: str, body: bytes) -> None:
        self.tried[sender, session, step].add(body)
        if step == "cohort":
            self.note(read(body, Cohort, sender))  # type: ignore[arg-type]
        super()._publish(sender, session, step, body)

    def _send(self, name: str, outgoing: list[Outgoing]) -> None:
        """Let go what the member's own record of egress lets go, as its node does."""
        for session, step, body in outgoing:
            try:
                self.stores[name].record_egress(facts_label(self.epoch, session), step, body, time_ns=self.now_ns)
            except EquivocationError:
                continue
            self._publish(name, session, step, body)

    def bodies(self, sender: str, session: str, step: str) -> set[bytes]:
        return self.tried.get((sender, session, step), set())

    def note(self, cohort: Cohort) -> None:
        self.cohorts[cohort.root()] = cohort

    def deliver(self, name: str, message: Message) -> None:
        """Give a member a message out of turn."""
        self._send(name, self.nodes[name].handle(message))

    def manifests(self) -> dict[str, Manifest]:
        """Return every manifest that stands on the board, by session."""
        announced = [one for one in self.hub.stored(Channel.BOARD) if one.subject.step == "announce"]
        return {one.subject.session: read(one.body, Manifest, "coordinator") for one in announced}  # type: ignore[misc]

    def roll_back(self, moment: int) -> None:
        """Take the server's store back to an earlier instant after the set-up; everybody starts again."""
        board = self.hub.stored(Channel.BOARD)
        first = next((place for place, one in enumerate(board) if one.subject.step == "announce"), None)
        if first is None:
            return
        kept = first + 1 + moment % (len(board) - first)
        until_ns = board[kept - 1].time_ns
        for channel in Channel:
            stored = self.hub.stored(channel)
            is_kept = [one.time_ns <= until_ns if channel is not Channel.BOARD else True for one in stored]
            stream = [one for one, keep in zip(stored, is_kept, strict=True) if keep]
            stream = stream[:kept] if channel is Channel.BOARD else stream
            for one in stored[len(stream) :]:
                self.hub._bodies.pop(one.subject)
            self.hub._streams[channel] = stream
        self.start_coordinator()
        for name in self.limits.members:
            self.start(name)


class FederationUnderFaults(RuleBasedStateMachine):
    """Faults and attacks: drop-outs, kills, the server rolled back, messages repeated, early, cut, and two faces."""

    @initialize(shape=shapes, first=st.integers(0, 1), sums=st.integers(1, 3), absent=st.integers(0, 3))
    def begin(self, shape: tuple[int, int], first: int, sums: int, absent: int) -> None:
        self.directory = tempfile.TemporaryDirectory()
        size = shape[0]
        names = ("gram", "delta")
        programme = [request(place, names[(place + first) % 2]) for place in range(sums)]
        self.federation = Observed(Path(self.directory.name), limits=rules(*shape), programme=programme)
        spare = size - self.federation.limits.minimum_cohort
        self.federation.silent.update(self.federation.limits.members[size - min(absent, spare) :])
        self.steps: dict[str, bytes] = {}
        self.exact: set[tuple[str, tuple[str, ...], bytes]] = set()

    def name(self, place: int) -> str:
        return self.federation.limits.members[place % len(self.federation.limits.members)]

    @rule(times=st.integers(1, 6))
    def everybody_reads_and_answers(self, times: int) -> None:
        for _ in range(times):
            self.federation.step()

    @rule(seconds=st.sampled_from([3, 11]))
    def time_passes(self, seconds: int) -> None:
        self.federation.now_ns += seconds * SECOND

    @rule(place=members)
    def a_member_drops(self, place: int) -> None:
        self.federation.silent.add(self.name(place))

    @rule(place=members)
    def a_member_is_killed_and_comes_back(self, place: int) -> None:
        self.federation.revive(self.name(place))

    @rule()
    def the_coordinator_is_killed_and_comes_back(self) -> None:
        self.federation.start_coordinator()

    @rule(place=members, moment=moments)
    def a_member_reads_a_message_of_the_board_again_or_too_early(self, place: int, moment: int) -> None:
        stored = self.federation.hub.stored(Channel.BOARD)
        name = self.name(place)
        if stored and name not in self.federation.silent:
            self.federation.deliver(name, stored[moment % len(stored)])

    @rule(moment=moments)
    def the_servers_store_is_rolled_back(self, moment: int) -> None:
        self.federation.roll_back(moment)

    @rule(place=members, moment=moments, cut=st.integers(0, 3000), bit=st.integers(0, 7))
    def a_message_arrives_cut_and_another_with_a_bit_flipped(self, place: int, moment: int, cut: int, bit: int) -> None:
        name = self.name(place)
        for channel in (Channel.BOARD, Channel.INBOX):
            stored = self.federation.hub.stored(channel)
            if not stored or name in self.federation.silent:
                continue
            old = stored[moment % len(stored)]
            at = cut % len(old.body)
            flipped = old.body[:at] + bytes([old.body[at] ^ 1 << bit]) + old.body[at + 1 :]
            for body in (old.body[:at], flipped):
                message = Message(old.subject, body, old.sequence, old.time_ns)
                if channel is Channel.BOARD:
                    self.federation.deliver(name, message)
                else:
                    self.federation.coordinator.handle(message)

    @rule(
        left_out=members, seen_by=st.sets(members, min_size=2), moment=moments, number=st.sampled_from([0, 0, 0, 1, 3])
    )
    def the_coordinator_shows_some_members_another_cohort_and_calls_them(
        self, left_out: int, seen_by: set[int], moment: int, number: int
    ) -> None:
        federation, rules = self.federation, self.federation.limits
        manifests = federation.manifests()
        if not manifests:
            return
        session = sorted(manifests)[moment % len(manifests)]
        bodies = {n: max(federation.bodies(n, session, "upload"), default=b"") for n in rules.members}
        names = [n for n in rules.members if bodies[n] and n != self.name(left_out)]
        digest = manifests[session].digest()
        cohort = Cohort(digest, tuple(names), tuple(hashlib.sha256(bodies[n]).digest() for n in names))
        federation.note(cohort)
        viewers = [self.name(place) for place in sorted(seen_by) if self.name(place) not in federation.silent]
        self._show(viewers, session, "cohort", cohort)
        agreements = [
            body
            for n in names
            for body in federation.bodies(n, session, "agree")
            if read(body, Agreement, n).root == cohort.root()  # type: ignore[attr-defined]
        ]
        is_first = number == 0 and rules.purposes[manifests[session].purpose].exchanges == 3
        decryptors = tuple(names[moment % 2 :][: rules.threshold])
        call = Call(digest, cohort.root(), number, decryptors, tuple(agreements) if is_first else ())
        self._show(viewers, session, call_step(number), call)

    @rule(place=members, moment=moments)
    def the_coordinator_shows_a_member_another_manifest_of_a_label(self, place: int, moment: int) -> None:
        manifests = self.federation.manifests()
        if manifests and self.name(place) not in self.federation.silent:
            session = sorted(manifests)[moment % len(manifests)]
            other = msgspec.structs.replace(manifests[session], index=manifests[session].index + 1)
            self._show([self.name(place)], session, "announce", other)

    def _show(self, viewers: list[str], session: str, step: str, payload: Payload) -> None:
        """Hand a message of the coordinator to these members alone."""
        subject = Subject(self.federation.epoch, session, step, "coordinator")
        for name in viewers:
            self.federation.deliver(name, Message(subject, from_coordinator(payload), 1, self.federation.now_ns))

    @rule(channel=st.sampled_from(list(Channel)), moment=moments)
    def the_coordinator_reads_a_message_again(self, channel: Channel, moment: int) -> None:
        stored = self.federation.hub.stored(channel)
        if stored:
            self.federation.coordinator.handle(stored[moment % len(stored)])

    @rule(place=members, step=st.sampled_from(["upload", "agree", "open", "shares", "halves"]), moment=moments)
    def a_strange_body_stands_under_a_members_subject(self, place: int, step: str, moment: int) -> None:
        stored = self.federation.hub.stored(Channel.BOARD)
        if stored:
            old = stored[moment % len(stored)]
            stranger = Subject(self.federation.epoch, old.subject.session, step, f"x{place}")
            self.federation.hub.accept(stranger, old.body)

    @invariant()
    def every_opened_sum_is_exact_and_the_same_for_all(self) -> None:
        for statistic in self.federation.statistics.values():
            for aggregate in statistic.opened:
                session = aggregate.manifest.session
                checked = (session, aggregate.cohort, aggregate.steps.tobytes())
                if checked not in self.exact:
                    assert np.array_equal(aggregate.steps, self.federation.expected(aggregate))
                    assert len(aggregate.cohort) >= self.federation.limits.minimum_cohort
                    self.exact.add(checked)
                assert self.steps.setdefault(session, aggregate.steps.tobytes()) == aggregate.steps.tobytes()

    def openings(self) -> dict[bytes, list[tuple[str, Opening]]]:
        """Return every opening that ever left a member, by manifest."""
        found: dict[bytes, list[tuple[str, Opening]]] = defaultdict(list)
        for (sender, _session, step), bodies in self.federation.tried.items():
            if step.startswith("open") and sender in self.federation.limits.members:
                for body in bodies:
                    opening = read(body, Opening, sender)
                    assert isinstance(opening, Opening)
                    found[opening.manifest].append((sender, opening))
        return found

    @invariant()
    def no_transcript_opens_fewer_than_the_minimum_or_two_cohorts_of_one_manifest(self) -> None:
        """The last c members are the attacker's: it has their answers to every call, asked for or not."""
        rules = self.federation.limits
        colluders = rules.members[len(rules.members) - rules.colluders :]
        for openings in self.openings().values():
            honest = [(name, opening) for name, opening in openings if name not in colluders]
            roots = complete_roots(honest, colluders, rules.threshold)
            assert len(roots) <= 1
            for root in {opening.root for _, opening in honest}:
                assert len(self.federation.cohorts[root].members) >= rules.minimum_cohort
            for name, opening in honest:
                dropped = set(rules.members) - set(self.federation.cohorts[opening.root].members)
                assert name not in dropped
                assert set(opening.seeds) <= dropped

    def what_the_transcript_decrypts(self) -> set[tuple[bytes, bytes]]:
        """Return (manifest, root) of each cohort whose uploads some call's partials decrypt, by trying all of them."""
        found = set()
        for session, manifest in self.federation.manifests().items():
            width = vector_coefficients(manifest, self.federation.limits)
            uploads = {}
            for name in self.federation.limits.members:
                for body in self.federation.bodies(name, session, "upload"):
                    upload = read(body, Upload, name)
                    assert isinstance(upload, Upload)
                    if upload.manifest == manifest.digest():
                        uploads[name] = upload.ciphertext
            openings = self.openings()[manifest.digest()]
            for cohort in self.federation.cohorts.values():
                if cohort.manifest != manifest.digest() or not set(cohort.members) <= set(uploads):
                    continue
                ciphertexts = [uploads[name] for name in cohort.members]
                for root, number in {(opening.root, opening.number) for _, opening in openings}:
                    partials = [one.partial for _, one in openings if (one.root, one.number) == (root, number)]
                    parts = [*ciphertexts, *(data for data in partials if data)]
                    if is_opened(decode(added(parts, width))):
                        found.add((manifest.digest(), cohort.root()))
                        assert self.federation.cohorts[root].members == cohort.members
        return found

    @invariant()
    def nobody_says_two_things_where_the_protocol_allows_one(self) -> None:
        for (sender, session, step), bodies in self.federation.tried.items():
            assert sender == "coordinator" or len(bodies) == 1, (sender, session, step)

    @invariant()
    def a_charge_is_never_lost_or_doubled(self) -> None:
        for name, store in self.federation.stores.items():
            charged = len(read_ledger(Path(self.directory.name) / f"{name}.sqlite"))
            uploads = {session for sender, session, step in self.federation.tried if (sender, step) == (name, "upload")}
            left = [row for row in store.egress() if row.step == "upload"]
            assert charged == len(left)
            assert {row.session for row in left} >= {facts_label(self.federation.epoch, one) for one in uploads}
            counted = sum(one.count for place in store.charged_periods() for one in store.charges(*place))
            assert counted == charged - len(self.released(store))

    def released(self, store: MemberStore) -> set[str]:
        """Return the sessions whose charge a member took back."""
        rows = store._execute("SELECT session FROM charge WHERE is_released").fetchall()
        return {session.split("/", 1)[1] for (session,) in rows}

    def teardown(self) -> None:
        if not hasattr(self, "federation"):
            return
        for name in self.federation.limits.members:
            self.federation.revive(name)
        self.federation.start_coordinator()
        self.federation.run()
        self.federation.coordinator.extend([request(0, round_=2)])
        self.federation.run()
        assert self.federation.coordinator.is_done
        assert (2, 0) in self.federation.coordinator.done
        assert 2 not in self.federation.coordinator.abandoned, "without faults a sum is opened"
        self.every_opened_sum_is_exact_and_the_same_for_all()
        self.no_transcript_opens_fewer_than_the_minimum_or_two_cohorts_of_one_manifest()
        decrypted = self.what_the_transcript_decrypts()
        assert decrypted, "the last sum at least"
        assert len({manifest for manifest, _ in decrypted}) == len(decrypted)
        for _, root in decrypted:
            assert len(self.federation.cohorts[root].members) >= self.federation.limits.minimum_cohort
        opened = {session for session, one in self.federation.manifests().items() if one.digest() in dict(decrypted)}
        for store in self.federation.stores.values():
            assert self.released(store).isdisjoint(opened), "what can be opened stays charged"
        self.nobody_says_two_things_where_the_protocol_allows_one()
        self.a_charge_is_never_lost_or_doubled()
        for store in self.federation.stores.values():
            store.close()
        self.directory.cleanup()


def run(examples: int, steps: int) -> None:
    run_state_machine_as_test(
        FederationUnderFaults,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_under_faults_the_sum_is_exact_or_the_session_dies() -> None:
    run(8, 20)


@pytest.mark.slow
def test_under_many_faults_the_sum_is_exact_or_the_session_dies() -> None:
    run(200, 50)
