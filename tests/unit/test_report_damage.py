"""Law of the reports: whatever is missing, null or not finite in the document, every report is written."""

import copy
import io
import json
import math
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from report_example import example_result
from rich.console import Console

from recsys.reporting.card import render_html
from recsys.reporting.history import render_history
from recsys.reporting.model_card import render_model_card, render_model_report
from recsys.reporting.night import night_record
from recsys.reporting.tables import metric_rows, render_markdown
from recsys.reporting.terminal import render_terminal

EXAMPLE = example_result()


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of every value in the document, of at most two entries in a list."""
    found = [path] if path else []
    if isinstance(value, dict):
        return found + [deeper for key in value for deeper in paths(value[key], (*path, key))]
    if isinstance(value, list):
        return found + [
            deeper for place in range(min(2, len(value))) for deeper in paths(value[place], (*path, place))
        ]
    return found


PATHS = paths(EXAMPLE)


def has(result: Any, step: Any) -> bool:
    """Return whether earlier damage left the entry ``step``."""
    return step < len(result) if isinstance(result, list) else result is not None and step in result


def damage(result: Any, path: tuple[Any, ...], how: str) -> None:
    *above, last = path
    for step in above:
        if not has(result, step):
            return
        result = result[step]
    if not has(result, last):
        return
    value = result[last]
    if how == "drop" and isinstance(result, dict):
        del result[last]
    elif how == "empty" and isinstance(value, dict | list):
        result[last] = type(value)()
    elif how == "not finite" and isinstance(value, int | float):
        result[last] = math.nan
    else:
        result[last] = None


damages = st.lists(
    st.tuples(st.sampled_from(PATHS), st.sampled_from(["drop", "null", "empty", "not finite"])),
    min_size=1,
    max_size=30,
)


@settings(max_examples=60, deadline=None)
@given(damages)
def test_damaged_documents_still_give_reports(done: list[tuple[tuple[Any, ...], str]]) -> None:
    result = copy.deepcopy(EXAMPLE)
    for path, how in done:
        damage(result, path, how)
    html = render_html(result)
    assert html.rstrip().endswith("</html>")
    assert ">nan<" not in html
    assert ">None<" not in html
    assert render_markdown(result).startswith("# ")
    render_terminal(result, Console(file=io.StringIO(), width=80))
    rows = metric_rows(result)
    assert len({tuple(row) for row in rows}) <= 1
    for name in result.get("models") or {}:
        if (result["models"] or {}).get(name):
            render_model_report(result, name)
            assert render_model_card(result, name).startswith("# ")
    record = night_record(result)
    json.dumps(record, allow_nan=False)
    history = {"nights": [record, night_record(EXAMPLE)], "events": [], "champion": record["champion"]}
    assert ">nan<" not in render_history(history)
