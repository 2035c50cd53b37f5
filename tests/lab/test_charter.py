"""Claims about the constitution of an alliance on one machine: consistent, and its budgets fit its round."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from hansa.errors import BudgetError, ConfigurationError
from hansa.federation.door import MemberDoor
from hansa.federation.published import design_of, gram_length, network_shape, weights_length
from hansa.federation.rules import limits_of
from hansa.federation.schedule import round_programme, state_programme
from hansa.federation.store import MemberStore
from hansa.governance.constitution import check
from hansa.lab.charter import charter
from hansa.model.core import packed_length
from hansa.model.design import feature_names
from hansa.model.network import parameter_count
from hansa.protocol.privacy import epsilon
from players import epoch_keys
from simulator import BAR_NS, DAY_NS, Vectors, signing_key, vector
from small_market import AS_OF_NS, BASKETS, HISTORY_DAYS, MEASURES, constitution, manifest_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from hansa.federation.running_sum import Request
    from hansa.governance.constitution import Constitution
    from hansa.protocol.messages import Manifest

RULES = constitution(steps=3)


def made(members: int, **changes: object) -> Constitution:
    fields: dict[str, object] = {
        "federation": "test",
        "keys": {f"m{place}": signing_key(f"m{place}").public for place in range(members)},
        "coordinator_key": signing_key("coordinator").public,
        "baskets": BASKETS,
        "measures": MEASURES,
        "cost": MEASURES[0],
        "volume_unit": 1.0,
        "history_days": 9,
        **changes,
    }
    return charter(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("members", [3, 4, 5, 7, 10])
def test_a_charter_agrees_with_itself_for_any_number_of_members(members: int) -> None:
    found = made(members)
    check(found)
    assert 3 * found.colluders < members
    assert found.colluders + 2 <= found.minimum_cohort <= members
    assert found.quorum <= found.minimum_cohort


def test_members_stand_in_order_whatever_the_order_of_the_keys() -> None:
    keys = {name: signing_key(name).public for name in ("riga", "bergen", "visby")}
    assert [party.name for party in made(3, keys=keys).members] == ["bergen", "riga", "visby"]


@pytest.mark.parametrize(
    ("changes", "clause"),
    [
        ({"cost": "log_range"}, "market.cost"),
        ({"history_days": 0}, "market.history_days"),
        ({"weight_cap": 1.5}, "market.weight_cap"),
        ({"keys": {"m0": signing_key("m0").public}}, "members"),
        ({"bar_seconds": 7}, "market.bar_seconds"),
    ],
)
def test_a_charter_that_contradicts_itself_is_refused(changes: dict[str, object], clause: str) -> None:
    with pytest.raises(ConfigurationError, match=clause):
        made(4, **changes)


def test_only_the_state_channel_opens_its_sums_in_two_exchanges() -> None:
    assert {name: purpose.exchanges for name, purpose in RULES.purposes.items()} == {
        "census": 3,
        "state": 2,
        "gram": 3,
        "clip": 3,
        "weights": 3,
    }


def test_without_steps_a_round_trains_no_network() -> None:
    assert [line.purpose for line in constitution(steps=0).round] == ["census", "state", "gram"]
    assert RULES.round[-1].count == 3


@pytest.mark.parametrize(("baskets", "measures"), [(BASKETS, MEASURES), ({"one": ["A-B", "A-C"]}, ("log_range",))])
def test_each_purpose_is_as_long_as_what_its_statistic_gives(
    baskets: dict[str, list[str]], measures: tuple[str, ...]
) -> None:
    found = made(4, baskets=baskets, measures=measures, cost=measures[0])
    market, purposes = found.market, found.purposes
    features = len(feature_names(design_of(market), measures))
    assert purposes["census"].values == len(baskets)
    assert (purposes["state"].values, purposes["state"].values_per_bar) == (
        len(baskets),
        len(baskets) * len(measures),
    )
    assert purposes["gram"].values == gram_length(market) == len(baskets) * packed_length(features)
    assert purposes["weights"].values == weights_length(market) == parameter_count(network_shape(market))


class Till:
    """A door over fixed vectors that a whole programme is carried through."""

    def __init__(self, store: MemberStore) -> None:
        self.limits = limits_of(RULES)
        statistic = Vectors(lambda manifest: vector("m0", manifest.length) / 1e3, sensitivity=1e-9)
        self.store = store
        self.door = MemberDoor(
            "m0", limits=self.limits, signer=signing_key("m0"), store=store, statistic=statistic, clock=lambda: 1
        )
        self.keys = replace(epoch_keys(self.limits)["m0"], epoch="e1", epoch_id=bytes(32))

    def pay(self, request: Request) -> None:
        manifest: Manifest = manifest_of(request, RULES)
        self.door.upload(manifest, self.limits.purposes[request.purpose], self.keys)


@pytest.fixture
def till(tmp_path: Path) -> Iterator[Till]:
    store = MemberStore(tmp_path / "facts.sqlite")
    yield Till(store)
    store.close()


def test_the_budgets_afford_the_planned_round_and_no_second_one_in_the_year(till: Till) -> None:
    for request in round_programme(RULES, AS_OF_NS):
        till.pay(request)
    for name in ("census", "gram", "weights"):
        purpose = RULES.purposes[name]
        spent = epsilon(till.store.charges(name, "2022"), delta=purpose.delta)
        assert 0.9 * purpose.epsilon < spent <= purpose.epsilon, name
    for request in round_programme(RULES, AS_OF_NS + 7 * DAY_NS, published_ns=AS_OF_NS + 7 * DAY_NS):
        with pytest.raises(BudgetError, match=request.purpose):
            till.pay(request)


def test_a_day_of_the_state_channel_costs_the_same_bar_by_bar_or_at_once_and_is_then_spent(till: Till) -> None:
    start = AS_OF_NS + BAR_NS
    (day,) = state_programme(RULES, start, start + 287 * BAR_NS, bars=288)
    till.pay(day)
    name = "2022-01-14"
    whole = epsilon(till.store.charges("state", name), delta=1e-6)
    assert 0.9 * RULES.purposes["state"].epsilon < whole <= RULES.purposes["state"].epsilon
    (again,) = state_programme(RULES, start + BAR_NS, start + 60 * BAR_NS, bars=60)
    with pytest.raises(BudgetError, match="2022-01-14"):
        till.pay(again)
    for single in state_programme(RULES, start + 288 * BAR_NS, start + 300 * BAR_NS, bars=1):
        till.pay(single)
    singles = epsilon(till.store.charges("state", "2022-01-15"), delta=1e-6)
    (at_once,) = state_programme(RULES, start + 576 * BAR_NS, start + 588 * BAR_NS, bars=288)
    till.pay(at_once)
    assert singles == pytest.approx(epsilon(till.store.charges("state", "2022-01-16"), delta=1e-6), rel=1e-3)


def test_the_history_is_that_of_the_charter() -> None:
    census = round_programme(RULES, AS_OF_NS)[0]
    assert census.span_end_ns - census.span_start_ns == HISTORY_DAYS * DAY_NS - BAR_NS
