"""The report of a study: every part is there, data are never markup, plots hold what they say."""

import re
from xml.etree import ElementTree

import pytest

from recsys.reporting.parallel import Strand, parallel_coordinates
from recsys.reporting.study import render_study, render_study_markdown

INTERVAL = {"difference": 0.01, "low": 0.002, "high": 0.02, "level": 0.95, "n_users": 900}


def example():
    trials = [
        {
            "number": number,
            "stage": "grid",
            "settings": {"als.factors": factors, "als.regularization": reg, "als.iterations": 20},
            "state": "pruned" if number == 3 else "complete",
            "value": 0.1 + 0.01 * number,
            "metrics": {"ndcg@10": 0.1 + 0.01 * number, "recall@10": 0.2},
            "best_iteration": 7,
            "iterations": 20,
            "seconds": 1.5,
            "error": None,
            "host": "h",
        }
        for number, (factors, reg) in enumerate([(32, 0.1), (64, 0.1), (64, 1.0), (32, 1.0)])
    ]
    metrics = {"ndcg@10": 0.12, "recall@10": 0.2}
    versus = {"ndcg@10": INTERVAL, "recall@10": INTERVAL}
    return {
        "study_id": "st_<b>1</b>",
        "created_at": "2026-11-25T10:00:00+00:00",
        "space": "als-original",
        "model": "als",
        "data_version": "v_1",
        "objective": "ndcg@10",
        "n_trials": 4,
        "trials": trials,
        "stages": [
            {
                "stage": "grid",
                "n_trials": 4,
                "states": {"complete": 3, "pruned": 1},
                "seconds": 6.0,
                "best_value": 0.12,
                "best_settings": trials[2]["settings"],
            }
        ],
        "importance": {"als.factors": 0.75, "als.regularization": 0.25},
        "winner": {"trial": 2, "metrics": metrics},
        "current": {"metrics": {"ndcg@10": 0.11, "recall@10": 0.19}},
        "proposed": trials[2]["settings"],
        "comparison": versus,
        "final": {
            "metrics": {"winner": metrics, "current": metrics},
            "versus": {"current": versus, "popularity": versus},
        },
        "verdict": "Better than the current settings. ndcg@10 on validation: told.",
        "warnings": ["few <users>"],
    }


def test_the_page_has_every_part_and_no_foreign_request_or_markup_of_data():
    page = render_study(example())
    for part in ("Winner and current", "What was tried", "What mattered", "Stages", "Time", "Trials"):
        assert f">{part}" in page, part
    assert "<b>1</b>" not in page
    assert "few &lt;users&gt;" in page
    assert not re.search(r"(src|href)=\"(?!#)", page)
    for drawing in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
        ElementTree.fromstring(drawing)


def test_a_study_without_differences_or_with_gaps_still_has_a_page():
    bare = {
        **example(),
        "trials": example()["trials"][:1],
        "importance": {},
        "final": None,
        "comparison": {},
        "stages": [],
        "warnings": [],
    }
    page = render_study(bare)
    assert "A line per trial" not in page
    assert "What mattered" not in page


def test_markdown_holds_the_numbers():
    text = render_study_markdown(example())
    assert "+0.0100 [+0.0020, +0.0200]" in text
    assert "| 2 | grid | complete | 64 |" in text.replace("  ", " ")


def test_parallel_coordinates_places_values_by_their_order():
    strands = [
        Strand({"m.a": a, "m.b": b, "v": v}, f"{a} {b}", kind)
        for a, b, v, kind in [(1, "x", 0.1, ""), (100, "y", 0.2, "good"), (10, "x", 0.3, "best")]
    ]
    drawing = ElementTree.fromstring(parallel_coordinates("t", ["m.a", "m.b", "v"], strands))
    lines = list(drawing.iter("polyline"))
    assert [line.get("class") for line in lines] == ["strand", "strand good", "strand best"]
    points = [
        [tuple(float(one) for one in point.split(",")) for point in line.get("points").split()]
        for line in lines
    ]
    first, second, third = ([y for _, y in line] for line in points)
    # 10 lies half-way between 1 and 100, whatever the numbers; higher values are higher up
    assert third[0] == pytest.approx((first[0] + second[0]) / 2)
    assert first[0] > third[0] > second[0]
    assert first[1] == third[1] > second[1]
    assert first[2] > second[2] > third[2]


def test_a_missing_value_ends_the_line():
    strand = Strand({"m.a": 1, "m.b": None, "v": 0.1}, "h", "")
    assert "polyline" not in parallel_coordinates("t", ["m.a", "m.b", "v"], [strand])
