"""Claims about adding a published sum again."""

from __future__ import annotations

import msgspec
import pytest

from hansa.errors import ProtocolError
from hansa.protocol.messages import Call, Cohort, Result
from hansa.protocol.session import open_step
from hansa.protocol.verification import Address, needed, verifiers, verify_sum
from players import Table, from_coordinator, manifest, table_after_upload
from simulator import limits, purpose


class Published:
    """A session of seven that opened, its log and who answered; `dropped` never uploaded, `vanished` never answers."""

    def __init__(self, dropped: tuple[str, ...] = ("m6",), vanished: tuple[str, ...] = (), exchanges: int = 3) -> None:
        table = self.table = table_after_upload(dropped, rules=limits(7, 0, gram=purpose(exchanges=exchanges)))
        table.agree()
        self.calls: list[Call] = []
        self.bodies: dict[Address, bytes] = {("upload", name): body for name, body in table.uploads.items()}
        present = [name for name in table.sum.uploaded if name not in vanished]
        while not table.sum.is_answered():
            body = table.call()
            assert table.sum.call is not None
            self.calls.append(table.sum.call)
            for name in present:
                self.take(open_step(table.sum.call.number), name, table.sessions[name].on_call(body))
        if table.sum.missing():
            request = from_coordinator(table.sum.recover())
            for name in present:
                self.take("shares", name, table.sessions[name].on_recover(request))
        result = table.sum.result()
        assert result is not None
        self.result: Result = result

    def take(self, step: str, name: str, body: bytes | None) -> None:
        if body is not None:
            self.bodies[step, name] = body
            (self.table.sum.add_shares if step == "shares" else self.table.sum.add_opening)(name, body)

    @property
    def cohort(self) -> Cohort:
        assert self.table.sum.cohort is not None
        return self.table.sum.cohort

    def verify(self, result: Result | None = None, without: Address | None = None) -> None:
        wanted = needed(self.table.manifest, self.cohort, self.calls, self.result.number)
        verify_sum(
            result or self.result,
            manifest=self.table.manifest,
            cohort=self.cohort,
            calls=self.calls,
            bodies={one: self.bodies[one] for one in wanted if one in self.bodies and one != without},
            limits=self.table.rules,
        )


@pytest.mark.parametrize("exchanges", [2, 3])
@pytest.mark.parametrize("vanished", [(), ("m0",), ("m5",)], ids=str)
@pytest.mark.parametrize("dropped", [(), ("m6",)], ids=str)
def test_an_honest_sum_is_accepted_whoever_dropped_or_vanished(
    dropped: tuple[str, ...], vanished: tuple[str, ...], exchanges: int
) -> None:
    published = Published(dropped, vanished, exchanges)
    assert len(published.calls) == (2 if "m0" in vanished else 1)
    published.verify()


def test_another_sum_than_the_uploads_add_up_to_is_refused() -> None:
    published = Published()
    steps = bytes([published.result.steps[0] ^ 1]) + published.result.steps[1:]
    with pytest.raises(ProtocolError, match="published another sum"):
        published.verify(msgspec.structs.replace(published.result, steps=steps))


@pytest.mark.parametrize(
    ("address", "claim"),
    [
        (("upload", "m2"), "no upload of m2"),
        (("open", "m1"), "no open of m1"),
        (("open", "m5"), "seeds are missing of m5"),
    ],
)
def test_what_is_missing_is_named(address: Address, claim: str) -> None:
    published = Published()
    assert address in published.bodies
    with pytest.raises(ProtocolError, match=claim):
        published.verify(without=address)


def test_of_a_full_cohort_uploads_and_partials_are_enough() -> None:
    published = Published(())
    wanted = needed(published.table.manifest, published.cohort, published.calls, 0)
    assert wanted == [("upload", f"m{k}") for k in range(7)] + [("open", f"m{k}") for k in range(4)]


def test_everybody_adds_a_small_sum_again_and_the_drawn_ones_a_large_one() -> None:
    small, large = Table(limits(7, 2)), limits(7, 2, gram=purpose(values=6 * 8192 * 12))
    assert verifiers(small.manifest, Cohort(b"", small.rules.members, ()), small.rules) == set(small.rules.members)
    asked = manifest(large, length=6 * 8192 * 12)
    draws = [verifiers(asked, Cohort(bytes([k]), large.members, ()), large) for k in range(40)]
    assert {len(draw) for draw in draws} == {large.colluders + 1}
    assert set().union(*draws) == set(large.members), "every cohort draws others"
