"""A small constitution and its signatures, for tests."""

from __future__ import annotations

import msgspec

from hansa.governance.constitution import Constitution, Deadlines, Market, Party, Purpose, Schedule, Sums
from hansa.governance.signed import SignedConstitution
from simulator import signing_key

GRAM = Purpose(
    values=100, values_per_bar=0, exchanges=3, value_bound=1000.0, scale=1024, sensitivity=10.0, noise_multiplier=8.0,
    unit="day", period="year", epsilon=4.0, delta=1e-6,
)  # fmt: skip


def party(name: str) -> Party:
    return Party(name, signing_key(name).public)


def constitution(size: int = 5, colluders: int = 1, **changes: object) -> Constitution:
    plain = Constitution(
        version=1,
        epoch=1,
        federation="test",
        members=tuple(party(f"m{place:02}") for place in range(size)),
        coordinator=party("coordinator"),
        colluders=colluders,
        minimum_cohort=max(3, colluders + 2, (size + colluders) // 2 + 1),
        attempts=3,
        reopenings=2,
        market=Market(
            bar_seconds=300,
            baskets={"eur": ("EUR-USD", "EUR-GBP")},
            measures=("spread", "depth"),
            cost="spread",
            volume_unit=1e6,
            weight_cap=0.4,
            influence_cap=0.1,
            history_days=90,
        ),
        purposes={"gram": GRAM, "state": msgspec.structs.replace(GRAM, values=0, values_per_bar=3, period="day")},
        round=(Sums("gram", 1), Sums("state", 2)),
        schedule=Schedule("0 2 * * 3", "UTC"),
        deadlines=Deadlines(60.0, 30.0, 10.0, 10.0),
    )
    return msgspec.structs.replace(plain, **changes)


def signed(document: Constitution | None = None) -> SignedConstitution:
    found = SignedConstitution(document or constitution(), {})
    for member in found.constitution.members:
        found = found.signed_by(member.name, signing_key(member.name))
    return found
