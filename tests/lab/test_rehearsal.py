"""Claims about the rehearsal: the same sums as the real protocol's, and what the protocol shows of a member."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pytest

import hansa.federation.door
import hansa.lab.rehearsal
from hansa.federation.forecasting import ARMS, basket_rows, forecast
from hansa.federation.liquidity import LiquidityWork
from hansa.federation.records import Records
from hansa.federation.rules import limits_of
from hansa.federation.schedule import replay_programme
from hansa.lab.rehearsal import rehearse, volume_key
from hansa.protocol.session import facts_label
from simulator import BAR_NS, Simulation
from small_market import AS_OF_NS, UNTIL_NS, all_views, constitution, views_of_member, work

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from hansa.federation.door import Contribution
    from hansa.federation.views import Views
    from hansa.protocol.messages import Manifest
    from hansa.protocol.session import Aggregate

RULES = constitution()
UNTIL = AS_OF_NS + 20 * BAR_NS
PROGRAMME = replay_programme(RULES, AS_OF_NS, UNTIL, live_bars=3)


@dataclass
class Watched:
    """A member's liquidity work that remembers what went into the door and what came out of sums."""

    work: LiquidityWork
    opened: list[Aggregate] = field(default_factory=list)
    given: dict[str, np.ndarray] = field(default_factory=dict)

    def contribution(self, manifest: Manifest) -> Contribution:
        found = self.work.contribution(manifest)
        self.given[manifest.purpose] = found.vector
        return found

    def receive(self, aggregate: Aggregate) -> None:
        self.opened.append(aggregate)
        self.work.receive(aggregate)

    def settle(self) -> None:
        self.work.settle()


def forecasts(one: LiquidityWork, views: Views) -> dict[str, np.ndarray]:
    one.settle()
    assert one.fitted is not None
    return forecast(one.published, basket_rows(one.published, views), one.fitted)


@pytest.fixture
def federation(tmp_path: Path) -> Iterator[Callable[[], Simulation]]:
    made: list[Simulation] = []

    def make() -> Simulation:
        directory = tmp_path / str(len(made))
        directory.mkdir()
        made.append(
            Simulation(
                directory,
                limits=limits_of(RULES),
                programme=PROGRAMME,
                statistic=lambda name: Watched(work(views_of_member(name), volume_key=volume_key(1, name))),  # type: ignore[arg-type, return-value]
                now_ns=UNTIL_NS,
            )
        )
        return made[-1]

    yield make
    for one in made:
        for store in one.stores.values():
            store.close()


def watched(federation: Simulation, name: str) -> Watched:
    found = federation.statistics[name]
    assert isinstance(found, Watched)
    return found


def test_without_noise_the_rehearsed_sums_are_the_protocols_word_for_word(
    federation: Callable[[], Simulation], monkeypatch: pytest.MonkeyPatch
) -> None:
    def silence(_table: object, length: int, _seed: bytes) -> np.ndarray:
        return np.zeros(length, dtype=np.int64)

    monkeypatch.setattr(hansa.federation.door, "add_sample", lambda *_: None)
    monkeypatch.setattr(hansa.lab.rehearsal, "sample", silence)
    rehearsed: list[Aggregate] = []
    receive = LiquidityWork.receive

    def listen(self: LiquidityWork, aggregate: Aggregate) -> None:
        if aggregate.manifest.epoch == "rehearsal" and not (rehearsed and rehearsed[-1] is aggregate):
            rehearsed.append(aggregate)
        receive(self, aggregate)

    monkeypatch.setattr(LiquidityWork, "receive", listen)
    real = federation()
    real.run()
    rehearse(RULES, all_views(), as_of_ns=AS_OF_NS, until_ns=UNTIL, seed=1)
    sums = {one.manifest.purpose: one.steps for one in real.opened() if one.manifest.round == PROGRAMME[0].round}
    assert set(sums) == {"census", "state", "gram"}
    for one in rehearsed:
        if one.manifest.round == PROGRAMME[0].round:
            assert np.array_equal(one.steps, sums[one.manifest.purpose]), one.manifest.purpose
    live = [one for one in real.opened() if one.manifest.round != PROGRAMME[0].round]
    batched = [one for one in rehearsed if one.manifest.round != PROGRAMME[0].round]
    values = [np.concatenate([one.steps[2:] for one in found]) for found in (live, batched)]
    assert np.array_equal(*values), "the channel gives the same values bar by bar and at once"


