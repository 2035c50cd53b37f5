"""A ripple query as the manifest binds it: which market is shocked, by how much, who is asked about, for how long.

A query travels as the manifest's `index`, so that its parameters are under the manifest's digest like everything else
that a member checks, and no message has a field more:

    index = ((targets * 100 + source) * 2000 + tenths + 1000) * 1000 + horizon

`targets` is a mask of baskets in the order of their names (at most `MAX_BASKETS`), `source` a basket's place, `tenths`
the shock in tenths of a deviation (-99.9 to 99.9, not 0), `horizon` in bars (1 to 999). The manifest's span says which
history is asked about. Every query is one release of the purpose `ripple`, charged by each member's door.

Guarantees: an index that no query of this federation has is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from hansa.errors import ConfigurationError, RefusedError

if TYPE_CHECKING:
    from collections.abc import Sequence

PURPOSE: Final = "ripple"
MAX_BASKETS: Final = 12
MAX_HORIZON: Final = 999
_SHOCK: Final = re.compile(r"([+-]?\d+(?:\.\d)?)\s*(?:sd|sigma)?")
_LENGTH: Final = re.compile(r"([1-9]\d*)([mhd])")
_SECONDS: Final = {"m": 60, "h": 3600, "d": 86_400}


@dataclass(frozen=True, slots=True)
class RippleQuery:
    """What is asked: baskets by name, shock in deviations of the source's surprise, horizon in bars."""

    source: str
    targets: tuple[str, ...]
    size: float
    horizon: int

    @classmethod
    def parse(
        cls, source: str, shock: str, targets: str, horizon: str, *, baskets: Sequence[str], bar_seconds: int
    ) -> Self:
        """Read a query as it is typed.

        Args:
            source: Basket that is shocked.
            shock: Deviations: `3sd`, `-2.5sd`.
            targets: Baskets, with commas.
            horizon: `24h`, `30m`, `2d`: a multiple of the bar.
            baskets: All baskets of the federation, in order.
            bar_seconds: Length of a bar.

        Raises:
            ConfigurationError: Something is not what it should be; the message says what is.
        """
        found_shock, found_length = _SHOCK.fullmatch(shock.strip()), _LENGTH.fullmatch(horizon.strip())
        wanted = tuple(name.strip() for name in targets.split(",") if name.strip())
        if found_shock is None:
            raise ConfigurationError(f"expected a shock in deviations such as 3sd or -2.5sd; got {shock!r}")
        if found_length is None or int(found_length[1]) * _SECONDS[found_length[2]] % bar_seconds:
            raise ConfigurationError(
                f"expected a horizon such as 24h that is a multiple of the {bar_seconds} s bars; got {horizon!r}"
            )
        bars = int(found_length[1]) * _SECONDS[found_length[2]] // bar_seconds
        query = cls(source, wanted, float(found_shock[1]), bars)
        query.index(baskets)
        return query

    def index(self, baskets: Sequence[str]) -> int:
        """Return the manifest's index of this query.

        Args:
            baskets: All baskets of the federation, in order.

        Raises:
            ConfigurationError: A basket is unknown, asked about twice or its own target, or a number out of range.
        """
        unknown = [name for name in (self.source, *self.targets) if name not in baskets]
        tenths = round(10 * self.size)
        clauses = {
            f"baskets out of {', '.join(baskets)}; got {', '.join(unknown)}": not unknown,
            f"at most {MAX_BASKETS} baskets for ripple queries; the federation has {len(baskets)}": len(baskets)
            <= MAX_BASKETS,
            f"targets once each, other than {self.source}; got {', '.join(self.targets) or 'none'}": bool(self.targets)
            and len(set(self.targets)) == len(self.targets)
            and self.source not in self.targets,
            f"a shock of 0.1 to 99.9 deviations up or down; got {self.size:g}": 0 < abs(tenths) < 1000,
            f"a horizon of 1 to {MAX_HORIZON} bars; got {self.horizon}": 1 <= self.horizon <= MAX_HORIZON,
        }
        for clause, holds in clauses.items():
            if not holds:
                raise ConfigurationError(f"ripple query: expected {clause}")
        mask = sum(1 << list(baskets).index(name) for name in self.targets)
        return ((mask * 100 + list(baskets).index(self.source)) * 2000 + tenths + 1000) * 1000 + self.horizon

    @classmethod
    def of_index(cls, index: int, baskets: Sequence[str]) -> Self:
        """Return the query of a manifest's index.

        Raises:
            RefusedError: No query of a federation with these baskets has it.
        """
        rest, horizon = divmod(index, 1000)
        rest, tenths = divmod(rest, 2000)
        mask, source = divmod(rest, 100)
        if source < len(baskets) and mask < 1 << len(baskets):
            targets = tuple(name for place, name in enumerate(baskets) if mask >> place & 1)
            query = cls(baskets[source], targets, (tenths - 1000) / 10, horizon)
            try:
                if query.index(baskets) == index:
                    return query
            except ConfigurationError as error:
                raise RefusedError(f"index {index}: {error}") from error
        raise RefusedError(f"index {index} is no ripple query about {', '.join(baskets)}")

    def words(self) -> str:
        """Return the query in words."""
        return f"{self.source} {self.size:+g} sd on {', '.join(self.targets)} over {self.horizon} bars"
