"""The claim over faults: the opened sum is exactly what the cohort put in, or the session dies and nothing opens."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from hansa.federation.transport import Channel, Message, Subject
from hansa.protocol.messages import Opening, Result, open_envelope
from hansa.protocol.session import facts_label
from simulator import SECOND, Simulation, limits, purpose, request, signing_key

members = st.integers(0, 6)
moments = st.integers(0, 10_000)


@dataclass
class Observed(Simulation):
    """A simulation that keeps every body a member tried to send, accepted or not."""

    tried: dict[tuple[str, str, str], set[bytes]] = field(default_factory=lambda: defaultdict(set))

    def _publish(self, sender: str, session: str, step: str, body: bytes) -> None:
        self.tried[sender, session, step].add(body)
        super()._publish(sender, session, step, body)

    def deliver(self, name: str, message: Message) -> None:
        """Give a member a message of the board out of turn."""
        for step, body in self.nodes[name].handle(message):
            label = facts_label(self.epoch, message.subject.session)
            self.stores[name].record_egress(label, step, body, time_ns=self.now_ns)
            self._publish(name, message.subject.session, step, body)


class FederationUnderFaults(RuleBasedStateMachine):
    """Members and the coordinator drop out, are killed, come back, and read messages twice or out of order."""

    @initialize(size=st.integers(3, 7), colluders=st.integers(0, 2), sums=st.integers(1, 3), absent=st.integers(0, 3))
    def begin(self, size: int, colluders: int, sums: int, absent: int) -> None:
        self.directory = tempfile.TemporaryDirectory()
        rules = limits(
            size, min(colluders, (size - 1) // 3), gram=purpose(epsilon=500.0), delta=purpose(values=3, epsilon=500.0)
        )
        names = ("gram", "delta")
        programme = [request(place, names[place % 2]) for place in range(sums)]
        self.federation = Observed(Path(self.directory.name), limits=rules, programme=programme)
        self.federation.silent.update(rules.members[size - min(absent, size - rules.minimum_cohort) :])
        self.words: dict[str, bytes] = {}

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
                opened = aggregate.steps
                assert np.array_equal(opened, self.federation.expected(aggregate))
                assert len(aggregate.cohort) >= self.federation.limits.minimum_cohort
                session = aggregate.manifest.session
                assert self.words.setdefault(session, aggregate.steps.tobytes()) == aggregate.steps.tobytes()

    @invariant()
    def no_transcript_opens_fewer_than_the_minimum(self) -> None:
        rules = self.federation.limits
        for message in self.federation.hub.stored(Channel.BOARD):
            if message.subject.step == "result":
                key = rules.keys["coordinator"]
                result = open_envelope(message.body, Result, sender="coordinator", key=key)
                assert len(result.members) >= rules.minimum_cohort
        for message in self.federation.hub.stored(Channel.INBOX):
            sender = message.subject.sender
            if message.subject.step == "open" and sender in rules.members:
                opening = open_envelope(message.body, Opening, sender=sender, key=signing_key(sender).public)
                assert len(rules.members) - len(opening.seeds) >= rules.minimum_cohort

    @invariant()
    def nobody_says_two_things_where_the_protocol_allows_one(self) -> None:
        for (sender, _session, _step), bodies in self.federation.tried.items():
            assert sender == "coordinator" or len(bodies) == 1

    @invariant()
    def a_charge_is_never_lost_or_doubled(self) -> None:
        for name, store in self.federation.stores.items():
            charged = sum(len(store.charges(*place)) for place in store.charged_periods())
            uploads = {session for sender, session, step in self.federation.tried if (sender, step) == (name, "upload")}
            left = [row for row in store.egress() if row.step == "upload"]
            assert charged == len(left)
            assert {row.session for row in left} >= {facts_label(self.federation.epoch, one) for one in uploads}

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
