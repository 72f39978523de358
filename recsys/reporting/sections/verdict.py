"""Top of the report: the decision with its reasons, the numbers that matter most, the gates."""

from collections.abc import Sequence

from recsys.reporting import formats
from recsys.reporting.decision import headline, reasons, status
from recsys.reporting.document import (
    POPULARITY,
    headline_metric,
    interval_level,
    label,
    model_of,
    models,
    number,
    numbers,
    references,
    rows,
    section,
    text,
)
from recsys.reporting.markup import Markup, details, panel, table, tag
from recsys.types import Json


def banner(result: Json) -> Markup:
    """Return the decision in the colour of its status, with its reasons."""
    decision = section(result, "decision")
    champion = text(decision, "model_id") if decision.get("promote") else text(decision, "champion")
    said = reasons(result)
    return tag(
        "section",
        tag("h2", headline(result)),
        tag("p", champion, class_="id") if champion else None,
        tag("ul", *(tag("li", reason) for reason in said)) if said else None,
        class_=f"banner {status(result)}",
        id="decision",
    )


def tiles(result: Json) -> Markup | None:
    """Return a tile for each model (headline metric, gain over popularity) and one for the time."""
    metric = headline_metric(result)
    found = [_model_tile(result, name, metric) for name in models(result)]
    total = number(section(result, "timings"), "total")
    if total is not None:
        overlap = number(result, "overlap_seconds")
        told = ["models trained side by side", f"for {formats.seconds(overlap)} of it"] if overlap else []
        found.append(_tile("Whole run", formats.seconds(total), told, None, "plain"))
    return tag("div", *found, class_="tiles") if found else None


def gates(result: Json) -> Markup | None:
    """Return a table of gates for each candidate with their numbers, folded where all were passed."""
    found = section(result, "decision", "gates")
    tables = [_gates_of(result, model_id, asked) for model_id in found if (asked := rows(found, model_id))]
    return tag("div", *tables, class_="pair") if tables else None


def _gates_of(result: Json, model_id: str, asked: Sequence[Json]) -> Markup:
    name, n_passed = label(model_of(result, model_id)), sum(bool(gate.get("passed")) for gate in asked)
    title = f"{name}: {n_passed} of {len(asked)} gates passed"
    content = [
        tag("p", model_id, class_="id"),
        table(f"Gates of {model_id}", ["Gate", "Value", "Threshold"], [_gate(gate) for gate in asked]),
    ]
    return details(title, *content) if n_passed == len(asked) else panel(title, *content)


def _model_tile(result: Json, name: str, metric: str) -> Markup:
    model = section(result, "models", name)
    value = number(section(model, "metrics"), metric)
    gain = number(section(model, "improvement"), metric)
    bounds = numbers(section(model, "improvement_ci"), metric)
    told = []
    if gain is not None:
        told.append(f"{formats.percent(gain, sign=True)} over {POPULARITY}")
        if len(bounds) == 2:
            low, high = (formats.percent(bound, sign=True) for bound in bounds)
            told.append(f"{interval_level(result)} interval {low} to {high}")
    elif (base := number(references(result).get(POPULARITY, {}), metric)) is not None:
        told.append(f"{POPULARITY} {formats.metric(base)}")
    promoted = section(result, "decision").get("promote") and text(
        section(result, "decision"), "model_id"
    ) == text(model, "model_id")
    return _tile(
        f"{label(name)} {metric}", formats.metric(value), told, "champion" if promoted else None, f"m-{name}"
    )


def _tile(name: str, value: str, told: list[str], badge: str | None, color: str) -> Markup:
    return tag(
        "div",
        tag("p", name, tag("span", badge, class_="badge") if badge else None, class_="tile-name"),
        tag("p", value, class_="tile-value"),
        *(tag("p", line, class_="tile-told") for line in told),
        class_=f"tile {color}",
    )


def _gate(gate: Json) -> list[str]:
    passed = bool(gate.get("passed"))
    mark = tag("span", "passed" if passed else "not passed", class_=f"chip {'good' if passed else 'warn'}")
    reason = text(gate, "reason")
    name = tag(
        "span",
        text(gate, "name").replace("_", " "),
        mark,
        tag("small", reason) if reason else None,
        class_="gate",
    )
    return [name, formats.anything(gate.get("value")), formats.anything(gate.get("threshold"))]
