"""Claims about alerts on record: written before the outcome, once, with version and evidence, and never changed."""

from __future__ import annotations

import sqlite3
from types import SimpleNamespace
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest

from hansa.errors import StoreError
from hansa.federation import watchtower
from hansa.federation.alerts import Alert, verify
from hansa.federation.records import Records
from hansa.federation.rules import limits_of
from hansa.federation.schedule import replay_programme, state_programme
from hansa.federation.watchtower import basket_indices, index_rule, model_version
from hansa.model.lsi import stress_index
from hansa.model.point_in_time import index_evidence, value_digest
from hansa.model.warning_rules import Pace
from hansa.protocol.session import Aggregate
from simulator import BAR_NS
from small_market import AS_OF_NS, START_NS, constitution, manifest_of, views_of_member, work

if TYPE_CHECKING:
    from pathlib import Path

    from hansa.federation.liquidity import LiquidityWork

LIMITS = limits_of(constitution())
CENSUS = Aggregate(
    manifest_of(replay_programme(constitution(), AS_OF_NS, AS_OF_NS)[0]), LIMITS.members, np.array([2 << 20, 3 << 20])
)


def alert(number: int, **changed: object) -> Alert:
    fields = {"rule": "lsi", "basket": "eur", "ts_ns": number * BAR_NS, "value": 90.0 + number, **changed}
    return Alert(**fields)  # type: ignore[arg-type]


def stressed(bars: int) -> tuple[LiquidityWork, list[Aggregate]]:
    """Return a member that knows the training span, and sums of single bars in which stress sets in."""
    rng = np.random.default_rng(4)
    one = work(views_of_member("m0"))
    one.receive(CENSUS)
    live = []
    for request in (
        *state_programme(constitution(), START_NS, AS_OF_NS, bars=288),
        *state_programme(constitution(), AS_OF_NS + BAR_NS, AS_OF_NS + bars * BAR_NS, bars=1),
    ):
        manifest = manifest_of(request)
        values = rng.standard_normal(manifest.length - 2)
        is_live = manifest.span_start_ns > AS_OF_NS
        if is_live:
            values = np.tile([9.0, -9.0], 2)  # spread up, depth down, in both baskets
        vector = np.concatenate([np.full(2, 1000.0), values])
        sums = Aggregate(manifest, LIMITS.members, np.rint(vector * LIMITS.purposes["state"].scale).astype(np.int64))
        if is_live:
            live.append(sums)
        else:
            one.receive(sums)
    one.settle()
    return one, live


def test_an_alert_is_on_record_before_any_later_bar_is_known() -> None:
    one, live = stressed(6)
    for sums in live:
        one.receive(sums)
        one.settle()
    found = [alert for alert in one._records.alerts() if alert.ts_ns > AS_OF_NS]
    assert {alert.basket for alert in found} >= {"eur", "xau"}
    for alert_ in found:
        assert alert_.is_ahead
        assert alert_.known_ns == alert_.ts_ns
        assert alert_.written_ns > 0
    verify(one._records.alerts())


def test_an_alert_found_when_a_history_is_read_in_says_that_the_outcome_was_known() -> None:
    one, live = stressed(6)
    for sums in live:
        one.receive(sums)
    one.settle()
    late = [alert for alert in one._records.alerts() if AS_OF_NS < alert.ts_ns < AS_OF_NS + 6 * BAR_NS]
    assert late
    assert not any(alert.is_ahead for alert in late)


def test_evidence_lets_an_auditor_compute_the_number_again() -> None:
    one, live = stressed(3)
    for sums in live:
        one.receive(sums)
        one.settle()
    published = one.published
    raised = [alert for alert in one._records.alerts() if alert.basket == "xau" and alert.ts_ns > AS_OF_NS]
    assert {alert.rule for alert in raised} == {"threshold", "cusum", "shiryaev_roberts", "lsi"}
    found = next(alert for alert in raised if alert.rule == "lsi")
    bar = (found.ts_ns - published.start_ns) // published.bar_ns
    rule = index_rule(published.market.measures, 288)
    again = index_evidence(published.state[:, 1], published.slots(), rule, bar, value=found.value)
    assert found.evidence["inputs_sha256"] == again.inputs
    assert found.evidence["value_sha256"] == again.output
    assert basket_indices(published)[bar, 1] == pytest.approx(found.value)
    pace = Pace.usual(published.bar_ns, published.train_bars)
    for alert in raised:
        assert alert.value >= float(str(alert.evidence["limit"])) - 1e-6
        assert alert.evidence["index"] == pytest.approx(found.value, abs=1e-4)
        assert alert.evidence["inputs_sha256"] == again.inputs
        assert alert.evidence["value_sha256"] == value_digest(alert.value)
        assert alert.model_version == model_version(alert.rule, published.market.measures, pace)  # type: ignore[arg-type]
    assert len({alert.model_version for alert in raised}) == 4


