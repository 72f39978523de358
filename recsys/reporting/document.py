"""Reads the result document of a run, in which any key may be missing and any number null."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

from recsys.types import Json

POPULARITY = "popularity"
_MEASURES = (
    *("recall", "ndcg", "precision", "hit_rate", "mrr", "map", "auc"),
    *("coverage", "novelty", "diversity"),
)


def canonical(document: Any) -> Any:
    """Return the document with the keys of all its objects sorted, as they come back from a store.

    What is drawn from it then depends on its content alone, and a report built again is the same.
    """
    if isinstance(document, dict):
        return {key: canonical(document[key]) for key in sorted(document)}
    return [canonical(entry) for entry in document] if isinstance(document, list | tuple) else document


def section(document: Json, *path: str) -> Json:
    """Return the object under ``path``, empty when it or one above it is missing or null."""
    for name in path:
        document = document.get(name) or {}
    return document


def rows(document: Json, key: str) -> list[Any]:
    """Return the list under ``key`` without its nulls, empty when it is missing or null."""
    return [entry for entry in document.get(key) or [] if entry is not None]


def number(document: Json, key: str) -> float | None:
    """Return the finite number under ``key``; None for a missing, null, NaN or infinite one."""
    return _finite(document.get(key))


def numbers(document: Json, key: str) -> list[float]:
    """Return the list of numbers under ``key``, empty when it is missing or one of them is not finite."""
    found = [_finite(value) for value in document.get(key) or []]
    known = [value for value in found if value is not None]
    return known if len(known) == len(found) else []


def text(document: Json, key: str) -> str:
    """Return the value under ``key`` as text, "" when it is missing or null."""
    value = document.get(key)
    return "" if value is None else str(value)


def models(result: Json) -> dict[str, Json]:
    """Return the documents of the models that were trained, by name (als, bpr), in the order of the run."""
    return {name: model for name, model in section(result, "models").items() if model}


def label(name: str) -> str:
    """Return how a model or baseline is called in print: ALS for als, words such as popularity unchanged."""
    return name.upper() if len(name) <= 3 else name.replace("_", " ")


def model_of(result: Json, model_id: str) -> str:
    """Return the name of the model with that id; of an earlier run's model, what its id begins with."""
    names = (name for name, model in models(result).items() if model.get("model_id") == model_id)
    return next(names, model_id.split("_")[0])


def headline_metric(result: Json) -> str:
    """Return the metric shown first: recall@10, or the first one measured when that is not."""
    measured = metric_names(result)
    return "recall@10" if "recall@10" in measured or not measured else measured[0]


def metric_names(result: Json) -> list[str]:
    """Return the names of all metrics of any model, by measure (recall first), then by cutoff."""
    return sorted(
        {name for model in models(result).values() for name in section(model, "metrics")}, key=metric_order
    )


def measured_metrics(entries: Sequence[Json]) -> list[str]:
    """Return the names of the metrics in rows of a history or in trials, recall first."""
    return sorted({key for entry in entries for key in entry if "@" in key}, key=metric_order)


def references(result: Json) -> dict[str, Json]:
    """Return the metrics of what the models are held against: popularity, other baselines, champion."""
    baselines = {name: metrics for name, metrics in section(result, "baselines").items() if metrics}
    own = (section(model, "baseline") for model in models(result).values())
    popularity = baselines.pop(POPULARITY, None) or next((metrics for metrics in own if metrics), None)
    champion = section(result, "champion_before", "metrics")
    found = {POPULARITY: popularity, **baselines, "champion": champion}
    return {name: metrics for name, metrics in found.items() if metrics}


def differences(result: Json, metric: str) -> Iterator[tuple[str, str, Json]]:
    """Yield (a, b, {difference, low, high, p_value, p_adjusted}) for each paired comparison in ``metric``.

    The rows of ``comparisons`` first: they carry p-values; a model's own difference only where none does.
    """
    compared = [found for found in rows(result, "comparisons") if found.get("metric") == metric]
    for found in compared:
        yield text(found, "a"), text(found, "b"), found
    pairs = {(found.get("a"), found.get("b")) for found in compared}
    for name, model in models(result).items():
        found = section(model, "difference", metric)
        if found and (name, POPULARITY) not in pairs:
            yield name, POPULARITY, found


def interval_level(result: Json) -> str:
    """Return the level of the run's intervals in print: 95 %, where the document does not say otherwise."""
    level = number(result, "confidence_level")
    return f"{100 * (0.95 if level is None else level):g} %"


def _finite(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def metric_order(metric: str) -> tuple[int, int, str]:
    """Return what metrics are sorted by: the measure (recall first), then the cutoff."""
    measure, _, cutoff = metric.partition("@")
    rank = _MEASURES.index(measure) if measure in _MEASURES else len(_MEASURES)
    return rank, int(cutoff) if cutoff.isdigit() else 0, metric
