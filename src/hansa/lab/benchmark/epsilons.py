"""The privacy budgets at which federated arms are measured, and the noise of a federation without a constitution.

`yearly` is for one day of a member's raw data a year (census, Gram matrices), `state` for one client's day in the state
channel; both at `DELTA`. Noise follows from the accounting of `hansa.protocol.privacy`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from hansa.protocol.privacy import noise_multiplier_for

DELTA: Final = 1e-6


@dataclass(frozen=True, slots=True)
class Epsilons:
    """Budgets of one arm; infinite: no noise and no clipping.

    Attributes:
        name: As tables have it.
        yearly: For one day of a member's raw data, a year.
        state: For one client's day in the state channel.
    """

    name: str
    yearly: float
    state: float

    @property
    def is_none(self) -> bool:
        """Whether there is no noise at all."""
        return math.isinf(self.yearly) and math.isinf(self.state)

    def multiplier(self, epsilon: float, sums: int) -> float:
        """Return noise over sensitivity with which so many sums stay within epsilon."""
        return 0.0 if math.isinf(epsilon) else noise_multiplier_for(epsilon, DELTA, sums)


NO_NOISE: Final = Epsilons("none", math.inf, math.inf)
SHIPPED: Final = Epsilons("8", 8.0, 8.0)
#: The acceptance's budget "4 a year": yearly budgets of 4, the state channel as shipped.
FOUR_A_YEAR: Final = Epsilons("4 a year", 4.0, 8.0)
#: The acceptance's budget "4 a client-day": the state channel at 4, yearly budgets as shipped.
FOUR_A_DAY: Final = Epsilons("4 a client-day", 8.0, 4.0)
ALL: Final = (NO_NOISE, SHIPPED, Epsilons("4", 4.0, 4.0), Epsilons("1", 1.0, 1.0))
BY_NAME: Final = {one.name: one for one in (*ALL, FOUR_A_YEAR, FOUR_A_DAY)}