def test_evidence_says_which_rule_at_which_rate_how_likely_by_luck_and_what_drove_it() -> None:
    one, live = stressed(3)
    for sums in live:
        one.receive(sums)
        one.settle()
    raised = [alert for alert in one._records.alerts() if alert.ts_ns > AS_OF_NS]
    for alert in raised:
        chance = alert.evidence["probability"]
        assert isinstance(chance, dict)
        assert 0 <= chance["low"] <= chance["value"] <= chance["high"] <= 1
        assert alert.evidence["false_alerts_per_day"] == 1.0
        assert alert.evidence["horizon_seconds"] == 0
        drivers = alert.evidence["drivers"]
        assert isinstance(drivers, list)
        assert drivers[0]["adds"] >= drivers[-1]["adds"] > 0
        names = {driver["name"] for driver in drivers}
        assert names <= ({"eur", "xau"} if alert.basket == "system" else {"log_spread", "log_depth"})
    limits = one._records.get("alert_rules")
    assert isinstance(limits, dict)
    assert {f"{alert.rule}/{alert.basket}" for alert in raised} <= set(limits["limits"])


def test_the_version_changes_with_any_number_of_the_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    measures, pace = ("log_spread", "log_depth"), Pace(BAR_NS, 1728, 1.0)
    before = model_version("cusum", measures, pace)
    found = {
        model_version("threshold", measures, pace),
        model_version("cusum", measures[:1], pace),
        model_version("cusum", measures, Pace(BAR_NS, 1728, 0.5)),
        model_version("cusum", measures, Pace(2 * BAR_NS, 1728, 1.0)),
    }
    monkeypatch.setattr(watchtower, "DRIFT", 0.5)
    found.add(model_version("cusum", measures, pace))
    assert len(found | {before}) == 6


def test_an_alert_that_was_written_stays_as_it_was() -> None:
    records = Records(":memory:")
    assert records.alert(alert(1, evidence={"a": 1}))
    assert not records.alert(alert(1, value=1.0, evidence={"a": 2}))
    (kept,) = records.alerts()
    assert (kept.value, kept.evidence) == (91.0, {"a": 1})


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE alert SET value = 1.0 WHERE number = 2",
        "UPDATE alert SET evidence = '{\"threshold\":1.0}' WHERE number = 2",
        "UPDATE alert SET known_ns = 5 WHERE number = 2",
        "DELETE FROM alert WHERE number = 2",
        "UPDATE alert SET number = 9 WHERE number = 2",
    ],
)
def test_a_changed_or_removed_alert_is_found(tmp_path: Path, statement: str) -> None:
    records = Records(tmp_path / "records.sqlite")
    for number in (1, 2, 3):
        records.alert(alert(number))
    verify(records.alerts())
    with sqlite3.connect(tmp_path / "records.sqlite") as connection:
        connection.execute(statement)
    with pytest.raises(StoreError, match="changed after it was written"):
        verify(records.alerts())


def test_the_records_of_an_earlier_version_are_widened_and_their_alerts_stay(tmp_path: Path) -> None:
    path = tmp_path / "records.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute(
            "CREATE TABLE alert (rule TEXT, basket TEXT, ts_ns INTEGER, value REAL, PRIMARY KEY (rule, basket, ts_ns))"
        )
        connection.execute("INSERT INTO alert VALUES ('lsi', 'eur', 5, 80.0)")
    records = Records(path)
    records.alert(alert(1))
    assert len(records.rows("SELECT * FROM alert")) == 2
    assert [one.number for one in records.alerts()] == [1]
    verify(records.alerts())


def test_the_excess_and_the_band_are_published_where_range_is_measured() -> None:
    one, live = stressed(2)
    for sums in live:
        one.receive(sums)
        one.settle()
    names = {row["name"] for row in one._records.rows("SELECT DISTINCT name FROM series")}
    assert {"lsi", "lsi_low", "lsi_high"} <= names
    assert "lsix" not in names, "this federation does not measure the range"


def test_the_excess_is_what_the_published_range_does_not_say() -> None:
    market = msgspec.structs.replace(constitution().market, measures=("log_range", "log_impact"), cost="log_impact")
    rng = np.random.default_rng(7)
    bars = 9 * 288
    log_range = -7 + np.cumsum(0.05 * rng.standard_normal(bars)) * 0.3
    state = np.column_stack([log_range, log_range + 0.3 * rng.standard_normal(bars)])
    published = SimpleNamespace(market=market, state=state[:, None, :], bar_ns=BAR_NS)
    index = stress_index(state, np.arange(bars) % 288, index_rule(market.measures, 288))
    found = watchtower.excess(published, index, 0)  # type: ignore[arg-type]
    known = np.isfinite(found) & np.isfinite(index)
    assert known.sum() > 100
    assert np.var(found[known]) < np.var(index[known]), "volatility explains a part"
    assert np.isnan(found[np.isnan(index)]).all()
