"""Claims about ripple queries over a folder: what is made, assumed, refused, drawn and printed."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

import hansa.cli.ripple as command
from hansa.cli import app
from hansa.errors import ConfigurationError, DataError, ModelError, SessionDiedError, TransportError
from hansa.federation.records import Records
from hansa.federation.ripple_query import RippleQuery
from hansa.lab.report.ripple_picture import ripple_picture
from hansa.lab.ripple import market_bars, ripple_on_data
from ripple_rules import RULES

if TYPE_CHECKING:
    from hansa.governance.constitution import Constitution

DATA = Path(__file__).parents[3] / "shared" / "data"
HOURS = 24 * 70
PAIRS = ("XAUUSD", "USDJPY", "EURGBP", "GBPUSD")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hourly files of four pairs whose ranges follow gold's an hour later, closed on week-ends."""
    found = tmp_path_factory.mktemp("data") / "fx_hourly"
    found.mkdir()
    rng = np.random.default_rng(3)
    stress = np.zeros((HOURS, len(PAIRS)))
    for hour in range(1, HOURS):
        stress[hour] = 0.8 * stress[hour - 1] + 0.4 * rng.standard_normal(len(PAIRS))
        stress[hour, 1:] += 0.3 * stress[hour - 1, 0]
    seconds = 1_641_168_000 + 3600 * np.arange(HOURS)  # from Monday, 3 January 2022
    times = pl.Series((seconds * 1_000_000).astype(np.int64)).cast(pl.Datetime("us"))
    is_open = times.dt.weekday().to_numpy() < 6
    for place, pair in enumerate(PAIRS):
        middle = 1e5 * np.exp(np.cumsum(1e-4 * rng.standard_normal(HOURS)))
        reach = 1e-3 * np.exp(0.5 * stress[:, place] + 0.2 * rng.standard_normal(HOURS))
        frame = pl.DataFrame(
            {
                "time": times, "open": middle, "high": middle * (1 + reach), "low": middle * (1 - reach),
                "close": middle, "tick_volume": 1000 + rng.integers(0, 500, HOURS),
            }
        )  # fmt: skip
        frame.filter(pl.Series(is_open)).write_parquet(found / f"{pair}_h1.parquet")
    return found.parent


@pytest.fixture(scope="module")
def answer(folder: Path) -> dict[str, object]:
    return ripple_on_data(
        folder, source="XAU-USD", shock="3sd", targets="EUR-USD,USD-JPY", horizon="24h", members=3, days=63
    )


def test_an_answer_finds_the_response_that_is_there_and_says_what_was_assumed(answer: dict[str, object]) -> None:
    rows = answer["responses"]
    assert isinstance(rows, list)
    assert [row["target"] for row in rows] == ["EUR-USD", "USD-JPY"]
    assert all(row["is_moved"] and 0.1 < max(row["published_curve"]) < 2 for row in rows)
    assumptions = " ".join(map(str, answer["assumptions"]))  # type: ignore[call-overload]
    assert "3 members simulated" in assumptions
    assert "EUR-USD has no file: made of EUR-GBP and GBP-USD" in assumptions
    json.dumps(answer, allow_nan=False)


def test_week_ends_are_left_out(answer: dict[str, object]) -> None:
    assert answer["open_bars"] == pytest.approx(63 * 24 * 5 / 7, abs=60)


def test_one_query_costs_what_the_budget_says(answer: dict[str, object]) -> None:
    budget = answer["budget"]
    assert isinstance(budget, dict)
    assert budget["queries_a_year"] == 20
    assert 0 < budget["epsilon_of_one_query"] < budget["epsilon_a_year"]


def test_the_noise_shrinks_with_members(folder: Path, answer: dict[str, object]) -> None:
    more = ripple_on_data(
        folder, source="XAU-USD", shock="3sd", targets="EUR-USD,USD-JPY", horizon="24h", members=10, days=63
    )
    assert np.mean(more["noise_sd"]) < 0.6 * np.mean(answer["noise_sd"])  # type: ignore[arg-type, call-overload]


def test_a_made_market_has_the_prices_of_both_ways_and_the_activity_of_the_thinner(folder: Path) -> None:
    frames, made = market_bars(folder, ("EUR-USD", "EUR-GBP", "GBP-USD"))
    assert made == {"EUR-USD": ("EUR-GBP", "GBP-USD")}
    cross, first, second = (frames[name] for name in ("EUR-USD", "EUR-GBP", "GBP-USD"))
    np.testing.assert_allclose(cross["close"], first["close"] * second["close"])
    assert (cross["volume"] <= first["volume"]).all()


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"source": "XAG-USD"}, DataError, "no file for XAG-USD, nor two that lead to it"),
        ({"members": 2}, ConfigurationError, "3 to 10 members"),
        ({"days": 500}, ConfigurationError, "at most"),
        ({"days": 4}, ModelError, "at least 6 days"),
        ({"horizon": "90m"}, ConfigurationError, "multiple of the 3600 s bars"),
        ({"data": Path("/nowhere")}, DataError, "no such folder"),
    ],
)
def test_what_cannot_be_asked_is_refused(
    folder: Path, changes: dict[str, object], error: type[Exception], words: str
) -> None:
    wanted: dict[str, object] = {
        "data": folder, "source": "XAU-USD", "shock": "3sd", "targets": "USD-JPY", "horizon": "24h", "days": 63,
    }  # fmt: skip
    with pytest.raises(error, match=words):
        ripple_on_data(**(wanted | changes))  # type: ignore[arg-type]


