"""Claims about a node's log."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

import pytest

from hansa.federation.alerts import Alert
from hansa.federation.journal import LOGGER, JsonLines, journal_to_stderr
from hansa.federation.records import Records
from hansa.federation.schedule import round_programme
from small_market import AS_OF_NS, constitution, manifest_of

if TYPE_CHECKING:
    from collections.abc import Iterator

CENSUS = manifest_of(round_programme(constitution(), AS_OF_NS)[0])


@pytest.fixture
def journal() -> Iterator[logging.Logger]:
    logger = logging.getLogger(LOGGER)
    before = list(logger.handlers), logger.level, logger.propagate
    yield logger
    logger.handlers, logger.propagate = before[0], before[2]
    logger.setLevel(before[1])


def lines(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_sum_is_one_line_when_it_is_published_and_none_when_it_is_read_again(
    journal: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    journal_to_stderr()
    journal_to_stderr()
    assert len([one for one in journal.handlers if isinstance(one.formatter, JsonLines)]) == 1
    records = Records(":memory:")
    for _ in range(2):
        records.session(CENSUS, "announce", 1)
        records.published(CENSUS.session, members=["m0", "m1"], time_ns=2)
    (line,) = lines(capsys.readouterr().err)
    assert (line["level"], line["event"]) == ("info", "sum published")
    assert (line["session"], line["cohort"]) == (CENSUS.session, ["m0", "m1"])
    assert str(line["time"]).endswith("Z")


def test_deaths_refusals_and_alerts_are_lines_too(journal: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    assert journal.name == LOGGER
    journal_to_stderr()
    records = Records(":memory:")
    records.session(CENSUS, "announce", 1)
    for _ in range(2):
        records.died(CENSUS.session, reason="nobody came", time_ns=2)
        records.note(3, CENSUS.session, "upload", "m1: no")
        records.alert(Alert("lsi", "xau", 4, 91.0))
    found = lines(capsys.readouterr().err)
    assert [line["event"] for line in found] == ["sum died", "refused", "alert"]
    assert [line["level"] for line in found] == ["warning", "warning", "info"]


def test_a_reason_cannot_forge_a_line(journal: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    assert journal.name == LOGGER
    journal_to_stderr()
    Records(":memory:").note(1, "s", "upload", 'x"}\n{"event":"sum published"}\u2028')
    text = capsys.readouterr().err
    assert len(text.splitlines()) == 1
    assert lines(text)[0]["event"] == "refused"
