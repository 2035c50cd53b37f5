"""The report of a demo or run as one self-contained page.

One HTML file with a style sheet and hand-made SVG inside: no script, no font, no image, no address is fetched, and a
content security policy forbids it. Light and dark follow the reader's system; each picture has a title, a description
and a table of its numbers; it reads on a telephone and on paper.

Guarantees: names and reasons from the document are shown as text and never as markup; a missing part of the document is
left out. Does not guarantee: that the numbers are right; `report_words.limits` says what the page does not prove.
"""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING, Final

from hansa.lab.report.budget_picture import budgets_picture, budgets_table, bytes_picture, bytes_table
from hansa.lab.report.error_picture import error_picture, error_table, seeds_picture, sweep_picture
from hansa.lab.report.index_picture import index_picture, index_table, span_of
from hansa.lab.report.markup import NOTHING, Markup, joined, table, tag, text
from hansa.lab.report.reading import mapping, number, read
from hansa.lab.report.style import STEPS, stylesheet
from hansa.lab.report.sum_picture import sums_picture, sums_table
from hansa.lab.report.words import findings, headline, limits, settings, tiles, warnings_in_words

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from hansa.lab.report.reading import Reading, Rule

WIDE: Final = 1000.0
NARROW: Final = 360.0
POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
INDEX_WORDS: Final = (
    "0 is the calmest, 100 the most strained of the recent past. Strip and line: mean of some hours; grey band: "
    "lowest to highest bar; dashed: threshold of alerts."
)
SEEDS_WORDS: Final = (
    "The first seed ran over processes. The other seeds, and all other view noise, were rehearsed in memory with the "
    "same limits, rounding and privacy noise."
)
SUMS_WORDS: Final = (
    "Seconds from the first announcement, by the message stream's clock. A lane is a purpose with a budget of its own; "
    "hover for a sum's steps."
)
COST_WORDS: Final = (
    "Every member keeps its own ledger and pays when an upload leaves, whether its sum is opened or not. A period "
    "whose budget is spent refuses."
)


def write_report(path: Path, result: Mapping[str, object]) -> None:
    """Write the page.

    Args:
        path: Of the file; one that is there is replaced.
        result: The document of a demo or run; parts may be absent.
    """
    path.write_text(page(result), encoding="utf-8")


def page(result: Mapping[str, object]) -> str:
    """Return the page.

    Args:
        result: The document of a demo or run; parts may be absent.
    """
    reading = read(result)
    title = f"hansa: {result.get('source') or 'report'}"
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name_="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name_="referrer", content="no-referrer"),
        tag("title", text(title)),
        tag("style", Markup(stylesheet())),
    )
    sections = (_errors, _index, _seeds, _timeline, _costs, _alliance, _limits, _further)
    body = tag("body", tag("main", _top(reading), *(part(reading) for part in sections)))
    return f"<!DOCTYPE html>\n{tag('html', head, body, lang='en')}\n"


def _top(reading: Reading) -> Markup:
    source, outcome = reading.document.get("source"), reading.document.get("outcome")
    found = [tag("p", text(f"hansa · {source}" if source else "hansa"), class_="kicker")]
    found.append(tag("h1", text(headline(reading))))
    if outcome:
        found.append(
            tag("p", text(f"Forecast: {outcome}. Means over the members of the run over processes."), class_="note")
        )
    items = (tag("li", tag("b", text(value)), tag("span", text(words))) for value, words in tiles(reading))
    return tag("header", *found, tag("ul", *items, class_="tiles"))


def _errors(reading: Reading) -> Markup:
    if not reading.arms:
        return NOTHING
    legend = _legend(
        ("bar-own", "this federation"),
        ("bar", "other ways that a member has"),
        ("bar-outside", "needs everybody's data"),
        ("dot", "a member"),
    )
    words = tag(
        "p", text("Bar: mean over members. Line across its end: 90 % interval, bootstrapped over blocks of days.")
    )
    pictures = (
        _figure(name, error_picture(reading.arms, metric))
        for metric, name in (("mape", "MAPE"), ("rmse", "RMSE of the log cost"))
    )
    return _section(
        "Error of the next bar's liquidity cost",
        words,
        tag("div", *pictures, class_="grid"),
        legend,
        _sentences(findings(reading)),
        _twin(error_table(reading.arms, reading.members)),
    )


