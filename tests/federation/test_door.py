"""Claims about the one function through which anything about data leaves a member."""

from __future__ import annotations

import math
import sqlite3
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pytest

from hansa.crypto.encryption import add_ciphertext, decode, empty_total, partial_decryption
from hansa.crypto.lanes import unpack
from hansa.errors import BudgetError, HansaError, RefusedError, StoreError
from hansa.federation.door import Contribution, MemberDoor
from hansa.federation.store import MemberStore
from hansa.protocol.encoding import in_units, is_wide, share_sigma, values_touched
from hansa.protocol.masking import apply_masks, mask_seed
from hansa.protocol.messages import Manifest, Upload, open_envelope
from hansa.protocol.opening import crs_seed
from hansa.protocol.secure_sum import NOISE_LIMIT
from hansa.protocol.session import facts_label, vector_coefficients
from players import EPOCH, epoch_keys, manifest
from simulator import BAR_NS, DAY_NS, limits, purpose, signing_key

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from hansa.protocol.limits import Limits

VECTOR = np.array([1.0, -2.0, 3.5, 0.0, 99.0, -99.0])


@dataclass
class Given:
    """A statistic that gives what the test says and counts how often it was asked."""

    vector: np.ndarray = field(default_factory=VECTOR.copy)
    sensitivity: float = 1.0
    purpose: str = "gram"
    asked: int = 0

    def contribution(self, _manifest: Manifest) -> Contribution:
        self.asked += 1
        return Contribution(self.purpose, self.vector, self.sensitivity)


@dataclass
class Place:
    """A member's door over a store file."""

    path: Path
    rules: Limits = field(default_factory=limits)
    statistic: Given = field(default_factory=Given)
    now_ns: int = 42

    def __post_init__(self) -> None:
        self.keys = epoch_keys(self.rules)["m0"]
        self.restart()

    def restart(self) -> None:
        if hasattr(self, "store"):
            self.store.close()
        self.store = MemberStore(self.path)
        self.door = MemberDoor(
            "m0", limits=self.rules, signer=signing_key("m0"), store=self.store, statistic=self.statistic,
            clock=lambda: self.now_ns,
        )  # fmt: skip

    def upload(self, asked: Manifest | None = None) -> bytes:
        found = asked or manifest(self.rules)
        return self.door.upload(found, self.rules.purposes[found.purpose], self.keys)

    def nothing_left(self) -> bool:
        facts = self.store._execute("SELECT count(*) FROM fact").fetchone()[0]
        return self.store.egress() == [] and self.store.charged_periods() == [] and facts == 0


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    found = Place(tmp_path / "m0.sqlite")
    yield found
    found.store.close()


def opened(place: Place, body: bytes, asked: Manifest | None = None) -> np.ndarray:
    """Decrypt an upload and take the masks off, as only the member itself can."""
    return in_units(opened_steps(place, body, asked or manifest(place.rules)), 1024)


def opened_steps(place: Place, body: bytes, asked: Manifest) -> np.ndarray:
    upload = open_envelope(body, Upload, sender="m0", key=signing_key("m0").public)
    assert upload.manifest == asked.digest()
    size = vector_coefficients(asked, place.rules)
    total = empty_total(size)
    add_ciphertext(total, upload.ciphertext)
    own = partial_decryption(size, share=place.keys.secret, crs_seed=crs_seed(asked), flood_seed=bytes(32))
    add_ciphertext(total, own)
    found = decode(total)
    assert found.noise < NOISE_LIMIT
    masks = np.zeros_like(found.limbs)
    seeds = {peer: mask_seed(secret, upload.manifest) for peer, secret in place.keys.pair_secrets.items()}
    apply_masks(masks, name="m0", seeds=seeds)
    wide = is_wide(place.rules.purposes[asked.purpose], place.rules, length=asked.length)
    return unpack(found.limbs - masks, asked.length, is_wide=wide)


def test_what_leaves_is_the_vector_with_this_members_share_of_the_noise(place: Place) -> None:
    noise = opened(place, place.upload()) - VECTOR
    sigma = share_sigma(place.rules.purposes["gram"], place.rules, length=6) / 1024
    assert 0 < np.abs(noise).max() < 6 * sigma


