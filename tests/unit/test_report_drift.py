"""The report shows how the data moved since the version before, and nothing when there was none."""

from recsys.reporting.card import render_html
from recsys.reporting.sections.drift import drift

DRIFT = {
    "before": "v_1", "after": "v_2",
    "rows": {"before": 1_000, "after": 1_250, "change": 0.25},
    "comment_quality": {"before": 0.5, "after": 0.6, "effect": 0.321},
    "changes": {"rows": 0.2, "stars": 0.0125, "top_items": 0.45},
}  # fmt: skip


def test_changes_sizes_and_effects_are_shown():
    page = render_html({"data": {"drift": DRIFT}})
    for part in ("0.200", "0.013", "top items", "1,000", "1,250", "v_1", "+0.321"):
        assert part in page


def test_nothing_to_compare_with_is_nothing_to_show():
    for result in (
        {},
        {"data": {}},
        {"data": {"drift": None}},
        {"data": {"drift": {"changes": {"rows": None}}}},
    ):
        assert drift(result) is None
        render_html(result)
