"""Claims about `hansa privacy show` and `plan`: both protections in words, and an error only where it was measured."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import pytest

from hansa import cli
from hansa.federation.budgets import charge_of
from hansa.federation.records import Records
from hansa.federation.rules import limits_of
from hansa.federation.store import MemberStore
from hansa.governance.signed import SignedConstitution, write
from hansa.lab.rehearsal import rehearse
from hansa.lab.twins import Scenario, simulate
from simulator import DAY_NS
from small_market import constitution

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

RULES = constitution(4, 2)
LIMITS = limits_of(RULES)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["hansa", "privacy", *map(str, arguments)])
        monkeypatch.setattr(cli.signal, "signal", lambda *_: None)
        monkeypatch.setenv("COLUMNS", "200")
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return run


@pytest.fixture
def node(tmp_path: Path) -> Path:
    """A member's folder after one round and one day of the state channel."""
    work = tmp_path / "m0" / "node"
    work.mkdir(parents=True)
    write(tmp_path / "m0" / "constitution.json", SignedConstitution(RULES, {}))
    store = MemberStore(work / "facts.sqlite")
    for session, purpose, period, releases in (
        ("e1/r202201190200-2-gram-a1", "gram", "2022", 1),
        ("e1/r20220119-0-state-a1", "state", "2022-01-19", 288),
    ):
        charge = charge_of(LIMITS.purposes[purpose], LIMITS, releases=releases)
        store.charge(session, purpose=purpose, period=period, charge=charge, time_ns=1)
    store.close()
    records = Records(work / "records.sqlite")
    records.put("unit/state", "[red]trade[/red], basket and day")
    records.close()
    return tmp_path / "m0"


def document(out: str) -> dict[str, Any]:
    found = json.loads(out)
    assert isinstance(found, dict)
    return found


def test_show_says_what_is_spent_for_whom_and_when_it_runs_out(
    node: Path, command: Callable[..., tuple[int, str, str]]
) -> None:
    code, out, _ = command("show", node, "--json")
    assert code == 0
    found = document(out)
    rows = {row["purpose"]: row for row in found["purposes"]}
    assert set(rows) == set(RULES.purposes)
    (gram,), (state,) = rows["gram"]["periods"], rows["state"]["periods"]
    assert gram["runs_out"] == "2022-01-26T02:00Z"
    assert state["runs_out"] is None
    assert state["rho_epsilon"] >= state["epsilon"] > 0.9 * rows["state"]["allowed"]
    assert rows["state"]["unit"] == "client, basket and day"
    assert rows["state"]["protected_unit"] == "[red]trade[/red], basket and day"
    assert rows["gram"]["protected_unit"].startswith("not known")


def test_show_prints_both_protections_and_no_markup(node: Path, command: Callable[..., tuple[int, str, str]]) -> None:
    code, out, _ = command("show", node)
    assert code == 0
    assert "own bars are protected by the secure sum: nothing below 3 of 4 members" in out
    assert "People are protected by the noise" in out
    assert "what is protected here: [red]trade[/red], basket and day" in out
    assert "not within the period" in out
    assert "rho" in out
    assert "of a client in all 2 baskets" in out


def test_plan_of_a_constitution_knows_the_noise_and_not_the_error(
    node: Path, command: Callable[..., tuple[int, str, str]]
) -> None:
    code, out, _ = command("plan", node / "constitution.json", "--purpose", "state", "--epsilon", "1,8", "--json")
    assert code == 0
    found = document(out)
    assert [plan["epsilon"] <= wanted for plan, wanted in zip(found["plans"], (1, 8), strict=True)] == [True, True]
    assert all(plan["error"] is None for plan in found["plans"])
    assert "a constitution has no data" in found["plans"][0]["error_unknown"]
    code, out, _ = command("plan", node, "--sigma-factor", "0.5,1,2")
    assert code == 0
    assert "the error is not known from this node" in out
    assert "People are protected by the noise" in out


def test_plan_of_a_member_measures_the_error_on_its_own_state(
    tmp_path: Path, command: Callable[..., tuple[int, str, str]]
) -> None:
    node, rules = a_member_with_bars(tmp_path)
    write(node / "constitution.json", SignedConstitution(rules, {}))
    code, out, _ = command("plan", node, "--purpose", "state", "--sigma-factor", "0.5,1,4", "--json")
    assert code == 0
    less, same, more = document(out)["plans"]
    assert less["error"] is None
    assert "noise cannot be taken off" in less["error_unknown"]
    assert same["error"]["increase"] == 0
    assert more["error"]["increase"] > 0
    assert more["error"]["bars"] > 100


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "nowhere"], "cannot read nowhere/constitution.json"),
        (["plan", "nowhere.json"], "cannot read nowhere.json"),
        (["plan", "{node}", "--sigma-factor", "two"], "expected numbers such as 0.5,1,2"),
        (["plan", "{node}", "--sigma-factor", "1", "--epsilon", "1"], "not both"),
        (["plan", "{node}", "--purpose", "gossip"], "expected a purpose of census"),
        (["plan", "{node}", "--sigma-factor", "0"], "expected a factor above 0"),
    ],
)
def test_a_fault_is_one_line(
    arguments: list[str], message: str, node: Path, command: Callable[..., tuple[int, str, str]]
) -> None:
    code, out, err = command(*(word.replace("{node}", str(node)) for word in arguments))
    assert code == 2
    assert out == ""
    assert err.count("\n") == 1
    assert message in err


def a_member_with_bars(tmp_path: Path) -> tuple[Path, Any]:
    """A member's folder with bar files and the state of a rehearsed round."""
    from hansa.federation.views import views_of  # noqa: PLC0415 - JAX-free, but only this test needs it
    from hansa.lab.charter import charter  # noqa: PLC0415 - likewise
    from simulator import signing_key  # noqa: PLC0415 - likewise

    twin = simulate(Scenario(seed=3, members=4, markets=("EUR-USD",), days=7))
    rules = charter(
        federation="test",
        keys={name: signing_key(name).public for name in twin.bars},
        coordinator_key=signing_key("coordinator").public,
        baskets={"eur": ["EUR-USD"]},
        measures=("log_spread", "log_depth"),
        cost="log_spread",
        volume_unit=1e7,
        history_days=5,
        steps=0,
        weight_cap=0.5,
    )
    views = {name: views_of([bars], rules.market) for name, bars in twin.bars.items()}
    name, own = next(iter(views.items()))
    as_of = own.start_ns - own.bar_ns + 5 * DAY_NS
    done = rehearse(rules, views, as_of_ns=as_of, until_ns=own.reach_ns, seed=1, forecasts=tmp_path)
    node = tmp_path / name
    (node / "bars").mkdir(parents=True)
    (node / "node").mkdir()
    twin.bars[name].write_parquet(node / "bars" / f"{name}_EUR-USD.parquet")
    (tmp_path / f"{name}.npz").rename(node / "node" / "forecasts.npz")
    records = Records(node / "node" / "records.sqlite")
    records.put("state_weights", done.works[name].published.weights.tolist())
    records.close()
    return node, rules
