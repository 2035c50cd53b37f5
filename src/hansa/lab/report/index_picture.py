"""The stress index as a picture: for each market a heat strip with its line below, on one axis of days.

A cell of the strip is the mean of the index over some hours; the band round the line runs from the lowest to the
highest bar of the same hours, so that averaging hides no peak. Where no bar of a cell has an index the strip is
hatched. Shaded: the training span. Triangles: alerts (up, from below) and known onsets of stress (down, from above).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from hansa.lab.report.axes import DAY_NS, Scale, day, day_ticks, moment
from hansa.lab.report.markup import Markup, clipped, joined, label, picture, table, tag, text
from hansa.lab.report.style import STEPS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hansa.lab.report.reading import Index

HOUR_NS: Final = 3_600_000_000_000
CELLS_NS: Final = tuple(
    part * HOUR_NS // 12 for part in (1, 3, 6, 12, 24, 36, 48, 72, 96, 144, 288, 576, 2016, 8064, 26784)
)
PIXELS_PER_CELL: Final = 3.0
STRIP: Final = 20.0
LINE: Final = 72.0
TOP: Final = 30.0
BLOCK: Final = TOP + STRIP + 4 + LINE + 20


@dataclass(frozen=True, slots=True)
class Cell:
    """Hours of an index, from a stamp on: mean, lowest and highest bar; nothing where there is no index."""

    start_ns: int
    mean: float | None
    low: float
    high: float


def cells(index: Index, start_ns: int, end_ns: int, width_ns: int) -> list[Cell]:
    """Cut a span into cells of an index.

    Args:
        index: The index.
        start_ns: First stamp of the span.
        end_ns: Last stamp of the span.
        width_ns: Length of a cell.
    """
    held: list[list[float]] = [[] for _ in range((end_ns - start_ns) // width_ns + 1)]
    for stamp, value in zip(index.ts_ns, index.values, strict=True):
        if value is not None and start_ns <= stamp <= end_ns:
            held[(stamp - start_ns) // width_ns].append(value)
    return [
        Cell(
            start_ns + place * width_ns,
            sum(own) / len(own) if own else None,
            min(own, default=0.0),
            max(own, default=0.0),
        )
        for place, own in enumerate(held)
    ]


def span_of(indices: Sequence[Index], train_ns: tuple[int, int] | None) -> tuple[int, int] | None:
    """Return the first and last stamp to show: from the start of training to the last index."""
    stamps = [stamp for index in indices for stamp in (*index.ts_ns[:1], *index.ts_ns[-1:])]
    if not stamps:
        return None
    return min([*stamps, *(train_ns or ())]), max([*stamps, *(train_ns or ())])


def cell_width(indices: Sequence[Index], fit_ns: int) -> int:
    """Return a round length of a cell, at least `fit_ns` and a whole number of bars, so that no cell lacks a bar."""
    gaps = (after - before for index in indices for before, after in pairwise(index.ts_ns) if after > before)
    bar_ns = min(gaps, default=1)
    return next((one for one in CELLS_NS if one >= fit_ns and one % bar_ns == 0), -(-max(fit_ns, 1) // bar_ns) * bar_ns)


def index_picture(indices: Sequence[Index], train_ns: tuple[int, int] | None, *, name: str, width: float) -> Markup:
    """Draw the strips and lines.

    Args:
        indices: At least one, with at least one stamp.
        train_ns: First and last bar of training.
        name: Unique on the page.
        width: In user units; fewer cells and days fit a narrower picture.
    """
    start_ns, end_ns = span_of(indices, train_ns) or (0, 1)
    scale = Scale(start_ns, end_ns, 0.0, width)
    width_ns = cell_width(indices, int((end_ns - start_ns) * PIXELS_PER_CELL / width))
    height = len(indices) * BLOCK + 24
    parts = [_hatch(name)]
    for place, index in enumerate(indices):
        found = cells(index, start_ns, end_ns, width_ns)
        parts.append(_block(index, found, scale, train_ns, name=name, top=place * BLOCK, width_ns=width_ns))
    parts.append(_days(start_ns, end_ns, scale, height))
    hours = width_ns / HOUR_NS
    return picture(
        name,
        parts,
        title="Liquidity stress index over time",
        description=f"{len(indices)} strips with a line below each, {moment(start_ns)} to {moment(end_ns)}; a cell is "
        f"the mean of {hours:g} hours, hatched where there is no index. "
        + " ".join(_words(index) for index in indices),
        size=(width, height),
    )


def index_table(indices: Sequence[Index], train_ns: tuple[int, int] | None) -> Markup:
    """Return the pictures' numbers by day: mean and highest bar of each index, alerts, onsets."""
    span = span_of(indices, train_ns)
    if span is None:
        return text("no index")
    first = span[0] // DAY_NS * DAY_NS
    days = {index.name: cells(index, first, span[1], DAY_NS) for index in indices}
    rows = []
    for place, one in enumerate(days[indices[0].name]):
        row = [day(one.start_ns)]
        for index in indices:
            cell = days[index.name][place]
            row.append("none" if cell.mean is None else f"{cell.mean:.0f} / {cell.high:.0f}")
            row.append(_marks(index, cell.start_ns))
        rows.append(row)
    columns = ["day (UTC)"]
    for index in indices:
        columns += [f"{index.name}: mean / highest", "alerts, onsets"]
    return table("Stress index by day, 0 to 100", columns, rows)


