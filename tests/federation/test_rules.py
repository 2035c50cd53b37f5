"""Claims about the constitution as the protocol's limits."""

from __future__ import annotations

import pytest

from hansa.federation.rules import limits_of
from hansa.governance.constitution import Constitution, Deadlines, Market, Party, Purpose, Schedule, Sums, check
from simulator import signing_key

GRAM = Purpose(
    values=6, values_per_bar=2, exchanges=3, value_bound=100.0, scale=1024, sensitivity=1.0, noise_multiplier=2.0,
    unit="day", period="year", epsilon=4.0, delta=1e-6,
)  # fmt: skip
CONSTITUTION = Constitution(
    version=1,
    epoch=3,
    federation="test",
    members=tuple(Party(name, signing_key(name).public) for name in ("m0", "m1", "m2", "m3")),
    coordinator=Party("hub", signing_key("hub").public),
    colluders=1,
    minimum_cohort=3,
    attempts=2,
    reopenings=1,
    market=Market(
        bar_seconds=300, baskets={"eur": ("EUR-USD",)}, measures=("spread",), cost="spread", volume_unit=1.0,
        weight_cap=0.5, influence_cap=0.1, history_days=9,
    ),
    purposes={"gram": GRAM},
    round=(Sums("gram", 1),),
    schedule=Schedule("0 2 * * 3", "UTC"),
    deadlines=Deadlines(setup_seconds=60.0, upload_seconds=2.5, agree_seconds=0.25, open_seconds=1.0),
    supersedes=64 * "0",
)  # fmt: skip


def test_every_limit_comes_from_the_constitution() -> None:
    check(CONSTITUTION)
    found = limits_of(CONSTITUTION)
    assert found.constitution == CONSTITUTION.digest()
    assert found.members == ("m0", "m1", "m2", "m3")
    assert found.keys == {name: signing_key(name).public for name in ("m0", "m1", "m2", "m3", "hub")}
    assert (found.coordinator, found.quorum, found.minimum_cohort, found.colluders) == ("hub", 3, 3, 1)
    assert (found.setup_ns, found.upload_ns, found.agree_ns, found.open_ns) == (
        60_000_000_000, 2_500_000_000, 250_000_000, 1_000_000_000,
    )  # fmt: skip
    assert found.bar_ns == 300_000_000_000


@pytest.mark.parametrize(
    "name",
    [
        "values",
        "values_per_bar",
        "exchanges",
        "value_bound",
        "scale",
        "sensitivity",
        "noise_multiplier",
        "period",
        "epsilon",
        "delta",
    ],
)
def test_every_number_of_a_purpose_is_taken_over(name: str) -> None:
    assert getattr(limits_of(CONSTITUTION).purposes["gram"], name) == getattr(GRAM, name)
