"""`hansa replay EVENT`: what the federation's alerts would have said before a known event, and what they are worth.

Noise differs from draw to draw, and with one event the first alert can hang on a single bar. So the sums are drawn
`DRAWS` times: the headline is the draw in the middle by lead (a miss counts as no lead), and the spread is printed.

What was fixed before the event is in `events` and `rules`; nothing there is a number that was fitted to an event.
Does NOT show: that the rule would warn of the next event. Six known events are an anecdote with a null, not a rate.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from hansa import __version__
from hansa.crypto.canonical import canonical
from hansa.errors import ConfigurationError, ModelError
from hansa.federation.watchtower import index_rule
from hansa.lab.replay.channel import STATE_EPSILON, channel_of
from hansa.lab.replay.rules import METHODS, Bench, moment, outcome, random_alarms, warn, watched
from hansa.lab.replay.scenes import scene_of
from hansa.model.dominance import POINTS, dominance, largest_share
from hansa.model.lsi import stress_index
from hansa.model.warning_rules import SEASON_DAYS, false_alerts_per_day

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from jaxtyping import Float, Int

    from hansa.lab.replay.channel import Channel
    from hansa.lab.replay.events import Event
    from hansa.lab.replay.rules import Method, Warned
    from hansa.lab.replay.scenes import Scene
    from hansa.model.lsi import IndexRule

DRAWS: Final = 21
FALSE_BARS_A_DAY: Final = 2.0
LEAD_HOURS: Final = 10.0
RATES: Final = (1.0, 0.2, 0.05)
TRIED_BARS: Final = 12
HONEST_SHARE: Final = 0.99
WHAT_IT_IS: Final = (
    "one event says nothing about the next; the lead of the first alert is often a single bar, see lead_chance",
    "the window opens at midnight UTC before the eve: a longer one would find more hits, all by luck",
    "nobody has looked for smaller stress in the calm part: some false alarms may be true ones",
    "single members look at their own exact data; the federation's state carries its privacy noise",
)


@dataclass(frozen=True, slots=True)
class Replay:
    """A replay's document and what its picture shows.

    Attributes:
        document: What is printed.
        scene: The members and the time.
        stamps: End of each bar, ns.
        warned: What the headline's rule said.
        index: The published index.
        beside: What the volatility rule and each member alone said; None where it could not say anything.
    """

    document: dict[str, object]
    scene: Scene = field(repr=False)
    stamps: Int[np.ndarray, " time"] = field(repr=False)
    warned: Warned = field(repr=False)
    index: Float[np.ndarray, " time"] = field(repr=False)
    beside: dict[str, Warned | None] = field(repr=False)


def replay(event: Event, data: Path, *, rate: float | None = None, draws: int = DRAWS) -> Replay:
    """Replay one event.

    Args:
        event: The event.
        data: Folder of the data sets.
        rate: False alerts a day that the training part may have; by default `false_alerts_per_day`.
        draws: How often the noise is drawn.

    Raises:
        DataError: The data set is absent or malformed.
        ConfigurationError: The rate or the number of draws makes no sense.
        ModelError: The training part says nothing.
    """
    if (rate is not None and not 0 < rate <= 24) or draws < 1:
        raise ConfigurationError(f"expected a rate in (0, 24] alerts a day and a draw or more; got {rate} and {draws}")
    scene = scene_of(event, data)
    rate = false_alerts_per_day(scene.train_days) if rate is None else rate
    channel = channel_of(scene)
    bench = Bench.of(scene, channel)
    states = [channel.published(seed) for seed in range(1, draws + 1)]
    weights = float(channel.facts(1).weights[0])
    bench = replace(bench, stamps=bench.stamps[: states[0].shape[0]], slot=bench.slot[: states[0].shape[0]])
    said = [warn(state, bench, "threshold", rate=rate) for state in states]
    scored = [outcome(one, bench, rate=rate) for one in said]
    middle = _middle(scored)
    headline = scored[middle]
    beside = {"volatility rule": _tried(states[middle], bench, "volatility", rate)}
    beside |= {name: _tried(own[: bench.stamps.size], bench, "threshold", rate) for name, own in channel.own.items()}
    members = {name: beside[name][0] for name in channel.own}
    index = index_of(states[middle], bench)
    methods: dict[str, dict[str, object]] = {
        method: _tried(states[middle], bench, method, rate)[0] for method in METHODS[1:-1]
    }
    methods["lsi"] = _scored(lambda: watched("lsi", index, bench.pace(rate)), bench, rate)[0]
    rates = {f"{other:g}": _tried(states[middle], bench, "threshold", other)[0] for other in RATES}
    document: dict[str, object] = {
        "event": event.name,
        "fact": event.fact,
        "dataset": event.dataset,
        "onset": moment(event.onset_ns),
        **headline,
        "method": f"threshold on the warning score, {rate:g} false alerts a day in training",
        "model_version": model_version(scene, rate),
        "rate": rate,
        "training": {
            "from": moment(int(bench.stamps[0]) - scene.bar_ns),
            "to": moment(scene.windows.calm_ns),
            "bars": bench.train_bars,
            "bar_seconds": scene.bar_ns // 1_000_000_000,
        },
        "calm": {"from": moment(scene.windows.calm_ns), "to": moment(scene.windows.window_ns)},
        "window": {"from": moment(scene.windows.window_ns), "to": moment(scene.windows.onset_ns)},
        "noise_draws": _spread(scored) | {"headline_seed": middle + 1, "state_epsilon_a_day": STATE_EPSILON},
        "best_single_member": _best(members),
        "by_member": members,
        "volatility_rule": beside["volatility rule"][0],
        "random_alarms": random_alarms(_number(headline["false_alerts_per_day"]), bench, lead_hours=_lead(headline)),
        "by_method": methods,
        "by_rate": rates,
        "dominance": who_moves_it(states[middle], bench, channel, weights),
        "what_this_does_not_show": list(WHAT_IT_IS),
    }
    shown = {name: warned for name, (_, warned) in beside.items()}
    return Replay(document, scene, bench.stamps, said[middle], index, shown)


def model_version(scene: Scene, rate: float) -> str:
    """Return the version of a replay's rule: what it is, and a digest of every number that it rests on."""
    rule = {
        "hansa": __version__,
        "index": asdict(index_rule(scene.measures, scene.bars_per_day)),
        "measures": scene.measures,
        "rate": rate,
        "bar_ns": str(scene.bar_ns),
    }
    return f"threshold-1/{hashlib.sha256(canonical(rule)).hexdigest()[:16]}"


