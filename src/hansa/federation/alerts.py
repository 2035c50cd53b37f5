"""Alerts as a node writes them down: what was said, by which version, from what, when, and after which alert.

```
digest_n = SHA-256( canonical JSON of { rule, basket, ts_ns, value, model_version, known_ns, written_ns, evidence,
                                        previous: digest_{n-1} } )
```
`ts_ns` is the bar that alerted, `known_ns` the newest bar that was published when it was written. Where the two are
the same, the alert stood before any later bar was known: nobody can have chosen it by its outcome. After a gap or a
late start `known_ns` is later, and the alert says so itself (`is_ahead` false).

Guarantees: an alert is written once and never changed; `verify` finds a changed, removed or inserted one (save removed
ones at the end). Does NOT guarantee: the member's own clock, nor that a node's owner has not written its whole record
anew. Send alerts out as they come (`hansa.federation.delivery`): who has received one holds its digest.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import msgspec

from hansa.crypto.canonical import canonical
from hansa.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

NOTHING_BEFORE: Final = "0" * 64


@dataclass(frozen=True, slots=True)
class Alert:
    """One early warning.

    Attributes:
        rule: What alerted: `threshold`, `cusum`, `shiryaev_roberts`, `quantile` or `lsi`.
        basket: Basket, or `system`.
        ts_ns: End of the bar that alerted, ns UTC.
        value: The rule's statistic there, in the unit that the evidence names; of `lsi` the index.
        model_version: The rule, and a digest of every number of it.
        known_ns: Newest published bar when it was written, ns UTC; 0 where nobody said.
        written_ns: When it was written, by the member's clock, ns UTC.
        evidence: What it was made of: JSON values.
        number: Place among the node's alerts, from 1.
        digest: SHA-256 over all this and the digest before, hexadecimal.
    """

    rule: str
    basket: str
    ts_ns: int
    value: float
    model_version: str = ""
    known_ns: int = 0
    written_ns: int = 0
    evidence: Mapping[str, object] = field(default_factory=dict)
    number: int = 0
    digest: str = ""

    @property
    def is_ahead(self) -> bool:
        """Whether no bar after the alert's own was known when it was written."""
        return 0 < self.known_ns <= self.ts_ns

    def body(self) -> dict[str, object]:
        """Return the alert as JSON values: what is delivered."""
        return {
            "rule": self.rule,
            "basket": self.basket,
            "ts_ns": str(self.ts_ns),
            "value": self.value,
            "model_version": self.model_version,
            "known_ns": str(self.known_ns),
            "written_ns": str(self.written_ns),
            "is_ahead": self.is_ahead,
            "evidence": dict(self.evidence),
            "number": self.number,
            "digest": self.digest,
        }


def chained(alert: Alert, previous: str) -> str:
    """Return an alert's digest after another's."""
    body = {name: value for name, value in alert.body().items() if name not in {"number", "digest", "is_ahead"}}
    return hashlib.sha256(canonical(body | {"previous": previous})).hexdigest()


def alert_of(row: Mapping[str, object]) -> Alert:
    """Return the alert of a row of the records.

    Raises:
        StoreError: The row is damaged.
    """
    try:
        evidence = msgspec.json.decode(str(row["evidence"] or "{}"), type=dict[str, object])
        return Alert(
            str(row["rule"]),
            str(row["basket"]),
            int(str(row["ts_ns"])),
            float(str(row["value"])),
            str(row["model_version"] or ""),
            int(str(row["known_ns"] or 0)),
            int(str(row["written_ns"] or 0)),
            evidence,
            int(str(row["number"] or 0)),
            str(row["digest"] or ""),
        )
    except (msgspec.MsgspecError, ValueError, KeyError) as error:
        raise StoreError(f"records: an alert cannot be read ({error}); the file is damaged, remove it") from error


def statistic_words(alert: Alert) -> str:
    """Return in words what reached which limit.

    >>> statistic_words(Alert("cusum", "eur", 0, 9.0, evidence={"limit": 8.5, "index": 71.0}))
    'cusum 9.00, limit 8.50; index 71.0 of 100'
    """
    limit, index = alert.evidence.get("limit"), alert.evidence.get("index")
    words = f"{alert.rule} {alert.value:.2f}"
    if isinstance(limit, (int, float)):
        words += f", limit {limit:.2f}"
    if isinstance(index, (int, float)) and alert.rule != "lsi":
        words += f"; index {index:.1f} of 100"
    return words


def probability_words(alert: Alert) -> list[str]:
    """Return the line that gives a probability with its interval and says of what; none where none is known.

    >>> found = {"of": "z", "value": 0.1, "low": 0, "high": 1}
    >>> probability_words(Alert("x", "y", 0, 1.0, evidence={"probability": found}))
    ['10 % (0 to 100 %): z']
    """
    found = alert.evidence.get("probability")
    if not isinstance(found, dict):
        return []
    values = [found.get(name) for name in ("value", "low", "high")]
    if not all(isinstance(value, (int, float)) for value in values):
        return []
    value, low, high = (f"{100 * float(str(value)):.0f}" for value in values)
    return [f"{value} % ({low} to {high} %): {found.get('of')}"]


def driver_words(alert: Alert) -> list[str]:
    """Return the line that names what drove an alert, most first; none where nothing is known."""
    found = alert.evidence.get("drivers")
    drivers = [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
    named = [f"{one.get('name')} {one['adds']:+.2f}" for one in drivers if isinstance(one.get("adds"), (int, float))]
    return ["driven by " + ", ".join(named)] if named else []


def verify(alerts: Sequence[Alert]) -> None:
    """Check that alerts are those that were written, in their order.

    Args:
        alerts: All alerts of a node, by number.

    Raises:
        StoreError: One was changed, removed or inserted; the message names the first that does not fit.
    """
    previous = NOTHING_BEFORE
    for place, alert in enumerate(alerts, start=1):
        if alert.number != place or alert.digest != chained(alert, previous):
            raise StoreError(
                f"alert {alert.number} ({alert.rule}, {alert.basket}, {alert.ts_ns}): expected alert {place} with the "
                "digest of its words and of the alert before; this record was changed after it was written"
            )
        previous = alert.digest