def _block(
    index: Index,
    found: Sequence[Cell],
    scale: Scale,
    train_ns: tuple[int, int] | None,
    *,
    name: str,
    top: float,
    width_ns: int,
) -> Markup:
    strip, line = top + TOP, top + TOP + STRIP + 4
    floor = line + LINE
    end = scale.right
    parts = [
        label(0, top + 16, clipped(index.name, 32), kind="b"),
        tag("rect", x=0, y=strip, width=end, height=STRIP, class_="ground"),
        _strip(found, scale, strip, width_ns, name),
        tag("rect", x=0, y=line, width=end, height=LINE, class_="ground"),
    ]
    values = Scale(0.0, 100.0, floor, line)
    parts.extend(tag("path", d=f"M0 {values(level):.1f}H{end:g}", class_="axis") for level in (0, 50, 100))
    if train_ns is not None:
        edge = scale(train_ns[1])
        parts.append(tag("rect", x=0, y=line, width=edge, height=LINE, class_="train"))
        parts.append(tag("path", d=f"M{edge:.1f} {strip:g}V{floor:g}", class_="edge"))
        if top == 0:
            is_left = edge > end / 2
            parts.append(label(edge, top + 12, "training ends", kind="s", anchor="end" if is_left else None))
    parts.append(_line(found, scale, values, width_ns))
    if index.threshold is not None:
        level = values(index.threshold)
        start = scale(train_ns[1]) if train_ns else 0.0
        parts.append(tag("path", d=f"M{start:.1f} {level:.1f}H{end:g}", class_="threshold"))
    parts.extend(
        label(end, values(level) + (10 if level else -3), f"{level}", kind="s", anchor="end") for level in (0, 100)
    )
    parts.append(_veils(index, found, scale, strip, floor))
    parts.extend(_onset(scale(one), strip, floor, f"stress begins, {moment(one)}") for one in index.onsets_ns)
    parts.extend(_alert(scale(one), floor, f"alert, {moment(one)}") for one in index.alerts_ns)
    return tag("g", *parts)


def _strip(found: Sequence[Cell], scale: Scale, top: float, width_ns: int, name: str) -> Markup:
    paths: dict[int, list[str]] = {}
    missing: list[tuple[float, float]] = []
    for cell in found:
        left, right = scale(cell.start_ns), scale(cell.start_ns + width_ns)
        if cell.mean is None:
            joins = missing and abs(missing[-1][1] - left) < 1e-6
            missing.append((missing.pop()[0] if joins else left, right))
            continue
        step = min(int(cell.mean * STEPS / 100), STEPS - 1)
        paths.setdefault(max(step, 0), []).append(f"M{left:.1f} {top:g}H{right + 0.3:.1f}v{STRIP:g}H{left:.1f}z")
    shown = [tag("path", d="".join(path), class_=f"q{step}") for step, path in sorted(paths.items())]
    for left, right in missing:
        hatched = tag(
            "rect",
            tag("title", text("no index")),
            x=left,
            y=top,
            width=right - left,
            height=STRIP,
            fill=f"url(#{name}-hatch)",
        )
        shown.append(hatched)
    return joined(shown)


