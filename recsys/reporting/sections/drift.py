"""How tonight's data differ from those of the version before, in effect sizes."""

from recsys.reporting import formats
from recsys.reporting.document import number, section, text
from recsys.reporting.markup import Markup, details, facts, panel, table
from recsys.reporting.plots import Bar, bars
from recsys.types import Json

_EXPLAINED = {
    "rows": "1 - smaller / larger number of cleaned rows",
    "users": "1 - users in both / users in either",
    "items": "1 - items in both / items in either",
    "stars": "share of rows that would have to change their stars",
    "activity": "share of users that would have to change their activity",
    "popularity": "1 - rank correlation of the items' popularity",
    "top_items": "1 - share of the top 20 in both",
}


def drift(result: Json) -> Markup | None:
    """Return the changes since the data version before this one; None when there was none."""
    found = section(result, "data", "drift")
    changes = section(found, "changes")
    entries = [
        Bar(name.replace("_", " "), change, f"{change:.3f}", "m-popularity")
        for name in changes
        if (change := number(changes, name)) is not None
    ]
    if not entries:
        return None
    sizes = [
        [name.replace("_", " "), formats.count(number(size, "before")), formats.count(number(size, "after"))]
        for name in ("rows", "train_rows", "users", "items")
        if (size := section(found, name))
    ]
    explained = [(name.replace("_", " "), _EXPLAINED.get(name)) for name in changes]
    quality = number(section(found, "comment_quality"), "effect")
    return panel(
        "Change since the last data version",
        table("Sizes before and after", ["", "before", "after"], sizes),
        bars(entries, full=1.0),
        details("How each change is measured", facts(explained)),
        facts(
            [
                ("compared with", text(found, "before")),
                ("comment quality, Cohen's d", None if quality is None else f"{quality:+.3f}"),
            ]
        ),
        note="0 is no change, 1 nothing in common; effect sizes, since every difference is significant here",
    )
