"""The run as tables of text, Markdown and on a terminal."""

import io
import re
from typing import Any

import pytest
from report_example import IDS, example_result
from rich.console import Console

from recsys.reporting.tables import metric_rows, render_markdown
from recsys.reporting.terminal import render_terminal


def terminal(result: dict[str, Any], width: int = 100) -> str:
    written = io.StringIO()
    render_terminal(result, Console(file=written, width=width, color_system=None))
    return written.getvalue()


def test_metric_rows_hold_models_differences_and_references() -> None:
    rows = metric_rows(example_result())
    assert rows[0] == {
        "metric": "recall@10",
        "ALS": "0.1802",
        "ALS - popularity": "+0.1251 [+0.1138, +0.1363]",
        "BPR": "0.1989",
        "BPR - popularity": "+0.1438 [+0.1309, +0.1568]",
        "popularity": "0.0551",
        "random": "0.0083",
        "champion": "0.1884",
    }
    assert {tuple(row) for row in rows} == {tuple(rows[0])}
    names = [row["metric"] for row in rows]
    assert names[:4] == ["recall@10", "recall@20", "ndcg@10", "ndcg@20"]
    assert rows[names.index("coverage@10")]["ALS - popularity"] == "–"


def test_cutoffs_are_ordered_as_numbers() -> None:
    result = example_result()
    for model in result["models"].values():
        model["metrics"] = {f"recall@{k}": 0.1 for k in (100, 20, 5)}
    assert [row["metric"] for row in metric_rows(result)] == ["recall@5", "recall@20", "recall@100"]


def test_popularity_is_taken_from_a_model_when_the_run_has_none() -> None:
    result = example_result()
    del result["baselines"]
    assert metric_rows(result)[0]["popularity"] == "0.0551"


def test_no_models_no_rows() -> None:
    assert metric_rows({}) == []


def test_markdown_tells_decision_reasons_metrics_and_gates() -> None:
    text = render_markdown(example_result(promote=False))
    assert text.startswith("# The champion stays\n")
    assert "- no candidate passed every gate" in text
    assert "| **not passed** | coverage | 0.031 | 0.05 |" in text


def test_markdown_tables_keep_their_columns_whatever_the_texts() -> None:
    result = example_result()
    hostile = "a|b\n| c | `d` <script> [x](http://x) \\"
    for gates in result["decision"]["gates"].values():
        for gate in gates:
            gate["reason"] = gate["name"] = hostile
    result["decision"]["reasons"] = [hostile]
    result["models"][hostile] = result["models"].pop("als")
    text = render_markdown(result)
    assert "<script>" not in text
    assert "[x](" not in text.replace("\\[", "")
    borders = [
        len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) for line in text.splitlines() if line.startswith("|")
    ]
    assert set(borders) == {9, 6, 3}  # metrics, gates, times


@pytest.mark.parametrize("width", [80, 120])
def test_terminal_fits_and_tells_the_run(width: int) -> None:
    text = terminal(example_result(), width)
    for shown in (
        "v_20261125T010203Z_1a2b3c4d5e6f",
        "369,099 rows, 61,000 kept",
        "[+0.1309, +0.1568]",
        "0.0551",
    ):
        assert shown in text
    for shown in ("p01 −0.08", "BPR becomes champion", IDS["bpr"], "s3://shop/cf/reports/", "12.0 s"):
        assert shown in text
    table = [line for line in text.splitlines() if line.startswith(("recall", "ndcg", " " * 8))]
    assert all(len(line) <= width and "…" not in line for line in table)


def test_terminal_names_failed_gates_and_failed_models() -> None:
    text = terminal(example_result(promote=False) | {"failures": {"hybrid": "NotEnoughMemory: 3 GB"}})
    assert "ALS did not pass: coverage" in text
    assert "hybrid failed: NotEnoughMemory: 3 GB" in text


def test_terminal_shows_brackets_as_they_are() -> None:
    result = example_result()
    result["decision"]["reasons"] = ["[red]not a colour[/red] [/]"]
    assert "[red]not a colour[/red] [/]" in terminal(result)
