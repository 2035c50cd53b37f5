"""Claims about real processes whose members require a quote: the synthesised one of `synthetic_tpm`, on request."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl
import pytest
from msgspec.structs import replace

from folders import NOW
from hansa.errors import StoreError
from hansa.federation.doctor.patient import admit
from hansa.federation.doctor.probes import examine
from hansa.federation.node import load_node
from hansa.federation.quoting import assemble, requested
from hansa.identity.attestation.measurement import measure_package
from hansa.lab.alliance import COORDINATOR, Alliance, found
from hansa.lab.charter import charter
from hansa.lab.collection import notes, sums
from hansa.market.schema import conform
from simulator import BAR_NS, DAY_NS
from synthetic_tpm import clause, evidence

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from hansa.governance.constitution import Constitution

MEMBERS = ("bergen", "riga", "visby")
START = 19_000 * DAY_NS
BARS = 2 * 288


def bars(venue: str) -> pl.DataFrame:
    frame = pl.DataFrame(
        {
            "ts_ns": [START + place * BAR_NS for place in range(1, BARS + 1)],
            "market": ["EUR-USD"] * BARS,
            "venue": [venue] * BARS,
            **dict.fromkeys(("open", "high", "low", "close"), [100.0] * BARS),
            "volume": [10.0 + place % 3 for place in range(BARS)],
            "spread_bps": [1.0 + place % 5 for place in range(BARS)],
        }
    )
    return conform(frame, source="test")


def rules(keys: Mapping[str, str], coordinator_key: str) -> Constitution:
    plain = charter(
        federation="test", keys=keys, coordinator_key=coordinator_key, baskets={"eur": ["EUR-USD"]},
        measures=("log_spread", "log_volume"), cost="log_spread", volume_unit=1000.0, history_days=2, steps=0,
        weight_cap=0.5, upload_seconds=20.0,
    )  # fmt: skip
    return replace(plain, attestation=replace(clause("require"), code=(measure_package(),)))


@pytest.fixture
def alliance(tmp_path: Path) -> Iterator[Alliance]:
    one = found(tmp_path / "alliance", "test", {name: [bars(name)] for name in MEMBERS}, rules)
    yield one
    one.stop()


def run(alliance: Alliance, progress: Callable[[], None]) -> None:
    try:
        alliance.start_members()
        alliance.start_coordinator(["--as-of", "2022-01-10T00:00Z"])
        alliance.wait(seconds=120, progress=progress)
    finally:
        alliance.stop()


def reasons(alliance: Alliance) -> list[str]:
    try:
        return [str(row["reason"]) for row in notes(alliance, COORDINATOR)]
    except StoreError:  # no records yet
        return []


@pytest.mark.slow
def test_members_that_see_a_quote_of_this_epoch_and_of_their_connections_key_send(alliance: Alliance) -> None:
    node = load_node(alliance.directory / COORDINATOR)
    folder = node.work / "attestation"

    def answer() -> None:
        """Do what a platform's tool does when there is a request."""
        if (folder / "request.json").exists() and not (folder / "evidence.json").exists():
            made = evidence(requested(node))
            assemble(node, "tpm", made.raw_quote(), made.collateral, at=NOW)

    run(alliance, answer)
    assert {row["state"] for row in sums(alliance)} == {"published"}
    for name in MEMBERS:
        assert notes(alliance, name) == []
        judged = alliance.records(name).get("attestation")
        assert (judged["valid"], judged["code"]) == (True, measure_package())
        looked = {probe.name: probe for probe in examine(admit(alliance.directory / name, at=NOW, software="0.1.0"))}
        states = [looked[probe].status for probe in ("kit", "keys", "tls", "facts", "budget", "data", "attestation")]
        assert states == ["pass"] * len(states)
        assert "against the message server" in looked["clock"].seen
    coordinators = examine(admit(alliance.directory / COORDINATOR, at=NOW, software="0.1.0"))
    assert next(probe.status for probe in coordinators if probe.name == "attestation") == "pass"


@pytest.mark.slow
def test_without_a_quote_nothing_is_announced(alliance: Alliance) -> None:
    def look() -> None:
        if any("no quote for this epoch yet" in reason for reason in reasons(alliance)):
            raise RuntimeError("it says so")

    with pytest.raises(RuntimeError, match="it says so"):
        run(alliance, look)
    assert sums(alliance) == []
