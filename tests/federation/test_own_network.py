"""Claims about a member's own head of the residual network: what uses it, where it starts, that it never leaves."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from hansa.federation import own_network
from hansa.federation.forecasting import Fitted, bands, basket_rows, fit, forecast
from hansa.federation.liquidity import LiquidityWork
from hansa.federation.model_files import own_artefact, shared_artefact
from hansa.federation.schedule import round_programme
from hansa.lab.rehearsal import open_sums, rehearse
from hansa.model.network import head_length
from hansa.model.personal import Head, train_head
from hansa.model.training import GATES
from small_market import AS_OF_NS, BASKETS, TRAIN_BARS, constitution, views_of_member

if TYPE_CHECKING:
    from collections.abc import Callable

    from hansa.federation.door import Contribution
    from hansa.federation.own_network import OwnNetwork
    from hansa.lab.rehearsal import Rehearsal
    from hansa.protocol.messages import Manifest

RULES = constitution(steps=2)
LATER_NS = AS_OF_NS + 288 * 300_000_000_000


def unlike(shape: object, shared: np.ndarray, **options: object) -> Head:
    """Train a head as the product does, then move it: a member whose head is unlike the shared one."""
    found = train_head(shape, shared, **options)  # type: ignore[arg-type]
    moved = found.values + 0.1 * np.random.default_rng(6).standard_normal(found.values.size)
    return Head(moved, 0.01, moved)


def trained(head: Callable[..., Head] = unlike) -> Rehearsal:
    """Rehearse a round with training steps in which gates and heads are open."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(own_network, "train_head", head)
        patch.setattr(own_network, "choose_gate", lambda *_: 0.5)
        patch.setattr(own_network, "choose_spread", lambda *_: 1.0)
        views = {name: views_of_member(name, TRAIN_BARS + 300) for name in ("m0", "m1", "m2", "m3")}
        return rehearse(RULES, views, as_of_ns=AS_OF_NS, until_ns=LATER_NS, seed=1, is_published=False)


@pytest.fixture(scope="module")
def opened() -> Rehearsal:
    return trained()


def own(fitted: Fitted | None) -> OwnNetwork:
    assert fitted is not None
    assert fitted.own is not None
    return fitted.own


def test_nothing_of_a_members_head_is_in_what_it_sends(monkeypatch: pytest.MonkeyPatch) -> None:
    played = trained()
    sent, headed = set(), []
    kept = LiquidityWork.contribution

    def twice(self: LiquidityWork, manifest: Manifest) -> Contribution:
        """Ask a member for its statistic as it is, and as if it had never made a head."""
        found, parts = kept(self, manifest), (self.fitted, self._before)
        headed.append(own(self.fitted or self._before).head.values)
        self.fitted, self._before, self._batch = None, None, None
        without = kept(self, manifest)
        self.fitted, self._before = parts
        assert (found.vector.tobytes(), found.sensitivity) == (without.vector.tobytes(), without.sensitivity)
        sent.add(manifest.purpose)
        return found

    monkeypatch.setattr(LiquidityWork, "contribution", twice)
    open_sums(
        played, round_programme(RULES, LATER_NS, published_ns=LATER_NS - 3_000_000_000_000), np.random.default_rng(2)
    )
    assert sent >= {"census", "gram", "clip", "weights"}
    assert sent == {line.purpose for line in RULES.round}
    assert len({one.tobytes() for one in headed}) == len(played.works)


