"""The state that the federation of a scene publishes: through the same sums, rounding and noise as an alliance.

Census and state channel of `hansa.lab.rehearsal`, at the constitution of `hansa.lab.charter`. A bar at which no member
has a bar of its own is absent (markets closed): members would send what they carry on, and a week-end would repeat
Friday's stress for two days. Where one member alone lacks a bar it carries the last one on, as in an alliance.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from hansa.crypto.signature import SigningKey
from hansa.errors import ModelError
from hansa.federation.views import views_of
from hansa.lab.charter import charter
from hansa.lab.rehearsal import rehearse_state
from hansa.market.calendar import NS_PER_DAY, NS_PER_MINUTE, grid, slot_of_day

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jaxtyping import Bool, Float, Int

    from hansa.federation.published import Published
    from hansa.federation.views import Views
    from hansa.governance.constitution import Constitution
    from hansa.lab.replay.scenes import Scene

BASKET: Final = "basket"
FEW_MEMBERS: Final = 5
STATE_EPSILON: Final = 8.0


@dataclass(frozen=True, slots=True)
class Channel:
    """What all members see, and what each sees alone, on one grid.

    Attributes:
        constitution: The constitution of the replayed federation.
        stamps: End of each bar, ns.
        slot: Slot of the day of each bar.
        train_bars: Bars of the training part.
        is_open: Bars at which some member has a bar of its own.
        own: Each member's log measures, NaN where it has no bar, shape (time, measure).
        views: Each member's views, for the sums.
        last_ns: Newest bar that every member has.
    """

    constitution: Constitution
    stamps: Int[np.ndarray, " time"]
    slot: Int[np.ndarray, " time"]
    train_bars: int
    is_open: Bool[np.ndarray, " time"]
    own: Mapping[str, Float[np.ndarray, "time measure"]]
    views: Mapping[str, Views]
    last_ns: int

    def published(self, seed: int) -> Float[np.ndarray, "time measure"]:
        """Return the published log measures with one draw of the noise, NaN where the markets are closed.

        Raises:
            ModelError: The published state is of other bars than the channel.
        """
        state = self.facts(seed).state
        return np.where(self.is_open[: state.shape[0], None], state[:, 0], np.nan)

    def facts(self, seed: int) -> Published:
        """Return what the alliance publishes with one draw of the noise: closed markets carried on, as members do.

        Raises:
            ModelError: The published state is of other bars than the channel.
        """
        made = rehearse_state(
            self.constitution,
            self.views,
            as_of_ns=int(self.stamps[self.train_bars - 1]),
            until_ns=self.last_ns,
            seed=seed,
        )
        if made.start_ns != int(self.stamps[0]):
            raise ModelError(f"expected a state that begins at {self.stamps[0]}; it begins at {made.start_ns}")
        return made


def channel_of(scene: Scene) -> Channel:
    """Put a scene's members on one grid and found their federation.

    Raises:
        DataError: A series lacks a measure.
        ConfigurationError: The members cannot make a federation.
    """
    first = max(int(bars["ts_ns"][0]) for series in scene.members.values() for bars in series)
    begin = -(-first // scene.bar_ns) * scene.bar_ns  # the first bar of which every series has a part
    constitution = _constitution(scene, begin)
    views = {name: views_of(series, constitution.market) for name, series in scene.members.items()}
    # The round looks back whole days: the channel begins where the round does.
    begin = scene.windows.calm_ns - constitution.market.history_days * NS_PER_DAY + scene.bar_ns
    last = min(view.reach_ns for view in views.values())
    stamps = grid(begin, last, scene.bar_ns)
    train = int(np.searchsorted(stamps, scene.windows.calm_ns, side="right"))
    has_bar = {name: _present(scene, name, stamps) for name in scene.members}
    rows = {name: view.rows(begin, last) for name, view in views.items()}
    own = {}
    for name, view in views.items():
        span = rows[name]
        combined = view.combined(BASKET, slice(span.start, span.start + train))
        if combined is not None:
            own[name] = np.where(has_bar[name][:, None], combined.measures[span], np.nan)
    is_open = np.any(list(has_bar.values()), axis=0)
    slots = slot_of_day(stamps, scene.bar_ns)
    return Channel(constitution, stamps, slots, train, is_open, own, views, last)


def _constitution(scene: Scene, begin_ns: int) -> Constitution:
    names = sorted(scene.members)
    markets = sorted({str(bars["market"][0]) for series in scene.members.values() for bars in series})
    volume = sum(
        float(
            (bars["volume"] * bars["close"])
            .fill_null(0.0)
            .filter(bars["ts_ns"] <= scene.windows.calm_ns)
            .to_numpy()
            .mean()
        )
        for series in scene.members.values()
        for bars in series
    )
    spacing = scene.bar_ns // NS_PER_MINUTE if scene.bar_ns < 60 * NS_PER_MINUTE else 1
    history = (scene.windows.calm_ns - begin_ns + scene.bar_ns) // (scene.bars_per_day * scene.bar_ns)
    return charter(
        federation="replay",
        keys={name: _public_key(name) for name in names},
        coordinator_key=_public_key("coordinator"),
        baskets={BASKET: markets},
        measures=scene.measures,
        cost=scene.cost,
        volume_unit=max(volume * spacing, 1e-9),
        history_days=max(int(history), 2),
        steps=0,
        state_epsilon=STATE_EPSILON,
        weight_cap=0.5 if len(names) < FEW_MEMBERS else 0.25,
        bar_seconds=scene.bar_ns // 1_000_000_000,
    )


def _public_key(name: str) -> str:
    """Return a key that signs nothing: a replay has no messages, but its constitution names its parties."""
    return SigningKey.from_bytes(hashlib.sha256(b"hansa/replay/" + name.encode()).digest()).public


def _present(scene: Scene, name: str, stamps: Int[np.ndarray, " time"]) -> Bool[np.ndarray, " time"]:
    found = np.zeros(stamps.size, dtype=bool)
    for bars in scene.members[name]:
        ends = np.unique(-(-bars["ts_ns"].to_numpy() // scene.bar_ns) * scene.bar_ns)
        place = (ends - stamps[0]) // scene.bar_ns
        found[place[(place >= 0) & (place < stamps.size)]] = True
    return found
