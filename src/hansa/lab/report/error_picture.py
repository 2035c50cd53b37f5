"""What joining brought, as pictures: errors by arm, the ratio by seed, the ratio by view noise.

Bars start at zero; a whisker is the 90 % interval of the mean over members, a dot is one member. Filled strongly: the
arm that this federation publishes; faintly: arms that need data which no member has.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from hansa.lab.report.axes import Scale, round_ticks
from hansa.lab.report.markup import Markup, clipped, joined, label, picture, table, tag, text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hansa.lab.report.reading import Arm, Estimate, Seeds

WIDTH: Final = 420.0
ROW: Final = 58.0
OWN: Final = "federated_state"
METRIC_TITLES: Final = {"mape": "MAPE, per cent of the cost", "rmse": "RMSE, log units"}


def error_picture(arms: Sequence[Arm], metric: str) -> Markup:
    """Draw one metric's errors by arm.

    Args:
        arms: In order; those without the metric are named and left empty.
        metric: `mape` or `rmse`.
    """
    reach = [
        max([one.high or one.value, *(member.get(metric, 0.0) for member in arm.by_member.values())])
        for arm in arms
        if (one := arm.errors.get(metric)) is not None
    ]
    scale = Scale(0.0, 1.04 * max(reach, default=1.0), 0.0, WIDTH)
    height = ROW * len(arms) + 26
    ticks = _ticks(scale, height, metric)
    drawn = [_row(arm, metric, scale, place * ROW) for place, arm in enumerate(arms)]
    words = "; ".join(f"{arm.title} {shown(arm.errors.get(metric), metric)}" for arm in arms)
    return picture(
        f"errors-{metric}",
        [ticks, *drawn],
        title=f"Errors by arm: {METRIC_TITLES[metric]}",
        description=f"Mean over members with 90 % intervals: {words}.",
        size=(WIDTH, height),
    )


def error_table(arms: Sequence[Arm], members: Sequence[str]) -> Markup:
    """Return every arm's errors, ratios to local and errors by member."""
    columns = ["arm", "MAPE %", "MAPE / local", "RMSE", "RMSE / local", *(f"{name}: MAPE %, RMSE" for name in members)]
    rows = [
        [
            arm.title,
            ranged(arm.errors.get("mape"), "mape"),
            ranged(arm.ratios.get("mape"), "ratio"),
            ranged(arm.errors.get("rmse"), "rmse"),
            ranged(arm.ratios.get("rmse"), "ratio"),
            *(_member_cell(arm, name) for name in members),
        ]
        for arm in arms
    ]
    return table(
        "Error of the next bar's liquidity cost, mean over members [90 % interval], and by member", columns, rows
    )


def seeds_picture(seeds: Seeds) -> Markup:
    """Draw MAPE with state over local, one dot a seed, with the mean and its interval."""
    ratios = [ratio for _, ratio in seeds.ratios]
    scale = _ratio_scale(ratios)
    low, high = seeds.mean.low, seeds.mean.high
    parts = [_ratio_axis(scale, 118.0, bottom=86.0)]
    if low is not None and high is not None:
        parts.append(tag("rect", x=scale(low), y=30, width=scale(high) - scale(low), height=46, class_="spread"))
    parts.append(tag("path", d=f"M{scale(seeds.mean.value):.1f} 30v46", class_="path"))
    parts.append(label(scale(seeds.mean.value), 22, f"{seeds.mean.value:.3f}", kind="b", anchor="middle"))
    for place, (seed, ratio) in enumerate(seeds.ratios):
        y = 39 + 28 * (place + 0.5) / len(seeds.ratios)
        parts.append(
            tag("circle", tag("title", text(f"seed {seed}: {ratio:.3f}")), cx=scale(ratio), cy=y, r=4, class_="dot")
        )
    return picture(
        "seeds",
        parts,
        title="Error with state over local, by seed",
        description=f"Mean {ranged(seeds.mean, 'ratio')} over {len(ratios)} seeds: "
        + ", ".join(f"{ratio:.3f}" for ratio in ratios),
        size=(WIDTH, 118),
    )