def _line(found: Sequence[Cell], scale: Scale, values: Scale, width_ns: int) -> Markup:
    runs: list[list[Cell]] = [[]]
    for cell in found:
        if cell.mean is None:
            runs.append([])
        else:
            runs[-1].append(cell)
    parts = []
    for run in (run for run in runs if run):
        middle = [scale(cell.start_ns + width_ns / 2) for cell in run]
        upper = [f"{x:.1f} {values(cell.high):.1f}" for x, cell in zip(middle, run, strict=True)]
        lower = [f"{x:.1f} {values(cell.low):.1f}" for x, cell in zip(middle, run, strict=True)]
        means = [f"{x:.1f} {values(cell.mean or 0.0):.1f}" for x, cell in zip(middle, run, strict=True)]
        parts.append(tag("path", d="M" + "L".join([*upper, *reversed(lower)]) + "z", class_="band"))
        parts.append(tag("path", d="M" + "L".join(means), class_="series"))
    return joined(parts)


def _veils(index: Index, found: Sequence[Cell], scale: Scale, top: float, floor: float) -> Markup:
    """Return one transparent area a day that tells its numbers to a pointer."""
    last = found[-1].start_ns
    parts = []
    for start in range(found[0].start_ns // DAY_NS * DAY_NS, last + 1, DAY_NS):
        own = [cell for cell in found if start <= cell.start_ns < start + DAY_NS and cell.mean is not None]
        if own:
            mean = sum(cell.mean or 0.0 for cell in own) / len(own)
            words = f"{index.name}, {day(start)}: mean {mean:.0f}, highest bar {max(cell.high for cell in own):.0f}"
            left, right = scale(start), scale(start + DAY_NS)
            parts.append(
                tag(
                    "rect",
                    tag("title", text(words)),
                    x=left,
                    y=top,
                    width=right - left,
                    height=floor - top,
                    class_="veil",
                )
            )
    return joined(parts)


def _onset(x: float, y: float, floor: float, words: str) -> Markup:
    line = tag("path", d=f"M{x:.1f} {y:g}V{floor:g}", class_="onset-line")
    return tag("g", tag("title", text(words)), line, tag("path", d=f"M{x - 5:.1f} {y - 9:g}h10l-5 8z", class_="onset"))


def _alert(x: float, y: float, words: str) -> Markup:
    return tag("path", tag("title", text(words)), d=f"M{x - 4.5:.1f} {y + 9:g}h9l-4.5 -8z", class_="alert")


def _days(start_ns: int, end_ns: int, scale: Scale, height: float) -> Markup:
    most = max(int(scale.right // 84), 2)
    parts = []
    for stamp in day_ticks(start_ns, end_ns, most):
        x = scale(stamp)
        anchor = None if x < 20 else "end" if x > scale.right - 20 else "middle"
        parts.append(tag("path", d=f"M{x:.1f} {height - 22:g}v5", class_="axis"))
        parts.append(label(x, height - 5, day(stamp), kind="s", anchor=anchor))
    return joined(parts)


def _hatch(name: str) -> Markup:
    line = tag("path", d="M0 6L6 0", class_="hatching")
    return tag("defs", tag("pattern", line, id=f"{name}-hatch", width=6, height=6, patternUnits="userSpaceOnUse"))


def _words(index: Index) -> str:
    held = [value for value in index.values if value is not None]
    if not held:
        return f"{index.name}: no index."
    known = f", {len(index.onsets_ns)} known onsets" if index.onsets_ns else ""
    mean, alerts = sum(held) / len(held), len(index.alerts_ns)
    return f"{index.name}: mean {mean:.0f}, highest {max(held):.0f}, {alerts} alerts{known}."


def _marks(index: Index, start_ns: int) -> str:
    alerts = sum(start_ns <= stamp < start_ns + DAY_NS for stamp in index.alerts_ns)
    onsets = sum(start_ns <= stamp < start_ns + DAY_NS for stamp in index.onsets_ns)
    return f"{alerts or '-'}, {onsets or '-'}"
