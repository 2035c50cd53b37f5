"""How far one client can move a bar: caps on volume and range, proved per measure, and what a source cannot cap.

With the cap kappa, reference S (quote currency a bar), R (log price) and clients i of quote volume q_i in a bar:

    capped_volume = S + sum_i min(q_i, (exp(kappa) - 1) S)
    capped_range  = exp( min over sets X of clients of  log(R + range of the trades without X) + |X| kappa / 2 )

The first is a sum winsorised at a share of a PUBLIC volume: a share of the bar's own volume would itself move with the
client, without bound in a bar of few. The second is the least Lipschitz extension of the log range: it grows with the
clients and by at most kappa / 2 for each. Where quotes are the house's own, the range is that of the mid quotes, and no
client's record is in it, nor in spread and depth.

| measure | one client's trades of a day, added, removed or replaced, move it by at most |
|---|---|
| log_volume = log capped_volume | kappa |
| log_range = log capped_range | kappa / 2; 0 with the house's quotes |
| log_impact = log capped_range - log capped_volume / 2 | kappa; kappa / 2 with the house's quotes |
| log_spread, log_depth | 0 with the house's quotes; else NOT capped: resting orders bear no client |
| all others | not capped |

Proof: with the others' trades fixed, each of the two logs lies between its value without the client and that plus its
cap, whatever the client does; so any two differ by at most the cap. A bar without trades is S and R, so that it does
not matter either whether a client makes a bar exist. A client that a source does not name is each trade by itself.

Guarantees: the table, for a client's records in this source. S and R must not be made of the protected data: take
them from public turnover, or from noised sums. Does NOT guarantee: anything about a client's influence by way of the
market (a dealer who widens its quotes because of a client), nor that few clients say much: n clients can move a capped
measure by n kappa in all, so a bar of ten at 0.02 hardly moves. That is the price of the cap, not of this form of it.

Source: Kasiviswanathan, Nissim, Raskhodnikova and Smith, Analyzing graphs with node differential privacy (TCC 2013),
section 3 (Lipschitz extensions).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, Self

import numpy as np
import polars as pl

from hansa.errors import DataError

if TYPE_CHECKING:
    from jaxtyping import Float, Int

DEFAULT_CAP: Final = 0.02
Unit = Literal["client", "trade"]
Quoter = Literal["house", "clients"]


@dataclass(frozen=True, slots=True)
class InfluenceRule:
    """How the clients of a source are capped; written into every bar, so that it stays with the bars.

    Attributes:
        cap: kappa, log units, above 0 and at most 1.
        volume: S, quote currency a bar.
        range: R, log price.
        unit: Whose influence is capped: a `client`, or each `trade` where the source names no clients.
        quotes: Whose the quotes are: the `house`'s own, or resting orders of `clients`.

    Raises:
        DataError: A number is out of range.
    """

    cap: float
    volume: float
    range: float
    unit: Unit
    quotes: Quoter

    def __post_init__(self) -> None:
        if not (0 < self.cap <= 1 and 0 < self.volume < math.inf and 0 < self.range < math.inf):
            raise DataError(
                "expected an influence cap above 0 and at most 1, and reference volume and range above 0; "
                f"got {self.cap}, {self.volume} and {self.range}"
            )
        if self.unit not in {"client", "trade"} or self.quotes not in {"house", "clients"}:
            raise DataError(
                f"expected a unit client or trade and quotes of house or clients; got {self.unit}, {self.quotes}"
            )

    @property
    def most_volume(self) -> float:
        """Quote volume with which one client counts in a bar at most."""
        return math.expm1(self.cap) * self.volume

    def text(self) -> str:
        """Return the rule as the bars carry it.

        >>> InfluenceRule(0.02, 2e6, 1e-4, "client", "house").text()
        'client 0.02 2000000.0 0.0001 house'
        """
        return f"{self.unit} {self.cap!r} {self.volume!r} {self.range!r} {self.quotes}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what `text` wrote.

        Raises:
            DataError: It is not such a text.
        """
        try:
            unit, cap, volume, reach, quotes = text.split()
            return cls(float(cap), float(volume), float(reach), unit, quotes)  # type: ignore[arg-type] # checked there
        except ValueError as error:
            raise DataError(f"expected an influence rule in the bars, got {text[:80]!r}; import them again") from error


