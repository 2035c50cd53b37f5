from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
MINUTE_NS = 60_000_000_000


@pytest.fixture(scope="session")
def shared() -> Any:
    """The folder of real market data; tests that need it are skipped on a machine without it."""
    if not SHARED.is_dir():
        pytest.skip(
            "real market data not found beside the repository (../shared/data): this test needs it, hansa does not"
        )
    return SHARED


@pytest.fixture
def make_bars() -> Any:
    def make(
        closes: Any,
        *,
        market: Any = "USDC-USD",
        venue: Any = "kraken",
        start_ns: Any = MINUTE_NS,
        every_ns: Any = MINUTE_NS,
        **columns: Any,
    ) -> Any:
        stamps = [start_ns + i * every_ns for i in range(len(closes))]
        frame = pl.DataFrame({"ts_ns": stamps, "close": [float(c) for c in closes]}).with_columns(
            pl.lit(market).alias("market"), pl.lit(venue).alias("venue")
        )
        for name in ("open", "high", "low"):
            frame = frame.with_columns(pl.col("close").alias(name))
        return frame.with_columns(pl.Series(name, values, strict=False) for name, values in columns.items())

    return make
