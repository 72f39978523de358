"""All nights on one page: quality with intervals over time, who served when and why, what each night decided."""

from collections import Counter
from collections.abc import Sequence

from recsys.reporting import formats
from recsys.reporting.card import assemble_page
from recsys.reporting.document import POPULARITY, label, number, rows, section, text
from recsys.reporting.markup import Markup, join, panel, table, tag
from recsys.reporting.sections import over_time
from recsys.reporting.sections.over_time import CHANGES, gain, model_names
from recsys.types import Json

_MOST_NIGHTS_LISTED = 100
_MOSTCHANGES_LISTED = 50
_CHIPS = {"promoted": "good", "kept": "plain", "failed": "bad", "skipped": "plain", "undecided": "plain"}
_COUNTED = ("promoted", "kept", "failed", "skipped")


def render_history(history: Json) -> str:
    """Return the page of all nights as self-contained HTML without external requests.

    Args:
        history: {created_at, store, champion, nights, events}: ``nights`` are records of nights, oldest
            first; ``events`` those of the registry that moved the champion, oldest first. Texts are escaped.

    Returns:
        UTF-8 text, the same for the same document; about 60 kB, and 0.2 kB more for each night beyond 100.
    """
    nights, changes = rows(history, "nights"), rows(history, "events")
    found = {
        "Quality over time": over_time.quality(nights, changes),
        "Training and data": over_time.effort(nights),
        "Champions": _champions(changes),
        "Nights": _nights(nights),
    }
    kept = {name: content for name, content in found.items() if content}
    return assemble_page("All nights", history, join([_banner(history, changes), _tiles(nights)]), kept)


def champion_changes(events: Sequence[Json]) -> list[Json]:
    """Return those of the registry's events that moved the champion alias, in their order."""
    return [event for event in events if event.get("action") in CHANGES]


def _banner(history: Json, changes: Sequence[Json]) -> Markup:
    champion = text(history, "champion")
    if not champion:
        return tag("section", tag("h2", "No model serves yet"), class_="banner plain", id="decision")
    newest = changes[-1] if changes else {}
    since = formats.moment(text(newest, "time"))
    said = [str(reason) for reason in rows(newest, "reasons")]
    return tag(
        "section",
        tag("h2", f"{label(champion.split('_')[0])} serves" + (f" since {since}" if since else "")),
        tag("p", champion, class_="id"),
        tag("ul", *(tag("li", reason) for reason in said)) if said else None,
        class_="banner good",
        id="decision",
    )


def _tiles(nights: Sequence[Json]) -> Markup | None:
    if not nights:
        return None
    outcomes = Counter(text(night, "outcome") for night in nights)
    told = ", ".join(f"{outcomes[name]} {name}" for name in _COUNTED if outcomes[name])
    first, last = (
        formats.moment(text(night, "created_at")).partition(",")[0] for night in (nights[0], nights[-1])
    )
    tiles = [("Nights", formats.count(len(nights)), [told, f"{first} to {last}"])]
    for name in model_names(nights):
        metric, found = _newest(nights, name)
        over, *bounds = gain(found, metric)
        lines = [f"{formats.percent(over, sign=True)} over {POPULARITY}"] if over is not None else []
        if None not in bounds:
            lines.append(f"interval {' to '.join(formats.percent(bound, sign=True) for bound in bounds)}")
        value = formats.metric(number(section(found, "metrics"), metric))
        tiles.append((f"{label(name)} {metric}, last night", value, lines))
    return tag("div", *(_tile(*tile) for tile in tiles), class_="tiles")


def _tile(name: str, value: str, told: Sequence[str]) -> Markup:
    lines = (tag("p", line, class_="tile-told") for line in told if line)
    return tag(
        "div", tag("p", name, class_="tile-name"), tag("p", value, class_="tile-value"), *lines, class_="tile"
    )


def _champions(changes: Sequence[Json]) -> Markup | None:
    if not changes:
        return None
    body = [
        [
            tag("span", formats.minute(text(event, "time")), class_="cell"),
            tag("span", text(section(event, "arguments"), "model_id"), class_="id"),
            CHANGES[text(event, "action")].split()[0],
            _reasons(event),
            text(event, "actor"),
        ]
        for event in reversed(changes[-_MOSTCHANGES_LISTED:])
    ]
    more = len(changes) - len(body)
    note = (
        f"The newest {len(body)}; {more} earlier ones are in `recsys registry history`." if more > 0 else None
    )
    content = table("Changes of the champion", ["Time (UTC)", "Model", "Change", "Why", "Who"], body)
    return tag("div", panel("Changes of the champion", content, note=note), class_="words")


def _nights(nights: Sequence[Json]) -> Markup | None:
    if not nights:
        return None
    names = model_names(nights)
    body = [_night_cells(night, names) for night in reversed(nights[-_MOST_NIGHTS_LISTED:])]
    more = len(nights) - len(body)
    note = f"The newest {len(body)}; {more} earlier ones are in the plots." if more > 0 else None
    head = ["Night (UTC)", "Outcome", *(label(name) for name in names), POPULARITY, "Time", "Why"]
    content = table("Nights", head, body)
    return tag("div", panel("What each night decided", content, note=note), class_="words")


def _night_cells(night: Json, names: Sequence[str]) -> list[str]:
    metric, outcome = text(night, "metric"), text(night, "outcome")
    found = [section(night, "models", name) for name in names]
    return [
        tag(
            "span",
            formats.minute(text(night, "created_at")),
            tag("small", text(night, "run_id")),
            class_="cell",
        ),
        tag("span", outcome, class_=f"chip {_CHIPS.get(outcome, 'plain')}"),
        *(_value_cell(model, metric) for model in found),
        formats.metric(number(night, POPULARITY)),
        formats.seconds(number(night, "seconds")),
        _reasons(night),
    ]


def _value_cell(model: Json, metric: str) -> Markup:
    value, low, high = gain(model, metric)
    below = None if value is None else formats.percent(value, sign=True)
    if below and low is not None and high is not None:
        below += f" [{formats.percent(low, sign=True)}, {formats.percent(high, sign=True)}]"
    shown = formats.metric(number(section(model, "metrics"), metric))
    return tag("span", shown, tag("small", below) if below else None, class_="cell")


def _reasons(document: Json) -> Markup:
    said = [str(reason) for reason in rows(document, "reasons")]
    return tag("span", said[0] if said else formats.MISSING, class_="why", title="; ".join(said) or None)


def _newest(nights: Sequence[Json], name: str) -> tuple[str, Json]:
    """Return the metric shown and the numbers of a model in the newest night that has it."""
    night = next(night for night in reversed(nights) if section(night, "models", name))
    return text(night, "metric"), section(night, "models", name)
