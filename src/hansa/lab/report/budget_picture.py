"""What taking part has cost, as bars: privacy budget by purpose with its unit in words, and bytes by member."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hansa.lab.report.axes import Scale
from hansa.lab.report.markup import Markup, clipped, label, picture, table, tag, text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hansa.lab.report.reading import Budget

WIDTH: Final = 420.0
ROW: Final = 56.0
THIN_ROW: Final = 34.0


def budgets_picture(budgets: Sequence[Budget]) -> Markup:
    """Draw spent epsilon within allowed epsilon, all purposes on one scale.

    Args:
        budgets: At least one.
    """
    scale = Scale(0.0, max(max(one.allowed or 0.0, one.epsilon) for one in budgets) or 1.0, 0.0, WIDTH)
    parts = []
    for place, one in enumerate(budgets):
        top = place * ROW
        parts.append(label(0, top + 14, clipped(one.purpose, 32)))
        parts.append(label(WIDTH, top + 14, _spent(one), kind="b", anchor="end"))
        if one.allowed is not None:
            parts.append(tag("rect", x=0, y=top + 20, width=scale(one.allowed), height=14, class_="allowed"))
        title = tag("title", text(f"{one.purpose}: {_spent(one)}"))
        parts.append(tag("rect", title, x=0, y=top + 20, width=scale(one.epsilon), height=14, class_="bar-own"))
        parts.append(label(0, top + 48, clipped(_unit(one), 72), kind="s"))
    return picture(
        "budgets",
        parts,
        title="Privacy budget of each member, dearest period",
        description="; ".join(f"{one.purpose}: epsilon {_spent(one)}, {_unit(one)}" for one in budgets),
        size=(WIDTH, ROW * len(budgets)),
    )


def budgets_table(budgets: Sequence[Budget]) -> Markup:
    """Return the budgets' numbers."""
    rows = [
        [
            one.purpose,
            one.unit,
            one.period,
            f"{one.periods or '-'}",
            f"{one.epsilon:.3f}",
            "-" if one.allowed is None else f"{one.allowed:g}",
            "-" if one.delta is None else f"{one.delta:g}",
        ]
        for one in budgets
    ]
    columns = ["purpose", "unit that is protected", "period", "periods charged", "epsilon spent", "allowed", "delta"]
    return table("Privacy budget of each member; all members pay the same", columns, rows)


def bytes_picture(sent_bytes: Mapping[str, float]) -> Markup:
    """Draw the bytes that left each member.

    Args:
        sent_bytes: By member, at least one.
    """
    scale = Scale(0.0, max(sent_bytes.values()) or 1.0, 0.0, WIDTH)
    parts = []
    for place, (name, sent) in enumerate(sent_bytes.items()):
        top = place * THIN_ROW
        parts.append(label(0, top + 14, clipped(name, 36)))
        parts.append(label(WIDTH, top + 14, f"{sent / 1e3:,.1f} kB", kind="b", anchor="end"))
        title = tag("title", text(f"{name}: {sent:,.0f} bytes"))
        parts.append(tag("rect", title, x=0, y=top + 19, width=scale(sent), height=8, class_="bar"))
    return picture(
        "bytes",
        parts,
        title="Bytes that left each member",
        description="; ".join(f"{name}: {sent:,.0f}" for name, sent in sent_bytes.items()),
        size=(WIDTH, THIN_ROW * len(sent_bytes)),
    )


def bytes_table(sent_bytes: Mapping[str, float]) -> Markup:
    """Return the bytes by member."""
    rows = [[name, f"{sent:,.0f}"] for name, sent in sent_bytes.items()]
    return table("Bytes that left each member, by its own egress record", ["member", "bytes"], rows)


def _spent(one: Budget) -> str:
    return f"{one.epsilon:.2f}" + ("" if one.allowed is None else f" of {one.allowed:g}")


def _unit(one: Budget) -> str:
    periods = f", {one.periods} {one.period}s charged" if one.periods and one.periods > 1 else ""
    return f"protects {one.unit}, per {one.period}{periods}"
