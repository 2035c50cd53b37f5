"""What a reader skipped, by sender: a few lines of the log for each, however much garbage it sends.

The first `WHOLE_LINES` of a sender are logged, then only the tenth, the hundredth, the thousandth ...

Guarantees: at most `WHOLE_LINES` and the number's digits in lines a sender; memory for `MAX_SENDERS` counts.
Does NOT guarantee: that every skipped message is named; the stream holds them all.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Final

WHOLE_LINES: Final = 3
MAX_SENDERS: Final = 256  # beyond, senders share one count

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Refusals:
    """Counts of one reader."""

    _counts: dict[str, int] = field(default_factory=dict)

    def note(self, sender: str, what: str) -> int:
        """Count a skipped message of `sender`, log `what` if it is due, and return the count."""
        key = sender if sender in self._counts or len(self._counts) < MAX_SENDERS else ""
        count = self._counts[key] = self._counts.get(key, 0) + 1
        if count <= WHOLE_LINES or str(count).strip("0") == "1":
            logger.warning("skipped, number %d of %s: %s", count, key or "further senders", what)
        return count
