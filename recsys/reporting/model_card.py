"""What lies beside a model's factors in the registry: its report as a page, and its card in Markdown."""

from recsys.reporting import formats
from recsys.reporting.card import render_page
from recsys.reporting.document import (
    POPULARITY,
    canonical,
    headline_metric,
    interval_level,
    label,
    number,
    rows,
    section,
    text,
)
from recsys.reporting.markup import Markup, tag
from recsys.reporting.sections import verdict
from recsys.reporting.tables import champion_note, code, metric_rows, pipe_table, plain
from recsys.types import Json

_OF_THE_RUN = ("timings", "overlap_seconds", "peak_memory_bytes", "failures")
_LIMITS = (
    "It knows the users and items of its data version. Others get popularity; their scores mean nothing.",
    "Scores order the items of one user. Compare or mix them only after `ScoreRange.normalize`.",
    "Recall is measured on held-out reviews: what people would have liked and never saw counts as a miss.",
    "Popular items are served better than rare ones; see the groups in report.html.",
)


def model_document(result: Json, model_name: str) -> Json:
    """Return the part of a run's document that speaks of one model; its report is built from that alone.

    Args:
        result: The document of the run so far; a model is written before it is decided about.
        model_name: A key of ``result["models"]``.

    Raises:
        KeyError: the run has no such model.
    """
    model = section(result, "models")[model_name]
    model_id = text(model, "model_id")
    gates = section(result, "decision", "gates").get(model_id)
    compared = [row for row in rows(result, "comparisons") if model_name in (row.get("a"), row.get("b"))]
    own = {
        **{key: value for key, value in result.items() if key not in _OF_THE_RUN},
        "models": {model_name: model},
        "comparisons": compared,
        "artifacts": {model_name: section(result, "artifacts").get(model_name)},
        "decision": {"gates": {model_id: gates}},
    }
    document: Json = canonical(own)
    return document


def render_model_report(result: Json, model_name: str, standing: Json | None = None) -> str:
    """Return the HTML page of one model of a run: the run's report without other models and the decision.

    Args:
        result: The document of a run, or what ``model_document`` made of it.
        model_name: A key of ``result["models"]``.
        standing: {model_id, status, changes: [{time, actor, action, reasons}]}: what the registry says of the
            model since, shown on top.

    Raises:
        KeyError: the run has no such model.
    """
    own = model_document(result, model_name)
    top = _standing(standing) if standing else None
    return render_page(f"{label(model_name)} model", own, top, verdict.tiles(own))


def render_model_card(result: Json, model_name: str) -> str:
    """Return the card of one model in GitHub-flavoured Markdown: purpose, data, quality, limits, origin.

    The parts follow Mitchell et al., Model Cards for Model Reporting (2019). Arguments and errors as for
    ``render_model_report``.
    """
    own = model_document(result, model_name)
    model, data = section(own, "models", model_name), section(own, "data")
    metric = headline_metric(own)
    settings = section(model, "settings")
    origin = [
        ("run", text(own, "run_id")),
        ("data version", text(own, "data_version")),
        ("settings", text(own, "fingerprint")),
        ("train-cf", text(section(own, "code"), "version")),
        ("git commit", text(section(own, "code"), "git_commit")),
        *((f"{side} sha256", text(section(model, "factors_sha256"), side)) for side in ("U", "V")),
    ]
    parts = [
        f"# {label(model_name)} model of {formats.moment(text(own, 'created_at'))}",
        "Ranks a shop's items for a user by the product of two factor vectors learned from reviews. "
        "Meant for lists of recommendations and as one score of a hybrid ranking; not for judging people.",
        "## Data\n\n" + _sizes(data),
        f"## Quality\n\n{_sentence(model, metric, interval_level(own))}\n\n{_metric_table(own)}",
        "## Limits\n\n" + "\n".join(f"- {limit}" for limit in _LIMITS),
        "## Settings\n\n"
        + pipe_table(
            ["setting", "value"], ([plain(key), plain(formats.anything(settings[key]))] for key in settings)
        ),
        "## Origin\n\n" + "\n".join(f"- {name}: `{code(value)}`" for name, value in origin if value),
    ]
    return "\n\n".join(parts) + "\n"


def _sizes(data: Json) -> str:
    names = ("users", "items", "train", "validation", "test", "test_users")
    return pipe_table(
        [name.replace("_", " ") for name in names], [[formats.count(number(data, n)) for n in names]]
    )


def _sentence(model: Json, metric: str, level: str) -> str:
    value, gain = (number(section(model, part), metric) for part in ("metrics", "improvement"))
    difference = section(model, "difference", metric)
    shown = formats.interval(*(number(difference, key) for key in ("difference", "low", "high")))
    return (
        f"{metric} {formats.metric(value)}, {formats.percent(gain, sign=True)} over {POPULARITY}; paired {level} "
        f"interval of the difference {shown}."
    )


def _metric_table(own: Json) -> str:
    printed = metric_rows(own)
    if not printed:
        return ""
    told = champion_note(own)
    table = pipe_table(list(map(plain, printed[0])), (map(plain, row.values()) for row in printed))
    return f"{table}\n\n{plain(told)}" if told else table


def _standing(standing: Json) -> Markup:
    status = text(standing, "status")
    told = [
        f"{formats.minute(text(change, 'time'))} UTC, {text(change, 'action')} by {text(change, 'actor')}"
        + (f": {'; '.join(map(str, rows(change, 'reasons')))}" if rows(change, "reasons") else "")
        for change in rows(standing, "changes")
    ]
    colour = {"active": "good", "failed": "bad"}.get(status, "plain")
    return tag(
        "section",
        tag("h2", "This model serves" if status == "active" else f"This model is {status}"),
        tag("p", text(standing, "model_id"), class_="id"),
        tag("ul", *(tag("li", line) for line in told)) if told else None,
        class_=f"banner {colour}",
        id="decision",
    )
