"""What the report says of the champion, of cold items and users, and of what the test set can see."""

from report_example import example_result

from recsys.reporting.card import render_html
from recsys.reporting.document import label, metric_names


def test_the_champion_is_met_on_all_users_and_on_those_it_knows():
    html = render_html(example_result())
    assert "Against the champion" in html
    assert "All users (4,131)" in html
    assert "Known (4,012)" in html
    assert "+6.0 %" in html
    assert "[+2.0 %, +10 %]" in html
    assert "It was trained on 7 of tonight&#x27;s test pairs." in html


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