def test_the_rehearsed_noise_is_as_large_as_the_protocols(
    federation: Callable[[], Simulation], monkeypatch: pytest.MonkeyPatch
) -> None:
    exact: dict[str, dict[int, np.ndarray]] = {}
    opened: dict[str, np.ndarray] = {}
    contribution, receive = LiquidityWork.contribution, LiquidityWork.receive
    scale = RULES.purposes["state"].scale

    def is_batch(manifest: Manifest) -> bool:
        return manifest.purpose == "state" and manifest.round == PROGRAMME[0].round

    def give(self: LiquidityWork, manifest: Manifest) -> Contribution:
        found = contribution(self, manifest)
        if is_batch(manifest):
            exact.setdefault(manifest.epoch, {})[id(self)] = np.rint(found.vector * scale)
        return found

    def take(self: LiquidityWork, aggregate: Aggregate) -> None:
        if is_batch(aggregate.manifest):
            opened[aggregate.manifest.epoch] = aggregate.steps
        receive(self, aggregate)

    monkeypatch.setattr(LiquidityWork, "contribution", give)
    monkeypatch.setattr(LiquidityWork, "receive", take)
    federation().run()
    rehearse(RULES, all_views(), as_of_ns=AS_OF_NS, until_ns=UNTIL, seed=3)
    assert {len(given) for given in exact.values()} == {len(RULES.members)}
    noises = {epoch: steps - sum(exact[epoch].values()) for epoch, steps in opened.items()}
    real, played = (noises[epoch].std() for epoch in sorted(noises, key="rehearsal".__eq__))
    draws = min(map(len, noises.values()))
    assert real == pytest.approx(played, rel=6 * draws**-0.5), "six standard errors of the ratio of two deviations"
    assert draws > 2500
    assert all(abs(noise.mean()) < 5 * noise.std() / noise.size**0.5 for noise in noises.values())


def test_no_value_of_a_member_is_in_what_it_sends(federation: Callable[[], Simulation]) -> None:
    real = federation()
    real.run()
    measures = views_of_member("m1").series["eur"][0].measures
    sent = [body for sender, step, body in real.sent if sender == "m1" and step == "upload"]
    assert len(sent) == len(PROGRAMME)
    given = watched(real, "m1").given
    for body in sent:
        for kind in (np.float64, np.float32):
            for row in measures[::7].astype(kind):
                assert row.tobytes() not in body
        for name, vector in given.items():
            steps = np.rint(vector * RULES.purposes[name].scale).astype(np.int64)
            words = steps.astype(np.uint32)
            pairs = [words[place : place + 2].tobytes() for place in range(0, words.size - 1, 5) if steps[place]]
            assert not any(pair in body for pair in pairs), name


@pytest.mark.parametrize("step", ["upload", "agree", "open"])
def test_a_member_restarted_in_mid_round_comes_to_the_same_forecasts(
    federation: Callable[[], Simulation], step: str
) -> None:
    killed = federation()
    killed.run(until=lambda: sum(sent[:2] == ("m1", step) for sent in killed.sent) == 3)
    killed.start("m1")
    killed.run()
    calm = work(views_of_member("m1"))
    for aggregate in killed.opened("m0"):
        calm.receive(aggregate)
    expected = forecasts(calm, views_of_member("m1"))
    found = forecasts(watched(killed, "m1").work, views_of_member("m1"))
    assert len(killed.opened("m0")) == len(PROGRAMME)
    assert all("m1" in aggregate.cohort for aggregate in killed.opened("m0"))
    for arm in ARMS:
        np.testing.assert_array_equal(found[arm], expected[arm])


def test_a_member_started_long_after_the_round_comes_to_the_same_facts(federation: Callable[[], Simulation]) -> None:
    real = federation()
    real.run()
    before = watched(real, "m2").work.published
    real.start("m2")
    real.run()
    while real.step():
        continue
    after = watched(real, "m2").work.published
    assert np.array_equal(before.state, after.state)
    assert before.rounds == after.rounds
    assert watched(real, "m2").given == {}, "nothing is computed again for sums that are over"
    label = facts_label(real.epoch, real.opened("m0")[0].manifest.session)
    assert real.stores["m2"].fact(f"{label}/closed") is not None


def test_the_same_seed_rehearses_the_same_numbers() -> None:
    one, same, other = (
        rehearse(RULES, all_views(), as_of_ns=AS_OF_NS, until_ns=AS_OF_NS, seed=seed).works["m0"].published.state
        for seed in (1, 1, 2)
    )
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_a_rehearsal_keeps_nothing_on_disk_unless_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = rehearse(RULES, all_views(), as_of_ns=AS_OF_NS, until_ns=AS_OF_NS, seed=1)
    assert isinstance(found.works["m0"]._records, Records)
    assert list(tmp_path.iterdir()) == []
