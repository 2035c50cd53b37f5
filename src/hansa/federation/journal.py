"""A node's log: one JSON object a line on standard error, for an operator's eyes and a log collector.

```
{"time":"2023-03-13T02:00:05.123Z","level":"info","event":"sum published","session":"r202303130200-0-census-a1",...}
```

`time` is this machine's, UTC. Fields are those that the node's records hold: sessions, names, reasons; a line break in
a reason is escaped, so that nobody's message can forge a line.

Guarantees: no key, no value of a bar and no unmasked contribution is in a line, because none is in the records.
Does NOT guarantee: a line for every event after a crash; the records and the streams are the truth.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Final

LOGGER: Final = "hansa"


class JsonLines(logging.Formatter):
    """Formats a record as one JSON object; `extra={"fields": {...}}` adds fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its end."""
        moment = datetime.fromtimestamp(record.created, tz=UTC).isoformat(timespec="milliseconds")
        fields = getattr(record, "fields", {})
        line = {
            "time": moment.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **fields,
        }
        return json.dumps(line, separators=(",", ":"), default=str)


def journal_to_stderr() -> None:
    """Let this process write its log to standard error, once."""
    logger = logging.getLogger(LOGGER)
    if not any(isinstance(handler.formatter, JsonLines) for handler in logger.handlers):
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(JsonLines())
        logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
