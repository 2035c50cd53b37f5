"""The report: well-formed, self-contained, safe with hostile names, and without gaps where the document has some."""

from __future__ import annotations

import copy
import json
import math
import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hansa.lab.document import as_json
from hansa.lab.report import page, write_report
from hansa.lab.report.axes import DAY_NS
from hansa.lab.report.index_picture import cells, index_picture
from hansa.lab.report.markup import clipped, tag, text
from hansa.lab.report.reading import ARM_TITLES, Index, read
from hansa.lab.report.words import findings, headline, limits, warnings_in_words

if TYPE_CHECKING:
    from pathlib import Path

VOID = {"meta"}
HOSTILE = "<img src=x onerror=\"alert('1')\"></svg><script>steal()</script>&amp;"
BAR_NS = 300_000_000_000
START_NS = 19_000 * DAY_NS
MAPE = {
    "persistence": 0.2461,
    "local": 0.2312,
    "federated_weights": 0.3519,
    "federated_state": 0.1683,
    "local_public": 0.1678,
    "centralised": 0.1624,
}


class Outline(HTMLParser):
    """Open elements, every attribute and every text of a page; complains where elements do not nest."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.words.append(data)


def outline(markup: str) -> Outline:
    found = Outline()
    found.feed(markup)
    found.close()
    assert not found.open
    return found


def sum_row(position: int, purpose: str, *, state: str = "published", reason: str | None = None) -> dict[str, object]:
    start = 1_000_000_000_000 + position * 100_000_000
    is_open = state == "published"
    return {
        "session": f"r1-{position}-{purpose}-a1",
        "purpose": purpose,
        "length": 12,
        "span_start_ns": START_NS,
        "span_end_ns": START_NS + 2 * DAY_NS,
        "state": state,
        "announce_ns": start,
        "cohort_ns": start + 50_000_000,
        "call_ns": start + 70_000_000 if is_open else None,
        "recover_ns": None,
        "closed_ns": start + 80_000_000,
        "members": "north south",
        "reason": reason,
    }


def rule(*, hits: int, leads: list[float]) -> dict[str, object]:
    return {
        "threshold": 70.0,
        "alerts": [START_NS + 2 * DAY_NS + 7 * BAR_NS],
        "hits": hits,
        "misses": 1,
        "lead_minutes": leads,
        "false_alarms_per_day": 1.25,
        "chance_hit_rate": 0.17,
    }


def small() -> dict[str, Any]:
    stamps = [START_NS + DAY_NS + place * 6 * BAR_NS for place in range(96)]
    series = {"ts_ns": stamps, "value": [float(place % 100) for place in range(len(stamps))]}
    both = ("mape", "rmse")
    return {
        "source": "simulated market",
        "outcome": "true log cost of the next bar",
        "members": ["north", "south"],
        "minimum_cohort": 2,
        "colluders": 0,
        "quorum": 2,
        "baskets": {"EUR-USD": ["EUR-USD"]},
        "rounds": 3,
        "seconds": 12.5,
        "errors": {
            arm: {
                "mape": one,
                "mape_interval": [one - 0.01, one + 0.01],
                "rmse": one + 0.05,
                "rmse_interval": [0.1, 0.5],
            }
            for arm, one in MAPE.items()
        },
        "ratios": {
            arm: {name: {"estimate": one / 0.2312, "low": one / 0.24, "high": one / 0.22} for name in both}
            for arm, one in MAPE.items()
        },
        "per_member": {
            name: {arm: {"mape": one + shift, "rmse": one} for arm, one in MAPE.items()}
            for name, shift in (("north", 0.001), ("south", -0.001))
        },
        "choices": {"north": {"gates": {"EUR-USD": 0.0}}, "south": {"gates": {"EUR-USD": 0.0}}},
        "lsi": {"EUR-USD": series, "system": {"ts_ns": stamps, "value": [30.0] * len(stamps)}},
        "alerts": {
            "EUR-USD": {
                "onsets_ns": [START_NS + 2 * DAY_NS],
                "lsi": rule(hits=1, leads=[-35.0]),
                "volatility": rule(hits=0, leads=[]),
            }
        },
        "privacy": [
            {
                "purpose": "state",
                "periods": 3,
                "epsilon": 7.5,
                "allowed": 8.0,
                "delta": 1e-6,
                "unit": "client, basket and day",
                "period": "day",
            }
        ],
        "bytes_per_member": {"north": 1000, "south": 1200},
        "steps": {"upload": 0.05, "agree": 0.02, "publish": 0.01, "whole": 0.08},
        "sums": [
            sum_row(0, "census"),
            sum_row(1, "state", state="died", reason="cohort below the minimum"),
            sum_row(2, "state"),
        ],
        "aggregate_sha256": "ab" * 32,
        "constitution_sha256": "cd" * 32,
        "folder": "somewhere/private/alliance",
        "scenario": {"seed": 1, "view_noise": 1.69},
        "seeds": {"seeds": [1, 2], "mape_ratio": [0.728, 0.74], "mean": 0.734, "interval": [0.71, 0.76]},
        "view_noise": [{"factor": 0.5, "mape_ratio": 0.74}, {"factor": 2.0, "mape_ratio": 0.71}],
        "other_outcomes": {"truth_at_its_own_level": {"mape": 0.809}, "members_exact_state": {"mape": 0.798}},
    }


def test_the_page_nests_and_every_picture_has_title_description_and_table() -> None:
    found = outline(page(small()))
    pictures = [attributes for name, attributes in found.tags if name == "svg" and attributes.get("role") == "img"]
    ids = [attributes["id"] for _, attributes in found.tags if "id" in attributes]
    assert len(pictures) == 10
    assert len(ids) == len(set(ids))
    assert all(set((one["aria-labelledby"] or "").split()) <= set(ids) for one in pictures)
    sections = page(small()).split("<section>")[1:]
    assert all("<table>" in section for section in sections if 'role="img"' in section)


def test_the_page_fetches_nothing_and_runs_nothing() -> None:
    whole = page(small())
    found = outline(whole)
    names = {name for name, _ in found.tags}
    assert not names & {"script", "link", "img", "iframe", "object", "embed", "base", "form", "image", "use", "a"}
    assert set(re.findall(r"\w+://[^\s\"']+", whole)) == {"http://www.w3.org/2000/svg"}
    assert not re.search(r"@import|@font-face|url\((?!#)", whole)
    assert not [
        key for _, attributes in found.tags for key in attributes if key.startswith("on") or key in {"src", "href"}
    ]
    policy = [one["content"] for name, one in found.tags if name == "meta" and "http-equiv" in one]
    assert policy == ["default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"]


def hostile(value: object) -> object:
    """Put a hostile text in place of every string that a document holds, and of every name in it."""
    if isinstance(value, dict):
        keep = {
            *small(),
            *ARM_TITLES,
            *rule(hits=0, leads=[]),
            *sum_row(0, ""),
            "mape",
            "rmse",
            "lsi",
            "gates",
            "system",
        }
        return {key if key in keep or key in KEYS else f"{key}{HOSTILE}": hostile(one) for key, one in value.items()}
    if isinstance(value, list):
        return [hostile(one) for one in value]
    return f"{value}{HOSTILE}" if isinstance(value, str) else value


KEYS = {
    *("ts_ns", "value", "epsilon", "allowed", "delta", "unit", "period", "periods", "estimate", "low", "high", "mean"),
    *("mape_interval", "rmse_interval", "onsets_ns", "volatility", "upload", "agree", "publish", "whole", "view_noise"),
    *("mape_ratio", "interval", "factor", "truth_at_its_own_level", "members_exact_state"),
}


def test_hostile_names_and_reasons_are_text_wherever_they_stand() -> None:
    document = hostile(small())
    assert isinstance(document, dict)
    document["alerts"] = {f"EUR-USD{HOSTILE}": {"lsi": {"reason": HOSTILE}, "volatility": rule(hits=1, leads=[5.0])}}
    document["restarts"] = HOSTILE
    whole = page(document)
    found = outline(whole)
    assert whole.count("&lt;script&gt;") > 20
    assert "<script" not in whole
    assert "<img" not in whole
    assert not [key for _, attributes in found.tags for key in attributes if key.startswith("on")]
    assert any(HOSTILE in words for words in found.words)


@given(st.text())
def test_text_and_attributes_come_back_as_they_went_in(words: str) -> None:
    plain = "".join(char if char.isprintable() else " " for char in words)
    found = outline(tag("p", text(words), class_=words))
    assert "".join(found.words) == plain
    assert found.tags == [("p", {"class": plain})]


@pytest.mark.parametrize("arm", list(MAPE))
def test_every_arm_is_shown_with_error_interval_and_ratio(arm: str) -> None:
    words = " ".join(outline(page(small())).words)
    assert ARM_TITLES[arm] in words
    assert f"{100 * MAPE[arm]:.1f} %" in words
    assert f"{100 * MAPE[arm]:.1f} [{100 * MAPE[arm] - 1:.1f}, {100 * MAPE[arm] + 1:.1f}]" in words
    assert f"{MAPE[arm] + 0.05:.3f}" in words
    assert arm == "local" or f"{MAPE[arm] / 0.2312:.3f} x local" in words


@pytest.mark.parametrize("missing", [*small(), "everything"])
def test_a_document_without_a_part_still_gives_a_page(missing: str) -> None:
    document = {} if missing == "everything" else {key: one for key, one in small().items() if key != missing}
    words = " ".join(outline(page(document)).words)
    assert "What this page does not prove" in words
    assert "None" not in words
    assert "nan" not in words


@pytest.mark.parametrize("junk", [None, math.nan, "text", 7, [], [[None]], {"EUR-USD": None}, {"local": {"mape": "x"}}])
def test_a_part_of_another_type_is_left_out(junk: object) -> None:
    pages = [page(small() | {key: junk}) for key in small()]
    outline(pages[0])
    assert all(one.startswith("<!DOCTYPE html>") for one in pages)
    outline(page(dict.fromkeys(small(), junk)))


def test_bars_without_an_index_are_hatched_and_break_the_line() -> None:
    stamps = tuple(START_NS + place * DAY_NS // 24 for place in range(96))
    values = tuple(None if 40 <= place < 56 else 50.0 for place in range(96))
    drawn = index_picture([Index("EUR-USD", stamps, values)], None, name="index", width=1000.0)
    assert drawn.count('fill="url(#index-hatch)"') == 1
    assert drawn.count('class="series"') == 2
    whole = index_picture([Index("EUR-USD", stamps, (50.0,) * 96)], None, name="index", width=1000.0)
    assert 'fill="url(#index-hatch)"' not in whole


@pytest.mark.parametrize("bar_minutes", [1, 5, 7, 45, 1440, 20_000])
def test_no_cell_is_shorter_than_a_bar(bar_minutes: int) -> None:
    bar_ns = bar_minutes * 60_000_000_000
    index = Index("EUR-USD", tuple(START_NS + place * bar_ns for place in range(40)), (50.0,) * 40)
    for width in (360.0, 1000.0):
        assert "no index" not in index_picture([index], None, name="index", width=width).partition("</desc>")[2]


def test_training_before_the_first_index_is_hatched() -> None:
    assert 'fill="url(#index-wide-hatch)"' in page(small())


def test_a_cell_holds_mean_lowest_and_highest_of_its_bars() -> None:
    index = Index("EUR-USD", tuple(range(0, 60, 10)), (1.0, None, 6.0, 8.0, None, None))
    found = cells(index, 0, 59, 20)
    assert [(cell.mean, cell.low, cell.high) for cell in found] == [(1.0, 1.0, 1.0), (7.0, 6.0, 8.0), (None, 0.0, 0.0)]


def test_known_onsets_alerts_and_the_end_of_training_are_marked() -> None:
    whole = page(small())
    assert whole.count("stress begins, 2022-01-10 00:00 UTC") == 2
    assert whole.count("alert, 2022-01-10 00:35 UTC") == 2
    assert "training ends" in whole


def test_an_attempt_that_died_is_crossed_and_says_why() -> None:
    whole = page(small())
    assert "cohort below the minimum" in whole
    assert 'class="died"' in whole
    assert [*read(small()).sums[1].phases()] == ["upload", "waiting"]
    assert "secure sums opened; 1 more died" in whole


def test_long_names_are_clipped_in_pictures_and_whole_in_tables() -> None:
    name = "a-member-with-a-name-that-would-run-out-of-its-picture"
    drawn, _, tables = page(small() | {"bytes_per_member": {name: 10}}).partition("Bytes that left each member, by")
    assert clipped(name, 36) in drawn
    assert f'<th scope="row">{name}</th>' in tables


def test_a_repeated_system_index_is_drawn_once() -> None:
    document = small()
    document["lsi"]["system"] = copy.deepcopy(document["lsi"]["EUR-USD"])
    assert [index.name for index in read(document).indices] == ["EUR-USD"]
    assert "the system's stress index is the basket's" in " ".join(findings(read(document)))


def test_alerts_of_a_run_on_real_data_are_read_from_their_rows() -> None:
    document = small() | {
        "alerts": [{"rule": "lsi", "basket": "EUR-USD", "ts_ns": START_NS + 3 * DAY_NS, "value": 80.0}]
    }
    assert read(document).indices[0].alerts_ns == (START_NS + 3 * DAY_NS,)
    assert read(document).rules == ()


def with_ratio(low: float, high: float) -> dict[str, Any]:
    document = small()
    document["ratios"]["federated_state"]["mape"] = {"estimate": (low + high) / 2, "low": low, "high": high}
    return document


def test_the_headline_calls_a_gain_only_what_the_interval_calls_one() -> None:
    assert "25 % less error than alone; the mean error fell from 23.1 % to 16.8 %" in headline(
        read(with_ratio(0.7, 0.8))
    )
    assert "not clear" in headline(read(with_ratio(0.9, 1.1)))
    assert "worse than alone" in headline(read(with_ratio(1.1, 1.2)))
    assert "compares no errors" in headline(read({}))


def test_members_that_lost_and_a_weak_yardstick_are_named() -> None:
    document = small()
    document["per_member"]["south"]["federated_state"]["mape"] = 0.5
    document["errors"]["persistence"]["mape"] = 0.2
    words = " ".join(findings(read(document)))
    assert "1 of 2 members have a smaller MAPE with the state than alone; south has not." in words
    assert "weak yardstick" in words
    assert "0.84 times that of persistence" in words
    assert "bought nothing here" in words


def test_alerts_after_the_onset_are_said_to_be_after_it() -> None:
    words = warnings_in_words(read(small()))
    assert "1 of 2 onsets after training met, 35 minutes after the onset" in words[0]
    assert "0 of 1 onsets" in words[1]


def test_limits_name_colluders_cap_observer_and_assumptions() -> None:
    words = " ".join(limits(read(small())))
    for part in ("members collude", "influence cap", "observer that sees everything", "simulated", "1.0 days"):
        assert part in words
    real = " ".join(limits(read({key: one for key, one in small().items() if key != "scenario"})))
    assert "public" in real
    assert "assumptions" not in real


def test_the_folder_of_the_document_is_not_shown_beyond_its_name() -> None:
    whole = page(small())
    assert "private" not in whole
    assert "hansa status alliance" in whole


def test_writing_replaces_the_page(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("old")
    write_report(path, small())
    assert path.read_text(encoding="utf-8") == page(small())


def test_json_has_null_where_a_number_is_not_finite() -> None:
    found = as_json({"a": [math.nan, 1.5, (math.inf,)], "b": {"c": -math.inf, "d": "NaN", "e": 2**60 + 1}})
    assert json.loads(found) == {"a": [None, 1.5, [None]], "b": {"c": None, "d": "NaN", "e": 2**60 + 1}}
