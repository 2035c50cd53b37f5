"""The claim that a running federation answers: real processes, from the coordinator's desk to a member's record."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest

from hansa.lab.alliance import found
from hansa.lab.charter import charter
from hansa.market.schema import conform

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from hansa.governance.constitution import Constitution

HOUR_NS = 3600 * 10**9
DAYS = 40
MARKETS = ("EUR-USD", "XAU-USD")
ASKED = ("ripple", "XAU-USD", "--on", "EUR-USD")


def make(keys: Mapping[str, str], coordinator_key: str) -> Constitution:
    return charter(
        federation="ripples", keys=keys, coordinator_key=coordinator_key, baskets={name: [name] for name in MARKETS},
        measures=("log_spread", "log_range"), cost="log_spread", volume_unit=1e7, history_days=DAYS - 2, steps=0,
        bar_seconds=3600, ripple_epsilon=4.8, upload_seconds=20.0,
    )  # fmt: skip


def bars(end_ns: int) -> dict[str, list[pl.DataFrame]]:
    """Return hourly bars of three members that end now; gold moves the euro an hour later."""
    rng = np.random.default_rng(0)
    stamps = end_ns - HOUR_NS * np.arange(24 * DAYS)[::-1]
    cost = np.zeros((stamps.size, 2))
    for hour in range(1, stamps.size):
        cost[hour] = 0.8 * cost[hour - 1] + 0.4 * rng.standard_normal(2)
        cost[hour, 0] += 0.3 * cost[hour - 1, 1]
    views: dict[str, list[pl.DataFrame]] = {}
    for member in ("bergen", "bruges", "riga"):
        for place, market in enumerate(MARKETS):
            spread = np.exp(0.5 * cost[:, place] + 0.2 * rng.standard_normal(stamps.size))
            prices = {"open": 100.0, "high": 100.1, "low": 99.9, "close": 100.0, "volume": 1e4}
            frame = pl.DataFrame({"ts_ns": stamps, "spread_bps": spread}).with_columns(
                pl.lit(market).alias("market"),
                pl.lit(member).alias("venue"),
                *(pl.lit(value).alias(name) for name, value in prices.items()),
            )
            views.setdefault(member, []).append(conform(frame, source="test"))
    return views


def hansa(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "hansa", *arguments]


@pytest.mark.slow
def test_a_query_at_the_coordinators_desk_is_answered_in_every_members_record(tmp_path: Path) -> None:
    end_ns = time.time_ns() // HOUR_NS * HOUR_NS
    alliance = found(tmp_path / "alliance", "ripples", bars(end_ns), make)
    desk = str(alliance.directory / "coordinator")
    log = (tmp_path / "log").open("wb")
    running = [
        subprocess.Popen(hansa("member", "run", str(alliance.directory / name)), stderr=log)
        for name in alliance.members
    ]
    try:
        as_of = datetime.fromtimestamp(end_ns // 10**9, tz=UTC).isoformat()
        subprocess.run(hansa("coordinator", "run", desk, "--as-of", as_of), check=True, timeout=300, stderr=log)
        running.append(subprocess.Popen(hansa("coordinator", "run", desk), stderr=log))
        subprocess.run(hansa(*ASKED, "--node", desk, "--wait", "240"), check=True, timeout=300, capture_output=True)
        answers = [_answer(str(alliance.directory / name)) for name in alliance.members]
    finally:
        for one in running:
            one.terminate()
        for one in running:
            one.wait(30)
        log.close()
    curves = [answer["responses"][0]["curve"] for answer in answers]  # type: ignore[index]
    assert curves[0] == curves[1] == curves[2]
    assert max(curves[0]) > 0.3
    assert answers[0]["cohort"] == list(alliance.members)


def _answer(directory: str) -> dict[str, object]:
    """Return a member's recorded answer; it is worked out when the member has nothing else to do."""
    deadline = time.monotonic() + 60
    while True:
        shown = subprocess.run(
            hansa(*ASKED, "--node", directory, "--json"), check=False, timeout=60, capture_output=True
        )
        if shown.returncode == 0:
            found_answer = json.loads(shown.stdout)
            assert isinstance(found_answer, dict)
            return found_answer
        assert b"no answer to XAU-USD" in shown.stderr
        assert time.monotonic() < deadline
        time.sleep(0.5)
