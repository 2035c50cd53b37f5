"""A replay as a picture: price, stress index, warning score with its limit, and who alerted when, on one axis of days.

Shaded: the last days of training. Tinted: the warning window. The line through all: the onset. Marks on the score:
alarm bars. Below, one row each for the federation, the volatility rule and every member alone: a triangle is an alert,
false in the calm part, a warning in the window, too late after the onset; a legend says so. The picture stands alone:
its colours follow a light or a dark screen.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Final

import numpy as np

from hansa.lab.report.axes import DAY_NS, Scale, day, day_ticks, moment, ticks_between
from hansa.lab.report.markup import Markup, clipped, joined, label, picture, tag, text
from hansa.lab.report.style import stylesheet

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jaxtyping import Bool, Float, Int

    from hansa.lab.replay.rules import Warned
    from hansa.lab.replay.run import Replay

WIDTH: Final = 1000.0
LEFT: Final = 170.0
RIGHT: Final = WIDTH - 74.0
PANEL: Final = 104.0
GAP: Final = 34.0
TOP: Final = 88.0
ROW: Final = 21.0
POINTS: Final = 820
TRAINING_NS: Final = 7 * DAY_NS
TICKS: Final = 4
OWN_STYLE: Final = (
    "svg{background:var(--card)}.window{fill:var(--mark);opacity:.13}.late{fill:var(--card);stroke:var(--mark)}"
    "svg .m{font-size:11px;fill:var(--mark)}"
)


def replay_picture(replay: Replay) -> Markup:
    """Draw a replay.

    Args:
        replay: What came out of it.
    """
    replay = _cut(replay)
    windows, stamps = replay.scene.windows, replay.stamps
    first, last = int(stamps[0]), int(stamps[-1])
    scale = Scale(first, last, LEFT, RIGHT)
    rows = {"federation": replay.warned, **replay.beside}
    floor = TOP + 3 * (PANEL + GAP)
    height = floor + len(rows) * ROW + 42
    price = _price(replay)
    score = Scale(min(float(np.nanmin(replay.warned.score)), 0.0), _top(replay.warned), 0.0, 1.0)
    panels = [
        _panel(("price", replay.scene.price[0], "as its file gives it"), stamps, price, scale, place=0),
        _panel(("stress index", "LSI, 0 to 100"), stamps, replay.index, scale, place=1, limits=(0.0, 100.0)),
        _panel(
            ("warning score", "deviations of training"),
            stamps,
            replay.warned.score,
            scale,
            place=2,
            limits=(score.low, score.high),
        ),
    ]
    values = Scale(score.low, score.high, _base(2), _base(2) - PANEL)
    level = values(replay.warned.limit)
    parts = [
        tag("style", Markup(stylesheet() + OWN_STYLE)),
        *_shades(replay, scale, height),
        *panels,
        tag("path", d=f"M{scale(windows.calm_ns):.1f} {level:.1f}H{RIGHT:g}", class_="threshold"),
        label(RIGHT + 6, level + 4, f"limit {replay.warned.limit:.2f}", kind="m"),
        _alarm_bars(replay.warned, stamps, scale, values),
        label(0, floor - 12, "alerts", kind="b"),
        *(
            _row(name, warned, replay, scale, y=floor + place * ROW)
            for place, (name, warned) in enumerate(rows.items())
        ),
        _onset(windows.onset_ns, scale, height),
        _axis(first, last, scale, height),
        *_heading(replay),
        _legend(height + 4),
    ]
    return picture(
        "replay",
        parts,
        title=f"Replay of {replay.scene.event.name}",
        description=_words(replay),
        size=(WIDTH, height + 18),
    )


def _cut(replay: Replay) -> Replay:
    """Return a replay from a week before the calm part on: two months of training would hide the rest."""
    keep = replay.stamps > replay.scene.windows.calm_ns - TRAINING_NS
    first = int(np.argmax(keep))

    def later(warned: Warned) -> Warned:
        alerts = warned.alerts[warned.alerts >= first] - first
        return replace(warned, score=warned.score[first:], is_alarm=warned.is_alarm[first:], alerts=alerts)

    beside = {name: None if warned is None else later(warned) for name, warned in replay.beside.items()}
    return replace(
        replay,
        stamps=replay.stamps[first:],
        warned=later(replay.warned),
        index=replay.index[first:],
        beside=beside,
    )


def _heading(replay: Replay) -> list[Markup]:
    document = replay.document
    first, lead = document["first_alert"], document["lead_hours"]
    said = (
        f"hit: first alert {_written(first)}, {_number_of(lead, 1)} h before the onset"
        if document["hit"]
        else "miss: no alert in the window before the onset"
    )
    luck = (
        f"random alerts would leave one in that lead in {_percent(document['lead_chance'])} of cases; "
        if document["hit"]
        else f"random alerts would hit in {_percent(document['hit_chance'])} of cases; "
    )
    rates = (
        f"calm part: {_number_of(document['false_alarms_per_day'], 2)} false alarm bars and "
        f"{_number_of(document['false_alerts_per_day'], 2)} false alerts a day; "
        f"usefulness {_number_of(document['usefulness'], 2)} (1 perfect, 0 none)"
    )
    return [
        label(0, 18, f"{replay.scene.event.name}: {said}", kind="b"),
        label(0, 37, luck + rates, kind="s"),
    ]


def _legend(y: float) -> Markup:
    """Say what each mark is."""
    marks = (
        (tag("path", d=f"M0 {y:g}h9l-4.5 -9z", class_="onset"), "false alert", 92.0),
        (tag("path", d=f"M0 {y:g}h9l-4.5 -9z", class_="alert"), "warning, in the window", 164.0),
        (tag("path", d=f"M0 {y:g}h9l-4.5 -9z", class_="late"), "after the onset: too late", 172.0),
        (tag("path", d=f"M0 {y - 4:g}h9", class_="died"), "alarm bar: score at its limit or above", 238.0),
        (tag("path", d=f"M-2 {y - 4:g}h14", class_="threshold"), "limit, set on training", 140.0),
    )
    parts, x = [], LEFT
    for mark, words, width in marks:
        parts.append(tag("g", mark, label(15, y, words, kind="s"), transform=f"translate({x:g} 0)"))
        x += width
    return tag("g", *parts)


def _panel(
    names: tuple[str, ...],
    stamps: Int[np.ndarray, " time"],
    values: Float[np.ndarray, " time"],
    scale: Scale,
    *,
    place: int,
    limits: tuple[float, float] | None = None,
) -> Markup:
    base = _base(place)
    known = values[np.isfinite(values)]
    if not known.size:
        return label(LEFT, base - PANEL / 2, f"{names[0]}: nothing known", kind="s")
    low, high = limits or _padded(known)
    vertical = Scale(low, high, base, base - PANEL)
    axis = [
        joined(
            [
                tag("path", d=f"M{LEFT:g} {vertical(tick):.1f}H{RIGHT:g}", class_="axis"),
                label(LEFT - 8, vertical(tick) + 4, _number(tick), kind="s", anchor="end"),
            ]
        )
        for tick in ticks_between(low, high, TICKS)
    ]
    title = [
        label(0, base - PANEL + 12 + 16 * line, clipped(words, 24), kind="s" if line else "b")
        for line, words in enumerate(names)
    ]
    return tag("g", *axis, *title, _line(stamps, values, scale, vertical))


def _line(
    stamps: Int[np.ndarray, " time"], values: Float[np.ndarray, " time"], scale: Scale, vertical: Scale
) -> Markup:
    """Draw a series: where bars are closer than a pixel, lowest and highest of each cell, so that no peak is lost."""
    cell = max(1, stamps.size // POINTS)
    runs: list[list[str]] = [[]]
    for start in range(0, stamps.size, cell):
        part = values[start : start + cell]
        known = np.flatnonzero(np.isfinite(part))
        if not known.size:
            runs.append([])
            continue
        places = sorted({int(known[np.argmin(part[known])]), int(known[np.argmax(part[known])])})
        runs[-1].extend(f"{scale(int(stamps[start + one])):.1f} {vertical(float(part[one])):.1f}" for one in places)
    return joined(tag("path", d="M" + "L".join(run), class_="series") for run in runs if len(run) > 1)


def _alarm_bars(warned: Warned, stamps: Int[np.ndarray, " time"], scale: Scale, values: Scale) -> Markup:
    shown: Bool[np.ndarray, " time"] = warned.is_alarm & np.isfinite(warned.score)
    dots = "".join(
        f"M{scale(int(stamps[bar])) - 1.6:.1f} {values(float(warned.score[bar])):.1f}h3.2"
        for bar in np.flatnonzero(shown)
    )
    return tag("path", d=dots, class_="died") if dots else Markup("")


def _row(name: str, warned: Warned | None, replay: Replay, scale: Scale, *, y: float) -> Markup:
    base = tag("path", d=f"M{LEFT:g} {y + 11:.1f}H{RIGHT:g}", class_="axis")
    words = label(0, y + 12, clipped(name, 24), kind="b" if warned is replay.warned else "s")
    if warned is None:
        return tag("g", words, base, label(LEFT + 6, y + 10, "its training part gives no limit", kind="s"))
    calm = replay.scene.windows.calm_ns
    marks = [
        tag(
            "path",
            tag("title", text(f"{name}: alert, {moment(int(replay.stamps[bar]))}")),
            d=f"M{scale(int(replay.stamps[bar])) - 4.5:.1f} {y + 11:.1f}h9l-4.5 -9z",
            class_=_kind(int(replay.stamps[bar]), replay),
        )
        for bar in warned.alerts
        if replay.stamps[bar] > calm
    ]
    return tag("g", words, base, *marks)


def _kind(ts_ns: int, replay: Replay) -> str:
    windows = replay.scene.windows
    if ts_ns > windows.onset_ns:
        return "late"
    return "alert" if ts_ns > windows.window_ns else "onset"


def _shades(replay: Replay, scale: Scale, height: float) -> list[Markup]:
    windows = replay.scene.windows
    train, window, onset = scale(windows.calm_ns), scale(windows.window_ns), scale(windows.onset_ns)
    tall = height - 34 - (TOP - 18)
    return [
        tag("rect", x=LEFT, y=TOP - 18, width=train - LEFT, height=tall, class_="train"),
        tag("rect", x=window, y=TOP - 18, width=max(onset - window, 1.0), height=tall, class_="window"),
        label(LEFT + 4, TOP - 23, "training", kind="s"),
        label((train + window) / 2, TOP - 23, "calm: every alert is false", kind="s", anchor="middle"),
        label(window - 4, TOP - 7, "warning window", kind="s", anchor="end"),
    ]


def _onset(onset_ns: int, scale: Scale, height: float) -> Markup:
    x = scale(onset_ns)
    return tag(
        "g",
        tag("title", text(f"onset, {moment(onset_ns)}")),
        tag("path", d=f"M{x:.1f} {TOP - 18:g}V{height - 34:g}", class_="onset-line"),
        tag("path", d=f"M{x - 5:.1f} {TOP - 27:g}h10l-5 8z", class_="onset"),
        label(x, TOP - 31, f"onset {_written(onset_ns)}", kind="s", anchor="end" if x > RIGHT - 10 else "middle"),
    )


def _axis(first: int, last: int, scale: Scale, height: float) -> Markup:
    parts = []
    for stamp in day_ticks(first, last, 12):
        x = scale(stamp)
        parts.append(tag("path", d=f"M{x:.1f} {height - 34:g}v5", class_="axis"))
        parts.append(label(x, height - 17, day(stamp), kind="s", anchor="middle"))
    year = moment(first)[:4] if moment(first)[:4] == moment(last)[:4] else f"{moment(first)[:4]}-{moment(last)[2:4]}"
    zone = label(0, height - 17, f"{year} (UTC, or its file's)", kind="s")
    return joined([*parts, zone])


def _price(replay: Replay) -> Float[np.ndarray, " time"]:
    _, bars = replay.scene.price
    values = np.full(replay.stamps.size, np.nan)
    place = (bars["ts_ns"].to_numpy() - replay.stamps[0]) // replay.scene.bar_ns
    inside = (place >= 0) & (place < values.size)
    values[place[inside]] = bars["close"].to_numpy()[inside]
    return values


def _written(when: object) -> str:
    """Return a time as `10 Mar 05:25`, from a stamp or from ISO 8601 as in the document."""
    if not isinstance(when, int):
        when = int(datetime.fromisoformat(str(when)).timestamp()) * 1_000_000_000
    return f"{day(when)} {moment(when)[11:16]}"


def _number_of(value: object, decimals: int) -> str:
    return f"{value:.{decimals}f}" if isinstance(value, (int, float)) else "unknown"


def _base(place: int) -> float:
    return TOP + place * (PANEL + GAP) + PANEL


def _top(warned: Warned) -> float:
    return max(float(np.nanmax(warned.score)), warned.limit) + 0.2


def _padded(known: Float[np.ndarray, " value"]) -> tuple[float, float]:
    low, high = float(known.min()), float(known.max())
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _percent(value: object) -> str:
    return f"{100 * value:.0f} %" if isinstance(value, float) else "unknown"


def _words(replay: Replay) -> str:
    document = replay.document
    counts: Mapping[str, Sequence[int]] = {
        name: [int(bar) for bar in warned.alerts if replay.stamps[bar] > replay.scene.windows.calm_ns]
        for name, warned in replay.beside.items()
        if warned is not None
    }
    beside = ", ".join(f"{name} {len(bars)}" for name, bars in counts.items())
    return (
        f"Price, stress index and warning score from {moment(int(replay.stamps[0]))} to "
        f"{moment(int(replay.stamps[-1]))}; onset {document['onset']}, "
        f"{'first alert ' + str(document['first_alert']) if document['hit'] else 'no alert in the window'}. "
        f"Alerts after training: {beside}."
    )
