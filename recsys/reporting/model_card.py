"""The report of one model, which lies beside its factors in the registry."""

from recsys.reporting.card import render_page
from recsys.reporting.document import label, rows, section, text
from recsys.reporting.sections import verdict
from recsys.types import Json

_OF_THE_RUN = ("timings", "overlap_seconds", "peak_memory_bytes", "failures")


def render_model_report(result: Json, model_name: str) -> str:
    """Return the HTML page of one model of a run: the run's report without other models and the decision.

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
    return render_page(f"{label(model_name)} model", own, verdict.tiles(own))
