"""What the report says of the champion, of cold items and users, and of what the test set can see."""

import io

import pytest
from report_example import example_result
from rich.console import Console

from recsys.reporting.card import render_html
from recsys.reporting.document import label, metric_names
from recsys.reporting.model_card import render_model_card
from recsys.reporting.tables import render_markdown
from recsys.reporting.terminal import render_terminal


def terminal(result):
    """Return what the terminal shows of a run, in lines of any length."""
    shown = io.StringIO()
    render_terminal(result, Console(file=shown, width=300))
    return shown.getvalue()


def card(result):
    """Return the card of the run's BPR."""
    return render_model_card(result, "bpr")


def test_the_champion_is_met_on_all_users_and_on_those_it_knows():
    html = render_html(example_result())
    assert "Against the champion" in html
    assert "All users (4,131)" in html
    assert "Known (4,012)" in html
    assert "+6.0 %" in html
    assert "[+2.0 %, +10 %]" in html
    assert "It was trained on 7 of tonight&#x27;s test pairs." in html


def trained_on_test(n_users_left_out, **versus):
    """Return the example, its champion trained on test pairs of so many users, versus ``versus`` of the others."""
    result = example_result()
    before = result["champion_before"] | {"users_left_out": n_users_left_out}
    if versus:
        before |= {"versus": dict.fromkeys(result["models"], versus), "common": None}
    return result | {"champion_before": before}


@pytest.mark.parametrize("render", [render_html, render_markdown, terminal, card])
def test_a_champion_trained_on_test_pairs_is_told_beside_its_metrics(render):
    told = render(trained_on_test(826))
    assert "The champion was trained on 7 test pairs of 826 users (20 %): its metrics are too high" in told
    assert "too high" not in render(trained_on_test(0))
    assert "too high" not in render(example_result())


def test_users_left_out_are_counted_in_the_panel_of_the_champion():
    html = render_html(trained_on_test(826))
    assert "All others (3,305)" in html
    assert "Known (4,012)" in html
    assert "It was trained on 7 of tonight&#x27;s test pairs; their 826 users are left out." in html


def test_where_nobody_is_left_the_differences_are_dashes():
    nothing = dict.fromkeys(("difference", "relative", "relative_low", "relative_high")) | {"n_users": 0}
    html = render_html(trained_on_test(4131, **nothing))
    assert "All others (0)" in html
    assert "Known (0)" in html
    panel = html[html.index("Against the champion") :]
    assert "%" not in panel[panel.index("<tbody") : panel.index("</tbody")]


def test_without_a_champion_there_is_no_such_panel():
    result = example_result()
    result["champion_before"] = None
    assert "Against the champion" not in render_html(result)


def test_cold_items_and_users_have_their_numbers():
    html = render_html(example_result())
    for told in ("203 held-out pairs", "0.0345", "+23 %", "276,324", "Users without factors", "0.0712"):
        assert told in html, told
    result = example_result()
    assert "Over random init" in html
    result["models"]["als"]["cold_start_performance"]["improvement_vs_random"] = None
    assert "Over random init" not in render_html(result)
    result["cold_users"] = None
    for model in result["models"].values():
        model["cold_start_performance"]["pairs"] = 0
    assert "Cold items" not in render_html(result)
    assert "Users without factors" not in render_html(result)


def test_the_report_says_what_the_test_set_can_see():
    assert "True differences of 0.0093 show in 80 % of the nights." in render_html(example_result())


def test_names_of_baselines_and_order_of_new_metrics():
    assert label("popularity_recent") == "popularity recent"
    result = {
        "models": {"als": {"metrics": dict.fromkeys(["diversity@10", "auc", "coverage@10", "map@10"], 0.1)}}
    }
    assert metric_names(result) == ["map@10", "auc", "coverage@10", "diversity@10"]
