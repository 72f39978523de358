"""Parts of the report: folded gates, what settings were worth, negatives drawn, and the same page from a store."""

import json
import re

from report_example import IDS, example_result

from recsys.reporting.card import render_html
from recsys.reporting.model_card import render_model_report
from recsys.storage.documents import to_bytes


def test_a_stored_document_gives_the_same_page() -> None:
    stored = json.loads(to_bytes(example_result()))
    assert list(stored) != list(example_result())  # the store sorts keys
    assert render_html(stored) == render_html(example_result())
    assert render_model_report(stored, "bpr") == render_model_report(example_result(), "bpr")


def test_gates_are_folded_only_where_all_were_passed() -> None:
    result = example_result()
    n_gates = len(result["decision"]["gates"][IDS["als"]])
    for gate in result["decision"]["gates"][IDS["als"]]:
        gate["passed"] = True
    summary = f"<summary>ALS: {n_gates} of {n_gates} gates passed"
    assert summary in render_html(result)
    result["decision"]["gates"][IDS["als"]][0]["passed"] = False
    assert f"<h3>ALS: {n_gates - 1} of {n_gates} gates passed" in render_html(result)


def test_each_bar_of_a_setting_is_its_best_trial() -> None:
    result = example_result()
    result["models"]["als"]["trials"] = [
        {"settings": {"alpha": alpha, "factors": 64}, "ndcg@10": value, "recall@10": 0.5, "seconds": 1.0}
        for alpha, value in [(1, 0.10), (10, 0.20), (10, 0.15), (1, 0.12)]
    ]
    html = render_html(result)
    start = html.index("ALS: settings tried")
    shown = re.findall(r'bar-label">([^<]+)<.*?width:([\d.]+)%.*?bar-value">([^<]+)<', html[start:])[:2]
    assert shown == [("1", "60.00", "0.1200"), ("10", "100.00", "0.2000")]


def test_kinds_of_negatives_that_were_never_drawn_are_left_out() -> None:
    result = example_result()
    for row in result["models"]["bpr"]["history"]:
        row |= {"share_explicit": 0.0, "share_uniform": 1.0, "share_implicit": 0.0, "share_popularity": 0.0}
    html = render_html(result)
    assert "uniform 100 %" in html
    assert "explicit 0 %" not in html
