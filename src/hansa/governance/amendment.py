"""From one constitution to the next: what changes, in which direction, and whether the one may follow the other.

A change is one leaf of the JSON object: its clause (`purposes.gram.epsilon`; members by name, lines of the round by
place), the old and the new value, and what it does where that can be said of the clause alone. Quorum and threshold
are derived, so they are shown after the clauses from which they follow.

Guarantees: two constitutions that differ in any field have at least one change, and the changes name every field that
differs. `require_succession` accepts only a successor of the same federation that names its predecessor's digest, has
the next epoch, and keeps a quorum of the members before, with their keys or with keys that follow them by a signed
rotation (`key_statements`): of two successors of one constitution, both signed by all their members, an honest member
has signed both.
Does NOT guarantee: a judgement of the whole. Effects are said of each clause as if the others stayed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

from hansa.errors import ConfigurationError
from hansa.governance.key_statements import Rotation, authority_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hansa.governance.constitution import Constitution
    from hansa.governance.key_statements import SignedStatement

ABSENT: Final = None
_WEAKER: Final = "privacy weaker"
_STRONGER: Final = "privacy stronger"
# What it means that a number grows, and that it shrinks; the first pattern that matches the clause counts.
_EFFECTS: Final[tuple[tuple[str, str, str], ...]] = (
    (r"purposes\.[^.]+\.(epsilon|delta)", _WEAKER, _STRONGER),
    (r"purposes\.[^.]+\.noise_multiplier", _STRONGER, _WEAKER),
    (r"purposes\.[^.]+\.(values|values_per_bar)", "more is learned", "less is learned"),
    (r"purposes\.[^.]+\.sensitivity", "a unit may move the sum further, under more noise", "clipped harder"),
    (r"purposes\.[^.]+\.value_bound", "a member may move the sum further", "a member may move the sum less"),
    (r"purposes\.[^.]+\.scale", "finer steps", "coarser steps"),
    (r"purposes\.[^.]+\.exchanges", "agreed on before it is opened", "opened without an exchange of its own before"),
    (r"round\.\d+\.count", "more sums a round, budget spent faster", "fewer sums a round"),
    (r"colluders", f"{_STRONGER}: more colluders are withstood", f"{_WEAKER}: fewer colluders are withstood"),
    (r"minimum_cohort", f"{_STRONGER}: sums over more members", f"{_WEAKER}: sums over fewer members"),
    (r"attempts", "budget may be spent more often on one sum", "fewer attempts at a sum"),
    (r"reopenings", "a cohort is answered more often", "a cohort is answered less often"),
    (r"cosignatures", "more members watch the log", "fewer members watch the log"),
    (r"market\.weight_cap", "one member may weigh more", "one member weighs less"),
    (r"market\.influence_cap", "one client may move a measure further", "one client may move a measure less"),
    (r"market\.history_days", "rounds look further back", "rounds look back less"),
    (r"node_audit\.grace_days", "nodes have longer to report", "nodes have less time to report"),
    (r"node_audit\.suspend", "a node that fails is suspended", "a node that fails is only named"),
    (r"quorum", "quorum higher", "quorum lower"),
    (r"threshold", "threshold higher", "threshold lower"),
)
_ADDED: Final = (
    (r"purposes\.[^.]+\.epsilon", f"{_WEAKER}: something new may be summed", f"{_STRONGER}: no longer summed"),
    (r"members\.[^.]+\.identity_key", "joins", "leaves"),
    (r"cosignatures", "members watch the log from now on", "nobody has to watch the log any longer"),
    (r"attestation\..+", "believed from now on", "no longer asked, or believed no longer"),
)
_OTHERWISE: Final = (
    (r"members\.[^.]+\.identity_key", "another key: make sure that it is the member's"),
    (r"members\.[^.]+\.recovery_key", "who may replace the member's key: make sure that it is the member's"),
    (r"coordinator\..+", "another coordinator"),
    (r"purposes\.[^.]+\.unit", "the budget is about another unit"),
    (r"attestation\.policy", "another demand on the coordinator's machine"),
    (r"attestation\..+", "another machine, code or state of it is believed"),
)
_PERIOD: Final = re.compile(r"purposes\.[^.]+\.period")


class Change(msgspec.Struct, frozen=True):
    """One clause that differs; a value is None where the clause is not there (or is null), `effect` may be empty."""

    clause: str
    old: str | float | int | None
    new: str | float | int | None
    effect: str


@dataclass(frozen=True, slots=True)
class _Leaf:
    value: str | float | int | None


def changes(old: Constitution, new: Constitution) -> list[Change]:
    """Return what differs, clause by clause, the derived quorum and threshold last."""
    before, after = _leaves(old), _leaves(new)
    found = []
    for clause in dict.fromkeys((*before, *after)):
        one, other = before.get(clause), after.get(clause)
        if one != other:
            found.append(
                Change(
                    clause, one.value if one else ABSENT, other.value if other else ABSENT, _effect(clause, one, other)
                )
            )
    return found


def require_succession(old: Constitution, new: Constitution, rotations: Sequence[SignedStatement] = ()) -> None:
    """Return if `new` may follow `old`.

    Args:
        old: The constitution in force.
        new: The next one.
        rotations: Statements by which members' keys changed: who rotated its key stays, where they count under `old`.

    Raises:
        ConfigurationError: Names the clause that breaks the chain, or a rotation is not one of `old`.
        SignatureError: A rotation lacks a signature.
    """
    keys = {party.name: party.identity_key for party in new.members}
    successors = {party.name: {party.identity_key} for party in old.members}
    for signed in rotations:
        authority_of(signed, old)
        if isinstance(signed.statement, Rotation) and signed.statement.node in successors:
            successors[signed.statement.node].add(signed.statement.new)
    kept = sum(keys.get(name) in known for name, known in successors.items())
    clauses = {
        f"federation: expected {old.federation}, got {new.federation}": new.federation == old.federation,
        f"epoch: expected {old.epoch + 1}, got {new.epoch}": new.epoch == old.epoch + 1,
        f"supersedes: expected {old.digest()}, got {new.supersedes}": new.supersedes == old.digest(),
        f"members: a quorum of {old.quorum} of the members before must stay with their keys, {kept} do": kept
        >= old.quorum,
    }
    for clause, holds in clauses.items():
        if not holds:
            raise ConfigurationError(f"constitution: {clause}")


def _leaves(constitution: Constitution) -> dict[str, _Leaf]:
    tree = constitution.fields()
    tree["members"] = {one.pop("name"): one for one in tree["members"]}
    found = {clause: _Leaf(value) for clause, value in _walk(tree, "")}
    found["quorum (derived)"] = _Leaf(constitution.quorum)
    found["threshold (derived)"] = _Leaf(constitution.threshold)
    return found


def _walk(tree: object, path: str) -> Iterator[tuple[str, str | float | int | None]]:
    if isinstance(tree, dict) and tree:
        for name, inner in tree.items():
            yield from _walk(inner, f"{path}.{name}" if path else str(name))
    elif isinstance(tree, list | tuple) and tree:
        for place, inner in enumerate(tree):
            yield from _walk(inner, f"{path}.{place}")
    elif isinstance(tree, str | float | int) or tree is None:
        yield path, tree
    else:
        yield path, "nothing in it"


def _effect(clause: str, old: _Leaf | None, new: _Leaf | None) -> str:
    name = clause.removesuffix(" (derived)")
    if old is None or new is None:
        return _first(_ADDED, name, grows=old is None)
    if _PERIOD.fullmatch(name):
        return f"{_WEAKER}: the same budget every day" if new.value == "day" else f"{_STRONGER}: one budget a year"
    if isinstance(old.value, int | float) and isinstance(new.value, int | float):
        return _first(_EFFECTS, name, grows=new.value > old.value)
    return next((words for pattern, words in _OTHERWISE if re.fullmatch(pattern, name)), "")


def _first(effects: tuple[tuple[str, str, str], ...], clause: str, *, grows: bool) -> str:
    for pattern, more, less in effects:
        if re.fullmatch(pattern, clause):
            return more if grows else less
    return ""