def test_without_the_members_own_key_an_upload_is_noise(place: Place) -> None:
    upload = open_envelope(place.upload(), Upload, sender="m0", key=signing_key("m0").public)
    asked = manifest(place.rules)
    size = vector_coefficients(asked, place.rules)
    for others in (None, epoch_keys(place.rules)["m1"].secret, place.keys.shares["m0"]):
        total = empty_total(size)
        add_ciphertext(total, upload.ciphertext)
        if others is not None:
            add_ciphertext(
                total, partial_decryption(size, share=others, crs_seed=crs_seed(asked), flood_seed=bytes(32))
            )
        assert decode(total).noise > NOISE_LIMIT


def test_a_wide_purpose_travels_in_wide_lanes_without_loss(tmp_path: Path) -> None:
    rules = limits(gram=purpose(value_bound=1e5, scale=2**20, noise_multiplier=0.5))
    assert is_wide(rules.purposes["gram"], rules, length=6)
    vector = np.array([1e5, -1e5, 3.0, 0.0, 12345.5, -(2.0**-20)])
    place = Place(tmp_path / "m0.sqlite", rules, Given(vector))
    noise = opened_steps(place, place.upload(), manifest(rules)) - np.rint(vector * 2**20)
    assert 0 < np.abs(noise).max() < 6 * share_sigma(rules.purposes["gram"], rules, length=6)
    place.store.close()


def test_the_doors_seconds_run_from_the_statistic_to_the_signed_upload(place: Place) -> None:
    watch = [0.0]

    def later(seconds: float) -> None:
        watch[0] += seconds

    place.door._stopwatch = lambda: watch[0]
    asked = place.statistic.contribution
    place.statistic.contribution = lambda found: (later(5), asked(found))[1]  # type: ignore[method-assign]
    real = place.door._signer

    class Slow:
        def __getattr__(self, name: str) -> object:
            return getattr(real, name)

        def sign(self, kind: str, body: bytes) -> bytes:
            later(0.25)
            return real.sign(kind, body)

    assert place.door.seconds == 0.0
    place.door._signer = Slow()  # type: ignore[assignment]
    place.upload()
    assert place.door.seconds == 0.25
    later(9)
    place.upload()
    assert place.door.seconds == 0.25


def test_after_a_rollback_the_same_data_leave_as_the_same_bytes_and_other_data_under_other_noise(
    tmp_path: Path,
) -> None:
    places = [
        Place(tmp_path / f"{copy}.sqlite", statistic=Given(VECTOR + shift * np.eye(6)[3]))
        for copy, shift in enumerate((0.0, 0.0, 5.0))
    ]
    first, same, other = (place.upload() for place in places)
    assert same == first
    difference = opened(places[2], other) - opened(places[0], first) - 5.0 * np.eye(6)[3]
    sigma = share_sigma(places[0].rules.purposes["gram"], places[0].rules, length=6) / 1024
    assert np.count_nonzero(difference) == 6
    assert np.abs(difference).max() < 8 * sigma
    for place in places:
        place.store.close()


def test_the_share_of_the_noise_is_that_of_an_honest_minimum() -> None:
    rules = limits(7, 2)
    found = share_sigma(purpose(noise_multiplier=8.0), rules, length=6)
    assert found == pytest.approx(8.0 * (1024 + math.sqrt(6)) / math.sqrt(rules.minimum_cohort - 2))
    assert values_touched(purpose(values=0, values_per_bar=4), 400) == 4
    assert values_touched(purpose(), 6) == 6


def test_another_session_has_other_noise(place: Place) -> None:
    first = opened(place, place.upload())
    again = manifest(place.rules, attempt=2)
    second = opened(place, place.upload(again), again)
    assert not np.array_equal(first, second)


def test_charge_record_and_upload_are_on_disk_when_bytes_are_handed_over(place: Place) -> None:
    body = place.upload()
    place.restart()
    label = facts_label(EPOCH, "r1-0-gram-a1")
    assert place.store.fact(f"{label}/upload") == body
    assert [(charge.noise_multiplier, charge.count) for charge in place.store.charges("gram", "1970")] == [(1.0, 1)]
    assert [(row.session, row.step, row.size, row.time_ns) for row in place.store.egress()] == [
        (label, "upload", len(body), 42)
    ]


def test_a_restart_sends_the_same_bytes_and_asks_the_statistic_once(place: Place) -> None:
    body = place.upload()
    place.statistic.vector = VECTOR + 1
    place.restart()
    assert place.upload() == body
    assert place.statistic.asked == 1
    assert len(place.store.charges("gram", "1970")) == 1


