"""Runs of chaos: random faults against real nodes, doors and stores, and a count of how they ended.

Over the simulated transport; the members' stores are real SQLite files. Which faults happen when is a function of the
seed and the run's number; keys and seals are drawn by the members themselves, so bytes differ between repetitions.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from hansa.federation.door import MemberDoor
from hansa.federation.store import MemberStore
from hansa.lab.chaos_federation import ChaosFederation
from hansa.lab.chaos_plan import Plan, draw_plan
from hansa.lab.chaos_verdict import VERDICTS, is_exact, judge

if TYPE_CHECKING:
    from collections.abc import Callable

OVER: Final = "simulated transport, real stores"
NOT_SHOWN: Final = (
    "real processes, disks that lie, and the message server: the transport is simulated, kills fall between messages",
    "statistical leaks: an opening is counted by who gave partial decryptions, not by breaking one",
    "decryptors that shift a few values of a sum by a well-chosen partial: as good as a lie in their own upload",
    "members that lie about their own data, which no sum can show",
)
BAD: Final = ("wrong", "leaked", "double_charged")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one run ended: its verdicts, the faults that happened, and each thing that must not happen."""

    run: int
    verdicts: tuple[str, ...]
    happened: Counter[str] = field(default_factory=Counter)
    findings: tuple[str, ...] = ()


def play(
    plan: Plan,
    directory: Path,
    *,
    store: type[MemberStore] = MemberStore,
    door: type[MemberDoor] = MemberDoor,
    keep: Path | None = None,
) -> Outcome:
    """Play one plan and judge it.

    Args:
        plan: What happens.
        directory: An empty folder for the members' stores.
        store: Opens a member's facts.
        door: Makes a member's door.
        keep: Where stores and transcript of a run with findings are left.
    """
    federation = ChaosFederation(directory, store=store, door=door, plan=plan)
    try:
        federation.play()
        found = judge(federation)
        bad = tuple(verdict for verdict in BAD if found[verdict])
        ended = ("exact",) if is_exact(federation) else ("died_cleanly",)
        findings = tuple(f"{verdict}: {line}" for verdict in BAD for line in found[verdict])
        outcome = Outcome(plan.seed[1], bad or ended, federation.happened, findings)
        if bad and keep is not None:
            _keep(federation, outcome, keep / f"run-{plan.seed[1]}")
        return outcome
    finally:
        for one in federation.stores.values():
            one.close()


def run_chaos(
    seed: int, runs: range, *, keep: Path | None = None, progress: Callable[[Outcome], None] = lambda _outcome: None
) -> dict[str, object]:
    """Play runs of a seed; return how they ended.

    Args:
        seed: Of all runs.
        runs: Their numbers.
        keep: Where stores and transcripts of runs with findings are left.
        progress: Called after each run.
    """
    begun = time.perf_counter()
    verdicts: Counter[str] = Counter()
    happened: Counter[str] = Counter()
    failures = []
    for number in runs:
        with tempfile.TemporaryDirectory(prefix="hansa-chaos-") as directory:
            outcome = play(draw_plan(seed, number), Path(directory), keep=keep)
        verdicts.update(outcome.verdicts)
        happened.update(outcome.happened)
        if outcome.findings:
            failures.append({"seed": seed, "run": number, "findings": list(outcome.findings)})
        progress(outcome)
    return {
        "runs": len(runs),
        **{verdict: verdicts[verdict] for verdict in VERDICTS},
        "seed": seed,
        "seconds": round(time.perf_counter() - begun, 1),
        "over": OVER,
        "faults": dict(sorted(happened.items())),
        "not_shown": list(NOT_SHOWN),
        "failures": failures,
    }


def _keep(federation: ChaosFederation, outcome: Outcome, directory: Path) -> None:
    """Leave a run's stores, its plan and its transcript in a folder."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, store in federation.stores.items():
        store.tidy()
        (directory / f"{name}.sqlite").write_bytes((federation.directory / f"{name}.sqlite").read_bytes())
        (directory / f"{name}.sqlite").chmod(0o600)
    plan = {"seed": federation.plan.seed, "colluders": federation.plan.colluders, "findings": outcome.findings}
    faults = [asdict(fault) for fault in federation.plan.faults]
    (directory / "plan.json").write_text(json.dumps({**plan, "faults": faults}, indent=2) + "\n", encoding="utf-8")
    lines = [
        json.dumps({"sender": one.sender, "session": one.session, "step": one.step, "body": one.body.hex()})
        for one in federation.transcript
    ]
    (directory / "transcript.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
