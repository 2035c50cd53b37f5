"""HTML and SVG as text that cannot carry a document's own tags.

`Markup` is finished markup. `text` is the only way from a string to `Markup`; `tag` escapes every attribute's value.
A document's names and reasons come from other parties: they reach the page through these two alone.

Attributes are keywords: `class_` becomes `class`, `stroke_width` becomes `stroke-width`; `None` leaves one out.
Guarantees: what went in as a string is shown as that string, on one level of escaping. Does not guarantee: that the
elements nest as HTML allows.
"""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Final, NewType

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Markup = NewType("Markup", str)
Attribute = str | float | None
VOID: Final = frozenset({"meta"})
NOTHING: Final = Markup("")


def text(value: object) -> Markup:
    """Return a value's text, escaped; line breaks and other control characters become spaces.

    >>> text("<b>")
    '&lt;b&gt;'
    """
    return Markup(html.escape("".join(char if char.isprintable() else " " for char in str(value)), quote=True))


def tag(name: str, *children: Markup, **attributes: Attribute) -> Markup:
    """Return an element.

    Args:
        name: Of the element, from the program and never from a document.
        children: Finished markup, in order.
        attributes: By name; numbers are rounded to a tenth, `None` leaves one out.

    >>> tag("b", text("a & b"), class_="x")
    '<b class="x">a &amp; b</b>'
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_value(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in VOID:
        return Markup(f"<{name}{written}>")
    return Markup(f"<{name}{written}>{''.join(children)}</{name}>")


def joined(parts: Iterable[Markup]) -> Markup:
    """Return markup one piece after another."""
    return Markup("".join(parts))


def table(caption: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Markup:
    """Return a table whose first column names its rows; all cells are escaped.

    Args:
        caption: What the table holds.
        columns: Titles; all but the first are of numbers and stand to the right.
        rows: Cells, as many as columns.
    """
    head = tag("tr", *(tag("th", text(one), scope="col") for one in columns))
    body = (
        tag("tr", tag("th", text(row[0]), scope="row"), *(tag("td", text(cell)) for cell in row[1:])) for row in rows
    )
    return tag("table", tag("caption", text(caption)), tag("thead", head), tag("tbody", *body))


def picture(name: str, content: Sequence[Markup], *, title: str, description: str, size: tuple[float, float]) -> Markup:
    """Return an SVG picture that a screen reader announces by title and description.

    Args:
        name: Unique on the page.
        content: What is drawn.
        title: In a few words.
        description: What is to be seen, in a sentence or two.
        size: Width and height in user units.
    """
    return tag(
        "svg",
        tag("title", text(title), id=f"{name}-title"),
        tag("desc", text(description), id=f"{name}-desc"),
        *content,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {size[0]:g} {size[1]:g}",
        role="img",
        aria_labelledby=f"{name}-title {name}-desc",
        id=name,
    )


def label(x: float, y: float, words: str, *, kind: str | None = None, anchor: str | None = None) -> Markup:
    """Return words in a picture: `kind` is their class, `anchor` is `middle` or `end`."""
    return tag("text", text(words), x=x, y=y, class_=kind, text_anchor=anchor)


def clipped(words: str, most: int) -> str:
    """Return words cut to `most` characters, for a place in a picture that cannot grow.

    >>> clipped("lighthouse", 6)
    'light…'
    """
    return words if len(words) <= most else f"{words[: most - 1]}…"


def _value(value: str | float) -> str:
    if isinstance(value, str):
        return text(value)
    return f"{value:.1f}".removesuffix(".0")