def test_the_picture_is_well_formed_and_names_every_market(answer: dict[str, object]) -> None:
    root = ET.fromstring(ripple_picture(answer))  # noqa: S314 - our own text
    words = " ".join(root.itertext())
    for name in ("XAU-USD", "EUR-USD", "USD-JPY"):
        assert name in words
    assert "to EUR-USD: " in words
    with pytest.raises(ModelError, match="answer of a ripple query"):
        ripple_picture({})


def test_the_command_prints_noise_beside_the_band_and_writes_the_picture(folder: Path, tmp_path: Path) -> None:
    options = ["XAU-USD", "--on", "USD-JPY", "--data", str(folder), "--days", "63", "--members", "3"]
    shown = CliRunner().invoke(app, ["ripple", *options, "--picture", str(tmp_path / "r.svg")], env={"COLUMNS": "120"})
    assert shown.exit_code == 0, shown.output
    for words in ("noise sd", "published alone", "20 queries a year", "assumed: ", "halve"):
        assert words in shown.output
    assert (tmp_path / "r.svg").read_text().startswith("<svg")
    again = CliRunner().invoke(app, ["ripple", *options, "--json"])
    assert json.loads(again.output)["query"]["targets"] == ["USD-JPY"]


@dataclass
class FakeNode:
    """As much of a node's folder as the command looks at."""

    directory: Path
    constitution: Constitution

    @property
    def work(self) -> Path:
        return self.directory

    @property
    def records_path(self) -> Path:
        return self.directory / "records.sqlite"


QUERY = RippleQuery("xau", ("eur",), 3.0, 24)


def test_a_member_shows_the_answer_that_its_record_holds_and_no_other(
    answer: dict[str, object], tmp_path: Path
) -> None:
    records = Records(tmp_path / "records.sqlite")
    records.put("ripple/r1-0-ripple-a1", answer)
    records.close()
    node = FakeNode(tmp_path, None)  # type: ignore[arg-type]
    found = command._recorded(node, RippleQuery("XAU-USD", ("USD-JPY", "EUR-USD"), 3.0, 24))  # type: ignore[arg-type]
    assert found["session"] == answer["session"]
    with pytest.raises(ConfigurationError, match="no answer to xau"):
        command._recorded(node, QUERY)  # type: ignore[arg-type]


@pytest.mark.parametrize("state", ["published", "died", "absent"])
def test_the_coordinator_waits_until_the_sum_is_over(
    state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = FakeNode(tmp_path, RULES)
    label = "r1700000000-0-ripple-a"
    monkeypatch.setattr(command.time, "time_ns", lambda: 1_700_000_000 * 10**9)
    records = Records(tmp_path / "records.sqlite")
    attempt = 1 if state == "published" else RULES.attempts
    if state != "absent":
        records._connection.execute(
            "INSERT INTO session (session, attempt, state, reason) VALUES (?, ?, ?, 'too few')",
            (f"{label}{attempt}", attempt, state),
        )
    records.close()
    if state == "published":
        assert command._ask_and_wait(node, QUERY, 5.0) == f"{label}1"  # type: ignore[arg-type]
    else:
        error: type[Exception] = SessionDiedError if state == "died" else TransportError
        with pytest.raises(error, match="spent budget" if state == "died" else "stays on its desk"):
            command._ask_and_wait(node, QUERY, 0.2)  # type: ignore[arg-type]


def test_either_a_folder_of_bars_or_a_node_is_to_be_named() -> None:
    found = CliRunner().invoke(app, ["ripple", "XAU-USD", "--on", "USD-JPY"])
    assert isinstance(found.exception, ConfigurationError)


@pytest.mark.slow
@pytest.mark.skipif(
    not (DATA / "fx_hourly").is_dir(),
    reason="needs real market data, no part of the project, in ../shared/data/fx_hourly",
)
def test_gold_moves_euro_and_yen_on_real_hours() -> None:
    found = ripple_on_data(DATA, source="XAU-USD", shock="3sd", targets="EUR-USD,USD-JPY", horizon="24h", days=365)
    rows = found["responses"]
    assert isinstance(rows, list)
    for row in rows:
        assert row["is_moved"]
        assert row["published_curve"][0] > 0