def _index(reading: Reading) -> Markup:
    indices = [index for index in reading.indices if index.ts_ns]
    if span_of(indices, reading.train_ns) is None:
        return NOTHING
    pictures = (
        tag("div", index_picture(indices, reading.train_ns, name=f"index-{kind}", width=width), class_=kind)
        for kind, width in (("wide", WIDE), ("narrow", NARROW))
    )
    rules = _rules_table(reading.rules) if reading.rules else NOTHING
    return _section(
        "Liquidity stress index",
        tag("p", text(INDEX_WORDS)),
        tag("figure", *pictures, _index_legend(reading)),
        _sentences(warnings_in_words(reading)),
        tag("div", rules, class_="scroll", tabindex=0, role="region", aria_label="alerts by market")
        if rules
        else NOTHING,
        _twin(index_table(indices, reading.train_ns)),
    )


def _seeds(reading: Reading) -> Markup:
    parts, twins = [], []
    if reading.seeds is not None:
        ratios = [[seed, f"{ratio:.3f}"] for seed, ratio in reading.seeds.ratios]
        words = "A dot is a seed, the band the 90 % interval of the mean."
        parts.append(_figure("By seed", seeds_picture(reading.seeds), words))
        twins.append(table("MAPE with state / MAPE local, by seed", ["seed", "ratio"], ratios))
    if reading.sweep:
        points, words = _sweep_points(reading)
        parts.append(_figure("By view noise", sweep_picture(points), words))
        ratios = [[f"{factor:g}", f"{ratio:.3f}"] for factor, ratio in points]
        twins.append(
            table("MAPE with state / MAPE local, by view noise", ["times the measured noise", "ratio"], ratios)
        )
    if not parts:
        return NOTHING
    return _section(
        "Would it be so again?",
        tag("p", text(SEEDS_WORDS)),
        tag("div", *parts, class_="grid"),
        _twin(joined(twins)),
    )


def _sweep_points(reading: Reading) -> tuple[tuple[tuple[float, float], ...], str]:
    """Return the sweep with the seeds' mean at the measured noise, and the words below it."""
    words = "How noisy a broker's view is decides what sharing brings."
    noise = number(mapping(reading.document.get("scenario")).get("view_noise"))
    if noise is not None:
        words += f" 1 is what was measured on real venues: {noise:.2f} times the state's variance."
    if reading.seeds is None or any(factor == 1 for factor, _ in reading.sweep):
        return reading.sweep, words
    points = tuple(sorted((*reading.sweep, (1.0, reading.seeds.mean.value))))
    return points, f"{words} The point there is the mean of the seeds beside it; the others are of fewer seeds."


def _timeline(reading: Reading) -> Markup:
    if not reading.sums:
        return NOTHING
    pictures = (
        tag("div", sums_picture(reading.sums, name=f"sums-{kind}", width=width), class_=kind)
        for kind, width in (("wide", WIDE), ("narrow", NARROW))
    )
    died = [("died", "died: crossed, nothing opened")] if any(one.is_dead for one in reading.sums) else []
    steps = _legend(
        ("p-other upload", "upload, with the members' computing"),
        ("p-other agree", "agree: a quorum signs"),
        ("p-other", "publish"),
        *died,
    )
    words = SUMS_WORDS
    if "restarts" in reading.document:
        words += " This is the run without kills; the run with kills gave the sums named below."
    return _section(
        "Secure sums", tag("p", text(words)), tag("figure", *pictures, steps), _twin(sums_table(reading.sums))
    )


def _costs(reading: Reading) -> Markup:
    parts, twins = [], []
    if reading.budgets:
        parts.append(_figure("Privacy budget spent (epsilon)", budgets_picture(reading.budgets)))
        twins.append(budgets_table(reading.budgets))
    if reading.sent_bytes:
        parts.append(_figure("Bytes that left each member", bytes_picture(reading.sent_bytes)))
        twins.append(bytes_table(reading.sent_bytes))
    if not parts:
        return NOTHING
    return _section(
        "What it cost each member", tag("p", text(COST_WORDS)), tag("div", *parts, class_="grid"), _twin(joined(twins))
    )


def _alliance(reading: Reading) -> Markup:
    pairs = [part for title, words in settings(reading) for part in (tag("dt", text(title)), tag("dd", text(words)))]
    return _section("The alliance", tag("dl", *pairs)) if pairs else NOTHING


