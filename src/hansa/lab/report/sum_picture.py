"""The secure sums as a timeline: one lane a purpose over wall-clock seconds, and the newest sums once more, enlarged.

A bar runs from the coordinator's announcement to the opened sum, in three steps: upload (until the cohort is proposed;
it holds the members' own computing), agree (until a quorum has signed the cohort), publish. An attempt that died is
outlined and crossed; its tooltip tells why. Sums of one alliance run one after another, so lanes do not overlap.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from hansa.lab.report.axes import Scale, round_ticks
from hansa.lab.report.markup import Markup, clipped, joined, label, picture, table, tag, text
from hansa.lab.report.style import PURPOSE_COLOURS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hansa.lab.report.reading import Sum

BAR: Final = 18.0
LANE: Final = 42.0
ROWS_SHOWN: Final = 400


def sums_picture(sums: Sequence[Sum], *, name: str, width: float) -> Markup:
    """Draw the timeline.

    Args:
        sums: At least one, in order of announcement.
        name: Unique on the page.
        width: In user units; fewer of the newest sums are enlarged in a narrower picture.
    """
    end = max(one.end for one in sums)
    scale = Scale(0.0, max(end, 1e-9), 0.0, width)
    purposes = list(dict.fromkeys(one.purpose for one in sums))
    floor = LANE * len(purposes)
    newest = _newest(sums, 12 if width > 600 else 4)
    parts = []
    if newest:
        left = scale(newest[0].announced)
        parts.append(tag("rect", x=left, y=4, width=max(width - left, 2), height=floor, class_="zoom"))
    for lane, purpose in enumerate(purposes):
        own = [one for one in sums if one.purpose == purpose]
        top = lane * LANE
        parts.append(label(0, top + 14, f"{clipped(purpose, 24)}: {_count(own)}"))
        parts.append(tag("rect", x=0, y=top + 20, width=width, height=BAR, class_="ground"))
        parts.extend(_bar(one, scale, top + 20) for one in own)
    parts.append(_seconds(scale, floor))
    height = floor + 26
    if newest:
        parts.append(_enlarged(newest, width, height))
        height += 84
    return picture(
        name,
        parts,
        title="Secure sums over time",
        description=f"{len(sums)} attempts in {end:.1f} seconds, "
        + ", ".join(f"{purpose} {_count([one for one in sums if one.purpose == purpose])}" for purpose in purposes)
        + ".",
        size=(width, height),
    )


def sums_table(sums: Sequence[Sum]) -> Markup:
    """Return the sums' times, at most `ROWS_SHOWN` of them."""
    rows = [
        [
            one.session,
            one.purpose,
            "-" if one.length is None else f"{one.length}",
            f"{one.cohort}",
            one.state + (f" ({one.reason})" if one.reason else ""),
            f"{one.announced:.3f}",
            *(_milliseconds(one, step) for step in ("upload", "agree", "publish")),
        ]
        for one in sums[:ROWS_SHOWN]
    ]
    columns = ["sum", "purpose", "values", "cohort", "state", "announced, s", "upload, ms", "agree, ms", "publish, ms"]
    left = len(sums) - len(rows)
    return table("Secure sums" + (f" (the first; {left} more in result.json)" if left > 0 else ""), columns, rows)


def _newest(sums: Sequence[Sum], most: int) -> Sequence[Sum]:
    """Return the newest sums, if they are few among many: otherwise the timeline shows them well enough."""
    chosen = sums[-most:]
    return chosen if len(sums) > most and sums[-1].end - chosen[0].announced < 0.5 * sums[-1].end else ()


def _enlarged(newest: Sequence[Sum], width: float, top: float) -> Markup:
    start, end = newest[0].announced, newest[-1].end
    scale = Scale(start, end, 0.0, width)
    parts = [
        label(0, top + 16, f"the newest {len(newest)} (grey above), enlarged"),
        tag("rect", x=0, y=top + 22, width=width, height=28, class_="ground"),
        *(_bar(one, scale, top + 22, height=28.0) for one in newest),
    ]
    step = _step((end - start) * 1e3, 5)
    for tick in range(int((end - start) * 1e3 / step) + 1):
        x = scale(start + tick * step / 1e3)
        anchor = None if tick == 0 else "end" if x > width - 24 else "middle"
        parts.append(tag("path", d=f"M{x:.1f} {top + 50:g}v5", class_="axis"))
        parts.append(label(x, top + 67, f"{tick * step:g} ms", kind="s", anchor=anchor))
    return joined(parts)


def _step(reach: float, most: int) -> float:
    ticks = round_ticks(reach, most)
    return ticks[1] if len(ticks) > 1 else max(reach, 1e-9)


def _bar(one: Sum, scale: Scale, top: float, *, height: float = BAR) -> Markup:
    kind = f"p-{one.purpose}" if one.purpose in PURPOSE_COLOURS else "p-other"
    parts = [tag("title", text(_words(one)))]
    for step, (start, end) in one.phases().items():
        left, right = scale(start), scale(end)
        drawn = tag(
            "rect", x=left, y=top, width=f"{max(right - left, 0.7):.2f}", height=height, class_=f"{kind} {step}"
        )
        parts.append(drawn)
    if one.is_dead:
        width = max(scale(one.end) - scale(one.announced), 6.0)
        left = min(scale(one.announced), scale.right - width)
        parts.append(tag("rect", x=left, y=top, width=width, height=height, class_="died"))
        x, y = left + width / 2, top + height / 2
        parts.append(tag("path", d=f"M{x - 4:.1f} {y - 4:g}l8 8m0 -8l-8 8", class_="died"))
    return tag("g", *parts)


def _seconds(scale: Scale, floor: float) -> Markup:
    parts = []
    for tick in round_ticks(scale.high, max(int(scale.right // 110), 3)):
        x = scale(tick)
        anchor = None if tick == 0 else "end" if x > scale.right - 16 else "middle"
        parts.append(tag("path", d=f"M{x:.1f} {floor - 2:g}v6", class_="axis"))
        parts.append(label(x, floor + 17, f"{tick:g} s", kind="s", anchor=anchor))
    return joined(parts)


def _count(own: Sequence[Sum]) -> str:
    published = sum(one.is_published for one in own)
    died = sum(one.is_dead for one in own)
    lengths = sorted(one.length for one in own if one.length is not None)
    words = f"{published} {'sum' if published == 1 else 'sums'}"
    if lengths:
        values = f"{lengths[0]:,}" if lengths[0] == lengths[-1] else f"{lengths[0]:,} to {lengths[-1]:,}"
        words += f" of {values} values"
    return words + (f", {died} died" if died else "")


def _words(one: Sum) -> str:
    steps = ", ".join(f"{step} {1e3 * (end - start):.0f} ms" for step, (start, end) in one.phases().items())
    words = f"{one.session}: {one.purpose}, {one.state}, cohort {one.cohort}, at {one.announced:.2f} s; {steps}"
    return words + (f"; {one.reason}" if one.reason else "")


def _milliseconds(one: Sum, step: str) -> str:
    found = one.phases().get(step)
    return "-" if found is None or math.isnan(found[1]) else f"{1e3 * (found[1] - found[0]):.1f}"
