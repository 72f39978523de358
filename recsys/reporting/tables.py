"""The run in tables of text: metrics of models and baselines with intervals, and a summary in Markdown."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from recsys.reporting import formats
from recsys.reporting.decision import headline, reasons
from recsys.reporting.document import (
    POPULARITY,
    canonical,
    differences,
    interval_level,
    label,
    metric_names,
    models,
    number,
    references,
    section,
    text,
)
from recsys.types import Json


@dataclass(frozen=True)
class MetricRow:
    """One metric: the value of each model and reference, and each model's difference to popularity."""

    metric: str
    values: dict[str, float | None]
    differences: dict[str, str]
    best: str | None  # the model with the highest value


def metric_table(result: Json) -> list[MetricRow]:
    """Return a row for each metric any model was measured in; ``differences`` hold printed intervals."""
    compared = {
        **{name: section(model, "metrics") for name, model in models(result).items()},
        **references(result),
    }
    table = []
    for metric in metric_names(result):
        values = {name: number(metrics, metric) for name, metrics in compared.items()}
        found = {
            a: formats.interval(number(row, "difference"), number(row, "low"), number(row, "high"))
            for a, b, row in differences(result, metric)
            if b == POPULARITY
        }
        own = {value: name for name in models(result) if (value := values[name]) is not None}
        table.append(MetricRow(metric, values, found, best=own[max(own)] if own else None))
    return table


def champion_note(result: Json) -> str | None:
    """Return what is wrong with the champion's metrics: it was trained on test pairs; None where it was not."""
    before = section(result, "champion_before")
    n_users, left_out = number(before, "n_users"), number(before, "users_left_out")
    if not n_users or not left_out:
        return None
    return (
        f"The champion was trained on {formats.count(number(before, 'test_pairs_in_its_training'))} test pairs of "
        f"{formats.count(left_out)} users ({formats.percent(left_out / n_users)}): its metrics are too high; these "
        "users are left out where a model is compared with it."
    )


def metric_rows(result: Json) -> list[dict[str, str]]:
    """Return a row for each metric as printed text, for a table artifact: every row has the same keys.

    Keys are ``metric``, then each model (ALS) with its difference to popularity and the interval
    (``ALS - popularity``), then each reference (popularity, random, champion); a dash where there is none.
    """
    printed = []
    for row in metric_table(result):
        cells = {"metric": row.metric}
        for name, value in row.values.items():
            cells[label(name)] = formats.metric(value)
            if name in models(result):
                cells[f"{label(name)} - {POPULARITY}"] = row.differences.get(name, formats.MISSING)
        printed.append(cells)
    return printed


def render_markdown(result: Json) -> str:
    """Return a summary of the run in GitHub-flavoured Markdown: decision, reasons, metrics, gates, times."""
    result = canonical(result)
    parts = [f"# {plain(headline(result))}", _identity(result)]
    parts.append("\n".join(f"- {plain(reason)}" for reason in reasons(result)))
    if printed := metric_rows(result):
        parts.append(pipe_table(list(map(plain, printed[0])), (map(plain, row.values()) for row in printed)))
        parts.append(f"Differences to {POPULARITY} carry paired {interval_level(result)} intervals.")
        parts.append(plain(champion_note(result) or ""))
    for model_id, gates in section(result, "decision", "gates").items():
        body = (
            [
                "passed" if gate.get("passed") else "**not passed**",
                plain(text(gate, "name")),
                plain(formats.anything(gate.get("value"))),
                plain(formats.anything(gate.get("threshold"))),
                plain(text(gate, "reason")),
            ]
            for gate in gates or []
            if gate
        )
        table = pipe_table(["", "gate", "value", "threshold", "reason"], body)
        parts.append(f"## Gates of {plain(model_id)}\n\n{table}")
    if timings := section(result, "timings"):
        body = ([plain(stage), formats.seconds(number(timings, stage))] for stage in timings)
        parts.append("## Time\n\n" + pipe_table(["stage", "time"], body))
    return "\n\n".join(part for part in parts if part) + "\n"


def _identity(result: Json) -> str:
    names = {"run": "run_id", "data": "data_version", "settings": "fingerprint"}
    return ", ".join(f"{name} `{code(text(result, key))}`" for name, key in names.items() if result.get(key))


def pipe_table(head: Sequence[str], body: Iterable[Iterable[str]]) -> str:
    """Return a table of GitHub-flavoured Markdown; cells are Markdown already, see ``plain``."""
    lines: list[Iterable[str]] = [head, ["---"] * len(head), *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def plain(value: str) -> str:
    """Return ``value`` so that Markdown shows it as it is: no markup, no line break, no table border."""
    words = escape(" ".join(value.split()), quote=False)
    return "".join(f"\\{letter}" if letter in "\\`*_[]|#~" else letter for letter in words)


def code(value: str) -> str:
    """Return ``value`` for a code span of Markdown: no backtick, no line break."""
    return " ".join(value.replace("`", "'").split())