def _limits(reading: Reading) -> Markup:
    items = (tag("li", text(one)) for one in limits(reading))
    return _section("What this page does not prove", tag("ul", *items, class_="limits"))


def _further(reading: Reading) -> Markup:
    folder = PurePath(str(reading.document.get("folder") or "alliance")).name
    kit = f"{folder}/{reading.members[0] if reading.members else 'NAME'}"
    commands = {
        f"hansa status {folder}": "sums, drop-outs, budgets and refusals of every node",
        f"hansa watch {kit}": "index, alerts and sums as a member published them",
        f"hansa kit show {kit}": "what is public in a member's kit",
        "python -m json.tool result.json": "every number of this page",
    }
    width = max(map(len, commands)) + 2
    lines = (text(f"{command:<{width}}# {words}") for command, words in commands.items())
    return _section(
        "How to look further",
        tag("p", text("In the folder that holds this page:")),
        tag("pre", Markup("\n".join(lines)), tabindex=0),
    )


def _section(title: str, *parts: Markup) -> Markup:
    return tag("section", tag("h2", text(title)), *parts)


def _figure(title: str, drawn: Markup, words: str = "") -> Markup:
    caption = tag("figcaption", text(words)) if words else NOTHING
    return tag("figure", tag("h3", text(title)), drawn, caption)


def _sentences(sentences: Sequence[str]) -> Markup:
    return tag("p", text(" ".join(sentences)), class_="note", style="margin-top:12px") if sentences else NOTHING


def _twin(tables: Markup) -> Markup:
    area = tag("div", tables, class_="scroll", tabindex=0, role="region", aria_label="the numbers as a table")
    return tag("details", tag("summary", text("The numbers as a table")), area)


def _legend(*entries: tuple[str, str]) -> Markup:
    return _legend_list((_swatch(kind), words) for kind, words in entries)


def _legend_list(entries: Iterable[tuple[Markup, str]]) -> Markup:
    return tag("ul", *(tag("li", sample, text(words)) for sample, words in entries), class_="legend")


def _swatch(kind: str) -> Markup:
    shape = (
        tag("circle", cx=7, cy=7, r=4, class_=kind)
        if kind == "dot"
        else tag("rect", x=0, y=1, width=14, height=12, class_=kind)
    )
    return _sample(14, shape)


def _sample(width: float, *shapes: Markup) -> Markup:
    return tag("svg", *shapes, viewBox=f"0 0 {width:g} 14", width=width, height=14, aria_hidden="true")


def _index_legend(reading: Reading) -> Markup:
    steps = (tag("rect", x=12 * step, y=1, width=12.3, height=12, class_=f"q{step}") for step in range(STEPS))
    ground = tag("rect", x=0, y=1, width=18, height=12, class_="ground")
    hatched = tag("path", d="M0 7L6 1M0 13L12 1M6 13L18 1M12 13L18 7", class_="hatching", fill="none")
    entries = [
        (_sample(120, *steps), "0 to 100"),
        (_sample(18, ground, hatched), "no index yet"),
        (_sample(12, tag("path", d="M1 12h10l-5 -9z", class_="alert")), "alert"),
    ]
    if any(index.onsets_ns for index in reading.indices):
        entries.append((_sample(12, tag("path", d="M1 3h10l-5 9z", class_="onset")), "stress begins (known)"))
    if reading.train_ns is not None:
        entries.append((_sample(18, ground, tag("rect", x=0, y=1, width=18, height=12, class_="train")), "training"))
    return _legend_list(entries)


def _rules_table(rules: Sequence[Rule]) -> Markup:
    rows = []
    for rule in rules:
        title = f"{rule.market}, {rule.name}"
        if rule.reason is not None or rule.hits is None:
            rows.append([title, rule.reason or "not known", "", "", ""])
            continue
        leads = ", ".join(f"{lead:.0f}" for lead in rule.lead_minutes) or "none"
        rate = "-" if rule.false_alarms_per_day is None else f"{rule.false_alarms_per_day:.2f}"
        chance = "-" if rule.chance is None else f"{100 * rule.chance:.0f} %"
        rows.append([title, f"{rule.hits} of {rule.hits + (rule.misses or 0)}", leads, rate, chance])
    columns = ["market, rule", "onsets met", "lead, minutes", "false alarms a day", "met by chance"]
    return table("Alerts after training against known onsets (lead below 0: after the onset)", columns, rows)
