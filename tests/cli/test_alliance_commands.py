"""Claims about `hansa demo`, `run`, `status`, `watch`, `member run`: one line on standard error, and no markup."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console

from hansa import cli
from hansa.cli.node import parse_time
from hansa.cli.show import record_files, summary
from hansa.errors import ConfigurationError, StoreError
from hansa.federation.alerts import Alert
from hansa.federation.records import Records
from hansa.lab.assessment import ALL_ARMS
from hansa.lab.tables import show
from small_market import AS_OF_NS, constitution, manifest_of

if TYPE_CHECKING:
    from collections.abc import Iterator

from hansa.federation.schedule import round_programme

HOSTILE = "[red]all is well[/red] [/] [link=http://x]"
DATA = Path(__file__).parents[3] / "shared" / "data" / "usdc_depeg_2023-03"


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Path]:
    """A node's folder with records in which every text is hostile markup."""
    work = tmp_path / "alliance" / "[bold]riga" / "node"
    work.mkdir(parents=True)
    records = Records(work / "records.sqlite")
    census, state, *_ = (manifest_of(one) for one in round_programme(constitution(), AS_OF_NS))
    records.session(census, "announce", 1_000_000_000)
    records.published(census.session, members=["m0", "m1", "m2"], time_ns=3_500_000_000)
    records.session(state, "announce", 4_000_000_000)
    records.died(state.session, reason=HOSTILE, time_ns=5_000_000_000)
    records.note(6, state.session, "upload", HOSTILE)
    records.series("lsi", "[blink]xau[/blink]", [(AS_OF_NS, 77.25)])
    records.alert(Alert("lsi", "[blink]xau[/blink]", AS_OF_NS, 91.0))
    records.budget("[i]state[/i]", "2023-03-13", epsilon=1.5, allowed=8.0, delta=1e-6)
    records.close()
    yield work.parent
    assert list(work.glob("records.sqlite"))


def command(
    *arguments: object, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["hansa", *map(str, arguments)])
    monkeypatch.setenv("COLUMNS", "200")
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        with pytest.raises(SystemExit) as ended:
            cli.main()
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["status", "nowhere"], "no node has written records here yet"),
        (["watch", "nowhere", "--seconds", "1"], "no node has written records here yet"),
        (["member", "run", "nowhere"], "a kit is made by `hansa kit new`"),
        (["coordinator", "run", "nowhere"], "a kit is made by `hansa kit new`"),
        (["run", "--data", "nowhere", "--markets", "A-B"], "expected a directory of bars"),
        (["run", "--data", ".", "--markets", "A-B,C-D"], "no file <venue>_<market>.parquet"),
        (["demo", "--out", "full"], "holds something already"),
        (["demo", "--out", "full/file"], "holds something already"),
    ],
)
def test_a_fault_is_one_line_on_standard_error_and_leaves_nothing(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("")
    monkeypatch.chdir(tmp_path)
    code, out, err = command(*arguments, monkeypatch=monkeypatch, capsys=capsys)
    lines = [line for line in err.splitlines() if line.strip()]
    assert code == 2
    assert out == ""
    assert len(lines) == 1
    assert lines[0].startswith("hansa: ")
    assert message in lines[0]
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "full"]


@pytest.mark.skipif(
    not DATA.is_dir(),
    reason="needs real market data, no part of the project, in ../shared/data/usdc_depeg_2023-03",
)
@pytest.mark.parametrize(
    ("markets", "message"),
    [
        ("FOO-BAR", "for FOO-BAR"),
        ("USDC-USD,USDT-USD,USDC-USDT,FOO-BAR", "for FOO-BAR; leave it out"),
        ("USDC-USD", "at least 3 members"),
    ],
)
def test_a_market_without_files_or_too_few_members_are_refused(
    markets: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = command("run", "--data", DATA, "--markets", markets, monkeypatch=monkeypatch, capsys=capsys)
    assert code == 2
    assert message in err
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def test_status_as_json_holds_what_the_node_published(
    node: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = command("status", node.parent, "--json", monkeypatch=monkeypatch, capsys=capsys)
    (found,) = json.loads(out)
    assert code == 0
    assert found["sums"] == {"published": 1, "died": 1}
    assert found["index"] == [{"basket": "[blink]xau[/blink]", "ts_ns": AS_OF_NS, "value": 77.25}]
    assert found["budgets"][0]["epsilon"] == 1.5
    assert found["notes"][0]["reason"] == HOSTILE


@pytest.mark.parametrize("arguments", [["status"], ["watch", "--seconds", "0.1"]])
def test_names_and_reasons_are_shown_as_they_are(
    node: Path, arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name, *options = arguments
    code, out, _ = command(name, node, *options, monkeypatch=monkeypatch, capsys=capsys)
    assert code == 0
    for text in ("[bold]riga", "[red]all is well[/red]", "[blink]xau[/blink]", "[i]state[/i]", "77.2"):
        assert text in out
    assert "\x1b[31m" not in out


def test_a_node_is_found_by_its_own_folder_or_the_alliances(node: Path) -> None:
    assert record_files(node) == record_files(node.parent) == [node / "node" / "records.sqlite"]
    assert summary(node / "node" / "records.sqlite")["node"] == "[bold]riga"
    with pytest.raises(StoreError, match="no node has written"):
        record_files(node / "node")


def test_a_damaged_file_of_records_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "node").mkdir()
    (tmp_path / "node" / "records.sqlite").write_bytes(b"garbage" * 200)
    code, _, err = command("status", tmp_path, monkeypatch=monkeypatch, capsys=capsys)
    assert code == 2
    assert "not a database" in err


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("2023-03-13T02:00Z", 1_678_672_800), ("2023-03-13T02:00", 1_678_672_800), ("2023-03-13T03:00+01:00", 1678672800)],
)
def test_a_time_without_a_zone_is_utc(text: str, seconds: int) -> None:
    assert parse_time(text) == seconds * 1_000_000_000


