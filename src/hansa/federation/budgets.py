"""What is spent of each privacy budget, what is left, and when the constitution's schedule will have used it up.

A purpose's budget is (epsilon, delta) for one unit and one period. What is spent comes from a member's own ledger; what
is left is the number of further releases at the constitution's noise that still fit, found with the same accounting by
which the door refuses. When it runs out follows from the schedule alone:

* period `year`: the first scheduled round after the last charged one whose sums no longer fit;
* period `day`: the first bar of that day that no longer fits, each bar being released once.

Sums that die and are attempted again cost more than the schedule says; they are in what is spent, not in the forecast.

Does NOT guarantee: that the statistic bounds its unit's influence; see `hansa.federation.liquidity`.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from hansa.crypto.sampling import GaussianTable
from hansa.federation.rules import NS, limits_of
from hansa.federation.schedule import DAY_NS, next_round_ns
from hansa.protocol.encoding import share_sigma, values_touched
from hansa.protocol.privacy import Charge, NoiseShares, epsilon, zcdp_epsilon, zcdp_rho

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hansa.federation.store import Spending
    from hansa.governance.constitution import Constitution
    from hansa.protocol.limits import Limits, PurposeLimit

DAY_UNIT: Final = "one day"
MOST_RELEASES: Final = 2**40
YEAR_NS: Final = 365 * DAY_NS
SCHEDULE_FROM_NS: Final = 1_704_067_200_000_000_000  # 2024-01-01T00:00Z: any year shows a schedule
_ROUND = re.compile(r"(?:^|/)r(\d{12})-")
_ATTEMPT = re.compile(r"-a\d+$")


@dataclass(frozen=True, slots=True)
class PeriodBudget:
    """One period of one purpose.

    Attributes:
        period: `2024`, or a day `2024-03-01`.
        releases: Releases charged.
        epsilon: Spent at the purpose's delta.
        rho: Spent, as zCDP.
        rho_epsilon: The epsilon at delta that `rho` converts to; never less than `epsilon`.
        left: Further releases that fit.
        runs_out_ns: When the schedule first asks for a release that does not fit, ns UTC; None: not in this period.
    """

    period: str
    releases: int
    epsilon: float
    rho: float
    rho_epsilon: float
    left: int
    runs_out_ns: int | None


@dataclass(frozen=True, slots=True)
class PurposeBudget:
    """One purpose: what is allowed, and each period that has a charge, the newest last.

    Attributes:
        purpose: Name in the constitution.
        unit: Whom the budget is about, in the constitution's words.
        kind: `year` or `day`.
        allowed: Epsilon of a period.
        delta: Of the budget.
        noise_multiplier: Noise of a sum over the sensitivity.
        deviation: Standard deviation of the noise on one value of a sum of all members, in the statistic's unit.
        releases_a_round: Releases that one scheduled round asks for; of a `day` purpose, that a whole day asks for.
        block_rounds: In how many rounds one day of raw data can be, where the unit is one and a round asks for it.
        periods: Spending by period; of a purpose without any, the current one.
    """

    purpose: str
    unit: str
    kind: str
    allowed: float
    delta: float
    noise_multiplier: float
    deviation: float
    releases_a_round: int
    block_rounds: BlockRounds | None
    periods: tuple[PeriodBudget, ...]


def purpose_budgets(constitution: Constitution, ledger: Sequence[Spending], *, now_ns: int) -> list[PurposeBudget]:
    """Return the budgets of every purpose of a constitution.

    Args:
        constitution: The constitution in force.
        ledger: The member's charges; none for who spends nothing.
        now_ns: The time, ns UTC: the period shown of a purpose without charges, and where the schedule goes on from.
    """
    limits = limits_of(constitution)
    found = []
    for name, purpose in constitution.purposes.items():
        own = [row for row in ledger if row.purpose == name]
        now = datetime.fromtimestamp(now_ns // NS, tz=UTC).strftime("%Y" if purpose.period == "year" else "%Y-%m-%d")
        periods = sorted({row.period for row in own}) or [now]
        found.append(
            PurposeBudget(
                purpose=name,
                unit=purpose.unit,
                kind=purpose.period,
                allowed=purpose.epsilon,
                delta=purpose.delta,
                noise_multiplier=purpose.noise_multiplier,
                deviation=value_deviation(limits.purposes[name], limits),
                releases_a_round=releases_asked(constitution, name),
                block_rounds=block_rounds(constitution, name)
                if purpose.unit.startswith(DAY_UNIT) and releases_asked(constitution, name)
                else None,
                periods=tuple(
                    _period(constitution, name, period, [row for row in own if row.period == period], now_ns)
                    for period in periods
                ),
            )
        )
    return found


def charge_of(purpose: PurposeLimit, limits: Limits, *, releases: int = 1) -> Charge:
    """Return the charge of so many releases at a purpose's noise, as the door makes it.

    Raises:
        ConfigurationError: The noise is outside what can be sampled in the purpose's scale.
    """
    table = GaussianTable.build(share_sigma(purpose, limits, length=purpose.values))
    touched = values_touched(purpose, purpose.values)
    noise = NoiseShares(table.sigma, limits.minimum_cohort - limits.colluders, touched, table.delta)
    return Charge(purpose.noise_multiplier, releases, noise)


def value_deviation(purpose: PurposeLimit, limits: Limits) -> float:
    """Return the standard deviation of the noise on one value of a sum of all members, in the statistic's unit."""
    return float(share_sigma(purpose, limits, length=purpose.values) * len(limits.members) ** 0.5 / purpose.scale)