def _tried(
    state: Float[np.ndarray, "time measure"], bench: Bench, method: Method, rate: float
) -> tuple[dict[str, object], Warned | None]:
    """Return a rule's score and what it said, or why there is none."""
    return _scored(lambda: warn(state, bench, method, rate=rate), bench, rate)


def _scored(say: Callable[[], Warned], bench: Bench, rate: float) -> tuple[dict[str, object], Warned | None]:
    try:
        said = say()
    except ModelError as error:
        return {"hit": False, "lead_hours": None, "reason": str(error)}, None
    return outcome(said, bench, rate=rate), said


def _middle(scored: list[dict[str, object]]) -> int:
    """Return the draw in the middle by lead; of equal ones the nearest to the usual number of false alarm bars."""
    leads = [-math.inf if (lead := _lead(one)) is None else lead for one in scored]
    bars = [_number(one["false_alarm_bars"]) for one in scored]
    middle, usual = sorted(leads)[len(leads) // 2], float(np.median(bars))
    places = [place for place, lead in enumerate(leads) if lead == middle]
    return min(places, key=lambda place: (abs(bars[place] - usual), place))


def _spread(scored: list[dict[str, object]]) -> dict[str, object]:
    leads = [_lead(one) for one in scored]
    known = sorted(lead for lead in leads if lead is not None)
    bars = [_number(one["false_alarms_per_day"]) for one in scored]
    kept = [
        lead is not None and lead >= LEAD_HOURS and false <= FALSE_BARS_A_DAY
        for lead, false in zip(leads, bars, strict=True)
    ]
    return {
        "draws": len(scored),
        "hits": len(known),
        "lead_hours": [known[0], known[len(known) // 2], known[-1]] if known else None,
        "false_alarms_per_day": [min(bars), float(np.median(bars)), max(bars)],
        f"share_with_{LEAD_HOURS:g}_hours_and_{FALSE_BARS_A_DAY:g}_false_bars_a_day": round(sum(kept) / len(kept), 3),
    }


def _best(members: dict[str, dict[str, object]]) -> dict[str, object]:
    """Return the member that one would have chosen afterwards.

    The longest lead among those with at most two false alarm bars a day; where none of these hits, the most useful.
    """
    quiet = {
        name: found
        for name, found in members.items()
        if _lead(found) is not None and _number(found["false_alarms_per_day"]) <= FALSE_BARS_A_DAY
    }
    if quiet:
        name = max(quiet, key=lambda one: _lead(quiet[one]) or -math.inf)
    else:
        name = max(members, key=lambda one: _number(members[one].get("usefulness")))
    return {"member": name, **members[name], "chosen": "in hindsight, out of all members"}


def index_of(state: Float[np.ndarray, "time measure"], bench: Bench) -> Float[np.ndarray, " time"]:
    """Return the published index of a state."""
    rule, slot = index_rule_of(bench)
    return stress_index(state, slot, rule)


def index_rule_of(bench: Bench) -> tuple[IndexRule, Int[np.ndarray, " time"]]:
    """Return the rule of a replay's index and its slots; where training is too short for a season, all are one slot."""
    day = bench.scene.bars_per_day
    is_seasonal = bench.train_bars >= SEASON_DAYS * day
    rule = replace(
        index_rule(bench.scene.measures, day),
        score_window_bars=60 * day,
        score_minimum=10 if is_seasonal else day // 2,
        rank_minimum=day // 2,
    )
    return rule, bench.slot if is_seasonal else np.zeros_like(bench.slot)


def who_moves_it(
    state: Float[np.ndarray, "time measure"], bench: Bench, channel: Channel, weights: float
) -> dict[str, object]:
    """Return how far one client, and one member that lies, move the index of a replay (`hansa.model.dominance`).

    Args:
        state: Published log measures.
        bench: The time.
        channel: The members, their own bars, and the constitution.
        weights: Published sum of the basket's weights.

    Honest members differ in level for good; what counts is how far a member's distance from the state moves, in 99 % of
    the training bars.
    """
    rule, slot = index_rule_of(bench)
    market, train = channel.constitution.market, slice(0, bench.train_bars)
    gaps = [own[train] - state[train] for own in channel.own.values()]
    apart = np.concatenate([np.abs(gap - np.nanmedian(gap, axis=0)).ravel() for gap in gaps])
    plausible = float(np.nanquantile(apart, HONEST_SHARE))
    share = largest_share(market.weight_cap, weights)
    found = dominance(
        state,
        slot,
        rule,
        weight=share,
        influence_cap=market.influence_cap,
        plausible=plausible,
        value_bound=channel.constitution.purposes["state"].value_bound,
        bars=np.linspace(bench.train_bars, state.shape[0] - 1, TRIED_BARS).astype(int).tolist(),
    )
    return {
        "goal_points": POINTS,
        "largest_share": round(share, 3),
        "client_points": round(found.client_points, 2),
        "member_log_units_for_goal": round(found.member_log_units, 3),
        "honest_member_log_units": round(plausible, 3),
        "plausible_liar_points": round(found.plausible_points, 1),
        "liar_points": round(found.liar_points, 1),
    }


def _lead(found: dict[str, object]) -> float | None:
    lead = found.get("lead_hours")
    return float(lead) if isinstance(lead, (int, float)) else None


def _number(value: object) -> float:
    return float(value) if isinstance(value, (int, float)) else -math.inf