def test_a_kill_before_the_commit_leaves_nothing_and_the_restart_makes_the_same_bytes(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_args: object, **_kwargs: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(MemberStore, "record_egress", killed)
        with pytest.raises(KeyboardInterrupt):
            place.upload()
    place.restart()
    assert place.nothing_left()
    undisturbed = Place(tmp_path / "other.sqlite")
    assert place.upload() == undisturbed.upload()
    undisturbed.store.close()


def test_a_closed_session_sends_nothing_more(place: Place) -> None:
    place.upload()
    place.store.remember(f"{facts_label(EPOCH, 'r1-0-gram-a1')}/closed", b"closed")
    with pytest.raises(RefusedError, match="closed"):
        place.upload()


def test_a_spent_budget_refuses_before_the_statistic_is_asked(tmp_path: Path) -> None:
    place = Place(tmp_path / "m0.sqlite", limits(gram=purpose(epsilon=8.0)))
    uploads = 0
    refusal = None
    while refusal is None and uploads < 10:
        try:
            place.upload(manifest(place.rules, position=uploads))
            uploads += 1
        except BudgetError as error:
            refusal = str(error)
    assert "the constitution allows 8" in str(refusal)
    assert 1 <= uploads < 10
    assert place.statistic.asked == uploads
    assert sum(one.count for one in place.store.charges("gram", "1970")) == uploads == len(place.store.egress())
    with pytest.raises(BudgetError):
        place.upload(manifest(place.rules, position=11))
    assert place.upload(manifest(place.rules, position=0))
    place.store.close()


def test_a_budget_that_was_never_enough_leaves_nothing(tmp_path: Path) -> None:
    place = Place(tmp_path / "m0.sqlite", limits(gram=purpose(epsilon=0.01)))
    with pytest.raises(BudgetError):
        place.upload()
    assert place.nothing_left()
    place.store.close()


def test_a_span_of_bars_is_charged_to_each_of_its_days(tmp_path: Path) -> None:
    rules = limits(state=purpose(values=0, values_per_bar=2, period="day", epsilon=500.0))
    place = Place(tmp_path / "m0.sqlite", rules, Given(np.zeros(8), purpose="state"))
    place.upload(
        manifest(
            rules, purpose="state", length=8, span_start_ns=2 * DAY_NS - BAR_NS, span_end_ns=2 * DAY_NS + 2 * BAR_NS
        )
    )
    paid = {period: place.store.charges(name, period)[0].count for name, period in place.store.charged_periods()}
    assert paid == {"1970-01-02": 2, "1970-01-03": 2}
    place.store.close()


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 100.5])
def test_a_value_that_is_not_finite_or_out_of_bounds_does_not_leave(place: Place, bad: float) -> None:
    place.statistic.vector[3] = bad
    with pytest.raises(RefusedError, match="value 3 of 6"):
        place.upload()
    assert place.nothing_left()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"sensitivity": 1.001}, "one unit may move"),
        ({"sensitivity": math.nan}, "one unit may move"),
        ({"sensitivity": math.inf}, "one unit may move"),
        ({"purpose": "other"}, "the statistic gave"),
        ({"vector": np.zeros(5)}, "the statistic gave"),
        ({"vector": np.zeros((6, 1))}, "the statistic gave"),
    ],
)
def test_a_statistic_that_is_not_what_the_manifest_names_does_not_leave(
    place: Place, change: dict[str, object], reason: str
) -> None:
    for name, value in change.items():
        setattr(place.statistic, name, value)
    with pytest.raises(RefusedError, match=reason):
        place.upload()
    assert place.nothing_left()


def test_on_a_full_disk_nothing_leaves_and_nothing_is_charged(place: Place) -> None:
    pages = place.store._execute("PRAGMA page_count").fetchone()[0]
    place.store._execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StoreError, match="full"):
        place.upload()
    assert place.nothing_left()
    place.store._execute("PRAGMA max_page_count = 100000")
    assert place.upload()


@pytest.mark.parametrize("error", [sqlite3.OperationalError("disk I/O error"), sqlite3.DatabaseError("malformed")])
def test_a_store_that_fails_sends_nothing(place: Place, monkeypatch: pytest.MonkeyPatch, error: sqlite3.Error) -> None:
    class Failing:
        in_transaction = False

        def execute(self, statement: str, values: object = ()) -> object:
            if statement.startswith("INSERT INTO fact"):
                raise error
            return real.execute(statement, values)

    real = place.store._connection
    monkeypatch.setattr(place.store, "_connection", Failing())
    with pytest.raises(HansaError, match="member's store"):
        place.upload()
    real.execute("ROLLBACK")
    monkeypatch.undo()
    assert place.nothing_left()
