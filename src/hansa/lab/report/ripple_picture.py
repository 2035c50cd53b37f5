"""A ripple answer as one SVG: the graph of markets, and each response with its band.

Markets stand on a circle; an arrow from A to B is as wide as the share of B's moves over the horizon that comes from A,
on one scale for all arrows; shares below a hundredth of the largest are left out. The shocked market is filled. Beside
it, for each target: the response (line), its 90 % band, the published response alone (dashed) and zero.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from hansa.errors import ModelError
from hansa.lab.report.axes import Scale
from hansa.lab.report.markup import Markup, clipped, joined, label, picture, tag, text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

GRAPH: Final = 360.0
PANEL_WIDTH: Final = 380.0
PANEL_HEIGHT: Final = 150.0
RADIUS: Final = 118.0
NODE: Final = 13.0
WIDEST: Final = 9.0
SMALLEST: Final = 0.01
STYLE: Final = Markup(
    "svg{background:#fff;font:13px system-ui,sans-serif}text{fill:#1a1d22}.s{font-size:11px;fill:#59606b}"
    ".b{font-weight:650}.node{fill:#fff;stroke:#1a1d22;stroke-width:1.5}.source{fill:#0067a5;stroke:#0067a5}"
    ".arrow{fill:none;stroke:#0067a5;stroke-opacity:.55}.head{fill:#0067a5;fill-opacity:.8}"
    ".band{fill:#0067a5;fill-opacity:.16}.line{fill:none;stroke:#0067a5;stroke-width:2}"
    ".known{fill:none;stroke:#59606b;stroke-width:1.4;stroke-dasharray:4 3}.zero{stroke:#d5d9df}"
)


def ripple_picture(answer: Mapping[str, object]) -> Markup:
    """Draw an answer.

    Args:
        answer: As a member records it (`federation.ripple_answer`).

    Raises:
        ModelError: It is no such answer.
    """
    try:
        query, graph, responses = answer["query"], answer["connectedness"], answer["responses"]
        drawn = [_graph(graph, str(query["source"]))]  # type: ignore[arg-type, index]
        panels = [_panel(one, query, place) for place, one in enumerate(responses)]  # type: ignore[arg-type, var-annotated]
        words = f"{query['source']} {query['shock_sd']:+g} sd on {', '.join(query['targets'])}"  # type: ignore[index]
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"expected an answer of a ripple query, got something without {error}") from error
    height = max(GRAPH, 40 + PANEL_HEIGHT * len(panels))
    note = joined(
        [
            label(8, GRAPH - 22, "arrow: share of a market's moves that comes from another", kind="s"),
            label(8, GRAPH - 8, "line: response, band 90 %; dashed: of the published state alone", kind="s"),
        ]
    )
    return picture(
        "ripple",
        [tag("style", STYLE), label(8, 20, f"Ripple: {words}", kind="b"), *drawn, note, *panels],
        title=f"Ripple: {words}",
        description="Who moves whom, and the response of each target with its 90 % band.",
        size=(GRAPH + PANEL_WIDTH + 20, height),
    )


def _graph(graph: Mapping[str, Sequence[Sequence[float]]], source: str) -> Markup:
    names, shares = [str(name) for name in graph["baskets"]], graph["shares"]
    places = [_place(place, len(names)) for place in range(len(names))]
    away = {
        (origin, target): float(shares[target][origin])
        for target in range(len(names))
        for origin in range(len(names))
        if target != origin
    }
    largest = max(away.values(), default=0.0)
    parts = [
        _arrow(places[origin], places[target], share, largest, f"{names[origin]} to {names[target]}")
        for (origin, target), share in sorted(away.items(), key=lambda item: item[1])
        if share > SMALLEST * largest
    ]
    for name, (x, y) in zip(names, places, strict=True):
        parts.append(tag("circle", cx=x, cy=y, r=NODE, class_="node source" if name == source else "node"))
        parts.append(label(x, y + (NODE + 15 if y > GRAPH / 2 - 1 else -NODE - 6), clipped(name, 14), anchor="middle"))
    return joined(parts)


def _place(place: int, count: int) -> tuple[float, float]:
    angle = 2 * math.pi * place / max(count, 1) - math.pi / 2
    return GRAPH / 2 + RADIUS * math.cos(angle), GRAPH / 2 + 8 + RADIUS * math.sin(angle)


def _arrow(start: tuple[float, float], end: tuple[float, float], share: float, largest: float, words: str) -> Markup:
    """Draw an arrow bent to its left, so that both directions of a pair are seen."""
    width = max(0.6, WIDEST * share / largest)
    (x0, y0), (x1, y1) = start, end
    length = math.hypot(x1 - x0, y1 - y0)
    ux, uy = (x1 - x0) / length, (y1 - y0) / length
    mx, my = (x0 + x1) / 2 - 0.16 * length * uy, (y0 + y1) / 2 + 0.16 * length * ux
    tip = math.hypot(x1 - mx, y1 - my)
    vx, vy = (x1 - mx) / tip, (y1 - my) / tip
    size = 5 + width
    tx, ty = x1 - (NODE + 2) * vx, y1 - (NODE + 2) * vy
    bx, by = tx - size * vx, ty - size * vy
    head = (
        f"M{tx:.1f} {ty:.1f}L{bx - size * 0.6 * vy:.1f} {by + size * 0.6 * vx:.1f}"
        f"L{bx + size * 0.6 * vy:.1f} {by - size * 0.6 * vx:.1f}Z"
    )
    return tag(
        "g",
        tag("title", text(f"{words}: {100 * share:.1f} %")),
        tag("path", d=f"M{x0:.1f} {y0:.1f}Q{mx:.1f} {my:.1f} {bx:.1f} {by:.1f}", class_="arrow", stroke_width=width),
        tag("path", d=head, class_="head"),
    )


def _panel(one: Mapping[str, Sequence[float]], query: Mapping[str, object], place: int) -> Markup:
    curve, low, high, known = ([float(x) for x in one[name]] for name in ("curve", "low", "high", "published_curve"))
    left, top = GRAPH + 20, 40 + PANEL_HEIGHT * place
    right, bottom = left + PANEL_WIDTH - 50, top + PANEL_HEIGHT - 34
    across = Scale(0, len(curve) - 1, left, right)
    up = Scale(min(0.0, *low, *known), max(0.0, *high, *known), bottom, top + 8)
    hours = (len(curve) - 1) * int(str(query["bar_seconds"])) / 3600

    def path(values: Sequence[float]) -> str:
        return "L".join(f"{across(lag):.1f} {up(value):.1f}" for lag, value in enumerate(values))

    back = "L".join(f"{across(lag):.1f} {up(value):.1f}" for lag, value in reversed(list(enumerate(low))))
    return tag(
        "g",
        tag("title", text(f"{one['target']}: peak {one['peak']:.2f} deviations")),
        tag("path", d=f"M{left:.1f} {up(0.0):.1f}H{right:.1f}", class_="zero"),
        tag("path", d=f"M{path(high)}L{back}Z", class_="band"),
        tag("path", d=f"M{path(known)}", class_="known"),
        tag("path", d=f"M{path(curve)}", class_="line"),
        label(left, top + 2, f"{one['target']}, deviations of its cost", kind="b"),
        label(right + 4, up(0.0) + 4, "0", kind="s"),
        label(right + 4, up(up.high) + 8, f"{up.high:.2f}", kind="s"),
        label(left, bottom + 15, "0 h", kind="s"),
        label(right, bottom + 15, f"{hours:g} h", kind="s", anchor="end"),
    )