def sweep_picture(points: Sequence[tuple[float, float]]) -> Markup:
    """Draw MAPE with state over local against the noise of a broker's view, as a multiple of the measured one."""
    across = Scale(math.log2(points[0][0]), math.log2(points[-1][0]), 44.0, WIDTH - 24)
    ratios = [ratio for _, ratio in points]
    up = _ratio_scale(ratios, left=166.0, right=22.0)
    parts = [
        joined(
            (
                tag("path", d=f"M34 {up(level):.1f}H{WIDTH:g}", class_="edge" if level == 1 else "axis"),
                label(28, up(level) + 4, f"{level:g}", kind="s", anchor="end"),
            )
        )
        for level in _ratio_ticks(up)
    ]
    places = [(across(math.log2(factor)), up(ratio)) for factor, ratio in points]
    parts.append(tag("path", d="M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places), class_="path"))
    for (factor, ratio), (x, y) in zip(points, places, strict=True):
        parts.append(tag("circle", tag("title", text(f"x {factor:g}: {ratio:.3f}")), cx=x, cy=y, r=4.5, class_="mean"))
        parts.append(label(x, y - 9, f"{ratio:.2f}", kind="s", anchor="middle"))
        parts.append(label(x, 186, f"{factor:g}", kind="s", anchor="middle"))
    parts.append(label(WIDTH / 2, 203, "view noise, times the measured one", kind="s", anchor="middle"))
    return picture(
        "sweep",
        parts,
        title="Error with state over local, by view noise",
        description=", ".join(f"at {factor:g} times the measured noise {ratio:.3f}" for factor, ratio in points),
        size=(WIDTH, 208),
    )


def shown(one: Estimate | None, metric: str) -> str:
    """Return an estimate in a few digits: per cent for `mape`, three decimals otherwise."""
    if one is None:
        return "not known"
    return f"{100 * one.value:.1f} %" if metric == "mape" else f"{one.value:.3f}"


def ranged(one: Estimate | None, metric: str) -> str:
    """Return an estimate with its interval in brackets."""
    if one is None:
        return "not known"
    if one.low is None or one.high is None:
        return shown(one, metric)
    if metric == "mape":
        return f"{100 * one.value:.1f} [{100 * one.low:.1f}, {100 * one.high:.1f}]"
    return f"{one.value:.3f} [{one.low:.3f}, {one.high:.3f}]"


def _row(arm: Arm, metric: str, scale: Scale, top: float) -> Markup:
    one = arm.errors.get(metric)
    is_own = arm.name == OWN
    parts = [label(0, top + 14, clipped(arm.title, 36), kind="b" if is_own else None)]
    parts.append(label(WIDTH, top + 14, shown(one, metric), kind="b", anchor="end"))
    if one is None:
        return tag("g", *parts)
    kind = "bar-own" if is_own else "bar-outside" if arm.is_outside else "bar"
    parts.append(tag("rect", x=0, y=top + 20, width=scale(one.value), height=14, class_=kind))
    for member, errors in arm.by_member.items():
        if metric in errors:
            title = tag("title", text(f"{member}, {arm.title}: {_digits(errors[metric], metric)}"))
            parts.append(tag("circle", title, cx=scale(errors[metric]), cy=top + 27, r=2.8, class_="dot"))
    if one.low is not None and one.high is not None:
        low, high = scale(one.low), scale(one.high)
        parts.append(
            tag(
                "path",
                d=f"M{low:.1f} {top + 27:g}H{high:.1f}M{low:.1f} {top + 21:g}v12M{high:.1f} {top + 21:g}v12",
                class_="whisker",
            )
        )
    parts.append(label(0, top + 48.5, _small(arm, metric), kind="s"))
    return tag("g", tag("title", text(f"{arm.title}: {ranged(one, metric)}")), *parts)


def _small(arm: Arm, metric: str) -> str:
    one, ratio = arm.errors[metric], arm.ratios.get(metric)
    words = []
    if one.low is not None and one.high is not None:
        words.append(f"{_digits(one.low, metric)} to {_digits(one.high, metric)}")
    if ratio is not None and arm.name == "local":
        words.append("the yardstick")
    elif ratio is not None:
        ends = "" if ratio.low is None or ratio.high is None else f" ({ratio.low:.3f} to {ratio.high:.3f})"
        words.append(f"{ratio.value:.3f} x local{ends}")
    return " · ".join(words)


def _digits(value: float, metric: str) -> str:
    return f"{100 * value:.1f}" if metric == "mape" else f"{value:.3f}"


def _member_cell(arm: Arm, name: str) -> str:
    errors = arm.by_member.get(name, {})
    return ", ".join(_digits(errors[metric], metric) if metric in errors else "-" for metric in ("mape", "rmse"))


def _ticks(scale: Scale, height: float, metric: str) -> Markup:
    factor = 100.0 if metric == "mape" else 1.0
    parts = []
    for level in round_ticks(factor * scale.high, 4):
        x = scale(level / factor)
        parts.append(tag("path", d=f"M{x:.1f} 18V{height - 18:g}", class_="axis"))
        anchor = None if level == 0 else "end" if x > WIDTH - 16 else "middle"
        parts.append(label(x, height - 5, f"{level:g}{' %' if metric == 'mape' else ''}", kind="s", anchor=anchor))
    return joined(parts)


def _ratio_scale(ratios: Sequence[float], *, left: float = 12.0, right: float = WIDTH - 16) -> Scale:
    low = min(0.6, math.floor(10 * min(ratios) - 0.2) / 10)
    return Scale(low, max(1.05, max(ratios) * 1.05), left, right)


def _ratio_ticks(scale: Scale) -> list[float]:
    step = 0.1 if scale.high - scale.low < 0.8 else 0.5
    first = math.ceil(scale.low / step - 1e-9)
    return [round(place * step, 9) for place in range(first, int(scale.high / step + 1e-9) + 1)]


def _ratio_axis(scale: Scale, height: float, *, bottom: float) -> Markup:
    parts = []
    for level in _ratio_ticks(scale):
        x = scale(level)
        parts.append(tag("path", d=f"M{x:.1f} 28V{bottom:g}", class_="edge" if level == 1 else "axis"))
        parts.append(label(x, bottom + 14, f"{level:g}", kind="s", anchor="middle"))
    parts.append(
        label(
            WIDTH / 2, height - 4, "MAPE with state / MAPE local; 1: joining brings nothing", kind="s", anchor="middle"
        )
    )
    return joined(parts)