def test_forecasts_bands_and_artefact_are_those_of_the_own_network(opened: Rehearsal) -> None:
    one = opened.works["m1"]
    assert one.fitted is not None
    views = views_of_member("m1", TRAIN_BARS + 300)
    built = basket_rows(one.published, views)
    arms = forecast(one.published, built, one.fitted)
    plain = bands(one.published, built, one.fitted, is_calibrated=False)
    np.testing.assert_allclose(plain[TRAIN_BARS:, :, 2], arms["personal_head"][TRAIN_BARS:], rtol=1e-12)
    assert np.abs(arms["personal_head"] - arms["federated_state"])[TRAIN_BARS:].max() > 1e-3
    artefact = own_artefact(one.published, built, one.fitted)
    train = slice(0, TRAIN_BARS)
    seen = np.stack([found.measures for name in BASKETS if (found := views.combined(name, train))], axis=1)
    state = one.published.state
    predicted = artefact.predict(seen[: state.shape[0]], state, one.published.slots())
    np.testing.assert_allclose(predicted[TRAIN_BARS:], plain[TRAIN_BARS:], atol=1e-5)
    assert shared_artefact(one.published, built).arrays.network.size == 0  # what may be given away has no head
    assert one._records.get("head") == {"strength": 0.01, "used": dict.fromkeys(BASKETS, 1.0)}


def test_gates_and_heads_are_chosen_by_basket_and_a_shut_one_leaves_the_core(opened: Rehearsal) -> None:
    one = opened.works["m2"]
    assert one.fitted is not None
    built = basket_rows(one.published, views_of_member("m2", TRAIN_BARS + 300))
    open_ = own(one.fitted)
    shut = {"gates": {**open_.gates, "xau": 0.0}, "heads": {**open_.heads, "xau": 0.0}}
    half = replace(one.fitted, own=replace(open_, **shut))
    core = replace(one.fitted, own=None)
    before, after, alone = (
        bands(one.published, built, fitted, is_calibrated=False) for fitted in (one.fitted, half, core)
    )
    np.testing.assert_array_equal(after[:, 0], before[:, 0])
    np.testing.assert_allclose(after[:, 1], alone[:, 1], rtol=1e-12)
    assert np.nanmax(np.abs(before[:, 1] - alone[:, 1])) > 1e-3


def test_a_head_starts_from_the_last_rounds_only_if_that_has_not_seen_the_validation_rows(
    opened: Rehearsal, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts: list[np.ndarray | None] = []

    def watched(shape: object, shared: np.ndarray, **options: object) -> Head:
        starts.append(options["start"])  # type: ignore[arg-type]
        return unlike(shape, shared, **options)

    monkeypatch.setattr(own_network, "train_head", watched)
    one = opened.works["m3"]
    assert one.fitted is not None
    published, before = one.published, own(one.fitted)
    built = basket_rows(published, views_of_member("m3", TRAIN_BARS + 300))
    assert before.until_ns == AS_OF_NS
    tail = int(published.stamps()[published.fit_and_validation_rows()[1][0]])
    for until_ns, is_warm in ((tail, False), (tail - 1, True)):
        starts.clear()
        fit(published, built, replace(one.fitted, own=replace(before, until_ns=until_ns)))
        assert len(starts) == 1
        assert (starts[0] is not None) == is_warm
    np.testing.assert_array_equal(starts[0], before.head.values)


def test_choices_are_those_of_the_grids_and_none_is_made_before_the_first_step(
    opened: Rehearsal, played: Rehearsal
) -> None:
    for name, one in opened.works.items():
        built = basket_rows(one.published, views_of_member(name, TRAIN_BARS + 300))
        found = own(fit(one.published, built))
        assert set(found.gates) == set(found.heads) == set(BASKETS)
        assert set(found.gates.values()) <= set(GATES)
        assert set(found.heads.values()) <= {0.0, 1.0}
        assert found.parameters.size - found.head.values.size > 0
        shared = one.published.server
        assert shared is not None
        body = slice(0, found.parameters.size - found.head.values.size)
        np.testing.assert_array_equal(found.parameters[body], shared.parameters[body])
        assert found.head.values.size == head_length(own_network.network_shape(one.published.market))
    for one in played.works.values():
        assert one.fitted is not None
        assert one.fitted.own is None
        assert not one.fitted.is_networked
