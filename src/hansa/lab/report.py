"""The report of a demo or run as one self-contained page."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def write_report(path: Path, result: Mapping[str, object]) -> None:
    """Write the page."""
    path.write_text(json.dumps(result))
