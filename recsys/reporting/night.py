"""The record of a night: the few numbers of a run's result that the history page and other programs need."""

from recsys.reporting.decision import headline, reasons
from recsys.reporting.document import (
    POPULARITY,
    headline_metric,
    models,
    number,
    numbers,
    references,
    rows,
    section,
    text,
)
from recsys.types import Json

SCHEMA_VERSION = 1
_SIZES = ("rows_in", "rows_out", "users", "items", "train", "test_users")


def night_record(result: Json) -> Json:
    """Return what is worth keeping of a run for good, about 2 kB: outcome, metrics with intervals, sizes.

    Args:
        result: The document of a run, as the pipeline writes it; whatever it lacks is null or left out.

    Returns:
        {schema_version, run_id, data_version, created_at, outcome, headline, reasons, champion, metric,
        min_improvement, models: {name: {model_id, seconds, metrics, improvement, improvement_ci, refused_by}},
        popularity, champion_before, data, drift, seconds, peak_memory_bytes}. ``outcome`` is promoted, kept,
        failed, skipped (nothing was trained) or undecided; ``champion`` is who serves afterwards;
        ``improvement`` is a fraction over popularity; ``drift`` the largest effect size, 0 to 1.
    """
    decision = section(result, "decision")
    changes = section(result, "data", "drift", "changes")
    metric = headline_metric(result)
    return {
        "schema_version": SCHEMA_VERSION,
        **{key: text(result, key) for key in ("run_id", "data_version", "created_at", "fingerprint")},
        "outcome": _outcome(result),
        "headline": headline(result),
        "reasons": reasons({**result, "reused": False}),
        "champion": decision.get("model_id") if decision.get("promote") else decision.get("champion"),
        "metric": metric,
        "min_improvement": number(section(decision, "config"), "min_improvement"),
        "models": {name: _model(result, model) for name, model in models(result).items()},
        POPULARITY: number(references(result).get(POPULARITY, {}), metric),
        "champion_before": _champion_before(result, metric),
        "data": {key: number(section(result, "data"), key) for key in _SIZES},
        "drift": max(
            (change for name in changes if (change := number(changes, name)) is not None), default=None
        ),
        "seconds": number(section(result, "timings"), "total"),
        "peak_memory_bytes": number(result, "peak_memory_bytes"),
    }


def _outcome(result: Json) -> str:
    if result.get("failures"):
        return "failed"
    decision = section(result, "decision")
    if decision and not models(result):
        return "skipped"
    if not decision:
        return "undecided"
    return "promoted" if decision.get("promote") else "kept"


def _model(result: Json, model: Json) -> Json:
    improvement = section(model, "improvement")
    bounds = section(model, "improvement_ci")
    return {
        "model_id": model.get("model_id"),
        "seconds": number(model, "seconds"),
        "metrics": {name: number(section(model, "metrics"), name) for name in section(model, "metrics")},
        "improvement": {name: number(improvement, name) for name in improvement},
        "improvement_ci": {name: found for name in bounds if len(found := numbers(bounds, name)) == 2},
        "refused_by": _refused_by(result, text(model, "model_id")),
    }


def _champion_before(result: Json, metric: str) -> Json | None:
    before = section(result, "champion_before")
    if not before:
        return None
    return {"model_id": before.get("model_id"), "value": number(section(before, "metrics"), metric)}


def _refused_by(result: Json, model_id: str) -> list[str]:
    """Return the names of the gates that said no to a model."""
    gates = rows(section(result, "decision", "gates"), model_id)
    return [text(gate, "name") for gate in gates if not gate.get("passed")]
