"""Claims about evidence bundles of a federation: what is chosen is in them, and they verify."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from constitutions import signed
from evidence import bars, rules
from hansa.audit.note import NoteKey, origin_of
from hansa.audit.reader import LogReader
from hansa.audit.verify import main
from hansa.errors import ConfigurationError, LogError, MessageError, StoreError
from hansa.federation.entries import peek
from hansa.federation.evidence import Choice, collect, quarter_seconds
from hansa.federation.memory_transport import MemoryTransport
from hansa.federation.rules import limits_of
from simulator import SECOND, Simulation, request, signing_key

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DOCUMENT = rules(cosignatures=4, colluders=1, minimum_cohort=4)
LOG_KEY = NoteKey.of(origin_of("demo"), signing_key("coordinator").public, is_cosignature=False)


@pytest.fixture
def simulation(tmp_path: Path) -> Iterator[Simulation]:
    programme = [request(0, "gram"), bars(1, count=4), request(2, "gram", round_=7)]
    made = Simulation(tmp_path, limits=limits_of(DOCUMENT), programme=programme)
    made.run(until=lambda: any(step == "result" for _, step, _ in made.sent))
    made.silent.add("m04")  # drops out of what follows: the bundle needs the seeds of its masks
    made.run()
    made.now_ns += 2 * SECOND
    for _ in range(5):
        made.step()
    assert made.coordinator._logbook is not None
    made.coordinator._logbook.keep()
    yield made
    assert made.log is not None
    made.log.close()


async def bundle(simulation: Simulation, choice: Choice) -> bytes:
    log = LogReader(simulation.directory / "log", key=LOG_KEY)
    transport = MemoryTransport(simulation.hub, "coordinator")
    constitution = signed(DOCUMENT).to_bytes()
    return await collect(transport, log, choice, limits=simulation.limits, constitution=constitution)


def checks(data: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    path = tmp_path / "evidence.bundle"
    path.write_bytes(data)
    code = main([str(path), "--json"])
    return code, capsys.readouterr().out


async def test_everything_verifies_with_a_member_that_dropped_out(
    simulation: Simulation, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cohorts = [len(one.cohort) for one in simulation.opened("m00")]
    assert sorted(set(cohorts)) == [4, 5]
    code, said = checks(await bundle(simulation, Choice()), tmp_path, capsys)
    assert (code, "3 sums" in said) == (0, True), said


@pytest.mark.parametrize(
    ("choice", "sums"),
    [(Choice(round=7), 1), (Choice(round=1), 2), (Choice(member="m04"), 1), (Choice(member="m01"), 3)],
    ids=["a round", "another", "a member that dropped out", "a member"],
)
async def test_what_is_chosen_verifies_alone(
    simulation: Simulation, tmp_path: Path, capsys: pytest.CaptureFixture[str], choice: Choice, sums: int
) -> None:
    code, said = checks(await bundle(simulation, choice), tmp_path, capsys)
    assert (code, f"{sums} sums" in said) == (0, True), said


async def test_a_choice_of_no_sum_says_which_rounds_there_are(simulation: Simulation) -> None:
    log = LogReader(simulation.directory / "log", key=LOG_KEY)
    statements = [peek(entry) for entry in log.entries()]
    for choice in (Choice(round=5), Choice(member="m09"), Choice(start=1 << 50, end=1 << 51)):
        with pytest.raises(LogError, match="no sum of that choice; rounds there: 1 to 7, 2 in all"):
            choice.numbers(statements)
    assert Choice().numbers(statements) == list(range(len(statements)))


async def test_a_message_that_is_not_the_one_logged_is_not_exported(
    simulation: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch = MemoryTransport.fetch

    async def altered(self: MemoryTransport, subject: object) -> bytes | None:
        body = await fetch(self, subject)  # type: ignore[arg-type]
        return body if body is None else body + b"x"

    monkeypatch.setattr(MemoryTransport, "fetch", altered)
    with pytest.raises(LogError, match="another than the one that was logged"):
        await bundle(simulation, Choice(round=7))


def test_a_folder_without_a_published_checkpoint_says_what_to_expect(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="its first checkpoint comes with the first sum"):
        LogReader(tmp_path, key=LOG_KEY)


def test_a_quarter_is_its_calendar_months() -> None:
    assert quarter_seconds("1970Q1") == (0, 90 * 86_400)
    assert quarter_seconds("2026Q4") == (1_790_812_800, 1_798_761_600)
    for text in ("2026", "2026Q5", "Q4", "2026q4"):
        with pytest.raises(ConfigurationError, match="expected such as 2026Q4"):
            quarter_seconds(text)


@pytest.mark.parametrize("entry", [b"", b"[]", b"0", b"{}", b"[" * 5000, b'{"payload":7}', b'{"payload":"*"}', b"\xff"])
def test_what_is_no_entry_is_refused_by_name(entry: bytes) -> None:
    with pytest.raises(MessageError):
        peek(entry)
