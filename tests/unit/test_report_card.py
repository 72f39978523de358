"""The HTML report: well-formed, self-contained, decision first, drawn to scale, and never data as markup."""

import copy
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from report_example import IDS, example_result

from recsys.reporting.card import render_html
from recsys.reporting.markup import tag
from recsys.reporting.model_card import render_model_report

HOSTILE = "</style><script>alert('x')</script>&amp;\" onload=\"x"


class Page(HTMLParser):
    """Elements of a page with their attributes, its text, and a check that every element is closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((name, dict(attributes)))
        if name != "meta":
            self.open.append(name)

    def handle_endtag(self, name: str) -> None:
        assert self.open.pop() == name

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.text += data

    def of(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for element, attributes in self.elements if element == name]


def page(result: dict[str, Any]) -> Page:
    parsed = Page(render_html(result))
    assert parsed.open == []
    return parsed


def with_every_text(value: Any, replacement: str) -> Any:
    if isinstance(value, dict):
        return {key: with_every_text(entry, replacement) for key, entry in value.items()}
    if isinstance(value, list):
        return [with_every_text(entry, replacement) for entry in value]
    return replacement if isinstance(value, str) else value


def test_decision_comes_first_and_every_section_follows() -> None:
    top, links, rest = page(example_result()).text.partition("GatesQualityWho is served well")
    assert links
    places = [
        top.index(words) for words in ("BPR becomes champion", "not worse than", "+261 % over popularity")
    ]
    assert places == sorted(places)
    order = ["Gates", "Quality", "Who is served well", "settings tried", "369,099", "Resources", "5b1e5b1e"]
    places = [rest.index(words) for words in order]
    assert places == sorted(places)


def test_numbers_of_the_document_are_shown() -> None:
    text = page(example_result()).text
    for shown in (
        "0.1989",
        "+0.1438",
        "[+0.1309, +0.1568]",
        "0.0551",
        "−276,324",
        "702 MB",
        "9.1 s",
        "4,131",
    ):
        assert shown in text


def test_page_asks_for_nothing_from_outside_and_runs_nothing() -> None:
    html = render_html(example_result())
    parsed = Page(html)
    names = {name for name, _ in parsed.elements}
    assert not names & {"script", "link", "img", "iframe", "object", "embed", "base", "form", "image", "use"}
    assert "url(" not in html
    assert "@import" not in html
    for _, attributes in parsed.elements:
        assert not {"src", "srcset", "xlink:href", "action"} & set(attributes)
        assert not any(key.startswith("on") for key in attributes)
        assert (attributes.get("href") or "#").startswith("#")
    assert len(html.encode()) < 300_000


def test_links_lead_somewhere_and_ids_are_unique() -> None:
    parsed = page(example_result())
    ids = [attributes["id"] for _, attributes in parsed.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {link["href"] for link in parsed.of("a")} <= {f"#{found}" for found in ids}


def test_every_plot_has_a_name_for_those_who_cannot_see_it() -> None:
    plots = page(example_result()).of("svg")
    assert len(plots) == 9  # differences, 4 curves, shares, triplets, 2 histograms
    assert all(plot["role"] == "img" and plot["aria-label"] for plot in plots)


def test_texts_of_the_document_are_never_markup() -> None:
    benign = Page(render_html(with_every_text(example_result(), "harmless")))
    hostile = Page(render_html(with_every_text(example_result(), HOSTILE)))
    assert [(name, sorted(attributes)) for name, attributes in hostile.elements] == [
        (name, sorted(attributes)) for name, attributes in benign.elements
    ]
    assert HOSTILE in hostile.text


def test_keys_of_the_document_are_never_markup() -> None:
    result = example_result()
    result["models"] = {HOSTILE: result["models"]["als"]}
    result["models"][HOSTILE]["metrics"][HOSTILE] = 0.5
    result["models"][HOSTILE]["settings"][HOSTILE] = HOSTILE
    result["timings"][HOSTILE] = 1.0
    parsed = page(result)
    assert "script" not in {name for name, _ in parsed.elements}
    assert not any("onload" in attributes for _, attributes in parsed.elements)


def test_dollar_signs_are_text() -> None:
    assert "$style $top" in page(with_every_text(example_result(), "$style $top")).text


def test_same_document_same_page() -> None:
    assert render_html(example_result()) == render_html(copy.deepcopy(example_result()))


def test_an_empty_document_gives_an_empty_report() -> None:
    parsed = page({})
    assert "Trained, not yet decided" in parsed.text
    assert parsed.of("table") == parsed.of("svg") == []


@pytest.mark.parametrize(
    ("change", "color", "words"),
    [
        ({}, "good", "BPR becomes champion"),
        ({"decision": {"promote": False, "champion": "als_1"}}, "warn", "The champion stays"),
        ({"decision": {"promote": False, "champion": None}}, "warn", "No model becomes champion"),
        (
            {"failures": {"bpr": "DivergedError: loss is NaN"}},
            "bad",
            "BPR failed: DivergedError: loss is NaN",
        ),
        ({"failures": {"bpr": "x"}, "decision": None}, "bad", "The run failed"),
        ({"reused": True}, "good", "Nothing was trained anew"),
    ],
)
def test_banner_tells_the_decision(change: dict[str, Any], color: str, words: str) -> None:
    html = render_html(example_result() | change)
    assert f'class="banner {color}"' in html
    assert words in Page(html).text


def test_missing_parts_leave_no_empty_sections() -> None:
    result = example_result()
    for model in result["models"].values():
        del model["strata"], model["score_range"], model["score_histogram"], model["trials"]
        del model["cold_start_performance"]
    del result["cold_users"]
    text = page(result).text
    for heading in ("Who is served well", "Scores", "settings tried"):
        assert heading not in text


def test_histogram_is_drawn_to_scale() -> None:
    result = example_result()
    del result["models"]["bpr"]
    result["models"]["als"]["score_histogram"] = {"edges": [0.0, 0.5, 1.0, 2.0], "counts": [10, 0, 5]}
    bars = page(result).of("rect")
    heights = [float(bar["height"] or 0) for bar in bars]
    widths = [float(bar["width"] or 0) for bar in bars]
    assert len(bars) == 2  # an empty bin draws nothing
    assert heights[0] == pytest.approx(2 * heights[1], abs=0.02)
    assert widths[1] + 0.6 == pytest.approx(2 * (widths[0] + 0.6), abs=0.02)


def test_curves_go_down_when_the_loss_does() -> None:
    result = example_result()
    [line] = re.findall(r'aria-label="ALS loss".*?<polyline points="([^"]+)"', render_html(result))
    points = [tuple(map(float, point.split(","))) for point in line.split()]
    assert len(points) == 13
    xs, ys = zip(*points, strict=True)
    assert list(xs) == sorted(xs)
    assert list(ys) == sorted(ys)  # pixels count downwards


def test_trainings_share_one_clock() -> None:
    result = example_result()
    result["models"]["als"]["intervals"] = ["2026-11-25T01:02:00Z", "2026-11-25T01:02:04Z"]
    result["models"]["bpr"]["intervals"] = ["2026-11-25T01:02:02Z", "2026-11-25T01:02:10Z"]
    html = render_html(result)
    clock = html[html.index("Training, on one clock") : html.index("By stage")]
    spans = re.findall(r"margin-left:([\d.]+)%;width:([\d.]+)%", clock)
    assert spans == [("0.00", "40.00"), ("20.00", "80.00")]


def test_funnel_starts_with_what_was_read_and_ends_with_what_was_kept() -> None:
    html = render_html(example_result())
    funnel = html[html.index("rows read") : html.index("rows kept") + 200]
    spans = [tuple(map(float, span)) for span in re.findall(r"margin-left:([\d.]+)%;width:([\d.]+)%", funnel)]
    assert spans[0] == (0.0, 100.0)
    assert spans[-1] == (0.0, pytest.approx(100 * 61000 / 369099, abs=0.01))
    assert spans[-2][0] == pytest.approx(spans[-1][1], abs=0.01)


def test_a_model_report_tells_of_that_model_only() -> None:
    html = render_model_report(example_result(), "als")
    text = Page(html).text
    assert "ALS model" in text
    assert "improvement lower bound" in text
    assert IDS["als"] in text
    assert IDS["bpr"] not in text
    assert "BPR: training loss" not in text
    assert "ALS − BPR" in text
    with pytest.raises(KeyError):
        render_model_report(example_result(), "hybrid")


def test_a_model_report_needs_no_decision() -> None:
    result = example_result()
    for key in ("decision", "comparisons", "artifacts", "report"):
        del result[key]
    assert "Gates" not in Page(render_model_report(result, "bpr")).text


def test_tags_escape_children_and_attributes_once() -> None:
    inner = tag("b", "a < b")
    assert tag("p", "x & ", inner, None, title='"', hidden=None) == (
        '<p title="&quot;">x &amp; <b>a &lt; b</b></p>'
    )
