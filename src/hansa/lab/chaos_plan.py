"""What goes wrong in a run of chaos: drawn before it begins, from a seed and the run's number alone.

A fault is due at the first moment that fits it: when `node` reads (or, for what a node says, sends) a message of `step`
in the session at `position` of the programme; set-up has position -1.

| who | kinds |
|---|---|
| a member | silent, killed before it commits, before it sends, after it sent; back at once, later or never |
| the coordinator | killed before or after it publishes a step |
| the network | deliveries twice, late, damaged, old ones again, bodies under another's subject |
| a lying member | partials, seeds, packages, a ciphertext, a second upload, statements, complaints, dealings |
| a lying coordinator | two manifests, its own cohorts and calls, edited sums, death notices, silence |

Liars are the colluders, fewer than a third; drop-outs, kills and the network hit everybody.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from hansa.lab.simulation import SECOND, limits, purpose, request, witnessed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hansa.federation.running_sum import Request
    from hansa.protocol.limits import Limits, PurposeLimit

SETUP: Final = -1
NEVER: Final = -1
DROPS: Final = ("silent", "killed-uncommitted", "killed-unsent", "killed-after")
RESTARTS: Final = ("coordinator-killed-before", "coordinator-killed-after")
DELIVERIES: Final = ("duplicated", "delayed", "flipped", "truncated", "replayed", "moved")
MEMBER_LIES: Final = (
    "garbage-partial", "wrong-seeds", "wrong-packages", "garbage-upload", "second-upload", "false-closed",
)  # fmt: skip
SETUP_LIES: Final = ("false-complaint", "junk-sealed", "bad-dealing", "false-probe")
FACES: Final = (
    "two-manifests", "two-cohorts", "cohort-below-minimum", "cohort-without-us", "second-opening", "rewound-cohort",
)  # fmt: skip
COORDINATOR_LIES: Final = ("edited-sum", "false-death", "death-after-opening", "withheld")
KINDS: Final = (*DROPS, *RESTARTS, *DELIVERIES, *MEMBER_LIES, *SETUP_LIES, *FACES, *COORDINATOR_LIES)

BOARD_STEPS: Final = ("announce", "cohort", "call", "result", "died", "closed", "call-1")
INBOX_STEPS: Final = ("upload", "agree", "open", "shares", "open-1")
SETUP_READS: Final = ("setup", "epoch", "halves", "probe")
_LIE_STEPS: Final = {
    "garbage-partial": "open",
    "wrong-seeds": "open",
    "wrong-packages": "upload",
    "garbage-upload": "upload",
    "second-upload": "upload",
    "false-closed": "open",
    "false-complaint": "probe",
    "junk-sealed": "halves",
    "bad-dealing": "deal",
    "false-probe": "probe",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong.

    Args:
        kind: One of `KINDS`.
        node: Whom it happens to, or who does it.
        step: At which step.
        position: Place of the session in the programme, `SETUP` for the set-up.
        amount: Seconds away (`NEVER`: for good), deliveries late, or what else the kind counts.
        viewers: Members to whom a lying coordinator shows something else.
    """

    kind: str
    node: str
    step: str
    position: int
    amount: int = 0
    viewers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole run: the federation, its programme, its faults, and the seed of what the faults make up."""

    limits: Limits
    programme: tuple[Request, ...]
    colluders: tuple[str, ...]
    faults: tuple[Fault, ...]
    seed: tuple[int, int]

    @property
    def honest(self) -> tuple[str, ...]:
        """Members that do not lie."""
        return tuple(name for name in self.limits.members if name not in self.colluders)


def draw_plan(seed: int, run: int) -> Plan:
    """Return run number `run` of a seed."""
    rng = np.random.default_rng([seed, run])
    members = int(rng.integers(4, 8))
    colluders = int(rng.integers(0, (members - 1) // 3 + 1))
    purposes = {
        "gram": _purpose(rng, exchanges=3),
        "state": _purpose(rng, exchanges=2),
    }
    rules = witnessed(limits(members, colluders, **purposes))
    names = [("gram", "state")[int(rng.integers(2))] for _ in range(int(rng.integers(2, 5)))]
    programme = tuple(request(place, name) for place, name in enumerate(names))
    liars = tuple(sorted(str(name) for name in rng.choice(rules.members, colluders, replace=False)))
    plan = Plan(rules, programme, liars, (), (seed, run))
    faults = [fault for kind in _kinds(rng, plan) if (fault := _fault(rng, plan, kind)) is not None]
    return Plan(rules, programme, liars, tuple(faults), (seed, run))


def _purpose(rng: np.random.Generator, *, exchanges: int) -> PurposeLimit:
    is_wide = bool(rng.integers(2))
    return purpose(
        values=int(rng.integers(1, 400)),
        exchanges=exchanges,
        scale=2**20 if is_wide else 1024,
        epsilon=500.0,
    )


def _kinds(rng: np.random.Generator, plan: Plan) -> list[str]:
    """Return the kinds of a run's faults: a few of the network and of drop-outs, and perhaps a liar or two."""

    def some(kinds: Sequence[str], most: int) -> list[str]:
        return [str(kind) for kind in rng.choice(kinds, int(rng.integers(0, most + 1)))]

    drawn = [*some(DROPS, 3), *some(RESTARTS, 1), *some(DELIVERIES, 3)]
    if plan.colluders:
        drawn += some(MEMBER_LIES, 2) + (some(SETUP_LIES, 1) if rng.random() < 0.3 else [])
    if rng.random() < 0.4:
        drawn += some(FACES, 1) + some(COORDINATOR_LIES, 1)
    return drawn


def _fault(rng: np.random.Generator, plan: Plan, kind: str) -> Fault | None:
    def one(items: Sequence[str]) -> str:
        return str(items[int(rng.integers(len(items)))])

    members, coordinator = plan.limits.members, plan.limits.coordinator
    position = int(rng.integers(len(plan.programme)))
    is_setup = bool(rng.random() < 0.15)
    if kind in DROPS:
        step = one(SETUP_READS) if is_setup else one(BOARD_STEPS[:4])
        away = (0, 3, 15, 40, NEVER)[int(rng.integers(5))]
        return Fault(kind, one(members), step, SETUP if is_setup else position, away)
    if kind in RESTARTS:
        step = "epoch" if is_setup else one(("announce", "cohort", "call", "result", "died"))
        return Fault(kind, coordinator, step, SETUP if is_setup else position)
    if kind in DELIVERIES:
        reader = one((*members, coordinator, coordinator))
        steps = (*INBOX_STEPS, *BOARD_STEPS[:4]) if reader == coordinator else BOARD_STEPS
        step = one(SETUP_READS) if is_setup else one(steps)
        return Fault(kind, reader, step, SETUP if is_setup else position, int(rng.integers(1, 6)))
    if kind in SETUP_LIES:
        return Fault(kind, one(plan.colluders), _LIE_STEPS[kind], SETUP, 0, (one(plan.honest),))
    if kind in MEMBER_LIES:
        return Fault(kind, one(plan.colluders), _LIE_STEPS[kind], position)
    viewers = rng.choice(plan.honest, int(rng.integers(1, len(plan.honest) + 1)), replace=False)
    step = one(("cohort", "call", "result", "announce", "died")) if kind == "withheld" else "cohort"
    return Fault(kind, coordinator, step, position, int(rng.integers(3)), tuple(sorted(str(v) for v in viewers)))


RUN_LIMIT_NS: Final = 3600 * SECOND
"""Simulated time after which a run is ended: every wait of the protocol is over long before."""
