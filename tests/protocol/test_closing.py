"""Claims about what members conclude from one another's word that a session is closed."""

from __future__ import annotations

import pytest

from hansa.errors import MessageError, RefusedError, SignatureError
from hansa.protocol.closing import Closures, statements_needed
from hansa.protocol.messages import Closed, Died
from players import from_coordinator, from_member, manifest, table_after_upload
from simulator import limits

RULES = limits(7, 2)
DEAD = manifest(RULES)
WORD = Closed(DEAD.digest())


def closures() -> Closures:
    found = Closures(RULES)
    found.know(DEAD)
    return found


def test_enough_statements_leave_fewer_than_the_threshold_even_if_the_colluders_lie() -> None:
    for members in range(3, 101):
        for colluders in range((members - 1) // 3 + 1):
            rules = limits(members, colluders)
            honest = statements_needed(members, rules) - colluders
            assert members - honest < rules.threshold


def test_the_manifest_comes_back_once_with_the_statement_that_makes_enough() -> None:
    found = closures()
    needed = statements_needed(7, RULES)
    assert needed == 5
    for place in range(needed - 1):
        assert found.add(f"m{place}", DEAD.session, from_member(f"m{place}", WORD)) is None
        assert found.add(f"m{place}", DEAD.session, from_member(f"m{place}", WORD)) is None, "once a member"
    assert found.add("m5", DEAD.session, from_member("m5", WORD)) == DEAD
    assert found.add("m6", DEAD.session, from_member("m6", WORD)) is None


def test_a_session_that_is_told_twice_forgets_no_statement() -> None:
    found = closures()
    for place in range(4):
        found.add(f"m{place}", DEAD.session, from_member(f"m{place}", WORD))
    found.know(DEAD)
    assert found.add("m4", DEAD.session, from_member("m4", WORD)) == DEAD


def test_statements_that_prove_nothing_are_refused() -> None:
    found = closures()
    with pytest.raises(RefusedError, match="do not know the session"):
        found.add("m0", "r9-9-gram-a1", from_member("m0", WORD))
    with pytest.raises(MessageError, match="another manifest"):
        found.add("m0", DEAD.session, from_member("m0", Closed(bytes(32))))
    with pytest.raises(MessageError, match="not a participant"):
        found.add("stranger", DEAD.session, from_member("stranger", WORD))
    with pytest.raises(SignatureError):
        found.add("m0", DEAD.session, from_member("m0", WORD, signer="m1"))
    with pytest.raises(MessageError):
        found.add("m0", DEAD.session, from_member("m0", Died(DEAD.digest(), "")))


def test_only_a_closed_session_that_was_never_opened_is_vouched_for() -> None:
    table = table_after_upload()
    quiet, opener = table.sessions["m0"], table.sessions["m1"]
    with pytest.raises(RefusedError):
        quiet.closed_statement()
    table.agree()
    opener.on_call(table.call())
    for session in (quiet, opener):
        session.close()
    with pytest.raises(RefusedError):
        opener.closed_statement()
    assert quiet.closed_statement() == from_member("m0", Closed(table.manifest.digest()))
    again = table.session("m0")
    again.on_cohort(from_coordinator(table.sum.cohort))
    assert again.on_call(from_coordinator(table.sum.call)) is None, "the word is kept after a restart"
