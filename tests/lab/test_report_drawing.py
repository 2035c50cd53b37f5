"""The report: well-formed, self-contained, safe with hostile names, and without gaps where the document has some."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from hansa.lab.report.axes import DAY_NS, Scale, day_ticks, round_ticks
from hansa.lab.report.style import ramp, stylesheet


def test_the_ramp_falls_evenly_in_lightness() -> None:
    for is_dark, sign in ((False, -1), (True, 1)):
        levels = [luminance(colour) for colour in ramp(is_dark=is_dark)]
        steps = [sign * (after - before) for before, after in pairwise(levels)]
        assert min(steps) > 0.03
        assert max(steps) < 0.13


def luminance(colour: str) -> float:
    """Return a colour's perceived lightness, CIE L* over 100."""
    red, green, blue = ((int(colour[place : place + 2], 16) / 255) ** 2.2 for place in (1, 3, 5))
    return 1.16 * (0.2126 * red + 0.7152 * green + 0.0722 * blue) ** (1 / 3) - 0.16


def test_the_style_serves_light_dark_and_paper() -> None:
    rules = stylesheet()
    assert "prefers-color-scheme:dark" in rules
    assert "@media print" in rules
    assert "tabular-nums" in rules
    assert rules.count("{") == rules.count("}")


@given(st.floats(1e-6, 1e6), st.integers(2, 10))
def test_ticks_are_few_round_and_inside(high: float, most: int) -> None:
    ticks = round_ticks(high, most)
    assert ticks[0] == 0
    assert ticks[-1] <= high * (1 + 1e-6)
    assert len(ticks) <= most + 1


def test_days_are_midnights_inside_the_span() -> None:
    assert day_ticks(DAY_NS // 2, 5 * DAY_NS, 3) == [DAY_NS, 3 * DAY_NS, 5 * DAY_NS]


def test_a_scale_keeps_values_inside_its_ends() -> None:
    scale = Scale(0.0, 10.0, 100.0, 0.0)
    assert [scale(value) for value in (-5, 0, 5, 20)] == [100.0, 100.0, 50.0, 0.0]
    assert Scale(1.0, 1.0, 3.0, 9.0)(1.0) == 3.0