def rule_of(series: pl.DataFrame) -> InfluenceRule | None:
    """Return the rule by which a series was capped, or None if any of its bars was not, or not by the same.

    Raises:
        DataError: The bars carry a rule that cannot be read.
    """
    found = series["influence"].unique().to_list()
    return InfluenceRule.parse(found[0]) if len(found) == 1 and found[0] is not None else None


def capped_volumes(
    bar: Int[np.ndarray, " trade"],
    client: Int[np.ndarray, " trade"],
    quote_volume: Float[np.ndarray, " trade"],
    rule: InfluenceRule,
    *,
    bars: int,
) -> Float[np.ndarray, " bar"]:
    """Return the capped volume of every bar, those without trades included.

    Args:
        bar: Number of each trade's bar, 0 to `bars` - 1.
        client: Number of each trade's client.
        quote_volume: Price times size.
        rule: The caps.
        bars: Number of bars.
    """
    # Added one after another in the order of the trades: a parallel sum depends, in its last bit, on how many rows
    # there are beside the client's.
    order = np.lexsort((client, bar))
    bar, client = bar[order], client[order]
    is_first = np.ones(bar.size, dtype=np.bool_)
    is_first[1:] = (bar[1:] != bar[:-1]) | (client[1:] != client[:-1])
    volume = np.bincount(np.cumsum(is_first) - 1, weights=quote_volume[order])
    return winsorised_volumes(bar[is_first], volume, rule, bars=bars)


def winsorised_volumes(
    bar: Int[np.ndarray, " share"], quote_volume: Float[np.ndarray, " share"], rule: InfluenceRule, *, bars: int
) -> Float[np.ndarray, " bar"]:
    """Return the capped volume of every bar from what each client traded in it.

    Args:
        bar: Number of the bar, 0 to `bars` - 1; no client twice in a bar.
        quote_volume: All that the client traded there.
        rule: The caps.
        bars: Number of bars.
    """
    counted = np.minimum(quote_volume, rule.most_volume)
    volume: Float[np.ndarray, " bar"] = rule.volume + np.bincount(bar, weights=counted, minlength=bars)
    return volume


def capped_ranges(
    bar: Int[np.ndarray, " trade"],
    client: Int[np.ndarray, " trade"],
    log_price: Float[np.ndarray, " trade"],
    rule: InfluenceRule,
    *,
    bars: int,
) -> Float[np.ndarray, " bar"]:
    """Return the capped range of the trades of every bar; as for `capped_volumes`."""
    trades = pl.DataFrame({"bar": bar, "client": client, "price": log_price})
    spans = trades.group_by("bar", "client").agg(
        pl.col("price").min().alias("low"), pl.col("price").max().alias("high")
    )
    found = np.full(bars, rule.range)
    for (place,), group in spans.group_by("bar"):
        low, high = group["low"].to_numpy(), group["high"].to_numpy()
        found[int(str(place))] = math.exp(extended_log_range(low, high, floor=rule.range, step=rule.cap / 2))
    return found


def extended_log_range(
    low: Float[np.ndarray, " client"], high: Float[np.ndarray, " client"], *, floor: float, step: float
) -> float:
    """Return `min over sets X of log(floor + range without X) + step |X|`.

    The clients outside X are those inside some interval, so it is enough to leave out those with the lowest lows and,
    of the rest, those with the highest highs.

    Args:
        low: Lowest log price of each client, at least one.
        high: Highest log price of each client.
        floor: Added to the range, log price.
        step: What leaving out one client costs.

    Guarantees:
        One client more raises the result by 0 to `step`.
    """
    clients = low.size
    whole = math.log(floor + float(high.max() - low.min()))
    best = min(whole, math.log(floor) + step * clients)
    most = min(clients - 1, int((whole - math.log(floor)) / step))  # with more left out even no range is dearer
    by_low, by_high = np.argsort(low, kind="stable"), np.argsort(-high, kind="stable")
    rank = np.empty(clients, dtype=np.int64)
    rank[by_low] = np.arange(clients)
    for out in range(most + 1):
        kept = by_high[rank[by_high] >= out][: most + 1 - out]
        ranges = np.maximum(high[kept] - low[by_low[out]], 0.0)
        best = min(best, float(np.min(np.log(floor + ranges) + step * (out + np.arange(kept.size)))))
    return best
