"""Claims about what differs between two constitutions, and about which may follow which."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from constitutions import GRAM, constitution, party
from hansa.errors import ConfigurationError
from hansa.governance.amendment import Change, changes, require_succession
from hansa.governance.constitution import Constitution, Market, Party, Sums
from simulator import signing_key

OLD = constitution()


def leaves(tree: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    if isinstance(tree, dict):
        return [found for name, inner in tree.items() for found in leaves(inner, (*path, name))]
    if isinstance(tree, list):
        return [found for place, inner in enumerate(tree) for found in leaves(inner, (*path, place))]
    return [path]


TREE = json.loads(OLD.bytes())


def changed(path: tuple[str | int, ...], value: object) -> Constitution:
    tree = json.loads(OLD.bytes())
    inner = tree
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    return msgspec.convert(tree, Constitution)


@pytest.mark.parametrize("path", leaves(TREE), ids=lambda path: ".".join(map(str, path)))
def test_a_change_of_any_single_field_is_shown_at_its_clause(path: tuple[str | int, ...]) -> None:
    value: object = TREE
    for step in path:
        value = value[step]  # type: ignore[index]
    other = value + 1 if isinstance(value, int | float) else f"{value or ''}x"
    found = [change for change in changes(OLD, changed(path, other)) if "derived" not in change.clause]
    assert found
    if path[0] == "members":
        assert all(change.clause.startswith("members.") for change in found)
    else:
        assert [(change.clause, change.old, change.new) for change in found] == [
            (".".join(map(str, path)), value, other)
        ]


@given(st.sampled_from(leaves(TREE)), st.data())
def test_any_other_value_of_a_field_is_shown(path: tuple[str | int, ...], data: st.DataObject) -> None:
    value: object = TREE
    for step in path:
        value = value[step]  # type: ignore[index]
    kind = st.text() if value is None or isinstance(value, str) else st.integers(-(10**6), 10**6)
    other = data.draw(kind.filter(lambda drawn: drawn != value))
    assert changes(OLD, changed(path, other))
    assert changes(OLD, changed(path, other)) != changes(OLD, OLD) == []


@pytest.mark.parametrize(
    ("new", "clause", "effect"),
    [
        ({"colluders": 0}, "colluders", "privacy weaker: fewer colluders are withstood"),
        ({"minimum_cohort": 5}, "minimum_cohort", "privacy stronger: sums over more members"),
        ({"members": OLD.members[:4]}, "members.m04.identity_key", "leaves"),
        ({"members": (*OLD.members, party("m05"))}, "members.m05.identity_key", "joins"),
        (
            {"members": (*OLD.members[:4], Party("m04", signing_key("new").public))},
            "members.m04.identity_key",
            "another key: make sure that it is the member's",
        ),
        ({"coordinator": party("hub")}, "coordinator.identity_key", "another coordinator"),
        ({"round": (Sums("gram", 2), Sums("state", 2))}, "round.0.count", "more sums a round, budget spent faster"),
        ({"round": (Sums("gram", 1),)}, "round.1.purpose", ""),
        ({"members": (*OLD.members, party("m05"), party("m06"))}, "quorum (derived)", "quorum higher"),
        ({"members": OLD.members[:3], "colluders": 0}, "threshold (derived)", "threshold lower"),
    ],
)
def test_an_effect_is_said_in_its_direction(new: dict[str, object], clause: str, effect: str) -> None:
    found = {change.clause: change.effect for change in changes(OLD, constitution(**new))}
    assert found[clause] == effect


@pytest.mark.parametrize(
    ("changed_field", "effect"),
    [
        ({"epsilon": 8.0}, "privacy weaker"),
        ({"epsilon": 2.0}, "privacy stronger"),
        ({"delta": 1e-5}, "privacy weaker"),
        ({"noise_multiplier": 4.0}, "privacy weaker"),
        ({"period": "day"}, "privacy weaker: the same budget every day"),
        ({"unit": "client"}, "the budget is about another unit"),
        ({"values": 101}, "more is learned"),
    ],
)
def test_privacy_has_a_direction(changed_field: dict[str, object], effect: str) -> None:
    purposes = {**OLD.purposes, "gram": msgspec.structs.replace(GRAM, **changed_field)}
    (found,) = changes(OLD, constitution(purposes=purposes))
    assert (found.clause, found.effect) == (f"purposes.gram.{next(iter(changed_field))}", effect)
    (back,) = changes(constitution(purposes=purposes), OLD)
    assert (back.old, back.new) == (found.new, found.old)


def test_a_purpose_more_is_something_new_that_may_be_summed() -> None:
    more = constitution(purposes={**OLD.purposes, "extra": GRAM})
    effects = {change.clause: change.effect for change in changes(OLD, more)}
    assert effects["purposes.extra.epsilon"] == "privacy weaker: something new may be summed"
    gone = {change.clause: change for change in changes(more, OLD)}
    assert gone["purposes.extra.epsilon"] == Change(
        "purposes.extra.epsilon", GRAM.epsilon, None, "privacy stronger: no longer summed"
    )


def test_baskets_in_another_order_are_the_same_constitution() -> None:
    market = OLD.market
    both = Market(
        *msgspec.structs.astuple(market)[:1], {"b": ("B",), "a": ("A",)}, *msgspec.structs.astuple(market)[2:]
    )
    assert list(both.baskets) == ["a", "b"]


def test_an_empty_list_is_not_nothing() -> None:
    found = [change.clause for change in changes(OLD, constitution(round=()))]
    assert found == ["round.0.purpose", "round.0.count", "round.1.purpose", "round.1.count", "round"]


def next_of(old: Constitution, **changes_: object) -> Constitution:
    return msgspec.structs.replace(old, **{"epoch": old.epoch + 1, "supersedes": old.digest(), **changes_})


def test_the_next_epoch_that_names_its_predecessor_may_follow() -> None:
    second = next_of(OLD, minimum_cohort=5)
    require_succession(OLD, second)
    require_succession(second, next_of(second))


@pytest.mark.parametrize(
    ("change", "clause"),
    [
        ({"federation": "other"}, "federation"),
        ({"epoch": 3}, "epoch: expected 2, got 3"),
        ({"supersedes": 64 * "0"}, "supersedes"),
        ({"members": tuple(party(name) for name in ("m00", "m01", "m02", "n1", "n2"))}, "quorum of 4 .* 3 do"),
    ],
)
def test_a_break_in_the_chain_is_refused_with_the_clause(change: dict[str, object], clause: str) -> None:
    with pytest.raises(ConfigurationError, match=clause):
        require_succession(OLD, next_of(OLD, **change))


def test_members_whose_keys_changed_do_not_count_as_staying() -> None:
    members = (*OLD.members[:3], *(Party(name, signing_key(f"new {name}").public) for name in ("m03", "m04")))
    with pytest.raises(ConfigurationError, match="3 do"):
        require_succession(OLD, next_of(OLD, members=members))
