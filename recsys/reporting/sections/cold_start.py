"""Those of whom little is known: cold items, the shop's strangers, users as they were after their first event."""

from recsys.reporting import formats
from recsys.reporting.document import POPULARITY, headline_metric, label, models, number, section
from recsys.reporting.markup import Markup, pair, panel, table
from recsys.types import Json

_GROUPS = {
    "no_history": "Strangers, nothing known",
    "one_event": "Test users by their first event alone",
}


def cold_start(result: Json) -> Markup | None:
    """Return how cold items and users without factors are served, or nothing where none was measured."""
    panels = [_items(result), _users(result)]
    return pair([found for found in panels if found is not None])


def _items(result: Json) -> Markup | None:
    metric = headline_metric(result)
    rows, note = [], None
    for name, model in models(result).items():
        found = section(model, "cold_start_performance")
        pairs = number(found, "pairs")
        if not pairs:
            continue
        values = (number(found, f"{prefix}{metric}") for prefix in ("", "baseline_"))
        gain = number(found, "improvement_vs_random")
        rows.append([label(name), *map(formats.metric, values), formats.percent(gain, sign=True)])
        note = (
            f"{metric} of {formats.count(pairs)} held-out pairs whose item has fewer than "
            f"{formats.count(number(found, 'cold_threshold'))} train interactions"
        )
    if not rows:
        return None
    head = ["", "Model", POPULARITY, "Over random init"]
    if all(row[-1] == formats.MISSING for row in rows):  # no model was initialised with embeddings
        head, rows = head[:-1], [row[:-1] for row in rows]
    return panel("Cold items", table("Cold items", head, rows), note=note)


def _users(result: Json) -> Markup | None:
    metric, rows = headline_metric(result), []
    for key, title in _GROUPS.items():
        found = section(result, "cold_users", key)
        users = number(found, "users")
        if users is None:
            continue
        values = (number(section(found, scorer), metric) for scorer in (POPULARITY, "content"))
        rows.append([title, formats.count(users), *map(formats.metric, values)])
    if not rows:
        return None
    head = ["", "Users", POPULARITY, "Content"]
    return panel("Users without factors", table("Users without factors", head, rows), note=metric)
