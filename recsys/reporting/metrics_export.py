"""Metrics of a run in the text format of Prometheus, for the textfile collector of node_exporter.

https://prometheus.io/docs/instrumenting/exposition_formats/ : a HELP and a TYPE line for each metric, then one line
per set of labels. Written by hand: 30 lines, and the core needs no client library.
"""

import math
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from tempfile import NamedTemporaryFile

from recsys.reporting.document import model_of, models, number, references, rows, section, text
from recsys.types import Json

Samples = list[tuple[dict[str, str], float]]
_READABLE_BY_ALL = 0o644  # the collector runs as another user
_MEASURE = re.compile(r"([a-z][a-z0-9_]*)(?:@(\d+))?")


def render_metrics(result: Json, champion: Json | None = None, *, ended_at: str = "") -> str:
    """Return the metrics of one run, lines ending in a line feed; ages are left to the reader as timestamps.

    Args:
        result: The run's result document; what it lacks is left out.
        champion: The registry's entry of the model that serves now; None when there is none.
        ended_at: When the night ended, UTC, ISO 8601; later than ``result`` when that was found, not made.
    """
    lines: list[str] = []
    for name, help_text, samples in _metrics(result, champion or {}, ended_at):
        known = [(labels, value) for labels, value in samples if math.isfinite(value)]
        if known:
            lines += [f"# HELP train_cf_{name} {help_text}", f"# TYPE train_cf_{name} gauge"]
            lines += [f"train_cf_{name}{_braces(labels)} {value!r}" for labels, value in known]
    return "".join(f"{line}\n" for line in lines)


def write_metrics(path: Path, metrics: str) -> None:
    """Write the file at once: a collector sees the old or the new one, never half of one. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # the collector reads *.prom alone, so the temporary name must end otherwise
    with NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, suffix=".tmp", delete=False) as file:
        temporary = Path(file.name)
        try:
            file.write(metrics)
            file.flush()
            temporary.chmod(_READABLE_BY_ALL)
            temporary.replace(path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise


def _metrics(result: Json, champion: Json, ended_at: str) -> Iterator[tuple[str, str, Samples]]:
    """Yield name, help and samples of each metric."""
    facts = {name: text(result, name) for name in ("run_id", "data_version", "fingerprint")}
    yield "run_info", "The last run; its value is always 1.", [(facts, 1.0)]
    yield (
        "run_timestamp_seconds",
        "When the last run ended, in Unix time.",
        _when(ended_at or text(result, "created_at")),
    )
    yield "failed_trainings", "Trainings of the run that failed.", _one(len(section(result, "failures")))
    yield "trained_models", "Models that the run trained; 0 when it was skipped.", _one(len(models(result)))
    yield "promoted", "Whether the run changed the champion.", _one(_promoted(result))
    if champion:
        yield (
            "champion_info",
            "The model that serves; its value is always 1.",
            [({"model_id": text(champion, "model_id")}, 1.0)],
        )
    yield (
        "champion_timestamp_seconds",
        "When the champion was registered.",
        _when(text(champion, "registered_at")),
    )
    yield from _quality(result)
    yield "gate_passed", "Whether a model passed a gate of promotion.", _gates(result)
    yield from _data(result)
    yield from _resources(result)


def _quality(result: Json) -> Iterator[tuple[str, str, Samples]]:
    """Yield one metric per measure (recall, ndcg, ...), labelled with the model or reference and the cutoff k."""
    measured = {name: section(model, "metrics") for name, model in models(result).items()}
    found: dict[str, Samples] = {}
    for name, metrics in {**measured, **references(result)}.items():
        for metric in metrics:
            match, value = _MEASURE.fullmatch(metric), number(metrics, metric)
            if match and value is not None:
                labels = {"model": name, **({"k": match[2]} if match[2] else {})}
                found.setdefault(match[1], []).append((labels, value))
    for measure, samples in found.items():
        yield measure, f"{measure} on tonight's test users, by model and cutoff k.", samples


def _gates(result: Json) -> Samples:
    passed: dict[tuple[str, str], bool] = {}
    for model_id, gates in section(result, "decision", "gates").items():
        for gate in gates or []:
            if gate:
                key = model_of(result, model_id), text(gate, "name")
                passed[key] = passed.get(key, True) and bool(gate.get("passed"))
    return [({"model": model, "gate": gate}, float(ok)) for (model, gate), ok in passed.items()]


def _data(result: Json) -> Iterator[tuple[str, str, Samples]]:
    data = section(result, "data")
    for name, what in (
        ("rows_in", "Raw rows"),
        ("rows_out", "Rows kept"),
        ("users", "Users"),
        ("items", "Items"),
    ):
        yield name, f"{what} of the data version.", _of(data, name)
    dropped: dict[tuple[str, str], float] = {}
    for step in rows(data, "funnel"):
        key = text(step, "step"), text(step, "reason")
        dropped[key] = dropped.get(key, 0.0) + (number(step, "rows") or 0.0)
    samples: Samples = [({"step": step, "reason": why}, count) for (step, why), count in dropped.items()]
    yield "rows_dropped", "Rows dropped while preparing the data, by step and reason.", samples


def _resources(result: Json) -> Iterator[tuple[str, str, Samples]]:
    timings = section(result, "timings")
    seconds = [({"stage": stage}, number(timings, stage)) for stage in timings]
    yield (
        "stage_seconds",
        "Seconds of a stage; total is the whole run.",
        [(labels, value) for labels, value in seconds if value is not None],
    )
    yield "peak_memory_bytes", "Largest resident size of the run's process.", _of(result, "peak_memory_bytes")


def _promoted(result: Json) -> float:
    """Return whether this run moved the champion; one that found an earlier result moved nothing."""
    return float(bool(section(result, "decision").get("promote")) and not result.get("reused"))


def _one(value: float) -> Samples:
    return [({}, float(value))]


def _of(document: Json, key: str) -> Samples:
    value = number(document, key)
    return [] if value is None else _one(value)


def _when(moment: str) -> Samples:
    """Return Unix seconds of an ISO 8601 moment; nothing where it is none."""
    try:
        return _one(datetime.fromisoformat(moment).timestamp())
    except ValueError:
        return []


def _braces(labels: dict[str, str]) -> str:
    """Return the labels as {a="1",b="2"}, with backslash, quote and line feed escaped; "" without any."""
    escaped = {
        name: value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        for name, value in labels.items()
    }
    return "{" + ",".join(f'{name}="{value}"' for name, value in escaped.items()) + "}" if labels else ""
