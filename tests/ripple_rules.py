"""A small constitution under which two ripple queries a year may be asked."""

from __future__ import annotations

from typing import Final

from hansa.lab.charter import charter
from simulator import signing_key
from small_market import BASKETS, HISTORY_DAYS, MEASURES

RULES: Final = charter(
    federation="test",
    keys={f"m{place}": signing_key(f"m{place}").public for place in range(4)},
    coordinator_key=signing_key("coordinator").public,
    baskets=BASKETS,
    measures=MEASURES,
    cost=MEASURES[0],
    volume_unit=1e6,
    history_days=HISTORY_DAYS,
    steps=0,
    weight_cap=0.5,
    ripple_epsilon=4.0,
    ripple_queries=2,
)