def releases_asked(constitution: Constitution, name: str) -> int:
    """Return the releases of a purpose that a scheduled round asks for; of a `day` purpose, that a whole day does."""
    purpose = constitution.purposes[name]
    if purpose.period == "day":
        return 86_400 // constitution.market.bar_seconds if purpose.values_per_bar else 1
    return sum(line.count for line in constitution.round if line.purpose == name)


def releases_left(spent: Sequence[Charge], one: Charge, *, allowed: float, delta: float) -> int:
    """Return how many more releases like `one` fit into a budget.

    Args:
        spent: What was charged.
        one: A single further release.
        allowed: Epsilon of the budget.
        delta: Of the budget.
    """

    def fits(count: int) -> bool:
        return epsilon([*spent, replace(one, count=count)], delta=delta) <= allowed

    if not fits(1):
        return 0
    low, high = 1, 2
    while high < MOST_RELEASES and fits(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


@dataclass(frozen=True, slots=True)
class BlockRounds:
    """In how many rounds one day-block of raw data can be: the k of its loss over all years.

    Attributes:
        by_schedule: Scheduled rounds that can look back to one day; it reaches two blocks.
        paid: What the doors let through: a year's budget pays for so many rounds, in each calendar year that the day
            can be looked back to.
        years: Those years.
    """

    by_schedule: int
    paid: int
    years: int

    @property
    def most(self) -> int:
        """The bound that holds: whatever a coordinator schedules, `paid` is enforced by every member's own ledger."""
        return min(self.by_schedule, self.paid)


def block_rounds(constitution: Constitution, name: str) -> BlockRounds:
    """Return the bound on the rounds of one day-block in a `year` purpose.

    Args:
        constitution: The constitution.
        name: A purpose of period `year` that a round asks for.
    """
    reach_ns = (constitution.market.history_days + 2) * DAY_NS  # a day reaches the next block; rounds come within a day
    limits = limits_of(constitution)
    limit = limits.purposes[name]
    times: deque[int] = deque()
    most = 0
    for time_ns in rounds_from(constitution, SCHEDULE_FROM_NS - 1):
        if time_ns >= SCHEDULE_FROM_NS + max(YEAR_NS, 2 * reach_ns):
            break
        times.append(time_ns)
        while times[0] <= time_ns - reach_ns:
            times.popleft()
        most = max(most, len(times))
    fitting = releases_left([], charge_of(limit, limits), allowed=limit.epsilon, delta=limit.delta)
    years = 1 + -(-reach_ns // YEAR_NS)
    return BlockRounds(most, years * (fitting // max(releases_asked(constitution, name), 1)), years)


def rounds_from(constitution: Constitution, after_ns: int) -> Iterator[int]:
    """Return the times of the scheduled rounds after a time, ns UTC, without end."""
    while True:
        after_ns = next_round_ns(constitution.schedule, after_ns)
        yield after_ns


def _period(constitution: Constitution, name: str, period: str, rows: Sequence[Spending], now_ns: int) -> PeriodBudget:
    limits = limits_of(constitution)
    purpose = limits.purposes[name]
    charges = [row.charge for row in rows]
    left = releases_left(charges, charge_of(purpose, limits), allowed=purpose.epsilon, delta=purpose.delta)
    return PeriodBudget(
        period=period,
        releases=sum(charge.count for charge in charges),
        epsilon=epsilon(charges, delta=purpose.delta),
        rho=zcdp_rho(charges),
        rho_epsilon=zcdp_epsilon(charges, delta=purpose.delta),
        left=left,
        runs_out_ns=(
            _last_round(constitution, name, period, rows, left=left, now_ns=now_ns)
            if purpose.period == "year"
            else _last_bar(constitution, name, period, rows, left=left)
        ),
    )


def _last_round(
    constitution: Constitution, name: str, period: str, rows: Sequence[Spending], *, left: int, now_ns: int
) -> int | None:
    asked = releases_asked(constitution, name)
    if asked == 0:
        return None
    bar_ns = constitution.market.bar_seconds * NS
    done = [_minute_ns(found[1]) for row in rows if (found := _ROUND.search(row.session))]
    start = max(done) if done else _day_ns(f"{period}-01-01") - 1
    if datetime.fromtimestamp(now_ns // NS, tz=UTC).strftime("%Y") == period:
        start = max(start, now_ns)
    for place, time_ns in enumerate(rounds_from(constitution, start)):
        span_ends = (time_ns // bar_ns * bar_ns - bar_ns) // NS
        if datetime.fromtimestamp(span_ends, tz=UTC).strftime("%Y") > period:
            return None
        if (place + 1) * asked > left:
            return time_ns
    return None


def _last_bar(constitution: Constitution, name: str, period: str, rows: Sequence[Spending], *, left: int) -> int | None:
    bars: dict[str, int] = {}
    for row in rows:
        session = _ATTEMPT.sub("", row.session)
        bars[session] = max(bars.get(session, 0), row.charge.count)
    first_unpaid = sum(bars.values()) + left + 1
    if first_unpaid > releases_asked(constitution, name):
        return None
    return _day_ns(period) + first_unpaid * constitution.market.bar_seconds * NS


def _minute_ns(digits: str) -> int:
    return int(datetime.strptime(digits, "%Y%m%d%H%M").replace(tzinfo=UTC).timestamp()) * NS


def _day_ns(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * NS // DAY_NS * DAY_NS
