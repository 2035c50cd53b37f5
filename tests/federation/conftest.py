"""What several modules of tests about a member's work share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hansa.lab.rehearsal import rehearse
from small_market import AS_OF_NS, UNTIL_NS, all_views, constitution

if TYPE_CHECKING:
    from hansa.lab.rehearsal import Rehearsal


@pytest.fixture(scope="session")
def played() -> Rehearsal:
    return rehearse(constitution(), all_views(), as_of_ns=AS_OF_NS, until_ns=UNTIL_NS, seed=1)
