"""Claims about a member's shares for cohort members that vanished."""

from __future__ import annotations

import msgspec
import pytest

from hansa.errors import IdentityError, RefusedError
from hansa.protocol.messages import Shares, open_envelope
from players import EPOCH, Table, from_coordinator, table_after_upload
from simulator import limits, signing_key


def recovery(table: Table, **changes: object) -> bytes:
    return from_coordinator(msgspec.structs.replace(table.sum.recover(), **changes))


def vanished_table() -> Table:
    table = table_after_upload(("m6",), rules=limits(7, 1))
    table.agree()
    table.open([name for name in table.sum.uploaded if name != "m5"])
    return table


def test_shares_are_of_vanished_members_towards_dropped_peers_only() -> None:
    table = vanished_table()
    body = table.sessions["m0"].on_recover(recovery(table))
    assert body is not None
    shares = open_envelope(body, Shares, sender="m0", key=signing_key("m0").public).shares
    assert {name: set(towards) for name, towards in shares.items()} == {"m5": {"m6"}}


def test_recovery_before_an_answered_call_is_refused() -> None:
    table = vanished_table()
    del table.facts["m0"].values[f"{EPOCH}/{table.manifest.session}/opened"]
    with pytest.raises(RefusedError, match="before a call that we have answered"):
        table.sessions["m0"].on_recover(recovery(table))


def test_recovery_of_a_dropped_peer_or_of_another_cohort_is_refused() -> None:
    table = vanished_table()
    packages = table.sum.recover().packages
    with pytest.raises(RefusedError, match="not in the cohort"):
        table.sessions["m0"].on_recover(recovery(table, packages={"m6": packages["m5"]}))
    with pytest.raises(RefusedError, match="another cohort"):
        table.sessions["m0"].on_recover(recovery(table, root=b"\0" * 32))
    with pytest.raises(RefusedError, match="another manifest"):
        table.sessions["m0"].on_recover(recovery(table, manifest=b"\0" * 32))


def test_recovery_of_oneself_or_without_a_package_gives_nothing() -> None:
    table = vanished_table()
    packages = table.sum.recover().packages
    assert table.sessions["m0"].on_recover(recovery(table, packages={"m0": packages["m5"]})) is None
    assert table.sessions["m0"].on_recover(recovery(table, packages={"m5": {}})) is None


def test_a_package_meant_for_another_is_refused() -> None:
    table = vanished_table()
    packages = table.sum.recover().packages["m5"]
    with pytest.raises(IdentityError):
        table.sessions["m0"].on_recover(recovery(table, packages={"m5": {"m0": packages["m1"]}}))