def test_a_time_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="2023-03-13T02:00Z"):
        parse_time("yesterday")


def test_help_does_not_load_what_only_a_run_needs() -> None:
    script = "import sys, hansa.cli; sys.exit(bool({'jax', 'polars', 'scipy', 'nats'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_a_documents_names_are_no_markup() -> None:
    console = Console(file=io.StringIO(), width=240, force_terminal=False)
    show(console, document(source=HOSTILE, name="[red]riga[/red]"))
    out = console.file.getvalue()  # type: ignore[attr-defined]
    for text in (HOSTILE, "[red]riga[/red]", "[red]census[/red]", "[red]xau[/red]", "[90 % interval]"):
        assert text in out


@pytest.mark.parametrize("source", ["simulated market", "files"])
def test_a_document_is_shown_whole(source: str) -> None:
    console = Console(file=io.StringIO(), width=240, force_terminal=False)
    show(console, document(source=source, name="riga"))
    out = console.file.getvalue()  # type: ignore[attr-defined]
    assert "20.0 [18.0" in out
    assert "0.800 [0.700" in out
    assert "no alert on training bars" in out or source == "files"


def document(*, source: str, name: str) -> dict[str, Any]:
    row = {"mape": 0.2, "mape_interval": [0.18, 0.22], "rmse": 0.3, "rmse_interval": [0.25, 0.35]}
    ratio = {"estimate": 0.8, "low": 0.7, "high": 0.9}
    market = f"{name.replace('riga', 'xau')}"
    rule = {"reason": "no alert on training bars"}
    fired = {
        "hits": 1, "misses": 1, "lead_minutes": [10.0], "false_alarms_per_day": 0.5, "chance_hit_rate": 0.2,
    }  # fmt: skip
    return {
        "source": source, "members": [name], "rounds": 3, "minimum_cohort": 3, "colluders": 0, "quorum": 2,
        "outcome": "cost", "errors": dict.fromkeys(ALL_ARMS, row),
        "ratios": {arm: {"mape": ratio, "rmse": ratio} for arm in ALL_ARMS},
        "per_member": {name: dict.fromkeys(ALL_ARMS, row)}, "choices": {name: {"gates": None, "pulls": None}},
        "alerts": {market: {"lsi": fired, "volatility": rule}}
        if source == "simulated market"
        else [{"basket": market, "ts_ns": AS_OF_NS}],
        "privacy": [
            {
                "purpose": name.replace("riga", "census"), "unit": "day", "period": "year", "epsilon": 1.0,
                "allowed": 4.0, "delta": 1e-6,
            }
        ],
        "bytes_per_member": {name: 1_000_000}, "steps": {"whole": 0.1}, "seconds": 5.0,
    }  # fmt: skip


def run_on_real_data(tmp_path: Path, *options: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "hansa", "run", "--data", str(DATA), "--json", "--out", str(tmp_path / "run"), *options],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


KEYS = {
    "members", "rounds", "seconds", "errors", "per_member", "lsi", "alerts", "privacy", "bytes_per_member",
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(
    not DATA.is_dir(),
    reason="needs real market data, no part of the project, in ../shared/data/usdc_depeg_2023-03",
)
def test_on_real_series_the_state_brings_what_was_promised(tmp_path: Path) -> None:
    found = run_on_real_data(tmp_path, "--markets", "USDC-USD,USDT-USD,USDC-USDT", "--member-by", "series")
    assert set(found) >= KEYS
    assert len(found["members"]) == 4
    assert set(found["errors"]) >= {"persistence", "local", "federated_weights", "federated_state", "centralised"}
    ratios = [arms["federated_state"]["rmse"] / arms["local"]["rmse"] for arms in found["per_member"].values()]
    assert sum(ratios) / len(ratios) <= 0.78
    assert (tmp_path / "run" / "report.html").stat().st_size > 10_000
    assert all(row["epsilon"] <= row["allowed"] for row in found["privacy"])


@pytest.mark.slow
@pytest.mark.skipif(
    not DATA.is_dir(),
    reason="needs real market data, no part of the project, in ../shared/data/usdc_depeg_2023-03",
)
def test_on_real_series_a_venue_can_be_a_member(tmp_path: Path) -> None:
    found = run_on_real_data(tmp_path, "--markets", "USDC-USD,USDT-USD,USDC-USDT", "--member-by", "venue")
    assert set(found) >= KEYS
    assert found["member_by"] == "venue"
    assert len(found["members"]) >= 3


def test_a_demo_with_tokens_says_what_is_missing_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SOFTHSM2_MODULE", str(tmp_path / "nowhere.so"))
    words = ("demo", "--hsm", "--seeds", "1", "--out", tmp_path / "run")
    code, _, err = command(*words, monkeypatch=monkeypatch, capsys=capsys)
    assert code == 2
    assert "apt-get install softhsm2" in err
    assert not (tmp_path / "run").exists()
